//! `signonce keys move-in` for a validator that runs with keys on its disk: what may not be done with it, how it is
//! done, and that it goes on with a remote signer, above everything it has signed before.

use super::set::{Network, PATIENCE, new_keys};
use crate::{
    chain::Chain,
    cluster::{Cluster, text},
    keys::ValidatorKeys,
    logs,
    node::{Keys, NodeSetup},
    ports,
    process::Ended,
    report::Report,
    rpc::NodeRpc,
    stage::{Stage, until},
};
use anyhow::Context as _;
use serde_json::{Value, json};
use signonce_substrate::{BABE, BEEFY, GRANDPA};

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Validators of the chain, of which one at a time sits out: the others have the two thirds that finality needs, even
/// without the one that moves.
const VALIDATORS: usize = 5;
/// What protects the keystore.
const PASSWORD: &str = "correct horse battery staple";
/// How long a command may take that looks at the chain for some blocks.
const LOOKS: Duration = Duration::from_secs(240);
/// The floors are passed with the second change of the set, at the latest.
const SIGNS: Duration = Duration::from_secs(240);

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let operator = stage.dir("operator")?;
    let password = operator.join("password");
    fs::write(&password, PASSWORD)?;
    let keys = validators()?;
    let chain = Chain::build(stage, "chain", &keys).await?;
    let cluster = Cluster::start(stage, 3).await?;
    cluster.add_chain(&chain).await?;
    let moving = NodeSetup::disk(&keys[0].name, &password);
    let keystore = moving.keystore(stage, &chain)?;
    keys[0].write_keystore(&keystore)?;
    let others = keys[1..].iter().map(|keys| NodeSetup::memory(&keys.name, keys));
    let mut network = Network::start(stage, &chain, [moving].into_iter().chain(others).collect())?;
    network.finalized_above(1, PATIENCE).await?;
    let url = |rpc: NodeRpc| format!("http://{}", rpc.0);
    let urls = [url(network.nodes[0].rpc()), url(network.nodes[1].rpc())];
    let this = MoveIn { cluster, keystore, password, operator, urls };

    works_from_its_disk(&mut report, &network, &keys[0]).await?;
    this.refused_while_it_runs(&mut report).await?;
    let (ended, took) = network.nodes[0].interrupt(PATIENCE).await?;
    stage.say(format!("the old validator has ended ({ended}) after {} ms", took.as_millis()));
    this.refused_once_it_is_gone(&mut report).await?;
    let sealed = logs::sealed(network.nodes[0].log());
    let receipt = this.moved(&mut report).await?;
    stage.say("the keys are moved in");

    let files = this.cluster.add_client(&keys[0].name, &format!("group:{}", keys[0].name)).await?;
    network.nodes[0].setup.keys = Keys::Remote { urls: this.cluster.urls(), files: files.clone() };
    network.restart(stage, &chain, 0)?;
    let status = network.nodes[0].wait(PATIENCE).await?;
    let told = logs::count(network.nodes[0].log(), "slashable keys lie in its own keystore") > 0;
    report.check(
        "beside its old keys it does not start, and says why",
        !status.success() && told,
        status.to_string(),
    );
    destroy(&mut report, &receipt, &this.keystore)?;
    network.restart(stage, &chain, 0)?;

    for key_type in [BABE, GRANDPA, BEEFY] {
        let what = format!("the {key_type} key signs in the cluster");
        let signed = async || this.cluster.highest(&files, &keys[0], key_type).await.ok().flatten();
        report.check_result(&what, until(&what, SIGNS, signed).await);
    }
    let authors = async || Some(logs::sealed(network.nodes[0].log())).filter(|now| *now > sealed);
    report.check_result("it authors again", until("it seals a block", SIGNS, authors).await);
    let voted = has_voted(network.nodes[1].rpc(), &keys[0]).await;
    report.check_result("others count its votes again", voted);
    let finalized = network.nodes[1].rpc().finalized().await?;
    report.check_result("finality goes on", network.finalized_above(finalized + 5, PATIENCE).await);
    network.check_all_run(&mut report);
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

/// The first with keys that another password makes other keys of.
fn validators() -> anyhow::Result<Vec<ValidatorKeys>> {
    let mut keys = new_keys(VALIDATORS)?;
    keys[0] = ValidatorKeys::generate_with_password(&keys[0].name, PASSWORD)?;
    Ok(keys)
}

/// It authors and votes with the keys on its disk, or nothing below means anything.
async fn works_from_its_disk(
    report: &mut Report,
    network: &Network,
    keys: &ValidatorKeys,
) -> anyhow::Result<()> {
    let sealed = async || Some(logs::sealed(network.nodes[0].log())).filter(|sealed| *sealed > 0);
    report.check_result(
        "it authors with the keys on its disk",
        until("it seals a block", PATIENCE, sealed).await,
    );
    report.check_result("it votes with the keys on its disk", has_voted(network.nodes[1].rpc(), keys).await);
    Ok(())
}

