//! What a node and its peer say to each other before anything else, and who a node is: its cluster and its life.
//!
//! Data alone. [`Replica::hello`](super::Replica::hello) answers, and `lives.rs` says what follows from an answer.

use super::members::KnownConfiguration;
use super::wire::{DiskPosition, Promise};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::NodeId;

/// The id of a cluster: random, made once by `init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClusterId(pub [u8; 16]);

/// The DNS name a node's certificate must carry: `node-<id>.<cluster id>.signonce.internal`.
pub fn node_name(cluster: &ClusterId, node: NodeId) -> String {
    format!("node-{node}.{cluster}.signonce.internal")
}

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::str::FromStr for ClusterId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a cluster id is 32 hex digits, not {text:?}");
        if text.len() != 32 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(id))
    }
}

/// One life of a node: the incarnation rises with every start, the boot id is random.
///
/// Two processes with one node id are two lives; peers serve only the highest incarnation they have met, and of two
/// with the same incarnation only the first. Should two copies of one disk start at the same moment, and some peers
/// meet the one first and some the other, these peers do not elect each other until the node starts once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Life {
    /// Rises with every start of the node.
    pub incarnation: u64,
    /// Random per start.
    pub boot: u64,
}

impl Life {
    /// The life of a node that was removed: after every other, and nobody lives it.
    pub(super) const ENDED: Self = Self { incarnation: u64::MAX, boot: 0 };

    pub(super) fn is_after(&self, other: &Self) -> bool {
        self.incarnation > other.incarnation
    }
}

/// What a node says when it connects to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Who it is.
    pub node: NodeId,
    /// Which life of it this is.
    pub life: Life,
    /// The initial members its operator gave it; none, if it came later.
    pub initial: Vec<NodeId>,
    /// Whether it came when the cluster had formed.
    pub joined: bool,
    /// Whether it has ever been part of the formed cluster.
    pub formed: bool,
    /// What its disk held when this life began.
    pub disk: DiskPosition,
    /// Term and index of its last log entry then.
    pub log: (u64, u64),
    /// The newest configuration that it knows to be committed: the receiver may have been away for long.
    pub roll: KnownConfiguration,
}

/// What the peer answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HelloReply {
    /// The peer knows the node and tells what it remembers of it.
    #[codec(index = 0)]
    Welcome {
        /// The highest promise the peer has seen from the node; `None` if it never saw one.
        remembered: Option<Promise>,
        /// Whether the peer has formed: one that has not can only vouch for another that has not.
        formed: bool,
        /// How far the peer itself is.
        witnessed: Witnessed,
        /// Which life of the peer answers.
        life: Life,
        /// What the peer's disk held when that life began.
        disk: DiskPosition,
        /// The newest configuration that the peer knows to be committed.
        roll: KnownConfiguration,
    },
    /// The peer will not talk to this node.
    #[codec(index = 1)]
    Refused(HelloRefusal),
    /// The peer has lost its own memory and cannot vouch for anybody.
    #[codec(index = 2)]
    NoWitness,
}

#[cfg(signonce_sim)]
impl HelloReply {
    /// The same, as if the peer had never heard of the node.
    pub(super) fn without_memory(&self) -> Self {
        let mut reply = self.clone();
        if let Self::Welcome { remembered, witnessed, .. } = &mut reply {
            (*remembered, *witnessed) = (None, Witnessed::default());
        }
        reply
    }
}

/// How far a peer is, with what it holds but has not made durable yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Witnessed {
    /// Its term.
    pub term: u64,
    /// Term and index of its last log entry: raft's order of logs.
    pub log: (u64, u64),
}

/// Why a peer will not talk to a node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum HelloRefusal {
    /// The node belongs to another cluster.
    #[codec(index = 0)]
    #[error("it belongs to cluster {theirs}, this node to {ours}")]
    OtherCluster {
        /// The cluster of the node that said hello.
        theirs: ClusterId,
        /// The cluster of the one that answers.
        ours: ClusterId,
    },
    /// The two were initialised with different member lists.
    #[codec(index = 1)]
    #[error("it was initialised with other members than this node")]
    OtherMembers,
    /// No member of the cluster has this id.
    #[codec(index = 2)]
    #[error("no member has the id {0}")]
    NotAMember(NodeId),
    /// A later life of the same node has been met: this one is a clone or a left-over.
    #[codec(index = 3)]
    #[error(
        "a later start ({met}) of the same node id is known, this one is start {yours}: it is a copy, or its disk was \
         wiped or restored"
    )]
    Superseded {
        /// The incarnation already met.
        met: u64,
        /// The incarnation that said hello.
        yours: u64,
    },
    /// The node was removed.
    #[codec(index = 4)]
    #[error("node {0} was removed from the cluster, for ever")]
    Removed(NodeId),
}
