//! The async client: one WebSocket over mutual TLS per signer, requests pipelined, failover between signers.
//!
//! Make one [`SignerClient`] per process and clone it. Each request has a deadline; until then the very same payload
//! is asked for again wherever the answer was "not ready", "outcome unknown", or none. That is safe because a signer
//! gives one signature per payload and one payload per duty. A refusal is final and returned at once. Only
//! [`SignerClient::generate_key`] is not repeated once a signer may have heard it: each call makes another key.
//!
//! Certificates, key and authorities are read again when their files change; see [`SignerClient::certificates`].
//!
//! The error says what is known: [`ClientError::Refused`] and [`ClientError::NotReady`] mean that no signature exists
//! because of this request; after [`ClientError::UnknownOutcome`] the duty may be taken, so the caller may ask for the
//! same payload again, but should not count on another one.

mod connection;
mod echo;
mod keys;
mod live;
pub mod pem;
mod route;
mod tls;
mod validity;

pub use keys::KeysStream;
pub use live::CertificateStatus;
pub use tls::{TlsError, TlsSource, tls_from_pem};

use crate::rpc::{
    ErrorKind, GenerateKeyParams, GenerateKeyReply, KeyInfo, KnownKeys, LastSigned, LeaderHint, Question,
    RpcError, SignParams, SignReply, StatusReply,
};
use connection::{Connection, Endpoint, Renewal};
use echo::{Echoes, WireCall};
use jsonrpsee_core::{
    client::{ClientT, Error as JsonRpcError},
    traits::ToRpcParams,
};
use jsonrpsee_ws_client::WsClient;
use live::LiveTls;
use route::{ATTEMPT_LEAST, Failure, Pick, Route, attempt_time};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

/// JSON-RPC code of a jsonrpsee server with too many connections or requests.
const SERVER_IS_BUSY: i32 = -32009;

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For one TCP, TLS and WebSocket handshake.
    pub connect: Duration,
    /// For one attempt at one signer, while others could be asked.
    pub attempt: Duration,
    /// For one request with all its attempts.
    pub deadline: Duration,
}

impl Default for Timeouts {
    /// 3 s to connect, 1 s for an attempt, 10 s for a request.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(1),
            deadline: Duration::from_secs(10),
        }
    }
}

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The signers, `https://host:port` or `wss://host:port`, all of one cluster.
    pub urls: Vec<String>,
    /// The certificates with which client and signers authenticate each other.
    pub tls: TlsSource,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// Why a request gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration names no signer.
    #[error("no signer is configured; give at least one URL")]
    NoUrls,
    /// A URL that cannot be used.
    #[error("signer URL {url:?}: {why}")]
    Url {
        /// The URL, without password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS settings that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A signer refused. Final for this payload, unless the code's kind is `notYet`.
    #[error(transparent)]
    Refused(RpcError),
    /// No signer could serve before the deadline. Nothing was signed.
    #[error("no signer could serve within {after:?}; the last one, {url}, said: {why}")]
    NotReady {
        /// The time spent.
        after: Duration,
        /// The signer asked last.
        url: String,
        /// What it said, or why it said nothing.
        why: String,
    },
    /// A signer may have granted the duty, but no answer came before the deadline. Ask for the same payload again.
    #[error("outcome unknown after {after:?}: {url}: {why}; the same payload may be asked for again")]
    UnknownOutcome {
        /// The time spent.
        after: Duration,
        /// The signer asked last.
        url: String,
        /// What it said, or why it said nothing.
        why: String,
    },
    /// A signer's answer that this client does not understand: another version, or not a signer at all.
    #[error("{url} answered what this client does not understand: {why}; check its version")]
    Protocol {
        /// The signer.
        url: String,
        /// What is wrong.
        why: String,
    },
}

/// A client of one signer cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct SignerClient {
    shared: Arc<Shared>,
    timeouts: Timeouts,
}

