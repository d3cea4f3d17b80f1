//! Puts the node together: [`Core`], the block [`imports`], the [`network`], and the [`duties`] of a validator.

mod duties;
mod imports;
mod network;

use crate::{
    judge::{Judge, votes},
    rpc::Methods,
    signer::{KeySource, Keys},
    voter::VoterHandle,
};
use duties::Duties;
use imports::Imports;
use network::{Connected, Protocols};
use polkadot_sdk::*;
use sc_network::config::NetworkBackendType;
use sc_service::{Configuration, Error as ServiceError, TaskManager};
use sc_transaction_pool::TransactionPoolHandle;
use signonce_validator_runtime::{RuntimeApi, opaque::Block};
use sp_keystore::KeystorePtr;
use std::sync::Arc;

pub use network::{Network, Syncing};

pub type Executor = sc_executor::WasmExecutor<sp_io::SubstrateHostFunctions>;
pub type FullClient = sc_service::TFullClient<Block, RuntimeApi, Executor>;
pub type Backend = sc_service::TFullBackend<Block>;
pub type SelectChain = sc_consensus::LongestChain<Backend, Block>;
pub type Pool = TransactionPoolHandle<Block, FullClient>;
pub type Proposers = sc_basic_authorship::ProposerFactory<Pool, FullClient>;

/// Starts the node that the configuration describes, with its keys where the command line says.
pub fn start(mut config: Configuration, source: KeySource) -> Result<TaskManager, ServiceError> {
    if matches!(config.network.network_backend, NetworkBackendType::Libp2p) {
        return Err(other("--network-backend libp2p: this node speaks litep2p only; leave the flag out"));
    }
    let source = source.settle(&mut config)?;
    let core = Core::new(&config)?;
    source.start(config, core)
}

/// An error of this node's own.
pub fn other(why: impl ToString) -> ServiceError {
    ServiceError::Other(why.to_string())
}

/// What everything else is built on.
pub struct Core {
    pub client: Arc<FullClient>,
    /// The SDK's own.
    pub keystore: KeystorePtr,
    backend: Arc<Backend>,
    pool: Arc<Pool>,
    select_chain: SelectChain,
    tasks: TaskManager,
}

impl Core {
    fn new(config: &Configuration) -> Result<Self, ServiceError> {
        let executor = sc_service::new_wasm_executor(&config.executor);
        let (client, backend, keystore, tasks) =
            sc_service::new_full_parts::<Block, RuntimeApi, Executor>(config, None, executor, Vec::new())?;
        let client = Arc::new(client);
        let pool = sc_transaction_pool::Builder::new(
            tasks.spawn_essential_handle(),
            client.clone(),
            config.role.is_authority().into(),
        )
        .with_options(config.transaction_pool.clone())
        .with_prometheus(config.prometheus_registry())
        .build();
        Ok(Self {
            keystore: keystore.keystore(),
            select_chain: SelectChain::new(backend.clone()),
            pool: Arc::new(pool),
            client,
            backend,
            tasks,
        })
    }
}

/// Runs the node with these keys.
pub fn run<K: Keys>(config: Configuration, mut core: Core, keys: K) -> Result<TaskManager, ServiceError> {
    let registry = config.prometheus_registry().cloned();
    let judge = Judge::new(core.client.clone(), &core.pool, registry.as_ref())?;
    judge.follow_chain(core.tasks.spawn_handle(), registry.as_ref())?;
    let (tap, watch) = votes::watch(judge.clone());
    core.tasks.spawn_handle().spawn("grandpa-votes", Some("judge"), watch);

    let (imports, queue, babe) = Imports::new(&core, &judge, registry.as_ref())?;
    // Without a handle the SDK's BABE worker ends, and the node with it.
    core.tasks.keep_alive(babe.clone());
    let (protocols, net_config) = Protocols::new(&core, &config, tap);
    let (connected, rpc_link) = network::connect(&core, &config, net_config, queue)?;

    let voter = VoterHandle::new(core.client.clone());
    let methods = Methods {
        client: core.client.clone(),
        pool: core.pool.clone(),
        select_chain: core.select_chain.clone(),
        keystore: keys.keystore(),
        babe,
        beefy: imports.beefy_rpc.clone(),
        voter: voter.clone(),
        judge: judge.clone(),
    };
    let duties = Duties::new(&config, keys.clone(), judge, voter.clone(), connected.clone());
    duties.offchain_workers(&core, &config)?;
    serve(config, &mut core, keys.rpc_keystore(), methods, connected, rpc_link)?;
    keys.attend(core.client.clone(), voter, &core.tasks.spawn_handle());
    duties.start(&core, imports, protocols)?;
    Ok(core.tasks)
}

/// Starts what the SDK does for every node: RPC, metrics, the transaction pool's upkeep.
fn serve(
    config: Configuration,
    core: &mut Core,
    keystore: KeystorePtr,
    methods: Methods,
    connected: Connected,
    rpc_link: network::RpcLink,
) -> Result<(), ServiceError> {
    sc_service::spawn_tasks(sc_service::SpawnTasksParams {
        config,
        client: core.client.clone(),
        backend: core.backend.clone(),
        task_manager: &mut core.tasks,
        keystore,
        transaction_pool: core.pool.clone(),
        rpc_builder: Box::new(move |executor| methods.module(executor)),
        network: connected.network,
        system_rpc_tx: rpc_link.system,
        tx_handler_controller: rpc_link.transactions,
        sync_service: connected.sync,
        telemetry: None,
        tracing_execute_block: None,
    })?;
    Ok(())
}
