//! What the server measures, in Prometheus' text form. Labels come from closed sets: no client can make new series.

use crate::readiness::Gate;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use signonce_cluster::ClusterMetrics;
use signonce_protocol::{
    DutyClass,
    rpc::{ErrorCode, SignVerdict},
};
use std::time::Duration;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a signature.
    Signed(SignVerdict),
    /// Without.
    Refused(ErrorCode),
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Signed(SignVerdict::Granted) => "granted",
            Self::Signed(SignVerdict::Repeated) => "repeated",
            Self::Signed(SignVerdict::Free) => "free",
            Self::Refused(code) => code.name(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    class: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Everything a scrape shows.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<ClassLabel, Histogram>,
    keys_asked: Family<OutcomeLabel, Counter>,
    key_seconds: Histogram,
    ready: Gauge,
    keys_unlocked: Gauge,
    keys_locked: Gauge,
}

impl Metrics {
    /// With the cluster's metrics beside the server's.
    pub fn new(cluster: &ClusterMetrics) -> Self {
        let mut registry = Registry::with_prefix("signonce");
        cluster.register(&mut registry);
        let requests = Family::default();
        // 50 µs to 13 s.
        let histogram = || Histogram::new(exponential_buckets(0.000_05, 2.0, 19));
        let seconds = Family::<ClassLabel, Histogram>::new_with_constructor(histogram);
        let [ready, keys_unlocked, keys_locked] = [(); 3].map(|()| Gauge::default());
        registry.register("requests", "Sign and VRF requests by outcome", requests.clone());
        let help = "Sign and VRF requests, from read to answered";
        registry.register_with_unit("request", help, Unit::Seconds, seconds.clone());
        let keys_asked = Family::default();
        let key_seconds = histogram();
        registry.register("generate_key_requests", "Requests for a new key by outcome", keys_asked.clone());
        let help = "Requests for a new key, from read to answered";
        registry.register_with_unit("generate_key", help, Unit::Seconds, key_seconds.clone());
        registry.register("ready", "1 while this node serves new duties", ready.clone());
        registry.register("keys_unlocked", "Keys open on this node", keys_unlocked.clone());
        registry.register(
            "keys_locked",
            "Keys whose envelope does not open on this node",
            keys_locked.clone(),
        );
        Self { registry, requests, seconds, keys_asked, key_seconds, ready, keys_unlocked, keys_locked }
    }

    /// Counts one request. `class` is unknown where the payload could not be read.
    pub fn served(&self, method: &'static str, class: Option<DutyClass>, outcome: Outcome, took: Duration) {
        let class = class.map_or("unknown", DutyClass::name);
        self.requests.get_or_create(&RequestLabels { method, class, outcome: outcome.label() }).inc();
        self.seconds.get_or_create(&ClassLabel { class }).observe(took.as_secs_f64());
    }

    /// Counts one request for a new key.
    pub fn key_asked(&self, result: Result<(), ErrorCode>, took: Duration) {
        let outcome = result.err().map_or("made", ErrorCode::name);
        self.keys_asked.get_or_create(&OutcomeLabel { outcome }).inc();
        self.key_seconds.observe(took.as_secs_f64());
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
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_class_and_outcome() {
        let metrics = Metrics::new(&ClusterMetrics::default());
        let took = Duration::from_millis(1);
        metrics.served("sign", Some(DutyClass::BabeBlock), Outcome::Signed(SignVerdict::Granted), took);
        metrics.served("sign", Some(DutyClass::BabeBlock), Outcome::Refused(ErrorCode::Equivocation), took);
        metrics.served("sign", None, Outcome::Refused(ErrorCode::MalformedPayload), took);
        metrics.key_asked(Ok(()), took);
        metrics.key_asked(Err(ErrorCode::Forbidden), took);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        for line in [
            r#"signonce_requests_total{method="sign",class="babeBlock",outcome="granted"} 1"#,
            r#"signonce_requests_total{method="sign",class="babeBlock",outcome="equivocation"} 1"#,
            r#"signonce_requests_total{method="sign",class="unknown",outcome="malformedPayload"} 1"#,
            r#"signonce_request_seconds_count{class="babeBlock"} 2"#,
            r#"signonce_generate_key_requests_total{outcome="made"} 1"#,
            r#"signonce_generate_key_requests_total{outcome="forbidden"} 1"#,
            "signonce_generate_key_seconds_count 2",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
