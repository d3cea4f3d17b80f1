//! The network, with GRANDPA's and BEEFY's protocols on it.

use super::{Core, FullClient, imports::Queue};
use crate::{judge::votes::Tap, voter::Notifications};
use polkadot_sdk::*;
use sc_consensus_beefy::communication::{
    beefy_peers_set_config, request_response::BeefyJustifsRequestHandler,
};
use sc_consensus_grandpa::grandpa_peers_set_config;
use sc_network::{
    Litep2pNetworkBackend, NetworkBackend, ProtocolName,
    config::FullNetworkConfiguration,
    service::{
        NotificationMetrics,
        traits::{NetworkService, NotificationService},
    },
};
use sc_network_sync::SyncingService;
use sc_service::{Configuration, Error as ServiceError};
use sc_utils::mpsc::TracingUnboundedSender;
use signonce_validator_runtime::{Hash, opaque::Block};
use sp_blockchain::HeaderBackend;
use std::sync::Arc;

pub type Network = Arc<dyn NetworkService>;
pub type Syncing = Arc<SyncingService<Block>>;
type FullNetwork = FullNetworkConfiguration<Block, Hash, Litep2pNetworkBackend>;
type NetConfig = (FullNetwork, NotificationMetrics);

/// The voters' ends of the network.
pub struct Protocols {
    pub grandpa: GrandpaProtocol,
    pub beefy: BeefyProtocol,
}

pub struct GrandpaProtocol {
    pub name: ProtocolName,
    pub notifications: Notifications,
}

pub struct BeefyProtocol {
    pub name: ProtocolName,
    pub gossip: Box<dyn NotificationService>,
    pub justifications: BeefyJustifsRequestHandler<Block, FullClient>,
}

impl Protocols {
    pub fn new(core: &Core, config: &Configuration, tap: Tap) -> (Self, NetConfig) {
        let registry = config.prometheus_registry();
        let mut net = FullNetworkConfiguration::new(&config.network, registry.cloned());
        let metrics =
            <Litep2pNetworkBackend as NetworkBackend<Block, Hash>>::register_notification_metrics(registry);
        let grandpa = grandpa(core, config, &mut net, &metrics, tap);
        let beefy = beefy(core, config, &mut net, &metrics);
        (Self { grandpa, beefy }, (net, metrics))
    }
}

fn grandpa(
    core: &Core,
    config: &Configuration,
    net: &mut FullNetwork,
    metrics: &NotificationMetrics,
    tap: Tap,
) -> GrandpaProtocol {
    let name =
        sc_consensus_grandpa::protocol_standard_name(&core.client.info().genesis_hash, &config.chain_spec);
    let (protocol, service) = grandpa_peers_set_config::<Block, Litep2pNetworkBackend>(
        name.clone(),
        metrics.clone(),
        net.peer_store_handle(),
    );
    net.add_notification_protocol(protocol);
    GrandpaProtocol { name, notifications: Notifications::new(service, tap) }
}

fn beefy(
    core: &Core,
    config: &Configuration,
    net: &mut FullNetwork,
    metrics: &NotificationMetrics,
) -> BeefyProtocol {
    let (genesis, fork_id) = (core.client.info().genesis_hash, config.chain_spec.fork_id());
    let name = sc_consensus_beefy::gossip_protocol_name(genesis, fork_id);
    let (protocol, gossip) = beefy_peers_set_config::<Block, Litep2pNetworkBackend>(
        name.clone(),
        metrics.clone(),
        net.peer_store_handle(),
    );
    net.add_notification_protocol(protocol);
    let (justifications, protocol) = BeefyJustifsRequestHandler::new::<_, Litep2pNetworkBackend>(
        genesis,
        fork_id,
        core.client.clone(),
        config.prometheus_registry().cloned(),
    );
    net.add_request_response_protocol(protocol);
    BeefyProtocol { name, gossip, justifications }
}

/// The running network.
#[derive(Clone)]
pub struct Connected {
    pub network: Network,
    pub sync: Syncing,
}

/// The network's ends that the RPC server has.
pub struct RpcLink {
    pub system: TracingUnboundedSender<sc_rpc::system::Request<Block>>,
    pub transactions: sc_network_transactions::TransactionsHandlerController<Hash>,
}

pub fn connect(
    core: &Core,
    config: &Configuration,
    (net_config, metrics): NetConfig,
    import_queue: Queue,
) -> Result<(Connected, RpcLink), ServiceError> {
    let (network, system, transactions, sync, _bitswap) =
        sc_service::build_network(sc_service::BuildNetworkParams {
            config,
            net_config,
            client: core.client.clone(),
            transaction_pool: core.pool.clone(),
            spawn_handle: core.tasks.spawn_handle(),
            spawn_essential_handle: core.tasks.spawn_essential_handle(),
            import_queue,
            block_announce_validator_builder: None,
            warp_sync_config: None,
            block_relay: None,
            metrics,
            gap_sync_body_policy: None,
        })?;
    Ok((Connected { network, sync }, RpcLink { system, transactions }))
}
