//! The log tail in memory: raft's `Storage`, backed by no I/O.
//!
//! All entries above the truncation point are here, so raft never waits for a disk to read. Each carries a chain
//! hash over all before it; rows read back at start must continue the chain.

use super::disk::{DiskBatch, DiskOp, DiskTable, LogPoint};
use super::wire;
use crate::codec::CodecError;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use signonce_protocol::blake2_256;
use std::{cell::Cell, collections::VecDeque};

/// Chain hash bytes in front of a stored entry.
const CHAIN_BYTES: usize = 32;

struct Stored {
    entry: Entry,
    chain: [u8; 32],
    bytes: usize,
}

/// The log tail, the hard state and the configuration, as raft reads them.
pub struct MemLog {
    truncated: LogPoint,
    entries: VecDeque<Stored>,
    /// Bytes of all entries held.
    bytes: usize,
    pub(super) hard_state: HardState,
    pub(super) conf_state: ConfState,
    snapshot: Option<Snapshot>,
    /// Raft asked for a snapshot that is not here; the replica makes one and raft asks again.
    pub(super) snapshot_wanted: Cell<bool>,
}

/// Why rows are not a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// An entry is missing.
    #[error("log entry {expected} is missing (next found: {found})")]
    Gap {
        /// The entry that should be there.
        expected: u64,
        /// The entry found in its place.
        found: u64,
    },
    /// An entry's bytes are damaged.
    #[error("log entry {index} is damaged: {source}")]
    Damaged {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// An entry does not continue the chain.
    #[error("log entry {index} does not continue the log before it")]
    BrokenChain {
        /// The entry.
        index: u64,
    },
}

fn next_chain(previous: &[u8; 32], entry: &[u8]) -> [u8; 32] {
    let mut input = Vec::with_capacity(CHAIN_BYTES + entry.len());
    input.extend_from_slice(previous);
    input.extend_from_slice(entry);
    blake2_256(&input)
}

impl MemLog {
    pub(super) fn new(truncated: LogPoint, hard_state: HardState, conf_state: ConfState) -> Self {
        Self {
            truncated,
            entries: VecDeque::new(),
            bytes: 0,
            hard_state,
            conf_state,
            snapshot: None,
            snapshot_wanted: Cell::new(false),
        }
    }

