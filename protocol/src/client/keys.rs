//! The stream of key events, which outlives the signers it comes from.

use super::{ClientError, Effect, SignerClient};
use crate::{KeyType, rpc::KeysEvent};
use jsonrpsee_core::client::{Subscription, SubscriptionClientT};
use jsonrpsee_ws_client::WsClient;
use serde_json::Value;
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// Changes of keys and watermarks, from [`SignerClient::subscribe_keys`].
pub struct KeysStream {
    client: SignerClient,
    /// `None` after a signer went away, until the next subscription. Holds the connection too.
    open: Option<(Subscription<Value>, Arc<WsClient>)>,
    /// Changes when connections were made again with other certificates: the subscription then moves to the new one.
    renewals: watch::Receiver<u64>,
}

impl fmt::Debug for KeysStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, open, renewals: _ } = self;
        f.debug_struct("KeysStream").field("client", client).field("open", &open.is_some()).finish()
    }
}

impl KeysStream {
    pub(super) async fn open(client: SignerClient) -> Result<Self, ClientError> {
        let renewals = client.shared.renewals.subscribe();
        let open = Some(subscribe(&client).await?);
        Ok(Self { client, open, renewals })
    }

    /// The next event. After a signer goes away this subscribes at another one, whose first event is the whole list.
    /// Cancel-safe: the future may be dropped and the method called again.
    ///
    /// # Errors
    /// No signer takes the subscription within the client's deadline, or one refuses it. Calling again tries again.
    pub async fn next(&mut self) -> Result<KeysEvent, ClientError> {
        loop {
            let (subscription, _connection) = match &mut self.open {
                Some(open) => open,
                closed => closed.insert(subscribe(&self.client).await?),
            };
            let event = tokio::select! {
                event = subscription.next() => event,
                // The sender lives in the client.
                Ok(()) = self.renewals.changed() => None,
            };
            match event {
                // An event about a key of a chain that this client does not know.
                Some(Ok(event)) if is_foreign(&event) => {}
                Some(Ok(event)) => match serde_json::from_value(event) {
                    Ok(event) => return Ok(event),
                    Err(error) => return Err(self.unreadable(&error)),
                },
                Some(Err(error)) => return Err(self.unreadable(&error)),
                None => self.open = None,
            }
        }
    }

    fn unreadable(&mut self, error: &serde_json::Error) -> ClientError {
        self.open = None;
        ClientError::Protocol { url: self.client.preferred_url().to_owned(), why: error.to_string() }
    }
}

/// Whether an event is about a key of a type that no installed family has.
fn is_foreign(event: &Value) -> bool {
    event["key"]["type"].as_str().is_some_and(|name| name.parse::<KeyType>().is_err())
}

async fn subscribe(client: &SignerClient) -> Result<(Subscription<Value>, Arc<WsClient>), ClientError> {
    client
        .retrying(Effect::Nothing, |connection| async move {
            let subscription = connection
                .subscribe("signer_subscribeKeys", jsonrpsee_core::rpc_params![], "signer_unsubscribeKeys")
                .await?;
            Ok((subscription, connection))
        })
        .await
}
