//! The one HTTP client: sends a request over HTTP/1.1, with or without TLS or over a unix socket, and reads the whole
//! answer.
//!
//! Used for the admin API, chains, trace collectors, the Kubernetes API and probes. A connection serves one request: no
//! caller is in a hurry, and none meets a dead connection. [`HttpClient::connect`] gives only the stream, for
//! WebSockets.
//!
//! A request that was not sent and one that may have arrived are different errors ([`HttpError`]): after the latter, a
//! change may have been made.

use crate::tls::read_certificates;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, Uri,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    version::{TLS12, TLS13},
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};
use tower::ServiceExt as _;

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why there is no answer, as readable text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request was not sent.
    #[error("{0}")]
    NotSent(String),
    /// The request may have arrived.
    #[error("{0}")]
    NoAnswer(String),
}

/// The limits of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first step of the connection to the last byte of the answer.
    pub time: Duration,
    /// The most bytes of its body.
    pub bytes: usize,
}

/// Makes requests. Clones are cheap.
#[derive(Clone)]
pub struct HttpClient {
    way: Way,
}

#[derive(Clone)]
enum Way {
    /// A connection to the host of the URL: encrypted for `https` and `wss`.
    Network(HttpsConnector<HttpConnector>),
    /// A connection to this socket, whatever the URL says.
    Socket(PathBuf),
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Network(_) => f.write_str("HttpClient"),
            Way::Socket(path) => write!(f, "HttpClient({})", path.display()),
        }
    }
}

impl HttpClient {
    /// A client of the network; `tls` has the trusted authorities and the certificate, for URLs that ask for TLS.
    pub fn new(mut tls: ClientConfig) -> Self {
        // The connector announces the protocols itself, by the features it is built with.
        tls.alpn_protocols.clear();
        let mut network = HttpConnector::new();
        network.enforce_http(false);
        network.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Self { way: Way::Network(connector.wrap_connector(network)) }
    }

    /// A client of the network for URLs without TLS; it trusts no authority.
    pub fn plain() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("ring has what TLS 1.3 needs");
        Self::new(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    }

    /// A client of a unix socket on this machine.
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Self { way: Way::Socket(socket.into()) }
    }

    /// A stream to the host of `url`, or to the socket.
    ///
    /// # Errors
    /// The reason, as text. This waits as long as the other side lets it, so the caller must bound it.
    pub async fn connect(&self, url: &Uri) -> Result<Box<dyn Stream>, String> {
        match &self.way {
            Way::Network(connector) => {
                let stream = connector.clone().oneshot(dialled(url)?).await.map_err(|e| causes(&*e))?;
                Ok(Box::new(TokioIo::new(stream)))
            }
            Way::Socket(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(|e| e.to_string())?)),
        }
    }

    /// Sends a request with an absolute URL and returns the whole answer, whatever its status.
    ///
    /// # Errors
    /// See [`HttpError`]. If the time runs out before there is a connection, nothing was sent.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limits: Limits,
    ) -> Result<Response<Bytes>, HttpError> {
        let began = Instant::now();
        let late = || format!("no answer in {} s", limits.time.as_secs_f32());
        let stream = timeout(limits.time, self.connect(request.uri())).await;
        let stream = stream.map_err(|_| HttpError::NotSent(late()))?.map_err(HttpError::NotSent)?;
        let request = in_origin_form(request).map_err(HttpError::NotSent)?;
        let left = limits.time.saturating_sub(began.elapsed());
        let answered = timeout(left, exchange(stream, request, limits.bytes)).await;
        answered.unwrap_or_else(|_| Err(HttpError::NoAnswer(late())))
    }

    /// Posts JSON and returns the whole answer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn post_json(
        &self,
        url: &Uri,
        body: impl Into<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, HttpError> {
        let request = Request::post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .map_err(|e| HttpError::NotSent(e.to_string()))?;
        self.send(request, limits).await
    }

    /// Sends a GET request and returns the whole answer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, url: &Uri, limits: Limits) -> Result<Response<Bytes>, HttpError> {
        let request =
            Request::get(url.clone()).body(Full::default()).map_err(|e| HttpError::NotSent(e.to_string()))?;
        self.send(request, limits).await
    }
}

