//! Where the session keys are, and what the node needs for it: on the node, or in a signer cluster.

use crate::{
    payload::HeaderPayload,
    service::{self, Core, FullClient, Proposers, other},
    voter::VoterHandle,
};
use polkadot_sdk::*;
use sc_service::{
    Configuration, Error as ServiceError, SpawnTaskHandle, TaskManager, config::KeystoreConfig,
};
use signonce_keystore::{
    RemotePayloadProvider, RemoteProposer, RemoteSigner, RemoteSignerParams, Setup, UnsignedVotes,
    VoterPosition, VoterView,
};
use signonce_validator_runtime::opaque::Block;
use sp_blockchain::HeaderBackend;
use sp_consensus::{Environment, Proposer};
use sp_consensus_beefy::PayloadProvider;
use sp_core::{Pair, crypto::KeyTypeId, ecdsa, ed25519, sr25519};
use sp_keystore::{Keystore, KeystorePtr, testing::MemoryKeystore};
use std::{path::PathBuf, sync::Arc};

/// Where the command line says they are: in the SDK's own keystore, if it says nothing.
#[derive(clap::Args, Clone, Debug)]
pub struct KeySource {
    #[command(flatten)]
    remote: RemoteSignerParams,
    /// Holds the session keys of this secret in memory: what a signer is compared with.
    #[arg(long, value_name = "SURI", hide = true, conflicts_with = "remote_signer")]
    in_memory_keys: Option<String>,
    /// This node is built with the voter of integration/polkadot, which asks again for votes that nobody signed.
    #[arg(long, hide = true)]
    patched_voter: bool,
}

impl KeySource {
    /// Brings the configuration in line, before anything is made of it.
    pub fn settle(self, config: &mut Configuration) -> Result<Settled, ServiceError> {
        if !self.remote.is_set() {
            return Ok(match self.in_memory_keys {
                Some(suri) => Settled::InMemory(LocalKeys::of_secret(&suri).map_err(other)?),
                None => Settled::Sdk,
            });
        }
        if config.dev_key_seed.is_some() {
            return Err(other(
                "--remote-signer together with --dev, --alice or the like, which make keys on the node: leave one of \
                 them out (--chain dev is enough for the development chain)",
            ));
        }
        // The SDK shall not even open the directory; the remote signer looks whether keys lie in it.
        let keystore_dir = match std::mem::replace(&mut config.keystore, KeystoreConfig::InMemory) {
            KeystoreConfig::Path { path, .. } => Some(path),
            KeystoreConfig::InMemory => None,
        };
        let data_dir = config.base_path.config_dir(config.chain_spec.id());
        let votes = match self.patched_voter {
            true => UnsignedVotes::AreAskedForAgain,
            false => UnsignedVotes::EndTheVoter,
        };
        Ok(Settled::Remote { params: self.remote, keystore_dir, data_dir, votes })
    }
}

/// Where they are, the configuration being in line with it.
pub enum Settled {
    Sdk,
    InMemory(LocalKeys),
    Remote {
        params: RemoteSignerParams,
        keystore_dir: Option<PathBuf>,
        data_dir: PathBuf,
        votes: UnsignedVotes,
    },
}

impl Settled {
    /// Opens the keystore and runs the node with it.
    pub fn start(self, config: Configuration, core: Core) -> Result<TaskManager, ServiceError> {
        match self {
            Settled::Sdk => {
                let keys = LocalKeys(core.keystore.clone());
                service::run(config, core, keys)
            }
            Settled::InMemory(keys) => service::run(config, core, keys),
            Settled::Remote { params, keystore_dir, data_dir, votes } => {
                let setup = Setup {
                    genesis: core.client.info().genesis_hash.0,
                    keystore_dir: keystore_dir.as_deref(),
                    data_dir: Some(&data_dir),
                    registry: config.prometheus_registry(),
                    votes,
                };
                let signer = RemoteSigner::start(&params, setup)
                    .map_err(|error| ServiceError::Application(Box::new(error)))?;
                service::run(config, core, signer)
            }
        }
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
    /// The same for an operator's questions.
    fn rpc_keystore(&self) -> KeystorePtr {
        self.keystore()
    }
    fn proposers(&self, proposers: Proposers) -> Self::Proposers;
    fn payloads(&self, payloads: HeaderPayload) -> Self::Payloads;
    /// Called once, before the voters start.
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
        let keys: [(_, &[u8]); 5] = [
            (b"babe", &sr25519.0),
            (b"audi", &sr25519.0),
            (b"imon", &sr25519.0),
            (b"gran", &ed25519.0),
            (b"beef", &ecdsa.0),
        ];
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

/// Keys in a signer cluster.
impl Keys for RemoteSigner {
    type Proposers = RemoteProposer<Proposers>;
    type Payloads = RemotePayloadProvider<HeaderPayload>;

    fn keystore(&self) -> KeystorePtr {
        RemoteSigner::keystore(self)
    }

    fn rpc_keystore(&self) -> KeystorePtr {
        RemoteSigner::rpc_keystore(self)
    }

    fn proposers(&self, proposers: Proposers) -> Self::Proposers {
        self.wrap_proposer(proposers)
    }

    fn payloads(&self, payloads: HeaderPayload) -> Self::Payloads {
        self.wrap_payload_provider(payloads)
    }

    fn attend(&self, client: Arc<FullClient>, voter: VoterHandle, spawner: &SpawnTaskHandle) {
        self.watch_epochs::<Block, _>(client);
        self.gate_grandpa(voter);
        spawner.spawn("remote-signer", None, self.until_shutdown());
    }
}

impl VoterView for VoterHandle {
    fn position(&self) -> Option<VoterPosition> {
        let position = VoterHandle::position(self)?;
        Some(VoterPosition { set_id: position.set_id, round: position.round })
    }

    fn recorded(&self) -> Option<Vec<u8>> {
        VoterHandle::recorded(self)
    }

    fn restart_voter(&self) -> bool {
        self.restart();
        true
    }
}