struct Shared {
    connections: Vec<Arc<Connection>>,
    tls: Arc<LiveTls>,
    /// The task that follows the files; started by the first request.
    following: Mutex<Option<JoinHandle<()>>>,
    /// Goes up whenever a connection was made again with other certificates.
    renewals: watch::Sender<u64>,
    route: Mutex<Route>,
    /// The latest signatures, to show with the next requests.
    echoes: Echoes,
    /// The start of the clock that the route uses.
    started: Instant,
}

impl fmt::Debug for SignerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.shared.connections.iter().map(|c| &c.endpoint.shown).collect();
        f.debug_struct("SignerClient").field("urls", &urls).field("timeouts", &self.timeouts).finish()
    }
}

/// What a call changes at the signers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It changes nothing, so it is asked again wherever it fails.
    Nothing,
    /// It can use up a duty: the same payload is asked for again, and the outcome may be unknown.
    Claims {
        /// Whether a signer that asks for the proof of what was shown gets it before others are asked.
        can_prove: bool,
    },
    /// Each call makes something new: not asked again where it may have been heard.
    Makes,
}

/// The result of one attempt.
enum Attempt<T> {
    Done(T),
    /// Final: no further attempt.
    Stop(ClientError),
    /// Worth another attempt.
    Again {
        failure: Failure,
        why: Why,
        leader: Option<LeaderHint>,
        /// The signer may have received the claim and granted it.
        maybe_granted: bool,
    },
}

/// Why an attempt failed.
#[derive(Clone, Debug)]
enum Why {
    /// What the signer or the connection said.
    Said(String),
    /// There was no answer within this time.
    Silent(Duration),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(why) => f.write_str(why),
            Self::Silent(time) => write!(f, "no answer within {time:?}"),
        }
    }
}

