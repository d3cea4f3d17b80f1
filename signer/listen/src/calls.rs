//! JSON-RPC 2.0: from the bytes of a message to the bytes of its answer, alike over HTTP and on a WebSocket.
//!
//! Everything with an `id` gets an answer, even if the id is not valid: then the answer says which ids are. Every call
//! is paid for before it is made ([`Toll`]), and so is anything that is not a call.

use http::Extensions;
use jsonrpsee::{
    core::{
        id_providers::RandomIntegerIdProvider,
        server::{ConnectionId, MethodCallback, MethodSink, Methods, SubscriptionState},
        traits::IdProvider,
    },
    types::{
        ErrorCode, ErrorObjectOwned, Id, Params, TwoPointZero,
        error::{
            reject_too_big_batch_request, reject_too_big_batch_response, reject_too_big_request,
            reject_too_many_subscriptions,
        },
    },
};
use serde::{Deserialize, Deserializer};
use serde_json::{
    error::Category,
    value::{RawValue, to_raw_value},
};
use signonce_protocol::rpc::{MAX_BATCH, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// The most key subscriptions on one connection: the first event is the whole list, so more would add nothing.
pub const SUBSCRIPTIONS: u32 = 1;
/// How long a subscription waits for the previous one to end, which may have been asked to end just now.
const SUCCESSION: Duration = Duration::from_secs(1);
/// The valid ids, for messages.
const IDS: &str = "the id of a request is a whole number from 0 to 18446744073709551615, a string, or null";

/// What calls cost.
pub trait Toll: Send + Sync + 'static {
    /// Takes the cost of one message of this caller. `method` is `None` where the message is not a call.
    ///
    /// # Errors
    /// If the caller has asked for too much.
    fn pay(&self, asker: &Extensions, method: Option<&str>) -> Result<(), ErrorObjectOwned>;
}

/// The methods of a port.
pub struct Calls {
    methods: Methods,
    toll: Arc<dyn Toll>,
}

/// The way back to the caller on a WebSocket, for subscriptions.
#[derive(Clone)]
pub struct Line {
    sink: MethodSink,
    connection: ConnectionId,
    subscriptions: Arc<Semaphore>,
}

impl Line {
    /// Sends to `sink`. `connection` must be unique.
    pub fn new(sink: MethodSink, connection: usize) -> Self {
        let subscriptions = Arc::new(Semaphore::new(SUBSCRIPTIONS as usize));
        Self { sink, connection: ConnectionId(connection), subscriptions }
    }
}

/// The fields that every message has. They are read one by one, so that a bad field does not take the id with it.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "there")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    params: Option<&'a RawValue>,
}

/// Reads a field that is present, even if it is null.
fn there<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// A call that can be made.
struct Call<'a> {
    id: Id<'static>,
    method: String,
    params: Option<&'a str>,
}

/// A message after it was parsed.
enum Message<'a> {
    Call(Call<'a>),
    /// No notifications are served: it is dropped.
    Notification,
    /// Not valid; this is the answer.
    Wrong(Box<RawValue>),
}

impl Calls {
    /// Serves `methods`, each at the price of `toll`.
    pub fn new(methods: Methods, toll: Arc<dyn Toll>) -> Self {
        Self { methods, toll }
    }

    /// Answers one message. Notifications have no answer, and subscriptions answer through their sink.
    pub async fn answer(
        &self,
        message: &[u8],
        asker: &Extensions,
        line: Option<&Line>,
    ) -> Option<Box<RawValue>> {
        let Ok(text) = std::str::from_utf8(message) else {
            return Some(self.wrong(asker, ErrorCode::ParseError.into()));
        };
        if text.trim_start().starts_with('[') {
            self.batch(text, asker).await
        } else {
            self.one(text, asker, line).await
        }
    }

