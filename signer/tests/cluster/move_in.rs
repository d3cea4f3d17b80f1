//! `keys move-in` with made-up nodes: the old validator's, which can be stopped, and another one of the chain.

use crate::{
    common::{BINARY, World, code, decoded, run, until},
    fake_node::FakeNode,
    watch::{Copied, header, sealed},
};
use serde_json::{Value, json};
use signonce_cli::commands::demo::chain::{self, Flavour};
use signonce_core::KeyState;
use signonce_protocol::{
    KeyId, PublicKey, Slot,
    rpc::{ChainRef, ErrorCode, SignParams, SignVerdict},
};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// Alice's GRANDPA key.
const GRAN: &str = "88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee";

/// A keystore directory with Alice's keys, the record beside it, and what is typed.
struct Bench {
    world: World,
    keystore: PathBuf,
    record: PathBuf,
}

impl Bench {
    async fn new() -> Self {
        let world = World::start(&["v1"]).await;
        let keystore = world.scratch("keystore");
        fs::create_dir(&keystore).unwrap();
        let babe = hex::encode(Copied::alice().id.public.as_bytes());
        fs::write(keystore.join(format!("{}{GRAN}", hex::encode("gran"))), "\"//Alice\"").unwrap();
        fs::write(keystore.join(format!("{}{babe}", hex::encode("babe"))), "\"//Alice\"").unwrap();
        let record = world.scratch("move.json");
        Self { world, keystore, record }
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let admin = format!("unix:{}", self.world.cluster.admin_socket(1).display());
        let fixed =
            ["keys", "move-in", "--chain", "dev", "--group", "alice", "--yes", "--json", "--admin", &admin];
        let places = [self.keystore.to_str().unwrap(), "--record", self.record.to_str().unwrap()];
        fixed.iter().chain(&places).chain(more).map(|word| (*word).to_owned()).collect()
    }

    fn move_in(&self, more: &[&str]) -> Output {
        let words = self.words(more);
        run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    async fn state(&self, id: &KeyId) -> Option<KeyState> {
        let rows = self.world.cluster.admin(1).keys().await.unwrap();
        rows.iter().find(|row| row.id == *id).map(|row| row.state)
    }

    fn recorded(&self) -> Value {
        serde_json::from_slice(&fs::read(&self.record).unwrap()).unwrap()
    }
}

fn gran() -> KeyId {
    let public: PublicKey = format!("0x{GRAN}").parse().unwrap();
    KeyId { key_type: GRANDPA, public }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_move_in_only_after_the_old_node_is_gone_and_start_above_its_last_votes() {
    let bench = Bench::new().await;
    let genesis = bench.world.cluster.genesis();
    let (old, other) = (FakeNode::new(genesis, "old", (7, 80)), FakeNode::new(genesis, "other", (7, 90)));
    let (old_at, old_server) = old.serve().await;
    let (other_at, _other) = other.serve().await;
    let (old_url, chain_url) = (format!("http://{old_at}"), format!("http://{other_at}"));
    let options = ["--node-url", &old_url, "--chain-url", &chain_url, "--watch-blocks", "3"];

    let output = bench.move_in(&options);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("the old node still answers"), "{}", said(&output));
    assert_eq!(bench.recorded()["oldNode"]["place"]["grandpa"], json!([7, 80]));
    assert_eq!(bench.state(&gran()).await, None, "nothing was imported");
    // Nobody's word changes that a node answers which has the keys.
    old.says.lock().unwrap().has_keys = Some(true);
    let output = bench.move_in(&[&options[..], &["--old-node-stopped"]].concat());
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("has these keys in its keystore"), "{}", said(&output));
    old.says.lock().unwrap().grandpa = (7, 99);
    bench.move_in(&options);

