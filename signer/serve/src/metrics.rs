//! The metrics of the server, in Prometheus' text form. Labels come from closed sets or from the operators' registry:
//! no client can create new series. Every metric is explained in `docs/reference/metrics.md`.

pub mod clients;
pub mod keys;
pub mod machine;
pub mod requests;

pub use requests::{Method, Outcome};

use crate::{readiness::Gate, telemetry};
use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use requests::{Durations, Requests};
use signonce_cluster::{ClusterMetrics, Latency, Stage, Stages};
use signonce_listen::connections::{Connections, PortMetrics};
use signonce_protocol::{DutyClass, NodeId, rpc::ErrorCode};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: u64,
}

/// Everything a scrape shows.
pub struct Metrics {
    registry: Registry,
    stages: Stages,
    requests: Requests,
    durations: Durations,
    keys_asked: Family<OutcomeLabel, Counter>,
    key_durations: Latency,
    /// Members with a series in the metrics below.
    peers: Mutex<BTreeSet<u64>>,
    peer_reachable: Family<PeerLabel, Gauge>,
    peer_clock_offset: Family<PeerLabel, Gauge<f64, AtomicU64>>,
    connections: Arc<Connections>,
    ready: Gauge,
    keys_unlocked: Gauge,
    keys_locked: Gauge,
    keys_halted: Gauge,
    /// Keys this node has had halted, because a client showed a signature that the cluster had forgotten.
    pub rollbacks_seen: Counter,
}

impl Metrics {
    /// The server's metrics, with those of the cluster and what `collectors` find at each scrape.
    pub fn new(cluster: &ClusterMetrics, collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::with_prefix("signonce");
        cluster.register(&mut registry);
        let stages = cluster.stages.clone();
        let requests = Requests::default();
        let durations = Durations::default();
        let [ready, keys_unlocked, keys_locked, keys_halted] = [(); 4].map(|()| Gauge::default());
        registry.register("requests", "Sign and VRF requests by outcome", requests.clone());
        let help = "Sign and VRF requests, from read to answered";
        registry.register_with_unit("request", help, Unit::Seconds, durations.clone());
        let keys_asked = Family::default();
        let key_durations = Latency::default();
        registry.register("generate_key_requests", "Requests for a new key by outcome", keys_asked.clone());
        let help = "Requests for a new key, from read to answered";
        registry.register_with_unit("generate_key", help, Unit::Seconds, key_durations.clone());
        let (peer_reachable, peer_clock_offset) = (Family::default(), Family::default());
        let help = "1 while the member answers on its client port";
        registry.register("peer_reachable", help, peer_reachable.clone());
        let help = "The member's clock minus this node's, asked for every 10 s";
        registry.register_with_unit("peer_clock_offset", help, Unit::Seconds, peer_clock_offset.clone());
        let connections = Arc::new(Connections::default());
        connections.show("peer", cluster.peer_places.clone());
        registry.register_collector(Box::new(Arc::clone(&connections)));
        registry.register("ready", "1 while this node serves new duties", ready.clone());
        registry.register("keys_unlocked", "Keys open on this node", keys_unlocked.clone());
        registry.register(
            "keys_locked",
            "Keys whose envelope does not open on this node",
            keys_locked.clone(),
        );
        registry.register(
            "keys_halted",
            "Keys that are halted because the cluster has forgotten what they signed",
            keys_halted.clone(),
        );
        let rollbacks_seen = Counter::default();
        registry.register(
            "rollbacks_seen",
            "Keys this node has had halted: a client showed a signature that the cluster had forgotten",
            rollbacks_seen.clone(),
        );
        collectors.into_iter().for_each(|collector| registry.register_collector(collector));
        Self {
            registry,
            stages,
            requests,
            durations,
            keys_asked,
            key_durations,
            peers: Mutex::default(),
            peer_reachable,
            peer_clock_offset,
            connections,
            ready,
            keys_unlocked,
            keys_locked,
            keys_halted,
            rollbacks_seen,
        }
    }

    /// Counts one request. `class` is unknown where the payload could not be read.
    pub fn served(&self, method: Method, class: Option<DutyClass>, outcome: Outcome, took: Duration) {
        self.requests.count(method, class, outcome);
        self.durations.observe(class, took);
    }

