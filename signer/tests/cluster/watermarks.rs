//! Watermarks out to a file and in again.

use crate::common::{World, code, run};
use serde_json::Value;
use signonce_cli::commands::demo::chain;
use signonce_protocol::{RawPayload, rpc::ErrorCode};
use signonce_shared::interchange::Interchange;
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fs,
    path::Path,
    process::{ExitStatus, Output},
};

fn vote(round: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0))
}

fn said(output: &Output) -> (ExitStatus, String) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_watermarks_raises_and_never_lowers() {
    let world = World::start(&["v1"]).await;
    let client = world.client("v1");
    for round in 1..=5 {
        client.sign(&world.params(GRANDPA, &vote(round))).await.unwrap();
    }
    let admin = format!("unix:{}", world.cluster.admin_socket(2).display());
    let file = |name: &str| world.scratch(name).display().to_string();
    let export = |name: &str, more: &[&str]| {
        let out = file(name);
        let base = ["watermarks", "export", "--chain", "dev", "--out", &out, "--admin", &admin];
        said(&run(&[&base[..], more].concat()))
    };
    let import = |name: &str, more: &[&str]| {
        let base = ["watermarks", "import", &file(name), "--yes", "--admin", &admin];
        said(&run(&[&base[..], more].concat()))
    };

    let (status, text) = export("complete.json", &[]);
    assert!(status.success() && text.contains("are armed"), "{text}");
    let (status, text) = export("complete.json", &[]);
    assert_eq!(status.code(), Some(1), "nothing is overwritten: {text}");
    assert!(export("minimal.json", &["--minimal"]).0.success());
    let complete = Interchange::read(&fs::read(world.scratch("complete.json")).unwrap()).unwrap();
    let minimal = Interchange::read(&fs::read(world.scratch("minimal.json")).unwrap()).unwrap();
    assert_eq!(complete.floors(), minimal.floors());
    assert_eq!(complete.keys.iter().map(|marks| marks.signed.len()).sum::<usize>(), 5);

    // Files that are not for this cluster, and one that is not for this program.
    let changed = |name: &str, change: fn(&mut Value)| {
        let mut value: Value =
            serde_json::from_slice(&fs::read(world.scratch("minimal.json")).unwrap()).unwrap();
        change(&mut value);
        fs::write(world.scratch(name), serde_json::to_vec(&value).unwrap()).unwrap();
    };
    changed("other-chain.json", |file| {
        file["metadata"]["genesisHash"] = format!("0x{}", "ab".repeat(32)).into();
    });
    changed("other-key.json", |file| file["keys"][0]["public"] = format!("0x{}", "ab".repeat(32)).into());
    changed("version.json", |file| file["metadata"]["version"] = 2.into());
    let before = world.cluster.admin(1).keys().await.unwrap();
    for (name, why) in [
        ("other-chain.json", "which this cluster does not have"),
        ("other-key.json", "this cluster does not have it"),
        ("version.json", "of version 2"),
        ("missing.json", "cannot read"),
    ] {
        let (status, text) = import(name, &[]);
        assert!(!status.success() && text.contains(why), "{name}: {text}");
        assert_eq!(world.cluster.admin(1).keys().await.unwrap(), before, "{name}: nothing partial");
    }

    // Nobody to ask, nothing done; then the plan and the raise.
    let output = run(&["watermarks", "import", &file("complete.json"), "--admin", &admin]);
    let (status, text) = said(&output);
    assert!(status.code() == Some(2) && text.contains("GRANDPA set 1 round 6"), "{text}");
    let (status, text) = import("complete.json", &["--json"]);
    assert!(status.success(), "{text}");
    // Even the same vote: what was signed below the floor is not told apart any more.
    let answer = client.sign(&world.params(GRANDPA, &vote(5))).await;
    assert_eq!(code(&answer), ErrorCode::BelowWatermark);
    client.sign(&world.params(GRANDPA, &vote(6))).await.unwrap();
    let (status, text) = import("complete.json", &[]);
    assert!(status.success() && text.contains("Nothing to do"), "{text}");

    // The cluster went on: yesterday's file would lower a floor.
    let key = format!("gran:{}", world.key(GRANDPA).public);
    assert!(run(&["watermarks", "raise", &key, "--to", "2:1", "--yes", "--admin", &admin]).status.success());
    let (status, text) = import("complete.json", &[]);
    assert!(status.code() == Some(1) && text.contains("higher than the file's"), "{text}");
    let (status, text) = import("complete.json", &["--only-higher"]);
    assert!(status.success() && text.contains("Nothing to do"), "{text}");
    assert!(Path::new(&file("complete.json")).exists());
}
