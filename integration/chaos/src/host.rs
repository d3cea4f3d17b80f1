//! What this machine allows. A scenario that needs more is skipped, with the reason printed.

use std::{path::Path, sync::OnceLock};

pub use signonce_harness::host::{describe, faketime};

/// What a scenario needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A network for each node, with our packet switch between them.
    Packets,
    /// A file system of our own.
    Mounts,
    /// Errors from system calls.
    SyscallErrors,
    /// A clock for a single process.
    FalseClock,
}

impl Need {
    /// Why it is not available here; `None` if it is.
    pub fn lacking(self) -> Option<String> {
        match self {
            Self::Packets if !is_root() => Some("needs root, for network namespaces".into()),
            Self::Packets if !Path::new("/dev/net/tun").exists() => Some("needs /dev/net/tun".into()),
            Self::Packets => namespaces("--net"),
            Self::Mounts if !is_root() => Some("needs root, to mount a small file system".into()),
            Self::Mounts => namespaces("--mount").or_else(|| missing("mkfs.ext4")),
            Self::SyscallErrors => missing("strace"),
            Self::FalseClock if faketime().is_none() => Some("needs libfaketime".into()),
            Self::FalseClock => None,
        }
    }
}

fn missing(tool: &str) -> Option<String> {
    (!signonce_harness::host::has(tool)).then(|| format!("needs {tool}, which is not installed"))
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
