//! Duties: what a key may sign once.

use crate::{BlockNumber, CandidateHash, Hash, KeyType, Round, SessionIndex, SetId, Slot};
use parity_scale_codec::{Decode, Encode, MaxEncodedLen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use strum::{EnumCount as _, VariantArray as _};

/// A class of work. Rights are granted per class; the claimed classes each have a rule in the ledger.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
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
pub enum DutyClass {
    /// Sealing a BABE block. Claimed.
    #[codec(index = 0)]
    BabeBlock,
    /// Sealing an AURA block. Claimed.
    #[codec(index = 1)]
    AuraBlock,
    /// A GRANDPA prevote, precommit or primary proposal. Claimed.
    #[codec(index = 2)]
    GrandpaVote,
    /// A BEEFY vote. Claimed.
    #[codec(index = 3)]
    BeefyVote,
    /// Taking a side on a parachain candidate. Claimed.
    #[codec(index = 4)]
    ParaSide,
    /// A BABE VRF output. Free.
    #[codec(index = 5)]
    BabeVrf,
    /// An availability bitfield. Free.
    #[codec(index = 6)]
    Bitfield,
    /// A vote on parachain code. Free.
    #[codec(index = 7)]
    PvfCheck,
    /// An authority-discovery record. Free.
    #[codec(index = 8)]
    AuthorityRecord,
    /// An im-online heartbeat. Free.
    #[codec(index = 9)]
    Heartbeat,
    /// A proof that the key's holder agrees to be registered by an owner. Free.
    #[codec(index = 10)]
    OwnershipProof,
}

impl DutyClass {
    /// Every class.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// The name in rights, metrics and JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether work of this class uses up a duty and passes through the ledger. The other classes are free.
    pub const fn is_claimed(self) -> bool {
        match self {
            Self::BabeBlock | Self::AuraBlock | Self::GrandpaVote | Self::BeefyVote | Self::ParaSide => true,
            Self::BabeVrf
            | Self::Bitfield
            | Self::PvfCheck
            | Self::AuthorityRecord
            | Self::Heartbeat
            | Self::OwnershipProof => false,
        }
    }

    /// The key types that do work of this class.
    pub const fn key_types(self) -> &'static [KeyType] {
        match self {
            Self::BabeBlock | Self::BabeVrf => &[KeyType::Babe],
            Self::AuraBlock => &[KeyType::Aura],
            Self::GrandpaVote => &[KeyType::Grandpa],
            Self::BeefyVote => &[KeyType::Beefy],
            Self::ParaSide | Self::Bitfield | Self::PvfCheck => &[KeyType::Para],
            Self::AuthorityRecord => &[KeyType::AuthorityDiscovery],
            Self::Heartbeat => &[KeyType::ImOnline],
            Self::OwnershipProof => &KeyType::ALL,
        }
    }
}

impl FromStr for DutyClass {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|c| c.name() == text).ok_or_else(|| {
            format!("unknown duty class {text:?}; one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// The three votes of a GRANDPA round; their numbers are the first byte of a vote's payload.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum GrandpaStage {
    /// First vote.
    #[codec(index = 0)]
    Prevote,
    /// Second vote.
    #[codec(index = 1)]
    Precommit,
    /// The primary's proposal. Not slashable, held to one per round all the same.
    #[codec(index = 2)]
    PrimaryPropose,
}

/// A side on a parachain candidate. Backing, approving and disputing it as valid are one side.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// The candidate is good.
    #[codec(index = 0)]
    Valid,
    /// The candidate is bad.
    #[codec(index = 1)]
    Invalid,
}

/// How a backer speaks of a candidate.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum StatementKind {
    /// It proposes the candidate (the hash stands for the whole receipt).
    #[codec(index = 1)]
    Seconded,
    /// It checked a candidate another one proposed.
    #[codec(index = 2)]
    Valid,
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconded => "Seconded",
            Self::Valid => "Valid",
        })
    }
}

