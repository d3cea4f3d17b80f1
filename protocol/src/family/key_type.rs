//! What keys are for.

use super::{DutyClass, Scheme, handle};

handle!(
    /// What a key is for. It decides which duties the key does and which schemes it can have.
    KeyType,
    KeyTypeSpec,
    key_types,
    "key type"
);

/// A family's description of a key type.
pub struct KeyTypeSpec {
    /// Its number.
    pub id: KeyType,
    /// Its name: `gran`.
    pub name: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// The feature level from which on the key type exists.
    pub level: u32,
    /// Schemes a key of this type can have, the usual one first.
    pub schemes: &'static [Scheme],
}

impl KeyType {
    /// The feature level that a command naming this key type needs.
    pub fn level(self) -> u32 {
        self.spec().level
    }

    /// Schemes a key of this type can have, the usual one first.
    pub fn schemes(self) -> &'static [Scheme] {
        self.spec().schemes
    }

    /// The classes of duty that keys of this type do, free ones included.
    pub fn classes(self) -> impl Iterator<Item = DutyClass> + Clone {
        let of_type = move |class: &DutyClass| class.key_types().contains(&self);
        self.family().classes.iter().map(|spec| spec.id).filter(of_type)
    }

    /// The classes for which keys of this type have a watermark: claimed, and with a mark of their own.
    pub fn marks(self) -> impl Iterator<Item = DutyClass> + Clone {
        self.classes().filter(|class| class.mark() == Some(*class))
    }
}
