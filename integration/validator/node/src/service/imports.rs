//! The way of a block into the node: BABE, BEEFY, GRANDPA, the database, in this order.

use super::{Core, SelectChain};
use crate::{
    judge::{Judge, headers::HeaderWatch},
    voter::{self, Link, SwapImport},
};
use polkadot_sdk::*;
use sc_consensus::DefaultImportQueue;
use sc_consensus_babe::{BabeLink, BabeWorkerHandle, ImportQueueParams};
use sc_consensus_beefy::{BeefyRPCLinks, BeefyVoterLinks};
use sc_service::Error as ServiceError;
use signonce_validator_runtime::opaque::Block;
use sp_consensus_babe::inherents::{BabeCreateInherentDataProviders, InherentDataProvider as SlotProvider};
use sp_consensus_beefy::ecdsa_crypto::AuthorityId as BeefyId;
use sp_consensus_slots::SlotDuration;
use sp_timestamp::InherentDataProvider as TimeProvider;
use std::sync::Arc;
use substrate_prometheus_endpoint::Registry;

/// The import, and what the voters get of it.
pub struct Imports {
    pub import: HeaderWatch,
    pub babe: BabeLink<Block>,
    pub slot_duration: SlotDuration,
    pub beefy: BeefyVoterLinks<Block, BeefyId>,
    pub beefy_rpc: BeefyRPCLinks<Block, BeefyId>,
    pub swap: SwapImport,
    pub grandpa: Link,
}

/// What blocks of others wait in.
pub type Queue = DefaultImportQueue<Block>;

impl Imports {
    pub fn new(
        core: &Core,
        judge: &Judge,
        registry: Option<&Registry>,
    ) -> Result<(Self, Queue, BabeWorkerHandle<Block>), ServiceError> {
        let (grandpa_import, grandpa) = voter::grandpa(&core.client, &core.select_chain)?;
        let swap = SwapImport::new(grandpa_import);
        let (beefy_import, beefy, beefy_rpc) =
            sc_consensus_beefy::beefy_block_import_and_links::<_, _, _, _, BeefyId>(
                swap.clone(),
                core.backend.clone(),
                core.client.clone(),
                registry.cloned(),
            );
        let config = sc_consensus_babe::configuration(&*core.client)?;
        let slot_duration = config.slot_duration();
        let (babe_import, babe) = sc_consensus_babe::block_import::<_, Block, _, _, SelectChain>(
            config,
            beefy_import,
            core.client.clone(),
            Arc::new(move |_, ()| async move { Ok(inherents(slot_duration)) })
                as BabeCreateInherentDataProviders<Block>,
            core.select_chain.clone(),
            judge.reports(),
        )?;
        let import = HeaderWatch::new(Arc::new(babe_import), judge.clone());
        let (queue, worker) = sc_consensus_babe::import_queue(ImportQueueParams {
            link: babe.clone(),
            block_import: import.clone(),
            justification_import: Some(Box::new(swap.clone())),
            client: core.client.clone(),
            slot_duration,
            spawner: &core.tasks.spawn_essential_handle(),
            registry,
            telemetry: None,
        })?;
        Ok((Self { import, babe, slot_duration, beefy, beefy_rpc, swap, grandpa }, queue, worker))
    }
}

/// What a block of now has to say of its time.
pub fn inherents(slot_duration: SlotDuration) -> (SlotProvider, TimeProvider) {
    let time = TimeProvider::from_system_time();
    (SlotProvider::from_timestamp_and_slot_duration(*time, slot_duration), time)
}
