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
};

/// A record takes less than this beside its key and value: its table and two lengths.
const AROUND_A_RECORD: u64 = 12;

/// A state in a file, which goes with this value.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    bytes: u64,
    sha256: HexArray<32>,
}

impl StateFile {
    /// Writes a state with this hash, so many records and about so many bytes, into a new file in `dir`, durably.
    pub(super) fn write(
        dir: &Path,
        hash: StateHash,
        (rows, bytes): (u64, u64),
        records: impl Iterator<Item = io::Result<(Table, Vec<u8>, Vec<u8>)>>,
    ) -> Result<Self, BackupError> {
        check_room(dir, bytes + rows * AROUND_A_RECORD)?;
        let path = dir.join(format!(".state-{:016x}.unfinished", rand::random::<u64>()));
        let failed = |source| BackupError::File { doing: "write", path: path.clone(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        // From here on the file goes with this value, whatever happens.
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

    /// Removes what a process that died has left in `dir`.
    pub fn sweep(dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".state-") && name.ends_with(".unfinished") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its hash.
    pub const fn sha256(&self) -> HexArray<32> {
        self.sha256
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // If it was moved to its place it is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Hashes and counts what goes into a file.
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
