//! What a certificate must be before anybody accepts it: judged once, for the node's own, for an operator's, and for
//! those that are registered. That an authority has issued it is another question.

use super::TlsError;
use rustls_pki_types::CertificateDer;
use signonce_protocol::client::pem::{KINDS_THAT_WORK, kind_of_key};
use std::path::Path;
use x509_parser::{
    extensions::ExtendedKeyUsage,
    prelude::{FromDer as _, X509Certificate},
};

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A node: a server of clients and members, and a client of members.
    Node,
    /// A validator or an operator: always the client.
    Client,
}

/// Why nobody would accept a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafProblem {
    /// Not X.509.
    #[error("its first certificate is not X.509: {0}")]
    Malformed(String),
    /// The certificate of an authority.
    #[error(
        "its first certificate is an authority's, which nobody accepts as that of a node, client or operator: put the \
         one that was issued first"
    )]
    Authority,
    /// A kind of key that TLS does not take here.
    #[error(
        "its certificate has a key of {0}, which TLS does not take here; issue one with {KINDS_THAT_WORK}"
    )]
    Kind(&'static str),
    /// A certificate of a server alone.
    #[error(
        "its certificate may act as a server alone (its extended key usage lacks clientAuth), as public authorities \
         issue them now, but {}: issue it with {} by an authority of your own", needs_client(.0), uses(.0)
    )]
    NoClient(Role),
    /// A certificate of a client alone.
    #[error(
        "its certificate may act as a client alone (its extended key usage lacks serverAuth), but a node is a server \
         too: issue it with {}", uses(&Role::Node)
    )]
    NoServer,
}

fn needs_client(role: &Role) -> &'static str {
    match role {
        Role::Node => "nodes are clients of each other",
        Role::Client => "validators and operators are clients",
    }
}

fn uses(role: &Role) -> &'static str {
    match role {
        Role::Node => "serverAuth and clientAuth",
        Role::Client => "clientAuth",
    }
}

/// That the first certificate of `chain`, which is in `path`, can be that of `role`.
///
/// # Errors
/// [`TlsError::Leaf`]
pub fn check(path: &Path, chain: &[CertificateDer<'_>], role: Role) -> Result<(), TlsError> {
    let judged = chain.first().map_or(Ok(()), |leaf| judge(leaf, role));
    judged.map_err(|problem| TlsError::Leaf { path: path.to_owned(), problem })
}

fn judge(leaf: &CertificateDer<'_>, role: Role) -> Result<(), LeafProblem> {
    let malformed = |e: String| LeafProblem::Malformed(e);
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|e| malformed(e.to_string()))?;
    if parsed.is_ca() {
        return Err(LeafProblem::Authority);
    }
    // Those that work have their names too; of what has none here TLS itself will say no.
    if let Some(kind) = kind_of_key(parsed.tbs_certificate.subject_pki.raw).filter(|kind| !works(kind)) {
        return Err(LeafProblem::Kind(kind));
    }
    let usage = parsed.extended_key_usage().map_err(|e| malformed(e.to_string()))?;
    // Without the extension every use is allowed.
    match (usage.map(|usage| usage.value), role) {
        (Some(ExtendedKeyUsage { client_auth: false, .. }), role) => Err(LeafProblem::NoClient(role)),
        (Some(ExtendedKeyUsage { server_auth: false, .. }), Role::Node) => Err(LeafProblem::NoServer),
        _ => Ok(()),
    }
}

fn works(kind: &str) -> bool {
    matches!(kind, "ECDSA on P-256" | "ECDSA on P-384" | "Ed25519" | "RSA")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    fn judged(change: impl FnOnce(&mut CertificateParams), role: Role) -> Result<(), LeafProblem> {
        let mut params = CertificateParams::new(vec!["host.example".into()]).unwrap();
        change(&mut params);
        judge(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der(), role)
    }

    #[test]
    fn a_certificate_must_be_for_what_its_owner_does() {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        for (uses, node, client) in [
            (vec![], Ok(()), Ok(())),
            (vec![ServerAuth, ClientAuth], Ok(()), Ok(())),
            (
                vec![ServerAuth],
                Err(LeafProblem::NoClient(Role::Node)),
                Err(LeafProblem::NoClient(Role::Client)),
            ),
            (vec![ClientAuth], Err(LeafProblem::NoServer), Ok(())),
        ] {
            for (role, right) in [(Role::Node, node), (Role::Client, client)] {
                let uses = uses.clone();
                assert_eq!(judged(|params| params.extended_key_usages = uses, role), right, "{role:?}");
            }
        }
    }

    #[test]
    fn an_authority_is_nobodys_certificate() {
        let authority =
            |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(judged(authority, Role::Client), Err(LeafProblem::Authority));
        let garbage = judge(&vec![0x30, 0].into(), Role::Client);
        assert!(matches!(garbage, Err(LeafProblem::Malformed(_))));
    }
}
