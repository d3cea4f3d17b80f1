//! Bad input gets a named error, and nothing is lost or burnt by it.

use crate::common::{PATIENCE, World, client, code, post, run, until};
use rustls::RootCertStore;
use serde_json::{Value, json};
use signonce_cli::{
    commands::demo::chain::{self, Flavour},
    dev::ClientFiles,
};
use signonce_core::{Change, KeySelector, Right};
use signonce_protocol::{
    KeyType, RawPayload, Slot,
    client::tls_from_pem,
    rpc::{ErrorCode, SignVerdict},
};
use signonce_shared::{
    certs::{Authority, Subject},
    tls::read_certificates,
};
use signonce_substrate::{BABE, BEEFY, BEEFY_VOTE, GRANDPA, GrandpaStage, Kind, PARA, Round, SetId};
use std::fs;

fn vote(set: u64, round: u64) -> RawPayload {
    chain::vote(SetId(set), Round(round), GrandpaStage::Prevote, 7, Flavour(0))
}

fn header(slot: Slot) -> RawPayload {
    chain::header(slot, &[1; 32], &[2; 64], Flavour(0))
}

fn tls(files: &ClientFiles) -> rustls::ClientConfig {
    let [ca, cert, key] = [&files.ca, &files.cert, &files.key].map(|path| fs::read(path).unwrap());
    tls_from_pem(&ca, &cert, &key).unwrap()
}

/// A request for a signature, as JSON that can be spoilt.
fn request(world: &World, key_type: KeyType, payload: &RawPayload) -> Value {
    let params = world.params(key_type, payload);
    json!({"jsonrpc": "2.0", "id": 1, "method": "signer_sign", "params": params})
}

/// The same with one thing put in another's place.
fn with(mut request: Value, pointer: &str, value: Value) -> Value {
    *request.pointer_mut(pointer).unwrap() = value;
    request
}

