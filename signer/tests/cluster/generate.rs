//! Keys that the cluster makes for a client: as `author_rotateKeys` on a validator asks for them.

use crate::common::{PATIENCE, World, code_of, decoded, run, until};
use signonce_cli::{
    commands::demo::chain::{self, Flavour},
    dev::Signal,
};
use signonce_core::{Change, KeyState};
use signonce_keys::verify;
use signonce_protocol::{
    KeyType, PublicKey, RawPayload,
    client::{ClientError, SignerClient},
    rpc::{
        ChainRef, ErrorCode, GenerateKeyParams, GenerateKeyReply, KeyInfo, KeysEvent, RpcError, SignParams,
        SignVerdict,
    },
};
use signonce_substrate::{BABE, BEEFY, GRANDPA, GrandpaStage, Kind, Round, SetId};
use std::{collections::BTreeSet, time::Duration};

/// A cluster whose clients have no right at all.
async fn world(clients: &[&str]) -> World {
    let world = World::start(clients).await;
    for name in clients {
        let none = Change::UpdateClient { name: (*name).into(), spki: None, rights: Some(vec![]) };
        world.cluster.admin(1).change(&none).await.unwrap();
    }
    world
}

/// What an operator types at a node.
fn operate(world: &World, node: u64, arguments: &[&str]) -> String {
    let admin = format!("unix:{}", world.cluster.admin_socket(node).display());
    let output = run(&[arguments, &["--yes", "--admin", &admin]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said.into_owned()
}

fn ask(world: &World, key_type: KeyType) -> GenerateKeyParams {
    GenerateKeyParams { chain: ChainRef::Id(world.cluster.genesis()), key_type }
}

fn refusal(answer: Result<GenerateKeyReply, ClientError>) -> RpcError {
    match answer {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// Asks for a signature until the node that answers knows the key, and checks it.
async fn signs(
    client: &SignerClient,
    world: &World,
    key: &GenerateKeyReply,
    payload: &RawPayload,
) -> SignVerdict {
    let chain = ChainRef::Id(world.cluster.genesis());
    let params = SignParams { chain, key: key.public, payload: payload.clone() };
    let reply = until("the new key signs", async || match client.sign(&params).await {
        Ok(reply) => Some(reply),
        Err(error) => {
            assert!(matches!(code_of(&error), Some(ErrorCode::UnknownKey | ErrorCode::Forbidden)), "{error}");
            None
        }
    })
    .await;
    assert!(verify(key.scheme, &key.public, decoded(payload).to_sign(), &reply.signature.0));
    reply.verdict
}

/// `POP_` and an account, which the key signs to show that it agrees to be that account's.
fn ownership_proof() -> RawPayload {
    RawPayload::new(Kind::OwnershipProof.into(), [&b"POP_"[..], &[0xaa; 32]].concat())
}

fn publics(keys: &[KeyInfo]) -> BTreeSet<PublicKey> {
    keys.iter().map(|key| key.public).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_keys_made_only_with_leave_and_is_told_how_to_get_it() {
    let world = world(&["v1"]).await;
    for node in world.cluster.node_ids() {
        let refused = refusal(world.client_of("v1", node).generate_key(&ask(&world, BABE)).await);
        assert_eq!(refused.code, ErrorCode::Forbidden);
        assert!(refused.message.contains("signonce clients update v1 --may-generate"), "{refused}");
    }
    operate(&world, 2, &["clients", "update", "v1", "--may-generate"]);
    let elsewhere = GenerateKeyParams { chain: ChainRef::Name("nowhere".into()), key_type: BABE };
    let client = world.client("v1");
    assert_eq!(refusal(client.generate_key(&elsewhere).await).code, ErrorCode::WrongChain);
    client.generate_key(&ask(&world, BABE)).await.unwrap();
    operate(&world, 3, &["clients", "update", "v1", "--no-generate"]);
    let again = until("every node knows", async || client.generate_key(&ask(&world, BABE)).await.err()).await;
    assert_eq!(code_of(&again), Some(ErrorCode::Forbidden));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_through_any_node_signs_through_every_node_for_its_client_alone() {
    let world = world(&["v1", "v2"]).await;
    operate(&world, 1, &["clients", "update", "v1", "--may-generate", "--key-group", "rotated"]);
    let mut events = world.client("v1").subscribe_keys().await.unwrap();
    let first = events.next().await.unwrap();
    assert!(matches!(&first, KeysEvent::All { keys, .. } if keys.is_empty()), "{first:?}");
    let mut seen = BTreeSet::new();
    let nodes = world.cluster.node_ids();
    assert!(world.cluster.leader().await.is_some(), "so two of the three asked now are followers");
    for (round, node) in (1..).zip(&nodes) {
        let asked = world.client_of("v1", *node);
        until("the node knows of the leave", async || {
            let made = asked.generate_key(&ask(&world, BEEFY)).await;
            made.inspect_err(|error| assert_eq!(code_of(error), Some(ErrorCode::Forbidden))).ok()
        })
        .await;
        let key = asked.generate_key(&ask(&world, GRANDPA)).await.unwrap();
        assert!(seen.insert(key.public), "each call makes another key");
        assert!(
            publics(&asked.keys().await.unwrap()).contains(&key.public),
            "at once, on the node that made it"
        );
        let vote = chain::vote(SetId(70_000), Round(round), GrandpaStage::Prevote, 5, Flavour(0));
        let mut verdicts = Vec::new();
        for node in &nodes {
            let client = world.client_of("v1", *node);
            assert_eq!(signs(&client, &world, &key, &ownership_proof()).await, SignVerdict::Free);
            verdicts.push(signs(&client, &world, &key, &vote).await);
        }
        assert_eq!(verdicts, [SignVerdict::Granted, SignVerdict::Repeated, SignVerdict::Repeated]);
        let chain = ChainRef::Id(world.cluster.genesis());
        let other = SignParams { chain, key: key.public, payload: ownership_proof() };
        let refused = world.client_of("v2", *node).sign(&other).await.unwrap_err();
        assert_eq!(code_of(&refused), Some(ErrorCode::Forbidden));
    }
    let mut told = BTreeSet::new();
    while !seen.is_subset(&told) {
        match events.next().await.unwrap() {
            KeysEvent::All { keys, .. } => told.extend(publics(&keys)),
            KeysEvent::Changed { key, .. } => {
                assert_eq!(key.group.as_deref(), Some("rotated"));
                told.insert(key.public);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_holds_until_the_operator_makes_room() {
    let world = world(&["v1"]).await;
    operate(&world, 1, &["clients", "update", "v1", "--may-generate", "--key-limit", "2"]);
    let leader = world.leader_other_than(None).await;
    let client = world.client_of("v1", leader);
    let babe = ask(&world, BABE);
    let made = client.generate_key(&babe).await.unwrap();
    client.generate_key(&babe).await.unwrap();
    let refused = refusal(client.generate_key(&babe).await);
    assert_eq!(refused.code, ErrorCode::RateLimited);
    assert!(refused.message.contains("--key-limit 4"), "{refused}");
    operate(&world, leader, &["keys", "remove", &format!("babe:{}", made.public)]);
    client.generate_key(&babe).await.unwrap();
    assert_eq!(refusal(client.generate_key(&babe).await).code, ErrorCode::RateLimited);
    operate(&world, leader, &["clients", "update", "v1", "--may-generate", "--key-limit", "3"]);
    client.generate_key(&babe).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_while_keys_are_made_every_key_is_whole_and_those_told_of_sign() {
    let mut world = world(&["v1"]).await;
    operate(&world, 1, &["clients", "update", "v1", "--may-generate"]);
    let client = world.client("v1").with_deadline(Duration::from_secs(5));
    let gran = ask(&world, GRANDPA);
    let mut told = Vec::new();
    for _ in 0..3 {
        let leader = world.leader_other_than(None).await;
        let asking = {
            let (client, gran) = (client.clone(), gran.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                for _ in 0..4 {
                    match client.generate_key(&gran).await {
                        Ok(key) => made.push(key),
                        Err(ClientError::UnknownOutcome { .. } | ClientError::NotReady { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                made
            })
        };
        world.cluster.signal(leader, Signal::Kill).unwrap();
        world.cluster.wait_exit(leader, PATIENCE).unwrap();
        told.extend(asking.await.unwrap());
        world.cluster.start_node(leader).unwrap();
        world.cluster.wait_ready(PATIENCE).await.unwrap();
    }
    let rows = world.cluster.admin(1).keys().await.unwrap();
    let made: Vec<_> = rows.iter().filter(|row| row.group.as_deref() == Some("v1")).collect();
    assert!(made.iter().all(|row| row.state == KeyState::Armed), "{made:?}");
    let may_use = publics(&world.client_of("v1", 1).keys().await.unwrap());
    assert!(made.iter().all(|row| may_use.contains(&row.id.public)), "registered means granted");
    assert!(!told.is_empty());
    for key in &told {
        assert!(made.iter().any(|row| row.id.public == key.public));
        assert_eq!(signs(&client, &world, key, &ownership_proof()).await, SignVerdict::Free);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_no_key_is_made() {
    let mut world = world(&["v1"]).await;
    operate(&world, 1, &["clients", "update", "v1", "--may-generate"]);
    let leader = world.leader_other_than(None).await;
    let others: Vec<u64> = world.cluster.node_ids().into_iter().filter(|id| *id != leader).collect();
    for node in &others {
        world.cluster.signal(*node, Signal::Kill).unwrap();
        world.cluster.wait_exit(*node, PATIENCE).unwrap();
    }
    let client = world.client_of("v1", leader).with_deadline(Duration::from_secs(20));
    let babe = ask(&world, BABE);
    // A leader that has not noticed yet proposes it and cannot say what became of it.
    until("the leader steps down", async || match client.generate_key(&babe).await {
        Err(ClientError::NotReady { .. }) => Some(()),
        Err(ClientError::UnknownOutcome { .. }) => None,
        answer => panic!("{answer:?}"),
    })
    .await;
    for node in &others {
        world.cluster.start_node(*node).unwrap();
    }
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    client.generate_key(&babe).await.unwrap();
}