    /// Counts one request for a new key.
    pub fn key_asked(&self, result: Result<(), ErrorCode>, took: Duration) {
        let outcome = result.err().map_or("made", ErrorCode::name);
        self.keys_asked.get_or_create(&OutcomeLabel { outcome }).inc();
        self.key_durations.observe(took);
    }

    /// The histogram of one stage.
    pub fn stage(&self, stage: Stage) -> &Latency {
        self.stages.of(stage)
    }

    /// Does `work` and counts how long it took.
    pub fn timed<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.stage(stage).observe(started.elapsed());
        telemetry::note(stage, started);
        done
    }

    /// The requests so far.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// How far another member's clock is from this one; `None` if it does not answer.
    pub fn clock_of(&self, peer: NodeId, offset_ms: Option<i64>) {
        let label = PeerLabel { peer: peer.0 };
        self.peer_reachable.get_or_create(&label).set(i64::from(offset_ms.is_some()));
        match offset_ms {
            Some(ms) => {
                self.peer_clock_offset.get_or_create(&label).set(ms as f64 / 1_000.0);
            }
            None => {
                self.peer_clock_offset.remove(&label);
            }
        }
    }

    /// Removes the series of members that are gone.
    pub fn forget_peers_but(&self, present: impl Iterator<Item = NodeId>) {
        let present: BTreeSet<u64> = present.map(|node| node.0).collect();
        let mut known = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.difference(&present) {
            let label = PeerLabel { peer: *gone };
            self.peer_reachable.remove(&label);
            self.peer_clock_offset.remove(&label);
        }
        *known = present;
    }

    /// The counters of the port with this name.
    pub fn port(&self, port: &'static str) -> PortMetrics {
        self.connections.port(port)
    }

    /// The text for a scrape.
    ///
    /// # Errors
    /// If a metric cannot be written, which only a bug in one causes.
    pub fn scrape(&self, gate: &Gate) -> Result<String, std::fmt::Error> {
        let (unlocked, locked) = gate.key_counts();
        let set = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.ready, usize::from(gate.readiness().ready));
        set(&self.keys_unlocked, unlocked);
        set(&self.keys_locked, locked);
        set(&self.keys_halted, gate.keys_halted());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::rpc::SignVerdict;
    use signonce_substrate::BABE_BLOCK;

    #[test]
    fn requests_are_counted_by_class_and_outcome_and_awaited_series_start_at_zero() {
        let metrics = Metrics::new(&ClusterMetrics::default(), vec![]);
        let took = Duration::from_millis(1);
        let granted = Outcome::Signed(SignVerdict::Granted);
        metrics.served(Method::Sign, Some(BABE_BLOCK), granted, took);
        metrics.served(Method::Sign, Some(BABE_BLOCK), Outcome::Refused(ErrorCode::Equivocation), took);
        metrics.served(Method::Sign, None, Outcome::Refused(ErrorCode::MalformedPayload), took);
        metrics.key_asked(Ok(()), took);
        metrics.key_asked(Err(ErrorCode::Forbidden), took);
        metrics.stage(Stage::Sign).observe(Duration::from_micros(100));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        for line in [
            r#"signonce_requests_total{method="sign",class="babeBlock",outcome="granted"} 1"#,
            r#"signonce_requests_total{method="sign",class="babeBlock",outcome="equivocation"} 1"#,
            r#"signonce_requests_total{method="sign",class="grandpaVote",outcome="equivocation"} 0"#,
            r#"signonce_requests_total{method="sign",class="unknown",outcome="malformedPayload"} 1"#,
            r#"signonce_request_seconds_count{class="babeBlock"} 2"#,
            r#"signonce_request_seconds_bucket{le="+Inf",class="babeBlock"} 2"#,
            r#"signonce_stage_seconds_bucket{le="0.000128",stage="sign"} 1"#,
            r#"signonce_stage_seconds_bucket{le="0.000064",stage="sign"} 0"#,
            r#"signonce_generate_key_requests_total{outcome="made"} 1"#,
            r#"signonce_generate_key_requests_total{outcome="forbidden"} 1"#,
            "signonce_generate_key_seconds_count 2",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
