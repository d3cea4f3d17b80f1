//! `signonce dev`: its one line is true, and it goes as it came. `signonce bench`: it goes too, and what it leaves
//! behind is a cluster that has worked hard.

use crate::common::{BINARY, PATIENCE, client, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use signonce_cli::{
    commands::demo::chain,
    dev::{ClientFiles, LocalCluster, rss_mib},
};
use signonce_protocol::rpc::{SignParams, SignVerdict};
use signonce_substrate::{GrandpaStage, Round, SetId};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

#[tokio::test(flavor = "multi_thread")]
async fn dev_says_in_one_line_where_a_validator_finds_it_and_ends_cleanly_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Command::new(BINARY)
        .args(["dev", "--json", "--dir"])
        .arg(dir.path().join("cluster"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(dev.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let files = ClientFiles {
        ca: text(&said["ca"]).into(),
        cert: text(&said["clientCert"]).into(),
        key: text(&said["clientKey"]).into(),
    };
    let urls: Vec<String> = said["urls"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(urls.len(), 3);
    let keys = said["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["type"] == "gran" && key["scheme"] == "ed25519").unwrap();
    let vote = chain::vote(SetId(0), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(0));
    for name in [&said["chain"]["name"], &said["chain"]["genesis"]] {
        let params = json!({"chain": name, "key": key["public"], "payload": &vote});
        let params: SignParams = serde_json::from_value(params).unwrap();
        let reply = client(&files, urls.clone()).sign(&params).await.unwrap();
        assert!(matches!(reply.verdict, SignVerdict::Granted | SignVerdict::Repeated));
    }

    kill_process(Pid::from_child(&dev), Signal::TERM).unwrap();
    assert!(dev.wait().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line and nothing else");
}

#[test]
fn a_benchmark_that_is_told_to_stop_leaves_no_signer_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Command::new(BINARY)
        .args(["bench", "--keys", "1", "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(bench.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line == "measuring latencies"), "it says what it does");
    assert_eq!(signers_in(dir.path()), 3);
    kill_process(Pid::from_child(&bench), Signal::TERM).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(1));
    assert_eq!(said.last().as_deref(), Some("signonce: SIGTERM: nothing was measured"));
    assert_eq!(signers_in(dir.path()), 0);
}

/// MiB that a signer with 1,000 keys may have in memory: 100 MB.
const MEMORY_MAX: f64 = 100e6 / 1_048_576.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_with_a_thousand_keys_stays_below_100_mb_loaded_restarted_and_while_its_audit_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let bench = ["bench", "--quick", "--json", "--keys", "1000", "--dir"];
    let bench = Command::new(BINARY).args(bench).arg(dir.path()).stdin(Stdio::null()).output().unwrap();
    assert!(bench.status.success(), "{}", String::from_utf8_lossy(&bench.stderr));
    let measured: Value = serde_json::from_slice(&bench.stdout).unwrap();
    let loaded: Vec<f64> = serde_json::from_value(measured["memoryMib"].clone()).unwrap();
    assert_eq!(loaded.len(), 3);
    assert!(loaded.iter().all(|mib| *mib < MEMORY_MAX), "under load: {loaded:?} MiB");

    signonce_shared::families::install();
    let mut cluster = LocalCluster::open(&dir.path().join("cluster")).unwrap();
    cluster.set_binary(BINARY.into());
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).await.unwrap();
    for node in cluster.node_ids() {
        let audit = dir.path().join(format!("audit-{node}"));
        let admin = format!("unix:{}", cluster.admin_socket(node).display());
        let export = run(&["audit", "export", audit.to_str().unwrap(), "--admin", &admin]);
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
        assert!(fs::metadata(&audit).unwrap().len() > 1_000_000, "the load is in the audit");
        let resident = rss_mib(cluster.pid(node).unwrap()).unwrap();
        assert!(resident < MEMORY_MAX, "node {node} has {resident} MiB after its audit was read");
    }
}

/// Signers that were started with a configuration below `dir`.
fn signers_in(dir: &Path) -> usize {
    let all = Command::new("ps").args(["-A", "-ww", "-o", "args="]).output().unwrap();
    let (all, config) = (String::from_utf8_lossy(&all.stdout), format!("--config {}", dir.display()));
    all.lines().filter(|line| line.contains(" start ") && line.contains(&config)).count()
}
