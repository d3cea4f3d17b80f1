//! A node's signature of a backup's manifest, by the key of its certificate. The certificate goes with it, so that a
//! verifier needs nothing but the authority's.

use super::{BackupError, Manifest};
use crate::{
    config::TlsFiles,
    server::tls::{self, TlsError},
};
use rustls::{SignatureScheme, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use serde::{Deserialize, Serialize};
use signonce_core::replica::fence::ClusterId;
use signonce_protocol::HexBytes;
use std::{path::Path, time::Duration};

/// What is signed begins with this, so that no signature of a backup is one of anything else.
const CONTEXT: &[u8] = b"signonce backup manifest 1\n";

/// What is asked of a key, the best first.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA512,
];

/// A signature and the certificate of who made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSignature {
    /// TLS' number of the scheme.
    scheme: u16,
    signature: HexBytes,
    /// The node's certificate, then those between it and the authority.
    certificates: Vec<HexBytes>,
}

impl NodeSignature {
    /// Signs with the certificate that the node has for TLS, as the files are now.
    ///
    /// # Errors
    /// If the files cannot be read, or the key does not sign.
    pub fn make(files: &TlsFiles, manifest: &[u8]) -> Result<Self, TlsError> {
        let unusable = |why: String| TlsError::Unusable { path: files.key.clone(), why };
        let key = tls::read_key(&files.key)?;
        let key = ring::sign::any_supported_type(&key).map_err(|e| unusable(e.to_string()))?;
        let signer = key
            .choose_scheme(SCHEMES)
            .ok_or_else(|| unusable("its key signs with no known scheme".into()))?;
        let signature = signer.sign(&message(manifest)).map_err(|e| unusable(e.to_string()))?;
        let certificates = tls::read_certificates(&files.cert)?;
        Ok(Self {
            scheme: signer.scheme().into(),
            signature: signature.into(),
            certificates: certificates.iter().map(|der| der.to_vec().into()).collect(),
        })
    }

    /// Whether the node that the manifest names has signed these bytes, by a certificate that an authority in `ca`
    /// issued and that was valid when the backup was made.
    pub(super) fn check(&self, manifest: &Manifest, bytes: &[u8], ca: &Path) -> Result<(), BackupError> {
        let authorities = tls::read_certificates(ca)?;
        self.judge(manifest, bytes, &authorities).map_err(BackupError::Signature)
    }

    fn judge(
        &self,
        manifest: &Manifest,
        bytes: &[u8],
        authorities: &[CertificateDer<'_>],
    ) -> Result<(), String> {
        let certificates: Vec<CertificateDer<'_>> =
            self.certificates.iter().map(|der| CertificateDer::from(der.0.as_slice())).collect();
        let (leaf, issuers) = certificates.split_first().ok_or("it comes without a certificate")?;
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|e| format!("its certificate: {e}"))?;
        let cluster: ClusterId = manifest.cluster.parse()?;
        let name = signonce_cluster::node_name(&cluster, manifest.node);
        let server = ServerName::try_from(name.as_str()).map_err(|e| e.to_string())?;
        leaf.verify_is_valid_for_subject_name(&server)
            .map_err(|_| format!("its certificate is not that of node {}: it lacks {name}", manifest.node))?;
        let known = ring::default_provider().signature_verification_algorithms;
        let of_scheme = known.mapping.iter().find(|(scheme, _)| u16::from(*scheme) == self.scheme);
        let (_, algorithms) =
            of_scheme.ok_or_else(|| format!("its scheme {:#06x} is unknown", self.scheme))?;
        let message = message(bytes);
        let fits = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            leaf.verify_signature(*algorithm, &message, &self.signature.0).is_ok()
        };
        if !algorithms.iter().any(fits) {
            return Err("the manifest is not what the node signed".into());
        }
        let anchors = authorities.iter().map(webpki::anchor_from_trusted_cert);
        let anchors = anchors.collect::<Result<Vec<_>, _>>().map_err(|e| format!("the authority: {e}"))?;
        let time = UnixTime::since_unix_epoch(Duration::from_millis(manifest.created_ms));
        leaf.verify_for_usage(known.all, &anchors, issuers, time, webpki::KeyUsage::client_auth(), None, None)
            .map(drop)
            .map_err(|e| format!("the authority does not vouch for its certificate: {e}"))
    }
}

fn message(manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, manifest].concat()
}
