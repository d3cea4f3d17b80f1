//! Signing the audit chain with the node's own certificate, and checking such a signature.
//!
//! The certificate goes with the signature, so that a verifier needs nothing but the authority's certificate. It must
//! name the node of this cluster, and is judged at the time of the record.

use crate::{
    config::TlsFiles,
    server::tls::{self, TlsError},
};
use rustls::{SignatureScheme, crypto::ring, sign::SigningKey};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use signonce_core::{AuditSignature, audit::signed_bytes, replica::fence::ClusterId};
use signonce_protocol::{Hash, NodeId};
use std::{path::Path, sync::Arc, time::Duration};

/// What is asked of a key, the best first.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA512,
];

/// Signs with a node's certificate.
pub struct HeadSigner {
    key: Arc<dyn SigningKey>,
    chain: Vec<CertificateDer<'static>>,
    cluster: String,
    files: TlsFiles,
}

impl HeadSigner {
    /// With the certificate and key that the node has for TLS.
    ///
    /// # Errors
    /// If the files cannot be read or the key is of no kind that signs.
    pub fn new(files: &TlsFiles, cluster: &str) -> Result<Self, TlsError> {
        let key = tls::read_key(&files.key)?;
        let unusable = |e: rustls::Error| TlsError::Unusable { path: files.key.clone(), why: e.to_string() };
        Ok(Self {
            key: ring::sign::any_supported_type(&key).map_err(unusable)?,
            chain: tls::read_certificates(&files.cert)?,
            cluster: cluster.to_owned(),
            files: files.clone(),
        })
    }

    /// Takes over what the files hold now: certificates are renewed in place. Goes on with the old one if the new one
    /// cannot be used, of which the [reload](crate::server::reload) tells.
    pub fn refresh(&mut self) {
        if let Ok(fresh) = Self::new(&self.files, &self.cluster) {
            *self = fresh;
        }
    }

    /// Signs that the chain before record `next` is `chain`.
    ///
    /// # Errors
    /// If the key is of no kind that signs.
    pub fn sign(&self, node: NodeId, next: u64, chain: Hash) -> Result<AuditSignature, rustls::Error> {
        let none = || rustls::Error::General("the key of the certificate signs with no known scheme".into());
        let signer = self.key.choose_scheme(SCHEMES).ok_or_else(none)?;
        let signature = signer.sign(&signed_bytes(&self.cluster, node, next, &chain))?;
        Ok(AuditSignature {
            node,
            next,
            chain,
            certificates: self.chain.iter().map(|certificate| certificate.to_vec()).collect(),
            scheme: signer.scheme().into(),
            signature,
        })
    }
}

/// Whom a verifier believes.
pub struct Authorities(Vec<TrustAnchor<'static>>);

impl Authorities {
    /// The authorities in a PEM file.
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

/// Checks the signature itself, that the certificate is that node's of that cluster, and, with `authorities`, that
/// one of them issued it and that it was valid at `time_ms`.
///
/// # Errors
/// What is wrong, for people.
pub fn check(
    signature: &AuditSignature,
    cluster: &str,
    time_ms: u64,
    authorities: Option<&Authorities>,
) -> Result<(), String> {
    let AuditSignature { node, next, chain, certificates, scheme, signature } = signature;
    let certificates: Vec<CertificateDer<'_>> =
        certificates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let (leaf, issuers) = certificates.split_first().ok_or("it comes without a certificate")?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|e| format!("its certificate: {e}"))?;
    let cluster_id: ClusterId = cluster.parse().map_err(|_| format!("{cluster:?} is no cluster id"))?;
    let name = signonce_cluster::node_name(&cluster_id, *node);
    let server = ServerName::try_from(name.as_str()).map_err(|e| e.to_string())?;
    leaf.verify_is_valid_for_subject_name(&server)
        .map_err(|_| format!("its certificate is not that of node {node}: it lacks the name {name}"))?;
    let known = ring::default_provider().signature_verification_algorithms;
    let algorithms = known.mapping.iter().find(|(known, _)| u16::from(*known) == *scheme);
    let (_, algorithms) = algorithms.ok_or_else(|| format!("its scheme {scheme:#06x} is unknown"))?;
    let message = signed_bytes(cluster, *node, *next, chain);
    let fits = |a: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        leaf.verify_signature(*a, &message, signature).is_ok()
    };
    if !algorithms.iter().any(fits) {
        return Err("it is not the signature of its certificate's key".into());
    }
    let Some(Authorities(anchors)) = authorities else { return Ok(()) };
    let time = UnixTime::since_unix_epoch(Duration::from_millis(time_ms));
    let usage = webpki::KeyUsage::client_auth();
    leaf.verify_for_usage(known.all, anchors, issuers, time, usage, None, None)
        .map(drop)
        .map_err(|e| format!("no authority of the file given vouches for its certificate: {e}"))
}
