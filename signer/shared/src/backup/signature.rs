//! A node's signature of a backup's manifest, by the key of its certificate.

use super::{BackupError, Manifest};
use crate::{
    config::TlsFiles,
    node_signature::{Authorities, NodeKey, Signed},
    tls::TlsError,
};
use serde::{Deserialize, Serialize};
use signonce_core::replica::hello::ClusterId;
use signonce_protocol::HexBytes;
use std::path::Path;

/// The signed bytes begin with this, so that a signature of a backup cannot be one of anything else.
const CONTEXT: &[u8] = b"signonce backup manifest 1\n";

/// A signature and the certificate of its maker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSignature {
    /// The number of the scheme in TLS.
    scheme: u16,
    signature: HexBytes,
    /// The node's certificate, then the chain between it and the authority.
    certificates: Vec<HexBytes>,
}

impl NodeSignature {
    /// Signs with the node's TLS certificate, as its files are now.
    ///
    /// # Errors
    /// If the files cannot be read, or the key cannot sign.
    pub fn make(files: &TlsFiles, manifest: &[u8]) -> Result<Self, TlsError> {
        let unusable = |e: rustls::Error| TlsError::Unusable { path: files.key.clone(), why: e.to_string() };
        let signed = NodeKey::read(files)?.sign(&message(manifest)).map_err(unusable)?;
        Ok(Self {
            scheme: signed.scheme,
            signature: signed.signature.into(),
            certificates: signed.certificates.into_iter().map(HexBytes::from).collect(),
        })
    }

    /// Whether the node that the manifest names has signed these bytes, by a certificate that an authority in `ca`
    /// issued and that was valid when the backup was made.
    pub(super) fn check(&self, manifest: &Manifest, bytes: &[u8], ca: &Path) -> Result<(), BackupError> {
        let authorities = Authorities::read(ca)?;
        let cluster: ClusterId = manifest.cluster.parse().map_err(BackupError::Signature)?;
        let signed = Signed {
            scheme: self.scheme,
            signature: self.signature.0.clone(),
            certificates: self.certificates.iter().map(|der| der.0.clone()).collect(),
        };
        signed
            .check(&cluster, manifest.node, &message(bytes))
            .and_then(|()| signed.check_issuer(&authorities, manifest.created_ms))
            .map_err(|why| BackupError::Signature(why.to_string()))
    }
}

fn message(manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, manifest].concat()
}
