//! The admin methods (`admin_*`), their types and refusals. Parameters are objects by name, answers camelCase.
//!
//! Every change of the registry goes through the one method `admin_change` with a [`Change`] of the replicated log
//! as it stands: adding a chain, registering, arming, disabling and removing keys, adding, updating and removing
//! clients, letting them have keys made, raising watermarks. What is in the log for the audit is what the operator sent. Secrets never pass here
//! in the open: a key arrives sealed to the members ([`MemberRow::announced`] has their recipients).
//!
//! | method | parameters | answer |
//! |---|---|---|
//! | `admin_status` | – | [`AdminStatus`] |
//! | `admin_chains` | – | `Vec<ChainRow>` |
//! | `admin_keys` | – | `Vec<KeyRow>`, watermarks and tombstones included |
//! | `admin_clients` | – | `Vec<ClientRow>`, tombstones included |
//! | `admin_officers` | – | [`OfficersReport`] |
//! | `admin_members` | – | `Vec<MemberRow>` |
//! | `admin_overview` | – | [`Overview`]: every member, asked by this one |
//! | `admin_change` | `change`: [`Change`] | [`ChangeDone`] |
//! | `admin_backup` | – | [`BackupAnswer`] |
//! | `admin_exportWatermarks` | `chain`: genesis hash, `minimal`: bool | [`DocumentInfo`] |
//! | `admin_document` | `id`, `offset` | 0x-hex |
//! | `admin_audit` | `query`: [`AuditQuery`] | [`AuditPage`] |
//! | `admin_transferLeadership` | `to`: node id or null | the node id it went to |

use crate::{
    activity::ClientActivity,
    audit::query::{AuditPage, AuditQuery},
    backup::NodeSignature,
    hint,
    overview::Overview,
};
use jsonrpsee::proc_macros::rpc;
use jsonrpsee_types::ErrorObjectOwned;
use serde::{Deserialize, Serialize};
use signonce_core::{
    BarredPlace, Chain, Change, ChangeDone, ChangeError, ClientId, ClientLimits, ClientState, Drill,
    Fingerprint, Floors, Halt, KeyAllowance, KeyState, LeaderPin, Member, MemberRole, MemberState,
    OfficerPin, Officers, Origin, Proposal, Retiming, Right, Role, SlotClock, Standing, WatermarkView,
};
use signonce_protocol::{
    GenesisHash, HexArray, HexBytes, KeyId, LogIndex, NodeId, Scheme, Term,
    rpc::{LeaderHint, Readiness},
};
use std::fmt;

/// What operators may ask. The server finds who asks in the request's extensions.
#[rpc(server, namespace = "admin")]
pub trait AdminApi {
    /// This node and the cluster as it sees it.
    #[method(name = "status", with_extensions)]
    async fn status(&self) -> Result<AdminStatus, AdminError>;

    /// Every chain.
    #[method(name = "chains", with_extensions)]
    async fn chains(&self) -> Result<Vec<ChainRow>, AdminError>;

    /// Every key, tombstones included, with its watermarks.
    #[method(name = "keys", with_extensions)]
    async fn keys(&self) -> Result<Vec<KeyRow>, AdminError>;

    /// Every client, tombstones included.
    #[method(name = "clients", with_extensions)]
    async fn clients(&self) -> Result<Vec<ClientRow>, AdminError>;

    /// Who may operate the cluster, and what waits for a second officer.
    #[method(name = "officers", with_extensions)]
    async fn officers(&self) -> Result<OfficersReport, AdminError>;

    /// Every member, with the recipient that keys are sealed to.
    #[method(name = "members", with_extensions)]
    async fn members(&self) -> Result<Vec<MemberRow>, AdminError>;

    /// Changes the registry or a watermark.
    #[method(name = "change", param_kind = map, with_extensions)]
    async fn change(&self, change: Change) -> Result<ChangeDone, AdminError>;

    /// Audit records, page by page.
    #[method(name = "audit", param_kind = map, with_extensions)]
    async fn audit(&self, query: AuditQuery) -> Result<AuditPage, AdminError>;

    /// Makes a backup of what this node has applied; its state is fetched as a document.
    #[method(name = "backup", with_extensions)]
    async fn backup(&self) -> Result<BackupAnswer, AdminError>;

