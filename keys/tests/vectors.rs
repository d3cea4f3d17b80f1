//! Live vectors of public networks: what our verification must accept and our signing must reproduce.

mod common;

use common::{bytes, key, live_vectors, public};
use signonce_keys::{VrfSignature, verify, verify_babe_vrf};
use signonce_protocol::{EpochIndex, Scheme, Slot, ToSign, keccak_256};

#[test]
fn development_keys_sign_a_finalised_beefy_commitment_with_the_very_bytes() {
    let Some(vector) = live_vectors("beefy-commitment.json") else { return };
    let commitment = bytes(vector["commitment"].as_str().unwrap());
    let hash = keccak_256(&commitment);
    assert_eq!(hash.to_vec(), bytes(vector["keccak256"].as_str().unwrap()));
    let signatures = vector["signatures"].as_array().unwrap();
    assert!(!signatures.is_empty());
    for entry in signatures {
        let key = key(Scheme::Ecdsa, entry["suri"].as_str().unwrap());
        assert_eq!(key.public(), public(entry["public"].as_str().unwrap()));
        let expected = entry["signature"].as_str().unwrap();
        assert_eq!(key.sign(ToSign::Prehashed(hash)).unwrap().to_string(), expected);
        assert!(verify(Scheme::Ecdsa, &key.public(), ToSign::Prehashed(hash), &bytes(expected)));
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
        assert!(verify(Scheme::Sr25519, &author, ToSign::Message(&pre_hash), &text("seal")));
        assert!(!verify(Scheme::Sr25519, &author, ToSign::Message(&text("hash")), &text("seal")));

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
        assert!(verify(Scheme::Ed25519, &voter, ToSign::Message(&payload), &text("signature")));
        payload[0] ^= 1;
        assert!(!verify(Scheme::Ed25519, &voter, ToSign::Message(&payload), &text("signature")));
    }
}
