//! `signonce dev`: its one line is true, and it goes as it came.

use crate::common::{BINARY, client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use signonce::{cli::demo::chain, dev::ClientFiles};
use signonce_protocol::{
    GrandpaStage, Round, SetId,
    rpc::{SignParams, SignVerdict},
};
use std::{
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

/// Signers that were started with a configuration below `dir`.
fn signers_in(dir: &Path) -> usize {
    let all = Command::new("ps").args(["-A", "-ww", "-o", "args="]).output().unwrap();
    let (all, config) = (String::from_utf8_lossy(&all.stdout), format!("--config {}", dir.display()));
    all.lines().filter(|line| line.contains(" start ") && line.contains(&config)).count()
}
