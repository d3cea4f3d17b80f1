//! `signonce chains`: the chains that keys sign for.

mod retime;

use super::{
    common::{Confirm, Done, Reach, Usage, table},
    keys::find_chain,
};
use clap::{Subcommand, ValueEnum};
use serde_json::Value;
use signonce_core::{Change, Retiming};
use signonce_protocol::{Chain, ChainId, Family, Settings, family::family};
use signonce_shared::{admin::api::ChainRow, audit::words::time};
use signonce_substrate::{AuraMode, ChainFormat, ChainSettings, Limits, NumberWidth};
use std::process::ExitCode;

/// How many GRANDPA rounds of one set a key of a new chain may have been away. A chain with few validators stays in one
/// set for years, with a round every few seconds: this is most of a year at two seconds each. A vote in a round that
/// far ahead costs one place in the key's window and prevents no honest vote before it.
const GRANDPA_ROUNDS: u64 = 10_000_000;

/// The chains that keys sign for.
///
/// A key belongs to one chain permanently.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Add(Add),
    List(List),
    Limits(SetLimits),
    Retime(retime::Args),
}

/// Adds a chain.
///
/// Genesis, widths and AURA mode cannot be changed later; `chains limits` and `chains retime` change the rest.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce chains add polkadot --genesis 0x91b1… --slot-duration 6000\n  \
    signonce chains add cosmoshub-4 --family cometbft")]
