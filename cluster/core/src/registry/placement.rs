//! Where the leader should be, and what is known of the places: an operator's wish, and each node's zone and version.
//! Kept since feature level 2. Nothing here is needed for safety: any voter may lead.

use super::Registry;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::NodeId;
use std::{collections::BTreeMap, fmt};

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

/// The one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Placement {
    pub(crate) pin: Option<LeaderPin>,
    pub(crate) notes: BTreeMap<NodeId, NodeNote>,
}

impl Registry {
    /// Where the operators want the leader, if anywhere.
    pub fn leader_pin(&self) -> Option<&LeaderPin> {
        self.placement.as_ref()?.pin.as_ref()
    }

    /// What the node says of itself; `None` before it has, or below feature level 2.
    pub fn node_note(&self, node: NodeId) -> Option<&NodeNote> {
        self.placement.as_ref()?.notes.get(&node)
    }

    pub(crate) fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }
}
