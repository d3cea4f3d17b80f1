//! Parameters that need more than a derive: a chain by name or genesis, and a payload whose faults get our own error.

use super::{ErrorCode, RpcError};
use crate::{ChainId, RawPayload};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, str::FromStr};

/// A chain as a client names it: by name or by genesis hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChainRef {
    /// The name an operator gave the chain; does not start with `0x`.
    Name(String),
    /// The genesis hash.
    Id(ChainId),
}

/// Why a text is not a reference to a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainRefError {
    /// Empty or too long.
    #[error("a chain's name has 1 to {max} bytes, not {got}", max = ChainRef::MAX_NAME_BYTES)]
    Length {
        /// Bytes given.
        got: usize,
    },
    /// Starts with `0x` but is not a genesis hash.
    #[error("{0:?} starts with 0x but is not a genesis hash of 32 bytes")]
    NoHash(String),
}

impl ChainRef {
    /// Longest name in bytes.
    pub const MAX_NAME_BYTES: usize = 64;
}

impl FromStr for ChainRef {
    type Err = ChainRefError;
    fn from_str(text: &str) -> Result<Self, ChainRefError> {
        // The longest reference is a genesis hash, 66 bytes.
        if text.starts_with("0x") && text.len() <= 66 {
            return text.parse().map(Self::Id).map_err(|_| ChainRefError::NoHash(text.to_owned()));
        }
        if text.is_empty() || text.len() > Self::MAX_NAME_BYTES {
            return Err(ChainRefError::Length { got: text.len() });
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl From<ChainId> for ChainRef {
    fn from(genesis: ChainId) -> Self {
        Self::Id(genesis)
    }
}

impl fmt::Display for ChainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(genesis) => genesis.fmt(f),
        }
    }
}

impl Serialize for ChainRef {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainRef {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ChainRef {
    fn schema_name() -> Cow<'static, str> {
        "ChainRef".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A chain: its name, or its genesis hash as 0x-hex.",
            "type": "string", "minLength": 1, "maxLength": 66
        })
    }
}

/// The `payload` parameter, not parsed yet, so that a fault in it is answered with `malformedPayload` rather than
/// JSON-RPC's unspecific "invalid params". A handler calls [`PayloadParam::read`] first.
#[derive(Clone, Debug)]
pub struct PayloadParam(Box<RawValue>);

impl PayloadParam {
    /// Parses the payload.
    ///
    /// # Errors
    /// `malformedPayload` for an unknown tag, more than one tag, or a value that is not 0x-hex.
    pub fn read(&self) -> Result<RawPayload, RpcError> {
        serde_json::from_str(self.0.get()).map_err(|e| {
            RpcError::new(
                ErrorCode::MalformedPayload,
                format!("payload: {e}; it must be one of the known kinds as {{\"kind\":\"0x…\"}}"),
            )
        })
    }
}

impl<'de> Deserialize<'de> for PayloadParam {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(d).map(Self)
    }
}

impl Serialize for PayloadParam {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}
