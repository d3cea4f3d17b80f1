//! What the program says of the files and streams that people give it, and how it ends: certificates, keystores, a store
//! that is in use, and an output that takes nothing.

use super::{ALICE_ED25519, ALICE_SR25519, BINARY, cluster, expect, found, node_home, signonce};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// What only lies beside the repository, if it does.
fn field_cases(folder: &str) -> Option<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    Some(Path::new(&here).join("../../shared/vectors/field-cases").join(folder)).filter(|path| path.is_dir())
}

/// Runs the program with a standard output that is full; exit code and what it said on standard error.
#[cfg(target_os = "linux")]
fn into_full(arguments: &[&str]) -> (i32, String) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    ended(Command::new(BINARY).args(arguments).stdin(Stdio::null()).stdout(full).output().unwrap())
}

/// The same with one whose reader has left.
fn into_closed(arguments: &[&str]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    ended(Command::new(BINARY).args(arguments).stdin(Stdio::null()).stdout(writer).output().unwrap())
}

fn ended(output: Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().expect("it was not killed"), said)
}

#[cfg(target_os = "linux")]
#[test]
fn what_only_shows_something_fails_without_a_panic_where_nothing_can_be_written() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, said) = into_full(&["completions", shell]);
        assert!(code == 1 && said.contains("cannot write to standard output"), "{code}: {said}");
    }
    for show in [&["--help"][..], &["--version"], &["keys", "--help"], &["init", "--new-cluster-id"]] {
        assert_eq!(into_full(show).0, 1, "{show:?}");
    }
    let (code, said) = into_full(&["man", "--out", "/dev/full/man"]);
    assert!(code == 1 && said.contains("manual pages to /dev/full/man"), "{code}: {said}");
}

