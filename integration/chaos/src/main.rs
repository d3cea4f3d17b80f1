//! `signonce-chaos`: real signers as processes, clients that contend for every duty, faults of every kind, and one
//! checker for every answer that any client ever got.
//!
//! `run` runs scenarios and exits with 1 if any failed; `failover` measures how long validators wait when the leader is
//! lost; `list` shows the scenarios. It needs only the released program; what a scenario needs besides (root, a tool)
//! is named where it is missing, and the scenario is then skipped, never passed.

mod checker;
mod cluster;
mod failover;
mod host;
mod net;
mod payload;
mod process;
mod report;
mod scenario;
mod storm;
mod verify;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand, ValueEnum};
use scenario::{Outcome, Scenario, Settings, Verdict};
use std::{path::PathBuf, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// What a scenario takes besides the faults: setup, asking again, shutdown.
const OVERHEAD: Duration = Duration::from_secs(14);
/// The least time for faults.
const FAULTS_LEAST: Duration = Duration::from_secs(10);

/// Kills, freezes, cuts off and lies to real signers, and judges every answer they give.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs scenarios; exits with 1 if any of them failed.
    Run(Run),
    /// Measures how long validators wait when the leader is lost.
    Failover(Failover),
    /// Shows the scenarios, and what each lacks here.
    List,
}

#[derive(clap::Args)]
struct Program {
    /// The program under test. By default `signonce` beside this program, or what the target directory of the
    /// repository holds.
    #[arg(long, env = "SIGNONCE_BINARY", value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    program: Program,
    /// Run only this scenario. Repeatable; all of them by default.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// The total time in minutes, shared by the scenarios.
    #[arg(long, default_value_t = 9.0)]
    minutes: f64,
    /// The seed of everything random. By default a new one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The last release's program, for `upgrade`.
    #[arg(long, env = "SIGNONCE_PREVIOUS", value_name = "PATH")]
    previous: Option<PathBuf>,
    /// The number of signers, instead of the scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: Option<u64>,
    /// What carries bytes between the nodes, instead of the best available.
    #[arg(long)]
    network: Option<NetworkArg>,
    /// The mean pause of each key between two duties, in milliseconds.
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pace: u64,
    /// Print only one JSON document on standard output.
    #[arg(long)]
    json: bool,
    /// Report events as they happen.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum NetworkArg {
    /// Proxies on loopback.
    Proxies,
    /// A packet switch between network namespaces.
    Packets,
}

#[derive(clap::Args)]
struct Failover {
    #[command(flatten)]
    program: Program,
    /// How the leader is lost. Repeatable; every way by default.
    #[arg(long)]
    by: Vec<failover::Loss>,
    /// The number of trials of each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// The number of signers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// Print only one JSON document on standard output.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    signonce_substrate::install();
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(until_told(command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command, or drops it in order when a signal comes: dropping a cluster ends its processes.
async fn until_told(command: Command) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = perform(command) => done,
        _ = terminate.recv() => bail!("stopped by SIGTERM"),
        _ = interrupt.recv() => bail!("stopped by SIGINT"),
    }
}

/// Runs a command; returns whether all went well.
async fn perform(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Run(run) => run_scenarios(run).await,
        Command::Failover(failover) => measure_failover(failover).await,
        Command::List => {
            for scenario in scenario::ALL {
                let Scenario { name, about, nodes, .. } = scenario;
                let lacking = scenario.lacking(None, None).map(|why| format!(" (not here: {why})"));
                println!("{name:<15} {nodes} nodes: {about}{}", lacking.unwrap_or_default());
            }
            Ok(true)
        }
    }
}

async fn run_scenarios(run: Run) -> anyhow::Result<bool> {
    let chosen = chosen(&run.scenario)?;
    let seed = run.seed.unwrap_or_else(rand::random);
    // A copy, as the program may be rebuilt in the meantime.
    let shelf = tempfile::Builder::new().prefix("signonce-chaos-").tempdir()?;
    let binary = shelf.path().join("signonce");
    let original = program(run.program)?;
    std::fs::copy(&original, &binary).with_context(|| format!("cannot copy {}", original.display()))?;
    let mut settings = Settings {
        binary,
        previous: run.previous,
        seed,
        faults_for: FAULTS_LEAST,
        pace: Duration::from_millis(run.pace),
        nodes: run.nodes,
        network: run.network.map(|network| match network {
            NetworkArg::Proxies => cluster::Network::Proxies,
            NetworkArg::Packets => cluster::Network::Packets,
        }),
        verbose: run.verbose,
    };
    let possible = chosen.iter().filter(|scenario| settings.lacking(scenario).is_none()).count();
    let each = Duration::try_from_secs_f64(run.minutes * 60.0 / possible.max(1) as f64)?;
    settings.faults_for = each.saturating_sub(OVERHEAD).max(FAULTS_LEAST);
    eprintln!("seed {seed}; {} on {}", original.display(), host::describe());
    if !run.json {
        println!("{}", report::head());
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for scenario in chosen {
        let outcome = scenario.run(&settings).await;
        if run.json {
            eprintln!("{}", report::row(&outcome));
        } else {
            println!("{}", report::row(&outcome));
        }
        outcomes.push(outcome);
    }
    if run.json {
        let report = serde_json::json!({
            "seed": seed,
            "machine": host::describe(),
            "minutes": run.minutes,
            "scenarios": outcomes,
        });
        println!("{report:#}");
    } else {
        println!("{}", report::sum(&outcomes));
    }
    Ok(outcomes.iter().all(|outcome| outcome.verdict != Verdict::Failed))
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(scenario::ALL.iter().collect());
    }
    let find = |name: &String| {
        let known = || scenario::ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
        let found = scenario::ALL.iter().find(|scenario| scenario.name == name);
        found.with_context(|| format!("there is no scenario {name:?}; one of {}", known()))
    };
    names.iter().map(find).collect()
}

async fn measure_failover(failover: Failover) -> anyhow::Result<bool> {
    let binary = program(failover.program)?;
    let by = if failover.by.is_empty() { failover::Loss::ALL.to_vec() } else { failover.by };
    eprintln!("{} on {}", binary.display(), host::describe());
    let mut rows = Vec::new();
    for loss in by {
        rows.push(failover::measure(binary.clone(), loss, failover.trials.into(), failover.nodes).await?);
        eprint!("{}", failover::table(&rows[rows.len() - 1..]));
    }
    if failover.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", failover::table(&rows));
    }
    Ok(rows.iter().all(|row| row.violations.is_empty()))
}

/// The program under test.
fn program(Program { binary }: Program) -> anyhow::Result<PathBuf> {
    if let Some(binary) = binary {
        return binary.canonicalize().with_context(|| format!("there is no program {}", binary.display()));
    }
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    let beside = std::env::current_exe()?.with_file_name("signonce");
    // With one target directory for all workspaces, this program's is `target/judges` and the product's `target`.
    let above = std::env::current_exe()?.ancestors().nth(3).map(|target| target.join("release/signonce"));
    let places = [Some(beside), Some(target.join("release/signonce")), above];
    let found = places.into_iter().flatten().find(|path| path.is_file());
    found.context("there is no signonce program; build it with `cargo build --release`, or say --binary PATH")
}
