//! Scenarios: one kind of fault each, by name, with a verdict of its own.
//!
//! Each lays out a fresh cluster, begins a storm, makes its faults one after the other for as long as it is given
//! (healing and waiting in between, as a cluster of three has one node to spare), heals all, and asks for everything
//! that was acknowledged on every node again. All that is drawn is drawn from the seed; what the machine makes of it
//! in time is its own.

mod clock;
mod disk;
mod memory;
mod network;
mod process;
mod upgrade;

use crate::{
    checker::{Fault, Figures, Violation},
    cluster::{Cluster, Network, Plan, networks},
    host::Need,
    storm::Storm,
};
use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use signonce_protocol::blake2_256;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Within this time after healing every node is ready again.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// Within this time after that, or after losing nodes that can be spared, new duties are granted.
pub const SERVES_WITHIN: Duration = Duration::from_secs(15);
/// How long a new cluster may take to come up.
const COMES_UP: Duration = Duration::from_secs(60);

/// What a scenario is.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// What it needs of the machine.
    pub needs: &'static [Need],
    /// Signers.
    pub nodes: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Calm,
    KillLeader,
    KillFollowers,
    Freeze,
    CutOneWay,
    CutTwoWays,
    Delay,
    Drop,
    FullDisk,
    SyncError,
    ClockJumps,
    OldData,
    Clone,
    Twins,
    RestartAll,
    Upgrade,
    Mix,
    AllOldData,
}

/// Every scenario, in the order of a full pass.
pub const ALL: &[Scenario] = &[
    Scenario { name: "calm", about: "no faults: the storm alone", needs: &[], nodes: 3, kind: Kind::Calm },
    Scenario {
        name: "kill-leader",
        about: "SIGKILL of the leader, started again after a while",
        needs: &[],
        nodes: 3,
        kind: Kind::KillLeader,
    },
    Scenario {
        name: "kill-followers",
        about: "SIGKILL of as many followers as can be spared, at once",
        needs: &[],
        nodes: 5,
        kind: Kind::KillFollowers,
    },
    Scenario {
        name: "freeze",
        about: "SIGSTOP, mostly of the leader, and SIGCONT seconds later",
        needs: &[],
        nodes: 3,
        kind: Kind::Freeze,
    },
    Scenario {
        name: "cut-one-way",
        about: "a node hears the others but is not heard, or is heard but does not hear",
        needs: &[],
        nodes: 5,
        kind: Kind::CutOneWay,
    },
    Scenario {
        name: "cut-two-ways",
        about: "a node, mostly the leader, cut off from the others but not from its clients",
        needs: &[],
        nodes: 3,
        kind: Kind::CutTwoWays,
    },
    Scenario {
        name: "delay",
        about: "all ways, or those of one node, slower by up to 300 ms and uneven",
        needs: &[],
        nodes: 3,
        kind: Kind::Delay,
    },
    Scenario {
        name: "drop",
        about: "2 to 20 % of all packets between nodes lost",
        needs: &[Need::Packets],
        nodes: 3,
        kind: Kind::Drop,
    },
    Scenario {
        name: "full-disk",
        about: "a node's file system full to the last block, and room again",
        needs: &[Need::Mounts],
        nodes: 3,
        kind: Kind::FullDisk,
    },
    Scenario {
        name: "sync-error",
        about: "fdatasync of a node fails with EIO, once or from then on",
        needs: &[Need::SyscallErrors],
        nodes: 3,
        kind: Kind::SyncError,
    },
    Scenario {
        name: "clock-jumps",
        about: "a node's wall clock jumps by seconds to an hour, either way, and back",
        needs: &[Need::FalseClock],
        nodes: 3,
        kind: Kind::ClockJumps,
    },
    Scenario {
        name: "old-data",
        about: "an older copy of its data directory put back on one node",
        needs: &[],
        nodes: 3,
        kind: Kind::OldData,
    },
    Scenario {
        name: "clone",
        about: "a node's directory copied and started a second time beside it",
        needs: &[],
        nodes: 3,
        kind: Kind::Clone,
    },
    Scenario {
        name: "twins",
        about: "a node freezes, a copy of it takes its address, and it goes on",
        needs: &[],
        nodes: 3,
        kind: Kind::Twins,
    },
    Scenario {
        name: "restart-all",
        about: "every node killed at once and started again",
        needs: &[],
        nodes: 5,
        kind: Kind::RestartAll,
    },
    Scenario {
        name: "upgrade",
        about: "the last release's program rolled to this one, node by node",
        needs: &[],
        nodes: 3,
        kind: Kind::Upgrade,
    },
    Scenario {
        name: "mix",
        about: "kills, freezes, cuts and delays, drawn one after the other",
        needs: &[],
        nodes: 5,
        kind: Kind::Mix,
    },
    Scenario {
        name: "all-old-data",
        about: "older copies put back on every node at once, which no cluster survives: passes if the checker sees it",
        needs: &[],
        nodes: 3,
        kind: Kind::AllOldData,
    },
];

