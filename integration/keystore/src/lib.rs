//! The keystore of a Substrate node whose session keys live in a Signonce cluster.
//!
//! A node that uses it holds no session key. Every signature comes from the cluster, which gives one signature per
//! duty: two nodes with the same keys, a restored database or a restarted machine cannot make it sign twice. The node
//! keeps living when signers die or refuse: a block or a vote is lost, never the process.
//!
//! # Wiring
//!
//! For any node of the SDK's 2609 release train, which needs no change. `voter` tells where the node's GRANDPA voter
//! is; see [`VoterView`] for where a node finds that.
//!
//! ```
//! # use {futures::future::BoxFuture, sp_runtime::traits::Block, std::{path::Path, sync::Arc}};
//! # use {sp_api::ProvideRuntimeApi, sp_blockchain::HeaderBackend, sp_consensus::Environment};
//! # use {sp_consensus_babe::BabeApi, sp_consensus_beefy::PayloadProvider, sp_keystore::KeystorePtr};
//! # use signonce_keystore::{RemotePayloadProvider, RemoteProposer, RemoteSigner, RemoteSignerParams};
//! # use {signonce_keystore::{Setup, StartError, VoterView}, substrate_prometheus_endpoint::Registry};
//! # use signonce_keystore::UnsignedVotes;
//! # struct Node<C, E, P, V> { client: Arc<C>, genesis: [u8; 32], proposer: E, mmr_roots: P, voter: V }
//! fn wire<B, C, E, P, V>(
//!     params: &RemoteSignerParams, // flattened into the node's own command line
//!     node: Node<C, E, P, V>,
//!     keystore_dir: Option<&Path>,
//!     data_dir: Option<&Path>, // of this chain; the last list of keys is kept there
//!     registry: Option<&Registry>,
//!     spawn: impl Fn(BoxFuture<'static, ()>), // the task manager's
//! ) -> Result<(KeystorePtr, RemoteProposer<E>, RemotePayloadProvider<P>), StartError>
//! where
//!     B: Block,
//!     C: ProvideRuntimeApi<B> + HeaderBackend<B> + Send + Sync + 'static,
//!     C::Api: BabeApi<B>,
//!     E: Environment<B>,
//!     P: PayloadProvider<B>,
//!     V: VoterView,
//! {
//!     let votes = UnsignedVotes::EndTheVoter; // the SDK's own
//!     let setup = Setup { genesis: node.genesis, keystore_dir, data_dir, registry, votes };
//!     let signer = RemoteSigner::start(params, setup)?;
//!     signer.watch_epochs::<B, C>(node.client.clone()); // for BABE's VRF
//!     signer.gate_grandpa(node.voter); // before the voter starts
//!     spawn(Box::pin(signer.until_shutdown())); // dropped on shutdown, which frees signing calls that wait
//!     let keystore = signer.keystore(); // for all that signs; `signer.rpc_keystore()` for `SpawnTasksParams`
//!     let proposer = signer.wrap_proposer(node.proposer); // for `BabeParams::env`
//!     let mmr_roots = signer.wrap_payload_provider(node.mmr_roots); // for `BeefyParams::payload_provider`
//!     Ok((keystore, proposer, mmr_roots))
//! }
//! ```
//!
//! # Limits
//!
//! - The keys are those of types babe, aura, gran, beef, para, audi and imon. Assignment keys (`asgn`) never pass
//!   through this trait and stay in the node.
//! - Start the node without `--alice`, `--dev` and the like, or clear `Configuration::dev_key_seed`: keys are not made
//!   from seeds here, and the SDK fails to start when it cannot make them.
//! - The SDK's voter signs while it holds a lock that `SharedVoterState::voter_state` waits for, and with it
//!   `grandpa_roundState` of sc-consensus-grandpa-rpc: while no signer serves, each such call holds a thread of the
//!   runtime, until none is left. Answer that call without waiting, as the test node does (`integration/validator` in
//!   the repository), or take the voter of `integration/polkadot`, which signs outside of the lock.
//! - A GRANDPA vote that is refused ends the voter, as any failed vote does; the gate makes that rare. A node whose
//!   voter is an essential task exits then, and is safe to start again. To go on in place, start a new voter and
//!   implement [`VoterView::restart_voter`].
//! - A rotation on a runtime whose `SessionKeys` API is older than version 2, which asks for no proofs of possession,
//!   cannot be made to fail when the cluster makes no keys; the log says so, and the keys are nobody's.

mod ask;
mod asker;
mod cache;
mod commitments;
mod epochs;
mod gate;
mod guard;
mod headers;
mod keystore;
mod link;
mod metrics;
mod params;
mod payload_provider;
mod proposer;
mod refused;
mod remembered;
mod report;
mod rotate;
mod start;
#[cfg(test)]
mod testing;
mod verify;
mod worker;

pub use ask::UnsignedVotes;
pub use gate::{VoterPosition, VoterView};
pub use guard::KeyFiles;
pub use keystore::RemoteKeystore;
pub use params::RemoteSignerParams;
pub use payload_provider::RemotePayloadProvider;
pub use proposer::{RememberedProposal, Remembering, RemoteProposer};
pub use start::{RemoteSigner, Setup, StartError};

/// The target of this crate's lines in the node's log.
pub(crate) const LOG: &str = "remote-signer";
