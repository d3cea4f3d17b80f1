//! Why a member does not come, go or vote.

use crate::model::MemberHazard;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::NodeId;

/// Why a member does not come, go or vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MemberError {
    /// Node ids are never reused.
    #[error("node {node} was removed from this cluster: join with a new node id and an empty disk")]
    #[codec(index = 19)]
    MemberRemoved {
        /// The node.
        node: NodeId,
    },
    /// Another machine, or the same with another identity, uses a member's id.
    #[error(
        "node {node} is known by recipient {known}: an identity never changes, join as a new node instead"
    )]
    #[codec(index = 20)]
    MemberIdentityChanged {
        /// The node.
        node: NodeId,
        /// The recipient it was announced with first.
        known: String,
    },
    /// No such member.
    #[error("node {node} is not a member")]
    #[codec(index = 21)]
    UnknownMember {
        /// The node asked for.
        node: NodeId,
    },
    /// Zero is no node id.
    #[error("0 is not a node id")]
    #[codec(index = 25)]
    ZeroNode,
    /// One node at a time comes or goes.
    #[error("node {node} {doing}: one member is changed at a time")]
    #[codec(index = 30)]
    MemberChangeUnderWay {
        /// The node.
        node: NodeId,
        /// What is going on.
        doing: String,
    },
    /// The token is not the one that was handed out for this id.
    #[error("this is not the join token of node {node}")]
    #[codec(index = 31)]
    WrongToken {
        /// The node.
        node: NodeId,
    },
    /// Another machine has joined with it, or the same before it lost its identity.
    #[error("the join token of node {node} was used by another machine: a token works once")]
    #[codec(index = 32)]
    TokenUsed {
        /// The node.
        node: NodeId,
    },
    /// The node was invited and has not joined.
    #[error("node {node} was invited but has not joined")]
    #[codec(index = 33)]
    NotJoined {
        /// The node.
        node: NodeId,
    },
    /// The node votes already.
    #[error("node {node} is a voter already")]
    #[codec(index = 34)]
    AlreadyVoter {
        /// The node.
        node: NodeId,
    },
    /// Too few would be left to vote.
    #[error("without node {node} only {left} voters would be left, and a cluster needs three to bear a loss")]
    #[codec(index = 35)]
    TooFewVoters {
        /// The node.
        node: NodeId,
        /// Voters that would be left.
        left: u32,
    },
    /// The fresh id happens to be that of a member that was there from the start.
    #[error("{node} is a node's id already: ask again, the next id is another")]
    #[codec(index = 36)]
    NodeIdTaken {
        /// The id.
        node: NodeId,
    },
    /// The new machine has an identity that another node has or had.
    #[error("the recipient belongs to node {node}, present or removed: make a new identity for the new node")]
    #[codec(index = 37)]
    RecipientTaken {
        /// The node that has or had it.
        node: NodeId,
    },
    /// Nobody asked the node in.
    #[error("node {node} was not invited")]
    #[codec(index = 38)]
    NotInvited {
        /// The node.
        node: NodeId,
    },
    /// What speaks against it at the moment. It was not proposed.
    #[error("node {node} is left as it is: {hazard}")]
    #[codec(index = 80)]
    MemberHazard {
        /// The node.
        node: NodeId,
        /// Why.
        hazard: MemberHazard,
    },
}
