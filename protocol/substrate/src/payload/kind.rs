//! The description of a kind of payload: one [`Spec`] and one set of methods, in the file of its decoder. All tables
//! by kind are made from these (`kinds!` in `mod.rs`).

use super::{Kind, PayloadError};
use crate::{ChainFormat, Duty};
use signonce_protocol::{DutyClass, KeyType, PayloadKind};
use std::{fmt, str::FromStr};

/// What is signed of a payload's bytes. Two kinds of different form never share a
/// signed message, as the hashes have 32 bytes and no verbatim message may have that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SigningForm {
    /// The blake2b-256 hash of the bytes, as a message.
    Blake2,
    /// The keccak-256 hash of the bytes, signed as it is.
    KeccakPrehashed,
    /// The bytes themselves, as a message.
    Verbatim,
}

/// The properties of every payload of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// The tag in JSON.
    pub(crate) name: &'static str,
    /// The layout of its bytes, in one line.
    pub(crate) about: &'static str,
    /// The class of duty it belongs to.
    pub(crate) class: DutyClass,
    /// The four characters that its bytes start with, if it has magic.
    pub(crate) magic: Option<&'static str>,
    /// The longest in bytes.
    pub(crate) max_len: usize,
    /// What is signed.
    pub(crate) form: SigningForm,
}

/// The fields of a payload, by its kind.
pub(crate) trait Fields: Sized {
    /// The properties of the kind.
    const SPEC: Spec;

    /// Strictly reads the fields. Magic and length were checked before.
    fn read(bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError>;

    /// The bytes they were read from.
    ///
    /// # Panics
    /// If a block number does not fit the chain's width.
    fn write(&self, format: &ChainFormat) -> Vec<u8>;

    /// What signing it uses up; `None` for kinds of a free class.
    fn duty(&self, format: &ChainFormat) -> Option<Duty>;

    /// A summary in one line.
    fn summary(&self) -> String;
}

impl Kind {
    /// The tag in JSON.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// The class of duty the kind belongs to; rights are granted by it.
    pub const fn class(self) -> DutyClass {
        self.spec().class
    }

    /// The types of key that sign this kind: one, save for ownership proofs, which every key gives.
    pub fn key_types(self) -> &'static [KeyType] {
        self.class().key_types()
    }

    /// The four characters every payload of the kind starts with, if it has such.
    pub const fn magic(self) -> Option<&'static str> {
        self.spec().magic
    }

    /// The longest payload of the kind in bytes; longer ones are refused unread.
    pub const fn max_len(self) -> usize {
        self.spec().max_len
    }

    pub(crate) const fn signing_form(self) -> SigningForm {
        self.spec().form
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.name() == text).ok_or_else(|| {
            format!("unknown payload kind {text:?}; one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

impl From<Kind> for PayloadKind {
    fn from(kind: Kind) -> Self {
        Self::new(crate::ID, kind as u8)
    }
}

impl TryFrom<PayloadKind> for Kind {
    type Error = PayloadKind;
    /// The typed kind; the error is a kind of another family, unchanged.
    fn try_from(kind: PayloadKind) -> Result<Self, PayloadKind> {
        Self::ALL.into_iter().find(|own| PayloadKind::from(*own) == kind).ok_or(kind)
    }
}
