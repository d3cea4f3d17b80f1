//! The loop for one node: dial, answer, leave when no signer can answer, come back.

use crate::{
    address::NodeAddress,
    identity::Identity,
    keys::{KeyFilter, NoKey, key_of},
    link::{self, Life, Link, ReadError, Reader},
    message::{self, Request},
    metrics::{Kind, Metrics, NodeMetrics},
    outcome::{Disposition, disposition},
    signers::{Signers, Unsigned},
};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use signonce_cometbft::{Connection, proposal_payload, vote_payload};
use signonce_protocol::{
    KeyState, PublicKey,
    rpc::{ChainRef, KeyInfo, SignParams, SignReply, SignVerdict},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tendermint_proto::v0_38::privval::Message;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a request is held while signers cannot answer. Nodes give up after 5 s.
pub const HOLD: Duration = Duration::from_secs(4);
/// How long a node may be silent: it pings after 3.3 s without anything else.
const SILENCE: Duration = Duration::from_secs(15);
/// The pauses between attempts to reach a node. Whoever is asked for a vote in a second must not wait long for us.
const DIAL_FIRST: Duration = Duration::from_millis(50);
const DIAL_LONGEST: Duration = Duration::from_millis(500);
/// The pauses after nonsense, when whoever is there may not be a node.
const NONSENSE_FIRST: Duration = Duration::from_secs(1);
const NONSENSE_LONGEST: Duration = Duration::from_secs(30);
/// The pauses after a connection on which nothing came of it: a node's tries are not used up by a front that keeps
/// coming and going.
const FRUITLESS_FIRST: Duration = Duration::from_millis(200);
const FRUITLESS_LONGEST: Duration = Duration::from_secs(5);
/// The requests that wait to be answered. A node has one under way, and this bounds one that floods.
const WAITING: usize = 4;

/// A node to serve.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it listens.
    pub address: NodeAddress,
    /// The chain-id that it must be of; `None` for any that the signers have a key of.
    pub chain: Option<String>,
    /// The keys that it may have used.
    pub keys: KeyFilter,
}

/// Keeps `node` connected and answers it until `stop`; a request that is being answered then still is.
pub async fn serve<S: Signers>(
    node: Node,
    signers: Arc<S>,
    identity: Identity,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let metrics = metrics.of(node.address.to_string());
    let front = Front { node, signers, identity, metrics, stop };
    front.run().await;
}

struct Front<S> {
    node: Node,
    signers: Arc<S>,
    identity: Identity,
    metrics: NodeMetrics,
    stop: CancellationToken,
}

/// Why a connection was left.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error("this front was stopped")]
    Stopped,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the answer could not be sent: {0}")]
    Send(std::io::Error),
    #[error("the node said nothing for {SILENCE:?}")]
    Silent,
    #[error("the node sent a message that is no request: {0}")]
    Nonsense(message::Unreadable),
    #[error("no signer could answer: {0}")]
    NotNow(String),
    #[error("the signers cannot use the key {key} now, which is {state}: {why}")]
    NotArmed { key: PublicKey, state: KeyState, why: String },
}

/// What is done before the node is dialled again.
enum Next {
    Dial,
    /// Once the signers are ready.
    WhenReady,
    /// Once the key is armed, and the signers are ready.
    WhenArmed(PublicKey),
    AfterNonsense,
}

impl Left {
    fn next(&self) -> Next {
        match self {
            Self::Read(error) if error.is_nonsense() => Next::AfterNonsense,
            Self::Nonsense(_) => Next::AfterNonsense,
            Self::Stopped | Self::Read(_) | Self::Send(_) | Self::Silent => Next::Dial,
            Self::NotNow(_) => Next::WhenReady,
            Self::NotArmed { key, .. } => Next::WhenArmed(*key),
        }
    }
}

/// What came of a connection.
#[derive(Clone, Copy, Default)]
struct Served {
    /// Requests that were answered.
    answers: u64,
    /// Those among them that were for votes and proposals.
    votes: u64,
}

/// How a request ended.
enum Ended {
    /// With this answer, of this outcome.
    Answered(Message, &'static str),
    /// Without one.
    Left(Left),
}

fn pauses(first: Duration, longest: Duration) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}

