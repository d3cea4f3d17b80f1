//! The members of the cluster, as one node sees them: what is wanted, raft's configuration, and each one's progress.

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
    /// What it announced of itself; none before it has joined.
    pub member: Option<Member>,
    /// Its known or expected address for other members.
    pub peer_addr: Option<String>,
    /// The role it is meant to have; `None` before it has joined and after it was removed.
    pub wanted: Option<MemberRole>,
    /// Its role in raft's configuration; `None` if it is not in it.
    pub present: Option<MemberRole>,
    /// The progress of a node that joined later or was removed; `None` for one that was there from the start.
    pub standing: Option<Standing>,
    /// The member that it is to replace.
    pub replaces: Option<NodeId>,
    /// Whether it is the leader.
    pub leads: bool,
    /// On the leader, for other nodes: how far it has come.
    pub progress: Option<Progress>,
}

/// How far a follower is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The last index known to be on its disk.
    pub matched: LogIndex,
    /// How many entries of the leader it lacks.
    pub lag: u64,
    /// Whether it has answered since the last check.
    pub active: bool,
    /// The start (life) of the follower that the leader has met last.
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
