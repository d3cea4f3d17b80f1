//! Puts a node together: directory, replica, transport, driver.

use crate::audit::AuditStore;
use crate::clock::unix_ms;
use crate::driver::{Consensus, Published};
use crate::handle::{Handle, Shared};
use crate::identity;
use crate::inbox::{Inbox, Input};
use crate::metrics::ClusterMetrics;
use crate::store::{Store, StoreError};
use crate::transport::tls::{LivePeerTls, PeerTls, TlsError};
use crate::transport::{Local, Peer, Transport};
use signonce_core::replica::disk::HighWater;
use signonce_core::replica::{OpenError, Replica, ReplicaConfig};
use signonce_driver::{DriverConfig, ELECTION_TICKS, HEARTBEAT_TICKS};
use signonce_protocol::NodeId;
use slog::Drain;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a node needs to start.
pub struct NodeConfig {
    /// The directory made by [`identity::create`].
    pub data_dir: PathBuf,
    /// Members with their addresses; this node may be among them. Until the cluster has formed these must be all of
    /// them. Afterwards the log says who the members are; an address given here takes precedence over the one in the
    /// log.
    pub peers: Vec<Peer>,
    /// The address on which this node listens for peers.
    pub listen: SocketAddr,
    /// The node's certificates.
    pub tls: PeerTls,
    /// The length of a tick, which must be the same on every member. Heartbeats go out every 2 ticks, an election
    /// starts after 12 to 24 ticks without one: 50 ms suits a LAN, 100 ms a WAN.
    pub tick: Duration,
    /// Bytes of log kept for followers that lag.
    pub log_bytes_max: usize,
    /// How many slots a block's slot may be from the present one.
    pub slot_tolerance: u64,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content of the data directory does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The peer address cannot be listened on.
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The configured members are not those the node was initialised with.
    #[error("the configuration lists members {configured:?}, but this node was initialised with {initial:?}")]
    OtherMembers {
        /// Members in the configuration.
        configured: Vec<NodeId>,
        /// Members in the identity.
        initial: Vec<NodeId>,
    },
    /// The operating system refused a thread.
    #[error("cannot start the consensus thread: {0}")]
    Thread(std::io::Error),
}

/// Binds the peer address, on the runtime that serves it.
fn listen(address: SocketAddr, runtime: &tokio::runtime::Handle) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let _on_it = runtime.enter();
    TcpListener::from_std(listener)
}

/// Runs the driver until it ends. It runs as a task, which the streams on its thread can wake without a system call,
/// unlike the future of `block_on`.
fn drive(runtime: tokio::runtime::Runtime, driver: impl Future<Output = ()> + Send + 'static) {
    if runtime.block_on(runtime.spawn(driver)).is_err() {
        crate::driver::die(&"the consensus thread panicked");
    }
    // Does not wait for name lookups of peers under way.
    runtime.shutdown_background();
}

/// A running node.
pub struct Node {
    handle: Handle,
    driver: std::thread::JoinHandle<()>,
    /// Peer streams; they end when this is dropped.
    tasks: JoinSet<()>,
    peer_tls: LivePeerTls,
}

fn open_replica(
    config: ReplicaConfig,
    store: &Store,
    mark: Option<&HighWater>,
    logger: slog::Logger,
) -> Result<Replica, StartError> {
    let image = store.image()?;
    let mut failed = None;
    let records = store.records().map_while(|record| record.map_err(|error| failed = Some(error)).ok());
    let replica = Replica::open_streaming(config, &image, records, mark, logger);
    match failed {
        // What was read up to there counts for nothing.
        Some(error) => Err(error.into()),
        None => Ok(replica?),
    }
}

impl Node {
    /// Starts a node from an existing data directory. It takes part once its peers have vouched for it; follow
    /// [`Handle::status_watch`].
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is ever created or repaired.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let opened = identity::open(&config.data_dir)?;
        let identity = opened.identity;
        let replica_config = ReplicaConfig {
            node: identity.node,
            cluster: identity.cluster,
            life: opened.life,
            initial: identity.initial.clone(),
            joined: identity.joined,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed: opened.life.boot,
            log_bytes_max: config.log_bytes_max,
        };
        let logger = slog::Logger::root(tracing_slog::TracingSlogDrain.fuse(), slog::o!());
        let replica = open_replica(replica_config, &opened.store, opened.mark.as_ref(), logger)?;

        if !replica.is_formed() && !identity.joined {
            // Later the log says who the members are; the configuration only says where they are.
            let mut configured: Vec<NodeId> = config.peers.iter().map(|p| p.id).collect();
            configured.sort_unstable();
            if configured != identity.initial {
                return Err(StartError::OtherMembers { configured, initial: identity.initial });
            }
        }

        let tls = LivePeerTls::new(config.tls, identity.cluster, identity.node)?;
        let peer_tls = tls.clone();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let listener = listen(config.listen, runtime.handle())
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let (inbox, inputs) = Inbox::new();
        let metrics = Arc::new(ClusterMetrics::default());
        let local = Local {
            cluster: identity.cluster,
            node: identity.node,
            hello: replica.our_hello().into(),
            tls,
            inbox: inbox.clone(),
            gone: watch::Sender::default(),
            incoming: opened.store.incoming(),
            told_unreadable: AtomicBool::new(false),
            places: metrics.peer_places.clone(),
        };
        let (transport, tasks) =
            Transport::start(local, runtime.handle(), listener, config.peers, &replica.peers());

        let status = replica.status();
        let (applied_sender, applied) = watch::channel(status.applied);
        let (status_sender, status) = watch::channel(status);
        let store = Arc::new(opened.store);
        let audit = AuditStore { store: Arc::downgrade(&store), inbox: inbox.clone() };
        let handle = Handle(Arc::new(Shared {
            node: identity.node,
            boot: opened.life.boot,
            next_seq: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            slot_tolerance: config.slot_tolerance,
            inbox: inbox.clone(),
            state: replica.state(),
            status,
            applied,
            metrics: Arc::clone(&metrics),
            audit,
        }));
        let consensus = Consensus {
            replica,
            config: DriverConfig {
                boot: opened.life.boot,
                tick: config.tick,
                slot_tolerance: config.slot_tolerance,
            },
            store,
            high_water: opened.high_water,
            transport,
            inbox,
            inputs,
            published: Published { status: status_sender, applied: applied_sender },
            metrics,
        };
        let driver = std::thread::Builder::new()
            .name("consensus".into())
            .spawn(move || drive(runtime, consensus.run()))
            .map_err(StartError::Thread)?;
        tracing::info!(node = %identity.node, cluster = %identity.cluster, time_ms = unix_ms(), "node started");
        Ok(Self { handle, driver, tasks, peer_tls })
    }

    /// A handle to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The means to give the node other certificates.
    pub fn peer_tls(&self) -> LivePeerTls {
        self.peer_tls.clone()
    }

    /// The node's metrics.
    pub fn metrics(&self) -> Arc<ClusterMetrics> {
        Arc::clone(&self.handle.0.metrics)
    }

    /// From now on the node reports that it is not ready; requests under way and leadership continue.
    pub fn announce_stop(&self) {
        self.handle.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Stops the driver and closes the store. Hand over leadership first.
    pub async fn stop(mut self) {
        self.announce_stop();
        self.handle.0.inbox.push(Input::Stop);
        let joined = tokio::task::spawn_blocking(move || self.driver.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            crate::driver::die(&"the consensus thread panicked");
        }
        self.tasks.shutdown().await;
    }
}
