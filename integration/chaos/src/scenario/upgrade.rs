//! The last release's program replaced by this one, one node at a time, under load.

use super::World;
use crate::{cluster::Cluster, process::Signal};
use std::time::Duration;

/// How long a node may take to end in order.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Every node begins with the program the cluster was laid out by: the earlier one.
pub(super) fn prepare(cluster: &mut Cluster) -> anyhow::Result<()> {
    let previous = cluster.plan.binary.clone();
    for id in cluster.ids() {
        cluster.node_mut(id).binary = Some(previous.clone());
    }
    Ok(())
}

pub(super) async fn roll(world: &mut World) -> anyhow::Result<()> {
    for id in world.cluster.ids() {
        world.pass_ms(1_000, 2_000).await;
        world.fault(format!("node {id} ends and comes back with the new program"));
        world.cluster.signal(id, Signal::TERM)?;
        world.cluster.wait_exit(id, ENDS_WITHIN).await?;
        world.cluster.node_mut(id).binary = None;
        world.cluster.start(id)?;
        world.settle().await?;
    }
    world.pass_ms(2_000, 4_000).await;
    Ok(())
}
