//! Who may make which change: the roles of operators, and which changes can be made to need two of them.
//!
//! The log names whoever wanted a change. Operators are `admin:NAME` (the name in their certificate) and
//! `local:uid=N` (the unix socket of a signer's own machine); everyone else in the log is a signer that acts for
//! itself or for a client, and is not judged here. The state machine asks these tables before it makes a change, so
//! no race and no bypass on a serving node matters.

use crate::command::{Change, Floors};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::LogIndex;
use std::{collections::BTreeMap, fmt, str::FromStr};

/// What an operator may do. Each role may do what the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Looks.
    #[codec(index = 0)]
    Viewer,
    /// Keeps the machines running and takes away: members, leadership, limits, disabling keys, removing clients.
    #[codec(index = 1)]
    Operator,
    /// Decides who may have what signed: keys, chains, rights, watermarks, officers.
    #[codec(index = 2)]
    KeyOfficer,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::KeyOfficer];

    /// As operators write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::KeyOfficer => "key-officer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("{text:?} is no role: it must be viewer, operator or key-officer"))
    }
}

/// What the log calls an operator with a certificate; the name in the certificate follows.
pub const ADMIN_ACTOR: &str = "admin:";
/// What the log calls an operator on the unix socket; the user's number follows.
pub const LOCAL_ACTOR: &str = "local:uid=";

/// Whether `actor`, as the log names it, is an operator. All others are signers.
pub fn is_operator(actor: &str) -> bool {
    actor.starts_with(ADMIN_ACTOR) || actor.starts_with(LOCAL_ACTOR)
}

/// Who may operate the cluster, and whether dangerous changes take two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Officers {
    /// By the name in the certificate. While it is empty, every admin certificate is a key officer's.
    pub roles: BTreeMap<String, Role>,
    /// Whether dangerous changes wait for a second key officer.
    pub require_approval: bool,
}

impl Officers {
    /// The role of `actor`; `None` if it has none. Whoever is on the unix socket can read the node's disk and stop
    /// its process anyway, and is the way back in when certificates are lost: a key officer. So are signers.
    pub fn role_of(&self, actor: &str) -> Option<Role> {
        match actor.strip_prefix(ADMIN_ACTOR) {
            Some(name) if !self.roles.is_empty() => self.roles.get(name).copied(),
            Some(_) | None => Some(Role::KeyOfficer),
        }
    }

    /// How many key officers have certificates.
    pub fn key_officers(&self) -> usize {
        self.roles.values().filter(|role| **role == Role::KeyOfficer).count()
    }
}

/// A dangerous change that waits for, or got, the word of a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The log entry that proposed it.
    pub id: LogIndex,
    /// Who did.
    pub by: String,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
    /// What is to be done.
    pub change: Change,
    /// What became of it.
    pub decision: Option<ProposalDecision>,
}

/// The word of a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalDecision {
    /// Whose.
    pub by: String,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
    /// In which log entry; an approved change was made by it.
    pub at: LogIndex,
    /// Yes or no.
    pub approved: bool,
}

/// How long a proposal waits: a day, by the recorded times of the two entries.
pub const PROPOSAL_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;

impl Proposal {
    /// Whether it can still be approved by an entry of that time.
    pub fn is_open(&self, time_ms: u64) -> bool {
        self.decision.is_none() && !self.has_expired(time_ms)
    }

    /// Whether it has waited too long at that time.
    pub fn has_expired(&self, time_ms: u64) -> bool {
        time_ms.saturating_sub(self.time_ms) > PROPOSAL_LIFE_MS
    }
}

impl Change {
    /// The least role that may make it. `None` for what signers alone say of themselves.
    pub const fn least_role(&self) -> Option<Role> {
        match self {
            Self::AnnounceMember(_)
            | Self::JoinMember { .. }
            | Self::AddGeneratedKey { .. }
            | Self::ResealKeys { .. }
            | Self::RecordAudit { .. }
            | Self::SignAudit(_)
            | Self::HaltKey { .. } => None,
            Self::DisableKey { .. }
            | Self::RemoveClient { .. }
            | Self::SetClientLimits { .. }
            | Self::PromoteMember { .. }
            | Self::Place(_)
            | Self::RaiseFeatureLevel { .. } => Some(Role::Operator),
            Self::AddChain(_)
            | Self::SetLimits { .. }
            | Self::RegisterKey { .. }
            | Self::ResealKey { .. }
            | Self::ArmKey { .. }
            | Self::RemoveKey { .. }
            | Self::RaiseWatermark { .. }
            | Self::AddClient { .. }
            | Self::UpdateClient { .. }
            | Self::RotateClient { .. }
            | Self::FinishRotation { .. }
            | Self::SetKeyAllowance { .. }
            // Whoever joins gets every key, sealed to it.
            | Self::AddMember { .. }
            | Self::RemoveMember { .. }
            | Self::ImportWatermarks { .. }
            | Self::Restore(_)
            | Self::SetOfficer { .. }
            | Self::RequireApproval { .. }
            | Self::DecideProposal { .. } => Some(Role::KeyOfficer),
        }
    }

    /// Whether it waits for a second key officer once approval is required: what cannot be taken back, or takes the
    /// word of one person for where a key has signed before.
    pub fn is_dangerous(&self) -> bool {
        match self {
            // Without floors it is a key whose work is not claimed.
            Self::ArmKey { floors, .. } => *floors != Floors::default(),
            Self::RemoveKey { .. }
            | Self::RemoveMember { .. }
            | Self::ImportWatermarks { .. }
            | Self::SetOfficer { .. }
            | Self::RequireApproval { .. } => true,
            Self::AddChain(_)
            | Self::SetLimits { .. }
            | Self::RegisterKey { .. }
            | Self::ResealKey { .. }
            | Self::DisableKey { .. }
            | Self::RaiseWatermark { .. }
            | Self::AddClient { .. }
            | Self::UpdateClient { .. }
            | Self::RemoveClient { .. }
            | Self::SetClientLimits { .. }
            | Self::RotateClient { .. }
            | Self::FinishRotation { .. }
            | Self::AnnounceMember(_)
            | Self::RaiseFeatureLevel { .. }
            | Self::SetKeyAllowance { .. }
            | Self::AddGeneratedKey { .. }
            | Self::AddMember { .. }
            | Self::JoinMember { .. }
            | Self::PromoteMember { .. }
            | Self::ResealKeys { .. }
            | Self::Place(_)
            | Self::RecordAudit { .. }
            | Self::SignAudit(_)
            | Self::HaltKey { .. }
            // Refused anywhere but in an empty cluster, which has no officers yet.
            | Self::Restore(_)
            | Self::DecideProposal { .. } => false,
        }
    }
}
