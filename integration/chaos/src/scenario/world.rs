//! A cluster under a storm while faults are made: what all scenarios share.

use super::{Kind, clock, crowd, disk, log_readers, memory, network, process, tenant, upgrade};
use crate::{cluster::Cluster, process::Signal, storm::Storm};
use anyhow::Context as _;
use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Within this time after healing every node is ready again.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// Within this time after that, or after losing nodes that can be spared, new duties are granted.
pub const SERVES_WITHIN: Duration = Duration::from_secs(15);
/// A cluster under storm, and what a scenario does to it.
pub struct World {
    /// The signers.
    pub cluster: Cluster,
    /// The clients.
    pub storm: Storm,
    /// Everything random.
    pub rng: ChaCha8Rng,
    pub(super) until: Instant,
    pub(super) begun: Instant,
    pub(super) faults: u64,
    pub(super) longest_heal: Duration,
    pub(super) events: Vec<String>,
    /// Violations that were seen, besides what the checker finds.
    pub(super) seen: Vec<String>,
    pub(super) verbose: bool,
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
            Kind::SlowDisk => disk::slow_sync(self).await,
            Kind::HungDisk => disk::hang_sync(self).await,
            Kind::LogReaders => log_readers::lose(self).await,
            Kind::ClockJumps => clock::jump(self).await,
            Kind::OldData => memory::old_data(self).await,
            Kind::Clone => memory::clone(self).await,
            Kind::Twins => memory::twins(self).await,
            Kind::Strangers => crowd::strangers(self).await,
            Kind::Greedy => crowd::greedy(self).await,
            Kind::FullState => tenant::fill_state(self).await,
            Kind::Refusals => tenant::be_refused(self).await,
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

    /// From the first duty to the last question afterwards.
    pub(super) async fn live(&mut self, kind: Kind) -> anyhow::Result<()> {
        self.serves("before any fault").await?;
        self.pass_ms(800, 1_500).await;
        let faults = self.make_faults(kind).await;
        if let Err(error) = &faults {
            self.say(format!("FAILED: {error:#}"));
        }
        self.cluster.links.heal();
        for id in self.cluster.ids() {
            // Only a node that has ended cannot be told to continue.
            let _ = self.cluster.signal(id, Signal::CONT);
        }
        self.cluster.start_all()?;
        let settled = self.settle().await;
        let calm = self.storm.calm().await;
        self.storm.checker().storm_is_over();
        let mut ready = Vec::new();
        for id in self.cluster.ids() {
            // A node that is not ready was found by settling.
            ready.extend(self.cluster.readyz(id).await.is_ok().then_some(id));
        }
        self.storm.ask_again(&self.cluster, &ready).await?;
        self.say("asked again for all that was acknowledged");
        faults.and(settled).and(calm)
    }
}
