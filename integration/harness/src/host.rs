//! What this machine has and what it is.

use std::path::Path;

/// Whether a program is installed, be it where only root looks.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(program)).any(|file| file.is_file())
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
