//! What a validator does: authoring, finality, BEEFY, authority discovery, heartbeats.

use super::{
    Core, Proposers,
    imports::{Imports, inherents},
    network::{BeefyProtocol, Connected, GrandpaProtocol, Protocols},
};
use crate::{
    judge::{Judge, headers::HeaderWatch},
    payload::HeaderPayload,
    signer::Keys,
    voter::{JUSTIFICATION_PERIOD, Link, Supervisor, SwapImport, VoterHandle},
};
use futures::{FutureExt, StreamExt};
use polkadot_sdk::*;
use sc_authority_discovery::WorkerConfig;
use sc_client_api::Backend as _;
use sc_consensus_babe::{BabeLink, BabeParams, SlotProportion};
use sc_consensus_beefy::{BeefyNetworkParams, BeefyParams, BeefyVoterLinks};
use sc_network::{NetworkEventStream, event::Event};
use sc_service::{Configuration, Error as ServiceError, config::Role};
use signonce_validator_runtime::opaque::Block;
use sp_consensus_beefy::ecdsa_crypto::AuthorityId as BeefyId;
use sp_consensus_slots::SlotDuration;
use sp_keystore::KeystorePtr;
use std::{marker::PhantomData, sync::Arc, time::Duration};
use substrate_prometheus_endpoint::Registry;

/// Blocks between two BEEFY votes, at least.
const BEEFY_DELTA: u32 = 4;
/// How long GRANDPA waits for gossip; the stages of a round take some of it each.
const GOSSIP_DURATION: Duration = Duration::from_millis(333);

/// What every duty needs.
pub struct Duties<K> {
    keys: K,
    judge: Judge,
    voter: VoterHandle,
    connected: Connected,
    registry: Option<Registry>,
    role: Role,
    name: String,
    force_authoring: bool,
}

impl<K: Keys> Duties<K> {
    pub fn new(
        config: &Configuration,
        keys: K,
        judge: Judge,
        voter: VoterHandle,
        connected: Connected,
    ) -> Self {
        Self {
            keys,
            judge,
            voter,
            connected,
            registry: config.prometheus_registry().cloned(),
            role: config.role,
            name: config.network.node_name.clone(),
            force_authoring: config.force_authoring,
        }
    }

    /// Starts them all, as far as this node is a validator.
    pub fn start(&self, core: &Core, imports: Imports, protocols: Protocols) -> Result<(), ServiceError> {
        if self.role.is_authority() {
            self.author(core, imports.import, imports.babe, imports.slot_duration)?;
            self.discover(core);
        }
        self.vote_beefy(core, imports.beefy, protocols.beefy);
        self.vote_grandpa(core, imports.swap, imports.grandpa, protocols.grandpa);
        Ok(())
    }

    /// Heartbeats are sent from here.
    pub fn offchain_workers(&self, core: &Core, config: &Configuration) -> Result<(), ServiceError> {
        if !config.offchain_worker.enabled {
            return Ok(());
        }
        let workers = sc_offchain::OffchainWorkers::new(sc_offchain::OffchainWorkerOptions {
            runtime_api_provider: core.client.clone(),
            keystore: Some(self.keys.keystore()),
            offchain_db: core.backend.offchain_storage(),
            transaction_pool: Some(self.judge.reports()),
            network_provider: Arc::new(self.connected.network.clone()),
            is_validator: self.role.is_authority(),
            enable_http_requests: false,
            custom_extensions: |_| Vec::new(),
        })?;
        let run = workers.run(core.client.clone(), core.tasks.spawn_handle()).boxed();
        core.tasks.spawn_handle().spawn("offchain-workers", Some("offchain-worker"), run);
        Ok(())
    }

