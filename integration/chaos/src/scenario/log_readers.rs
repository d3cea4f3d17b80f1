//! Logs whose readers stop, die, or have no room. All signers at once, since they usually have the same collector: none
//! of them may end or wait because of it.

use super::World;
use crate::{
    cluster::Cluster,
    process::{CommandLine, Process, Signal, run},
};
use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use rustix::fs::OFlags;
use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The variable that names where a node's log goes.
const TO: &str = "LOG_TO";

fn pipe(cluster: &Cluster, node: u64) -> PathBuf {
    cluster.node(node).home.join("log-pipe")
}

/// Each node's log goes through a pipe, and a program takes it from there to the file where it would be otherwise.
pub(super) fn prepare(cluster: &mut Cluster) -> anyhow::Result<()> {
    for id in cluster.ids() {
        let pipe = pipe(cluster, id);
        run(&["mkfifo", &pipe.to_string_lossy()])?;
        let reader = read(cluster, id)?;
        cluster.log_readers.insert(id, reader);
        let node = cluster.node_mut(id);
        node.env.push((TO, pipe.into_os_string()));
        let redirected = ["sh", "-c", "exec \"$@\" 2>>\"$LOG_TO\"", "sh"];
        node.door.extend(redirected.map(OsString::from));
    }
    Ok(())
}

/// A program that reads a node's log. It holds both ends, so that it outlives the node.
fn read(cluster: &Cluster, node: u64) -> anyhow::Result<Process> {
    let pipe = pipe(cluster, node).into_os_string();
    let words = ["sh", "-c", "exec cat 0<>\"$0\""].map(OsString::from);
    CommandLine::new(words).and(pipe).start(&cluster.node(node).home.join("log"))
}

pub(super) async fn lose(world: &mut World) -> anyhow::Result<()> {
    match world.rng.random_range(0..3) {
        0 => stop_readers(world).await,
        1 => kill_readers(world).await,
        _ => take_room(world).await,
    }
}

async fn stop_readers(world: &mut World) -> anyhow::Result<()> {
    world.fault("nobody reads the logs any more, and the pipes are full");
    for (node, reader) in &world.cluster.log_readers {
        reader.signal(Signal::STOP)?;
        fill(&pipe(&world.cluster, *node))?;
    }
    all_go_on(world, "with logs that nobody reads").await?;
    for reader in world.cluster.log_readers.values() {
        reader.signal(Signal::CONT)?;
    }
    world.settle().await
}

async fn kill_readers(world: &mut World) -> anyhow::Result<()> {
    world.fault("the readers of all logs killed");
    world.cluster.log_readers.clear();
    all_go_on(world, "with logs whose readers are dead").await?;
    for id in world.cluster.ids() {
        let reader = read(&world.cluster, id)?;
        world.cluster.log_readers.insert(id, reader);
    }
    world.settle().await
}

async fn take_room(world: &mut World) -> anyhow::Result<()> {
    let node = world.any().await?;
    world.fault(format!("node {node} started with its log on a full volume"));
    world.cluster.kill(node).await?;
    world.cluster.node_mut(node).env.push((TO, "/dev/full".into()));
    world.cluster.start(node)?;
    world.settle().await?;
    all_go_on(world, "with a log that has no room").await?;
    world.cluster.node_mut(node).env.pop();
    world.cluster.kill(node).await?;
    world.cluster.start(node)?;
    world.settle().await
}

/// Checks that for a while new duties are granted, every node is ready, and none has ended.
async fn all_go_on(world: &mut World, when: &str) -> anyhow::Result<()> {
    let ids = world.cluster.ids();
    let before: Vec<_> = ids.iter().map(|id| (*id, world.cluster.node(*id).pid())).collect();
    for _ in 0..3 {
        world.pass_ms(500, 2_000).await;
        world.serves(when).await?;
    }
    for (id, pid) in before {
        if world.cluster.node(id).pid() != pid {
            world.violation(format!("node {id} ended {when}"));
        } else if let Err(why) = world.cluster.readyz(id).await {
            world.violation(format!("node {id} is not ready {when}: {why}"));
        }
    }
    Ok(())
}

/// Fills a pipe with empty lines.
fn fill(pipe: &Path) -> anyhow::Result<()> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits())?;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(pipe);
    let mut pipe = opened.with_context(|| format!("cannot open {}", pipe.display()))?;
    loop {
        // Pieces that it takes whole or not at all.
        if let Err(error) = pipe.write_all(&[b'\n'; 512]) {
            ensure!(error.kind() == ErrorKind::WouldBlock, error);
            return Ok(());
        }
    }
}