    /// Takes in rows of the log table, in key order.
    pub(super) fn load<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), LogError> {
        for (key, value) in rows {
            let expected = self.last().index + 1;
            let found = <[u8; 8]>::try_from(key).map_or(0, u64::from_be_bytes);
            if found != expected {
                return Err(LogError::Gap { expected, found });
            }
            let damaged = |source| LogError::Damaged { index: expected, source };
            let (chain, bytes) = value
                .split_at_checked(CHAIN_BYTES)
                .ok_or_else(|| damaged(CodecError::TooShort { len: value.len() }))?;
            let entry = wire::decode_entry(bytes).map_err(damaged)?;
            let computed = next_chain(&self.last().chain, bytes);
            if chain != computed || entry.index != expected || entry.term < self.last().term {
                return Err(LogError::BrokenChain { index: expected });
            }
            self.push(entry, computed, bytes.len());
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry, chain: [u8; 32], bytes: usize) {
        self.bytes += bytes;
        self.entries.push_back(Stored { entry, chain, bytes });
    }

    pub(super) fn last(&self) -> LogPoint {
        self.entries.back().map_or(self.truncated, |s| LogPoint {
            index: s.entry.index,
            term: s.entry.term,
            chain: s.chain,
        })
    }

    pub(super) fn truncated(&self) -> LogPoint {
        self.truncated
    }

    /// The point at `index`, if the log still knows it.
    pub(super) fn point(&self, index: u64) -> Option<LogPoint> {
        if index == self.truncated.index {
            return Some(self.truncated);
        }
        let stored = self.get(index)?;
        Some(LogPoint { index, term: stored.entry.term, chain: stored.chain })
    }

    fn get(&self, index: u64) -> Option<&Stored> {
        let offset = index.checked_sub(self.truncated.index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The entries after `low`, up to and with `high`.
    pub(super) fn between(&self, low: u64, high: u64) -> impl Iterator<Item = &Entry> {
        (low + 1..=high).filter_map(|index| self.get(index)).map(|stored| &stored.entry)
    }

    /// A step of the configuration was applied. A snapshot from before it is of no use to whoever it has let in.
    pub(super) fn set_configuration(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
        self.snapshot = None;
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends `entries`, first dropping what they overwrite, and writes the same into `batch`.
    pub(super) fn append(&mut self, entries: &[Entry], batch: &mut DiskBatch) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.truncated.index && first.index <= self.last().index + 1,
            "raft appends entry {} to a log of ({}, {}]",
            first.index,
            self.truncated.index,
            self.last().index
        );
        if first.index <= self.last().index {
            batch.ops.push(DiskOp::DeleteRange(
                DiskTable::Log,
                first.index.to_be_bytes().to_vec(),
                (self.last().index + 1).to_be_bytes().to_vec(),
            ));
            while self.last().index >= first.index {
                let dropped = self.entries.pop_back().expect("the last index is above the truncation point");
                self.bytes -= dropped.bytes;
            }
        }
        for entry in entries {
            assert_eq!(entry.index, self.last().index + 1, "raft appends without gaps");
            let bytes = wire::encode_entry(entry);
            let chain = next_chain(&self.last().chain, &bytes);
            let mut row = Vec::with_capacity(CHAIN_BYTES + bytes.len());
            row.extend_from_slice(&chain);
            row.extend_from_slice(&bytes);
            batch.put(DiskTable::Log, entry.index.to_be_bytes(), row);
            self.push(entry.clone(), chain, bytes.len());
        }
    }

    /// Up to where the log has to be forgotten so that the rest has `bytes` at most.
    pub(super) fn surplus(&self, bytes: usize) -> u64 {
        let (mut left, mut upto) = (self.bytes, self.truncated.index);
        for stored in &self.entries {
            if left <= bytes {
                break;
            }
            (left, upto) = (left - stored.bytes, stored.entry.index);
        }
        upto
    }

    /// Forgets entries up to and including `index`.
    pub(super) fn compact(&mut self, index: u64, batch: &mut DiskBatch) {
        let Some(point) = self.point(index).filter(|p| p.index > self.truncated.index) else { return };
        batch.ops.push(DiskOp::DeleteRange(
            DiskTable::Log,
            (self.truncated.index + 1).to_be_bytes().to_vec(),
            (index + 1).to_be_bytes().to_vec(),
        ));
        batch.put_meta(super::disk::meta_key::TRUNCATED, &point);
        while self.entries.front().is_some_and(|s| s.entry.index <= index) {
            let dropped = self.entries.pop_front().expect("the front was just seen");
            self.bytes -= dropped.bytes;
        }
        self.truncated = point;
        if self.snapshot.as_ref().is_some_and(|s| s.get_metadata().index < index) {
            self.snapshot = None;
        }
    }

    /// Starts over behind a snapshot.
    pub(super) fn reset_to(&mut self, point: LogPoint, conf_state: ConfState, batch: &mut DiskBatch) {
        batch.ops.push(DiskOp::Clear(DiskTable::Log));
        batch.put_meta(super::disk::meta_key::TRUNCATED, &point);
        self.entries.clear();
        self.bytes = 0;
        self.truncated = point;
        self.conf_state = conf_state;
        self.snapshot = None;
    }

    /// Takes the snapshot back.
    pub(super) fn withdraw_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// Offers a snapshot to followers that need entries no longer here.
    pub(super) fn offer_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot_wanted.set(false);
        self.snapshot = Some(snapshot);
    }
}

