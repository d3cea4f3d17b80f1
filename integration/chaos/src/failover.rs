//! How long a validator waits when the leader is lost: measured from outside, by clients like those of validators.
//!
//! A few clients ask for one new duty after the other. The leader is taken away; what is measured is the time until the
//! first grant that was asked for after that moment, and the longest pause between two grants around it. The second
//! figure is the one that matters when the leader hands over in order, as it serves until it has done so. Every
//! signature goes to the checker.

use crate::{
    checker::{Answer, Checker, KeyFacts},
    cluster::{Cluster, Network, Plan},
    net::Link,
    payload::DutyId,
    process::Signal,
    storm::{answer, now, vote},
};
use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::Serialize;
use signonce_protocol::{
    ChainId,
    client::{SignerClient, Timeouts},
    rpc::{ChainRef, SignParams, SignVerdict},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// How the leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// SIGSTOP.
    Stop,
    /// Cut off from the other nodes, but not from the clients.
    Partition,
}

impl Loss {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Term, Self::Stop, Self::Partition];
}

/// How many clients ask throughout.
const CLIENTS: u64 = 4;
/// Each client's pause between two duties.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the cluster may take to grant again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long grants are watched after the first one, for the longest pause.
const WATCH: Duration = Duration::from_secs(2);

/// Median and worst of some trials, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// As many are below as above.
    pub median: u64,
    /// The longest.
    pub worst: u64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let ms =
            |time: Option<&Duration>| time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
        Self { median: ms(times.get(times.len() / 2)), worst: ms(times.last()) }
    }
}

/// The result of the trials of one kind.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// How the leader went.
    pub loss: Loss,
    /// How often.
    pub trials: usize,
    /// From the loss to the first grant that was asked for after it.
    pub next_grant_ms: Spread,
    /// The longest pause between two grants.
    pub pause_ms: Spread,
    /// What the checker found.
    pub violations: Vec<String>,
}

struct Shared {
    checker: Mutex<Checker>,
    genesis: ChainId,
    /// When a grant was asked for, and when it came.
    grants: Mutex<Vec<(Instant, Instant)>>,
}

