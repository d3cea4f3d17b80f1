//! The commands as an operator meets them: the real program, its exit codes, and what it leaves on disk.

#[path = "cli/comet.rs"]
mod comet;
#[path = "cli/messages.rs"]
mod messages;

use signonce_cli::dev::{LocalCluster, LocalOptions};
use signonce_shared::families;
use signonce_substrate::ECDSA;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

const BINARY: &str = env!("CARGO_BIN_EXE_signonce");
/// The public keys of `//Alice`.
const ALICE_SR25519: &str = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
const ALICE_ED25519: &str = "88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee";

fn signonce(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs it, checks the exit code, answers what it said on both streams.
fn expect(code: i32, arguments: &[&str]) -> String {
    let output = signonce(arguments);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?} said: {said}");
    said
}

/// A directory with a configuration and a passphrase.
fn node_home() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = "[node]\nid = 1\ndata_dir = \"data\"\nunlock_file = \"unlock\"\n\
                  [cluster]\nid = \"00112233445566778899aabbccddeeff\"\n\
                  [[cluster.members]]\nid = 1\npeer = \"127.0.0.1:7300\"\nclient_url = \"https://127.0.0.1:7301\"\n\
                  [tls]\nca = \"ca.pem\"\ncert = \"node-1.pem\"\nkey = \"node-1-key.pem\"\n";
    let path = dir.path().join("signonce.toml");
    fs::write(&path, config).unwrap();
    fs::write(dir.path().join("unlock"), "a passphrase\n").unwrap();
    (dir, path.display().to_string())
}

