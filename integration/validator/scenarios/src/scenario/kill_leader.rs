//! The leading signer is killed; when it is back, the leader of then. Finality must go on; how long did it stand
//! still?

use super::set::{Guarded, Network, PATIENCE};
use crate::{report::Report, stage::Stage, watch::Watch};
use std::time::{Duration, Instant};

/// How long the chain is watched undisturbed, for comparison, and after the last disturbance.
const CALM: Duration = Duration::from_secs(30);
/// A pause of finality fails the scenario beyond so many times what it should be at most: a failover and a round.
const GENEROUS: u32 = 5;

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let mut set = Guarded::start(stage, 1).await?;
    let network = Network::start(stage, &set.chain, set.setups())?;
    let node = &network.nodes[0];
    node.finalized_above(2, PATIENCE).await?;
    let watch = Watch::start(node.rpc());
    let calm = Instant::now();
    tokio::time::sleep(CALM).await;

    let mut report = Report::default();
    let began = Instant::now();
    let first = set.cluster.leader_other_than(None).await?;
    let mut failovers = vec![fail_over(stage, &mut set, &watch, first).await?];
    set.cluster.start_signer(first)?;
    set.cluster.wait_ready().await?;
    stage.say(format!("signer {first} is back"));
    let second = set.cluster.leader_other_than(None).await?;
    failovers.push(fail_over(stage, &mut set, &watch, second).await?);
    tokio::time::sleep(CALM).await;
    let end = Instant::now();

    let (best, finalized) = (watch.best(), watch.finalized());
    let calm_gap = finalized.longest_gap(calm, began);
    let gap = finalized.longest_gap(began, end);
    report.time("longest gap between blocks, undisturbed", best.longest_gap(calm, began));
    report.time("longest gap between finalized blocks, undisturbed", calm_gap);
    for (what, Failover { leader, finality }) in ["first", "second"].into_iter().zip(&failovers) {
        report.time(format!("{what} kill: another signer leads after"), *leader);
        report.time(format!("{what} kill: a block not final before is finalized after"), *finality);
    }
    report.time("longest gap between blocks", best.longest_gap(began, end));
    report.time("longest gap between finalized blocks", gap);
    let failover = failovers.iter().map(|failover| failover.leader).max().unwrap_or_default();
    let limit = GENEROUS * (failover + calm_gap);
    report.check(
        "finality never stops for much longer than the failover plus one round",
        gap <= limit,
        format!("{:.1} s, at most {:.1} s", gap.as_secs_f64(), limit.as_secs_f64()),
    );
    network.check_all_run(&mut report);
    report.check_result("the other signers run", set.cluster.all_run());
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

/// Times after a kill.
struct Failover {
    leader: Duration,
    finality: Duration,
}

/// Kills the leader and waits until a block is finalized that was not when it died.
async fn fail_over(stage: &Stage, set: &mut Guarded, watch: &Watch, leader: u64) -> anyhow::Result<Failover> {
    set.cluster.kill(leader)?;
    let (killed, height) = (Instant::now(), watch.finalized().last());
    stage.say(format!("signer {leader}, the leader, is killed at finalized block {height}"));
    let next = set.cluster.leader_other_than(Some(leader)).await?;
    let led = killed.elapsed();
    // One more than the next: the next may have had all its votes when the leader died.
    let what = "a block is finalized after the kill";
    let finality =
        crate::stage::until(what, PATIENCE, async || watch.finalized().above(height + 1, killed)).await?;
    stage.say(format!("signer {next} leads; finality goes on"));
    Ok(Failover { leader: led, finality })
}
