//! What is counted, by node and chain: for those who watch validators, and for alerts.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{sync::atomic::AtomicU64, time::Duration};

/// The counts of a front. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    latency: Family<Asked, Histogram, fn() -> Histogram>,
    answers: Family<Answered, Counter>,
    last_signed: Family<OfChain, Gauge>,
    connected: Family<OfNode, Gauge>,
    unconnected: Family<OfNode, Counter<f64, AtomicU64>>,
    connections: Family<OfNode, Counter>,
    dropped: Family<OfNode, Counter>,
    certificate: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNode {
    node: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfChain {
    node: String,
    chain: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    node: String,
    chain: String,
    message: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    node: String,
    chain: String,
    message: Kind,
    /// `granted`, `repeated`, the code of a refusal, or `left`: without an answer.
    outcome: String,
}

/// The kinds of requests that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Kind {
    PubKey,
    Vote,
    Proposal,
    Ping,
}

/// From a quarter of a millisecond, which is a repeat on the same machine, to the longest hold.
const BUCKETS: [f64; 15] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0];

impl Metrics {
    /// Counts, to be shown by this registry.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("signonce_privval");
        let metrics = Self {
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            answers: Family::default(),
            last_signed: Family::default(),
            connected: Family::default(),
            unconnected: Family::default(),
            connections: Family::default(),
            dropped: Family::default(),
            certificate: Gauge::default(),
        };
        let Self { latency, answers, last_signed, connected, unconnected, connections, dropped, certificate } =
            &metrics;
        registry.register_with_unit(
            "answer",
            "Time from a node's request to the answer",
            Unit::Seconds,
            latency.clone(),
        );
        registry.register("answers", "Requests of nodes by how they ended", answers.clone());
        registry.register(
            "last_signed_height",
            "The height of the latest vote or proposal that was signed for the node",
            last_signed.clone(),
        );
        registry.register("connected", "Whether the node is connected", connected.clone());
        registry.register_with_unit(
            "unconnected",
            "Time without a connection to the node",
            Unit::Seconds,
            unconnected.clone(),
        );
        registry.register("connections", "Connections made to the node", connections.clone());
        registry.register(
            "dropped",
            "Connections closed by the front because no signer could answer, or the node sent nonsense",
            dropped.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the client certificate that the front shows to the signers ends",
            certificate.clone(),
        );
        metrics
    }

    /// When the client's certificate ends, in Unix seconds.
    pub fn certificate_ends(&self, at: i64) {
        self.certificate.set(at);
    }

    pub(crate) fn of(&self, node: String) -> NodeMetrics {
        let of_node = OfNode { node };
        self.connected.get_or_create(&of_node).set(0);
        // Shown from the start: Prometheus sees no increase when a series first appears.
        drop(self.unconnected.get_or_create(&of_node));
        drop(self.connections.get_or_create(&of_node));
        drop(self.dropped.get_or_create(&of_node));
        NodeMetrics { all: self.clone(), of_node }
    }
}

/// The counts of one node.
#[derive(Clone)]
pub(crate) struct NodeMetrics {
    all: Metrics,
    of_node: OfNode,
}

impl NodeMetrics {
    pub fn connected(&self, after: Duration) {
        self.all.unconnected.get_or_create(&self.of_node).inc_by(after.as_secs_f64());
        self.all.connected.get_or_create(&self.of_node).set(1);
        self.all.connections.get_or_create(&self.of_node).inc();
    }

    /// Counts time without a connection as it passes, so that a node that never comes shows too.
    pub fn still_away(&self, time: Duration) {
        self.all.unconnected.get_or_create(&self.of_node).inc_by(time.as_secs_f64());
    }

    pub fn disconnected(&self) {
        self.all.connected.get_or_create(&self.of_node).set(0);
    }

    pub fn dropped(&self) {
        self.all.dropped.get_or_create(&self.of_node).inc();
    }

    pub fn answered(&self, chain: &str, message: Kind, outcome: &str, took: Duration) {
        let (node, chain) = (self.of_node.node.clone(), chain.to_owned());
        let asked = Asked { node: node.clone(), chain: chain.clone(), message };
        self.all.latency.get_or_create(&asked).observe(took.as_secs_f64());
        let answered = Answered { node, chain, message, outcome: outcome.to_owned() };
        self.all.answers.get_or_create(&answered).inc();
    }

    pub fn signed(&self, chain: &str, height: u64) {
        let of_chain = OfChain { node: self.of_node.node.clone(), chain: chain.to_owned() };
        let gauge = self.all.last_signed.get_or_create(&of_chain);
        let height = height.try_into().unwrap_or(i64::MAX);
        // A node that catches up asks for old heights, and gets repeats of them.
        if height > gauge.get() {
            gauge.set(height);
        }
    }
}
