//! `signonce keys rotate` for a validator that runs: the operator makes a new set, the owner registers it, and the old
//! keys end once the chain needs them no more. The node is never restarted, and nobody asks it for anything.

use super::{
    rotate::{OWNER, duties, has_signed, split},
    set::{Guarded, Network, PATIENCE},
};
use crate::{
    cluster::text,
    process::Ended,
    report::Report,
    stage::{Stage, until},
};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The runtime's session keys.
const ORDER: &str = "babe,gran,beef,audi,imon";
/// How long the chain may take to change over: the session under way, a whole one, and to finalize it.
const CHANGES_OVER: Duration = Duration::from_secs(300);
/// Between two looks of the operator.
const LOOK: Duration = Duration::from_secs(1);

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let set = Guarded::start(stage, 1).await?;
    let network = Network::start(stage, &set.chain, set.setups())?;
    let rpc = network.nodes[0].rpc();
    network.finalized_above(0, PATIENCE).await?;
    let url = format!("http://{}", rpc.0);
    let record = text(&stage.dir("operator")?.join("rotate.json"))?;
    let rotation = Rotation { set: &set, record };

    let too_early = rotation.step(&["--finish"]).await?;
    report.check("nothing is finished before it began", too_early.code == Some(2), &too_early.err);
    let made = rotation.step(&["--owner", OWNER.0]).await?;
    report.check("a set is made", made.code == Some(0), &made.err);
    let made: Value = serde_json::from_str(&made.out).context("what `keys rotate` printed")?;
    let keys = made["sessionKeys"].as_str().context("no session keys were printed")?;
    let again = rotation.step(&["--owner", OWNER.0]).await?;
    let same = serde_json::from_str::<Value>(&again.out).is_ok_and(|again| again == made);
    report.check("run again, it prints the same set", same, &again.err);
    let waits = rotation.finish(&url).await?;
    report.check("the old keys stay while the chain uses them", is_not_yet(&waits), &waits.err);

    let session = rpc.session().await?;
    let registered = rpc.call("validator_setKeys", json!([OWNER.1, keys, made["ownershipProof"]])).await;
    report.check_result("the chain takes the keys with their proofs", registered);
    stage.say("the new keys are registered");
    let finished = changed_over(stage, &rotation, &url).await?;
    report.check("the old keys end once the chain has changed over", finished.code == Some(0), &finished.err);
    let sessions = rpc.session().await? - session;
    report.check("that took two changes of session", sessions >= 2, format!("{sessions}"));
    let old = set.cluster.admin(&["keys", "list", "--all", "--json"]).await?;
    let disabled = old.matches("\"disabled\"").count();
    report.check("every old key is disabled", disabled == 5, format!("{disabled} of 5"));

    let (_, files) = &set.validators[0];
    let signers = set.cluster.client(files)?;
    for (key_type, public) in split(keys)?.into_iter().filter(|(key_type, _)| duties(*key_type)) {
        let signed = async || has_signed(&signers.keys().await.ok()?, &public);
        let what = format!("the new {key_type} key signs");
        report.check_result(&what, until(&what, PATIENCE, signed).await);
    }
    // Where the last old key went too early, this is what stands still.
    let (finalized, beefy) = (rpc.finalized().await?, rpc.beefy_finalized().await?);
    let goes_on = network.finalized_above(finalized + 15, PATIENCE).await;
    report.check_result("finality goes on with the new keys alone", goes_on);
    let further = async || rpc.beefy_finalized().await.ok().filter(|now| *now > beefy);
    report.check_result("BEEFY goes on too", until("BEEFY finalizes more", PATIENCE, further).await);
    let removed = rotation.step(&["--remove"]).await?;
    report.check("the old keys are removed for ever", removed.code == Some(0), &removed.err);
    let finalized = rpc.finalized().await?;
    report.check_result("and nobody misses them", network.finalized_above(finalized + 3, PATIENCE).await);
    network.check_all_run(&mut report);
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

struct Rotation<'a> {
    set: &'a Guarded,
    record: String,
}

impl Rotation<'_> {
    async fn step(&self, more: &[&str]) -> anyhow::Result<Ended> {
        let group = &self.set.validators[0].0.name;
        let base = ["keys", "rotate", "--chain", "test", "--group", group, "--order", ORDER];
        let how = ["--record", &self.record, "--yes", "--json"];
        self.set.cluster.attempt(&[&base[..], &how[..], more].concat(), PATIENCE).await
    }

    async fn finish(&self, url: &str) -> anyhow::Result<Ended> {
        self.step(&["--finish", "--chain-url", url]).await
    }
}

fn is_not_yet(ended: &Ended) -> bool {
    ended.code == Some(4) && ended.err.contains("nothing was disabled")
}

/// The operator asks again and again, so that the very first moment counts.
async fn changed_over(stage: &Stage, rotation: &Rotation<'_>, url: &str) -> anyhow::Result<Ended> {
    let began = Instant::now();
    let mut queued = false;
    loop {
        let ended = rotation.finish(url).await?;
        if !is_not_yet(&ended) || began.elapsed() > CHANGES_OVER {
            return Ok(ended);
        }
        if !queued && ended.err.contains("The new set is queued") {
            stage.say("the new set is queued");
            queued = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}
