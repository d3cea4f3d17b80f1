//! JSON-RPC over connections: HTTPS and WSS on one port for clients and admins, plain HTTP on the admin's unix socket.
//!
//! Each connection's [`Caller`] is determined once and put into the extensions of each of its requests. Limits: places
//! ([`Places`], first those of strangers, then a share for each certificate), 1 MiB a request, and time for the
//! handshake, for the head and the body of a request, and for taking the answer. They hold for what is actually
//! received, whatever was announced. A connection outlives every refusal; it ends when the other side ends it, when it
//! cannot be understood, when its place is needed, or when the node stops.

use crate::{
    caller::Caller,
    calls::{Calls, too_large},
    connections::PortMetrics,
    reload::LiveTls,
    socket,
    stall::Unstalled,
};
use bytes::Bytes;
use http::{Extensions, HeaderValue, Method, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::StopHandle;
use signonce_cluster::{
    log_throttle::LogThrottle,
    places::{Entry, GiveWay, Places},
};
use signonce_core::ClientId;
use signonce_protocol::rpc::MAX_REQUEST_BYTES;
use signonce_shared::tls::{DnsNames, Fingerprint, PeerIdentity};
use soketto::handshake::http::{Server, is_upgrade_request};
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a connection may be idle between requests. The first request has to come within a stranger's time.
const IDLE: Duration = Duration::from_secs(120);
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(10);
/// The largest head of a request. The body goes through the same buffer, in pieces.
const HEAD_BYTES: usize = 64 << 10;
/// How much of a too large request is read and discarded so that its sender gets to read the answer.
const DRAIN_BYTES: usize = 16 << 20;
/// The pause after `accept` failed, as it does when file descriptors run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Anybody who reaches a port can cause these lines, so they are told apart by reason: addresses would have to be
/// counted.
static HANDSHAKES: LogThrottle<&'static str> = LogThrottle::new();
static CANNOT_ACCEPT: LogThrottle<()> = LogThrottle::new();

/// The response to an HTTP request.
type Answer = Response<Full<Bytes>>;

/// The network address that a request came from; none on the unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub IpAddr);

/// The holder of a place: places of one holder are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Whoever has this certificate.
    Certificate(Fingerprint),
    /// A user of this machine.
    User(u32),
    /// A client whose node was dialled.
    Client(ClientId),
}

impl Who {
    fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Certificate(peer) => Self::Certificate(peer.spki),
            Caller::Local { uid } => Self::User(*uid),
            Caller::Dialled { client, address: _ } => Self::Client(*client),
        }
    }
}

/// How many connections each caller may have at a time.
pub type Share = Arc<dyn Fn(&Caller) -> usize + Send + Sync>;

/// Serves JSON-RPC methods to connections.
pub struct Endpoint {
    calls: Arc<Calls>,
    places: Places<Who>,
    share: Share,
    stop: StopHandle,
    counts: PortMetrics,
}

impl Endpoint {
    /// Serves `calls` to those who find a place in `places`, of which each caller may have `share`, until `stop`.
    pub fn new(
        calls: Calls,
        places: Places<Who>,
        share: Share,
        stop: StopHandle,
        counts: PortMetrics,
    ) -> Self {
        Self { calls: Arc::new(calls), places, share, stop, counts }
    }

    /// Accepts TLS connections until the node stops.
    pub async fn serve_tls(self, listener: TcpListener, tls: Arc<LiveTls>) {
        let this = Arc::new(self);
        while let Some((stream, address)) = this.next(|| listener.accept()).await {
            let (this, acceptor) = (Arc::clone(&this), tls.acceptor());
            let place = Arc::new(this.places.enter(Some(address.ip())));
            tokio::spawn(async move {
                tokio::select! {
                    () = this.one_tls(stream, address, acceptor, &place) => {}
                    why = place.gives_way() => this.sent_away(Some(address), why),
                }
            });
        }
    }

