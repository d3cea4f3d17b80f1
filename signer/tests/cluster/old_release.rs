//! From an earlier program, mostly the last release's, to this one: signers replaced one after the other under load, put
//! back, joined, removed; and files that the old program wrote and this one reads. Where the old program's stores are of
//! another format, nothing of it rolls: then neither starts with what the other wrote, and keys and watermarks come over by
//! files.
//!
//! Real processes of both programs. Where both support the same feature level, nothing is ever too old, and the tests
//! then hold that. `make upgrade-test` builds the old program (scripts/old-program), and fails if it cannot.

use crate::{
    common::{BINARY, PATIENCE, World, client, code, run, run_program, start_of_program_fails, until},
    members::{done, invited, leader, operate, refused, row, said},
    restore::new_cluster,
    storm::{CLIENTS, Duel, Said, duels, finish, judge, remembers},
};
use serde::Deserialize;
use signonce_cli::{
    commands::demo::chain,
    dev::{ClientFiles, Signal},
};
use signonce_cluster::FORMAT;
use signonce_core::FEATURE_LEVEL;
use signonce_protocol::{
    RawPayload,
    client::ClientError,
    rpc::{ChainRef, ErrorCode, SignParams, SignVerdict},
};
use signonce_shared::admin::api::AdminStatus;
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Barrier, task::JoinSet};

/// The public key of Alice's GRANDPA key.
const ALICE_GRANDPA: &str = "88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee";
/// The genesis hash of a chain that both clusters have.
const MOVED: &str = "0x7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b";

/// The program that scripts/upgrade-from names.
struct Old {
    program: PathBuf,
    /// The feature level it supports.
    level: u32,
    /// The format of what it stores.
    format: u32,
}

impl Old {
    fn find() -> Self {
        let program: PathBuf = std::env::var_os("SIGNONCE_PREVIOUS")
            .expect("SIGNONCE_PREVIOUS names the old program: `make upgrade-test` builds it")
            .into();
        let (version, level, format) = Self::named();
        let says = String::from_utf8(run_program(&program, &["--version"]).stdout).unwrap();
        let said = says.split_whitespace().nth(1);
        assert_eq!(said, Some(&*version), "what scripts/upgrade-from names");
        assert!(format <= FORMAT, "a format never falls");
        assert!(format < FORMAT || level <= FEATURE_LEVEL, "a level never falls");
        Self { program, level, format }
    }

    /// Version, feature level and format of the program.
    fn named() -> (String, u32, u32) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |path: &str| fs::read_to_string(repository.join(path)).unwrap();
        let from: UpgradeFrom = toml::from_str(&read("scripts/upgrade-from")).unwrap();
        if !from.commit.is_empty() {
            // What is named there can be upgraded from.
            return (from.version, from.feature_level, FORMAT);
        }
        let mut list: Releases = toml::from_str(&read("deploy/releases.toml")).unwrap();
        let last = list.release.pop().unwrap();
        assert_ne!(last.name, env!("CARGO_PKG_VERSION"), "--version tells a release and this tree apart");
        (last.name, last.feature_level, last.format)
    }

    /// The old program where both can be in one cluster.
    fn that_rolls() -> Option<Self> {
        let old = Self::find();
        if old.format < FORMAT {
            println!("the old program stores format {}, this one {FORMAT}: nothing rolls", old.format);
        }
        Some(old).filter(|old| old.format == FORMAT)
    }

    /// The old program where they cannot.
    fn of_another_format() -> Option<Self> {
        let old = Self::find();
        if old.format == FORMAT {
            println!("the old program and this one store the same format: nobody has to come over");
        }
        Some(old).filter(|old| old.format < FORMAT)
    }

    /// Whether the present program's level is one that the old one cannot follow.
    fn is_left_behind(&self) -> bool {
        self.level < FEATURE_LEVEL
    }

    /// A cluster that it made and runs, at its feature level.
    async fn cluster(&self, clients: &[&str]) -> World {
        let world = World::made_by(&self.program, clients).await;
        reaches(&world, self.level).await;
        world
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UpgradeFrom {
    /// Empty: the last release.
    commit: String,
    version: String,
    feature_level: u32,
}

#[derive(Deserialize)]
struct Releases {
    release: Vec<Release>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Release {
    name: String,
    format: u32,
    feature_level: u32,
}

async fn status(world: &World, node: u64) -> AdminStatus {
    world.cluster.admin(node).status().await.unwrap()
}

/// Waits until every node that runs says that the cluster is at this level.
async fn reaches(world: &World, level: u32) {
    for node in world.cluster.node_ids().into_iter().filter(|node| world.cluster.pid(*node).is_some()) {
        until(&format!("node {node} is at feature level {level}"), async || {
            world.cluster.admin(node).status().await.ok().filter(|status| status.feature_level == level)
        })
        .await;
    }
}

/// Ends a node in order.
fn stop(world: &mut World, node: u64) {
    world.cluster.signal(node, Signal::Term).unwrap();
    assert!(world.cluster.wait_exit(node, PATIENCE).unwrap().success());
}

/// Starts a node with this program and waits until it serves.
async fn start(world: &mut World, node: u64, program: &Path) {
    world.cluster.set_binary(program.to_owned());
    world.cluster.start_node(node).unwrap();
    world.cluster.wait_ready_nodes(&[node], PATIENCE).await.unwrap();
}

async fn replace(world: &mut World, node: u64, program: &Path) {
    stop(world, node);
    start(world, node, program).await;
}

fn vote(round: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0))
}

