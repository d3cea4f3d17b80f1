//! A bounded run of every target, on stable: the corpus, the corpus changed here and there, and any bytes.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use signonce_fuzz::{TARGETS, Target, seeds};
use std::path::PathBuf;

/// Inputs per target. `make fuzz` runs longer.
const CASES: u32 = 400;

/// The committed inputs of a target.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let directory = PathBuf::from(here).join("corpus").join(target);
    let files = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("the corpus can be listed").path();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("the corpus can be read"))
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    inputs
}

/// An input of the corpus, with some bytes replaced, a part left out or doubled, another input's end.
fn changed(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..6u8);
    let pick = prop::sample::select(inputs);
    (pick.clone(), pick, prop::collection::vec(change, 1..6)).prop_map(|(mut bytes, other, changes)| {
        for (from, to, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let (a, b) = (from.index(bytes.len()), to.index(bytes.len()));
            let (a, b) = (a.min(b), a.max(b));
            match how {
                0 => bytes[a] = byte,
                1 => bytes[a] ^= 1 << (byte % 8),
                2 => drop(bytes.drain(a..b.min(a + 16))),
                3 => bytes.insert(a, byte),
                4 => bytes.extend_from_within(a..b.min(a + 64)),
                _ => {
                    bytes.truncate(a);
                    bytes.extend_from_slice(&other[a.min(other.len())..]);
                }
            }
        }
        bytes
    })
}

fn run(name: &str, target: Target) {
    let inputs: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
    let any_bytes = prop::collection::vec(any::<u8>(), 0..600);
    let input = prop_oneof![3 => changed(inputs), 1 => any_bytes];
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let done = TestRunner::new(config).run(&input, |bytes| {
        target(&bytes);
        Ok(())
    });
    done.unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

#[test]
fn every_input_of_the_corpus_is_accepted() {
    for (name, target) in TARGETS {
        for (file, bytes) in corpus(name) {
            assert!(target(&bytes), "corpus/{name}/{file} is not accepted: is it of an older format?");
        }
    }
}

#[test]
fn the_corpus_is_what_our_encoders_make() {
    // Sealing is random.
    for (name, _) in TARGETS.iter().filter(|(name, _)| *name != "envelope") {
        let committed: Vec<String> = corpus(name).into_iter().map(|(file, _)| file).collect();
        let made = seeds::of(name);
        let missing: Vec<&String> = made.keys().filter(|file| !committed.contains(file)).collect();
        assert!(missing.is_empty(), "corpus/{name} lacks {missing:?}: run signonce-fuzz");
    }
}

#[test]
fn bytes_that_clients_send_break_nothing() {
    TARGETS
        .iter()
        .filter(|(name, _)| ["payload", "rpc", "change"].contains(name))
        .for_each(|(n, t)| run(n, *t));
}

#[test]
fn bytes_that_peers_send_break_nothing() {
    let peers = ["frame", "raft", "entry", "command", "snapshot"];
    TARGETS.iter().filter(|(name, _)| peers.contains(name)).for_each(|(n, t)| run(n, *t));
}

#[test]
fn bytes_in_files_break_nothing() {
    let files = ["disk", "keystore", "envelope", "config", "interchange", "backup"];
    TARGETS.iter().filter(|(name, _)| files.contains(name)).for_each(|(n, t)| run(n, *t));
}

#[test]
fn whatever_befalls_drivers_in_whatever_order_no_duty_gets_two_payloads_and_they_serve_again() {
    TARGETS.iter().filter(|(name, _)| *name == "driver").for_each(|(n, t)| run(n, *t));
}

#[test]
fn whatever_is_asked_in_whatever_order_no_duty_gets_two_payloads() {
    TARGETS.iter().filter(|(name, _)| *name == "ledger").for_each(|(n, t)| run(n, *t));
}