    /// Accepts connections on the unix socket, of this user and of root, until the node stops.
    pub async fn serve_unix(self, listener: UnixListener, owner: u32) {
        let this = Arc::new(self);
        while let Some((stream, _)) = this.next(|| listener.accept()).await {
            let place = Arc::new(this.places.enter(None));
            let Some(asker) = local_asker(&stream, owner) else { continue };
            // The kernel has said who it is: not a stranger, though it has not asked for anything yet.
            if this.admit(&asker, &place).is_err() {
                continue;
            }
            let this = Arc::clone(&this);
            tokio::spawn(async move {
                tokio::select! {
                    () = this.serve(Unstalled::new(stream), asker, &place) => {}
                    why = place.gives_way() => this.sent_away(None, why),
                }
            });
        }
    }

    /// The next connection; `None` once the node stops.
    async fn next<C, F>(&self, accept: impl Fn() -> F) -> Option<C>
    where
        F: Future<Output = io::Result<C>>,
    {
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                () = self.stop.clone().shutdown() => return None,
            };
            match accepted {
                Ok(connection) => return Some(connection),
                Err(error) => accept_failed(&error).await,
            }
        }
    }

    fn sent_away(&self, address: Option<SocketAddr>, why: GiveWay) {
        let kind = match why {
            GiveWay::Late => "late",
            GiveWay::Crowded => "crowded",
        };
        HANDSHAKES
            .line(kind, |left_out| tracing::info!(?address, left_out, "a connection was closed: {why}"));
    }

    async fn one_tls(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        acceptor: TlsAcceptor,
        place: &Arc<Entry<Who>>,
    ) {
        // Without this, small answers wait for the acknowledgement of the previous one.
        let _ = stream.set_nodelay(true);
        let stream = match acceptor.accept(Unstalled::new(stream)).await {
            Ok(stream) => stream,
            Err(error) => {
                self.counts.handshakes_failed.inc();
                return HANDSHAKES.line("failed", |left_out| {
                    tracing::info!(%address, %error, left_out, "TLS handshake failed");
                });
            }
        };
        if let Some(asker) = asker(&stream, address) {
            self.serve(stream, asker, place).await;
        }
    }

    /// Serves one connection until it ends; when the node stops, until its requests are answered.
    async fn serve<S>(&self, stream: S, asker: Extensions, place: &Arc<Entry<Who>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let open = Open {
                calls: Arc::clone(&self.calls),
                asker: asker.clone(),
                place: Arc::clone(place),
                stop: self.stop.clone(),
            };
            // The head of a request has arrived: its sender is no longer a stranger.
            let admitted = self.admit(&asker, place);
            async move {
                Ok::<_, Infallible>(match admitted {
                    Ok(()) => open.respond(request).await,
                    Err(why) => told(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
                })
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.clone().shutdown() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    fn admit(&self, asker: &Extensions, place: &Entry<Who>) -> Result<(), GiveWay> {
        let Some(caller) = asker.get::<Caller>() else { return Err(GiveWay::Late) };
        place.admit(&Who::of(caller), (self.share)(caller))
    }
}

/// The caller on the other side of a finished handshake, with its address; `None` if the certificate does not say.
fn asker<S>(stream: &TlsStream<S>, address: SocketAddr) -> Option<Extensions> {
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let Some(leaf) = leaf else {
        HANDSHAKES.line("no certificate", |left_out| {
            tracing::warn!(%address, left_out, "a connection without certificate got through the handshake");
        });
        return None;
    };
    match PeerIdentity::of(leaf) {
        Ok(peer) => {
            let mut asker = Extensions::new();
            asker.insert(Caller::Certificate(peer));
            asker.insert(DnsNames::of(leaf));
            asker.insert(Remote(address.ip()));
            Some(asker)
        }
        Err(error) => {
            HANDSHAKES.line("nobody", |left_out| {
                tracing::warn!(%address, %error, left_out, "a certificate that names nobody");
            });
            None
        }
    }
}

/// The caller on the other side of the unix socket; `None` if it is neither the owner of this process nor root.
fn local_asker(stream: &UnixStream, owner: u32) -> Option<Extensions> {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == owner || peer.uid() == 0 => {
            let mut asker = Extensions::new();
            asker.insert(Caller::Local { uid: peer.uid() });
            return Some(asker);
        }
        Ok(peer) => HANDSHAKES.line("foreign user", |left_out| {
            tracing::warn!(uid = peer.uid(), left_out, "a foreign user on the admin socket");
        }),
        Err(error) => HANDSHAKES.line("no user", |left_out| {
            tracing::warn!(%error, left_out, "the admin socket does not say who connected");
        }),
    }
    None
}

/// One request of an open connection.
struct Open {
    calls: Arc<Calls>,
    asker: Extensions,
    /// A WebSocket outlives the HTTP connection that it began as, and keeps its place.
    place: Arc<Entry<Who>>,
    stop: StopHandle,
}

impl Open {
    async fn respond(self, request: Request<Incoming>) -> Answer {
        if is_upgrade_request(&request) {
            return self.upgrade(request);
        }
        if *request.method() != Method::POST {
            return told(StatusCode::METHOD_NOT_ALLOWED, "JSON-RPC is asked by POST, or over a WebSocket");
        }
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_json) {
            return told(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content-type must be application/json");
        }
        match timeout(BODY, read_body(request.into_body())).await {
            Ok(Body::Whole(body)) => match self.calls.answer(&body, &self.asker, None).await {
                Some(answer) => json(StatusCode::OK, answer.get().to_owned()),
                None => empty(StatusCode::NO_CONTENT),
            },
            Ok(Body::TooLarge) => json(StatusCode::PAYLOAD_TOO_LARGE, too_large().get().to_owned()),
            Ok(Body::Broken) => told(StatusCode::BAD_REQUEST, "the request ended before its body did"),
            Err(_) => told(StatusCode::REQUEST_TIMEOUT, "the body of the request took too long"),
        }
    }

    /// Turns the connection into a WebSocket.
    fn upgrade(self, request: Request<Incoming>) -> Answer {
        let mut handshake = Server::new();
        let agreed = match handshake.receive_request(&request) {
            Ok(agreed) => agreed,
            Err(error) => {
                return told(StatusCode::BAD_REQUEST, &format!("not a WebSocket handshake: {error}"));
            }
        };
        let Self { calls, asker, place, stop } = self;
        tokio::spawn(async move {
            let upgraded = tokio::select! {
                upgraded = hyper::upgrade::on(request) => upgraded,
                _ = place.gives_way() => return,
            };
            match upgraded {
                Ok(upgraded) => {
                    let end = async {
                        place.gives_way().await;
                    };
                    socket::serve(upgraded, handshake, calls, asker, end, stop.shutdown()).await;
                }
                Err(error) => tracing::debug!(%error, "a WebSocket handshake failed"),
            }
        });
        agreed.map(|()| Full::default())
    }
}

/// The result of reading a body.
enum Body {
    Whole(Vec<u8>),
    TooLarge,
    Broken,
}

/// Reads a body. One that is too large is read on for a while and discarded: closing a connection with unread bytes
/// would take the answer with it.
async fn read_body(mut body: Incoming) -> Body {
    let (mut whole, mut length) = (Vec::new(), 0_usize);
    while length <= DRAIN_BYTES {
        let data = match body.frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => return Body::Broken,
            None if length <= MAX_REQUEST_BYTES as usize => return Body::Whole(whole),
            None => return Body::TooLarge,
        };
        length = length.saturating_add(data.len());
        if length <= MAX_REQUEST_BYTES as usize {
            whole.extend_from_slice(&data);
        } else {
            whole = Vec::new();
        }
    }
    Body::TooLarge
}

/// `application/json` or `application/json-rpc`, with any parameters.
fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    ["application/json", "application/json-rpc"].iter().any(|json| essence.eq_ignore_ascii_case(json))
}

fn json(status: StatusCode, body: String) -> Answer {
    with_type(status, body, "application/json; charset=utf-8")
}

fn told(status: StatusCode, why: &str) -> Answer {
    with_type(status, format!("{why}\n"), "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: String, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// Logs that `accept` failed and waits: it passes, and a listener that gave up would not come back.
pub async fn accept_failed(error: &io::Error) {
    CANNOT_ACCEPT.line((), |left_out| tracing::warn!(%error, left_out, "cannot accept a connection"));
    sleep(ACCEPT_AGAIN).await;
}
