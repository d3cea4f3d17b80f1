//! A CometBFT chain and its keys: added by its chain-id, made here, or brought in from the files of a node or of tmkms.

use super::{cluster, expect, keystore, signonce};
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

/// The key of the seed `[7; 32]`, in base64 and with its address. No chain of value uses it.
const SEED: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const SECRET: &str =
    "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwfqSmxj4pxSCr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLA==";
const PUBLIC: &str = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";
const PUBLIC_HEX: &str = "0xea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
const ADDRESS: &str = "FE812C12F3AB4CE6AC5DB69AC352F906CB1B11EF";

/// As nodes print it.
fn show_validator() -> String {
    format!(r#"{{"@type":"/cosmos.crypto.ed25519.PubKey","key":"{PUBLIC}"}}"#)
}

/// A cluster with the chain `cosmoshub-4`, and a place for files.
struct Hub {
    dir: TempDir,
    admin: String,
    _cluster: signonce_cli::dev::LocalCluster,
}

impl Hub {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, admin) = cluster(&dir.path().join("cluster")).await;
        let hub = Self { dir, admin, _cluster: cluster };
        hub.does(0, &["chains", "add", "cosmoshub-4", "--family", "cometbft", "--yes"]);
        hub
    }

    fn does(&self, code: i32, arguments: &[&str]) -> String {
        expect(code, &[arguments, &["--admin", &self.admin]].concat())
    }

    fn answers(&self, arguments: &[&str]) -> Value {
        let output = signonce(&[arguments, &["--json", "--admin", &self.admin]].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// A file with this content; where it is.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn node_key(&self, address: &str) -> String {
        self.file("priv_validator_key.json", &node_key(address))
    }

    fn state(&self, height: u64, round: u32, step: u8) -> String {
        let state = format!(r#"{{"height":"{height}","round":{round},"step":{step}}}"#);
        self.file("priv_validator_state.json", &state)
    }

    fn import(&self, code: i32, key: &str, more: &[&str]) -> String {
        let import =
            ["keys", "import", "--chain", "cosmoshub-4", "--group", "validator-3", "--from", key, "--yes"];
        let said = self.does(code, &[&import[..], more].concat());
        assert!(!said.contains("BwcHBwcH"), "a secret is never said: {said}");
        said
    }

    /// Where the one key signs from.
    fn floor(&self) -> [u64; 3] {
        let rows = self.answers(&["keys", "list"]);
        let floor = &rows[0]["watermarks"][0]["floor"];
        ["height", "round", "step"]
            .map(|part| floor[part].as_u64().unwrap_or_else(|| panic!("no {part} in {rows}")))
    }

    fn has_no_key(&self) {
        assert_eq!(self.answers(&["keys", "list"]), serde_json::json!([]));
    }
}

fn node_key(address: &str) -> String {
    format!(
        r#"{{
  "address": "{address}",
  "pub_key": {{ "type": "tendermint/PubKeyEd25519", "value": "{PUBLIC}" }},
  "priv_key": {{ "type": "tendermint/PrivKeyEd25519", "value": "{SECRET}" }}
}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comet_chain_is_added_by_its_chain_id_alone() {
    let hub = Hub::open().await;
    let genesis = signonce_cometbft::genesis_of("cosmoshub-4").to_string();
    let hash = ["--genesis", &format!("0x{}", "11".repeat(32))];
    let comet = ["--family", "cometbft", "--yes"];
    let add = |code, name: &str, more: &[&str]| {
        hub.does(code, &[&["chains", "add", name][..], &comet, more].concat())
    };
    let said = add(2, "osmosis-1", &hash);
    assert!(
        said.contains("the hash of \"osmosis-1\" is 0x") && said.contains("leave --genesis out"),
        "{said}"
    );
    let said = add(2, "a chain", &[]);
    assert!(said.contains("without spaces") && said.contains("--settings"), "{said}");
    let said = add(1, "again", &["--settings", r#"{"chainId":"cosmoshub-4"}"#]);
    assert!(said.contains("cosmoshub-4"), "one chain has one name: {said}");
    add(0, "osmosis", &["--settings", r#"{"chainId":"osmosis-1"}"#]);
    let chains = hub.answers(&["chains", "list"]);
    let row = |name: &str| chains.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(
        (row("cosmoshub-4")["genesis"].as_str(), &row("cosmoshub-4")["chainId"]),
        (Some(&*genesis), &"cosmoshub-4".into())
    );
    assert_eq!(row("osmosis")["chainId"], "osmosis-1");
    // Where a name says nothing, everything is asked for as before.
    let said = hub.does(2, &["chains", "add", "kusama", "--slot-duration", "6000", "--yes"]);
    assert!(said.contains("--genesis, the hash of its block 0"), "{said}");
    let said = hub.does(2, &[&["chains", "add", "kusama", "--yes"][..], &hash].concat());
    assert!(said.contains("--slot-duration"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_key_comes_in_past_its_state_and_never_without_one() {
    let hub = Hub::open().await;
    let key = hub.node_key(ADDRESS);
    let said = hub.import(2, &key, &[]);
    assert!(said.contains("--state") && said.contains("--floor cometVote=HEIGHT:ROUND:STEP"), "{said}");
    let state = hub.state(12_345, 0, 2);
    let said = hub.import(2, &key, &["--state", &state, "--new-key"]);
    assert!(said.contains("leave --new-key out"), "{said}");
    let said = hub.import(2, &key, &["--state", &state, "--floor", "cometVote=12345:0:2"]);
    assert!(said.contains("is not past what the state file says"), "{said}");
    hub.has_no_key();

    let said = hub.import(0, &key, &["--state", &state]);
    for part in [
        "signed up to height 12345 round 0 step 2",
        "must be the LAST one",
        "from height 12345 round 0 step 3",
        "shred -u",
        "priv_validator_laddr",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(hub.floor(), [12_345, 0, 3]);
    let said = hub.import(0, &key, &["--state", &state]);
    assert!(said.contains("In the cluster already"), "{said}");

    let rows = hub.answers(&["keys", "list"]);
    let (row, shown) = (&rows[0], serde_json::from_str::<Value>(&show_validator()).unwrap());
    assert_eq!(
        (&row["shown"], &row["group"], &row["state"]),
        (&shown, &"validator-3".into(), &"armed".into())
    );
    let said = hub.does(0, &["keys", "show", &format!("comet:{PUBLIC_HEX}")]);
    assert_eq!(said.trim(), show_validator());
    assert_eq!(hub.answers(&["keys", "show", PUBLIC_HEX])["shown"], shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_have_locked_a_height_starts_at_the_next_one() {
    let hub = Hub::open().await;
    let (key, state) = (hub.node_key(ADDRESS), hub.state(12_345, 2, 1));
    let import = [
        "keys",
        "import",
        "--chain",
        "cosmoshub-4",
        "--group",
        "v",
        "--from",
        &key,
        "--state",
        &state,
        "--yes",
    ];
    let done = hub.answers(&import);
    assert_eq!(done["destroy"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(done["imported"][0]["floors"][0]["height"], 12_346, "{done}");
    assert_eq!(hub.floor(), [12_346, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_position_past_a_state_is_taken_where_the_operator_says_so() {
    let hub = Hub::open().await;
    let (key, state) = (hub.node_key(ADDRESS), hub.state(12_345, 2, 1));
    hub.import(0, &key, &["--state", &state, "--floor", "cometVote=12345:2:2"]);
    assert_eq!(hub.floor(), [12_345, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_and_state_of_tmkms_come_in_and_its_steps_are_not_taken_for_a_nodes() {
    let hub = Hub::open().await;
    let key = hub.file("consensus.key", SEED);
    let state = hub.file("state.json", r#"{"height":"77","round":"0","step":1,"block_id":null}"#);
    let said = hub.import(1, &key, &["--state", &state, "--format", "filepv"]);
    assert!(said.contains("nothing was imported") && said.contains("tmkms"), "{said}");
    hub.import(0, &key, &["--state", &state]);
    assert_eq!(hub.floor(), [77, 0, 3], "1 is its prevote");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_wrong_or_of_another_kind_of_chain_change_nothing() {
    let hub = Hub::open().await;
    let (key, state) = (hub.node_key(ADDRESS), hub.state(5, 0, 3));
    let wrong = hub.file("wrong.json", &node_key(&"AB".repeat(20)));
    let said = hub.import(1, &wrong, &["--state", &state]);
    assert!(said.contains("its address is not that of its public key") && said.contains(ADDRESS), "{said}");
    let cut = hub.file("cut.json", &node_key(ADDRESS)[..200]);
    let said = hub.import(1, &cut, &["--state", &state]);
    assert!(said.contains("is not a priv_validator_key.json"), "{said}");
    let broken = hub.file("broken.json", r#"{"height":"5","round":0,"step":9}"#);
    let said = hub.import(1, &key, &["--state", &broken]);
    assert!(said.contains("its step is 9") && said.contains("broken.json"), "{said}");
    let said = hub.import(1, &key, &["--state", &hub.dir.path().join("none").display().to_string()]);
    assert!(said.contains("none"), "{said}");
    let fresh = hub.state(0, 0, 0);
    let said = hub.import(2, &key, &["--state", &fresh]);
    assert!(said.contains("as it does after a reset too"), "{said}");

    let group = ["--group", "a", "--yes"];
    let keys = keystore();
    let place = keys.path().display().to_string();
    let said = hub.does(2, &[&["keys", "import", &place, "--chain", "cosmoshub-4"][..], &group].concat());
    assert!(said.contains("give the key file with --from"), "{said}");
    let said = hub.does(2, &[&["keys", "import", "--from", &key, "--chain", "dev"][..], &group].concat());
    assert!(said.contains("give the keystore directory"), "{said}");
    let said = hub.does(2, &[&["keys", "import", "--chain", "dev"][..], &group].concat());
    assert!(said.contains("--from") || said.contains("DIR"), "{said}");
    hub.has_no_key();
    assert!(Path::new(&key).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_shown_as_a_node_shows_it() {
    let hub = Hub::open().await;
    let generate = ["keys", "generate", "--chain", "cosmoshub-4", "--group", "v", "--yes"];
    let made = hub.answers(&generate);
    assert_eq!(made["keys"].as_array().unwrap().len(), 1, "{made}");
    let key = &made["keys"][0];
    assert_eq!(
        (&key["type"], &key["shown"]["@type"]),
        (&"comet".into(), &"/cosmos.crypto.ed25519.PubKey".into())
    );
    assert!(made["sessionKeys"].is_null(), "{made}");
    let shown = hub.does(0, &["keys", "show", key["public"].as_str().unwrap()]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), key["shown"]);

    let said = hub.does(0, &[&generate[..], &["--scheme", "cometSecp256k1"]].concat());
    assert!(said.contains(r#"{"@type":"/cosmos.crypto.secp256k1.PubKey","key":""#), "{said}");
    assert!(!said.contains("session.setKeys"), "{said}");
    let said = hub.does(2, &[&generate[..], &["--scheme", "sr25519"]].concat());
    assert!(said.contains("it can be cometEd25519, cometSecp256k1"), "{said}");
    let said = hub.does(2, &[&generate[..], &["--types", "babe"]].concat());
    assert!(said.contains("its types are comet"), "{said}");
    let said = hub.does(2, &[&generate[..], &["--for-set-keys", "--owner", "0x11"]].concat());
    assert!(said.contains("has no session keys"), "{said}");
}