/// Waits until another node counts a vote of the validator in the round under way.
async fn has_voted(other: NodeRpc, keys: &ValidatorKeys) -> anyhow::Result<()> {
    let (address, public) = (keys.grandpa_address(), hex::encode(keys.ed25519));
    until("another node counts its vote", SIGNS, async || {
        // It is one of the voters now, nobody's vote is missing, and so its vote is there.
        let voters = other.call("state_call", json!(["GrandpaApi_grandpa_authorities", "0x"])).await.ok()?;
        voters.as_str().filter(|voters| voters.contains(&public))?;
        let state = other.call("grandpa_roundState", json!([])).await.ok()?;
        let rounds = state["background"].as_array().into_iter().flatten().chain([&state["best"]]);
        let counted = |round: &Value| {
            let votes = &round["prevotes"];
            let missing =
                votes["missing"].as_array().is_some_and(|all| all.iter().any(|id| *id == json!(address)));
            let all = votes["currentWeight"] == round["totalWeight"];
            all && !missing
        };
        rounds.into_iter().any(counted).then_some(())
    })
    .await
}

struct MoveIn {
    cluster: Cluster,
    keystore: PathBuf,
    password: PathBuf,
    operator: PathBuf,
    /// Of the old node, and of another one of the chain.
    urls: [String; 2],
}

impl MoveIn {
    /// With a record of its own, unless it belongs to the move that succeeds.
    async fn attempt(&self, record: &str, password: &Path, more: &[&str]) -> anyhow::Result<Ended> {
        let keystore = text(&self.keystore)?;
        let record = text(&self.operator.join(record))?;
        let password = text(password)?;
        let base = ["keys", "move-in", &keystore, "--chain", "test", "--group", "validator-1"];
        let how = ["--password-file", &password, "--record", &record, "--yes", "--json"];
        self.cluster.attempt(&[&base[..], &how[..], more].concat(), LOOKS).await
    }

    /// The same as an operator types it, for the real move.
    async fn really(&self) -> anyhow::Result<Ended> {
        let [old, other] = &self.urls;
        let more = ["--node-url", old, "--chain-url", other, "--watch-blocks", "4"];
        self.attempt("move-in.json", &self.password, &more).await
    }

    /// It was refused with this exit code for this reason, and the cluster has no key.
    async fn check(
        &self,
        report: &mut Report,
        what: &str,
        ended: &Ended,
        code: i32,
        why: &str,
    ) -> anyhow::Result<()> {
        let refused = ended.code == Some(code) && ended.err.contains(why);
        report.check(what, refused, format!("exit code {:?}: {}", ended.code, ended.err.trim()));
        let armed = self.cluster.admin(&["keys", "list", "--all", "--json"]).await?;
        let none = serde_json::from_str::<Value>(&armed)?.as_array().is_some_and(Vec::is_empty);
        report.check(format!("{what}: the cluster has no key"), none, armed.trim());
        Ok(())
    }

    async fn refused_while_it_runs(&self, report: &mut Report) -> anyhow::Result<()> {
        let wrong = self.operator.join("wrong-password");
        fs::write(&wrong, "correct horse")?;
        let [_, other] = &self.urls;
        let ended = self.attempt("wrong.json", &wrong, &["--old-node-stopped", "--chain-url", other]).await?;
        self.check(report, "a wrong password is refused", &ended, 1, "nothing was imported").await?;
        let ended = self.really().await?;
        self.check(report, "while it runs its keys are refused", &ended, 4, "runs and has these keys")
            .await?;
        // An operator who is wrong about it, and has not asked the node.
        let lie = ["--old-node-stopped", "--chain-url", other, "--watch-blocks", "40"];
        let ended = self.attempt("lie.json", &self.password, &lie).await?;
        self.check(report, "the chain shows that it still signs", &ended, 1, "signed with").await
    }

    async fn refused_once_it_is_gone(&self, report: &mut Report) -> anyhow::Result<()> {
        let nobody = format!("http://{}", ports::free_address()?);
        let more = ["--node-url", &self.urls[0], "--chain-url", &nobody];
        let ended = self.attempt("move-in.json", &self.password, &more).await?;
        self.check(report, "a chain out of sight is refused", &ended, 4, "--chain-url").await
    }

    /// The move; its receipt.
    async fn moved(&self, report: &mut Report) -> anyhow::Result<Value> {
        let moved = self.really().await?;
        report.check("the keys move in once it is gone", moved.code == Some(0), moved.err.trim());
        let receipt: Value = serde_json::from_str(&moved.out).context("the receipt")?;
        report.check("the receipt says that all is done", receipt["done"] == json!(true), &moved.out);
        let again = self.really().await?;
        let same = serde_json::from_str::<Value>(&again.out).is_ok_and(|again| again == receipt);
        report.check("run again, it prints the receipt", again.code == Some(0) && same, again.err.trim());
        Ok(receipt)
    }
}

/// Destroys what the receipt names, which must be every file of the keystore.
fn destroy(report: &mut Report, receipt: &Value, keystore: &Path) -> anyhow::Result<()> {
    let files = receipt["destroy"].as_array().context("a receipt without files to destroy")?;
    for file in files.iter().filter_map(Value::as_str) {
        fs::remove_file(file).with_context(|| format!("cannot destroy {file}"))?;
    }
    let left = fs::read_dir(keystore)?.count();
    report.check(
        "the receipt names every key file",
        left == 0,
        format!("{} named, {left} left", files.len()),
    );
    Ok(())
}
