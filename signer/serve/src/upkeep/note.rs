//! What a node says of its place: its zone and the version of its program, for `members list` and the leader's
//! placement.

use super::{DECIDED, actor};
use signonce_cluster::Handle;
use signonce_core::{Change, NodeNote, PlacementChange};
use signonce_shared::hint;

/// Updates the registry if it says something else of this node.
pub(super) async fn say(handle: &Handle, own: &NodeNote) {
    let node = handle.node();
    let news = handle.read(|state| {
        let announced = state.members().any(|member| member.node == node);
        announced && state.registry().node_note(node) != Some(own)
    });
    if !news || handle.ready().is_err() {
        return;
    }
    let change = Change::Place(PlacementChange::Note { node, note: own.clone() });
    match handle.change(actor(handle), change, DECIDED).await {
        Ok(Ok(_)) => {}
        Ok(Err(refused)) => {
            tracing::warn!(
                refused = hint::told(&refused),
                "the cluster refuses what this node says of its place"
            );
        }
        Err(error) => tracing::debug!(%error, "this node could not say yet where it is"),
    }
}
