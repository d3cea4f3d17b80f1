//! The command line of the `signonce` program.
//!
//! [`commands`] has a file for each command; [`dev`] is a whole cluster on one machine, for `signonce dev`, `demo`,
//! `bench` and tests; [`kube`] is for a signer in a pod.
#![deny(missing_docs)]
#![forbid(unsafe_code)]
// `println!` and `eprintln!` panic where nobody reads, so commands use the functions in `commands::common`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod commands;
pub mod dev;
pub mod kube;

pub use commands::{Program, main};
