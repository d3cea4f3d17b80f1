//! The metrics of the cluster layer. The server registers these with its own registry.

mod latency;
mod moments;
mod stage;

pub use latency::{Latency, LatencyCounts, bound};
pub use moments::{Moment, Moments};
pub use stage::{Stage, Stages};

use crate::places::PlaceCounts;
use crate::unfinished::Unfinished;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use signonce_core::replica::{NotMember, ReplicaStatus, Role};
use signonce_core::{State, Table, TableSize};
use signonce_driver::measure::Measured;
use signonce_protocol::NodeId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The states of a node towards its cluster, as `signonce_fence` shows them.
const FENCE_STATES: [&str; 4] = ["forming", "fenced", "member", "quarantined"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FenceLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: &'static str,
}

/// The tables of the state as `signonce_state_bytes` calls them.
const STATE_TABLES: [(&str, Table); 2] = [("registry", Table::Registry), ("watermarks", Table::Ledger)];

type Seconds = Gauge<f64, AtomicU64>;

/// Counters, gauges and histograms of one node. Durations are in seconds.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    /// Ticks of the driver since it started: while they continue, the event loop is alive.
    ticks: Arc<AtomicU64>,
    /// How long each stage of a request takes; the server adds its own stages.
    pub stages: Stages,
    /// What is under way, and since when.
    pub unfinished: Arc<Unfinished>,
    /// Requests per log entry.
    pub batch_size: Histogram,
    /// Connections on the peer port. The server shows them with those of its own ports.
    pub peer_places: PlaceCounts,
    term: Gauge,
    applied: Gauge,
    committed: Gauge,
    leads: Gauge,
    has_leader: Gauge,
    leader_changes: Counter,
    member: Gauge,
    fence: Family<FenceLabel, Gauge>,
    waiting: Gauge,
    log_bytes: Gauge,
    state_rows: Family<TableLabel, Gauge>,
    state_bytes: Family<TableLabel, Gauge>,
    voters: Gauge,
    voters_heard: Gauge,
    slowest_follower_lag: Gauge,
    lag: Family<PeerLabel, Gauge>,
    round_trip: Family<PeerLabel, Seconds>,
    measured: Arc<Mutex<BTreeMap<NodeId, Measured>>>,
}

/// What the leader knows of a peer from its answers.
pub(crate) struct HeardPeer {
    pub node: NodeId,
    pub lately: bool,
    pub round_trip: Option<Duration>,
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self {
            ticks: Arc::default(),
            stages: Stages::default(),
            unfinished: Arc::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            peer_places: PlaceCounts::default(),
            term: Gauge::default(),
            applied: Gauge::default(),
            committed: Gauge::default(),
            leads: Gauge::default(),
            has_leader: Gauge::default(),
            leader_changes: Counter::default(),
            member: Gauge::default(),
            fence: Family::default(),
            waiting: Gauge::default(),
            log_bytes: Gauge::default(),
            state_rows: Family::default(),
            state_bytes: Family::default(),
            voters: Gauge::default(),
            voters_heard: Gauge::default(),
            slowest_follower_lag: Gauge::default(),
            lag: Family::default(),
            round_trip: Family::default(),
            measured: Arc::default(),
        }
    }
}

