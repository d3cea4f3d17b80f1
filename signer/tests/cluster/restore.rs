//! A majority is lost: the last machine's backup comes into a new cluster.

use crate::{
    common::{BINARY, PATIENCE, World, client, code, run, until},
    members::at_newest_level,
    officers::Admin,
};
use serde_json::Value;
use signonce_cli::{
    commands::demo::chain,
    dev::{ClientFiles, LocalCluster, LocalOptions, Signal},
};
use signonce_core::{Change, ChangeError, Fingerprint, KeyError, KeyState, OfficerPin, Role};
use signonce_protocol::{
    RawPayload,
    rpc::{ChainRef, ErrorCode, SignParams},
};
use signonce_substrate::{BABE, BEEFY, GRANDPA, GrandpaStage, IM_ONLINE, Round, SetId};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

fn vote(set: u64, round: u64) -> RawPayload {
    chain::vote(SetId(set), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A new cluster that has formed, with nothing in it, and believes the old one's authority too.
pub(crate) async fn new_cluster(dir: &Path, old_ca: &Path) -> LocalCluster {
    let options = LocalOptions { binary: Some(BINARY.into()), ..LocalOptions::default() };
    signonce_shared::families::install();
    let mut cluster = LocalCluster::create(dir, options).unwrap();
    let ca = cluster.admin_tls().ca;
    let both = [fs::read_to_string(&ca).unwrap(), fs::read_to_string(old_ca).unwrap()].concat();
    fs::write(&ca, both).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).await.unwrap();
    until("all are announced", async || {
        let members = cluster.admin(1).members().await.ok()?;
        let announced = members.iter().filter(|member| member.announced.is_some()).count();
        (announced == 3).then_some(())
    })
    .await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_machine_is_enough_to_form_a_new_cluster_that_contradicts_nothing() {
    let mut old = World::start(&["v1", "v2"]).await;
    let old_id = old.cluster.admin(1).status().await.unwrap().cluster;
    let client_v1 = old.client("v1");
    for round in 1..=5 {
        client_v1.sign(&old.params(GRANDPA, &vote(1, round))).await.unwrap();
    }
    at_newest_level(&old).await;
    let buried = old.key(IM_ONLINE).public;
    let rows = old.cluster.admin(1).keys().await.unwrap();
    let buried = rows.iter().find(|row| row.id.public == buried).unwrap().id;
    old.cluster.admin(1).change(&Change::RemoveKey { id: buried }).await.unwrap();
    old.cluster.admin(1).change(&Change::RemoveClient { name: "v2".into() }).await.unwrap();
    // An officer on its second key, whose third is on its way.
    let (name, role) = ("ops".to_owned(), Some(Role::KeyOfficer));
    let [first, second, third] = [1, 2, 3].map(|n| Fingerprint([n; 32]));
    for change in [
        Change::PinOfficer { name: name.clone(), certificate: first, role },
        Change::RotateOfficer { name: name.clone(), certificate: second },
        Change::FinishOfficerRotation { name: name.clone(), keep_new: true },
        Change::RotateOfficer { name: name.clone(), certificate: third },
    ] {
        old.cluster.admin(1).change(&change).await.unwrap();
    }
    let at = old.cluster.admin(1).status().await.unwrap().applied;
    until("node 2 has it too", async || {
        (old.cluster.admin(2).status().await.ok()?.applied >= at).then_some(())
    })
    .await;

    // Two of three are gone; the third cannot sign, but it can be backed up.
    for node in [1, 3] {
        old.cluster.signal(node, Signal::Kill).unwrap();
    }
    let backup = old.scratch("backup");
    let admin = format!("unix:{}", old.cluster.admin_socket(2).display());
    let made = run(&["backup", "create", "--out", backup.to_str().unwrap(), "--admin", &admin]);
    assert!(made.status.success(), "{made:?}");
    let old_admin = admin;

    let old_ca = old.cluster.admin_tls().ca;
    let new = new_cluster(&old.scratch("new"), &old_ca).await;
    let admin = format!("unix:{}", new.admin_socket(3).display());
    let identity = old.cluster.data_dir(2).join("identity.age");
    let unlock = old.cluster.data_dir(2).parent().unwrap().join("unlock");
    let restore = |from: &Path, admin: &str, more: &[&str]| {
        let (from, ca) = (from.to_str().unwrap(), old_ca.to_str().unwrap());
        let (identity, unlock) = (identity.to_str().unwrap(), unlock.to_str().unwrap());
        let base = [
            "restore",
            "--new-cluster",
            "--from",
            from,
            "--backup-ca",
            ca,
            "--identity",
            identity,
            "--unlock-file",
            unlock,
            "--admin",
            admin,
            "--json",
        ];
        run(&[&base[..], more].concat())
    };

    // Nothing is touched by what is wrong.
    let damaged = old.scratch("damaged");
    crate::common::copy_dir(&backup, &damaged);
    let mut bytes = fs::read(damaged.join("state")).unwrap();
    bytes[100] ^= 1;
    fs::write(damaged.join("state"), bytes).unwrap();
    let wrong_id = "ab".repeat(16);
    for (output, exit, why) in [
        (restore(&damaged, &admin, &["--confirm", &old_id]), 1, "the backup is damaged"),
        (restore(&backup, &old_admin, &["--confirm", &old_id]), 1, "is of the very cluster"),
        (restore(&backup, &admin, &["--confirm", &wrong_id]), 1, "is not the id of the old cluster"),
        (restore(&backup, &admin, &[]), 2, "give --confirm"),
        (
            restore(&backup, &admin, &["--confirm", &old_id, "--grandpa-floor", "1:5"]),
            2,
            "not past what the backup",
        ),
        // Where the backup stands the old cluster has gone on.
        (
            restore(&backup, &admin, &["--confirm", &old_id, "--grandpa-floor", "1:6"]),
            2,
            "not past what the backup",
        ),
        (restore(&backup, &admin, &["--confirm", &old_id, "--grandpa-floor", "kusama=2:0"]), 2, "no chain"),
    ] {
        let said = said(&output);
        assert!(output.status.code() == Some(exit) && said.contains(why), "{why}: {said}");
    }
    assert!(new.admin(1).chains().await.unwrap().is_empty(), "nothing was done");
    assert!(!backup.join("used.json").exists());

    let done = restore(&backup, &admin, &["--confirm", &old_id, "--grandpa-floor", "2:0"]);
    assert!(done.status.success(), "{}", said(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let outcome = |report: &Value, key_type: &str| {
        let lines = report["keys"].as_array().unwrap().clone();
        let of_type = |line: &Value| line["key"].to_string().contains(key_type);
        lines.into_iter().find(of_type).map(|line| (line["outcome"].clone(), line))
    };
    for (key_type, expected) in [
        ("babe", "armed"),
        ("gran", "armed"),
        ("beef", "disarmed"),
        ("para", "disarmed"),
        ("audi", "armed"),
        ("imon", "removed"),
    ] {
        let (outcome, line) = outcome(&report, key_type).unwrap_or_else(|| panic!("{key_type}: {report}"));
        assert_eq!(outcome, expected, "{line}");
    }
    let (_, line) = outcome(&report, "gran").unwrap();
    assert_eq!(
        (&line["from"][0]["round"], &line["to"][0]["setId"]),
        (&6.into(), &2.into()),
        "what was burnt is told"
    );
    assert_eq!(report["clients"], serde_json::json!(["v1"]));

    // The validator's own certificate, key and chain work as they did; nothing that was signed is signed again.
    let status = new.admin(1).status().await.unwrap();
    let origin = status.restored_from.unwrap();
    assert!(origin.finished.is_some());
    let ClientFiles { cert, key, .. } = old.cluster.client_tls("v1");
    let files = ClientFiles { ca: new.admin_tls().ca, cert, key };
    let validator = client(&files, new.urls());
    let params = |key_type, payload: &RawPayload| SignParams {
        chain: ChainRef::Name("dev".into()),
        key: old.key(key_type).public,
        payload: payload.clone(),
    };
    for round in [1, 5, 6, 99] {
        let answer = validator.sign(&params(GRANDPA, &vote(1, round))).await;
        assert_eq!(code(&answer), ErrorCode::BelowWatermark);
    }
    validator.sign(&params(GRANDPA, &vote(2, 1))).await.unwrap();
    let beefy = chain::commitment(SetId(2), 100, chain::Flavour(0));
    assert_eq!(code(&validator.sign(&params(BEEFY, &beefy)).await), ErrorCode::KeyNotArmed);

    // Officers have the keys they had, and the key that was taken away never comes back.
    let officers = new.admin(1).officers().await.unwrap();
    let pin = OfficerPin { name, certificate: Some(second), next: Some(third), revoked: vec![first] };
    assert_eq!((officers.officers.roles.len(), officers.pins), (1, vec![pin]));

    // What was removed stays removed.
    let removed = new.admin(1).change(&Change::ArmKey { id: buried, floors: Default::default() }).await;
    let signonce_shared::admin::client::CallError::Failed(error) = removed.unwrap_err() else { panic!() };
    assert_eq!(error.data.change, Some(ChangeError::Key(KeyError::KeyRemoved { key: buried })));
    let v2 = old.cluster.client_tls("v2");
    let v2 = client(&ClientFiles { ca: new.admin_tls().ca, ..v2 }, new.urls());
    assert_eq!(code(&v2.sign(&params(GRANDPA, &vote(2, 2))).await), ErrorCode::Forbidden);

    // The same command again goes on where it ended: here, with what the operator knows by now.
    let more = ["--confirm", &old_id, "--beefy-floor", "2:100", "--para-floor", "7"];
    let done = restore(&backup, &admin, &more);
    assert!(done.status.success(), "{}", said(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    for (key_type, expected) in [("gran", "armedBefore"), ("beef", "armed"), ("para", "armed")] {
        assert_eq!(outcome(&report, key_type).unwrap().0, expected);
    }
    validator.sign(&params(BEEFY, &beefy)).await.unwrap();
    let rows = new.admin(1).keys().await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.state == KeyState::Armed).count(), 5);

    // The backup is used up: it goes into no other cluster.
    let mark = backup.join("used.json");
    let used: Value = serde_json::from_slice(&fs::read(&mark).unwrap()).unwrap();
    assert_eq!(used["cluster"], serde_json::json!(status.cluster));
    fs::write(&mark, serde_json::json!({ "cluster": wrong_id, "timeMs": 1_790_000_000_000u64 }).to_string())
        .unwrap();
    let again = restore(&backup, &admin, &more);
    assert!(
        again.status.code() == Some(1) && said(&again).contains("was restored into cluster"),
        "{}",
        said(&again)
    );
}

/// What an operator needs to restore what node 2 of a cluster has backed up.
struct Backup {
    dir: PathBuf,
    ca: PathBuf,
    identity: PathBuf,
    unlock: PathBuf,
    cluster: String,
}

impl Backup {
    async fn of(world: &World) -> Self {
        let dir = world.scratch("backup");
        let admin = format!("unix:{}", world.cluster.admin_socket(2).display());
        let made = run(&["backup", "create", "--out", dir.to_str().unwrap(), "--admin", &admin]);
        assert!(made.status.success(), "{made:?}");
        let data = world.cluster.data_dir(2);
        Self {
            dir,
            ca: world.cluster.admin_tls().ca,
            identity: data.join("identity.age"),
            unlock: data.parent().unwrap().join("unlock"),
            cluster: world.cluster.admin(1).status().await.unwrap().cluster,
        }
    }

    fn restore(&self, into: &LocalCluster, more: &[&str]) -> Output {
        let admin = format!("unix:{}", into.admin_socket(3).display());
        let [from, ca, identity, unlock] =
            [&self.dir, &self.ca, &self.identity, &self.unlock].map(|path| path.to_str().unwrap());
        let base = [
            ["restore", "--new-cluster"],
            ["--from", from],
            ["--backup-ca", ca],
            ["--identity", identity],
            ["--unlock-file", unlock],
            ["--admin", &admin],
        ];
        run(&[&base.concat()[..], &["--json"], more].concat())
    }
}

fn precommit(set: u64, round: u64, target: u64) -> RawPayload {
    chain::vote(SetId(set), Round(round), GrandpaStage::Precommit, target, chain::Flavour(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_officer_alone_cannot_arm_a_restored_key_where_its_backup_stood() {
    let old = World::start(&["v1"]).await;
    at_newest_level(&old).await;
    let [alice, bob] = ["alice", "bob"].map(|name| Admin::issue(&old, name));
    for (name, admin) in [("alice", &alice), ("bob", &bob)] {
        let certificate = ["--certificate", &admin.cert, "--yes"];
        alice.does(0, &[&["officers", "add", name, "--role", "key-officer"][..], &certificate].concat());
    }
    alice.does(0, &["officers", "require-approval", "--on", "--yes"]);
    let validator = old.client("v1");
    validator.sign(&old.params(GRANDPA, &precommit(3, 7, 70))).await.unwrap();
    let at = old.cluster.admin(1).status().await.unwrap().applied;
    until("node 2 has it too", async || {
        (old.cluster.admin(2).status().await.ok()?.applied >= at).then_some(())
    })
    .await;
    let backup = Backup::of(&old).await;
    // The old cluster continues.
    validator.sign(&old.params(GRANDPA, &precommit(3, 8, 80))).await.unwrap();

    let new = new_cluster(&old.scratch("new"), &backup.ca).await;
    let done = backup.restore(&new, &["--confirm", &backup.cluster]);
    assert!(done.status.success(), "{}", said(&done));
    let [alice, bob] = [alice, bob].map(|admin| admin.at(&new));
    let public = old.key(GRANDPA).public;
    let key = format!("gran:{public}");
    let row = new.admin(1).keys().await.unwrap().into_iter().find(|row| row.id.public == public).unwrap();
    assert_eq!(row.state, KeyState::Registered);
    let arm = |from: &'static str| ["keys", "arm", &key, "--from", from, "--yes"].map(str::to_owned).to_vec();
    let does = |admin: &Admin, code, words: Vec<String>| {
        admin.does(code, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (_, why) = does(&alice, 1, arm("3:8"));
    assert!(why.contains("the old cluster went on after the backup was made"), "{why}");
    let (_, why) = alice.does(2, &["keys", "arm", &key, "--unchanged", "--yes"]);
    assert!(why.contains("nobody can say that it signed nothing since"), "{why}");

    // Above it as well only with another officer's word.
    let proposal = alice.proposes(&["keys", "arm", &key, "--from", "4:0", "--yes"]);
    let ClientFiles { cert, key: secret, .. } = old.cluster.client_tls("v1");
    let validator = client(&ClientFiles { ca: new.admin_tls().ca, cert, key: secret }, new.urls());
    let sign = async |payload: RawPayload| {
        validator.sign(&SignParams { chain: ChainRef::Name("dev".into()), key: public, payload }).await
    };
    assert_eq!(code(&sign(precommit(3, 8, 81)).await), ErrorCode::KeyNotArmed);
    bob.does(0, &["proposals", "approve", &proposal, "--yes"]);
    until("every node knows that it is armed", async || sign(precommit(4, 1, 90)).await.ok()).await;
    assert_eq!(code(&sign(precommit(3, 8, 81)).await), ErrorCode::BelowWatermark);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_practised_beside_the_cluster_that_runs_and_arms_nothing() {
    let old = World::start(&["v1"]).await;
    at_newest_level(&old).await;
    let backup = Backup::of(&old).await;
    let drill = new_cluster(&old.scratch("drill"), &backup.ca).await;
    let done = backup.restore(&drill, &["--drill", "--yes", "--grandpa-floor", "9:0"]);
    assert!(done.status.success(), "{}", said(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["drill"], true);
    let lines = report["keys"].as_array().unwrap();
    for (key_type, outcome) in [("babe", "rehearsed"), ("gran", "rehearsed"), ("beef", "disarmed")] {
        let line = lines.iter().find(|line| line["key"].to_string().contains(key_type)).unwrap();
        assert_eq!(line["outcome"], outcome, "{report}");
    }
    assert!(!backup.dir.join("used.json").exists(), "it can be practised again, and used");
    let rows = drill.admin(1).keys().await.unwrap();
    assert!(rows.iter().all(|row| row.state == KeyState::Registered), "{rows:?}");
    // The member that was asked had all of them open before the command ended; this one follows.
    until("its secrets were sealed again, and this member has opened them", async || {
        drill.admin(1).keys().await.ok()?.iter().all(|row| row.unlocked).then_some(())
    })
    .await;
    let admin = format!("unix:{}", drill.admin_socket(1).display());
    for (key_type, from) in [(BABE, "999999999"), (GRANDPA, "9:0")] {
        let key = format!("{}:{}", key_type, old.key(key_type).public);
        let armed = run(&["keys", "arm", &key, "--from", from, "--yes", "--admin", &admin]);
        assert!(armed.status.code() == Some(1) && said(&armed).contains("is a drill"), "{}", said(&armed));
    }
    let earnest = backup.restore(&drill, &["--confirm", &backup.cluster]);
    assert!(earnest.status.code() == Some(1) && said(&earnest).contains("is a drill"), "{}", said(&earnest));
    // The cluster that runs has noticed nothing.
    old.client("v1").sign(&old.params(GRANDPA, &vote(1, 1))).await.unwrap();
}
