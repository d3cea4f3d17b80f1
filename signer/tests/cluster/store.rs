//! A damaged store is found when a node starts, and named.

use crate::common::{BINARY, PATIENCE, World, copy_dir, start_fails};
use signonce_cli::{commands::demo::chain, dev::Signal};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::JoinSet;

/// The write-ahead log with the most in it, as a path in the data directory.
fn wal(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("db")).unwrap().map(|file| file.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let log = logs.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    log.strip_prefix(data).unwrap().to_owned()
}

/// Puts a copy of the data directory in its place.
fn restore(copy: &Path, data: &Path) {
    fs::remove_dir_all(data).unwrap();
    copy_dir(copy, data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wal_bit_flip_and_a_truncated_wal_are_detected_at_start() {
    let mut world = World::start(&["v1"]).await;
    let client = world.client("v1");
    let mut votes = Vec::new();
    for round in 1..=100 {
        let vote = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0));
        let params = world.params(GRANDPA, &vote);
        votes.push((client.sign(&params).await.unwrap().signature, params));
    }
    let leader = world.leader_other_than(None).await;
    let node = world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap();
    world.cluster.signal(node, Signal::Kill).unwrap();
    world.cluster.wait_exit(node, PATIENCE).unwrap();

    // The file beside the store knows what was acknowledged: the store alone cannot tell a cut-off log from a crash.
    const LOST: &str = "has lost acknowledged writes";
    let (data, sound) = (world.cluster.data_dir(node), world.scratch("sound"));
    copy_dir(&data, &sound);
    let name = wal(&data);
    let bytes = fs::read(sound.join(&name)).unwrap();
    let whole = bytes.len();
    assert!(whole > 4_096, "the log has something in it: {whole} bytes");
    let flip = |at: usize| {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        flipped
    };
    let cut = |length: usize| bytes[..length].to_vec();
    for (what, damaged, why) in [
        ("a bit flipped early", flip(whole / 4), LOST),
        ("a bit flipped late", flip(whole / 2), LOST),
        ("truncated to a half", cut(whole / 2), LOST),
        ("truncated to a quarter", cut(whole / 4), LOST),
    ] {
        restore(&sound, &data);
        fs::write(data.join(&name), damaged).unwrap();
        // A second start must not find more to its liking what the first has left.
        for start in ["first", "second"] {
            let said = start_fails(&world.cluster.config_path(node));
            assert!(said.contains(why), "{what}, {start} start: {said}");
            assert!(!said.contains("panicked"), "{what}, {start} start: {said}");
        }
    }
    restore(&sound, &data);
    fs::remove_file(data.join(&name)).unwrap();
    start_fails(&world.cluster.config_path(node));

    // With its own bytes back the node serves again: it was never let in with less.
    restore(&sound, &data);
    world.cluster.start_node(node).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let client = world.client_of("v1", node);
    for (signature, params) in votes {
        assert_eq!(client.sign(&params).await.unwrap().signature, signature);
    }
}

