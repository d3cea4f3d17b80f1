//! Real validators and real signers under fire.
//!
//! Each subcommand starts a chain and a signer cluster on loopback, does something to them, and judges by what the
//! chain, its equivocation detector and the signers say. Exit codes: 0 everything held, 1 something did not (or the
//! scenario could not run), 2 wrong usage. Whatever happens, no process outlives the scenario; the logs of a failed
//! one are kept and named.

mod chain;
mod cluster;
mod http;
mod keys;
mod logs;
mod metrics;
mod middleman;
mod node;
mod ports;
mod process;
mod report;
mod rpc;
mod scenario;
mod stage;
mod standin;
mod watch;

use clap::Parser;
use report::Report;
use scenario::Scenario;
use stage::{Places, Stage};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Real validators and real signers under fire.
#[derive(Parser, Debug)]
#[command(name = "signonce-scenarios", version)]
struct Cli {
    #[command(flatten)]
    places: Places,
    /// Print a summary in JSON on standard output, and nothing else there.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    scenario: Scenario,
}

// Processes are started from the thread that runs `main`: they end when it does.
#[tokio::main]
async fn main() -> ExitCode {
    signonce_substrate::install();
    let cli = Cli::parse();
    let name = cli.scenario.name();
    let stage = match Stage::open(&cli.places, name) {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = tokio::select! {
        outcome = bounded(&cli.scenario, &stage) => outcome,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    // All processes have ended here: they belonged to the future.
    let mut report = match outcome {
        Ok(report) => report,
        Err(error) => Report::failed(&format!("{error:#}")),
    };
    report.finish(name, stage.elapsed());
    let kept = stage.close(report.ok());
    match cli.json {
        true => println!("{}", report.json(kept.as_deref())),
        false => print!("{}", report.text(kept.as_deref())),
    }
    if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scenario, but no longer than it may take.
async fn bounded(scenario: &Scenario, stage: &Stage) -> anyhow::Result<Report> {
    let most = scenario.time_at_most();
    match tokio::time::timeout(most, scenario.run(stage)).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("it was not done after {} s", most.as_secs()),
    }
}

/// Ends when someone wants us to: an interrupt must not leave processes behind.
async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}
