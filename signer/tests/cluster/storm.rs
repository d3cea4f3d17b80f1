//! Many clients with conflicting requests, and a leader that dies among them.

use crate::common::{Answer, World, code, receipt};
use signonce_cli::{
    commands::demo::{
        chain::{self, Flavour},
        checker::{self, Receipt},
    },
    dev::Signal,
};
use signonce_protocol::{
    KeyType, RawPayload,
    client::ClientError,
    rpc::{ErrorCode, SignVerdict},
};
use signonce_substrate::{BEEFY, GRANDPA, GrandpaStage, PARA, Round, SessionIndex, SetId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

pub const CLIENTS: [&str; 8] = ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"];

/// A duty, and the two payloads for it.
#[derive(Clone)]
pub struct Duel {
    pub key_type: KeyType,
    pub payloads: [RawPayload; 2],
}

/// Duties of three schemes; few enough that the ledger keeps all of them.
pub fn duels(count: u64) -> Vec<Duel> {
    let views = [Flavour(0), Flavour(1)];
    let each = (1..=count).flat_map(|n| {
        let votes = views.map(|view| chain::vote(SetId(1), Round(n), GrandpaStage::Prevote, n, view));
        let commitments = views.map(|view| chain::commitment(SetId(1), n, view));
        let disputes = [true, false].map(|valid| chain::dispute(SessionIndex(1), n, valid));
        [(GRANDPA, votes), (BEEFY, commitments), (PARA, disputes)]
    });
    each.map(|(key_type, payloads)| Duel { key_type, payloads }).collect()
}

/// One answer: who asked what.
pub struct Said {
    pub client: &'static str,
    pub duel: usize,
    pub side: usize,
    pub answer: Answer,
}

/// Every client asks for every duty, half of them for the one payload and half for the other. `progress` counts
/// answers.
pub fn storm(world: &World, duels: &Arc<Vec<Duel>>, progress: &Arc<AtomicUsize>) -> JoinSet<Vec<Said>> {
    let mut tasks = JoinSet::new();
    for (number, client) in CLIENTS.into_iter().enumerate() {
        let connection = world.client(client);
        let (duels, progress) = (Arc::clone(duels), Arc::clone(progress));
        let side = number % 2;
        let params: Vec<_> =
            duels.iter().map(|duel| world.params(duel.key_type, &duel.payloads[side])).collect();
        tasks.spawn(async move {
            let mut said = Vec::new();
            for (duel, params) in params.iter().enumerate() {
                let answer = connection.sign(params).await;
                progress.fetch_add(1, Ordering::Relaxed);
                said.push(Said { client, duel, side, answer });
            }
            said
        });
    }
    tasks
}

/// Every answer is a signature or the refusal of the other payload; the checker finds no fault; every duty has a
/// winner. Gives the winners: side and signature by duty.
pub fn judge(world: &World, duels: &[Duel], all: &[Said]) -> BTreeMap<usize, (usize, Vec<u8>)> {
    let mut receipts: Vec<Receipt> = Vec::new();
    let mut winners = BTreeMap::new();
    for Said { client, duel, side, answer } in all {
        match answer {
            Ok(reply) => {
                let Duel { key_type, payloads } = &duels[*duel];
                receipts.push(receipt(client, world.key(*key_type), &payloads[*side], reply));
                winners.insert(*duel, (*side, reply.signature.0.clone()));
            }
            Err(ClientError::Refused(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::Equivocation, "{refusal}")
            }
            Err(other) => panic!("{client}, duty {duel}: {other}"),
        }
    }
    let findings = checker::check(&receipts);
    assert_eq!(findings.violations, []);
    assert_eq!(findings.duties, duels.len() as u64, "somebody won every duty");
    winners
}

/// Every node gives the winner's signature again and refuses the other payload.
pub async fn remembers(world: &World, duels: &[Duel], winners: &BTreeMap<usize, (usize, Vec<u8>)>) {
    for node in world.cluster.node_ids() {
        let client = world.client_of(CLIENTS[0], node);
        for (duel, (side, signature)) in winners {
            let Duel { key_type, payloads } = &duels[*duel];
            let again = client.sign(&world.params(*key_type, &payloads[*side])).await.unwrap();
            assert_eq!(again.verdict, SignVerdict::Repeated, "node {node}, duty {duel}");
            assert_eq!(again.signature.0, *signature, "node {node}, duty {duel}");
            let other = client.sign(&world.params(*key_type, &payloads[1 - side])).await;
            assert_eq!(code(&other), ErrorCode::Equivocation, "node {node}, duty {duel}");
        }
    }
}

pub async fn finish(mut tasks: JoinSet<Vec<Said>>) -> Vec<Said> {
    let mut all = Vec::new();
    while let Some(said) = tasks.join_next().await {
        all.extend(said.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_conflicting_requests_survives_kill_9_of_the_leader() {
    let mut world = World::start(&CLIENTS).await;
    let duels = Arc::new(duels(80));
    let progress = Arc::new(AtomicUsize::new(0));
    let leader = world.cluster.leader().await.unwrap();
    let tasks = storm(&world, &duels, &progress);
    let third = duels.len() * CLIENTS.len() / 3;
    crate::common::until("a third of the storm is over", async || {
        (progress.load(Ordering::Relaxed) >= third).then_some(())
    })
    .await;
    world.cluster.signal(leader, Signal::Kill).unwrap();
    world.cluster.wait_exit(leader, Duration::from_secs(10)).unwrap();
    assert!(progress.load(Ordering::Relaxed) < duels.len() * CLIENTS.len(), "it died in the middle");
    let all = finish(tasks).await;
    let winners = judge(&world, &duels, &all);

    world.cluster.start_node(leader).unwrap();
    world.cluster.wait_ready(crate::common::PATIENCE).await.unwrap();
    remembers(&world, &duels, &winners).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_nodes_killed_and_restarted_remember_every_duty() {
    let mut world = World::start(&CLIENTS).await;
    let duels = Arc::new(duels(30));
    let tasks = storm(&world, &duels, &Arc::default());
    let all = finish(tasks).await;
    let winners = judge(&world, &duels, &all);
    for node in world.cluster.node_ids() {
        world.cluster.signal(node, Signal::Kill).unwrap();
    }
    for node in world.cluster.node_ids() {
        world.cluster.wait_exit(node, Duration::from_secs(10)).unwrap();
    }
    world.cluster.start_all().unwrap();
    world.cluster.wait_ready(crate::common::PATIENCE).await.unwrap();
    remembers(&world, &duels, &winners).await;
}
