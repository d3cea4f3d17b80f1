//! Connections between nodes cut, slowed down and made lossy. Clients reach every node throughout: a cut-off node must
//! refuse them by itself.

use super::World;
use crate::net::Link;
use rand::RngExt as _;
use std::time::Duration;

pub(super) async fn cut_one_way(world: &mut World) -> anyhow::Result<()> {
    let node = world.victim().await?;
    let deaf = world.rng.random();
    world.fault(match deaf {
        true => format!("node {node} hears nobody"),
        false => format!("node {node} is heard by nobody"),
    });
    for other in others(world, node) {
        let (from, to) = if deaf { (other, node) } else { (node, other) };
        world.cluster.links.set(from, to, Link::cut());
    }
    world.pass_ms(1_500, 6_000).await;
    heal(world).await
}

pub(super) async fn cut_two_ways(world: &mut World) -> anyhow::Result<()> {
    let mut away = vec![world.victim().await?];
    if world.cluster.spare() > 1 && world.rng.random() {
        let next = away[0] % world.cluster.plan.nodes + 1;
        away.push(next);
    }
    world.fault(format!("nodes {away:?} cut off from the others"));
    for node in &away {
        for other in others(world, *node).into_iter().filter(|other| !away.contains(other)) {
            world.cluster.links.set(*node, other, Link::cut());
            world.cluster.links.set(other, *node, Link::cut());
        }
    }
    world.serves("with some nodes cut off").await?;
    world.pass_ms(500, 5_000).await;
    heal(world).await
}

pub(super) async fn delay(world: &mut World) -> anyhow::Result<()> {
    let one = world.rng.random_ratio(1, 3);
    let longest = if one { 300 } else { 80 };
    let delay = world.draw_ms(5, longest);
    let link = Link { delay, jitter: delay / 2, ..Link::default() };
    let slow = if one { vec![world.victim().await?] } else { world.cluster.ids() };
    world.fault(format!("ways of nodes {slow:?} slower by {delay:?}"));
    set_all(world, &slow, link);
    world.pass_ms(3_000, 6_000).await;
    heal(world).await
}

pub(super) async fn drop(world: &mut World) -> anyhow::Result<()> {
    let loss = world.rng.random_range(0.02..0.2);
    world.fault(format!("{:.0} % of all packets between nodes lost", loss * 100.0));
    let ids = world.cluster.ids();
    set_all(world, &ids, Link { loss, delay: Duration::from_millis(1), ..Link::default() });
    world.pass_ms(4_000, 8_000).await;
    heal(world).await
}

fn others(world: &World, node: u64) -> Vec<u64> {
    world.cluster.ids().into_iter().filter(|other| *other != node).collect()
}

/// Sets both directions of every connection of these nodes.
fn set_all(world: &World, nodes: &[u64], link: Link) {
    for node in nodes {
        for other in others(world, *node) {
            world.cluster.links.set(*node, other, link);
            world.cluster.links.set(other, *node, link);
        }
    }
}

async fn heal(world: &mut World) -> anyhow::Result<()> {
    world.cluster.links.heal();
    world.say("all ways healed");
    world.settle().await
}
