//! One URL and its one WebSocket, over which all requests are pipelined. The connection is made when first needed and
//! again after it breaks. Connecting outlives the request that asked for it, so a short deadline cannot keep a slow
//! link from ever coming up. A connection made with an older certificate of the client keeps serving until one with the
//! new certificate is up.

use super::{
    ClientError, Timeouts,
    live::{HandshakeTls, LiveTls},
};
use crate::rpc::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use jsonrpsee_ws_client::{PingConfig, WsClient, WsClientBuilder};
use rustls_pki_types::ServerName;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::net::TcpStream;
use url::Url;

/// How often an idle connection is pinged.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A connection on which nothing arrives for this long is given up.
const SILENT_AT_MOST: Duration = Duration::from_secs(12);

/// Where a signer is.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// As given, without credentials: for messages.
    pub(super) shown: String,
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    path: String,
}

impl Endpoint {
    /// Reads `https://host[:port][/path]` or `wss://…`.
    pub(super) fn parse(text: &str) -> Result<Self, ClientError> {
        let bad = |why: &str| ClientError::Url { url: text.to_owned(), why: why.to_owned() };
        let url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
        if !matches!(url.scheme(), "https" | "wss") {
            return Err(bad("a signer is reached by https:// or wss:// only"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not repeated in the message: it would put the password into logs.
            return Err(ClientError::Url {
                url: url.host_str().unwrap_or_default().to_owned(),
                why: "a signer knows its clients by certificate; take user and password out".into(),
            });
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(ip)) => ip.to_string(),
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            None => return Err(bad("it has no host")),
        };
        let server_name =
            ServerName::try_from(host.clone()).map_err(|_| bad("its host cannot be in a certificate"))?;
        let port = url.port_or_known_default().ok_or_else(|| bad("it has no port"))?;
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        Ok(Self { shown: text.to_owned(), host, port, server_name, path })
    }

    /// Whether `hint` is the URL of this endpoint.
    pub(super) fn is(&self, hint: &str) -> bool {
        Self::parse(hint).is_ok_and(|other| other.host == self.host && other.port == self.port)
    }

    /// For the handshake inside the TLS stream that is already there.
    fn inner_url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("ws://{host}:{}{}", self.port, self.path)
    }
}

/// The connection to one signer.
pub(super) struct Connection {
    pub(super) endpoint: Endpoint,
    tls: Arc<LiveTls>,
    timeouts: Timeouts,
    current: Mutex<Option<Made>>,
    /// Held while connecting: one handshake at a time, the others wait for its result.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection, and the version of the certificates with which it was made.
#[derive(Clone)]
struct Made {
    client: Arc<WsClient>,
    version: u64,
}

/// Whether the connection uses the current certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// It already does, or there is no connection.
    NotNeeded,
    /// It does now.
    Done,
    /// The signer does not accept them, for this reason. The old connection stays in use.
    NotTaken(String),
}

/// Why there is no connection, as readable text.
enum Unreached {
    /// Nothing is there, or it does not answer.
    Away(String),
    /// One side does not accept the other's certificate. With TLS 1.3 a client learns of that only after the handshake.
    Refused(String),
}

