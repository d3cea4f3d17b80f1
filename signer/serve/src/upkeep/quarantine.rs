//! Tells the operator what to do with this node once it no longer takes part. The consensus thread logs why; commands
//! belong to this program.

use signonce_cluster::Handle;
use signonce_core::replica::{NotMember, fence::Quarantine};
use signonce_shared::hint;

/// The quarantine that was reported last. A node seldom has two reasons, but it may learn a better one.
#[derive(Default)]
pub(super) struct ReportedQuarantine(Option<Quarantine>);

impl ReportedQuarantine {
    /// Reports each reason once.
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
