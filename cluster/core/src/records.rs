//! The state as records: what the node stores, and the running hash over all of them.
//!
//! Every change of the state is written into the journal as "this record was that and is now this". The journal
//! keeps the changes for the node's next write batch and moves the [`StateHash`] along. Only this crate writes to it;
//! nodes see [`RecordChange`]s through [`State::take_changes`](crate::State::take_changes).

use blake2::Digest as _;
use parity_scale_codec::{Decode, Encode, MaxEncodedLen};
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

/// The version of every record's envelope.
pub(crate) const RECORD_VERSION: u8 = 1;

/// The two tables of records; a node gives each a column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, MaxEncodedLen)]
pub enum Table {
    /// Chains, keys, clients, members and the counters.
    #[codec(index = 0)]
    Registry,
    /// Floors and signed duties.
    #[codec(index = 1)]
    Ledger,
}

/// One record to be written (`Some`) or deleted (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// The table.
    pub table: Table,
    /// The record's key within the table.
    pub key: Vec<u8>,
    /// The sealed record, or `None` to delete it.
    pub value: Option<Vec<u8>>,
}

/// A hash of the whole state: the sum modulo 2^256 of the Blake2b-256 of every record.
///
/// A sum can be moved by one record at a time and does not depend on the order. It is there to catch faults (a bug,
/// a flipped bit, a lost write), not forgers: nothing trusts a state because of this hash alone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode, MaxEncodedLen)]
pub struct StateHash([u64; 4]);

impl StateHash {
    /// The hash as bytes, lowest limb first, each limb little-endian.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// The hash from [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(limbs(bytes))
    }

    /// Adds one record.
    pub(crate) fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let mut carry = false;
        for (sum, limb) in self.0.iter_mut().zip(record_hash(table, key, value)) {
            (*sum, carry) = sum.carrying_add(limb, carry);
        }
    }

    /// Takes one record out again.
    pub(crate) fn subtract(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let mut borrow = false;
        for (sum, limb) in self.0.iter_mut().zip(record_hash(table, key, value)) {
            (*sum, borrow) = sum.borrowing_sub(limb, borrow);
        }
    }
}

/// Blake2b-256 of table ‖ key length (u32) ‖ key ‖ value: no two records give the same bytes.
fn record_hash(table: Table, key: &[u8], value: &[u8]) -> [u64; 4] {
    let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hasher = blake2::Blake2b::<blake2::digest::consts::U32>::new();
    hasher.update([table as u8]);
    hasher.update(key_len.to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    limbs(hasher.finalize().into())
}

fn limbs(bytes: [u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*chunk);
    }
    limbs
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.to_bytes()))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for StateHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSize {
    /// Its records.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// How much both tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes([TableSize; 2]);

impl Sizes {
    pub(crate) const fn of(&self, table: Table) -> TableSize {
        self.0[table as usize]
    }

    pub(crate) fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let size = &mut self.0[table as usize];
        size.rows += 1;
        size.bytes += (key.len() + value.len()) as u64;
    }

    fn subtract(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let size = &mut self.0[table as usize];
        size.rows = size.rows.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub((key.len() + value.len()) as u64);
    }
}

/// The changes since the node last took them, and the hash and the size of the state with them applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    hash: StateHash,
    sizes: Sizes,
    dirty: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
}

impl Journal {
    /// A journal that starts at a state with this hash, of this size, and nothing to write.
    pub(crate) fn at(hash: StateHash, sizes: Sizes) -> Self {
        Self { hash, sizes, dirty: BTreeMap::new() }
    }

    /// How much a table holds now.
    pub(crate) fn size(&self, table: Table) -> TableSize {
        self.sizes.of(table)
    }

    /// The hash of the state as it is now.
    pub(crate) fn hash(&self) -> StateHash {
        self.hash
    }

    /// Notes that the record `key` was `old` and is now `new` (both sealed; `None`: no such record).
    pub(crate) fn replace(&mut self, table: Table, key: Vec<u8>, old: Option<&[u8]>, new: Option<Vec<u8>>) {
        if old == new.as_deref() {
            return;
        }
        if let Some(old) = old {
            self.hash.subtract(table, &key, old);
            self.sizes.subtract(table, &key, old);
        }
        if let Some(new) = &new {
            self.hash.add(table, &key, new);
            self.sizes.add(table, &key, new);
        }
        self.dirty.insert((table, key), new);
    }

    /// Hands over the changes since the last call, each record once, in the order of the tables and keys.
    pub(crate) fn take(&mut self) -> Vec<RecordChange> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|((table, key), value)| RecordChange { table, key, value }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_hash_forgets_order_and_removed_records(records: Vec<(Vec<u8>, Vec<u8>)>, extra: Vec<u8>) {
            let (mut forwards, mut backwards) = (StateHash::default(), StateHash::default());
            records.iter().for_each(|(k, v)| forwards.add(Table::Ledger, k, v));
            backwards.add(Table::Registry, &extra, &extra);
            records.iter().rev().for_each(|(k, v)| backwards.add(Table::Ledger, k, v));
            prop_assert_ne!(forwards, backwards);
            backwards.subtract(Table::Registry, &extra, &extra);
            prop_assert_eq!(forwards, backwards);
            prop_assert_eq!(StateHash::from_bytes(forwards.to_bytes()), forwards);
        }
    }

    #[test]
    fn the_place_of_a_byte_in_a_record_matters() {
        let mut hashes = [StateHash::default(); 4];
        hashes[0].add(Table::Ledger, b"ab", b"c");
        hashes[1].add(Table::Ledger, b"a", b"bc");
        hashes[2].add(Table::Ledger, b"ab", b"d");
        hashes[3].add(Table::Registry, b"ab", b"c");
        for (i, a) in hashes.iter().enumerate() {
            assert!(hashes[..i].iter().all(|b| b != a), "{i}");
        }
    }

    #[test]
    fn a_record_written_and_deleted_between_two_batches_is_deleted_once() {
        let mut journal = Journal::default();
        journal.replace(Table::Ledger, vec![1], None, Some(vec![9]));
        journal.replace(Table::Ledger, vec![1], Some(&[9]), None);
        assert_eq!(journal.hash(), StateHash::default());
        assert_eq!(journal.take(), [RecordChange { table: Table::Ledger, key: vec![1], value: None }]);
        assert!(journal.take().is_empty());
    }
}
