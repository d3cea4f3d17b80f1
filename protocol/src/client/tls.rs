//! TLS of the client: its own certificate authority only, its own certificate, no native roots.

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

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

/// Why the TLS settings are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not PEM, or nothing of the wanted kind in it.
    #[error("{what}: {reason}; it must be a PEM file")]
    Pem {
        /// What was wanted.
        what: &'static str,
        /// What is wrong. Shows nothing of a key.
        reason: String,
    },
    /// The parts do not fit together: certificate and key do not match, or a root is no certificate.
    #[error("TLS settings do not fit together: {0}")]
    Config(#[from] rustls::Error),
}

impl TlsSource {
    pub(super) fn load(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        match self {
            Self::Files { ca, cert, key } => {
                tls_from_pem(&read(ca)?, &read(cert)?, &read(key)?).map(Arc::new)
            }
            Self::Config(config) => Ok(config.clone()),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}

/// Client settings from PEM: TLS 1.2 and 1.3 with ring, roots from `ca` only, the client's certificate and key.
///
/// # Errors
/// Anything that is no PEM of its kind, or a key that is not the certificate's.
pub fn tls_from_pem(ca: &[u8], cert: &[u8], key: &[u8]) -> Result<rustls::ClientConfig, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for root in certificates("CA certificates", ca)? {
        roots.add(root)?;
    }
    let chain = certificates("client certificate", cert)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|e| TlsError::Pem { what: "client key", reason: reason_without_content(&e) })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    // WebSockets begin with an HTTP/1.1 upgrade.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let list = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::Pem { what, reason: reason_without_content(&e) })?;
    if list.is_empty() {
        return Err(TlsError::Pem { what, reason: "no certificate in it".into() });
    }
    Ok(list)
}

/// The parser's errors can quote the line at fault, which may be key material.
fn reason_without_content(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::NoItemsFound => "nothing of the kind in it".into(),
        Error::MissingSectionEnd { .. } => "a section has no end line".into(),
        Error::IllegalSectionStart { .. } => "a section's first line is malformed".into(),
        Error::Base64Decode(_) => "a section is not base64".into(),
        _ => "cannot be parsed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_key_file_is_refused_without_showing_what_is_in_it() {
        let pem = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGJ5dGVz!!\n-----END PRIVATE KEY-----\n";
        let error = PrivateKeyDer::from_pem_slice(pem).map_err(|e| reason_without_content(&e)).unwrap_err();
        assert!(!error.contains("c2VjcmV0"), "{error}");
        let error = tls_from_pem(pem, pem, pem).unwrap_err().to_string();
        assert!(error.contains("CA certificates") && !error.contains("c2VjcmV0"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = PathBuf::from("no-such-file.pem");
        let source = TlsSource::Files { ca: missing.clone(), cert: missing.clone(), key: missing };
        assert!(source.load().unwrap_err().to_string().contains("no-such-file.pem"));
    }
}
