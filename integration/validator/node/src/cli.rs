//! The command line: what the SDK's node commands take, and where the session keys are.

use crate::{
    chain::{self, ChainSpec},
    service,
    signer::KeySource,
};
use clap::Parser;
use polkadot_sdk::*;
use sc_cli::SubstrateCli;
use std::{io::Write as _, path::PathBuf};

/// A validator of Signonce's test chain.
#[derive(Debug, Parser)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: sc_cli::RunCmd,
    #[command(flatten)]
    keys: KeySource,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints the chain of the given validators as a raw chain specification.
    BuildChain(BuildChain),
    /// Prints the specification of a chain.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),
}

#[derive(Debug, clap::Args)]
struct BuildChain {
    /// JSON: an array of objects with the public session keys of a validator each, as 0x-hex: `babe`, `grandpa`,
    /// `beefy`, `authorityDiscovery`, `imOnline`. And `account`, if it is not to be a well-known one (Alice and so
    /// on, in their order).
    #[arg(long, value_name = "FILE")]
    validators: PathBuf,
}

/// Does what the command line says.
pub fn run() -> sc_cli::Result<()> {
    let cli = Cli::from_args();
    match cli.command {
        Some(Command::BuildChain(command)) => {
            let json = chain::build(&command.validators)?;
            std::io::stdout().write_all(json.as_bytes())?;
            Ok(())
        }
        Some(Command::ExportChainSpec(ref command)) => command.run(cli.load_spec(&command.chain)?),
        None => {
            let keys = cli.keys.clone();
            cli.create_runner(&cli.run)?
                .run_node_until_exit(|config| async move { service::start(config, keys) })
                .map_err(Into::into)
        }
    }
}

impl SubstrateCli for Cli {
    fn impl_name() -> String {
        "Signonce test validator".into()
    }

    fn impl_version() -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    fn description() -> String {
        env!("CARGO_PKG_DESCRIPTION").into()
    }

    fn author() -> String {
        "Signonce".into()
    }

    fn support_url() -> String {
        "see the README".into()
    }

    fn copyright_start_year() -> i32 {
        2026
    }

    fn load_spec(&self, id: &str) -> Result<Box<dyn sc_service::ChainSpec>, String> {
        let spec: ChainSpec = chain::load(id)?;
        Ok(Box::new(spec))
    }
}
