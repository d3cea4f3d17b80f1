//! The state out of its records: at start from the node's tables, on a new member from a snapshot.
//!
//! Everything is read strictly and the hash is computed anew: a state that was not stored by this code, whole, is
//! refused.

use super::State;
use crate::{
    codec::{CodecError, decode_record, encode_record},
    ledger::Ledger,
    model::{ClientId, FEATURE_LEVEL, KeyState},
    records::{Journal, Sizes, StateHash, Table},
    registry::{EVERYBODY, Registry},
};
use parity_scale_codec::{Compact, Decode, Encode};
use signonce_protocol::KeyId;
use std::{collections::BTreeMap, io};

/// The version of the snapshot format.
pub const SNAPSHOT_VERSION: u8 = 1;

/// Why records do not make a state. The node must not start on them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot's envelope or body cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Snapshot(CodecError),
    /// A record cannot be read.
    #[error("record {key} of table {table:?} cannot be read: {reason}")]
    Record {
        /// The table.
        table: Table,
        /// The record's key in hex.
        key: String,
        /// What is wrong.
        reason: CodecError,
    },
    /// Two records under one key.
    #[error("record {key} of table {table:?} is there twice")]
    Twice {
        /// The table.
        table: Table,
        /// The record's key in hex.
        key: String,
    },
    /// Records that were to come in the order of their tables and keys.
    #[error("record {key} of table {table:?} comes out of its order")]
    Disordered {
        /// The table.
        table: Table,
        /// The record's key in hex.
        key: String,
    },
    /// Stored by members that were upgraded since. Nothing is wrong with the records.
    #[error(
        "the cluster is at feature level {level}, and this program supports {supports}: its log may hold what this \
         program cannot read, and the level never falls. Start a version that supports {level} here, as the other \
         members run"
    )]
    TooNew {
        /// The cluster's level.
        level: u32,
        /// What this program supports.
        supports: u32,
    },
    /// A key of a chain that is not there.
    #[error("key {0} belongs to a chain that is missing")]
    Chainless(KeyId),
    /// A key of a chain of another family, or of one whose settings its family does not read.
    #[error("key {0} belongs to a chain that is not of its family, or whose settings cannot be read")]
    OtherFamily(KeyId),
    /// A watermark of a key that was never armed, or an armed key without its watermark.
    #[error("key {0} and its watermark do not go together: one of them is missing")]
    Watermark(KeyId),
    /// Keys that were made for a client that is missing, or that are missing themselves.
    #[error(
        "the record of the keys made for {0} does not go with its clients and keys: one of them is missing"
    )]
    MadeKeys(ClientId),
    /// Somebody was said to open a key that is missing.
    #[error("the record of the members that key {0} is sealed for stands without the key")]
    Sealing(KeyId),
    /// A halt of a key that is missing.
    #[error("key {0} is halted and missing")]
    Halt(KeyId),
    /// The length of the slots of a chain that is missing.
    #[error("there is a record of the slots of chain {0}, but no such chain")]
    Timing(signonce_protocol::ChainId),
    /// Limits or certificates of a client that is missing.
    #[error("there is a record of limits and certificates of {0}, but no such client")]
    Terms(ClientId),
    /// All records are sound, but they are not the ones that were stored.
    #[error("the records hash to {found}, expected is {expected}: some are missing, old or foreign")]
    Hash {
        /// The hash that was stored with them.
        expected: StateHash,
        /// The hash they give.
        found: StateHash,
    },
}

/// Writes the bytes of [`State::snapshot`] record by record, so that a large state is never in memory as a whole.
pub struct SnapshotWriter<W> {
    out: W,
    checksum: crc32fast::Hasher,
    /// Records that are still to come.
    missing: u64,
}

impl<W: io::Write> SnapshotWriter<W> {
    /// Begins the snapshot of a state with this hash and so many records.
    ///
    /// # Errors
    /// If `out` fails; or for more records than the format can count.
    pub fn begin(out: W, hash: StateHash, records: u64) -> io::Result<Self> {
        let count = u32::try_from(records).map_err(io::Error::other)?;
        let mut writer = Self { out, checksum: crc32fast::Hasher::new(), missing: records };
        writer.put(&[SNAPSHOT_VERSION])?;
        writer.put(&(hash, Compact(count)).encode())?;
        Ok(writer)
    }

    /// Writes the next record.
    ///
    /// # Errors
    /// If `out` fails, or there are more than was said.
    pub fn add(&mut self, record: &(Table, Vec<u8>, Vec<u8>)) -> io::Result<()> {
        let too_many = || io::Error::other("more records than the state has");
        self.missing = self.missing.checked_sub(1).ok_or_else(too_many)?;
        self.put(&record.encode())
    }

    /// Writes the end, and gives back what was written to.
    ///
    /// # Errors
    /// If `out` fails, or records are missing.
    pub fn finish(mut self) -> io::Result<W> {
        if self.missing > 0 {
            return Err(io::Error::other(format!("{} records of the state are missing", self.missing)));
        }
        let checksum = self.checksum.clone().finalize();
        self.out.write_all(&checksum.to_le_bytes())?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.out.write_all(bytes)
    }
}

/// A snapshot's body.
#[derive(Encode, Decode)]
struct Snapshot {
    hash: StateHash,
    records: Vec<(Table, Vec<u8>, Vec<u8>)>,
}

impl State {
    /// Every record of the state: what a node writes after it has taken a snapshot in.
    pub fn records(&self) -> impl Iterator<Item = (Table, Vec<u8>, Vec<u8>)> {
        let registry = self.registry.records().map(|(key, value)| (Table::Registry, key, value));
        registry.chain(self.ledger.records().map(|(key, value)| (Table::Ledger, key, value)))
    }

