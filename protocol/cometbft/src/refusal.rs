//! The refusal that only these classes have, and its text.

use crate::{BlockId, Height, Round, VOTE};
use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signonce_protocol::{ErrorCode, Refusal, RefusalDetails, Refusals, RuleRefusal};

/// A refusal by the family's own rule. Its facts in the log are SCALE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum OwnRefusal {
    /// A prevote for something other than the block that the height is locked on, by a node that has not locked it.
    #[error(
        "prevote for {asked} in round {round} of height {height}: the key has precommitted block {locked} in round \
         {locked_round}, and the node that asks was not seen to lock it, so it cannot know what frees it; the other node \
         of this validator goes on, and the next height is free again",
        asked = .asked.map_or_else(|| "nil".to_owned(), |block| block.to_string())
    )]
    #[codec(index = 0)]
    Locked {
        /// The height.
        height: Height,
        /// The round asked for.
        round: Round,
        /// The block asked for; `None` for nil.
        asked: Option<BlockId>,
        /// The block that was precommitted.
        locked: BlockId,
        /// The round in which it was precommitted.
        locked_round: Round,
    },
}

impl OwnRefusal {
    /// The refusal in the ledger's form.
    pub(crate) fn refuse(&self) -> Refusal {
        Refusal::Rule(RuleRefusal { class: VOTE, code: self.code(), facts: self.encode() })
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Locked { .. } => 0,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
        }
    }

    /// The typed refusal; `None` for one of another family, or facts that cannot be read.
    pub fn of(refusal: &Refusal) -> Option<Self> {
        let Refusal::Rule(RuleRefusal { class: VOTE, code, facts }) = refusal else { return None };
        Self::read(*code, facts)
    }

    fn read(code: u8, facts: &[u8]) -> Option<Self> {
        Self::decode_all(&mut &*facts).ok().filter(|own| own.code() == code)
    }
}

pub(crate) struct OwnRefusals;

impl Refusals for OwnRefusals {
    fn tell(&self, code: u8, facts: &[u8]) -> Option<RefusalDetails> {
        let own = OwnRefusal::read(code, facts)?;
        let mut facts = match serde_json::to_value(own) {
            Ok(Value::Object(shown)) => shown,
            Ok(_) | Err(_) => Map::new(),
        };
        facts.remove("reason");
        let (code, is_final) = match own {
            // A precommit that the node asks for again, for example from its log, would entitle it.
            OwnRefusal::Locked { .. } => (ErrorCode::Locked, false),
        };
        let (reason, text) = (own.name(), own.to_string());
        Some(RefusalDetails { reason, text, is_final, code, bound: None, contradicts: false, facts })
    }
}
