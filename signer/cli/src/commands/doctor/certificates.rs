//! Checks the node's certificate: right names, right authority, valid now and for a while.

use super::Findings;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use signonce_core::replica::hello::ClusterId;
use signonce_core::replica::hello::node_name;
use signonce_shared::{
    config::Config,
    tls::{self, Credentials, leaf::Role},
};
use std::{sync::Arc, time::Duration};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The remaining validity at which it is time to renew.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let Credentials { authorities, chain, .. } = match Credentials::read(&config.tls, Role::Node) {
        Ok(own) => own,
        Err(error) => return findings.wrong("certificate", error),
    };
    for (what, certificates) in [("certificate", &chain), ("authority", &authorities)] {
        expiry(what, certificates, findings);
    }
    if let Err(error) = tls::check_issued(&config.tls) {
        return findings.wrong("certificate", error);
    }
    let mut names = Vec::new();
    match config.cluster.id.parse::<ClusterId>() {
        Ok(cluster) => names.push(node_name(&cluster, config.node.id)),
        Err(why) => findings.wrong("certificate", why),
    }
    names.extend(host(&config.this_member().client_url));
    match verify(&chain, authorities, &names) {
        Ok(()) => findings.fine("certificate", format!("carries {}", names.join(", "))),
        Err(why) => findings.wrong("certificate", why),
    }
}

/// The host in `https://host:port`.
fn host(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    Some(uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// Verifies the certificate as other members and clients will: as a server's, by each of its names. Its use as a client
/// was checked before.
fn verify(
    chain: &[CertificateDer<'static>],
    authorities: Vec<CertificateDer<'static>>,
    names: &[String],
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|e| format!("the authority cannot be used: {e}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (leaf, rest) = chain.split_first().ok_or("there is none")?;
    let now = UnixTime::now();
    let as_server = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| e.to_string())?;
    for name in names {
        let server_name = ServerName::try_from(name.clone()).map_err(|e| format!("{name}: {e}"))?;
        let verified = as_server.verify_server_cert(leaf, rest, &server_name, &[], now);
        verified.map_err(|e| format!("others will not accept it for {name}: {e}"))?;
    }
    Ok(())
}

fn expiry(what: &str, certificates: &[CertificateDer<'static>], findings: &mut Findings) {
    for certificate in certificates {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            findings.wrong(what, "is not X.509");
            continue;
        };
        let until = parsed.validity().not_after;
        match parsed.validity().time_to_expiration() {
            None => findings.wrong(what, format!("is not valid now (until {until}); issue another")),
            Some(left) if left.unsigned_abs() < RENEW => {
                findings.warning(what, format!("expires on {until}; renew it"));
            }
            Some(_) => findings.fine(what, format!("valid until {until}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::NodeId;
    use signonce_shared::certs::Authority;
    use signonce_shared::certs::{CA_CERTIFICATE, Subject};

    #[test]
    fn a_certificate_of_another_name_or_authority_is_found() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::create(dir.path()).unwrap();
        Authority::create(other.path()).unwrap();
        let cluster = ClusterId([7; 16]);
        let subject = Subject::Node { cluster, node: NodeId(1), hosts: vec!["10.0.0.1".into()] };
        let issued = authority.issue(dir.path(), &subject, 10).unwrap();
        let chain = tls::read_certificates(&issued.cert).unwrap();
        let roots = |dir: &std::path::Path| tls::read_certificates(&dir.join(CA_CERTIFICATE)).unwrap();
        let own = node_name(&cluster, NodeId(1));
        assert_eq!(verify(&chain, roots(dir.path()), &[own.clone(), "10.0.0.1".into()]), Ok(()));
        for (authorities, name) in [
            (roots(dir.path()), node_name(&cluster, NodeId(2))),
            (roots(dir.path()), "10.0.0.2".into()),
            (roots(other.path()), own),
        ] {
            assert!(verify(&chain, authorities, &[name]).is_err());
        }
    }

    #[test]
    fn hosts_are_read_from_urls() {
        assert_eq!(host("https://[::1]:7301").as_deref(), Some("::1"));
        assert_eq!(host("https://signer.example:7301").as_deref(), Some("signer.example"));
    }
}
