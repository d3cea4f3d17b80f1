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
    /// The registry version at which nothing was left to do here.
    done_at: Option<u64>,
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
        let (version, plan) = handle.read(|state| {
            let version = state.registry_version();
            let new = self.done_at != Some(version);
            (version, new.then(|| plan(state, &voters, |id| sync.has(id))).flatten())
        });
        let Some(plan) = plan else {
            self.done_at = Some(version);
            return;
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

/// What to do now; `None` if there is nothing to do, or nothing can be done before every voter has said who it is.
fn plan(state: &State, voters: &[NodeId], is_open: impl Fn(&KeyId) -> bool) -> Option<Plan> {
    let members: Vec<NodeId> = state.members().map(|member| member.node).collect();
    let goes = |node: &NodeId| state.registry().is_removed(*node);
    let known = voters.iter().all(|voter| members.contains(voter) || goes(voter));
    if !known {
        return None;
    }
    let stale = state.keys().filter(|key| key.state != KeyState::Removed && is_open(&key.id));
    let mut stale = stale.filter(|key| !is_sealed_for(state, key, &members));
    let keys: Vec<_> =
        stale.by_ref().take(KEYS_A_ROUND).map(|key| (key.id, key.chain, key.sealed.clone())).collect();
    let left = stale.count();
    let recipients = state.members().map(|member| member.recipient.clone()).collect();
    (!keys.is_empty()).then_some(Plan { members, recipients, keys, left })
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
