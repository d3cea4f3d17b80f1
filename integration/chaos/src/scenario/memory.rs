//! Nodes that have forgotten and nodes that exist twice. Neither may ever serve.

use super::{World, world::READY_WITHIN};
use crate::{
    checker::Fault,
    cluster::{Key, Twin, copy_dir},
    process::Signal,
    storm::STRANGER,
};
use anyhow::{Context as _, ensure};
use rand::{RngExt as _, seq::IndexedRandom as _};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a node may take to end in order.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How long a node is given before it is started once more.
const COMES_BACK: Duration = Duration::from_secs(3);
/// How long a node that was frozen may take to receive what it has missed.
const THAWS: Duration = Duration::from_millis(1_500);
/// Within this time every key that has forgotten must be halted: its clients ask many times a second.
const HALTED_WITHIN: Duration = Duration::from_secs(20);
/// The pause between two checks of a node that must not serve.
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
    // Its first start is recognised by its number; at later ones the number is new, so the peers' memory must stop it.
    let starts = world.rng.random_range(1..=3);
    for start in 1..=starts {
        world.fault(format!("node {node} started on the older copy, for the {start}. time"));
        world.cluster.start(node)?;
        stays_out(world, node).await?;
        world.serves("with one node out").await?;
        if world.cluster.node(node).pid().is_some() {
            world.cluster.kill(node).await?;
        }
    }
    fs::remove_dir_all(&data)?;
    fs::rename(&kept, &data)?;
    world.say(format!("node {node} started on its own data again"));
    // The older copy's starts have used up numbers; the right disk passes once its own number is a new one.
    come_back(world, node, starts).await
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
    let twin = world.cluster.start_copy(node, &copy)?;
    world.storm.ask_stranger("client of the copy", world.cluster.client_at(1, [twin.client], STRANGER)?);
    let time = world.draw_ms(2_500, 4_500);
    match watch(time, async || twin.readyz().await).await {
        Some(why) => world.say(format!("the copy stays out: {why}")),
        None => world.violation(format!("a copy of node {node} serves beside it")),
    }
    world.storm.leave("client of the copy").await;
    drop(twin);
    fs::remove_dir_all(&copy).context("the copy's directory")?;
    // The original has gone on as if nothing had been.
    world.settle().await
}

/// A node freezes, somebody takes it for dead and starts a copy of its disk at its address, and then it continues: two
/// processes with one identity and one memory. Either may serve, but never both.
pub(super) async fn twins(world: &mut World) -> anyhow::Result<()> {
    let node = world.victim().await?;
    let home = world.cluster.node(node).home.clone();
    let copy = world.cluster.dir.join("copy");
    world.fault(format!("node {node} frozen, and a copy of it started at its address"));
    world.cluster.signal(node, Signal::STOP)?;
    copy_dir(&home, &copy)?;
    let twin = world.cluster.start_copy(node, &copy)?;
    world.cluster.move_address(node, Some(twin.peer));
    world.storm.ask_also("client of the copy", world.cluster.client_at(1, [twin.client], STRANGER)?);
    let time = world.draw_ms(2_500, 5_000);
    let took_over = watch(time, async || twin.readyz().await).await;
    world.say(match &took_over {
        None => "the copy has taken over".to_owned(),
        Some(why) => format!("the copy stays out: {why}"),
    });
    // Back to the first of the two in every other case: addresses do move back.
    if world.rng.random() {
        world.cluster.move_address(node, None);
    }
    world.say(format!("node {node} goes on, with its copy beside it"));
    world.cluster.signal(node, Signal::CONT)?;
    sleep(THAWS).await;
    if both_serve(world, node, &twin).await {
        world.violation(format!("node {node} and its copy both say that they are ready"));
    }
    world.pass_ms(500, 2_000).await;
    world.storm.leave("client of the copy").await;
    drop(twin);
    if took_over.is_none() {
        // The copy is the node now: the original's disk lacks what the copy has promised.
        world.cluster.kill(node).await?;
        fs::remove_dir_all(home.join("data"))?;
        fs::rename(copy.join("data"), home.join("data"))?;
        world.say(format!("node {node} goes on with the copy's disk"));
    }
    world.cluster.move_address(node, None);
    fs::remove_dir_all(&copy).context("the copy's directory")?;
    come_back(world, node, 2).await
}

/// Whether both are ready in the same moment, seen more than once.
async fn both_serve(world: &World, node: u64, twin: &Twin) -> bool {
    let mut times = 0;
    for _ in 0..20 {
        let both = futures::future::join(world.cluster.readyz(node), twin.readyz()).await;
        times += u32::from(both.0.is_ok() && both.1.is_ok());
        sleep(LOOK).await;
    }
    times > 1
}

