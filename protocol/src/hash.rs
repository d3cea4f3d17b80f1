//! 32-byte hashes as distinct types, written as 0x-hex, and the hash function that duties are bound with.

use blake2::Digest as _;

/// Why a 0x-hex string is not the expected bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// No `0x` in front.
    #[error("hex must start with 0x")]
    NoPrefix,
    /// Not hex.
    #[error("not hex: {0}")]
    NotHex(String),
    /// The wrong number of bytes for the type.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// Bytes expected.
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

/// Defines a distinct type of 32-byte hash, written as 0x-hex. For families; the crate that uses it depends on the
/// codec, serde and schemars itself.
#[macro_export]
macro_rules! hash32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            ::parity_scale_codec::Encode, ::parity_scale_codec::Decode, ::parity_scale_codec::MaxEncodedLen,
        )]
        pub struct $name(pub [u8; 32]);

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&$crate::HexArray(self.0).to_string())
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::HexError;
            fn from_str(text: &str) -> Result<Self, $crate::HexError> {
                text.parse::<$crate::HexArray<32>>().map(|bytes| Self(bytes.0))
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{64}$" })
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
    /// What tells a chain from all others: 32 bytes that its family defines, of most chains the hash of their genesis
    /// block. In JSON it is `genesis`.
    ChainId
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
