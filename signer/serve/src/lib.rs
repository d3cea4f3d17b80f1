//! The running signer: what `signonce start` does.
//!
//! [`run`] puts the process together and takes it apart. A reader follows one sign request from [`rpc`] through
//! [`sign`] (and from there into `signonce_protocol`, `signonce_cluster` and `signonce_keys`) and back. [`admin`]
//! answers operators; [`keyring_sync`] opens the keys; [`readiness`] and [`clock`] decide whether the node serves;
//! [`limits`] bounds what each client may use; [`metrics`], [`activity`] and [`telemetry`] measure; [`output`] writes
//! the log lines; in [`overview`] members report to each other; [`audit`] records what the log does not; [`backup`]
//! makes backups; [`upkeep`] does the leader's routine work; [`undecided`] explains why a request has no outcome.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod activity;
pub mod admin;
pub mod audit;
pub mod backup;
pub mod clock;
pub mod keyring_sync;
mod libraries;
pub mod limits;
mod methods;
pub mod metrics;
mod node;
pub mod output;
pub mod overview;
mod parts;
pub mod probes;
pub mod process;
pub mod readiness;
pub mod rpc;
pub mod sign;
mod sockets;
mod supervisor;
pub mod telemetry;
mod toll;
pub mod undecided;
pub mod upkeep;

pub use node::{RunError, run};
