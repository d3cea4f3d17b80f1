//! Keystore directories as a Substrate node writes them, and every way a file in one can be wrong.

mod common;

use common::{key, secret};
use signonce_keys::{
    ExposeSecret as _, KeystoreEntry, KeystoreError, KeystoreKey, KeystoreProblem, SecretKey, SuriError,
    read_dir, read_password_file,
};
use signonce_protocol::Scheme;
use signonce_substrate::{AURA, BABE, BEEFY, ECDSA, ED25519, GRANDPA, SR25519};
use std::{fs, path::Path};

const PHRASE: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

/// A file named after a type and a public key, as the node names it.
fn put(dir: &Path, key_type: &str, public: &[u8], content: &str) {
    let name = format!("{}{}", hex::encode(key_type), hex::encode(public));
    fs::write(dir.join(name), content).unwrap();
}

fn put_key(dir: &Path, key_type: &str, scheme: Scheme, suri: &str, password: Option<&str>) {
    let password = password.map(secret);
    let key = SecretKey::from_suri(scheme, &secret(suri), password.as_ref()).unwrap();
    put(dir, key_type, key.public().as_bytes(), &serde_json::to_string(suri).unwrap());
}

fn read(dir: &Path, password: Option<&str>) -> Vec<KeystoreEntry> {
    read_dir(dir, password.map(secret).as_ref()).unwrap()
}

/// What the only file of a directory gives.
fn only(dir: &Path, password: Option<&str>) -> Result<KeystoreKey, KeystoreProblem> {
    let mut entries = read(dir, password);
    assert_eq!(entries.len(), 1);
    entries.remove(0).found
}

#[test]
fn the_keystore_of_a_validator_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let table = [
        ("babe", SR25519, "//Alice"),
        ("gran", ED25519, "//Alice"),
        ("beef", ECDSA, "//Alice"),
        ("para", SR25519, PHRASE),
        ("audi", SR25519, "/soft//hard///pw"),
        ("imon", SR25519, "0xe5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0b"),
        ("aura", SR25519, "//Aura"),
        ("aura", ED25519, "//Aura"),
    ];
    for (key_type, scheme, suri) in table {
        put_key(dir.path(), key_type, scheme, suri, None);
    }
    let entries = read(dir.path(), None);
    assert_eq!(entries.len(), table.len());
    assert!(entries.is_sorted_by_key(|e| e.path.clone()));
    for (key_type, scheme, suri) in table {
        let public = key(scheme, suri).public();
        let found =
            entries.iter().filter_map(|e| e.found.as_ref().ok()).find(|k| k.id.public == public).unwrap();
        assert_eq!((found.id.key_type.name(), found.scheme), (key_type, scheme));
        assert_eq!((found.secret.scheme(), found.secret.public()), (scheme, public));
    }
}

#[test]
fn an_empty_directory_has_no_keys_and_a_missing_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read(dir.path(), None).is_empty());
    let missing = read_dir(&dir.path().join("none"), None);
    assert!(matches!(missing, Err(KeystoreError::Unreadable { .. })));
}

#[test]
fn the_keystores_password_opens_phrases_and_is_hinted_at_when_wrong() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "babe", SR25519, PHRASE, Some("pw\n"));
    only(dir.path(), Some("pw\n")).unwrap();
    let trimmed = only(dir.path(), Some("pw")).unwrap_err();
    assert!(matches!(trimmed, KeystoreProblem::Mismatch { with_password: true, raw_seed: false }));
    assert!(trimmed.to_string().contains("last newline"));
    let without = only(dir.path(), None).unwrap_err();
    assert!(matches!(without, KeystoreProblem::Mismatch { with_password: false, raw_seed: false }));
    assert!(without.to_string().contains("has a password"));
}

#[test]
fn a_password_does_not_matter_to_a_raw_seed() {
    let dir = tempfile::tempdir().unwrap();
    let seed = "0xe5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
    put_key(dir.path(), "babe", SR25519, seed, None);
    only(dir.path(), Some("anything")).unwrap();

    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "babe", &[7; 32], &format!("{seed:?}"));
    let renamed = only(dir.path(), Some("anything")).unwrap_err();
    assert!(matches!(renamed, KeystoreProblem::Mismatch { raw_seed: true, .. }));
    assert!(renamed.to_string().contains("no password is involved"));
}

#[test]
fn a_password_file_is_taken_verbatim() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    for content in ["pw", "pw\n", " pw\r\n", ""] {
        fs::write(&path, content).unwrap();
        assert_eq!(read_password_file(&path).unwrap().expose_secret(), content);
    }
    fs::write(&path, [0xff]).unwrap();
    assert!(read_password_file(&path).is_err());
    assert!(read_password_file(&dir.path().join("none")).is_err());
}

#[test]
fn keys_the_signer_does_not_hold_are_skipped_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "asgn", SR25519, "//Alice", None);
    let skipped = only(dir.path(), None).unwrap_err();
    assert!(matches!(&skipped, KeystoreProblem::UnheldType(t) if t == "asgn"));
    assert!(skipped.to_string().contains("stay on the node"));

    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "acco", SR25519, "//Alice", None);
    assert!(only(dir.path(), None).unwrap_err().to_string().contains("\"acco\""));
}

#[test]
fn names_that_are_no_key_files_are_told_apart() {
    for name in ["README", "62616265", "6261", "62616265zz", "zz616265d43593c7"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), "\"//Alice\"").unwrap();
        assert!(matches!(only(dir.path(), None), Err(KeystoreProblem::NotAKeyFile)), "{name}");
    }
}

