//! What systemd is told: ready once the node serves, stopping when it drains, and that the event loop lives.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing happens. The watchdog looks at the consensus driver's ticks and
//! at nothing else: a node without a quorum, behind the fence or with a full disk is alive, and restarting it would help
//! nobody.

use crate::readiness::Gate;
use sd_notify::NotifyState;
use signonce_cluster::ClusterMetrics;
use std::{env, sync::Arc, time::Duration};

/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Follows the node until the process ends.
pub(super) async fn follow(gate: Arc<Gate>, metrics: Arc<ClusterMetrics>) {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return; // nobody to tell
    }
    let watchdog = sd_notify::watchdog_enabled();
    let mut told = Told::default();
    let mut next_sign = tokio::time::Instant::now();
    loop {
        let readiness = gate.readiness();
        if readiness.ready && !told.ready {
            told.ready = true;
            say(&[NotifyState::Ready]);
        }
        let status = if readiness.ready { "serving".to_owned() } else { readiness.reasons.join("; ") };
        if status != told.status {
            say(&[NotifyState::Status(&status)]);
            told.status = status;
        }
        let ticks = metrics.ticks();
        if let Some(limit) =
            watchdog.filter(|_| ticks != told.ticks && tokio::time::Instant::now() >= next_sign)
        {
            say(&[NotifyState::Watchdog]);
            // Three signs within the limit, so that one that comes late does no harm.
            next_sign = tokio::time::Instant::now() + limit / 3;
        }
        told.ticks = ticks;
        tokio::time::sleep(LOOK.min(watchdog.map_or(LOOK, |limit| limit / 4))).await;
    }
}

/// The node drains.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("handing over and answering what is under way")]);
}

#[derive(Default)]
struct Told {
    ready: bool,
    status: String,
    ticks: u64,
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the supervisor was not told");
    }
}
