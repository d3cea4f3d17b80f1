//! What is remembered of disasters: keys that were halted because the cluster forgot what they signed, and the backup
//! that a cluster was restored from.

use super::Registry;
use crate::model::Fingerprint;
use crate::model::{BackupName, Barred, BarredPlace, ClientId, Floors};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{Digest, Duty, KeyId, LogIndex};

/// A key that was halted: a client has shown a signature that the state knew nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Halt {
    /// The key.
    pub key: KeyId,
    /// The duty the client had signed.
    pub duty: Duty,
    /// The digest of what was signed.
    pub digest: Digest,
    /// The log entry that the client was told: of a log that has been cut off since.
    pub log_index: LogIndex,
    /// The client.
    pub client: ClientId,
    /// The log entry that halted the key.
    pub at: LogIndex,
    /// The log entry that raised the key's floor past the duty, if one has.
    pub lifted: Option<LogIndex>,
}

/// Where a cluster's keys and clients came from: a backup.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The backup.
    pub backup: BackupName,
    /// The log entry that began.
    pub begun: LogIndex,
    /// The log entry that finished, if one has.
    pub finished: Option<LogIndex>,
}

/// What a backup knew of a key. Kept permanently: once the key is armed its floor is higher.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct KnownByBackup {
    pub(crate) key: KeyId,
    /// The lowest that it knew not to be signed.
    pub(crate) floors: Floors,
}

/// That a cluster is for practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drill {
    /// The log entry that began.
    pub begun: LogIndex,
}

impl Registry {
    /// The halt of a key, while it lasts.
    pub fn halt(&self, key: &KeyId) -> Option<&Halt> {
        self.halts.get(key).filter(|halt| halt.lifted.is_none())
    }

    /// Every halt that lasts, by key.
    pub fn halts(&self) -> impl Iterator<Item = &Halt> {
        self.halts.values().filter(|halt| halt.lifted.is_none())
    }

    /// What bars the place of a duty, if anything does. As floors go, by [`Position`](crate::Position): the slot whatever the block, the
    /// round whatever the stage, the session whatever the candidate.
    pub fn bars(&self, key: &KeyId, duty: &Duty) -> Option<&BarredPlace> {
        let places = &self.barred.get(key)?.places;
        places.iter().find(|place| place.duty.position() == duty.position())
    }

    /// The barred places of every key that has any.
    pub fn barred(&self) -> impl Iterator<Item = &Barred> {
        self.barred.values()
    }

    /// The barred places of a key.
    pub fn barred_places(&self, key: &KeyId) -> Barred {
        self.barred.get(key).cloned().unwrap_or_else(|| Barred { key: *key, places: Vec::new() })
    }

    /// The keys that were ever halted.
    pub(crate) fn ever_halted(&self) -> impl Iterator<Item = &KeyId> {
        self.halts.keys()
    }

    /// The certificates that were taken from a client and are never accepted again.
    pub fn revoked_certificates(&self, client: ClientId) -> &[Fingerprint] {
        self.terms.get(&client).map_or(&[], |terms| &terms.revoked)
    }

    /// The lowest positions that the backup a key came with knew not to be signed; none for keys that came otherwise, or
    /// were armed by the restore.
    pub fn known_by_backup(&self, key: &KeyId) -> Option<&Floors> {
        self.known_by_backup.get(key).map(|known| &known.floors)
    }

    pub(crate) fn all_known_by_backup(&self) -> impl Iterator<Item = &KnownByBackup> {
        self.known_by_backup.values()
    }

    /// Set if this cluster is for practice and arms no key.
    pub fn drill(&self) -> Option<Drill> {
        self.drill
    }

    /// The backup this cluster was restored from, if it was.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}
