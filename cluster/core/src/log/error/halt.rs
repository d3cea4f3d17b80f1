//! Why a key is not halted, or its halt not ended.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{KeyId, LogIndex};

/// Why a key is not halted, or its halt not ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum HaltError {
    /// The state knows of the signature: whoever asked was behind.
    #[error("key {key} is not halted: the cluster knows what was signed with it")]
    #[codec(index = 50)]
    NothingForgotten {
        /// The key.
        key: KeyId,
    },
    /// The key is halted already.
    #[error("key {key} is halted already, since log entry {at}")]
    #[codec(index = 51)]
    AlreadyHalted {
        /// The key.
        key: KeyId,
        /// Since when.
        at: LogIndex,
    },
    /// The key has no work with a watermark, or the duty is none of its.
    #[error("key {key} does no work that such a watermark is about")]
    #[codec(index = 53)]
    NoWatermark {
        /// The key.
        key: KeyId,
    },
    /// The halt is another one, or none.
    #[error("key {key} is not halted by log entry {halted}")]
    #[codec(index = 83)]
    NotHalted {
        /// The key.
        key: KeyId,
        /// The log entry that is said to have halted it.
        halted: LogIndex,
    },
}
