//! The commands in the documents, run as they stand.

#[path = "cluster/fake_node.rs"]
mod fake_node;

use fake_node::FakeNode;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const BINARY: &str = env!("CARGO_BIN_EXE_signonce");

fn repository() -> PathBuf {
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    Path::new(&here).join("..")
}

/// The shell blocks of a document, in order.
fn commands(document: &str) -> String {
    let text = fs::read_to_string(repository().join(document)).unwrap();
    let mut script = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    assert!(!script.is_empty(), "{document} has no commands");
    script
}

/// A keystore with the development keys of Alice, which no chain of value uses.
fn keystore(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (key_type, public) in [
        ("babe", "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"),
        ("gran", "88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee"),
        ("beef", "020a1091341fe5664bfa1782d5e04779689068c916b04cb365ec3153755684d9a1"),
    ] {
        fs::write(dir.join(format!("{}{public}", hex::encode(key_type))), "\"//Alice\"").unwrap();
    }
}

/// Every page uses the same ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs the commands of these pages, one after the other in one shell and an empty directory with a keystore in it;
/// what they said.
fn follow(pages: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    follow_in(dir.path(), "", pages)
}

/// The same in this directory, after these lines.
fn follow_in(dir: &Path, first: &str, pages: &[&str]) -> String {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    keystore(&dir.join("keystore"));
    let script = pages.iter().map(|page| commands(page)).collect::<Vec<_>>().join("\n");
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\nkeystore=keystore\n{first}\n{script}"
    );
    let binaries = Path::new(BINARY).parent().unwrap().to_path_buf();
    let path = std::env::join_paths(
        std::iter::once(binaries).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let output = Command::new("timeout")
        .args(["300", "bash", "-c", &script])
        .current_dir(dir)
        .env("PATH", path)
        .env_remove("SIGNONCE_CONFIG")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_newcomer_can_follow_the_first_cluster_the_import_and_new_keys_to_the_letter() {
    let said = follow(&[
        "docs/operate/first-cluster.md",
        "docs/operate/import-keys.md",
        "docs/operate/validator-keys.md",
    ]);
    assert!(said.contains("GRANDPA set 12346 round 1"), "the raised floor is shown: {said}");
    assert!(said.contains(r#""type":"gran","scheme":"ed25519""#), "a key was made: {said}");
    assert!(said.contains("(1 so far)"), "and counted: {said}");
    assert!(said.contains("Armed gran:"), "a disabled key came back: {said}");
}

#[test]
fn the_signers_can_be_upgraded_one_after_the_other_as_the_page_says() {
    let said = follow(&["docs/operate/first-cluster.md", "docs/operate/upgrade.md"]);
    assert_eq!(said.lines().filter(|line| *line == "ready").count(), 3, "each came back: {said}");
    assert!(said.contains(&format!("level      {}", signonce_core::FEATURE_LEVEL)), "{said}");
}

#[test]
fn the_audit_explains_exports_and_proves_as_its_page_says() {
    let said = follow(&["docs/operate/first-cluster.md", "docs/operate/audit.md"]);
    assert!(said.contains("validator-a (client 1) asked node 1 for the GRANDPA Precommit"), "{said}");
    assert!(said.contains("REFUSED (equivocation)"), "{said}");
    assert!(said.contains("SOUND: records 0 to"), "{said}");
    assert!(said.contains("was changed, or one before it"), "{said}");
    assert!(said.contains("it was cut off"), "{said}");
    assert!(said.contains("BLIND for the chain since"), "{said}");
}

#[test]
fn watermarks_are_carried_and_a_lost_cluster_is_restored_as_the_pages_say() {
    let said =
        follow(&["docs/operate/first-cluster.md", "docs/reference/watermarks.md", "docs/operate/backup.md"]);
    assert!(said.contains("Raised the watermarks of") || said.contains("Nothing to do"), "{said}");
    assert!(said.contains("is whole, and signed by the node that made it"), "{said}");
    assert!(said.contains("DISARMED"), "the plan says which key waits for a floor: {said}");
    assert!(said.contains("armed before"), "the same command goes on where it ended: {said}");
}

#[test]
fn what_is_left_of_a_lost_signer_and_a_restarted_one_becomes_a_new_cluster_as_the_pages_say() {
    let said =
        follow(&["docs/operate/first-cluster.md", "docs/operate/lost-node.md", "docs/operate/backup.md"]);
    assert!(said.matches("waits until 1 of node 3").count() >= 2, "both wait: {said}");
    assert!(said.matches("is whole, and signed by the node that made it").count() >= 3, "{said}");
    assert!(said.contains("armed before"), "the new cluster has the keys: {said}");
}

#[test]
fn clients_and_officers_come_and_go_as_the_page_says() {
    let said = follow(&["docs/operate/first-cluster.md", "docs/operate/clients.md"]);
    assert!(said.contains("200/s, burst 400, 64 in flight"), "{said}");
    assert!(said.contains("approved by admin:bob"), "{said}");
}

#[test]
fn certificates_and_the_authority_are_changed_while_everything_runs_as_the_page_says() {
    let said = follow(&["docs/operate/first-cluster.md", "docs/operate/rotate-certificates.md"]);
    assert!(said.contains("alice may come with either") && said.contains("alice is known by 0x"), "{said}");
}

#[test]
fn a_signer_can_be_added_and_another_removed_as_the_page_says() {
    let said = follow(&["docs/operate/first-cluster.md", "docs/operate/members.md"]);
    assert!(said.contains("has joined cluster"), "{said}");
    assert!(said.contains("Removed node 3"), "{said}");
    assert!(said.contains("The leader is pinned to zone fra1"), "{said}");
}

/// The chain of the pages.
const GENESIS: &str = "0x91b171bb158e2d3848fa23a9f1c25182fb8e20313b2c1eb49219da7a70ce90c3";

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_is_made_moved_in_and_given_new_keys_as_the_pages_say() {
    let dir = tempfile::tempdir().unwrap();
    let (old, other) =
        (FakeNode::new(GENESIS, "old", (12345, 10)), FakeNode::new(GENESIS, "other", (12345, 20)));
    for node in [&old, &other] {
        node.says.lock().unwrap().runtime = vec![
            ("BeefyApi_validator_set", [&[1, 0][..], &12345u64.to_le_bytes()].concat()),
            ("ParachainHost_session_index_for_child", 51234u32.to_le_bytes().to_vec()),
        ];
    }
    let (old_at, old_server) = old.serve().await;
    let (other_at, _other) = other.serve().await;
    // What happens elsewhere is done here, when a page says so.
    let first = format!(
        "old_node=http://{old_at}\nchain_node=http://{other_at}\nowner=0x{}\n\
         happens() {{ touch \"$1\"; until [ -e \"$1-done\" ]; do sleep 0.1; done; }}\n\
         stop_old_node() {{ happens stop; }}\nchain_changes_over() {{ happens change; }}\n",
        "aa".repeat(32)
    );
    let pages = [
        "docs/operate/first-cluster.md",
        "docs/operate/first-validator.md",
        "docs/operate/migrate.md",
        "docs/operate/rotate-keys.md",
    ];
    let place = dir.path().to_owned();
    let following = tokio::task::spawn_blocking(move || follow_in(&place, &first, &pages));
    let happens = async |what: &str| {
        while !dir.path().join(what).exists() && !following.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    happens("stop").await;
    old_server.stop().unwrap();
    old_server.stopped().await;
    fs::write(dir.path().join("stop-done"), "").unwrap();
    happens("change").await;
    if let Ok(record) = fs::read(dir.path().join("rotate-validator-1.json")) {
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let set = hex::decode(record["sessionKeys"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        let functions = [
            "GrandpaApi_grandpa_authorities",
            "BabeApi_current_epoch",
            "BeefyApi_validator_set",
            "ParachainHost_validators",
            "AuthorityDiscoveryApi_authorities",
        ];
        other.says.lock().unwrap().runtime = functions.map(|function| (function, set.clone())).to_vec();
    }
    fs::write(dir.path().join("change-done"), "").unwrap();
    let said = following.await.unwrap();
    assert!(said.contains("the old node still answers. Nothing was imported"), "{said}");
    assert!(said.contains("from GRANDPA set 12345 round 71"), "{said}");
    assert!(said.contains("shred -u"), "{said}");
    assert!(said.contains("old keys are disabled"), "{said}");
    assert!(said.contains("old keys are removed permanently"), "{said}");
}

#[test]
fn the_program_is_tried_and_a_machine_looked_at_as_the_page_says() {
    let said = follow(&["docs/operate/install.md"]);
    assert!(said.lines().any(|line| line.contains("WRONG") && line.contains("certificate")), "{said}");
    assert!(said.lines().any(|line| line.contains("file system")), "{said}");
}

#[test]
fn a_cluster_is_hardened_and_thieves_are_shut_out_as_the_page_says() {
    let said = follow(&["docs/operate/first-cluster.md", "docs/operate/hardening.md"]);
    let (_, after) = said.split_once("Approved, and made:").unwrap_or_else(|| panic!("{said}"));
    let list: Vec<&str> = after
        .lines()
        .skip_while(|line| !line.starts_with("NAME"))
        .take_while(|line| !line.is_empty())
        .collect();
    let has = |name: &str| list.iter().any(|line| line.starts_with(name));
    assert!(has("dashboard") && has("bob") && !has("night-shift"), "{said}");
}

/// What headings of a page are called in links.
fn anchors(text: &str) -> Vec<String> {
    let slug = |heading: &str| -> String {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#'))).collect()
}

/// What a node of a CometBFT chain leaves when it is stopped. The key was made for this test.
fn comet_node(dir: &Path) {
    let key = r#"{
  "address": "FE812C12F3AB4CE6AC5DB69AC352F906CB1B11EF",
  "pub_key": { "type": "tendermint/PubKeyEd25519", "value": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=" },
  "priv_key": {
    "type": "tendermint/PrivKeyEd25519",
    "value": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwfqSmxj4pxSCr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLA=="
  }
}"#;
    for (folder, file, content) in [
        ("config", "priv_validator_key.json", key),
        ("data", "priv_validator_state.json", r#"{"height":"21345678","round":0,"step":3}"#),
    ] {
        fs::create_dir_all(dir.join(folder)).unwrap();
        fs::write(dir.join(folder).join(file), content).unwrap();
    }
}

#[test]
fn the_key_of_a_comet_validator_comes_in_from_its_files_or_is_made_as_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    comet_node(&dir.path().join("old-node"));
    let pages =
        ["docs/operate/first-cluster.md", "docs/operate/cometbft-keys.md", "docs/operate/cometbft.md"];
    let said = follow_in(dir.path(), "old_node=old-node", &pages);
    assert!(said.contains("signed up to height 21345678 round 0 step 3"), "{said}");
    assert!(said.contains("from height 21345679 round 0 step 0"), "{said}");
    assert!(said.contains("shred -u"), "{said}");
    let shown =
        said.lines().filter(|line| line.starts_with(r#"{"@type":"/cosmos.crypto.ed25519.PubKey","key":""#));
    assert_eq!(shown.count(), 2, "once when it is made, once again: {said}");
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let root = repository();
    let docs: Vec<PathBuf> = ["docs", "docs/operate", "docs/reference", "docs/evidence"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    let elsewhere = [
        "README.md",
        "SECURITY.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "deploy/ansible/README.md",
        "helm/signonce/README.md",
        "helm/signonce/UPGRADING.md",
        "integration/README.md",
        "integration/keystore/README.md",
        "integration/polkadot/README.md",
    ];
    let pages: Vec<PathBuf> =
        docs.iter().cloned().chain(elsewhere.iter().map(|page| root.join(page))).collect();
    let mut links = 0;
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{} links to {link}, which is not there", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.iter().any(|name| name == anchor), "{}: no heading {link}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 50, "{links}");
    // Who reads the README finds the index, and from there every page.
    assert!(fs::read_to_string(root.join("README.md")).unwrap().contains("](docs/README.md)"));
    let index = fs::read_to_string(root.join("docs/README.md")).unwrap();
    for page in &docs {
        let page = page.strip_prefix(root.join("docs")).unwrap().display().to_string();
        assert!(page == "README.md" || index.contains(&format!("]({page})")), "the index lacks {page}");
    }
}
