//! Where the leader should be, and what nodes say of their places.

use super::State;
use super::change::{check_name, check_text};
use crate::{
    log::{ChangeError, error::MemberError},
    model::{LeaderPin, NodeNote, PlacementChange},
    registry::Placement,
};
use signonce_protocol::NodeId;

impl State {
    pub(super) fn place(&mut self, change: PlacementChange) -> Result<(), ChangeError> {
        match &change {
            PlacementChange::Pin(Some(LeaderPin::Node(node))) => self.check_present(*node)?,
            PlacementChange::Pin(Some(LeaderPin::Zone(zone))) => check_name(zone)?,
            PlacementChange::Pin(None) => {}
            PlacementChange::Note { node, note: NodeNote { zone, version } } => {
                self.check_present(*node)?;
                zone.as_deref().map_or(Ok(()), check_name)?;
                check_text("the version", version)?;
            }
        }
        let mut placement: Placement = self.registry.placement().cloned().unwrap_or_default();
        match change {
            PlacementChange::Pin(pin) => placement.pin = pin,
            PlacementChange::Note { node, note } => {
                placement.notes.insert(node, note);
                let removed = |node: NodeId| self.registry.is_removed(node);
                placement.notes.retain(|node, _| !removed(*node));
            }
        }
        self.registry.put_placement(placement, &mut self.journal);
        Ok(())
    }

    fn check_present(&self, node: NodeId) -> Result<(), ChangeError> {
        if self.registry.is_removed(node) {
            return Err(MemberError::MemberRemoved { node }.into());
        }
        match self.registry.members().any(|member| member.node == node) {
            true => Ok(()),
            false => Err(ChangeError::Member(MemberError::UnknownMember { node })),
        }
    }
}
