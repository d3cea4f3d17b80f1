//! Seals keys again when members come and go, so that exactly the present members can open them.
//!
//! The leader does it, a few keys a round, with those that it has open itself. The secret goes from the old envelope
//! into the new one inside `signonce_keys`, and the new envelope is checked against the key that this node signs with
//! before anything is proposed. A member that has left has seen what it could open: see `signonce members remove`.

use super::{DECIDED, actor};
use crate::keyring_sync::KeyringSync;
use signonce_cluster::Handle;
use signonce_core::{Change, Envelope, Key, KeyState, Resealed, State};
use signonce_keys::{Recipient, SealedKey};
use signonce_protocol::{ChainId, KeyId, NodeId};
use std::sync::Arc;

/// The most keys in one change: each takes about a hundred bytes for each member.
const KEYS_A_ROUND: usize = 64;

/// What is left to do between two rounds.
#[derive(Default)]
pub(super) struct Reseal {
    /// The registry version at which everything was found sealed as it should be, but for these keys, which were not open
    /// here.
    seen: Option<(u64, Vec<KeyId>)>,
}

/// One round's work.
struct Plan {
    members: Vec<NodeId>,
    recipients: Vec<String>,
    keys: Vec<(KeyId, ChainId, Envelope)>,
    left: usize,
}

/// The members to which the key is not known to be sealed; empty if it is sealed to all of them.
pub fn not_sealed_for(state: &State, key: &Key) -> Vec<NodeId> {
    let sealed_for = state.registry().sealed_for(&key.id).unwrap_or_default();
    let members = state.members().map(|member| member.node);
    members.filter(|node| !sealed_for.contains(node)).collect()
}

/// Whether the envelope is sealed to exactly `members`. How many can open it is read from the envelope itself: whoever
/// sealed a new key may have read the members before one of them joined.
fn is_sealed_for(state: &State, key: &Key, members: &[NodeId]) -> bool {
    let envelope = SealedKey::from_bytes(key.sealed.as_bytes().to_vec());
    state.registry().sealed_for(&key.id) == Some(members)
        && envelope.is_ok_and(|envelope| envelope.recipient_count() == members.len())
}

impl Reseal {
    /// Seals some keys again, if there are any to be.
    pub(super) async fn round(&mut self, handle: &Handle, sync: &Arc<KeyringSync>) {
        let voters = handle.status().voters;
        let is_open = |id: &KeyId| sync.has(id);
        let (version, next) = handle.read(|state| {
            let version = state.registry_version();
            let as_before =
                self.seen.as_ref().is_some_and(|(at, locked)| *at == version && !locked.iter().any(is_open));
            (version, (!as_before).then(|| next(state, &voters, is_open)))
        });
        let plan = match next {
            Some(Next::Now(plan)) => plan,
            Some(Next::Seen(locked)) => {
                self.seen = Some((version, locked));
                return;
            }
            Some(Next::Later) | None => return,
        };
        let (count, left) = (plan.keys.len(), plan.left);
        let sealing = Arc::clone(sync);
        let sealed = tokio::task::spawn_blocking(move || seal_all(&sealing, plan)).await;
        let change = match sealed {
            Ok(Ok(change)) => change,
            Ok(Err(why)) => return tracing::warn!(why, "keys cannot be sealed again"),
            Err(_) => return, // the node stops
        };
        match handle.change(actor(handle), change, DECIDED).await {
            Ok(Ok(done)) => {
                tracing::info!(keys = count, left, at = %done.at, "keys sealed again for the members")
            }
            Ok(Err(refused)) => tracing::info!(%refused, "keys were not sealed again; another round will"),
            Err(error) => tracing::debug!(%error, "keys were not sealed again yet"),
        }
    }
}

/// What a round does.
enum Next {
    /// Nothing until the registry changes, or one of these keys is open here: they are to be sealed again.
    Seen(Vec<KeyId>),
    /// Nothing before every voter has said who it is.
    Later,
    /// This.
    Now(Plan),
}

