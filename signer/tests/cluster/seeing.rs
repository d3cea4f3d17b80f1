//! What operators see of a cluster: metrics and their table, `status`, `top`.

use crate::common::{World, code, get, post, run, until};
use rustls::ClientConfig;
use serde_json::{Value, json};
use signonce_cli::{
    commands::demo::chain::{self, Flavour},
    dev::{LocalOptions, Signal},
};
use signonce_protocol::{
    PublicKey, RawPayload,
    client::SignerClient,
    rpc::{ChainRef, ErrorCode, GenerateKeyParams, SignParams},
};
use signonce_shared::{config::TlsFiles, tls};
use signonce_substrate::{BABE, GRANDPA, GrandpaStage, Kind, Round, SetId, VrfParams};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// One line of a scrape.
#[derive(Clone, Debug)]
pub struct Sample {
    /// With the suffix of a histogram's part.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A scrape: the kind of each metric, and its samples.
#[derive(Debug, Default)]
pub struct Scrape {
    pub kinds: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

impl Scrape {
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                scrape.kinds.insert(name.into(), kind.into());
            } else if !line.starts_with('#') {
                scrape.samples.push(sample(line));
            }
        }
        scrape
    }

    pub async fn of(world: &World, node: u64) -> Self {
        let (status, text) = get(world.cluster.metrics_address(node), "/metrics").await.unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"));
        Self::parse(&text)
    }

    /// Name, kind and labels of every metric that has a sample, as `docs/reference/metrics.md` lists them.
    pub fn metrics(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let mut metrics = BTreeMap::new();
        for Sample { name, labels, .. } in &self.samples {
            let suffixes = ["_bucket", "_sum", "_count"];
            let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            let (name, kind) = match self.kinds.get(base) {
                Some(kind) if kind == "histogram" => (base, kind.as_str()),
                _ => match name.strip_suffix("_total").and_then(|name| self.kinds.get(name)) {
                    Some(kind) => (name.as_str(), kind.as_str()),
                    None => (name.as_str(), self.kinds[name].as_str()),
                },
            };
            let labels = labels.keys().filter(|label| *label != "le").cloned();
            metrics
                .entry(name.to_owned())
                .or_insert_with(|| (kind.to_owned(), BTreeSet::new()))
                .1
                .extend(labels);
        }
        metrics
    }

    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        let mut found = self.samples.iter().filter(fits);
        let value = found.next()?.value;
        assert!(found.next().is_none(), "{name}{labels:?} is several series");
        Some(value)
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap();
    let label = |text: &str| {
        let (label, value) = text.split_once("=\"").unwrap();
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    };
    // No label value of ours has a comma.
    let labels = labels.split(',').filter(|text| !text.is_empty()).map(label).collect();
    Sample { name: name.into(), labels, value: value.parse().unwrap() }
}

pub fn repository() -> PathBuf {
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    Path::new(&here).join("..")
}

/// The tables of `docs/reference/metrics.md`.
pub fn table() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = fs::read_to_string(repository().join("docs/reference/metrics.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `signonce_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{line}") };
        assert!(!meaning.is_empty(), "{line}");
        let labels =
            labels.split(',').map(str::trim).filter(|label| !label.is_empty()).map(Into::into).collect();
        (name.trim_matches('`').to_owned(), (kind.to_owned(), labels))
    };
    rows.map(row).collect()
}

/// A cluster with two validators and one client.
pub async fn two_validators() -> World {
    World::with(LocalOptions { clients: vec!["v1".into()], validators: 2, ..LocalOptions::default() }).await
}

/// Votes of GRANDPA for both validators, in a round.
pub async fn vote(world: &World, client: &SignerClient, round: u64) {
    for key in world.keys.iter().filter(|key| key.key_type == GRANDPA) {
        let vote = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, 5, Flavour(0));
        let chain = ChainRef::Id(world.cluster.genesis());
        client.sign(&SignParams { chain, key: key.public, payload: vote }).await.unwrap();
    }
}

