//! Why a change was not made, by subject. The state is as it was.
//!
//! These errors are replicated: the audit keeps them, and every node shows the same. So they say what happened and nothing
//! else; what a person types next is said where one reads it, by the signer's command line and its admin API.
//!
//! In bytes and as JSON an error does not say its subject: the numbers and names of all subjects are one space.

mod backup;
mod chain;
mod client;
mod feature;
mod halt;
mod input;
mod key;
mod member;
mod officer;
mod proposal;

pub use backup::BackupError;
pub use chain::ChainError;
pub use client::ClientError;
pub use feature::FeatureError;
pub use halt::HaltError;
pub use input::{Counted, InputError};
pub use key::{KeyError, KeyStep};
pub use member::MemberError;
pub use officer::OfficerError;
pub use proposal::ProposalError;

use crate::model::FloorError;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(untagged)]
pub enum ChangeError {
    /// What was given cannot be, whatever it is about.
    #[error(transparent)]
    #[codec(index = 0)]
    Input(#[from] InputError),
    /// Why a chain is not added or changed.
    #[error(transparent)]
    #[codec(index = 1)]
    Chain(#[from] ChainError),
    /// Why a key, its envelope or its floor is left as it is.
    #[error(transparent)]
    #[codec(index = 2)]
    Key(#[from] KeyError),
    /// Why a key is not halted, or its halt not ended.
    #[error(transparent)]
    #[codec(index = 3)]
    Halt(#[from] HaltError),
    /// Why a client is left as it is, or has no key made.
    #[error(transparent)]
    #[codec(index = 4)]
    Client(#[from] ClientError),
    /// Why a member does not come, go or vote.
    #[error(transparent)]
    #[codec(index = 5)]
    Member(#[from] MemberError),
    /// What the feature level has against it.
    #[error(transparent)]
    #[codec(index = 6)]
    Feature(#[from] FeatureError),
    /// Why a backup does not come in, or a key that came with one is not armed.
    #[error(transparent)]
    #[codec(index = 7)]
    Backup(#[from] BackupError),
    /// Why an officer is left as it is, or may not do what was asked.
    #[error(transparent)]
    #[codec(index = 8)]
    Officer(#[from] OfficerError),
    /// Why a proposal is not decided.
    #[error(transparent)]
    #[codec(index = 9)]
    Proposal(#[from] ProposalError),
}

impl From<FloorError> for ChangeError {
    fn from(error: FloorError) -> Self {
        match error {
            FloorError::Missing { key, class } => KeyError::MissingFloor { key, class }.into(),
            FloorError::Foreign { key, floor } => KeyError::ForeignFloor { key, floor }.into(),
            FloorError::AlreadyHigher { key, floor, asked } => {
                KeyError::AlreadyHigher { key, floor, asked }.into()
            }
            FloorError::NoWork { key } => HaltError::NoWatermark { key }.into(),
            FloorError::TooFar { chain, why } => ChainError::BadTiming { chain, why }.into(),
        }
    }
}
