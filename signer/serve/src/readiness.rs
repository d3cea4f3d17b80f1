//! Whether this node serves: `/readyz`, `signer_status` and every new duty ask here.
//!
//! A node is ready while it gets things done, not because it once did: if an fsync, an entry to be applied, or the
//! answer of the members that it needs for a quorum has been under way for seconds, the node is not ready
//! ([`signonce_cluster::Unfinished`]).

use crate::undecided;
use crate::{clock::Clock, keyring_sync::KeyringSync};
use signonce_cluster::{Handle, LivePeerTls, NotReady};
use signonce_core::KeyState;
use signonce_keys::Keyring;
use signonce_protocol::{
    NodeId,
    rpc::{LeaderHint, Readiness, RpcError},
};
use signonce_shared::config::Config;
use std::{collections::BTreeMap, sync::Arc};

/// How many log entries a node may be behind and still be trusted when it says that something is not in the registry.
const LAG_MAX: u64 = 1_024;

/// Decides whether requests are let in.
pub struct Gate {
    handle: Handle,
    keyring: Arc<Keyring>,
    sync: Arc<KeyringSync>,
    clock: Arc<Clock>,
    peers: LivePeerTls,
    /// The members' client URLs in the configuration; what members announced takes precedence.
    urls: BTreeMap<NodeId, String>,
}

impl Gate {
    /// The gate of a started node.
    pub fn new(
        handle: Handle,
        keyring: Arc<Keyring>,
        sync: Arc<KeyringSync>,
        clock: Arc<Clock>,
        peers: LivePeerTls,
        config: &Config,
    ) -> Self {
        let urls =
            config.cluster.members.iter().map(|member| (member.id, member.client_url.clone())).collect();
        Self { handle, keyring, sync, clock, peers, urls }
    }

    /// The client URL of a member.
    pub fn client_url(&self, node: NodeId) -> Option<String> {
        let announced =
            self.handle.read(|state| state.member(node).map(|(member, _)| member.client_url.clone()));
        announced.or_else(|| self.urls.get(&node).cloned())
    }

    /// The leader, unless it is this node, to which a caller need not come back.
    pub fn leader_hint(&self) -> Option<LeaderHint> {
        let node = self.handle.status().leader.filter(|leader| *leader != self.handle.node())?;
        Some(LeaderHint { node, url: self.client_url(node) })
    }

    /// Checks before any new work: the fence has passed, a leader is known, the node is not stopping.
    ///
    /// # Errors
    /// `notReady`, with the leader.
    pub fn check(&self) -> Result<(), RpcError> {
        let leader = || self.leader_hint();
        self.handle.ready().map_err(|why| RpcError::not_ready(undecided::why_not_ready(&why), leader()))
    }

    /// Checks before work bound to a slot: the clock can be trusted.
    ///
    /// # Errors
    /// `notReady`, with the leader.
    pub fn check_clock(&self) -> Result<(), RpcError> {
        self.clock.look().map_err(|why| RpcError::not_ready(why, self.leader_hint()))
    }

    /// Checks before this node says that something is not in the registry: it is up to date enough to know.
    ///
    /// # Errors
    /// `notReady`, with the leader.
    pub fn check_caught_up(&self) -> Result<(), RpcError> {
        self.check()?;
        let status = self.handle.status();
        let behind = status.committed.0.saturating_sub(status.applied.0);
        if behind > LAG_MAX {
            let why = format!("it is {behind} log entries behind and does not know the present registry");
            return Err(RpcError::not_ready(why, self.leader_hint()));
        }
        Ok(())
    }

    /// All checks at once, for probes.
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if let Err(why) = self.handle.ready() {
            reasons.push(undecided::why_not_ready(&why));
            reasons.extend(self.nobody_answers(&why));
        }
        reasons.extend(self.clock.look().err().map(|why| why.to_string()));
        reasons.extend(self.keys_missing());
        if !reasons.is_empty() {
            // Not a reason in itself: one peer with a bad certificate must not take this node out of service.
            let strangers = self.peers.strangers().into_iter();
            reasons.extend(strangers.map(|(node, why)| {
                format!("the certificates of this node and of node {node} do not fit ({why})")
            }));
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    /// The silent members, where they are the reason.
    fn nobody_answers(&self, why: &NotReady) -> Option<String> {
        let silent = self.handle.silent_voters();
        if *why != NotReady::NoLeader || silent.is_empty() {
            return None;
        }
        let names: Vec<String> = silent.iter().map(|node| format!("node {node}")).collect();
        Some(format!("nothing is heard of {}", names.join(" and ")))
    }

    /// How many keys are open on this node, and how many should be and are not.
    pub fn key_counts(&self) -> (usize, usize) {
        (self.keyring.ids().len(), self.sync.locked().len())
    }

    /// How many keys are halted, by what this node has applied.
    pub fn keys_halted(&self) -> usize {
        self.handle.read(|state| state.registry().halts().count())
    }

    /// Whether keys are missing: one key that does not open must not take the others out of service, but if none opens
    /// the node is not ready.
    fn keys_missing(&self) -> Option<String> {
        if !self.sync.has_synced() {
            return Some("keys are not unlocked yet".into());
        }
        let armed = self.handle.read(|state| {
            let armed = state.keys().filter(|key| key.state == KeyState::Armed);
            armed.map(|key| self.keyring.contains(&key.id)).collect::<Vec<_>>()
        });
        let none_opens = !armed.is_empty() && !armed.contains(&true);
        none_opens.then(|| {
            format!("none of the {} armed keys opens here; seal them to this node again", armed.len())
        })
    }
}