/// What holds for all scenarios of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program under test.
    pub binary: PathBuf,
    /// The last release's program.
    pub previous: Option<PathBuf>,
    /// Where everything random comes from.
    pub seed: u64,
    /// How long each scenario goes on making faults.
    pub faults_for: Duration,
    /// The mean pause of each key between two duties.
    pub pace: Duration,
    /// Another number of signers than the scenario's own.
    pub nodes: Option<u64>,
    /// Another network than the best there is.
    pub network: Option<Network>,
    /// Tell what happens while it does.
    pub verbose: bool,
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

/// What a scenario came to.
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
    /// Seconds in all.
    pub seconds: f64,
    /// Faults made.
    pub faults: u64,
    /// The longest time from healing until every node was ready, in milliseconds.
    pub longest_heal_ms: u64,
    /// What was counted.
    pub figures: Figures,
    /// What happened, with the second it happened in.
    pub events: Vec<String>,
    /// Where everything is, if it failed.
    pub kept: Option<PathBuf>,
}

/// A cluster under storm, and what a scenario does to it.
pub struct World {
    /// The signers.
    pub cluster: Cluster,
    /// The clients.
    pub storm: Storm,
    /// Everything random.
    pub rng: ChaCha8Rng,
    until: Instant,
    begun: Instant,
    faults: u64,
    longest_heal: Duration,
    events: Vec<String>,
    /// What was seen that must not be, beside what the checker finds.
    seen: Vec<String>,
    verbose: bool,
}

impl World {
    /// Whether there is time for another fault.
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Notes what happens.
    pub fn say(&mut self, what: impl Into<String>) {
        let line = format!("{:7.2} {}", self.begun.elapsed().as_secs_f64(), what.into());
        if self.verbose {
            eprintln!("{line}");
        }
        self.events.push(line);
    }

    /// Notes a fault.
    pub fn fault(&mut self, what: impl Into<String>) {
        self.faults += 1;
        self.say(what);
    }

    /// Notes what must never be.
    pub fn violation(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.say(format!("VIOLATION: {what}"));
        self.seen.push(what);
    }

    /// A time between two, drawn.
    pub fn draw_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..=to))
    }

    /// Lets some time pass.
    pub async fn pass_ms(&mut self, from: u64, to: u64) {
        let time = self.draw_ms(from, to);
        sleep(time).await;
    }

    /// The leader.
    pub async fn leader(&self) -> anyhow::Result<u64> {
        self.cluster.leader(&[], SERVES_WITHIN).await
    }

    /// The leader three times out of four, any node else.
    pub async fn victim(&mut self) -> anyhow::Result<u64> {
        if self.rng.random_ratio(3, 4) {
            return self.leader().await;
        }
        self.any().await
    }

    /// Any node.
    pub async fn any(&mut self) -> anyhow::Result<u64> {
        let ids = self.cluster.ids();
        ids.choose(&mut self.rng).copied().context("a cluster has nodes")
    }

    /// Everything is healed: every node must be ready, and new duties granted, in time.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        let healed = Instant::now();
        let ids = self.cluster.ids();
        self.cluster.wait_ready(&ids, READY_WITHIN).await.context("after healing")?;
        self.longest_heal = self.longest_heal.max(healed.elapsed());
        self.serves("after healing").await?;
        self.say(format!("all ready {} ms after healing, serving", healed.elapsed().as_millis()));
        self.pass_ms(200, 1_000).await;
        Ok(())
    }

    /// New duties must be granted in time.
    pub async fn serves(&mut self, when: &str) -> anyhow::Result<()> {
        self.storm.served_within(SERVES_WITHIN).await.with_context(|| when.to_owned()).map(|_| ())
    }

    async fn make_faults(&mut self, kind: Kind) -> anyhow::Result<()> {
        match kind {
            Kind::Calm => {
                sleep(self.until.saturating_duration_since(Instant::now())).await;
                Ok(())
            }
            Kind::Upgrade => upgrade::roll(self).await,
            Kind::AllOldData => memory::all_old_data(self).await,
            _ => {
                while self.goes_on() {
                    self.one_fault(kind).await?;
                }
                Ok(())
            }
        }
    }

    async fn one_fault(&mut self, kind: Kind) -> anyhow::Result<()> {
        match kind {
            Kind::KillLeader => process::kill_leader(self).await,
            Kind::KillFollowers => process::kill_followers(self).await,
            Kind::Freeze => process::freeze(self).await,
            Kind::RestartAll => process::restart_all(self).await,
            Kind::CutOneWay => network::cut_one_way(self).await,
            Kind::CutTwoWays => network::cut_two_ways(self).await,
            Kind::Delay => network::delay(self).await,
            Kind::Drop => network::drop(self).await,
            Kind::FullDisk => disk::fill(self).await,
            Kind::SyncError => disk::fail_sync(self).await,
            Kind::ClockJumps => clock::jump(self).await,
            Kind::OldData => memory::old_data(self).await,
            Kind::Clone => memory::clone(self).await,
            Kind::Twins => memory::twins(self).await,
            Kind::Mix => {
                const OF: [Kind; 6] = [
                    Kind::KillLeader,
                    Kind::KillFollowers,
                    Kind::Freeze,
                    Kind::CutOneWay,
                    Kind::CutTwoWays,
                    Kind::Delay,
                ];
                let kind = OF[self.rng.random_range(0..OF.len())];
                Box::pin(self.one_fault(kind)).await
            }
            Kind::Calm | Kind::Upgrade | Kind::AllOldData => Ok(()),
        }
    }
}

