//! All signers are away for half a minute: the node lives and resumes, and no request holds up who makes it. Then they
//! are away again, once dead and once frozen, and the node is told to stop: it must not wait for them.

use super::{
    held_up::Bench,
    set::{Guarded, Network, PATIENCE},
};
use crate::{
    process::Signal,
    report::Report,
    stage::{Stage, until},
    watch::Watch,
};
use std::time::{Duration, Instant};

/// How long the signers are away.
const AWAY: Duration = Duration::from_secs(30);
/// Long enough that the node asks in vain for a vote, and finality has stopped.
const IN_VAIN: Duration = Duration::from_secs(8);
/// What operators are promised.
const STOPS_WITHIN: Duration = Duration::from_secs(2);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(1);

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let mut set = Guarded::start(stage, 1).await?;
    let mut network = Network::start(stage, &set.chain, set.setups())?;
    let mut report = Report::default();
    network.finalized_above(2, PATIENCE).await?;

    let bench = Bench::new(&set.cluster).await?;
    away(stage, &mut set, &network, &bench, &mut report).await?;
    stage.say(format!("all signers are frozen, for {} s", AWAY.as_secs()));
    set.cluster.signal_all(Signal::STOP)?;
    bench.ask(AWAY).await.tell(&mut report, "frozen");
    set.cluster.signal_all(Signal::CONT)?;
    set.cluster.wait_ready().await?;
    for away in [Away::Dead, Away::Frozen] {
        stop_while_away(stage, &mut set, &network, &mut report, away).await?;
        network.restart(stage, &set.chain, 0)?;
        let height = network.nodes[0].finalized_above(0, PATIENCE).await?;
        let again = network.nodes[0].finalized_above(height, PATIENCE).await;
        report.check_result(
            format!("after it was stopped with the signers {away}, the node finalizes again"),
            again,
        );
    }
    network.check_all_run(&mut report);
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

/// All signers are killed, and come back.
async fn away(
    stage: &Stage,
    set: &mut Guarded,
    network: &Network,
    bench: &Bench,
    report: &mut Report,
) -> anyhow::Result<()> {
    let node = &network.nodes[0];
    let watch = Watch::start(node.rpc());
    tokio::time::sleep(Duration::from_secs(3)).await;
    set.cluster.kill_all()?;
    stage.say(format!("all signers are killed, for {} s", AWAY.as_secs()));
    bench.ask(AWAY).await.tell(report, "dead");
    network.check_all_run(report);
    let answers = node.rpc().best().await;
    let height =
        report.check_result("the node answers while the signers are away", answers).unwrap_or_default();
    let finalized = watch.finalized().last();
    let began = Instant::now();
    set.cluster.start_all()?;
    set.cluster.wait_ready().await?;
    let quorum = Instant::now();
    stage.say("the signers are back");
    report.time("from the signers' start to their quorum", quorum.duration_since(began));
    let block = until("a block is made again", PATIENCE, async || watch.best().above(height, quorum)).await;
    if let Some(time) = report.check_result("blocks are made again", block) {
        report.time("from the quorum to the first block", time);
    }
    let block =
        until("a block is finalized again", PATIENCE, async || watch.finalized().above(finalized, quorum))
            .await;
    if let Some(time) = report.check_result("blocks are finalized again", block) {
        report.time("from the quorum to the first finalized block", time);
    }
    Ok(())
}

/// How signers can be away.
#[derive(Clone, Copy)]
enum Away {
    /// Their ports are closed.
    Dead,
    /// Their connections are open, and nobody answers.
    Frozen,
}

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dead => "dead",
            Self::Frozen => "frozen",
        })
    }
}

/// The node is interrupted while it waits for signers that do not answer.
async fn stop_while_away(
    stage: &Stage,
    set: &mut Guarded,
    network: &Network,
    report: &mut Report,
    away: Away,
) -> anyhow::Result<()> {
    match away {
        Away::Dead => set.cluster.kill_all()?,
        Away::Frozen => set.cluster.signal_all(Signal::STOP)?,
    }
    stage.say(format!("all signers are {away}"));
    tokio::time::sleep(IN_VAIN).await;
    let stopped = network.nodes[0].interrupt(PATIENCE).await;
    let what = format!("with the signers {away}, an interrupt stops the node");
    if let Some((_, took)) = report.check_result(what, stopped) {
        report.time(format!("stopping the node with the signers {away}"), took);
        report.check(
            format!("with the signers {away}, it stops within {} s", STOPS_WITHIN.as_secs()),
            took <= STOPS_WITHIN + SLACK,
            format!("{:.2} s", took.as_secs_f64()),
        );
    }
    match away {
        Away::Dead => set.cluster.start_all()?,
        Away::Frozen => set.cluster.signal_all(Signal::CONT)?,
    }
    set.cluster.wait_ready().await
}
