//! Processes killed, frozen and started again.

use super::World;
use crate::process::Signal;
use rand::seq::IndexedRandom as _;

pub(super) async fn kill_leader(world: &mut World) -> anyhow::Result<()> {
    let leader = world.leader().await?;
    world.fault(format!("node {leader}, the leader, killed"));
    world.cluster.kill(leader).await?;
    world.serves("with the leader killed").await?;
    world.pass_ms(0, 2_000).await;
    world.cluster.start(leader)?;
    world.settle().await
}

pub(super) async fn kill_followers(world: &mut World) -> anyhow::Result<()> {
    let leader = world.leader().await?;
    let followers: Vec<u64> = world.cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let killed: Vec<u64> = followers.sample(&mut world.rng, world.cluster.spare()).copied().collect();
    world.fault(format!("nodes {killed:?}, followers, killed"));
    for id in &killed {
        world.cluster.signal(*id, Signal::KILL)?;
    }
    for id in &killed {
        world.cluster.wait_exit(*id, super::SERVES_WITHIN).await?;
    }
    world.serves("with followers killed").await?;
    world.pass_ms(0, 2_000).await;
    for id in killed {
        world.cluster.start(id)?;
    }
    world.settle().await
}

pub(super) async fn freeze(world: &mut World) -> anyhow::Result<()> {
    let frozen = world.victim().await?;
    world.fault(format!("node {frozen} frozen"));
    world.cluster.signal(frozen, Signal::STOP)?;
    world.pass_ms(500, 7_000).await;
    world.say(format!("node {frozen} goes on"));
    world.cluster.signal(frozen, Signal::CONT)?;
    world.settle().await
}

pub(super) async fn restart_all(world: &mut World) -> anyhow::Result<()> {
    world.fault("every node killed");
    for id in world.cluster.ids() {
        world.cluster.signal(id, Signal::KILL)?;
    }
    for id in world.cluster.ids() {
        world.cluster.wait_exit(id, super::SERVES_WITHIN).await?;
    }
    world.pass_ms(0, 500).await;
    world.cluster.start_all()?;
    world.settle().await
}