impl SignerClient {
    /// A client of the signers at `config.urls`. Connects to none of them yet.
    ///
    /// # Errors
    /// URLs or TLS settings that can never work.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let ClientConfig { urls, tls, timeouts } = config;
        if urls.is_empty() {
            return Err(ClientError::NoUrls);
        }
        let tls = Arc::new(LiveTls::new(tls)?);
        let connections = urls
            .iter()
            .map(|url| Ok(Connection::new(Endpoint::parse(url)?, tls.clone(), timeouts)))
            .collect::<Result<Vec<_>, ClientError>>()?;
        let route = Mutex::new(Route::new(connections.len(), 0));
        let shared = Shared {
            connections,
            tls,
            following: Mutex::default(),
            renewals: watch::Sender::new(0),
            route,
            echoes: Echoes::default(),
            started: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared), timeouts })
    }

    /// The certificates in use, and whether they are those in the files; `None` for a client that was not given files.
    pub fn certificates(&self) -> Option<CertificateStatus> {
        self.shared.tls.status()
    }

    /// This client with another deadline for each request.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { shared: self.shared.clone(), timeouts: Timeouts { deadline, ..self.timeouts } }
    }

    /// Connects to every signer, so that the first request and the first failover need no handshake. Gives the URLs
    /// that could not be reached, with the reasons.
    pub async fn warm_up(&self) -> Vec<(String, String)> {
        self.shared.follow_files();
        // Begun together, then awaited one by one.
        let tasks: Vec<_> = self
            .shared
            .connections
            .iter()
            .map(|connection| {
                let connection = connection.clone();
                tokio::spawn(async move {
                    let failed = connection.get().await.err();
                    failed.map(|why| (connection.endpoint.shown.clone(), why))
                })
            })
            .collect();
        let mut failed = Vec::new();
        for task in tasks {
            failed.extend(task.await.ok().flatten());
        }
        failed
    }

    /// The URL that is asked first now: the leader's if it is known.
    pub fn preferred_url(&self) -> &str {
        let at = self.shared.route().preferred();
        self.shared.url(at)
    }

    /// Has one payload signed. Shows the signers the latest signature of the same key and class that this client was
    /// given, so that a cluster that has forgotten it is found out.
    ///
    /// # Errors
    /// See the module.
    pub async fn sign(&self, params: &SignParams) -> Result<SignReply, ClientError> {
        let last = self.shared.echoes.of(params);
        let claimed = last.as_ref().map(echo::claimed);
        let can_prove = last.as_ref().is_some_and(|last| last.signed.is_some());
        let begun = Instant::now();
        let asked = self.ask_for(params, claimed.as_ref(), Effect::Claims { can_prove }).await;
        let reply = match asked {
            // Shown to every signer from here on: the next one may not know of it either.
            Err(ClientError::Refused(error)) if error.data.show_signed == Some(true) && can_prove => {
                let rest = self.with_deadline(self.timeouts.deadline.saturating_sub(begun.elapsed()));
                rest.ask_for(params, last.as_ref(), Effect::Claims { can_prove: false }).await
            }
            asked => asked,
        }?;
        self.shared.echoes.remember(params, last.as_ref(), &reply);
        if let Some(leader) = &reply.leader {
            self.shared.follow(leader);
        }
        Ok(reply)
    }

    async fn ask_for(
        &self,
        params: &SignParams,
        last_signed: Option<&LastSigned>,
        effect: Effect,
    ) -> Result<SignReply, ClientError> {
        let SignParams { chain, key, payload } = params;
        self.call("signer_sign", Some(&WireCall { chain, key, payload, last_signed }), effect).await
    }

    /// Calls a method that a chain family adds to signing.
    ///
    /// # Errors
    /// See the module.
    pub async fn ask<Q: Question>(&self, question: &Q) -> Result<Q::Answer, ClientError> {
        self.call(Q::METHOD, Some(question), Effect::Nothing).await
    }

    /// Has a session key made that never was anywhere else, for this client to use at once. After
    /// [`ClientError::UnknownOutcome`] one may have been made that nobody knows; it counts towards the client's quota
    /// and harms nothing.
    ///
    /// # Errors
    /// See the module.
    pub async fn generate_key(&self, params: &GenerateKeyParams) -> Result<GenerateKeyReply, ClientError> {
        self.call("signer_generateKey", Some(params), Effect::Makes).await
    }

    /// The keys this client may use.
    ///
    /// # Errors
    /// See the module.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, ClientError> {
        let keys: KnownKeys = self.call("signer_keys", None::<&()>, Effect::Nothing).await?;
        Ok(keys.0)
    }

    /// The status of the first signer that answers.
    ///
    /// # Errors
    /// See the module.
    pub async fn status(&self) -> Result<StatusReply, ClientError> {
        self.call("signer_status", None::<&()>, Effect::Nothing).await
    }

    /// Changes of keys and watermarks. Subscribes again by itself when a signer goes away; each subscription begins
    /// with the whole list, so nothing is missed for good.
    ///
    /// # Errors
    /// See the module.
    pub async fn subscribe_keys(&self) -> Result<KeysStream, ClientError> {
        KeysStream::open(self.clone()).await
    }

    /// One call with failover.
    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Option<&impl Serialize>,
        effect: Effect,
    ) -> Result<T, ClientError> {
        let params = match params.map(serde_json::value::to_raw_value).transpose() {
            Ok(params) => Params(params),
            Err(error) => {
                return Err(ClientError::Protocol { url: "this client".into(), why: error.to_string() });
            }
        };
        self.retrying(effect, |client| {
            let params = params.clone();
            async move { client.request::<T, _>(method, params).await }
        })
        .await
    }

    /// Runs `ask` on one signer after the other until one answers, one refuses, or the deadline passes.
    async fn retrying<T, F, A>(&self, effect: Effect, ask: F) -> Result<T, ClientError>
    where
        F: Fn(Arc<WsClient>) -> A,
        A: Future<Output = Result<T, JsonRpcError>>,
    {
        self.shared.follow_files();
        let begun = Instant::now();
        let deadline = begun + self.timeouts.deadline;
        let mut asked = Vec::with_capacity(self.shared.connections.len());
        let mut maybe_granted = false;
        let mut last: Option<(usize, Why)> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // An attempt without a chance would only make the outcome unknown; the first one is always made.
            if left < ATTEMPT_LEAST && last.is_some() || left.is_zero() {
                break;
            }
            let at = match self.shared.pick(&asked) {
                Pick::Use(at) => at,
                Pick::WaitUntil(then_ms) => {
                    let then = self.shared.started + Duration::from_millis(then_ms);
                    tokio::time::sleep_until(then.min(deadline)).await;
                    asked.clear();
                    continue;
                }
            };
            asked.push(at);
            let others = asked.len() < self.shared.connections.len();
            let time = match effect {
                Effect::Nothing | Effect::Claims { .. } => attempt_time(left, self.timeouts.attempt, others),
                // Nobody else is asked if this one stays silent.
                Effect::Makes => left,
            };
            // Once a signer may have granted it, nothing ends the asking that does not say so.
            let effect = match effect {
                Effect::Claims { can_prove } => Effect::Claims { can_prove: can_prove && !maybe_granted },
                Effect::Nothing | Effect::Makes => effect,
            };
            match self.attempt(at, time, effect, &ask).await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Stop(error) => return Err(error),
                Attempt::Again { failure, why, leader, maybe_granted: granted } => {
                    tracing::debug!(url = self.shared.url(at), %why, "a signer did not serve; asking on");
                    maybe_granted |= granted;
                    self.shared.failed(at, failure, leader.as_ref());
                    // What a signer said tells more than that another one said nothing.
                    if matches!(why, Why::Said(_)) || !matches!(last, Some((_, Why::Said(_)))) {
                        last = Some((at, why));
                    }
                    if maybe_granted && effect == Effect::Makes {
                        break;
                    }
                }
            }
        }
        let (url, why) = match last {
            Some((at, why)) => (self.shared.url(at).to_owned(), why.to_string()),
            None => (self.preferred_url().to_owned(), "not asked: all signers failed just before".to_owned()),
        };
        let after = begun.elapsed();
        Err(match maybe_granted {
            true => ClientError::UnknownOutcome { after, url, why },
            false => ClientError::NotReady { after, url, why },
        })
    }

    async fn attempt<T, F, A>(&self, at: usize, time: Duration, effect: Effect, ask: &F) -> Attempt<T>
    where
        F: Fn(Arc<WsClient>) -> A,
        A: Future<Output = Result<T, JsonRpcError>>,
    {
        let connection = &self.shared.connections[at];
        let claims = effect != Effect::Nothing;
        let begun = Instant::now();
        let lost = |why: Why, maybe_granted| Attempt::Again {
            failure: Failure::Lost,
            why,
            leader: None,
            maybe_granted,
        };
        let client = match tokio::time::timeout(time, connection.get()).await {
            Ok(Ok(client)) => client,
            Ok(Err(why)) => return lost(Why::Said(why), false),
            Err(_) => return lost(Why::Silent(time), false),
        };
        let answer = tokio::time::timeout(time.saturating_sub(begun.elapsed()), ask(client.clone())).await;
        match answer {
            Ok(Ok(answer)) => {
                self.shared.route().answered(at);
                Attempt::Done(answer)
            }
            Ok(Err(JsonRpcError::Call(object))) => self.refused(at, object, effect),
            Ok(Err(JsonRpcError::ParseError(error))) => Attempt::Stop(ClientError::Protocol {
                url: connection.endpoint.shown.clone(),
                why: error.to_string(),
            }),
            Ok(Err(error)) => {
                connection.abandon(&client);
                lost(Why::Said(error.to_string()), claims)
            }
            // The connection stays: the signer may only be slow, and pings find out whether it is gone.
            Err(_) => lost(Why::Silent(time), claims),
        }
    }

    /// What a JSON-RPC error from signer `at` means.
    fn refused<T>(&self, at: usize, object: jsonrpsee_types::ErrorObjectOwned, effect: Effect) -> Attempt<T> {
        let error = match RpcError::from_json_rpc(object) {
            Ok(error) => error,
            Err(object) if object.code() == SERVER_IS_BUSY => {
                return Attempt::Again {
                    failure: Failure::Busy,
                    why: Why::Said(object.message().to_owned()),
                    leader: None,
                    maybe_granted: false,
                };
            }
            Err(object) => {
                return Attempt::Stop(ClientError::Protocol {
                    url: self.shared.url(at).to_owned(),
                    why: format!("error {}: {}", object.code(), object.message()),
                });
            }
        };
        if error.data.show_signed == Some(true) && effect == (Effect::Claims { can_prove: true }) {
            return Attempt::Stop(ClientError::Refused(error));
        }
        let maybe_granted = match error.kind() {
            ErrorKind::Refused | ErrorKind::NotYet => {
                self.shared.route().answered(at);
                return Attempt::Stop(ClientError::Refused(error));
            }
            ErrorKind::NotReady => false,
            ErrorKind::Unknown => effect != Effect::Nothing,
        };
        let RpcError { code: _, message, data } = error;
        Attempt::Again { failure: Failure::Busy, why: Why::Said(message), leader: data.leader, maybe_granted }
    }
}

