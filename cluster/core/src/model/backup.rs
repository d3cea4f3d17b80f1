//! What a backup brings into an empty cluster.

use super::Fingerprint;
use super::Floors;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{ChainId, Digest, Duty, HexArray, KeyId, LogIndex, NodeId, Scheme};

/// How a backup comes into an empty cluster: between the first step and the last, keys, clients and floors come by the
/// ordinary changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RestoreStep {
    /// Says what is being restored. The cluster must have no chain, key or client yet.
    #[codec(index = 0)]
    Begin(BackupName),
    /// Brings the public keys and certificates that were removed, so that they can never come back.
    #[codec(index = 1)]
    Bury {
        /// Removed keys.
        keys: Vec<BuriedKey>,
        /// Removed clients.
        clients: Vec<BuriedClient>,
    },
    /// Says that all is done.
    #[codec(index = 2)]
    Finish,
    /// Brings the certificate keys that were taken from officers, each with the officer's name.
    #[codec(index = 3)]
    BuryOfficers {
        /// Name and key.
        revoked: Vec<(String, Fingerprint)>,
    },
    /// Brings the places that are barred.
    #[codec(index = 4)]
    Bar {
        /// Of every key that has any.
        barred: Vec<Barred>,
    },
    /// Says what the backup knows of keys that are not armed by the restore itself. The old cluster went on after the
    /// backup was made, so keys with votes sign here from a higher floor only.
    #[codec(index = 5)]
    Leave {
        /// The keys, registered already.
        keys: Vec<LeftKey>,
    },
    /// [`Begin`](Self::Begin), for practice: no key can ever be armed in this cluster.
    #[codec(index = 6)]
    BeginDrill(BackupName),
}

impl RestoreStep {
    /// The highest feature level of the families that it speaks of, if it speaks of any.
    pub(crate) fn family_level(&self) -> Option<u32> {
        let level = |key: &KeyId| key.key_type.level();
        match self {
            Self::Bury { keys, .. } => {
                keys.iter().map(|buried| level(&buried.id).max(buried.scheme.family().level)).max()
            }
            Self::Bar { barred } => {
                let places = barred.iter().flat_map(|barred| &barred.places);
                let classes = places.map(|place| place.duty.class().level());
                classes.chain(barred.iter().map(|barred| level(&barred.key))).max()
            }
            Self::Leave { keys } => {
                let floors = keys.iter().filter_map(|left| left.floors.family_level());
                floors.chain(keys.iter().map(|left| level(&left.id))).max()
            }
            Self::Begin(_) | Self::BeginDrill(_) | Self::Finish | Self::BuryOfficers { .. } => None,
        }
    }
}

/// Which backup a cluster was restored from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupName {
    /// The cluster that was backed up, which must never run again.
    pub cluster: HexArray<16>,
    /// The node that made the backup.
    pub node: NodeId,
    /// The log entry it was made after.
    pub applied: LogIndex,
    /// SHA-256 of its manifest.
    pub manifest: HexArray<32>,
}

/// A key of a backup that is left unarmed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftKey {
    /// The key.
    pub id: KeyId,
    /// The lowest that the backup knows not to be signed.
    pub floors: Floors,
    /// Whether it was disabled in the old cluster, and is to be here.
    pub disabled: bool,
}

/// A key that was removed forever.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuriedKey {
    /// The key.
    pub id: KeyId,
    /// Its scheme.
    pub scheme: Scheme,
    /// The chain it belonged to.
    pub chain: ChainId,
    /// The validator it belonged to.
    pub group: Option<String>,
}

/// A client that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuriedClient {
    /// Its name.
    pub name: String,
    /// SHA-256 of its certificate's SubjectPublicKeyInfo.
    pub spki: Fingerprint,
}

/// The places at which a key signs nothing any more, although no floor is past them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Barred {
    /// The key.
    pub key: KeyId,
    /// The places, oldest first.
    pub places: Vec<BarredPlace>,
}

/// Something that a key has signed and the ledger knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BarredPlace {
    /// The duty that was shown.
    pub duty: Duty,
    /// The digest of what was signed.
    pub digest: Digest,
    /// The log entry that barred its place.
    pub at: LogIndex,
}
