//! Floors as they are given: where the watermarks of one key start or are raised to.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{DutyClass, GenesisHash, KeyId, Position, SlotTooFar};

/// Where the watermarks of a key start or are raised to. Each is the lowest position that may still be signed: one past
/// the last that was (or may have been) signed elsewhere. A key has one for each class that it has a watermark of; keys
/// whose work is all free have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Floors(Vec<Position>);

/// Why a floor cannot be set. The log's errors say it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FloorError {
    /// A key with claimed work needs an explicit one.
    Missing { key: KeyId, class: DutyClass },
    /// It is about work that the key never does, or there are two.
    Foreign { key: KeyId, floor: Position },
    /// Floors only rise.
    AlreadyHigher { key: KeyId, floor: Position, asked: Position },
    /// The key has no work that floors are about.
    NoWork { key: KeyId },
    /// A slot so far ahead that it would make numbers of before look like slots to come.
    TooFar { chain: GenesisHash, why: String },
}

impl From<SlotTooFar> for FloorError {
    fn from(SlotTooFar { chain, why }: SlotTooFar) -> Self {
        Self::TooFar { chain, why }
    }
}

impl Floors {
    /// The floors, in the order of their classes.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.0.iter().copied()
    }

    /// The floor of a class.
    pub fn of(&self, class: DutyClass) -> Option<Position> {
        self.positions().find(|floor| floor.class() == class)
    }

    /// Whether there is none: of a key whose work is all free.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The floors a key of this type has: one for each class that it has a watermark of.
    ///
    /// # Errors
    /// If one is missing, is there twice, or is of other work.
    pub(crate) fn of_key(&self, key: KeyId) -> Result<Vec<Position>, FloorError> {
        let mut own = Vec::new();
        for class in key.key_type.marks() {
            own.push(self.of(class).ok_or(FloorError::Missing { key, class })?);
        }
        let mut left = self.0.clone();
        left.retain(|floor| !own.contains(floor));
        let twice = (self.0.len() > own.len()).then(|| self.0.last().copied()).flatten();
        match left.first().copied().or(twice) {
            Some(floor) => Err(FloorError::Foreign { key, floor }),
            None => Ok(own),
        }
    }
}

impl FromIterator<Position> for Floors {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Self {
        let mut own: Vec<_> = positions.into_iter().collect();
        own.sort_unstable();
        Self(own)
    }
}

impl From<Position> for Floors {
    fn from(position: Position) -> Self {
        Self(vec![position])
    }
}
