//! What the driver publishes: status, metrics, unfinished work. Nothing is decided here.

use crate::metrics::{ClusterMetrics, HeardPeer, Stage};
use crate::unfinished::{Awaited, ToApply, quorum_heard};
use signonce_core::replica::{NotMember, ReplicaStatus};
use signonce_driver::{Driver, Moment, Observed, PeerHeard, SILENT_TICKS};
use signonce_protocol::{LogIndex, NodeId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What readers see of a driver.
pub(crate) struct Published {
    pub status: watch::Sender<ReplicaStatus>,
    pub applied: watch::Sender<LogIndex>,
}

/// Observes the driver and publishes what readers see.
pub(super) struct Seen {
    published: Published,
    metrics: Arc<ClusterMetrics>,
    /// The instant from which the driver's times count.
    origin: Instant,
    /// A peer that has not been heard for this long counts as silent.
    silent_after: Duration,
    /// Since when committed entries wait to be applied.
    to_apply: ToApply,
    /// The leader, and since when it has been known; or since when there has been none.
    led_by: (Option<NodeId>, Instant),
}

impl Seen {
    pub(super) fn new(
        published: Published,
        metrics: Arc<ClusterMetrics>,
        origin: Instant,
        tick: Duration,
    ) -> Self {
        let (to_apply, led_by) = (ToApply::default(), (None, origin));
        Self { published, metrics, origin, silent_after: tick * SILENT_TICKS, to_apply, led_by }
    }

    /// Records what the driver has observed in the part of the turn that began then.
    pub(super) fn note(&mut self, observed: Observed, driver: &Driver, began: Instant) {
        let stages = &self.metrics.stages;
        match observed {
            Observed::Queued(took) => stages.of(Stage::Queue).observe(took),
            Observed::Proposed(ids) => {
                self.metrics.batch_size.observe(ids.len() as f64);
                tracing::trace!(?ids, "proposed");
            }
            Observed::Replicated(took) => stages.of(Stage::Replicate).observe(took),
            Observed::Applied => stages.of(Stage::Apply).observe(began.elapsed()),
            Observed::Measured(all) => self.metrics.measured(all),
            Observed::Ticked => self.tick(driver),
        }
    }

    /// Records what is checked only once a tick.
    fn tick(&mut self, driver: &Driver) {
        self.metrics.ticked();
        let (status, now) = (driver.replica().status(), Instant::now());
        let heard: Vec<PeerHeard> = driver.peers().collect();
        let of_metrics = heard.iter().map(|peer| HeardPeer {
            node: peer.node,
            lately: self.heard_lately(peer, now),
            round_trip: peer.round_trip,
        });
        self.metrics.observe_peers(&status, &of_metrics.collect::<Vec<_>>());
        self.watch_quorum(&status, &heard, now);
        self.metrics.observe_state(&driver.replica().state().read().expect("apply does not panic"));
    }

    fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment
    }

    fn heard_lately(&self, peer: &PeerHeard, now: Instant) -> bool {
        peer.heard.is_some_and(|at| now.saturating_duration_since(self.instant(at)) <= self.silent_after)
    }

    /// Records since when the nodes that this one needs for progress have not been heard.
    fn watch_quorum(&mut self, status: &ReplicaStatus, heard: &[PeerHeard], now: Instant) {
        if status.leader != self.led_by.0 {
            self.led_by = (status.leader, now);
        }
        let peer = |node: NodeId| heard.iter().find(|peer| peer.node == node);
        let last_heard = |node| peer(node)?.heard.map(|at| self.instant(at));
        // A node that is not a member yet reports anyway which nodes it waits for.
        let quorum = status.not_member.is_none().then(|| quorum_heard(status, last_heard, self.led_by.1));
        let unfinished = &self.metrics.unfinished;
        unfinished.set(Awaited::Quorum, quorum);
        let silent = |voter: &NodeId| !peer(*voter).is_some_and(|peer| self.heard_lately(peer, now));
        let others = status.voters.iter().copied().filter(|voter| *voter != status.node);
        unfinished.silent(others.filter(silent).collect());
    }

    /// Publishes the driver's progress after a turn.
    pub(super) fn publish(&mut self, driver: &Driver) {
        let (status, now) = (driver.replica().status(), Instant::now());
        let applied = status.applied;
        let unfinished = &self.metrics.unfinished;
        let to_apply = self.to_apply.look(&status, now);
        unfinished.set(Awaited::Apply, to_apply.filter(|_| status.not_member.is_none()));
        let proposed = driver.oldest_proposal(status.committed);
        unfinished.set(Awaited::Commit, proposed.map(|at| self.instant(at)));
        if status.leader != self.led_by.0 {
            self.watch_quorum(&status, &driver.peers().collect::<Vec<_>>(), now);
        }
        self.metrics.observe(&status, driver.waiting());
        let not_member = status.not_member.clone();
        let mut said = None;
        let metrics = &self.metrics;
        self.published.status.send_if_modified(|old| {
            if old.not_member != not_member {
                said = Some(not_member);
            }
            if status.leader.is_some() && (old.leader, old.term) != (status.leader, status.term) {
                metrics.leader_changed();
            }
            let moved = (old.role, old.leader, old.term) != (status.role, status.leader, status.term);
            let changed = moved || said.is_some();
            *old = status;
            changed
        });
        if let Some(said) = said {
            say(&said);
        }
        self.published.applied.send_if_modified(|old| std::mem::replace(old, applied) != applied);
    }
}

fn say(not_member: &Option<NotMember>) {
    match not_member {
        None => tracing::info!("passed the fence: this node is a member"),
        Some(NotMember::Forming(from)) => {
            tracing::info!(?from, "waiting for all initial members to be present")
        }
        Some(NotMember::Fenced { missing, from }) => {
            tracing::info!(missing, ?from, "waiting for peers to say what they remember of this node");
        }
        Some(NotMember::Quarantined(why)) => tracing::error!(reason = %why, "this node is in quarantine"),
    }
}