    /// Makes a document of the watermarks of a chain, with everything that was committed before this was asked.
    #[method(name = "exportWatermarks", param_kind = map, with_extensions)]
    async fn export_watermarks(&self, chain: GenesisHash, minimal: bool) -> Result<DocumentInfo, AdminError>;

    /// A piece of a document, from `offset` on; empty at its end.
    #[method(name = "document", param_kind = map, with_extensions)]
    async fn document(&self, id: u64, offset: u64) -> Result<HexBytes, AdminError>;

    /// Hands leadership to `to`, or to the follower that is furthest; answers the new leader.
    #[method(name = "transferLeadership", param_kind = map, with_extensions)]
    async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, AdminError>;
}

/// A document that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentInfo {
    /// What to ask for.
    pub id: u64,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: HexArray<32>,
}

/// The certificates in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsStatus {
    /// When this node's certificate ends, in Unix seconds.
    pub certificate_ends: i64,
    /// When the first of the authorities ends, in Unix seconds.
    pub authority_ends: i64,
    /// Why the files as they are now are not in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_reloaded: Option<String>,
}

/// A member whose program does not support the newest feature level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldBackBy {
    /// The member.
    pub node: NodeId,
    /// The level it supports; none if it has not said so yet.
    pub supports: Option<u32>,
}

/// Answer of `admin_join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The log entry that let the node in, or found that it is in already.
    pub at: LogIndex,
    /// The members, the new one among them.
    pub members: Vec<NodeId>,
}

/// Answer of `admin_backup`: everything of a backup but the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupAnswer {
    /// The bytes of the manifest.
    pub manifest: String,
    /// The node's signature of them.
    pub signature: NodeSignature,
    /// The state.
    pub state: DocumentInfo,
}

/// What operators may ask of the whole cluster: the node that is asked asks the others.
#[rpc(server, namespace = "admin")]
pub trait OverviewApi {
    /// The whole cluster, as this node finds it.
    #[method(name = "overview", with_extensions)]
    async fn overview(&self) -> Result<Overview, AdminError>;
}

/// Answer of `admin_status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminStatus {
    /// The node that answers.
    pub node: NodeId,
    /// The cluster's id.
    pub cluster: String,
    /// The software's version.
    pub version: String,
    /// `leader`, `follower` or `candidate`.
    pub role: String,
    /// The leader this node knows.
    pub leader: Option<NodeId>,
    /// Where clients reach the leader.
    pub leader_url: Option<String>,
    /// The raft term.
    pub term: Term,
    /// Last entry of the log.
    pub last: LogIndex,
    /// Last entry known to be committed.
    pub committed: LogIndex,
    /// Last entry applied.
    pub applied: LogIndex,
    /// Hash of the state at `applied`.
    pub state_hash: String,
    /// Moves with every change of the registry.
    pub registry_version: u64,
    /// What commands may use.
    pub feature_level: u32,
    /// Where the operators want the leader, if anywhere.
    #[serde(default)]
    pub leader_pin: Option<LeaderPin>,
    /// The newest that a member's program supports.
    #[serde(default)]
    pub feature_newest: u32,
    /// The members that do not support it.
    #[serde(default)]
    pub feature_held_back_by: Vec<HeldBackBy>,
    /// Whether this node serves.
    pub readiness: Readiness,
    /// The keys.
    pub keys: KeyCounts,
    /// Keys this node cannot sign with, and why.
    pub locked: Vec<LockedKey>,
    /// The certificates in use; none from older nodes.
    #[serde(default)]
    pub tls: Option<TlsStatus>,
    /// Protections of the process that are missing: core dumps, locked memory. Empty when all are in place.
    pub memory_warnings: Vec<String>,
    /// Unix milliseconds of this node's clock.
    pub time_ms: u64,
    /// Officers that are known by the name in their certificate alone.
    #[serde(default)]
    pub unpinned_officers: Vec<String>,
    /// The backup the cluster was restored from, if it was.
    #[serde(default)]
    pub restored_from: Option<Origin>,
    /// Set if the cluster was restored for practice and arms no key.
    #[serde(default)]
    pub drill: Option<Drill>,
}

