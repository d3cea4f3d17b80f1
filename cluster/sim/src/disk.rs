//! A node's disk: what an fsync has made durable, and what a crash may still take.
//!
//! The store is one write-ahead log. A power cut may take any page of it that is not durable and leave later ones;
//! recovery stops before the first damaged page, so that a prefix of the batches written is left, or skips it, as
//! RocksDB sometimes does. It treats a page that was durable and is damaged nevertheless, which no disk may cause, in
//! the same way; what lies behind the damage then shows that more had been durable. What follows is the product's rule
//! ([`signonce_driver::batches`]). The two files beside the store (high-water mark, identity) follow the rules of
//! `cluster/node` too.

use parity_scale_codec::Decode;
use signonce_core::decode_record;
use signonce_core::replica::disk::{
    DiskBatch, DiskImage, DiskOp, DiskTable, HardStateRow, HighWater, LogPoint, StateRecord,
};
use signonce_driver::batches::{Batches, Missing, Row, last_of};
use std::collections::{BTreeMap, VecDeque};

/// The version of rows in the meta table.
const META_VERSION: u8 = 1;
/// Chain hash bytes in front of a stored log entry.
const CHAIN_BYTES: usize = 32;

/// How many durable batches are remembered with what they changed: how far back a disk can be damaged.
const KNOWN_BATCHES: usize = 64;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A batch that is not durable.
#[derive(Clone)]
struct Written {
    ops: Vec<DiskOp>,
    row: Row,
}

/// A row's table and key, and its previous value; `None` if there was none.
type OldRow = (DiskTable, Vec<u8>, Option<Vec<u8>>);

/// A durable batch, with the state before it.
#[derive(Clone, Default)]
struct Before {
    rows: Vec<OldRow>,
    durable: Durable,
    incarnation: u64,
    /// How many batches its row declares durable.
    testifies: u64,
}

/// A disk; see the module's text.
#[derive(Clone, Default)]
pub struct Disk {
    tables: [Rows; 5],
    /// Batches that are written and visible to the process but not durable, oldest first.
    unsynced: VecDeque<Written>,
    /// Batches that have become durable so far.
    synced: u64,
    /// What the process knows of that.
    batches: Batches,
    /// The last of the durable batches.
    known: VecDeque<Before>,
    /// The batches that the high-water file declares durable, as written and as made durable itself.
    marked: u64,
    marked_durable: u64,
    /// The batches that the rows behind the last damage declare durable.
    testified: u64,
    /// What the last crash left behind a missing batch.
    behind: Vec<Written>,
    /// The next start skips the hole, as if nothing more had been written there.
    passes_over: bool,
    /// What is durable of the log and the hard state, which the node may tell others.
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

/// What a crash loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: the process died, and the operating system keeps what it was given.
    Nothing,
    /// The power went: this many thousandths of the unsynced batches are left whole, and some of those behind the first
    /// that is not.
    Power(u16),
    /// As `Power`, and the first half of the batch after those counts too: what no store may let happen.
    Torn(u16),
}

impl Disk {
    /// Takes a batch: visible at once, durable later.
    pub fn write(&mut self, batch: DiskBatch) {
        let row = self.batches.next();
        self.unsynced.push_back(Written { ops: batch.ops, row });
        self.batches.wrote(row);
    }

    /// Starts a life: durably writes the next incarnation into the store and into the file beside it.
    pub fn begin_life(&mut self, incarnation: u64) {
        let row = self.batches.next();
        self.batches.wrote(row);
        self.batches.synced(row.number);
        let (durable, before, testifies) = (self.durable, self.incarnation_inside, row.durable);
        self.remember(Before { rows: Vec::new(), durable, incarnation: before, testifies });
        (self.incarnation_inside, self.incarnation_beside) = (incarnation, incarnation);
    }

    fn remember(&mut self, before: Before) {
        self.synced += 1;
        self.known.push_back(before);
        if self.known.len() > KNOWN_BATCHES {
            self.known.pop_front();
        }
    }

    /// Opens the store, if it holds all that is known to have been durable. What it declares goes into the high-water
    /// file, so that a second start knows it too.
    pub fn open(&mut self, refuses_holes: bool) -> Result<(), String> {
        let behind = std::mem::take(&mut self.behind);
        self.batches = Batches::opened(self.synced);
        if !behind.is_empty() && refuses_holes {
            return Err("the write-ahead log is damaged".into());
        }
        if self.high_water.is_some() {
            self.marked = self.marked.max(self.testified);
            self.marked_durable = self.marked;
        }
        let behind = if self.passes_over { behind } else { Vec::new() };
        match last_of(rows_left(self.synced, &behind), self.marked) {
            Ok(holds) => {
                if holds > self.synced {
                    self.goes_on_behind(behind, holds);
                }
                Ok(())
            }
            // The store is cut off before what lies behind, and opened again.
            Err(Missing::Hole { before, .. }) => {
                assert_eq!(last_of([before], self.marked), Ok(self.synced), "nothing else is amiss");
                Ok(())
            }
            Err(missing @ Missing::Durable { .. }) => Err(missing.to_string()),
        }
    }

