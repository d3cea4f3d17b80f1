//! GRANDPA under supervision: a voter that ends, because a signature was refused, is started again inside the node.
//!
//! The SDK's voter cannot go on without a signature it asked for; as an essential task it would take the node with
//! it. So the [`Supervisor`] is the essential task, and the voter a future in it. To start one anew, the state it
//! left on disk is loaded by making GRANDPA's block import once more; everything else of the node reaches the
//! import through [`SwapImport`], in which it is exchanged. Peers stay connected meanwhile: [`Notifications`] lends
//! the network's notification service to one voter after the other.

mod import;
mod looker;
mod notifications;

pub use import::SwapImport;
pub use looker::Busy;
pub use notifications::Notifications;

use looker::Looker;

use crate::service::{FullClient, Network, SelectChain, Syncing};
use futures::FutureExt;
use polkadot_sdk::*;
use sc_client_api::AuxStore;
use sc_consensus_grandpa::{AuthorityId, SharedAuthoritySet, SharedVoterState, report};
use sc_transaction_pool_api::OffchainTransactionPoolFactory;
use signonce_validator_runtime::{BlockNumber, Hash, opaque::Block};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use substrate_prometheus_endpoint::Registry;
use tokio::{sync::Notify, time::Instant};

const LOG: &str = "voter";
/// How long to wait before a voter that ended is started again, at first and at most.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A voter that ran for so long was well: the pause starts over.
const WELL: Duration = Duration::from_secs(60);
/// Where the SDK's voter keeps its rounds.
const VOTER_STATE_KEY: &[u8] = b"grandpa_completed_round";

/// Blocks between two GRANDPA justifications that are kept.
pub const JUSTIFICATION_PERIOD: u32 = 512;

/// GRANDPA's block import. There is one for each voter.
pub type GrandpaImport =
    sc_consensus_grandpa::GrandpaBlockImport<crate::service::Backend, Block, FullClient, SelectChain>;
/// What a voter gets from its block import.
pub type Link = sc_consensus_grandpa::LinkHalf<Block, FullClient, SelectChain>;

/// A block import, and what the voter gets from it, with the state that is on disk.
pub fn grandpa(
    client: &Arc<FullClient>,
    select_chain: &SelectChain,
) -> Result<(GrandpaImport, Link), sp_blockchain::Error> {
    sc_consensus_grandpa::block_import(
        client.clone(),
        JUSTIFICATION_PERIOD,
        &(client.clone() as Arc<_>),
        select_chain.clone(),
        None,
    )
}

/// Where the voter is in GRANDPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub set_id: u64,
    pub round: u64,
}

/// A voter's rounds.
pub struct Rounds {
    pub set_id: u64,
    pub voters: Vec<AuthorityId>,
    pub state: report::VoterState<AuthorityId>,
}

/// The voter as the rest of the node sees it.
#[derive(Clone)]
pub struct VoterHandle {
    client: Arc<FullClient>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    looker: Looker,
    running: Mutex<Option<Running>>,
    restart: Notify,
    restarts: AtomicU64,
}

/// What can be asked of a running voter. It also keeps the voter's parts alive, so it goes when the voter does.
#[derive(Clone)]
struct Running {
    state: SharedVoterState,
    authorities: SharedAuthoritySet<Hash, BlockNumber>,
}

impl VoterHandle {
    pub fn new(client: Arc<FullClient>) -> Self {
        Self { client, shared: Arc::default() }
    }

    /// None while no voter runs. For whoever must not wait for the voter: it holds its lock while it signs, and that
    /// takes as long as the signers are away.
    pub fn try_rounds(&self) -> Result<Option<Rounds>, Busy> {
        let this = self.clone();
        self.shared.looker.look(move || this.rounds())
    }

    /// As [`Self::try_rounds`].
    pub fn try_position(&self) -> Result<Option<Position>, Busy> {
        let this = self.clone();
        self.shared.looker.look(move || this.position())
    }

    /// None while no voter runs. Blocks while the voter signs.
    fn rounds(&self) -> Option<Rounds> {
        let Running { state, authorities } = self.running()?;
        let voters = authorities.current_authorities().iter().map(|(id, _)| id.clone()).collect();
        Some(Rounds { set_id: authorities.set_id(), voters, state: state.voter_state()? })
    }

