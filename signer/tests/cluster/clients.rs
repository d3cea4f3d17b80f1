//! Tenants: their limits, their certificates, and what operators see of them. And the nodes' own certificates.

use crate::common::{PATIENCE, World, client, code, code_of, run, until};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use signonce_cli::{
    commands::demo::chain::{self, Flavour},
    dev::ClientFiles,
};
use signonce_protocol::{
    RawPayload,
    client::{ClientError, SignerClient},
    rpc::{ErrorCode, SignReply},
};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

fn vote(round: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, Flavour(0))
}

async fn sign(world: &World, client: &SignerClient, round: u64) -> Result<SignReply, ClientError> {
    client.sign(&world.params(GRANDPA, &vote(round))).await
}

/// What an operator types at a node; what it says on both streams.
fn operate(world: &World, node: u64, expected: i32, arguments: &[&str]) -> String {
    let admin = format!("unix:{}", world.cluster.admin_socket(node).display());
    let output = run(&[arguments, &["--admin", &admin]].concat());
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {said}");
    said
}

fn show(world: &World, node: u64, name: &str) -> Value {
    let admin = format!("unix:{}", world.cluster.admin_socket(node).display());
    let output = run(&["clients", "show", name, "--json", "--admin", &admin]);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A new certificate for a client, from the cluster's authority.
fn issue(world: &World, name: &str, out: &str) -> ClientFiles {
    let (certs, out) = (world.scratch("cluster/certs"), world.scratch(out));
    let (dir, to) = (certs.display().to_string(), out.display().to_string());
    let issued = run(&["certs", "issue", "client", name, "--dir", &dir, "--out", &to]);
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    let file = |end: &str| out.join(format!("client-{name}{end}.pem"));
    ClientFiles { ca: certs.join("ca.pem"), cert: file(""), key: file("-key") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_limits_is_told_when_to_ask_again_and_others_notice_nothing() {
    let world = World::start(&["v1", "v2"]).await;
    let (v1, v2) = (world.client_of("v1", 2), world.client_of("v2", 2));
    sign(&world, &v1, 1).await.unwrap();
    let limits = ["clients", "limits", "v1", "--per-second", "1", "--burst", "1", "--yes"];
    let said = operate(&world, 1, 0, &limits);
    assert!(said.contains("1/s, burst 1, 256 in flight"), "{said}");
    let refusal = until("node 2 keeps v1 to its limits", async || match sign(&world, &v1, 2).await {
        Err(ClientError::Refused(refusal)) if refusal.code == ErrorCode::RateLimited => Some(refusal),
        _ => None,
    })
    .await;
    assert!(refusal.data.retry_after_ms.is_some_and(|wait| (1..=1_001).contains(&wait)), "{refusal:?}");
    assert!(refusal.message.contains("signonce clients limits v1"), "{refusal}");
    for round in 3..40 {
        sign(&world, &v2, round).await.unwrap();
    }

    let seen = show(&world, 2, "v1");
    assert!(seen["activity"]["refused"]["rateLimited"].as_u64() >= Some(1), "{seen}");
    assert_eq!(seen["activity"]["lastDuty"]["duty"]["class"], "grandpaVote", "{seen}");
    assert_eq!(seen["ownLimits"], true);
    let list = operate(&world, 2, 0, &["clients", "list"]);
    assert!(list.contains("rateLimited") && list.contains("Seen by node 2"), "{list}");

    operate(&world, 1, 2, &["clients", "limits", "v1", "--yes"]);
    operate(&world, 1, 1, &["clients", "limits", "nobody", "--default", "--yes"]);
    let said = operate(&world, 1, 1, &["clients", "limits", "v1", "--per-second", "0", "--yes"]);
    assert!(said.contains("1 to 1000000"), "{said}");
    operate(&world, 3, 0, &["clients", "limits", "v1", "--default", "--yes"]);
    let free = async || show(&world, 2, "v1")["ownLimits"].eq(&false).then_some(());
    until("node 2 knows", free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_changed_without_a_gap_and_revoked_on_an_open_connection() {
    let world = World::start(&["v1"]).await;
    let old = world.client_of("v1", 2);
    sign(&world, &old, 1).await.unwrap();
    let files = issue(&world, "v1", "fresh");
    let fresh = client(&files, vec![world.cluster.urls()[1].clone()]);
    assert_eq!(code(&sign(&world, &fresh, 1).await), ErrorCode::Forbidden, "not known yet");

    let cert = files.cert.display().to_string();
    let said = operate(&world, 1, 0, &["clients", "rotate", "v1", "--cert", &cert, "--yes"]);
    assert!(said.contains("--finish"), "{said}");
    operate(&world, 1, 1, &["clients", "rotate", "v1", "--cert", &cert, "--yes"]);
    until("node 2 knows the new one", async || sign(&world, &fresh, 2).await.ok()).await;
    sign(&world, &old, 3).await.expect("both are accepted");

    let said = operate(&world, 2, 0, &["clients", "rotate", "v1", "--finish", "--yes"]);
    assert!(said.contains("WARNING: the client came last with the one that goes"), "{said}");
    let refused = until("the old one is out", async || sign(&world, &old, 4).await.err()).await;
    assert_eq!(code_of(&refused), Some(ErrorCode::Forbidden), "on the connection it has open");
    sign(&world, &fresh, 4).await.unwrap();
    let before = world.cluster.client_tls("v1").cert.display().to_string();
    let said =
        operate(&world, 1, 1, &["clients", "add", "v9", "--cert", &before, "--rights", "all", "--yes"]);
    assert!(said.contains("issue a new one"), "a revoked certificate stays revoked: {said}");

    operate(&world, 3, 0, &["clients", "remove", "v1", "--yes"]);
    let refused = until("the client is out", async || sign(&world, &fresh, 5).await.err()).await;
    assert_eq!(code_of(&refused), Some(ErrorCode::Forbidden), "on the connection it has open");
}

/// Replaces a file as careful tools do: by another one under its name.
fn replace(path: &Path, contents: &[u8]) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, contents).unwrap();
    fs::rename(&fresh, path).unwrap();
}

/// A new certificate for a node, which ends earlier than the one it has, with a new key.
struct Renewed(Vec<(PathBuf, Vec<u8>)>);

impl Renewed {
    /// Puts both into the node's files, as careful tools do.
    fn put(&self) {
        self.0.iter().for_each(|(path, contents)| replace(path, contents));
    }
}

async fn renewed(world: &World, node: u64) -> Renewed {
    let (certs, out) = (world.scratch("cluster/certs"), world.scratch("renewed"));
    let cluster = world.cluster.admin(node).status().await.unwrap().cluster;
    let (id, dir, to) = (node.to_string(), certs.display().to_string(), out.display().to_string());
    let issue = ["certs", "issue", "node", "--id", &id, "--cluster", &cluster, "--host", "127.0.0.1"];
    let issued = run(&[&issue[..], &["--days", "30", "--dir", &dir, "--out", &to]].concat());
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    let names = [format!("node-{node}-key.pem"), format!("node-{node}.pem")];
    Renewed(names.map(|name| (certs.join(&name), fs::read(out.join(&name)).unwrap())).into())
}

fn pid(world: &World, node: u64) -> Pid {
    Pid::from_raw(world.cluster.pid(node).unwrap().try_into().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_file_descriptors_keeps_its_certificates_and_takes_new_ones_over_once_it_has_some() {
    let world = World::start(&["v1"]).await;
    let admin = world.cluster.admin(3);
    let tls = async || admin.status().await.unwrap().tls.unwrap();
    let before = tls().await;
    let v1 = world.client_of("v1", 3);
    sign(&world, &v1, 1).await.unwrap();

    // What is open stays open, and nothing more can be opened.
    let set = |limit| prlimit(Some(pid(&world, 3)), Resource::Nofile, limit).unwrap();
    let renewed = renewed(&world, 3).await;
    let enough = set(Rlimit { current: Some(0), maximum: getrlimit(Resource::Nofile).maximum });
    renewed.put();
    kill_process(pid(&world, 3), Signal::HUP).unwrap();
    until("the log says that the files cannot be read", async || {
        let log = fs::read_to_string(world.cluster.log_path(3)).unwrap();
        log.contains("new certificates cannot be used").then_some(())
    })
    .await;
    sign(&world, &v1, 2).await.expect("an open connection goes on");

    set(enough);
    let now = until("they are in use, with no further sign", async || {
        let now = admin.status().await.ok()?.tls.unwrap();
        (now.certificate_ends < before.certificate_ends).then_some(now)
    })
    .await;
    assert_eq!(now.not_reloaded, None);
    sign(&world, &world.client_of("v1", 3), 3).await.expect("and new ones come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_new_certificates_over_and_goes_on_with_the_old_if_they_are_broken() {
    let world = World::start(&["v1"]).await;
    let admin = world.cluster.admin(3);
    let tls = async || admin.status().await.unwrap().tls.unwrap();
    let before = tls().await;
    assert_eq!(before.not_reloaded, None);
    let certs = world.scratch("cluster/certs");
    let cert = certs.join("node-3.pem");
    let good = fs::read(&cert).unwrap();

    // By itself, and without losing what it has.
    replace(&cert, b"broken");
    let broken = until("the broken file is told of", async || tls().await.not_reloaded).await;
    assert!(broken.contains("node-3.pem"), "{broken}");
    let v1 = world.client_of("v1", 3);
    sign(&world, &v1, 1).await.unwrap();
    let other = fs::read(certs.join("node-2.pem")).unwrap();
    replace(&cert, &other);
    until("another node's certificate is none", async || {
        tls().await.not_reloaded.filter(|why| *why != broken)
    })
    .await;
    replace(&cert, &good);
    until("the good one is back", async || tls().await.not_reloaded.is_none().then_some(())).await;

    // A new certificate with a new key, at once on SIGHUP.
    renewed(&world, 3).await.put();
    kill_process(pid(&world, 3), Signal::HUP).unwrap();
    let now = until("it is in use", async || {
        Some(tls().await).filter(|now| now.certificate_ends < before.certificate_ends)
    })
    .await;
    assert_eq!(now.not_reloaded, None);
    sign(&world, &v1, 2).await.expect("an open connection goes on");
    sign(&world, &world.client_of("v1", 3), 3).await.expect("and new ones come");
    tokio::time::timeout(PATIENCE, world.cluster.wait_ready(Duration::from_secs(30))).await.unwrap().unwrap();
}
