//! Signed heads of the audit chain: whether one is from that node of that cluster, under a trusted authority.

use crate::node_signature::{Authorities, Signed};
use signonce_core::{AuditSignature, audit::signed_bytes, replica::hello::ClusterId};

/// Checks the signature itself, that the certificate is that node's of that cluster, and, with `authorities`, that
/// one of them issued it and that it was valid at `time_ms`.
///
/// # Errors
/// What is wrong, as readable text.
pub fn check(
    signature: &AuditSignature,
    cluster: &str,
    time_ms: u64,
    authorities: Option<&Authorities>,
) -> Result<(), String> {
    let AuditSignature { node, next, chain, certificates, scheme, signature } = signature.clone();
    let id: ClusterId = cluster.parse().map_err(|_| format!("{cluster:?} is not a cluster id"))?;
    let signed = Signed { scheme, signature, certificates };
    signed.check(&id, node, &signed_bytes(cluster, node, next, &chain)).map_err(|e| e.to_string())?;
    authorities
        .map_or(Ok(()), |authorities| signed.check_issuer(authorities, time_ms))
        .map_err(|e| e.to_string())
}
