//! Sign bytes, statements and signatures against vectors that another encoder made (`vectors/make.py`), and what is refused.

mod common;

use common::{Answer, Signer};
use serde_json::Value;
use signonce_cometbft::{
    Connection, ED25519, PROPOSAL_KIND, SECP256K1, VOTE_KIND, proposal_payload, vote_payload,
};
use signonce_keys::verify;
use signonce_protocol::{PayloadKind, RawPayload, Scheme, ToSign};
use std::path::PathBuf;

fn vectors() -> Value {
    signonce_cometbft::install();
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let path = PathBuf::from(here).join("tests/vectors/sign-bytes.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("the vector file is JSON")
}

fn list<'a>(file: &'a Value, name: &str) -> &'a [Value] {
    let list = file[name].as_array().expect("a list");
    assert!(list.len() > 15, "only {} vectors", list.len());
    list
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hex")
}

fn payload(vector: &Value, connection: u64) -> RawPayload {
    let request = bytes(&vector["request"]);
    match vector["kind"].as_str().expect("a kind").parse::<PayloadKind>().expect("a kind of the family") {
        VOTE_KIND => vote_payload(Connection(connection), &request),
        PROPOSAL_KIND => proposal_payload(Connection(connection), &request),
        kind => panic!("{kind} has no vectors"),
    }
}

fn signer(file: &Value, chain_id: &str) -> Signer {
    signer_with(file, chain_id, ED25519, "public")
}

fn signer_with(file: &Value, chain_id: &str, scheme: Scheme, public: &str) -> Signer {
    let seed = bytes(&file["seed"]).try_into().expect("a seed has 32 bytes");
    let signer = Signer::new(chain_id, scheme, &seed);
    assert_eq!(signer.key.public.as_bytes(), bytes(&file[public]));
    signer
}

#[test]
fn what_is_signed_is_what_another_encoder_makes() {
    let file = vectors();
    for vector in list(&file, "signed") {
        let name = &vector["name"];
        let mut signer = signer(&file, vector["chainId"].as_str().expect("a chain-id"));
        let raw = payload(vector, 1);
        let read = raw.decode(&signer.chain).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(read.to_sign(), ToSign::Message(&bytes(&vector["signBytes"])), "{name}");
        assert_eq!(read.digest().0.to_vec(), bytes(&vector["digest"]), "{name}");
        let beside = read.beside().map(|beside| hex::encode(beside.to_sign().as_bytes()));
        assert_eq!(beside.as_deref(), vector["extensionSignBytes"].as_str(), "{name}");
        let Answer::Signed { signature, extension, repeated: false, .. } = signer.ask(1, &raw) else {
            panic!("{name} is signed")
        };
        assert_eq!(signature, bytes(&vector["signature"]), "{name}");
        assert_eq!(extension.map(hex::encode).as_deref(), vector["extensionSignature"].as_str(), "{name}");
    }
}

#[test]
fn a_secp256k1_key_signs_with_r_and_a_low_s_over_sha_256() {
    let file = vectors();
    for vector in list(&file, "signed") {
        let chain_id = vector["chainId"].as_str().expect("a chain-id");
        let mut signer = signer_with(&file, chain_id, SECP256K1, "secp256k1Public");
        let Answer::Signed { signature, .. } = signer.ask(1, &payload(vector, 1)) else {
            panic!("{} is signed", vector["name"])
        };
        assert_eq!(signature, bytes(&vector["secp256k1Signature"]), "{}", vector["name"]);
    }
}

#[test]
fn a_secp256k1_signature_of_another_form_does_not_verify() {
    let file = vectors();
    let public = signer_with(&file, "vectors-1", SECP256K1, "secp256k1Public").key.public;
    let vector = &list(&file, "signed")[0];
    let (message, good) = (bytes(&vector["signBytes"]), bytes(&vector["secp256k1Signature"]));
    let holds = |to_sign, signature: &[u8]| verify(SECP256K1, &public, to_sign, signature);
    assert!(holds(ToSign::Message(&message), &good));
    assert!(!holds(ToSign::Message(&message[1..]), &good));
    assert!(!holds(ToSign::Prehashed([7; 32]), &good), "it signs messages alone");
    for wrong in [&good[1..], &[&good[..], &[0]].concat(), &with_high_s(&good)] {
        assert!(!holds(ToSign::Message(&message), wrong), "{wrong:?}");
    }
}

/// The other signature that the curve has: the group's order less s.
fn with_high_s(signature: &[u8]) -> Vec<u8> {
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").expect("hex");
    let (r, s) = signature.split_at(32);
    let (mut high, mut borrow) = (vec![0; 32], 0);
    for at in (0..32).rev() {
        let rest = i16::from(order[at]) - i16::from(s[at]) - borrow;
        borrow = i16::from(rest < 0);
        high[at] = u8::try_from(rest.rem_euclid(256)).expect("less than 256");
    }
    [r, &high].concat()
}

#[test]
fn the_connection_is_not_signed() {
    let file = vectors();
    for vector in list(&file, "signed") {
        let chain = signer(&file, vector["chainId"].as_str().expect("a chain-id")).chain;
        let [one, other] = [1, u64::MAX].map(|connection| payload(vector, connection));
        assert_ne!(one, other);
        let [one, other] = [one, other].map(|raw| raw.decode(&chain).expect("a payload"));
        assert_eq!((one.to_sign(), one.digest()), (other.to_sign(), other.digest()));
        assert_ne!(one.duty(), other.duty(), "the ledger knows it");
    }
}

#[test]
fn what_no_honest_node_asks_is_refused_with_what_is_wrong() {
    let file = vectors();
    for vector in list(&file, "refused") {
        let (name, words) = (&vector["name"], vector["words"].as_str().expect("words"));
        let mut signer = signer(&file, "vectors-1");
        match signer.ask(1, &payload(vector, 1)) {
            Answer::Malformed(why) => assert!(why.contains(words), "{name}: {why}"),
            answer => panic!("{name}: {answer:?}"),
        }
    }
}

#[test]
fn a_payload_has_a_connection_in_front_and_a_bounded_length() {
    let signer = signer(&vectors(), "vectors-1");
    for len in 0..8 {
        let why = RawPayload::new(VOTE_KIND, vec![0; len]).decode(&signer.chain).unwrap_err().0;
        assert!(why.contains("no connection in front"), "{why}");
    }
    let longest = PROPOSAL_KIND.max_len();
    let why = RawPayload::new(PROPOSAL_KIND, vec![0; longest + 1]).decode(&signer.chain).unwrap_err().0;
    assert!(why.contains("at most"), "{why}");
}