impl Unreached {
    fn why(self) -> String {
        match self {
            Self::Away(why) | Self::Refused(why) => why,
        }
    }
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint, tls: Arc<LiveTls>, timeouts: Timeouts) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            tls,
            timeouts,
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Made> {
        self.lock().as_ref().filter(|made| made.client.is_connected()).cloned()
    }

    /// The connection, made if need be. The error is readable text.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Arc<WsClient>, String> {
        if let Some(made) = self.current() {
            return Ok(made.client);
        }
        // In a task of its own: dropping this future leaves the handshake running.
        let this = self.clone();
        match tokio::spawn(async move { this.connect().await }).await {
            Ok(result) => result,
            Err(_) => Err("the connecting task was stopped".into()),
        }
    }

    /// Gives up a connection that did not answer, unless it was replaced already.
    pub(super) fn abandon(&self, broken: &Arc<WsClient>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|made| Arc::ptr_eq(&made.client, broken)) {
            *current = None;
        }
    }

    /// Reconnects if the connection was made with older certificates. Requests under way are answered on the old one.
    pub(super) async fn renew(&self) -> Renewal {
        let _one_at_a_time = self.connecting.lock().await;
        let HandshakeTls { config, version, fallback: _ } = self.tls.shown();
        if self.current().is_none_or(|made| made.version == version) {
            return Renewal::NotNeeded;
        }
        match self.handshake(config).await {
            Ok(client) => {
                *self.lock() = Some(Made { client, version });
                Renewal::Done
            }
            Err(unreached) => Renewal::NotTaken(unreached.why()),
        }
    }

    async fn connect(&self) -> Result<Arc<WsClient>, String> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(made) = self.current() {
            return Ok(made.client);
        }
        let HandshakeTls { config, version, fallback } = self.tls.shown();
        let made = match (self.handshake(config).await, fallback) {
            (Ok(client), _) => Made { client, version },
            (Err(Unreached::Refused(why)), Some(fallback)) => match self.handshake(fallback).await {
                Ok(client) => Made { client, version: version - 1 },
                Err(_) => return Err(why),
            },
            (Err(unreached), _) => return Err(unreached.why()),
        };
        let client = made.client.clone();
        *self.lock() = Some(made);
        Ok(client)
    }

    async fn handshake(&self, tls: Arc<rustls::ClientConfig>) -> Result<Arc<WsClient>, Unreached> {
        match tokio::time::timeout(self.timeouts.connect, self.handshakes(tls)).await {
            Ok(result) => result.map(Arc::new),
            Err(_) => Err(Unreached::Away(format!("no connection within {:?}", self.timeouts.connect))),
        }
    }

    /// TCP, TLS and WebSocket.
    async fn handshakes(&self, tls: Arc<rustls::ClientConfig>) -> Result<WsClient, Unreached> {
        let Endpoint { host, port, server_name, .. } = &self.endpoint;
        let tcp = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|e| Unreached::Away(format!("TCP: {e}")))?;
        tcp.set_nodelay(true).map_err(|e| Unreached::Away(format!("TCP: {e}")))?;
        let tls = tokio_rustls::TlsConnector::from(tls)
            .connect(server_name.clone(), tcp)
            .await
            .map_err(|e| Unreached::Refused(format!("TLS: {e}")))?;
        WsClientBuilder::new()
            .max_request_size(MAX_REQUEST_BYTES)
            .max_response_size(MAX_RESPONSE_BYTES)
            .request_timeout(self.timeouts.deadline)
            .connection_timeout(self.timeouts.connect)
            .max_concurrent_requests(1024)
            .enable_ws_ping(PingConfig::new().ping_interval(PING_EVERY).inactive_limit(SILENT_AT_MOST))
            .build_with_stream(self.endpoint.inner_url(), tls)
            .await
            .map_err(|e| Unreached::Refused(format!("WebSocket: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_are_reached_over_tls_only_and_without_passwords() {
        for (url, inner) in [
            ("https://s1.example:7000", "ws://s1.example:7000/"),
            ("wss://10.0.0.1:7000/rpc?x=1", "ws://10.0.0.1:7000/rpc?x=1"),
            ("https://[::1]", "ws://[::1]:443/"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().inner_url(), inner);
        }
        for url in ["http://s1", "ws://s1", "s1:7000", "https://", "", "https://u:hunter2@s1"] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_leader_hint_leads_to_the_url_with_its_host_and_port() {
        let endpoint = Endpoint::parse("https://s1.example/").unwrap();
        assert!(endpoint.is("wss://S1.example:443"));
        assert!(!endpoint.is("https://s1.example:444"));
        assert!(!endpoint.is("https://s2.example"));
        assert!(!endpoint.is("not a url"));
    }
}