impl Scenario {
    /// Why it cannot be run here.
    pub fn lacking(&self, settings: &Settings) -> Option<String> {
        if self.kind == Kind::Upgrade && settings.previous.is_none() {
            return Some("there is no earlier release to roll from; --previous names its program".into());
        }
        if self.kind == Kind::Drop && settings.network == Some(Network::Proxies) {
            return Some("proxies have no packets to lose".into());
        }
        if self.kind == Kind::Twins && settings.network == Some(Network::Packets) {
            return Some("a copy takes an address by way of the proxies".into());
        }
        self.needs.iter().find_map(|need| need.lacking())
    }

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
        if let Some(why) = self.lacking(settings) {
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

    /// Lays out, storms, makes faults, judges. Every process has ended when it returns.
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
            // The last one's GRANDPA key measures outages.
            validators: 7,
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
        if self.kind == Kind::AllOldData {
            return must_be_seen(result, violations, outcome);
        }
        result
    }

    fn first_binary(&self, settings: &Settings) -> PathBuf {
        let previous = settings.previous.as_ref().filter(|_| self.kind == Kind::Upgrade);
        previous.unwrap_or(&settings.binary).clone()
    }

    /// The packet switch where packets matter and may be had, proxies else: they cost less.
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
            Kind::ClockJumps => clock::prepare(cluster),
            Kind::Upgrade => upgrade::prepare(cluster),
            _ => Ok(()),
        }
    }
}

/// Of a fault that no cluster survives: an equivocation must have been found, or the checker is blind.
fn must_be_seen(
    result: anyhow::Result<()>,
    violations: &[Violation],
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    result?;
    let two = violations.iter().find(|violation| matches!(violation.fault, Fault::TwoPayloads { .. }));
    let two = two.context("the checker saw no equivocation, though every node had forgotten")?;
    outcome.events.push(format!("seen, as it must be: {two}"));
    outcome.why.clear();
    Ok(())
}

impl World {
    /// From the first duty to the last question afterwards.
    async fn live(&mut self, kind: Kind) -> anyhow::Result<()> {
        self.serves("before any fault").await?;
        self.pass_ms(800, 1_500).await;
        let faults = self.make_faults(kind).await;
        if let Err(error) = &faults {
            self.say(format!("FAILED: {error:#}"));
        }
        self.cluster.links.heal();
        for id in self.cluster.ids() {
            // Only a node that has ended cannot be told to go on.
            let _ = self.cluster.signal(id, crate::process::Signal::CONT);
        }
        self.cluster.start_all()?;
        let settled = self.settle().await;
        let calm = self.storm.calm().await;
        self.storm.checker().storm_is_over();
        let mut ready = Vec::new();
        for id in self.cluster.ids() {
            // One that is not has been found out by settling.
            ready.extend(self.cluster.readyz(id).await.is_ok().then_some(id));
        }
        self.storm.ask_again(&self.cluster, &ready).await?;
        self.say("asked again for all that was acknowledged");
        faults.and(settled).and(calm)
    }
}
