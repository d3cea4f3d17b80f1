//! A cluster behind JSON-RPC: what the sidecar asks.

use crate::{
    keys::KnownFile,
    signers::{Signers, Unsigned},
};
use signonce_protocol::{
    client::{ClientError, SignerClient},
    rpc::{KeyInfo, KeysEvent, SignParams, SignReply},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// How often a cluster that cannot sign is asked whether it can.
const LOOK: Duration = Duration::from_millis(100);
/// How long one such question may take.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// The pause before another attempt to subscribe to the keys.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);

type Known = Option<Arc<Vec<KeyInfo>>>;

/// A cluster, asked through its client.
pub struct Remote {
    client: SignerClient,
    keys: watch::Receiver<Known>,
}

impl Remote {
    /// A cluster, and the task that follows its keys, which runs as long as this or a clone of its list is in use.
    /// Starts with the keys of `file`, where they are kept for the next start.
    pub fn new(client: SignerClient, file: Option<KnownFile>) -> (Self, impl Future<Output = ()> + Send) {
        let (told, keys) = watch::channel(file.as_ref().and_then(KnownFile::read).map(Arc::new));
        let following = follow(client.clone(), told, file);
        (Self { client, keys }, following)
    }
}

impl Signers for Remote {
    async fn sign(&self, params: &SignParams, within: Duration) -> Result<SignReply, Unsigned> {
        self.client.with_deadline(within).sign(params).await.map_err(|error| match error {
            ClientError::Refused(error) => Unsigned::Refused(error),
            ClientError::NoUrls
            | ClientError::Url { .. }
            | ClientError::Tls(_)
            | ClientError::NotReady { .. }
            | ClientError::UnknownOutcome { .. }
            | ClientError::Protocol { .. } => Unsigned::NotNow(error.to_string()),
        })
    }

    fn keys(&self) -> watch::Receiver<Known> {
        self.keys.clone()
    }

    async fn ready(&self) {
        let client = self.client.with_deadline(LOOK_TIME);
        while !client.status().await.is_ok_and(|status| status.readiness.ready) {
            sleep(LOOK).await;
        }
    }
}

/// Follows the client's keys.
async fn follow(client: SignerClient, told: watch::Sender<Known>, file: Option<KnownFile>) {
    let mut complained = false;
    while !told.is_closed() {
        match client.subscribe_keys().await {
            Ok(mut stream) => {
                while let Ok(event) = stream.next().await {
                    complained = false;
                    let now = changed(told.borrow().as_deref(), event);
                    if let Some(file) = &file {
                        file.write(&now);
                    }
                    told.send_replace(Some(Arc::new(now)));
                }
            }
            Err(error) if !std::mem::replace(&mut complained, true) => {
                tracing::warn!(%error, "the signers do not tell which keys they have; asking on");
            }
            Err(_) => {}
        }
        sleep(SUBSCRIBE_PAUSE).await;
    }
}

/// The keys after an event.
fn changed(known: Option<&Vec<KeyInfo>>, event: KeysEvent) -> Vec<KeyInfo> {
    match event {
        KeysEvent::All { applied: _, keys } => keys,
        KeysEvent::Changed { applied: _, key } => {
            let same = |other: &KeyInfo| {
                (other.genesis, other.key_type, other.public) == (key.genesis, key.key_type, key.public)
            };
            let mut keys: Vec<_> =
                known.into_iter().flatten().filter(|other| !same(other)).cloned().collect();
            keys.push(*key);
            keys
        }
    }
}
