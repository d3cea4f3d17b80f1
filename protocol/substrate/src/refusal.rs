//! The refusals that only Substrate's classes have, and what they say.

use crate::{BEEFY_VOTE, BlockNumber, CandidateHash, PARA_SIDE, SessionIndex, SetId, Side, StatementKind};
use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signonce_protocol::{DutyClass, ErrorCode, Position, Refusal, RefusalDetails, Refusals, RuleRefusal};

/// A refusal by one of the family's own rules. Its facts in the log are SCALE.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum OwnRefusal {
    /// The BEEFY shield: a vote for a block far above what the validator's own GRANDPA key has voted for.
    #[error(
        "BEEFY vote for block {asked}: the GRANDPA key of this group has precommitted up to {precommitted} only \
         (slack {slack}); retry when GRANDPA has caught up"
    )]
    #[serde(rename = "beefyAheadOfGrandpa")]
    #[codec(index = 0)]
    AheadOfGrandpa {
        /// The validator set of the vote.
        set_id: SetId,
        /// The block asked for.
        asked: BlockNumber,
        /// The highest target of a precommit in the present set.
        precommitted: BlockNumber,
        /// How far above it a vote may be.
        slack: u64,
    },
    /// The other side was taken on one of the candidates. The evidence is in the audit.
    #[error(
        "candidate {candidate} of session {session}: {signed:?} was signed already, {asked:?} would contradict it; the \
         audit has when and for whom"
    )]
    #[codec(index = 1)]
    OtherSide {
        /// The session.
        session: SessionIndex,
        /// The first candidate, in the payload's order, with a contradiction.
        candidate: CandidateHash,
        /// The side taken.
        signed: Side,
        /// The side asked for now.
        asked: Side,
    },
    /// The candidate was backed by the other statement.
    #[error(
        "candidate {candidate} of session {session}: {signed} was signed already, {asked} beside it would be a second \
         statement; the audit has when and for whom"
    )]
    #[codec(index = 2)]
    OtherStatement {
        /// The session.
        session: SessionIndex,
        /// The candidate.
        candidate: CandidateHash,
        /// The statement that was signed.
        signed: StatementKind,
        /// The statement asked for now.
        asked: StatementKind,
    },
}

/// The refusal as the ledger gives it.
pub(crate) fn refuse(class: DutyClass, refusal: &OwnRefusal) -> Refusal {
    let code = match refusal {
        OwnRefusal::AheadOfGrandpa { .. } => 0,
        OwnRefusal::OtherSide { .. } => 1,
        OwnRefusal::OtherStatement { .. } => 2,
    };
    Refusal::Rule(RuleRefusal { class, code, facts: refusal.encode() })
}

impl OwnRefusal {
    /// The typed refusal; `None` for one of another family, or facts that cannot be read.
    pub fn of(refusal: &Refusal) -> Option<Self> {
        let Refusal::Rule(RuleRefusal { class: BEEFY_VOTE | PARA_SIDE, code, facts }) = refusal else {
            return None;
        };
        Self::decode_all(&mut &facts[..]).ok().filter(|own| own.encode().first() == Some(code))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::AheadOfGrandpa { .. } => "beefyAheadOfGrandpa",
            Self::OtherSide { .. } => "otherSide",
            Self::OtherStatement { .. } => "otherStatement",
        }
    }
}

pub(crate) struct OwnRefusals;

impl Refusals for OwnRefusals {
    fn tell(&self, code: u8, facts: &[u8]) -> Option<RefusalDetails> {
        let own = OwnRefusal::decode_all(&mut &*facts).ok().filter(|_| facts.first() == Some(&code))?;
        let (is_final, code, bound) = match &own {
            OwnRefusal::AheadOfGrandpa { set_id, precommitted, slack, asked: _ } => {
                let farthest = precommitted.saturating_add(*slack);
                (false, ErrorCode::AheadOfGroup, Position::new(BEEFY_VOTE, &[set_id.0, farthest.0]))
            }
            OwnRefusal::OtherSide { .. } | OwnRefusal::OtherStatement { .. } => {
                (true, ErrorCode::Equivocation, None)
            }
        };
        let mut facts = match serde_json::to_value(&own) {
            Ok(Value::Object(shown)) => shown,
            Ok(_) | Err(_) => Map::new(),
        };
        facts.remove("reason");
        let contradicts = code == ErrorCode::Equivocation;
        Some(RefusalDetails {
            reason: own.name(),
            text: own.to_string(),
            is_final,
            code,
            bound,
            contradicts,
            facts,
        })
    }
}
