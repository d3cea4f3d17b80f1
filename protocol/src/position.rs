//! Where a duty stands within its key and class, as floors go by it.

use crate::{DutyClass, Part, Slot};
use parity_scale_codec::{Decode, Encode, Input, Output};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt};

/// The most numbers that make up a position.
pub const MAX_PARTS: usize = 3;

/// The part of a duty's identity that floors compare: a slot without the block in it, a round without the stage, a
/// session without the candidate. Whether one is below another is asked with [`Self::is_below`]; `Ord` is only for
/// sorted lists, by class first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    class: DutyClass,
    /// As many as the class has [`Part`]s; the rest are zero.
    parts: [u64; MAX_PARTS],
}

impl Position {
    /// The position with these numbers. `None` for a free class, the wrong count of numbers, or one that is too high.
    pub fn new(class: DutyClass, parts: &[u64]) -> Option<Self> {
        let spec = class.claim()?.parts;
        let fits = spec.len() == parts.len() && spec.iter().zip(parts).all(|(part, at)| *at <= part.max);
        let mut own = [0; MAX_PARTS];
        own.get_mut(..parts.len())?.copy_from_slice(parts);
        fits.then_some(Self { class, parts: own })
    }

    /// The lowest position of a class; `None` for free work.
    pub fn zero(class: DutyClass) -> Option<Self> {
        class.claim().map(|_| Self { class, parts: [0; MAX_PARTS] })
    }

    /// The class.
    pub const fn class(&self) -> DutyClass {
        self.class
    }

    /// The numbers, the most significant first.
    pub fn parts(&self) -> &[u64] {
        &self.parts[..self.spec().len()]
    }

    /// The numbers as they compare within a watermark, padded with zeros.
    pub const fn order(&self) -> [u64; MAX_PARTS] {
        self.parts
    }

    fn spec(&self) -> &'static [Part] {
        self.class.claim().expect("positions are of claimed classes").parts
    }

    /// Each number with the part that it is.
    pub fn named(&self) -> impl Iterator<Item = (&'static Part, u64)> + use<> {
        self.spec().iter().zip(self.parts)
    }

    /// The slot, for classes that are bound to wall-clock time.
    pub fn slot(&self) -> Option<Slot> {
        self.class.claim()?.slots.map(|_| Slot(self.parts[0]))
    }

    /// The same position with another slot.
    ///
    /// # Panics
    /// If the class has no slots.
    #[must_use]
    pub fn with_slot(mut self, slot: Slot) -> Self {
        assert!(self.slot().is_some(), "{self} is not a slot");
        self.parts[0] = slot.0;
        self
    }

    /// The next position: the lowest floor above this one. `None` at the end of the range.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        let mut next = self;
        for (at, part) in self.spec().iter().enumerate().rev() {
            if next.parts[at] < part.max {
                next.parts[at] += 1;
                return Some(next);
            }
            next.parts[at] = 0;
        }
        None
    }

    /// The same position as a floor of the watermark that holds its class.
    #[must_use]
    pub fn of_mark(self) -> Self {
        Self { class: self.class.mark().unwrap_or(self.class), ..self }
    }

    /// This floor for a watermark that remembers nothing else: the same, or a higher one where the family asks for it.
    /// `None` at the end of the range.
    #[must_use]
    pub fn alone(self) -> Option<Self> {
        match self.class.claim().and_then(|claim| claim.alone) {
            Some(alone) => alone(self),
            None => Some(self),
        }
    }

    /// The lowest floor for whoever knows only that this was signed, or may have been: past it, and standing alone.
    /// `None` at the end of the range.
    #[must_use]
    pub fn past(self) -> Option<Self> {
        self.of_mark().next()?.alone()
    }

    /// Whether this is below `other`. `None` if they belong to different watermarks.
    pub fn is_below(self, other: Self) -> Option<bool> {
        (self.class.mark() == other.class.mark()).then(|| self.parts < other.parts)
    }

    /// The form in which positions of a class are written: `SET:ROUND`. Empty for free work.
    pub fn form(class: DutyClass) -> String {
        let parts = class.claim().map_or(&[][..], |claim| claim.parts);
        parts.iter().map(|part| part.word.to_uppercase()).collect::<Vec<_>>().join(":")
    }

    /// Reads a position in its written form: the numbers separated by colons, as in `4021:17`.
    ///
    /// # Errors
    /// The expected form.
    pub fn parse(class: DutyClass, text: &str) -> Result<Self, String> {
        if class.claim().is_none() {
            return Err(format!("{class} work has no watermark"));
        }
        let wrong = || format!("{text:?} is not {} of {class}", Self::form(class));
        let parts: Option<Vec<u64>> = text.split(':').map(|number| number.parse().ok()).collect();
        parts.and_then(|parts| Self::new(class, &parts)).ok_or_else(wrong)
    }

    /// The numbers as a JSON object, without the class.
    pub fn show(&self) -> Map<String, Value> {
        self.named().map(|(part, at)| (part.name.to_owned(), at.into())).collect()
    }

    /// Reads what [`Self::show`] gives.
    ///
    /// # Errors
    /// The expected form.
    pub fn read(class: DutyClass, shown: &Map<String, Value>) -> Result<Self, String> {
        let parts = class.claim().map_or(&[][..], |claim| claim.parts);
        let numbers: Option<Vec<u64>> =
            parts.iter().map(|part| shown.get(part.name).and_then(Value::as_u64)).collect();
        let wrong = || {
            let form = |part: &Part| match part.max {
                u64::MAX => part.name.to_owned(),
                max => format!("{} (at most {max})", part.name),
            };
            let names: Vec<_> = parts.iter().map(form).collect();
            format!("a position of {class} has whole numbers alone: {}", names.join(", "))
        };
        if shown.len() != parts.len() {
            return Err(wrong());
        }
        numbers.and_then(|numbers| Self::new(class, &numbers)).ok_or_else(wrong)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class.claim().map_or("", |claim| claim.prefix))?;
        for (at, (part, number)) in self.named().enumerate() {
            write!(f, "{}{} {number}", if at == 0 { "" } else { " " }, part.word)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.class, self.parts())
    }
}

