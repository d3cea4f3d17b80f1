//! The key files of CometBFT validators, with keys that were made for these tests.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};
use signonce_cometbft::{CONSENSUS, ED25519, SECP256K1, Software, address};
use signonce_keys::{ConsensusKeyProblem, KeystoreKey, SecretKey, read_consensus_key};
use signonce_protocol::{Scheme, ToSign};
use std::fs;

const SEED: [u8; 32] = [7; 32];

fn read(content: impl AsRef<[u8]>) -> Result<KeystoreKey, ConsensusKeyProblem> {
    read_as(content, None, None)
}

fn read_as(
    content: impl AsRef<[u8]>,
    software: Option<Software>,
    scheme: Option<Scheme>,
) -> Result<KeystoreKey, ConsensusKeyProblem> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, content).unwrap();
    read_consensus_key(&path, software, scheme)
}

/// What a node writes for the key of this seed.
fn node_file(scheme: Scheme, seed: &[u8; 32]) -> Value {
    signonce_cometbft::install();
    let public = SecretKey::from_seed(scheme, seed).unwrap().public();
    let (name, secret) = match scheme {
        ED25519 => ("Ed25519", [&seed[..], public.as_bytes()].concat()),
        _ => ("Secp256k1", seed.to_vec()),
    };
    json!({
        "address": hex::encode_upper(address(scheme, &public).unwrap()),
        "pub_key": {
            "type": format!("tendermint/PubKey{name}"), "value": STANDARD.encode(public.as_bytes()),
        },
        "priv_key": { "type": format!("tendermint/PrivKey{name}"), "value": STANDARD.encode(secret) },
    })
}

fn pretty(file: &Value) -> String {
    serde_json::to_string_pretty(file).unwrap()
}

#[test]
fn the_key_of_a_node_is_read_with_its_scheme() {
    for scheme in [ED25519, SECP256K1] {
        let file = pretty(&node_file(scheme, &SEED));
        let key = read(&file).unwrap();
        let expected = SecretKey::from_seed(scheme, &SEED).unwrap();
        assert_eq!((key.id.key_type, key.id.public, key.scheme), (CONSENSUS, expected.public(), scheme));
        let message = ToSign::Message(b"a vote");
        assert_eq!(key.secret.sign(message), expected.sign(message));
        assert!(read_as(&file, Some(Software::FilePv), Some(scheme)).is_ok());
    }
}

/// In the form of Go's `json.MarshalIndent`, with the public key and address of the seed `[7; 32]` from Python.
#[test]
fn a_file_as_go_writes_it_is_read() {
    signonce_cometbft::install();
    let file = r#"{
  "address": "FE812C12F3AB4CE6AC5DB69AC352F906CB1B11EF",
  "pub_key": {
    "type": "tendermint/PubKeyEd25519",
    "value": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw="
  },
  "priv_key": {
    "type": "tendermint/PrivKeyEd25519",
    "value": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwfqSmxj4pxSCr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLA=="
  }
}"#;
    read(file).unwrap();
}

#[test]
fn the_key_of_tmkms_is_a_seed_in_base64() {
    signonce_cometbft::install();
    let seed = STANDARD.encode(SEED);
    for content in [seed.clone(), format!("{seed}\n"), format!("{seed}\r\n")] {
        let key = read(content).unwrap();
        assert_eq!(key.id.public, SecretKey::from_seed(ED25519, &SEED).unwrap().public());
    }
    let key = read_as(&seed, Some(Software::Tmkms), Some(SECP256K1)).unwrap();
    assert_eq!(key.id.public, SecretKey::from_seed(SECP256K1, &SEED).unwrap().public());
    let public = SecretKey::from_seed(ED25519, &SEED).unwrap().public();
    assert!(read(STANDARD.encode([&SEED[..], public.as_bytes()].concat())).is_ok());
}

