//! Signers that come, take the place of others, and go: through the command line, against real processes.

use crate::common::{BINARY, PATIENCE, World, free_address, readyz, run, run_program, until};
use signonce_cli::{commands::demo::chain, dev::Signal};
use signonce_cluster::FORMATS;
use signonce_core::{FEATURE_LEVEL, Formats, Member};
use signonce_keys::NodeIdentity;
use signonce_protocol::{NodeId, rpc::SignVerdict};
use signonce_shared::admin::api::Joined;
use signonce_shared::{
    admin::{api::MemberRow, client::AdminClient},
    config::TlsFiles,
};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A machine that is not in the cluster's plan. Its process is killed when it goes out of scope.
pub(crate) struct Machine {
    pub(crate) id: u64,
    /// What it joins and runs with.
    pub(crate) program: PathBuf,
    dir: PathBuf,
    peer: SocketAddr,
    pub(crate) client: SocketAddr,
    metrics: SocketAddr,
    process: Option<Child>,
}

impl Machine {
    /// With a certificate and a configuration for `id`.
    pub fn new(world: &World, id: u64, peer: SocketAddr) -> Self {
        let dir = world.scratch(&format!("machine-{id}"));
        fs::create_dir(&dir).unwrap();
        let certs = certs(world);
        let cluster = cluster_id(world);
        let issue = [
            "certs",
            "issue",
            "node",
            "--id",
            &id.to_string(),
            "--cluster",
            &cluster,
            "--host",
            "127.0.0.1",
            "--dir",
            certs.to_str().unwrap(),
            "--out",
            dir.to_str().unwrap(),
        ];
        assert!(run(&issue).status.success());
        fs::write(dir.join("unlock"), "a passphrase").unwrap();
        let (program, client, metrics) = (BINARY.into(), free_address(), free_address());
        let machine = Self { id, program, dir, peer, client, metrics, process: None };
        machine.configure(world, "data");
        machine
    }