struct Add {
    /// The chain's name in commands and for clients.
    name: String,
    /// The hash of block 0, in 0x-hex: `chain_getBlockHash` with 0 on a node of the chain. CometBFT chains need none:
    /// they are told apart by their chain-id, and a hash of that stands for it.
    #[arg(long, value_name = "0xHEX")]
    genesis: Option<ChainId>,
    /// The kind of chain.
    #[arg(long, default_value = "substrate")]
    family: String,
    /// The family's settings of the chain, in JSON, instead of the options below: `{"slotDurationMs":6000}`. A CometBFT
    /// chain needs them if its name here is not its chain-id: `{"chainId":"cosmoshub-4"}`.
    #[arg(long, value_name = "JSON", conflicts_with = "slot_duration")]
    settings: Option<String>,
    /// The length of a slot in milliseconds: 6000 on Polkadot and Kusama.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    slot_duration: Option<u64>,
    /// The width of block numbers.
    #[arg(long, value_enum, default_value_t = Width::U32)]
    numbers: Width,
    /// What makes an AURA block unique: its slot (solochains), or slot, number and parent (collators).
    #[arg(long, value_enum, default_value_t = Aura::Slot)]
    aura: Aura,
    /// How many blocks a BEEFY vote may be above the highest GRANDPA precommit of the same validator, or `off` for no
    /// limit.
    #[arg(long, value_name = "BLOCKS|off", default_value = "16", value_parser = shield)]
    beefy_shield: Shield,
    /// How many GRANDPA rounds of one set a key may have been away and still vote.
    #[arg(long, value_name = "ROUNDS", default_value_t = GRANDPA_ROUNDS)]
    grandpa_rounds: u64,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Sets how far past its last vote a key may vote.
///
/// Votes further ahead are refused (`jumpTooFar`) until the key's watermark is raised, which keeps a broken node from
/// voting in a bogus future. Limits that are not given stay as they are.
#[derive(clap::Args, Debug)]
struct SetLimits {
    /// The chain, by name or genesis hash.
    chain: String,
    /// The family's settings of the chain, all of them, in JSON. For chains of families other than Substrate.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["grandpa_rounds", "grandpa_sets", "beefy_blocks", "beefy_sets", "para_sessions", "beefy_shield"])]
    settings: Option<String>,
    /// GRANDPA rounds within one set.
    #[arg(long, value_name = "ROUNDS")]
    grandpa_rounds: Option<u64>,
    /// GRANDPA sets.
    #[arg(long, value_name = "SETS")]
    grandpa_sets: Option<u64>,
    /// BEEFY blocks.
    #[arg(long, value_name = "BLOCKS")]
    beefy_blocks: Option<u64>,
    /// BEEFY sets.
    #[arg(long, value_name = "SETS")]
    beefy_sets: Option<u64>,
    /// Parachain sessions.
    #[arg(long, value_name = "SESSIONS")]
    para_sessions: Option<u32>,
    /// How many blocks a BEEFY vote may be above the highest GRANDPA precommit of the same validator, or `off` for no
    /// limit.
    #[arg(long, value_name = "BLOCKS|off", value_parser = shield)]
    beefy_shield: Option<Shield>,
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

/// The slack of the BEEFY shield; `None` turns it off.
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
        Command::Limits(args) => set_limits(args).await?,
        Command::Retime(args) => retime::run(args).await?,
        Command::List(List { reach }) => {
            let chains = reach.client()?.chains().await?;
            reach.output.print(&chains, describe(&chains))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: Add) -> anyhow::Result<()> {
    let chain = new_chain(&args)?;
    let admin = args.reach.client()?;
    args.confirm.ask(format!("Will add this chain:\n{}", describe(&[chain.clone().into()])))?;
    let done = admin.change(&Change::AddChain(chain.clone())).await?;
    args.reach.output.done(&done, format!("Added chain {} (log entry {}).", chain.name, done.at))
}

/// The chain that the options describe.
fn new_chain(args: &Add) -> Result<Chain, Usage> {
    let family = family(&args.family).map_err(Usage)?;
    let settings = new_settings(args, family)?;
    let genesis = identify(args.genesis, family, &settings)?;
    Ok(Chain { genesis, name: args.name.clone(), family, settings })
}

fn new_settings(args: &Add, family: &Family) -> Result<Settings, Usage> {
    match (&args.settings, args.slot_duration) {
        (Some(json), _) => read_settings(family, json),
        (None, Some(slot_duration)) if *family == signonce_substrate::FAMILY => {
            Ok(substrate(args, slot_duration).encode())
        }
        (None, Some(_)) => Err(Usage(format!(
            "--slot-duration is of Substrate chains, not of {family} chains: leave it out"
        ))),
        (None, None) => {
            let usual = family.settings.of_name(&args.name).map_err(|why| {
                Usage(format!("{why}; add the chain by that name, or give it with --settings"))
            })?;
            usual.ok_or_else(|| {
                Usage("say how long a slot lasts with --slot-duration, or give --settings".to_owned())
            })
        }
    }
}

/// The hash that tells the chain from all others: the given one, or that of what the chain calls itself.
fn identify(given: Option<ChainId>, family: &Family, settings: &Settings) -> Result<ChainId, Usage> {
    match (family.settings.identity(settings), given) {
        (Some((name, own)), Some(given)) if given != own => Err(Usage(format!(
            "--genesis: {family} chains are told apart by what they call themselves, and the hash of {name:?} is {own}: \
             leave --genesis out"
        ))),
        (Some((_, own)), _) => Ok(own),
        (None, Some(given)) => Ok(given),
        (None, None) => Err(Usage(format!(
            "say which chain it is with --genesis, the hash of its block 0: {family} chains are told apart by that"
        ))),
    }
}

/// Reads a family's settings from JSON.
fn read_settings(family: &Family, json: &str) -> Result<Settings, Usage> {
    let shown = serde_json::from_str(json).map_err(|why| Usage(format!("--settings: {why}")))?;
    family.settings.read(&shown).map_err(|why| Usage(format!("--settings: {why}")))
}

/// The settings of a Substrate chain from its own options.
fn substrate(args: &Add, slot_duration_ms: u64) -> ChainSettings {
    let number_width = match args.numbers {
        Width::U32 => NumberWidth::U32,
        Width::U64 => NumberWidth::U64,
    };
    let aura_mode = match args.aura {
        Aura::Slot => AuraMode::Slot,
        Aura::Collator => AuraMode::Collator,
    };
    ChainSettings {
        format: ChainFormat { number_width, aura_mode },
        slot_duration_ms,
        limits: Limits {
            beefy_shield: args.beefy_shield.0,
            grandpa_rounds: args.grandpa_rounds,
            ..Limits::default()
        },
    }
}

async fn set_limits(args: SetLimits) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    if let Some(json) = &args.settings {
        let settings = read_settings(chain.family, json)?;
        args.confirm.ask(format!("Will give chain {} these settings: {json}", chain.name))?;
        let done = admin.change(&Change::SetSettings { chain: chain.genesis, settings }).await?;
        let text = format!("Changed the settings of {} (log entry {}).", chain.name, done.at);
        return args.reach.output.done(&done, text);
    }
    let settings = ChainSettings::decode(&chain.settings).map_err(|why| Usage(why.to_string()))?;
    let old = settings.limits;
    let limits = Limits {
        grandpa_rounds: args.grandpa_rounds.unwrap_or(old.grandpa_rounds),
        grandpa_sets: args.grandpa_sets.unwrap_or(old.grandpa_sets),
        beefy_blocks: args.beefy_blocks.unwrap_or(old.beefy_blocks),
        beefy_sets: args.beefy_sets.unwrap_or(old.beefy_sets),
        para_sessions: args.para_sessions.unwrap_or(old.para_sessions),
        beefy_shield: args.beefy_shield.map_or(old.beefy_shield, |shield| shield.0),
    };
    if limits == old {
        return Err(Usage("these are its limits already: say which one is to change".into()).into());
    }
    args.confirm.ask(format!("Will change the limits of {}:\n{}", chain.name, compare(&old, &limits)))?;
    let done = admin
        .change(&Change::SetSettings {
            chain: chain.genesis,
            settings: ChainSettings { limits, ..settings }.encode(),
        })
        .await?;
    args.reach.output.done(&done, format!("Changed the limits of {} (log entry {}).", chain.name, done.at))
}

fn compare(old: &Limits, new: &Limits) -> String {
    let shield = |slack: Option<u64>| slack.map_or_else(|| "off".to_owned(), |slack| slack.to_string());
    let row = |what: &str, old: String, new: String| [what.to_owned(), old, new];
    let rows = [
        row("GRANDPA rounds", old.grandpa_rounds.to_string(), new.grandpa_rounds.to_string()),
        row("GRANDPA sets", old.grandpa_sets.to_string(), new.grandpa_sets.to_string()),
        row("BEEFY blocks", old.beefy_blocks.to_string(), new.beefy_blocks.to_string()),
        row("BEEFY sets", old.beefy_sets.to_string(), new.beefy_sets.to_string()),
        row("para sessions", old.para_sessions.to_string(), new.para_sessions.to_string()),
        row("BEEFY shield", shield(old.beefy_shield), shield(new.beefy_shield)),
    ];
    table(["LIMIT", "NOW", "THEN"], rows)
}

/// The length of a chain's slots, with its changes.
fn slots(chain: &ChainRow) -> String {
    let later = chain.retimings.iter().map(|later| {
        let Retiming { from_ms, slot_duration_ms, .. } = later;
        format!(", {slot_duration_ms} ms from {} on", time(*from_ms))
    });
    let first = chain.slot_duration_ms().map_or_else(|| "none".to_owned(), |length| format!("{length} ms"));
    format!("{first}{}", later.collect::<String>())
}

/// A chain's settings in one line: `format.numberWidth=u32, limits.beefyShield=16`.
fn settings(chain: &ChainRow) -> String {
    fn flat(prefix: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    flat(&name, value, into);
                }
            }
            Value::Null => into.push(format!("{prefix}=off")),
            Value::String(text) => into.push(format!("{prefix}={text}")),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => into.push(format!("{prefix}={value}")),
        }
    }
    let mut all = Vec::new();
    let mut shown = chain.family.settings.show(&chain.settings);
    shown.remove("slotDurationMs");
    flat("", &Value::Object(shown), &mut all);
    all.join(", ")
}

fn describe(chains: &[ChainRow]) -> String {
    let rows = chains.iter().map(|chain| {
        [
            chain.name.clone(),
            chain.genesis.to_string(),
            chain.family.name.to_owned(),
            slots(chain),
            settings(chain),
        ]
    });
    table(["NAME", "GENESIS", "FAMILY", "SLOT", "SETTINGS"], rows)
}
