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
mod proposal;
mod recovery;
mod sealing;
mod store;
mod terms;
mod timing;

pub use membership::{Membership, Standing};
pub use officers::{OfficerPin, Officers};
pub(crate) use placement::Placement;
pub use proposal::{PROPOSAL_LIFE_MS, Proposal, ProposalDecision};
pub(crate) use recovery::KnownByBackup;
pub use recovery::{Drill, Halt, Origin};
pub(crate) use sealing::Sealing;
pub(crate) use terms::{ClientTerms, EVERYBODY};
pub(crate) use timing::{LEAST_CHANGE, MAX_COUNTINGS, Timing, Tolerance};

use crate::model::Fingerprint;
use crate::model::{
    AuditHead, Barred, Chain, Client, ClientId, ClientState, FIRST_LEVEL, Key, KeyAllowance, KeyState,
    Member, MemberState,
};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{ChainId, DutyClass, KeyId, KeyType, LogIndex, NodeId, PublicKey};
use std::collections::BTreeMap;

/// What a client may have made, and what it has had made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct MadeKeys {
    pub(crate) client: ClientId,
    pub(crate) allowance: Option<KeyAllowance>,
    /// In the order of their making. Removed keys drop out when the next one is made.
    pub(crate) keys: Vec<KeyId>,
}

/// A member and whether it still belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct MemberRecord {
    pub(crate) member: Member,
    pub(crate) state: MemberState,
}

/// The counters of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Counters {
    /// Moves with every change, so that a server can notice one cheaply.
    pub(crate) registry_version: u64,
    /// What commands may use: rises only when every member supports it.
    pub(crate) feature_level: u32,
    /// The number given to the last client.
    pub(crate) last_client: u32,
}

impl Default for Counters {
    fn default() -> Self {
        Self { registry_version: 0, feature_level: FIRST_LEVEL, last_client: 0 }
    }
}

/// Everything replicated but the ledger.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    counters: Counters,
    chains: BTreeMap<ChainId, Chain>,
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
    timings: BTreeMap<ChainId, Timing>,
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
    owner: BTreeMap<PublicKey, ChainId>,
    /// Certificate → the last client that had it, tombstones included.
    spki: BTreeMap<Fingerprint, ClientId>,
    /// Chain → group → its keys, for rules that look at more than one key.
    groups: BTreeMap<ChainId, BTreeMap<String, Vec<KeyId>>>,
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
    pub fn chain(&self, genesis: &ChainId) -> Option<&Chain> {
        self.chains.get(genesis)
    }

    /// The chain with this name, or with this genesis hash as 0x-hex.
    pub fn chain_by_name_or_id(&self, text: &str) -> Option<&Chain> {
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
    pub fn keys_by_public(&self, chain: &ChainId, public: &PublicKey) -> impl Iterator<Item = &Key> {
        let ids = KeyType::all().map(|key_type| KeyId { key_type, public: *public });
        ids.into_iter().filter_map(|id| self.keys.get(&id)).filter(move |key| key.chain == *chain)
    }

    /// The chain a public key belongs to forever, whatever its type and state.
    pub fn owner(&self, public: &PublicKey) -> Option<&ChainId> {
        self.index.owner.get(public)
    }

    /// The armed keys of a group.
    pub(crate) fn armed_keys(&self, chain: &ChainId, group: &str) -> impl Iterator<Item = &KeyId> {
        let ids = self.index.groups.get(chain).and_then(|groups| groups.get(group)).into_iter().flatten();
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
    pub fn client_by_spki(&self, spki: &Fingerprint) -> Option<&Client> {
        let has = |client: &&Client| client.spki == *spki || self.next_certificate(client.id) == Some(spki);
        self.last_client_with(spki).filter(|client| client.state == ClientState::Active).filter(has)
    }

    /// The client that has, or had when it was removed, this certificate.
    pub(crate) fn last_client_with(&self, spki: &Fingerprint) -> Option<&Client> {
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
