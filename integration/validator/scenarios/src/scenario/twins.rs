//! Two live validators with the same keys. With the signers between them they must never equivocate, and when one
//! dies the other must carry on; the chain's own detector is the judge. First the same with keys in memory, which must
//! make the detector speak, or its silence would mean nothing.

use super::set::{Guarded, Network, PATIENCE, PROVEN, SEEN, new_keys};
use crate::{
    chain::Chain,
    node::NodeSetup,
    report::Report,
    stage::{Stage, until},
};
use serde_json::json;
use std::time::Duration;

/// Validators of the chain, of which one at a time sits out: the others have the two thirds that finality needs, even
/// without the twins' key.
const VALIDATORS: usize = 5;
/// How long the twins live side by side.
const SIDE_BY_SIDE: Duration = Duration::from_secs(90);
/// A standby waits a while before it believes that the other is gone.
const TAKEOVER: Duration = Duration::from_secs(240);
/// Where the twins are among the nodes.
const TWINS: [usize; 2] = [0, 1];

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let mut report = Report::default();
    unguarded(stage, &mut report).await?;
    guarded(stage, &mut report).await?;
    Ok(report)
}

/// The validators' nodes, with a second one for the first validator.
fn with_twin(
    first: &NodeSetup,
    second: NodeSetup,
    others: impl IntoIterator<Item = NodeSetup>,
) -> Vec<NodeSetup> {
    [first.clone(), second].into_iter().chain(others).collect()
}

async fn guarded(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let set = Guarded::start(stage, VALIDATORS).await?;
    // A client of its own, as two machines have, with rights to the same keys.
    let keys = &set.validators[0].0;
    let files = set.cluster.add_client("twin", &format!("group:{}", keys.name)).await?;
    let twin = NodeSetup::remote("twin", set.cluster.urls(), &files);
    let setups = with_twin(&set.setup(0), twin, (1..VALIDATORS).map(|at| set.setup(at)));
    let mut network = Network::start(stage, &set.chain, setups)?;
    network.finalized_above(1, PATIENCE).await?;
    stage.say(format!("the twins are live, for {} s", SIDE_BY_SIDE.as_secs()));
    let before = network.nodes[0].rpc().finalized().await?;
    tokio::time::sleep(SIDE_BY_SIDE).await;
    network.check_all_run(report);
    let after = network.nodes[0].rpc().finalized().await?;
    report.check("finality goes on beside twins", after > before, format!("{before} to {after}"));
    let refused = set.cluster.requests("equivocation").await?;
    report.fact("refused at the signers as equivocation, side by side", json!(refused));
    // Otherwise the twins were never in each other's way, and nothing was shown.
    let refusals: u64 = refused.values().sum();
    report.check("the signers had to refuse one of the twins", refusals > 0, format!("{refusals} times"));

    for (dies, lives) in [(TWINS[0], TWINS[1]), (TWINS[1], TWINS[0])] {
        kill_one(stage, &set, &network, report, dies, lives).await?;
        network.restart(stage, &set.chain, dies)?;
        let caught_up = network.nodes[lives].rpc().finalized().await?;
        let back = network.nodes[dies].finalized_above(caught_up, PATIENCE).await;
        report.check_result(format!("{} comes back beside its twin", network.nodes[dies].setup.name), back);
    }
    network.check_all_run(report);
    network.check_nothing_equivocated(report).await?;
    Ok(())
}

async fn kill_one(
    stage: &Stage,
    set: &Guarded,
    network: &Network,
    report: &mut Report,
    dies: usize,
    lives: usize,
) -> anyhow::Result<()> {
    let (dying, living) = (&network.nodes[dies], &network.nodes[lives]);
    let names = format!("{} is killed, and {}", dying.setup.name, living.setup.name);
    dying.kill()?;
    let (before, killed) = (set.signed(0).await?, stage.elapsed());
    stage.say(format!("{} is killed", dying.setup.name));
    let carried_on = set.signs_after(0, before, TAKEOVER).await;
    if report.check_result(format!("{names} seals and votes on"), carried_on).is_some() {
        report.time(format!("{names} has sealed and voted on after"), stage.elapsed() - killed);
    }
    let height = living.rpc().finalized().await?;
    let finality = living.finalized_above(height, PATIENCE).await;
    report.check_result(format!("{names} finalizes on"), finality);
    Ok(())
}

/// The same with keys in memory: the detector must speak.
async fn unguarded(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let keys = new_keys(VALIDATORS)?;
    let chain = Chain::build(stage, "unguarded", &keys).await?;
    let setup = |name: &str, at: usize| NodeSetup::memory(&format!("unguarded-{name}"), &keys[at]);
    let others = (1..VALIDATORS).map(|at| setup(&keys[at].name, at));
    let setups = with_twin(&setup(&keys[0].name, 0), setup("twin", 0), others);
    let network = Network::start(stage, &chain, setups)?;
    let spoke = async || Some(network.equivocations()).filter(|found| found.total() > 0);
    let spoke = until("twins without signers equivocate", PATIENCE, spoke).await;
    report.check_result("without the signers the detector speaks", spoke);
    // The first was found; those of a short while are counted too, and reports reach the chain.
    tokio::time::sleep(Duration::from_secs(40)).await;
    stage.say(format!("without signers: {}", network.equivocations()));
    report.fact("equivocations without the signers, in the logs", network.equivocations().to_string());
    report.fact("equivocations without the signers, seen by a node", json!(network.counted(SEEN).await?));
    report.fact(
        "equivocations without the signers, proven on the chain",
        json!(network.counted(PROVEN).await?),
    );
    Ok(())
}
