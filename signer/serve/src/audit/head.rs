//! Heads of the audit chain, signed with the node's own certificate, which must name this node of this cluster and be
//! valid at the time of the record.

use signonce_core::{AuditSignature, audit::signed_bytes};
use signonce_protocol::{Hash, NodeId};
use signonce_shared::{
    config::TlsFiles,
    node_signature::{NodeKey, Signed},
    tls::TlsError,
};
use std::time::Duration;
use tokio::{task::JoinHandle, time::timeout};

/// How long the files may take to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Signs with a node's certificate.
pub struct HeadSigner {
    key: NodeKey,
    cluster: String,
    files: TlsFiles,
    /// The read under way. While one hangs, no other is started.
    reading: Option<JoinHandle<Result<NodeKey, TlsError>>>,
}

impl HeadSigner {
    /// A signer with the certificate and key that the node has for TLS.
    ///
    /// # Errors
    /// If the files cannot be read, or the key is of a kind that cannot sign.
    pub fn new(files: &TlsFiles, cluster: &str) -> Result<Self, TlsError> {
        Ok(Self {
            key: NodeKey::read(files)?,
            cluster: cluster.to_owned(),
            files: files.clone(),
            reading: None,
        })
    }

    /// Takes over the present content of the files: certificates are renewed in place. Keeps the old one if the new one
    /// cannot be used, which the [reload](signonce_listen::reload) reports, or if reading the files hangs.
    pub async fn refresh(&mut self) {
        let reading = self.reading.get_or_insert_with(|| {
            let files = self.files.clone();
            tokio::task::spawn_blocking(move || NodeKey::read(&files))
        });
        let Ok(read) = timeout(PATIENCE, reading).await else { return };
        self.reading = None;
        if let Ok(Ok(key)) = read {
            self.key = key;
        }
    }

    /// Signs that the chain before record `next` is `chain`.
    ///
    /// # Errors
    /// If the key is of a kind that cannot sign.
    pub fn sign(&self, node: NodeId, next: u64, chain: Hash) -> Result<AuditSignature, rustls::Error> {
        let message = signed_bytes(&self.cluster, node, next, &chain);
        let Signed { scheme, signature, certificates } = self.key.sign(&message)?;
        Ok(AuditSignature { node, next, chain, certificates, scheme, signature })
    }
}
