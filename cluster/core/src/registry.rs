//! Who may ask and with which keys: chains, keys, clients and members, replicated with the ledger.
//!
//! Servers read it through [`State`](crate::State) and ask [`Registry::allows`] before they take a request on.
//! Only [`State::apply`](crate::State::apply) changes it. Nothing is ever deleted: removed keys, clients and
//! members leave tombstones, because a public key belongs to one chain for ever, a revoked certificate stays
//! revoked, and the ledger's evidence names clients by number.

#[cfg(test)]
mod golden;
mod membership;
mod officers;
mod placement;
mod recovery;
mod sealing;
mod store;
mod terms;
mod timing;

use crate::audit::AuditHead;
pub use membership::{JoinToken, MemberRole, Membership, Standing};
pub use officers::OfficerPin;
pub(crate) use recovery::KnownByBackup;
pub use recovery::{
    BackupName, Barred, BarredPlace, BuriedClient, BuriedKey, Drill, Halt, LeftKey, Origin, RestoreStep,
};

pub use terms::{ClientLimits, MAX_CLIENT_LIMIT};
pub(crate) use terms::{ClientTerms, EVERYBODY};
pub use timing::{DEFAULT_SLOT_TOLERANCE, MAX_SLOT_JUMP_MS, MAX_SLOT_TOLERANCE, Retiming, SlotClock};
pub(crate) use timing::{LEAST_CHANGE, MAX_COUNTINGS, Timing, Tolerance};

use crate::roles::{Officers, Proposal};
use parity_scale_codec::{Decode, Encode};
pub(crate) use placement::Placement;
pub use placement::{LeaderPin, NodeNote, PlacementChange};
pub use sealing::Resealed;
pub(crate) use sealing::Sealing;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signonce_protocol::{
    ChainFormat, DutyClass, GenesisHash, KeyId, KeyType, LogIndex, NodeId, PublicKey, Scheme, blake2_256,
};
use std::{collections::BTreeMap, fmt};

/// The most bytes a sealed key may have.
pub const MAX_ENVELOPE_LEN: usize = 16 * 1024;

/// The living keys a client may have had made, where the operator gives no number.
pub const DEFAULT_KEY_LIMIT: u32 = 64;

/// The most an operator can allow: each key may take a right, and half of all rights are left for others.
pub const MAX_KEY_LIMIT: u32 = 500;

/// A client of the cluster, by number. Numbers start at 1 and are never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.0)
    }
}

/// How far past the highest signed coordinate (or the floor, if that is higher) a claim may be. Further is
/// refused until an operator raises the watermark: it stops a broken node from voting in a bogus future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// GRANDPA rounds within one set.
    pub grandpa_rounds: u64,
    /// GRANDPA sets.
    pub grandpa_sets: u64,
    /// BEEFY blocks.
    pub beefy_blocks: u64,
    /// BEEFY sets.
    pub beefy_sets: u64,
    /// Parachain sessions.
    pub para_sessions: u32,
    /// The BEEFY shield: blocks a BEEFY vote may be above the highest GRANDPA precommit of the same group in its
    /// present set. `None` turns the shield off. BEEFY votes for finalized blocks only, so an honest vote is above
    /// the own precommit just when the node missed some rounds; 16 blocks let it miss a minute and a half.
    pub beefy_shield: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grandpa_rounds: 100_000,
            grandpa_sets: 1_000,
            beefy_blocks: 1_000_000,
            beefy_sets: 1_000,
            para_sessions: 1_000,
            beefy_shield: Some(16),
        }
    }
}

/// A chain that keys sign for. All but the limits is fixed when the chain is added; that its slots have another length
/// later stands in a record of its own ([`Retiming`]).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// The hash of block 0: the chain's name among all chains.
    pub genesis: GenesisHash,
    /// The operator's name for it, unique in the cluster.
    pub name: String,
    /// How its payloads are read.
    pub format: ChainFormat,
    /// Milliseconds of a BABE or AURA slot, as the chain was added.
    pub slot_duration_ms: u64,
    /// The jump limits and the BEEFY shield.
    pub limits: Limits,
}

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

