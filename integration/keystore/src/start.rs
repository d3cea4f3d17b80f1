//! The entry point: checks the settings, starts the I/O thread, hands out the keystore.

use crate::{
    LOG, RemoteKeystore, RemotePayloadProvider, RemoteProposer, RemoteSignerParams,
    ask::{Cluster, NodeSide, Signers, UnsignedVotes, VotePosition},
    asker::{Asker, Vrfs},
    cache::Keys,
    commitments::Commitments,
    epochs::Epochs,
    gate::{Gate, Preflight, VoterView},
    guard::{self, KeyFiles},
    headers::Headers,
    keystore::AskedBy,
    link::{self, Link},
    metrics::Metrics,
    refused::Refused,
    remembered::KeyFile,
    report::Report,
    worker::{Stop, Worker},
};
use signonce_protocol::{
    ChainId, PublicKey,
    client::{ClientConfig, ClientError, SignerClient, Timeouts, TlsSource},
};
use signonce_substrate::VrfRequest;
use sp_api::ProvideRuntimeApi;
use sp_blockchain::HeaderBackend;
use sp_consensus_babe::BabeApi;
use sp_core::sr25519::vrf::VrfSignData;
use sp_keystore::KeystorePtr;
use sp_runtime::traits::Block;
use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use substrate_prometheus_endpoint::{PrometheusError, Registry};

/// How long the start waits for the first list of keys by default, so that a healthy start has its keys at once.
const FIRST_LIST_WITHIN: Duration = Duration::from_secs(2);
/// How often a longer wait is logged.
const WAIT_TOLD_EVERY: Duration = Duration::from_secs(10);

/// How long one signer may take while others could be asked. Deadlines below twice this shorten it; above, it gives a
/// slow signer the time to answer at all.
const ATTEMPT_AT_MOST: Duration = Duration::from_secs(3);

/// The node, for [`RemoteSigner::start`].
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The genesis hash of the node's chain: only keys of this chain are used.
    pub genesis: [u8; 32],
    /// The directory where the node would keep keys of its own (`KeystoreConfig::path`); no slashable key may be in it.
    pub keystore_dir: Option<&'a Path>,
    /// The directory of this chain's data (not one for keys). The last list of keys is kept in it, for a start without
    /// signers; with `None` it is not kept.
    pub data_dir: Option<&'a Path>,
    /// The registry for the metrics.
    pub registry: Option<&'a Registry>,
    /// What the node's GRANDPA voter does without a signature.
    pub votes: UnsignedVotes,
}

/// Why a node cannot start with a remote signer: settings that can never work. Unreachable signers are not a reason.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no URL.
    #[error("no signer is given; give --remote-signer at least once")]
    NoSigner,
    /// A required file that no argument names.
    #[error("--remote-signer needs {argument} too (or {env} in the environment): {what}")]
    MissingArgument {
        /// The argument.
        argument: &'static str,
        /// Its environment variable.
        env: &'static str,
        /// What the file is.
        what: &'static str,
    },
    /// A URL, certificate or key that cannot be used.
    #[error("remote signer: {0}")]
    Client(#[from] ClientError),
    /// Slashable keys lie in the node's keystore directory.
    #[error(
        "the node keeps its keys in a signer cluster, but slashable keys lie in its own keystore {dir}: {files}. With \
         both, it could sign twice and be slashed. Import them into the cluster with `signonce keys import` unless \
         they are there, then destroy the files (and their backups), and start again",
        dir = dir.display()
    )]
    KeyFiles {
        /// The directory.
        dir: PathBuf,
        /// The files.
        files: KeyFiles,
    },
    /// The keystore directory cannot be read.
    #[error("cannot see whether slashable keys lie in {dir}: {source}", dir = dir.display())]
    KeystoreDir {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The metrics cannot be made.
    #[error("remote signer metrics: {0}")]
    Metrics(#[from] PrometheusError),
    /// The I/O thread cannot be started.
    #[error("cannot start the remote signer's thread: {0}")]
    Thread(std::io::Error),
}

/// A running connection to a signer cluster, with everything that a node plugs in. Cheap to clone.
#[derive(Clone)]
pub struct RemoteSigner(Arc<Inner>);

struct Inner {
    asker: Arc<Asker>,
    keystore: Arc<RemoteKeystore>,
    rpc_keystore: Arc<RemoteKeystore>,
    parts: Arc<Parts>,
}

/// The recorders and the gate: the node's side of the keystore.
struct Parts {
    headers: Arc<Headers>,
    commitments: Arc<Commitments>,
    epochs: Arc<Epochs>,
    gate: Arc<Gate>,
}

impl NodeSide for Parts {
    fn header(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.headers.find(hash)
    }
    fn commitment(&self, keccak: &[u8; 32]) -> Option<Vec<u8>> {
        self.commitments.find(keccak)
    }
    fn vrf(&self, data: &VrfSignData) -> Option<VrfRequest> {
        self.epochs.find(data)
    }
    fn may_vote(&self, key: &PublicKey) -> bool {
        self.gate.is_open(key)
    }
    fn watermark(&self, key: &PublicKey, floor: Option<VotePosition>, highest: Option<VotePosition>) {
        self.gate.watermark(key, floor, highest);
    }
    fn voted(&self, key: &PublicKey, at: VotePosition) {
        self.gate.signed(key, at);
    }
    fn vote_refused(&self, key: &PublicKey, at: VotePosition) {
        self.gate.refused(key, at);
    }
    fn key_gone(&self, key: &PublicKey) {
        self.gate.forget(key);
    }
}

impl std::fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteSigner").field("preferred", &self.0.asker.signers.preferred()).finish()
    }
}

