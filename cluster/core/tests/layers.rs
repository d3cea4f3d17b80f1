//! The crate's modules in their order: each imports only modules before it.
//!
//! The files are read as text, so an import against the order fails here and not in somebody's head. Tests inside the
//! crate may look at whatever they like.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules of one row do not import each other.
const LAYERS: [&[&str]; 7] = [
    &["codec", "mutation", "records"],
    &["model"],
    &["log"],
    &["ledger", "registry", "audit"],
    &["state"],
    &["replica"],
    // The crate's root lists what it is made of.
    &["lib"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file with the module of the root that it belongs to.
fn files(folder: &Path, module: Option<&str>) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned();
        let module = module.unwrap_or(&name).to_owned();
        match path.is_dir() {
            true => found.extend(files(&path, Some(&module))),
            false => found.push((module, path)),
        }
    }
    found
}

/// The modules that a file names as `crate::MODULE`, outside comments and its tests.
fn imports(source: &str) -> BTreeSet<String> {
    let code: Vec<&str> = source
        .lines()
        .take_while(|line| *line != "mod tests {")
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (_, after) in code.match_indices("crate::").map(|(at, name)| (at, &code[at + name.len()..])) {
        match after.strip_prefix('{') {
            Some(group) => found.extend(top_level(group).map(word)),
            None => {
                found.insert(word(after));
            }
        }
    }
    found.remove("");
    found
}

/// The parts of a group of imports, up to its closing brace.
fn top_level(group: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut from, mut parts) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.into_iter()
}

#[test]
fn every_module_imports_only_modules_before_it() {
    let mut wrong = Vec::new();
    for (module, path) in files(&sources(), None) {
        // Compiled for tests alone.
        if path.iter().any(|part| part == "golden" || part == "golden.rs") {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{module} has no place in the order of modules"));
        for import in imports(&fs::read_to_string(&path).expect("a source file")) {
            match layer(&import) {
                Some(other) if other < own || import == module => {}
                Some(_) => wrong.push(format!("{}: {module} imports {import}", path.display())),
                None => {
                    wrong.push(format!("{}: `crate::{import}` is not a module of the root", path.display()))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order of modules:\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_read_out_of_every_form_they_have() {
    let source = "use crate::codec::{self, CodecError};\nuse crate::{\n    log::{Change, error::KeyError},\n    model::Key,\n};\n\
                  // use crate::registry::Key;\nfn f() { crate::state::is_name(\"a\") }\n#[cfg(test)]\nmod tests {\n\
                  use crate::replica::Replica;\n}\n";
    let expected = ["codec", "log", "model", "state"].map(str::to_owned);
    assert_eq!(imports(source), BTreeSet::from(expected));
}
