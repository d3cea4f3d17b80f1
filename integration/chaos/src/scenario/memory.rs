//! Nodes that have forgotten and nodes that exist twice. Neither may ever serve.

use super::World;
use crate::{
    cluster::{copy_dir, probe},
    process::Signal,
};
use anyhow::Context as _;
use rand::seq::IndexedRandom as _;
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a node may take to end in order.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at a node that must not serve.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn old_data(world: &mut World) -> anyhow::Result<()> {
    let node = follower(world).await?;
    let (home, data) = (world.cluster.node(node).home.clone(), world.cluster.node(node).data());
    let (backup, kept) = (home.join("backup"), home.join("kept"));
    stop(world, node).await?;
    copy_dir(&data, &backup)?;
    world.say(format!("node {node}'s data directory copied"));
    world.cluster.start(node)?;
    world.settle().await?;
    world.pass_ms(1_500, 4_000).await;

    world.cluster.kill(node).await?;
    fs::rename(&data, &kept)?;
    fs::rename(&backup, &data)?;
    world.fault(format!("node {node} started on the older copy"));
    world.cluster.start(node)?;
    let time = world.draw_ms(2_500, 4_500);
    let watched = watch(time, async || match world.cluster.node(node).pid() {
        Some(_) => world.cluster.readyz(node).await,
        None => Err("it has ended".into()),
    });
    let why = watched.await;
    match why {
        Some(why) => world.say(format!("node {node} stays out: {why}")),
        None => world.violation(format!("node {node} serves on an older copy of its data directory")),
    }
    world.serves("with one node out").await?;
    if world.cluster.node(node).pid().is_some() {
        world.cluster.kill(node).await?;
    }
    fs::remove_dir_all(&data)?;
    fs::rename(&kept, &data)?;
    world.cluster.start(node)?;
    world.say(format!("node {node} started on its own data again"));
    world.settle().await
}

pub(super) async fn clone(world: &mut World) -> anyhow::Result<()> {
    let node = world.any().await?;
    let home = world.cluster.node(node).home.clone();
    let copy = world.cluster.dir.join("copy");
    stop(world, node).await?;
    copy_dir(&home, &copy)?;
    world.cluster.start(node)?;
    world.settle().await?;
    world.fault(format!("a copy of node {node} started beside it"));
    let (process, address) = world.cluster.start_copy(node, &copy)?;
    let time = world.draw_ms(2_500, 4_500);
    let watched = watch(time, async || match process.pid() {
        Some(_) => probe(address).await,
        None => Err("it has ended".into()),
    });
    match watched.await {
        Some(why) => world.say(format!("the copy stays out: {why}")),
        None => world.violation(format!("a copy of node {node} serves beside it")),
    }
    drop(process);
    fs::remove_dir_all(&copy).context("the copy's directory")?;
    // The original has gone on as if nothing had been.
    world.settle().await
}

async fn follower(world: &mut World) -> anyhow::Result<u64> {
    let leader = world.leader().await?;
    let followers: Vec<u64> = world.cluster.ids().into_iter().filter(|id| *id != leader).collect();
    followers.choose(&mut world.rng).copied().context("a cluster has followers")
}

async fn stop(world: &World, node: u64) -> anyhow::Result<()> {
    world.cluster.signal(node, Signal::TERM)?;
    world.cluster.wait_exit(node, ENDS_WITHIN).await.map(|_| ())
}

/// Looks at what must not serve, again and again: why it does not, or `None` once it does.
async fn watch(time: Duration, look: impl AsyncFn() -> Result<(), String>) -> Option<String> {
    let until = Instant::now() + time;
    let mut last = String::new();
    while Instant::now() < until {
        match look().await {
            Ok(()) => return None,
            Err(why) => last = why,
        }
        sleep(LOOK).await;
    }
    Some(last)
}