impl ClusterMetrics {
    /// Registers everything under its names.
    pub fn register(&self, registry: &mut Registry) {
        let seconds = || Unit::Seconds;
        let stage = |stage| self.stages.of(stage).clone();
        let help = "How long each stage of a request takes; stages overlap";
        registry.register_with_unit("stage", help, seconds(), self.stages.clone());
        registry.register_with_unit("fsync", "Fsyncs of the store", seconds(), stage(Stage::Sync));
        registry.register_with_unit("commit", "Submission to verdict", seconds(), stage(Stage::Commit));
        registry.register("log_entry_requests", "Requests per log entry", self.batch_size.clone());
        registry.register("raft_term", "Present term", self.term.clone());
        registry.register("raft_applied_index", "Last applied log index", self.applied.clone());
        registry.register("raft_committed_index", "Last committed log index known", self.committed.clone());
        registry.register("raft_leads", "1 on the leader", self.leads.clone());
        registry.register("raft_has_leader", "1 while a leader is known", self.has_leader.clone());
        let help = "Times this node saw a new leader";
        registry.register("raft_leader_changes", help, self.leader_changes.clone());
        registry.register("member", "1 once the fence has passed", self.member.clone());
        let help = "1 for the state this node is in: forming, fenced, member or quarantined";
        registry.register("fence", help, self.fence.clone());
        registry.register("requests_waiting", "Requests that wait for the log", self.waiting.clone());
        registry.register("raft_log_bytes", "Bytes of the log held in memory", self.log_bytes.clone());
        let help = "Records of the replicated state";
        registry.register("state_rows", help, self.state_rows.clone());
        let help = "Bytes of the replicated state, as it is stored, sent to a new member and backed up";
        registry.register("state_bytes", help, self.state_bytes.clone());
        registry.register("raft_voters", "Members with a vote", self.voters.clone());
        let help = "On the leader: voters it has heard from lately, itself among them; 0 elsewhere";
        registry.register("raft_voters_heard", help, self.voters_heard.clone());
        registry.register(
            "raft_slowest_follower_lag",
            "On the leader: entries the slowest follower is behind",
            self.slowest_follower_lag.clone(),
        );
        let help = "On the leader: entries the peer's disk is behind";
        registry.register("raft_peer_lag", help, self.lag.clone());
        let help = "On the leader: from a heartbeat to its answer, the last one measured";
        registry.register_with_unit("raft_peer_round_trip", help, seconds(), self.round_trip.clone());
        registry.register_collector(Box::new(Arc::clone(&self.unfinished)));
    }

    pub(crate) fn observe(&self, status: &ReplicaStatus, waiting: usize) {
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

    /// Records the size of the state, once a tick.
    pub(crate) fn observe_state(&self, state: &State) {
        for (name, table) in STATE_TABLES {
            let (TableSize { rows, bytes }, label) = (state.size(table), TableLabel { table: name });
            set(&self.state_rows.get_or_create(&label), rows);
            set(&self.state_bytes.get_or_create(&label), bytes);
        }
    }

    /// Records what is measured only once a tick.
    pub(crate) fn observe_peers(&self, status: &ReplicaStatus, peers: &[HeardPeer]) {
        set(&self.log_bytes, status.log_bytes);
        set(&self.voters, status.voters.len() as u64);
        let state = match &status.not_member {
            Some(NotMember::Forming(_)) => "forming",
            Some(NotMember::Fenced { .. }) => "fenced",
            Some(NotMember::Quarantined(_)) => "quarantined",
            None => "member",
        };
        for label in FENCE_STATES {
            set(&self.fence.get_or_create(&FenceLabel { state: label }), u64::from(label == state));
        }
        if status.role != Role::Leader {
            set(&self.voters_heard, 0);
            self.lag.clear();
            self.round_trip.clear();
            return;
        }
        let heard = |node: &NodeId| peers.iter().any(|peer| peer.node == *node && peer.lately);
        let voters = status.voters.iter().filter(|voter| **voter == status.node || heard(voter));
        set(&self.voters_heard, voters.count() as u64);
        for follower in &status.followers {
            let lag = self.lag.get_or_create_owned(&PeerLabel { peer: follower.node.0 });
            set(&lag, status.last.0.saturating_sub(follower.matched.0));
        }
        for HeardPeer { node, round_trip, .. } in peers {
            let Some(round_trip) = round_trip else { continue };
            self.round_trip.get_or_create_owned(&PeerLabel { peer: node.0 }).set(round_trip.as_secs_f64());
        }
    }

    /// Ticks of the driver since it started; if they stand still, the node hangs.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    pub(crate) fn ticked(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leader_changed(&self) {
        self.leader_changes.inc();
    }

    pub(crate) fn measured(&self, all: BTreeMap<NodeId, Measured>) {
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// How suitable this node and its peers are as leaders, as far as they have answered recently.
    pub fn places(&self) -> BTreeMap<NodeId, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// On the leader: the time from a heartbeat to its answer, for a peer.
    pub fn round_trip(&self, peer: NodeId) -> Option<Duration> {
        let seconds = self.round_trip.get(&PeerLabel { peer: peer.0 })?.get();
        Some(Duration::from_secs_f64(seconds))
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
