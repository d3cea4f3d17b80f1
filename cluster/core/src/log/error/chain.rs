//! Why a chain is not added or changed.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::ChainId;

/// Why a chain is not added or changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ChainError {
    /// A chain with this name or genesis exists.
    #[error("chain {name} with genesis {genesis} exists; only its settings can be changed")]
    #[codec(index = 3)]
    ChainExists {
        /// The name of the existing chain.
        name: String,
        /// The genesis hash of the existing chain.
        genesis: ChainId,
    },
    /// The family does not take the settings.
    #[error("the settings of chain {name} are refused: {why}")]
    #[codec(index = 4)]
    BadSettings {
        /// The chain.
        name: String,
        /// What is wrong, in the family's words.
        why: String,
    },
    /// No such chain.
    #[error("no chain has genesis {genesis}: add the chain first")]
    #[codec(index = 5)]
    UnknownChain {
        /// The genesis hash asked for.
        genesis: ChainId,
    },
    /// Slots cannot change like that.
    #[error("the slots of chain {chain} are left as they are: {why}")]
    #[codec(index = 79)]
    BadTiming {
        /// The chain.
        chain: ChainId,
        /// Why.
        why: String,
    },
}
