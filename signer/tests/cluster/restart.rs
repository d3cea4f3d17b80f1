//! Planned restarts: nobody notices.

use crate::common::{PATIENCE, World, until};
use signonce::{cli::demo::chain, dev::Signal};
use signonce_protocol::{GrandpaStage, KeyType, Round, SetId, rpc::SignVerdict};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::task::JoinSet;

const CLIENTS: [&str; 4] = ["v1", "v2", "v3", "v4"];

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_over_leadership_without_a_failed_request() {
    let mut world = World::start(&CLIENTS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for (set, name) in CLIENTS.into_iter().enumerate() {
        // A set each: no two clients want the same duty, so every request must be signed.
        let set = SetId(set as u64 + 1);
        let client = world.client(name);
        let params = world.params(KeyType::Grandpa, &vote(set, 1));
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        tasks.spawn(async move {
            for round in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let mut params = params.clone();
                params.payload = vote(set, round);
                let reply = client.sign(&params).await.unwrap();
                assert!(matches!(reply.verdict, SignVerdict::Granted | SignVerdict::Repeated));
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let at_least = |more: usize| {
        let (goal, served) = (served.load(Ordering::Relaxed) + more, Arc::clone(&served));
        async move {
            until("requests are served", async || (served.load(Ordering::Relaxed) >= goal).then_some(()))
                .await
        }
    };
    at_least(100).await;
    for _ in 0..2 {
        let leader = world.cluster.leader().await.unwrap();
        world.cluster.signal(leader, Signal::Term).unwrap();
        let status = world.cluster.wait_exit(leader, PATIENCE).unwrap();
        assert!(status.success(), "{status}");
        let heir = world.leader_other_than(Some(leader)).await;
        assert_ne!(heir, leader);
        let log = std::fs::read_to_string(world.cluster.log_path(leader)).unwrap();
        assert!(log.contains("leadership handed over"), "it was handed over, not lost:\n{log}");
        at_least(100).await;
        world.cluster.start_node(leader).unwrap();
        world.cluster.wait_ready(PATIENCE).await.unwrap();
    }
    at_least(100).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.expect("no request failed");
    }
}

fn vote(set: SetId, round: u64) -> signonce_protocol::RawPayload {
    chain::vote(set, Round(round), GrandpaStage::Prevote, round, chain::Flavour(0))
}
