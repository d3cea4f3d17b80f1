//! `signonce-sim`: runs seeds, replays one, or shows that missing guards are caught. See `--help`.

use clap::{Parser, ValueEnum};
use signonce_sim::environment::Figures;
use signonce_sim::mutation::Mutation;
use signonce_sim::run::{Report, caught, keep_panics_quiet, run, shrink};
use signonce_sim::setup::{Options, Profile};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seeds that failed once, and are always replayed.
const REGRESSIONS: &str = include_str!("../regressions.txt");

/// Simulates clusters under faults, each run from one number.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The number of seeds of each kind.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop after this many minutes, whatever is left.
    #[arg(long)]
    minutes: Option<f64>,
    /// Replay this one seed and print what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Run only these items of its schedule, by number, as printed after shrinking.
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<usize>>,
    /// The number of nodes: 3 or 5. Both by default.
    #[arg(long, value_parser = ["3", "5"])]
    nodes: Option<String>,
    /// The profile of faults. All profiles by default.
    #[arg(long)]
    profile: Option<Profile>,
    /// Take a guard away; `all` shows that the absence of each is caught.
    #[arg(long)]
    mutation: Option<String>,
    /// The number of threads.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    keep_panics_quiet();
    let sound = match (&args.mutation, args.seed) {
        (Some(all), _) if all == "all" => mutations(&args),
        (_, Some(seed)) => replay(&args, seed),
        _ => regressions() && campaign(&args),
    };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Args {
    fn mutation(&self) -> Option<Mutation> {
        let name = self.mutation.as_deref()?;
        match Mutation::from_str(name, true) {
            Ok(mutation) => Some(mutation),
            Err(unknown) => {
                eprintln!("{unknown}");
                std::process::exit(2);
            }
        }
    }

    /// Every requested combination of nodes and faults.
    fn kinds(&self) -> Vec<Options> {
        let nodes: Vec<usize> = match self.nodes.as_deref() {
            Some(n) => n.parse().into_iter().collect(),
            None => vec![3, 5],
        };
        let profiles: Vec<Profile> =
            self.profile.map_or_else(|| vec![Profile::Basic, Profile::Full, Profile::Storage], |p| vec![p]);
        let mutation = self.mutation();
        let of =
            |nodes: usize, profile| Options { seed: 0, nodes, profile, mutation, only: None, log: false };
        profiles.into_iter().flat_map(|profile| nodes.iter().map(move |n| of(*n, profile))).collect()
    }
}

fn name(options: &Options) -> String {
    format!("{} nodes, {}", options.nodes, profile_name(options.profile))
}

fn profile_name(profile: Profile) -> String {
    profile.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Runs one seed and prints its events.
fn replay(args: &Args, seed: u64) -> bool {
    let Some(kind) = args.kinds().into_iter().next() else { return false };
    let options = Options { seed, only: args.only.clone(), log: true, ..kind };
    let report = run(&options);
    report.log.iter().for_each(|line| println!("{line}"));
    let again = run(&Options { log: false, ..options.clone() });
    println!(
        "{}: seed {seed}, fingerprint {:016x}, {:?}",
        name(&options),
        report.fingerprint,
        report.figures
    );
    assert_eq!(report.fingerprint, again.fingerprint, "the same seed must give the same run");
    report.broken.is_none()
}

/// Replays seeds that once failed, and any others worth keeping: `seed nodes profile # what it found`.
fn regressions() -> bool {
    let lines = REGRESSIONS.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let mut count = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let options = match words[..] {
            [seed, nodes, profile] => seed.parse().ok().zip(nodes.parse().ok()).and_then(|(seed, nodes)| {
                let profile = Profile::from_str(profile, true).ok()?;
                Some(Options { seed, nodes, profile, mutation: None, only: None, log: false })
            }),
            _ => None,
        };
        let Some(options) = options else {
            eprintln!("regressions.txt: {line:?} is not `seed nodes profile`");
            return false;
        };
        let report = run(&options);
        if let Some(broken) = report.broken {
            eprintln!("{}: seed {} fails again: {broken}", name(&options), options.seed);
            return false;
        }
        count += 1;
    }
    println!("{count} seeds that once failed are clean");
    true
}

