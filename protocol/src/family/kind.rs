//! Kinds of payload: what the bytes of a request claim to be, before anyone has read them.

use super::{DutyClass, KeyType, handle};
use crate::{Chain, Digest, Payload, PayloadError};

handle!(
    /// What the bytes of a payload claim to be. The name is the tag of the JSON union.
    PayloadKind,
    KindSpec,
    kinds,
    "kind of payload"
);

/// A family's description of a kind of payload.
pub struct KindSpec {
    /// Its number.
    pub id: PayloadKind,
    /// Its name, the tag in JSON: `grandpaVote`.
    pub name: &'static str,
    /// The layout of its bytes, in one line.
    pub about: &'static str,
    /// The class of duty it belongs to; rights are granted by it.
    pub class: DutyClass,
    /// The longest payload of the kind in bytes; longer ones are refused unread.
    pub max_len: usize,
    /// The digest that [`Payload::digest`] gives once the bytes are read: it depends on the kind and the bytes alone.
    pub digest: fn(&[u8]) -> Digest,
    /// Strictly reads bytes as this kind and no other. The duty comes from the bytes and the chain's settings.
    pub decode: fn(&[u8], &Chain) -> Result<Payload, PayloadError>,
}

impl PayloadKind {
    /// The class of duty the kind belongs to.
    pub fn class(self) -> DutyClass {
        self.spec().class
    }

    /// The types of key that sign this kind.
    pub fn key_types(self) -> &'static [KeyType] {
        self.class().key_types()
    }

    /// The longest payload of the kind in bytes.
    pub fn max_len(self) -> usize {
        self.spec().max_len
    }
}
