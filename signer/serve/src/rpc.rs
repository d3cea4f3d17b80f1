//! The clients' methods (`signer_*`). The TLS layer says who asks, through the request's extensions; [`Signer`] gives
//! the answers. Every message is paid for: [`ClientToll`].

use crate::{
    limits::{Buckets, Rate},
    sign::{KeyList, SignRequest, Signer},
};
use http::Extensions;
use jsonrpsee::{
    PendingSubscriptionSink, SubscriptionSink,
    core::{SubscriptionResult, async_trait},
    server::SubscriptionMessage,
    types::ErrorObjectOwned,
};
use serde_json::value::{RawValue, to_raw_value};
use signonce_listen::{caller::Caller, calls::Toll};
use signonce_protocol::{
    Hash, KeyState, KeyType, PublicKey, Slot,
    rpc::{
        ChainRef, ErrorCode, GenerateKeyParams, GenerateKeyReply, KeyInfo, KeysEvent, LastSigned,
        PayloadParam, RpcError, SignReply, SignerApiServer, StatusReply,
    },
};
use signonce_shared::tls::Fingerprint;
use signonce_substrate::{EpochIndex, VrfParams, VrfReply, rpc::SubstrateApiServer};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The least time between two events of a subscription: under load every key signs many times a second.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
/// The most changes that are sent one by one; if there are more, the whole list is sent.
const CHANGES_MAX: usize = 16;
/// The rate for callers that are not clients: members that ask for reports, new nodes that join, strangers.
const OTHERS: Rate = Rate { per_second: 20, burst: 40 };
/// Methods that pay for themselves, so that their refusals are in the audit.
const PAY_THEMSELVES: [&str; 3] = ["signer_sign", "signer_vrf", "signer_generateKey"];

/// Serves the methods.
#[derive(Clone)]
pub struct Rpc {
    signer: Arc<Signer>,
    cluster: String,
}

impl Rpc {
    /// For a node in the cluster with this id.
    pub fn new(signer: Arc<Signer>, cluster: String) -> Self {
        Self { signer, cluster }
    }
}

/// The cost of messages on the client port: one request each, out of what the client may ask of this node. Lists cost
/// more, by their length.
pub struct ClientToll {
    signer: Arc<Signer>,
    others: Buckets<Fingerprint>,
}

impl ClientToll {
    /// For this signer.
    pub fn new(signer: Arc<Signer>) -> Self {
        Self { signer, others: Buckets::default() }
    }
}

impl Toll for ClientToll {
    fn pay(&self, asker: &Extensions, method: Option<&str>) -> Result<(), ErrorObjectOwned> {
        let caller = caller(asker)?;
        if self.signer.is_client(caller) {
            let paid_later = method.is_some_and(|method| PAY_THEMSELVES.contains(&method));
            return if paid_later { Ok(()) } else { Ok(self.signer.pay(caller, 1)?) };
        }
        let Some(peer) = caller.certificate() else {
            let why = format!("{caller} is not a client of this cluster (any more)");
            return Err(RpcError::new(ErrorCode::Forbidden, why).into());
        };
        self.others.take(peer.spki, OTHERS, 1, Instant::now()).map_err(|wait| {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
            let mut error = RpcError::rate_limited(wait);
            error.message = format!(
                "the certificate with SPKI fingerprint {} is not a client's and asks more than {} times a second",
                peer.spki, OTHERS.per_second
            );
            error.into()
        })
    }
}

/// The caller.
fn caller(extensions: &Extensions) -> Result<&Caller, RpcError> {
    match extensions.get::<Caller>() {
        Some(caller @ (Caller::Certificate(_) | Caller::Dialled { .. })) => Ok(caller),
        Some(Caller::Local { .. }) | None => {
            Err(RpcError::new(ErrorCode::Forbidden, "only clients with a certificate are served here"))
        }
    }
}

#[async_trait]
impl SignerApiServer for Rpc {
    async fn keys(&self, extensions: &Extensions) -> Result<Vec<KeyInfo>, RpcError> {
        self.signer.keys(caller(extensions)?)
    }

    async fn sign(
        &self,
        extensions: &Extensions,
        chain: ChainRef,
        key: PublicKey,
        payload: PayloadParam,
        last_signed: Option<LastSigned>,
    ) -> Result<SignReply, RpcError> {
        self.signer.sign(caller(extensions)?, SignRequest { chain, key, payload, last_signed }).await
    }

    async fn generate_key(
        &self,
        extensions: &Extensions,
        chain: ChainRef,
        key_type: KeyType,
    ) -> Result<GenerateKeyReply, RpcError> {
        self.signer.generate_key(caller(extensions)?, GenerateKeyParams { chain, key_type }).await
    }

    async fn status(&self, extensions: &Extensions) -> Result<StatusReply, RpcError> {
        self.signer.client(caller(extensions)?)?;
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
        let subscribed =
            caller(extensions).and_then(|caller| Ok((caller.clone(), self.signer.subscribe(caller)?)));
        let (caller, _place) = match subscribed {
            Ok(subscribed) => subscribed,
            Err(error) => {
                pending.reject(error).await;
                return Ok(());
            }
        };
        let sink = pending.accept().await?;
        follow_keys(&self.signer, &caller, &sink).await?;
        Ok(())
    }
}