fn next(state: &State, voters: &[NodeId], is_open: impl Fn(&KeyId) -> bool) -> Next {
    let members: Vec<NodeId> = state.members().map(|member| member.node).collect();
    let goes = |node: &NodeId| state.registry().is_removed(*node);
    let known = voters.iter().all(|voter| members.contains(voter) || goes(voter));
    if !known {
        return Next::Later;
    }
    let stale = state.keys().filter(|key| key.state != KeyState::Removed);
    let stale: Vec<&Key> = stale.filter(|key| !is_sealed_for(state, key, &members)).collect();
    let mut open = stale.iter().filter(|key| is_open(&key.id));
    let keys: Vec<_> =
        open.by_ref().take(KEYS_A_ROUND).map(|key| (key.id, key.chain, key.sealed.clone())).collect();
    let left = open.count();
    let recipients = state.members().map(|member| member.recipient.clone()).collect();
    if keys.is_empty() {
        return Next::Seen(stale.iter().map(|key| key.id).collect());
    }
    Next::Now(Plan { members, recipients, keys, left })
}

fn seal_all(sync: &KeyringSync, plan: Plan) -> Result<Change, String> {
    let Plan { members, recipients, keys, left: _ } = plan;
    let recipients = recipients.iter().map(|recipient| recipient.parse());
    let recipients: Vec<Recipient> = recipients.collect::<Result<_, _>>().map_err(|e| format!("{e}"))?;
    let seal = |(id, chain, sealed): (KeyId, ChainId, Envelope)| {
        let sealed = sync.reseal(id, chain, sealed, &recipients)?;
        Ok(Resealed { id, sealed })
    };
    let keys = keys.into_iter().map(seal).collect::<Result<_, String>>()?;
    Ok(Change::ResealKeys { keys, members })
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::{Command, FEATURE_LEVEL, Member, Outcome, RequestId};
    use signonce_keys::{NodeIdentity, SecretKey, seal};
    use signonce_protocol::LogIndex;
    use signonce_substrate::{ChainFormat, ChainSettings, ED25519, GRANDPA, Limits};

    const NODE: NodeId = NodeId(1);

    fn change(state: &mut State, n: u64, change: Change) {
        let request = RequestId { node: NODE, boot: 1, seq: n };
        let command = Command::Change { request, actor: "node:1".into(), time_ms: 1, change };
        let outcomes = state.apply(LogIndex(n), command).unwrap();
        assert!(matches!(&outcomes[..], [(_, Outcome::Change(Ok(_)))]), "{outcomes:?}");
    }

    #[test]
    fn a_key_that_is_not_open_yet_is_sealed_again_once_it_is_though_the_registry_stays_as_it_is() {
        signonce_shared::families::install();
        let [own, other] = [NodeIdentity::generate(), NodeIdentity::generate()];
        let mut state = State::new();
        let settings = ChainSettings {
            format: ChainFormat::default(),
            slot_duration_ms: 6_000,
            limits: Limits::default(),
        };
        let chain = settings.chain(ChainId([1; 32]), "polkadot");
        let secret = SecretKey::generate(ED25519).unwrap();
        let id = KeyId { key_type: GRANDPA, public: secret.public() };
        // By somebody who took another identity for the member's.
        let sealed = seal(&secret, &id, &chain.genesis, &[own.recipient(), other.recipient()]).unwrap();
        let member = Member {
            node: NODE,
            recipient: own.recipient().to_string(),
            peer_addr: "127.0.0.1:1".into(),
            client_url: "https://127.0.0.1:2".into(),
            supports: FEATURE_LEVEL,
        };
        change(&mut state, 1, Change::AnnounceMember(member));
        change(&mut state, 2, Change::AddChain(chain.clone()));
        let (scheme, chain, sealed) = (ED25519, chain.genesis, sealed.into_bytes().into());
        change(&mut state, 3, Change::RegisterKey { id, scheme, chain, group: None, sealed });
        assert!(matches!(next(&state, &[NODE], |_| false), Next::Seen(locked) if locked == [id]));
        assert!(
            matches!(next(&state, &[NODE, NodeId(2)], |_| true), Next::Later),
            "2 has not said who it is"
        );
        let Next::Now(plan) = next(&state, &[NODE], |_| true) else { panic!("nothing is to be done") };
        assert_eq!((plan.keys.len(), plan.left), (1, 0));
    }
}
