//! JSON-RPC over connections: HTTPS and WSS on one port for clients and admins, plain HTTP on the admin's unix
//! socket, and the small HTTP server for probes and metrics.
//!
//! Each connection's [`Caller`] is found once and put into the extensions of each of its requests. Limits: 1 MiB a
//! request, a number of connections, time for the handshake and the head of a request. A connection outlives every
//! refusal; it ends when the other side ends it, when it cannot be understood, or when the node stops.

use super::{
    reload::LiveTls,
    tls::{DnsNames, PeerIdentity},
};
use crate::{
    metrics::{Metrics, PortMetrics},
    readiness::Gate,
};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use http_body_util::{BodyExt, Limited};
use hyper::{Request, body::Body as _, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpResponse, Methods, PingConfig, Server, ServerConfig, StopHandle,
    TowerServiceBuilder,
};
use prometheus_client::metrics::gauge::Gauge;
use signonce_cluster::sparing::Sparing;
use signonce_protocol::rpc::{MAX_BATCH, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::{Service as _, layer::util::Identity};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may be idle, or take to send a request's head.
const HEAD: Duration = Duration::from_secs(120);
/// How often WebSocket clients are pinged; one that does not answer for three times as long is gone.
const PING: Duration = Duration::from_secs(15);
/// Of a request that is too large, what is read and thrown away so that its sender gets to read the answer.
const DRAIN_BYTES: usize = 16 << 20;
/// Pause after `accept` failed, which it does when file descriptors run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Anybody who reaches a port can cause these: told apart by why, not by whom, or addresses would have to be counted.
static HANDSHAKES: Sparing<&'static str> = Sparing::new();
static CANNOT_ACCEPT: Sparing<()> = Sparing::new();

/// The answer to one request. Boxed, as the compiler cannot name what is inside.
type Answer = Pin<Box<dyn Future<Output = io::Result<HttpResponse<HttpBody>>> + Send>>;

/// Who is on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with a certificate of our authority.
    Certificate(PeerIdentity),
    /// A process on this machine, on the unix socket.
    Local {
        /// Its user.
        uid: u32,
    },
}

/// Serves JSON-RPC methods to connections.
pub struct Endpoint {
    methods: Methods,
    services: TowerServiceBuilder<Identity, Identity>,
    stop: StopHandle,
    places: Arc<Semaphore>,
    counts: PortMetrics,
}

impl Endpoint {
    /// Serves `methods` on at most `connections_max` connections, until `stop`.
    pub fn new(methods: Methods, connections_max: u32, stop: StopHandle, counts: PortMetrics) -> Self {
        let ping = PingConfig::new().ping_interval(PING).inactive_limit(PING * 3);
        let config = ServerConfig::builder()
            .max_request_body_size(MAX_REQUEST_BYTES)
            .max_response_body_size(MAX_RESPONSE_BYTES)
            .max_connections(connections_max)
            .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
            .enable_ws_ping(ping)
            .build();
        let services = Server::builder().set_config(config).to_service_builder();
        let places = usize::try_from(connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self { methods, services, stop, places: Arc::new(Semaphore::new(places)), counts }
    }

    /// Accepts TLS connections until the node stops.
    pub async fn serve_tls(self, listener: TcpListener, tls: Arc<LiveTls>) {
        let this = Arc::new(self);
        while let Some(((stream, address), place)) = this.next(|| listener.accept()).await {
            let (this, acceptor) = (Arc::clone(&this), tls.acceptor());
            tokio::spawn(async move { this.one_tls(stream, address, acceptor, place).await });
        }
    }

    /// Accepts connections on the unix socket, of this user and of root, until the node stops.
    pub async fn serve_unix(self, listener: UnixListener, owner: u32) {
        let this = Arc::new(self);
        while let Some(((stream, _), place)) = this.next(|| listener.accept()).await {
            let this = Arc::clone(&this);
            tokio::spawn(async move { this.one_unix(stream, owner, place).await });
        }
    }

    /// The next connection and its place; `None` once the node stops.
    async fn next<C, F>(&self, accept: impl Fn() -> F) -> Option<(C, OwnedSemaphorePermit)>
    where
        F: Future<Output = io::Result<C>>,
    {
        let place = self.place().await?;
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                () = self.stop.clone().shutdown() => return None,
            };
            match accepted {
                Ok(connection) => return Some((connection, place)),
                Err(error) => accept_failed(&error).await,
            }
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed; `None` would only end the loop.
        tokio::select! {
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
            () = self.stop.clone().shutdown() => None,
        }
    }

