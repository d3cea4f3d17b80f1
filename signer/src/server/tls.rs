//! TLS of the client and admin ports: certificates required on both sides, and who the other side is.
//!
//! rustls with the ring provider, TLS 1.2 and 1.3, no native root store. A connection's [`PeerIdentity`] is read once
//! from the certificate that the handshake has verified and goes into every request's extensions.

use crate::config::TlsFiles;
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem, pem::PemObject};
use sha2::{Digest as _, Sha256};
use signonce_cluster::PeerTls;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// What the URI name of a client's certificate starts with; the client's name follows.
pub const CLIENT_URI: &str = "signonce:client:";
/// What the URI name of an admin's certificate starts with; the admin's name follows.
pub const ADMIN_URI: &str = "signonce:admin:";

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read, or has nothing of the kind wanted.
    #[error("cannot read {what} from {path}: {why}")]
    Pem {
        /// What was wanted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// rustls refuses them: a key that is not the certificate's, an unusable authority.
    #[error("the certificates in {path} cannot be used: {why}")]
    Unusable {
        /// The file with the certificate.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another authority's certificate.
    #[error(
        "the certificate {cert} was not issued by the authority in {ca} ({why}), so nobody would accept it: take both \
         from one authority, the one that all members and clients have"
    )]
    NotIssued {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the authority.
        ca: PathBuf,
        /// What rustls says.
        why: rustls::Error,
    },
}

/// Who is on the other side of a verified connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// SHA-256 of the certificate's SubjectPublicKeyInfo: what the registry knows clients by.
    pub spki: Fingerprint,
    /// The name in a `signonce:client:` URI.
    pub client: Option<String>,
    /// The name in a `signonce:admin:` URI.
    pub admin: Option<String>,
}

/// The DNS names in a verified certificate: members are known by theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsNames(pub Arc<[String]>);

impl DnsNames {
    /// Reads a certificate that was verified already; one that cannot be read has none.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Self(Arc::new([])) };
        let names = parsed.subject_alternative_name().ok().flatten();
        let dns = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        };
        Self(names.iter().flat_map(|extension| &extension.value.general_names).filter_map(dns).collect())
    }
}

/// SHA-256 of a SubjectPublicKeyInfo; shown as 0x-hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not X.509.
    #[error("the certificate is no X.509: {0}")]
    Malformed(String),
    /// A role with an empty name, or named twice: nobody could tell who acts.
    #[error("the certificate must name its role once and in full, not {0:?}; issue another")]
    UnclearRole(String),
}

impl PeerIdentity {
    /// Reads a certificate that was verified already.
    ///
    /// # Errors
    /// If it is no X.509 or its roles are unclear.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let malformed = |e: String| IdentityError::Malformed(e);
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| malformed(e.to_string()))?;
        let spki = Fingerprint(Sha256::digest(parsed.tbs_certificate.subject_pki.raw).into());
        let names = parsed.subject_alternative_name().map_err(|e| malformed(e.to_string()))?;
        let mut identity = Self { spki, client: None, admin: None };
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            let GeneralName::URI(uri) = name else { continue };
            let (role, name) = if let Some(name) = uri.strip_prefix(CLIENT_URI) {
                (&mut identity.client, name)
            } else if let Some(name) = uri.strip_prefix(ADMIN_URI) {
                (&mut identity.admin, name)
            } else {
                continue;
            };
            if name.is_empty() || role.is_some() {
                return Err(IdentityError::UnclearRole((*uri).to_owned()));
            }
            *role = Some(name.to_owned());
        }
        Ok(identity)
    }

    /// The fingerprint of the first certificate in a PEM file: what `clients add` registers.
    ///
    /// # Errors
    /// If there is no certificate, or none that can be read.
    pub fn of_file(path: &Path) -> Result<Self, TlsError> {
        let unusable = |why: String| TlsError::Unusable { path: path.to_owned(), why };
        let certificates = read_certificates(path)?;
        let first = certificates.first().ok_or_else(|| unusable("there is none".into()))?;
        Self::of(first).map_err(|e| unusable(e.to_string()))
    }
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// If the file cannot be read or has none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why: String| TlsError::Pem { what: "certificates", path: path.to_owned(), why };
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, pem::Error>>();
    let certificates = read().map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("there is none in it".into()));
    }
    Ok(certificates)
}

/// The private key in a PEM file.
///
/// # Errors
/// If the file cannot be read or has none.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| TlsError::Pem {
        what: "a private key",
        path: path.to_owned(),
        why: e.to_string(),
    })
}

