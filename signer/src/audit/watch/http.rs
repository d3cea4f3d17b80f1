//! Streams to a URL's host, with TLS where the URL says so, and JSON posted over them: for chains without WebSocket
//! and for webhooks.

use crate::{post::post_json, server::tls::read_certificates};
use hyper::{Uri, body::Bytes};
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How long a connection or an answer may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The largest answer read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Either kind of stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Makes streams.
#[derive(Clone)]
pub struct Dialer {
    tls: TlsConnector,
}

impl Dialer {
    /// Trusts the authorities in a PEM file, or those of this machine.
    ///
    /// # Errors
    /// If the file cannot be read. The text is for people.
    pub fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => {
                for certificate in read_certificates(path).map_err(|e| e.to_string())? {
                    roots.add(certificate).map_err(|e| format!("{}: {e}", path.display()))?;
                }
            }
            None => {
                // What of them cannot be used is left out, as everywhere.
                let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// A stream to the host of `url`, encrypted for `https` and `wss`.
    ///
    /// # Errors
    /// A message with the host if it cannot be reached, or its certificate is not trusted.
    pub async fn connect(&self, url: &Uri) -> Result<Box<dyn Stream>, String> {
        let host = url.host().ok_or_else(|| format!("{url} has no host"))?;
        // IPv6 hosts come with brackets, which neither TLS names nor sockets have.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secure = matches!(url.scheme_str(), Some("https" | "wss"));
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let connect = async {
            let stream = TcpStream::connect((host, port)).await.map_err(|e| format!("{host}:{port}: {e}"))?;
            if !secure {
                return Ok(Box::new(stream) as Box<dyn Stream>);
            }
            let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("{host}: {e}"))?;
            let stream =
                self.tls.connect(name, stream).await.map_err(|e| format!("{host}:{port}: TLS: {e}"))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        };
        let late = |_| format!("{host}:{port}: no connection in {} s", TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, connect).await.map_err(late)?
    }

    /// Posts JSON. Gives the status and the body of the answer.
    ///
    /// # Errors
    /// A message if there is no answer, or none in time.
    pub async fn post(&self, url: &Uri, body: String) -> Result<(u16, Bytes), String> {
        let exchange = async {
            let stream = self.connect(url).await?;
            let path = url.path_and_query().map_or("/", |path| path.as_str());
            // Without what a URL may have before the host: that is nobody else's business.
            let host = url.authority().map_or("", |authority| authority.as_str());
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let posted = post_json(stream, host, path, body, MAX_ANSWER_BYTES).await;
            let (status, answer) = posted.map_err(|e| format!("{url}: {e}"))?;
            Ok((status.as_u16(), answer))
        };
        let late = |_| format!("{url}: no answer in {} s", TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(late)?
    }
}