    async fn one_tls(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        acceptor: TlsAcceptor,
        _place: OwnedSemaphorePermit,
    ) {
        // Without it small answers wait for the acknowledgement of the previous one.
        let _ = stream.set_nodelay(true);
        let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.counts.handshakes_failed.inc();
                return HANDSHAKES.line("failed", |left_out| {
                    tracing::info!(%address, %error, left_out, "TLS handshake failed");
                });
            }
            Err(_) => {
                self.counts.handshakes_failed.inc();
                return HANDSHAKES.line("slow", |left_out| {
                    tracing::info!(%address, left_out, "TLS handshake took too long");
                });
            }
        };
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let Some(leaf) = leaf else {
            return HANDSHAKES.line("no certificate", |left_out| {
                tracing::warn!(%address, left_out, "a connection without certificate got through the handshake");
            });
        };
        match PeerIdentity::of(leaf) {
            Ok(peer) => {
                let names = DnsNames::of(leaf);
                self.serve(stream, Caller::Certificate(peer), Some(names)).await;
            }
            Err(error) => HANDSHAKES.line("nobody", |left_out| {
                tracing::warn!(%address, %error, left_out, "a certificate that names nobody");
            }),
        }
    }

    async fn one_unix(&self, stream: UnixStream, owner: u32, _place: OwnedSemaphorePermit) {
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == owner || peer.uid() == 0 => {
                self.serve(stream, Caller::Local { uid: peer.uid() }, None).await;
            }
            Ok(peer) => HANDSHAKES.line("foreign user", |left_out| {
                tracing::warn!(uid = peer.uid(), left_out, "a foreign user on the admin socket");
            }),
            Err(error) => tracing::warn!(%error, "the admin socket does not say who connected"),
        }
    }

    /// Serves one connection until it ends; when the node stops, until its requests are answered.
    async fn serve<S>(&self, stream: S, caller: Caller, names: Option<DnsNames>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.services.clone().build(self.methods.clone(), self.stop.clone());
        let open = Arc::new(OpenConnection::count(&self.counts.open));
        let service = service_fn(move |mut request: Request<Incoming>| -> Answer {
            let mut service = service.clone();
            request.extensions_mut().insert(Arc::clone(&open));
            request.extensions_mut().insert(caller.clone());
            if let Some(names) = &names {
                request.extensions_mut().insert(names.clone());
            }
            Box::pin(async move {
                if request.body().size_hint().lower() > u64::from(MAX_REQUEST_BYTES) {
                    return Ok(too_large(request.into_body()).await);
                }
                service.call(request).await.map_err(io::Error::other)
            })
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
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
}

/// One open connection in the count. It goes with each request: a WebSocket outlives the HTTP connection that it
/// began as, and keeps the request's extensions.
struct OpenConnection(Gauge);

impl OpenConnection {
    fn count(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Answers a request that is too large, after reading it: a connection that is closed with unread bytes would take
/// the answer with it.
async fn too_large(body: Incoming) -> HttpResponse<HttpBody> {
    let _ = timeout(HANDSHAKE, async {
        let mut body = Limited::new(body, DRAIN_BYTES);
        while let Some(Ok(_)) = body.frame().await {}
    })
    .await;
    jsonrpsee::server::http::response::too_large(MAX_REQUEST_BYTES)
}

async fn accept_failed(error: &io::Error) {
    CANNOT_ACCEPT.line((), |left_out| tracing::warn!(%error, left_out, "cannot accept a connection"));
    sleep(ACCEPT_AGAIN).await;
}

/// What probes and scrapes ask.
#[derive(Clone)]
struct Probes {
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
}

/// Serves `/livez`, `/readyz` and `/metrics` until the process ends (probes are answered while the node drains).
///
/// # Errors
/// If the listener fails for good.
pub async fn serve_probes(listener: TcpListener, gate: Arc<Gate>, metrics: Arc<Metrics>) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(Probes { gate, metrics });
    axum::serve(listener, router).await
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    let readiness = probes.gate.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = if readiness.ready { "ready".to_owned() } else { readiness.reasons.join("\n") };
    (status, format!("{text}\n"))
}

async fn scrape(State(probes): State<Probes>) -> impl IntoResponse {
    const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match probes.metrics.scrape(&probes.gate) {
        Ok(text) => (StatusCode::OK, [(http::header::CONTENT_TYPE, FORM)], text),
        Err(_) => {
            let text = "a metric cannot be written\n".into();
            (StatusCode::INTERNAL_SERVER_ERROR, [(http::header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}
