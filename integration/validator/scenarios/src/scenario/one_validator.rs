//! One validator without a key and three signers. Everything the chain shows must have been signed in the cluster:
//! the signers' counts are compared with the chain's.

use super::set::{Guarded, Network, PATIENCE};
use crate::{logs, report::Report, stage::Stage, watch::Watch};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

pub async fn run(stage: &Stage, time: Duration) -> anyhow::Result<Report> {
    let set = Guarded::start(stage, 1).await?;
    let network = Network::start(stage, &set.chain, set.setups())?;
    let node = &network.nodes[0];
    node.finalized_above(0, PATIENCE).await?;
    stage.say(format!("block 1 is finalized; watching for {} s", time.as_secs()));
    let watch = Watch::start(node.rpc());
    let (session, before) = (node.rpc().session().await?, node.rpc().round().await?);
    watched(stage, &watch, time, || node.must_run()).await?;

    let mut report = Report::default();
    network.check_all_run(&mut report);
    set.cluster.all_run()?;
    // The chain first: what is signed while we ask is then more, not less, than what the chain shows.
    let (best, finalized) = (node.rpc().best().await?, node.rpc().finalized().await?);
    let beefy = node.rpc().beefy_finalized().await?.unwrap_or_default();
    let (last_session, last) = (node.rpc().session().await?, node.rpc().round().await?);
    let mandatory = logs::count(node.log(), "Concluded mandatory round") as u64;
    let rounds = watch.rounds();
    let signatures = set.cluster.signatures().await?;

    report.fact("best block", best);
    report.fact("finalized block", finalized);
    report.fact("finalized by BEEFY", beefy);
    report.fact("sessions", last_session - session);
    report.fact("authority sets", last.set_id - before.set_id);
    report.fact("GRANDPA rounds seen", rounds.values().sum::<u64>());
    report.fact("BEEFY mandatory rounds concluded", mandatory);
    report.fact("signatures at the signers", json!(signatures));
    report.fact(
        "requests refused at the signers as equivocation",
        json!(set.cluster.requests("equivocation").await?),
    );
    report.check(
        "blocks are finalized",
        finalized > 0 && best - finalized < 20,
        format!("{finalized} of {best}"),
    );
    report.check("sessions passed", last_session > session, format!("{session} to {last_session}"));
    report.check(
        "authority sets changed",
        last.set_id > before.set_id,
        format!("{} to {}", before.set_id, last.set_id),
    );
    report.check("BEEFY finalizes", beefy > 0, format!("block {beefy}"));
    // One a session, and the last may still be under way.
    report.check(
        "the mandatory rounds were concluded",
        mandatory > 0 && mandatory + 1 >= last_session - session,
        format!("{mandatory} in {} sessions", last_session - session),
    );
    compare(&mut report, &signatures, best, &rounds);
    network.check_nothing_equivocated(&mut report).await?;
    stop(&mut report, node).await;
    Ok(report)
}

/// The signers' counts against what the chain shows.
fn compare(report: &mut Report, signatures: &BTreeMap<String, u64>, best: u64, rounds: &BTreeMap<u64, u64>) {
    let given = |class: &str| signatures.get(class).copied().unwrap_or_default();
    let (seals, vrfs) = (given("babeBlock"), given("babeVrf"));
    // A block is sealed before it is imported, so the last seals may have no block yet.
    report.check(
        "every block was sealed at the signers",
        (best..=best + 5).contains(&seals),
        format!("{seals} seals, {best} blocks"),
    );
    report.check("every seal had its VRF output from the signers", vrfs >= best, format!("{vrfs} outputs"));
    // A round has a prevote, a precommit and perhaps a proposal. Of each set, the last rounds can pass between two
    // looks, and the round under way may lack its votes.
    let (votes, sets, seen) = (given("grandpaVote"), rounds.len() as u64, rounds.values().sum::<u64>());
    let expected = 2 * seen.saturating_sub(sets)..=3 * (seen + 3 * sets);
    report.check(
        "every GRANDPA vote was signed at the signers",
        expected.contains(&votes),
        format!("{votes} votes in {seen} rounds"),
    );
    report.check(
        "BEEFY votes were signed at the signers",
        given("beefyVote") > 0,
        format!("{}", given("beefyVote")),
    );
    let beats = given("heartbeat");
    report.check("heartbeats were signed at the signers", beats > 0, beats.to_string());
}

/// Watches for a time, saying now and then how far the chain is.
async fn watched(
    stage: &Stage,
    watch: &Watch,
    time: Duration,
    alive: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let end = stage.elapsed() + time;
    while stage.elapsed() < end {
        let step = Duration::from_secs(30).min(end.saturating_sub(stage.elapsed()));
        tokio::time::sleep(step).await;
        alive()?;
        let (best, finalized) = (watch.best().last(), watch.finalized().last());
        stage.say(format!("block {best}, finalized {finalized}"));
    }
    Ok(())
}

async fn stop(report: &mut Report, node: &crate::node::Node) {
    let stopped = node.interrupt(PATIENCE).await;
    let stopped = report.check_result("the node stops when it is told to", stopped);
    if let Some((_, took)) = stopped {
        report.time("stopping the node", took);
    }
}
