//! The metrics of clients: what each has asked of this node since it started. The operators' registry bounds the
//! series; a client that never asked has none.

use crate::activity::Activity;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use signonce_cluster::Handle;
use signonce_shared::activity::ClientActivity;
use std::{fmt, sync::Arc};

/// Collects the metrics of clients.
pub struct Clients {
    /// The registry, for their names.
    pub handle: Handle,
    /// What the clients asked.
    pub activity: Arc<Activity>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

impl Collector for Clients {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let named = self
            .handle
            .read(|state| state.clients().map(|client| (client.id, client.name.clone())).collect::<Vec<_>>());
        let clients: Vec<(String, ClientActivity)> =
            named.into_iter().filter_map(|(id, name)| Some((name, self.activity.of(id)?))).collect();
        let help = "Signatures and VRF outputs a client got from this node";
        let mut metric = encoder.encode_descriptor("client_signed", help, None, MetricType::Counter)?;
        for (name, known) in &clients {
            let labels = [("client", name.as_str())];
            ConstCounter::new(known.signed).encode(metric.encode_family(&labels)?)?;
        }
        let help = "What a client did not get from this node, by the code of the refusal";
        let mut metric = encoder.encode_descriptor("client_refused", help, None, MetricType::Counter)?;
        for (name, known) in &clients {
            for (code, count) in &known.refused {
                let labels = [("client", name.as_str()), ("code", code.as_str())];
                ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "When a client asked this node last, in Unix seconds";
        let name = "client_last_seen_timestamp_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (name, known) in &clients {
            let labels = [("client", name.as_str())];
            let seen = ConstGauge::new(known.last_seen_ms as f64 / 1_000.0);
            seen.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