/// One chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainRow {
    /// As it was added.
    #[serde(flatten)]
    pub chain: Chain,
    /// How the length of its slots changed since, or will.
    #[serde(default)]
    pub retimings: Vec<Retiming>,
}

impl ChainRow {
    /// How it counts its slots.
    pub fn clock(&self) -> SlotClock<'_> {
        SlotClock::new(&self.chain, &self.retimings)
    }
}

impl From<Chain> for ChainRow {
    /// A chain that was just added.
    fn from(chain: Chain) -> Self {
        Self { chain, retimings: Vec::new() }
    }
}

impl std::ops::Deref for ChainRow {
    type Target = Chain;
    fn deref(&self) -> &Chain {
        &self.chain
    }
}

/// How many keys there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyCounts {
    /// Registered, not armed yet.
    pub registered: usize,
    /// Armed.
    pub armed: usize,
    /// Disabled.
    pub disabled: usize,
    /// Removed.
    pub removed: usize,
    /// Open on this node.
    pub unlocked: usize,
}

/// A key that this node cannot sign with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedKey {
    /// The key.
    pub key: KeyId,
    /// Why it is not open here.
    pub why: String,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRow {
    /// Type and public key.
    pub id: KeyId,
    /// The signature scheme.
    pub scheme: Scheme,
    /// The chain's name.
    pub chain: String,
    /// The chain's genesis hash.
    pub genesis: GenesisHash,
    /// The validator it belongs to.
    pub group: Option<String>,
    /// Where it is in its life.
    pub state: KeyState,
    /// The log entry that registered it.
    pub registered_at: LogIndex,
    /// Its watermark; empty before it is armed, and for keys without claimed work.
    pub watermarks: Vec<WatermarkView>,
    /// Whether the answering node can sign with it.
    pub unlocked: bool,
    /// The members for which its envelope is not sealed, as far as is known. The leader seals it again by itself.
    #[serde(default)]
    pub not_sealed_for: Vec<NodeId>,
    /// Set while it is halted, because the cluster has forgotten what it signed.
    #[serde(default)]
    pub halted: Option<Halt>,
    /// Places at which it signs nothing although no floor is past them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub barred: Vec<BarredPlace>,
    /// What the backup that it came with knew, if it waits for a floor above that.
    #[serde(default)]
    pub known_by_backup: Option<Floors>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRow {
    /// Its number.
    pub id: ClientId,
    /// Its name.
    pub name: String,
    /// SHA-256 of its certificate's SubjectPublicKeyInfo.
    pub spki: Fingerprint,
    /// What it may do.
    pub rights: Vec<Right>,
    /// Whether it may do anything.
    pub state: ClientState,
    /// What it may have made, if anything.
    #[serde(default)]
    pub key_allowance: Option<KeyAllowance>,
    /// How many living keys were made for it.
    #[serde(default)]
    pub keys_made: usize,
    /// How much it may ask of one signer.
    #[serde(default)]
    pub limits: ClientLimits,
    /// Whether these limits were set for this client, and are not the default.
    #[serde(default)]
    pub own_limits: bool,
    /// The certificate that is to replace its present one; until then both are accepted.
    #[serde(default)]
    pub next_spki: Option<Fingerprint>,
    /// What it has asked of the answering node since that node started; nothing if it has not.
    #[serde(default)]
    pub activity: Option<ClientActivity>,
}

/// Answer of `admin_officers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfficersReport {
    /// Who asks, as the log names them.
    pub you: String,
    /// The role of who asks.
    pub your_role: Option<Role>,
    /// The officers, and whether dangerous changes take two.
    #[serde(flatten)]
    pub officers: Officers,
    /// The certificate keys of officers.
    #[serde(default)]
    pub pins: Vec<OfficerPin>,
    /// Officers that are known by the name in their certificate alone.
    #[serde(default)]
    pub unpinned: Vec<String>,
    /// Changes that wait for a second officer, and the last that were decided.
    pub proposals: Vec<ProposalRow>,
    /// How much a client without limits of its own may ask of one signer.
    pub default_limits: ClientLimits,
}