#[test]
fn a_public_key_of_the_wrong_length_is_named() {
    signonce_substrate::install();
    for (key_type, len, expected) in
        [("babe", 33, BABE), ("beef", 32, BEEFY), ("gran", 31, GRANDPA), ("aura", 64, AURA)]
    {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), key_type, &vec![1; len], "\"//Alice\"");
        let problem = only(dir.path(), None).unwrap_err();
        assert!(
            matches!(problem, KeystoreProblem::PublicKeyLength { key_type, found } if key_type == expected && found == len),
            "{problem}"
        );
    }
}

#[test]
fn a_file_of_another_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "babe", key(SR25519, "//Alice").public().as_bytes(), "\"//Bob\"");
    assert!(matches!(only(dir.path(), None), Err(KeystoreProblem::Mismatch { .. })));
    // A soft junction is fine for one of AURA's schemes, so the problem is the mismatch.
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "aura", key(SR25519, "//Alice").public().as_bytes(), "\"/Bob\"");
    assert!(matches!(only(dir.path(), None), Err(KeystoreProblem::Mismatch { .. })));
}

#[test]
fn a_key_of_another_scheme_is_named_as_one() {
    for (key_type, found, kinds) in [
        ("gran", SR25519, "gran keys are ed25519"),
        ("babe", ED25519, "babe keys are sr25519"),
        ("babe", ECDSA, "babe keys are sr25519"),
        ("aura", ECDSA, "aura keys are sr25519 or ed25519"),
        ("beef", ED25519, "beef keys are ecdsa"),
    ] {
        for password in [None, Some("pw")] {
            let dir = tempfile::tempdir().unwrap();
            put_key(dir.path(), key_type, found, PHRASE, password);
            let problem = only(dir.path(), password).unwrap_err();
            let text = problem.to_string();
            assert!(
                matches!(problem, KeystoreProblem::AnotherScheme { found: f, .. } if f == found),
                "{text}"
            );
            assert!(text.contains(kinds) && text.contains(&format!("as {found}")), "{text}");
            assert!(!text.contains("password"), "{text}");
        }
    }
}

#[test]
fn a_name_that_a_tool_made_of_a_key_files_is_told_from_any_other() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "babe", SR25519, PHRASE, None);
    let right = read(dir.path(), None)[0].path.clone();
    let name = right.file_name().unwrap().to_str().unwrap();
    for (made, extra) in [
        (format!("0x{name}"), "no 0x in front"),
        (format!("{name}.json"), "no .json behind it"),
        (format!("{name}.bak.1"), "no .bak.1 behind it"),
        (format!("0x{name}.json"), "no 0x in front"),
    ] {
        let other = tempfile::tempdir().unwrap();
        fs::copy(&right, other.path().join(&made)).unwrap();
        let problem = only(other.path(), None).unwrap_err();
        let text = problem.to_string();
        assert!(matches!(problem, KeystoreProblem::AlmostAKeyFile { .. }), "{made}: {text}");
        assert!(text.contains(extra) && text.contains(&format!("call it {name} ")), "{made}: {text}");
    }
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("6163636f00.json"), "\"//Alice\"").unwrap();
    assert!(matches!(only(other.path(), None), Err(KeystoreProblem::NotAKeyFile)), "a type that is not held");
}

#[test]
fn a_pipe_with_the_name_of_a_key_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("{}{}", hex::encode("babe"), "11".repeat(32));
    let made = std::process::Command::new("mkfifo").arg(dir.path().join(name)).status().unwrap();
    assert!(made.success());
    let problem = only(dir.path(), None).unwrap_err();
    assert!(matches!(problem, KeystoreProblem::Unreadable(_)));
    assert!(problem.to_string().contains("a pipe"), "{problem}");
}

#[test]
fn content_that_is_no_secret_is_named() {
    let public = key(SR25519, "//Alice").public();
    let not_json = ["", "//Alice", "\"//Alice", "7", "{\"a\":1}", "null", "\"//Alice\" x"];
    for content in not_json {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "babe", public.as_bytes(), content);
        assert!(matches!(only(dir.path(), None), Err(KeystoreProblem::NotJson)), "{content}");
    }
    for (content, expected) in [
        ("\"\"", SuriError::Empty),
        ("\"hello\"", SuriError::Phrase),
        ("\"0x12\"", SuriError::Seed),
        ("\"/\"", SuriError::Format),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "babe", public.as_bytes(), content);
        assert!(
            matches!(only(dir.path(), None), Err(KeystoreProblem::Secret(e)) if e == expected),
            "{content}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "beef", key(ECDSA, "//Alice").public().as_bytes(), "\"/Alice\"");
    assert!(matches!(only(dir.path(), None), Err(KeystoreProblem::Secret(SuriError::SoftJunction(ECDSA)))));
}

#[test]
fn a_huge_file_or_a_directory_is_not_read() {
    let public = key(SR25519, "//Alice").public();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "babe", public.as_bytes(), &format!("\"{}\"", "a".repeat(20_000)));
    assert!(matches!(only(dir.path(), None), Err(KeystoreProblem::Unreadable(_))));

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(format!("{}{}", hex::encode("babe"), hex::encode(public.as_bytes()))))
        .unwrap();
    assert!(matches!(only(dir.path(), None), Err(KeystoreProblem::Unreadable(_))));
}

#[test]
fn one_bad_file_does_not_hide_the_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    put_key(dir.path(), "babe", SR25519, "//Alice", None);
    put_key(dir.path(), "gran", ED25519, "//Alice", None);
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let entries = read(dir.path(), None);
    assert_eq!(entries.iter().filter(|e| e.found.is_ok()).count(), 2);
    assert_eq!(entries.len(), 3);
}
