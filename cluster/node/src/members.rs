//! Who belongs to the cluster, as one node sees it: what is wanted, what raft has, and how far everybody is.

use serde::{Deserialize, Serialize};
use signonce_core::replica::{Follower, ReplicaStatus, Role};
use signonce_core::{Member, MemberRole, Standing, State};
use signonce_protocol::{LogIndex, NodeId};
use std::collections::BTreeSet;

/// One node, for status pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Its id.
    pub node: NodeId,
    /// What it has said of itself; nothing before it has joined.
    pub member: Option<Member>,
    /// Where it is expected or known to be.
    pub peer_addr: Option<String>,
    /// What it is meant to be; `None` before it has joined and once it was removed.
    pub wanted: Option<MemberRole>,
    /// What it is in raft's configuration; `None` if it is not in it.
    pub present: Option<MemberRole>,
    /// How far a node has come that came later, or was removed; `None` for one that was there from the start.
    pub standing: Option<Standing>,
    /// The member it is to take the place of.
    pub replaces: Option<NodeId>,
    /// Whether it leads.
    pub leads: bool,
    /// On the leader, of others: how far it is.
    pub progress: Option<Progress>,
}

/// How far a follower is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The last index known to be on its disk.
    pub matched: LogIndex,
    /// Entries of the leader that it lacks.
    pub lag: u64,
    /// Whether it has answered since the last check.
    pub active: bool,
    /// Which start of it the leader has met last.
    pub incarnation: u64,
}

impl MemberView {
    pub(crate) fn all(state: &State, status: &ReplicaStatus) -> Vec<Self> {
        let registry = state.registry();
        let announced = registry.members().map(|member| member.node);
        let later = registry.memberships().map(|membership| membership.node);
        let present = status.voters.iter().chain(&status.learners).copied();
        let all: BTreeSet<NodeId> = announced.chain(later).chain(present).collect();
        all.into_iter().map(|node| Self::of(node, state, status)).collect()
    }

    fn of(node: NodeId, state: &State, status: &ReplicaStatus) -> Self {
        let registry = state.registry();
        let membership = registry.membership(node);
        let progress = |follower: &Follower| Progress {
            matched: follower.matched,
            lag: status.last.0.saturating_sub(follower.matched.0),
            active: follower.active,
            incarnation: follower.life.incarnation,
        };
        Self {
            node,
            member: registry.member(node).map(|(member, _)| member.clone()),
            peer_addr: registry.peer_addr(node).map(str::to_owned),
            wanted: registry.wanted_role(node),
            present: if status.voters.contains(&node) {
                Some(MemberRole::Voter)
            } else {
                status.learners.contains(&node).then_some(MemberRole::Learner)
            },
            standing: membership.map(|membership| membership.standing),
            replaces: membership.and_then(|membership| membership.replaces),
            leads: status.leader == Some(node) || (node == status.node && status.role == Role::Leader),
            progress: status.followers.iter().find(|follower| follower.node == node).map(progress),
        }
    }
}