/// One of everything that a client can ask: duties, a repeat, an equivocation, a proof, a VRF, an unknown key, a new
/// key.
pub async fn ask_everything(world: &World, client: &SignerClient) {
    vote(world, client, 1).await;
    vote(world, client, 1).await;
    let other = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 6, Flavour(1));
    assert_eq!(code(&client.sign(&world.params(GRANDPA, &other)).await), ErrorCode::Equivocation);
    let proof = RawPayload::new(Kind::OwnershipProof.into(), b"POP_owner".to_vec());
    client.sign(&world.params(BABE, &proof)).await.unwrap();
    let slot = world.next_slot();
    let epoch_index = chain::epoch_of(slot);
    let genesis = ChainRef::Id(world.cluster.genesis());
    let key = world.key(BABE).public;
    let randomness = chain::randomness(epoch_index);
    client.ask(&VrfParams { chain: genesis.clone(), key, slot, epoch_index, randomness }).await.unwrap();
    let unknown = SignParams {
        chain: genesis.clone(),
        key: PublicKey::try_from(&[9; 32][..]).unwrap(),
        payload: chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 5, Flavour(0)),
    };
    assert_eq!(code(&client.sign(&unknown).await), ErrorCode::UnknownKey);
    // Granted or not: it is counted.
    let _ = client.generate_key(&GenerateKeyParams { chain: genesis, key_type: GRANDPA }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_metrics_and_a_live_scrape_say_the_same() {
    let world = two_validators().await;
    let node = world.cluster.node_ids()[0];
    let client = world.client_of("v1", node);
    ask_everything(&world, &client).await;

    let mut table = table();
    // Of another process, and of a setting that this cluster has not: their own tests see them.
    table.retain(|name, _| !name.starts_with("signonce_watch_") && name != "signonce_backup_age_seconds");
    // Members ask each other for the time when they start, when the others may not be there, and then every 10 s.
    let exported = until("everything is exported", async || {
        let mut exported = BTreeMap::new();
        for node in world.cluster.node_ids() {
            exported.extend(Scrape::of(&world, node).await.metrics());
        }
        table.keys().all(|name| exported.contains_key(name)).then_some(exported)
    })
    .await;
    assert_eq!(exported, table, "docs/reference/metrics.md and /metrics differ");

    let scrape = Scrape::of(&world, node).await;
    let votes = |outcome| {
        let labels = [("method", "sign"), ("class", "grandpaVote"), ("outcome", outcome)];
        scrape.value("signonce_requests_total", &labels)
    };
    assert_eq!(["granted", "repeated", "equivocation"].map(votes), [Some(2.0), Some(2.0), Some(1.0)]);
    for stage in ["decode", "rights", "queue", "append", "sync", "commit", "apply", "sign", "reply"] {
        let count = scrape.value("signonce_stage_seconds_count", &[("stage", stage)]).unwrap();
        assert!(count > 0.0, "{stage}");
    }
    let leader = Scrape::of(&world, world.cluster.leader().await.unwrap()).await;
    assert!(leader.value("signonce_stage_seconds_count", &[("stage", "replicate")]).unwrap() > 0.0);
    assert_eq!(leader.value("signonce_raft_voters_heard", &[]), Some(3.0));
    assert_eq!(scrape.value("signonce_fence", &[("state", "member")]), Some(1.0));
    let first = ("group", "validator-1");
    let round = [first, ("class", "grandpaVote"), ("part", "round")];
    assert_eq!(scrape.value("signonce_key_coordinate", &round), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_silent_while_the_other_validator_votes_and_only_then() {
    let world = two_validators().await;
    let node = world.cluster.node_ids()[0];
    let client = world.client_of("v1", node);
    let silence = async |group: &str| {
        let labels = [("group", group), ("class", "grandpaVote")];
        Scrape::of(&world, node).await.value("signonce_key_silent_seconds", &labels)
    };
    assert_eq!(silence("validator-1").await, None, "nobody has voted yet");
    vote(&world, &client, 1).await;
    let round = AtomicU64::new(2);
    until("the key that votes alone leaves the other behind", async || {
        let next = Round(round.fetch_add(1, Ordering::Relaxed));
        let vote = chain::vote(SetId(1), next, GrandpaStage::Prevote, 5, Flavour(0));
        client.sign(&world.params(GRANDPA, &vote)).await.unwrap();
        let own = world.key(GRANDPA).group.clone();
        let others = ["validator-1", "validator-2"].into_iter().find(|group| *group != own).unwrap();
        assert_eq!(silence(&own).await, Some(0.0));
        silence(others).await.filter(|seconds| *seconds > 0.0)
    })
    .await;
}

fn printed(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_top_show_every_node_and_what_to_do_when_one_is_gone() {
    let mut world = two_validators().await;
    let nodes = world.cluster.node_ids();
    let client = world.client_of("v1", nodes[0]);
    ask_everything(&world, &client).await;
    let config = |node: u64| world.cluster.config_path(node).to_str().unwrap().to_owned();
    let asked = config(nodes[0]);

    let (exit, text) = printed(&["status", "--config", &asked]);
    assert_eq!(exit, Some(0), "{text}");
    for words in ["LAST DUTY", "GRANDPA set 1 round 1"] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    let seen: Value = serde_json::from_str(&printed(&["status", "--json", "--config", &asked]).1).unwrap();
    let views = seen["nodes"]["nodes"].as_array().unwrap();
    assert_eq!(views.len(), 3);
    assert!(views.iter().all(|view| view["report"]["status"]["readiness"]["ready"] == json!(true)), "{seen}");

    let (exit, text) = printed(&["top", "--once", "--interval", "0.2", "--config", &asked]);
    assert_eq!(exit, Some(0), "{text}");
    for words in ["leads, term", "grandpaVote", "equivocation 1", "replicate", "GRANDPA set 1 round 1"] {
        assert!(text.contains(words), "{words:?} in {text}");
    }

    let gone = nodes[2];
    world.cluster.signal(gone, Signal::Kill).unwrap();
    world.cluster.wait_exit(gone, crate::common::PATIENCE).unwrap();
    until("the others have a leader", async || {
        let (exit, _) = printed(&["status", "--config", &asked]);
        (exit == Some(0)).then_some(())
    })
    .await;
    let (_, text) = printed(&["status", "--config", &asked]);
    for words in [format!("node {gone} does not answer"), "with one more lost".into(), "NO ANSWER".into()] {
        assert!(text.contains(&words), "{words:?} in {text}");
    }
    let (_, text) = printed(&["top", "--once", "--json", "--interval", "0.2", "--config", &asked]);
    let frame: Value = serde_json::from_str(&text).unwrap();
    let silent = frame["nodes"].as_array().unwrap().iter().filter(|node| node["role"] == "silent");
    assert_eq!(silent.count(), 1, "{frame}");

    // Alone, a node is not ready, and says so with its exit code.
    world.cluster.signal(nodes[1], Signal::Kill).unwrap();
    until("the last node knows that it is alone", async || {
        let (exit, text) = printed(&["status", "--config", &asked]);
        (exit == Some(4)).then(|| assert!(text.contains("no leader: nothing new is signed"), "{text}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_tell_only_members_and_admins_how_they_are() {
    let world = World::start(&["v1"]).await;
    let ask = async |tls: ClientConfig, method: &str| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": {} });
        let (_, text) = post(&world.cluster.urls()[0], tls, body.to_string().into_bytes()).await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let client = world.cluster.client_tls("v1");
    let client = TlsFiles { ca: client.ca, cert: client.cert, key: client.key };
    let certs = client.ca.parent().unwrap();
    let node =
        TlsFiles { ca: client.ca.clone(), cert: certs.join("node-2.pem"), key: certs.join("node-2-key.pem") };
    for method in ["node_report", "node_time"] {
        let refused = ask(tls::client_config(&client).unwrap(), method).await;
        assert_eq!(refused["error"]["code"], 2003, "{refused}");
        let told = ask(tls::client_config(&node).unwrap(), method).await;
        assert!(told.get("result").is_some(), "{told}");
    }
    // What operators may ask is not on the clients' port.
    let unknown = ask(tls::client_config(&node).unwrap(), "admin_overview").await;
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
}
