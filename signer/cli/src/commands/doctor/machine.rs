//! Checks the machine: guarantees of its file system, room, swap, limits of the process, and the time service.

use super::{Findings, Level};
use crate::commands::status::{advice::DISK_FREE, bytes};
use rustix::process::{Resource, getrlimit};
use signonce_listen::descriptors;
use signonce_shared::config::Config;
use std::{fs, path::Path, process::Stdio, time::Duration};
use tokio::{net::UnixStream, process::Command, time::timeout};

/// The bytes that a store needs to be worth starting: some log segments and one compaction.
const FREE_LEAST: u64 = 128 << 20;
/// Bytes of locked memory for ten thousand secrets: a page for every forty.
const LOCKED_LEAST: u64 = 1 << 20;
/// Where systemd's own time service leaves a mark.
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";
/// How long `timedatectl`, which asks a daemon over a bus, may take.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn check(config: &Config, findings: &mut Findings) {
    let dir = existing(&config.node.data_dir);
    file_system(dir, findings);
    room(dir, findings);
    if let Ok(text) = fs::read_to_string("/proc/swaps") {
        let (level, said) = swap(&text);
        findings.note(level, "swap", said);
    }
    let (whose, limits) = Limits::of_node(&config.admin_socket()).await;
    let (level, said) = files(limits.files, config.limits.connections_max);
    findings.note(level, "open files", format!("{whose}: {said}"));
    let (level, said) = locked(limits.locked);
    findings.note(level, "locked memory", format!("{whose}: {said}"));
    let (level, said) = kept(timedatectl().await.as_deref(), Path::new(TIMESYNC_MARK).exists());
    findings.note(level, "time service", said);
}

/// The data directory, or before `init` has made it, the nearest existing directory above.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(target_os = "linux")]
fn file_system(dir: &Path, findings: &mut Findings) {
    match rustix::fs::statfs(dir) {
        // The kernel's numbers have 32 bits; some of its headers hold them in signed words.
        Ok(found) => {
            let (level, said) = kind(found.f_type as u32);
            findings.note(level, "file system", said);
        }
        Err(error) => findings.wrong("file system", format!("{}: {error}", dir.display())),
    }
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path, findings: &mut Findings) {
    findings.warning("file system", "its kind is not known on this system");
}

/// What a file system with this magic number (`statfs(2)`) does on fsync.
#[cfg(target_os = "linux")]
fn kind(magic: u32) -> (Level, String) {
    const DISK: &[(u32, &str)] = &[
        (0xEF53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0x2FC1_2FC1, "zfs"),
        (0xF2F5_2010, "f2fs"),
        (0xCA45_1A4E, "bcachefs"),
    ];
    const OTHER: &[(u32, &str, &str)] = &[
        (0x0102_1994, "tmpfs", "is memory: a restart of the machine loses everything"),
        (0x8584_58F6, "ramfs", "is memory: a restart of the machine loses everything"),
        (0x794C_7630, "overlay", "is a container's own layer: it goes with the container; use a volume"),
        (0x6969, "nfs", "is on another machine, which may not keep what fsync was told; use a local disk"),
        (
            0xFF53_4D42,
            "cifs",
            "is on another machine, which may not keep what fsync was told; use a local disk",
        ),
        (
            0xFE53_4D42,
            "smb",
            "is on another machine, which may not keep what fsync was told; use a local disk",
        ),
        (0x6573_5546, "fuse", "is a program that may not keep what fsync was told; use a local disk"),
        (0x0102_1997, "9p", "is shared by the host, which may not keep what fsync was told; use a disk"),
    ];
    if let Some((_, name)) = DISK.iter().find(|(of, _)| *of == magic) {
        return (Level::Fine, format!("{name}, which keeps what was fsynced if the disk does"));
    }
    match OTHER.iter().find(|(of, ..)| *of == magic) {
        Some((_, name, why)) => (Level::Warning, format!("{name} {why}")),
        None => (Level::Warning, format!("of a kind not known here (0x{magic:x}): does it keep an fsync?")),
    }
}

fn room(dir: &Path, findings: &mut Findings) {
    match rustix::fs::statvfs(dir) {
        Ok(found) => {
            let (level, said) = free(found.f_bavail.saturating_mul(found.f_frsize));
            findings.note(level, "free disk", said);
        }
        Err(error) => findings.wrong("free disk", format!("{}: {error}", dir.display())),
    }
}

fn free(left: u64) -> (Level, String) {
    let said = format!("{} left", bytes(left));
    match left {
        DISK_FREE.. => (Level::Fine, said),
        FREE_LEAST.. => (Level::Warning, format!("{said}: make room; a node whose disk is full stops")),
        _ => (Level::Wrong, format!("{said}: a node whose disk is full stops")),
    }
}

