//! What a rolling upgrade relies on: nodes restarted one after the other under load, and a feature level that rises by
//! itself and never lets an older program in.

use crate::{
    common::{PATIENCE, run, until},
    steady::Steady,
};
use signonce_cli::dev::{LocalOptions, Signal};
use signonce_core::{FEATURE_LEVEL, FIRST_LEVEL};

#[tokio::test(flavor = "multi_thread")]
async fn the_feature_level_is_the_newest_by_itself_once_every_member_has_said_what_it_supports() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions { binary: Some(crate::common::BINARY.into()), ..LocalOptions::default() };
    signonce_shared::families::install();
    let mut cluster = signonce_cli::dev::LocalCluster::create(&dir.path().join("cluster"), options).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).await.unwrap();
    for node in cluster.node_ids() {
        let admin = cluster.admin(node);
        let status = until("the level is the newest, and nobody holds it back", async || {
            let status = admin.status().await.ok()?;
            (status.feature_level == FEATURE_LEVEL && status.feature_held_back_by.is_empty())
                .then_some(status)
        })
        .await;
        assert_eq!(status.feature_newest, FEATURE_LEVEL);
    }
    let socket = format!("unix:{}", cluster.admin_socket(1).display());
    let shown = run(&["status", "--admin", &socket]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("level      {FEATURE_LEVEL}\n")), "{shown}");
    let logs: Vec<String> =
        cluster.node_ids().iter().map(|id| std::fs::read_to_string(cluster.log_path(*id)).unwrap()).collect();
    let told = logs.iter().map(|log| log.matches("the feature level rises").count()).sum::<usize>();
    // A new cluster begins with the first level.
    let rises = usize::from(FEATURE_LEVEL > FIRST_LEVEL);
    assert_eq!(told, rises, "the leader says it, once:\n{}", logs.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_restarted_one_after_the_other_and_no_request_fails() {
    let (mut world, steady) = Steady::begin().await;
    let leader = world.leader_other_than(None).await;
    let followers = world.cluster.node_ids().into_iter().filter(|node| *node != leader);
    for node in followers.chain([leader]).collect::<Vec<_>>() {
        world.cluster.signal(node, Signal::Term).unwrap();
        assert!(world.cluster.wait_exit(node, PATIENCE).unwrap().success());
        steady.serves(50).await;
        world.cluster.start_node(node).unwrap();
        world.cluster.wait_ready(PATIENCE).await.unwrap();
    }
    steady.end().await;
}
