//! The parts of a running node, wired up, and the tasks that serve them.

use crate::{
    RunError,
    activity::Activity,
    admin::{
        join::{JoinLimits, JoinServer, join_module},
        server::{Admin, admin_module},
    },
    audit::{Auditor, head::HeadSigner, notes::Notebook},
    backup::schedule::{BackupMetrics, Schedule},
    clock::Clock,
    keyring_sync::KeyringSync,
    methods,
    metrics::{Metrics, clients::Clients, keys::Keys, machine::Machine},
    overview::{self, Overseer},
    probes,
    readiness::Gate,
    rpc::{ClientToll, Rpc},
    sign::{Observers, Signer},
    sockets::Listeners,
    telemetry::{Origin, Telemetry},
    toll::AdminToll,
    upkeep::Upkeep,
};
use jsonrpsee::server::{Methods, ServerHandle, stop_channel};
use prometheus_client::collector::Collector;
use signonce_cluster::{Node, places::Places};
use signonce_core::{FEATURE_LEVEL, Member};
use signonce_keys::{HardeningReport, Keyring, NodeIdentity};
use signonce_listen::{
    caller::Caller,
    calls::{Calls, Toll},
    descriptors::PortPlaces,
    endpoint::{Endpoint, Share},
    probes::serve as serve_probes,
    reload::{LiveTls, ReloadFailed},
};
use signonce_protocol::rpc::rpc_module;
use signonce_shared::{backup::StateFile, config::Config};
use std::{sync::Arc, time::Duration};

/// Connections of one admin at a time.
const ADMIN_SHARE: usize = 32;
/// Connections to the client port with one certificate that no client has.
const OTHERS_SHARE: usize = 16;
/// How often the clocks are compared when nobody asks.
const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// Everything that serves, connected.
pub(crate) struct Parts {
    signer: Arc<Signer>,
    admin: Admin,
    join_servers: [JoinServer; 2],
    pub gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    sync: Arc<KeyringSync>,
    upkeep: Upkeep,
    auditor: Auditor,
    schedule: Schedule,
    overseer: Arc<Overseer>,
}

impl Parts {
    /// Creates and connects everything that serves the node.
    pub fn new(
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
        let join_limits = Arc::new(JoinLimits::default());
        let join_server = || JoinServer {
            limits: Arc::clone(&join_limits),
            handle: handle.clone(),
            gate: Arc::clone(&gate),
            cluster: config.cluster.id.clone(),
            timeout: config.limits.request_timeout(),
        };
        let join_servers = [join_server(), join_server()];
        StateFile::sweep(&config.node.data_dir, Duration::ZERO);
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
        Ok(Self {
            signer,
            admin,
            join_servers,
            gate,
            metrics,
            clock,
            sync,
            upkeep,
            auditor,
            schedule,
            overseer,
        })
    }

    /// Starts every task; the returned handles end those that hold connections.
    pub fn serve(
        self,
        config: &Config,
        listeners: Listeners,
        places: PortPlaces,
        live: Arc<LiveTls>,
    ) -> ServerHandle {
        let Self {
            signer,
            admin,
            join_servers,
            gate,
            metrics,
            clock,
            sync,
            upkeep,
            auditor,
            schedule,
            overseer,
        } = self;
        let Listeners { client, admin: admin_port, metrics: probes_port, admin_socket, owner } = listeners;
        let (stopping, stop) = stop_channel();
        let [on_client_port, on_admin_port] = join_servers;
        let port = |name, rules| {
            let counts = metrics.port(name);
            (Places::new(rules, counts.places.clone()), counts)
        };
        let rpc = Rpc::new(Arc::clone(&signer), config.cluster.id.clone());
        let mut methods: Methods = rpc_module(rpc.clone()).into();
        merge(&mut methods, methods::of_families(&rpc));
        merge(&mut methods, overview::node_module(Arc::clone(&overseer)));
        merge(&mut methods, join_module(on_client_port));
        let calls = Calls::new(methods, Arc::new(ClientToll::new(Arc::clone(&signer))));
        let share = client_share(signer, places.client.known);
        let (free, counts) = port("client", places.client);
        let endpoint = Endpoint::new(calls, free, share, stopping.clone(), counts);
        tokio::spawn(endpoint.serve_tls(client, Arc::clone(&live)));

        let mut methods: Methods = admin_module(admin).into();
        merge(&mut methods, overview::overview_module(Arc::clone(&overseer)));
        merge(&mut methods, join_module(on_admin_port));
        let toll = Arc::new(AdminToll::default());
        let local = places.admin_socket.known;
        let share: Share = Arc::new(move |caller: &Caller| match caller {
            Caller::Certificate(_) => ADMIN_SHARE,
            Caller::Local { .. } => local,
            // This program dials no validators.
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
        tokio::spawn(serve_probes(probes_port, probes::routes(gate, metrics), counts));
        tokio::spawn(async move {
            loop {
                // The timer only logs a jump; requests check the clock themselves.
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

/// How many places on the client port one caller may have: a client enough for its pool of connections but not so many
/// that a few clients take all of them; others a handful (members that ask for reports, new nodes that join).
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
