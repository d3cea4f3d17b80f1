//! Vectors that others made: what our verification must accept, and our signing and derivation must reproduce. Those in
//! `integration/vectors` are the Substrate crates' own (see `integration/oracle`); the live ones of public networks are
//! read where they lie beside the repository.

mod common;

use common::{SCHEMES, bytes, key, live_vectors, public, secret};
use serde_json::Value;
use signonce_keys::{SecretKey, VrfSignature, verify, verify_babe_vrf};
use signonce_protocol::{Algorithm, Scheme, Slot, ToSign};
use signonce_substrate::{ECDSA, ED25519, SR25519};
use signonce_substrate::{EpochIndex, keccak_256};
use std::path::PathBuf;

/// A committed file of the reference's vectors; never empty.
fn reference_vectors(name: &str) -> Vec<Value> {
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let path = PathBuf::from(here).join("../integration/vectors").join(name);
    let content = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: Value = serde_json::from_slice(&content).unwrap();
    let vectors = file["vectors"].as_array().unwrap().clone();
    assert!(!vectors.is_empty());
    vectors
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn scheme(vector: &Value) -> Scheme {
    signonce_substrate::install();
    serde_json::from_value(vector["scheme"].clone()).unwrap()
}

/// Our key is the vector's, its signature verifies, and ours is the same where the scheme allows only one.
fn check_signature(vector: &Value, to_sign: ToSign<'_>) {
    let (name, scheme) = (text(vector, "name"), scheme(vector));
    let key = key(scheme, text(vector, "suri"));
    assert_eq!(key.public(), public(text(vector, "public")), "{name}");
    let theirs = bytes(text(vector, "signature"));
    assert!(verify(scheme, &key.public(), to_sign, &theirs), "{name}");
    let ours = key.sign(to_sign).unwrap();
    match scheme.algorithm() {
        // The reference's nonce is random; one signature on one message, for ever, is what ours is for.
        Algorithm::Sr25519 => assert_ne!(ours.as_bytes(), theirs, "{name}"),
        Algorithm::Ed25519 | Algorithm::Secp256k1Recoverable | Algorithm::Secp256k1Compact => {
            assert_eq!(ours.as_bytes(), theirs, "{name}");
        }
    }
}

#[test]
fn the_references_signatures_on_messages_verify_and_are_ours() {
    for vector in reference_vectors("signatures.json") {
        check_signature(&vector, ToSign::Message(&bytes(text(&vector, "message"))));
    }
}

#[test]
fn the_references_signatures_on_payloads_verify_and_are_ours() {
    for vector in reference_vectors("payloads.json") {
        match vector["toSign"]["prehashed"].as_str() {
            Some(hash) => check_signature(&vector, ToSign::Prehashed(bytes(hash).try_into().unwrap())),
            None => check_signature(&vector, ToSign::Message(&bytes(text(&vector["toSign"], "message")))),
        }
    }
}

#[test]
fn the_references_vrfs_verify_and_have_our_output() {
    for vector in reference_vectors("vrf.json") {
        let slot = Slot(vector["slot"].as_u64().unwrap());
        let epoch = EpochIndex(vector["epochIndex"].as_u64().unwrap());
        let randomness = bytes(text(&vector, "randomness")).try_into().unwrap();
        let theirs = VrfSignature {
            pre_output: bytes(text(&vector, "preOutput")).try_into().unwrap(),
            proof: bytes(text(&vector, "proof")).try_into().unwrap(),
        };
        let key = key(SR25519, text(&vector, "suri"));
        assert_eq!(key.public(), public(text(&vector, "public")));
        assert!(verify_babe_vrf(&key.public(), slot, epoch, &randomness, &theirs), "{}", vector["name"]);
        assert_eq!(key.babe_vrf(slot, epoch, &randomness).unwrap().pre_output, theirs.pre_output);
    }
}

#[test]
fn the_references_secret_uris_give_its_keys() {
    for vector in reference_vectors("keys.json") {
        for (field, password) in [("public", None), ("publicWithPassword", Some(secret("override")))] {
            for scheme in SCHEMES {
                let key = SecretKey::from_suri(scheme, &secret(text(&vector, "name")), password.as_ref());
                // Null where the reference refuses: a soft junction and a scheme without such.
                let expected = vector[field][scheme.to_string()].as_str().map(public);
                assert_eq!(key.ok().map(|key| key.public()), expected, "{scheme} {field} {}", vector["name"]);
            }
        }
    }
}

#[test]
fn development_keys_sign_a_finalised_beefy_commitment_with_the_very_bytes() {
    let Some(vector) = live_vectors("beefy-commitment.json") else { return };
    let commitment = bytes(vector["commitment"].as_str().unwrap());
    let hash = keccak_256(&commitment);
    assert_eq!(hash.to_vec(), bytes(vector["keccak256"].as_str().unwrap()));
    let signatures = vector["signatures"].as_array().unwrap();
    assert!(!signatures.is_empty());
    for entry in signatures {
        let key = key(ECDSA, entry["suri"].as_str().unwrap());
        assert_eq!(key.public(), public(entry["public"].as_str().unwrap()));
        let expected = entry["signature"].as_str().unwrap();
        assert_eq!(key.sign(ToSign::Prehashed(hash)).unwrap().to_string(), expected);
        assert!(verify(ECDSA, &key.public(), ToSign::Prehashed(hash), &bytes(expected)));
    }
}

#[test]
fn seals_and_vrfs_of_finalised_babe_headers_verify() {
    let Some(vector) = live_vectors("babe-headers.json") else { return };
    let headers = vector["headers"].as_array().unwrap();
    assert!(!headers.is_empty());
    for header in headers {
        let text = |name: &str| bytes(header[name].as_str().unwrap());
        let author = public(header["author"].as_str().unwrap());
        let pre_hash = text("pre_hash");
        assert!(verify(SR25519, &author, ToSign::Message(&pre_hash), &text("seal")));
        assert!(!verify(SR25519, &author, ToSign::Message(&text("hash")), &text("seal")));

        let slot = Slot(header["slot"].as_u64().unwrap());
        let epoch = EpochIndex(header["epoch"]["index"].as_u64().unwrap());
        let randomness = bytes(header["epoch"]["randomness"].as_str().unwrap()).try_into().unwrap();
        let vrf = VrfSignature {
            pre_output: text("vrf_pre_output").try_into().unwrap(),
            proof: text("vrf_proof").try_into().unwrap(),
        };
        assert!(verify_babe_vrf(&author, slot, epoch, &randomness, &vrf));
        assert!(!verify_babe_vrf(&author, Slot(slot.0 + 1), epoch, &randomness, &vrf));
    }
}

#[test]
fn precommits_of_a_grandpa_justification_verify() {
    let Some(vector) = live_vectors("grandpa-justification.json") else { return };
    let precommits = vector["precommits"].as_array().unwrap();
    assert!(!precommits.is_empty());
    for precommit in precommits {
        let text = |name: &str| bytes(precommit[name].as_str().unwrap());
        let voter = public(precommit["voter"].as_str().unwrap());
        let mut payload = text("signed_payload");
        assert!(verify(ED25519, &voter, ToSign::Message(&payload), &text("signature")));
        payload[0] ^= 1;
        assert!(!verify(ED25519, &voter, ToSign::Message(&payload), &text("signature")));
    }
}
