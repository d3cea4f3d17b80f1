//! What the cluster layer measures. The server registers these with its own registry.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use signonce_core::replica::{ReplicaStatus, Role};

/// Gauges and histograms of one node. Durations are in seconds.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    /// Durations of fsyncs of the store.
    pub sync_seconds: Histogram,
    /// Durations from a request's submission to its answer from the log.
    pub commit_seconds: Histogram,
    /// Requests per log entry.
    pub batch_size: Histogram,
    term: Gauge,
    applied: Gauge,
    committed: Gauge,
    leads: Gauge,
    has_leader: Gauge,
    member: Gauge,
    waiting: Gauge,
    slowest_follower_lag: Gauge,
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self {
            sync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            term: Gauge::default(),
            applied: Gauge::default(),
            committed: Gauge::default(),
            leads: Gauge::default(),
            has_leader: Gauge::default(),
            member: Gauge::default(),
            waiting: Gauge::default(),
            slowest_follower_lag: Gauge::default(),
        }
    }
}

impl ClusterMetrics {
    /// Registers everything under its names.
    pub fn register(&self, registry: &mut Registry) {
        let seconds = Unit::Seconds;
        registry.register_with_unit("fsync", "Fsyncs of the store", seconds, self.sync_seconds.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit("commit", "Submission to verdict", seconds, self.commit_seconds.clone());
        registry.register("log_entry_requests", "Requests per log entry", self.batch_size.clone());
        registry.register("raft_term", "Present term", self.term.clone());
        registry.register("raft_applied_index", "Last applied log index", self.applied.clone());
        registry.register("raft_committed_index", "Last committed log index known", self.committed.clone());
        registry.register("raft_leads", "1 on the leader", self.leads.clone());
        registry.register("raft_has_leader", "1 while a leader is known", self.has_leader.clone());
        registry.register("member", "1 once the fence has passed", self.member.clone());
        registry.register("requests_waiting", "Requests that wait for the log", self.waiting.clone());
        registry.register(
            "raft_slowest_follower_lag",
            "On the leader: entries the slowest follower is behind",
            self.slowest_follower_lag.clone(),
        );
    }

    pub(crate) fn observe(&self, status: &ReplicaStatus, waiting: usize) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.term, status.term.0);
        set(&self.applied, status.applied.0);
        set(&self.committed, status.committed.0);
        set(&self.leads, u64::from(status.role == Role::Leader));
        set(&self.has_leader, u64::from(status.leader.is_some()));
        set(&self.member, u64::from(status.not_member.is_none()));
        set(&self.waiting, waiting as u64);
        let slowest = status.followers.iter().map(|f| f.matched.0).min().unwrap_or(status.last.0);
        set(&self.slowest_follower_lag, status.last.0.saturating_sub(slowest));
    }
}
