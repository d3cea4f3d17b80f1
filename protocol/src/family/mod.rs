//! What a chain family is, and the table of the families that this program knows.
//!
//! A **family** is a kind of chain (Substrate, CometBFT). It says in one constant, [`Family`], what its key types,
//! classes of duty, payloads and rules are; nothing else in the code base names them. The binary lists its families
//! once and [`install`]s them before anything else; from then on a [`KeyType`], [`DutyClass`], [`PayloadKind`] or
//! [`Scheme`] is a number that finds its row in that list. What is not in the list cannot be read: unknown things are
//! refused.
//!
//! A cluster of members with different programs stays of one mind because nothing of a family enters the log below the
//! feature level that the family asks for ([`Family::level`]), and a level rises once every member supports it.

mod check;
mod class;
mod key_type;
mod kind;
mod scheme;

pub use class::{
    ClaimSpec, ClassSpec, DutyClass, DutyWords, Jump, Part, RefusalDetails, Refusals, Rule, ShieldContext,
    SlotRule, WindowRule,
};
pub use key_type::{KeyType, KeyTypeSpec};
pub use kind::{KindSpec, PayloadKind};
pub use scheme::{Algorithm, Scheme, SchemeSpec};

use crate::{ChainId, Settings, SettingsError, rpc::Method};
use serde_json::{Map, Value};
use std::{fmt, sync::OnceLock};

/// A kind of chain, in one constant.
pub struct Family {
    /// Its number in everything that is stored or sent. It is never used again for another family.
    pub id: FamilyId,
    /// Its name in messages and JSON: `substrate`.
    pub name: &'static str,
    /// The feature level from which on its chains may be added.
    pub level: u32,
    /// Its signature schemes, in the order of their numbers.
    pub schemes: &'static [SchemeSpec],
    /// Its key types, in the order of their numbers.
    pub key_types: &'static [KeyTypeSpec],
    /// Its classes of duty, in the order of their numbers.
    pub classes: &'static [ClassSpec],
    /// Its payloads, in the order of their numbers.
    pub kinds: &'static [KindSpec],
    /// What clients may ask beside signatures, listed in the OpenRPC document.
    pub methods: &'static [Method],
    /// How the settings of its chains are judged and shown.
    pub settings: &'static dyn SettingsSpec,
}

/// How a family handles the settings it keeps for each chain: how payloads are read, how far claims may jump.
///
/// The bytes are the family's own and travel opaquely; the family judges them when a chain is added or changed.
pub trait SettingsSpec: Sync {
    /// The feature level from which on chains may have settings of this form (its version, say), judged by the bytes
    /// alone; `None` for a form that this program does not know. A program that lacks a form and one that has it at a
    /// later level must refuse it alike, so this is asked before any other method, a form's level never changes, and a
    /// program that supports a level knows every form of it.
    fn level(&self, settings: &Settings) -> Option<u32>;

    /// Whether these bytes are settings in their one canonical encoding.
    ///
    /// # Errors
    /// What is wrong, as text for the operator.
    fn check(&self, settings: &Settings) -> Result<(), SettingsError>;

    /// Whether `new` may replace `old` on an existing chain. What payloads mean must never change for keys that have
    /// signed.
    ///
    /// # Errors
    /// What must stay, as text for the operator.
    fn may_become(&self, old: &Settings, new: &Settings) -> Result<(), SettingsError>;

    /// Whether `new` lets anything be signed that `old` stops: such a change needs a second officer.
    fn lets_more_through(&self, old: &Settings, new: &Settings) -> bool;

    /// The length of a slot in milliseconds; `None` where duties do not go by wall-clock slots.
    fn slot_duration_ms(&self, settings: &Settings) -> Option<u64>;

    /// The settings in JSON, as operators write and read them.
    fn show(&self, settings: &Settings) -> Map<String, Value>;

    /// Reads settings from JSON. Missing fields have their defaults.
    ///
    /// # Errors
    /// What is wrong, as text for the operator.
    fn read(&self, shown: &Map<String, Value>) -> Result<Settings, SettingsError>;

    /// The usual settings of the chain that calls itself by this name; `None` where a name does not tell enough.
    ///
    /// # Errors
    /// If no chain can have this name, as text for the operator.
    fn of_name(&self, _: &str) -> Result<Option<Settings>, SettingsError> {
        Ok(None)
    }

    /// What the chain calls itself, and the genesis hash that stands for that name; `None` where only its real genesis
    /// hash identifies a chain.
    fn identity(&self, _: &Settings) -> Option<(String, ChainId)> {
        None
    }
}

/// The number of a family, 0 to 255. The numbers of its key types, classes, payloads and schemes begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(pub u8);

impl FamilyId {
    /// The number of something in this family: the family's number, then its own.
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
    /// Whether its chains may have settings of this form at a feature level.
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

/// Declares which families this process knows: once, before anything is read or written. Declaring the same families
/// again or a subset of them is allowed: a library installs the one that it needs.
///
/// # Panics
/// If a family breaks a rule (two things with one number or name, a number that is not its row's, a class that shares a
/// watermark of another form, and so on), or if it is not among those that were installed before.
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
/// If none are: every process installs its families first.
pub fn families() -> &'static [&'static Family] {
    INSTALLED.get().expect("families::install comes before anything else in a process")
}

/// The family with this name.
///
/// # Errors
/// If there is none; the text lists the known ones.
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
            /// Number `own` of a family: only for the family's own constants.
            pub const fn new(family: $crate::FamilyId, own: u8) -> Self {
                Self(family.code(own))
            }

            /// The number, the family's first.
            pub const fn code(self) -> u16 {
                self.0
            }

            /// All of them, over the installed families.
            pub fn all() -> impl Iterator<Item = Self> + Clone {
                $crate::family::families().iter().flat_map(|family| family.$table).map(|spec| spec.id)
            }

            /// Its index among all of the installed families, for tables: from zero, without gaps.
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

            /// The family's description of it.
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
