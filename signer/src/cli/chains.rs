//! `signonce chains`: the chains that keys sign for.

use super::common::{Confirm, Done, Reach, table};
use clap::{Subcommand, ValueEnum};
use signonce_core::{Chain, Change, Limits};
use signonce_protocol::{AuraMode, ChainFormat, GenesisHash, NumberWidth};
use std::process::ExitCode;

/// The chains that keys sign for.
///
/// A key belongs to one chain for ever.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Add(Add),
    List(List),
}

/// Adds a chain. All but its limits is fixed from then on.
#[derive(clap::Args, Debug)]
struct Add {
    /// The chain's name, as clients and commands call it.
    name: String,
    /// The hash of block 0, in 0x-hex: `chain_getBlockHash` with 0 on a node of the chain.
    #[arg(long, value_name = "0xHEX")]
    genesis: GenesisHash,
    /// Milliseconds of a slot: 6000 on Polkadot and Kusama.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    slot_duration: u64,
    /// How wide block numbers are.
    #[arg(long, value_enum, default_value_t = Width::U32)]
    numbers: Width,
    /// What makes an AURA block unique: its slot (solochains), or slot, number and parent (collators).
    #[arg(long, value_enum, default_value_t = Aura::Slot)]
    aura: Aura,
    /// Blocks a BEEFY vote may be above the highest GRANDPA precommit of the same validator; `off` for no such rule.
    #[arg(long, value_name = "BLOCKS|off", default_value = "16", value_parser = shield)]
    beefy_shield: Shield,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Lists the chains.
#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Width {
    /// 32 bits: Polkadot, Kusama and nearly every chain.
    U32,
    /// 64 bits: some solochains.
    U64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Aura {
    /// One block per slot.
    Slot,
    /// One block per slot, number and parent.
    Collator,
}

/// The BEEFY shield's slack; none is off.
#[derive(Clone, Copy, Debug)]
struct Shield(Option<u64>);

fn shield(text: &str) -> Result<Shield, String> {
    match text {
        "off" => Ok(Shield(None)),
        number => number.parse().map(|n| Shield(Some(n))).map_err(|_| "a number of blocks, or off".into()),
    }
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Add(args) => add(args).await?,
        Command::List(List { reach }) => {
            let chains = reach.client()?.chains().await?;
            reach.output.print(&chains, describe(&chains))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: Add) -> anyhow::Result<()> {
    let number_width = match args.numbers {
        Width::U32 => NumberWidth::U32,
        Width::U64 => NumberWidth::U64,
    };
    let aura_mode = match args.aura {
        Aura::Slot => AuraMode::Slot,
        Aura::Collator => AuraMode::Collator,
    };
    let chain = Chain {
        genesis: args.genesis,
        name: args.name,
        format: ChainFormat { number_width, aura_mode },
        slot_duration_ms: args.slot_duration,
        limits: Limits { beefy_shield: args.beefy_shield.0, ..Limits::default() },
    };
    let admin = args.reach.client()?;
    args.confirm.ask(format!("Will add this chain:\n{}", describe(std::slice::from_ref(&chain))))?;
    let done = admin.change(&Change::AddChain(chain.clone())).await?;
    args.reach.output.done(&done, format!("Added chain {} (log entry {}).", chain.name, done.at))
}

fn describe(chains: &[Chain]) -> String {
    let rows = chains.iter().map(|chain| {
        [
            chain.name.clone(),
            chain.genesis.to_string(),
            format!("{} ms", chain.slot_duration_ms),
            format!("{:?}", chain.format.number_width).to_lowercase(),
            format!("{:?}", chain.format.aura_mode).to_lowercase(),
            chain.limits.beefy_shield.map_or_else(|| "off".to_owned(), |slack| slack.to_string()),
        ]
    });
    table(["NAME", "GENESIS", "SLOT", "NUMBERS", "AURA", "BEEFY SHIELD"], rows)
}
