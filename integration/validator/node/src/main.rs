//! A validator of the test chain: BABE, GRANDPA, BEEFY, authority discovery and im-online, with its session keys in a
//! signer cluster (`--remote-signer`) or, to compare, on the node.
//!
//! `signonce-validator build-chain --validators FILE.json` prints the chain of given session keys,
//! `signonce-validator --chain CHAIN.json --validator ...` runs a validator of it. See the README beside it.

mod chain;
mod cli;
mod judge;
mod payload;
mod rpc;
mod service;
mod signer;
mod voter;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}
