//! Explains the few errors of the system that occur at starts in practice: another process has the store open, a
//! command was run once as root, the file system takes no writes. The system's own text follows in brackets.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The meaning of an error at a file or directory.
pub(crate) fn of_file(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => with(&whose(path), error),
        ErrorKind::ReadOnlyFilesystem => with(READ_ONLY, error),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => with(FULL, error),
        _ => error.to_string(),
    }
}

/// The meaning of RocksDB's error. RocksDB only has the system's text, without kinds.
pub(crate) fn of_rocksdb(path: &Path, error: &rocksdb::Error) -> String {
    let text: &str = error.as_ref();
    let says = |part: &str| text.contains(part);
    if says("While lock file") {
        return with(&holder(&path.join("LOCK")), error);
    }
    if says("Permission denied") {
        return with(&whose(&foreign_in(path).unwrap_or_else(|| path.to_owned())), error);
    }
    if says("Read-only file system") {
        return with(READ_ONLY, error);
    }
    if says("No space left on device") || says("Disk quota exceeded") {
        return with(FULL, error);
    }
    text.to_owned()
}

const READ_ONLY: &str = "its file system takes no writes, because it was mounted so or because the kernel has met an \
                         error (`dmesg` says which)";
const FULL: &str = "its file system is full: make room, and start again; nothing is lost by that";

fn with(words: &str, error: &dyn std::fmt::Display) -> String {
    format!("{words} ({error})")
}

/// Which process has the store open.
fn holder(lock: &Path) -> String {
    let process =
        fs::metadata(lock).ok().and_then(|file| pid_in(&fs::read_to_string("/proc/locks").ok()?, file.ino()));
    let name =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    let who =
        process.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid} ({})", name(&pid)));
    format!(
        "{who} has it open, and a store is one process' at a time: most likely this node runs already. Stop that one \
         first, or leave it as it is"
    )
}

/// The process that holds a lock on the file with this inode, in the text of `/proc/locks`.
fn pid_in(locks: &str, inode: u64) -> Option<String> {
    let holds = |line: &&str| {
        let mut words = line.split_whitespace();
        // Those that wait for a lock have an arrow in the second place.
        words.nth(1) == Some("POSIX")
            && words.nth(3).is_some_and(|file| file.rsplit(':').next() == Some(&inode.to_string()))
    };
    let pid = locks.lines().find(holds)?.split_whitespace().nth(4)?;
    // A process of another container has no number here.
    pid.parse::<u32>().ok().filter(|pid| *pid > 0).map(|pid| pid.to_string())
}

/// Which user owns a path that this process may not use.
fn whose(path: &Path) -> String {
    // If a directory may not be entered, what lies in it cannot be inspected: then the directory is the problem.
    let seen = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?.uid())));
    let own = fs::metadata("/proc/self").ok().map(|process| process.uid());
    match (seen, own) {
        (Some((path, owner)), Some(own)) => of_owner(path, owner, own),
        _ => of_owner(path, 0, 0),
    }
}

fn of_owner(path: &Path, owner: u32, own: u32) -> String {
    if owner == own {
        return "this process may not use it: look at its permissions, and those of the directories above it"
            .into();
    }
    format!(
        "{} belongs to user {owner} and this process runs as user {own}: a command was probably run once as another \
         user, root for instance. Give the whole data directory back with `chown -R {own} DIRECTORY`, and run every \
         command that uses it as user {own}",
        path.display()
    )
}

/// The first file of a directory that belongs to another user.
fn foreign_in(directory: &Path) -> Option<PathBuf> {
    let own = fs::metadata("/proc/self").ok()?.uid();
    let foreign = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.uid() != own);
    fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).find(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_with_the_lock_is_found_and_not_one_that_waits_for_it() {
        let locks = "1: FLOCK  ADVISORY  WRITE 11 08:01:500 0 EOF\n\
                     2: POSIX  ADVISORY  READ 12 08:01:501 0 EOF\n\
                     3: POSIX  ADVISORY  WRITE 13 08:01:500 0 EOF\n\
                     3: -> POSIX  ADVISORY  WRITE 14 08:01:500 0 EOF\n\
                     4: POSIX  ADVISORY  WRITE 0 08:01:502 0 EOF\n";
        assert_eq!(pid_in(locks, 500).as_deref(), Some("13"));
        for (inode, why) in [(502, "of another container"), (503, "nobody"), (50, "a part of another number")]
        {
            assert_eq!(pid_in(locks, inode), None, "{why}");
        }
    }

    #[test]
    fn what_belongs_to_another_user_is_told_with_the_command_that_gives_it_back() {
        let text = of_owner(Path::new("/var/lib/signonce/IDENTITY"), 0, 999);
        for part in ["IDENTITY belongs to user 0", "runs as user 999", "chown -R 999 "] {
            assert!(text.contains(part), "{text}");
        }
        assert!(of_owner(Path::new("/x"), 7, 7).contains("permissions"));
    }

    #[test]
    fn the_errors_that_are_known_say_what_to_do_and_the_others_stay_as_they_are() {
        let path = Path::new("/nonexistent/IDENTITY");
        for (kind, says) in [
            (ErrorKind::PermissionDenied, "permission"),
            (ErrorKind::ReadOnlyFilesystem, "takes no writes"),
            (ErrorKind::StorageFull, "make room"),
        ] {
            let text = of_file(path, &kind.into());
            assert!(text.contains(says) && text.ends_with(&format!("({})", io::Error::from(kind))), "{text}");
        }
        assert_eq!(of_file(path, &io::Error::other("odd")), "odd");
    }
}
