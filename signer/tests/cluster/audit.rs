//! What was asked and answered: recorded, explained, exported, and checked without any node.

use crate::common::{PATIENCE, World, code, run, until};
use serde_json::Value;
use signonce_cli::{
    commands::demo::chain::{self, Flavour},
    dev::{LocalCluster, LocalOptions, Signal},
};
use signonce_core::{AuditEvent, AuditSignature, Change, NotedAnswer, Refusal, Verdict};
use signonce_protocol::{
    Hash, KeyId, NodeId, RawPayload,
    client::ClientError,
    rpc::{ErrorCode, SignParams},
};
use signonce_shared::audit::query::AuditQuery;
use signonce_substrate::{BEEFY, GRANDPA, GrandpaStage, Kind, Round, SetId};
use std::{fs, path::Path, process::Output};

fn at(cluster: &LocalCluster, node: u64) -> String {
    format!("unix:{}", cluster.admin_socket(node).display())
}

/// What an operator types at a node; what it prints.
fn audit(world: &World, node: u64, arguments: &[&str]) -> String {
    let admin = at(&world.cluster, node);
    let output = run(&[&["audit"], arguments, &["--admin", &admin]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn verify(file: &Path, ca: &Path) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        run(&["audit", "verify", file.to_str().unwrap(), "--ca", ca.to_str().unwrap()]);
    (status.code(), [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat())
}

fn vote(round: u64, view: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Precommit, 5, Flavour(view))
}

/// Waits until a node has a record that `wanted` likes.
async fn recorded(world: &World, node: u64, what: &str, wanted: impl Fn(&AuditEvent) -> bool) {
    let admin = world.cluster.admin(node);
    until(what, async || {
        let page = admin.audit(&AuditQuery::default()).await.ok()?;
        let mut events =
            page.lines.iter().filter_map(|line| line.record.as_ref()).map(|record| &record.event);
        events.any(&wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_at_a_duty_is_explained_whoever_asked_whichever_node() {
    let world = World::start(&["v1", "v2"]).await;
    let gran = |payload: &RawPayload| world.params(GRANDPA, payload);
    world.client_of("v1", 1).sign(&gran(&vote(7, 0))).await.unwrap();
    let refused = world.client_of("v2", 2).sign(&gran(&vote(7, 1))).await;
    assert_eq!(code(&refused), ErrorCode::Equivocation);
    let Err(ClientError::Refused(refused)) = refused else { panic!() };
    let request = refused.data.request.clone().expect("a refusal names its request");
    assert!(request.starts_with("2/"), "the node that served it: {request}");
    recorded(&world, 3, "the refusal", |event| {
        serde_json::to_string(event).unwrap().contains(&format!("{request:?}"))
    })
    .await;

    let key = world.key(GRANDPA).public.to_string();
    let told = audit(&world, 3, &["explain", "--key", &key, "--set", "1", "--round", "7"]);
    assert!(told.contains("v1 (client 1) asked node 1 for the GRANDPA Precommit in set 1 round 7"), "{told}");
    assert!(told.contains(": granted, digest 0x"), "{told}");
    assert!(told.contains("v2 (client 2) asked node 2"), "{told}");
    assert!(told.contains("REFUSED"), "{told}");
    assert!(told.contains("once, digest 0x"), "{told}");
    let nobody = audit(&world, 1, &["explain", "--slot", "1"]);
    assert!(nobody.contains("Nobody asked this cluster for that duty."), "{nobody}");
    let output = run(&["audit", "explain", "--admin", &at(&world.cluster, 1)]);
    assert_eq!(output.status.code(), Some(2), "no duty is wrong usage");

    // The name of the request is in the log of the node that served it.
    let log = fs::read_to_string(world.cluster.log_path(2)).unwrap();
    assert!(log.lines().any(|line| line.contains(&request) && line.contains("equivocation")), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_before_the_log_are_merged_and_free_work_is_counted() {
    let world = World::start(&["v1"]).await;
    let client = world.client_of("v1", 1);
    let nonsense = RawPayload::new(Kind::GrandpaVote.into(), vec![9; 53]);
    for _ in 0..3 {
        let refused = client.sign(&world.params(GRANDPA, &nonsense)).await;
        assert_eq!(code(&refused), ErrorCode::MalformedPayload);
    }
    let count = |event: &AuditEvent| match event {
        AuditEvent::Noted { note, .. } => {
            let text = serde_json::to_string(note).unwrap();
            if text.contains("malformedPayload") { note.count } else { 0 }
        }
        _ => 0,
    };
    let admin = world.cluster.admin(2);
    until("three refusals are recorded", async || {
        let page =
            admin.audit(&AuditQuery { client: Some("v1".into()), ..AuditQuery::default() }).await.ok()?;
        let events = page.lines.iter().filter_map(|line| line.record.as_ref()).map(|record| &record.event);
        (events.map(count).sum::<u64>() == 3).then_some(())
    })
    .await;
    let key = world.key(BEEFY);
    let id = KeyId { key_type: key.key_type, public: key.public };
    world.cluster.admin(3).change(&Change::DisableKey { id }).await.unwrap();
    let told = audit(&world, 3, &["tail", "-n", "1000"]);
    assert!(told.contains("v1 (client 1) asked node 1"), "{told}");
    let changed = told.lines().find(|line| line.contains("disableKey")).unwrap();
    assert!(changed.contains("at node 3") && changed.contains("local:uid="), "changes, and by whom: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_refused_is_counted_by_the_node_that_is_asked_and_not_claimed() {
    const ASKED: u64 = 200;
    let world = World::start(&["v1", "v2"]).await;
    let client = world.client_of("v1", 1);
    client.sign(&world.params(GRANDPA, &vote(1, 0))).await.unwrap();
    for n in 0..ASKED {
        let far = world.params(GRANDPA, &vote(1_000_000 + n, 0));
        assert_eq!(code(&client.sign(&far).await), ErrorCode::JumpTooFar);
    }
    let of_this = |event: &AuditEvent| match event {
        AuditEvent::Claim { answer: Verdict::Refused(Refusal::JumpTooFar { .. }), .. } => (1, 0),
        AuditEvent::Noted { note, .. } => match &note.answer {
            NotedAnswer::Refused { code, .. } if code == "jumpTooFar" => (0, note.count),
            _ => (0, 0),
        },
        _ => (0, 0),
    };
    let admin = world.cluster.admin(2);
    let (claimed, noted) = until("every refusal is recorded", async || {
        let query = AuditQuery { client: Some("v1".into()), ..AuditQuery::default() };
        let page = admin.audit(&query).await.ok()?;
        let events = page.lines.iter().filter_map(|line| line.record.as_ref()).map(|record| &record.event);
        let (claimed, noted) = events.map(of_this).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        (claimed + noted == ASKED).then_some((claimed, noted))
    })
    .await;
    assert!(claimed <= 10, "{claimed} of {ASKED} went into the log, {noted} were counted");
    let told = audit(&world, 3, &["tail", "-n", "100"]);
    assert!(told.contains("v1 (client 1) asked node 1") && told.contains("REFUSED (jumpTooFar)"), "{told}");
    // The log is still asked for what may pass.
    client.sign(&world.params(GRANDPA, &vote(2, 0))).await.unwrap();
    world.client_of("v2", 1).sign(&world.params(GRANDPA, &vote(3, 0))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_cannot_write_into_the_audit() {
    let world = World::start(&[]).await;
    let garbage = AuditSignature {
        node: NodeId(2),
        next: 1,
        chain: Hash([7; 32]),
        certificates: Vec::new(),
        scheme: 0,
        signature: Vec::new(),
    };
    let forged = [Change::RecordAudit { notes: Vec::new() }, Change::SignAudit(garbage)];
    for change in forged {
        let refused = world.cluster.admin(1).change(&change).await.unwrap_err();
        assert!(refused.to_string().contains("no role may say it"), "{refused}");
        recorded(&world, 3, "the attempt", |event| {
            matches!(event, AuditEvent::Change { change: tried, refused: Some(_), .. } if tried.kind() == change.kind())
        })
        .await;
    }
    recorded(
        &world,
        1,
        "a signature of node 1",
        |event| matches!(event, AuditEvent::Signed(signature) if signature.node.0 == 1),
    )
    .await;
    let file = world.scratch("audit.jsonl");
    audit(&world, 1, &["export", file.to_str().unwrap()]);
    let (exit, said) = verify(&file, &world.cluster.admin_tls().ca);
    assert_eq!(exit, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_verified_without_a_node_and_whatever_is_done_to_it_is_found() {
    let world = World::start(&["v1"]).await;
    recorded(
        &world,
        1,
        "a signature of node 1",
        |event| matches!(event, AuditEvent::Signed(signature) if signature.node.0 == 1),
    )
    .await;
    for round in 1..=5 {
        world.client("v1").sign(&world.params(GRANDPA, &vote(round, 0))).await.unwrap();
    }
    // Records are written after the answer, and node 1, which may not lead, hears of the commit a little later.
    recorded(
        &world,
        1,
        "the last vote on node 1",
        |event| matches!(event, AuditEvent::Claim { duty, .. } if duty.position().parts() == [1, 5]),
    )
    .await;
    let ca = world.cluster.admin_tls().ca;
    let file = world.scratch("audit.jsonl");
    audit(&world, 1, &["export", file.to_str().unwrap()]);
    let (exit, said) = verify(&file, &ca);
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.starts_with("SOUND") && said.contains("node 1 has signed"), "{said}");
    let again = run(&["audit", "export", file.to_str().unwrap(), "--admin", &at(&world.cluster, 1)]);
    assert!(!again.status.success(), "nothing is overwritten");

    // Another authority vouches for nobody.
    let other = World::start(&[]).await;
    let (exit, said) = verify(&file, &other.cluster.admin_tls().ca);
    assert_eq!(exit, Some(1));
    assert!(said.contains("does not vouch for its certificate"), "{said}");

    let lines: Vec<String> = fs::read_to_string(&file).unwrap().lines().map(ToOwned::to_owned).collect();
    let forged = world.scratch("forged.jsonl");
    let check = |lines: &[String]| {
        fs::write(&forged, lines.join("\n")).unwrap();
        verify(&forged, &ca)
    };
    let mut changed = lines.clone();
    let which = changed.iter().position(|line| line.contains(r#""claim""#)).unwrap();
    let mut line: Value = serde_json::from_str(&changed[which]).unwrap();
    line["record"]["event"]["claim"]["client"] = 2.into();
    changed[which] = line.to_string();
    let (exit, said) = check(&changed);
    assert_eq!(exit, Some(1));
    assert!(said.contains(&format!("line {}: record", which + 1)), "{said}");

    let mut without = lines.clone();
    without.remove(which);
    let (exit, said) = check(&without);
    assert_eq!(exit, Some(1));
    assert!(
        said.contains(&format!("line {}: ", which + 1)) && said.contains("records are missing"),
        "{said}"
    );
    let (exit, said) = check(&lines[..lines.len() - 1]);
    assert_eq!(exit, Some(1));
    assert!(said.contains("cut off"), "{said}");

    // What is about one client only can be checked too, and is the same chain on another node.
    let excerpt = world.scratch("excerpt.jsonl");
    audit(&world, 2, &["export", excerpt.to_str().unwrap(), "--client", "v1"]);
    let (exit, said) = verify(&excerpt, &ca);
    assert!(
        exit == Some(1) && said.contains("no node has signed any of it"),
        "signatures are left out: {said}"
    );
    let text = fs::read_to_string(&excerpt).unwrap();
    let last = serde_json::from_str::<Value>(&lines[lines.len() - 2]).unwrap();
    let same = until("node 2 has the record", async || {
        let out = audit(&world, 2, &["export", "--from-index", &last["seq"].to_string()]);
        out.lines().find(|line| line.contains(r#""seq""#)).map(ToOwned::to_owned)
    })
    .await;
    assert_eq!(serde_json::from_str::<Value>(&same).unwrap()["chain"], last["chain"]);
    assert!(text.contains(r#""claim""#) && text.contains(r#""hash""#));
}

/// Seed, SURI and what else must never be seen, in every form a log could have it.
fn forms(secret: &[u8]) -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    let hex = hex::encode(secret);
    let list = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    vec![hex.to_uppercase(), hex, STANDARD_NO_PAD.encode(secret), list]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_and_no_output_ever_holds_a_secret_at_the_most_talkative_level() {
    const PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
    // The seed of the phrase, as Substrate derives it, and those of //Alice for sr25519 and ed25519.
    let seeds = [
        hex::decode("e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a").unwrap(),
        hex::decode("fac7959dbfe72f052e5a0c3c8d6530f202b02fd8f9f5ca3580ec8deb7797479e").unwrap(),
        hex::decode("abf8e5bdbe30c65656c0a3cbd181ff8a56294a69dfedd27982aace4a76909115").unwrap(),
    ];
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        binary: Some(crate::common::BINARY.into()),
        clients: vec!["v1".into()],
        ..LocalOptions::default()
    };
    signonce_shared::families::install();
    let mut cluster = LocalCluster::create(&dir.path().join("cluster"), options).unwrap();
    for node in cluster.node_ids() {
        let path = cluster.config_path(node);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("[log]\n", "[log]\nlevel = \"trace\"\n")).unwrap();
    }
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).await.unwrap();
    let keys = cluster.provision().await.unwrap();
    let admin = at(&cluster, 1);
    let mut said = String::new();
    let mut typed = |arguments: &[&str]| {
        let Output { stdout, stderr, .. } = run(&[arguments, &["--admin", &admin]].concat());
        let text = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        said.push_str(&text);
        text
    };

    // Import a known phrase, well and badly; have a key made; list; fail in several ways.
    let keystore = dir.path().join("keystore");
    fs::create_dir(&keystore).unwrap();
    let alice = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
    fs::write(keystore.join(format!("62616265{alice}")), format!("\"{PHRASE}//Alice\"")).unwrap();
    let keystore = keystore.to_str().unwrap().to_owned();
    let imported = typed(&["keys", "import", "--chain", "dev", "--group", "alice", "--yes", &keystore]);
    assert!(imported.contains(alice), "{imported}");
    typed(&["keys", "import", "--chain", "dev", "--group", "alice", "--yes", &keystore]);
    let wrong = dir.path().join("wrong");
    fs::create_dir(&wrong).unwrap();
    fs::write(wrong.join(format!("6772616e{alice}")), format!("\"{PHRASE}\"")).unwrap();
    typed(&["keys", "import", "--chain", "dev", "--group", "x", "--yes", wrong.to_str().unwrap()]);
    typed(&["keys", "list"]);
    typed(&["audit", "tail", "-n", "1000"]);
    typed(&["audit", "export"]);
    let client = crate::common::client(&cluster.client_tls("v1"), cluster.urls());
    let gran = keys.iter().find(|key| key.key_type == GRANDPA).unwrap();
    for view in [0, 1, 0] {
        let chain = signonce_protocol::rpc::ChainRef::Id(cluster.genesis());
        let _ = client.sign(&SignParams { chain, key: gran.public, payload: vote(3, view) }).await;
    }
    cluster.signal(2, Signal::Term).unwrap();
    cluster.wait_exit(2, PATIENCE).unwrap();
    // A passphrase that does not open.
    fs::write(cluster.config_path(2).with_file_name("unlock"), "hunter2hunter2\n").unwrap();
    said.push_str(&crate::common::start_fails(&cluster.config_path(2)));

    let logs: Vec<String> = cluster
        .node_ids()
        .into_iter()
        .map(|node| String::from_utf8_lossy(&fs::read(cluster.log_path(node)).unwrap()).into_owned())
        .collect();
    assert!(logs.iter().any(|log| log.contains("TRACE")), "the logs are at the level asked for");
    let mut never: Vec<String> = seeds.iter().flat_map(|seed| forms(seed)).collect();
    never.extend(forms(PHRASE.as_bytes()));
    never.extend([PHRASE, "bottom drive obey", "AGE-SECRET-KEY-", "hunter2hunter2"].map(ToOwned::to_owned));
    let unlock = fs::read_to_string(cluster.config_path(1).with_file_name("unlock")).unwrap();
    never.push(unlock.trim().to_owned());
    for text in logs.iter().chain([&said]) {
        for secret in &never {
            let found = text.find(secret.as_str());
            let around = found.map(|at| text[at.saturating_sub(200)..at].to_owned());
            assert!(found.is_none(), "a secret is shown after {around:?}");
        }
    }
}