fn after_nonsense() -> impl Iterator<Item = Duration> + Send {
    pauses(NONSENSE_FIRST, NONSENSE_LONGEST)
}

fn after_nothing() -> impl Iterator<Item = Duration> + Send {
    pauses(FRUITLESS_FIRST, FRUITLESS_LONGEST)
}

impl<S: Signers> Front<S> {
    /// Keeps the node connected until the stop.
    async fn run(self) {
        // Ends where it waits; an answer under way is still given.
        if self.keep_connected().await.is_none() {
            tracing::debug!(node = %self.node.address, "no longer served");
        }
    }

    /// Waits for something; `None` if the stop comes first.
    async fn unless_stopped<T>(&self, until: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            done = until => Some(done),
        }
    }

    /// `None` once it was stopped.
    async fn keep_connected(&self) -> Option<()> {
        self.unless_stopped(self.known_keys()).await?;
        let (mut nonsense, mut fruitless) = (after_nonsense(), after_nothing());
        let mut lives = Lives::default();
        loop {
            let link = self.unless_stopped(self.dialled()).await?;
            let connection = lives.connection(link.life.as_ref());
            tracing::info!(node = %self.node.address, "connected to the node");
            let (left, served) = self.answer_all(link, connection).await;
            self.metrics.disconnected();
            let next = left.next();
            self.tell(&left, &next);
            let in_vain = match next {
                Next::Dial => served.answers == 0,
                Next::WhenReady | Next::WhenArmed(_) | Next::AfterNonsense => served.votes == 0,
            };
            if !in_vain {
                (nonsense, fruitless) = (after_nonsense(), after_nothing());
            }
            let pause = match next {
                Next::AfterNonsense => nonsense.next().unwrap_or(NONSENSE_LONGEST),
                Next::Dial | Next::WhenReady | Next::WhenArmed(_) if in_vain => {
                    fruitless.next().unwrap_or(FRUITLESS_LONGEST)
                }
                Next::Dial | Next::WhenReady | Next::WhenArmed(_) => Duration::ZERO,
            };
            let until = self.away(async {
                sleep(pause).await;
                self.able(next).await;
            });
            self.unless_stopped(until).await?;
        }
    }

    /// Ends when the node can be served again.
    async fn able(&self, next: Next) {
        match next {
            Next::Dial | Next::AfterNonsense => {}
            Next::WhenReady => self.signers.ready().await,
            Next::WhenArmed(key) => {
                self.armed(key).await;
                self.signers.ready().await;
            }
        }
    }

    fn tell(&self, left: &Left, next: &Next) {
        let address = &self.node.address;
        match next {
            Next::Dial => tracing::info!(node = %address, "disconnected: {left}"),
            Next::WhenReady | Next::WhenArmed(_) | Next::AfterNonsense => {
                self.metrics.dropped();
                tracing::warn!(node = %address, "disconnected: {left}");
            }
        }
    }

    /// Waits for something, and counts the time as time without a connection.
    async fn away(&self, until: impl Future<Output = ()>) {
        let mut until = std::pin::pin!(until);
        let mut began = Instant::now();
        while timeout(Duration::from_secs(1), &mut until).await.is_err() {
            self.metrics.still_away(began.elapsed());
            began = Instant::now();
        }
        self.metrics.still_away(began.elapsed());
    }

    /// Waits until keys are known: a node that is dialled asks for its key first, and ends if it gets none.
    async fn known_keys(&self) {
        let mut keys = self.signers.keys();
        let mut known = std::pin::pin!(keys.wait_for(Option::is_some));
        if timeout(Duration::from_secs(2), &mut known).await.is_err() {
            tracing::warn!(
                node = %self.node.address,
                "the node is not dialled before the signers have told which keys there are"
            );
            self.away(async { drop(known.await) }).await;
        }
    }

    async fn armed(&self, public: PublicKey) {
        let armed = |key: &KeyInfo| key.public == public && key.state == KeyState::Armed;
        let mut keys = self.signers.keys();
        // The sender is gone only when the process ends.
        let _ = keys.wait_for(|keys| keys.as_ref().is_some_and(|keys| keys.iter().any(armed))).await;
    }

    /// A connection to the node, however long that takes.
    async fn dialled(&self) -> Link {
        let address = &self.node.address;
        let mut waits = pauses(DIAL_FIRST, DIAL_LONGEST);
        let mut told = None;
        let mut began = Instant::now();
        loop {
            match link::dial(address, &self.identity).await {
                Ok(link) => {
                    self.metrics.connected(began.elapsed());
                    return link;
                }
                Err(error) => {
                    // Each reason once: a node that is away stays away for a while.
                    let why = error.to_string();
                    if told.as_ref() != Some(&why) {
                        tracing::warn!(node = %address, "cannot connect: {why}");
                        told = Some(why);
                    }
                }
            }
            sleep(waits.next().unwrap_or(DIAL_LONGEST)).await;
            self.metrics.still_away(began.elapsed());
            began = Instant::now();
        }
    }

    /// Answers the node until the connection ends.
    async fn answer_all(&self, link: Link, connection: Connection) -> (Left, Served) {
        let Link { reader, mut writer, life: _ } = link;
        let (found, mut requests) = mpsc::channel(WAITING);
        let ended = CancellationToken::new();
        let reading = tokio::spawn(read_all(reader, found, ended.clone()));
        let mut served = Served::default();
        let left = loop {
            let read = tokio::select! {
                biased;
                () = self.stop.cancelled() => break Left::Stopped,
                read = timeout(SILENCE, requests.recv()) => read,
            };
            let request = match read {
                Err(_) => break Left::Silent,
                Ok(None) => break Left::Read(ReadError::Closed),
                Ok(Some(Err(error))) => break Left::Read(error),
                Ok(Some(Ok(envelope))) => match envelope.request() {
                    Ok(request) => request,
                    Err(error) => break Left::Nonsense(error),
                },
            };
            let answering = self.answer(&request, connection);
            let answered = tokio::select! {
                answered = answering => answered,
                // The node asks again on its next connection, and gets what was claimed here.
                () = ended.cancelled() => Ended::Left(Left::Read(ReadError::Closed)),
            };
            match answered {
                Ended::Answered(answer, _) => {
                    if let Err(error) = writer.send(answer).await {
                        break Left::Send(error);
                    }
                    served.answers += 1;
                    served.votes += u64::from(matches!(request, Request::Vote(_) | Request::Proposal(_)));
                }
                Ended::Left(left) => break left,
            }
        };
        reading.abort();
        (left, served)
    }

    async fn answer(&self, request: &Request, connection: Connection) -> Ended {
        let began = Instant::now();
        let chain = request.chain_id();
        let ended = match request {
            Request::Ping => Ended::Answered(message::pong(), "answered"),
            Request::PubKey(_) => self.pub_key(request, chain.as_deref().unwrap_or_default()),
            Request::Vote(_) | Request::Proposal(_) => {
                self.signature(request, chain.as_deref().unwrap_or_default(), connection).await
            }
        };
        let outcome = match &ended {
            Ended::Answered(_, outcome) => outcome,
            Ended::Left(_) => "left",
        };
        // A chain-id comes from the node: only those that the signers know become the label of a series.
        let known = chain.filter(|chain| self.key(chain).is_ok());
        self.metrics.answered(known.as_deref().unwrap_or_default(), kind(request), outcome, began.elapsed());
        ended
    }

    fn key(&self, chain: &str) -> Result<KeyInfo, NoKey> {
        if let Some(only) = self.node.chain.as_deref().filter(|only| *only != chain) {
            return Err(NoKey::OtherChain(chain.to_owned(), only.to_owned()));
        }
        let keys = self.signers.keys().borrow().clone().unwrap_or_default();
        key_of(&keys, &self.node.keys, chain).cloned()
    }

    fn pub_key(&self, request: &Request, chain: &str) -> Ended {
        let found = self.key(chain).map_err(|error| error.to_string()).and_then(|key| {
            let unknown = || format!("nodes have no keys of scheme {}", key.scheme);
            message::pub_key(&key).ok_or_else(unknown)
        });
        match found {
            Ok(answer) => Ended::Answered(answer, "answered"),
            // A node asks once at its start, and ends if it gets no key.
            Err(why) => {
                tracing::warn!(node = %self.node.address, "the node gets no public key: {why}");
                self.refuse(request, "noKey", &why)
            }
        }
    }

    async fn signature(&self, request: &Request, chain: &str, connection: Connection) -> Ended {
        let key = match self.key(chain) {
            Ok(key) => key,
            Err(why) => return self.refuse(request, "noKey", &why.to_string()),
        };
        let payload = match request {
            Request::Vote(bytes) => vote_payload(connection, bytes),
            Request::Proposal(bytes) => proposal_payload(connection, bytes),
            Request::PubKey(_) | Request::Ping => unreachable!("neither is signed"),
        };
        let params = SignParams { chain: ChainRef::Id(key.genesis), key: key.public, payload };
        match self.held(&params).await {
            Ok(reply) => self.signed(request, chain, &reply),
            Err(Unsigned::NotNow(why)) => Ended::Left(Left::NotNow(why)),
            Err(Unsigned::Refused(error)) => match disposition(&error) {
                Disposition::Tell => self.refuse(request, error.code.name(), &error.message),
                Disposition::AskAgain(_) | Disposition::StayAway => match key.state {
                    KeyState::Armed => Ended::Left(Left::NotNow(error.message)),
                    state @ (KeyState::Registered | KeyState::Disabled | KeyState::Removed) => {
                        Ended::Left(Left::NotArmed { key: key.public, state, why: error.message })
                    }
                },
            },
        }
    }

    /// Asks for a signature until there is a final answer, or the node will not wait any longer.
    async fn held(&self, params: &SignParams) -> Result<SignReply, Unsigned> {
        let until = Instant::now() + HOLD;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.signers.sign(params, left).await;
            let Err(Unsigned::Refused(error)) = &answer else { return answer };
            let Disposition::AskAgain(pause) = disposition(error) else { return answer };
            if pause >= until.saturating_duration_since(Instant::now()) {
                return answer;
            }
            sleep(pause).await;
        }
    }

    fn signed(&self, request: &Request, chain: &str, reply: &SignReply) -> Ended {
        let Some(answer) = message::signed(request, reply) else {
            return Ended::Left(Left::NotNow("the signer's answer does not fit the request".to_owned()));
        };
        let position = reply.duty.as_ref().map(|duty| duty.position());
        if let Some(height) = position.and_then(|position| position.parts().first().copied()) {
            self.metrics.signed(chain, height);
        }
        Ended::Answered(answer, verdict(reply.verdict))
    }

    /// Tells the node that it gets no signature, now or ever. The signers' audit has it too; nodes that catch up are
    /// refused thousands of old votes, and nobody needs to read them here.
    fn refuse(&self, request: &Request, code: &'static str, why: &str) -> Ended {
        tracing::debug!(node = %self.node.address, code, "refused: {why}");
        Ended::Answered(request.refused(why), code)
    }
}

