//! The mark that a backup was used: the cluster into which it was restored, in a file beside it.
//!
//! One backup in two clusters means every key twice. The mark prevents that where both start from the same directory;
//! it cannot reach a copy that was made before.

use super::{BackupError, MAX_TEXT_BYTES, read};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// The file with the mark.
pub const USED_FILE: &str = "used.json";

/// What a backup was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Used {
    /// The id of the cluster into which it was restored.
    pub cluster: String,
    /// When the restore began, in Unix milliseconds.
    pub time_ms: u64,
}

/// The mark of a backup, if it has one.
///
/// # Errors
/// If the file exists but cannot be read: whether the backup was used is unknown then.
pub fn used(dir: &Path) -> Result<Option<Used>, BackupError> {
    let path = dir.join(USED_FILE);
    let bytes = match read(&path, MAX_TEXT_BYTES) {
        Ok(bytes) => bytes,
        Err(BackupError::Missing(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let malformed = |e: serde_json::Error| BackupError::Malformed { path, what: "mark", why: e.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

/// Marks a backup, durably, before anything of it reaches the new cluster. A mark of the same cluster stays.
///
/// # Errors
/// If it has the mark of another cluster, or none can be written.
pub fn mark(dir: &Path, mark: &Used) -> Result<(), BackupError> {
    let path = dir.join(USED_FILE);
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return check(dir, &mark.cluster),
        Err(source) => return Err(BackupError::File { doing: "write", path, source }),
    };
    let mut bytes = serde_json::to_vec_pretty(mark).expect("a mark is plain data");
    bytes.push(b'\n');
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    let written = written.and_then(|()| File::open(dir)?.sync_all());
    written.map_err(|source| BackupError::File { doing: "write", path, source })
}

/// Whether the backup may be restored into this cluster, as far as its mark tells.
///
/// # Errors
/// If it was used for another one.
pub fn check(dir: &Path, cluster: &str) -> Result<(), BackupError> {
    match used(dir)? {
        Some(Used { cluster: other, time_ms }) if !other.eq_ignore_ascii_case(cluster) => {
            Err(BackupError::Used { path: dir.join(USED_FILE), cluster: other, time_ms })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_goes_into_one_cluster_and_an_unreadable_mark_is_no_leave() {
        let dir = tempfile::tempdir().unwrap();
        let used_for = |cluster: &str| Used { cluster: cluster.into(), time_ms: 1_790_000_000_000 };
        assert_eq!(used(dir.path()).unwrap(), None);
        mark(dir.path(), &used_for("aa")).unwrap();
        mark(dir.path(), &Used { time_ms: 5, ..used_for("AA") }).expect("the same command, run again");
        assert_eq!(used(dir.path()).unwrap(), Some(used_for("aa")), "the first mark stays");
        let other = mark(dir.path(), &used_for("bb")).unwrap_err().to_string();
        assert!(other.contains("restored into cluster aa") && other.contains("twice"), "{other}");
        assert!(check(dir.path(), "bb").is_err());
        std::fs::write(dir.path().join(USED_FILE), "{").unwrap();
        assert!(check(dir.path(), "aa").is_err());
    }
}
