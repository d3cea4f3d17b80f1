//! Duties: what a key may sign once.

use crate::{DutyClass, Position, Slot};
use parity_scale_codec::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt};

/// The most bytes of [`Duty::within`] and of [`Duty::facts`]: three times what any family needs.
pub const MAX_DUTY_BYTES: usize = 2_048;

/// What a key may sign once: the position and detail read from the payload's own bytes, with the facts its rule needs.
///
/// A family makes duties in its decoders and alone knows what `within` and `facts` mean. In JSON a duty is an object
/// with `class` and the family's own fields.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Duty {
    /// Where it stands, as floors go by it.
    position: Position,
    /// What tells duties of one position apart: the stage of a vote, the parent of a collation. Empty where a position
    /// is one duty.
    within: Vec<u8>,
    /// What the vote says, as far as the rule needs it: a target, a side. Not part of what identifies the duty.
    facts: Vec<u8>,
}

impl Duty {
    /// Makes a duty. Only a family's decoders call this.
    pub const fn new(position: Position, within: Vec<u8>, facts: Vec<u8>) -> Self {
        Self { position, within, facts }
    }

    /// The class of the duty.
    pub const fn class(&self) -> DutyClass {
        self.position.class()
    }

    /// Where it stands, as floors go by it.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// What tells it apart from other duties of its position.
    pub fn within(&self) -> &[u8] {
        &self.within
    }

    /// What it says, as far as its rule needs to know.
    pub fn facts(&self) -> &[u8] {
        &self.facts
    }

    /// The slot, for duties that are bound to wall-clock time.
    pub fn slot(&self) -> Option<Slot> {
        self.position.slot()
    }

    /// The duty without its facts: two payloads for the same duty then compare equal.
    #[must_use]
    pub fn coordinate(&self) -> Self {
        self.words().coordinate(self)
    }

    /// Its numbers, each with the name of what it counts.
    pub fn numbers(&self) -> Vec<(&'static str, u64)> {
        self.words().numbers(self)
    }

    /// A short duty that stands for this one where a signature is shown again.
    #[must_use]
    pub fn short(&self) -> Self {
        self.words().short(self)
    }

    fn words(&self) -> &'static dyn crate::DutyWords {
        self.class().claim().expect("duties are of claimed classes").words
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().describe(self))
    }
}

impl fmt::Debug for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?}, {}, {})", self.position, hex::encode(&self.within), hex::encode(&self.facts))
    }
}

// Layout: the position, then `within` and `facts` as SCALE byte vectors.
impl Decode for Duty {
    fn decode<I: parity_scale_codec::Input>(input: &mut I) -> Result<Self, parity_scale_codec::Error> {
        let (position, within, facts) = <(Position, Vec<u8>, Vec<u8>)>::decode(input)?;
        if within.len() > MAX_DUTY_BYTES || facts.len() > MAX_DUTY_BYTES {
            return Err("a duty longer than any there is".into());
        }
        Ok(Self { position, within, facts })
    }
}

impl Serialize for Duty {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let shown = self.words().show(self);
        let mut map = s.serialize_map(Some(shown.len() + 1))?;
        map.serialize_entry("class", &self.class())?;
        for (name, value) in &shown {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Duty {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut shown: Map<String, Value> = Map::deserialize(d)?;
        let class = shown.remove("class").ok_or_else(|| D::Error::missing_field("class"))?;
        let class = DutyClass::deserialize(class).map_err(D::Error::custom)?;
        let duty = class.claim().and_then(|claim| claim.words.read(&shown));
        duty.ok_or_else(|| D::Error::custom(format!("not a duty of class {class}")))
    }
}

impl JsonSchema for Duty {
    fn schema_name() -> Cow<'static, str> {
        "Duty".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let all: Vec<_> = DutyClass::all().filter_map(|class| Some(class.claim()?.words.schema())).collect();
        schemars::json_schema!({
            "description": "What a key may sign once: the coordinate, with the facts its rule needs.",
            "oneOf": all
        })
    }
}
