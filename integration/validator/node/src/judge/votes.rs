//! Finds two GRANDPA votes of one key for one round and stage among those that the node sends and receives, and
//! reports them.
//!
//! The notifications pass by in [`Notifications`](crate::voter::Notifications), which hands a copy to [`Tap`].

use super::{Judge, Kind, LOG, Offence};
use codec::Decode;
use finality_grandpa::{Equivocation, Message};
use polkadot_sdk::*;
use signonce_validator_runtime::{BlockNumber, Hash, Header};
use sp_api::{ApiExt, ProvideRuntimeApi};
use sp_blockchain::HeaderBackend;
use sp_consensus_grandpa::{
    AuthorityId, EquivocationProof, GrandpaApi, RoundNumber, SetId, SignatureResult, SignedMessage,
    check_equivocation_proof, check_message_signature,
};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// How many votes are remembered: of some 4 000 rounds of one voter.
const KEPT: usize = 8_192;
/// How many notifications wait to be looked at.
const WAITING: usize = 1_024;
/// How a notification starts that is a vote.
const VOTE: u8 = 0;

/// Takes copies of the notifications that may be votes. Never blocks: what does not fit is not looked at.
#[derive(Clone, Debug)]
pub struct Tap(mpsc::Sender<Vec<u8>>);

impl Tap {
    /// One behind which nobody looks.
    #[cfg(test)]
    pub fn closed() -> Self {
        Self(mpsc::channel(1).0)
    }

    pub fn see(&self, notification: &[u8]) {
        if notification.first() == Some(&VOTE) && self.0.try_send(notification.to_vec()).is_err() {
            log::debug!(target: LOG, "A vote passed that was not looked at");
        }
    }
}

/// A vote as it is gossiped.
#[derive(Clone, Debug, Decode)]
struct Vote {
    round: RoundNumber,
    set_id: SetId,
    signed: SignedMessage<Header>,
}

/// What a key may sign only one vote for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    set_id: SetId,
    round: RoundNumber,
    stage: u8,
    voter: AuthorityId,
}

/// Where to put the notifications, and the task that looks at them.
pub fn watch(judge: Judge) -> (Tap, impl Future<Output = ()> + Send + 'static) {
    let (sender, mut notifications) = mpsc::channel::<Vec<u8>>(WAITING);
    let look = async move {
        let mut first = BTreeMap::new();
        while let Some(notification) = notifications.recv().await {
            if let Some(proof) = vote(&notification).and_then(|vote| remember(&mut first, vote)) {
                judge_votes(&judge, proof);
            }
        }
    };
    (Tap(sender), look)
}

/// The vote that a notification is, if its signature is right.
fn vote(notification: &[u8]) -> Option<Vote> {
    let (VOTE, mut input) = notification.split_first().map(|(kind, rest)| (*kind, rest))? else {
        return None;
    };
    let vote = Vote::decode(&mut input).ok()?;
    let signed = &vote.signed;
    let checked =
        check_message_signature(&signed.message, &signed.id, &signed.signature, vote.round, vote.set_id);
    matches!(checked, SignatureResult::Valid).then_some(vote)
}

/// The proof that the voter voted twice, if it did.
fn remember(first: &mut BTreeMap<Place, Vote>, second: Vote) -> Option<EquivocationProof<Hash, BlockNumber>> {
    let stage = match second.signed.message {
        Message::Prevote(_) => 0,
        Message::Precommit(_) => 1,
        // Not an offence in GRANDPA.
        Message::PrimaryPropose(_) => return None,
    };
    let place = Place { set_id: second.set_id, round: second.round, stage, voter: second.signed.id.clone() };
    let known = first.entry(place).or_insert_with(|| second.clone()).clone();
    while first.len() > KEPT {
        first.pop_first();
    }
    prove(known, second)
}

fn prove(first: Vote, second: Vote) -> Option<EquivocationProof<Hash, BlockNumber>> {
    let Vote { round: round_number, set_id, signed: first } = first;
    let (identity, second) = (first.id, second.signed);
    let equivocation = match (first.message, second.message) {
        (Message::Prevote(one), Message::Prevote(other)) if one != other => {
            let (first, second) = ((one, first.signature), (other, second.signature));
            Equivocation { round_number, identity, first, second }.into()
        }
        (Message::Precommit(one), Message::Precommit(other)) if one != other => {
            let (first, second) = ((one, first.signature), (other, second.signature));
            Equivocation { round_number, identity, first, second }.into()
        }
        _ => return None,
    };
    Some(EquivocationProof::new(set_id, equivocation))
}