impl Storage for MemLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state: self.conf_state.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last().index + 1, "raft reads past the end of the log");
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut taken = Vec::new();
        let mut size = 0u64;
        for index in low..high {
            let stored = self.get(index).ok_or(StorageError::Unavailable)?;
            size = size.saturating_add(stored.bytes as u64);
            if size > limit && !taken.is_empty() {
                break;
            }
            taken.push(stored.entry.clone());
        }
        Ok(taken)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        self.point(index).map(|p| p.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.snapshot {
            Some(snapshot) if snapshot.get_metadata().index >= request_index => Ok(snapshot.clone()),
            _ => {
                self.snapshot_wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![index as u8; 5].into(), ..Default::default() }
    }

    fn start() -> MemLog {
        let point = LogPoint { index: 5, term: 1, chain: [0; 32] };
        MemLog::new(point, HardState::default(), ConfState::default())
    }

    fn rows(batch: &DiskBatch) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = std::collections::BTreeMap::new();
        for op in &batch.ops {
            match op {
                DiskOp::Put(DiskTable::Log, k, v) => {
                    rows.insert(k.clone(), v.clone());
                }
                DiskOp::DeleteRange(DiskTable::Log, from, to) => rows.retain(|k, _| k < from || k >= to),
                _ => {}
            }
        }
        rows.into_iter().collect()
    }

    fn load(rows: &[(Vec<u8>, Vec<u8>)]) -> Result<MemLog, LogError> {
        let mut log = start();
        log.load(rows.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))).map(|()| log)
    }

    #[test]
    fn what_was_appended_is_read_back_with_the_same_chain() {
        let (mut log, mut batch) = (start(), DiskBatch::default());
        log.append(&[entry(6, 1), entry(7, 1), entry(8, 1)], &mut batch);
        log.append(&[entry(8, 2), entry(9, 2)], &mut batch); // a new leader overwrites 8
        let read = load(&rows(&batch)).unwrap();
        assert_eq!(read.last(), log.last());
        assert_eq!(read.term(8).unwrap(), 2);
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn a_missing_damaged_or_foreign_entry_is_noticed_at_load() {
        let (mut log, mut batch) = (start(), DiskBatch::default());
        log.append(&[entry(6, 1), entry(7, 1), entry(8, 1)], &mut batch);
        let good = rows(&batch);

        let mut gap = good.clone();
        gap.remove(1);
        assert_eq!(load(&gap).err(), Some(LogError::Gap { expected: 7, found: 8 }));

        let mut flipped = good.clone();
        *flipped[1].1.last_mut().unwrap() ^= 1;
        assert!(matches!(load(&flipped).err(), Some(LogError::Damaged { index: 7, .. })));

        let (mut other, mut other_batch) = (start(), DiskBatch::default());
        other.append(&[entry(6, 2), entry(7, 2)], &mut other_batch);
        let mut spliced = good;
        spliced[1] = rows(&other_batch)[1].clone();
        assert_eq!(load(&spliced).err(), Some(LogError::BrokenChain { index: 7 }));
    }

    #[test]
    fn compaction_keeps_the_term_and_chain_of_the_last_dropped_entry() {
        let (mut log, mut batch) = (start(), DiskBatch::default());
        log.append(&[entry(6, 1), entry(7, 3), entry(8, 3)], &mut batch);
        let chain = log.point(7).unwrap().chain;
        log.compact(7, &mut DiskBatch::default());
        assert_eq!(log.truncated(), LogPoint { index: 7, term: 3, chain });
        assert_eq!(log.term(7).unwrap(), 3);
        assert_eq!(log.first_index().unwrap(), 8);
        assert!(log.entries(7, 9, None, GetEntriesContext::empty(false)).is_err());
    }

    #[test]
    fn what_a_log_has_too_much_of_are_its_oldest_entries() {
        let mut log = start();
        log.append(&[entry(6, 1), entry(7, 3), entry(8, 3)], &mut DiskBatch::default());
        let all = log.bytes();
        assert_eq!(log.surplus(all), 5, "nothing");
        assert_eq!(log.surplus(all - 1), 6);
        assert_eq!(log.surplus(0), 8);
        log.compact(log.surplus(all - 1), &mut DiskBatch::default());
        assert!(log.bytes() < all && log.get(7).is_some());
    }

    #[test]
    fn a_snapshot_that_is_not_there_is_asked_for() {
        let log = start();
        assert!(log.snapshot(0, 2).is_err());
        assert!(log.snapshot_wanted.get());
    }
}
