//! The running signer: puts the parts together and takes them apart again.
//!
//! [`run`] is what `signonce start` does. Starting: sockets are bound first (a taken port must not cost anything), the
//! identity is unlocked, the node starts, and every port is served from then on; until the fence has passed, the
//! answers are `notReady`. Stopping (SIGTERM, SIGINT): the node refuses new work, hands leadership over, answers the
//! requests under way, and closes connections and store. A second signal ends the process at once.

use crate::{parts::Parts, process, sockets::Listeners, supervisor::Supervisor};
use jsonrpsee::server::ServerHandle;
use signonce_cluster::{Node, NodeConfig, Peer, StartError, StoreError, identity};
use signonce_keys::{HardeningReport, IdentityError, NodeIdentity, PassphraseError, harden_process};
use signonce_listen::{
    descriptors::{self, PortPlaces, TooFew},
    reload::{LiveTls, peer_tls},
};
use signonce_protocol::NodeId;
use signonce_shared::{
    config::{Config, JOINING_FILE, MemberSection},
    signals::StopSignals,
    tls::TlsError,
};
use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

/// How long a stopping leader waits for its successor to take over.
const HANDOVER: Duration = Duration::from_secs(3);

/// Why a signer does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log level cannot be read.
    #[error("log.level: {0}")]
    LogLevel(#[from] tracing_subscriber::filter::ParseError),
    /// Signals cannot be handled.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// A port or socket cannot be bound.
    #[error("cannot listen on {what} {place}: {source}")]
    Listen {
        /// Which listener.
        what: &'static str,
        /// The address or path.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// Too few files may be open.
    #[error(transparent)]
    TooFew(#[from] TooFew),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node has not joined yet.
    #[error(
        "`signonce join` was begun in {0} and not finished: run it again with the same token, then start"
    )]
    Joining(PathBuf),
    /// The configuration is for another node or cluster than the store.
    #[error(
        "the configuration says {configured}, but the store in {dir} is of {found}; one of them is in the wrong place"
    )]
    AnotherNode {
        /// Node and cluster of the configuration.
        configured: String,
        /// The data directory.
        dir: PathBuf,
        /// Node and cluster of the store.
        found: String,
    },
    /// There is no passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The identity does not open.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The node cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Runs a signer until it is told to stop.
///
/// # Errors
/// If it cannot start; once it has started, it only ends by a signal, or aborts the process.
pub async fn run(config: Config, warnings: &[String]) -> Result<(), RunError> {
    process::log_to_stderr(&config.log)?;
    process::abort_on_panic();
    let mut signals = StopSignals::listen().map_err(RunError::Signals)?;
    let hardening = harden_process();
    report(&hardening, warnings);
    check_identity(&config)?;
    let places = share_files(&config)?;
    let listeners = Listeners::bind(&config).await?;
    let live = Arc::new(LiveTls::load(&config.tls)?);
    let identity = unlock(&config).await?;
    let node = Node::start(node_config(&config)?).await?;
    tokio::spawn(Arc::clone(&live).follow(node.peer_tls()));
    let parts = Parts::new(&config, &node, identity, hardening, &live)?;
    let supervisor = Supervisor::follow(Arc::clone(&parts.gate), node.metrics());
    let stop = parts.serve(&config, listeners, places, live);
    tracing::info!(client = %config.listen.client, admin = %config.listen.admin, "serving");

    let signal = signals.next().await;
    tracing::info!(signal, "stopping");
    supervisor.stopping();
    tokio::select! {
        () = drain(&config, node, stop) => {}
        signal = signals.next() => {
            tracing::warn!(signal, "stopped by a second signal");
            process::flush_log();
            std::process::exit(1);
        }
    }
    let _ = fs::remove_file(config.admin_socket());
    tracing::info!("stopped");
    process::flush_log();
    Ok(())
}

async fn drain(config: &Config, node: Node, stop: ServerHandle) {
    node.announce_stop();
    match node.handle().transfer_leadership(None, HANDOVER).await {
        Some(heir) => tracing::info!(%heir, "leadership handed over"),
        None => tracing::debug!("no leadership to hand over, or nobody to take it"),
    }
    // Fails only if it was called before.
    let _ = stop.stop();
    if tokio::time::timeout(config.limits.drain(), stop.stopped()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    node.stop().await;
}

fn report(hardening: &HardeningReport, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if hardening.is_complete() {
        tracing::info!("core dumps off, process not traceable, memory of secrets locked");
    }
    for warning in hardening.warnings() {
        tracing::warn!("{warning}");
    }
}

/// Shares out the files that this process may have open.
fn share_files(config: &Config) -> Result<PortPlaces, TooFew> {
    let wanted = config.limits.connections_max;
    let limit = descriptors::raise(wanted);
    let places = descriptors::share_out(limit, wanted)?;
    if places.client.known < wanted as usize {
        tracing::warn!(
            ?limit,
            wanted,
            clients = places.client.known,
            "this process may have so few files open that there are fewer places for clients than limits.connections_max: \
             raise it to {} (LimitNOFILE= in a unit, ulimit -n in a shell)",
            descriptors::needed(wanted)
        );
    }
    Ok(places)
}

/// Checks that configuration and store are for the same node of the same cluster.
fn check_identity(config: &Config) -> Result<(), RunError> {
    let dir = &config.node.data_dir;
    if dir.join(JOINING_FILE).exists() {
        return Err(RunError::Joining(dir.clone()));
    }
    let found = identity::read(dir)?;
    if found.node == config.node.id && found.cluster.to_string().eq_ignore_ascii_case(&config.cluster.id) {
        return Ok(());
    }
    let of = |node: NodeId, cluster: &str| format!("node {node} of cluster {cluster}");
    Err(RunError::AnotherNode {
        configured: of(config.node.id, &config.cluster.id),
        dir: dir.clone(),
        found: of(found.node, &found.cluster.to_string()),
    })
}

/// Opens the node's own identity, which takes a second by design.
async fn unlock(config: &Config) -> Result<NodeIdentity, RunError> {
    let passphrase = config.passphrase_source().read()?;
    let path = config.identity_file();
    let loaded = tokio::task::spawn_blocking(move || NodeIdentity::load(&path, &passphrase)).await;
    match loaded {
        Ok(identity) => Ok(identity?),
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

fn node_config(config: &Config) -> Result<NodeConfig, RunError> {
    let peer = |member: &MemberSection| Peer { id: member.id, address: member.peer.clone() };
    Ok(NodeConfig {
        data_dir: config.node.data_dir.clone(),
        peers: config.cluster.members.iter().map(peer).collect(),
        listen: config.listen.peer,
        tls: peer_tls(&config.tls)?,
        tick: config.limits.tick(),
        log_bytes_max: config.limits.log_bytes_max,
        slot_tolerance: config.limits.slot_tolerance,
    })
}
