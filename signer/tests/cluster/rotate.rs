//! `keys generate --for-set-keys` and `keys rotate`: sets of session keys, and their change on a made-up chain.

use crate::{
    common::{World, code, decoded, run, until},
    fake_node::FakeNode,
};
use serde_json::Value;
use signonce_cli::commands::demo::chain::{self, Flavour};
use signonce_core::KeyState;
use signonce_keys::verify;
use signonce_protocol::{
    KeyId, KeyType, PublicKey, RawPayload,
    rpc::{ChainRef, ErrorCode, SignParams},
};
use signonce_substrate::{ECDSA, GRANDPA, GrandpaStage, Kind, Round, SetId};
use std::process::Output;

const OWNER: [u8; 32] = [0xaa; 32];
const THEIRS: [u8; 32] = [0x07; 32];
const THEIR_PROOF: [u8; 64] = [0x08; 64];

/// What an operator types at a node.
fn operate(world: &World, words: &[&str]) -> Output {
    let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
    run(&[words, &["--chain", "dev", "--yes", "--json", "--admin", &admin]].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Checks the blob and the proofs of a set in this order, in which `asgn` is made elsewhere; its keys.
fn checked(set: &Value, order: &[&str]) -> Vec<KeyId> {
    let bytes = |name: &str| hex::decode(set[name].as_str().unwrap().trim_start_matches("0x")).unwrap();
    let (blob, proofs) = (bytes("sessionKeys"), bytes("ownershipProof"));
    let (mut blob, mut proofs) = (blob.as_slice(), proofs.as_slice());
    let mut ids = Vec::new();
    let statement = RawPayload::new(Kind::OwnershipProof.into(), [&b"POP_"[..], &OWNER].concat());
    let statement = decoded(&statement);
    for name in order {
        let Ok(key_type) = name.parse::<KeyType>() else {
            assert_eq!((&blob[..32], &proofs[..64]), (&THEIRS[..], &THEIR_PROOF[..]));
            (blob, proofs) = (&blob[32..], &proofs[64..]);
            continue;
        };
        let scheme = key_type.schemes()[0];
        let (public, rest) = blob.split_at(scheme.public_len());
        let (proof, more) = proofs.split_at(if scheme == ECDSA { 65 } else { 64 });
        let public = PublicKey::try_from(public).unwrap();
        assert!(verify(scheme, &public, statement.to_sign(), proof), "{name}");
        ids.push(KeyId { key_type, public });
        (blob, proofs) = (rest, more);
    }
    assert!(blob.is_empty() && proofs.is_empty());
    ids
}

async fn state(world: &World, id: &KeyId) -> KeyState {
    let rows = world.cluster.admin(1).keys().await.unwrap();
    rows.iter().find(|row| row.id == *id).unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_for_set_keys_has_the_order_of_the_runtime_and_proofs_that_verify() {
    let world = World::start(&["v1"]).await;
    let owner = format!("0x{}", hex::encode(OWNER));
    let words = ["keys", "generate", "--for-set-keys", "--group", "v", "--owner", &owner];
    let output = operate(&world, &words);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("asgn keys are not held by signers"), "{}", said(&output));
    let theirs = format!("asgn:0x{}:0x{}", hex::encode(THEIRS), hex::encode(THEIR_PROOF));
    let set = told(&operate(&world, &[&words[..], &["--elsewhere", &theirs]].concat()));
    let ids = checked(&set, &["gran", "babe", "para", "asgn", "audi", "beef"]);
    for id in &ids {
        assert_eq!(state(&world, id).await, KeyState::Armed);
    }
    // Without the proof of one key there is no proof of the set.
    let unproved = format!("asgn:0x{}", hex::encode(THEIRS));
    let order = ["--order", "babe,asgn", "--elsewhere", &unproved];
    let set = told(&operate(&world, &[&words[..], &order].concat()));
    assert_eq!(set["ownershipProof"], Value::Null);
    assert_eq!(set["sessionKeys"].as_str().unwrap().len(), 2 + 2 * 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_keys_sign_until_the_chain_has_changed_over_and_then_never_again() {
    let world = World::start(&["v1"]).await;
    let group = world.key(GRANDPA).group.clone();
    let old: Vec<KeyId> = world
        .keys
        .iter()
        .filter(|key| key.group == group)
        .map(|key| KeyId { key_type: key.key_type, public: key.public })
        .collect();
    let old_gran = *old.iter().find(|id| id.key_type == GRANDPA).unwrap();
    let record = world.scratch("rotate.json");
    let base = ["keys", "rotate", "--group", &group, "--record", record.to_str().unwrap()];
    let rotate = |more: &[&str]| operate(&world, &[&base[..], more].concat());
    let owner = format!("0x{}", hex::encode(OWNER));
    let theirs = format!("asgn:0x{}:0x{}", hex::encode(THEIRS), hex::encode(THEIR_PROOF));

    for (more, exit, why) in [
        (vec!["--finish"], 2, "there is no rotation"),
        (vec!["--owner", &owner, "--elsewhere", &theirs], 2, "has a imon key, and --order does not"),
    ] {
        let output = rotate(&more);
        assert_eq!(output.status.code(), Some(exit), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    }
    let order = ["gran", "babe", "para", "asgn", "audi", "beef", "imon"];
    let begin = ["--owner", &owner, "--elsewhere", &theirs, "--order", &order.join(",")];
    let set = told(&rotate(&begin));
    let new = checked(&set, &order);
    assert_eq!(told(&rotate(&begin)), set, "the same set again");
    let new_gran = *new.iter().find(|id| id.key_type == GRANDPA).unwrap();

    // Both sign.
    let client = world.client("v1");
    let sign = async |id: &KeyId, round| {
        let payload = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, 6, Flavour(0));
        let chain = ChainRef::Id(world.cluster.genesis());
        client.sign(&SignParams { chain, key: id.public, payload }).await
    };
    for id in [&old_gran, &new_gran] {
        until("the key signs", async || sign(id, 1).await.ok()).await;
    }

    // The chain still uses the old ones, then has the new ones in its queue.
    let node = FakeNode::new(world.cluster.genesis(), "node", (1, 1));
    let (at, _server) = node.serve().await;
    let url = format!("http://{at}");
    let uses = |ids: &[KeyId]| {
        let all: Vec<u8> = ids.iter().flat_map(|id| id.public.as_bytes().to_vec()).collect();
        let functions = [
            "GrandpaApi_grandpa_authorities",
            "BabeApi_current_epoch",
            "BeefyApi_validator_set",
            "ParachainHost_validators",
            "AuthorityDiscoveryApi_authorities",
        ];
        node.says.lock().unwrap().runtime = functions.map(|function| (function, all.clone())).to_vec();
    };
    let finish = ["--finish", "--chain-url", &url];
    uses(&old);
    let output = rotate(&finish);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("is not queued"), "{}", said(&output));
    node.says.lock().unwrap().storage =
        Some(new.iter().flat_map(|id| id.public.as_bytes().to_vec()).collect());
    let output = rotate(&finish);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("it counts from the next session on"), "{}", said(&output));
    assert_eq!(rotate(&["--remove"]).status.code(), Some(4), "not before they are disabled");
    assert_eq!(state(&world, &old_gran).await, KeyState::Armed);
    assert!(sign(&old_gran, 2).await.is_ok());

    // The best block has the new ones, and waits for the votes of the old ones to be finalized.
    uses(&new);
    let changed = node.says.lock().unwrap().runtime.clone();
    uses(&old);
    node.says.lock().unwrap().best_runtime = Some(changed);
    let output = rotate(&finish);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert_eq!(state(&world, &old_gran).await, KeyState::Armed);

    uses(&new);
    // Only a node that is where the chain is can tell; and each that is asked has to.
    node.says.lock().unwrap().behind = 100;
    let output = rotate(&finish);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("is not up to date"), "{}", said(&output));
    node.says.lock().unwrap().behind = 0;
    let lagging = FakeNode::new(world.cluster.genesis(), "lagging", (1, 1));
    let (at, _lagging) = lagging.serve().await;
    lagging.says.lock().unwrap().runtime = {
        let all: Vec<u8> = old.iter().flat_map(|id| id.public.as_bytes().to_vec()).collect();
        vec![("GrandpaApi_grandpa_authorities", all)]
    };
    let output = rotate(&[&finish[..], &["--chain-url", &format!("http://{at}")]].concat());
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert_eq!(state(&world, &old_gran).await, KeyState::Armed);

    assert_eq!(told(&rotate(&finish))["state"], "finished");
    for id in &old {
        assert_eq!(state(&world, id).await, KeyState::Disabled);
    }
    assert_eq!(code(&sign(&old_gran, 3).await), ErrorCode::KeyNotArmed);
    assert!(sign(&new_gran, 3).await.is_ok());
    assert_eq!(told(&rotate(&finish))["state"], "finished", "once more changes nothing");

    assert_eq!(told(&rotate(&["--remove"]))["state"], "removed");
    for id in &old {
        assert_eq!(state(&world, id).await, KeyState::Removed);
    }
    assert!(sign(&old_gran, 4).await.is_err());
    assert!(sign(&new_gran, 4).await.is_ok());
}
