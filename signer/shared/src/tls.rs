//! TLS of the client and admin ports: certificates are required on both sides and tell who the other side is.
//!
//! rustls with the ring provider, TLS 1.2 and 1.3, no native root store. A connection's [`PeerIdentity`] is read once
//! from the certificate that the handshake has verified and goes into every request's extensions.

pub mod leaf;

use crate::config::TlsFiles;
use leaf::{LeafProblem, Role};
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest as _, Sha256};
pub use signonce_core::Fingerprint;
use signonce_protocol::client::pem::{self, Pem, PemError};
use std::{
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
    /// A file without usable content.
    #[error(transparent)]
    File(#[from] PemError),
    /// A certificate that nobody would accept from its holder.
    #[error("{path}: {problem}")]
    Leaf {
        /// The file with the certificate.
        path: PathBuf,
        /// What is wrong with it.
        problem: LeafProblem,
    },
    /// An authority that rustls cannot use.
    #[error("the certificates in {path} cannot be used: {why}")]
    Unusable {
        /// The file with the certificate.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate of another authority.
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

/// The identity on the other side of a verified connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// SHA-256 of the certificate's SubjectPublicKeyInfo, by which the registry knows clients.
    pub spki: Fingerprint,
    /// The name in a `signonce:client:` URI.
    pub client: Option<String>,
    /// The name in a `signonce:admin:` URI.
    pub admin: Option<String>,
}

/// The DNS names in a verified certificate, by which members are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsNames(pub Arc<[String]>);

impl DnsNames {
    /// Reads them from a verified certificate; one that cannot be read has none.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let names = webpki::EndEntityCert::try_from(certificate)
            .map(|leaf| leaf.valid_dns_names().map(str::to_owned).collect())
            .unwrap_or_default();
        Self(names)
    }
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not X.509.
    #[error("the certificate is not X.509: {0}")]
    Malformed(String),
    /// An empty or repeated name of a role: nobody could tell who acts.
    #[error("the certificate must name its role once and in full, not {0:?}; issue another")]
    UnclearRole(String),
}

impl PeerIdentity {
    /// Reads the identity from a verified certificate.
    ///
    /// # Errors
    /// If it is not X.509 or its roles are unclear.
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

    /// The fingerprint of the first certificate in a PEM file: what `clients add` and `officers add` register.
    ///
    /// # Errors
    /// If there is none, or one that a signer would never accept.
    pub fn of_file(path: &Path) -> Result<Self, TlsError> {
        let chain = Pem::open(path)?.chain()?;
        leaf::check(path, &chain, Role::Client)?;
        Self::of(&chain[0]).map_err(|e| TlsError::Unusable { path: path.to_owned(), why: e.to_string() })
    }
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// If the file cannot be read or has none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    Ok(Pem::open(path)?.certificates()?)
}

/// The certificate and key that a node or a client shows, and the authorities that it trusts.
pub struct Credentials {
    /// The trusted authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The own certificate, then those between it and an authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The own certificate's key.
    pub key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// If one has no usable content, the certificate does not match the key, or nobody would accept it from `role`.
    pub fn read(files: &TlsFiles, role: Role) -> Result<Self, TlsError> {
        let authorities = read_certificates(&files.ca)?;
        let (chain, key) = pem::pair(&Pem::open(&files.cert)?, &Pem::open(&files.key)?)?;
        leaf::check(&files.cert, &chain, role)?;
        Ok(Self { authorities, chain, key })
    }

    fn roots(&self, files: &TlsFiles) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            let unusable = |e: Error| TlsError::Unusable { path: files.ca.clone(), why: e.to_string() };
            roots.add(authority.clone()).map_err(unusable)?;
        }
        Ok(Arc::new(roots))
    }
}

/// When the first of some certificates ends, in Unix seconds; none if none can be read.
pub fn first_end(certificates: &[CertificateDer<'static>]) -> Option<i64> {
    let end = |der: &CertificateDer<'static>| {
        X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed.validity().not_after.timestamp())
    };
    certificates.iter().filter_map(end).min()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The TLS configuration of the client and admin ports. A connection without a certificate of the authority fails in
/// the handshake.
///
/// # Errors
/// If a file cannot be read or used.
pub fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let unusable = |path: &Path, why: String| TlsError::Unusable { path: path.to_owned(), why };
    let own = Credentials::read(files, Role::Node)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| unusable(&files.cert, e.to_string()))?
        .with_client_cert_verifier(client_verifier(&own, files)?)
        .with_single_cert(own.chain, own.key)
        .map_err(|e| unusable(&files.cert, e.to_string()))?;
    // WebSocket upgrades need HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn client_verifier(own: &Credentials, files: &TlsFiles) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(own.roots(files)?, provider())
        .build()
        .map_err(|e| TlsError::Unusable { path: files.ca.clone(), why: e.to_string() })
}

