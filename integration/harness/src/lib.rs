//! What the programs share that drive real signers from outside (`integration/chaos`, `integration/torture`): command
//! lines, processes that end when the program does ([`CommandLine`], [`Process`]), and what this machine has
//! ([`host`]). Nothing here knows a signer.

pub mod host;
mod process;

pub use process::{CommandLine, Process, Signal, run};