/// A page of the log, by its number, that no fsync has covered: by what the file beside the store and the rows in the
/// log say. `None` if there is no whole one.
fn page_without_fsync(data: &Path) -> Option<usize> {
    const PAGE: usize = 4096;
    // In the second half of each sector of the file: length, version, salt, the last durable batch.
    let beside = fs::read(data.join("HIGH-WATER")).unwrap();
    let says = |slot: usize| {
        let record = &beside[slot * 512 + 256 + 2..][1..];
        let durable = u64::from_le_bytes(record[16..24].try_into().unwrap());
        (durable, record[..16].to_vec())
    };
    let (durable, salt) = says(0).max(says(1));
    // In the log: number, the length of the row, salt, the last durable batch when it was written.
    let log = fs::read(data.join(wal(data))).unwrap();
    let row_of = |at: &usize| u64::from_be_bytes(log[at - 9..at - 1].try_into().unwrap());
    let mut rows = (9..log.len() - 24).filter(|at| log[*at..].starts_with(&salt));
    let covered = rows.rfind(|at| row_of(at) <= durable)? + 100;
    let page = covered.div_ceil(PAGE);
    ((page + 1) * PAGE <= log.len()).then_some(page)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_that_takes_a_page_behind_the_last_fsync_of_every_disk_ends_nothing() {
    let mut world = World::start(&["v1"]).await;
    let nodes = world.cluster.node_ids();
    let (mut votes, mut round) = (Vec::new(), 0);
    let pages = loop {
        // Claims that come together: what they leave in the tables is written in one batch, without an fsync.
        for _ in 0..3 {
            let mut together = JoinSet::new();
            for _ in 0..50 {
                round += 1;
                let vote =
                    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0));
                let (client, params) = (world.client("v1"), world.params(GRANDPA, &vote));
                together.spawn(async move { (client.sign(&params).await.unwrap().signature, params) });
            }
            votes.extend(together.join_all().await);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
        for node in &nodes {
            world.cluster.signal(*node, Signal::Kill).unwrap();
        }
        for node in &nodes {
            world.cluster.wait_exit(*node, PATIENCE).unwrap();
        }
        let pages: Option<Vec<usize>> =
            nodes.iter().map(|node| page_without_fsync(&world.cluster.data_dir(*node))).collect();
        match pages {
            Some(pages) => break pages,
            None => assert!(round < 1_000, "nothing is ever left without an fsync"),
        }
        world.cluster.start_all().unwrap();
        world.cluster.wait_ready(PATIENCE).await.unwrap();
    };
    for (node, page) in nodes.iter().zip(pages) {
        let data = world.cluster.data_dir(*node);
        let log = data.join(wal(&data));
        let mut bytes = fs::read(&log).unwrap();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        fs::write(&log, bytes).unwrap();
    }
    world.cluster.start_all().unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let vote = chain::vote(SetId(1), Round(round + 1), GrandpaStage::Prevote, 1, chain::Flavour(0));
    world.client("v1").sign(&world.params(GRANDPA, &vote)).await.unwrap();
    for node in nodes {
        let client = world.client_of("v1", node);
        for (signature, params) in votes.iter().rev().take(100) {
            assert_eq!(
                client.sign(params).await.unwrap().signature,
                *signature,
                "nothing acknowledged is gone"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_store_and_a_store_of_another_cluster_are_named_at_start() {
    let mut world = World::start(&["v1"]).await;
    world.cluster.signal(1, Signal::Term).unwrap();
    world.cluster.wait_exit(1, PATIENCE).unwrap();
    let config = world.cluster.config_path(1);
    let sound = fs::read_to_string(&config).unwrap();

    let id = world.cluster.admin(2).status().await.unwrap().cluster;
    fs::write(&config, sound.replace(&id, &"ab".repeat(16))).unwrap();
    let said = start_fails(&config);
    assert!(said.contains("the configuration says node 1 of cluster abab"), "{said}");

    fs::write(&config, sound.replacen("id = 1\n", "id = 2\n", 1)).unwrap();
    let said = start_fails(&config);
    assert!(said.contains("the configuration says node 2"), "{said}");

    fs::write(&config, &sound).unwrap();
    let data = world.cluster.data_dir(1);
    fs::rename(data.join("db"), data.join("elsewhere")).unwrap();
    let said = start_fails(&config);
    assert!(said.contains("there is no store in"), "{said}");
    assert!(!data.join("db").exists(), "start never makes a store");

    // The other two go on.
    let vote = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(0));
    world.client("v1").sign(&world.params(GRANDPA, &vote)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_full_stops_with_a_named_error_and_loses_nothing() {
    let mut world = World::start(&["v1"]).await;
    let leader = world.leader_other_than(None).await;
    let node = world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap();
    world.cluster.signal(node, Signal::Term).unwrap();
    world.cluster.wait_exit(node, PATIENCE).unwrap();

    // A limit on the size of files needs no root and fails a write in the middle, as a full disk does.
    let limited = world.scratch("limited");
    let script = format!("#!/bin/bash\ntrap '' XFSZ\nulimit -f 300\nexec '{BINARY}' \"$@\"\n");
    fs::write(&limited, script).unwrap();
    fs::set_permissions(&limited, fs::Permissions::from_mode(0o755)).unwrap();
    world.cluster.set_binary(limited);
    world.cluster.start_node(node).unwrap();
    world.cluster.set_binary(PathBuf::from(BINARY));
    world.cluster.wait_ready(PATIENCE).await.unwrap();

    let client = world.client("v1");
    let mut votes = Vec::new();
    for round in 1..=1_500 {
        let vote = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0));
        let params = world.params(GRANDPA, &vote);
        votes.push((client.sign(&params).await.unwrap().signature, params));
    }
    let status = world.cluster.wait_exit(node, PATIENCE).unwrap();
    assert!(!status.success(), "{status}");
    let log = fs::read_to_string(world.cluster.log_path(node)).unwrap();
    assert!(log.contains("File too large") && log.contains("stopping"), "{log}");

    // With room again it comes back, and knows what the others know.
    world.cluster.start_node(node).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let client = world.client_of("v1", node);
    for (signature, params) in votes.iter().rev().take(200) {
        assert_eq!(client.sign(params).await.unwrap().signature, *signature);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_version_0_1_is_refused_with_the_way_over_and_not_touched() {
    let mut world = World::start(&["v1"]).await;
    world.cluster.signal(2, Signal::Term).unwrap();
    world.cluster.wait_exit(2, PATIENCE).unwrap();
    let (data, config) = (world.cluster.data_dir(2), world.cluster.config_path(2));
    let identity = data.join("IDENTITY");
    let ours = fs::read_to_string(&identity).unwrap();
    assert!(ours.contains("\"format\": 2,"), "{ours}");
    fs::write(&identity, ours.replace("\"format\": 2,", "\"format\": 1,")).unwrap();
    let name = wal(&data);
    let before = fs::read(data.join(&name)).unwrap();
    for start in ["first", "second"] {
        let said = start_fails(&config);
        for part in ["version 0.1", "Nothing was changed", "watermarks export", "docs/operate/upgrade.md"] {
            assert!(said.contains(part), "{start} start, {part}: {said}");
        }
        assert!(fs::read(data.join(&name)).unwrap() == before, "{start} start");
    }
    fs::write(&identity, ours).unwrap();
    world.cluster.start_node(2).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
}
