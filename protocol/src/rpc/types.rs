//! What goes over the wire: parameters, answers and events of the `signer` namespace.

use super::{ChainRef, LeaderHint};
use crate::{
    ChainId, Digest, Duty, DutyClass, HexBytes, KeyState, KeyType, LogIndex, NodeId, Position, PublicKey,
    RawPayload, Scheme, Term,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Parameters of `signer_sign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignParams {
    /// The chain the payload is for; must be the key's.
    pub chain: ChainRef,
    /// The public key to sign with.
    pub key: PublicKey,
    /// What to sign.
    pub payload: RawPayload,
}

/// A signature this cluster has given before, as its answer described it. A client shows it with its next request, so
/// that a cluster that was rolled back to an older state is found out before it signs anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastSigned {
    /// The log entry that granted it.
    pub log_index: LogIndex,
    /// The duty it used up. For a side on several candidates, one of them is enough.
    pub duty: Duty,
    /// The digest of what was signed.
    pub digest: Digest,
    /// The payload and the signature, which alone prove it. Needed only where a signer asks for them (`showSigned`):
    /// without them nothing is halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// A payload with its signature: what proves that a key has signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signed {
    /// The payload as it was asked for. The signer computes duty and digest from these bytes.
    pub payload: RawPayload,
    /// The signature that came back.
    pub signature: HexBytes,
}

/// The parameters of `signer_sign` as they go over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignCall {
    /// The chain the payload is for; must be the key's.
    pub chain: ChainRef,
    /// The public key to sign with.
    pub key: PublicKey,
    /// What to sign.
    pub payload: RawPayload,
    /// The latest signature that the client has of this class by this key. May be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_signed: Option<LastSigned>,
}

/// Answer of `signer_sign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignReply {
    /// The signature: 64 bytes (sr25519, ed25519) or 65 (ECDSA, `r ‖ s ‖ v`).
    pub signature: HexBytes,
    /// The signature of the second message that is signed with the payload and never alone, for kinds that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<HexBytes>,
    /// What was signed beside the statement in place of the payload's own bytes: the bytes of the first time, if they
    /// differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carry: Option<HexBytes>,
    /// What the ledger said.
    pub verdict: SignVerdict,
    /// The duty that signing it used up; none for the free classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<Duty>,
    /// The log entry that first granted the duty; none for the free classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<LogIndex>,
    /// The leader, if another node answers: asking it directly saves a hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderHint>,
}

/// Why a signature was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SignVerdict {
    /// The first claim of the duty.
    Granted,
    /// The same bytes as before: the same signature as before.
    Repeated,
    /// The class needs no claim.
    Free,
}

/// Parameters of `signer_generateKey`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerateKeyParams {
    /// The chain the key will sign for, permanently.
    pub chain: ChainRef,
    /// What the key is for.
    #[serde(rename = "type")]
    pub key_type: KeyType,
}

/// Answer of `signer_generateKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerateKeyReply {
    /// The public key.
    pub public: PublicKey,
    /// What it is for.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// Its signature scheme.
    pub scheme: Scheme,
}

/// One key as a client may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyInfo {
    /// The chain's name.
    pub chain: String,
    /// The chain's genesis hash.
    pub genesis: ChainId,
    /// What the key is for.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// Its signature scheme.
    pub scheme: Scheme,
    /// The public key.
    pub public: PublicKey,
    /// Its state.
    pub state: KeyState,
    /// The validator it belongs to, where the operator named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The classes of duty that this client may have done with it.
    #[serde(deserialize_with = "known_classes")]
    pub classes: Vec<DutyClass>,
    /// One per claimed class of the key's type.
    #[serde(deserialize_with = "known_watermarks")]
    pub watermarks: Vec<WatermarkInfo>,
}

/// A client may have rights to keys of chains that it does not know, and signers may be newer than it, so from a list
/// it keeps the items that it knows. Anything else wrong with an item is an error.
fn known<'de, T, D>(d: D, name: &str, is_known: impl Fn(&str) -> bool) -> Result<Vec<T>, D::Error>
where
    T: serde::de::DeserializeOwned,
    D: Deserializer<'de>,
{
    let all = Vec::<serde_json::Value>::deserialize(d)?;
    let named = |item: &serde_json::Value| item.get(name).unwrap_or(item).as_str().is_none_or(&is_known);
    let known = all.into_iter().filter(named);
    known.map(|item| serde_json::from_value(item).map_err(serde::de::Error::custom)).collect()
}

fn known_keys<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<KeyInfo>, D::Error> {
    known(d, "type", |name| name.parse::<KeyType>().is_ok())
}

fn known_classes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<DutyClass>, D::Error> {
    known(d, "class", |name| name.parse::<DutyClass>().is_ok())
}

fn known_watermarks<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<WatermarkInfo>, D::Error> {
    known(d, "class", |name| name.parse::<DutyClass>().is_ok())
}

/// The answer of `signer_keys`, reduced to the keys that this client knows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct KnownKeys(#[serde(deserialize_with = "known_keys")] pub Vec<KeyInfo>);

/// How far a key has signed in one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatermarkInfo {
    /// The class.
    pub class: DutyClass,
    /// The lowest position that may still be signed; none before the key is armed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Position>,
    /// The highest position signed; none if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<Position>,
}

/// Answer of `signer_status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    /// The node that answers.
    pub node: NodeId,
    /// The cluster's id.
    pub cluster: String,
    /// The leader, if this node knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeId>,
    /// Where clients reach the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_url: Option<String>,
    /// The raft term.
    pub term: Term,
    /// The last log entry this node has applied; never above `committed`.
    pub applied: LogIndex,
    /// The last log entry this node knows to be committed.
    pub committed: LogIndex,
    /// Whether this node can have new duties signed.
    pub readiness: Readiness,
    /// The software's version.
    pub version: String,
}

/// Whether a node serves, and what is missing if not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Quorum seen, fence passed, keys unlocked, clock sane.
    pub ready: bool,
    /// What is missing; empty when ready.
    pub reasons: Vec<String>,
}

/// What `signer_subscribeKeys` sends.
///
/// The first event is [`KeysEvent::All`]; so is the next one whenever a subscriber was too slow to get every change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum KeysEvent {
    /// Every key that the client may see; replaces all that it knew.
    All {
        /// The log entry at which the list was taken.
        applied: LogIndex,
        /// The keys.
        #[serde(deserialize_with = "known_keys")]
        keys: Vec<KeyInfo>,
    },
    /// One key that is new, or whose state, rights or watermarks changed. A key that is gone, or no longer the
    /// client's, comes with the state `removed`.
    Changed {
        /// The log entry that changed it.
        applied: LogIndex,
        /// The key as it is now.
        key: Box<KeyInfo>,
    },
}
