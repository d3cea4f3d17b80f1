//! Compares this node's clock with the other members', for the metrics: slots are wall-clock time, and signers whose
//! clocks differ refuse each other's slots.

use super::{Answered, Overseer, offset_ms};
use crate::metrics::Metrics;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often the clocks are compared.
const EVERY: Duration = Duration::from_secs(10);

/// Compares them until the process ends.
pub async fn watch(overseer: Arc<Overseer>, metrics: Arc<Metrics>) {
    loop {
        let others = overseer.others();
        metrics.forget_peers_but(others.iter().map(|(node, _)| *node));
        for (node, url) in others {
            match overseer.ask::<u64>(Some(&url), "node_time").await {
                Ok(Answered { answer, took, asked_ms }) => {
                    metrics.clock_of(node, Some(offset_ms(answer, asked_ms, took)));
                }
                Err(error) => {
                    tracing::debug!(%node, error, "a member does not say what time it has");
                    metrics.clock_of(node, None);
                }
            }
        }
        sleep(EVERY).await;
    }
}