    old_server.stop().unwrap();
    old_server.stopped().await;
    let output = bench.move_in(&options);
    assert!(output.status.success(), "{}", said(&output));
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(receipt["stopped"], "the old node does not answer any more");
    let keys = receipt["keys"].as_array().unwrap();
    let moved = keys.iter().find(|key| key["key"]["type"] == "gran").unwrap_or_else(|| panic!("{receipt}"));
    assert_eq!(
        moved["floors"],
        json!([{"class": "grandpaVote", "setId": 7, "round": 150}]),
        "its last word, and the margin: {receipt}"
    );
    for watched in ["silent", "watched"] {
        let (from, to) = (&receipt[watched]["from"], &receipt[watched]["to"]);
        assert!(to.as_u64().unwrap() >= from.as_u64().unwrap() + 3, "{receipt}");
    }
    let files: Vec<&str> =
        receipt["destroy"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| fs::exists(file).unwrap()), "old files are named and never touched");
    assert_eq!(bench.recorded(), receipt);

    // The floors hold.
    let client = bench.world.client("v1");
    let sign = async |round| {
        let payload = chain::vote(SetId(7), Round(round), GrandpaStage::Prevote, 6, Flavour(0));
        client.sign(&SignParams { chain: ChainRef::Id(genesis), key: gran().public, payload }).await
    };
    assert_eq!(code(&sign(149).await), ErrorCode::BelowWatermark);
    assert_eq!(sign(150).await.unwrap().verdict, SignVerdict::Granted);

    // Once more: nothing is left to do, and it says the same.
    let again = bench.move_in(&options);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), receipt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_still_signs_elsewhere_does_not_come_in_and_goes_out_again() {
    let bench = Bench::new().await;
    let genesis = bench.world.cluster.genesis();
    let copied = Copied::alice();
    let other = FakeNode::new(genesis, "other", (7, 90));
    let (at, _server) = other.serve().await;
    let url = format!("http://{at}");
    let show = |ahead: u64| {
        let Slot(slot) = bench.world.next_slot();
        let forged = decoded(&header(Slot(slot + ahead), 1));
        other.says.lock().unwrap().header = Some(sealed(&forged, &copied.sign(&forged)));
    };
    show(1);
    let options = ["--old-node-stopped", "--chain-url", &url, "--watch-blocks", "3"];
    let output = bench.move_in(&options);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("nothing was imported"), "{}", said(&output));
    assert_eq!(bench.state(&copied.id).await, None);

    // It is silent until the keys are armed here.
    other.says.lock().unwrap().header = None;
    let mut command = Command::new(BINARY);
    command.args(bench.words(&options)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = command.spawn().unwrap();
    until("the keys are armed", async || {
        let armed = Some(KeyState::Armed);
        (bench.state(&copied.id).await == armed && bench.state(&gran()).await == armed).then_some(())
    })
    .await;
    show(2);
    let output = tokio::task::spawn_blocking(|| running.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("they were disabled here again"), "{}", said(&output));
    for id in [copied.id, gran()] {
        assert_eq!(bench.state(&id).await, Some(KeyState::Disabled));
    }
    let output = bench.move_in(&options);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("find that copy first"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_known_stops_a_move_before_anything_is_imported() {
    let bench = Bench::new().await;
    let genesis = bench.world.cluster.genesis();
    let other = FakeNode::new(genesis, "other", (7, 90));
    let (at, _server) = other.serve().await;
    let url = format!("http://{at}");
    let stranger = FakeNode::new(format!("0x{}", "07".repeat(32)), "stranger", (1, 1));
    let (stranger_at, _stranger) = stranger.serve().await;
    let stranger_url = format!("http://{stranger_at}");
    for (options, exit, why) in [
        (vec!["--chain-url", &url], 4, "say --old-node-stopped"),
        (vec!["--node-url", "http://127.0.0.1:9", "--chain-url", &url], 4, "never told how far it was"),
        (vec!["--old-node-stopped"], 2, "give --chain-url"),
        (vec!["--old-node-stopped", "--chain-url", &stranger_url], 1, "a node of another chain"),
        (vec!["--old-node-stopped", "--chain-url", "http://127.0.0.1:9"], 4, "run this command again"),
        (vec!["--old-node-stopped", "--chain-url", "ftp://x"], 2, "it must be http://"),
        (vec!["--old-node-stopped", "--chain-url", &url, "--grandpa-floor", "7:100"], 2, "is too low"),
        // A node answers that is not known to be the old one.
        (vec!["--node-url", &url, "--chain-url", &url], 4, "the old node still answers"),
    ] {
        let output = bench.move_in(&options);
        assert_eq!(output.status.code(), Some(exit), "{options:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{options:?}: {}", said(&output));
    }
    assert_eq!(bench.state(&gran()).await, None);
    // A record of another move is not gone on with.
    assert_eq!(bench.recorded()["group"], "alice");
    let words: Vec<String> = bench.words(&["--old-node-stopped", "--chain-url", &url]);
    let words: Vec<&str> = words.iter().map(|word| if word == "alice" { "bob" } else { word }).collect();
    let output = run(&words);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("the record of another move"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_believed_by_the_slots_in_its_blocks_and_not_by_what_it_says_of_itself() {
    let bench = Bench::new().await;
    let genesis = bench.world.cluster.genesis();
    let (liar, honest) = (FakeNode::new(genesis, "liar", (5, 10)), FakeNode::new(genesis, "other", (7, 90)));
    let ((liar_at, _liar), (honest_at, _honest)) = (liar.serve().await, honest.serve().await);
    let (liar_url, honest_url) = (format!("http://{liar_at}"), format!("http://{honest_at}"));
    let with = |urls: &[&String]| {
        let urls = urls.iter().flat_map(|url| ["--chain-url", url.as_str()]);
        let fixed = ["--old-node-stopped", "--watch-blocks", "1"];
        bench.move_in(&fixed.into_iter().chain(urls).collect::<Vec<_>>())
    };
    let refused = |output: &Output, why: &str| {
        assert_eq!(output.status.code(), Some(1), "{why}: {}", said(output));
        assert!(said(output).contains(why), "{why}: {}", said(output));
    };
    let alone = json!({ "peers": 0, "isSyncing": false, "shouldHavePeers": true });
    let well = liar.says.lock().unwrap().health.clone();
    let thirty_days = 30 * 14_400;
    for (health, behind, final_behind, why) in [
        (&alone, 0, 2, "has no peers"),
        (&json!({ "isSyncing": false }), 0, 2, "has no peers"),
        (&well, thirty_days, thirty_days, "30 days ago"),
        (&well, 12, 14, "is not up to date"),
        (&well, 0, 200, "its last final block"),
    ] {
        {
            let mut says = liar.says.lock().unwrap();
            (says.health, says.behind, says.final_behind) = (health.clone(), behind, final_behind);
        }
        refused(&with(&[&liar_url]), why);
        refused(&with(&[&honest_url, &liar_url]), why);
    }
    // A block without a slot has no age. A voter that is a set behind its own chain does not know the votes.
    let slotless = json!({
        "parentHash": genesis, "stateRoot": genesis, "extrinsicsRoot": genesis, "number": "0x5",
        "digest": { "logs": [] },
    });
    {
        let mut says = liar.says.lock().unwrap();
        (says.health, says.behind, says.final_behind) = (well, 0, 2);
        says.header = Some(slotless);
    }
    refused(&with(&[&liar_url]), "without a slot");
    {
        let mut says = liar.says.lock().unwrap();
        says.header = None;
        says.runtime = vec![("GrandpaApi_current_set_id", 6u64.to_le_bytes().to_vec())];
    }
    let output = with(&[&liar_url]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("in set 6 already"), "{}", said(&output));
    assert_eq!(bench.state(&gran()).await, None, "nothing was imported");

    // Two that are up to date and do not agree: above the further one. The plan says how old their word is.
    liar.says.lock().unwrap().runtime.clear();
    let output = with(&[&liar_url, &honest_url]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches("its best block is of slot").count(), 2, "{}", said(&output));
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = receipt["keys"].as_array().unwrap();
    let moved = keys.iter().find(|key| key["key"]["type"] == "gran").unwrap_or_else(|| panic!("{receipt}"));
    assert_eq!(moved["floors"], json!([{"class": "grandpaVote", "setId": 7, "round": 141}]), "{receipt}");
    assert!(receipt["chainAt"]["head"]["ageMs"].as_u64().unwrap() < 60_000, "{receipt}");
}

/// The answers of a node as they were written down, where the file is there.
#[tokio::test(flavor = "multi_thread")]
async fn the_stale_node_of_the_field_is_refused() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/field-cases/chain/stale-node.json");
    let Ok(text) = fs::read_to_string(file) else { return println!("skipped: {file} is not here") };
    let answers: Value = serde_json::from_str(&text).unwrap();
    let bench = Bench::new().await;
    let node = FakeNode::new(bench.world.cluster.genesis(), "stale", (5, 10));
    let (at, _server) = node.serve().await;
    let url = format!("http://{at}");
    let peerless = answers["system_health"].clone();
    for (health, why) in [(peerless, "has no peers"), (json!({ "peers": 9, "isSyncing": false }), "days ago")]
    {
        {
            let mut says = node.says.lock().unwrap();
            (says.health, says.header) = (health, Some(answers["chain_getHeader"].clone()));
        }
        let output = bench.move_in(&["--old-node-stopped", "--chain-url", &url]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    }
    assert_eq!(bench.state(&gran()).await, None);
}