#[async_trait]
impl SubstrateApiServer for Rpc {
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
        self.signer.vrf(caller(extensions)?, request).await
    }
}

/// Sends the list, then its changes, until the subscriber is gone.
async fn follow_keys(
    signer: &Signer,
    caller: &Caller,
    sink: &SubscriptionSink,
) -> Result<(), serde_json::Error> {
    let handle = signer.handle();
    let mut applied = handle.applied_watch();
    let mut known: Option<Arc<KeyList>> = None;
    loop {
        let at = *applied.borrow_and_update();
        // A client that was removed in the meantime sees no keys.
        let list = tokio::select! {
            list = signer.lists().since(handle, caller, at) => list,
            () = sink.closed() => return Ok(()),
        };
        for event in events(known.as_deref(), &list)? {
            // A slow subscriber is waited for; the next event then covers everything since.
            if sink.send(SubscriptionMessage::from(event)).await.is_err() {
                return Ok(());
            }
        }
        known = Some(list);
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

/// The events for a subscriber that has seen `before`, now that the list is `now`: the whole list at first and where
/// much has changed, none if nothing has.
fn events(before: Option<&KeyList>, now: &KeyList) -> Result<Vec<Box<RawValue>>, serde_json::Error> {
    let Some(before) = before else { return Ok(now.event().map(ToOwned::to_owned).into_iter().collect()) };
    let changed = now.keys.iter().filter(|(id, key)| before.keys.get(id) != Some(key));
    let gone = before.keys.iter().filter(|(id, _)| !now.keys.contains_key(id));
    let changes: Vec<KeyInfo> =
        changed.map(|(_, key)| key.clone()).chain(gone.map(|(_, key)| removed(key))).collect();
    if changes.len() > CHANGES_MAX {
        return Ok(now.event().map(ToOwned::to_owned).into_iter().collect());
    }
    let applied = now.applied;
    let event = |key: KeyInfo| to_raw_value(&KeysEvent::Changed { applied, key: Box::new(key) });
    changes.into_iter().map(event).collect()
}

fn removed(key: &KeyInfo) -> KeyInfo {
    KeyInfo { state: KeyState::Removed, classes: Vec::new(), ..key.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{ChainId, LogIndex};
    use signonce_substrate::{BABE, BABE_BLOCK, SR25519};

    fn key(n: u8, state: KeyState) -> KeyInfo {
        KeyInfo {
            chain: "polkadot".into(),
            genesis: ChainId([1; 32]),
            key_type: BABE,
            scheme: SR25519,
            public: PublicKey::try_from(&[n; 32][..]).unwrap(),
            state,
            group: None,
            classes: vec![BABE_BLOCK],
            watermarks: vec![],
        }
    }

    fn list(at: u64, keys: &[(u8, KeyState)]) -> KeyList {
        KeyList::new(LogIndex(at), keys.iter().map(|(n, state)| key(*n, *state)).collect())
    }

    fn told(before: Option<&KeyList>, now: &KeyList) -> Vec<KeysEvent> {
        let read = |event: &RawValue| serde_json::from_str(event.get()).unwrap();
        events(before, now).unwrap().iter().map(|event| read(event)).collect()
    }

    fn changed(event: &KeysEvent) -> (u8, KeyState) {
        match event {
            KeysEvent::Changed { key, .. } => (key.public.as_bytes()[0], key.state),
            KeysEvent::All { .. } => panic!("{event:?}"),
        }
    }

    #[test]
    fn a_subscriber_gets_the_list_first_even_if_it_is_empty() {
        let all = KeysEvent::All { applied: LogIndex(3), keys: vec![] };
        assert_eq!(told(None, &list(3, &[])), [all]);
    }

    #[test]
    fn afterwards_only_what_changed_is_told_and_what_is_gone_comes_as_removed() {
        let first = list(1, &[(1, KeyState::Registered), (2, KeyState::Armed)]);
        assert_eq!(told(Some(&first), &first), []);
        let second = list(3, &[(1, KeyState::Armed), (3, KeyState::Armed)]);
        let events: Vec<_> = told(Some(&first), &second).iter().map(changed).collect();
        assert_eq!(events, [(1, KeyState::Armed), (3, KeyState::Armed), (2, KeyState::Removed)]);
        assert_eq!(told(Some(&second), &second), []);
    }

    #[test]
    fn many_changes_are_told_as_one_list() {
        let many: Vec<_> = (0..=CHANGES_MAX as u8).map(|n| (n, KeyState::Armed)).collect();
        let keys = many.iter().map(|(n, state)| key(*n, *state)).collect();
        let all = KeysEvent::All { applied: LogIndex(2), keys };
        assert_eq!(told(Some(&list(1, &[])), &list(2, &many)), [all]);
    }
}
