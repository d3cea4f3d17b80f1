//! New session keys by `author_rotateKeys`: refused without leave, made in the cluster with it, registered on chain
//! with their proofs of ownership, and then the chain is authored and finalised with them, without a restart.

use super::set::{Guarded, Network, PATIENCE};
use crate::{
    report::Report,
    rpc::NodeRpc,
    stage::{Stage, until},
};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use signonce_protocol::{KeyType, PublicKey, rpc::KeyInfo};
use signonce_substrate::{AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, IM_ONLINE};
use std::time::Duration;

/// The account of the first validator, and what its secret is, as everybody knows.
pub(super) const OWNER: (&str, &str) =
    ("0xd43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d", "//Alice");
/// Keys that are registered in a session are used in the next but one.
const IN_USE: Duration = Duration::from_secs(240);
/// The keys in the order of the runtime's `SessionKeys`.
const ORDER: [(KeyType, usize); 5] =
    [(BABE, 32), (GRANDPA, 32), (BEEFY, 33), (AUTHORITY_DISCOVERY, 32), (IM_ONLINE, 32)];

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let set = Guarded::start(stage, 1).await?;
    let network = Network::start(stage, &set.chain, set.setups())?;
    let rpc = network.nodes[0].rpc();
    network.finalized_above(0, PATIENCE).await?;

    without_leave(&mut report, rpc).await;
    let client = &set.validators[0].0.name;
    set.cluster.admin(&["clients", "update", client, "--may-generate", "--yes"]).await?;
    let rotated = rpc.call("author_rotateKeysWithOwner", json!([OWNER.0])).await?;
    stage.say("new keys are made");
    let keys = rotated["keys"].as_str().context("no keys in the answer")?.to_owned();
    for (key_type, public) in split(&keys)? {
        let asked = json!([public.to_string(), key_type.to_string()]);
        let has = rpc.call("author_hasKey", asked).await?;
        report.check(format!("the node has the new {key_type} key"), has == json!(true), has.to_string());
    }
    let has = rpc.call("author_hasSessionKeys", json!([keys])).await?;
    report.check("the node has the new session keys", has == json!(true), has.to_string());

    let registered = rpc.call("validator_setKeys", json!([OWNER.1, keys, rotated["proof"]])).await;
    report.check_result("the chain takes the keys with their proofs", registered);
    let (_, files) = &set.validators[0];
    let signers = set.cluster.client(files)?;
    for (key_type, public) in split(&keys)?.into_iter().filter(|(key_type, _)| duties(*key_type)) {
        let signed = async || has_signed(&signers.keys().await.ok()?, &public);
        let what = format!("the new {key_type} key signs");
        report.check_result(&what, until(&what, IN_USE, signed).await);
    }
    let finalized = rpc.finalized().await?;
    let goes_on = network.finalized_above(finalized + 5, PATIENCE).await;
    report.check_result("finality goes on with the new keys", goes_on);
    network.check_all_run(&mut report);
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

/// Without leave there is an error, and the node lives.
async fn without_leave(report: &mut Report, rpc: NodeRpc) {
    let refused = rpc.call("author_rotateKeys", json!([])).await;
    report.check("no keys are made without leave", refused.is_err(), said(&refused));
    let refused = rpc.call("author_insertKey", json!(["babe", OWNER.1, OWNER.0])).await;
    report.check("no key is taken over RPC", refused.is_err(), said(&refused));
    let lives = rpc.best().await;
    report.check_result("the node lives on", lives);
}

fn said(answer: &anyhow::Result<Value>) -> String {
    match answer {
        Ok(answer) => answer.to_string(),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// The public keys in a session key blob.
pub(super) fn split(keys: &str) -> anyhow::Result<Vec<(KeyType, PublicKey)>> {
    let bytes = hex::decode(keys.trim_start_matches("0x"))?;
    let whole: usize = ORDER.iter().map(|(_, bytes)| bytes).sum();
    ensure!(bytes.len() == whole, "{} bytes of session keys, not {whole}", bytes.len());
    let mut rest = &bytes[..];
    let mut all = Vec::new();
    for (key_type, length) in ORDER {
        let (key, others) = rest.split_at(length);
        all.push((key_type, PublicKey::try_from(key)?));
        rest = others;
    }
    Ok(all)
}

/// Whether keys of this type have watermarks.
pub(super) fn duties(key_type: KeyType) -> bool {
    matches!(key_type, BABE | GRANDPA | BEEFY)
}

pub(super) fn has_signed(keys: &[KeyInfo], public: &PublicKey) -> Option<()> {
    let key = keys.iter().find(|key| key.public == *public)?;
    key.watermarks.iter().any(|mark| mark.highest.is_some()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_keys_are_split_in_the_order_of_the_runtime() {
        signonce_substrate::install();
        let blob = format!(
            "0x{}{}{}{}{}",
            "01".repeat(32),
            "02".repeat(32),
            "03".repeat(33),
            "04".repeat(32),
            "05".repeat(32)
        );
        let types: Vec<KeyType> = split(&blob).unwrap().into_iter().map(|(key_type, _)| key_type).collect();
        assert_eq!(types, ORDER.map(|(key_type, _)| key_type));
        assert!(split(&blob[..blob.len() - 2]).is_err());
    }
}
