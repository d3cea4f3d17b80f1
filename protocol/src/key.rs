//! Session keys as the outside sees them: type, scheme, public key.

use crate::hash::{HexError, parse_hex};
use parity_scale_codec::{Decode, Encode, Input, MaxEncodedLen, Output};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};
use strum::{EnumCount as _, VariantArray as _};

/// A signature scheme.
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
    strum::Display,
    strum::EnumCount,
    strum::VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Schnorr over Ristretto; 32-byte public keys, 64-byte signatures. Signed here without randomness.
    #[codec(index = 0)]
    Sr25519,
    /// Plain Ed25519; 32-byte public keys, 64-byte signatures.
    #[codec(index = 1)]
    Ed25519,
    /// ECDSA over secp256k1 with RFC 6979 nonces; 33-byte public keys, 65-byte recoverable signatures.
    #[codec(index = 2)]
    Ecdsa,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// Bytes of a public key.
    pub const fn public_len(self) -> usize {
        match self {
            Self::Sr25519 | Self::Ed25519 => 32,
            Self::Ecdsa => 33,
        }
    }
}

/// A Substrate key type (the four characters in a keystore file's name).
///
/// `asgn` is missing on purpose: approval assignment is not slashable and needs the secret in the node.
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
    strum::Display,
    strum::EnumCount,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum KeyType {
    /// Block production with BABE.
    #[codec(index = 0)]
    #[serde(rename = "babe")]
    #[strum(serialize = "babe")]
    Babe,
    /// Block production with AURA.
    #[codec(index = 1)]
    #[serde(rename = "aura")]
    #[strum(serialize = "aura")]
    Aura,
    /// Finality.
    #[codec(index = 2)]
    #[serde(rename = "gran")]
    #[strum(serialize = "gran")]
    Grandpa,
    /// Bridge finality.
    #[codec(index = 3)]
    #[serde(rename = "beef")]
    #[strum(serialize = "beef")]
    Beefy,
    /// Parachain validation.
    #[codec(index = 4)]
    #[serde(rename = "para")]
    #[strum(serialize = "para")]
    Para,
    /// Authority discovery.
    #[codec(index = 5)]
    #[serde(rename = "audi")]
    #[strum(serialize = "audi")]
    AuthorityDiscovery,
    /// Heartbeats.
    #[codec(index = 6)]
    #[serde(rename = "imon")]
    #[strum(serialize = "imon")]
    ImOnline,
}

impl KeyType {
    /// Every key type.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// The four characters Substrate names the type by.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Schemes a key of this type can have, the usual one first.
    pub const fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::Babe | Self::Para | Self::AuthorityDiscovery | Self::ImOnline => &[Scheme::Sr25519],
            Self::Aura => &[Scheme::Sr25519, Scheme::Ed25519],
            Self::Grandpa => &[Scheme::Ed25519],
            Self::Beefy => &[Scheme::Ecdsa],
        }
    }
}

/// A key type this signer does not sign for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown key type {0:?}; this signer holds babe, aura, gran, beef, para, audi and imon keys")]
pub struct UnknownKeyType(pub String);

impl FromStr for KeyType {
    type Err = UnknownKeyType;
    fn from_str(text: &str) -> Result<Self, UnknownKeyType> {
        Self::ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| UnknownKeyType(text.to_owned()))
    }
}

/// A public key: 32 bytes (sr25519, ed25519) or 33 (ecdsa).
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

/// One session key's name: its type and public key. A key belongs to one chain for ever.
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

/// The bytes a scheme signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToSign<'a> {
    /// A message; sr25519 puts it under the context `substrate`, ECDSA hashes it with blake2b-256.
    Message(&'a [u8]),
    /// A 32-byte hash that ECDSA signs as it is (BEEFY). Other schemes refuse it.
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
