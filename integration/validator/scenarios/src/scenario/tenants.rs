//! Four validators share a signer cluster, each with a certificate and rights to its own keys. The chain changes its
//! authority sets meanwhile, and no certificate opens another's keys.

use super::set::{Guarded, Network, PATIENCE};
use crate::{report::Report, stage::Stage};
use serde_json::json;
use signonce_protocol::{
    ChainId, Hash, PublicKey, RawPayload, Slot,
    client::{ClientError, SignerClient},
    rpc::{ChainRef, ErrorCode, SignParams},
};
use signonce_substrate::{AUTHORITY_DISCOVERY, BABE, GRANDPA};
use signonce_substrate::{EpochIndex, Kind, VrfParams};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const VALIDATORS: usize = 4;
/// Set changes to wait for.
const SETS: u64 = 3;
/// How long they may take.
const CHANGES_WITHIN: Duration = Duration::from_secs(300);

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let set = Guarded::start(stage, VALIDATORS).await?;
    let network = Network::start(stage, &set.chain, set.setups())?;
    let mut report = Report::default();
    network.finalized_above(0, PATIENCE).await?;
    stage.say("the chain finalizes");
    others_keys_are_closed(&set, &mut report).await?;

    let before = network.nodes[0].rpc().round().await?.set_id;
    for node in &network.nodes {
        let changed = async || node.rpc().round().await.ok().filter(|at| at.set_id >= before + SETS);
        let changed = node.until("the authority set changes", CHANGES_WITHIN, changed).await;
        report.check_result(format!("{} votes in set {} and on", node.setup.name, before + SETS), changed);
    }
    let height = network.nodes[0].rpc().finalized().await?;
    let finalized = network.finalized_above(height, PATIENCE).await;
    report.check_result("all nodes finalize on after the changes", finalized);
    for at in 0..VALIDATORS {
        let name = &set.validators[at].0.name;
        let signed = set.signed(at).await?;
        report.check(
            format!("{name} has sealed and voted"),
            signed.slot.is_some() && signed.round.is_some(),
            format!("{signed:?}"),
        );
    }
    report.fact("signatures at the signers", json!(set.cluster.signatures().await?));
    network.check_all_run(&mut report);
    network.check_nothing_equivocated(&mut report).await?;
    Ok(report)
}

/// Each validator's certificate, used against each validator's keys over the RPC.
async fn others_keys_are_closed(set: &Guarded, report: &mut Report) -> anyhow::Result<()> {
    for (keys, files) in &set.validators {
        let client = set.cluster.client(files)?;
        let shown = client.keys().await?;
        let own = shown.iter().all(|key| key.group.as_deref() == Some(keys.name.as_str()));
        report.check(
            format!("{} is shown its own keys and no others", keys.name),
            own && !shown.is_empty(),
            format!("{} keys", shown.len()),
        );
        let asking =
            Asking { client, chain: ChainId(set.chain.genesis_bytes()?), slot_ms: set.chain.slot_ms };
        let own =
            [asking.vrf(keys.public(BABE)?).await, asking.record(keys.public(AUTHORITY_DISCOVERY)?).await];
        let signed = own.iter().all(Result::is_ok);
        report.check(format!("{} may use its own keys", keys.name), signed, said(&own));
        let mut others = Vec::new();
        for (other, _) in set.validators.iter().filter(|(other, _)| other.name != keys.name) {
            others.push(asking.vrf(other.public(BABE)?).await);
            others.push(asking.record(other.public(AUTHORITY_DISCOVERY)?).await);
            others.push(asking.vote(other.public(GRANDPA)?).await);
        }
        let refused = others.iter().all(is_refused);
        report.check(format!("{} may use no other's", keys.name), refused, said(&others));
    }
    Ok(())
}

/// For want of a right, not for want of an answer.
fn is_refused(answer: &Result<(), ClientError>) -> bool {
    match answer {
        Err(ClientError::Refused(refusal)) => {
            matches!(refusal.code, ErrorCode::Forbidden | ErrorCode::UnknownKey)
        }
        _ => false,
    }
}

/// How many answers of which kind.
fn said(answers: &[Result<(), ClientError>]) -> String {
    let mut kinds = BTreeMap::<String, usize>::new();
    for answer in answers {
        let kind = match answer {
            Ok(()) => "signed".to_owned(),
            Err(ClientError::Refused(refusal)) => refusal.code.to_string(),
            Err(other) => other.to_string(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

/// A client of the signers that asks for what costs the validators nothing.
struct Asking {
    client: SignerClient,
    chain: ChainId,
    slot_ms: u64,
}

impl Asking {
    async fn vrf(&self, key: PublicKey) -> Result<(), ClientError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let slot = Slot(now / self.slot_ms);
        let chain = ChainRef::Id(self.chain);
        let randomness = Hash([0; 32]);
        let params = VrfParams { chain, key, slot, epoch_index: EpochIndex(0), randomness };
        self.client.ask(&params).await.map(drop)
    }

    async fn record(&self, key: PublicKey) -> Result<(), ClientError> {
        // `AuthorityRecord { addresses: ["/ip4/127.0.0.1/tcp/1"] }` of authority discovery, in protobuf.
        let address = [4, 127, 0, 0, 1, 6, 0, 1];
        self.sign(key, Kind::AuthorityRecord, [&[0x0a, 8][..], &address[..]].concat()).await
    }

    async fn vote(&self, key: PublicKey) -> Result<(), ClientError> {
        // A prevote for block 1 in round 1 of set 0.
        let numbers = [&1_u32.to_le_bytes()[..], &1_u64.to_le_bytes()[..], &0_u64.to_le_bytes()[..]].concat();
        self.sign(key, Kind::GrandpaVote, [&[0][..], &[7; 32][..], &numbers[..]].concat()).await
    }

    async fn sign(&self, key: PublicKey, kind: Kind, bytes: Vec<u8>) -> Result<(), ClientError> {
        let chain = ChainRef::Id(self.chain);
        let params = SignParams { chain, key, payload: RawPayload::new(kind.into(), bytes) };
        self.client.sign(&params).await.map(drop)
    }
}