impl RemoteSigner {
    /// Connects to the signers. Waits for the list of keys, two seconds or as long as `params` say, then continues with
    /// the keys listed last, or without: the node must live while no signer can be reached, and gets its keys when one
    /// can.
    ///
    /// # Errors
    /// If settings can never work, or slashable key files are in the node's keystore directory.
    pub fn start(params: &RemoteSignerParams, setup: Setup<'_>) -> Result<Self, StartError> {
        signonce_substrate::install();
        let config = client_config(params)?;
        if let Some(dir) = setup.keystore_dir {
            guard::no_slashable_keys_in(dir)?;
        }
        let urls = config.urls.len();
        let signers = Arc::new(Cluster { client: SignerClient::new(config)?, urls });
        let signer = Self::with_signers(signers, setup)?;
        signer.wait_for_list(params.remote_signer_wait.map_or(FIRST_LIST_WITHIN, Duration::from_secs));
        Ok(signer)
    }

    fn with_signers(signers: Arc<dyn Signers>, setup: Setup<'_>) -> Result<Self, StartError> {
        let Setup { genesis, keystore_dir: _, data_dir, registry, votes } = setup;
        let chain = ChainId(genesis);
        let metrics = Metrics::new(registry)?;
        let report = Arc::new(Report::default());
        let parts = Arc::new(Parts {
            headers: Arc::default(),
            commitments: Arc::default(),
            epochs: Arc::default(),
            gate: Arc::new(Gate::new(metrics.clone())),
        });
        let node: Arc<dyn NodeSide> = parts.clone();
        let file = data_dir.map(|dir| Arc::new(KeyFile::in_dir(dir, chain)));
        let asker = Arc::new(asker(AskerParts { signers, chain, node, metrics, report, votes, file })?);
        let keystore = Arc::new(RemoteKeystore::new(asker.clone(), AskedBy::Consensus));
        let rpc_keystore = Arc::new(RemoteKeystore::new(asker.clone(), AskedBy::Operator));
        Ok(Self(Arc::new(Inner { asker, keystore, rpc_keystore, parts })))
    }

    /// Waits for the first list of the signers, and logs progress and what the node continues with.
    fn wait_for_list(&self, at_most: Duration) {
        let keys = &self.0.asker.keys;
        let begun = Instant::now();
        loop {
            let left = at_most.saturating_sub(begun.elapsed());
            if keys.wait_for_list(left.min(WAIT_TOLD_EVERY)) {
                return;
            }
            if left <= WAIT_TOLD_EVERY {
                break;
            }
            log::info!(
                target: LOG,
                "waiting for the signers to list this node's keys: {} s so far, {} s at most (--remote-signer-wait)",
                begun.elapsed().as_secs(),
                at_most.as_secs()
            );
        }
        match keys.list().len() {
            0 => log::warn!(
                target: LOG,
                "no signer has listed keys yet; the node starts without and takes them up when one does. Parachain duties \
                 begin with the session after that"
            ),
            count => log::warn!(
                target: LOG,
                "no signer has listed keys yet; the node starts with the {count} that they listed last, and signs when \
                 one serves"
            ),
        }
    }

    /// The keystore for everything in the node that signs.
    pub fn keystore(&self) -> KeystorePtr {
        self.0.keystore.clone()
    }

    /// The keystore for `author_*` calls, `SpawnTasksParams::keystore`: the same, except that `author_hasKey` and
    /// `author_hasSessionKeys` report a GRANDPA key even while the voter may not use it.
    pub fn rpc_keystore(&self) -> KeystorePtr {
        self.0.rpc_keystore.clone()
    }

    /// The node's proposer factory; the headers it makes are remembered until they are sealed. For BABE and AURA.
    pub fn wrap_proposer<E>(&self, env: E) -> RemoteProposer<E> {
        RemoteProposer::new(env, self.0.parts.headers.clone())
    }

