//! The state of a backup while the backup is being made: a file, written record by record.

use super::{BackupError, folder::check_room};
use sha2::{Digest as _, Sha256};
use signonce_core::{SnapshotWriter, StateHash, Table};
use signonce_protocol::HexArray;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// The most bytes that a record takes beside its key and value: its table and two lengths.
const AROUND_A_RECORD: u64 = 12;

/// A state in a file. Dropping this value removes the file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    bytes: u64,
    sha256: HexArray<32>,
}

impl StateFile {
    /// Writes a state with this hash, so many records and about so many bytes, durably into a new file in `dir`.
    ///
    /// # Errors
    /// If there is no room, or it cannot be written.
    pub fn write(
        dir: &Path,
        hash: StateHash,
        (rows, bytes): (u64, u64),
        records: impl Iterator<Item = io::Result<(Table, Vec<u8>, Vec<u8>)>>,
    ) -> Result<Self, BackupError> {
        check_room(dir, bytes + rows * AROUND_A_RECORD)?;
        let path = dir.join(format!(".state-{:016x}.unfinished", rand::random::<u64>()));
        let failed = |source| BackupError::File { doing: "write", path: path.clone(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        // From here on the file is removed with this value, whatever happens.
        let mut written = Self { path: path.clone(), bytes: 0, sha256: HexArray([0; 32]) };
        let hashed = Hashed { file: BufWriter::new(file), bytes: 0, hash: Sha256::new() };
        let write = || -> io::Result<Hashed> {
            let mut writer = SnapshotWriter::begin(hashed, hash, rows)?;
            for record in records {
                writer.add(&record?)?;
            }
            let mut hashed = writer.finish()?;
            hashed.flush()?;
            hashed.file.get_ref().sync_all()?;
            Ok(hashed)
        };
        let Hashed { file: _, bytes, hash } = write().map_err(failed)?;
        (written.bytes, written.sha256) = (bytes, HexArray(hash.finalize().into()));
        Ok(written)
    }

    /// Removes what a process that died has left in `dir`, if nobody has written to it for this long: in a directory
    /// that nodes share, another one may be at work.
    pub fn sweep(dir: &Path, unwritten_for: Duration) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let written = entry.metadata().and_then(|file| file.modified()).ok();
            let is_old = written.is_some_and(|at| at.elapsed().is_ok_and(|age| age >= unwritten_for));
            if name.starts_with(".state-") && name.ends_with(".unfinished") && is_old {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The SHA-256 of its bytes.
    pub const fn sha256(&self) -> HexArray<32> {
        self.sha256
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // A file that was moved to its place is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Hashes and counts the bytes written to a file.
struct Hashed {
    file: BufWriter<File>,
    bytes: u64,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        self.hash.update(&bytes[..taken]);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_another_node_is_writing_to_a_shared_directory_stays() {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3_600);
        let file = |name: &str, age: Duration| {
            let path = dir.path().join(name);
            File::create(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let (fresh, old) = (file(".state-1.unfinished", hour / 2), file(".state-2.unfinished", 2 * hour));
        let other = file("state.bin", 2 * hour);
        StateFile::sweep(dir.path(), hour);
        assert!(fresh.exists() && !old.exists() && other.exists());
    }
}