async fn signs(world: &World, node: u64, round: u64) {
    let reply = world.client_of("v1", node).sign(&world.params(GRANDPA, &vote(round))).await.unwrap();
    assert_eq!(reply.verdict, SignVerdict::Granted, "node {node}, round {round}");
}

/// Between two duties of the storm.
const PACE: Duration = Duration::from_millis(20);
/// More duties than a storm comes to.
const PLENTY: u64 = 4_000;
/// How many of the last duties are asked for again: fewer than the ledger keeps.
const AGAIN: usize = 90;

/// All clients ask for the same duty at once, half of them for another payload, duty after duty, until it is ended.
struct Storm {
    duels: Arc<Vec<Duel>>,
    begun: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Said>>,
}

impl Storm {
    fn begin(world: &World) -> Self {
        let duels = Arc::new(duels(PLENTY));
        let (begun, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let over = Arc::new(AtomicBool::new(false));
        let together = Arc::new(Barrier::new(CLIENTS.len()));
        let mut tasks = JoinSet::new();
        for (number, client) in CLIENTS.into_iter().enumerate() {
            let side = number % 2;
            let params: Vec<_> =
                duels.iter().map(|duel| world.params(duel.key_type, &duel.payloads[side])).collect();
            let connection = world.client(client);
            let (begun, stop, over) = (Arc::clone(&begun), Arc::clone(&stop), Arc::clone(&over));
            let together = Arc::clone(&together);
            tasks.spawn(async move {
                let mut all = Vec::new();
                for (duel, params) in params.iter().enumerate() {
                    // One of them decides whether they go on, and all hear it.
                    if together.wait().await.is_leader() {
                        over.store(stop.load(Ordering::SeqCst), Ordering::SeqCst);
                    }
                    together.wait().await;
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    begun.fetch_max(duel + 1, Ordering::SeqCst);
                    let answer = connection.sign(params).await;
                    all.push(Said { client, duel, side, answer });
                    tokio::time::sleep(PACE).await;
                }
                all
            });
        }
        Self { duels, begun, stop, tasks }
    }

    /// Waits for so many more duties.
    async fn goes_on(&self, duties: usize) {
        let goal = self.begun.load(Ordering::SeqCst) + duties;
        until("the storm goes on", async || (self.begun.load(Ordering::SeqCst) > goal).then_some(())).await;
    }

    /// Ends it: every duty had one winner, no answer was anything but a signature or the refusal of the other
    /// payload, and every node remembers. Says how many duties there were.
    async fn end(self, world: &World) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let all = finish(self.tasks).await;
        let played = &self.duels[..self.begun.load(Ordering::SeqCst)];
        let mut winners = judge(world, played, &all);
        assert_eq!(winners.len(), played.len());
        remembers(world, played, &winners.split_off(&played.len().saturating_sub(AGAIN))).await;
        played.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an old program: make upgrade-test"]
async fn a_storm_goes_on_while_every_signer_goes_from_the_last_release_to_this_one() {
    let Some(old) = Old::that_rolls() else { return };
    let mut world = old.cluster(&CLIENTS).await;
    let storm = Storm::begin(&world);
    storm.goes_on(30).await;
    let leads = leader(&world).await;
    let mut olds = world.cluster.node_ids();
    olds.sort_by_key(|node| *node == leads);
    while !olds.is_empty() {
        let node = olds.remove(0);
        stop(&mut world, node);
        storm.goes_on(20).await;
        // The last one that is old may still be about to come back as it was, and so the level waits for it.
        for other in world.cluster.node_ids().into_iter().filter(|other| *other != node) {
            assert_eq!(status(&world, other).await.feature_level, old.level, "node {other} without {node}");
        }
        start(&mut world, node, BINARY.as_ref()).await;
        storm.goes_on(20).await;
        if !olds.is_empty() {
            let status = status(&world, node).await;
            assert_eq!(
                (status.version.as_str(), status.feature_level),
                (env!("CARGO_PKG_VERSION"), old.level)
            );
            // It says so of itself a moment later.
            let mut expected = if old.is_left_behind() { olds.clone() } else { Vec::new() };
            expected.sort_unstable();
            until("who holds the level back is shown", async || {
                let held = world.cluster.admin(node).status().await.ok()?.feature_held_back_by;
                let mut held: Vec<u64> = held.iter().map(|held| held.node.0).collect();
                held.sort_unstable();
                (held == expected).then_some(())
            })
            .await;
        }
    }
    reaches(&world, FEATURE_LEVEL).await;
    storm.goes_on(30).await;
    let duties = storm.end(&world).await;
    let log = fs::read_to_string(world.cluster.log_path(leads)).unwrap();
    assert!(log.contains("leadership handed over"), "the leader handed over before it went");
    println!("{duties} duties, from feature level {} to {FEATURE_LEVEL}", old.level);

    // What was recorded under both programs is one sound chain.
    let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
    let (file, ca) = (world.scratch("audit.jsonl"), world.cluster.admin_tls().ca);
    done(&run(&["audit", "export", file.to_str().unwrap(), "--admin", &admin]));
    let sound = done(&run(&["audit", "verify", file.to_str().unwrap(), "--ca", ca.to_str().unwrap()]));
    assert!(sound.starts_with("SOUND"), "{sound}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an old program: make upgrade-test"]
async fn a_signer_goes_back_until_the_level_rises_and_is_told_why_not_after() {
    let Some(old) = Old::that_rolls() else { return };
    let mut world = old.cluster(&["v1"]).await;
    signs(&world, 2, 1).await;
    replace(&mut world, 2, BINARY.as_ref()).await;
    signs(&world, 2, 2).await;
    replace(&mut world, 2, &old.program).await;
    signs(&world, 2, 3).await;
    assert_eq!(status(&world, 2).await.feature_level, old.level);
    for node in world.cluster.node_ids() {
        replace(&mut world, node, BINARY.as_ref()).await;
    }
    reaches(&world, FEATURE_LEVEL).await;
    signs(&world, 2, 4).await;

    let (mut new, token) = invited(&world, "token").await;
    new.program = old.program.clone();
    stop(&mut world, 2);
    if !old.is_left_behind() {
        println!(
            "this version and the last release both support feature level {FEATURE_LEVEL}: one can go back"
        );
        start(&mut world, 2, &old.program).await;
        signs(&world, 2, 5).await;
        done(&new.join(&token));
        return;
    }
    let config = world.cluster.config_path(2);
    for _ in 0..2 {
        let said = start_of_program_fails(&old.program, &config);
        let why = format!(
            "the cluster is at feature level {FEATURE_LEVEL}, and this program supports {}",
            old.level
        );
        assert!(said.contains("too old for this node") && said.contains(&why), "{said}");
        assert!(said.contains(&format!("Start a version that supports {FEATURE_LEVEL}")), "{said}");
    }
    signs(&world, 1, 5).await;
    start(&mut world, 2, BINARY.as_ref()).await;
    signs(&world, 2, 6).await;
    refused(&new.join(&token), 1, "upgrade the node");
    // Told in time, the machine joins with the right program.
    new.program = BINARY.into();
    done(&new.join(&token));
    new.start_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an old program: make upgrade-test"]
async fn signers_come_and_go_between_the_last_release_and_this_one() {
    let Some(old) = Old::that_rolls() else { return };
    let mut world = old.cluster(&["v1"]).await;
    replace(&mut world, 1, BINARY.as_ref()).await;
    // One of each program joins, invited and promoted by whichever leads.
    let mut machines = Vec::new();
    for program in [old.program.clone(), BINARY.into()] {
        let (mut new, token) = invited(&world, &format!("token-{}", machines.len())).await;
        new.program = program;
        done(&new.join(&token));
        new.start_ready().await;
        until("it has caught up", async || row(&world, new.id).await.filter(|row| row.lag == Some(0))).await;
        done(&operate(&world, 1, &["members", "promote", &new.id.to_string()]));
        until("it votes", async || row(&world, new.id).await.filter(|row| row.voter)).await;
        machines.push(new);
    }
    // An old one goes, by its own program's word.
    let admin = format!("unix:{}", world.cluster.admin_socket(2).display());
    done(&run_program(&old.program, &["members", "remove", "3", "--yes", "--admin", &admin]));
    until("it votes no more", async || {
        let rows = world.cluster.admin(1).members().await.ok()?;
        (!rows.iter().any(|row| row.node.0 == 3 && row.voter)).then_some(())
    })
    .await;
    world.cluster.signal(3, Signal::Kill).unwrap();
    world.cluster.wait_exit(3, PATIENCE).unwrap();

    // Every node signs the same bytes, and none contradicts another.
    let params = world.params(GRANDPA, &vote(1));
    let first = world.client_of("v1", 1).sign(&params).await.unwrap();
    let other = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(1));
    let urls = machines.iter().map(|new| format!("https://{}", new.client));
    for url in urls.chain([world.cluster.urls()[1].clone()]) {
        let node = client(&world.cluster.client_tls("v1"), vec![url]);
        let again = node.sign(&params).await.unwrap();
        assert_eq!((again.verdict, &again.signature), (SignVerdict::Repeated, &first.signature));
        let refused = node.sign(&world.params(GRANDPA, &other)).await;
        assert_eq!(code(&refused), ErrorCode::Equivocation);
    }
    // The level waits for those who came, as for those who were there.
    replace(&mut world, 2, BINARY.as_ref()).await;
    assert_eq!(status(&world, 1).await.feature_level, old.level);
    let late = &mut machines[0];
    late.stop();
    late.program = BINARY.into();
    late.start_ready().await;
    for node in [1, 2] {
        until("the level rises", async || {
            world
                .cluster
                .admin(node)
                .status()
                .await
                .ok()
                .filter(|status| status.feature_level == FEATURE_LEVEL)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an old program: make upgrade-test"]
async fn what_the_last_release_wrote_is_restored_and_imported_by_this_one() {
    let Some(old) = Old::that_rolls() else { return };
    let mut world = old.cluster(&["v1"]).await;
    for round in 1..=5 {
        signs(&world, 1, round).await;
    }
    let old_id = status(&world, 2).await.cluster;
    let admin = format!("unix:{}", world.cluster.admin_socket(2).display());
    let path = |name: &str| world.scratch(name).display().to_string();
    let (backup, marks) = (path("backup"), path("marks.json"));
    done(&run_program(&old.program, &["backup", "create", "--out", &backup, "--admin", &admin]));
    let export = ["watermarks", "export", "--chain", "dev", "--out", &marks, "--admin", &admin];
    done(&run_program(&old.program, &export));

    restored(&world, &backup, &old_id).await;

    // The old cluster goes on with this version, and takes its own file in.
    for node in world.cluster.node_ids() {
        stop(&mut world, node);
    }
    world.cluster.set_binary(BINARY.into());
    world.cluster.start_all().unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    done(&run(&["watermarks", "import", &marks, "--yes", "--admin", &admin]));
    let answer = world.client("v1").sign(&world.params(GRANDPA, &vote(5))).await;
    assert_eq!(code(&answer), ErrorCode::BelowWatermark, "the file raised the floor to behind the vote");
    signs(&world, 1, 6).await;
}

/// A new cluster of this version takes the backup, and contradicts nothing.
async fn restored(world: &World, backup: &str, old_id: &str) {
    let ca = world.cluster.admin_tls().ca;
    let ca_text = ca.to_str().unwrap();
    done(&run(&["backup", "verify", backup, "--ca", ca_text]));
    let new = new_cluster(&world.scratch("new"), &ca).await;
    let admin = format!("unix:{}", new.admin_socket(1).display());
    let data = world.cluster.data_dir(2);
    let (identity, unlock) = (data.join("identity.age"), data.with_file_name("unlock"));
    let restore: [&str; 15] = [
        "restore",
        "--new-cluster",
        "--from",
        backup,
        "--backup-ca",
        ca_text,
        "--identity",
        identity.to_str().unwrap(),
        "--unlock-file",
        unlock.to_str().unwrap(),
        "--admin",
        &admin,
        "--confirm",
        old_id,
        "--grandpa-floor=2:0",
    ];
    let output: Output = run(&restore);
    assert!(output.status.success(), "{}", said(&output));
    let ClientFiles { cert, key, .. } = world.cluster.client_tls("v1");
    let validator = client(&ClientFiles { ca: new.admin_tls().ca, cert, key }, new.urls());
    let below = validator.sign(&world.params(GRANDPA, &vote(6))).await;
    assert_eq!(code(&below), ErrorCode::BelowWatermark);
    let above = chain::vote(SetId(2), Round(1), GrandpaStage::Prevote, 9, chain::Flavour(0));
    validator.sign(&world.params(GRANDPA, &above)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an old program: make upgrade-test"]
async fn neither_program_starts_with_what_the_other_wrote_and_each_goes_on_with_its_own() {
    let Some(old) = Old::of_another_format() else { return };
    let mut world = old.cluster(&["v1"]).await;
    signs(&world, 2, 1).await;
    stop(&mut world, 2);
    let config = world.cluster.config_path(2);
    for _ in 0..2 {
        let said = start_of_program_fails(BINARY.as_ref(), &config);
        assert!(said.contains("version 0.1") && said.contains("watermarks export"), "{said}");
    }
    signs(&world, 1, 2).await;
    start(&mut world, 2, &old.program).await;
    signs(&world, 2, 3).await;

    let mut ours = World::start(&["v1"]).await;
    stop(&mut ours, 2);
    start_of_program_fails(&old.program, &ours.cluster.config_path(2));
    start(&mut ours, 2, BINARY.as_ref()).await;
    signs(&ours, 2, 1).await;
}

/// What an operator types at the first node of a cluster of this program, or of another one.
fn typed(world: &World, program: &Path, words: &[&str]) -> String {
    let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
    done(&run_program(program, &[words, &["--admin", &admin]].concat()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an old program: make upgrade-test"]
async fn a_validator_comes_over_with_its_keys_and_its_watermarks() {
    let Some(old) = Old::of_another_format() else { return };
    let (before, after) = (old.cluster(&["v1"]).await, World::start(&["v1"]).await);
    let path = |name: &str| before.scratch(name).display().to_string();
    let (keystore, marks) = (path("keystore"), path("marks.json"));
    fs::create_dir(&keystore).unwrap();
    let file = Path::new(&keystore).join(format!("{}{ALICE_GRANDPA}", hex::encode("gran")));
    fs::write(file, "\"//Alice\"").unwrap();
    let import = ["keys", "import", &keystore, "--chain", "moved", "--group", "alice", "--yes"];
    let add = ["chains", "add", "moved", "--genesis", MOVED, "--slot-duration", "6000", "--yes"];
    let key = format!("gran:0x{ALICE_GRANDPA}");
    let vote = |round| {
        let payload = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0));
        let chain = ChainRef::Name("moved".into());
        SignParams { chain, key: format!("0x{ALICE_GRANDPA}").parse().unwrap(), payload }
    };
    typed(&before, &old.program, &add);
    typed(&before, &old.program, &[&import[..], &["--new-key"]].concat());
    let validator = before.client_of("v1", 1);
    until("the old cluster signs", async || validator.sign(&vote(1)).await.ok()).await;
    for round in 2..=9 {
        validator.sign(&vote(round)).await.unwrap();
    }

    // As the page says: disabled there, its past to a file, the key here, the file here. The file raises a floor that was
    // given too low.
    typed(&before, &old.program, &["keys", "disable", &key, "--yes"]);
    typed(&before, &old.program, &["watermarks", "export", "--chain", "moved", "--minimal", "--out", &marks]);
    typed(&after, BINARY.as_ref(), &add);
    typed(&after, BINARY.as_ref(), &[&import[..], &["--grandpa-floor", "1:1"]].concat());
    typed(&after, BINARY.as_ref(), &["watermarks", "import", &marks, "--yes"]);
    let validator = after.client_of("v1", 1);
    let signed = until("the new cluster signs", async || validator.sign(&vote(10)).await.ok()).await;
    assert!(matches!(signed.verdict, SignVerdict::Granted | SignVerdict::Repeated));
    for round in 1..=9 {
        assert_eq!(code(&validator.sign(&vote(round)).await), ErrorCode::BelowWatermark, "round {round}");
    }
    let Err(ClientError::Refused(refused)) = before.client_of("v1", 1).sign(&vote(11)).await else {
        panic!("the old cluster goes on signing with it")
    };
    assert_eq!(refused.code, ErrorCode::KeyNotArmed);
}
