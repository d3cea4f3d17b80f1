//! What keys are for.

use super::{DutyClass, Scheme, handle};

handle!(
    /// What a key is for: it decides which work the key does and which schemes it can have.
    KeyType,
    KeyTypeSpec,
    key_types,
    "key type"
);

/// What a family says of a key type.
pub struct KeyTypeSpec {
    /// Its number.
    pub id: KeyType,
    /// Its name: `gran`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The feature level from which on it is there.
    pub level: u32,
    /// Schemes a key of this type can have, the usual one first.
    pub schemes: &'static [Scheme],
}

impl KeyType {
    /// The feature level that a command about it needs.
    pub fn level(self) -> u32 {
        self.spec().level
    }

    /// Schemes a key of this type can have, the usual one first.
    pub fn schemes(self) -> &'static [Scheme] {
        self.spec().schemes
    }

    /// The classes of work that keys of this type do, free ones too.
    pub fn classes(self) -> impl Iterator<Item = DutyClass> + Clone {
        let of_type = move |class: &DutyClass| class.key_types().contains(&self);
        self.family().classes.iter().map(|spec| spec.id).filter(of_type)
    }

    /// The classes that keys of this type have a watermark of: claimed, and with a mark of their own.
    pub fn marks(self) -> impl Iterator<Item = DutyClass> + Clone {
        self.classes().filter(|class| class.mark() == Some(*class))
    }
}
