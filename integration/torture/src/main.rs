//! `signonce-torture`: does to remote signers what crashes, power cuts, backups and copies do to them, asks for
//! payloads that contradict each other, and shows any two signatures that should not both exist.
//!
//! `run` runs the cases on every signer that is available here; `list` shows the cases. What cannot be tried is skipped
//! with the reason, and never counts as held.

mod case;
mod files;
mod judge;
mod power;
mod process;
mod report;
mod signer;
mod trial;

use anyhow::{Context as _, bail};
use case::{Case, Outcome, Verdict};
use clap::{Parser, Subcommand, ValueEnum};
use signer::{Kind, signonce::Signonce, tmkms::Tmkms};
use signonce_harness::host;
use std::{path::PathBuf, process::ExitCode};

/// Asks remote signers for contradictions while their memory is raced, killed, lost, old, cut short or copied.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs cases. Exits with 1 if one was undecided, or with --strict if a signer broke.
    Run(Run),
    /// Shows the cases.
    List,
}

#[derive(clap::Args)]
struct Run {
    /// Test only this signer. Repeatable; all of them by default.
    #[arg(long, value_name = "NAME")]
    signer: Vec<Name>,
    /// Run only this case. Repeatable; all of them by default.
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// The signonce program. By default the one in the target directory of the repository.
    #[arg(long, env = "SIGNONCE_BINARY", value_name = "PATH")]
    signonce: Option<PathBuf>,
    /// The tmkms program, built with softsign. By default the one that `make torture` has installed, or one in the
    /// PATH.
    #[arg(long, env = "TMKMS_BINARY", value_name = "PATH")]
    tmkms: Option<PathBuf>,
    /// How often a case repeats what it does.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    times: u64,
    /// The seed of everything random. By default a new one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Exit with 1 if a signer broke in any case.
    #[arg(long)]
    strict: bool,
    /// Print only one JSON document on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// This repository's, as a cluster of three.
    Signonce,
    /// iqlusion's signer for CometBFT, with a key in a file.
    Tmkms,
}

fn main() -> ExitCode {
    signonce_substrate::install();
    let done = match Cli::parse().command {
        Command::Run(run) => perform(run),
        Command::List => {
            case::ALL.iter().for_each(|case| println!("{:<18} {}", case.name, case.about));
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(run: Run) -> anyhow::Result<bool> {
    let cases = chosen(&run.case)?;
    let seed = run.seed.unwrap_or_else(rand::random);
    let mut signers: Vec<Box<dyn Kind>> = Vec::new();
    let mut lacking = Vec::new();
    for name in [Name::Signonce, Name::Tmkms] {
        if !run.signer.is_empty() && !run.signer.contains(&name) {
            continue;
        }
        match find(name, &run) {
            Ok(kind) => signers.push(kind),
            Err(why) => lacking.push(format!("{}: skipped: {why:#}", word(name))),
        }
    }
    lacking.iter().for_each(|why| eprintln!("{why}"));
    if signers.is_empty() {
        bail!("there is no signer to try");
    }
    eprintln!("seed {seed}, {} times, on {}", run.times, host::describe());
    signers.iter().for_each(|kind| eprintln!("{}: {}", kind.name(), kind.version()));
    let mut outcomes: Vec<Outcome> = Vec::new();
    for case in cases {
        for kind in &signers {
            let outcome = case.run(kind.as_ref(), seed, run.times);
            eprintln!("{}", report::line(&outcome));
            outcomes.push(outcome);
        }
    }
    let names: Vec<&str> = signers.iter().map(|kind| kind.name()).collect();
    if run.json {
        let versions = signers.iter().map(|kind| (kind.name(), kind.version()));
        let report = serde_json::json!({
            "seed": seed,
            "times": run.times,
            "machine": host::describe(),
            "signers": versions.collect::<std::collections::BTreeMap<_, _>>(),
            "lacking": lacking,
            "outcomes": outcomes,
        });
        println!("{report:#}");
    } else {
        println!("{}", report::table(&outcomes, &names));
        lacking.iter().for_each(|why| println!("{why}"));
    }
    let any = |verdict| outcomes.iter().any(|outcome| outcome.verdict == verdict);
    Ok(!(any(Verdict::Undecided) || run.strict && any(Verdict::Broke)))
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    let find = |name: &String| {
        let known = || case::ALL.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
        let found = case::ALL.iter().find(|case| case.name == name);
        found.with_context(|| format!("there is no case {name:?}; one of {}", known()))
    };
    if names.is_empty() { Ok(case::ALL.iter().collect()) } else { names.iter().map(find).collect() }
}

fn word(name: Name) -> &'static str {
    match name {
        Name::Signonce => "signonce",
        Name::Tmkms => "tmkms",
    }
}

fn find(name: Name, run: &Run) -> anyhow::Result<Box<dyn Kind>> {
    // With one target directory for all workspaces, this program's is `target/judges` and the product's `target`.
    let target = std::env::current_exe()?.ancestors().nth(3).map(PathBuf::from).unwrap_or_default();
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|place| place.join(program)).collect::<Vec<_>>()
    };
    let first = |given: &Option<PathBuf>, places: Vec<PathBuf>| match given {
        Some(path) => path.canonicalize().with_context(|| format!("there is no program {}", path.display())),
        None => {
            let found = places.into_iter().find(|path| path.is_file());
            found.with_context(|| format!("there is no {0} program; build it, or say --{0} PATH", word(name)))
        }
    };
    Ok(match name {
        Name::Signonce => {
            let places = vec![target.join("release/signonce"), repository.join("target/release/signonce")];
            Box::new(Signonce::new(&first(&run.signonce, places)?)?)
        }
        Name::Tmkms => {
            let places = [vec![target.join("tmkms/bin/tmkms")], on_path("tmkms")].concat();
            Box::new(Tmkms::new(first(&run.tmkms, places)?)?)
        }
    })
}
