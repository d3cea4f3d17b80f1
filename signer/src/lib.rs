//! The `signonce` program: a command line (`signonce_cli`) with a signer (`signonce_serve`) behind `start`, for the
//! chain families that it is given.
//!
//! A program that knows other families than the shipped one is one call of [`main`].
#![deny(missing_docs)]
#![forbid(unsafe_code)]

use signonce_cli::Program;
use signonce_protocol::Family;
use std::process::ExitCode;

/// Parses the arguments of the process and runs the command they name, on chains of these families.
pub fn main(families: &'static [&'static Family]) -> ExitCode {
    signonce_cli::main(Program {
        families,
        serve: |config, warnings| Box::pin(async move { Ok(signonce_serve::run(config, &warnings).await?) }),
        prepare: |log| {
            signonce_serve::process::log_to_stderr(log)?;
            signonce_serve::process::abort_on_panic();
            Ok(())
        },
        last_words: signonce_serve::process::say_failed,
    })
}
