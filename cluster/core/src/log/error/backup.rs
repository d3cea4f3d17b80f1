//! Why a backup does not come in, or a key that came with one is not armed.

use crate::model::Position;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{HexArray, KeyId, LogIndex};

/// Why a backup does not come in, or a key that came with one is not armed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum BackupError {
    /// A backup is restored into an empty cluster only.
    #[error(
        "this cluster has chains, keys or clients already: a backup is restored into a cluster that has just formed \
         and nothing else"
    )]
    #[codec(index = 54)]
    NotEmpty,
    /// Another backup was begun with.
    #[error(
        "this cluster is being restored, or was, from another backup (of cluster {cluster}, after its log entry \
         {applied}); finish with that one, or form another cluster"
    )]
    #[codec(index = 55)]
    OtherBackup {
        /// The cluster of that backup.
        cluster: HexArray<16>,
        /// The log entry it was made after.
        applied: LogIndex,
    },
    /// Nothing is being restored.
    #[error("no backup is being restored here")]
    #[codec(index = 56)]
    NoRestore,
    /// The floor is no further than what a backup knew, and the cluster that it was made of went on.
    #[error(
        "key {key} came with a backup that knows what it signed below {known}, and the old cluster went on after the \
         backup was made: {asked} is not above that. Look on the chain how far the key voted, and arm it past that"
    )]
    #[codec(index = 77)]
    NotAboveBackup {
        /// The key.
        key: KeyId,
        /// The lowest that the backup knows not to be signed.
        known: Position,
        /// The floor asked for.
        asked: Position,
    },
    /// This cluster holds a backup for practice.
    #[error(
        "this cluster is a drill, begun in log entry {begun}: its keys sign elsewhere and can never be armed here"
    )]
    #[codec(index = 78)]
    Drill {
        /// Since when.
        begun: LogIndex,
    },
}
