//! Clients: who may ask, for what and how much.

use super::Fingerprint;
use super::Key;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{ChainId, ClientId, DutyClass, KeyId};

/// The living keys a client may have had made, where the operator gives no number.
pub const DEFAULT_KEY_LIMIT: u32 = 64;

/// The most an operator can allow: each key may take a right, and half of all rights are left for others.
pub const MAX_KEY_LIMIT: u32 = 500;

/// Which keys a right is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeySelector {
    /// Every key, later ones too.
    #[codec(index = 0)]
    All,
    /// The keys of a group, later ones too.
    #[codec(index = 1)]
    Group(String),
    /// One key.
    #[codec(index = 2)]
    Key(KeyId),
}

/// A permission. What no right of a client names is forbidden.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Right {
    /// The keys it is about.
    pub keys: KeySelector,
    /// Only on this chain; `None` for any.
    #[serde(default)]
    pub chain: Option<ChainId>,
    /// The classes of work it permits. An empty list permits nothing.
    pub classes: Vec<DutyClass>,
}

impl Right {
    /// Whether this right permits work of `class` with `key`.
    pub fn permits(&self, key: &Key, class: DutyClass) -> bool {
        let keys = match &self.keys {
            KeySelector::All => true,
            KeySelector::Group(group) => key.group.as_ref() == Some(group),
            KeySelector::Key(id) => *id == key.id,
        };
        keys && self.chain.is_none_or(|chain| chain == key.chain) && self.classes.contains(&class)
    }
}

/// Whether a client may ask anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientState {
    /// May use its rights.
    #[codec(index = 0)]
    Active,
    /// A tombstone. The name may be given to a new client (numbers tell them apart in the evidence); the
    /// certificate is never accepted again.
    #[codec(index = 1)]
    Removed,
}

/// A validator process that may ask for signatures.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Its number.
    pub id: ClientId,
    /// The operator's name for it, unique among active clients.
    pub name: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its certificate.
    pub spki: Fingerprint,
    /// What it may do; all else is forbidden.
    pub rights: Vec<Right>,
    /// Whether it may do anything at all.
    pub state: ClientState,
}

/// Leave for a client to have session keys made. The quota counts keys that were not removed, so that a stolen
/// certificate cannot fill the registry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyAllowance {
    /// The group its keys belong to.
    pub group: String,
    /// Only for this chain; `None` for any.
    #[serde(default)]
    pub chain: Option<ChainId>,
    /// How many of its keys may live at a time.
    pub limit: u32,
}

/// How much a client may ask of one signer. Kept by the node that serves it, before anything goes into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientLimits {
    /// Requests per second, in the long run.
    pub per_second: u32,
    /// Requests that may come at once after a pause.
    pub burst: u32,
    /// Claims that may wait for the cluster at a time.
    pub in_flight: u32,
}

/// The highest of any limit.
pub const MAX_CLIENT_LIMIT: u32 = 1_000_000;

/// What a client may use unless an operator says otherwise. A Polkadot validator with every kind of work asks for tens
/// of signatures a second, a hundred in a burst; a cluster on plain machines grants thousands.
impl Default for ClientLimits {
    fn default() -> Self {
        Self { per_second: 1_000, burst: 2_000, in_flight: 256 }
    }
}
