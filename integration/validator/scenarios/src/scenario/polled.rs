//! All signers are away, and everybody asks where the voter is, which waits for a signature: the node must not wait with
//! it. Another validator, with keys of its own, makes blocks meanwhile; this one has to import them, answer, and show
//! its metrics. When the signers are back, finality goes on.

use super::set::{Network, PATIENCE, new_keys};
use crate::{chain::Chain, cluster::Cluster, node::NodeSetup, report::Report, rpc::NodeRpc, stage::Stage};
use serde_json::json;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Callers at the same time: more than a node has workers. A node takes a hundred connections.
const CALLERS: usize = 48;
/// How long they ask.
const ASKED: Duration = Duration::from_secs(30);
/// Long enough that the voter waits for a vote.
const IN_VAIN: Duration = Duration::from_secs(8);
/// Blocks of the other validator in that time, at least: of 15 slots it has half.
const BLOCKS: u64 = 4;
/// How long an answer may take on a busy machine.
const ANSWERED: Duration = Duration::from_secs(3);

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let keys = new_keys(2)?;
    let chain = Chain::build(stage, "chain", &keys).await?;
    let mut cluster = Cluster::start(stage, 3).await?;
    cluster.add_chain(&chain).await?;
    let files = cluster.add_validator(&chain.genesis, &keys[0]).await?;
    let setups = vec![
        NodeSetup::remote(&keys[0].name, cluster.urls(), &files),
        NodeSetup::memory(&keys[1].name, &keys[1]),
    ];
    let network = Network::start(stage, &chain, setups)?;
    let mut report = Report::default();
    network.finalized_above(2, PATIENCE).await?;

    cluster.kill_all()?;
    stage.say(format!(
        "all signers are killed; {CALLERS} callers ask for the round for {} s",
        ASKED.as_secs()
    ));
    tokio::time::sleep(IN_VAIN).await;
    let node = &network.nodes[0];
    let before = node.rpc().best().await?;
    let seen = ask(node.rpc()).await;
    let best = report.check_result("the node answers while it is asked by many", node.rpc().best().await);
    if let Some(best) = best {
        let what = "it imports the other validator's blocks";
        report.check(what, best >= before + BLOCKS, format!("{before} to {best}"));
    }
    report.check_result("it shows its metrics", node.metrics().await);
    network.check_all_run(&mut report);
    report.fact("answers to grandpa_roundState", seen.answers);
    report.fact("that the voter waits", seen.errors);
    report.time("the longest wait for one", seen.longest);
    report.check(
        format!("every question is answered within {} s", ANSWERED.as_secs()),
        seen.longest <= ANSWERED && seen.answers + seen.errors > CALLERS,
        format!("{:.2} s", seen.longest.as_secs_f64()),
    );

    let finalized = node.rpc().finalized().await?;
    cluster.start_all()?;
    cluster.wait_ready().await?;
    let back = Instant::now();
    let again = node.finalized_above(finalized, PATIENCE).await;
    if report.check_result("with the signers back, finality goes on", again).is_some() {
        report.time("from the quorum to the first finalized block", back.elapsed());
    }
    network.check_all_run(&mut report);
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

#[derive(Clone, Debug, Default)]
struct Seen {
    answers: usize,
    errors: usize,
    longest: Duration,
}

/// Has everybody ask, again and again.
async fn ask(node: NodeRpc) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let until = Instant::now() + ASKED;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let seen = seen.clone();
            tokio::spawn(async move {
                while Instant::now() < until {
                    let asked = Instant::now();
                    let answer = node.call("grandpa_roundState", json!([])).await;
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.longest = seen.longest.max(asked.elapsed());
                    match answer {
                        Ok(_) => seen.answers += 1,
                        Err(_) => seen.errors += 1,
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        // It has ended with its loop.
        let _ = caller.await;
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    seen
}
