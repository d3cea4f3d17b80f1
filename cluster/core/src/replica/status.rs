//! What a replica shows of itself. Nothing is changed here.

use super::fence::Quarantine;
use super::hello::Life;
use super::{Lifecycle, Replica};
use crate::records::StateHash;
use raft::StateRole;
use signonce_protocol::{LogIndex, NodeId, Term};

/// A node's part in raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows the leader, if any.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// A view of the replica for status pages and routing.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// This node.
    pub node: NodeId,
    /// Its part.
    pub role: Role,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: Term,
    /// Last log index.
    pub last: LogIndex,
    /// Last committed index it knows.
    pub committed: LogIndex,
    /// Last applied index.
    pub applied: LogIndex,
    /// Hash of the state at `applied`.
    pub state_hash: StateHash,
    /// `None` for a member; otherwise why it is not one.
    pub not_member: Option<NotMember>,
    /// Voters of the configuration.
    pub voters: Vec<NodeId>,
    /// Learners of the configuration.
    pub learners: Vec<NodeId>,
    /// On the leader: how far each follower is.
    pub followers: Vec<Follower>,
    /// Bytes of the log held in memory.
    pub log_bytes: u64,
}

/// Why a node does not take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotMember {
    /// The cluster has not formed; it waits for these members.
    Forming(Vec<NodeId>),
    /// The fence waits for this many of these members.
    Fenced {
        /// Answers still needed.
        missing: usize,
        /// Members that have not answered.
        from: Vec<NodeId>,
    },
    /// For good.
    Quarantined(Quarantine),
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Who.
    pub node: NodeId,
    /// The last index known to be on its disk.
    pub matched: LogIndex,
    /// Whether it has answered since the last check.
    pub active: bool,
    /// Its newest life that was met.
    pub life: Life,
}

impl Replica {
    pub(super) fn followers(&self) -> Vec<Follower> {
        if self.raft.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let mut followers: Vec<Follower> = self
            .raft
            .raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != self.config.node.0)
            .map(|(id, p)| Follower {
                node: NodeId(*id),
                matched: LogIndex(p.matched),
                active: p.recent_active,
                life: self.memory.of(NodeId(*id)).life,
            })
            .collect();
        followers.sort_unstable_by_key(|f| f.node);
        followers
    }

    /// A view for status pages and routing.
    pub fn status(&self) -> ReplicaStatus {
        let core = &self.raft.raft;
        let not_member = match &self.lifecycle {
            Lifecycle::Member => None,
            Lifecycle::Fenced(fence) if !self.formed => {
                Some(NotMember::Forming(fence.waiting_for().collect()))
            }
            Lifecycle::Fenced(fence) => {
                Some(NotMember::Fenced { missing: fence.missing(), from: fence.waiting_for().collect() })
            }
            Lifecycle::Quarantined(why) => Some(NotMember::Quarantined(why.clone())),
        };
        ReplicaStatus {
            node: self.config.node,
            role: match core.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            leader: self.leader().filter(|_| not_member.is_none()),
            term: Term(core.term),
            last: LogIndex(core.raft_log.last_index()),
            committed: LogIndex(core.raft_log.committed),
            applied: LogIndex(self.applied),
            state_hash: self.read_state().hash(),
            voters: self.configuration().voters.into_iter().map(NodeId).collect(),
            learners: self.configuration().learners.into_iter().map(NodeId).collect(),
            followers: self.followers(),
            log_bytes: self.raft.store().bytes() as u64,
            not_member,
        }
    }
}
