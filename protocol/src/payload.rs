//! Payloads: the complete things that a client asks to have signed, for every family.
//!
//! A caller turns a [`RawPayload`] into a [`Payload`] with [`RawPayload::decode`] and takes everything else from it:
//! the duty, the digest, the bytes for the signature scheme. A client cannot state positions separately from the bytes.
//! A family's decoder accepts exactly the bytes an honest node makes.

use crate::{Carry, Chain, Digest, Duty, DutyClass, HexBytes, KeyType, PayloadKind, ToSign};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap as _,
};
use serde_json::json;
use std::{borrow::Cow, fmt, sync::Arc};

/// A payload as it travels: the kind that the client names and the bytes, unread. In JSON `{"grandpaVote":"0x…"}`, with
/// exactly one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPayload {
    /// The kind that the client says the bytes are.
    pub kind: PayloadKind,
    /// The bytes.
    pub bytes: HexBytes,
}

impl RawPayload {
    /// The payload of `kind` with these bytes.
    pub fn new(kind: PayloadKind, bytes: impl Into<HexBytes>) -> Self {
        Self { kind, bytes: bytes.into() }
    }

    /// The kind that the client says the bytes are.
    pub const fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    /// The digest that [`Payload::digest`] gives once the payload is read: it depends on kind and bytes alone.
    pub fn digest(&self) -> Digest {
        (self.kind.spec().digest)(&self.bytes.0)
    }

    /// Reads the bytes as the stated kind, on this chain.
    ///
    /// # Errors
    /// For anything but the one canonical encoding of that kind, and for kinds of another family than the chain's.
    pub fn decode(&self, chain: &Chain) -> Result<Payload, PayloadError> {
        let (kind, len) = (self.kind, self.bytes.0.len());
        if kind.family() != chain.family {
            return Err(PayloadError(format!(
                "a {kind} is not of chain {}: that is a {} chain",
                chain.name, chain.family
            )));
        }
        if len > kind.max_len() {
            return Err(PayloadError(format!("{kind}: {len} bytes, at most {} are read", kind.max_len())));
        }
        let payload = (kind.spec().decode)(&self.bytes.0, chain)?;
        assert_eq!(payload.kind, kind, "a decoder gives its own kind");
        Ok(payload)
    }
}

impl Serialize for RawPayload {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(1))?;
        map.serialize_entry(self.kind.name(), &self.bytes)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawPayload {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneTag;
        impl<'de> Visitor<'de> for OneTag {
            type Value = RawPayload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one kind of payload")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawPayload, A::Error> {
                use serde::de::Error as _;
                let Some((kind, bytes)) = map.next_entry::<PayloadKind, HexBytes>()? else {
                    return Err(A::Error::invalid_length(0, &self));
                };
                match map.next_key::<Cow<'de, str>>()? {
                    None => Ok(RawPayload { kind, bytes }),
                    Some(_) => Err(A::Error::invalid_length(2, &self)),
                }
            }
        }
        d.deserialize_map(OneTag)
    }
}

impl JsonSchema for RawPayload {
    fn schema_name() -> Cow<'static, str> {
        "RawPayload".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let bytes = generator.subschema_for::<HexBytes>().to_value();
        let all: Vec<_> = PayloadKind::all()
            .map(|kind| {
                json!({
                    "description": kind.spec().about,
                    "type": "object",
                    "properties": { (kind.name()): bytes },
                    "required": [kind.name()],
                    "additionalProperties": false,
                })
            })
            .collect();
        schemars::json_schema!({
            "description": "A payload as it travels: the intent and the bytes. One tag and no other.",
            "oneOf": all
        })
    }
}

/// Why some bytes are not a payload of the stated kind, as text. Final: the same bytes are refused on every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PayloadError(pub String);

/// A payload that was read and may be signed if the ledger and the client's rights allow it.
#[derive(Clone, Debug)]
pub struct Payload {
    kind: PayloadKind,
    duty: Option<Duty>,
    message: Message,
    summary: Cow<'static, str>,
    statement: Option<Statement>,
    beside: Option<Message>,
}

/// What the scheme signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Bytes, signed as a message.
    Bytes(Box<[u8]>),
    /// A hash that the scheme signs as it is.
    Prehashed([u8; 32]),
}

