//! CometBFT nodes on a cluster, through `signonce privval`: what real nodes were recorded to ask, signers that die under
//! a voting node, and two live nodes with one key.

use crate::common::{BINARY, World, run, until};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::SigningKey;
use ripemd::{Digest as _, Ripemd160};
use serde_json::json;
use sha2::Sha256;
use signonce_cli::dev::Signal;
use signonce_comet_node::{
    Address, AskError, BlockId, Config, FilePvKey, Lost, Node, Time, VoteAsk,
    rounds::{Memory, Rounds, Setup},
    vectors::{Event, RecordedKey, Recordings, Scheme, Session, compare},
};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tendermint_proto::v0_38::crypto::public_key::Sum;

/// A front beside a node; killed when it goes out of scope.
struct Front(Child);

impl Front {
    /// For `client`, to a node at `address`.
    fn start(world: &World, client: &str, address: &str) -> Self {
        let files = world.cluster.client_tls(client);
        let mut command = Command::new(BINARY);
        command.args(["privval", "--node", address, "--log-level", "warn"]);
        command.arg("--state-dir").arg(world_dir(world, &format!("privval-{client}")));
        command.args(world.cluster.urls().iter().flat_map(|url| ["--remote-signer", url]));
        command.arg("--remote-signer-cert").arg(&files.cert);
        command.arg("--remote-signer-key").arg(&files.key);
        command.arg("--remote-signer-ca").arg(&files.ca);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn world_dir(world: &World, name: &str) -> PathBuf {
    let directory = world.scratch(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs a command for operators, which must succeed.
fn operate(world: &World, arguments: &[&str]) -> String {
    let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
    let output = run(&[arguments, &["--admin", &admin]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A chain, with the key of this seed, which has signed nothing so far.
fn add_validator(world: &World, chain_id: &str, seed: &[u8; 32]) {
    add_chain(world, chain_id);
    import(world, chain_id, &ed25519_file(seed));
}

fn add_chain(world: &World, chain_id: &str) {
    operate(world, &["chains", "add", chain_id, "--family", "cometbft", "--yes"]);
}

/// Imports a key file with a state file that says that nothing was signed.
fn import(world: &World, chain_id: &str, key: &serde_json::Value) {
    let directory = world_dir(world, "import");
    let (key_file, state_file) =
        (directory.join("priv_validator_key.json"), directory.join("priv_validator_state.json"));
    fs::write(&key_file, key.to_string()).unwrap();
    fs::write(&state_file, json!({ "height": "0", "round": 0, "step": 0 }).to_string()).unwrap();
    let [key_file, state_file] = [&key_file, &state_file].map(|file| file.to_str().unwrap());
    let from = ["keys", "import", "--chain", chain_id, "--group", "hub", "--from", key_file];
    operate(world, &[&from[..], &["--state", state_file, "--new-key", "--yes"]].concat());
}

fn ed25519_file(seed: &[u8; 32]) -> serde_json::Value {
    let key = SigningKey::from_bytes(seed);
    let public = key.verifying_key();
    let address = hex::encode_upper(&Sha256::digest(public.as_bytes())[..20]);
    json!({
        "address": address,
        "pub_key": { "type": "tendermint/PubKeyEd25519", "value": STANDARD.encode(public.as_bytes()) },
        "priv_key": { "type": "tendermint/PrivKeyEd25519", "value": STANDARD.encode(key.to_keypair_bytes()) },
    })
}

fn secp256k1_file(secret: &[u8; 32]) -> serde_json::Value {
    let public = FilePvKey::secp256k1(secret).public();
    let Some(Sum::Secp256k1(public)) = public.sum else { unreachable!("it is such a key") };
    let address = hex::encode_upper(Ripemd160::digest(Sha256::digest(&public)));
    json!({
        "address": address,
        "pub_key": { "type": "tendermint/PubKeySecp256k1", "value": STANDARD.encode(&public) },
        "priv_key": { "type": "tendermint/PrivKeySecp256k1", "value": STANDARD.encode(secret) },
    })
}

fn prevote(height: i64, round: i32, block: &str) -> VoteAsk {
    VoteAsk::prevote(height, round, Some(BlockId::named(block)), Time::now())
}

fn precommit(height: i64, round: i32, block: &str) -> VoteAsk {
    VoteAsk::precommit(height, round, Some(BlockId::named(block)), Time::now())
}

fn is_refused(answer: &Result<impl Sized, AskError>) -> bool {
    matches!(answer, Err(AskError::Lost(Lost::Refused { .. })))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_asks_is_signed_while_the_signers_leader_is_killed_again_and_again() {
    let mut world = World::start(&["hub-1"]).await;
    add_validator(&world, "chain-1", &[3; 32]);
    let node = Node::listen(Config::new("chain-1", Address::any_port()).with_extensions()).await.unwrap();
    let _front = Front::start(&world, "hub-1", &node.address().to_string());
    node.start().await.unwrap();
    let mut height = 1;
    for _ in 0..3 {
        let leader = world.leader_other_than(None).await;
        for _ in 0..10 {
            node.vote(prevote(height, 0, "V")).await.unwrap();
            node.vote(precommit(height, 0, "V").with_extension(b"extension")).await.unwrap();
            height += 1;
        }
        world.cluster.signal(leader, Signal::Kill).unwrap();
        world.cluster.wait_exit(leader, Duration::from_secs(10)).unwrap();
        for _ in 0..10 {
            node.vote(prevote(height, 0, "V")).await.expect("late at the most");
            height += 1;
        }
        world.cluster.start_node(leader).unwrap();
        world.cluster.wait_ready(crate::common::PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_for_signers_without_a_quorum_and_loses_no_vote() {
    let mut world = World::start(&["hub-1"]).await;
    add_validator(&world, "chain-1", &[3; 32]);
    let socket = world.scratch("node.sock");
    let node = Node::listen(Config::new("chain-1", Address::Unix(socket))).await.unwrap();
    let _front = Front::start(&world, "hub-1", &node.address().to_string());
    node.start().await.unwrap();
    node.vote(prevote(1, 0, "V")).await.unwrap();
    for id in [1, 2] {
        world.cluster.signal(id, Signal::Kill).unwrap();
        world.cluster.wait_exit(id, Duration::from_secs(10)).unwrap();
    }
    let back = async {
        // Longer than a request is held, so that the front has left the node.
        tokio::time::sleep(Duration::from_secs(6)).await;
        for id in [1, 2] {
            world.cluster.start_node(id).unwrap();
        }
    };
    let (voted, ()) = tokio::join!(node.vote(prevote(2, 0, "V")), back);
    voted.expect("asked again once there was a quorum");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_nodes_with_one_key_get_one_vote_and_break_no_lock() {
    let world = World::start(&["hub-1", "hub-2"]).await;
    add_validator(&world, "chain-1", &[3; 32]);
    let mut nodes = Vec::new();
    for client in ["hub-1", "hub-2"] {
        let node = Node::listen(Config::new("chain-1", Address::any_port())).await.unwrap();
        let front = Front::start(&world, client, &node.address().to_string());
        node.start().await.unwrap();
        nodes.push((node, front));
    }
    let [(a, _), (b, _)] = &nodes[..] else { unreachable!() };
    // The same block: the same vote, with the timestamp of whoever was first.
    let (one, other) = tokio::join!(a.vote(prevote(1, 0, "V")), b.vote(prevote(1, 0, "V")));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.signature, one.time), (other.signature, other.time));
    // Another block: one of them is refused.
    let (one, other) = tokio::join!(a.vote(prevote(2, 0, "V")), b.vote(prevote(2, 0, "W")));
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "{one:?} {other:?}");
    // A locks V. B, which has not seen it, prevotes nothing else, nil included, until it has locked too.
    a.vote(prevote(3, 0, "V")).await.unwrap();
    a.vote(precommit(3, 0, "V")).await.unwrap();
    assert!(is_refused(&b.vote(prevote(3, 1, "W")).await));
    assert!(is_refused(&b.vote(VoteAsk::prevote(3, 1, None, Time::now())).await));
    b.vote(prevote(3, 1, "V")).await.unwrap();
    a.vote(prevote(3, 2, "W")).await.expect("whoever has locked knows what frees it");
    // The next height is open to both.
    b.vote(prevote(4, 0, "W")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_is_killed_and_a_node_that_is_restarted_lose_nothing() {
    let world = World::start(&["hub-1"]).await;
    add_validator(&world, "chain-1", &[3; 32]);
    let node = Node::listen(Config::new("chain-1", Address::any_port())).await.unwrap();
    let address = node.address().to_string();
    let front = Front::start(&world, "hub-1", &address);
    node.start().await.unwrap();
    let first = node.vote(prevote(1, 0, "V")).await.unwrap();
    drop(front);
    let _front = Front::start(&world, "hub-1", &address);
    node.vote(prevote(1, 1, "V")).await.expect("another front answers");
    node.kill().await;
    node.restart().await.unwrap();
    node.start().await.unwrap();
    assert!(is_refused(&node.vote(prevote(1, 0, "V")).await), "a step that is past, from its log");
    let again = node.vote(prevote(1, 1, "V")).await.unwrap();
    assert_ne!(again.time, first.time);
    node.vote(precommit(1, 1, "V")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_while_no_signer_is_there_if_its_key_was_known() {
    let mut world = World::start(&["hub-1"]).await;
    add_validator(&world, "chain-1", &[3; 32]);
    let node = Node::listen(Config::new("chain-1", Address::any_port())).await.unwrap();
    let address = node.address().to_string();
    let front = Front::start(&world, "hub-1", &address);
    let key = node.start().await.unwrap();
    let known = world.scratch("privval-hub-1").join("known-keys.json");
    until("the front has kept the key", async || known.exists().then_some(())).await;
    drop(front);
    for id in world.cluster.node_ids() {
        world.cluster.signal(id, Signal::Kill).unwrap();
        world.cluster.wait_exit(id, Duration::from_secs(10)).unwrap();
    }
    node.kill().await;
    node.restart().await.unwrap();
    let _front = Front::start(&world, "hub-1", &address);
    assert_eq!(node.start().await.unwrap(), key);
    let back = async { world.cluster.start_all().unwrap() };
    let (voted, ()) = tokio::join!(node.vote(prevote(1, 0, "V")), back);
    voted.unwrap();
}

/// The recordings of real nodes, where they lie beside the repository.
fn recordings() -> Option<Recordings> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    Recordings::find(here.as_ref(), 1)
}

fn key_file(key: &RecordedKey) -> serde_json::Value {
    match key.scheme {
        Scheme::Ed25519 => ed25519_file(&key.secret),
        Scheme::Secp256k1 => secp256k1_file(&key.secret),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_real_nodes_asked_gets_what_gos_filepv_gave() {
    let Some(recordings) = recordings() else { return };
    for file in ["sessions.json", "extensions.json", "secp256k1.json", "crash-replay.json"] {
        for session in recordings.sessions(file).unwrap() {
            replay(&session).await;
        }
    }
}

/// Each session begins with signers that have signed nothing, so it has a cluster of its own.
async fn replay(session: &Session) {
    let world = World::start(&["hub-1"]).await;
    add_chain(&world, &session.chain_id);
    import(&world, &session.chain_id, &key_file(&session.key));
    let node = Node::listen(Config::new(&session.chain_id, Address::any_port())).await.unwrap();
    let address = node.address().to_string();
    let mut front = Some(Front::start(&world, "hub-1", &address));
    for event in &session.events {
        match event {
            Event::Asks(recorded) => {
                let answer = node.ask_raw(&recorded.request).await.unwrap();
                compare(&answer, recorded).unwrap_or_else(|differs| panic!("{}: {differs}", session.name));
            }
            Event::NodeRestarts => node.restart().await.unwrap(),
            Event::SignerRestarts => {
                drop(front.take());
                front = Some(Front::start(&world, "hub-1", &address));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_validator_plays_rounds_under_loss_and_restarts_and_breaks_no_lock() {
    let world = World::start(&["hub-1", "hub-2"]).await;
    add_validator(&world, "chain-1", &[3; 32]);
    let (mut nodes, mut fronts) = (Vec::new(), Vec::new());
    for client in ["hub-1", "hub-2"] {
        let node = Arc::new(Node::listen(Config::new("chain-1", Address::any_port())).await.unwrap());
        fronts.push(Front::start(&world, client, &node.address().to_string()));
        node.start().await.unwrap();
        nodes.push(node);
    }
    let mut rounds = Rounds::new(Setup { loss_percent: 30, ..Setup::new("chain-1", 20) }, nodes);
    for heights in [3, 6, 9] {
        assert!(rounds.until(2_000, |rounds| rounds.decided() >= heights).await, "the chain goes on");
        // The twin comes back without what it knew.
        rounds.restart(1, Memory::Nothing).await.unwrap();
    }
    assert_eq!(rounds.wrong(), []);
}
