//! Disks that are full, fail or are slow. A node must stop rather than continue with what may not be stored, and a
//! leader whose disk is slow must hand over to a node whose disk is not.

use super::World;
use crate::{
    cluster::{Cluster, tail},
    process::{CommandLine, Process, Room, run},
};
use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use std::{
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The node whose file system gets full. Which node leads is left to chance.
const NODE: u64 = 2;
/// The size of that file system.
const SIZE: &str = "160M";
/// How long `strace` may take to attach, or to say that it may not.
const ATTACHES: Duration = Duration::from_millis(300);
/// How long a node may run on with a disk that fails, as it may have nothing to write at first.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// How long an fdatasync hangs, unless it is released before.
const HANGS: Duration = Duration::from_secs(60);
/// How soon its node must report that it is not ready. It takes three seconds, and may have nothing to write at first.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// How long another node must be faster before the leader hands over, in this scenario.
const MOVES_AFTER_MS: &str = "3000";
/// How long a leader may keep leading with a slow disk: a new leader, and a node that has just joined, are left alone
/// for a quarter of a minute; figures come in every few seconds.
const MOVES_WITHIN: Duration = Duration::from_secs(60);

/// Puts the node's data on a small file system, mounted in namespaces of its own, so that it goes with them.
pub(super) async fn prepare(cluster: &mut Cluster) -> anyhow::Result<()> {
    let home = cluster.node(NODE).home.clone();
    let room = Room::open(&["--mount"], &cluster.dir.join("rooms.log")).await?;
    let (image, data, aside) = (home.join("disk"), home.join("data"), home.join("data-aside"));
    let words = |path: &Path| path.to_string_lossy().into_owned();
    let (image, data, aside) = (words(&image), words(&data), words(&aside));
    run(&["truncate", "-s", SIZE, &image])?;
    // Without extents nothing can be allocated ahead: a full disk stops the very next write, not one megabytes later.
    run(&["mkfs.ext4", "-q", "-m", "0", "-O", "^extent,^64bit", &image])?;
    std::fs::rename(&data, &aside)?;
    std::fs::create_dir(&data)?;
    room.run(&["mount", "-o", "loop", &image, &data])?;
    room.run(&["sh", "-c", &format!("cp -a '{aside}/.' '{data}/'")])?;
    cluster.node_mut(NODE).door = room.door()?;
    cluster.rooms.push(room);
    Ok(())
}

pub(super) async fn fill(world: &mut World) -> anyhow::Result<()> {
    let ballast = world.cluster.node(NODE).data().join("ballast").to_string_lossy().into_owned();
    world.fault(format!("node {NODE}'s file system filled to the last block"));
    let fill = format!("dd if=/dev/zero of='{ballast}' bs=64k 2>/dev/null; sync '{ballast}'; true");
    let before = world.cluster.node(NODE).log().len();
    in_room(world, &["sh", "-c", &fill])?;
    let status =
        world.cluster.wait_exit(NODE, STOPS_WITHIN).await.context("a node goes on with a full disk")?;
    stopped_for_a_reason(world, NODE, status, before);
    world.serves("with one node's disk full").await?;
    in_room(world, &["rm", &ballast])?;
    world.cluster.start(NODE)?;
    world.settle().await
}

pub(super) async fn fail_sync(world: &mut World) -> anyhow::Result<()> {
    let node = world.victim().await?;
    let once = world.rng.random();
    let inject = format!("error=EIO{}", if once { ":when=1" } else { "" });
    let before = world.cluster.node(node).log().len();
    world.fault(format!("node {node}: fdatasync fails {}", if once { "once" } else { "from now on" }));
    let tracer = tamper(world, node, &inject).await?;
    let status =
        world.cluster.wait_exit(node, STOPS_WITHIN).await.context("a node goes on after a failed sync")?;
    std::mem::drop(tracer);
    stopped_for_a_reason(world, node, status, before);
    world.serves("with one node's disk failing").await?;
    world.cluster.start(node)?;
    world.settle().await
}

/// Lets the leader move soon.
pub(super) fn prepare_slow(cluster: &mut Cluster) {
    for id in cluster.ids() {
        cluster.node_mut(id).env.push(("SIGNONCE_LIMITS_LEADER_MOVES_AFTER_MS", MOVES_AFTER_MS.into()));
    }
}

pub(super) async fn slow_sync(world: &mut World) -> anyhow::Result<()> {
    let node = world.leader().await?;
    world.fault(format!("node {node}, the leader: every fdatasync takes 30 ms longer"));
    let tracer = tamper(world, node, "delay_enter=30000").await?;
    let begun = Instant::now();
    let heir = loop {
        let leader = world.leader().await?;
        if leader != node {
            break leader;
        }
        ensure!(begun.elapsed() < MOVES_WITHIN, "node {node} still leads, with a slow disk");
        sleep(ATTACHES).await;
    };
    world.say(format!("node {heir} leads after {:.1} s", begun.elapsed().as_secs_f64()));
    world.serves("with one slow disk").await?;
    std::mem::drop(tracer);
    world.settle().await
}

pub(super) async fn hang_sync(world: &mut World) -> anyhow::Result<()> {
    let node = world.victim().await?;
    world.fault(format!("node {node}: an fdatasync does not end"));
    let tracer = tamper(world, node, &format!("delay_enter={}:when=1", HANGS.as_micros())).await?;
    let begun = Instant::now();
    loop {
        let said = world.cluster.readyz(node).await;
        if said.is_err_and(|why| why.contains("has not ended; look at its disk")) {
            world.say(format!("node {node} says so after {:.1} s", begun.elapsed().as_secs_f64()));
            break;
        }
        if begun.elapsed() > SAYS_WITHIN {
            world.violation(format!("node {node} does not say that its disk hangs"));
            break;
        }
        sleep(ATTACHES).await;
    }
    world.serves("with one disk that hangs").await?;
    std::mem::drop(tracer);
    world.settle().await
}

/// Has `strace` tamper with every sync of a node until the returned process is dropped.
async fn tamper(world: &World, node: u64, how: &str) -> anyhow::Result<Process> {
    let pid =
        world.cluster.node(node).pid().with_context(|| format!("node {node} does not run"))?.to_string();
    let inject = format!("inject=fdatasync,fsync:{how}");
    let log = world.cluster.dir.join("strace.log");
    let trace =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", &inject, "-p", &pid];
    let tracer = CommandLine::new(trace).start(&log)?;
    sleep(ATTACHES).await;
    let attached = tracer.pid().is_some() || world.cluster.node(node).pid().is_none();
    ensure!(attached, "strace cannot attach: {}", tail(&std::fs::read_to_string(&log).unwrap_or_default()));
    Ok(tracer)
}

/// A node that stops says why.
fn stopped_for_a_reason(world: &mut World, node: u64, status: ExitStatus, before: usize) {
    let log = world.cluster.node(node).log();
    let said = log.get(before..).unwrap_or_default();
    let reason = said.lines().find(|line| line.contains("ERROR")).map(str::to_owned);
    // It ends by aborting: no part of it may run on.
    match reason.filter(|_| !status.success()) {
        Some(reason) => world.say(format!("node {node} stopped, {status}: {reason}")),
        None => world.violation(format!(
            "node {node} stopped on a failing disk without an error that says so: {status}; its log ends: {}",
            tail(said)
        )),
    }
}

fn in_room(world: &World, words: &[&str]) -> anyhow::Result<()> {
    CommandLine::new(words).inside(world.cluster.node(NODE).door.clone()).run().map(|_| ())
}