/// Checks that members with the same authority will accept the certificate in `files`. Its dates are ignored here: they
/// also pass on running nodes, where `doctor` and the metrics warn.
///
/// # Errors
/// [`TlsError::NotIssued`], or if a file cannot be read or used.
pub fn check_issued(files: &TlsFiles) -> Result<(), TlsError> {
    let own = Credentials::read(files, Role::Node)?;
    let verifier = client_verifier(&own, files)?;
    match verifier.verify_client_cert(&own.chain[0], &own.chain[1..], UnixTime::now()) {
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

/// Checks that a node can run with the files: as a server, as a client, and with its peers' authority.
///
/// # Errors
/// The first problem found.
pub fn check(files: &TlsFiles) -> Result<(), TlsError> {
    server_config(files)?;
    client_config(files)?;
    check_issued(files)
}

/// The TLS configuration for asking a node: trusts the authority in `files` and shows the certificate in it.
///
/// # Errors
/// If a file cannot be read or used.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let unusable = |why: String| TlsError::Unusable { path: files.cert.clone(), why };
    let own = Credentials::read(files, Role::Client)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| unusable(e.to_string()))?
        .with_root_certificates(own.roots(files)?)
        .with_client_auth_cert(own.chain, own.key)
        .map_err(|e| unusable(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;
    use crate::certs::{CA_CERTIFICATE, Issued, Subject};
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SanType};
    use signonce_core::replica::hello::ClusterId;
    use signonce_protocol::NodeId;

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

    /// A node that `authority` issued into `dir`.
    fn node(authority: &Authority, dir: &Path, id: u64, days: u32) -> TlsFiles {
        let subject = Subject::Node { cluster: ClusterId([7; 16]), node: NodeId(id), hosts: Vec::new() };
        let Issued { cert, key } = authority.issue(dir, &subject, days).unwrap();
        TlsFiles { ca: dir.join(CA_CERTIFICATE), cert, key }
    }

    #[test]
    fn a_certificate_must_be_of_the_authority_beside_it() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [own, foreign] = [&dir, &other].map(|dir| Authority::create(dir.path()).unwrap());
        check_issued(&node(&own, dir.path(), 1, 10)).unwrap();
        check_issued(&node(&own, dir.path(), 2, 0)).unwrap();
        let mixed = TlsFiles { ca: dir.path().join(CA_CERTIFICATE), ..node(&foreign, other.path(), 1, 10) };
        let error = check_issued(&mixed).unwrap_err();
        assert!(matches!(error, TlsError::NotIssued { .. }), "{error}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = node(&Authority::create(dir.path()).unwrap(), dir.path(), 1, 10);
        let (path, missing) = (dir.path().join("x.pem"), dir.path().join("missing.pem"));
        std::fs::write(&path, "no pem").unwrap();
        for bad in [&path, &missing] {
            for files in [
                TlsFiles { ca: bad.clone(), ..files.clone() },
                TlsFiles { cert: bad.clone(), ..files.clone() },
                TlsFiles { key: bad.clone(), ..files.clone() },
            ] {
                for error in [
                    check_issued(&files).unwrap_err(),
                    server_config(&files).unwrap_err(),
                    client_config(&files).unwrap_err(),
                ] {
                    assert!(error.to_string().starts_with(&*bad.to_string_lossy()), "{error}");
                }
            }
        }
    }

    /// What people hand in, of which the reader's own tests have the rest.
    #[test]
    fn a_certificate_for_servers_alone_and_an_old_one_are_called_that_and_not_another_authoritys() {
        let dir = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
            .join("../../protocol/tests/vectors/tls");
        let of = |cert: &str, key: &str| TlsFiles {
            ca: dir.join("ca.pem"),
            cert: dir.join(cert),
            key: dir.join(key),
        };
        for cert in ["good.pem", "bom.pem"] {
            check_issued(&of(cert, "good.key")).unwrap();
        }
        for (cert, key, says) in [
            ("server-auth-only.pem", "server-auth-only.key", "may act as a server alone"),
            ("x509-v1.pem", "x509-v1.key", "version 1"),
            ("reversed.pem", "good.key", "number 2 is"),
            ("p521.pem", "p521.key", "P-521"),
            ("good.pem", "encrypted-sec1.key", "encrypted"),
        ] {
            let error = check_issued(&of(cert, key)).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("not issued by"), "{cert}: {error}");
        }
        for (cert, says) in [
            ("server-auth-only.pem", "clientAuth"),
            ("x509-v1.pem", "version 1"),
            ("reversed.pem", "an authority's"),
            ("p521.pem", "P-521"),
            ("good.der", "DER"),
            ("good.key", "it holds PRIVATE KEY"),
        ] {
            let error = PeerIdentity::of_file(&dir.join(cert)).unwrap_err().to_string();
            assert!(error.contains(cert) && error.contains(says), "{cert}: {error}");
        }
        PeerIdentity::of_file(&dir.join("bom.pem")).unwrap();
    }
}