#[test]
fn a_reader_that_has_left_is_no_reason_for_a_word_or_a_panic() {
    for show in
        [&["completions", "bash"][..], &["init", "--new-cluster-id"], &["--help"], &["keys", "--help"]]
    {
        assert_eq!(into_closed(show), (1, String::new()), "{show:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_was_made_and_could_not_be_told_of_is_exit_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    for make in [&["certs", "init", "--dir", &place][..], &["certs", "issue", "client", "a", "--dir", &place]]
    {
        let (code, said) = into_full(make);
        assert!(code == 3 && said.contains("done, but"), "{make:?}: {code}: {said}");
    }
    assert!(dir.path().join("client-a.pem").exists());
    // The other way round: what was not done is no "done, but".
    let (code, said) = into_full(&["certs", "issue", "client", "a", "--dir", &place]);
    assert!(code == 1 && !said.contains("done, but"), "{code}: {said}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_made_and_could_not_be_told_of_is_exit_code_3_and_stands() {
    let dir = tempfile::tempdir().unwrap();
    let (_cluster, admin) = cluster(dir.path()).await;
    let reach = ["--admin", admin.as_str()];
    let with = |arguments: &[&'static str]| [arguments, &reach].concat();
    let generate = with(&["keys", "generate", "--chain", "dev", "--group", "a", "--types", "gran", "--yes"]);
    for (ends, (code, said)) in [("full", into_full(&generate)), ("closed", into_closed(&generate))] {
        assert!(code == 3 && said.contains("done, but"), "{ends}: {code}: {said}");
    }
    let listed = expect(0, &with(&["keys", "list"]));
    assert_eq!(listed.matches(" armed ").count(), 2, "{listed}");
    let (code, said) = into_full(&with(&["status"]));
    assert!(
        code == 1 && said.contains("cannot write to standard output") && !said.contains("done"),
        "{said}"
    );
    for show in [&["status"][..], &["keys", "list", "--json"], &["watermarks", "show"], &["top", "--once"]] {
        let show = [show, &reach].concat();
        assert_eq!(into_closed(&show), (1, String::new()), "{show:?}");
    }
    // A token that cannot be kept is none that is given out.
    let nowhere = dir.path().join("missing/token").display().to_string();
    let said = expect(
        1,
        &[&["members", "add", "--peer", "127.0.0.1:1", "--token-file", &nowhere, "--yes"], &reach[..]]
            .concat(),
    );
    assert!(said.contains("cannot write"), "{said}");
    let members = expect(0, &with(&["members", "list", "--all", "--json"]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&members).unwrap().as_array().unwrap().len(), 1);
    // Nobody reads standard error: the change is made all the same, and said where it can be.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let add =
        ["chains", "add", "other", "--genesis", &format!("0x{}", "11".repeat(32)), "--slot-duration", "6000"];
    let output = Command::new(BINARY).args(add).args(reach).arg("--yes").stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Added chain other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keystore_without_a_key_to_import_is_listed_with_every_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (_cluster, admin) = cluster(&dir.path().join("cluster")).await;
    let import = |code: i32, place: &Path, more: &[&str]| {
        let place = place.display();
        let import = format!("keys import {place} --chain dev --group a --new-key --admin {admin} --yes");
        let import: Vec<&str> = import.split(' ').collect();
        expect(code, &[&import[..], more].concat())
    };
    let key = format!("{}{ALICE_SR25519}", hex::encode("babe"));
    // A base path instead of its keystore.
    let base = dir.path().join("base");
    let keystore = base.join("chains/dev/keystore");
    fs::create_dir_all(&keystore).unwrap();
    let said = import(2, &base, &[]);
    assert!(said.contains("did you mean") && said.contains("chains/dev/keystore?"), "{said}");
    assert!(import(2, &keystore, &[]).contains("which is empty"));
    // Files that tools have renamed, and one that is none.
    for name in
        [format!("0x{key}"), format!("{key}.json"), "README".into(), format!("{}00", hex::encode("acco"))]
    {
        fs::write(keystore.join(name), "\"//Alice\"").unwrap();
    }
    for more in [&[][..], &["--types", "gran"]] {
        let said = import(2, &keystore, more);
        for part in
            ["no 0x in front", "no .json behind it", "README: not a key file", "no keys of type \"acco\""]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    // What stops the import is named first, and the rest all the same.
    let other = format!("{}{ALICE_ED25519}", hex::encode("babe"));
    fs::write(keystore.join(&other), "\"//Alice\"").unwrap();
    let said = import(1, &keystore, &[]);
    assert!(said.contains("as ed25519, but babe keys are sr25519") && !said.contains("password"), "{said}");
    assert!(said.contains("Left out besides") && said.contains("README: not a key file"), "{said}");
    fs::remove_file(keystore.join(other)).unwrap();
    // A pipe that nobody writes to.
    let pipe = keystore.join(format!("{}{}", hex::encode("gran"), "11".repeat(32)));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(import(1, &keystore, &[]).contains("it is a pipe"));
    fs::remove_file(pipe).unwrap();
    // With a good one beside them they are named in the plan.
    fs::write(keystore.join(&key), "\"//Alice\"").unwrap();
    let said = import(0, &keystore, &[]);
    assert!(said.contains("Will import 1 keys") && said.contains("no .json behind it"), "{said}");

    let Some(field) = field_cases("keystore") else { return };
    for (folder, code, says) in [
        ("name-0x", 2, "no 0x in front"),
        ("name-json", 2, "no .json behind it"),
        ("other-scheme", 1, "as ed25519, but babe keys are sr25519"),
    ] {
        let said = import(code, &field.join(folder), &[]);
        assert!(said.contains(says) && !said.contains("password"), "{folder}: {said}");
    }
}

/// A configuration whose certificates are these.
fn with_certificates(config: &str, folder: &Path, cert: &str, key: &str) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let text = fs::read_to_string(config).unwrap();
    let kept = text.split("[tls]").next().unwrap();
    let tls = format!("[tls]\nca = {:?}\ncert = {:?}\nkey = {:?}\n", file("ca.pem"), file(cert), file(key));
    fs::write(config, format!("{kept}{tls}")).unwrap();
    vec!["--config".into(), config.into()]
}

#[test]
fn certificates_as_people_hand_them_in_are_named_by_start_and_doctor() {
    let (dir, config) = node_home();
    expect(0, &["init", "--config", &config, "--yes"]);
    let own =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../protocol/tests/vectors/tls");
    let any_ports = ["peer", "client", "admin", "metrics"].map(|port| format!("listen.{port}=127.0.0.1:0"));
    let any_ports: Vec<&str> = any_ports.iter().flat_map(|port| ["--set", port]).collect();
    for folder in [Some(own.clone()), field_cases("tls")].into_iter().flatten() {
        for (cert, key, odd, says) in [
            (
                "server-auth-only.pem",
                "server-auth-only.key",
                "server-auth-only.pem",
                "serverAuth and clientAuth",
            ),
            ("p521.pem", "p521.key", "p521.key", "P-521"),
            ("x509-v1.pem", "x509-v1.key", "x509-v1.pem", "version 1"),
            ("good.pem", "encrypted-pkcs8.key", "encrypted-pkcs8.key", "is encrypted"),
            ("good.pem", "encrypted-sec1.key", "encrypted-sec1.key", "is encrypted"),
            ("good.der", "good.key", "good.der", "it is DER"),
            ("reversed.pem", "good.key", "reversed.pem", "put that one first"),
        ] {
            let with = with_certificates(&config, &folder, cert, key);
            let with: Vec<&str> = with.iter().map(String::as_str).collect();
            let started = expect(1, &[&["start"], &with[..], &any_ports].concat());
            let mut told = vec![started];
            if folder == own {
                let (level, text) =
                    found(&expect(1, &[&["doctor", "--json"], &with[..]].concat()), "certificate");
                assert_eq!(level, "wrong", "{cert}");
                told.push(text);
            }
            for said in told {
                assert!(said.contains(odd) && said.contains(says), "{cert}, {key}: {said}");
                assert!(!said.contains("not issued by"), "{said}");
            }
        }
    }
    // The node's own names are in ours: nothing is wrong with these.
    for cert in ["good.pem", "bom.pem"] {
        let with = with_certificates(&config, &own, cert, "good.key");
        let said = signonce(&["doctor", "--json", &with[0], &with[1]]);
        let (level, text) = found(&String::from_utf8_lossy(&said.stdout), "certificate");
        assert_eq!(level, "fine", "{cert}: {text}");
    }
    drop(dir);
}

#[test]
fn a_data_directory_that_is_too_deep_for_a_socket_is_wrong_usage() {
    let (_dir, config) = node_home();
    let deep = format!("data_dir = \"/{}\"", "d".repeat(120));
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("data_dir = \"data\"", &deep)).unwrap();
    for command in ["init", "start", "doctor"] {
        let output = signonce(&[command, "--config", &config]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("listen.admin_socket") && !said.contains("SUN_LEN"), "{command}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_process_has_open_is_told_with_that_process() {
    let dir = tempfile::tempdir().unwrap();
    let (cluster, _admin) = cluster(dir.path()).await;
    let config = cluster.config_path(1).display().to_string();
    let other_socket = format!("listen.admin_socket={}", dir.path().join("other.sock").display());
    let ports = ["peer", "client", "admin", "metrics"].map(|port| format!("listen.{port}=127.0.0.1:0"));
    let set: Vec<&str> = ports.iter().chain([&other_socket]).flat_map(|setting| ["--set", setting]).collect();
    let said = expect(1, &[&["start", "--config", &config], &set[..]].concat());
    let pid = format!("process {} (signonce) has it open", cluster.pid(1).unwrap());
    assert!(said.contains(&pid) && said.contains("this node runs already"), "{said}");
    let told = said.lines().find(|line| line.starts_with("signonce: ")).unwrap();
    assert_eq!(told.matches("While lock file").count(), 1, "the system's words once: {told}");
}
