//! Mutual TLS between nodes. A node's certificate names its cluster and its id, so that a stolen certificate of one
//! node, or of another cluster, gives access as nobody else.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version::TLS13};
use signonce_core::replica::hello::{ClusterId, node_name};
use signonce_protocol::NodeId;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificates of a node for its peers.
pub struct PeerTls {
    /// Authorities whose node certificates are accepted.
    pub ca: Vec<CertificateDer<'static>>,
    /// This node's certificate, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused them.
    #[error("TLS certificates: {0}")]
    Rustls(#[from] rustls::Error),
    /// The client verifier refused the authorities.
    #[error("TLS authorities: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// This node's own certificate names another node.
    #[error(
        "this node's certificate does not carry the name {expected} (it carries: {found}); issue one that does"
    )]
    WrongName {
        /// The DNS name it must have.
        expected: String,
        /// The DNS names it has.
        found: String,
    },
}

struct TlsConfigs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The certificates that a node's next connections to peers use. Clones share them.
#[derive(Clone)]
pub struct LivePeerTls(Arc<Live>);

struct Live {
    cluster: ClusterId,
    node: NodeId,
    configs: RwLock<TlsConfigs>,
    strangers: RwLock<BTreeMap<NodeId, String>>,
}

impl LivePeerTls {
    pub(crate) fn new(tls: PeerTls, cluster: ClusterId, node: NodeId) -> Result<Self, TlsError> {
        let configs = RwLock::new(configs(tls, &cluster, node)?);
        Ok(Self(Arc::new(Live { cluster, node, configs, strangers: RwLock::default() })))
    }

    /// Peers to which no stream can be opened because one side refuses the other's certificate, and why.
    pub fn strangers(&self) -> BTreeMap<NodeId, String> {
        self.0.strangers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the result of dialling `peer`.
    pub(crate) fn dialled(&self, peer: NodeId, refused: Option<&rustls::Error>) {
        let mut strangers = self.0.strangers.write().unwrap_or_else(PoisonError::into_inner);
        match refused {
            Some(why) => drop(strangers.insert(peer, why.to_string())),
            None => drop(strangers.remove(&peer)),
        }
    }

    /// From now on new connections use `tls`. Open ones continue.
    ///
    /// # Errors
    /// If `tls` cannot be used; nothing has changed then.
    pub fn replace(&self, tls: PeerTls) -> Result<(), TlsError> {
        let Live { cluster, node, configs: live, .. } = &*self.0;
        let new = configs(tls, cluster, *node)?;
        *live.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.configs.read().unwrap_or_else(PoisonError::into_inner).server)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.configs.read().unwrap_or_else(PoisonError::into_inner).client)
    }
}

fn configs(tls: PeerTls, cluster: &ClusterId, node: NodeId) -> Result<TlsConfigs, TlsError> {
    let expected = node_name(cluster, node);
    let names = tls.chain.first().map(|leaf| dns_names(leaf)).unwrap_or_default();
    if !names.contains(&expected) {
        return Err(TlsError::WrongName { expected, found: names.join(", ") });
    }
    let mut roots = RootCertStore::empty();
    for authority in tls.ca {
        roots.add(authority)?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(tls.chain.clone(), tls.key.clone_key())?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(tls.chain, tls.key)?;
    Ok(TlsConfigs { server: Arc::new(server), client: Arc::new(client) })
}

pub(crate) fn server_name(cluster: &ClusterId, node: NodeId) -> ServerName<'static> {
    ServerName::try_from(node_name(cluster, node)).expect("digits and hex make a DNS name")
}

/// Whether `leaf` is the certificate of `node`.
pub(crate) fn is_node(leaf: &CertificateDer<'_>, cluster: &ClusterId, node: NodeId) -> bool {
    dns_names(leaf).contains(&node_name(cluster, node))
}

/// The DNS names in a certificate, by which members are known. One that cannot be read has none.
fn dns_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| if let GeneralName::DNSName(dns) = name { Some((*dns).to_owned()) } else { None })
        .collect()
}