/// What a key may sign once: the coordinates read from the payload's own bytes, with the facts its rule needs.
///
/// The fields a rule compares are the coordinate; `target` of a GRANDPA vote and `side` are what the vote says.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize, JsonSchema,
)]
#[serde(tag = "class", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Duty {
    /// One BABE block per slot.
    #[codec(index = 0)]
    BabeBlock {
        /// The slot in the header's BABE pre-runtime digest.
        slot: Slot,
    },
    /// One AURA block per slot, or per (slot, number, parent) on collators.
    #[codec(index = 1)]
    AuraBlock {
        /// The slot in the header's AURA pre-runtime digest.
        slot: Slot,
        /// Set on chains in [`AuraMode::Collator`](crate::AuraMode::Collator): the block's number and parent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        collation: Option<(BlockNumber, Hash)>,
    },
    /// One vote per (set, round, stage).
    #[codec(index = 2)]
    GrandpaVote {
        /// The authority set.
        set_id: SetId,
        /// The round within the set.
        round: Round,
        /// Which vote of the round.
        stage: GrandpaStage,
        /// The block number voted for (not part of the coordinate; the BEEFY shield follows it).
        target: BlockNumber,
    },
    /// One vote per (set, block number).
    #[codec(index = 3)]
    BeefyVote {
        /// The validator set.
        set_id: SetId,
        /// The block number of the commitment.
        block: BlockNumber,
    },
    /// One side per (session, candidate); an approval can name several candidates.
    #[codec(index = 4)]
    ParaSide {
        /// The session of the candidates.
        session: SessionIndex,
        /// The candidates, in the payload's order; 1 to 16.
        candidates: Vec<CandidateHash>,
        /// The side taken on all of them (not part of the coordinate).
        side: Side,
    },
    /// One backing statement per (session, candidate): a `ParaSide` of the valid side that says which statement it
    /// is. In the log and the audit alone; clients are told of the side.
    #[codec(index = 60)]
    ParaStatement {
        /// The session of the candidate.
        session: SessionIndex,
        /// The candidate.
        candidate: CandidateHash,
        /// The statement (not part of the coordinate).
        statement: StatementKind,
    },
}

impl Duty {
    /// The class of the duty.
    pub const fn class(&self) -> DutyClass {
        match self {
            Self::BabeBlock { .. } => DutyClass::BabeBlock,
            Self::AuraBlock { .. } => DutyClass::AuraBlock,
            Self::GrandpaVote { .. } => DutyClass::GrandpaVote,
            Self::BeefyVote { .. } => DutyClass::BeefyVote,
            Self::ParaSide { .. } | Self::ParaStatement { .. } => DutyClass::ParaSide,
        }
    }

    /// The duty as clients of every version know it: a statement is a side on its candidate.
    pub fn for_clients(self) -> Self {
        match self {
            Self::ParaStatement { session, candidate, statement: _ } => {
                Self::ParaSide { session, candidates: vec![candidate], side: Side::Valid }
            }
            Self::BabeBlock { .. }
            | Self::AuraBlock { .. }
            | Self::GrandpaVote { .. }
            | Self::BeefyVote { .. }
            | Self::ParaSide { .. } => self,
        }
    }

    /// The slot, for duties that are bound to wall-clock time.
    pub const fn slot(&self) -> Option<Slot> {
        match self {
            Self::BabeBlock { slot } | Self::AuraBlock { slot, .. } => Some(*slot),
            Self::GrandpaVote { .. }
            | Self::BeefyVote { .. }
            | Self::ParaSide { .. }
            | Self::ParaStatement { .. } => None,
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BabeBlock { slot } => write!(f, "BABE block at slot {slot}"),
            Self::AuraBlock { slot, collation: None } => write!(f, "AURA block at slot {slot}"),
            Self::AuraBlock { slot, collation: Some((number, parent)) } => {
                write!(f, "AURA block {number} on {parent} at slot {slot}")
            }
            Self::GrandpaVote { set_id, round, stage, .. } => {
                write!(f, "GRANDPA {stage:?} in set {set_id} round {round}")
            }
            Self::BeefyVote { set_id, block } => write!(f, "BEEFY vote in set {set_id} for block {block}"),
            Self::ParaSide { session, candidates, .. } => {
                write!(f, "side on {} candidate(s) of session {session}", candidates.len())
            }
            Self::ParaStatement { session, candidate: _, statement } => {
                write!(f, "{statement} statement on a candidate of session {session}")
            }
        }
    }
}
