//! Backups: what is made can be verified, and what was touched cannot.

use crate::common::{PATIENCE, World, run, until};
use signonce_cli::{commands::demo::chain, dev::Signal};
use signonce_core::replica::hello::ClusterId;
use signonce_protocol::NodeId;
use signonce_shared::{
    backup::{self, folder},
    certs::{Authority, CA_CERTIFICATE, Subject},
    config::TlsFiles,
};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn ca(world: &World) -> PathBuf {
    world.cluster.admin_tls().ca
}

/// Runs `backup verify`; whether it is good, and what was said.
fn verify(backup: &Path, ca: &Path) -> (bool, String) {
    let output = run(&["backup", "verify", backup.to_str().unwrap(), "--ca", ca.to_str().unwrap()]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("panicked"), "{said}");
    (output.status.success(), said)
}

fn create(world: &World, node: u64, out: &Path) -> (bool, String) {
    let admin = format!("unix:{}", world.cluster.admin_socket(node).display());
    let output = run(&["backup", "create", "--out", out.to_str().unwrap(), "--admin", &admin]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

async fn sign(world: &World, round: u64) {
    let vote = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0));
    world.client("v1").sign(&world.params(GRANDPA, &vote)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_good_until_any_of_it_is_touched() {
    let world = World::start(&["v1"]).await;
    sign(&world, 1).await;
    let dir = world.scratch("backup");
    let (made, said) = create(&world, 2, &dir);
    assert!(made, "{said}");
    let (good, said) = verify(&dir, &ca(&world));
    assert!(good && said.contains("made by     node 2") && said.contains("6 keys"), "{said}");
    let (made, said) = create(&world, 2, &dir.join("state"));
    assert!(!made && said.contains("exists already"), "{said}");

    // No secret in the open, nothing that a node could be started from.
    let mut names: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["manifest.json", "signature.json", "state"]);

    let flip = |name: &'static str| {
        let path = dir.join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let replace = |name: &str, from: &str, to: &str| {
        let path = dir.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let sound: Vec<_> = names.iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect();
    let damage: &[(&str, &dyn Fn(), &str)] = &[
        ("a flipped bit in the state", &|| flip("state"), "SHA-256"),
        ("a shorter state", &|| fs::write(dir.join("state"), b"short").unwrap(), "bytes, not"),
        ("no state", &|| fs::remove_file(dir.join("state")).unwrap(), "is missing"),
        ("no manifest", &|| fs::remove_file(dir.join("manifest.json")).unwrap(), "is missing"),
        ("no signature", &|| fs::remove_file(dir.join("signature.json")).unwrap(), "is missing"),
        (
            "a later log entry",
            &|| replace("manifest.json", "\"applied\": ", "\"applied\": 9"),
            "not what the node signed",
        ),
        ("another node", &|| replace("manifest.json", "\"node\": 2", "\"node\": 1"), "is not that of node 1"),
        ("a later version", &|| replace("manifest.json", "\"version\": 2", "\"version\": 7"), "version 7"),
        (
            "version 0.1",
            &|| replace("manifest.json", "\"version\": 2", "\"version\": 1"),
            "docs/operate/upgrade.md",
        ),
        ("another signature", &|| replace("signature.json", "\"0x30", "\"0x31"), "not what the node signed"),
    ];
    for (what, damage, why) in damage {
        damage();
        let (good, said) = verify(&dir, &ca(&world));
        assert!(!good && said.contains(why), "{what}: {said}");
        for (name, bytes) in &sound {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
    assert!(verify(&dir, &ca(&world)).0);

    // Somebody else's authority can make a certificate with the node's name; it is not the one that is believed.
    let forger = world.scratch("forger");
    let authority = Authority::create(&forger).unwrap();
    let (good, said) = verify(&dir, &forger.join(CA_CERTIFICATE));
    assert!(!good && said.contains("does not vouch"), "{said}");
    let cluster = world.cluster.admin(1).status().await.unwrap().cluster;
    let cluster: ClusterId = cluster.parse().unwrap();
    let subject = Subject::Node { cluster, node: NodeId(2), hosts: vec!["localhost".into()] };
    let issued = authority.issue(&forger, &subject, 10).unwrap();
    let files = TlsFiles { ca: ca(&world), cert: issued.cert, key: issued.key };
    let forged = backup::NodeSignature::make(&files, &fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    fs::write(dir.join("signature.json"), serde_json::to_vec(&forged).unwrap()).unwrap();
    let (good, said) = verify(&dir, &ca(&world));
    assert!(!good && said.contains("does not vouch"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_by_the_clock_are_thinned_out_and_a_failure_is_counted() {
    let mut world = World::start(&["v1"]).await;
    world.cluster.signal(1, Signal::Term).unwrap();
    world.cluster.wait_exit(1, PATIENCE).unwrap();
    let config = world.cluster.config_path(1);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[backup]\ndir = \"backups\"\nevery = \"1s\"\nkeep = 2\n")).unwrap();
    world.cluster.start_all().unwrap();
    let dir = config.parent().unwrap().join("backups");

    // Three are made, of which two stay.
    let first = until("a backup", async || folder::list(&dir).ok()?.into_iter().next()).await;
    until("the first makes way", async || (!first.path.exists()).then_some(())).await;
    let listed = run(&["backup", "list", "--config", config.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("node1"), "{listed:?}");
    let backups = folder::list(&dir).unwrap();
    assert!(backups.len() <= 3, "two, and one that was just made");
    let newest = backups.last().unwrap();
    // It may make way for a newer one meanwhile.
    let copy = world.scratch("copy");
    crate::common::copy_dir(&newest.path, &copy);
    assert!(verify(&copy, &ca(&world)).0);

    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "in the way").unwrap();
    let metrics = async || {
        let address = world.cluster.metrics_address(1);
        let output = tokio::process::Command::new("curl")
            .args(["-s", &format!("http://{address}/metrics")])
            .output()
            .await
            .ok()?;
        String::from_utf8(output.stdout).ok()
    };
    until("the failure is counted", async || {
        let text = metrics().await?;
        let counted =
            |line: &str| line.starts_with("signonce_backup_failures_total") && !line.ends_with(" 0");
        (text.lines().any(counted) && text.contains("signonce_backup_age_seconds ")).then_some(())
    })
    .await;
    let log = fs::read_to_string(world.cluster.log_path(1)).unwrap();
    assert!(log.contains("the scheduled backup failed"), "{log}");
    sign(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_no_half_of_a_backup_and_the_node_signs_on() {
    let world = World::start(&["v1"]).await;
    let small = world.scratch("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "signonce-test", small.to_str().unwrap()])
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: a small file system cannot be mounted here (it takes root)");
        return;
    }
    let _mounted = Mounted(small.clone());
    let out = small.join("backup");
    let (made, said) = create(&world, 1, &out);
    assert!(
        !made && said.contains("bytes left"),
        "too little room is seen before anything is written: {said}"
    );

    // And where it is only met on the way.
    let sound = world.scratch("backup");
    assert!(create(&world, 1, &sound).0);
    let signature = serde_json::from_slice(&fs::read(sound.join("signature.json")).unwrap()).unwrap();
    let state = vec![0; 1 << 20];
    let state = folder::StateFrom::Bytes(&state);
    let parts = folder::Parts { manifest: b"{}", signature: &signature, state };
    let error = folder::write(&out, &parts, false).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert_eq!(fs::read_dir(&small).unwrap().count(), 0, "nothing is left");
    sign(&world, 1).await;
}

/// Unmounts.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}
