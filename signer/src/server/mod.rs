//! The running signer: puts the parts together and takes them apart again.
//!
//! [`run`] is what `signonce start` does. Starting: sockets are bound first (a taken port must not cost anything),
//! the identity is unlocked, the node starts, and every port is served from then on; until the fence has passed the
//! answers are `notReady`. Stopping (SIGTERM, SIGINT): not ready for new work, leadership handed over, requests under
//! way answered, connections closed, store closed. A second signal ends the process at once.

pub mod calls;
pub mod descriptors;
pub mod http;
mod libraries;
pub mod probes;
pub mod process;
pub mod reload;
mod socket;
pub mod stall;
mod supervisor;
pub mod tls;
mod toll;

use crate::caller::Caller;
use crate::{
    activity::Activity,
    admin::{
        join::{Door, Knocks, join_module},
        server::{Admin, admin_module},
    },
    audit::{Auditor, head::HeadSigner, notes::Notebook},
    backup::schedule::{BackupMetrics, Schedule},
    clock::Clock,
    config::{Config, JOINING_FILE},
    families,
    keyring_sync::KeyringSync,
    metrics::{Metrics, clients::Clients, keys::Keys, machine::Machine},
    overview::{self, Overseer},
    readiness::Gate,
    rpc::{ClientToll, Rpc},
    sign::{Observers, Signer},
    telemetry::{Origin, Telemetry},
    upkeep::Upkeep,
};
use calls::{Calls, Toll};
use descriptors::{Doors, TooFew};
use http::{Endpoint, Share};
use jsonrpsee::server::{Methods, ServerHandle, stop_channel};
use process::StopSignals;
use prometheus_client::collector::Collector;
use reload::{LiveTls, ReloadFailed};
use signonce_cluster::{Node, NodeConfig, Peer, StartError, StoreError, identity, places::Places};
use signonce_core::{FEATURE_LEVEL, Member};
use signonce_keys::{HardeningReport, IdentityError, Keyring, NodeIdentity, PassphraseError, harden_process};
use signonce_protocol::{NodeId, rpc::rpc_module};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use supervisor::Supervisor;
use tls::TlsError;
use tokio::net::{TcpListener, UnixListener};
use toll::AdminToll;

/// How long a stopping leader waits for its heir to take over.
const HANDOVER: Duration = Duration::from_secs(3);
/// Connections of one admin at a time.
const ADMIN_SHARE: usize = 32;
/// Connections to the client port with one certificate that is not a client's.
const OTHERS_SHARE: usize = 16;
/// How often the clocks are compared when nobody asks.
const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// Why a signer does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log level cannot be read.
    #[error("log.level: {0}")]
    LogLevel(#[from] tracing_subscriber::filter::ParseError),
    /// Signals cannot be taken over.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// A port or socket is not to be had.
    #[error("cannot listen on {what} {place}: {source}")]
    Listen {
        /// Which listener.
        what: &'static str,
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// Not enough files may be open.
    #[error(transparent)]
    TooFew(#[from] TooFew),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node has not joined yet.
    #[error(
        "`signonce join` was begun in {0} and not finished: run it again with the same token, then start"
    )]
    Joining(PathBuf),
    /// The configuration is another node's, or another cluster's, than the store.
    #[error(
        "the configuration says {configured}, the store in {dir} is of {found}; one of them is in the wrong place"
    )]
    AnotherNode {
        /// Node and cluster of the configuration.
        configured: String,
        /// The data directory.
        dir: PathBuf,
        /// Node and cluster of the store.
        found: String,
    },
    /// No passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The identity does not open.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The node does not start.
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
    let doors = share_files(&config)?;
    let listeners = Listeners::bind(&config).await?;
    let live = Arc::new(LiveTls::load(&config.tls)?);
    let identity = unlock(&config).await?;
    let node = Node::start(node_config(&config)?).await?;
    tokio::spawn(Arc::clone(&live).follow(node.peer_tls()));
    let parts = Parts::new(&config, &node, identity, hardening, &live)?;
    let supervisor = Supervisor::follow(Arc::clone(&parts.gate), node.metrics());
    let stop = parts.serve(&config, listeners, doors, live);
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
fn share_files(config: &Config) -> Result<Doors, TooFew> {
    let wanted = config.limits.connections_max;
    let limit = descriptors::raise(wanted);
    let doors = descriptors::share_out(limit, wanted)?;
    if doors.client.known < wanted as usize {
        tracing::warn!(
            ?limit,
            wanted,
            clients = doors.client.known,
            "this process may have so few files open that there are fewer places for clients than limits.connections_max: \
             raise it to {} (LimitNOFILE= in a unit, ulimit -n in a shell)",
            descriptors::needed(wanted)
        );
    }
    Ok(doors)
}