    async fn batch(&self, text: &str, asker: &Extensions) -> Option<Box<RawValue>> {
        let entries = match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(entries) if entries.is_empty() => {
                return Some(self.wrong(asker, ErrorCode::InvalidRequest.into()));
            }
            Ok(entries) => entries,
            Err(_) => return Some(self.wrong(asker, ErrorCode::ParseError.into())),
        };
        if entries.len() > MAX_BATCH as usize {
            return Some(self.wrong(asker, reject_too_big_batch_request(MAX_BATCH as usize)));
        }
        let mut answers = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let Some(answer) = self.one(entry.get(), asker, None).await else { continue };
            bytes += answer.get().len() + 1;
            if bytes > MAX_RESPONSE_BYTES as usize {
                return Some(error(&Id::Null, reject_too_big_batch_response(MAX_RESPONSE_BYTES as usize)));
            }
            answers.push(answer);
        }
        // There were only notifications.
        (!answers.is_empty()).then(|| to_raw_value(&answers).expect("a list of JSON is JSON"))
    }

    async fn one(&self, text: &str, asker: &Extensions, line: Option<&Line>) -> Option<Box<RawValue>> {
        match read(text) {
            Message::Call(call) => match self.toll.pay(asker, Some(&call.method)) {
                Ok(()) => self.call(call, asker, line).await,
                Err(refused) => Some(error(&call.id, refused)),
            },
            // What gets no answer cannot be refused either, so it is dropped in any case.
            Message::Notification => {
                let _ = self.toll.pay(asker, None);
                None
            }
            Message::Wrong(answer) => match self.toll.pay(asker, None) {
                Ok(()) => Some(answer),
                Err(refused) => Some(error(&Id::Null, refused)),
            },
        }
    }

    async fn call(&self, call: Call<'_>, asker: &Extensions, line: Option<&Line>) -> Option<Box<RawValue>> {
        let Call { id, method, params } = call;
        let params = Params::new(params);
        let limit = MAX_RESPONSE_BYTES as usize;
        let connection = line.map_or(ConnectionId(0), |line| line.connection);
        let response = match (self.methods.method(&method), line) {
            (None, _) => return Some(error(&id, ErrorCode::MethodNotFound.into())),
            (Some(MethodCallback::Sync(callback)), _) => callback(id, params, limit, asker.clone()),
            (Some(MethodCallback::Async(callback)), _) => {
                callback(id, params.into_owned(), connection, limit, asker.clone()).await
            }
            (Some(MethodCallback::Unsubscription(callback)), Some(_)) => {
                callback(id, params, connection, limit, asker.clone())
            }
            (Some(MethodCallback::Subscription(callback)), Some(line)) => {
                let place = Arc::clone(&line.subscriptions).acquire_owned();
                let Ok(Ok(subscription_permit)) = timeout(SUCCESSION, place).await else {
                    return Some(error(&id, reject_too_many_subscriptions(SUBSCRIPTIONS)));
                };
                let id_provider: &dyn IdProvider = &RandomIntegerIdProvider;
                let state = SubscriptionState { conn_id: connection, id_provider, subscription_permit };
                callback(id, params, line.sink.clone(), state, asker.clone()).await
            }
            (Some(MethodCallback::Subscription(_) | MethodCallback::Unsubscription(_)), None) => {
                let why = format!("{method} needs a WebSocket (wss://) and stands by itself, not in a batch");
                return Some(error(
                    &id,
                    ErrorObjectOwned::owned(ErrorCode::InvalidRequest.code(), why, None::<()>),
                ));
            }
        };
        (!response.is_subscription()).then(|| response.into_json())
    }

    /// The answer to something that is not a call; it costs as much as one.
    fn wrong(&self, asker: &Extensions, why: ErrorObjectOwned) -> Box<RawValue> {
        error(&Id::Null, self.toll.pay(asker, None).err().unwrap_or(why))
    }
}

fn read(text: &str) -> Message<'_> {
    let wrong = |id: &str, code: ErrorCode, why: &str| Message::Wrong(error_to(id, code, why));
    let Envelope { jsonrpc, id, method, params } = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) => {
            let code = match error.classify() {
                Category::Data => ErrorCode::InvalidRequest,
                Category::Syntax | Category::Eof | Category::Io => ErrorCode::ParseError,
            };
            return wrong("null", code, code.message());
        }
    };
    // serde would read a list of the same fields in the same order, too.
    if !text.trim_start().starts_with('{') {
        return wrong("null", ErrorCode::InvalidRequest, ErrorCode::InvalidRequest.message());
    }
    let known_id = match id.map(|raw| serde_json::from_str::<Id<'_>>(raw.get()).map(Id::into_owned)) {
        Some(Ok(id)) => Some(id),
        // A number can be given back as it came.
        Some(Err(_)) => {
            let raw = id.map_or("null", RawValue::get);
            let number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
            return wrong(if number { raw } else { "null" }, ErrorCode::InvalidRequest, IDS);
        }
        None => None,
    };
    let version = jsonrpc.is_some_and(|raw| serde_json::from_str::<TwoPointZero>(raw.get()).is_ok());
    let method = method.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    match (known_id, version, method) {
        (Some(id), true, Some(method)) => {
            let params = params.map(RawValue::get).filter(|params| *params != "null");
            Message::Call(Call { id, method, params })
        }
        (None, true, Some(_)) => Message::Notification,
        (_, false, _) => {
            wrong(id.map_or("null", RawValue::get), ErrorCode::InvalidRequest, "jsonrpc must be \"2.0\"")
        }
        (_, true, None) => {
            wrong(id.map_or("null", RawValue::get), ErrorCode::InvalidRequest, "method must be a string")
        }
    }
}

/// The answer to a message of more than [`MAX_REQUEST_BYTES`], whose id was not read.
pub fn too_large() -> Box<RawValue> {
    error(&Id::Null, reject_too_big_request(MAX_REQUEST_BYTES))
}

fn error_to(id: &str, code: ErrorCode, why: &str) -> Box<RawValue> {
    let id = RawValue::from_string(id.to_owned()).expect("it was read as JSON");
    error(&id, ErrorObjectOwned::owned(code.code(), why, None::<()>))
}

fn error(id: &impl serde::Serialize, error: ErrorObjectOwned) -> Box<RawValue> {
    #[derive(serde::Serialize)]
    struct Answer<'a, I> {
        jsonrpc: TwoPointZero,
        id: &'a I,
        error: ErrorObjectOwned,
    }
    to_raw_value(&Answer { jsonrpc: TwoPointZero, id, error }).expect("ids and errors are JSON")
}

#[cfg(test)]
mod tests;