/// A TLS configuration that trusts the authorities in a PEM file, or else those of this machine, and shows no
/// certificate.
///
/// # Errors
/// If the file cannot be read or used, as readable text.
pub fn trusting(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            for certificate in read_certificates(path).map_err(|e| e.to_string())? {
                roots.add(certificate).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        None => {
            // Those of them that cannot be used are left out, as is usual.
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| e.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| HttpError::NotSent(causes(&e)))?;
    // The task ends with `sender`, which lives as long as this call.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| HttpError::NoAnswer(causes(&e)))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|e| HttpError::NoAnswer(causes(&*e)))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The URL with the HTTP scheme for WebSocket schemes: both are dialled alike.
fn dialled(url: &Uri) -> Result<Uri, String> {
    let scheme = match url.scheme_str() {
        Some("ws") => "http",
        Some("wss") => "https",
        Some(_) | None => return Ok(url.clone()),
    };
    let mut parts = url.clone().into_parts();
    parts.scheme = Some(scheme.parse().map_err(|e| format!("{url}: {e}"))?);
    Uri::from_parts(parts).map_err(|e| format!("{url}: {e}"))
}

/// Puts only the path on the first line and the host into a header, as servers expect. Any user and password in the URL
/// are left out, as they are nobody else's business.
fn in_origin_form(mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>, String> {
    let url = request.uri().clone();
    let authority = url.authority().map_or("localhost", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = HeaderValue::from_str(host).map_err(|e| format!("{url}: {e}"))?;
    request.headers_mut().entry(HOST).or_insert(host);
    *request.uri_mut() = match url.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    };
    Ok(request)
}

/// An error with its causes: the outermost one says little more than that something failed.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, UnixListener},
    };

    const LIMITS: Limits = Limits { time: Duration::from_secs(5), bytes: 64 };

    /// Answers one connection with `answer`; gives the head of what came.
    async fn serve_once<S: Stream>(mut stream: S, answer: &str) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn the_path_goes_on_the_first_line_and_the_host_without_a_name_in_its_header() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            serve_once(listener.accept().await.unwrap().0, "HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno")
                .await
        });
        let url = format!("http://user:word@127.0.0.1:{port}/a?b=c").parse().unwrap();
        let answer = HttpClient::plain().get(&url, LIMITS).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (404, &b"no"[..]));
        let head = served.await.unwrap();
        assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: 127.0.0.1:{port}\r\n")) && !head.contains("word"), "{head}");
    }

    #[tokio::test]
    async fn a_socket_is_asked_whatever_the_url_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let served = tokio::spawn(async move {
            serve_once(listener.accept().await.unwrap().0, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
        });
        let url = Uri::from_static("http://localhost/");
        HttpClient::unix(&path).post_json(&url, "{}", LIMITS).await.unwrap();
        assert!(served.await.unwrap().contains("content-type: application/json"));
    }

    #[tokio::test]
    async fn what_was_not_sent_and_what_was_not_answered_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n{}", "x".repeat(65));
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", large.as_str()] {
            let asked = async { HttpClient::plain().get(&url, LIMITS).await };
            let served = async { serve_once(listener.accept().await.unwrap().0, answer).await };
            let (answered, _) = tokio::join!(asked, served);
            assert!(matches!(answered, Err(HttpError::NoAnswer(_))), "{answer:?}: {answered:?}");
        }
        drop(listener);
        let refused = HttpClient::plain().get(&url, LIMITS).await.unwrap_err();
        assert!(matches!(&refused, HttpError::NotSent(why) if why.contains("refused")), "{refused:?}");
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let limits = Limits { time: Duration::from_millis(50), ..LIMITS };
        assert!(matches!(HttpClient::plain().get(&url, limits).await, Err(HttpError::NotSent(_))));
    }
}