/// The configuration and the store must mean the same node of the same cluster.
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
    let peer = |member: &crate::config::MemberSection| Peer { id: member.id, address: member.peer.clone() };
    Ok(NodeConfig {
        data_dir: config.node.data_dir.clone(),
        peers: config.cluster.members.iter().map(peer).collect(),
        listen: config.listen.peer,
        tls: tls::peer_tls(&config.tls)?,
        tick: config.limits.tick(),
        log_bytes_max: config.limits.log_bytes_max,
        slot_tolerance: config.limits.slot_tolerance,
    })
}

/// The sockets, bound.
struct Listeners {
    client: TcpListener,
    admin: TcpListener,
    metrics: TcpListener,
    admin_socket: UnixListener,
    /// The user that owns the socket: this process'.
    owner: u32,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, RunError> {
        let listen = &config.listen;
        let socket = config.admin_socket();
        let (admin_socket, owner) = bind_socket(&socket).map_err(|source| RunError::Listen {
            what: "the admin socket",
            place: socket.display().to_string(),
            source,
        })?;
        Ok(Self {
            client: bind("client port", listen.client).await?,
            admin: bind("admin port", listen.admin).await?,
            metrics: bind("metrics port", listen.metrics).await?,
            admin_socket,
            owner,
        })
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    let failed = |source| RunError::Listen { what, place: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// Binds the socket so that nobody else can ever connect: it gets its name after its permissions. Replaces one that
/// a killed process left behind; one that is still served is an error.
fn bind_socket(path: &Path) -> io::Result<(UnixListener, u32)> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    let owner = fs::metadata(&fresh)?.uid();
    fs::rename(&fresh, path)?;
    Ok((listener, owner))
}

/// Everything that serves, wired up.
struct Parts {
    signer: Arc<Signer>,
    admin: Admin,
    doors: [Door; 2],
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    sync: Arc<KeyringSync>,
    upkeep: Upkeep,
    auditor: Auditor,
    schedule: Schedule,
    overseer: Arc<Overseer>,
}

impl Parts {
    fn new(
        config: &Config,
        node: &Node,
        identity: NodeIdentity,
        hardening: HardeningReport,
        live: &Arc<LiveTls>,
    ) -> Result<Self, RunError> {
        let handle = node.handle();
        let keyring = Arc::new(Keyring::new());
        let clock = Arc::new(Clock::default());
        let machine = Arc::new(Machine::new(config, handle.clone(), Arc::clone(&clock)));
        machine.watch();
        let activity = Arc::new(Activity::default());
        let backups = Arc::new(BackupMetrics::default());
        let schedule = Schedule::new(config, handle.clone(), Arc::clone(&backups));
        let collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(Keys(handle.clone())),
            Box::new(Clients { handle: handle.clone(), activity: Arc::clone(&activity) }),
            Box::new(Arc::clone(&machine)),
            Box::new(Arc::clone(&backups)),
            Box::new(ReloadFailed(Arc::clone(live))),
        ];
        let metrics = Arc::new(Metrics::new(&node.metrics(), collectors));
        let sync = Arc::new(KeyringSync::new(handle.clone(), identity, Arc::clone(&keyring)));
        let gate = Arc::new(Gate::new(
            handle.clone(),
            Arc::clone(&keyring),
            Arc::clone(&sync),
            Arc::clone(&clock),
            node.peer_tls(),
            config,
        ));
        let notes = Arc::new(Notebook::default());
        let origin = Origin { cluster: config.cluster.id.clone(), node: config.node.id.to_string() };
        let moments = node.metrics().stages.moments().clone();
        let telemetry = config.telemetry.collector();
        let telemetry = telemetry.map(|collector| Telemetry::start(collector, origin, moments));
        let observers = Observers {
            metrics: Arc::clone(&metrics),
            notes: Arc::clone(&notes),
            activity: Arc::clone(&activity),
            telemetry,
        };
        let signer = Arc::new(Signer::new(
            handle.clone(),
            Arc::clone(&keyring),
            Arc::clone(&sync),
            Arc::clone(&gate),
            observers,
            config.limits.request_timeout(),
        ));
        let upkeep = Upkeep::new(handle.clone(), Arc::clone(&sync), config);
        let head_signer = HeadSigner::new(&config.tls, &config.cluster.id)?;
        let auditor = Auditor::new(handle.clone(), notes, head_signer, config.audit.clone());
        let knocks = Arc::new(Knocks::default());
        let door = || Door {
            knocks: Arc::clone(&knocks),
            handle: handle.clone(),
            gate: Arc::clone(&gate),
            cluster: config.cluster.id.clone(),
            timeout: config.limits.request_timeout(),
        };
        let doors = [door(), door()];
        crate::backup::StateFile::sweep(&config.node.data_dir, Duration::ZERO);
        let admin = Admin {
            handle: handle.clone(),
            keyring,
            sync: Arc::clone(&sync),
            gate: Arc::clone(&gate),
            live_tls: Arc::clone(live),
            activity,
            cluster: config.cluster.id.clone(),
            memory_warnings: hardening.warnings(),
            timeout: config.limits.request_timeout(),
            tls: config.tls.clone(),
            data_dir: config.node.data_dir.clone(),
            documents: Arc::default(),
        };
        let overseer = Overseer::new(admin.clone(), Arc::clone(&metrics), machine, config);
        let overseer = Arc::new(overseer);
        Ok(Self { signer, admin, doors, gate, metrics, clock, sync, upkeep, auditor, schedule, overseer })
    }

    /// Starts every task; what is returned ends those that hold connections.
    fn serve(self, config: &Config, listeners: Listeners, places: Doors, live: Arc<LiveTls>) -> ServerHandle {
        let Self { signer, admin, doors, gate, metrics, clock, sync, upkeep, auditor, schedule, overseer } =
            self;
        let Listeners { client, admin: admin_port, metrics: probes_port, admin_socket, owner } = listeners;
        let (stopping, stop) = stop_channel();
        let [client_door, admin_door] = doors;
        let port = |name, rules| {
            let counts = metrics.port(name);
            (Places::new(rules, counts.places.clone()), counts)
        };
        let rpc = Rpc::new(Arc::clone(&signer), config.cluster.id.clone());
        let mut methods: Methods = rpc_module(rpc.clone()).into();
        merge(&mut methods, families::methods(&rpc));
        merge(&mut methods, overview::node_module(Arc::clone(&overseer)));
        merge(&mut methods, join_module(client_door));
        let calls = Calls::new(methods, Arc::new(ClientToll::new(Arc::clone(&signer))));
        let share = client_share(signer, places.client.known);
        let (free, counts) = port("client", places.client);
        let endpoint = Endpoint::new(calls, free, share, stopping.clone(), counts);
        tokio::spawn(endpoint.serve_tls(client, Arc::clone(&live)));

        let mut methods: Methods = admin_module(admin).into();
        merge(&mut methods, overview::overview_module(Arc::clone(&overseer)));
        merge(&mut methods, join_module(admin_door));
        let toll = Arc::new(AdminToll::default());
        let local = places.admin_socket.known;
        let share: Share = Arc::new(move |caller: &Caller| match caller {
            Caller::Certificate(_) => ADMIN_SHARE,
            Caller::Local { .. } => local,
            // Nobody is dialled from here.
            Caller::Dialled { .. } => 0,
        });
        let (free, counts) = port("admin", places.admin);
        let calls = Calls::new(methods.clone(), Arc::clone(&toll) as Arc<dyn Toll>);
        let endpoint = Endpoint::new(calls, free, Arc::clone(&share), stopping.clone(), counts);
        tokio::spawn(endpoint.serve_tls(admin_port, live));
        let (free, counts) = port("admin_socket", places.admin_socket);
        let endpoint = Endpoint::new(Calls::new(methods, toll), free, share, stopping, counts);
        tokio::spawn(endpoint.serve_unix(admin_socket, owner));

        tokio::spawn(overview::clocks::watch(overseer, Arc::clone(&metrics)));
        let counts = metrics.port("metrics").places;
        tokio::spawn(probes::serve(probes_port, probes::routes(gate, metrics), counts));
        tokio::spawn(async move {
            loop {
                // Logs a jump; requests look for themselves.
                let _ = clock.look();
                tokio::time::sleep(CLOCK_LOOK).await;
            }
        });
        let own = config.this_member();
        let own = Member {
            node: own.id,
            recipient: sync.recipient(),
            peer_addr: own.peer.clone(),
            client_url: own.client_url.clone(),
            supports: FEATURE_LEVEL,
        };
        tokio::spawn(sync.run(own));
        tokio::spawn(upkeep.run());
        tokio::spawn(auditor.run());
        tokio::spawn(schedule.run());
        stop
    }
}

/// Of the places on the client port, how many one may have: a client so many that its pool of connections fits in and
/// not so many that a few clients take all, others a handful (members ask how this node is, a new one to be let in).
fn client_share(signer: Arc<Signer>, places: usize) -> Share {
    let client = (places / 8).max(1);
    Arc::new(move |caller| match caller {
        caller if signer.is_client(caller) => client,
        Caller::Certificate(_) | Caller::Local { .. } | Caller::Dialled { .. } => client.min(OTHERS_SHARE),
    })
}

/// Adds methods to those of a port.
fn merge(methods: &mut Methods, more: impl Into<Methods>) {
    methods.merge(more).expect("no two methods have one name");
}