/// Measures one kind of loss on a cluster of its own.
///
/// # Errors
/// If the cluster does not come up or does not come back.
pub async fn measure(binary: PathBuf, loss: Loss, trials: usize, nodes: u64) -> anyhow::Result<Row> {
    let dir = tempfile::Builder::new().prefix("signonce-chaos-").tempdir()?;
    let plan = Plan { binary, nodes, validators: CLIENTS, clients: CLIENTS, network: Network::Proxies };
    let mut cluster = Cluster::create(plan, &dir.path().join("cluster")).await?;
    cluster.start_all()?;
    cluster.wait_ready(&cluster.ids(), Duration::from_secs(60)).await?;
    let facts = cluster.keys.iter().map(|key| KeyFacts {
        name: format!("{} of {}", key.key_type, key.group),
        scheme: key.scheme,
        public: key.public.as_bytes().to_vec(),
    });
    let shared = Arc::new(Shared {
        checker: Mutex::new(Checker::new(facts.collect(), false)),
        genesis: cluster.genesis,
        grants: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    let keys = cluster.keys.iter().enumerate().filter(|(_, key)| key.key_type == "gran");
    for ((at, key), client) in keys.zip(1..) {
        let timeouts = Timeouts { deadline: PATIENCE, ..Timeouts::default() };
        let signer = cluster.client(client, &cluster.ids(), timeouts)?;
        tasks.spawn(Arc::clone(&shared).ask_on(at, key.public, signer));
    }
    let (mut nexts, mut pauses) = (Vec::new(), Vec::new());
    for trial in 0..trials {
        let (next, pause) = one(&mut cluster, loss, &shared)
            .await
            .with_context(|| format!("{loss:?}, trial {}", trial + 1))?;
        nexts.push(next);
        pauses.push(pause);
    }
    let checker = shared.checker();
    let violations = checker.violations().0.iter().map(ToString::to_string).collect();
    Ok(Row { loss, trials, next_grant_ms: Spread::of(nexts), pause_ms: Spread::of(pauses), violations })
}

/// One trial, healed and settled when it returns.
async fn one(cluster: &mut Cluster, loss: Loss, shared: &Shared) -> anyhow::Result<(Duration, Duration)> {
    // Not in step with ticks and heartbeats.
    sleep(Duration::from_millis(rand::random_range(500..1_000))).await;
    let leader = cluster.leader(&[], PATIENCE).await?;
    let lost = Instant::now();
    take_away(cluster, loss, leader)?;
    let next = loop {
        let found = shared.grants().iter().filter(|(asked, _)| *asked >= lost).map(|(_, came)| *came).min();
        if let Some(came) = found {
            break came;
        }
        ensure!(lost.elapsed() < PATIENCE, "no grant within {PATIENCE:?} of the loss of node {leader}");
        sleep(Duration::from_millis(1)).await;
    };
    sleep(WATCH).await;
    let mut came: Vec<Instant> =
        std::mem::take(&mut *shared.grants()).into_iter().map(|(_, came)| came).collect();
    came.sort_unstable();
    let from = came.iter().rposition(|came| *came < lost).unwrap_or_default();
    let pauses = came[from..].windows(2).map(|pair| pair[1] - pair[0]);
    let pause = pauses.max().unwrap_or_default();
    give_back(cluster, loss, leader).await?;
    cluster.wait_ready(&cluster.ids(), PATIENCE).await?;
    Ok((next.saturating_duration_since(lost), pause))
}

fn take_away(cluster: &Cluster, loss: Loss, leader: u64) -> anyhow::Result<()> {
    match loss {
        Loss::Kill => cluster.signal(leader, Signal::KILL),
        Loss::Term => cluster.signal(leader, Signal::TERM),
        Loss::Stop => cluster.signal(leader, Signal::STOP),
        Loss::Partition => {
            for other in cluster.ids().into_iter().filter(|other| *other != leader) {
                cluster.links.set(leader, other, Link::cut());
                cluster.links.set(other, leader, Link::cut());
            }
            Ok(())
        }
    }
}

async fn give_back(cluster: &mut Cluster, loss: Loss, leader: u64) -> anyhow::Result<()> {
    match loss {
        Loss::Kill | Loss::Term => {
            cluster.wait_exit(leader, PATIENCE).await?;
            cluster.start(leader)
        }
        Loss::Stop => cluster.signal(leader, Signal::CONT),
        Loss::Partition => {
            cluster.links.heal();
            Ok(())
        }
    }
}

impl Shared {
    fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grants(&self) -> MutexGuard<'_, Vec<(Instant, Instant)>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One new duty after the other, until the task is dropped.
    async fn ask_on(self: Arc<Self>, at: usize, public: signonce_protocol::PublicKey, signer: SignerClient) {
        for n in 0.. {
            let place: DutyId = vote(n);
            let ask = self.checker().ask("client", at, place, 0, now());
            let chain = ChainRef::Id(self.genesis);
            let asked = Instant::now();
            let params = SignParams { chain, key: public, payload: place.payload(0) };
            let answer = answer(signer.sign(&params).await);
            let heard = now();
            self.checker().hear(&ask, &answer, heard);
            // A repeat is the grant of a question whose first answer was lost with its connection.
            if let Answer::Signed { verdict: SignVerdict::Granted | SignVerdict::Repeated, .. } = answer {
                self.grants().push((asked, heard.at));
            }
            sleep(PAUSE).await;
        }
    }
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "leader lost by   trials   next grant: median   worst   longest pause: median   worst   (ms)\n",
    );
    for Row { loss, trials, next_grant_ms, pause_ms, violations } in rows {
        let name = format!("{loss:?}").to_lowercase();
        text.push_str(&format!(
            "{name:<16} {trials:>6} {:>20} {:>7} {:>23} {:>7}\n",
            next_grant_ms.median, next_grant_ms.worst, pause_ms.median, pause_ms.worst
        ));
        violations.iter().for_each(|violation| text.push_str(&format!("  VIOLATION: {violation}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_worst_are_found_in_any_order() {
        let spread = Spread::of([30, 10, 20, 90, 40].map(Duration::from_millis).to_vec());
        assert_eq!((spread.median, spread.worst), (30, 90));
    }
}