fn judge_votes(judge: &Judge, proof: EquivocationProof<Hash, BlockNumber>) {
    let (set_id, round, offender) = (proof.set_id(), proof.round(), proof.offender().clone());
    let offence = Offence::new(Kind::Grandpa, &offender, (set_id, round));
    if !check_equivocation_proof(proof.clone()) || !judge.seen.note(offence) {
        return;
    }
    log::warn!(target: LOG, "GRANDPA: {offender} voted twice in round {round} of set {set_id}");
    if let Err(why) = report(judge, proof) {
        log::warn!(target: LOG, "The two votes of round {round} of set {set_id} cannot be reported: {why}");
    }
}

fn report(judge: &Judge, proof: EquivocationProof<Hash, BlockNumber>) -> Result<(), String> {
    let client = &judge.client;
    let info = client.info();
    let of_the_set =
        |at: &Hash| client.runtime_api().current_set_id(*at).is_ok_and(|set_id| set_id == proof.set_id());
    let at = [info.best_hash, info.finalized_hash].into_iter().find(of_the_set).ok_or("the set is gone")?;
    let owner = client
        .runtime_api()
        .generate_key_ownership_proof(at, proof.set_id(), proof.offender().clone())
        .map_err(|error| error.to_string())?
        .ok_or("the voter is not of the session")?;
    let mut api = client.runtime_api();
    api.register_extension(judge.reports.offchain_transaction_pool(info.best_hash));
    api.submit_report_equivocation_unsigned_extrinsic(info.best_hash, proof, owner)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "the transaction pool did not take the report".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Encode;
    use finality_grandpa::{Precommit, Prevote};
    use sp_consensus_grandpa::localized_payload;
    use sp_core::{Pair, ed25519};

    fn notification(message: Message<Hash, BlockNumber>, round: u64, set_id: u64, signer: &str) -> Vec<u8> {
        let key = ed25519::Pair::from_string(signer, None).unwrap();
        let voter = ed25519::Pair::from_string("//Alice", None).unwrap();
        let signature = key.sign(&localized_payload(round, set_id, &message)).into();
        let signed: SignedMessage<Header> =
            finality_grandpa::SignedMessage { message, signature, id: voter.public().into() };
        (VOTE, round, set_id, signed).encode()
    }

    fn prevote(block: u8) -> Message<Hash, BlockNumber> {
        Message::Prevote(Prevote { target_hash: Hash::repeat_byte(block), target_number: 9 })
    }

    #[test]
    fn two_votes_of_a_round_and_stage_are_a_proof() {
        let mut first = BTreeMap::new();
        let mut see = |bytes: Vec<u8>| remember(&mut first, vote(&bytes).unwrap());
        assert!(see(notification(prevote(1), 3, 7, "//Alice")).is_none());
        assert!(see(notification(prevote(1), 3, 7, "//Alice")).is_none(), "the same again");
        assert!(see(notification(prevote(2), 4, 7, "//Alice")).is_none(), "another round");
        assert!(see(notification(prevote(2), 3, 8, "//Alice")).is_none(), "another set");
        let precommit = Message::Precommit(Precommit { target_hash: Hash::repeat_byte(2), target_number: 9 });
        assert!(see(notification(precommit, 3, 7, "//Alice")).is_none(), "another stage");
        let proof = see(notification(prevote(2), 3, 7, "//Alice")).expect("another block");
        assert_eq!((proof.set_id(), proof.round()), (7, 3));
        assert!(check_equivocation_proof(proof));
    }

    #[test]
    fn a_vote_with_a_foreign_signature_is_none() {
        assert!(vote(&notification(prevote(1), 3, 7, "//Bob")).is_none());
        assert!(vote(&[VOTE]).is_none() && vote(&[]).is_none() && vote(&[1, 2, 3]).is_none());
    }
}
