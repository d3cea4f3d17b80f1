//! A cluster whose machines were all set back to yesterday: only a client that was there can tell.

use crate::common::{PATIENCE, World, code, copy_dir, run, until};
use signonce::{cli::demo::chain, dev::Signal, server::tls};
use signonce_core::KeyState;
use signonce_protocol::{
    GrandpaStage, KeyType, RawPayload, Round, SetId,
    rpc::{ErrorCode, LastSigned, SignReply, SignVerdict},
};
use std::time::Duration;

fn vote(round: u64, view: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(view))
}

/// Signs nothing before the feature level is there that the echo needs.
async fn level_2(world: &World) {
    until("the feature level rises", async || {
        let status = world.cluster.admin(1).status().await.ok()?;
        (status.feature_level >= 2).then_some(())
    })
    .await;
}

fn stop_all(world: &mut World) {
    for node in world.cluster.node_ids() {
        world.cluster.signal(node, Signal::Term).unwrap();
        world.cluster.wait_exit(node, PATIENCE).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_cluster_halts_the_key_that_a_client_has_later_signatures_of() {
    let mut world = World::start(&["v1", "v2"]).await;
    level_2(&world).await;
    let client = world.client("v1");
    for round in 1..=5 {
        client.sign(&world.params(KeyType::Grandpa, &vote(round, 0))).await.unwrap();
    }
    let slot = world.next_slot();
    stop_all(&mut world);
    for node in world.cluster.node_ids() {
        copy_dir(&world.cluster.data_dir(node), &world.scratch(&format!("yesterday-{node}")));
    }
    world.cluster.start_all().unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    for round in 6..=10 {
        client.sign(&world.params(KeyType::Grandpa, &vote(round, 0))).await.unwrap();
    }

    stop_all(&mut world);
    for node in world.cluster.node_ids() {
        let data = world.cluster.data_dir(node);
        std::fs::remove_dir_all(&data).unwrap();
        copy_dir(&world.scratch(&format!("yesterday-{node}")), &data);
    }
    world.cluster.start_all().unwrap();
    // Nothing among the three is wrong: they agree on yesterday.
    world.cluster.wait_ready(PATIENCE).await.unwrap();

    // Even for what the old state would sign again: the client has a signature that it does not know.
    let refused = client.sign(&world.params(KeyType::Grandpa, &vote(8, 1))).await;
    assert_eq!(code(&refused), ErrorCode::KeyHalted);
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("rolled back") && told.contains("watermarks raise"), "{told}");
    // From then on for everybody, on every node, and for this key alone.
    for node in world.cluster.node_ids() {
        let answer = world.client_of("v2", node).sign(&world.params(KeyType::Grandpa, &vote(11, 0))).await;
        assert_eq!(code(&answer), ErrorCode::KeyHalted, "node {node}");
    }
    let beefy = chain::commitment(SetId(1), slot.0, chain::Flavour(0));
    client.sign(&world.params(KeyType::Beefy, &beefy)).await.expect("other keys sign");
    let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
    let listed = run(&["keys", "list", "--admin", &admin]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("HALTED"), "{listed:?}");

    // A raise that is not past what was forgotten changes nothing; one that is lifts the halt.
    let key = format!("gran:{}", world.key(KeyType::Grandpa).public);
    let raise = |to: &str| {
        let done = run(&["watermarks", "raise", &key, "--to", to, "--yes", "--admin", &admin]);
        assert!(done.status.success(), "{done:?}");
    };
    raise("1:10");
    let answer = client.sign(&world.params(KeyType::Grandpa, &vote(12, 0))).await;
    assert_eq!(code(&answer), ErrorCode::KeyHalted);
    raise("1:11");
    let answer = client.sign(&world.params(KeyType::Grandpa, &vote(8, 1))).await;
    assert_eq!(code(&answer), ErrorCode::BelowWatermark);
    client.sign(&world.params(KeyType::Grandpa, &vote(12, 0))).await.unwrap();
    let row = world.cluster.admin(1).keys().await.unwrap();
    let row = row.into_iter().find(|row| row.id.key_type == KeyType::Grandpa).unwrap();
    assert_eq!((row.state, row.halted), (KeyState::Armed, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_merely_lags_halts_nothing() {
    let mut world = World::start(&["v1"]).await;
    level_2(&world).await;
    let leader = world.leader_other_than(None).await;
    let node = world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap();
    let ca = world.client_tls_config("v1");
    let url = world.cluster.urls()[usize::try_from(node).unwrap() - 1].clone();

    world.cluster.signal(node, Signal::Stop).unwrap();
    let client = world.client_of("v1", leader);
    let mut last = None;
    for round in 1..=30 {
        let payload = vote(round, 0);
        let reply = client.sign(&world.params(KeyType::Grandpa, &payload)).await.unwrap();
        assert_eq!(reply.verdict, SignVerdict::Granted);
        let (log_index, duty) = (reply.log_index.unwrap(), reply.duty.unwrap());
        last = Some(LastSigned { log_index, duty, digest: payload.digest() });
    }
    world.cluster.signal(node, Signal::Cont).unwrap();
    let params = world.params(KeyType::Grandpa, &vote(31, 0));
    let request = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "signer_sign",
        "params": { "chain": params.chain, "key": params.key, "payload": params.payload, "lastSigned": last },
    });
    // The frozen node is asked at once: it may say that it is not ready, but never that it was rolled back.
    let reply: SignReply = until("the node answers", async || {
        let body = serde_json::to_vec(&request).unwrap();
        let (_, answer) = crate::common::post(&url, ca.clone(), body).await.ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        assert_ne!(answer["error"]["data"]["code"], "keyHalted", "{answer}");
        serde_json::from_value(answer["result"].clone()).ok()
    })
    .await;
    assert!(reply.log_index.is_some());
    tokio::time::timeout(Duration::from_secs(5), world.cluster.admin(leader).keys())
        .await
        .unwrap()
        .unwrap()
        .into_iter()
        .for_each(|row| assert_eq!(row.halted, None, "{}", row.id));
}

impl World {
    /// What a client shows and trusts, for requests by hand.
    fn client_tls_config(&self, name: &str) -> rustls::ClientConfig {
        let files = self.cluster.client_tls(name);
        let files = signonce::config::TlsFiles { ca: files.ca, cert: files.cert, key: files.key };
        tls::client_config(&files).unwrap()
    }
}
