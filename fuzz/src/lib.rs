//! Every decoder that peers, clients, operators or files can reach, the ledger and the driver, each as one function
//! over any bytes.
//!
//! A function panics if a rule is broken and otherwise says whether the bytes were accepted. Three things drive the
//! same functions: `tests/bounded.rs` (stable, with `make test`), the libFuzzer targets in `libfuzzer/` (`make fuzz`),
//! and the committed corpus, which [`seeds`] makes.
//!
//! Records are given without their checksum, which is added here, so that random bytes get past it.

mod client;
mod comet;
mod driver;
mod file;
mod ledger;
mod peer;
pub mod seeds;
mod world;

pub use client::{change, payload, rpc};
pub use comet::{comet, privval};
pub use driver::driver;
pub use file::{backup, config, disk, envelope, interchange, keystore};
pub use ledger::ledger;
pub use peer::{command, entry, frame, raft, snapshot};

/// A target: whether it accepts the bytes.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("payload", payload),
    ("comet", comet),
    ("privval", privval),
    ("rpc", rpc),
    ("change", change),
    ("frame", frame),
    ("raft", raft),
    ("entry", entry),
    ("command", command),
    ("snapshot", snapshot),
    ("disk", disk),
    ("keystore", keystore),
    ("envelope", envelope),
    ("config", config),
    ("interchange", interchange),
    ("backup", backup),
    ("ledger", ledger),
    ("driver", driver),
];

/// The record whose version and body these bytes are.
fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let (version, body) = bytes.split_first()?;
    Some(signonce_core::seal_record(*version, body))
}