    fn author(
        &self,
        core: &Core,
        block_import: HeaderWatch,
        babe_link: BabeLink<Block>,
        slot_duration: SlotDuration,
    ) -> Result<(), ServiceError> {
        let proposers = Proposers::new(
            core.tasks.spawn_handle(),
            core.client.clone(),
            core.pool.clone(),
            self.registry.as_ref(),
            None,
        );
        let authoring = sc_consensus_babe::start_babe(BabeParams {
            keystore: self.keys.keystore(),
            client: core.client.clone(),
            select_chain: core.select_chain.clone(),
            env: self.keys.proposers(proposers),
            block_import,
            sync_oracle: self.connected.sync.clone(),
            justification_sync_link: self.connected.sync.clone(),
            create_inherent_data_providers: move |_, ()| async move { Ok(inherents(slot_duration)) },
            force_authoring: self.force_authoring,
            backoff_authoring_blocks: None::<()>,
            babe_link,
            block_proposal_slot_portion: SlotProportion::new(0.5),
            max_block_proposal_slot_portion: None,
            telemetry: None,
        })?;
        core.tasks.spawn_essential_handle().spawn_blocking("babe", Some("block-authoring"), authoring);
        Ok(())
    }

    fn discover(&self, core: &Core) {
        let network = &self.connected.network;
        let dht = network.event_stream("authority-discovery").filter_map(|event| {
            futures::future::ready(match event {
                Event::Dht(event) => Some(event),
                _ => None,
            })
        });
        // The other validators of a test are on this machine.
        let config = WorkerConfig { publish_non_global_ips: true, ..Default::default() };
        let (worker, _service) = sc_authority_discovery::new_worker_and_service_with_config(
            config,
            core.client.clone(),
            Arc::new(network.clone()),
            Box::pin(dht),
            sc_authority_discovery::Role::PublishAndDiscover(self.keys.keystore()),
            self.registry.clone(),
            core.tasks.spawn_handle(),
        );
        core.tasks.spawn_handle().spawn("authority-discovery-worker", Some("networking"), worker.run());
    }

    fn vote_beefy(&self, core: &Core, links: BeefyVoterLinks<Block, BeefyId>, protocol: BeefyProtocol) {
        let network_params = BeefyNetworkParams {
            network: Arc::new(self.connected.network.clone()),
            sync: self.connected.sync.clone(),
            notification_service: protocol.gossip,
            gossip_protocol_name: protocol.name,
            justifications_protocol_name: protocol.justifications.protocol_name(),
            _phantom: PhantomData,
        };
        let voter = sc_consensus_beefy::start_beefy_gadget::<_, _, _, _, _, _, _, BeefyId>(BeefyParams {
            client: core.client.clone(),
            backend: core.backend.clone(),
            payload_provider: self.keys.payloads(HeaderPayload),
            runtime: core.client.clone(),
            key_store: self.voting_keys(),
            network_params,
            min_block_delta: BEEFY_DELTA,
            prometheus_registry: self.registry.clone(),
            links,
            on_demand_justifications_handler: protocol.justifications,
            is_authority: self.role.is_authority(),
        });
        core.tasks.spawn_essential_handle().spawn_blocking("beefy-gadget", None, voter);
    }

    fn vote_grandpa(&self, core: &Core, import: SwapImport, link: Link, protocol: GrandpaProtocol) {
        let config = sc_consensus_grandpa::Config {
            gossip_duration: GOSSIP_DURATION,
            justification_generation_period: JUSTIFICATION_PERIOD,
            observer_enabled: false,
            local_role: self.role,
            name: Some(self.name.clone()),
            keystore: self.voting_keys(),
            telemetry: None,
            protocol_name: protocol.name,
        };
        let supervisor = Supervisor {
            client: core.client.clone(),
            select_chain: core.select_chain.clone(),
            config,
            network: self.connected.network.clone(),
            sync: self.connected.sync.clone(),
            registry: self.registry.clone(),
            reports: self.judge.reports(),
            import,
            handle: self.voter.clone(),
        };
        let voter = supervisor.run(link, protocol.notifications);
        core.tasks.spawn_essential_handle().spawn_blocking("grandpa-voter", None, voter);
    }

    /// None on a node that only follows.
    fn voting_keys(&self) -> Option<KeystorePtr> {
        self.role.is_authority().then(|| self.keys.keystore())
    }
}
