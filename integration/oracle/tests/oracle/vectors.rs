//! The committed vectors in `integration/vectors`: made here by the reference from fixed seeds, read by the tests of
//! `protocol` and `keys`, so that those judge by the reference without building it.
//!
//! `SIGNONCE_WRITE_VECTORS=1` writes them; otherwise they must be what the reference still makes. The reference's
//! sr25519 signatures and VRF proofs are random: those in the files are kept for as long as they verify.

use crate::{
    cases::{Case, MAKERS, Signed, approval, babe_session_change, formats, hex},
    random::Random,
    suri::{forms, theirs},
};
use parity_scale_codec::{Decode as _, Encode as _};
use serde_json::{Value, json};
use signonce_protocol::{Algorithm, Scheme};
use signonce_substrate::{AuraMode, ChainFormat, Kind, NumberWidth};
use signonce_substrate::{ECDSA, ED25519, SR25519};
use sp_consensus_babe::make_vrf_sign_data;
use sp_core::{
    Pair as _,
    crypto::{VrfPublic as _, VrfSecret as _},
    ecdsa, ed25519,
    sr25519::{self, vrf},
};
use std::path::PathBuf;

const ABOUT: &str = "Made by the Substrate crates (polkadot-sdk 2609.2.0) from fixed seeds; written by the tests in \
                     integration/oracle with SIGNONCE_WRITE_VECTORS=1. Not to be edited.";
const SURIS: [&str; 3] = ["//Alice", "//Bob//validator", "//Charlie"];

fn path(name: &str) -> PathBuf {
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    PathBuf::from(here).join("../vectors").join(name)
}

/// Compares a file with what `make` gives, or writes it. `make` gets the entry of that name in the present file.
fn judge(name: &str, make: impl FnOnce(&dyn Fn(&str) -> Value) -> Vec<Value>) {
    signonce_substrate::install();
    let path = path(name);
    let present: Value = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).expect("the vector file is JSON"),
        Err(_) => Value::Null,
    };
    let entry = |wanted: &str| {
        let entries = present["vectors"].as_array();
        let found = entries.and_then(|all| all.iter().find(|it| it["name"] == wanted));
        found.cloned().unwrap_or(Value::Null)
    };
    let made = json!({ "about": ABOUT, "vectors": make(&entry) });
    if std::env::var_os("SIGNONCE_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&made).expect("it is JSON") + "\n";
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder can be made");
        std::fs::write(&path, text).expect("the file can be written");
    } else {
        assert!(made == present, "{name} is not what the reference makes; see integration/oracle/README.md");
    }
}

#[test]
fn the_committed_payloads_are_the_references() {
    judge("payloads.json", |present| {
        cases().into_iter().map(|(name, case)| payload_vector(name.clone(), &case, &present(&name))).collect()
    });
}

/// Every kind in every format that changes it, and the edges worth a name.
fn cases() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for (name, make) in MAKERS {
        for format in formats() {
            let by_width = format.number_width == NumberWidth::U32 || is_wide(name);
            let by_mode = format.aura_mode == AuraMode::Slot || name == "AURA header";
            if by_width && by_mode && name != "BABE session change" {
                for seed in 0..4 {
                    let tag = format!("{name}, {}, {}, {seed}", width(&format), mode(&format));
                    cases.push((tag, make(&mut Random::new(0x5160 + seed), format)));
                }
            }
        }
    }
    let format = ChainFormat::default();
    let random = |seed: u64| Random::new(0xed9e + seed);
    cases.push(("session change of 150".into(), babe_session_change(&mut random(0), format, 150)));
    cases.push(("approval of 16".into(), approval(&mut random(1), format, 16)));
    cases.push(("approval of 2".into(), approval(&mut random(2), format, 2)));
    cases
}

fn is_wide(name: &str) -> bool {
    matches!(name, "BABE header" | "AURA header" | "GRANDPA vote" | "BEEFY commitment" | "heartbeat")
}

fn width(format: &ChainFormat) -> &'static str {
    match format.number_width {
        NumberWidth::U32 => "u32",
        NumberWidth::U64 => "u64",
    }
}

fn mode(format: &ChainFormat) -> &'static str {
    match format.aura_mode {
        AuraMode::Slot => "slot",
        AuraMode::Collator => "collator",
    }
}

