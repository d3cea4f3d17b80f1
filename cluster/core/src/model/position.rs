//! Where a duty stands within its key and class, as far as floors go by it.

use super::Floors;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{BlockNumber, Duty, KeyType, Round, SessionIndex, SetId, Slot};
use std::fmt;

/// A coordinate as far as floors go by it: a slot without the block in it, a round without the stage, a session
/// without the candidate. Two positions compare only within one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Position {
    /// Of a BABE or AURA block.
    #[codec(index = 0)]
    Slot {
        /// The slot.
        slot: Slot,
    },
    /// Of a GRANDPA vote.
    #[codec(index = 1)]
    Grandpa {
        /// The authority set.
        set_id: SetId,
        /// The round within it.
        round: Round,
    },
    /// Of a BEEFY vote.
    #[codec(index = 2)]
    Beefy {
        /// The validator set.
        set_id: SetId,
        /// The block.
        block: BlockNumber,
    },
    /// Of a side on a candidate.
    #[codec(index = 3)]
    Para {
        /// The session.
        session: SessionIndex,
    },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot { slot } => write!(f, "slot {slot}"),
            Self::Grandpa { set_id, round } => write!(f, "GRANDPA set {set_id} round {round}"),
            Self::Beefy { set_id, block } => write!(f, "BEEFY set {set_id} block {block}"),
            Self::Para { session } => write!(f, "session {session}"),
        }
    }
}

impl Position {
    /// Where a duty stands, as far as floors go by it.
    pub const fn of(duty: &Duty) -> Self {
        match duty {
            Duty::BabeBlock { slot } | Duty::AuraBlock { slot, .. } => Self::Slot { slot: *slot },
            Duty::GrandpaVote { set_id, round, .. } => Self::Grandpa { set_id: *set_id, round: *round },
            Duty::BeefyVote { set_id, block } => Self::Beefy { set_id: *set_id, block: *block },
            Duty::ParaSide { session, .. } | Duty::ParaStatement { session, .. } => {
                Self::Para { session: *session }
            }
        }
    }

    /// The next position: the lowest floor that this one is below. `None` at the end of all numbers.
    pub fn next(self) -> Option<Self> {
        Some(match self {
            Self::Slot { slot } => Self::Slot { slot: Slot(slot.0.checked_add(1)?) },
            Self::Grandpa { set_id, round } => match round.0.checked_add(1) {
                Some(round) => Self::Grandpa { set_id, round: Round(round) },
                None => Self::Grandpa { set_id: SetId(set_id.0.checked_add(1)?), round: Round(0) },
            },
            Self::Beefy { set_id, block } => match block.0.checked_add(1) {
                Some(block) => Self::Beefy { set_id, block: BlockNumber(block) },
                None => Self::Beefy { set_id: SetId(set_id.0.checked_add(1)?), block: BlockNumber(0) },
            },
            Self::Para { session } => Self::Para { session: SessionIndex(session.0.checked_add(1)?) },
        })
    }

    /// Whether this is below `other`. `None` for positions of two classes.
    pub fn is_below(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::Slot { slot: a }, Self::Slot { slot: b }) => Some(a < b),
            (Self::Grandpa { set_id: a, round: x }, Self::Grandpa { set_id: b, round: y }) => {
                Some((a, x) < (b, y))
            }
            (Self::Beefy { set_id: a, block: x }, Self::Beefy { set_id: b, block: y }) => {
                Some((a, x) < (b, y))
            }
            (Self::Para { session: a }, Self::Para { session: b }) => Some(a < b),
            (Self::Slot { .. } | Self::Grandpa { .. } | Self::Beefy { .. } | Self::Para { .. }, _) => None,
        }
    }

    /// Whether keys of this type stand at such positions.
    pub const fn fits(self, key_type: KeyType) -> bool {
        matches!(
            (self, key_type),
            (Self::Slot { .. }, KeyType::Babe | KeyType::Aura)
                | (Self::Grandpa { .. }, KeyType::Grandpa)
                | (Self::Beefy { .. }, KeyType::Beefy)
                | (Self::Para { .. }, KeyType::Para)
        )
    }
}

impl From<Position> for Floors {
    /// The floor at this position.
    fn from(position: Position) -> Self {
        let none = Self::default();
        match position {
            Position::Slot { slot } => Self { slot: Some(slot), ..none },
            Position::Grandpa { set_id, round } => Self { grandpa: Some((set_id, round)), ..none },
            Position::Beefy { set_id, block } => Self { beefy: Some((set_id, block)), ..none },
            Position::Para { session } => Self { para: Some(session), ..none },
        }
    }
}
