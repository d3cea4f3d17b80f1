//! Who came to the cluster after it was formed, and who left it: what the operators want of raft's configuration.
//!
//! The members that a cluster forms from need no record here: they are joined voters until they are removed. A node
//! that comes later is invited under a fresh id with a one-time token, joins with it as a learner, and is promoted to
//! a voter. The leader makes raft's configuration follow, one step at a time.

use super::Registry;
use crate::model::{MemberRole, MemberState};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::NodeId;

/// How far a node has come on its way into the cluster, or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It may join with the token of this hash.
    #[codec(index = 0)]
    Invited {
        /// `JoinToken::hash`.
        #[serde(skip)]
        token: [u8; 32],
    },
    /// It has joined with the token of this hash, which is used up.
    #[codec(index = 1)]
    Joined {
        /// `JoinToken::hash`.
        #[serde(skip)]
        token: [u8; 32],
    },
    /// A tombstone, whether it ever joined or not.
    #[codec(index = 2)]
    Removed,
}

/// A node that came after the cluster had formed, or one that was removed from it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Its id: of a node that came later, the index of the log entry that invited it.
    pub node: NodeId,
    /// What it is meant to be.
    pub role: MemberRole,
    /// How far it has come.
    pub standing: Standing,
    /// Where the one who invited it said it would be. [`super::Member::peer_addr`] counts once it has joined.
    pub peer_addr: String,
    /// The member it is to take the place of.
    pub replaces: Option<NodeId>,
}

impl Registry {
    /// The nodes that came later, and those removed, by id.
    pub fn memberships(&self) -> impl Iterator<Item = &Membership> {
        self.memberships.values()
    }

    /// The membership of a node. `None` for a node that is unknown or was there when the cluster formed.
    pub fn membership(&self, node: NodeId) -> Option<&Membership> {
        self.memberships.get(&node)
    }

    /// Whether the id is a tombstone: nothing is accepted from it, ever.
    pub fn is_removed(&self, node: NodeId) -> bool {
        let announced = self.members.get(&node).map(|record| record.state);
        let standing = self.memberships.get(&node).map(|membership| membership.standing);
        announced == Some(MemberState::Removed) || standing == Some(Standing::Removed)
    }

    /// Every tombstone.
    pub fn removed(&self) -> impl Iterator<Item = NodeId> {
        let announced = self.members.iter().filter(|(_, record)| record.state == MemberState::Removed);
        let standing = self.memberships.values().filter(|m| m.standing == Standing::Removed);
        announced.map(|(node, _)| *node).chain(standing.map(|membership| membership.node))
    }

    /// Where the node is reached: as it said itself, else as the one who invited it did.
    pub fn peer_addr(&self, node: NodeId) -> Option<&str> {
        let announced = self.members.get(&node).map(|record| record.member.peer_addr.as_str());
        let expected = || self.memberships.get(&node).map(|membership| membership.peer_addr.as_str());
        announced.or_else(expected).filter(|address| !address.is_empty())
    }

    /// Whether the node came later, has joined and was not removed.
    pub fn has_joined(&self, node: NodeId) -> bool {
        let standing = self.memberships.get(&node).map(|membership| membership.standing);
        matches!(standing, Some(Standing::Joined { .. })) && !self.is_removed(node)
    }

    /// What the node is meant to be in raft's configuration; `None` for one that is not to be in it.
    pub fn wanted_role(&self, node: NodeId) -> Option<MemberRole> {
        if self.is_removed(node) {
            return None;
        }
        match self.memberships.get(&node) {
            Some(Membership { standing: Standing::Invited { .. }, .. }) => None,
            Some(Membership { role, .. }) => Some(*role),
            None => Some(MemberRole::Voter),
        }
    }
}
