//! Wall clocks that jump. Only the wall clock: the kernel's monotonic clock never does.

use super::World;
use crate::{cluster::Cluster, host};
use anyhow::Context as _;
use rand::RngExt as _;
use std::{fs, path::Path};

/// Every node gets a clock that follows a file.
pub(super) fn prepare(cluster: &mut Cluster) -> anyhow::Result<()> {
    let library = host::faketime().context("libfaketime was there a moment ago")?;
    for id in cluster.ids() {
        let node = cluster.node_mut(id);
        let file = node.home.join("clock");
        set(&file, 0)?;
        node.env = vec![
            ("LD_PRELOAD", library.into()),
            ("FAKETIME_TIMESTAMP_FILE", file.into()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ];
    }
    Ok(())
}

/// Written beside and moved over: a half-written file would be another jump.
fn set(file: &Path, seconds: i64) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, format!("{seconds:+}\n"))?;
    Ok(fs::rename(new, file)?)
}

pub(super) async fn jump(world: &mut World) -> anyhow::Result<()> {
    let node = world.victim().await?;
    let file = world.cluster.node(node).home.join("clock");
    let by = [2, 10, 90, 3_600][world.rng.random_range(0..4)];
    let by = if world.rng.random() { by } else { -by };
    world.fault(format!("node {node}'s clock jumps by {by} s"));
    set(&file, by)?;
    world.pass_ms(2_500, 6_000).await;
    world.serves("with one clock wrong").await?;
    set(&file, 0)?;
    world.say(format!("node {node}'s clock jumps back"));
    world.settle().await
}
