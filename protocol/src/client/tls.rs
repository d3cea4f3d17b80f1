//! The client's TLS settings: only its own certificate authority and certificate, no native roots.

use super::pem::{self, Pem, PemError};
use std::{fmt, path::PathBuf, sync::Arc};

/// Where the client's TLS settings come from.
#[derive(Clone)]
pub enum TlsSource {
    /// PEM files.
    Files {
        /// Certificates of the authorities that signers' certificates must come from.
        ca: PathBuf,
        /// The client's certificate chain, its own first.
        cert: PathBuf,
        /// The client's private key.
        key: PathBuf,
    },
    /// Ready settings. Their ALPN, if any, must offer `http/1.1`.
    Config(Arc<rustls::ClientConfig>),
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { ca, cert, key } => {
                f.debug_struct("Files").field("ca", ca).field("cert", cert).field("key", key).finish()
            }
            Self::Config(_) => f.write_str("Config"),
        }
    }
}

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key.
    #[error(transparent)]
    File(#[from] PemError),
    /// An authority that is not a certificate, or a chain that TLS does not accept.
    #[error("TLS settings do not fit together: {0}")]
    Config(#[from] rustls::Error),
}

/// Client settings from PEM: TLS 1.2 and 1.3 with ring, roots from `ca` only, the client's certificate and key.
///
/// # Errors
/// If the bytes are not PEM of the right kind, or the key is not the certificate's.
pub fn tls_from_pem(ca: &[u8], cert: &[u8], key: &[u8]) -> Result<rustls::ClientConfig, TlsError> {
    config(
        &Pem::of("the authorities' certificates", ca),
        &Pem::of("the client's certificate", cert),
        &Pem::of("the client's key", key),
    )
}

pub(super) fn config(ca: &Pem, cert: &Pem, key: &Pem) -> Result<rustls::ClientConfig, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for root in ca.certificates()? {
        roots.add(root)?;
    }
    let (chain, key) = pem::pair(cert, key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    // WebSockets begin with an HTTP/1.1 upgrade.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let missing = PathBuf::from("no-such-file.pem");
        let source = TlsSource::Files { ca: missing.clone(), cert: missing.clone(), key: missing };
        let error = super::super::live::LiveTls::new(source).err().unwrap();
        assert!(error.to_string().contains("no-such-file.pem"));
    }

    #[test]
    fn what_is_given_without_a_file_is_called_what_it_is() {
        let error = tls_from_pem(b"x", b"x", b"x").unwrap_err().to_string();
        assert!(error.starts_with("the authorities' certificates: there is no certificate in it"), "{error}");
    }
}
