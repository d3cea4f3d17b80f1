//! The admin methods (`admin_*`), their types and refusals. Parameters are objects by name, answers camelCase.
//!
//! Every change of the registry goes through the one method `admin_change`, which takes a [`Change`] in the very form
//! that the replicated log holds: adding a chain, registering, arming, disabling and removing keys, adding, updating
//! and removing clients, letting them have keys made, raising watermarks. So the log holds, for the audit, exactly what
//! the operator sent. Secrets never pass in the open: a key arrives sealed to the members ([`MemberRow::announced`] has
//! their recipients).
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
    ChainId, HexArray, HexBytes, KeyId, LogIndex, NodeId, Scheme, Term,
    rpc::{LeaderHint, Readiness},
};
use std::fmt;

/// What operators may ask. The request's extensions say who asks.
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
    async fn export_watermarks(&self, chain: ChainId, minimal: bool) -> Result<DocumentInfo, AdminError>;

    /// A piece of a document, from `offset` on; empty at its end.
    #[method(name = "document", param_kind = map, with_extensions)]
    async fn document(&self, id: u64, offset: u64) -> Result<HexBytes, AdminError>;

    /// Hands leadership to `to`, or to the follower whose log is furthest ahead; returns the new leader.
    #[method(name = "transferLeadership", param_kind = map, with_extensions)]
    async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, AdminError>;
}

/// A document that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentInfo {
    /// The id to ask for.
    pub id: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: HexArray<32>,
}

/// The certificates that a node uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsStatus {
    /// When this node's certificate ends, in Unix seconds.
    pub certificate_ends: i64,
    /// When the first of the authorities' certificates ends, in Unix seconds.
    pub authority_ends: i64,
    /// Why the current content of the files is not in use.
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
    /// The log entry that let the node in, or that found it already in.
    pub at: LogIndex,
    /// The members, the new one among them.
    pub members: Vec<NodeId>,
}

/// Answer of `admin_backup`: everything in a backup but the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupAnswer {
    /// The bytes of the manifest.
    pub manifest: String,
    /// The node's signature of the manifest.
    pub signature: NodeSignature,
    /// The state, to be fetched as a document.
    pub state: DocumentInfo,
}

/// What operators may ask about the whole cluster: the node that is asked asks the others.
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
    /// The last entry of the log.
    pub last: LogIndex,
    /// The last entry known to be committed.
    pub committed: LogIndex,
    /// The last entry applied.
    pub applied: LogIndex,
    /// Hash of the state at `applied`.
    pub state_hash: String,
    /// Rises with every change of the registry.
    pub registry_version: u64,
    /// The feature level, which bounds what commands may use.
    pub feature_level: u32,
    /// Where the operators want the leader, if anywhere.
    #[serde(default)]
    pub leader_pin: Option<LeaderPin>,
    /// The newest feature level that a member's program supports.
    #[serde(default)]
    pub feature_newest: u32,
    /// The members whose programs do not support that level.
    #[serde(default)]
    pub feature_held_back_by: Vec<HeldBackBy>,
    /// Whether this node serves, and why not.
    pub readiness: Readiness,
    /// The keys.
    pub keys: KeyCounts,
    /// Keys this node cannot sign with, and why.
    pub locked: Vec<LockedKey>,
    /// The certificates in use; none from older nodes.
    #[serde(default)]
    pub tls: Option<TlsStatus>,
    /// Missing protections of the process: core dumps, locked memory. Empty when all are in place.
    pub memory_warnings: Vec<String>,
    /// Unix milliseconds of this node's clock.
    pub time_ms: u64,
    /// Officers that are known only by the name in their certificate.
    #[serde(default)]
    pub unpinned_officers: Vec<String>,
    /// The backup from which the cluster was restored, if it was.
    #[serde(default)]
    pub restored_from: Option<Origin>,
    /// Set if the cluster was restored as a drill, so that it arms no key.
    #[serde(default)]
    pub drill: Option<Drill>,
}

/// A chain and how it counts its slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainRow {
    /// The chain as it was added.
    #[serde(flatten)]
    pub chain: Chain,
    /// Later changes of its slot length, past and planned.
    #[serde(default)]
    pub retimings: Vec<Retiming>,
}

impl ChainRow {
    /// The chain's slot clock.
    pub fn clock(&self) -> SlotClock<'_> {
        SlotClock::new(&self.chain, &self.retimings)
    }
}

impl From<Chain> for ChainRow {
    /// The row of a chain that was just added.
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
    /// Unlocked on this node.
    pub unlocked: usize,
}

/// A key that this node cannot sign with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedKey {
    /// The key.
    pub key: KeyId,
    /// Why it is locked here.
    pub why: String,
}

