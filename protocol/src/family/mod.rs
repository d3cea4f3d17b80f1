//! What a chain family is, and the table of those that this program knows.
//!
//! A **family** is a kind of chain (Substrate, CometBFT). It says in one constant, [`Family`], what its key types,
//! classes of duty, payloads and rules are; nothing else in the house names them. The binary lists its families once
//! and [`install`]s them before anything else; from then on a [`KeyType`], [`DutyClass`], [`PayloadKind`] or [`Scheme`]
//! is a number that finds its row in that list. What is not in the list cannot be read: unknown means no.
//!
//! A cluster of members with different programs stays of one mind because nothing of a family enters the log below the
//! feature level that the family asks for ([`Family::level`]), and a level rises once every member supports it.

mod check;
mod class;
mod key_type;
mod kind;
mod scheme;

pub use class::{
    ClaimSpec, ClassSpec, DutyClass, DutyWords, Jump, Part, Refusals, Rule, ShieldContext, SlotRule, Told,
    WindowRule,
};
pub use key_type::{KeyType, KeyTypeSpec};
pub use kind::{KindSpec, PayloadKind};
pub use scheme::{Algorithm, Scheme, SchemeSpec};

use crate::{Settings, SettingsError, rpc::Method};
use serde_json::{Map, Value};
use std::{fmt, sync::OnceLock};

/// A kind of chain, in one constant.
pub struct Family {
    /// Its number in everything that is stored or sent. Never used again for another.
    pub id: FamilyId,
    /// Its name, for people and in JSON: `substrate`.
    pub name: &'static str,
    /// The feature level from which on chains of it may be added.
    pub level: u32,
    /// Its signature schemes, in the order of their numbers.
    pub schemes: &'static [SchemeSpec],
    /// Its key types, in the order of their numbers.
    pub key_types: &'static [KeyTypeSpec],
    /// Its classes of duty, in the order of their numbers.
    pub classes: &'static [ClassSpec],
    /// Its payloads, in the order of their numbers.
    pub kinds: &'static [KindSpec],
    /// What clients may ask beside signatures, for the document that says what a signer answers.
    pub methods: &'static [Method],
    /// What the settings of its chains are.
    pub settings: &'static dyn SettingsSpec,
}

/// What a family keeps about each of its chains: how payloads are read, how far claims may jump.
///
/// The bytes are the family's own and travel opaquely; the family judges them when a chain is added or changed.
pub trait SettingsSpec: Sync {
    /// The feature level from which on chains may have settings of this form (their version, say), by the bytes alone;
    /// `None` for a form that this program does not know. A program that lacks a form and one that has it at a later
    /// level then refuse it alike: both before any other method is asked. So a form's level never changes, and a program
    /// that supports a level knows every form of it.
    fn level(&self, settings: &Settings) -> Option<u32>;

    /// Whether these bytes are settings, in the one encoding there is.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    fn check(&self, settings: &Settings) -> Result<(), SettingsError>;

    /// Whether `new` may take the place of `old` on a chain that is there. What payloads mean must never change under
    /// keys that have signed.
    ///
    /// # Errors
    /// What must stay, for the operator.
    fn may_become(&self, old: &Settings, new: &Settings) -> Result<(), SettingsError>;

    /// Whether `new` lets anything be signed that `old` stops: such a change takes a second officer.
    fn lets_more_through(&self, old: &Settings, new: &Settings) -> bool;

    /// Milliseconds of a slot, for chains whose duties go by wall-clock slots.
    fn slot_duration_ms(&self, settings: &Settings) -> Option<u64>;

    /// The settings in JSON, as operators write and read them.
    fn show(&self, settings: &Settings) -> Map<String, Value>;

    /// Reads settings from JSON. What is left out has its default.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    fn read(&self, shown: &Map<String, Value>) -> Result<Settings, SettingsError>;
}

/// The number of a family. Zero to 255; the numbers of its key types, classes, payloads and schemes begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(pub u8);

impl FamilyId {
    /// The number of something of this family: the family's, then its own.
    pub const fn code(self, own: u8) -> u16 {
        (self.0 as u16) << 8 | own as u16
    }

    /// The family that a number belongs to.
    pub const fn of(code: u16) -> Self {
        Self((code >> 8) as u8)
    }

    /// The family with this number, if it is installed.
    pub fn family(self) -> Option<&'static Family> {
        families().iter().copied().find(|family| family.id == self)
    }
}