const fn verdict(verdict: SignVerdict) -> &'static str {
    match verdict {
        SignVerdict::Granted => "granted",
        SignVerdict::Repeated => "repeated",
        SignVerdict::Free => "free",
    }
}

const fn kind(request: &Request) -> Kind {
    match request {
        Request::PubKey(_) => Kind::PubKey,
        Request::Vote(_) => Kind::Vote,
        Request::Proposal(_) => Kind::Proposal,
        Request::Ping => Kind::Ping,
    }
}

/// Reads requests until the connection ends.
async fn read_all(
    mut reader: Reader,
    found: mpsc::Sender<Result<message::Envelope, ReadError>>,
    ended: CancellationToken,
) {
    loop {
        let read = reader.next().await;
        let last = read.is_err();
        if found.send(read).await.is_err() || last {
            ended.cancel();
            return;
        }
    }
}

/// The numbers of connections. A node that comes back with the key of its last handshake has not been restarted: it
/// keeps its number, and with it what it is entitled to. Everybody else gets a new one.
#[derive(Default)]
struct Lives {
    last: Option<(Life, Connection)>,
}

impl Lives {
    fn connection(&mut self, life: Option<&Life>) -> Connection {
        if let (Some(life), Some((last, connection))) = (life, &self.last)
            && life == last
        {
            return *connection;
        }
        let connection = Connection(rand::random::<u64>().max(1));
        self.last = life.map(|life| (life.clone(), connection));
        connection
    }
}
