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
use parity_scale_codec::{Decode, Encode, Error, Input, Output};
use serde::{Deserialize, Serialize};

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(untagged)]
pub enum ChangeError {
    /// What was given cannot be, whatever it is about.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Why a chain is not added or changed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Why a key, its envelope or its floor is left as it is.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Why a key is not halted, or its halt not ended.
    #[error(transparent)]
    Halt(#[from] HaltError),
    /// Why a client is left as it is, or has no key made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Why a member does not come, go or vote.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// What the feature level has against it.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// Why a backup does not come in, or a key that came with one is not armed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Why an officer is left as it is, or may not do what was asked.
    #[error(transparent)]
    Officer(#[from] OfficerError),
    /// Why a proposal is not decided.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
}

impl Encode for ChangeError {
    fn size_hint(&self) -> usize {
        match self {
            Self::Input(error) => error.size_hint(),
            Self::Chain(error) => error.size_hint(),
            Self::Key(error) => error.size_hint(),
            Self::Halt(error) => error.size_hint(),
            Self::Client(error) => error.size_hint(),
            Self::Member(error) => error.size_hint(),
            Self::Feature(error) => error.size_hint(),
            Self::Backup(error) => error.size_hint(),
            Self::Officer(error) => error.size_hint(),
            Self::Proposal(error) => error.size_hint(),
        }
    }

    fn encode_to<O: Output + ?Sized>(&self, out: &mut O) {
        match self {
            Self::Input(error) => error.encode_to(out),
            Self::Chain(error) => error.encode_to(out),
            Self::Key(error) => error.encode_to(out),
            Self::Halt(error) => error.encode_to(out),
            Self::Client(error) => error.encode_to(out),
            Self::Member(error) => error.encode_to(out),
            Self::Feature(error) => error.encode_to(out),
            Self::Backup(error) => error.encode_to(out),
            Self::Officer(error) => error.encode_to(out),
            Self::Proposal(error) => error.encode_to(out),
        }
    }
}

impl Decode for ChangeError {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        let number = input.read_byte()?;
        let whole = &mut Unread { first: Some(number), rest: input };
        // Which numbers are whose. One number in two rows does not compile, one that is missing fails the golden test.
        Ok(match number {
            0 | 1 | 2 | 60 => InputError::decode(whole)?.into(),
            3 | 4 | 5 | 79 => ChainError::decode(whole)?.into(),
            6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 39 | 52 => KeyError::decode(whole)?.into(),
            50 | 51 | 53 | 83 => HaltError::decode(whole)?.into(),
            16 | 17 | 18 | 27 | 28 | 29 | 40 | 41 | 42 => ClientError::decode(whole)?.into(),
            19 | 20 | 21 | 25 | 30 | 31 | 32 | 33 | 34 | 35 | 36 | 37 | 38 | 80 => {
                MemberError::decode(whole)?.into()
            }
            22 | 23 | 24 | 26 => FeatureError::decode(whole)?.into(),
            54 | 55 | 56 | 77 | 78 => BackupError::decode(whole)?.into(),
            43 | 44 | 45 | 46 | 71 | 72 | 73 | 74 | 75 | 76 | 81 | 82 => OfficerError::decode(whole)?.into(),
            47 | 48 | 49 | 70 => ProposalError::decode(whole)?.into(),
            _unknown => return Err("a number that no error has".into()),
        })
    }
}

/// An input of which one byte was read already.
struct Unread<'a, I> {
    first: Option<u8>,
    rest: &'a mut I,
}

impl<I: Input> Input for Unread<'_, I> {
    fn remaining_len(&mut self) -> Result<Option<usize>, Error> {
        let rest = self.rest.remaining_len()?;
        Ok(rest.map(|len| len.saturating_add(usize::from(self.first.is_some()))))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), Error> {
        match into.split_first_mut() {
            Some((first, rest)) if self.first.is_some() => {
                *first = self.first.take().unwrap_or_default();
                self.rest.read(rest)
            }
            Some(_) | None => self.rest.read(into),
        }
    }
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