impl Shared {
    /// Sees to it that the files are followed as long as this client is in use. To be called within a runtime.
    fn follow_files(self: &Arc<Self>) {
        if !self.tls.has_files() {
            return;
        }
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if following.as_ref().is_none_or(JoinHandle::is_finished) {
            *following = Some(tokio::spawn(follow(Arc::downgrade(self))));
        }
    }

    /// Makes connections anew that were made with older certificates.
    async fn renew(self: &Arc<Self>) {
        let mut renewals = JoinSet::new();
        for connection in &self.connections {
            let connection = connection.clone();
            renewals.spawn(async move { (connection.endpoint.shown.clone(), connection.renew().await) });
        }
        let (mut done, mut not_taken) = (false, None);
        for (url, renewal) in renewals.join_all().await {
            match renewal {
                Renewal::NotNeeded => {}
                Renewal::Done => done = true,
                Renewal::NotTaken(why) => not_taken = Some(format!("{url}: {why}")),
            }
        }
        if done {
            self.renewals.send_modify(|renewals| *renewals += 1);
        }
        if done || not_taken.is_some() {
            self.tls.tell(not_taken);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn route(&self) -> MutexGuard<'_, Route> {
        // Every step of the route leaves it whole.
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, at: usize) -> &str {
        &self.connections[at].endpoint.shown
    }

    fn pick(&self, asked: &[usize]) -> Pick {
        self.route().pick(self.now_ms(), asked)
    }

    fn failed(&self, at: usize, failure: Failure, leader: Option<&LeaderHint>) {
        self.route().failed(at, failure, self.now_ms(), rand::random());
        if let Some(leader) = leader {
            self.follow(leader);
        }
    }

    /// Goes to the leader directly from now on, if it is one of ours: a hint never makes the client connect elsewhere.
    fn follow(&self, leader: &LeaderHint) {
        let Some(url) = leader.url.as_deref() else { return };
        if let Some(at) = self.connections.iter().position(|c| c.endpoint.is(url)) {
            self.route().leader_is(at, self.now_ms());
        }
    }
}

/// Follows the files of a client until it is gone.
async fn follow(shared: Weak<Shared>) {
    let (mut before, mut tried) = (None, 0);
    for looks in 1u64.. {
        tokio::time::sleep(live::LOOK).await;
        let Some(tls) = shared.upgrade().map(|shared| shared.tls.clone()) else { return };
        // Elsewhere: the files may lie on a file system that does not answer.
        let looked = tokio::task::spawn_blocking(move || tls.look(before)).await;
        let (Ok(found), Some(shared)) = (looked, shared.upgrade()) else { return };
        before = Some(found);
        // Those that a signer did not take are tried again, but not at every look.
        let version = shared.tls.version();
        if version != std::mem::replace(&mut tried, version) || looks.is_multiple_of(5) {
            shared.renew().await;
        }
    }
}

/// Parameters, serialised once for all attempts.
#[derive(Clone)]
struct Params(Option<Box<RawValue>>);

impl ToRpcParams for Params {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        Ok(self.0)
    }
}
