//! Where the leader should be, and what each node says of its place. Nothing here is needed for safety.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::NodeId;
use std::fmt;

/// Where an operator wants the leader.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaderPin {
    /// On this node, whenever it can.
    #[codec(index = 0)]
    Node(NodeId),
    /// On some node of this zone, whenever one can.
    #[codec(index = 1)]
    Zone(String),
}

impl fmt::Display for LeaderPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
        }
    }
}

/// What a node says of itself beside [`Member`](super::Member).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeNote {
    /// Where it stands: a data centre, a rack, whatever fails together.
    pub zone: Option<String>,
    /// The version of its program.
    pub version: String,
}

/// A change of the placement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum PlacementChange {
    /// An operator wants the leader somewhere, or no longer.
    #[codec(index = 0)]
    Pin(Option<LeaderPin>),
    /// A node says where it stands and what it runs.
    #[codec(index = 1)]
    Note {
        /// The node.
        node: NodeId,
        /// What it says.
        note: NodeNote,
    },
}