    /// The state that stored these records, in whatever order they come. Nothing is left to write, and no
    /// checkpoint is remembered.
    ///
    /// # Errors
    /// Any [`RestoreError`]: the node must not start.
    pub fn from_records(
        records: impl IntoIterator<Item = (Table, Vec<u8>, Vec<u8>)>,
        expected: StateHash,
    ) -> Result<Self, RestoreError> {
        let mut sorted = BTreeMap::new();
        for (table, key, value) in records {
            if let Some(_twice) = sorted.insert((table, key.clone()), value) {
                return Err(RestoreError::Twice { table, key: hex::encode(key) });
            }
        }
        Self::from_sorted(sorted.into_iter().map(|((table, key), value)| (table, key, value)), expected)
    }

    /// [`Self::from_records`] of records that come in the order of their tables and keys: none is held longer than it
    /// takes to read it.
    ///
    /// # Errors
    /// Any [`RestoreError`]: the node must not start.
    pub fn from_sorted(
        records: impl IntoIterator<Item = (Table, Vec<u8>, Vec<u8>)>,
        expected: StateHash,
    ) -> Result<Self, RestoreError> {
        // In this order the level comes before all else, chains before keys and a floor before its entries.
        let mut before: Option<(Table, Vec<u8>)> = None;
        let (mut found, mut sizes) = (StateHash::default(), Sizes::default());
        let (mut registry, mut ledger) = (Registry::default(), Ledger::default());
        for (table, key, value) in records {
            if before.as_ref().is_some_and(|(last, k)| (*last, k) >= (table, &key)) {
                return Err(RestoreError::Disordered { table, key: hex::encode(key) });
            }
            found.add(table, &key, &value);
            sizes.add(table, &key, &value);
            let taken = match table {
                Table::Registry => registry.restore(&key, &value),
                Table::Ledger => ledger.restore(&key, &value),
            };
            taken.map_err(|reason| RestoreError::Record { table, key: hex::encode(&key), reason })?;
            if registry.feature_level() > FEATURE_LEVEL {
                return Err(RestoreError::TooNew {
                    level: registry.feature_level(),
                    supports: FEATURE_LEVEL,
                });
            }
            before = Some((table, key));
        }
        agree(&registry, &ledger)?;
        if found != expected {
            return Err(RestoreError::Hash { expected, found });
        }
        Ok(Self { registry, ledger, journal: Journal::at(found, sizes), ..Self::default() })
    }

    /// The whole state as bytes, checksummed.
    pub fn snapshot(&self) -> Vec<u8> {
        encode_record(SNAPSHOT_VERSION, &Snapshot { hash: self.hash(), records: self.records().collect() })
    }

    /// The state from [`Self::snapshot`].
    ///
    /// # Errors
    /// Any [`RestoreError`].
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, RestoreError> {
        let snapshot = decode_record(SNAPSHOT_VERSION, "snapshot", bytes).map_err(RestoreError::Snapshot)?;
        let Snapshot { hash, records } = snapshot;
        Self::from_records(records, hash)
    }
}

/// Registry and ledger must speak of the same keys: `apply` relies on it.
fn agree(registry: &Registry, ledger: &Ledger) -> Result<(), RestoreError> {
    for key in registry.keys() {
        let chain = registry.chain(&key.chain).ok_or(RestoreError::Chainless(key.id))?;
        let takes = chain.family.takes_settings(&chain.settings, registry.feature_level());
        let reads = takes && chain.family.settings.check(&chain.settings).is_ok();
        if chain.family != key.id.key_type.family() || !reads {
            return Err(RestoreError::OtherFamily(key.id));
        }
        // A removed key has a watermark if it was ever armed.
        let agrees = match key.state {
            // Or it has the one that its backup knew.
            KeyState::Registered => !ledger.has_mark(&key.id) || registry.known_by_backup(&key.id).is_some(),
            KeyState::Armed | KeyState::Disabled => ledger.has_all_marks(&key.id),
            KeyState::Removed => true,
        };
        if !agrees {
            return Err(RestoreError::Watermark(key.id));
        }
    }
    for made in registry.made_keys() {
        let whole =
            registry.client(made.client).is_some() && made.keys.iter().all(|id| registry.key(id).is_some());
        if !whole {
            return Err(RestoreError::MadeKeys(made.client));
        }
    }
    if let Some(orphan) = registry.sealings().find(|id| registry.key(id).is_none()) {
        return Err(RestoreError::Sealing(*orphan));
    }
    let halted = registry.ever_halted().chain(registry.barred().map(|barred| &barred.key));
    if let Some(orphan) = halted.into_iter().find(|id| registry.key(id).is_none()) {
        return Err(RestoreError::Halt(*orphan));
    }
    if let Some(orphan) = registry.all_known_by_backup().find(|known| registry.key(&known.key).is_none()) {
        return Err(RestoreError::Watermark(orphan.key));
    }
    for timing in registry.timings() {
        if registry.chain(&timing.chain).is_none() {
            return Err(RestoreError::Timing(timing.chain));
        }
    }
    for key in registry.keys() {
        if ledger.counting(&key.id) as usize > registry.retimings(&key.chain).len() {
            return Err(RestoreError::Watermark(key.id));
        }
    }
    let clientless = |id: &ClientId| *id != EVERYBODY && registry.client(*id).is_none();
    if let Some(client) = registry.all_terms().map(|terms| terms.client).find(clientless) {
        return Err(RestoreError::Terms(client));
    }
    if let Some(unsound) = ledger.unsound() {
        return Err(RestoreError::Watermark(*unsound));
    }
    match ledger.marked_keys().find(|id| registry.key(id).is_none()) {
        Some(orphan) => Err(RestoreError::Watermark(*orphan)),
        None => Ok(()),
    }
}