/// Judges the text of `/proc/swaps`.
fn swap(text: &str) -> (Level, String) {
    let places: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let on_disk: Vec<&str> = places.iter().copied().filter(|place| !place.starts_with("/dev/zram")).collect();
    match (places.is_empty(), on_disk.is_empty()) {
        (true, _) => (Level::Fine, "off".into()),
        (false, true) => (Level::Fine, "in compressed memory only".into()),
        _ => {
            let hint = "resting keys are locked in memory where allowed, what is being worked on is not; \
                        turn it off (swapoff, fstab) or encrypt it";
            (Level::Warning, format!("on ({}): {hint}", on_disk.join(", ")))
        }
    }
}

/// The memory left under the limit of this control group (a container, a unit), if it has one. What can be reclaimed,
/// such as cached files, counts as left.
pub(super) fn memory_left() -> Option<u64> {
    let read = |file: &str| fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok();
    let of = |limit: &str, statistics: &str, name: &str| left_of(&read(limit)?, &read(statistics)?, name);
    of("memory.max", "memory.stat", "anon")
        .or_else(|| of("memory/memory.limit_in_bytes", "memory/memory.stat", "total_rss"))
}

/// The same from the text of a limit, and of statistics that give the usage under `name`.
fn left_of(limit: &str, statistics: &str, name: &str) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let used = statistics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())?;
    Some(limit.saturating_sub(used))
}

/// Limits of a process; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    files: Option<u64>,
    locked: Option<u64>,
}

impl Limits {
    /// The limits of the node that serves the socket or, without one, those that a node would get from here; and whose
    /// they are.
    async fn of_node(socket: &Path) -> (&'static str, Self) {
        let running = UnixStream::connect(socket).await.ok();
        let process = running.and_then(|stream| stream.peer_cred().ok()?.pid());
        let text = process.and_then(|id| fs::read_to_string(format!("/proc/{id}/limits")).ok());
        match text.as_deref().and_then(Self::read) {
            Some(limits) => ("the running node", limits),
            None => {
                // A node raises the number of its files as far as it may.
                let files = getrlimit(Resource::Nofile).maximum;
                let locked = getrlimit(Resource::Memlock).current;
                ("a node started from here", Self { files, locked })
            }
        }
    }

    /// Reads the text of `/proc/…/limits`: name, soft limit, hard limit, unit.
    fn read(text: &str) -> Option<Self> {
        let soft = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            match line.split_whitespace().next()? {
                "unlimited" => Some(None),
                number => number.parse().ok().map(Some),
            }
        };
        Some(Self { files: soft("Max open files")?, locked: soft("Max locked memory")? })
    }
}

fn files(limit: Option<u64>, connections_max: u32) -> (Level, String) {
    let needed = u64::try_from(descriptors::needed(connections_max)).unwrap_or(u64::MAX);
    match limit {
        Some(limit) if limit < needed => {
            let hint = "raise it (LimitNOFILE= in a unit, ulimit -n here) or lower limits.connections_max";
            (Level::Warning, format!("at most {limit}, all its connections may want {needed}: {hint}"))
        }
        Some(limit) => (Level::Fine, format!("at most {limit}")),
        None => (Level::Fine, "no limit".into()),
    }
}

fn locked(limit: Option<u64>) -> (Level, String) {
    match limit {
        Some(limit) if limit < LOCKED_LEAST => {
            let hint =
                "keys beyond that may be swapped out; raise it (LimitMEMLOCK= in a unit, ulimit -l here)";
            (Level::Warning, format!("at most {}: {hint}", bytes(limit)))
        }
        Some(limit) => (Level::Fine, format!("at most {}", bytes(limit))),
        None => (Level::Fine, "no limit".into()),
    }
}

