//! Floors as they are given: where the watermarks of one key start or are raised to.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{ChainId, DutyClass, KeyId, Position, SlotTooFar};
use std::collections::BTreeSet;

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
    TooFar { chain: ChainId, why: String },
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

    /// The highest feature level of the classes that they are of, if there are any.
    pub(crate) fn family_level(&self) -> Option<u32> {
        self.positions().map(|floor| floor.class().level()).max()
    }

    /// The floors a key of this type has at a feature level: one for each class that it has a watermark of then.
    ///
    /// # Errors
    /// If one is missing, is there twice, or is of other work.
    pub(crate) fn of_key(&self, key: KeyId, level: u32) -> Result<Vec<Position>, FloorError> {
        // Members of an older program know no others.
        let own: Vec<_> = key.key_type.marks().filter(|class| class.level() <= level).collect();
        let mut seen = BTreeSet::new();
        for floor in self.positions() {
            if !own.contains(&floor.class()) || !seen.insert(floor.class()) {
                return Err(FloorError::Foreign { key, floor });
            }
        }
        own.into_iter().map(|class| self.of(class).ok_or(FloorError::Missing { key, class })).collect()
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