#[test]
fn an_expanded_key_of_tmkms_is_refused_and_never_taken_for_a_seed() {
    signonce_cometbft::install();
    for length in [64, 96] {
        let error = read(STANDARD.encode(vec![7; length])).unwrap_err();
        assert!(matches!(error, ConsensusKeyProblem::Expanded), "{error}");
    }
}

#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let other = node_file(ED25519, &[8; 32]);
    let changed = |field: &str, value: &Value| {
        let mut file = node_file(ED25519, &SEED);
        file[field] = value.clone();
        read(pretty(&file)).unwrap_err()
    };
    let error = changed("pub_key", &other["pub_key"]);
    assert!(matches!(error, ConsensusKeyProblem::Mismatch { .. }), "{error}");
    let error = changed("priv_key", &other["priv_key"]);
    assert!(matches!(error, ConsensusKeyProblem::Mismatch { .. }), "{error}");
    let error = changed("address", &other["address"]);
    assert!(matches!(error, ConsensusKeyProblem::WrongAddress { .. }), "{error}");
    let error = changed("pub_key", &node_file(SECP256K1, &SEED)["pub_key"]);
    assert!(matches!(error, ConsensusKeyProblem::UnheldType { field: "pub_key", .. }), "{error}");
    let error = changed("priv_key", &json!({ "type": "cometbft/PrivKeyBls12_381", "value": "AAAA" }));
    assert!(error.to_string().contains("PrivKeyBls12_381"), "{error}");
    // The second half of the secret is the public key; a node reads it without a look at the seed.
    let mut file = node_file(ED25519, &SEED);
    file["priv_key"]["value"] = STANDARD.encode([SEED, [1; 32]].concat()).into();
    assert!(matches!(read(pretty(&file)).unwrap_err(), ConsensusKeyProblem::NotASecret(_)));
}

#[test]
fn what_is_no_key_file_is_refused_without_a_word_of_its_content() {
    signonce_cometbft::install();
    let file = node_file(ED25519, &SEED);
    let without = |field: &str| {
        let mut file = file.clone();
        file.as_object_mut().unwrap().remove(field);
        pretty(&file)
    };
    let mut more = file.clone();
    more["last_height"] = "5".into();
    let cut = pretty(&file);
    for content in [
        String::new(),
        "{}".into(),
        "not base64 at all".into(),
        STANDARD.encode([7; 31]),
        STANDARD.encode([7; 33]),
        STANDARD.encode([7; 128]),
        without("address"),
        without("pub_key"),
        without("priv_key"),
        pretty(&more),
        cut[..cut.len() - 4].to_owned(),
        format!("{cut} {cut}"),
    ] {
        let error = read(&content).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("BwcH") && !text.contains("not base64 at all"), "{text}");
    }
    let error = read(vec![b'A'; 17 * 1024]).unwrap_err();
    assert!(matches!(error, ConsensusKeyProblem::Unreadable(_)), "{error}");
    // The scalar zero is no key.
    assert!(read_as(STANDARD.encode([0; 32]), None, Some(SECP256K1)).is_err());
}

#[test]
fn what_was_named_must_be_what_the_file_is() {
    let file = pretty(&node_file(ED25519, &SEED));
    let error = read_as(&file, Some(Software::Tmkms), None).unwrap_err();
    assert!(matches!(error, ConsensusKeyProblem::Other { found: Software::FilePv, .. }), "{error}");
    let error = read_as(&file, None, Some(SECP256K1)).unwrap_err();
    assert!(matches!(error, ConsensusKeyProblem::NotTheScheme { .. }), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_give_a_key_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        signonce_cometbft::install();
        let _ = read(bytes);
    }

    #[test]
    fn every_seed_comes_through_both_files(seed in any::<[u8; 32]>()) {
        let node = read(pretty(&node_file(ED25519, &seed))).unwrap();
        let tmkms = read(STANDARD.encode(seed)).unwrap();
        prop_assert_eq!(node.id, tmkms.id);
    }
}
