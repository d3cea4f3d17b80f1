//! A node is ready while it gets things done: what it waits for without end makes it say no, and what.

use crate::{
    common::{PATIENCE, World, get, until},
    seeing::Scrape,
};
use signonce_cli::{commands::demo::chain, dev::Signal};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_has_lost_its_followers_is_not_ready_and_names_them() {
    let mut world = World::start(&["v1"]).await;
    let leader = world.leader_other_than(None).await;
    let others: Vec<u64> = world.cluster.node_ids().into_iter().filter(|node| *node != leader).collect();
    for node in &others {
        world.cluster.signal(*node, Signal::Stop).unwrap();
    }
    let who = format!("nothing is heard of node {} and node {}", others[0], others[1]);
    until("the node says what is missing", async || {
        let (status, why) = world.readyz(leader).await?;
        (status == 503 && why.contains(&who)).then_some(())
    })
    .await;
    // It gets older while nothing changes, and the alert's bound is passed.
    until("the wait is measured", async || {
        let (_, text) = get(world.cluster.metrics_address(leader), "/metrics").await?;
        let scrape = Scrape::parse(&text);
        let waits = scrape.value("signonce_unfinished_seconds", &[("what", "quorum")])?;
        (waits > 3.0 && scrape.value("signonce_ready", &[])? == 0.0).then_some(())
    })
    .await;
    // Its disk and its thread are well: only the others are missing.
    let scrape = Scrape::of(&world, leader).await;
    for what in ["fsync", "write", "consensus", "apply"] {
        let age = scrape.value("signonce_unfinished_seconds", &[("what", what)]).unwrap();
        assert!(age < 3.0, "{what}: {age} s");
    }
    for node in others {
        world.cluster.signal(node, Signal::Cont).unwrap();
    }
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let vote = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(0));
    world.client_of("v1", leader).sign(&world.params(GRANDPA, &vote)).await.unwrap();
}
