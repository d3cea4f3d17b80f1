//! The payloads in `integration/vectors`, which the Substrate crates made from fixed seeds (see `integration/oracle`):
//! each is read as the reference means it, whether or not the oracle itself was built.

use serde_json::Value;
use signonce_protocol::{ChainId, Payload, PayloadKind, RawPayload, ToSign};
use signonce_substrate::{ChainSettings, Kind, Limits};
use std::{collections::BTreeSet, path::PathBuf};

/// The committed payload vectors; never empty.
fn vectors() -> Vec<Value> {
    signonce_substrate::install();
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let path = PathBuf::from(here).join("../../integration/vectors/payloads.json");
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: Value = serde_json::from_slice(&bytes).expect("the vector file is JSON");
    let vectors = file["vectors"].as_array().expect("a list of vectors").clone();
    assert!(vectors.len() > 50, "only {} vectors", vectors.len());
    vectors
}

/// The vector as a client would send it.
fn raw(vector: &Value) -> RawPayload {
    let kind = vector["kind"].as_str().expect("a kind");
    serde_json::from_value(serde_json::json!({ kind: vector["payload"] })).expect("a tagged payload")
}

fn decode(vector: &Value, raw: &RawPayload) -> Result<Payload, String> {
    let format = serde_json::from_value(vector["format"].clone()).expect("a chain format");
    let settings = ChainSettings { format, slot_duration_ms: 6_000, limits: Limits::default() };
    raw.decode(&settings.chain(ChainId([1; 32]), "chain")).map_err(|e| format!("{}: {e}", vector["name"]))
}

#[test]
fn payloads_of_the_reference_are_read_as_it_means_them() {
    for vector in vectors() {
        let payload = decode(&vector, &raw(&vector)).expect("the reference made it");
        let name = &vector["name"];
        assert_eq!(serde_json::to_value(payload.duty()).expect("a duty is JSON"), vector["duty"], "{name}");
        assert_eq!(payload.digest().to_string(), vector["digest"], "{name}");
        let (form, bytes) = match payload.to_sign() {
            ToSign::Message(bytes) => ("message", bytes.to_vec()),
            ToSign::Prehashed(hash) => ("prehashed", hash.to_vec()),
        };
        assert_eq!(vector["toSign"][form], format!("0x{}", hex::encode(bytes)), "{name}");
    }
}

#[test]
fn the_vectors_have_every_kind_but_authority_records() {
    let kinds: BTreeSet<_> = vectors().iter().map(|vector| raw(vector).kind()).collect();
    let missing: Vec<_> = PayloadKind::all().filter(|kind| !kinds.contains(kind)).collect();
    // Their encoder is a networking crate, so the reference has no vector for them.
    assert_eq!(missing, [PayloadKind::from(Kind::AuthorityRecord)]);
}

#[test]
fn a_payload_of_the_reference_is_refused_under_every_other_kind() {
    for vector in vectors() {
        let given = raw(&vector);
        for kind in PayloadKind::all().filter(|kind| *kind != given.kind()) {
            let misnamed = RawPayload::new(kind, given.bytes().to_vec());
            assert!(decode(&vector, &misnamed).is_err(), "{} as {kind}", vector["name"]);
        }
    }
}

#[test]
fn a_payload_of_the_reference_with_a_byte_more_or_less_is_refused() {
    // An owner may have any length, so an ownership proof cut short is another ownership proof.
    for vector in vectors().iter().filter(|vector| vector["kind"] != "ownershipProof") {
        let given = raw(vector);
        let (whole, kind) = (given.bytes(), given.kind());
        for bytes in [&whole[..whole.len() - 1], &[whole, &[0]].concat()] {
            assert!(decode(vector, &RawPayload::new(kind, bytes.to_vec())).is_err(), "{}", vector["name"]);
        }
    }
}
