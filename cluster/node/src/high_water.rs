//! The high-water file beside the store: two slots written in turn, each with a sequence number and a checksum.
//!
//! It is written after each fsync of the store with what that fsync made durable, but without an fsync of its own on
//! that path, so it may lag but never leads. A store that holds less has lost acknowledged writes; this detects a
//! deleted or truncated WAL and a database directory restored from a copy, which RocksDB cannot see.
//!
//! A slot has two records. The first is the mark of the replica: what this node has promised and applied. The second,
//! in the slot's other half, is the store's own: up to which batch it was durable, whatever was in those batches, and
//! the salt that distinguishes its rows ([`crate::batches`]). Older programs leave the other half empty and read only
//! the first.

use crate::batches::Salt;
use crate::store::StoreError;
use parity_scale_codec::{Decode, Encode};
use rand::RngExt;
use signonce_core::replica::disk::HighWater;
use signonce_core::{decode_record, encode_record};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The size of a slot in bytes: one sector, so that a slot is written whole or not at all.
const SLOT_BYTES: usize = 512;
/// The offset of a slot's second record.
const HALF: usize = SLOT_BYTES / 2;
/// The version of the second record.
const BATCHES_VERSION: u8 = 1;

/// The record about the store's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct Batches {
    salt: Salt,
    /// The last batch that is known to have been durable.
    durable: u64,
}

/// The open file.
pub struct HighWaterFile {
    file: File,
    path: PathBuf,
    newest: Option<HighWater>,
    batches: Batches,
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
    /// If the file is missing, has a wrong size, or neither slot is whole.
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
        // An older program may have written one of the two slots, or both.
        let batches =
            slots.iter().filter_map(|slot| if let Slot::Mark(_, batches) = slot { *batches } else { None });
        let batches = batches.max_by_key(|batches| batches.durable);
        let batches = batches.unwrap_or_else(|| Batches { salt: rand::rng().random(), durable: 0 });
        let newest = match slots {
            [Slot::Damaged, Slot::Damaged | Slot::Empty] | [Slot::Empty, Slot::Damaged] => {
                return Err(damaged("no slot is whole"));
            }
            // One torn slot is a crash while it was written; the other one still counts.
            slots => slots
                .into_iter()
                .filter_map(|s| if let Slot::Mark(mark, _) = s { Some(mark) } else { None })
                .max_by_key(|m| m.sequence),
        };
        Ok((Self { file, path: path.to_owned(), newest, batches }, newest))
    }

    /// The salt that distinguishes the store's rows from others.
    pub fn salt(&self) -> &Salt {
        &self.batches.salt
    }

    /// The last batch of the store that is known to have been durable.
    pub fn durable(&self) -> u64 {
        self.batches.durable
    }

    /// Durably records that the store was durable up to this batch.
    pub fn raise(&mut self, durable: u64) -> Result<(), StoreError> {
        match self.newest {
            Some(mark) if durable > self.batches.durable => {
                self.write(mark, durable)?;
                self.sync()
            }
            // Without a mark this node has promised nothing yet.
            Some(_) | None => Ok(()),
        }
    }

    /// Writes what is now known to be durable into the older slot, without an fsync.
    pub fn write(&mut self, mark: HighWater, durable: u64) -> Result<(), StoreError> {
        let next = HighWater::after(self.newest, mark);
        self.batches.durable = self.batches.durable.max(durable);
        let mut slot = [0; SLOT_BYTES];
        put_record(&mut slot[..HALF], &next.encode());
        put_record(&mut slot[HALF..], &encode_record(BATCHES_VERSION, &self.batches));
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
    Mark(HighWater, Option<Batches>),
    Damaged,
}

fn read_slot(slot: &[u8]) -> Slot {
    let (mark, batches) = slot.split_at(HALF);
    let empty = |half: &[u8]| half.iter().all(|b| *b == 0);
    if empty(mark) && empty(batches) {
        return Slot::Empty;
    }
    let mark = get_record(mark).and_then(|bytes| HighWater::decode(bytes).ok());
    let said = get_record(batches).and_then(|bytes| decode_record(BATCHES_VERSION, "batches", bytes).ok());
    match mark {
        Some(mark) if said.is_some() || empty(batches) => Slot::Mark(mark, said),
        Some(_) | None => Slot::Damaged,
    }
}

fn put_record(half: &mut [u8], bytes: &[u8]) {
    assert!(bytes.len() <= half.len() - 2, "a record fits its half");
    half[..2].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
    half[2..2 + bytes.len()].copy_from_slice(bytes);
}

fn get_record(half: &[u8]) -> Option<&[u8]> {
    let len = usize::from(u16::from_le_bytes([half[0], half[1]]));
    half.get(2..2 + len)
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
            file.write(mark(index), index * 10).unwrap();
        }
        let newest = HighWaterFile::open(&path).unwrap().1.unwrap();
        assert_eq!((newest.sequence, newest.applied.index), (3, 12));

        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_BYTES + 20] ^= 1; // sequence 3 is in the second slot
        std::fs::write(&path, &bytes).unwrap();
        let (file, newest) = HighWaterFile::open(&path).unwrap();
        assert_eq!((newest.unwrap().applied.index, file.durable()), (11, 110));

        bytes[HALF + 20] ^= 1; // what it says of the batches
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(HighWaterFile::open(&path), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn what_is_known_of_the_batches_outlives_a_start_and_never_falls() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HIGH-WATER");
        HighWaterFile::create(&path).unwrap();
        let (mut file, _) = HighWaterFile::open(&path).unwrap();
        file.raise(7).unwrap();
        assert_eq!(file.durable(), 0, "a node without a mark has promised nothing");
        file.write(mark(10), 5).unwrap();
        file.write(mark(11), 4).unwrap();
        let salt = *file.salt();
        let (mut file, _) = HighWaterFile::open(&path).unwrap();
        assert_eq!((file.durable(), *file.salt()), (5, salt));
        file.raise(9).unwrap();
        file.raise(8).unwrap();
        let (file, newest) = HighWaterFile::open(&path).unwrap();
        assert_eq!((file.durable(), *file.salt(), newest.unwrap().applied.index), (9, salt, 11));
    }

    #[test]
    fn a_file_of_a_program_from_before_says_nothing_of_batches_and_counts_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HIGH-WATER");
        HighWaterFile::create(&path).unwrap();
        let (mut file, _) = HighWaterFile::open(&path).unwrap();
        (10..12).for_each(|index| file.write(mark(index), index).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let as_before = |slot: &mut [u8]| slot[HALF..].fill(0);
        as_before(&mut bytes[SLOT_BYTES..]);
        std::fs::write(&path, &bytes).unwrap();
        let (file, newest) = HighWaterFile::open(&path).unwrap();
        assert!(newest.is_some());
        assert!(file.durable() >= 10, "the older slot still says so");
        as_before(&mut bytes[..SLOT_BYTES]);
        std::fs::write(&path, &bytes).unwrap();
        let (file, newest) = HighWaterFile::open(&path).unwrap();
        assert_eq!((file.durable(), newest.unwrap().applied.index), (0, 11));
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
