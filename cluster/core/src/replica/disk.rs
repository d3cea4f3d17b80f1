//! What the replica asks its driver to write, and what the driver hands back at start.
//!
//! The disk is an ordered map of rows in five tables. The replica alone decides keys and values; a driver stores them
//! (RocksDB in production, a faulty map in the simulator) and must apply one [`DiskBatch`] atomically.

use super::wire::Promise;
use crate::codec::{self, CodecError};
use crate::model::Configuration;
use crate::records::{StateHash, Table};
use parity_scale_codec::{Decode, Encode};
use strum::{EnumCount as _, VariantArray as _};

const META_VERSION: u8 = 1;

/// A table of the store; one RocksDB column family each.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    strum::EnumCount,
    strum::VariantArray,
)]

pub enum DiskTable {
    /// Log entries by big-endian index.
    #[codec(index = 0)]
    Log,
    /// Hard state, applied position, truncation point, what peers have promised.
    #[codec(index = 1)]
    Meta,
    /// Watermarks.
    #[codec(index = 2)]
    Ledger,
    /// Chains, keys, clients, members.
    #[codec(index = 3)]
    Registry,
    /// Audit records by big-endian number. The replica only ever adds to it and never reads it.
    #[codec(index = 4)]
    Audit,
}

impl DiskTable {
    /// Every table.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// The tables that a start reads.
    pub const READ_AT_START: [Self; 4] = [Self::Log, Self::Meta, Self::Ledger, Self::Registry];

    /// The tables of the state, in the order in which it is read back.
    pub const STATE: [(Self, Table); 2] = [(Self::Registry, Table::Registry), (Self::Ledger, Table::Ledger)];
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DiskOp {
    /// Sets a row.
    #[codec(index = 0)]
    Put(DiskTable, Vec<u8>, Vec<u8>),
    /// Removes a row.
    #[codec(index = 1)]
    Delete(DiskTable, Vec<u8>),
    /// Removes rows from the first key (included) to the second (excluded).
    #[codec(index = 2)]
    DeleteRange(DiskTable, Vec<u8>, Vec<u8>),
    /// Removes every row of a table.
    #[codec(index = 3)]
    Clear(DiskTable),
}

/// Changes that reach the store together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct DiskBatch {
    /// The changes, in order.
    pub ops: Vec<DiskOp>,
}

impl DiskBatch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn put(&mut self, table: DiskTable, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.ops.push(DiskOp::Put(table, key.into(), value));
    }

    pub(super) fn put_meta<T: Encode>(&mut self, key: impl Into<Vec<u8>>, value: &T) {
        self.put(DiskTable::Meta, key, codec::encode_record(META_VERSION, value));
    }
}

/// A record of the state: its table, its key and the record.
pub type StateRecord = (Table, Vec<u8>, Vec<u8>);

/// The records that a snapshot speaks of, where the driver has put them. They are not part of the message: a large
/// state is never in memory as a whole beside the state itself.
pub trait RecordSource: std::fmt::Debug + Send + Sync {
    /// All of them from the first on, in the order of their tables and keys.
    fn records(&self) -> Box<dyn Iterator<Item = Result<StateRecord, String>> + '_>;

    /// What the driver knows them by.
    fn name(&self) -> &str;
}

/// Records in memory, for a driver whose disk is there too: the simulator's and those of tests.
#[derive(Debug)]
pub struct KeptRecords(pub Vec<StateRecord>);

impl RecordSource for KeptRecords {
    fn records(&self) -> Box<dyn Iterator<Item = Result<StateRecord, String>> + '_> {
        Box::new(self.0.iter().cloned().map(Ok))
    }

    fn name(&self) -> &'static str {
        "kept"
    }
}

/// Reads a value that [`DiskBatch::put_meta`] wrote.
pub(super) fn read_meta<T: Decode>(bytes: &[u8]) -> Result<T, CodecError> {
    codec::decode_record(META_VERSION, "meta row", bytes)
}

/// Everything a store holds, as read at start. Rows of one table are in key order.
#[derive(Clone, Debug, Default)]
pub struct DiskImage {
    /// Table, key, value.
    pub rows: Vec<(DiskTable, Vec<u8>, Vec<u8>)>,
}

impl DiskImage {
    pub(super) fn table(&self, table: DiskTable) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().filter(move |(t, ..)| *t == table).map(|(_, k, v)| (k.as_slice(), v.as_slice()))
    }

    pub(super) fn meta(&self, key: &[u8]) -> Option<&[u8]> {
        self.table(DiskTable::Meta).find(|(k, _)| *k == key).map(|(_, v)| v)
    }
}

macro_rules! meta_keys {
    ($($(#[$doc:meta])* $name:ident = $key:literal;)*) => {
        /// Keys of the meta table.
        pub(super) mod meta_key {
            $($(#[$doc])* pub const $name: &[u8] = $key;)*

            /// Every key: each has its golden bytes.
            #[cfg(test)]
            pub const ALL: &[&[u8]] = &[$($name),*];
        }
    };
}

meta_keys! {
    /// [`super::HardStateRow`].
    HARD_STATE = b"hard-state";
    /// [`super::AppliedRow`].
    APPLIED = b"applied";
    /// [`super::LogPoint`]: the last entry no longer in the log. Present once the cluster has formed.
    TRUNCATED = b"truncated";
    /// The index of the entry that made the configuration; absent for the first one.
    CONFIGURED = b"configured";
    /// Followed by the peer's id, big endian: [`super::super::memory::Remembered`].
    MEMORY = b"memory/";
}

/// Raft's hard state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct HardStateRow {
    /// Current term.
    pub term: u64,
    /// Vote in the term.
    pub vote: u64,
    /// Last known commit index.
    pub commit: u64,
}

/// How far the state has come; always written with what it applied.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppliedRow {
    /// Last applied index.
    pub index: u64,
    /// The configuration in force there.
    pub configuration: Configuration,
    /// The state's hash there.
    pub state_hash: StateHash,
}

/// An entry's place in the log and the chain hash up to and including it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct LogPoint {
    /// Index of the entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Blake2b-256 over (previous chain hash, entry bytes).
    pub chain: [u8; 32],
}

/// The store's position after a finished fsync, kept in a file beside the store.
///
/// It is written after the fsync it describes, so it never runs ahead of the store: a file that is ahead proves that
/// the store has lost acknowledged writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HighWater {
    /// Rises with every write of the file; the newer of two slots counts.
    pub sequence: u64,
    /// What this node has promised.
    pub promise: Promise,
    /// The newest applied entry.
    pub applied: LogPoint,
}

impl HighWater {
    /// What the file holds after `mark` has come, where `before` was there. Marks may come out of order; the file
    /// never goes back.
    pub fn after(before: Option<Self>, mark: Self) -> Self {
        let mut next = before.unwrap_or(mark);
        next.promise.raise(&mark.promise);
        if mark.applied.index > next.applied.index {
            next.applied = mark.applied;
        }
        next.sequence = before.map_or(0, |mark| mark.sequence) + 1;
        next
    }

    /// Bytes of the encoded form (fixed), with version and checksum.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_record(META_VERSION, self)
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another version or a bad checksum.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        read_meta(bytes)
    }
}