impl Message {
    /// The form that the scheme takes.
    pub fn to_sign(&self) -> ToSign<'_> {
        match self {
            Self::Bytes(bytes) => ToSign::Message(bytes),
            Self::Prehashed(hash) => ToSign::Prehashed(*hash),
        }
    }
}

/// For a payload whose statement is not all of its bytes: what identifies it, what it carries besides, and how to make
/// the message with what was carried the first time.
#[derive(Clone)]
pub struct Statement {
    /// Blake2b-256 of the statement.
    pub digest: Digest,
    /// What the payload has beside the statement.
    pub carry: Carry,
    /// The message with a carry of an earlier time; `None` if the carry is not one of this kind.
    pub restate: Arc<Restate>,
}

/// Makes the message of a statement with the given carry.
pub type Restate = dyn Fn(&Carry) -> Option<Message> + Send + Sync;

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({}, {:?})", self.digest, self.carry)
    }
}

/// Why a payload cannot be signed as it was the first time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} cannot be signed again with what was signed beside its statement the first time")]
pub struct CarryError {
    /// The kind of payload.
    pub kind: PayloadKind,
}

impl Payload {
    /// A payload of free work, or one that uses up `duty`. Only a family's decoder calls this.
    ///
    /// # Panics
    /// If the duty is not of the kind's class, which is a defect of the family.
    pub fn new(
        kind: PayloadKind,
        duty: Option<Duty>,
        message: Message,
        summary: impl Into<Cow<'static, str>>,
    ) -> Self {
        let claimed = Some(kind.class()).filter(|class| class.is_claimed());
        assert_eq!(duty.as_ref().map(Duty::class), claimed, "a payload's duty is of its class");
        Self { kind, duty, message, summary: summary.into(), statement: None, beside: None }
    }

    /// The payload with a statement that is not all of its bytes.
    #[must_use]
    pub fn with_statement(self, statement: Statement) -> Self {
        Self { statement: Some(statement), ..self }
    }

    /// The payload with a second message, which is signed with the first and never alone.
    #[must_use]
    pub fn with_beside(self, beside: Message) -> Self {
        Self { beside: Some(beside), ..self }
    }

    /// The kind it was read as.
    pub const fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// The class of duty, by which rights are granted.
    pub fn class(&self) -> DutyClass {
        self.kind.class()
    }

    /// The duty that signing it uses up, or `None` for the free classes.
    pub const fn duty(&self) -> Option<&Duty> {
        self.duty.as_ref()
    }

    /// The types of key that may sign it.
    pub fn key_types(&self) -> &'static [KeyType] {
        self.kind.key_types()
    }

    /// The bytes for the signature scheme, as the payload came.
    pub fn to_sign(&self) -> ToSign<'_> {
        self.message.to_sign()
    }

    /// What is signed beside the message, if anything is.
    pub const fn beside(&self) -> Option<&Message> {
        self.beside.as_ref()
    }

    /// What the duty is bound to: blake2b-256 of the statement, which is usually [`Payload::to_sign`].
    pub fn digest(&self) -> Digest {
        match &self.statement {
            Some(statement) => statement.digest,
            None => Digest::of(self.to_sign().as_bytes()),
        }
    }

    /// What the payload has beside its statement.
    pub fn carry(&self) -> Carry {
        self.statement.as_ref().map_or_else(Carry::default, |statement| statement.carry.clone())
    }

    /// The same payload as it was signed the first time, by what was carried then.
    ///
    /// # Errors
    /// If the carry is not one of this kind. Nothing is signed then.
    pub fn as_first_signed(&self, carry: &Carry) -> Result<Self, CarryError> {
        let wrong = CarryError { kind: self.kind };
        match &self.statement {
            None if carry.is_empty() => Ok(self.clone()),
            None => Err(wrong),
            Some(statement) if statement.carry == *carry => Ok(self.clone()),
            Some(statement) => {
                let message = (statement.restate)(carry).ok_or(wrong)?;
                let statement = Statement { carry: carry.clone(), ..statement.clone() };
                Ok(Self { message, statement: Some(statement), ..self.clone() })
            }
        }
    }

    /// A summary in one line, for logs, the audit and consoles.
    pub fn summary(&self) -> &str {
        &self.summary
    }
}