/// Starts a node that was refused for the number of its start, until its number is a new one.
async fn come_back(world: &mut World, node: u64, starts: u32) -> anyhow::Result<()> {
    for _ in 0..starts {
        world.cluster.start(node)?;
        if world.cluster.wait_ready(&[node], COMES_BACK).await.is_ok() {
            break;
        }
        world.cluster.kill(node).await?;
    }
    world.cluster.start(node)?;
    world.settle().await
}

/// Every node forgets the same period. No member is left that remembers; clients show what they were given, so every
/// key is halted, and serves again once an operator has raised its watermark.
pub(super) async fn all_old_data(world: &mut World) -> anyhow::Result<()> {
    let ids = world.cluster.ids();
    for id in &ids {
        world.cluster.signal(*id, Signal::TERM)?;
    }
    for id in &ids {
        world.cluster.wait_exit(*id, ENDS_WITHIN).await?;
        let node = world.cluster.node(*id);
        copy_dir(&node.data(), &node.home.join("backup"))?;
    }
    world.cluster.start_all()?;
    world.settle().await?;
    world.pass_ms(4_000, 5_000).await;
    world.fault("every node killed, and started on an older copy of its data");
    for id in &ids {
        world.cluster.kill(*id).await?;
    }
    world.storm.checker().all_were_set_back();
    for id in &ids {
        let node = world.cluster.node(*id);
        fs::remove_dir_all(node.data())?;
        fs::rename(node.home.join("backup"), node.data())?;
    }
    world.cluster.start_all()?;
    world.cluster.wait_ready(&ids, READY_WITHIN).await?;
    every_key_is_halted(world).await?;
    raise_all(world).await?;
    world.settle().await
}

/// Every key that has signed must be found to have forgotten, by somebody who was given a signature.
async fn every_key_is_halted(world: &mut World) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let left = world.storm.checker().not_halted();
        if left.is_empty() {
            break;
        }
        ensure!(begun.elapsed() < HALTED_WITHIN, "{} keys that have forgotten go on", left.len());
        sleep(LOOK).await;
    }
    let (halted, said) = {
        let checker = world.storm.checker();
        let said = checker.said_before_the_halt();
        let two = said.iter().filter(|violation| matches!(violation.fault, Fault::TwoPayloads { .. }));
        (checker.halted().len(), two.count())
    };
    world.say(format!(
        "{halted} keys halted within {} ms; {said} duties had got a second payload before",
        begun.elapsed().as_millis()
    ));
    Ok(())
}

/// Does what an operator would, who knows from the chain how far each key went.
async fn raise_all(world: &mut World) -> anyhow::Result<()> {
    let halted = world.storm.checker().halted();
    for &(key, place) in &halted {
        let above = place.above();
        world.storm.checker().raising(key, above.step());
        let Key { key_type, public, .. } = world.cluster.keys[key].clone();
        let name = format!("{key_type}:{public}");
        world.cluster.command(1, &["watermarks", "raise", &name, "--to", &above.coordinate(), "--yes"])?;
    }
    // The others hear of it a little later than the node that was asked.
    for id in world.cluster.ids() {
        let begun = Instant::now();
        while world.cluster.command(id, &["keys", "list"])?.contains("HALTED") {
            ensure!(begun.elapsed() < HALTED_WITHIN, "node {id} has keys that stay halted");
            sleep(LOOK).await;
        }
    }
    for (key, _) in halted {
        world.storm.checker().raised(key);
    }
    world.say("every halted key's watermark raised above all that it had signed");
    Ok(())
}

/// A node that has forgotten says why it does not serve, and grants nothing.
async fn stays_out(world: &mut World, node: u64) -> anyhow::Result<()> {
    let name = "client of the old data";
    world.storm.ask_stranger(name, world.cluster.client(1, &[node], STRANGER)?);
    let time = world.draw_ms(2_000, 3_500);
    let watched = watch(time, async || match world.cluster.node(node).pid() {
        Some(_) => world.cluster.readyz(node).await,
        None => Err("it has ended".into()),
    });
    match watched.await {
        Some(why) => world.say(format!("node {node} stays out: {why}")),
        None => world.violation(format!("node {node} serves on an older copy of its data directory")),
    }
    world.storm.leave(name).await;
    Ok(())
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

/// Checks repeatedly something that must not serve: returns why it does not, or `None` once it does.
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
