//! The clients' methods (`signer_*`): who asks comes from the TLS layer through the request's extensions, what they
//! get from [`Signer`].

use crate::{
    server::{http::Caller, tls::PeerIdentity},
    sign::{SignRequest, Signer, visible_keys},
};
use http::Extensions;
use jsonrpsee::{
    PendingSubscriptionSink, SubscriptionSink,
    core::{SubscriptionResult, async_trait},
    server::SubscriptionMessage,
};
use signonce_cluster::Handle;
use signonce_core::ClientId;
use signonce_protocol::{
    EpochIndex, Hash, KeyId, KeyType, LogIndex, PublicKey, Slot,
    rpc::{
        ChainRef, ErrorCode, GenerateKeyParams, GenerateKeyReply, KeyInfo, KeyState, KeysEvent, LastSigned,
        PayloadParam, RpcError, SignReply, SignerApiServer, StatusReply, VrfParams, VrfReply,
    },
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// The least time between two events of a subscription: under load every key signs many times a second.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
/// Changes that are sent one by one; more are sent as a whole list.
const CHANGES_MAX: usize = 16;

/// Serves the methods.
pub struct Rpc {
    signer: Arc<Signer>,
    cluster: String,
}

impl Rpc {
    /// For the node in the cluster with this id.
    pub fn new(signer: Arc<Signer>, cluster: String) -> Self {
        Self { signer, cluster }
    }
}

/// Who asks.
fn peer(extensions: &Extensions) -> Result<&PeerIdentity, RpcError> {
    match extensions.get::<Caller>() {
        Some(Caller::Certificate(peer)) => Ok(peer),
        Some(Caller::Local { .. }) | None => {
            Err(RpcError::new(ErrorCode::Forbidden, "only clients with a certificate are served here"))
        }
    }
}

#[async_trait]
impl SignerApiServer for Rpc {
    async fn keys(&self, extensions: &Extensions) -> Result<Vec<KeyInfo>, RpcError> {
        self.signer.keys(peer(extensions)?)
    }

    async fn sign(
        &self,
        extensions: &Extensions,
        chain: ChainRef,
        key: PublicKey,
        payload: PayloadParam,
        last_signed: Option<LastSigned>,
    ) -> Result<SignReply, RpcError> {
        self.signer.sign(peer(extensions)?, SignRequest { chain, key, payload, last_signed }).await
    }

    async fn vrf(
        &self,
        extensions: &Extensions,
        chain: ChainRef,
        key: PublicKey,
        slot: Slot,
        epoch_index: EpochIndex,
        randomness: Hash,
    ) -> Result<VrfReply, RpcError> {
        let request = VrfParams { chain, key, slot, epoch_index, randomness };
        self.signer.vrf(peer(extensions)?, request).await
    }

    async fn generate_key(
        &self,
        extensions: &Extensions,
        chain: ChainRef,
        key_type: KeyType,
    ) -> Result<GenerateKeyReply, RpcError> {
        self.signer.generate_key(peer(extensions)?, GenerateKeyParams { chain, key_type }).await
    }

    async fn status(&self, extensions: &Extensions) -> Result<StatusReply, RpcError> {
        self.signer.client(peer(extensions)?)?;
        let status = self.signer.handle().status();
        let gate = self.signer.gate();
        Ok(StatusReply {
            node: status.node,
            cluster: self.cluster.clone(),
            leader: status.leader,
            leader_url: status.leader.and_then(|leader| gate.client_url(leader)),
            term: status.term,
            applied: status.applied,
            committed: status.committed,
            readiness: gate.readiness(),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    async fn subscribe_keys(
        &self,
        pending: PendingSubscriptionSink,
        extensions: &Extensions,
    ) -> SubscriptionResult {
        let peer = match peer(extensions).and_then(|peer| self.signer.client(peer).map(|_| peer)) {
            Ok(peer) => peer.clone(),
            Err(error) => {
                pending.reject(error).await;
                return Ok(());
            }
        };
        let sink = pending.accept().await?;
        follow_keys(self.signer.handle(), &peer, &sink).await?;
        Ok(())
    }
}

/// Sends the list, then what changes in it, until the subscriber is gone.
async fn follow_keys(
    handle: &Handle,
    peer: &PeerIdentity,
    sink: &SubscriptionSink,
) -> Result<(), serde_json::Error> {
    let mut applied = handle.applied_watch();
    let mut known = Known::default();
    let mut first = true;
    loop {
        // Read before the list, which may thus be newer than it says, never older.
        let at = *applied.borrow_and_update();
        // A client that was removed meanwhile sees no keys: numbers of clients start at 1.
        let keys = handle.read(|state| {
            let client = state.client_by_spki(&peer.spki.0).map_or(ClientId(0), |client| client.id);
            visible_keys(state, client)
        });
        for event in known.events(at, keys, first) {
            let message = SubscriptionMessage::from(serde_json::value::to_raw_value(&event)?);
            // A slow subscriber is waited for; the next event then tells of everything since.
            if sink.send(message).await.is_err() {
                return Ok(());
            }
        }
        first = false;
        tokio::select! {
            () = sink.closed() => return Ok(()),
            changed = async { sleep(EVENT_INTERVAL).await; applied.changed().await } => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// What a subscriber was told last.
#[derive(Default)]
struct Known {
    keys: BTreeMap<KeyId, KeyInfo>,
}

impl Known {
    /// What to tell now that the list is `keys`: nothing if nothing changed, unless this is the `first` event.
    fn events(&mut self, applied: LogIndex, keys: Vec<KeyInfo>, first: bool) -> Vec<KeysEvent> {
        let id = |key: &KeyInfo| KeyId { key_type: key.key_type, public: key.public };
        let present: BTreeMap<KeyId, KeyInfo> = keys.into_iter().map(|key| (id(&key), key)).collect();
        let before = std::mem::replace(&mut self.keys, present);
        let changed =
            self.keys.iter().filter(|(id, key)| before.get(id) != Some(key)).map(|(_, key)| key.clone());
        let gone = before.iter().filter(|(id, _)| !self.keys.contains_key(id)).map(|(_, key)| removed(key));
        let changes: Vec<KeyInfo> = changed.chain(gone).collect();
        if first || changes.len() > CHANGES_MAX {
            return vec![KeysEvent::All { applied, keys: self.keys.values().cloned().collect() }];
        }
        changes.into_iter().map(|key| KeysEvent::Changed { applied, key: Box::new(key) }).collect()
    }
}

fn removed(key: &KeyInfo) -> KeyInfo {
    KeyInfo { state: KeyState::Removed, classes: Vec::new(), ..key.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{DutyClass, GenesisHash, KeyType, Scheme};

    fn key(n: u8, state: KeyState) -> KeyInfo {
        KeyInfo {
            chain: "polkadot".into(),
            genesis: GenesisHash([1; 32]),
            key_type: KeyType::Babe,
            scheme: Scheme::Sr25519,
            public: PublicKey::try_from(&[n; 32][..]).unwrap(),
            state,
            group: None,
            classes: vec![DutyClass::BabeBlock],
            watermarks: vec![],
        }
    }

    fn changed(event: &KeysEvent) -> (u8, KeyState) {
        match event {
            KeysEvent::Changed { key, .. } => (key.public.as_bytes()[0], key.state),
            KeysEvent::All { .. } => panic!("{event:?}"),
        }
    }

    #[test]
    fn a_subscriber_gets_the_list_first_even_if_it_is_empty() {
        let events = Known::default().events(LogIndex(3), vec![], true);
        assert_eq!(events, [KeysEvent::All { applied: LogIndex(3), keys: vec![] }]);
    }

    #[test]
    fn afterwards_only_what_changed_is_told_and_what_is_gone_comes_as_removed() {
        let mut known = Known::default();
        let list = vec![key(1, KeyState::Registered), key(2, KeyState::Armed)];
        known.events(LogIndex(1), list.clone(), true);
        assert_eq!(known.events(LogIndex(2), list, false), []);
        let events = known.events(LogIndex(3), vec![key(1, KeyState::Armed), key(3, KeyState::Armed)], false);
        let told: Vec<_> = events.iter().map(changed).collect();
        assert_eq!(told, [(1, KeyState::Armed), (3, KeyState::Armed), (2, KeyState::Removed)]);
        assert_eq!(
            known.events(LogIndex(4), vec![key(1, KeyState::Armed), key(3, KeyState::Armed)], false),
            []
        );
    }

    #[test]
    fn many_changes_are_told_as_one_list() {
        let mut known = Known::default();
        known.events(LogIndex(1), vec![], true);
        let many: Vec<_> = (0..=CHANGES_MAX as u8).map(|n| key(n, KeyState::Armed)).collect();
        let events = known.events(LogIndex(2), many.clone(), false);
        assert_eq!(events, [KeysEvent::All { applied: LogIndex(2), keys: many }]);
    }
}