// Layout: the class, then its numbers, 8 bytes little-endian each.
impl Encode for Position {
    fn encode_to<O: Output + ?Sized>(&self, out: &mut O) {
        self.class.encode_to(out);
        for number in self.parts() {
            out.write(&number.to_le_bytes());
        }
    }
}

impl Decode for Position {
    fn decode<I: Input>(input: &mut I) -> Result<Self, parity_scale_codec::Error> {
        let class = DutyClass::decode(input)?;
        let count = class.claim().map_or(0, |claim| claim.parts.len());
        let numbers = (0..count).map(|_| u64::decode(input)).collect::<Result<Vec<_>, _>>()?;
        Self::new(class, &numbers).ok_or_else(|| "a position that its class does not have".into())
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("class", &self.class)?;
        for (part, number) in self.named() {
            map.serialize_entry(part.name, &number)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut shown = Map::deserialize(d)?;
        let class = shown.remove("class").ok_or_else(|| D::Error::missing_field("class"))?;
        let class = DutyClass::deserialize(class).map_err(D::Error::custom)?;
        Self::read(class, &shown).map_err(D::Error::custom)
    }
}

impl JsonSchema for Position {
    fn schema_name() -> Cow<'static, str> {
        "Position".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let all: Vec<_> = DutyClass::all().filter_map(schema).collect();
        schemars::json_schema!({
            "description": "A place in the order of one class.",
            "oneOf": all
        })
    }
}

fn schema(class: DutyClass) -> Option<Value> {
    let parts = class.claim()?.parts;
    let number = |part: &Part| {
        let number = serde_json::json!({ "type": "integer", "minimum": 0, "maximum": part.max });
        (part.name.to_owned(), number)
    };
    let mut properties: Map<String, Value> = parts.iter().map(number).collect();
    properties.insert("class".into(), serde_json::json!({ "type": "string", "const": class.name() }));
    let required: Vec<_> = std::iter::once("class").chain(parts.iter().map(|part| part.name)).collect();
    Some(serde_json::json!({
        "type": "object", "required": required, "properties": properties, "additionalProperties": false
    }))
}
