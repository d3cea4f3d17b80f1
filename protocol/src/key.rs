//! Keys as the outside sees them: public key, name, state.

use crate::{
    KeyType,
    hash::{HexError, parse_hex},
};
use parity_scale_codec::{Decode, Encode, Input, MaxEncodedLen, Output};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};

/// A public key: 32 bytes, or 33 for points of secp256k1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    len: u8,
    bytes: [u8; 33],
}

/// Why some bytes are not a public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Neither 32 nor 33 bytes.
    #[error("a public key has 32 or 33 bytes, not {0}")]
    Length(usize),
    /// Not 0x-hex.
    #[error(transparent)]
    Hex(#[from] HexError),
}

impl PublicKey {
    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = PublicKeyError;
    fn try_from(given: &[u8]) -> Result<Self, PublicKeyError> {
        if !matches!(given.len(), 32 | 33) {
            return Err(PublicKeyError::Length(given.len()));
        }
        let mut bytes = [0; 33];
        bytes[..given.len()].copy_from_slice(given);
        Ok(Self { len: given.len() as u8, bytes })
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;
    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        Self::try_from(parse_hex(text)?.as_slice())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// Layout: one length byte (32 or 33), then the bytes.
impl Encode for PublicKey {
    fn size_hint(&self) -> usize {
        1 + usize::from(self.len)
    }
    fn encode_to<O: Output + ?Sized>(&self, out: &mut O) {
        out.push_byte(self.len);
        out.write(self.as_bytes());
    }
}

impl Decode for PublicKey {
    fn decode<I: Input>(input: &mut I) -> Result<Self, parity_scale_codec::Error> {
        let len = input.read_byte()?;
        if !matches!(len, 32 | 33) {
            return Err("public key length".into());
        }
        let mut bytes = [0; 33];
        input.read(&mut bytes[..usize::from(len)])?;
        Ok(Self { len, bytes })
    }
}

impl MaxEncodedLen for PublicKey {
    fn max_encoded_len() -> usize {
        34
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PublicKey {
    fn schema_name() -> Cow<'static, str> {
        "PublicKey".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^0x([0-9a-fA-F]{64}|[0-9a-fA-F]{66})$" })
    }
}

/// A session key's identity: its type and public key. A key belongs to one chain permanently.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub struct KeyId {
    /// What the key is for.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// The public key.
    pub public: PublicKey,
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key_type, self.public)
    }
}

/// The life of a key: registered, armed, perhaps disabled and armed again, removed permanently.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "camelCase")]
pub enum KeyState {
    /// Known, with its secret sealed; signs nothing before it is armed with explicit floors.
    #[codec(index = 0)]
    Registered,
    /// Signs.
    #[codec(index = 1)]
    Armed,
    /// Switched off by an operator; signs nothing until it is armed again.
    #[codec(index = 2)]
    Disabled,
    /// A tombstone: the envelope is gone, the watermark stays, the public key can never come back.
    #[codec(index = 3)]
    Removed,
}

/// The bytes a scheme signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToSign<'a> {
    /// A message, which the scheme hashes in its own way.
    Message(&'a [u8]),
    /// A 32-byte hash that ECDSA signs as it is. Other schemes refuse to.
    Prehashed([u8; 32]),
}

impl ToSign<'_> {
    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Message(bytes) => bytes,
            Self::Prehashed(hash) => hash,
        }
    }
}
