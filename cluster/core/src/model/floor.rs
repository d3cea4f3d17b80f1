//! Floors as they are given, and the class of work that a key type has one for.

use super::Position;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{
    BlockNumber, DutyClass, GenesisHash, KeyId, KeyType, Round, SessionIndex, SetId, Slot,
};

/// Where watermarks start or are raised to. Each is the lowest coordinate that may still be signed: one past the
/// last that was (or may have been) signed elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Floors {
    /// For `babe` and `aura` keys: the first slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// For `gran` keys: the first set and the first round in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grandpa: Option<(SetId, Round)>,
    /// For `beef` keys: the first set and the first block in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beefy: Option<(SetId, BlockNumber)>,
    /// For `para` keys: the first session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub para: Option<SessionIndex>,
}

/// Why a floor cannot be set. The log's errors say it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FloorError {
    /// A key with claimed work needs an explicit one.
    Missing { key: KeyId, class: DutyClass },
    /// It is about work that the key never does.
    Foreign { key: KeyId, floor: Position },
    /// Floors only rise.
    AlreadyHigher { key: KeyId, floor: Position, asked: Position },
    /// The key has no work that floors are about.
    NoWork { key: KeyId },
    /// A slot so far ahead that it would make numbers of before look like slots to come.
    TooFar { chain: GenesisHash, why: String },
}

/// The class of a key type's claimed work; `None` for types whose work is all free.
pub(crate) const fn claimed_class(key_type: KeyType) -> Option<DutyClass> {
    match key_type {
        KeyType::Babe => Some(DutyClass::BabeBlock),
        KeyType::Aura => Some(DutyClass::AuraBlock),
        KeyType::Grandpa => Some(DutyClass::GrandpaVote),
        KeyType::Beefy => Some(DutyClass::BeefyVote),
        KeyType::Para => Some(DutyClass::ParaSide),
        KeyType::AuthorityDiscovery | KeyType::ImOnline => None,
    }
}

impl Floors {
    /// The floors that are set.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        let Self { slot, grandpa, beefy, para } = *self;
        [
            slot.map(|slot| Position::Slot { slot }),
            grandpa.map(|(set_id, round)| Position::Grandpa { set_id, round }),
            beefy.map(|(set_id, block)| Position::Beefy { set_id, block }),
            para.map(|session| Position::Para { session }),
        ]
        .into_iter()
        .flatten()
    }

    /// The one floor a key of this type has; `None` for types whose work is all free.
    ///
    /// # Errors
    /// If it is missing, or a floor of other work is set.
    pub(crate) fn of_key(&self, key: KeyId) -> Result<Option<Position>, FloorError> {
        let Self { slot, grandpa, beefy, para } = *self;
        let class = claimed_class(key.key_type);
        let own = match class {
            Some(DutyClass::BabeBlock | DutyClass::AuraBlock) => slot.map(|slot| Position::Slot { slot }),
            Some(DutyClass::GrandpaVote) => {
                grandpa.map(|(set_id, round)| Position::Grandpa { set_id, round })
            }
            Some(DutyClass::BeefyVote) => beefy.map(|(set_id, block)| Position::Beefy { set_id, block }),
            Some(DutyClass::ParaSide) => para.map(|session| Position::Para { session }),
            Some(
                DutyClass::BabeVrf
                | DutyClass::Bitfield
                | DutyClass::PvfCheck
                | DutyClass::AuthorityRecord
                | DutyClass::Heartbeat
                | DutyClass::OwnershipProof,
            )
            | None => None,
        };
        if let Some(floor) = self.positions().find(|floor| Some(*floor) != own) {
            return Err(FloorError::Foreign { key, floor });
        }
        match class {
            Some(class) => own.map(Some).ok_or(FloorError::Missing { key, class }),
            None => Ok(None),
        }
    }
}
