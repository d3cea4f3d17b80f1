//! `signonce privval`: the front for CometBFT nodes, beside them.

use super::{
    Program,
    common::{Done, Usage},
};
use anyhow::Context as _;
use axum::{Router, http::StatusCode, routing::get};
use futures::future::join_all;
use prometheus_client::{encoding::text::encode, registry::Registry};
use signonce_listen::probes;
use signonce_privval::{Identity, KnownFile, Metrics, Node, NodeAddress, Remote};
use signonce_protocol::{
    PublicKey,
    client::{ClientConfig, SignerClient, Timeouts, TlsSource},
};
use signonce_shared::{
    config::{LogFormat, LogSection},
    signals::StopSignals,
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

/// Answers CometBFT nodes from the signers.
///
/// Runs on the machine of a validator whose node is stock CometBFT, 0.34 to 0.40. The node's config.toml says where it
/// listens (priv_validator_laddr = "unix:///run/node/privval.sock"); this command dials it and has what it asks signed by
/// the cluster. The node keeps no key. Two live nodes may share one key: give each its own certificate.
///
/// Refusals that are final are told to the node. While no signer can answer, a request is held for up to 4 s; then the
/// connection is closed until the cluster answers again, and the node waits. On SIGTERM a request that is being
/// answered still is.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A node to dial: unix:///path, tcp://host:port or noise://PEER@host:port. Repeatable.
    ///
    /// CHAIN-ID= in front limits it to one chain: cosmoshub-4=unix:///run/node/privval.sock.
    #[arg(
        long = "node",
        value_name = "[CHAIN-ID=]ADDRESS",
        env = "SIGNONCE_PRIVVAL_NODE",
        value_delimiter = ',',
        required = true
    )]
    nodes: Vec<NodeArg>,
    /// A signer's client port, https://host:port. Repeatable.
    #[arg(
        long = "remote-signer",
        value_name = "URL",
        env = "SIGNONCE_REMOTE_SIGNER",
        value_delimiter = ',',
        required = true
    )]
    remote_signers: Vec<String>,
    /// PEM: the client certificate of this validator's node.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_REMOTE_SIGNER_CERT")]
    remote_signer_cert: PathBuf,
    /// PEM: its private key.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_REMOTE_SIGNER_KEY")]
    remote_signer_key: PathBuf,
    /// PEM: the authority of the signers' certificates.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_REMOTE_SIGNER_CA")]
    remote_signer_ca: PathBuf,
    /// The public key that the nodes have, where the client may use several of one chain. Repeatable.
    #[arg(long = "key", value_name = "HEX", env = "SIGNONCE_PRIVVAL_KEY", value_delimiter = ',')]
    keys: Vec<PublicKey>,
    /// A directory for this front's identity, and for the list of public keys that were known last.
    ///
    /// Needed for tcp:// and noise://. With the list, a node can start while no signer is reachable.
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// Where /metrics, /livez and /readyz are served. Off unless it is given.
    #[arg(long, value_name = "ADDRESS:PORT", env = "SIGNONCE_PRIVVAL_METRICS")]
    metrics: Option<SocketAddr>,
    /// What is logged: error, warn, info, debug or trace.
    #[arg(long, default_value = "info", env = "SIGNONCE_LOG_LEVEL")]
    log_level: String,
    /// Log lines as JSON.
    #[arg(long)]
    log_json: bool,
}

/// A node, and the chain that it must be of.
#[derive(Clone, Debug)]
struct NodeArg {
    chain: Option<String>,
    address: NodeAddress,
}

impl std::str::FromStr for NodeArg {
    type Err = signonce_privval::AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A chain-id has no slash, and an address has some before any equals sign that its path may have.
        match text.split_once('=').filter(|(chain, _)| !chain.contains('/') && !chain.is_empty()) {
            Some((chain, address)) => Ok(Self { chain: Some(chain.to_owned()), address: address.parse()? }),
            None => Ok(Self { chain: None, address: text.parse()? }),
        }
    }
}

