//! What happens to the signers during the race: the leader is killed, later a node is frozen.
//!
//! In a cluster of three, a node that restarts must hear from both others before it serves (the peer fence), so the
//! killed node is back before the next one is frozen.

use crate::dev::{LocalCluster, Signal};
use anyhow::Context as _;
use std::time::Duration;
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep, sleep_until},
};

/// How long a killed leader stays away.
const AWAY: Duration = Duration::from_secs(3);
/// How long a node is frozen: longer than an election takes.
const FROZEN: Duration = Duration::from_secs(4);
/// How long a node may take to be ready again.
const BACK: Duration = Duration::from_secs(30);
/// How long the others may take to elect a leader.
const ELECTION: Duration = Duration::from_secs(20);

/// Kills the leader a quarter into `length` and freezes the new one past half of it. Reports each step to `events`.
pub(super) async fn make(
    cluster: &mut LocalCluster,
    length: Duration,
    events: &UnboundedSender<String>,
) -> anyhow::Result<()> {
    let say = |text: String| {
        // Nobody listens only once the demo is over.
        let _ = events.send(text);
    };
    let began = Instant::now();
    sleep_until(began + length / 4).await;
    let leader = leader(cluster, None).await?;
    cluster.signal(leader, Signal::Kill)?;
    say(format!("node {leader}, the leader, killed with SIGKILL"));
    cluster.wait_exit(leader, Duration::from_secs(5))?;
    let heir = self::leader(cluster, Some(leader)).await?;
    say(format!("node {heir} leads"));
    sleep(AWAY.min(length / 8)).await;
    cluster.start_node(leader)?;
    say(format!("node {leader} started again"));
    cluster.wait_ready_nodes(&[leader], BACK).await?;
    say(format!("node {leader} is back: both others vouched for what it remembers"));

    sleep_until(began + length * 11 / 20).await;
    let frozen = self::leader(cluster, None).await?;
    cluster.signal(frozen, Signal::Stop)?;
    say(format!("node {frozen}, the leader, frozen with SIGSTOP"));
    let heir = self::leader(cluster, Some(frozen)).await?;
    say(format!("node {heir} leads"));
    sleep(FROZEN.min(length / 6)).await;
    cluster.signal(frozen, Signal::Cont)?;
    say(format!("node {frozen} continues, believing that it leads"));
    follows(cluster, frozen).await?;
    cluster.wait_ready_nodes(&[frozen], BACK).await?;
    say(format!("node {frozen} has learnt that it does not lead, and follows"));
    Ok(())
}

/// Waits until a node knows another node as the leader.
async fn follows(cluster: &LocalCluster, node: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + BACK;
    loop {
        let status = cluster.admin(node).status().await;
        if status.is_ok_and(|status| status.leader.is_some_and(|leader| leader.0 != node)) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "node {node} does not follow after {BACK:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The leader, once there is one that is not `other_than`.
async fn leader(cluster: &LocalCluster, other_than: Option<u64>) -> anyhow::Result<u64> {
    let deadline = Instant::now() + ELECTION;
    loop {
        match cluster.leader().await.filter(|leader| Some(*leader) != other_than) {
            Some(leader) => return Ok(leader),
            None if Instant::now() >= deadline => {
                return Err(anyhow::anyhow!("no leader after {ELECTION:?}"))
                    .context("the signers do not elect");
            }
            None => sleep(Duration::from_millis(50)).await,
        }
    }
}
