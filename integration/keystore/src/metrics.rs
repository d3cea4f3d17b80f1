//! Metrics in the node's Prometheus registry, prefix `signonce_`. They count with or without a registry.

use crate::LOG;
use signonce_protocol::{PublicKey, client::CertificateStatus};
use substrate_prometheus_endpoint::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, PrometheusError,
    Registry, U64, prometheus::core::Collector,
};

/// How one request of the node ended. The label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered with a signature that verifies.
    Ok,
    /// Answered without asking the signers: the same VRF was asked for a moment ago.
    Cached,
    /// Permanently refused by the signers.
    Refused,
    /// Permanently refused before, so not asked again.
    RefusedBefore,
    /// Not granted now.
    NotYet,
    /// No answer within the deadline.
    NoAnswer,
    /// Not asked, or not in the foreground: no signer serves, or nobody answered the same question just before.
    Unreachable,
    /// Not asked: the preimage of the hash is not known.
    NoPreimage,
    /// Not asked: the client has no right to it.
    NoRight,
    /// Answered with a signature that does not verify.
    BadSignature,
    /// Given up because the node stops.
    Stopped,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cached => "cached",
            Self::Refused => "refused",
            Self::RefusedBefore => "refused_before",
            Self::NotYet => "not_yet",
            Self::NoAnswer => "no_answer",
            Self::Unreachable => "unreachable",
            Self::NoPreimage => "no_preimage",
            Self::NoRight => "no_right",
            Self::BadSignature => "bad_signature",
            Self::Stopped => "stopped",
        }
    }
}

/// All metrics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: CounterVec<U64>,
    calls: CounterVec<U64>,
    seconds: HistogramVec,
    refusals: CounterVec<U64>,
    failovers: Counter<U64>,
    connected: Gauge<U64>,
    signers: Gauge<U64>,
    keys: GaugeVec<U64>,
    gate_open: GaugeVec<U64>,
    certificate_ends: GaugeVec<U64>,
    certificate_not_used: Gauge<U64>,
}

impl Metrics {
    /// Creates and registers them. If a registry refuses one, a line is logged and the node continues.
    pub(crate) fn new(registry: Option<&Registry>) -> Result<Self, PrometheusError> {
        let metrics = Self {
            requests: counter_vec(
                "signonce_requests_total",
                "Signatures and VRF outputs asked for by the node",
                &["intent", "outcome"],
            )?,
            calls: counter_vec("signonce_remote_calls_total", "Calls to the signers", &["intent"])?,
            seconds: HistogramVec::new(
                HistogramOpts::new("signonce_request_seconds", "Time until the signers had answered")
                    .buckets(vec![
                        0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5,
                        1.0, 2.0, 5.0, 30.0,
                    ]),
                &["intent"],
            )?,
            refusals: counter_vec("signonce_refusals_total", "Refusals by the signers", &["reason"])?,
            failovers: Counter::new("signonce_failovers_total", "Times another signer was turned to")?,
            connected: Gauge::new("signonce_connected", "1 while the signer cluster serves this node")?,
            signers: Gauge::new("signonce_signers_reachable", "Signers with a connection")?,
            keys: gauge_vec("signonce_keys", "Keys this node may use, by key type", "type")?,
            gate_open: gauge_vec(
                "signonce_grandpa_gate_open",
                "1 while the node may vote in GRANDPA with the key",
                "key",
            )?,
            certificate_ends: gauge_vec(
                "signonce_certificate_not_after_timestamp_seconds",
                "Until when the certificates by which node and signers know each other are valid, in Unix seconds",
                "certificate",
            )?,
            certificate_not_used: Gauge::new(
                "signonce_certificate_reload_failed",
                "1 while the certificate files hold what is not in use, and the node goes on with an older one",
            )?,
        };
        if let Some(registry) = registry {
            metrics.register(registry);
        }
        Ok(metrics)
    }

    fn register(&self, registry: &Registry) {
        let all: [Box<dyn Collector>; 11] = [
            Box::new(self.requests.clone()),
            Box::new(self.calls.clone()),
            Box::new(self.seconds.clone()),
            Box::new(self.refusals.clone()),
            Box::new(self.failovers.clone()),
            Box::new(self.connected.clone()),
            Box::new(self.signers.clone()),
            Box::new(self.keys.clone()),
            Box::new(self.gate_open.clone()),
            Box::new(self.certificate_ends.clone()),
            Box::new(self.certificate_not_used.clone()),
        ];
        for metric in all {
            let name = metric.desc().first().map(|desc| desc.fq_name.clone()).unwrap_or_default();
            if let Err(error) = registry.register(metric) {
                log::warn!(target: LOG, "metric {name} cannot be registered and will be missing: {error}");
            }
        }
    }

    pub(crate) fn request(&self, intent: &str, outcome: Outcome) {
        self.requests.with_label_values(&[intent, outcome.label()]).inc();
    }

