//! A node that has lost its memory, and a node that exists twice, are kept out.

use crate::common::{PATIENCE, Stray, World, copy_dir, free_address, readyz, until};
use signonce_cli::{commands::demo::chain, dev::Signal};
use signonce_cluster::identity;
use signonce_protocol::rpc::SignVerdict;
use signonce_shared::config::IDENTITY_FILE;
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{fs, time::Duration};

/// Has some duties signed, from `first` on.
async fn sign_some(world: &World, first: u64) {
    let client = world.client("v1");
    for round in first..first + 20 {
        let vote = chain::vote(SetId(1), Round(round), GrandpaStage::Precommit, round, chain::Flavour(0));
        let reply = client.sign(&world.params(GRANDPA, &vote)).await.unwrap();
        assert_eq!(reply.verdict, SignVerdict::Granted);
    }
}

async fn a_follower(world: &World) -> u64 {
    let leader = world.leader_other_than(None).await;
    world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_follower_with_its_old_identity_is_refused() {
    let mut world = World::start(&["v1"]).await;
    sign_some(&world, 1).await;
    let wiped = a_follower(&world).await;
    world.cluster.signal(wiped, Signal::Kill).unwrap();
    world.cluster.wait_exit(wiped, PATIENCE).unwrap();

    // What a careless operator does: the same id on an empty disk, the sealed identity from the backup.
    let data = world.cluster.data_dir(wiped);
    let old = identity::read(&data).unwrap();
    let sealed = fs::read(data.join(IDENTITY_FILE)).unwrap();
    fs::remove_dir_all(&data).unwrap();
    let lost = fs::read(world.cluster.log_path(wiped)).unwrap().len();
    world.cluster.start_node(wiped).unwrap();
    assert!(!world.cluster.wait_exit(wiped, PATIENCE).unwrap().success(), "start never makes a store");
    let log = fs::read(world.cluster.log_path(wiped)).unwrap();
    let said = String::from_utf8_lossy(&log[lost..]).into_owned();
    assert!(said.contains("there is no store in"), "{said}");
    identity::create(&data, &old).unwrap();
    fs::write(data.join(IDENTITY_FILE), sealed).unwrap();

    // The first start is known to be a copy; later ones have a higher number, and then memory speaks.
    for start in 1..=3 {
        world.cluster.start_node(wiped).unwrap();
        let said = until("the wiped node says why it does not serve", async || {
            let (status, reasons) = world.readyz(wiped).await?;
            assert_eq!(status, 503, "start {start}: {reasons}");
            (reasons.contains("quarantine")).then_some(reasons)
        })
        .await;
        assert!(said.contains("node"), "it names who refuses it: {said}");
        sign_some(&world, 1_000 * start).await;
        assert_eq!(world.readyz(wiped).await.unwrap().0, 503, "start {start}: it stays out");
        world.cluster.signal(wiped, Signal::Kill).unwrap();
        world.cluster.wait_exit(wiped, PATIENCE).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_of_a_running_node_is_refused() {
    let mut world = World::start(&["v1"]).await;
    sign_some(&world, 1).await;
    let node = a_follower(&world).await;
    world.cluster.signal(node, Signal::Term).unwrap();
    world.cluster.wait_exit(node, PATIENCE).unwrap();
    let home = world.cluster.config_path(node).parent().unwrap().to_owned();
    let clone = world.scratch("clone");
    copy_dir(&home, &clone);
    world.cluster.start_node(node).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();

    let mut metrics = None;
    let config: toml::Table = fs::read_to_string(clone.join("signonce.toml")).unwrap().parse().unwrap();
    let mut config = config;
    let listen = config["listen"].as_table_mut().unwrap();
    for name in ["peer", "client", "admin", "metrics"] {
        let address = free_address();
        listen.insert(name.into(), toml::Value::String(address.to_string()));
        metrics = Some(address);
    }
    fs::write(clone.join("signonce.toml"), config.to_string()).unwrap();
    let _stray = Stray::start(&clone.join("signonce.toml"));
    let metrics = metrics.unwrap();
    let said = until("the clone says why it does not serve", async || {
        let (status, reasons) = readyz(metrics).await?;
        assert_eq!(status, 503, "{reasons}");
        reasons.contains("it is a copy").then_some(reasons)
    })
    .await;
    assert!(said.contains("same node id"), "{said}");
    sign_some(&world, 1_000).await;
    assert_eq!(readyz(metrics).await.unwrap().0, 503);
    // The original goes on as if nothing had been.
    world.cluster.wait_ready(Duration::from_secs(10)).await.unwrap();
}