#[test]
fn the_program_says_its_name_and_version() {
    assert_eq!(expect(0, &["--version"]), format!("signonce {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_change_without_a_terminal_or_yes_is_wrong_usage_and_changes_nothing() {
    let (dir, config) = node_home();
    let said = expect(2, &["init", "--config", &config]);
    assert!(said.contains("--yes"), "{said}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn init_makes_a_node_once() {
    let (dir, config) = node_home();
    let said = expect(0, &["init", "--config", &config, "--yes", "--json"]);
    assert!(said.contains("age1"), "{said}");
    let identity = fs::read(dir.path().join("data/identity.age")).unwrap();
    let said = expect(1, &["init", "--config", &config, "--yes"]);
    assert!(said.contains("not empty"), "{said}");
    assert_eq!(fs::read(dir.path().join("data/identity.age")).unwrap(), identity);
}

/// A pod that was killed for want of memory while it sealed its identity had a store, but nothing that opened it.
#[test]
fn an_init_that_was_interrupted_before_it_made_the_store_goes_on() {
    let (home, config) = node_home();
    let recipient = |said: &str| -> String {
        // What follows on standard error is for people.
        let said = serde_json::Deserializer::from_str(said).into_iter::<serde_json::Value>().next().unwrap();
        said.unwrap()["recipient"].as_str().unwrap().to_owned()
    };
    let first = recipient(&expect(0, &["init", "--config", &config, "--yes", "--json"]));
    let data = home.path().join("data");
    for file in ["IDENTITY", "HIGH-WATER"] {
        std::fs::remove_file(data.join(file)).unwrap();
    }
    expect(1, &["init", "--config", &config, "--yes"]);
    std::fs::remove_dir_all(data.join("db")).unwrap();
    assert_eq!(recipient(&expect(0, &["init", "--config", &config, "--yes", "--json"])), first);
}

#[test]
fn start_never_makes_a_store() {
    let (dir, config) = node_home();
    let said = expect(1, &["start", "--config", &config]);
    assert!(said.contains("init"), "{said}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_setting_that_is_misspelt_is_wrong_usage_with_the_nearest_name() {
    let (_dir, config) = node_home();
    let text = fs::read_to_string(&config).unwrap().replace("unlock_file", "unlok_file");
    fs::write(&config, text).unwrap();
    let said = expect(2, &["start", "--config", &config]);
    assert!(said.contains("node.unlock_file"), "{said}");
}

#[test]
fn a_node_that_does_not_run_is_not_ready() {
    let (_dir, config) = node_home();
    expect(4, &["status", "--config", &config]);
    expect(2, &["status", "--admin", "http://127.0.0.1:1"]);
}

#[test]
fn certificates_are_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    expect(0, &["certs", "init", "--dir", &place]);
    expect(1, &["certs", "init", "--dir", &place]);
    expect(0, &["certs", "issue", "client", "a", "--dir", &place]);
    expect(1, &["certs", "issue", "client", "a", "--dir", &place]);
    expect(2, &["certs", "issue", "client", "a/b", "--dir", &place]);
}

/// What the chart's init container is given, for pod `s-0`, whole and right.
fn pod() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display();
    let cluster = "00112233445566778899aabbccddeeff";
    let ca = format!("{place}/ca");
    expect(0, &["certs", "init", "--dir", &ca]);
    for node in ["1", "2"] {
        expect(
            0,
            &["certs", "issue", "node", "--id", node, "--cluster", cluster, "--host", "s-0", "--dir", &ca],
        );
    }
    for made in ["state", "join", "tls", "tls/0"] {
        fs::create_dir(dir.path().join(made)).unwrap();
    }
    for (from, to) in [("ca.pem", "ca.crt"), ("node-1.pem", "tls.crt"), ("node-1-key.pem", "tls.key")] {
        fs::copy(dir.path().join("ca").join(from), dir.path().join("tls/0").join(to)).unwrap();
    }
    let base = format!(
        "[node]\ndata_dir = \"{place}/data\"\nunlock_file = \"{place}/unlock\"\n[cluster]\nid = \"{cluster}\"\n\
         [[cluster.members]]\nid = 1\npeer = \"127.0.0.1:7300\"\nclient_url = \"https://127.0.0.1:7301\"\n"
    );
    for (file, text) in
        [("base.toml", base.as_str()), ("unlock", "secret"), ("state/formed", "false"), ("state/owner", "s")]
    {
        fs::write(dir.path().join(file), text).unwrap();
    }
    dir
}

fn prepare(pod: &Path, code: i32) -> String {
    let file = |name: &str| pod.join(name).display().to_string();
    let [base, out, state, join, tls] = ["base.toml", "signonce.toml", "state", "join", "tls"].map(file);
    let places = ["--base", &base, "--out", &out, "--state", &state, "--join", &join, "--tls", &tls];
    expect(code, &[&["kube", "prepare", "--pod", "s-0", "--domain", "peers"][..], &places].concat())
}

/// What is wrong in a pod, how it comes to be, and what its status must say.
type WrongPod = (&'static str, fn(&Path), &'static str);

/// The last line of the log is the pod's status: it names what is missing, and nothing has been made.
#[test]
fn a_pod_with_secrets_that_are_missing_or_do_not_fit_says_which_and_makes_nothing() {
    let wrong: [WrongPod; 7] = [
        ("no passphrase", |pod| fs::remove_file(pod.join("unlock")).unwrap(), "unlock.existingSecret"),
        ("an empty passphrase", |pod| fs::write(pod.join("unlock"), "").unwrap(), "is empty"),
        ("no certificate", |pod| fs::remove_file(pod.join("tls/0/tls.crt")).unwrap(), "tls-<ordinal>"),
        ("no authority", |pod| fs::remove_file(pod.join("tls/0/ca.crt")).unwrap(), "ca.crt"),
        (
            "a certificate of another authority",
            |pod| {
                let other = pod.join("other");
                expect(0, &["certs", "init", "--dir", &other.display().to_string()]);
                fs::copy(other.join("ca.pem"), pod.join("tls/0/ca.crt")).unwrap();
            },
            "was not issued by the authority",
        ),
        (
            "another node's certificate",
            |pod| {
                for (from, to) in [("node-2.pem", "tls.crt"), ("node-2-key.pem", "tls.key")] {
                    fs::copy(pod.join("ca").join(from), pod.join("tls/0").join(to)).unwrap();
                }
            },
            "does not carry the name node-1.",
        ),
        (
            "an id that another release has",
            |pod| fs::write(pod.join("state/owner"), "other-signonce").unwrap(),
            "belongs to other-signonce",
        ),
    ];
    for (what, spoil, says) in wrong {
        let pod = pod();
        spoil(pod.path());
        let said = prepare(pod.path(), 1);
        assert!(said.contains(says), "{what}: {said}");
        assert!(!pod.path().join("data").exists(), "{what}");
    }
    let pod = pod();
    prepare(pod.path(), 0);
    assert!(pod.path().join("data/IDENTITY").exists());
}

/// A keystore with `//Alice` as BABE and GRANDPA key.
fn keystore() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (key_type, public) in [("babe", ALICE_SR25519), ("gran", ALICE_ED25519)] {
        let name = format!("{}{public}", hex::encode(key_type));
        fs::write(dir.path().join(name), "\"//Alice\"").unwrap();
    }
    dir
}

/// A cluster of one that is ready and has the chain `dev`, and its admin address.
async fn cluster(dir: &Path) -> (LocalCluster, String) {
    let options = LocalOptions {
        nodes: 1,
        validators: 0,
        binary: Some(PathBuf::from(BINARY)),
        ..LocalOptions::default()
    };
    families::install();
    let mut cluster = LocalCluster::create(dir, options).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_ready(Duration::from_secs(60)).await.unwrap();
    assert!(cluster.provision().await.unwrap().is_empty());
    let admin = format!("unix:{}", cluster.admin_socket(1).display());
    (cluster, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_imported_with_explicit_floors_and_the_old_copy_is_named() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), keystore());
    let (_cluster, admin) = cluster(dir.path()).await;
    let place = keys.path().display().to_string();
    let import = ["keys", "import", &place, "--chain", "dev", "--group", "alice", "--admin", &admin, "--yes"];
    let with = |more: &[&'static str]| [&import[..], more].concat();

    let said = expect(2, &import);
    assert!(said.contains("--grandpa-floor") && said.contains("--new-key"), "{said}");
    assert_eq!(expect(0, &["keys", "list", "--admin", &admin, "--json"]).trim(), "[]");

    let said = expect(0, &with(&["--grandpa-floor", "5:9"]));
    assert!(said.contains("GRANDPA set 5 round 9"), "{said}");
    for public in [ALICE_SR25519, ALICE_ED25519] {
        assert!(said.lines().any(|line| line.contains("shred") && line.contains(public)), "{said}");
    }
    let said = expect(0, &with(&["--new-key"]));
    assert!(said.contains("In the cluster already"), "a second import changes nothing: {said}");
    let said = expect(0, &["watermarks", "show", "--admin", &admin]);
    assert!(said.contains("GRANDPA set 5 round 9"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_be_the_only_copy_is_never_named_for_destruction() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), keystore());
    let (_cluster, admin) = cluster(dir.path()).await;
    let place = keys.path().display().to_string();
    let import = |chain: &'static str| {
        expect(
            1,
            &[
                "keys",
                "import",
                &place,
                "--chain",
                chain,
                "--group",
                "a",
                "--new-key",
                "--admin",
                &admin,
                "--yes",
            ],
        )
    };
    // A key of another chain, and a removed one.
    let genesis = format!("0x{}", "11".repeat(32));
    let chain = ["chains", "add", "other", "--genesis", &genesis, "--slot-duration", "6000"];
    expect(0, &[&chain[..], &["--admin", &admin, "--yes"]].concat());
    let whole =
        ["keys", "import", &place, "--chain", "dev", "--group", "a", "--new-key", "--admin", &admin, "--yes"];
    expect(0, &whole);
    let said = import("other");
    assert!(said.contains("nothing was imported") && !said.contains("shred"), "{said}");
    let removed = format!("gran:0x{ALICE_ED25519}");
    expect(0, &["keys", "remove", &removed, "--admin", &admin, "--yes"]);
    let said = import("dev");
    assert!(said.contains("can never come back") && !said.contains("shred"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_a_renamed_file_stops_an_import_before_anything_is_changed() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), keystore());
    let (_cluster, admin) = cluster(dir.path()).await;
    let place = keys.path().display().to_string();
    let password = dir.path().join("password");
    fs::write(&password, "wrong").unwrap();
    let password = password.display().to_string();
    let import =
        ["keys", "import", &place, "--chain", "dev", "--group", "a", "--new-key", "--admin", &admin, "--yes"];
    let said = expect(1, &[&import[..], &["--password-file", &password]].concat());
    assert!(said.contains("password is wrong"), "{said}");
    let renamed = keys.path().join(format!("{}{}", hex::encode("para"), "22".repeat(32)));
    fs::write(renamed, "\"//Alice\"").unwrap();
    let said = expect(1, &import);
    assert!(said.contains("another public key than its name"), "{said}");
    assert_eq!(expect(0, &["keys", "list", "--admin", &admin, "--json"]).trim(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_keys_come_with_proofs_of_ownership_that_verify() {
    use signonce_protocol::{PublicKey, Scheme, ToSign};
    let dir = tempfile::tempdir().unwrap();
    let (_cluster, admin) = cluster(dir.path()).await;
    let generate =
        ["keys", "generate", "--chain", "dev", "--group", "a", "--admin", &admin, "--yes", "--json"];
    let owner = [0x11; 32];
    let owner_hex = format!("0x{}", hex::encode(owner));
    let output = signonce(&[&generate[..], &["--owner", &owner_hex]].concat());
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

    let statement = [&b"POP_"[..], &owner].concat();
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    let mut proofs = hex::decode(&text("ownershipProof")[2..]).unwrap();
    let mut blob = String::from("0x");
    for key in said["keys"].as_array().unwrap() {
        let scheme: Scheme = serde_json::from_value(key["scheme"].clone()).unwrap();
        let public: PublicKey = serde_json::from_value(key["public"].clone()).unwrap();
        let length = if scheme == ECDSA { 65 } else { 64 };
        let proof: Vec<u8> = proofs.drain(..length).collect();
        assert!(signonce_keys::verify(scheme, &public, ToSign::Message(&statement), &proof), "{key}");
        blob.push_str(&hex::encode(public.as_bytes()));
    }
    assert!(proofs.is_empty());
    assert_eq!(blob, text("sessionKeys"));

    let too_long = format!("0x{}", "11".repeat(65));
    let said = expect(2, &[&generate[..], &["--owner", &too_long]].concat());
    assert!(said.contains("--owner"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_is_armed_again_from_where_the_operator_says() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), keystore());
    let (_cluster, admin) = cluster(dir.path()).await;
    let place = keys.path().display().to_string();
    let reach = ["--admin", admin.as_str(), "--yes"];
    let does = |code, arguments: &[&str]| expect(code, &[arguments, &reach].concat());
    does(0, &["keys", "import", &place, "--chain", "dev", "--group", "a", "--grandpa-floor", "5:9"]);
    let (gran, babe) = (format!("gran:0x{ALICE_ED25519}"), format!("babe:0x{ALICE_SR25519}"));
    let said = does(1, &["keys", "arm", &gran, "--unchanged"]);
    assert!(said.contains("is armed") && said.contains("watermarks raise"), "{said}");
    does(0, &["keys", "disable", &gran]);
    let said = does(2, &["keys", "arm", &gran]);
    assert!(said.contains("--from") && said.contains("--unchanged"), "{said}");
    does(2, &["keys", "arm", &gran, "--from", "12"]);
    let said = does(1, &["keys", "arm", &gran, "--from", "5:8"]);
    assert!(said.contains("floors never go down"), "{said}");
    let said = does(0, &["keys", "arm", &gran, "--from", "6:1"]);
    assert!(said.contains("disabled now, floor GRANDPA set 5 round 9, signed up to nothing"), "{said}");
    assert!(said.contains("from GRANDPA set 6 round 1"), "{said}");
    does(0, &["keys", "disable", &babe]);
    does(0, &["keys", "arm", &babe, "--unchanged"]);
    let said = expect(0, &["keys", "list", "--admin", &admin]);
    assert_eq!(said.matches(" armed ").count(), 2, "{said}");
    does(0, &["keys", "remove", &babe]);
    assert!(does(1, &["keys", "arm", &babe, "--unchanged"]).contains("never come back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_to_have_keys_made_is_given_shown_and_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let (_cluster, admin) = cluster(&dir.path().join("cluster")).await;
    let reach = ["--admin", admin.as_str(), "--yes"];
    let does = |code, arguments: &[&str]| expect(code, &[arguments, &reach].concat());
    let certs = dir.path().display().to_string();
    expect(0, &["certs", "init", "--dir", &certs]);
    expect(0, &["certs", "issue", "client", "a", "--dir", &certs]);
    let cert = dir.path().join("client-a.pem").display().to_string();
    let add = ["clients", "add", "a", "--cert", &cert];
    does(2, &add);
    does(2, &[&add[..], &["--may-generate", "--key-limit", "many"]].concat());
    let said = does(0, &[&add[..], &["--may-generate", "--chain", "dev"]].concat());
    assert!(said.contains("up to 64 session keys made, for group a on chain 0x"), "{said}");
    let list = || expect(0, &["clients", "list", "--admin", &admin]);
    assert!(list().contains("(0 so far)"));
    let said = does(0, &["clients", "update", "a", "--may-generate", "--key-group", "b", "--key-limit", "9"]);
    assert!(said.contains("up to 9 session keys made, for group b."), "{said}");
    does(1, &["clients", "update", "a", "--may-generate", "--key-limit", "0"]);
    does(2, &["clients", "update", "a"]);
    does(1, &["clients", "update", "nobody", "--may-generate"]);
    does(0, &["clients", "update", "a", "--no-generate"]);
    assert!(!list().contains("session keys"));
}

/// What `doctor --json` found about one thing: level and text.
fn found(said: &str, what: &str) -> (String, String) {
    let findings: serde_json::Value = serde_json::from_str(said).unwrap();
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["what"] == what);
    let finding = finding.unwrap_or_else(|| panic!("nothing about {what} in {said}"));
    let text = |name: &str| finding[name].as_str().unwrap().to_owned();
    (text("level"), text("said"))
}

#[test]
fn doctor_looks_at_the_machine_before_there_is_a_node() {
    let (_dir, config) = node_home();
    let said = expect(1, &["doctor", "--config", &config, "--json"]);
    for what in ["file system", "free disk", "locked memory", "open files", "time service"] {
        assert!(!found(&said, what).1.is_empty());
    }
    assert_eq!(found(&said, "certificate").0, "wrong", "there is none: {said}");
    let said = expect(1, &["doctor", "--config", &config]);
    assert!(said.contains("file system") && said.contains("WRONG"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn doctor_warns_of_a_store_in_memory_and_of_few_open_files() {
    let (_dir, config) = node_home();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let text = fs::read_to_string(&config).unwrap().replace("\"data\"", &format!("{:?}", memory.path()));
    fs::write(&config, text).unwrap();
    let script = format!("ulimit -n 256; ulimit -l 64; exec {BINARY} doctor --json --config {config}");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for (what, text) in [
        ("file system", "tmpfs is memory"),
        ("open files", "a node started from here: at most 256"),
        ("locked memory", "a node started from here: at most 65.5 kB"),
    ] {
        let (level, found) = found(&said, what);
        assert_eq!(level, "warning", "{found}");
        assert!(found.contains(text), "{found}");
    }
}
