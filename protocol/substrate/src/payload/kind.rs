//! The kinds of payload: what a client says it wants to have signed, before anyone has read the bytes.

use crate::{
    AURA_BLOCK, AUTHORITY_RECORD, BABE_BLOCK, BEEFY_VOTE, BITFIELD, GRANDPA_VOTE, HEARTBEAT, OWNERSHIP_PROOF,
    PARA_SIDE, PVF_CHECK,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use signonce_protocol::{DutyClass, KeyType, PayloadKind};
use std::str::FromStr;
use strum::{EnumCount as _, VariantArray as _};

/// What the bytes of a payload claim to be. The name is the tag of the JSON union.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
    strum::EnumCount,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An unsealed header with a BABE pre-runtime digest.
    BabeHeader,
    /// An unsealed header with an AURA pre-runtime digest.
    AuraHeader,
    /// A GRANDPA prevote, precommit or primary proposal with its round and set.
    GrandpaVote,
    /// A BEEFY commitment.
    BeefyCommitment,
    /// A backing statement on a parachain candidate (`BKNG`).
    Statement,
    /// An approval vote for one candidate or several (`APPR`).
    Approval,
    /// An explicit dispute statement (`DISP`).
    Dispute,
    /// An availability bitfield.
    Bitfield,
    /// A vote on parachain code (`VCPC`).
    PvfCheck,
    /// An authority-discovery record.
    AuthorityRecord,
    /// An im-online heartbeat.
    Heartbeat,
    /// A proof of possession of a session key (`POP_`).
    OwnershipProof,
}

/// What of a payload's bytes is handed to the signature scheme. Two kinds of different form never meet in one
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

impl Kind {
    /// Every kind.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// The tag in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The class of duty the kind belongs to; rights are granted by it.
    pub const fn class(self) -> DutyClass {
        match self {
            Self::BabeHeader => BABE_BLOCK,
            Self::AuraHeader => AURA_BLOCK,
            Self::GrandpaVote => GRANDPA_VOTE,
            Self::BeefyCommitment => BEEFY_VOTE,
            Self::Statement | Self::Approval | Self::Dispute => PARA_SIDE,
            Self::Bitfield => BITFIELD,
            Self::PvfCheck => PVF_CHECK,
            Self::AuthorityRecord => AUTHORITY_RECORD,
            Self::Heartbeat => HEARTBEAT,
            Self::OwnershipProof => OWNERSHIP_PROOF,
        }
    }

    /// The types of key that sign this kind: one, save for ownership proofs, which every key gives.
    pub fn key_types(self) -> &'static [KeyType] {
        self.class().key_types()
    }

    /// The four characters every payload of the kind starts with, if it has such.
    pub const fn magic(self) -> Option<&'static str> {
        match self {
            Self::Statement => Some("BKNG"),
            Self::Approval => Some("APPR"),
            Self::Dispute => Some("DISP"),
            Self::PvfCheck => Some("VCPC"),
            Self::OwnershipProof => Some("POP_"),
            Self::BabeHeader
            | Self::AuraHeader
            | Self::GrandpaVote
            | Self::BeefyCommitment
            | Self::Bitfield
            | Self::AuthorityRecord
            | Self::Heartbeat => None,
        }
    }

    /// The longest payload of the kind in bytes; longer ones are refused unread.
    pub const fn max_len(self) -> usize {
        match self {
            // A session change on Polkadot makes headers of about 70 kB.
            Self::BabeHeader | Self::AuraHeader => 1024 * 1024,
            Self::GrandpaVote => 57,
            Self::BeefyCommitment => 16 * 1024,
            Self::Statement => 73,
            Self::Approval => 4 + 1 + 32 * 16 + 4,
            Self::Dispute => 41,
            Self::Bitfield => 2 + 4096 / 8 + 4 + 32,
            Self::PvfCheck => 45,
            Self::AuthorityRecord => 64 * 1024,
            Self::Heartbeat => 20,
            Self::OwnershipProof => 4 + 64,
        }
    }

    pub(crate) const fn signing_form(self) -> SigningForm {
        match self {
            Self::BabeHeader | Self::AuraHeader => SigningForm::Blake2,
            Self::BeefyCommitment => SigningForm::KeccakPrehashed,
            Self::GrandpaVote
            | Self::Statement
            | Self::Approval
            | Self::Dispute
            | Self::Bitfield
            | Self::PvfCheck
            | Self::AuthorityRecord
            | Self::Heartbeat
            | Self::OwnershipProof => SigningForm::Verbatim,
        }
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
    /// The typed kind; what was given for a kind of another family.
    fn try_from(kind: PayloadKind) -> Result<Self, PayloadKind> {
        Self::ALL.into_iter().find(|own| PayloadKind::from(*own) == kind).ok_or(kind)
    }
}