    /// The node's BEEFY payload provider; what it provides is remembered until it is signed.
    pub fn wrap_payload_provider<P>(&self, provider: P) -> RemotePayloadProvider<P> {
        RemotePayloadProvider::new(provider, self.0.parts.commitments.clone())
    }

    /// Follows BABE's epochs on a thread of its own, so that the slot of a VRF can be found.
    pub fn watch_epochs<B, C>(&self, client: Arc<C>)
    where
        B: Block,
        C: ProvideRuntimeApi<B> + HeaderBackend<B> + Send + Sync + 'static,
        C::Api: BabeApi<B>,
    {
        self.0.parts.epochs.watch(&client);
    }

    /// Opens and closes the GRANDPA gate by the node's voter, on a thread of its own. Without this, keys that have
    /// voted before stay unused.
    pub fn gate_grandpa(&self, voter: impl VoterView) {
        // Weak: the gate's thread must not keep alive what ends it.
        let asker = Arc::downgrade(&self.0.asker);
        self.0.parts.gate.watch(voter, move |key, vote| {
            asker.upgrade().map_or(Preflight::Unknown, |asker| asker.preflight(key, vote))
        });
    }

    /// Never completes. When it is dropped, as the node's task manager does on shutdown, every waiting signing call
    /// returns at once, and so does every later one: spawn it, or a vote that waits for a signer holds the node up.
    pub fn until_shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        let on_drop = StopOnDrop(self.0.asker.worker.stop().clone(), self.0.parts.gate.clone());
        async move {
            // Moved in, so that it is dropped with this future.
            let _on_drop = on_drop;
            std::future::pending::<()>().await;
        }
    }
}

struct StopOnDrop(Stop, Arc<Gate>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
        self.1.stop();
    }
}

/// The parts from which [`asker`] is made.
pub(crate) struct AskerParts {
    pub(crate) signers: Arc<dyn Signers>,
    pub(crate) chain: ChainId,
    pub(crate) node: Arc<dyn NodeSide>,
    pub(crate) metrics: Metrics,
    pub(crate) report: Arc<Report>,
    pub(crate) votes: UnsignedVotes,
    /// The file for the list of keys.
    pub(crate) file: Option<Arc<KeyFile>>,
}

/// The shared parts of a connection, with the tasks that keep them fresh.
pub(crate) fn asker(parts: AskerParts) -> Result<Asker, StartError> {
    let AskerParts { signers, chain, node, metrics, report, votes, file } = parts;
    let worker = Worker::start().map_err(StartError::Thread)?;
    let keys = Arc::new(Keys::new(chain, node.clone(), metrics.clone(), report.clone()));
    if let Some(file) = file {
        keys.remember(file.read());
        worker.spawn(link::keep_list(keys.clone(), file, report.clone()));
    }
    let link = Link::new(metrics.clone(), report.clone(), signers.preferred());
    worker.spawn(link::follow_keys(signers.clone(), keys.clone(), link.clone(), report.clone()));
    worker.spawn(link::probe(signers.clone(), link.clone()));
    worker.spawn(link::keep_connected(signers.clone(), report.clone(), metrics.clone()));
    Ok(Asker {
        chain,
        signers,
        worker,
        keys,
        node,
        link,
        report,
        metrics,
        refused: Refused::default(),
        vrfs: Arc::new(Vrfs::default()),
        votes,
    })
}

/// The client's settings; each file must be named.
fn client_config(params: &RemoteSignerParams) -> Result<ClientConfig, StartError> {
    let RemoteSignerParams {
        remote_signer,
        remote_signer_cert,
        remote_signer_key,
        remote_signer_ca,
        remote_signer_wait: _,
    } = params;
    if remote_signer.is_empty() {
        return Err(StartError::NoSigner);
    }
    let needed = |file: &Option<PathBuf>, argument, env, what| {
        file.clone().ok_or(StartError::MissingArgument { argument, env, what })
    };
    let cert = needed(
        remote_signer_cert,
        "--remote-signer-cert",
        "SIGNONCE_REMOTE_SIGNER_CERT",
        "the certificate by which the signers know this validator",
    )?;
    let key = needed(
        remote_signer_key,
        "--remote-signer-key",
        "SIGNONCE_REMOTE_SIGNER_KEY",
        "the private key of that certificate",
    )?;
    let ca = needed(
        remote_signer_ca,
        "--remote-signer-ca",
        "SIGNONCE_REMOTE_SIGNER_CA",
        "the authority of the signers' certificates",
    )?;
    Ok(ClientConfig {
        urls: remote_signer.clone(),
        tls: TlsSource::Files { ca, cert, key },
        timeouts: Timeouts { attempt: ATTEMPT_AT_MOST, ..Timeouts::default() },
    })
}

#[cfg(test)]
mod tests;
