//! Where the session keys are, and what the node needs for it: on the node, or in a signer cluster.

use crate::{
    payload::HeaderPayload,
    service::{self, Core, FullClient, Proposers, other},
    voter::VoterHandle,
};
use polkadot_sdk::*;
use sc_service::{Configuration, Error as ServiceError, SpawnTaskHandle, TaskManager};
use signonce_validator_runtime::opaque::Block;
use sp_consensus::{Environment, Proposer};
use sp_consensus_beefy::PayloadProvider;
use sp_core::{Pair, crypto::KeyTypeId, ecdsa, ed25519, sr25519};
use sp_keystore::{Keystore, KeystorePtr, testing::MemoryKeystore};
use std::sync::Arc;

/// Where the command line says they are.
#[derive(clap::Args, Clone, Debug)]
pub struct KeySource {
    /// Holds the session keys of this secret in memory: what a signer is compared with.
    #[arg(long, value_name = "SURI", hide = true)]
    in_memory_keys: Option<String>,
}

impl KeySource {
    /// Brings the configuration in line, before anything is made of it.
    pub fn settle(self, _config: &mut Configuration) -> Result<Self, ServiceError> {
        Ok(self)
    }

    /// Opens the keystore and runs the node with it.
    pub fn start(self, config: Configuration, core: Core) -> Result<TaskManager, ServiceError> {
        let local = match &self.in_memory_keys {
            Some(suri) => LocalKeys::of_secret(suri).map_err(other)?,
            None => LocalKeys(core.keystore.clone()),
        };
        service::run(config, core, local)
    }
}

/// A keystore, and what of the node has to go through its hands so that it knows what it signs.
pub trait Keys: Clone + Send + Sync + 'static {
    type Proposers: Environment<
            Block,
            Error = sp_blockchain::Error,
            Proposer: Proposer<Block, Error = sp_blockchain::Error>,
        > + Send
        + Sync
        + 'static;
    type Payloads: PayloadProvider<Block> + Clone + Send + Sync + 'static;

    fn keystore(&self) -> KeystorePtr;
    fn proposers(&self, proposers: Proposers) -> Self::Proposers;
    fn payloads(&self, payloads: HeaderPayload) -> Self::Payloads;
    /// Called once, when the node is complete.
    fn attend(&self, client: Arc<FullClient>, voter: VoterHandle, spawner: &SpawnTaskHandle);
}

/// Keys on the node, which need nothing.
#[derive(Clone)]
pub struct LocalKeys(KeystorePtr);

impl LocalKeys {
    /// Every session key of one secret, in memory.
    fn of_secret(suri: &str) -> Result<Self, String> {
        let keystore = MemoryKeystore::new();
        let bad = |error| format!("--in-memory-keys: not a secret URI: {error}");
        let sr25519 = sr25519::Pair::from_string(suri, None).map_err(bad)?.public();
        let ed25519 = ed25519::Pair::from_string(suri, None).map_err(bad)?.public();
        let ecdsa = ecdsa::Pair::from_string(suri, None).map_err(bad)?.public();
        let keys: [(_, &[u8]); 5] =
            [(b"babe", &sr25519.0), (b"audi", &sr25519.0), (b"imon", &sr25519.0), (b"gran", &ed25519.0), (b"beef", &ecdsa.0)];
        for (key_type, public) in keys {
            keystore
                .insert(KeyTypeId(*key_type), suri, public)
                .map_err(|()| format!("--in-memory-keys: the keystore in memory took no key of {suri:?}"))?;
        }
        Ok(Self(Arc::new(keystore)))
    }
}

impl Keys for LocalKeys {
    type Proposers = Proposers;
    type Payloads = HeaderPayload;

    fn keystore(&self) -> KeystorePtr {
        self.0.clone()
    }

    fn proposers(&self, proposers: Proposers) -> Proposers {
        proposers
    }

    fn payloads(&self, payloads: HeaderPayload) -> HeaderPayload {
        payloads
    }

    fn attend(&self, _: Arc<FullClient>, _: VoterHandle, _: &SpawnTaskHandle) {}
}
