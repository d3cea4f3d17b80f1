//! What running nodes have asked and Go's FilePV has answered, where the recordings lie beside the repository
//! (`../shared/vectors/cometbft` from its root); elsewhere these tests print that they did nothing.

mod common;

use common::{Answer, Signer, payload_of};
use serde_json::Value;
use signonce_cometbft::{ED25519, OwnRefusal, SECP256K1};
use signonce_protocol::{Refusal, Scheme};
use std::{collections::BTreeSet, path::PathBuf};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The keys of the sessions, as the recordings' README has them.
const SESSION_ED25519: &str = "a1ef88829999fa558f89062ed376058574a9cabdd9b52da0eaf96ced2f74f610";
const SESSION_SECP256K1: &str = "d58fae8e1a4b2ad057bb1cbd3afe9ce04dbae84295efe0dff7a2a2dfe9cce990";

fn recording(name: &str) -> Option<Value> {
    signonce_cometbft::install();
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let path = PathBuf::from(here).join("../../../shared/vectors/cometbft").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("a recording is JSON")),
        Err(error) => {
            println!("skipped: {} is not there ({error})", path.display());
            None
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hex")
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty(), "an empty recording tests nothing");
    list
}

fn scheme(name: &str) -> Scheme {
    match name {
        "ed25519" => ED25519,
        "secp256k1" => SECP256K1,
        other => panic!("no key of {other}"),
    }
}

fn seed(hex: &str) -> [u8; 32] {
    hex::decode(hex).expect("hex").try_into().expect("32 bytes")
}

fn nanos(time: &Value) -> i128 {
    OffsetDateTime::parse(text(time), &Rfc3339).expect("a time").unix_timestamp_nanos()
}

/// One recorded request and its answer: the same signature, over the same sign bytes, with the same timestamp.
fn check_message(signer: &mut Signer, message: &Value, session: &str) {
    let about = format!("{session}, message {}", message["i"]);
    let raw = payload_of(&bytes(&message["req"]), message["conn"].as_u64().expect("a connection"));
    let payload = raw.decode(&signer.chain).unwrap_or_else(|why| panic!("{about}: {why}"));
    assert_eq!(hex::encode(payload.to_sign().as_bytes()), text(&message["sb"]), "{about}");
    let beside = payload.beside().map(|beside| hex::encode(beside.to_sign().as_bytes()));
    if let Some(expected) = message["esb"].as_str() {
        assert_eq!(beside.as_deref(), Some(expected), "{about}");
    }
    let answer = signer.ask(1, &raw);
    let out = text(&message["out"]);
    let Answer::Signed { signature, time, extension, repeated } = answer else {
        assert_eq!(out, "refused", "{about}: {answer:?}");
        return;
    };
    assert_eq!(hex::encode(signature), text(&message["sig"]), "{about}");
    let expected = message.get("time_out").unwrap_or(&message["time"]);
    let time = i128::from(time.seconds()) * 1_000_000_000 + i128::from(time.nanos());
    assert_eq!((time, out != "refused"), (nanos(expected), true), "{about}");
    assert!(out == "signed" || repeated, "{about}");
    if let Some(expected) = message["esig"].as_str() {
        assert_eq!(extension.map(hex::encode).as_deref(), Some(expected), "{about}");
    }
}

fn play(name: &str, at_least: usize) {
    let Some(file) = recording(name) else { return };
    let mut played = 0;
    for session in list(&file["sessions"]) {
        let (name, scheme) = (text(&session["session"]), scheme(text(&session["key"])));
        let seed = seed(if scheme == ED25519 { SESSION_ED25519 } else { SESSION_SECP256K1 });
        let mut signer = Signer::new(text(&session["chain_id"]), scheme, &seed);
        let asked = list(&session["messages"]).iter().filter(|message| message.get("sb").is_some());
        for message in asked {
            check_message(&mut signer, message, name);
            played += 1;
        }
        signer.assert_sound();
    }
    assert!(played >= at_least, "{name}: only {played} messages were played");
}

#[test]
fn nodes_of_every_version_get_what_filepv_gave_them() {
    play("sessions.json", 40);
}

#[test]
fn votes_with_extensions_get_what_filepv_gave_them() {
    play("extensions.json", 20);
}

#[test]
fn a_secp256k1_validator_gets_what_filepv_gave_it() {
    play("secp256k1.json", 5);
}

#[test]
fn a_node_that_was_killed_and_asks_again_gets_what_filepv_gave_it() {
    play("crash-replay.json", 20);
}

