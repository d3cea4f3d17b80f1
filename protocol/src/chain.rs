//! Chains that keys sign for: their family, its settings, and how their slots are counted.

use crate::{ChainId, Family, FamilyId, HexBytes};
use parity_scale_codec::{Decode, DecodeAll as _, Encode, Input, Output};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};
use std::fmt;

/// The most bytes of a chain's settings.
pub const MAX_SETTINGS_BYTES: usize = 4_096;

/// What a family keeps about a chain, in the family's own bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, Encode)]
pub struct Settings(Vec<u8>);

impl Settings {
    /// Settings from bytes that the family encoded.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Settings in the form that families use: a version byte, then SCALE.
    pub fn of_version(version: u8, settings: &impl Encode) -> Self {
        Self((version, settings).encode())
    }

    /// The version byte; `None` if the settings are empty.
    pub fn version(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Reads what [`Self::of_version`] wrote. `whose` is the family's name in the error.
    ///
    /// # Errors
    /// If the settings are empty, of another version, or longer or shorter than they should be.
    pub fn read_version<T: Decode>(&self, version: u8, whose: &str) -> Result<T, SettingsError> {
        let error =
            |what: &str| SettingsError(format!("the settings of the chain are not {whose}'s: {what}"));
        match self.0.split_first() {
            Some((found, body)) if *found == version => {
                T::decode_all(&mut &*body).map_err(|e| error(&e.to_string()))
            }
            Some((found, _)) => Err(error(&format!("version {found} is not known"))),
            None => Err(error("they are empty")),
        }
    }

    /// The encoded settings.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Decode for Settings {
    fn decode<I: Input>(input: &mut I) -> Result<Self, parity_scale_codec::Error> {
        let bytes = Vec::<u8>::decode(input)?;
        if bytes.len() > MAX_SETTINGS_BYTES {
            return Err("settings longer than any there are".into());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        HexBytes(self.0.clone()).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        HexBytes::deserialize(d).map(|bytes| Self(bytes.0))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({})", hex::encode(&self.0))
    }
}

/// Why settings are refused, as text for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// A chain that keys sign for. What its payloads mean is fixed when it is added; a later change of its slot length is
/// kept in a record of its own ([`Retiming`](crate::Retiming)).
#[derive(Clone, PartialEq, Eq)]
pub struct Chain {
    /// What tells it from all other chains.
    pub genesis: ChainId,
    /// The operator's name for it, unique in the cluster.
    pub name: String,
    /// The kind of chain.
    pub family: &'static Family,
    /// What the family keeps about it.
    pub settings: Settings,
}

impl Chain {
    /// The length of a slot in milliseconds when the chain was added; `None` where duties do not go by wall-clock
    /// slots.
    pub fn slot_duration_ms(&self) -> Option<u64> {
        self.family.settings.slot_duration_ms(&self.settings)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({}, {}, {}, {:?})", self.name, self.genesis, self.family, self.settings)
    }
}

// Layout: hash, name, number of the family, settings.
impl Encode for Chain {
    fn encode_to<O: Output + ?Sized>(&self, out: &mut O) {
        let Self { genesis, name, family, settings } = self;
        (genesis, name, family.id.0, settings).encode_to(out);
    }
}

impl Decode for Chain {
    fn decode<I: Input>(input: &mut I) -> Result<Self, parity_scale_codec::Error> {
        let (genesis, name, family, settings) = Decode::decode(input)?;
        let family = FamilyId(family).family().ok_or("a chain of no family that this program knows")?;
        Ok(Self { genesis, name, family, settings })
    }
}

/// In JSON the settings are fields beside the name, as the family shows them.
impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("genesis", &self.genesis)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("family", self.family.name)?;
        for (name, value) in self.family.settings.show(&self.settings) {
            map.serialize_entry(&name, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut shown: Map<String, Value> = Map::deserialize(d)?;
        let mut take = |name: &'static str| shown.remove(name).ok_or_else(|| D::Error::missing_field(name));
        let genesis = ChainId::deserialize(take("genesis")?).map_err(D::Error::custom)?;
        let name = String::deserialize(take("name")?).map_err(D::Error::custom)?;
        let family = String::deserialize(take("family")?).map_err(D::Error::custom)?;
        let family = crate::family::family(&family).map_err(D::Error::custom)?;
        let settings = family.settings.read(&shown).map_err(D::Error::custom)?;
        Ok(Self { genesis, name, family, settings })
    }
}