/// The life of a key: registered, armed, perhaps disabled and armed again, removed for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyState {
    /// Known, with its secret sealed; signs nothing before it is armed with explicit floors.
    #[codec(index = 0)]
    Registered,
    /// Signs.
    #[codec(index = 1)]
    Armed,
    /// Signs nothing until it is armed again.
    #[codec(index = 2)]
    Disabled,
    /// A tombstone: the envelope is gone, the watermark stays, the public key can never come back.
    #[codec(index = 3)]
    Removed,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registered => "registered",
            Self::Armed => "armed",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
        })
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
    pub chain: GenesisHash,
    /// The keys of one validator share a group; the BEEFY shield and rights go by it.
    pub group: Option<String>,
    /// Where it is in its life.
    pub state: KeyState,
    /// The sealed secret.
    #[serde(skip)]
    pub sealed: Envelope,
    /// The log entry that registered it.
    pub registered_at: LogIndex,
}

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
    pub chain: Option<GenesisHash>,
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
    #[serde(serialize_with = "serialize_hex")]
    pub spki: [u8; 32],
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
    pub chain: Option<GenesisHash>,
    /// How many of its keys may live at a time.
    pub limit: u32,
}

/// What a client may have made, and what it has had made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct MadeKeys {
    pub(crate) client: ClientId,
    pub(crate) allowance: Option<KeyAllowance>,
    /// In the order of their making. Removed keys drop out when the next one is made.
    pub(crate) keys: Vec<KeyId>,
}

fn serialize_hex<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("0x{}", hex::encode(bytes)))
}

/// Whether a node belongs to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberState {
    /// Belongs to it.
    #[codec(index = 0)]
    Present,
    /// A tombstone: node ids are never reused.
    #[codec(index = 1)]
    Removed,
}

/// A signer node as it announced itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The raft member.
    pub node: NodeId,
    /// The `age1…` recipient that keys are sealed to. Fixed for the node's life.
    pub recipient: String,
    /// Where other members reach it, `host:port`.
    pub peer_addr: String,
    /// Where clients reach it.
    pub client_url: String,
    /// The highest feature level its program can apply.
    pub supports: u32,
}

/// A member and whether it still belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct MemberRecord {
    pub(crate) member: Member,
    pub(crate) state: MemberState,
}

/// The counters of the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Counters {
    /// Moves with every change, so that a server can notice one cheaply.
    pub(crate) registry_version: u64,
    /// What commands may use: rises only when every member supports it.
    pub(crate) feature_level: u32,
    /// The number given to the last client.
    pub(crate) last_client: u32,
}

/// Everything replicated but the ledger.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    counters: Counters,
    chains: BTreeMap<GenesisHash, Chain>,
    keys: BTreeMap<KeyId, Key>,
    clients: BTreeMap<ClientId, Client>,
    members: BTreeMap<NodeId, MemberRecord>,
    made: BTreeMap<ClientId, MadeKeys>,
    memberships: BTreeMap<NodeId, Membership>,
    sealing: BTreeMap<KeyId, Sealing>,
    placement: Option<Placement>,
    audit: AuditHead,
    halts: BTreeMap<KeyId, Halt>,
    barred: BTreeMap<KeyId, Barred>,
    origin: Option<Origin>,
    known_by_backup: BTreeMap<KeyId, KnownByBackup>,
    drill: Option<Drill>,
    timings: BTreeMap<GenesisHash, Timing>,
    tolerance: Option<Tolerance>,
    terms: BTreeMap<ClientId, ClientTerms>,
    officers: Option<Officers>,
    pins: BTreeMap<String, OfficerPin>,
    proposals: BTreeMap<LogIndex, Proposal>,
    index: Index,
}

/// What is found from the records again at load.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Public key → its one chain, tombstones included.
    owner: BTreeMap<PublicKey, GenesisHash>,
    /// Certificate → the last client that had it, tombstones included.
    spki: BTreeMap<[u8; 32], ClientId>,
    /// Chain → group → its GRANDPA keys, for the BEEFY shield.
    grandpa: BTreeMap<GenesisHash, BTreeMap<String, Vec<KeyId>>>,
}

impl Registry {
    /// Where the audit chain is.
    pub fn audit_head(&self) -> AuditHead {
        self.audit
    }

    /// Every chain, by genesis hash.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }

    /// The chain with this genesis hash.
    pub fn chain(&self, genesis: &GenesisHash) -> Option<&Chain> {
        self.chains.get(genesis)
    }

    /// The chain with this name, or with this genesis hash as 0x-hex.
    pub fn chain_by_name_or_genesis(&self, text: &str) -> Option<&Chain> {
        match text.parse() {
            Ok(genesis) => self.chains.get(&genesis),
            Err(_) => self.chains.values().find(|chain| chain.name == text),
        }
    }

    /// Every key, tombstones included, by type and public key.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// One key, perhaps a tombstone.
    pub fn key(&self, id: &KeyId) -> Option<&Key> {
        self.keys.get(id)
    }

