//! A cluster whose machines were all set back to yesterday: only a client that was there can tell.

use crate::common::{PATIENCE, World, code, copy_dir, decoded, run, until};
use signonce_cli::{commands::demo::chain, dev::Signal};
use signonce_core::{Floors, KeyState, Position};
use signonce_keys::SecretKey;
use signonce_protocol::{
    KeyId, LogIndex, RawPayload,
    rpc::{ChainRef, ErrorCode, LastSigned, SignParams, SignReply, SignVerdict, Signed},
};
use signonce_shared::{
    enroll::{NewKey, enroll, recipients},
    tls,
};
use signonce_substrate::{BEEFY, ED25519, GRANDPA, GRANDPA_VOTE, GrandpaStage, Kind, Round, SetId};
use std::time::Duration;

fn vote(round: u64, view: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(view))
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
    let client = world.client("v1");
    for round in 1..=5 {
        client.sign(&world.params(GRANDPA, &vote(round, 0))).await.unwrap();
    }
    let slot = world.next_slot();
    stop_all(&mut world);
    for node in world.cluster.node_ids() {
        copy_dir(&world.cluster.data_dir(node), &world.scratch(&format!("yesterday-{node}")));
    }
    world.cluster.start_all().unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    for round in 6..=10 {
        client.sign(&world.params(GRANDPA, &vote(round, 0))).await.unwrap();
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
    let refused = client.sign(&world.params(GRANDPA, &vote(8, 1))).await;
    assert_eq!(code(&refused), ErrorCode::KeyHalted);
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("rolled back") && told.contains("watermarks raise"), "{told}");
    // From then on for everybody, on every node, and for this key alone.
    for node in world.cluster.node_ids() {
        let answer = world.client_of("v2", node).sign(&world.params(GRANDPA, &vote(11, 0))).await;
        assert_eq!(code(&answer), ErrorCode::KeyHalted, "node {node}");
    }
    let beefy = chain::commitment(SetId(1), slot.0, chain::Flavour(0));
    client.sign(&world.params(BEEFY, &beefy)).await.expect("other keys sign");
    let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
    let listed = run(&["keys", "list", "--admin", &admin]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("HALTED"), "{listed:?}");

    // A raise that is not past what was forgotten changes nothing; one that is lifts the halt.
    let key = format!("gran:{}", world.key(GRANDPA).public);
    let raise = |to: &str| {
        let done = run(&["watermarks", "raise", &key, "--to", to, "--yes", "--admin", &admin]);
        assert!(done.status.success(), "{done:?}");
    };
    raise("1:10");
    let answer = client.sign(&world.params(GRANDPA, &vote(12, 0))).await;
    assert_eq!(code(&answer), ErrorCode::KeyHalted);
    raise("1:11");
    let answer = client.sign(&world.params(GRANDPA, &vote(8, 1))).await;
    assert_eq!(code(&answer), ErrorCode::BelowWatermark);
    client.sign(&world.params(GRANDPA, &vote(12, 0))).await.unwrap();
    let row = world.cluster.admin(1).keys().await.unwrap();
    let row = row.into_iter().find(|row| row.id.key_type == GRANDPA).unwrap();
    assert_eq!((row.state, row.halted), (KeyState::Armed, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_merely_lags_halts_nothing() {
    let mut world = World::start(&["v1"]).await;
    let leader = world.leader_other_than(None).await;
    let node = world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap();
    let ca = world.client_tls_config("v1");
    let url = world.cluster.urls()[usize::try_from(node).unwrap() - 1].clone();

    world.cluster.signal(node, Signal::Stop).unwrap();
    let client = world.client_of("v1", leader);
    let mut last = None;
    for round in 1..=30 {
        let payload = vote(round, 0);
        let reply = client.sign(&world.params(GRANDPA, &payload)).await.unwrap();
        assert_eq!(reply.verdict, SignVerdict::Granted);
        let (log_index, duty) = (reply.log_index.unwrap(), reply.duty.unwrap());
        let signed = Some(Signed { payload: payload.clone(), signature: reply.signature });
        last = Some(LastSigned { log_index, duty, digest: payload.digest(), signed });
    }
    world.cluster.signal(node, Signal::Cont).unwrap();
    let params = world.params(GRANDPA, &vote(31, 0));
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

/// What a request with this `lastSigned` is answered by a node, as JSON.
async fn ask(
    world: &World,
    node: u64,
    client: &str,
    params: &SignParams,
    shown: &LastSigned,
) -> serde_json::Value {
    let request = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "signer_sign",
        "params": { "chain": params.chain, "key": params.key, "payload": params.payload, "lastSigned": shown },
    });
    let url = &world.cluster.urls()[usize::try_from(node).unwrap() - 1];
    let body = serde_json::to_vec(&request).unwrap();
    let (_, answer) = crate::common::post(url, world.client_tls_config(client), body).await.unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// A GRANDPA key of the cluster whose secret is elsewhere too, armed from set 1 round 1.
async fn leaked_key(world: &World) -> SecretKey {
    let secret = || SecretKey::from_seed(ED25519, &[7; 32]).unwrap();
    let admin = world.cluster.admin(1);
    let genesis = world.cluster.genesis();
    let recipients = recipients(&admin).await.unwrap();
    let id = KeyId { key_type: GRANDPA, public: secret().public() };
    let floors = Floors::from(Position::new(GRANDPA_VOTE, &[1, 1]).unwrap());
    let key = NewKey { id, secret: secret(), group: Some("leaked".into()), floors };
    enroll(&admin, genesis, &recipients, &key).await.unwrap();
    for node in world.cluster.node_ids() {
        let admin = world.cluster.admin(node);
        until("every node knows the key", async || {
            admin
                .keys()
                .await
                .ok()?
                .iter()
                .any(|row| row.id == id && row.state == KeyState::Armed)
                .then_some(())
        })
        .await;
    }
    secret()
}

/// What a client shows that has this payload signed with this key.
fn shown_of(key: &SecretKey, payload: &RawPayload) -> LastSigned {
    let decoded = decoded(payload);
    let signature = key.sign(decoded.to_sign()).unwrap().as_bytes().to_vec().into();
    LastSigned {
        log_index: LogIndex(1),
        duty: decoded.duty().unwrap().to_any(),
        digest: decoded.digest(),
        signed: Some(Signed { payload: payload.clone(), signature }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_halts_nobody_and_a_halt_at_the_end_of_all_numbers_ends() {
    let world = World::start(&["v1", "v2"]).await;
    let secret = leaked_key(&world).await;
    let params = |round| SignParams {
        chain: ChainRef::Id(world.cluster.genesis()),
        key: secret.public(),
        payload: vote(round, 0),
    };
    let vote_at = |set: u64, round: u64| {
        chain::vote(SetId(set), Round(round), GrandpaStage::Prevote, 1, chain::Flavour(0))
    };
    let end = vote_at(u64::MAX, u64::MAX);
    let proof = shown_of(&secret, &end);

    // Only said, and at the end of all numbers.
    let bare = LastSigned { signed: None, ..proof.clone() };
    let answer = ask(&world, 1, "v1", &params(1), &bare).await;
    assert_eq!(answer["error"]["data"]["code"], "notReady", "{answer}");
    assert_eq!(answer["error"]["data"]["showSigned"], true, "{answer}");
    // Said with a signature that is another key's, or over other bytes, or with the duty of other bytes.
    let other = SecretKey::from_seed(ED25519, &[8; 32]).unwrap();
    let forged = shown_of(&other, &end);
    let mut moved = shown_of(&secret, &vote_at(1, 3));
    moved.signed.as_mut().unwrap().payload = end.clone();
    (moved.duty, moved.digest) = (proof.duty.clone(), proof.digest);
    let mut nonsense = proof.clone();
    nonsense.signed.as_mut().unwrap().payload = RawPayload::new(Kind::GrandpaVote.into(), vec![9; 53]);
    let mut foreign = proof.clone();
    foreign.signed.as_mut().unwrap().payload = chain::commitment(SetId(1), 1, chain::Flavour(0));
    for lie in [forged, moved, nonsense, foreign] {
        let answer = ask(&world, 2, "v1", &params(1), &lie).await;
        assert_eq!(answer["error"]["data"]["code"], "invalidParams", "{answer}");
    }
    for node in world.cluster.node_ids() {
        let signed = world.client_of("v2", node).sign(&params(node)).await;
        signed.unwrap_or_else(|error| panic!("node {node}: {error}"));
    }
    assert!(world.cluster.admin(1).keys().await.unwrap().iter().all(|row| row.halted.is_none()));
    // What is said of duty and digest counts for nothing where the bytes say otherwise: those are known.
    let known = shown_of(&secret, &vote(1, 0));
    let mixed = LastSigned { duty: proof.duty.clone(), digest: proof.digest, ..known };
    let answer = ask(&world, 1, "v1", &params(4), &mixed).await;
    assert_eq!(answer["result"]["verdict"], "granted", "{answer}");

    // Really signed, by whoever has the secret.
    let answer = ask(&world, 3, "v1", &params(5), &proof).await;
    assert_eq!(answer["error"]["data"]["code"], "keyHalted", "{answer}");
    let refused = world.client("v2").sign(&params(5)).await;
    assert_eq!(code(&refused), ErrorCode::KeyHalted);
    let admin = format!("unix:{}", world.cluster.admin_socket(2).display());
    let key = format!("gran:{}", secret.public());
    let lift = |from: &str| run(&["watermarks", "lift", &key, "--from", from, "--yes", "--admin", &admin]);
    assert!(!lift("0:1").status.success(), "a floor never goes down");
    let lifted = lift("1:5");
    assert!(lifted.status.success(), "{lifted:?}");
    until("the key signs again", async || world.client("v2").sign(&params(5)).await.ok()).await;
    let shown = run(&["watermarks", "show", &key, "--admin", &admin]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("is barred"), "{shown:?}");
    // Shown again it stops nothing, and it is never signed.
    let answer = ask(&world, 1, "v1", &params(6), &proof).await;
    assert_eq!(answer["result"]["verdict"], "granted", "{answer}");
    let there = SignParams { payload: end, ..params(1) };
    assert_eq!(code(&world.client("v2").sign(&there).await), ErrorCode::BelowWatermark);
}

impl World {
    /// What a client shows and trusts, for requests by hand.
    fn client_tls_config(&self, name: &str) -> rustls::ClientConfig {
        let files = self.cluster.client_tls(name);
        let files = signonce_shared::config::TlsFiles { ca: files.ca, cert: files.cert, key: files.key };
        tls::client_config(&files).unwrap()
    }
}
