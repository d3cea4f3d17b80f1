//! The high-water file beside the store: two slots written in turn, each with a sequence number and a checksum.
//!
//! It is written after each fsync of the store with what that fsync made durable, without an fsync of its own on that
//! path, so it may lag but never leads. A store that holds less has lost acknowledged writes; that catches a deleted
//! or truncated WAL and a database directory restored from a copy, which RocksDB cannot see.

use crate::store::StoreError;
use signonce_core::replica::disk::HighWater;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a slot; one sector, so that a slot is written whole or not at all.
const SLOT_BYTES: usize = 512;

/// The open file.
pub struct HighWaterFile {
    file: File,
    path: PathBuf,
    newest: Option<HighWater>,
}

impl HighWaterFile {
    /// Creates the file with two empty slots.
    pub fn create(path: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::File { path: path.to_owned(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all_at(&[0; 2 * SLOT_BYTES], 0).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// Opens the file and reads the newer slot; `None` if nothing was ever written.
    ///
    /// # Errors
    /// The file is missing, of a wrong size, or neither slot is whole.
    pub fn open(path: &Path) -> Result<(Self, Option<HighWater>), StoreError> {
        let failed = |source| StoreError::File { path: path.to_owned(), source };
        let damaged = |why: &str| StoreError::Damaged { path: path.to_owned(), why: why.into() };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() != 2 * SLOT_BYTES as u64 {
            return Err(damaged("it must have 1024 bytes"));
        }
        let mut slots = [0; 2 * SLOT_BYTES];
        file.read_exact_at(&mut slots, 0).map_err(failed)?;
        let slots = [read_slot(&slots[..SLOT_BYTES]), read_slot(&slots[SLOT_BYTES..])];
        let newest = match slots {
            [Slot::Damaged, Slot::Damaged | Slot::Empty] | [Slot::Empty, Slot::Damaged] => {
                return Err(damaged("no slot is whole"));
            }
            // One torn slot is a crash in the middle of writing it; the other one still counts.
            slots => slots
                .into_iter()
                .filter_map(|s| if let Slot::Mark(mark) = s { Some(mark) } else { None })
                .max_by_key(|m| m.sequence),
        };
        Ok((Self { file, path: path.to_owned(), newest }, newest))
    }

    /// Writes what is now known to be durable into the older slot, without an fsync. Marks may come out of order;
    /// the file never goes back.
    pub fn write(&mut self, mark: HighWater) -> Result<(), StoreError> {
        let mut next = self.newest.unwrap_or(mark);
        next.promise.raise(&mark.promise);
        if mark.applied.index > next.applied.index {
            next.applied = mark.applied;
        }
        next.sequence = self.newest.map_or(0, |m| m.sequence) + 1;
        let bytes = next.encode();
        assert!(bytes.len() <= SLOT_BYTES - 2, "a mark fits its slot");
        let mut slot = [0; SLOT_BYTES];
        slot[..2].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
        slot[2..2 + bytes.len()].copy_from_slice(&bytes);
        let offset = next.sequence % 2 * SLOT_BYTES as u64;
        self.file.write_all_at(&slot, offset).map_err(|e| self.failed(e))?;
        self.newest = Some(next);
        Ok(())
    }

    /// Makes the last mark durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|e| self.failed(e))
    }

    fn failed(&self, source: std::io::Error) -> StoreError {
        StoreError::File { path: self.path.clone(), source }
    }
}

enum Slot {
    Empty,
    Mark(HighWater),
    Damaged,
}

fn read_slot(slot: &[u8]) -> Slot {
    if slot.iter().all(|b| *b == 0) {
        return Slot::Empty;
    }
    let len = usize::from(u16::from_le_bytes([slot[0], slot[1]]));
    slot.get(2..2 + len).and_then(|bytes| HighWater::decode(bytes).ok()).map_or(Slot::Damaged, Slot::Mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::replica::{disk::LogPoint, wire::Promise};

    fn mark(index: u64) -> HighWater {
        let applied = LogPoint { index, term: 2, chain: [7; 32] };
        HighWater { sequence: 0, promise: Promise { term: 2, vote: 1, index }, applied }
    }

    #[test]
    fn the_newest_mark_is_read_back_and_a_torn_one_falls_back_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HIGH-WATER");
        HighWaterFile::create(&path).unwrap();
        let (mut file, none) = HighWaterFile::open(&path).unwrap();
        assert!(none.is_none());
        for index in [10, 11, 12] {
            file.write(mark(index)).unwrap();
        }
        let newest = HighWaterFile::open(&path).unwrap().1.unwrap();
        assert_eq!((newest.sequence, newest.applied.index), (3, 12));

        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_BYTES + 20] ^= 1; // sequence 3 is in the second slot
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(HighWaterFile::open(&path).unwrap().1.unwrap().applied.index, 11);

        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(HighWaterFile::open(&path), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_missing_or_shortened_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HIGH-WATER");
        assert!(matches!(HighWaterFile::open(&path), Err(StoreError::File { .. })));
        std::fs::write(&path, [0; 100]).unwrap();
        assert!(matches!(HighWaterFile::open(&path), Err(StoreError::Damaged { .. })));
    }
}
