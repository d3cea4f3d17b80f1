//! 32-byte hashes as distinct types, written as 0x-hex, and the two hash functions of the chains.

use blake2::Digest as _;
use parity_scale_codec::{Decode, Encode, MaxEncodedLen};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};

/// Why a 0x-hex string is not the bytes it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// No `0x` in front.
    #[error("hex must start with 0x")]
    NoPrefix,
    /// Not hex.
    #[error("not hex: {0}")]
    NotHex(String),
    /// Another number of bytes than the type has.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// Bytes wanted.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
}

/// Reads `0x…` into bytes.
pub(crate) fn parse_hex(text: &str) -> Result<Vec<u8>, HexError> {
    let digits = text.strip_prefix("0x").ok_or(HexError::NoPrefix)?;
    hex::decode(digits).map_err(|e| HexError::NotHex(e.to_string()))
}

macro_rules! hash32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, MaxEncodedLen)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                let bytes = parse_hex(text)?;
                let got = bytes.len();
                bytes.try_into().map(Self).map_err(|_| HexError::Length { expected: 32, got })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{64}$" })
            }
        }
    };
}

hash32!(
    /// A hash of the chain: of a block, a state, a piece of code.
    Hash
);
hash32!(
    /// Blake2b-256 of the exact bytes handed to the signature scheme: what a duty is bound to.
    Digest
);
hash32!(
    /// The genesis hash of a chain: its name among all chains.
    GenesisHash
);
hash32!(
    /// The hash of a parachain candidate.
    CandidateHash
);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake2_256(bytes))
    }
}

/// Blake2b with 32 bytes of output: the block hash of Substrate chains.
pub fn blake2_256(bytes: &[u8]) -> [u8; 32] {
    blake2::Blake2b::<blake2::digest::consts::U32>::digest(bytes).into()
}

/// Keccak-256: the hash under BEEFY signatures.
pub fn keccak_256(bytes: &[u8]) -> [u8; 32] {
    sha3::Keccak256::digest(bytes).into()
}
