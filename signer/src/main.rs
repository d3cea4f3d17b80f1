//! The command line: parses and dispatches, nothing else.

use clap::{Parser, Subcommand};
use signonce::config::{Config, DEFAULT_PATH};
use std::{path::PathBuf, process::ExitCode};

/// Signs every validator duty once.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a signer until it is told to stop.
    Start {
        /// The configuration.
        #[arg(long, env = "SIGNONCE_CONFIG", default_value = DEFAULT_PATH)]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::Start { config } = Arguments::parse().command;
    match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signonce: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &std::path::Path) -> anyhow::Result<()> {
    let loaded = Config::load(Some(config), environment(), &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(signonce::server::run(loaded.config, &loaded.warnings))?)
}

/// The variables that are text; others are none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