/// For the streams between nodes.
///
/// # Errors
/// If a file cannot be read.
pub fn peer_tls(files: &TlsFiles) -> Result<PeerTls, TlsError> {
    Ok(PeerTls {
        ca: read_certificates(&files.ca)?,
        chain: read_certificates(&files.cert)?,
        key: read_key(&files.key)?,
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(files: &TlsFiles) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in read_certificates(&files.ca)? {
        roots
            .add(authority)
            .map_err(|e| TlsError::Unusable { path: files.ca.clone(), why: e.to_string() })?;
    }
    Ok(Arc::new(roots))
}

/// For the client and admin ports. Connections without a certificate of the authority end in the handshake.
///
/// # Errors
/// If a file cannot be read or used.
pub fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let unusable = |path: &Path, why: String| TlsError::Unusable { path: path.to_owned(), why };
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(files)?, provider())
        .build()
        .map_err(|e| unusable(&files.ca, e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| unusable(&files.cert, e.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(read_certificates(&files.cert)?, read_key(&files.key)?)
        .map_err(|e| unusable(&files.cert, e.to_string()))?;
    // WebSocket upgrades need HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// That members with the same authority will accept the certificate in `files`. Its dates are left aside: they pass
/// for running nodes too, `doctor` warns before, and others say so.
///
/// # Errors
/// [`TlsError::NotIssued`], or if a file cannot be read or used.
pub fn check_issued(files: &TlsFiles) -> Result<(), TlsError> {
    let unusable = |path: &Path, why: String| TlsError::Unusable { path: path.to_owned(), why };
    let chain = read_certificates(&files.cert)?;
    let (leaf, rest) = chain.split_first().ok_or_else(|| unusable(&files.cert, "there is none".into()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(files)?, provider())
        .build()
        .map_err(|e| unusable(&files.ca, e.to_string()))?;
    match verifier.verify_client_cert(leaf, rest, UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => Ok(()),
        Err(why) => Err(TlsError::NotIssued { cert: files.cert.clone(), ca: files.ca.clone(), why }),
    }
}

/// For asking a node: trusts the authority in `files` and shows the certificate in it.
///
/// # Errors
/// If a file cannot be read or used.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let unusable = |why: String| TlsError::Unusable { path: files.cert.clone(), why };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| unusable(e.to_string()))?
        .with_root_certificates(roots(files)?)
        .with_client_auth_cert(read_certificates(&files.cert)?, read_key(&files.key)?)
        .map_err(|e| unusable(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::{Authority, CA_CERTIFICATE, Issued, Subject};
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SanType};

    fn certificate(key: &KeyPair, uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["host.example".into()]).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.self_signed(key).unwrap().der().clone()
    }

    fn identity(uris: &[&str]) -> Result<PeerIdentity, IdentityError> {
        PeerIdentity::of(&certificate(&KeyPair::generate().unwrap(), uris))
    }

    #[test]
    fn a_certificate_names_its_roles_in_uris() {
        for (uris, client, admin) in [
            (&[][..], None, None),
            (&["https://example.com"][..], None, None),
            (&["signonce:client:validator-a"][..], Some("validator-a"), None),
            (&["signonce:admin:ops@example"][..], None, Some("ops@example")),
            (&["signonce:client:a", "signonce:admin:b"][..], Some("a"), Some("b")),
            (&["signonce:clients:a"][..], None, None),
        ] {
            let got = identity(uris).unwrap();
            assert_eq!((got.client.as_deref(), got.admin.as_deref()), (client, admin), "{uris:?}");
        }
    }

    #[test]
    fn an_unclear_role_is_no_identity() {
        for uris in [
            &["signonce:admin:"][..],
            &["signonce:admin:a", "signonce:admin:b"][..],
            &["signonce:client:a", "signonce:client:a"][..],
        ] {
            assert!(matches!(identity(uris), Err(IdentityError::UnclearRole(_))), "{uris:?}");
        }
        assert!(matches!(PeerIdentity::of(&vec![0x30, 0].into()), Err(IdentityError::Malformed(_))));
    }

    #[test]
    fn the_fingerprint_follows_the_key_through_renewals() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let spki = |key, uris: &[&str]| PeerIdentity::of(&certificate(key, uris)).unwrap().spki;
        assert_eq!(spki(&one, &[]), spki(&one, &["signonce:client:renewed"]));
        assert_ne!(spki(&one, &[]), spki(&other, &[]));
        let expected: [u8; 32] = Sha256::digest(one.subject_public_key_info()).into();
        assert_eq!(spki(&one, &[]), Fingerprint(expected));
    }

    #[test]
    fn a_certificate_must_be_of_the_authority_beside_it() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [own, foreign] = [&dir, &other].map(|dir| Authority::create(dir.path()).unwrap());
        let subject = |name: &str| Subject::Client(name.into());
        let files = |issued: Issued| TlsFiles {
            ca: dir.path().join(CA_CERTIFICATE),
            cert: issued.cert,
            key: issued.key,
        };
        check_issued(&files(own.issue(dir.path(), &subject("a"), 10).unwrap())).unwrap();
        check_issued(&files(own.issue(dir.path(), &subject("ended"), 0).unwrap())).unwrap();
        let error =
            check_issued(&files(foreign.issue(other.path(), &subject("a"), 10).unwrap())).unwrap_err();
        assert!(matches!(error, TlsError::NotIssued { .. }), "{error}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (path, missing) = (dir.path().join("x.pem"), dir.path().join("missing.pem"));
        std::fs::write(&path, "no pem").unwrap();
        for error in [
            read_certificates(&path).unwrap_err(),
            read_certificates(&missing).unwrap_err(),
            read_key(&path).unwrap_err(),
        ] {
            assert!(error.to_string().contains(".pem"), "{error}");
        }
    }
}