/// FilePV signs them, and an honest node never asks: half a block id, no height, no round, no block, no chain-id.
const REFUSED_HERE: [&str; 6] = [
    "height 0",
    "negative height and round",
    "block id without hash but with parts",
    "proposal with nil block",
    "empty chain id",
    "ext: block id without parts",
];

/// The table of FilePV, each case from an empty state, all on one connection.
#[test]
fn every_case_of_filepvs_table_comes_out_the_same_or_is_named_as_stricter() {
    let Some(file) = recording("filepv.json") else { return };
    let mut stricter = BTreeSet::new();
    for (of_key, secret) in [("ed25519", "seed"), ("secp256k1", "secret")] {
        let key = &file[of_key];
        for case in list(&key["cases"]) {
            let name = text(&case["name"]);
            let seed = seed(text(&key[secret]));
            let mut signer = Signer::new(text(&file["chain_id"]), scheme(of_key), &seed);
            assert_eq!(hex::encode(signer.key.public.as_bytes()), text(&key["pub"]));
            for (number, step) in list(&case["steps"]).iter().enumerate() {
                let about = format!("{of_key}, {name:?}, step {number}");
                if text(&step["op"]) == "restart" {
                    signer.restart();
                } else if check_step(&mut signer, step, &about) == Strictness::Stricter {
                    // What comes next in the case is about a signature that is not there.
                    stricter.insert(name.to_owned());
                    break;
                }
            }
        }
    }
    assert_eq!(stricter, REFUSED_HERE.into_iter().map(str::to_owned).collect());
}

#[derive(Debug, PartialEq, Eq)]
enum Strictness {
    Same,
    Stricter,
}

fn check_step(signer: &mut Signer, step: &Value, about: &str) -> Strictness {
    let raw = payload_of(&bytes(&step["req"]), 1);
    match (signer.ask(1, &raw), step["error"].as_str()) {
        (Answer::Signed { signature, time, extension, .. }, None) => {
            assert_eq!(hex::encode(signature), text(&step["sig"]), "{about}");
            let time = i128::from(time.seconds()) * 1_000_000_000 + i128::from(time.nanos());
            assert_eq!(time, nanos(&step["timestamp"]), "{about}");
            assert_eq!(extension.map(hex::encode).as_deref(), step["esig"].as_str(), "{about}");
            Strictness::Same
        }
        (Answer::Refused(Refusal::BelowWatermark { .. }), Some(error)) => {
            assert!(error.contains("regression"), "{about}: {error}");
            Strictness::Same
        }
        (Answer::Refused(Refusal::Equivocation { .. }), Some(error)) => {
            assert!(error.contains("conflicting data"), "{about}: {error}");
            Strictness::Same
        }
        // Another chain's request, and an extension where there can be none, are refused before the ledger is asked.
        (Answer::Malformed(_), Some(_)) => Strictness::Same,
        (Answer::Malformed(why), None) => {
            println!("{about} is refused here: {why}");
            Strictness::Stricter
        }
        (answer, error) => panic!("{about}: {answer:?}, FilePV has {error:?}"),
    }
}

/// The recorded case of two nodes that FilePV lets break their lock: on two connections it is refused.
#[test]
fn what_filepv_lets_two_nodes_do_to_a_lock_is_refused() {
    let Some(file) = recording("filepv.json") else { return };
    let key = &file["ed25519"];
    let name = "precommit V at round 0, prevote W at round 1";
    let case = list(&key["cases"]).iter().find(|case| case["name"] == name).expect("the case is there");
    let mut signer = Signer::new(text(&file["chain_id"]), ED25519, &seed(text(&key["seed"])));
    let requests: Vec<_> = list(&case["steps"]).iter().map(|step| bytes(&step["req"])).collect();
    let [prevote, precommit, other_prevote, _] = &requests[..] else { panic!("four steps") };
    for request in [prevote, precommit] {
        assert!(signer.ask(1, &payload_of(request, 1)).is_signed());
    }
    for (client, connection) in [(2, 1), (1, 2), (2, 2), (1, 0)] {
        let answer = signer.ask(client, &payload_of(other_prevote, connection));
        let locked = OwnRefusal::of(answer.refusal());
        assert!(matches!(locked, Some(OwnRefusal::Locked { .. })), "{answer:?}");
    }
    assert!(
        signer.ask(1, &payload_of(other_prevote, 1)).is_signed(),
        "it has locked, and knows what frees it"
    );
}
