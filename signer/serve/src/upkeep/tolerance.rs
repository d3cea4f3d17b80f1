//! How far from its clock this node accepts slots: the log must know before it accepts more than all others.

use super::{DECIDED, actor};
use signonce_cluster::Handle;
use signonce_core::Change;

/// Tells the log, if this node is configured to accept more than the log knows of.
pub(super) async fn say(handle: &Handle, slots: u64) {
    let known = handle.read(|state| slots <= state.registry().slot_tolerance());
    if known || handle.ready().is_err() {
        return;
    }
    match handle.change(actor(handle), Change::WidenTolerance { slots }, DECIDED).await {
        Ok(Ok(done)) => {
            tracing::info!(slots, at = %done.at, "slots are taken so far from the clock from now on")
        }
        Ok(Err(refused)) => tracing::info!(%refused, "the tolerance for slots stays as it is"),
        Err(error) => tracing::debug!(%error, "the tolerance for slots could not be told yet"),
    }
}
