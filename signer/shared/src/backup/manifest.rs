//! What a backup says of itself. [`Manifest::read`] is total: any bytes give a manifest or an error.

use serde::{Deserialize, Serialize};
use signonce_protocol::{HexArray, LogIndex, NodeId};

/// The name of the format.
pub const FORMAT: &str = "signonce-backup";
/// The version that is written and read. Version 1 was that of 0.1, whose states this program does not read.
pub const VERSION: u32 = 2;

/// The description of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `signonce-backup`.
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The cluster's id.
    pub cluster: String,
    /// The node that made it.
    pub node: NodeId,
    /// The last log entry that is in the backup.
    pub applied: LogIndex,
    /// The hash of the state after that entry.
    pub state_hash: HexArray<32>,
    /// The cluster's feature level.
    pub feature_level: u32,
    /// When it was made, in Unix milliseconds by the node's clock.
    pub created_ms: u64,
    /// The software's version.
    pub software: String,
    /// The largest distance, in slots, that the cluster allowed between a slot and its clock.
    pub slot_tolerance: u64,
    /// How many chains, keys and clients the backup holds.
    pub counts: Counts,
    /// The files beside this one.
    pub files: Vec<FileEntry>,
}

/// The size of a backup, as information for the operator.
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
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: HexArray<32>,
}

/// Why some bytes are not a manifest that this program can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON of this form, or of another format.
    #[error("{0}")]
    Malformed(String),
    /// Another version.
    #[error("it is of version {0}, but this program reads version {VERSION}")]
    Version(u32),
}

impl Manifest {
    /// Reads a manifest. Whether the files match it is not checked here.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        /// The fields that every version begins with.
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