/// What is wrong, the request, and the name of the error it must get.
fn bad_requests(world: &World) -> Vec<(&'static str, Value, &'static str)> {
    let good = request(world, GRANDPA, &vote(1, 2));
    let grandpa = |payload: RawPayload| request(world, GRANDPA, &payload);
    let raw = |kind: Kind, bytes: &[u8]| RawPayload::new(kind.into(), bytes.to_vec());
    let payload = |value| with(good.clone(), "/params/payload", value);
    let spoilt = |change: fn(&mut Vec<u8>)| {
        let mut bytes = vote(1, 2).bytes().to_vec();
        change(&mut bytes);
        grandpa(raw(Kind::GrandpaVote, &bytes))
    };
    let babe = |payload: RawPayload| request(world, BABE, &payload);
    let now = world.next_slot();
    vec![
        ("hex without 0x", payload(json!({"grandpaVote": "00ff"})), "malformedPayload"),
        ("no hex", payload(json!({"grandpaVote": "0xzz"})), "malformedPayload"),
        ("half a byte", payload(json!({"grandpaVote": "0x000"})), "malformedPayload"),
        ("an unknown kind", payload(json!({"grandpaVotes": "0x00"})), "malformedPayload"),
        ("two kinds", payload(json!({"grandpaVote": "0x00", "dispute": "0x00"})), "malformedPayload"),
        ("no payload", payload(json!({})), "malformedPayload"),
        ("an empty vote", payload(json!({"grandpaVote": "0x"})), "malformedPayload"),
        (
            "a vote that is cut off",
            spoilt(|bytes| {
                bytes.pop();
            }),
            "malformedPayload",
        ),
        ("a vote with a byte too many", spoilt(|bytes| bytes.push(0)), "malformedPayload"),
        ("a stage there is not", spoilt(|bytes| bytes[0] = 3), "malformedPayload"),
        ("a bare hash as a header", babe(raw(Kind::BabeHeader, &[7; 32])), "malformedPayload"),
        (
            "a vote as a commitment",
            request(world, BEEFY, &raw(Kind::BeefyCommitment, vote(1, 2).bytes())),
            "malformedPayload",
        ),
        (
            "an unknown key",
            with(good.clone(), "/params/key", json!(format!("0x{}", "77".repeat(32)))),
            "unknownKey",
        ),
        ("an unknown chain", with(good.clone(), "/params/chain", json!("kusama")), "wrongChain"),
        (
            "an unknown genesis",
            with(good.clone(), "/params/chain", json!(format!("0x{}", "01".repeat(32)))),
            "wrongChain",
        ),
        ("a vote with a BABE key", babe(vote(1, 2)), "wrongKeyType"),
        (
            "a commitment with a GRANDPA key",
            grandpa(chain::commitment(SetId(1), 7, Flavour(0))),
            "wrongKeyType",
        ),
        ("a slot of yesterday", babe(header(Slot(now.0 - 14_400))), "belowWatermark"),
        ("a slot of tomorrow", babe(header(Slot(now.0 + 14_400))), "slotOutOfRange"),
        ("the last slot of all", babe(header(Slot(u64::MAX))), "slotOutOfRange"),
        ("a bogus far round", grandpa(vote(1, 200_000)), "jumpTooFar"),
        ("the last round of all", grandpa(vote(1, u64::MAX)), "jumpTooFar"),
        ("a bogus far set", grandpa(vote(5_000, 1)), "jumpTooFar"),
        ("a parameter there is not", with(good.clone(), "/params", json!({"chian": "dev"})), "invalidParams"),
        ("parameters of another type", with(good.clone(), "/params/key", json!(7)), "invalidParams"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_gets_its_named_error_and_burns_nothing() {
    let world = World::start(&["v1"]).await;
    let client = world.client("v1");
    // A first vote says where the chain is: jumps are measured from it.
    client.sign(&world.params(GRANDPA, &vote(1, 1))).await.unwrap();
    for url in world.cluster.urls() {
        for (what, request, name) in bad_requests(&world) {
            let body = serde_json::to_vec(&request).unwrap();
            let (status, answer) = post(&url, tls(&world.cluster.client_tls("v1")), body).await.unwrap();
            assert_eq!(status, 200, "{what}: {answer}");
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let expected = ErrorCode::ALL.iter().find(|code| code.name() == name).unwrap();
            let error = &answer["error"];
            assert_eq!(error["code"], expected.json_rpc_code(), "{what}: {answer}");
            if *expected != ErrorCode::InvalidParams {
                assert_eq!(error["data"]["code"], name, "{what}: {answer}");
            }
            assert!(error["message"].as_str().is_some_and(|text| text.len() > 10), "{what}: {answer}");
        }
    }
    for (key_type, payload) in [
        (GRANDPA, vote(1, 2)),
        (BABE, header(world.next_slot())),
        (BEEFY, chain::commitment(SetId(1), 7, Flavour(0))),
    ] {
        let reply = client.sign(&world.params(key_type, &payload)).await.unwrap();
        assert_eq!(reply.verdict, SignVerdict::Granted, "{key_type}: no duty was consumed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_and_what_is_too_large_is_answered_and_the_node_goes_on() {
    let world = World::start(&["v1"]).await;
    let url = &world.cluster.urls()[0];
    let ask =
        async |body: &[u8]| post(url, tls(&world.cluster.client_tls("v1")), body.to_vec()).await.unwrap();

    let big = RawPayload::new(Kind::BabeHeader.into(), vec![0; 600_000]);
    let body = serde_json::to_vec(&request(&world, BABE, &big)).unwrap();
    assert!(body.len() > 1 << 20);
    assert_eq!(ask(&body).await.0, 413);
    // Below the limit it is read, and refused for what it is.
    let big = RawPayload::new(Kind::BabeHeader.into(), vec![0; 500_000]);
    let body = serde_json::to_vec(&request(&world, BABE, &big)).unwrap();
    assert!(ask(&body).await.1.contains("malformedPayload"));

    for (body, number) in [
        (&b"{"[..], -32700),
        (b"\xff\xfe", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"signer_signs\"}", -32601),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin_status\"}", -32601),
    ] {
        let (_, answer) = ask(body).await;
        assert!(answer.contains(&number.to_string()), "{}: {answer}", body.escape_ascii());
    }
    world.client("v1").sign(&world.params(GRANDPA, &vote(1, 1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_certificates_with_the_right_are_served() {
    let world = World::start(&["v1", "v2"]).await;
    let url = world.cluster.urls()[0].clone();
    let known = world.cluster.client_tls("v1");
    let certs = known.ca.parent().unwrap();
    let body = || serde_json::to_vec(&request(&world, GRANDPA, &vote(1, 1))).unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(read_certificates(&known.ca).unwrap().remove(0)).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let anonymous = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    post(&url, anonymous, body()).await.expect_err("no certificate");

    let elsewhere = world.scratch("elsewhere");
    let foreign = Authority::create(&elsewhere).unwrap();
    let issued = foreign.issue(&elsewhere, &Subject::Client("v1".into()), 1).unwrap();
    let files = ClientFiles { ca: known.ca.clone(), cert: issued.cert, key: issued.key };
    post(&url, tls(&files), body()).await.expect_err("a certificate of another authority");

    let authority = Authority::open(certs).unwrap();
    let issued = authority.issue(&world.scratch("strangers"), &Subject::Client("v9".into()), 1).unwrap();
    let stranger = ClientFiles { ca: known.ca.clone(), cert: issued.cert, key: issued.key };
    let answer = client(&stranger, world.cluster.urls()).sign(&world.params(GRANDPA, &vote(1, 1))).await;
    assert_eq!(code(&answer), ErrorCode::Forbidden, "a client nobody added");

    let chain = Some(world.cluster.genesis());
    let rights = vec![Right { keys: KeySelector::All, chain, classes: vec![BEEFY_VOTE] }];
    let change = Change::UpdateClient { name: "v2".into(), spki: None, rights: Some(rights) };
    world.cluster.admin(1).change(&change).await.unwrap();
    let limited = world.client("v2");
    let forbidden = until("the new rights are known", async || {
        let answer = limited.sign(&world.params(PARA, &chain::dispute(1.into(), 1, true))).await;
        answer.is_err().then_some(answer)
    })
    .await;
    assert_eq!(code(&forbidden), ErrorCode::Forbidden);
    let vote_answer = limited.sign(&world.params(GRANDPA, &vote(1, 1))).await;
    assert_eq!(code(&vote_answer), ErrorCode::Forbidden, "no right to this class");
    let commitment = chain::commitment(SetId(1), 7, Flavour(0));
    limited.sign(&world.params(BEEFY, &commitment)).await.expect("the one right it has");
    let reply = world.client("v1").sign(&world.params(GRANDPA, &vote(1, 1))).await.unwrap();
    assert_eq!(reply.verdict, SignVerdict::Granted, "what was forbidden burnt nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_mistake_is_refused_with_what_was_probably_meant() {
    let mut world = World::start(&["v1"]).await;
    world.cluster.stop_all(PATIENCE);
    let path = world.cluster.config_path(1);
    let sound = fs::read_to_string(&path).unwrap();
    for (from, to, says) in [
        ("[listen]\npeer", "[listen]\npear", "\"listen.peer\""),
        ("data_dir", "data_dri", "\"node.data_dir\""),
        ("[listen]", "[lisen]", "\"listen\""),
        ("client_url", "client_uri", "\"cluster.members.client_url\""),
        ("[[cluster.members]]\nid = 2", "[[cluster.members]]\nid = 3", "two members have the id 3"),
        ("[node]\nid = 1", "[node]\nid = 4", "cluster.members has only 1, 2, 3"),
        ("format = \"text\"", "format = \"xml\"", "xml"),
        ("[tls]\nca = '", "[tls]\nca = '/nowhere", "/nowhere"),
    ] {
        assert!(sound.contains(from), "{from}");
        fs::write(&path, sound.replacen(from, to, 1)).unwrap();
        let output = run(&["start", "--config", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{to}: {said}");
        assert!(said.contains(says), "{to}: {said}");
    }
}