    /// Accepts what lies behind a hole as if nothing were missing, which no store may do.
    fn goes_on_behind(&mut self, behind: Vec<Written>, holds: u64) {
        for batch in behind {
            batch.ops.into_iter().for_each(|op| self.apply(op, &mut Vec::new()));
        }
        self.synced = holds;
        self.batches = Batches::opened(holds);
    }

    /// The number of batches written so far: what an fsync that starts now covers.
    pub fn written(&self) -> u64 {
        self.batches.written()
    }

    /// Makes the first `upto` batches durable.
    pub fn sync(&mut self, upto: u64) {
        while self.synced < upto {
            let Some(Written { ops, row }) = self.unsynced.pop_front() else { return };
            let (durable, incarnation) = (self.durable, self.incarnation_inside);
            let mut rows = Vec::new();
            ops.into_iter().for_each(|op| self.apply(op, &mut rows));
            self.remember(Before { rows, durable, incarnation, testifies: row.durable });
        }
        self.batches.synced(self.synced);
    }

    /// Changes the tables; `before` gets what was in the place of each row.
    fn apply(&mut self, op: DiskOp, before: &mut Vec<OldRow>) {
        match op {
            DiskOp::Put(table, key, value) => {
                self.follow_put(table, &key, &value);
                let old = self.tables[table as usize].insert(key.clone(), value);
                before.push((table, key, old));
            }
            DiskOp::Delete(table, key) => {
                let old = self.tables[table as usize].remove(&key);
                before.push((table, key, old));
            }
            DiskOp::DeleteRange(table, from, to) => {
                let rows = &mut self.tables[table as usize];
                let gone: Vec<Vec<u8>> = rows.range(from.clone()..to).map(|(k, _)| k.clone()).collect();
                before.extend(gone.into_iter().map(|key| {
                    let old = rows.remove(&key);
                    (table, key, old)
                }));
                // Rows at the end are about to be overwritten; rows at the front go with a truncation point.
                if table == DiskTable::Log && rows.range(from.clone()..).next().is_none() {
                    self.durable.last = index_of(&from).saturating_sub(1).max(self.truncated());
                }
            }
            DiskOp::Clear(table) => {
                let gone = std::mem::take(&mut self.tables[table as usize]);
                before.extend(gone.into_iter().map(|(key, old)| (table, key, Some(old))));
            }
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

    /// Ends a process. What is left is durable from now on: the next start reads and syncs it.
    pub fn crash(&mut self, loss: Loss) {
        let unsynced = self.unsynced.len() as u64;
        let kept = match loss {
            Loss::Nothing => unsynced,
            Loss::Power(thousandths) | Loss::Torn(thousandths) => {
                (self.high_water, self.marked) = (self.high_water_durable, self.marked_durable);
                (unsynced + 1) * u64::from(thousandths) / 1_000
            }
        };
        let upto = self.synced + kept.min(unsynced);
        self.sync(upto);
        if matches!(loss, Loss::Torn(_))
            && let Some(torn) = self.unsynced.pop_front()
        {
            let half = torn.ops.len() / 2;
            torn.ops.into_iter().take(half).for_each(|op| self.apply(op, &mut Vec::new()));
        }
        self.lose_pages(loss);
        self.high_water_durable = self.high_water;
        self.marked_durable = self.marked;
    }

    /// The first batch that is left is missing; some of those behind it are not.
    fn lose_pages(&mut self, loss: Loss) {
        let left = std::mem::take(&mut self.unsynced);
        let dice = match loss {
            Loss::Power(thousandths) => u64::from(thousandths) + 1,
            Loss::Nothing | Loss::Torn(_) => 0,
        };
        let survives = |i: &u64| dice.wrapping_mul(0x9e37_79b9 + i) >> 9 & 1 == 1;
        let behind = (1..).zip(left.into_iter().skip(1)).filter(|(i, _)| survives(i));
        self.behind = behind.map(|(_, batch)| batch).collect();
        self.passes_over = dice % 3 == 1;
        self.testified = self.behind.iter().map(|batch| batch.row.durable).max().unwrap_or_default();
    }

    /// Damages one of the last durable batches, counted from the end: recovery stops before it. What is behind it
    /// still tells how far the store was durable. Only after a crash.
    pub fn damage(&mut self, back: usize) {
        for left in (0..back.min(self.known.len())).rev() {
            let Some(Before { rows, durable, incarnation, testifies }) = self.known.pop_back() else {
                return;
            };
            for (table, key, old) in rows.into_iter().rev() {
                match old {
                    Some(value) => drop(self.tables[table as usize].insert(key, value)),
                    None => drop(self.tables[table as usize].remove(&key)),
                }
            }
            (self.durable, self.incarnation_inside) = (durable, incarnation);
            self.synced -= 1;
            if left > 0 {
                self.testified = self.testified.max(testifies); // all but the damaged one itself
            }
        }
    }

    /// Writes the high-water file, which only ever rises.
    pub fn mark(&mut self, mark: HighWater) {
        self.high_water = Some(HighWater::after(self.high_water, mark));
        self.marked = self.marked.max(self.batches.durable());
    }

    /// Makes the high-water file durable.
    pub fn sync_mark(&mut self) {
        self.high_water_durable = self.high_water;
        self.marked_durable = self.marked;
    }

    /// Loses what was synced since `before`, in the store alone: the files beside it keep what they know.
    pub fn lose_synced_since(&mut self, before: &Disk) {
        let Self { tables, unsynced, synced, batches, known, durable, .. } = before.clone();
        (self.tables, self.unsynced, self.synced, self.known, self.durable) =
            (tables, unsynced, synced, known, durable);
        self.batches = batches;
        self.incarnation_inside = before.incarnation_inside;
        self.crash(Loss::Nothing);
    }

    /// What a start reads. Only after a crash, when everything is synced.
    pub fn image(&self) -> DiskImage {
        let rows = DiskTable::READ_AT_START.into_iter().flat_map(|table| {
            self.tables[table as usize].iter().map(move |(k, v)| (table, k.clone(), v.clone()))
        });
        DiskImage { rows: rows.collect() }
    }

    /// The state's records as they are visible now.
    pub fn state_records(&self) -> Vec<StateRecord> {
        let mut visible = self.clone();
        visible.sync(visible.written());
        let mut records = Vec::new();
        for (stored, table) in DiskTable::STATE {
            let rows = std::mem::take(&mut visible.tables[stored as usize]);
            records.extend(rows.into_iter().map(|(key, value)| (table, key, value)));
        }
        records
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

/// The numbers of the rows in a store that holds the batches up to `synced` and some `behind` a hole: every batch takes
/// away the row of the one before it.
fn rows_left(synced: u64, behind: &[Written]) -> Vec<u64> {
    let numbers: Vec<u64> =
        std::iter::once(synced).chain(behind.iter().map(|batch| batch.row.number)).collect();
    let is_last = |at: usize| numbers.get(at + 1).is_none_or(|next| *next != numbers[at] + 1);
    (0..numbers.len()).filter(|at| is_last(*at)).map(|at| numbers[at]).collect()
}

/// The index and chain hash in a row: those of a log entry, or of the truncation point.
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
    fn damage_to_what_was_durable_is_told_by_what_lies_behind_it() {
        for back in 1..=5 {
            let mut disk = Disk { high_water: Some(mark()), ..Disk::default() };
            disk.sync_mark();
            for i in 1..=5 {
                disk.write(batch(i));
                disk.sync(i);
            }
            disk.crash(Loss::Power(0));
            disk.damage(back);
            let left: Vec<u64> = disk.chains().into_keys().collect();
            assert_eq!(left, (1..=5 - back as u64).collect::<Vec<_>>());
            assert_eq!(disk.durable.last, 5 - back as u64);
            // Of the last batch itself nothing tells but the high-water file.
            assert_eq!(disk.open(false).is_err(), back > 1, "{back}");
            assert_eq!(disk.open(false).is_err(), back > 1, "{back}, a second start");
        }
    }

    #[test]
    fn what_is_left_behind_a_hole_never_claims_more_than_was_durable() {
        let (mut holes, mut passed_over) = (0, 0);
        for thousandths in 0..1_000 {
            let mut disk = Disk { high_water: Some(mark()), ..Disk::default() };
            for i in 1..=20 {
                disk.write(batch(i));
                if i % 5 == 0 {
                    disk.sync(i - 3);
                }
            }
            disk.mark(mark());
            disk.sync_mark();
            disk.crash(Loss::Power(thousandths));
            let has_hole = !disk.behind.is_empty();
            holes += u32::from(has_hole);
            passed_over += u32::from(has_hole && disk.passes_over);
            let left = disk.synced;
            disk.open(false).unwrap();
            assert_eq!((disk.synced, disk.written()), (left, left), "what lies behind a hole does not count");
        }
        assert!(holes > 200 && passed_over > 50, "{holes}, {passed_over}");
    }

    #[test]
    fn of_what_is_left_behind_a_hole_the_last_row_of_each_run_is_seen() {
        let behind = |numbers: &[u64]| -> Vec<Written> {
            let row = |number| Row { number, durable: 0 };
            numbers.iter().map(|number| Written { ops: Vec::new(), row: row(*number) }).collect()
        };
        for (numbers, rows) in
            [(&[][..], vec![5]), (&[7], vec![5, 7]), (&[7, 8], vec![5, 8]), (&[7, 8, 10], vec![5, 8, 10])]
        {
            assert_eq!(rows_left(5, &behind(numbers)), rows);
        }
    }

    fn mark() -> HighWater {
        HighWater { sequence: 0, promise: Default::default(), applied: Default::default() }
    }

    #[test]
    fn a_killed_process_loses_nothing() {
        let mut disk = Disk::default();
        (1..=5).for_each(|i| disk.write(batch(i)));
        disk.crash(Loss::Nothing);
        assert_eq!(disk.durable.last, 5);
    }
}