    fn configure(&self, world: &World, data: &str) {
        let Self { id, peer, client, metrics, .. } = self;
        let (admin, certs) = (free_address(), certs(world));
        let mut text = format!(
            "[node]\nid = {id}\ndata_dir = \"{data}\"\nunlock_file = \"unlock\"\nzone = \"annex\"\n\n[cluster]\nid = \"{}\"\n",
            cluster_id(world)
        );
        let own = (*id, peer.to_string(), format!("https://{client}"));
        for (id, peer, url) in configured(world).into_iter().chain([own]) {
            let _ =
                write!(text, "\n[[cluster.members]]\nid = {id}\npeer = \"{peer}\"\nclient_url = \"{url}\"\n");
        }
        let _ = write!(
            text,
            "\n[listen]\npeer = \"{peer}\"\nclient = \"{client}\"\nadmin = \"{admin}\"\nmetrics = \"{metrics}\"\n\n\
             [tls]\nca = '{}/ca.pem'\ncert = 'node-{id}.pem'\nkey = 'node-{id}-key.pem'\n\n[log]\nformat = \"text\"\n",
            certs.display()
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.join("signonce.toml")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn join(&self, token: &Path) -> Output {
        let (config, token) = (self.config(), token.display().to_string());
        run_program(
            &self.program,
            &["join", "--config", config.to_str().unwrap(), "--token-file", &token, "--yes"],
        )
    }

    fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("start").arg("--config").arg(self.config()).stdin(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    pub(crate) async fn start_ready(&mut self) {
        self.start();
        until("the new node is ready", async || {
            readyz(self.metrics).await.filter(|(status, _)| *status == 200)
        })
        .await;
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(process.wait().unwrap().success());
    }

    fn files(&self, world: &World) -> TlsFiles {
        let file = |name: &str| self.dir.join(format!("node-{}{name}.pem", self.id));
        TlsFiles { ca: certs(world).join("ca.pem"), cert: file(""), key: file("-key") }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn certs(world: &World) -> PathBuf {
    world.cluster.admin_tls().ca.parent().unwrap().to_owned()
}

fn cluster_id(world: &World) -> String {
    let text = fs::read_to_string(world.cluster.config_path(1)).unwrap();
    let line = text.lines().find(|line| line.starts_with("id = \"")).unwrap();
    line.trim_start_matches("id = ").trim_matches('"').to_owned()
}

/// The members in the configuration of node 1: id, peer address, URL.
fn configured(world: &World) -> Vec<(u64, String, String)> {
    let loaded = signonce_shared::config::Config::load(Some(&world.cluster.config_path(1)), [], &[]).unwrap();
    let members = loaded.config.cluster.members;
    members.into_iter().map(|member| (member.id.0, member.peer, member.client_url)).collect()
}

pub(crate) fn operate(world: &World, node: u64, arguments: &[&str]) -> Output {
    let admin = format!("unix:{}", world.cluster.admin_socket(node).display());
    run(&[arguments, &["--yes", "--admin", &admin]].concat())
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn refused(output: &Output, code: i32, why: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    assert!(said(output).contains(why), "{}", said(output));
}

pub(crate) fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

pub(crate) async fn leader(world: &World) -> u64 {
    world.leader_other_than(None).await
}

/// Waits until everything can be done that this program can do.
pub async fn at_newest_level(world: &World) {
    let admin = world.cluster.admin(leader(world).await);
    until("the feature level is the newest", async || {
        admin.status().await.ok().filter(|status| status.feature_level == FEATURE_LEVEL)
    })
    .await;
}

pub(crate) async fn row(world: &World, node: u64) -> Option<MemberRow> {
    let rows = world.cluster.admin(leader(world).await).members().await.ok()?;
    rows.into_iter().find(|row| row.node.0 == node)
}

/// Invites a machine; answers it and its token.
pub(crate) async fn invited(world: &World, name: &str) -> (Machine, PathBuf) {
    let (peer, token) = (free_address(), world.scratch(name));
    let file = token.display().to_string();
    let add = ["members", "add", "--peer", &peer.to_string(), "--token-file", &file, "--json"];
    let admin = format!("unix:{}", world.cluster.admin_socket(leader(world).await).display());
    let output = run(&[&add[..], &["--yes", "--admin", &admin]].concat());
    done(&output);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["token"], serde_json::Value::Null, "the token is in its file, and nowhere else");
    (Machine::new(world, answer["node"].as_u64().unwrap(), peer), token)
}

fn vote(round: u64) -> signonce_protocol::RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_is_added_signs_the_same_bytes_and_a_removed_one_never_comes_back() {
    let mut world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let (mut new, token) = invited(&world, "token").await;
    let id = new.id.to_string();
    refused(&operate(&world, 1, &["members", "promote", &id]), 1, "invited but has not joined");
    refused(&operate(&world, 1, &["members", "add", "--peer", "h:1"]), 1, "one member is changed at a time");

    assert!(done(&new.join(&token)).contains("has joined cluster"));
    assert!(done(&new.join(&token)).contains("has joined already"), "safe to repeat");
    refused(&operate(&world, leader(&world).await, &["members", "promote", &id]), 1, "is left as it is");
    new.start_ready().await;
    until("it has caught up", async || row(&world, new.id).await.filter(|row| row.lag == Some(0))).await;
    done(&operate(&world, 1, &["members", "promote", &id]));
    // Its zone is what it says of itself, a little later.
    until("the list shows it as a voter of its zone", async || {
        let shown = done(&operate_read(&world, leader(&world).await, &["members", "list"]));
        let line = shown.lines().find(|line| line.starts_with(&id)).unwrap();
        ["voter", "annex", "yes"].iter().all(|word| line.contains(word)).then_some(())
    })
    .await;

    // Every key is sealed for it, and it signs what the others sign.
    let admin = AdminClient::unix(new.data().join("admin.sock"));
    until("it opens every key", async || {
        let rows = admin.keys().await.ok()?;
        rows.iter().all(|row| row.unlocked && row.not_sealed_for.is_empty()).then_some(())
    })
    .await;
    let params = world.params(GRANDPA, &vote(1));
    let first = world.client_of("v1", 1).sign(&params).await.unwrap();
    let own = crate::common::client(&world.cluster.client_tls("v1"), vec![format!("https://{}", new.client)]);
    let second = own.sign(&params).await.unwrap();
    assert_eq!(second.verdict, SignVerdict::Repeated);
    assert_eq!(first.signature, second.signature);

    // One of the first three goes; what it has seen is named.
    let gone = world.cluster.node_ids().into_iter().find(|node| *node != 1).unwrap();
    let report = done(&operate(&world, 1, &["members", "remove", &gone.to_string()]));
    let key = world.key(GRANDPA).public;
    assert!(report.contains("rotate them on chain") && report.contains(&key.to_string()), "{report}");
    refused(
        &operate(&world, 1, &["members", "remove", &gone.to_string()]),
        1,
        "was removed from this cluster",
    );
    world.cluster.signal(gone, Signal::Kill).unwrap();
    world.cluster.wait_exit(gone, PATIENCE).unwrap();
    world.cluster.start_node(gone).unwrap();
    let (_, why) = until("the removed node is told", async || {
        world.readyz(gone).await.filter(|(status, why)| *status == 503 && why.contains("removed"))
    })
    .await;
    assert!(why.contains("members add"), "with advice: {why}");
    assert_eq!(
        world.client_of("v1", 1).sign(&world.params(GRANDPA, &vote(2))).await.unwrap().verdict,
        SignVerdict::Granted
    );
}

fn operate_read(world: &World, node: u64, arguments: &[&str]) -> Output {
    let admin = format!("unix:{}", world.cluster.admin_socket(node).display());
    run(&[arguments, &["--admin", &admin]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_with_a_used_or_wrong_token_anothers_certificate_or_a_full_directory() {
    let world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let (new, token) = invited(&world, "token").await;
    let other_token = world.scratch("other-token");
    fs::write(&other_token, "ab".repeat(32)).unwrap();
    refused(&new.join(&other_token), 1, "is not the join token of node");
    fs::write(&other_token, "no token").unwrap();
    refused(&new.join(&other_token), 2, "64 hex digits");

    // A directory in which something lies already.
    new.configure(&world, "full");
    let full = new.dir.join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("notes"), "mine").unwrap();
    refused(&new.join(&token), 1, "is not empty");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1, "nothing was put there");
    new.configure(&world, "data");

    // The certificate of another node, here and as the cluster sees it.
    let text = fs::read_to_string(new.config()).unwrap();
    let theirs = certs(&world).join("node-1");
    let swapped = text
        .replace(&format!("'node-{}.pem'", new.id), &format!("'{}.pem'", theirs.display()))
        .replace(&format!("'node-{}-key.pem'", new.id), &format!("'{}-key.pem'", theirs.display()));
    fs::write(new.config(), swapped).unwrap();
    refused(&new.join(&token), 1, "is not that of node");
    fs::write(new.config(), text).unwrap();
    let url = world.cluster.urls()[0].clone();
    let member = |node: u64, supports: u32| Member {
        node: NodeId(node),
        recipient: NodeIdentity::generate().recipient().to_string(),
        peer_addr: new.peer.to_string(),
        client_url: format!("https://{}", new.client),
        supports,
    };
    let secret = fs::read_to_string(&token).unwrap().trim().to_owned();
    let ask_with = async |files: &TlsFiles, member: &Member, formats: Option<Formats>| {
        let asked = serde_json::json!({ "member": member, "token": secret, "formats": formats });
        AdminClient::https(&url, files).unwrap().call::<_, Joined>("admin_join", &asked).await.map(drop)
    };
    let ask = async |files: &TlsFiles, member: &Member| ask_with(files, member, Some(FORMATS)).await;
    let foreign = TlsFiles {
        ca: certs(&world).join("ca.pem"),
        cert: theirs.with_extension("pem"),
        key: certs(&world).join("node-1-key.pem"),
    };
    let error = ask(&foreign, &member(new.id, FEATURE_LEVEL)).await.unwrap_err();
    assert!(error.to_string().contains("the certificate must carry"), "{error}");
    // What a program that knows less than the cluster's log may hold would say.
    let error = ask(&new.files(&world), &member(new.id, FEATURE_LEVEL - 1)).await.unwrap_err();
    assert!(error.to_string().contains("upgrade the node"), "{error}");
    // What release 0.1.0 says, by the level alone more than enough; and a version that speaks otherwise.
    let others = Formats { frames: FORMATS.frames + 1, ..FORMATS };
    for (supports, formats, why) in
        [(2, None, "is of version 0.1"), (FEATURE_LEVEL, Some(others), "frames of version")]
    {
        let error = ask_with(&new.files(&world), &member(new.id, supports), formats).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }

    done(&new.join(&token));
    // The same token from another machine, as from the same one after its disk was lost.
    fs::remove_dir_all(new.data()).unwrap();
    refused(&new.join(&token), 1, "was used by another machine");
    done(&operate(&world, 1, &["members", "remove", &new.id.to_string()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_was_interrupted_anywhere_is_run_again() {
    let world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let (mut new, token) = invited(&world, "token").await;
    // Before anybody was asked: the cluster is not to be reached.
    let config = new.config().display().to_string();
    let nowhere = format!("https://{}", free_address());
    let file = token.display().to_string();
    let lost = run(&["join", "--config", &config, "--token-file", &file, "--via", &nowhere, "--yes"]);
    refused(&lost, 4, "run the same command again");
    assert!(new.data().join("identity.age").exists() && !new.data().join("IDENTITY").exists());
    let early = run(&["start", "--config", &config]);
    refused(&early, 1, "`signonce join` was begun");
    let identity = fs::read(new.data().join("identity.age")).unwrap();
    // After the cluster had said yes, in the middle of the making of the store.
    done(&new.join(&token));
    assert_eq!(fs::read(new.data().join("identity.age")).unwrap(), identity, "it is who it was");
    fs::remove_file(new.data().join("IDENTITY")).unwrap();
    fs::remove_dir_all(new.data().join("db")).unwrap();
    let mark = format!("node {} of cluster {}\n", new.id, cluster_id(&world));
    fs::write(new.data().join("JOINING"), &mark).unwrap();
    refused(&run(&["start", "--config", &config]), 1, "`signonce join` was begun");
    done(&new.join(&token));
    // After the store was made, before the mark was taken away.
    fs::write(new.data().join("JOINING"), &mark).unwrap();
    assert!(done(&new.join(&token)).contains("goes on where it stopped"));
    new.start_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_would_leave_no_quorum_is_refused_and_two_operators_do_not_get_in_each_others_way() {
    let mut world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let racing: Vec<_> = (1..=2)
        .map(|n| {
            let admin = format!("unix:{}", world.cluster.admin_socket(n).display());
            let peer = free_address().to_string();
            std::thread::spawn(move || run(&["members", "add", "--peer", &peer, "--yes", "--admin", &admin]))
        })
        .collect();
    let outcomes: Vec<Output> = racing.into_iter().map(|one| one.join().unwrap()).collect();
    let won: Vec<&Output> = outcomes.iter().filter(|output| output.status.success()).collect();
    let lost: Vec<&Output> = outcomes.iter().filter(|output| !output.status.success()).collect();
    assert_eq!((won.len(), lost.len()), (1, 1), "{}{}", said(&outcomes[0]), said(&outcomes[1]));
    refused(lost[0], 1, "one member is changed at a time");
    let text = said(won[0]);
    let id = text.split("Invited node ").nth(1).unwrap().split('.').next().unwrap().to_owned();
    done(&operate(&world, 1, &["members", "remove", &id]));

    let leads = leader(&world).await;
    let others: Vec<u64> = world.cluster.node_ids().into_iter().filter(|node| *node != leads).collect();
    world.cluster.signal(others[0], Signal::Kill).unwrap();
    world.cluster.wait_exit(others[0], PATIENCE).unwrap();
    until("the leader misses it", async || {
        row(&world, others[0]).await.filter(|row| row.active == Some(false))
    })
    .await;
    refused(
        &operate(&world, leads, &["members", "remove", &others[1].to_string()]),
        1,
        "of the 2 voters that would be left, 1 answer and 2 are needed",
    );
    refused(&operate(&world, leads, &["members", "remove", "77"]), 1, "there is no node 77");
    world.cluster.start_node(others[0]).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_signer_is_replaced_however_often_the_command_is_interrupted() {
    let mut world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let leads = leader(&world).await;
    let dead = world.cluster.node_ids().into_iter().find(|node| *node != leads).unwrap();
    world.cluster.signal(dead, Signal::Kill).unwrap();
    world.cluster.wait_exit(dead, PATIENCE).unwrap();
    until("the leader misses it", async || row(&world, dead).await.filter(|row| row.active == Some(false)))
        .await;
    let follower = world.cluster.node_ids().into_iter().find(|node| ![leads, dead].contains(node)).unwrap();
    let replace = |more: &[&str]| {
        let dead = dead.to_string();
        operate(&world, leads, &[&["members", "replace", &dead], more].concat())
    };
    refused(
        &operate(&world, follower, &["members", "replace", &dead.to_string(), "--peer", "h:1"]),
        4,
        "only the leader sees who answers",
    );
    refused(&replace(&[]), 2, "--peer");
    let (peer, token) = (free_address(), world.scratch("token"));
    let file = token.display().to_string();
    // Interrupted while it waits for the new machine.
    let begun = replace(&["--peer", &peer.to_string(), "--token-file", &file, "--wait", "0"]);
    refused(&begun, 4, "run the same command again to go on");
    assert!(
        said(&begun).contains("promote it, remove the old one"),
        "two voters bear no loss: {}",
        said(&begun)
    );
    let text = said(&begun);
    let id: u64 = text.split("Invited node ").nth(1).unwrap().split('.').next().unwrap().parse().unwrap();
    let mut new = Machine::new(&world, id, peer);
    done(&new.join(&token));
    refused(&replace(&["--wait", "0"]), 4, "it answers and has caught up");
    new.start_ready().await;
    let finished = done(&replace(&["--wait", "60"]));
    assert!(finished.contains(&format!("Node {id} has taken the place of node {dead}")), "{finished}");
    assert!(done(&replace(&["--wait", "60"])).contains("has taken the place"), "safe to repeat");
    let rows = world.cluster.admin(leads).members().await.unwrap();
    let voters: Vec<u64> = rows.iter().filter(|row| row.voter).map(|row| row.node.0).collect();
    assert!(voters.contains(&id) && !voters.contains(&dead) && voters.len() == 3, "{voters:?}");
    let reply = world.client_of("v1", leads).sign(&world.params(GRANDPA, &vote(1))).await.unwrap();
    assert_eq!(reply.verdict, SignVerdict::Granted);
}
