//! Why a proposal is not decided.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::LogIndex;

/// Why a proposal is not decided.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ProposalError {
    /// No proposal has the number.
    #[error("there is no proposal {id}")]
    #[codec(index = 47)]
    UnknownProposal {
        /// The number asked for.
        id: LogIndex,
    },
    /// One person is not two.
    #[error("proposal {id} is by {by}: another key officer must approve it")]
    #[codec(index = 48)]
    OwnProposal {
        /// The proposal.
        id: LogIndex,
        /// Whose it is.
        by: String,
    },
    /// Decided already, or too late.
    #[error("proposal {id} was {} by {by} already", if *.approved { "approved" } else { "rejected" })]
    #[codec(index = 49)]
    ProposalDecided {
        /// The proposal.
        id: LogIndex,
        /// Who decided.
        by: String,
        /// What.
        approved: bool,
    },
    /// It has waited too long.
    #[error("proposal {id} is older than a day and has expired: propose the change again")]
    #[codec(index = 70)]
    ProposalExpired {
        /// The proposal.
        id: LogIndex,
    },
}
