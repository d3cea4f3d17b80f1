//! What a fresh machine meets first: `scripts/has-libclang`, which decides whether `make` installs anything, against
//! made-up roots of systems. It must find what bindgen will find, and nothing else: a build that continues without
//! libclang ends in a panic five minutes later.
#![cfg(target_os = "linux")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// The head of a shared library of this machine's word size, and of the other one.
const ELF: &[u8] =
    if cfg!(target_pointer_width = "64") { b"\x7fELF\x02\x01\x01" } else { b"\x7fELF\x01\x01\x01" };
const OTHER_ELF: &[u8] =
    if cfg!(target_pointer_width = "64") { b"\x7fELF\x01\x01\x01" } else { b"\x7fELF\x02\x01\x01" };

/// Where Debian has libraries for all, and those of one version of LLVM.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LLVM: &str = "usr/lib/llvm-14/lib";

/// The root of a system.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn link(self, path: &str, to: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
        self
    }

    /// What Debian's package libclang-common-14-dev brings.
    fn headers(self) -> Self {
        self.file("usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h", b"")
            .link("usr/lib/clang/14.0.6", "../llvm-14/lib/clang/14.0.6")
    }

    /// What Debian's package libclang1-14 brings.
    fn library(self) -> Self {
        self.file(&format!("{LLVM}/libclang-14.so.14.0.6"), ELF)
            .link(&format!("{LLVM}/libclang.so.1"), "libclang-14.so.14.0.6")
            .link(&format!("{LIBRARIES}/libclang-14.so.1"), "../llvm-14/lib/libclang.so.1")
    }

    /// What the script finds, with `LIBCLANG_PATH` if one is given.
    fn found(&self, libclang_path: Option<&Path>) -> Option<PathBuf> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
        let mut script = Command::new(Path::new(&here).join("../scripts/has-libclang"));
        script.env("SIGNONCE_ROOT", self.0.path()).env_remove("LIBCLANG_PATH");
        if let Some(path) = libclang_path {
            script.env("LIBCLANG_PATH", path);
        }
        let output = script.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        match output.status.code() {
            Some(0) => Some(text.trim_end().into()),
            Some(1) => {
                assert_eq!(text, "", "nothing is printed where nothing is found");
                None
            }
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

#[test]
fn libclang_cpp_alone_is_not_libclang() {
    let root = Root::new()
        .headers()
        .file(&format!("{LLVM}/libclang-cpp.so.14"), ELF)
        .link(&format!("{LIBRARIES}/libclang-cpp.so.14"), "../llvm-14/lib/libclang-cpp.so.14")
        .link(&format!("{LIBRARIES}/libclang-cpp.so"), "libclang-cpp.so.14");
    assert_eq!(root.found(None), None);
    assert_eq!(root.found(Some(&root.path(LIBRARIES))), None);
    assert_eq!(root.found(Some(&root.path(LIBRARIES).join("libclang-cpp.so.14"))), None);
}

#[test]
fn the_libraries_of_debian_are_found_with_clangs_headers() {
    let whole = Root::new().library().headers();
    assert_eq!(whole.found(None), Some(whole.path(LLVM).join("libclang.so.1")));
    let only_llvms = Root::new().file(&format!("{LLVM}/libclang.so.1"), ELF).headers();
    assert_eq!(only_llvms.found(None), Some(only_llvms.path(LLVM).join("libclang.so.1")));
    let beside_cpp = whole.file(&format!("{LIBRARIES}/libclang-cpp.so.14"), ELF);
    assert!(beside_cpp.found(None).is_some());
}

#[test]
fn the_library_without_clangs_headers_is_not_enough() {
    assert_eq!(Root::new().library().found(None), None);
    // The folder is there, and empty: a package that was removed.
    let emptied = Root::new().library();
    fs::create_dir_all(emptied.path("usr/lib/clang/14.0.6/include")).unwrap();
    assert_eq!(emptied.found(None), None);
}

#[test]
fn what_no_loader_would_load_is_not_found() {
    let name = format!("{LIBRARIES}/libclang.so");
    for (what, root) in [
        ("nothing at all", Root::new()),
        ("a dangling link", Root::new().link(&name, "libclang-14.so.14.0.6")),
        ("a linker script", Root::new().file(&name, b"INPUT(libclang-14.so.1)\n")),
        ("another word size", Root::new().file(&name, OTHER_ELF)),
        ("an empty file", Root::new().file(&name, b"")),
        ("a folder", Root::new().file(&format!("{name}/x"), ELF)),
    ] {
        let root = root.headers();
        assert_eq!(root.found(None), None, "{what}");
        assert_eq!(root.found(Some(&root.path(&name))), None, "{what}");
    }
    // Beside such a one the right one counts.
    let both = Root::new().link(&name, "gone").library().headers();
    assert!(both.found(None).is_some());
}

#[test]
fn libclang_path_is_a_file_or_a_folder_and_then_the_only_place() {
    let root = Root::new().headers().file("opt/llvm/lib/libclang.so.15", ELF);
    let (folder, file) = (root.path("opt/llvm/lib"), root.path("opt/llvm/lib/libclang.so.15"));
    assert_eq!(root.found(None), None, "no loader looks there unasked");
    assert_eq!(root.found(Some(&folder)), Some(file.clone()));
    assert_eq!(root.found(Some(&file)), Some(file));
    let whole = Root::new().library().headers();
    assert_eq!(whole.found(Some(&whole.path("opt"))), None, "bindgen believes the variable too");
    // A file that bindgen's loader would not take by its name.
    let renamed = Root::new().headers().file("opt/llvm/lib/clang-library.so", ELF);
    assert_eq!(renamed.found(Some(&renamed.path("opt/llvm/lib/clang-library.so"))), None);
}