/// One proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalRow {
    /// The name of the change.
    pub what: String,
    /// Whether it waited too long, by this node's clock.
    pub expired: bool,
    /// The id of the node that was invited by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The proposal.
    #[serde(flatten)]
    pub proposal: Proposal,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRow {
    /// The node.
    pub node: NodeId,
    /// Whether it has a vote.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// What it said of itself; none before its first start.
    pub announced: Option<Member>,
    /// Whether it belongs to the cluster still; none before it announced itself.
    pub state: Option<MemberState>,
    /// On the leader: the last entry known to be on its disk.
    pub matched: Option<LogIndex>,
    /// On the leader: whether it answered lately.
    pub active: Option<bool>,
    /// What it is in raft's configuration; none if it is not in it.
    #[serde(default)]
    pub role: Option<MemberRole>,
    /// What it is meant to be; none before it has joined and once it was removed. The configuration follows.
    #[serde(default)]
    pub wanted: Option<MemberRole>,
    /// How far a node has come that came later, or was removed; none for one that was there from the start.
    #[serde(default)]
    pub standing: Option<Standing>,
    /// Where it is expected or known to be.
    #[serde(default)]
    pub peer_addr: Option<String>,
    /// The member it is to take the place of.
    #[serde(default)]
    pub replaces: Option<NodeId>,
    /// On the leader: entries that it lacks.
    #[serde(default)]
    pub lag: Option<u64>,
    /// Where it stands, as its configuration says.
    #[serde(default)]
    pub zone: Option<String>,
    /// The version of its program.
    #[serde(default)]
    pub version: Option<String>,
}

impl MemberRow {
    /// Whether it was removed.
    pub fn is_removed(&self) -> bool {
        self.state == Some(MemberState::Removed) || self.standing == Some(Standing::Removed)
    }

    /// Whether it was invited and has not joined.
    pub const fn is_invited(&self) -> bool {
        matches!(self.standing, Some(Standing::Invited { .. }))
    }
}

/// Why an admin request failed, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AdminErrorCode {
    /// The cluster refused the change; nothing happened.
    Refused,
    /// The request makes no sense.
    Invalid,
    /// The caller is no admin.
    Forbidden,
    /// This node cannot serve; nothing was proposed.
    NotReady,
    /// The deadline passed after the change was proposed: look before trying again.
    UnknownOutcome,
    /// The node is at fault.
    Internal,
}

impl AdminErrorCode {
    /// Every code.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Invalid, Self::Forbidden, Self::NotReady, Self::UnknownOutcome, Self::Internal];

    /// The JSON-RPC code, never changed.
    pub const fn json_rpc_code(self) -> i32 {
        match self {
            Self::Refused => 2001,
            Self::Invalid => 2002,
            Self::Forbidden => 2003,
            Self::NotReady => 2004,
            Self::UnknownOutcome => 2005,
            Self::Internal => 2006,
        }
    }

    /// The exit code of a command that ends with it: 1 refused, 2 wrong usage, 3 unknown, 4 not ready.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Refused | Self::Forbidden | Self::Internal => 1,
            Self::Invalid => 2,
            Self::UnknownOutcome => 3,
            Self::NotReady => 4,
        }
    }
}

/// The facts of a failed admin request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminErrorData {
    /// Why.
    pub code: AdminErrorCode,
    /// The refusal of the state machine, with `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeError>,
    /// The leader, with `notReady`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderHint>,
}

/// A failed admin request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminError {
    /// What happened and what to do, for people.
    pub message: String,
    /// The same for machines.
    pub data: Box<AdminErrorData>,
}

impl AdminError {
    /// An error without further facts.
    pub fn new(code: AdminErrorCode, message: impl Into<String>) -> Self {
        Self { message: message.into(), data: Box::new(AdminErrorData { code, change: None, leader: None }) }
    }

    /// Why.
    pub const fn code(&self) -> AdminErrorCode {
        self.data.code
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AdminError {}

impl From<ChangeError> for AdminError {
    fn from(change: ChangeError) -> Self {
        let mut error = Self::new(AdminErrorCode::Refused, hint::told(&change));
        error.data.change = Some(change);
        error
    }
}

impl From<AdminError> for ErrorObjectOwned {
    fn from(error: AdminError) -> Self {
        Self::owned(error.code().json_rpc_code(), error.message, Some(error.data))
    }
}