impl Family {
    /// Whether chains of it may have settings of this form at a feature level.
    pub fn takes_settings(&self, settings: &Settings, level: u32) -> bool {
        self.settings.level(settings).is_some_and(|needed| needed.max(self.level) <= level)
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Family({})", self.name)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Family {}

static INSTALLED: OnceLock<&'static [&'static Family]> = OnceLock::new();

/// Says which families this process knows: once, before anything is read or written. Saying the same again is fine, and
/// so is naming some of them: a library names the one that it needs.
///
/// # Panics
/// If one of them is not sound (two things of one number or name, a number that is not its row's, a class that shares a
/// watermark of another form, and so on), or if one of them is not among those that were installed before.
pub fn install(families: &'static [&'static Family]) {
    if INSTALLED.get() != Some(&families) {
        check::check(families);
        let installed = INSTALLED.get_or_init(|| families);
        for family in families {
            assert!(
                installed.contains(family),
                "other families were installed before, and {family} is not one of them"
            );
        }
    }
}

/// The installed families.
///
/// # Panics
/// If none are: whoever starts a process installs them first.
pub fn families() -> &'static [&'static Family] {
    INSTALLED.get().expect("families::install comes before anything else in a process")
}

/// The family with this name.
///
/// # Errors
/// If there is none; the text says which there are.
pub fn family(name: &str) -> Result<&'static Family, String> {
    families().iter().copied().find(|family| family.name == name).ok_or_else(|| {
        let known: Vec<_> = families().iter().map(|family| family.name).collect();
        format!("unknown chain family {name:?}; one of {}", known.join(", "))
    })
}

/// What [`KeyType`], [`DutyClass`], [`PayloadKind`] and [`Scheme`] have in common: a number that is a row in the table
/// of its family, and a name.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $spec:ident, $table:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u16);

        impl $name {
            /// Number `own` of a family: for the family's own constants.
            pub const fn new(family: $crate::FamilyId, own: u8) -> Self {
                Self(family.code(own))
            }

            /// The number, the family's first.
            pub const fn code(self) -> u16 {
                self.0
            }

            /// Every one of the installed families.
            pub fn all() -> impl Iterator<Item = Self> + Clone {
                $crate::family::families().iter().flat_map(|family| family.$table).map(|spec| spec.id)
            }

            /// Its place among all of the installed families, for tables: zero and up, without gaps.
            pub fn index(self) -> usize {
                let before = $crate::family::families().iter().take_while(|family| family.id != self.family().id);
                let [_, own] = self.0.to_be_bytes();
                before.map(|family| family.$table.len()).sum::<usize>() + usize::from(own)
            }

            /// The row of this number.
            fn find(code: u16) -> Option<&'static $spec> {
                let [_, own] = code.to_be_bytes();
                $crate::FamilyId::of(code).family()?.$table.get(usize::from(own))
            }

            /// What the family says of it.
            pub fn spec(self) -> &'static $spec {
                Self::find(self.0).expect(concat!("only ", $what, "s of installed families exist"))
            }

            /// Its family.
            pub fn family(self) -> &'static $crate::Family {
                $crate::FamilyId::of(self.0).family().expect("it is of an installed family")
            }

            /// The name in JSON, metrics and on command lines.
            pub fn name(self) -> &'static str {
                self.spec().name
            }

            fn unknown(text: &str) -> String {
                let all: Vec<_> = Self::all().map(Self::name).collect();
                format!(concat!("unknown ", $what, " {:?}; one of {}"), text, all.join(", "))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::all().find(|one| one.name() == text).ok_or_else(|| Self::unknown(text))
            }
        }

        // Layout: the number, big-endian, so that what is stored under it is in the order of the families.
        impl parity_scale_codec::Encode for $name {
            fn size_hint(&self) -> usize {
                2
            }
            fn encode_to<O: parity_scale_codec::Output + ?Sized>(&self, out: &mut O) {
                out.write(&self.0.to_be_bytes());
            }
        }

        impl parity_scale_codec::Decode for $name {
            fn decode<I: parity_scale_codec::Input>(
                input: &mut I,
            ) -> Result<Self, parity_scale_codec::Error> {
                let mut code = [0; 2];
                input.read(&mut code)?;
                let code = u16::from_be_bytes(code);
                match Self::find(code) {
                    Some(_) => Ok(Self(code)),
                    None => Err(concat!("a ", $what, " of no family that this program knows").into()),
                }
            }
        }

        impl parity_scale_codec::MaxEncodedLen for $name {
            fn max_encoded_len() -> usize {
                2
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let all: Vec<_> = Self::all()
                    .map(|one| serde_json::json!({ "description": one.spec().about, "type": "string", "const": one.name() }))
                    .collect();
                schemars::json_schema!({ "oneOf": all })
            }
        }
    };
}
use handle;
