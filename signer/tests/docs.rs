//! The commands in the documents, run as they stand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
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
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    keystore(&dir.path().join("keystore"));
    let script = pages.iter().map(|page| commands(page)).collect::<Vec<_>>().join("\n");
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\nkeystore=keystore\n{script}"
    );
    let binaries = Path::new(BINARY).parent().unwrap().to_path_buf();
    let path = std::env::join_paths(
        std::iter::once(binaries).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let output = Command::new("timeout")
        .args(["300", "bash", "-c", &script])
        .current_dir(dir.path())
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
    let said = follow(&["docs/first-cluster.md", "docs/import-keys.md", "docs/validator-keys.md"]);
    assert!(said.contains("GRANDPA set 12346 round 1"), "the raised floor is shown: {said}");
    assert!(said.contains(r#""type":"gran","scheme":"ed25519""#), "a key was made: {said}");
    assert!(said.contains("(1 so far)"), "and counted: {said}");
    assert!(said.contains("Armed gran:"), "a disabled key came back: {said}");
}

#[test]
fn the_signers_can_be_upgraded_one_after_the_other_as_the_page_says() {
    let said = follow(&["docs/first-cluster.md", "docs/upgrade.md"]);
    assert_eq!(said.lines().filter(|line| *line == "ready").count(), 3, "each came back: {said}");
    assert!(said.contains("level      2"), "{said}");
}

#[test]
fn the_audit_explains_exports_and_proves_as_its_page_says() {
    let said = follow(&["docs/first-cluster.md", "docs/audit.md"]);
    assert!(said.contains("validator-a (client 1) asked node 1 for the GRANDPA Precommit"), "{said}");
    assert!(said.contains("REFUSED (equivocation)"), "{said}");
    assert!(said.contains("SOUND: records 0 to"), "{said}");
    assert!(said.contains("was changed, or one before it"), "{said}");
    assert!(said.contains("it was cut off"), "{said}");
    assert!(said.contains("BLIND for the chain since"), "{said}");
}

#[test]
fn watermarks_are_carried_and_a_lost_cluster_is_restored_as_the_pages_say() {
    let said = follow(&["docs/first-cluster.md", "docs/watermarks.md", "docs/backup.md"]);
    assert!(said.contains("Raised the watermarks of") || said.contains("Nothing to do"), "{said}");
    assert!(said.contains("is whole, and signed by the node that made it"), "{said}");
    assert!(said.contains("DISARMED"), "the plan says which key waits for a floor: {said}");
    assert!(said.contains("armed before"), "the same command goes on where it ended: {said}");
}

#[test]
fn clients_and_officers_come_and_go_as_the_page_says() {
    let said = follow(&["docs/first-cluster.md", "docs/clients.md"]);
    assert!(said.contains("200/s, burst 400, 64 in flight"), "{said}");
    assert!(said.contains("approved by admin:bob"), "{said}");
}

#[test]
fn certificates_and_the_authority_are_changed_while_everything_runs_as_the_page_says() {
    let said = follow(&["docs/first-cluster.md", "docs/rotate-certificates.md"]);
    assert!(said.contains("alice-2 is a key-officer"), "{said}");
}

#[test]
fn a_signer_can_be_added_and_another_removed_as_the_page_says() {
    let said = follow(&["docs/first-cluster.md", "docs/members.md"]);
    assert!(said.contains("has joined cluster"), "{said}");
    assert!(said.contains("Removed node 3"), "{said}");
    assert!(said.contains("The leader is pinned to zone fra1"), "{said}");
}
