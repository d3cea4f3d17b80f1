//! Where the leader should be, and what is known of the places: an operator's wish, and each node's zone and version.
//! Nothing here is needed for safety: any voter may lead.

use super::Registry;
use crate::model::{LeaderPin, NodeNote};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::NodeId;
use std::collections::BTreeMap;

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

    /// What the node says of itself; `None` before it has.
    pub fn node_note(&self, node: NodeId) -> Option<&NodeNote> {
        self.placement.as_ref()?.notes.get(&node)
    }

    pub(crate) fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }
}
