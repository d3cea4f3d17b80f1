//! A node's disk: what an fsync has made durable, and what a crash may still take.
//!
//! The store is one write-ahead log, so a power cut leaves a prefix of the batches written; of a batch torn in the
//! middle nothing is left, because recovery drops a damaged last record. The two files beside the store
//! (high-water mark, identity) follow the rules of `cluster/node`.

use parity_scale_codec::Decode;
use signonce_core::decode_record;
use signonce_core::replica::disk::{
    DiskBatch, DiskImage, DiskOp, DiskTable, HardStateRow, HighWater, LogPoint,
};
use std::collections::{BTreeMap, VecDeque};

/// The version of rows in the meta table.
const META_VERSION: u8 = 1;
/// Chain hash bytes in front of a stored log entry.
const CHAIN_BYTES: usize = 32;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// See the module's text.
#[derive(Clone, Default)]
pub struct Disk {
    tables: [Rows; 5],
    /// Written, visible to the process, not durable. The oldest first.
    unsynced: VecDeque<DiskBatch>,
    /// Batches that have become durable so far.
    synced: u64,
    /// What is durable of the log and the hard state: what the node may speak of.
    pub durable: Durable,
    /// The high-water file as written, and as it was when the file itself was last made durable.
    pub high_water: Option<HighWater>,
    high_water_durable: Option<HighWater>,
    /// The incarnation in the store and in the identity file; a start writes the store's first.
    pub incarnation_inside: u64,
    /// See [`Self::incarnation_inside`].
    pub incarnation_beside: u64,
}

/// The durable position, followed row by row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durable {
    /// Last log index.
    pub last: u64,
    /// Hard state.
    pub hard_state: HardStateRow,
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process died; the operating system keeps what it was given.
    Nothing,
    /// The power went: of the unsynced batches this many thousandths are left.
    Power(u16),
    /// As `Power`, and the first half of the batch after those counts too: what no store may let happen.
    Torn(u16),
}

impl Disk {
    /// Takes a batch: visible at once, durable later.
    pub fn write(&mut self, batch: DiskBatch) {
        self.unsynced.push_back(batch);
    }

    /// The number of batches written so far: what an fsync that starts now covers.
    pub fn written(&self) -> u64 {
        self.synced + self.unsynced.len() as u64
    }

    /// Makes the first `upto` batches durable.
    pub fn sync(&mut self, upto: u64) {
        while self.synced < upto {
            let Some(batch) = self.unsynced.pop_front() else { return };
            self.synced += 1;
            for op in batch.ops {
                self.apply(op);
            }
        }
    }

    fn apply(&mut self, op: DiskOp) {
        match op {
            DiskOp::Put(table, key, value) => {
                self.follow_put(table, &key, &value);
                self.tables[table as usize].insert(key, value);
            }
            DiskOp::Delete(table, key) => {
                self.tables[table as usize].remove(&key);
            }
            DiskOp::DeleteRange(table, from, to) => {
                let rows = &mut self.tables[table as usize];
                let gone: Vec<Vec<u8>> = rows.range(from.clone()..to).map(|(k, _)| k.clone()).collect();
                gone.iter().for_each(|key| drop(rows.remove(key)));
                // Rows at the end are about to be overwritten; rows at the front go with a truncation point.
                if table == DiskTable::Log && rows.range(from.clone()..).next().is_none() {
                    self.durable.last = index_of(&from).saturating_sub(1).max(self.truncated());
                }
            }
            DiskOp::Clear(table) => self.tables[table as usize].clear(),
        }
    }

    fn follow_put(&mut self, table: DiskTable, key: &[u8], value: &[u8]) {
        match table {
            DiskTable::Log => self.durable.last = index_of(key),
            DiskTable::Meta if key == b"hard-state" => {
                self.durable.hard_state = meta(value).unwrap_or_default();
            }
            DiskTable::Meta if key == b"truncated" => {
                let point: LogPoint = meta(value).unwrap_or_default();
                if self.tables[DiskTable::Log as usize].is_empty() {
                    self.durable.last = point.index;
                }
                self.durable.last = self.durable.last.max(point.index);
            }
            _ => {}
        }
    }

    fn truncated(&self) -> u64 {
        let row = self.tables[DiskTable::Meta as usize].get(&b"truncated"[..]);
        row.and_then(|value| meta::<LogPoint>(value)).map_or(0, |point| point.index)
    }

