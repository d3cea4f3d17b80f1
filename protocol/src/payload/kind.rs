//! The kinds of payload: what a client says it wants to have signed, before anyone has read the bytes.

use crate::{DutyClass, HexBytes, KeyType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
pub enum PayloadKind {
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

impl PayloadKind {
    /// Every kind.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// The tag in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The class of duty the kind belongs to; rights are granted by it.
    pub const fn class(self) -> DutyClass {
        match self {
            Self::BabeHeader => DutyClass::BabeBlock,
            Self::AuraHeader => DutyClass::AuraBlock,
            Self::GrandpaVote => DutyClass::GrandpaVote,
            Self::BeefyCommitment => DutyClass::BeefyVote,
            Self::Statement | Self::Approval | Self::Dispute => DutyClass::ParaSide,
            Self::Bitfield => DutyClass::Bitfield,
            Self::PvfCheck => DutyClass::PvfCheck,
            Self::AuthorityRecord => DutyClass::AuthorityRecord,
            Self::Heartbeat => DutyClass::Heartbeat,
            Self::OwnershipProof => DutyClass::OwnershipProof,
        }
    }

    /// The types of key that sign this kind: one, save for ownership proofs, which every key gives.
    pub const fn key_types(self) -> &'static [KeyType] {
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

impl FromStr for PayloadKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.name() == text).ok_or_else(|| {
            format!("unknown payload kind {text:?}; one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// A payload as it travels: the intent and the bytes, unread. In JSON `{"babeHeader":"0x…"}`, one tag and no other.
///
/// Turn it into a [`Payload`](crate::Payload) with [`RawPayload::decode`] before doing anything with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RawPayload {
    /// SCALE `Header` without a seal.
    BabeHeader(HexBytes),
    /// SCALE `Header` without a seal.
    AuraHeader(HexBytes),
    /// `stage ‖ hash ‖ number ‖ round ‖ set id`.
    GrandpaVote(HexBytes),
    /// SCALE `Commitment`.
    BeefyCommitment(HexBytes),
    /// `BKNG ‖ 01 seconded / 02 valid ‖ candidate ‖ session ‖ parent`.
    Statement(HexBytes),
    /// `APPR ‖ candidate ‖ session`, or `APPR ‖ candidates ‖ session`.
    Approval(HexBytes),
    /// `DISP ‖ valid ‖ candidate ‖ session`.
    Dispute(HexBytes),
    /// `bits ‖ session ‖ relay parent`.
    Bitfield(HexBytes),
    /// `VCPC ‖ accept ‖ code hash ‖ session ‖ validator index`.
    PvfCheck(HexBytes),
    /// Protobuf `AuthorityRecord`.
    AuthorityRecord(HexBytes),
    /// SCALE `Heartbeat`.
    Heartbeat(HexBytes),
    /// `POP_ ‖ owner`.
    OwnershipProof(HexBytes),
}

impl RawPayload {
    /// The payload of `kind` with these bytes.
    pub fn new(kind: PayloadKind, bytes: impl Into<HexBytes>) -> Self {
        let bytes = bytes.into();
        match kind {
            PayloadKind::BabeHeader => Self::BabeHeader(bytes),
            PayloadKind::AuraHeader => Self::AuraHeader(bytes),
            PayloadKind::GrandpaVote => Self::GrandpaVote(bytes),
            PayloadKind::BeefyCommitment => Self::BeefyCommitment(bytes),
            PayloadKind::Statement => Self::Statement(bytes),
            PayloadKind::Approval => Self::Approval(bytes),
            PayloadKind::Dispute => Self::Dispute(bytes),
            PayloadKind::Bitfield => Self::Bitfield(bytes),
            PayloadKind::PvfCheck => Self::PvfCheck(bytes),
            PayloadKind::AuthorityRecord => Self::AuthorityRecord(bytes),
            PayloadKind::Heartbeat => Self::Heartbeat(bytes),
            PayloadKind::OwnershipProof => Self::OwnershipProof(bytes),
        }
    }

    /// The intent and the bytes.
    pub fn parts(&self) -> (PayloadKind, &[u8]) {
        let (kind, bytes) = match self {
            Self::BabeHeader(bytes) => (PayloadKind::BabeHeader, bytes),
            Self::AuraHeader(bytes) => (PayloadKind::AuraHeader, bytes),
            Self::GrandpaVote(bytes) => (PayloadKind::GrandpaVote, bytes),
            Self::BeefyCommitment(bytes) => (PayloadKind::BeefyCommitment, bytes),
            Self::Statement(bytes) => (PayloadKind::Statement, bytes),
            Self::Approval(bytes) => (PayloadKind::Approval, bytes),
            Self::Dispute(bytes) => (PayloadKind::Dispute, bytes),
            Self::Bitfield(bytes) => (PayloadKind::Bitfield, bytes),
            Self::PvfCheck(bytes) => (PayloadKind::PvfCheck, bytes),
            Self::AuthorityRecord(bytes) => (PayloadKind::AuthorityRecord, bytes),
            Self::Heartbeat(bytes) => (PayloadKind::Heartbeat, bytes),
            Self::OwnershipProof(bytes) => (PayloadKind::OwnershipProof, bytes),
        };
        (kind, &bytes.0)
    }

    /// The intent.
    pub fn kind(&self) -> PayloadKind {
        self.parts().0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.parts().1
    }
}
