//! Keys and their sealed secrets.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signonce_protocol::{ChainId, KeyId, KeyState, LogIndex, Scheme, blake2_256};
use std::fmt;

/// The most bytes a sealed key may have.
pub const MAX_ENVELOPE_LEN: usize = 16 * 1024;

/// A key's secret, sealed to the members (an `age` envelope). Opaque here; empty once the key is removed.
#[derive(Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Envelope(Vec<u8>);

impl Envelope {
    /// The sealed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Puts the hash of the sealed bytes in their place.
    pub(crate) fn redact(&mut self) {
        self.0 = blake2_256(&self.0).to_vec();
    }
}

impl From<Vec<u8>> for Envelope {
    fn from(sealed: Vec<u8>) -> Self {
        Self(sealed)
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes)", self.0.len())
    }
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("0x{}", hex::encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digits =
            text.strip_prefix("0x").ok_or_else(|| serde::de::Error::custom("hex must start with 0x"))?;
        hex::decode(digits).map(Self).map_err(serde::de::Error::custom)
    }
}

/// One session key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Type and public key.
    pub id: KeyId,
    /// The signature scheme.
    pub scheme: Scheme,
    /// The one chain it signs for.
    pub chain: ChainId,
    /// The keys of one validator share a group; rights go by it, and rules that look at more than one key.
    pub group: Option<String>,
    /// Where it is in its life.
    pub state: KeyState,
    /// The sealed secret.
    #[serde(skip)]
    pub sealed: Envelope,
    /// The log entry that registered it.
    pub registered_at: LogIndex,
}

/// A key and its new envelope.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resealed {
    /// The key.
    pub id: KeyId,
    /// The same secret, sealed to other members.
    pub sealed: Envelope,
}