    pub(crate) fn call(&self, intent: &str) {
        self.calls.with_label_values(&[intent]).inc();
    }

    pub(crate) fn seconds(&self, intent: &str) -> Histogram {
        self.seconds.with_label_values(&[intent])
    }

    pub(crate) fn refusal(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    pub(crate) fn failover(&self) {
        self.failovers.inc();
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    pub(crate) fn signers_reachable(&self, count: usize) {
        self.signers.set(count as u64);
    }

    pub(crate) fn keys(&self, key_type: &str, count: usize) {
        self.keys.with_label_values(&[key_type]).set(count as u64);
    }

    /// Whether the GRANDPA gate of `key` is open.
    pub(crate) fn gate(&self, key: &PublicKey, open: bool) {
        self.gate_open.with_label_values(&[&key.to_string()]).set(open.into());
    }

    /// The key is not this node's any more.
    pub(crate) fn gate_gone(&self, key: &PublicKey) {
        // An error says that there is no such series.
        let _ = self.gate_open.remove_label_values(&[&key.to_string()]);
    }

    pub(crate) fn certificates(&self, status: &CertificateStatus) {
        let CertificateStatus { client_ends, authority_ends, not_used } = status;
        for (certificate, ends) in [("client", client_ends), ("client-authority", authority_ends)] {
            if let Some(ends) = ends.and_then(|ends| u64::try_from(ends).ok()) {
                self.certificate_ends.with_label_values(&[certificate]).set(ends);
            }
        }
        self.certificate_not_used.set(not_used.is_some().into());
    }

    #[cfg(test)]
    pub(crate) fn requests_with(&self, intent: &str, outcome: Outcome) -> u64 {
        self.requests.with_label_values(&[intent, outcome.label()]).get()
    }

    #[cfg(test)]
    pub(crate) fn calls_with(&self, intent: &str) -> u64 {
        self.calls.with_label_values(&[intent]).get()
    }
}

fn counter_vec(name: &str, help: &str, labels: &[&str]) -> Result<CounterVec<U64>, PrometheusError> {
    CounterVec::new(Opts::new(name, help), labels)
}

fn gauge_vec(name: &str, help: &str, label: &str) -> Result<GaugeVec<U64>, PrometheusError> {
    GaugeVec::new(Opts::new(name, help), &[label])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_in_the_nodes_registry_under_our_prefix() {
        let registry = Registry::new();
        let metrics = Metrics::new(Some(&registry)).unwrap();
        metrics.request("babeVrf", Outcome::Ok);
        metrics.call("babeVrf");
        metrics.seconds("babeVrf").observe(0.01);
        metrics.refusal("equivocation");
        metrics.failover();
        metrics.connected(true);
        metrics.signers_reachable(3);
        metrics.keys("babe", 1);
        metrics.gate(&PublicKey::try_from([1; 32].as_slice()).unwrap(), true);
        metrics.certificates(&CertificateStatus { client_ends: Some(7), ..CertificateStatus::default() });
        let families = registry.gather();
        let names: Vec<_> = families.iter().map(|family| family.get_name().to_owned()).collect();
        assert_eq!(
            names,
            [
                "signonce_certificate_not_after_timestamp_seconds",
                "signonce_certificate_reload_failed",
                "signonce_connected",
                "signonce_failovers_total",
                "signonce_grandpa_gate_open",
                "signonce_keys",
                "signonce_refusals_total",
                "signonce_remote_calls_total",
                "signonce_request_seconds",
                "signonce_requests_total",
                "signonce_signers_reachable",
            ]
        );
    }

    #[test]
    fn the_series_of_a_key_that_is_gone_is_gone() {
        let registry = Registry::new();
        let metrics = Metrics::new(Some(&registry)).unwrap();
        let [old, new] = [1, 2].map(|byte| PublicKey::try_from([byte; 32].as_slice()).unwrap());
        metrics.gate(&old, true);
        metrics.gate(&new, true);
        metrics.gate_gone(&old);
        metrics.gate_gone(&old);
        let families = registry.gather();
        let gate = families.iter().find(|it| it.get_name() == "signonce_grandpa_gate_open").unwrap();
        let keys: Vec<_> =
            gate.get_metric().iter().map(|metric| metric.get_label()[0].get_value().to_owned()).collect();
        assert_eq!(keys, [new.to_string()]);
    }

    #[test]
    fn a_registry_that_has_our_names_already_is_survived() {
        let registry = Registry::new();
        let first = Metrics::new(Some(&registry)).unwrap();
        let second = Metrics::new(Some(&registry)).unwrap();
        second.request("heartbeat", Outcome::Ok);
        assert_eq!(second.requests_with("heartbeat", Outcome::Ok), 1);
        assert_eq!(first.requests_with("heartbeat", Outcome::Ok), 0);
    }
}
