//! What this machine lets us do. A scenario that needs more is skipped, with the reason printed.

use std::{path::Path, sync::OnceLock};

/// Programs that some faults need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Ties processes to ours.
    Setpriv,
    /// Injects errors into system calls.
    Strace,
    /// Makes the file system that gets full.
    MkfsExt4,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Setpriv => "setpriv",
            Self::Strace => "strace",
            Self::MkfsExt4 => "mkfs.ext4",
        }
    }

    /// Whether it is installed.
    pub fn is_there(self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        places.map(|place| place.join(self.name())).any(|file| file.is_file())
    }
}

/// What a scenario needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Another network for every node, with our packet switch between them.
    Packets,
    /// A file system of our own making.
    Mounts,
    /// Errors from system calls.
    SyscallErrors,
    /// A clock of a process' own.
    FalseClock,
}

impl Need {
    /// Why it cannot be had here; `None` if it can.
    pub fn lacking(self) -> Option<String> {
        match self {
            Self::Packets if !is_root() => Some("needs root, for network namespaces".into()),
            Self::Packets if !Path::new("/dev/net/tun").exists() => Some("needs /dev/net/tun".into()),
            Self::Packets => namespaces("--net"),
            Self::Mounts if !is_root() => Some("needs root, to mount a small file system".into()),
            Self::Mounts => namespaces("--mount").or_else(|| missing(Tool::MkfsExt4)),
            Self::SyscallErrors => missing(Tool::Strace),
            Self::FalseClock if faketime().is_none() => Some("needs libfaketime".into()),
            Self::FalseClock => None,
        }
    }
}

fn missing(tool: Tool) -> Option<String> {
    (!tool.is_there()).then(|| format!("needs {}, which is not installed", tool.name()))
}

/// Whether we are root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn namespaces(flag: &'static str) -> Option<String> {
    static NONE: OnceLock<[Option<String>; 2]> = OnceLock::new();
    let try_one = |flag| crate::process::run(&["unshare", flag, "true"]).err();
    let none = NONE.get_or_init(|| {
        ["--net", "--mount"]
            .map(|flag| try_one(flag).map(|why| format!("namespaces are not allowed: {why:#}")))
    });
    none[usize::from(flag == "--mount")].clone()
}

/// The library that gives a process a clock of its own.
pub fn faketime() -> Option<&'static str> {
    const PLACES: [&str; 4] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib64/faketime/libfaketimeMT.so.1",
        "/usr/lib/faketime/libfaketimeMT.so.1",
    ];
    PLACES.into_iter().find(|path| Path::new(path).exists())
}

/// What machine this is, for reports: processors, memory and kernel.
pub fn describe() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = read("/proc/cpuinfo");
    let line = |name: &str| info.lines().find(|line| line.starts_with(name));
    let model = line("model name").and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let memory = read("/proc/meminfo");
    let kb: u64 = memory.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cpus} x {model}, {} GiB, Linux {}", kb.div_ceil(1 << 20), kernel.trim())
}
