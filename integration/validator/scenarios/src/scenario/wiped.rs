//! A validator loses its database and comes back with the same keys, not knowing what it has voted. It must follow
//! the chain without a word until it is past its last vote, and then vote again by itself.

use super::set::{Guarded, Network, PATIENCE};
use crate::{report::Report, stage::Stage};
use anyhow::Context as _;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// One at a time sits out: without the wiped one, the others still have the two thirds that finality needs.
const VALIDATORS: usize = 5;
/// The gate waits a while to be sure that nobody else uses the keys.
const OPENS_WITHIN: Duration = Duration::from_secs(240);

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let set = Guarded::start(stage, VALIDATORS).await?;
    let mut network = Network::start(stage, &set.chain, set.setups())?;
    let mut report = Report::default();
    // Several sets, so that the round alone says nothing.
    network.finalized_above(25, PATIENCE).await?;
    let before = set.signed(0).await?;
    stage.say(format!("{} has signed up to {before:?}", set.validators[0].0.name));

    network.nodes[0].kill()?;
    let removed = wipe(&network.nodes[0].setup.data(stage)?)?;
    report.fact("databases removed", removed);
    let died = set.signed(0).await?;
    network.restart(stage, &set.chain, 0)?;
    let back = Instant::now();
    stage.say("the validator is back without its database");

    let node = &network.nodes[0];
    let gate = async || node.metrics().await.ok()?.sum("signonce_grandpa_gate_open", &[]);
    let closed = node.until("its gate shows", PATIENCE, async || gate().await).await?;
    report.check("it comes back with its gate closed", closed == 0.0, format!("{closed}"));
    let opened =
        node.until("its gate opens", OPENS_WITHIN, async || gate().await.filter(|open| *open > 0.0)).await;
    if report.check_result("the gate opens by itself", opened).is_some() {
        report.time("from its return to the open gate", back.elapsed());
    }
    let signs = set.signs_after(0, died, PATIENCE).await;
    report.check_result("it seals and votes again", signs);
    let height = network.nodes[1].rpc().finalized().await?;
    let finalized = network.finalized_above(height, PATIENCE).await;
    report.check_result("all nodes finalize on", finalized);
    network.check_all_run(&mut report);
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

/// Removes the databases below `data`; how many there were.
fn wipe(data: &Path) -> anyhow::Result<u64> {
    let mut removed = 0;
    for chain in fs::read_dir(data.join("chains")).context("the node has no chains")?.flatten() {
        for name in ["db", "paritydb", "rocksdb"] {
            let database = chain.path().join(name);
            if database.is_dir() {
                fs::remove_dir_all(&database)?;
                removed += 1;
            }
        }
    }
    anyhow::ensure!(removed > 0, "there is no database in {}", data.display());
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        assert!(wipe(dir.path()).is_err());
        let chain = dir.path().join("chains/test");
        fs::create_dir_all(chain.join("paritydb/full")).unwrap();
        fs::create_dir_all(chain.join("network")).unwrap();
        assert_eq!(wipe(dir.path()).unwrap(), 1);
        assert!(chain.join("network").is_dir() && !chain.join("paritydb").exists());
    }
}
