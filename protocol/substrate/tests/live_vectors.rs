//! Payloads of running networks, where a folder of them lies beside the repository (`../shared/vectors` from its
//! root); elsewhere these tests print that they did nothing.

use serde_json::Value;
use signonce_protocol::{HexBytes, Slot, blake2_256};
use signonce_substrate::{payload::*, *};
use std::path::PathBuf;

const FORMAT: ChainFormat = ChainFormat { number_width: NumberWidth::U32, aura_mode: AuraMode::Slot };

fn vectors(name: &str) -> Option<Value> {
    signonce_substrate::install();
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let path = PathBuf::from(here).join("../../../shared/vectors").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("the vector file is JSON")),
        Err(error) => {
            println!("skipped: {} is not there ({error})", path.display());
            None
        }
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().expect("a string").parse::<HexBytes>().expect("0x-hex").0
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty(), "an empty vector file tests nothing");
    list
}

#[test]
fn live_babe_headers_decode_to_their_slot_author_and_pre_hash() {
    let Some(file) = vectors("babe-headers.json") else { return };
    for vector in list(&file["headers"]) {
        let unsealed = bytes(&vector["unsealed_header"]);
        let payload = Payload::decode(Kind::BabeHeader, &unsealed, &FORMAT).expect("a live header");
        let Content::BabeHeader(header) = payload.content() else { panic!("{payload:?}") };
        assert_eq!(header.slot, Slot(number(&vector["slot"])));
        assert_eq!(header.header.number, BlockNumber(number(&vector["number"])));
        assert_eq!(u64::from(header.authority_index), number(&vector["authority_index"]));
        let claim = match vector["pre_digest_kind"].as_str() {
            Some("primary") => BabeClaim::Primary,
            Some("secondary_plain") => BabeClaim::SecondaryPlain,
            Some("secondary_vrf") => BabeClaim::SecondaryVrf,
            other => panic!("unknown kind of pre-digest {other:?}"),
        };
        assert_eq!(header.claim, claim);
        assert_eq!(payload.to_sign().as_bytes(), bytes(&vector["pre_hash"]));
        assert_eq!(payload.duty(), Some(&Duty::BabeBlock { slot: header.slot }));

        let sealed = bytes(&vector["sealed_header"]);
        assert_eq!(blake2_256(&sealed).to_vec(), bytes(&vector["hash"]));
        let error = Payload::decode(Kind::BabeHeader, &sealed, &FORMAT).expect_err("it has a seal");
        assert!(matches!(error, PayloadError::Sealed { .. }), "{error}");
    }
}

#[test]
fn live_grandpa_precommits_decode_to_their_round_set_and_target() {
    let Some(file) = vectors("grandpa-justification.json") else { return };
    for vector in list(&file["precommits"]) {
        let signed = bytes(&vector["signed_payload"]);
        let payload = Payload::decode(Kind::GrandpaVote, &signed, &FORMAT).expect("a live vote");
        let Content::GrandpaVote(vote) = payload.content() else { panic!("{payload:?}") };
        assert_eq!(vote.stage, GrandpaStage::Precommit);
        assert_eq!(vote.round, Round(number(&file["round"])));
        assert_eq!(vote.set_id, SetId(number(&file["set_id"])));
        assert_eq!(vote.target, BlockNumber(number(&vector["target_number"])));
        assert_eq!(vote.target_hash.0.to_vec(), bytes(&vector["target_hash"]));
        assert_eq!(possible_kinds(&signed, &FORMAT), [Kind::GrandpaVote]);
    }
}

#[test]
fn a_live_beefy_commitment_decodes_to_its_block_and_hash() {
    let Some(file) = vectors("beefy-commitment.json") else { return };
    let commitment = bytes(&file["commitment"]);
    let payload = Payload::decode(Kind::BeefyCommitment, &commitment, &FORMAT).expect("a live commitment");
    assert_eq!(payload.to_sign().as_bytes(), bytes(&file["keccak256"]));
    let (set_id, block) =
        (SetId(number(&file["validator_set_id"])), BlockNumber(number(&file["block_number"])));
    assert_eq!(payload.duty(), Some(&Duty::BeefyVote { set_id, block }));
}