    /// Ends a process. What is left is durable from now on: the next start reads it and syncs it.
    pub fn crash(&mut self, loss: Loss) {
        let unsynced = self.unsynced.len() as u64;
        let kept = match loss {
            Loss::Nothing => unsynced,
            Loss::Power(thousandths) | Loss::Torn(thousandths) => {
                self.high_water = self.high_water_durable;
                (unsynced + 1) * u64::from(thousandths) / 1_000
            }
        };
        let upto = self.synced + kept.min(unsynced);
        self.sync(upto);
        if matches!(loss, Loss::Torn(_))
            && let Some(torn) = self.unsynced.pop_front()
        {
            let half = torn.ops.len() / 2;
            torn.ops.into_iter().take(half).for_each(|op| self.apply(op));
        }
        self.unsynced.clear();
        self.synced = upto;
        self.high_water_durable = self.high_water;
    }

    /// Writes the high-water file, which only ever rises.
    pub fn mark(&mut self, mark: HighWater) {
        let mut next = self.high_water.unwrap_or(mark);
        next.promise.raise(&mark.promise);
        if mark.applied.index > next.applied.index {
            next.applied = mark.applied;
        }
        next.sequence = self.high_water.map_or(0, |m| m.sequence) + 1;
        self.high_water = Some(next);
    }

    /// Makes the high-water file durable.
    pub fn sync_mark(&mut self) {
        self.high_water_durable = self.high_water;
    }

    /// Loses what was synced since `before`, in the store alone: the files beside it keep what they know.
    pub fn lose_synced_since(&mut self, before: &Disk) {
        let Self { tables, unsynced, synced, durable, .. } = before.clone();
        (self.tables, self.unsynced, self.synced, self.durable) = (tables, unsynced, synced, durable);
        self.incarnation_inside = before.incarnation_inside;
        self.crash(Loss::Nothing);
    }

    /// What a start reads. Only after a crash, when nothing is unsynced.
    pub fn image(&self) -> DiskImage {
        let rows = DiskTable::READ_AT_START.into_iter().flat_map(|table| {
            self.tables[table as usize].iter().map(move |(k, v)| (table, k.clone(), v.clone()))
        });
        DiskImage { rows: rows.collect() }
    }

    /// The chain hashes of the entries in the log, and of the point before it.
    pub fn chains(&self) -> BTreeMap<u64, [u8; 32]> {
        let mut chains = BTreeMap::new();
        for (key, value) in &self.tables[DiskTable::Log as usize] {
            chains.extend(chain_of(DiskTable::Log, key, value));
        }
        let truncated = self.tables[DiskTable::Meta as usize].get_key_value(&b"truncated"[..]);
        chains.extend(truncated.and_then(|(key, value)| chain_of(DiskTable::Meta, key, value)));
        chains
    }
}

/// The index and chain hash that a row tells: a log entry's, or the truncation point's.
pub fn chain_of(table: DiskTable, key: &[u8], value: &[u8]) -> Option<(u64, [u8; 32])> {
    match table {
        DiskTable::Log => Some((index_of(key), value.get(..CHAIN_BYTES)?.try_into().ok()?)),
        DiskTable::Meta if key == b"truncated" => {
            meta::<LogPoint>(value).map(|point| (point.index, point.chain))
        }
        _ => None,
    }
}

fn index_of(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

fn meta<T: Decode>(value: &[u8]) -> Option<T> {
    decode_record(META_VERSION, "meta row", value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(index: u64) -> DiskBatch {
        DiskBatch { ops: vec![DiskOp::Put(DiskTable::Log, index.to_be_bytes().to_vec(), vec![0; 40])] }
    }

    #[test]
    fn a_power_cut_leaves_a_prefix_and_never_takes_what_was_synced() {
        for thousandths in [0, 400, 999] {
            let mut disk = Disk::default();
            (1..=5).for_each(|i| disk.write(batch(i)));
            disk.sync(2);
            disk.crash(Loss::Power(thousandths));
            let left: Vec<u64> = disk.chains().into_keys().collect();
            assert_eq!(left, (1..=left.len() as u64).collect::<Vec<_>>());
            assert!((2..=5).contains(&left.len()));
            assert_eq!(disk.durable.last, left.len() as u64);
        }
    }

    #[test]
    fn a_killed_process_loses_nothing() {
        let mut disk = Disk::default();
        (1..=5).for_each(|i| disk.write(batch(i)));
        disk.crash(Loss::Nothing);
        assert_eq!(disk.durable.last, 5);
    }
}
