//! The metrics of the connections of each port.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, counter::Counter, gauge::ConstGauge},
};
use signonce_cluster::places::PlaceCounts;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// The counters of one port. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub struct PortMetrics {
    /// Connections, and those that were closed for want of a place.
    pub places: PlaceCounts,
    /// TLS handshakes that failed.
    pub handshakes_failed: Counter,
}

/// The counters of every port.
#[derive(Debug, Default)]
pub struct Connections(Mutex<BTreeMap<&'static str, PortMetrics>>);

impl Connections {
    /// The counters of the port with this name.
    pub fn port(&self, port: &'static str) -> PortMetrics {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(port).or_default().clone()
    }

    /// Adds a port that has its counts already.
    pub fn show(&self, port: &'static str, places: PlaceCounts) {
        let counts = PortMetrics { places, handshakes_failed: Counter::default() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port, counts);
    }
}

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let ports = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "Open connections of those who have said who they are, by port";
        let mut metric = encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
        for (port, counts) in &ports {
            let open = ConstGauge::new(counts.places.known.get());
            open.encode(metric.encode_family(&[("port", *port)])?)?;
        }
        let help = "Open connections of those who have not said yet who they are, by port";
        let mut metric = encoder.encode_descriptor("connections_waiting", help, None, MetricType::Gauge)?;
        for (port, counts) in &ports {
            let waiting = ConstGauge::new(counts.places.strangers.get());
            waiting.encode(metric.encode_family(&[("port", *port)])?)?;
        }
        let help =
            "Connections closed for want of time or places: late and crowded ones had not said who they are";
        let mut metric = encoder.encode_descriptor("connections_dropped", help, None, MetricType::Counter)?;
        for (port, PortMetrics { places, .. }) in &ports {
            let reasons =
                [("late", &places.late), ("crowded", &places.crowded), ("displaced", &places.displaced)];
            for (reason, count) in reasons {
                let labels = [("port", *port), ("reason", reason)];
                ConstCounter::new(count.get()).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "TLS handshakes that failed, by port";
        let mut metric =
            encoder.encode_descriptor("tls_handshakes_failed", help, None, MetricType::Counter)?;
        for (port, counts) in &ports {
            let failed = ConstCounter::new(counts.handshakes_failed.get());
            failed.encode(metric.encode_family(&[("port", *port)])?)?;
        }
        Ok(())
    }
}
