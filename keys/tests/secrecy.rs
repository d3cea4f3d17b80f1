//! Nothing that can be printed shows a secret: every `Debug`, `Display` and error that has been near one.

mod common;

use common::{CHAIN, id, key, secret};
use signonce_keys::{
    ExposeSecret as _, Keyring, NodeIdentity, PassphraseSource, Recipient, ScryptWork, SecretKey, read_dir,
    seal,
};
use signonce_substrate::{BABE, ECDSA, Kind, SR25519};
use std::fs;

/// The seed of `//Alice` on sr25519, the secrets' marker in these tests.
const SEED: &str = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
const MARKER: &str = "xyzzysecret";

/// No secret in either spelling of bytes, and no marker.
fn assert_clean(shown: String) {
    let seed = common::bytes(SEED);
    let expanded = schnorrkel::MiniSecretKey::from_bytes(&seed)
        .unwrap()
        .expand(schnorrkel::ExpansionMode::Ed25519)
        .to_bytes();
    let lower = shown.to_lowercase();
    for bytes in [&seed[..], &expanded[..32], &expanded[32..]] {
        assert!(!lower.contains(&hex::encode(&bytes[..8])), "{shown}");
        let listed = format!("{:?}", &bytes[..4]);
        assert!(!shown.contains(listed.trim_matches(['[', ']'])), "{shown}");
    }
    assert!(!lower.contains(MARKER), "{shown}");
    assert!(!lower.contains("secret-key-1"), "{shown}");
}

#[test]
fn types_with_secrets_show_none() {
    let alice = || key(SR25519, &format!("0x{SEED}"));
    let id = id(BABE, &alice());
    let node = NodeIdentity::generate();
    let sealed = seal(&alice(), &id, &CHAIN, &[node.recipient()]).unwrap();
    let ring = Keyring::new();
    ring.insert(id, alice()).unwrap();
    let proof = common::payload(Kind::OwnershipProof, b"POP_");
    let held = ring.sign(&id, &proof).unwrap();
    let signature = alice().sign(proof.to_sign()).unwrap().to_string();

    assert_eq!(format!("{:?}", alice()), "SecretKey(sr25519, redacted)");
    assert_eq!(format!("{node:?}"), format!("NodeIdentity({}, redacted)", node.recipient()));
    assert_eq!(format!("{held:?}"), "Unreleased");
    assert!(!format!("{held:#?}").contains(&signature[2..20]));
    for shown in
        [format!("{:#?}", alice()), format!("{node:#?}"), format!("{sealed:?}"), format!("{ring:#?}")]
    {
        assert_clean(shown);
    }
}

#[test]
fn entries_of_a_keystore_show_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let alice = key(SR25519, &format!("0x{SEED}"));
    let name = |public: &[u8]| format!("{}{}", hex::encode("babe"), hex::encode(public));
    fs::write(dir.path().join(name(alice.public().as_bytes())), format!("\"0x{SEED}\"")).unwrap();
    let contents = [
        format!("\"0x{SEED}\""),
        format!("\"0x{SEED}00\""),
        format!("0x{SEED}"),
        format!("\"{MARKER} words\""),
        format!("\"//a///{MARKER}\""),
        format!("{{\"{MARKER}\": 1}}"),
        format!("\"{MARKER}"),
    ];
    for (n, content) in contents.iter().enumerate() {
        fs::write(dir.path().join(name(&[n as u8; 32])), content).unwrap();
    }
    let entries = read_dir(dir.path(), Some(&secret(MARKER))).unwrap();
    assert_eq!(entries.len(), contents.len() + 1);
    for entry in entries {
        assert_clean(format!("{entry:#?}"));
        if let Err(problem) = entry.found {
            assert_clean(problem.to_string());
        }
    }
}

#[test]
fn errors_of_uris_show_no_part_of_them() {
    let uris = [
        format!("{MARKER} phrase"),
        format!("0x{MARKER}"),
        format!("0x{SEED}ff"),
        format!("//{MARKER}/soft"),
        format!("{MARKER}-"),
        format!("//a/{MARKER}//"),
        MARKER.repeat(2000),
    ];
    for uri in uris {
        let refused = SecretKey::from_suri(ECDSA, &secret(&uri), Some(&secret(MARKER))).unwrap_err();
        assert_clean(format!("{refused} {refused:?}"));
    }
}

#[test]
fn errors_of_identities_and_passphrases_show_neither() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let node = NodeIdentity::generate();
    node.save(&path, &secret(MARKER), ScryptWork::QUICK).unwrap();
    let errors = [
        NodeIdentity::load(&path, &secret(&format!("{MARKER}2"))).unwrap_err(),
        node.save(&path, &secret(MARKER), ScryptWork::QUICK).unwrap_err(),
    ];
    for error in errors {
        assert_clean(format!("{error} {error:?}"));
    }
    let file = dir.path().join("pass");
    fs::write(&file, [MARKER.as_bytes(), &[0xff]].concat()).unwrap();
    let refused = PassphraseSource::File(file).read().unwrap_err();
    assert_clean(format!("{refused} {refused:?}"));
}

#[test]
fn a_secret_pasted_for_a_recipient_is_not_repeated() {
    let pasted = age::x25519::Identity::generate().to_string();
    let refused = pasted.expose_secret().parse::<Recipient>().unwrap_err();
    assert_clean(format!("{refused} {refused:?}"));
    assert!("age1notone".parse::<Recipient>().unwrap_err().to_string().contains("age1notone"));
}
