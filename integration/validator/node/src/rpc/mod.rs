//! What can be asked over RPC besides what every SDK node answers.
//!
//! No method waits for the voter, which holds its lock while it signs: it says that it is busy, or what it saw last.
//!
//! BABE's and BEEFY's methods, `system_accountNextIndex`, `grandpa_roundState`, and `validator_status`: where the voter
//! is, how often it was started again, and what of equivocations was seen and proven. (The SDK's own GRANDPA methods
//! would go on asking the first voter.) `validator_restartVoter`, which is unsafe, starts the GRANDPA voter over, and
//! `validator_setKeys`, as well, registers session keys.

mod rounds;
mod set_keys;

use crate::{
    judge::{Judge, proven_at},
    service::{FullClient, Pool, SelectChain},
    voter::{Busy, VoterHandle},
};
use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    types::{ErrorObject, ErrorObjectOwned},
};
use polkadot_sdk::*;
use rounds::RoundStates;
use sc_consensus_babe::BabeWorkerHandle;
use sc_consensus_babe_rpc::{Babe, BabeApiServer};
use sc_consensus_beefy::BeefyRPCLinks;
use sc_consensus_beefy_rpc::{Beefy, BeefyApiServer};
use sc_rpc::SubscriptionTaskExecutor;
use serde::Serialize;
use signonce_validator_runtime::{AccountId, Nonce, opaque::Block};
use sp_blockchain::HeaderBackend;
use sp_consensus_beefy::ecdsa_crypto::AuthorityId as BeefyId;
use sp_core::Bytes;
use sp_keystore::KeystorePtr;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use substrate_frame_rpc_system::{System, SystemApiServer};

/// What SDK nodes answer while no voter runs.
const NO_VOTER: i32 = 1;

/// What `grandpa_roundState` answers while the voter waits for a signature.
const VOTER_BUSY: i32 = 3;

/// What `validator_setKeys` answers when the transaction is not taken.
const SET_KEYS_FAILED: i32 = 2;

/// What the methods ask.
pub struct Methods {
    pub client: Arc<FullClient>,
    pub pool: Arc<Pool>,
    pub select_chain: SelectChain,
    pub keystore: KeystorePtr,
    pub babe: BabeWorkerHandle<Block>,
    pub beefy: BeefyRPCLinks<Block, BeefyId>,
    pub voter: VoterHandle,
    pub judge: Judge,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// GRANDPA's authority set and round, while the voter waits for a signature those seen last; null while none runs.
    set_id: Option<u64>,
    round: Option<u64>,
    voter_restarts: u64,
    best: u32,
    finalized: u32,
    /// Duties for which this node saw a key sign two things, by kind.
    equivocations: BTreeMap<&'static str, u64>,
    /// Those that the chain has accepted as proven at the best block, by kind.
    proven_offences: BTreeMap<&'static str, u64>,
}

impl Methods {
    /// The methods as a module of the RPC server.
    pub fn module(&self, executor: SubscriptionTaskExecutor) -> Result<RpcModule<()>, sc_service::Error> {
        let mut module = RpcModule::new(());
        let system = System::<_, _, Block>::new(self.client.clone(), self.pool.clone());
        let babe = Babe::new(
            self.client.clone(),
            self.babe.clone(),
            self.keystore.clone(),
            self.select_chain.clone(),
        );
        let beefy = Beefy::<Block, BeefyId>::new(
            self.beefy.from_voter_justif_stream.clone(),
            self.beefy.from_voter_best_beefy_stream.clone(),
            executor,
        )
        .map_err(|error| sc_service::Error::Application(Box::new(error)))?;
        module
            .merge(SystemApiServer::<_, AccountId, Nonce>::into_rpc(system))
            .and_then(|()| module.merge(BabeApiServer::into_rpc(babe)))
            .and_then(|()| module.merge(BeefyApiServer::into_rpc(beefy)))
            .and_then(|()| self.add_rounds(&mut module))
            .and_then(|()| self.add_status(&mut module))
            .and_then(|()| self.add_restart(&mut module))
            .and_then(|()| self.add_set_keys(&mut module))
            .map_err(|error| sc_service::Error::Application(Box::new(error)))?;
        Ok(module)
    }

    fn add_rounds(&self, module: &mut RpcModule<()>) -> Result<(), RegisterMethodError> {
        let voter = self.voter.clone();
        module.register_blocking_method("grandpa_roundState", move |_, _, _| {
            let none = || ErrorObject::owned(NO_VOTER, "GRANDPA RPC endpoint not ready", None::<()>);
            let busy = |Busy| ErrorObject::owned(VOTER_BUSY, "the voter waits for a signature", None::<()>);
            voter.try_rounds().map_err(busy)?.map(RoundStates::from).ok_or_else(none)
        })?;
        Ok(())
    }

    fn add_restart(&self, module: &mut RpcModule<()>) -> Result<(), RegisterMethodError> {
        let voter = self.voter.clone();
        module.register_method("validator_restartVoter", move |_, _, caller| {
            sc_rpc_api::check_if_safe(caller)?;
            voter.restart();
            Ok::<_, ErrorObjectOwned>(())
        })?;
        Ok(())
    }

    fn add_set_keys(&self, module: &mut RpcModule<()>) -> Result<(), RegisterMethodError> {
        let (client, pool) = (self.client.clone(), self.pool.clone());
        module.register_async_method("validator_setKeys", move |params, _, caller| {
            let (client, pool) = (client.clone(), pool.clone());
            async move {
                sc_rpc_api::check_if_safe(&caller)?;
                let (owner, keys, proof): (String, Bytes, Bytes) = params.parse()?;
                let failed = |why| ErrorObject::owned(SET_KEYS_FAILED, why, None::<()>);
                set_keys::submit(&client, &pool, &owner, &keys, proof.0).await.map_err(failed)
            }
        })?;
        Ok(())
    }

    fn add_status(&self, module: &mut RpcModule<()>) -> Result<(), RegisterMethodError> {
        let (client, voter, judge) = (self.client.clone(), self.voter.clone(), self.judge.clone());
        let last_seen = Arc::new(Mutex::new(None));
        // Blocking: the voter is given a moment to answer.
        module.register_blocking_method("validator_status", move |_, _, _| {
            let info = client.info();
            let seen = voter.try_position();
            let mut last_seen = last_seen.lock().expect("no panic while it is held");
            let position = seen.unwrap_or(*last_seen);
            *last_seen = position;
            drop(last_seen);
            Ok::<_, ErrorObjectOwned>(Status {
                set_id: position.map(|position| position.set_id),
                round: position.map(|position| position.round),
                voter_restarts: voter.restarts(),
                best: info.best_number,
                finalized: info.finalized_number,
                equivocations: judge.counts(),
                proven_offences: proven_at(&client, info.best_hash),
            })
        })?;
        Ok(())
    }
}
