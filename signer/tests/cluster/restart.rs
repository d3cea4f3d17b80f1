//! Planned restarts: nobody notices.

use crate::common::{PATIENCE, World, until};
use signonce::{
    cli::demo::chain,
    dev::{LocalOptions, Signal},
};
use signonce_protocol::{
    GrandpaStage, KeyType, RawPayload, Round, SetId,
    rpc::{SignParams, SignVerdict},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::task::JoinSet;

const CLIENTS: [&str; 4] = ["v1", "v2", "v3", "v4"];

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_over_leadership_without_a_failed_request() {
    // A key each: no two clients want the same duty, so every request must be signed.
    let mut world = World::with(LocalOptions {
        validators: CLIENTS.len(),
        clients: CLIENTS.map(str::to_owned).to_vec(),
        ..LocalOptions::default()
    })
    .await;
    let keys: Vec<_> = world.keys.iter().filter(|key| key.key_type == KeyType::Grandpa).cloned().collect();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for (name, key) in CLIENTS.into_iter().zip(&keys) {
        let client = world.client(name);
        let params = SignParams { key: key.public, ..world.params(KeyType::Grandpa, &vote(1)) };
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        tasks.spawn(async move {
            for round in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let mut params = params.clone();
                params.payload = vote(round);
                let reply = client.sign(&params).await.unwrap();
                // Repeated where the first answer was lost with its connection and the client asked again.
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

fn vote(round: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0))
}
