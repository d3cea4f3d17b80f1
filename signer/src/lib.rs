//! The parts of the `signonce` binary.
//!
//! A reader follows one sign request from [`rpc`] through [`sign`] (and from there into `signonce_protocol`,
//! `signonce_cluster` and `signonce_keys`) and back. [`server`] puts the process together, [`admin`] is the operators'
//! surface, [`config`] what a node is told, [`keyring_sync`] what opens its keys, [`readiness`] and [`clock`] whether
//! it serves, [`limits`] how much of it a client may use, [`metrics`] and [`activity`] what it measures, [`output`] where
//! its log lines go, [`overview`] what members tell each other of themselves, [`upkeep`] what the leader does by itself.
//! [`cli`] is the command line,
//! [`certs`] and [`enroll`] what it does for operators, [`hint`] what an operator types after an error, [`dev`] a whole cluster on one machine, [`kube`] what a signer
//! needs in a pod, [`families`] the kinds of chain it knows, [`caller`] who asks.
#![deny(missing_docs)]
#![forbid(unsafe_code)]
// `println!` and `eprintln!` panic where nobody reads; commands write with what `cli::common` has.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod activity;
pub mod admin;
pub mod audit;
pub mod backup;
pub mod caller;
pub mod certs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
pub mod enroll;
pub mod families;
pub mod hint;
pub mod interchange;
pub mod keyring_sync;
pub mod kube;
pub mod limits;
pub mod metrics;
pub mod node_signature;
pub mod output;
pub mod overview;
pub mod post;
pub mod readiness;
pub mod rpc;
pub mod server;
pub mod sign;
pub mod telemetry;
pub mod upkeep;