    /// The keys of every type with this public key on this chain.
    pub fn keys_by_public(&self, chain: &GenesisHash, public: &PublicKey) -> impl Iterator<Item = &Key> {
        let ids = KeyType::ALL.map(|key_type| KeyId { key_type, public: *public });
        ids.into_iter().filter_map(|id| self.keys.get(&id)).filter(move |key| key.chain == *chain)
    }

    /// The chain a public key belongs to for ever, whatever its type and state.
    pub fn owner(&self, public: &PublicKey) -> Option<&GenesisHash> {
        self.index.owner.get(public)
    }

    /// The armed GRANDPA keys of a group.
    pub(crate) fn armed_grandpa_keys(
        &self,
        chain: &GenesisHash,
        group: &str,
    ) -> impl Iterator<Item = &KeyId> {
        let ids = self.index.grandpa.get(chain).and_then(|groups| groups.get(group)).into_iter().flatten();
        ids.filter(|id| self.keys.get(id).is_some_and(|key| key.state == KeyState::Armed))
    }

    /// Every client, tombstones included, by number.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.values()
    }

    /// One client, perhaps a tombstone.
    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(&id)
    }

    /// The active client with this name.
    pub fn client_by_name(&self, name: &str) -> Option<&Client> {
        self.clients.values().find(|client| client.state == ClientState::Active && client.name == name)
    }

    /// The active client with this certificate, or with this one to come.
    pub fn client_by_spki(&self, spki: &[u8; 32]) -> Option<&Client> {
        let has = |client: &&Client| client.spki == *spki || self.next_certificate(client.id) == Some(spki);
        self.last_client_with(spki).filter(|client| client.state == ClientState::Active).filter(has)
    }

    /// The client that has, or had when it was removed, this certificate.
    pub(crate) fn last_client_with(&self, spki: &[u8; 32]) -> Option<&Client> {
        self.index.spki.get(spki).and_then(|id| self.clients.get(id))
    }

    /// What the client may have made, if anything.
    pub fn key_allowance(&self, client: ClientId) -> Option<&KeyAllowance> {
        self.made.get(&client).and_then(|made| made.allowance.as_ref())
    }

    /// The keys that were made for the client and not removed.
    pub fn keys_made_for(&self, client: ClientId) -> impl Iterator<Item = &Key> {
        let ids = self.made.get(&client).into_iter().flat_map(|made| &made.keys);
        ids.filter_map(|id| self.keys.get(id)).filter(|key| key.state != KeyState::Removed)
    }

    /// Every client's, by number.
    pub(crate) fn made_keys(&self) -> impl Iterator<Item = &MadeKeys> {
        self.made.values()
    }

    /// Who may operate the cluster.
    pub fn officers(&self) -> &Officers {
        static NOBODY: Officers = Officers { roles: BTreeMap::new(), require_approval: false };
        self.officers.as_ref().unwrap_or(&NOBODY)
    }

    /// Changes that wait for a second officer, and the last that were decided, oldest first.
    pub fn proposals(&self) -> impl Iterator<Item = &Proposal> {
        self.proposals.values()
    }

    /// A proposal by its id.
    pub fn proposal(&self, id: LogIndex) -> Option<&Proposal> {
        self.proposals.get(&id)
    }

    /// The members that belong to the cluster, by node id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members
            .values()
            .filter(|record| record.state == MemberState::Present)
            .map(|record| &record.member)
    }

    /// What is known of a node id, tombstones included.
    pub fn member(&self, node: NodeId) -> Option<(&Member, MemberState)> {
        self.members.get(&node).map(|record| (&record.member, record.state))
    }

    /// Whether the client may have work of `class` done with `key`. Implicit deny: unknown and removed clients,
    /// and whatever no right names, get `false`. The state of the key is the ledger's business, not asked here.
    pub fn allows(&self, client: ClientId, key: &Key, class: DutyClass) -> bool {
        self.clients.get(&client).is_some_and(|client| {
            client.state == ClientState::Active && client.rights.iter().any(|right| right.permits(key, class))
        })
    }

    /// A number that moves with every change of the registry or of a watermark by an operator.
    pub fn version(&self) -> u64 {
        self.counters.registry_version
    }

    /// The feature level commands may use.
    pub fn feature_level(&self) -> u32 {
        self.counters.feature_level
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// How many node ids are known, tombstones included.
    pub(crate) fn member_count(&self) -> usize {
        self.members.len() + self.memberships.keys().filter(|node| !self.members.contains_key(node)).count()
    }

    /// The node that has, or had when it was removed, this recipient.
    pub(crate) fn member_by_recipient(&self, recipient: &str) -> Option<NodeId> {
        self.members.values().find(|record| record.member.recipient == recipient).map(|r| r.member.node)
    }
}