/// Runs many seeds of each kind.
fn campaign(args: &Args) -> bool {
    let kinds = args.kinds();
    let started = Instant::now();
    let budget = args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    for (i, kind) in kinds.iter().enumerate() {
        // Every kind gets an equal part of the time left.
        let part = budget.map(|all| all.saturating_sub(started.elapsed()) / (kinds.len() - i) as u32);
        if !seeds(args, kind, part) {
            return false;
        }
    }
    true
}

fn seeds(args: &Args, kind: &Options, budget: Option<Duration>) -> bool {
    let (next, stop, started) = (AtomicU64::new(args.from), AtomicBool::new(false), Instant::now());
    let sum = Mutex::new((0u64, Figures::default(), None::<(u64, Report)>));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && budget.is_none_or(|b| started.elapsed() < b) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.from + args.seeds {
                        return;
                    }
                    let report = run(&Options { seed, ..kind.clone() });
                    let mut sum = sum.lock().expect("no thread panics here");
                    sum.0 += 1;
                    sum.1 += report.figures;
                    if report.broken.is_some() {
                        stop.store(true, Ordering::Relaxed);
                        sum.2 = Some((seed, report));
                    }
                }
            });
        }
    });
    let (count, figures, failed) = sum.into_inner().expect("no thread panics here");
    let (took, virtual_s) = (started.elapsed(), figures.virtual_us / 1_000_000);
    println!(
        "{}: {count} seeds from {} in {:.1} s ({:.0} a minute on {} thread(s), {:.0} times real time): {} events, \
         {} requests, {} released ({} again), {} refused, {} late, {} unanswered, {} crashes, {} snapshots, {} promoted, {} removed, {} halted",
        name(kind),
        args.from,
        took.as_secs_f64(),
        count as f64 * 60.0 / took.as_secs_f64(),
        args.jobs.max(1),
        virtual_s as f64 / took.as_secs_f64(),
        figures.events,
        figures.asked,
        figures.released,
        figures.repeated,
        figures.refused,
        figures.late,
        figures.unknown,
        figures.crashes,
        figures.snapshots,
        figures.promoted,
        figures.removed,
        figures.halted,
    );
    let Some((seed, report)) = failed else { return true };
    explain(&Options { seed, ..kind.clone() }, &report);
    false
}

fn explain(options: &Options, report: &Report) {
    let broken = report.broken.as_deref().unwrap_or_default();
    println!("\n{}: seed {} FAILS: {broken}", name(options), options.seed);
    let kept = shrink(options, 400);
    let shrunk = Options { only: Some(kept.clone()), log: true, ..options.clone() };
    let small = run(&shrunk);
    let tail = small.log.len().saturating_sub(60);
    println!("the last events of what {} of {} scheduled things leave:", kept.len(), report.scheduled);
    small.log[tail..].iter().for_each(|line| println!("{line}"));
    let only = kept.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let (nodes, profile) = (options.nodes, profile_name(options.profile));
    println!(
        "replay: signonce-sim --seed {} --nodes {nodes} --profile {profile} --only {only}",
        options.seed
    );
}

/// Takes every guard away in turn.
fn mutations(args: &Args) -> bool {
    let mut all_caught = true;
    for mutation in Mutation::value_variants() {
        let nodes = args.nodes.as_deref().and_then(|n| n.parse().ok()).unwrap_or(mutation.nodes());
        let profile = if mutation.damages_storage() { Profile::Storage } else { Profile::Full };
        let kind = Options { seed: 0, nodes, profile, mutation: None, only: None, log: false };
        let started = Instant::now();
        let found = caught(*mutation, args.from..args.from + args.seeds, kind.clone());
        let label = format!("{mutation:?} ({})", name(&kind));
        match found {
            Some((seed, broken)) => {
                let short: String = broken.chars().take(110).collect();
                println!("{label:<42} caught at seed {seed:>4}: {short}");
            }
            None => {
                all_caught = false;
                println!("{label:<42} NOT CAUGHT in {} seeds ({:.0?})", args.seeds, started.elapsed());
            }
        }
    }
    all_caught
}
