//! What to do with this node, once it takes no part any more. The consensus thread logs why; commands are this program's.

use signonce_cluster::Handle;
use signonce_core::replica::{NotMember, fence::Quarantine};
use signonce_shared::hint;

/// Of which quarantine it was said. A node hardly has two reasons, but it may learn of a better one.
#[derive(Default)]
pub(super) struct Told(Option<Quarantine>);

impl Told {
    /// Says it once for each reason.
    pub(super) fn say(&mut self, handle: &Handle) {
        let Some(NotMember::Quarantined(reason)) = handle.status().not_member else { return };
        if self.0.as_ref() == Some(&reason) {
            return;
        }
        if let Some(next) = hint::of_quarantine(&reason) {
            tracing::error!("this node takes no part any more: {next}");
        }
        self.0 = Some(reason);
    }
}