fn payload_vector(name: String, case: &Case, present: &Value) -> Value {
    let kind = case.content.kind();
    let scheme = match kind {
        Kind::GrandpaVote => ED25519,
        Kind::BeefyCommitment => ECDSA,
        _ => SR25519,
    };
    let suri = SURIS[case.bytes.len() % SURIS.len()];
    let form = match case.signed {
        Signed::Message(_) => "message",
        Signed::Prehashed(_) => "prehashed",
    };
    json!({
        "name": name,
        "kind": kind.name(),
        "format": { "numberWidth": width(&case.format), "auraMode": mode(&case.format) },
        "payload": hex(&case.bytes),
        "duty": case.duty,
        "toSign": { form: hex(case.signed.bytes()) },
        "digest": hex(case.digest()),
        "scheme": scheme.to_string(),
        "suri": suri,
        "public": hex(theirs(scheme, suri, None).expect("a development key")),
        "signature": signature(scheme, suri, &case.signed, present),
    })
}

/// The reference's signature; a random one is kept where it still verifies.
fn signature(scheme: Scheme, suri: &str, signed: &Signed, present: &Value) -> String {
    match (scheme.algorithm(), signed) {
        (Algorithm::Sr25519, _) => {
            let pair = sr25519::Pair::from_string(suri, None).expect("a development key");
            let kept = bytes(&present["signature"]).and_then(|it| sr25519::Signature::try_from(&it[..]).ok());
            let kept = kept.filter(|it| sr25519::Pair::verify(it, signed.bytes(), &pair.public()));
            hex(kept.unwrap_or_else(|| pair.sign(signed.bytes())))
        }
        (Algorithm::Ed25519, _) => {
            hex(ed25519::Pair::from_string(suri, None).expect("a development key").sign(signed.bytes()))
        }
        (Algorithm::Secp256k1Recoverable, signed) => {
            let pair = ecdsa::Pair::from_string(suri, None).expect("a development key");
            hex(match signed {
                Signed::Message(message) => pair.sign(message),
                Signed::Prehashed(hash) => pair.sign_prehashed(hash),
            })
        }
        (Algorithm::Secp256k1Compact, _) => unreachable!("no scheme of Substrate's"),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    ::hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

#[test]
fn the_committed_signatures_on_messages_are_the_references() {
    judge("signatures.json", |present| {
        let mut vectors = Vec::new();
        for scheme in [SR25519, ED25519, ECDSA] {
            for (at, len) in [0usize, 1, 31, 33, 73, 200].into_iter().enumerate() {
                let name = format!("{scheme}, {len} bytes");
                let signed = Signed::Message(Random::new(len as u64).bytes(len));
                let suri = SURIS[at % SURIS.len()];
                vectors.push(json!({
                    "name": name,
                    "scheme": scheme.to_string(),
                    "suri": suri,
                    "public": hex(theirs(scheme, suri, None).expect("a development key")),
                    "message": hex(signed.bytes()),
                    "signature": signature(scheme, suri, &signed, &present(&name)),
                }));
            }
        }
        vectors
    });
}

#[test]
fn the_committed_vrfs_are_the_references() {
    judge("vrf.json", |present| {
        (0..8u64)
            .map(|seed| {
                let name = format!("VRF {seed}");
                let mut random = Random::new(seed);
                let (slot, epoch, randomness) =
                    (random.number(u64::MAX), random.number(u64::MAX), random.block());
                let suri = SURIS[seed as usize % SURIS.len()];
                let pair = sr25519::Pair::from_string(suri, None).expect("a development key");
                let data = make_vrf_sign_data(&randomness, slot.into(), epoch);
                let present = present(&name);
                let kept = bytes(&present["preOutput"]).zip(bytes(&present["proof"]));
                let kept = kept.and_then(|(a, b)| vrf::VrfSignature::decode(&mut &[a, b].concat()[..]).ok());
                let kept = kept.filter(|it| pair.public().vrf_verify(&data, it));
                let made = kept.unwrap_or_else(|| pair.vrf_sign(&data));
                json!({
                    "name": name,
                    "suri": suri,
                    "public": hex(pair.public()),
                    "slot": slot,
                    "epochIndex": epoch,
                    "randomness": hex(randomness),
                    "preOutput": hex(made.pre_output.encode()),
                    "proof": hex(made.proof.encode()),
                })
            })
            .collect()
    });
}

#[test]
fn the_committed_keys_are_the_references() {
    judge("keys.json", |_| {
        forms()
            .into_iter()
            .map(|suri| {
                let public = |scheme, password| theirs(scheme, &suri, password).map(hex);
                let publics = |password| {
                    json!({
                        "sr25519": public(SR25519, password),
                        "ed25519": public(ED25519, password),
                        "ecdsa": public(ECDSA, password),
                    })
                };
                json!({ "name": suri, "public": publics(None), "publicWithPassword": publics(Some("override")) })
            })
            .collect()
    });
}
