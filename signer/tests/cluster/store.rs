//! A damaged store is found when a node starts, and named.

use crate::common::{PATIENCE, World, start_fails};
use signonce::{cli::demo::chain, dev::Signal};
use signonce_protocol::{GrandpaStage, KeyType, Round, SetId};
use std::{fs, path::PathBuf};

/// The write-ahead log with the most in it.
fn wal(world: &World, node: u64) -> PathBuf {
    let files = fs::read_dir(world.cluster.data_dir(node).join("db")).unwrap().map(|f| f.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// Starts the node with a damaged store, which must fail, and say `why`.
fn refuses_to_start(world: &World, node: u64, what: &str, why: &str) {
    let said = start_fails(&world.cluster.config_path(node));
    assert!(said.contains(why), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wal_bit_flip_and_a_truncated_wal_are_detected_at_start() {
    let mut world = World::start(&["v1"]).await;
    let client = world.client("v1");
    let mut votes = Vec::new();
    for round in 1..=100 {
        let vote = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0));
        let params = world.params(KeyType::Grandpa, &vote);
        votes.push((client.sign(&params).await.unwrap().signature, params));
    }
    let leader = world.leader_other_than(None).await;
    let node = world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap();
    world.cluster.signal(node, Signal::Kill).unwrap();
    world.cluster.wait_exit(node, PATIENCE).unwrap();

    // The file beside the store knows what was acknowledged: the store alone cannot tell a cut-off log from a crash.
    const LOST: &str = "the store has lost acknowledged writes";
    let path = wal(&world, node);
    let sound = fs::read(&path).unwrap();
    assert!(sound.len() > 4_096, "the log has something in it: {} bytes", sound.len());
    for at in [sound.len() / 4, sound.len() / 2] {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        refuses_to_start(&world, node, &format!("bit flip at {at} of {}", sound.len()), "Corruption");
    }
    for length in [sound.len() / 2, 0] {
        fs::write(&path, &sound[..length]).unwrap();
        refuses_to_start(&world, node, &format!("truncated to {length}"), LOST);
    }
    fs::remove_file(&path).unwrap();
    refuses_to_start(&world, node, "removed", LOST);

    // Nothing was made worse by looking: with its own bytes back the node serves again.
    fs::write(&path, &sound).unwrap();
    world.cluster.start_node(node).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let client = world.client_of("v1", node);
    for (signature, params) in votes {
        assert_eq!(client.sign(&params).await.unwrap().signature, signature);
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
    world.client("v1").sign(&world.params(KeyType::Grandpa, &vote)).await.unwrap();
}
