//! Duties of Substrate chains as typed values, and how they stand in the ledger.

use crate::{
    AURA_BLOCK, BABE_BLOCK, BEEFY_VOTE, BlockNumber, CandidateHash, GRANDPA_VOTE, PARA_SIDE, Round,
    SessionIndex, SetId, sides::Said,
};
use parity_scale_codec::{Decode, DecodeAll as _, Encode, MaxEncodedLen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signonce_protocol::{Duty as AnyDuty, DutyClass, DutyWords, Hash, Position, Slot};
use std::fmt;

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
    /// The primary's proposal. Not slashable, but still limited to one per round.
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

/// A backer's statement about a candidate.
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
    /// The backer proposes the candidate (the hash stands for the whole receipt).
    #[codec(index = 1)]
    Seconded,
    /// The backer checked a candidate that another one proposed.
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

/// What a key may sign once: the numbers read from the payload's own bytes, with the facts its rule needs.
///
/// The fields by which duties are told apart identify the duty; `target` of a GRANDPA vote and `side` are its facts.
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
        /// The block number voted for (a fact; the BEEFY shield follows it).
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
        /// The side taken on all of them (a fact).
        side: Side,
        /// For a backer: the statement, of which there is one per candidate (a fact).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementKind>,
    },
}

impl Duty {
    /// The class of the duty.
    pub const fn class(&self) -> DutyClass {
        match self {
            Self::BabeBlock { .. } => BABE_BLOCK,
            Self::AuraBlock { .. } => AURA_BLOCK,
            Self::GrandpaVote { .. } => GRANDPA_VOTE,
            Self::BeefyVote { .. } => BEEFY_VOTE,
            Self::ParaSide { .. } => PARA_SIDE,
        }
    }

    /// The duty in the ledger's form.
    pub fn to_any(&self) -> AnyDuty {
        AnyDuty::from(self)
    }

    /// The typed duty; `None` for a duty of another family, or facts that cannot be read.
    pub fn of(duty: &AnyDuty) -> Option<Self> {
        let (parts, within, facts) = (duty.position(), duty.within(), duty.facts());
        match (duty.class(), parts.parts()) {
            (BABE_BLOCK, &[slot]) if within.is_empty() && facts.is_empty() => {
                Some(Self::BabeBlock { slot: Slot(slot) })
            }
            (AURA_BLOCK, &[slot]) if facts.is_empty() => {
                let collation = match within {
                    [] => None,
                    within => Some(Decode::decode(&mut &*within).ok()?),
                };
                Some(Self::AuraBlock { slot: Slot(slot), collation })
                    .filter(|_| matches!(within.len(), 0 | 40))
            }
            (GRANDPA_VOTE, &[set, round]) => {
                let (set_id, round) = (SetId(set), Round(round));
                let stage = GrandpaStage::decode_all(&mut &*within).ok()?;
                let target = BlockNumber::decode_all(&mut &*facts).ok()?;
                Some(Self::GrandpaVote { set_id, round, stage, target })
            }
            (BEEFY_VOTE, &[set, block]) if within.is_empty() && facts.is_empty() => {
                Some(Self::BeefyVote { set_id: SetId(set), block: BlockNumber(block) })
            }
            (PARA_SIDE, &[session]) => {
                let session = SessionIndex(u32::try_from(session).ok()?);
                let candidates = Vec::decode_all(&mut &*within).ok()?;
                let &[bits] = facts else { return None };
                let said = Some(Said::of_bits(bits)).filter(|said| said.bits() == bits)?;
                let (side, statement) = said.parts();
                Some(Self::ParaSide { session, candidates, side, statement })
            }
            _ => None,
        }
    }
}

impl From<&Duty> for AnyDuty {
    fn from(duty: &Duty) -> Self {
        let (class, parts, within, facts): (_, &[u64], _, _) = match duty {
            Duty::BabeBlock { slot } => (BABE_BLOCK, &[slot.0], Vec::new(), Vec::new()),
            Duty::AuraBlock { slot, collation } => {
                let within = collation.map_or_else(Vec::new, |collation| collation.encode());
                (AURA_BLOCK, &[slot.0], within, Vec::new())
            }
            Duty::GrandpaVote { set_id, round, stage, target } => {
                (GRANDPA_VOTE, &[set_id.0, round.0], stage.encode(), target.encode())
            }
            Duty::BeefyVote { set_id, block } => (BEEFY_VOTE, &[set_id.0, block.0], Vec::new(), Vec::new()),
            Duty::ParaSide { session, candidates, side, statement } => {
                let said = vec![Said::new(*side, *statement).bits()];
                (PARA_SIDE, &[u64::from(session.0)], candidates.encode(), said)
            }
        };
        let position = Position::new(class, parts).expect("every number of these types is in its range");
        Self::new(position, within, facts)
    }
}