    /// None while no voter runs. Blocks while the voter signs: not to be called from the keystore, nor over RPC.
    pub fn position(&self) -> Option<Position> {
        let Running { state, authorities } = self.running()?;
        let round = state.voter_state()?.best_round.0;
        Some(Position { set_id: authorities.set_id(), round })
    }

    /// The voter's state as the SDK keeps it, encoded.
    pub fn recorded(&self) -> Option<Vec<u8>> {
        self.client.get_aux(VOTER_STATE_KEY).unwrap_or_else(|error| {
            log::warn!(target: LOG, "Cannot read the voter's recorded state: {error}");
            None
        })
    }

    /// Asks for a voter that starts over from what is recorded.
    pub fn restart(&self) {
        self.shared.restart.notify_one();
    }

    /// How often a voter was started again.
    pub fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }

    fn running(&self) -> Option<Running> {
        self.shared.running.lock().expect("no panic while it is held").clone()
    }

    fn set_running(&self, running: Option<Running>) {
        *self.shared.running.lock().expect("no panic while it is held") = running;
    }
}

/// Runs one voter after the other.
pub struct Supervisor {
    pub client: Arc<FullClient>,
    pub select_chain: SelectChain,
    pub config: sc_consensus_grandpa::Config,
    pub network: Network,
    pub sync: Syncing,
    pub registry: Option<Registry>,
    pub reports: OffchainTransactionPoolFactory<Block>,
    pub import: SwapImport,
    pub handle: VoterHandle,
}

/// Why a voter is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself; the SDK logged why.
    Failed,
    /// Somebody asked for it.
    Asked,
}

impl Supervisor {
    /// Never ends. `link` is that of the import in [`Self::import`].
    pub async fn run(self, mut link: Link, notifications: Notifications) {
        let mut pause = PAUSE;
        loop {
            let started = Instant::now();
            let end = self.vote(link, &notifications).await;
            if end == End::Asked || started.elapsed() >= WELL {
                pause = PAUSE;
            }
            if end == End::Failed {
                log::warn!(
                    target: LOG,
                    "The GRANDPA voter ended; the node goes on, and starts another in {} ms",
                    pause.as_millis()
                );
                notifications.wait(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            link = self.reload(&notifications).await;
            self.handle.shared.restarts.fetch_add(1, Ordering::Relaxed);
            log::info!(target: LOG, "Starting a GRANDPA voter from the recorded state");
        }
    }

    /// Runs a voter to its end.
    async fn vote(&self, link: Link, notifications: &Notifications) -> End {
        // One of its own for every voter: a voter's state keeps its part of the network, which the next one needs.
        let state = SharedVoterState::empty();
        let authorities = link.shared_authority_set().clone();
        let parameters = sc_consensus_grandpa::GrandpaParams {
            config: self.config.clone(),
            link,
            network: self.network.clone(),
            sync: self.sync.clone(),
            notification_service: Box::new(notifications.lend().await),
            telemetry: None,
            voting_rule: sc_consensus_grandpa::VotingRulesBuilder::default().build(),
            prometheus_registry: self.registry.clone(),
            shared_voter_state: state.clone(),
            offchain_tx_pool_factory: self.reports.clone(),
        };
        let voter = match sc_consensus_grandpa::run_grandpa_voter(parameters) {
            Ok(voter) => voter,
            Err(error) => {
                log::error!(target: LOG, "Cannot start a GRANDPA voter: {error}");
                return End::Failed;
            }
        };
        self.handle.set_running(Some(Running { state, authorities }));
        let end = futures::select_biased! {
            () = Box::pin(voter).fuse() => End::Failed,
            () = Box::pin(self.handle.shared.restart.notified()).fuse() => End::Asked,
        };
        self.handle.set_running(None);
        end
    }

    /// Puts an import with the recorded state in the place of the one there is.
    async fn reload(&self, notifications: &Notifications) -> Link {
        loop {
            let loaded = self.import.replace(|| grandpa(&self.client, &self.select_chain)).await;
            match loaded {
                Ok(link) => return link,
                Err(error) => {
                    log::error!(target: LOG, "Cannot load GRANDPA's recorded state, trying again: {error}");
                    notifications.wait(LONGEST_PAUSE).await;
                }
            }
        }
    }
}
