//! What a backup says of itself: [`Manifest::read`] is total, any bytes give a manifest or an error.

use serde::{Deserialize, Serialize};
use signonce_protocol::{HexArray, LogIndex, NodeId};

/// The name of the format.
pub const FORMAT: &str = "signonce-backup";
/// The version that is written and read. 1 was of version 0.1, whose states this program does not read.
pub const VERSION: u32 = 2;

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `signonce-backup`.
    pub format: String,
    /// Of this layout.
    pub version: u32,
    /// The cluster's id.
    pub cluster: String,
    /// The node that made it.
    pub node: NodeId,
    /// The last log entry that is in it.
    pub applied: LogIndex,
    /// The hash of the state after that entry.
    pub state_hash: HexArray<32>,
    /// What commands may use.
    pub feature_level: u32,
    /// When it was made, in Unix milliseconds of the node.
    pub created_ms: u64,
    /// The software's version.
    pub software: String,
    /// How many slots from its clock the cluster took at most.
    pub slot_tolerance: u64,
    /// How many chains, living keys and active clients it has.
    pub counts: Counts,
    /// The files beside this one.
    pub files: Vec<FileEntry>,
}

/// What is in a backup, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// Chains.
    pub chains: usize,
    /// Keys that were not removed.
    pub keys: usize,
    /// Clients that were not removed.
    pub clients: usize,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: HexArray<32>,
}

/// Why bytes are no manifest that this program reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// No JSON of this form, or of another format.
    #[error("{0}")]
    Malformed(String),
    /// Of another version.
    #[error("it is of version {0}, this program reads version {VERSION}")]
    Version(u32),
}

impl Manifest {
    /// Reads a manifest. It says nothing yet of whether the files are those that it lists.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        /// What every version begins with.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let malformed = |e: serde_json::Error| ManifestError::Malformed(e.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
        if head.format != FORMAT {
            return Err(ManifestError::Malformed(format!("its format is {:?}, not {FORMAT:?}", head.format)));
        }
        if head.version != VERSION {
            return Err(ManifestError::Version(head.version));
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_of_version_0_1_is_told_by_its_manifest() {
        let manifest = br#"{
            "format": "signonce-backup", "version": 1, "cluster": "5ef62538d7f93b85ca78a102cef81fdb", "node": 1,
            "applied": 87, "featureLevel": 4, "createdMs": 1796053439730, "software": "0.1.0"
        }"#;
        assert_eq!(Manifest::read(manifest), Err(ManifestError::Version(1)));
    }
}