impl From<Duty> for AnyDuty {
    fn from(duty: Duty) -> Self {
        Self::from(&duty)
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
            Self::ParaSide { session, statement: Some(statement), .. } => {
                write!(f, "{statement} statement on a candidate of session {session}")
            }
            Self::ParaSide { session, candidates, .. } => {
                write!(f, "side on {} candidate(s) of session {session}", candidates.len())
            }
        }
    }
}

/// How duties of every claimed class of the family are printed and parsed.
pub(crate) struct Words(pub(crate) &'static str);

impl DutyWords for Words {
    fn describe(&self, duty: &AnyDuty) -> String {
        match Duty::of(duty) {
            Some(typed) => typed.to_string(),
            None => format!("{} at {} with facts that cannot be read", duty.class(), duty.position()),
        }
    }

    fn show(&self, duty: &AnyDuty) -> Map<String, Value> {
        match Duty::of(duty).map(serde_json::to_value) {
            Some(Ok(Value::Object(mut shown))) => {
                shown.remove("class");
                shown
            }
            Some(_) | None => duty.position().show(),
        }
    }

    fn read(&self, shown: &Map<String, Value>) -> Option<AnyDuty> {
        let mut shown = shown.clone();
        shown.insert("class".into(), self.0.into());
        serde_json::from_value::<Duty>(Value::Object(shown)).ok().map(AnyDuty::from)
    }

    fn coordinate(&self, duty: &AnyDuty) -> AnyDuty {
        match Duty::of(duty) {
            Some(Duty::GrandpaVote { set_id, round, stage, target: _ }) => {
                Duty::GrandpaVote { set_id, round, stage, target: BlockNumber(0) }.into()
            }
            Some(Duty::ParaSide { session, candidates, side: _, statement: _ }) => {
                Duty::ParaSide { session, candidates, side: Side::Valid, statement: None }.into()
            }
            Some(Duty::BabeBlock { .. } | Duty::AuraBlock { .. } | Duty::BeefyVote { .. }) | None => {
                duty.clone()
            }
        }
    }

    fn numbers(&self, duty: &AnyDuty) -> Vec<(&'static str, u64)> {
        let mut numbers: Vec<_> = duty.position().named().map(|(part, number)| (part.word, number)).collect();
        match Duty::of(duty) {
            Some(Duty::GrandpaVote { target: block, .. })
            | Some(Duty::AuraBlock { collation: Some((block, _)), .. }) => numbers.push(("block", block.0)),
            Some(
                Duty::BabeBlock { .. }
                | Duty::AuraBlock { collation: None, .. }
                | Duty::BeefyVote { .. }
                | Duty::ParaSide { .. },
            )
            | None => {}
        }
        numbers
    }

    /// For a side on several candidates, the first one is enough.
    fn short(&self, duty: &AnyDuty) -> AnyDuty {
        match Duty::of(duty) {
            Some(Duty::ParaSide { session, mut candidates, side, statement }) => {
                candidates.truncate(1);
                Duty::ParaSide { session, candidates, side, statement }.into()
            }
            Some(
                Duty::BabeBlock { .. }
                | Duty::AuraBlock { .. }
                | Duty::GrandpaVote { .. }
                | Duty::BeefyVote { .. },
            )
            | None => duty.clone(),
        }
    }

    fn schema(&self) -> Value {
        let all = schemars::SchemaGenerator::new(
            schemars::generate::SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true),
        )
        .into_root_schema_for::<Duty>()
        .to_value();
        let of_class = |one: &&Value| one["properties"]["class"]["const"] == self.0;
        all["oneOf"].as_array().and_then(|all| all.iter().find(of_class)).cloned().unwrap_or_default()
    }
}