/// A key and its watermarks.
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
    pub genesis: ChainId,
    /// The validator it belongs to.
    pub group: Option<String>,
    /// Its state.
    pub state: KeyState,
    /// The log entry that registered it.
    pub registered_at: LogIndex,
    /// Its watermarks; empty before it is armed, and for keys without claimed classes.
    pub watermarks: Vec<WatermarkView>,
    /// Whether the answering node can sign with it.
    pub unlocked: bool,
    /// The members to which its envelope is not known to be sealed. The leader seals it again by itself.
    #[serde(default)]
    pub not_sealed_for: Vec<NodeId>,
    /// Set while it is halted, because the cluster has forgotten what it signed.
    #[serde(default)]
    pub halted: Option<Halt>,
    /// Positions at which it signs nothing although its floor is not past them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub barred: Vec<BarredPlace>,
    /// What the backup it was restored from knew, while the key waits for a floor above that.
    #[serde(default)]
    pub known_by_backup: Option<Floors>,
}

/// A client, its rights and limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRow {
    /// Its number.
    pub id: ClientId,
    /// Its name.
    pub name: String,
    /// SHA-256 of its certificate's SubjectPublicKeyInfo.
    pub spki: Fingerprint,
    /// Its rights.
    pub rights: Vec<Right>,
    /// Whether it is active.
    pub state: ClientState,
    /// What keys it may have made, if any.
    #[serde(default)]
    pub key_allowance: Option<KeyAllowance>,
    /// How many keys that were made for it have not been removed.
    #[serde(default)]
    pub keys_made: usize,
    /// Its limits on one signer.
    #[serde(default)]
    pub limits: ClientLimits,
    /// Whether these limits were set for this client rather than taken from the default.
    #[serde(default)]
    pub own_limits: bool,
    /// The certificate that is to replace the present one; until then both are accepted.
    #[serde(default)]
    pub next_spki: Option<Fingerprint>,
    /// What it has asked of the answering node since that node started; none if it has not asked.
    #[serde(default)]
    pub activity: Option<ClientActivity>,
}

/// Answer of `admin_officers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfficersReport {
    /// The caller, as the log names it.
    pub you: String,
    /// The role of the caller.
    pub your_role: Option<Role>,
    /// The officers, and whether dangerous changes need two of them.
    #[serde(flatten)]
    pub officers: Officers,
    /// The certificate keys of officers.
    #[serde(default)]
    pub pins: Vec<OfficerPin>,
    /// Officers that are known only by the name in their certificate.
    #[serde(default)]
    pub unpinned: Vec<String>,
    /// Changes that wait for a second officer, and those decided last.
    pub proposals: Vec<ProposalRow>,
    /// The limits on one signer for a client without limits of its own.
    pub default_limits: ClientLimits,
}

/// A change that was proposed for a second officer's approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalRow {
    /// The name of the proposed change.
    pub what: String,
    /// Whether it expired, by this node's clock.
    pub expired: bool,
    /// The id of the node that it invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The proposal.
    #[serde(flatten)]
    pub proposal: Proposal,
}

/// A member and its place in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRow {
    /// The node.
    pub node: NodeId,
    /// Whether it is a voter.
    pub voter: bool,
    /// Whether it is the leader.
    pub leader: bool,
    /// What it announced of itself; none before its first start.
    pub announced: Option<Member>,
    /// Whether it still belongs to the cluster; none before it announced itself.
    pub state: Option<MemberState>,
    /// On the leader: the last entry known to be on the member's disk.
    pub matched: Option<LogIndex>,
    /// On the leader: whether the member answered lately.
    pub active: Option<bool>,
    /// Its role in raft's configuration; none if it is not in it.
    #[serde(default)]
    pub role: Option<MemberRole>,
    /// The role it is meant to have; none before it has joined and after it was removed. The configuration follows
    /// this.
    #[serde(default)]
    pub wanted: Option<MemberRole>,
    /// The progress of a node that joined later or was removed; none for one that was there from the start.
    #[serde(default)]
    pub standing: Option<Standing>,
    /// Its known or expected address for other members.
    #[serde(default)]
    pub peer_addr: Option<String>,
    /// The member that it is to replace.
    #[serde(default)]
    pub replaces: Option<NodeId>,
    /// On the leader: how many entries the member lacks.
    #[serde(default)]
    pub lag: Option<u64>,
    /// Its zone, as its configuration says.
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

/// Why an admin request failed, as a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AdminErrorCode {
    /// The cluster refused the change; nothing happened.
    Refused,
    /// The request is not valid.
    Invalid,
    /// The caller has no right to it.
    Forbidden,
    /// This node cannot serve; nothing was proposed.
    NotReady,
    /// The deadline passed after the change was proposed: check the state before trying again.
    UnknownOutcome,
    /// The node is at fault.
    Internal,
}

impl AdminErrorCode {
    /// Every code.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Invalid, Self::Forbidden, Self::NotReady, Self::UnknownOutcome, Self::Internal];

    /// The JSON-RPC code. It never changes.
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

    /// The exit code of a command that ends with this error: 1 refused, 2 wrong usage, 3 unknown outcome, 4 not ready.
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
    /// The code.
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
    /// What happened and what to do, as readable text.
    pub message: String,
    /// The same as data.
    pub data: Box<AdminErrorData>,
}

impl AdminError {
    /// An error without further facts.
    pub fn new(code: AdminErrorCode, message: impl Into<String>) -> Self {
        Self { message: message.into(), data: Box::new(AdminErrorData { code, change: None, leader: None }) }
    }

    /// The code.
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