/// What the kernel was told by a time service (NTPSynchronized), if `timedatectl` is there.
async fn timedatectl() -> Option<String> {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let answer = timeout(PATIENCE, asked).await.ok()?.ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

/// Whether a time service keeps the clock, judged by `timedatectl` and the mark of systemd's service.
fn kept(said: Option<&str>, mark: bool) -> (Level, &'static str) {
    match (said, mark) {
        (Some("yes"), _) => (Level::Fine, "keeps the clock"),
        (Some("no"), _) => (
            Level::Warning,
            "the clock is not synchronised: blocks are refused when it is slots off; run chrony or systemd-timesyncd",
        ),
        (_, true) => (Level::Fine, "has set the clock since the machine started"),
        _ => (Level::Warning, "unknown here (timedatectl does not say): make sure that one runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn file_systems_that_may_forget_are_warned_of() {
        for (magic, level, name) in [
            (0xEF53, Level::Fine, "ext4"),
            (0x5846_5342, Level::Fine, "xfs"),
            (0x9123_683E, Level::Fine, "btrfs"),
            (0x0102_1994, Level::Warning, "tmpfs is memory"),
            (0x794C_7630, Level::Warning, "overlay is a container's"),
            (0x6969, Level::Warning, "nfs is on another machine"),
            (0x6573_5546, Level::Warning, "fuse"),
            (0x0102_1997, Level::Warning, "9p"),
            (0xDEAD_BEEF, Level::Warning, "0xdeadbeef"),
        ] {
            let (found, said) = kind(magic);
            assert_eq!(found, level, "{said}");
            assert!(said.contains(name), "{said}");
        }
        // The kernel's own answers, which are signed words on some machines.
        assert_eq!(kind(rustix::fs::statfs("/proc").unwrap().f_type as u32).0, Level::Warning);
        let mut findings = Findings::default();
        file_system(Path::new("/dev/shm"), &mut findings);
        if Path::new("/dev/shm").is_dir() {
            assert!(findings.0[0].said.starts_with("tmpfs"), "{:?}", findings.0);
        }
    }

    #[test]
    fn the_less_room_the_louder() {
        for (left, level) in [
            (DISK_FREE, Level::Fine),
            (DISK_FREE - 1, Level::Warning),
            (FREE_LEAST, Level::Warning),
            (FREE_LEAST - 1, Level::Wrong),
            (0, Level::Wrong),
        ] {
            assert_eq!(free(left).0, level, "{left}");
        }
    }

    #[test]
    fn what_a_control_group_leaves_is_its_limit_less_what_cannot_be_taken_back() {
        let statistics = "anon 104857600\nfile 400000000\nanon_thp 0\n";
        assert_eq!(left_of("536870912\n", statistics, "anon"), Some(432_013_312));
        assert_eq!(left_of("1000", statistics, "anon"), Some(0));
        assert_eq!(left_of("max\n", statistics, "anon"), None, "no limit");
        assert_eq!(left_of("1000", "rss 7\ntotal_rss 9\n", "total_rss"), Some(991));
    }

    #[test]
    fn swap_on_a_disk_is_warned_of() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        for (entries, level, said) in [
            ("", Level::Fine, "off"),
            (
                "/dev/zram0                              partition\t8\t0\t100\n",
                Level::Fine,
                "compressed memory",
            ),
            ("/swapfile                               file\t8\t0\t-2\n", Level::Warning, "on (/swapfile)"),
            ("/dev/zram0 partition 8 0 100\n/dev/dm-1 partition 8 0 -2\n", Level::Warning, "on (/dev/dm-1)"),
        ] {
            let (found, text) = swap(&format!("{head}{entries}"));
            assert_eq!(found, level, "{text}");
            assert!(text.contains(said), "{text}");
        }
        assert_eq!(swap("").0, Level::Fine);
    }

    #[test]
    fn limits_that_are_too_low_are_warned_of() {
        let needed = u64::try_from(descriptors::needed(1_000)).unwrap();
        for (limit, level) in [
            (None, Level::Fine),
            (Some(65_536), Level::Fine),
            (Some(needed), Level::Fine),
            (Some(needed - 1), Level::Warning),
            (Some(256), Level::Warning),
        ] {
            assert_eq!(files(limit, 1_000).0, level, "{limit:?}");
        }
        for (limit, level) in [
            (None, Level::Fine),
            (Some(8 << 20), Level::Fine),
            (Some(64 << 10), Level::Warning),
            (Some(0), Level::Warning),
        ] {
            assert_eq!(locked(limit).0, level, "{limit:?}");
        }
    }

    #[test]
    fn limits_of_another_process_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    0                    bytes     \n\
                    Max locked memory         67108864             67108864             bytes     \n\
                    Max open files            1024                 1048576              files     \n";
        let found = Limits { files: Some(1_024), locked: Some(64 << 20) };
        assert_eq!(Limits::read(text), Some(found));
        let text = text.replace("1024      ", "unlimited ");
        assert_eq!(Limits::read(&text), Some(Limits { files: None, ..found }));
        for text in ["", "Max open files  many  many  files\nMax locked memory 1 1 bytes\n"] {
            assert_eq!(Limits::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_warned_of() {
        for (said, mark, level, text) in [
            (Some("yes"), false, Level::Fine, "keeps"),
            (Some("no"), false, Level::Warning, "not synchronised"),
            // The mark says that it was set once; the kernel knows of now.
            (Some("no"), true, Level::Warning, "not synchronised"),
            (None, true, Level::Fine, "has set"),
            (None, false, Level::Warning, "unknown"),
            (Some(""), false, Level::Warning, "unknown"),
        ] {
            let (found, answer) = kept(said, mark);
            assert_eq!(found, level, "{said:?} {mark}");
            assert!(answer.contains(text), "{answer}");
        }
    }

    #[test]
    fn before_init_the_directory_above_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("data/deeper")), dir.path());
        assert_eq!(existing(dir.path()), dir.path());
        assert_eq!(existing(Path::new("relative")), Path::new("/"));
    }
}
