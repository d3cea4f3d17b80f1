//! Scenarios: one kind of fault each, by name, with a verdict of its own.
//!
//! Each creates a fresh cluster, begins a storm, makes its faults one after the other for as long as it is given
//! (healing and waiting in between, as a cluster of three can spare one node), heals everything, and asks for
//! everything that was acknowledged on every node again. All random choices come from the seed; the machine decides the
//! timing.

mod clock;
mod crowd;
mod disk;
mod list;
mod log_readers;
mod memory;
mod network;
mod process;
mod tenant;
mod upgrade;
mod world;

use crate::{
    checker::Figures,
    cluster::{Cluster, Network, Plan, networks},
    storm::Storm,
};
use anyhow::Context as _;
use list::Kind;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use signonce_protocol::blake2_256;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

pub use list::{ALL, Scenario};
use world::{SERVES_WITHIN, World};

/// How long a new cluster may take to come up.
const COMES_UP: Duration = Duration::from_secs(60);

/// What holds for all scenarios of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program under test.
    pub binary: PathBuf,
    /// The last release's program.
    pub previous: Option<PathBuf>,
    /// The seed of everything random.
    pub seed: u64,
    /// How long each scenario makes faults.
    pub faults_for: Duration,
    /// The mean pause of each key between two duties.
    pub pace: Duration,
    /// The number of signers, instead of the scenario's own.
    pub nodes: Option<u64>,
    /// The network, instead of the best available.
    pub network: Option<Network>,
    /// Report events as they happen.
    pub verbose: bool,
}

impl Settings {
    /// Why a scenario cannot be run here.
    pub fn lacking(&self, scenario: &Scenario) -> Option<String> {
        scenario.lacking(self.previous.as_deref(), self.network)
    }
}

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing was found.
    Passed,
    /// Something was found, or the cluster did not come back.
    Failed,
    /// It could not be run here.
    Skipped,
}

/// The result of a scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Its name.
    pub scenario: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed or was skipped.
    pub why: Vec<String>,
    /// The seed of the run.
    pub seed: u64,
    /// Signers.
    pub nodes: u64,
    /// Clients.
    pub clients: u64,
    /// The total time in seconds.
    pub seconds: f64,
    /// Faults made.
    pub faults: u64,
    /// The longest time from healing until every node was ready, in milliseconds.
    pub longest_heal_ms: u64,
    /// What was counted.
    pub figures: Figures,
    /// The events, each with the second in which it happened.
    pub events: Vec<String>,
    /// The directory where everything is kept, if it failed.
    pub kept: Option<PathBuf>,
}

impl Scenario {
    /// Runs it. Whatever goes wrong is in the outcome.
    pub async fn run(&self, settings: &Settings) -> Outcome {
        let name = blake2_256(self.name.as_bytes());
        let own = u64::from_le_bytes(name[..8].try_into().unwrap_or_default());
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed ^ own);
        let mut outcome = Outcome {
            scenario: self.name,
            verdict: Verdict::Skipped,
            why: Vec::new(),
            seed: settings.seed,
            nodes: settings.nodes.unwrap_or(self.nodes),
            clients: rng.random_range(4..=16),
            seconds: 0.0,
            faults: 0,
            longest_heal_ms: 0,
            figures: Figures::default(),
            events: Vec::new(),
            kept: None,
        };
        if let Some(why) = settings.lacking(self) {
            outcome.why.push(why);
            return outcome;
        }
        let begun = Instant::now();
        let dir = tempfile::Builder::new().prefix("signonce-chaos-").tempdir();
        let result = match &dir {
            Ok(dir) => self.play(settings, dir.path().join("cluster"), rng, &mut outcome).await,
            Err(error) => Err(anyhow::anyhow!("no temporary directory: {error}")),
        };
        outcome.why.extend(result.err().map(|error| format!("{error:#}")));
        outcome.verdict = if outcome.why.is_empty() { Verdict::Passed } else { Verdict::Failed };
        outcome.seconds = begun.elapsed().as_secs_f64();
        if outcome.verdict == Verdict::Failed {
            outcome.kept = dir.ok().map(tempfile::TempDir::keep);
        }
        outcome
    }

    /// Sets up, storms, makes faults, judges. Every process has ended when it returns.
    async fn play(
        &self,
        settings: &Settings,
        dir: PathBuf,
        rng: ChaCha8Rng,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let plan = Plan {
            binary: self.first_binary(settings),
            nodes: outcome.nodes,
            // The last one's keys are the guest's; the GRANDPA key of the one before measures outages.
            validators: 8,
            clients: outcome.clients,
            network: settings.network.unwrap_or(self.network()),
        };
        let mut cluster = Cluster::create(plan, &dir).await.context("laying the cluster out")?;
        self.prepare(&mut cluster).await.context("preparing the nodes")?;
        cluster.start_all()?;
        cluster.wait_ready(&cluster.ids(), COMES_UP).await.context("coming up")?;
        let storm = Storm::begin(&cluster, settings.seed, settings.pace, self.kind == Kind::ClockJumps)?;
        let begun = Instant::now();
        let mut world = World {
            cluster,
            storm,
            rng,
            until: begun + settings.faults_for,
            begun,
            faults: 0,
            longest_heal: Duration::ZERO,
            events: Vec::new(),
            seen: Vec::new(),
            verbose: settings.verbose,
        };
        world.cluster.plan.binary.clone_from(&settings.binary);
        let result = world.live(self.kind).await;
        let World { faults, longest_heal, events, seen, storm, .. } = world;
        outcome.faults = faults;
        outcome.longest_heal_ms = u64::try_from(longest_heal.as_millis()).unwrap_or(u64::MAX);
        outcome.events = events;
        outcome.figures = storm.checker().figures();
        outcome.why.extend(seen);
        let checker = storm.checker();
        let (violations, more) = checker.violations();
        outcome.why.extend(violations.iter().map(ToString::to_string));
        if more > 0 {
            outcome.why.push(format!("and {more} more"));
        }
        result
    }

    fn first_binary(&self, settings: &Settings) -> PathBuf {
        let previous = settings.previous.as_ref().filter(|_| self.kind == Kind::Upgrade);
        previous.unwrap_or(&settings.binary).clone()
    }

    /// The packet switch where packets matter and it is available, otherwise proxies, which cost less.
    fn network(&self) -> Network {
        let best = networks().into_iter().next().unwrap_or(Network::Proxies);
        match self.kind {
            Kind::CutOneWay | Kind::CutTwoWays | Kind::Delay | Kind::Drop => best,
            _ => Network::Proxies,
        }
    }

    async fn prepare(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        match self.kind {
            Kind::FullDisk => disk::prepare(cluster).await,
            Kind::SlowDisk => {
                disk::prepare_slow(cluster);
                Ok(())
            }
            Kind::LogReaders => log_readers::prepare(cluster),
            Kind::ClockJumps => clock::prepare(cluster),
            Kind::Upgrade => upgrade::prepare(cluster),
            Kind::Refusals => {
                tenant::prepare(cluster);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