pub(super) async fn run(args: Args, program: Program) -> Done {
    let format = if args.log_json { LogFormat::Json } else { LogFormat::Text };
    (program.prepare)(&LogSection { level: args.log_level.clone(), format })?;
    check_nodes(&args.nodes)?;
    let identity = identity(&args)?;
    let tls = TlsSource::Files {
        ca: args.remote_signer_ca.clone(),
        cert: args.remote_signer_cert.clone(),
        key: args.remote_signer_key.clone(),
    };
    let config = ClientConfig { urls: args.remote_signers.clone(), tls, timeouts: Timeouts::default() };
    let client = SignerClient::new(config)?;
    let mut registry = Registry::with_prefix("signonce");
    let metrics = Metrics::register(&mut registry);
    let known = args.state_dir.as_deref().map(KnownFile::in_directory);
    let (remote, following) = Remote::new(client.clone(), known);
    let remote = Arc::new(remote);
    if let Some(address) = args.metrics {
        let listener = TcpListener::bind(address).await.with_context(|| format!("--metrics {address}"))?;
        let routes = routes(registry, client, metrics.clone());
        tokio::spawn(probes::serve(listener, routes, Default::default()));
    }
    tokio::spawn(following);
    let mut signals = StopSignals::listen()?;
    let stop = CancellationToken::new();
    let serving = args.nodes.into_iter().map(|NodeArg { chain, address }| {
        let node = Node { address, chain, keys: args.keys.clone() };
        signonce_privval::serve(node, remote.clone(), identity.clone(), &metrics, stop.clone())
    });
    let mut serving = std::pin::pin!(join_all(serving));
    let signal = tokio::select! {
        signal = signals.next() => signal,
        _ = &mut serving => unreachable!("a node is served until the front is stopped"),
    };
    tracing::info!(signal, "stopping: requests that are being answered still are");
    stop.cancel();
    tokio::select! {
        _ = timeout(signonce_privval::HOLD, serving) => {}
        again = signals.next() => tracing::warn!(signal = again, "ending at once"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Nobody gains by two connections to one node: it serves one at a time.
fn check_nodes(nodes: &[NodeArg]) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    for node in nodes {
        if seen.insert(&node.address, ()).is_some() {
            return Err(Usage(format!("--node {} is given twice", node.address)).into());
        }
    }
    Ok(())
}

fn identity(args: &Args) -> anyhow::Result<Identity> {
    match &args.state_dir {
        Some(directory) => {
            let identity = Identity::in_directory(directory)?;
            tracing::info!(peer_id = %identity.peer_id(), "the peer id that nodes may name for this front");
            Ok(identity)
        }
        None if args.nodes.iter().all(|node| matches!(node.address, NodeAddress::Unix(_))) => {
            Ok(Identity::made_up())
        }
        None => Err(Usage(
            "nodes at tcp:// and noise:// see by its key that the same front has come back: say with --state-dir where it \
             is kept"
                .to_owned(),
        )
        .into()),
    }
}

/// `/livez` says that the process runs, `/readyz` that a signer can answer, `/metrics` what happened.
fn routes(registry: Registry, client: SignerClient, metrics: Metrics) -> Router {
    let registry = Arc::new(registry);
    let shown = client.clone();
    let scrape = move || {
        let (registry, client, metrics) = (registry.clone(), shown.clone(), metrics.clone());
        async move {
            if let Some(ends) = client.certificates().and_then(|status| status.client_ends) {
                metrics.certificate_ends(ends);
            }
            let mut text = String::new();
            match encode(&mut text, &registry) {
                Ok(()) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            }
        }
    };
    let ready = move || {
        let client = client.clone();
        async move {
            match client.status().await {
                Ok(status) if status.readiness.ready => (StatusCode::OK, "ready\n".to_owned()),
                Ok(status) => (StatusCode::SERVICE_UNAVAILABLE, status.readiness.reasons.join("\n") + "\n"),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            }
        }
    };
    Router::new()
        .route("/metrics", get(scrape))
        .route("/readyz", get(ready))
        .route("/livez", get(|| async { "alive\n" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_be_limited_to_a_chain() {
        let read = |text: &str| {
            let NodeArg { chain, address } = text.parse().unwrap();
            (chain, address.to_string())
        };
        assert_eq!(read("unix:///run/a=b/p.sock"), (None, "unix:///run/a=b/p.sock".into()));
        assert_eq!(
            read("cosmoshub-4=tcp://10.0.0.5:1"),
            (Some("cosmoshub-4".into()), "tcp://10.0.0.5:1".into())
        );
        assert!("cosmoshub-4=10.0.0.5:1".parse::<NodeArg>().is_err());
    }
}
