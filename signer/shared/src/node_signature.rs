//! Signatures by the key of a node's TLS certificate, and checking them.
//!
//! The certificates go with the signature, so that a verifier needs only the authority's. The caller makes sure that
//! the first bytes of what is signed say what it is: a manifest of a backup, the head of an audit chain.

use crate::{
    config::TlsFiles,
    tls::{self, TlsError},
};
use rustls::{SignatureScheme, crypto::ring, sign::SigningKey};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use signonce_core::replica::hello::ClusterId;
use signonce_protocol::{
    NodeId,
    client::pem::{self, Pem},
};
use std::{path::Path, sync::Arc, time::Duration};

/// The accepted schemes, the best first.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA512,
];

/// A node's TLS certificate and key.
pub struct NodeKey {
    key: Arc<dyn SigningKey>,
    chain: Vec<CertificateDer<'static>>,
}

/// A signature and its maker's certificates.
pub struct Signed {
    /// The number of the scheme in TLS.
    pub scheme: u16,
    /// The bytes.
    pub signature: Vec<u8>,
    /// The node's certificate in DER, then the chain between it and the authority.
    pub certificates: Vec<Vec<u8>>,
}

impl NodeKey {
    /// Reads the certificate and key from the files as they are now.
    ///
    /// # Errors
    /// If they cannot be read, or the key is of a kind that cannot sign.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let (chain, key) = pem::pair(&Pem::open(&files.cert)?, &Pem::open(&files.key)?)?;
        let unusable = |e: rustls::Error| TlsError::Unusable { path: files.key.clone(), why: e.to_string() };
        let key = ring::sign::any_supported_type(&key).map_err(unusable)?;
        Ok(Self { key, chain })
    }

    /// Signs a message.
    ///
    /// # Errors
    /// If the key signs with no known scheme.
    pub fn sign(&self, message: &[u8]) -> Result<Signed, rustls::Error> {
        let none = || rustls::Error::General("the key of the certificate signs with no known scheme".into());
        let signer = self.key.choose_scheme(SCHEMES).ok_or_else(none)?;
        Ok(Signed {
            scheme: signer.scheme().into(),
            signature: signer.sign(message)?,
            certificates: self.chain.iter().map(|certificate| certificate.to_vec()).collect(),
        })
    }
}

/// The authorities that a verifier trusts.
pub struct Authorities(Vec<TrustAnchor<'static>>);

impl Authorities {
    /// Reads the authorities in a PEM file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let unusable = |e: webpki::Error| TlsError::Unusable { path: path.to_owned(), why: e.to_string() };
        let anchor = |der: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(der).map(|a| a.to_owned());
        let anchors: Result<Vec<_>, _> = tls::read_certificates(path)?.iter().map(anchor).collect();
        anchors.map(Self).map_err(unusable)
    }
}

/// Why a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It comes without a certificate, so its maker is unknown.
    #[error("it comes without a certificate")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error("its certificate: {0}")]
    Certificate(String),
    /// The certificate belongs to another node.
    #[error("its certificate is not that of node {node}: it lacks the name {name}")]
    AnotherNode {
        /// Who should have signed.
        node: NodeId,
        /// The name that the certificate must have.
        name: String,
    },
    /// The scheme is unknown.
    #[error("its scheme {0:#06x} is unknown")]
    Scheme(u16),
    /// The signature is of other bytes, or by another key.
    #[error("these bytes are not what the node signed")]
    NotOfThese,
    /// The certificate is from another authority, or was not valid at the time.
    #[error("the authority does not vouch for its certificate: {0}")]
    Authority(String),
}

impl Signed {
    /// Checks that `node` of `cluster` has signed `message`.
    ///
    /// # Errors
    /// If it has not.
    pub fn check(&self, cluster: &ClusterId, node: NodeId, message: &[u8]) -> Result<(), SignatureError> {
        let leaf = self.leaf()?;
        let leaf = end_entity(&leaf)?;
        let name = signonce_core::replica::hello::node_name(cluster, node);
        let server =
            ServerName::try_from(name.as_str()).map_err(|e| SignatureError::Certificate(e.to_string()))?;
        let another = |_| SignatureError::AnotherNode { node, name: name.clone() };
        leaf.verify_is_valid_for_subject_name(&server).map_err(another)?;
        let known = ring::default_provider().signature_verification_algorithms;
        let of_scheme = known.mapping.iter().find(|(scheme, _)| u16::from(*scheme) == self.scheme);
        let (_, algorithms) = of_scheme.ok_or(SignatureError::Scheme(self.scheme))?;
        let fits = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            leaf.verify_signature(*algorithm, message, &self.signature).is_ok()
        };
        if algorithms.iter().any(fits) { Ok(()) } else { Err(SignatureError::NotOfThese) }
    }

    /// Checks that one of `authorities` has issued the certificate, and that it was valid then (Unix milliseconds).
    ///
    /// # Errors
    /// If none has issued it, or it was not valid.
    pub fn check_issuer(&self, authorities: &Authorities, unix_ms: u64) -> Result<(), SignatureError> {
        let leaf = self.leaf()?;
        let leaf = end_entity(&leaf)?;
        let issuers: Vec<CertificateDer<'_>> =
            self.certificates.iter().skip(1).map(|der| der.as_slice().into()).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_millis(unix_ms));
        let known = ring::default_provider().signature_verification_algorithms;
        let usage = webpki::KeyUsage::client_auth();
        leaf.verify_for_usage(known.all, &authorities.0, &issuers, time, usage, None, None)
            .map(drop)
            .map_err(|e| SignatureError::Authority(e.to_string()))
    }

    fn leaf(&self) -> Result<CertificateDer<'_>, SignatureError> {
        self.certificates.first().map(|der| der.as_slice().into()).ok_or(SignatureError::NoCertificate)
    }
}

fn end_entity<'a>(leaf: &'a CertificateDer<'a>) -> Result<webpki::EndEntityCert<'a>, SignatureError> {
    webpki::EndEntityCert::try_from(leaf).map_err(|e| SignatureError::Certificate(e.to_string()))
}
