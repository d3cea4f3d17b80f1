//! A CometBFT node of ours for tests: the side that listens for a remote signer and asks it for votes.
//!
//! It reacts to every kind of answer as nodes 0.34 to 0.40 were seen to react, at the same pace or a faster one. It
//! shares no code with the signers: sign bytes and signatures are judged by the `tendermint` crate, and the
//! SecretConnection is made here of its primitives, so that every byte of it can be fixed or broken by a test.
//!
//! - [`Node`]: one listener, what it asks, and how it can be made to misbehave ([`Fault`]);
//! - [`vectors`]: what running nodes have asked and Go's FilePV has answered, to be asked again by a [`Node`];
//! - [`rounds`]: several nodes that play rounds of consensus, one validator of them with remote signers;
//! - [`FilePv`]: Go's own rule in memory, to compare with.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use signonce_comet_node::{Address, BlockId, Config, Node, Time, VoteAsk};
//! let node = Node::listen(Config::new("chain-1", Address::any_port())).await?;
//! println!("a signer may dial {}", node.address());
//! node.start().await?; // The first question: without an answer, a real node exits.
//! let signed = node.vote(VoteAsk::prevote(5, 0, Some(BlockId::named("V")), Time::at(1_700_000_000))).await?;
//! assert_eq!(signed.signature.len(), 64);
//! node.kill().await;
//! # Ok(()) }
//! ```

mod ask;
mod compare;
mod config;
mod endpoint;
mod fault;
mod filepv;
pub mod judge;
mod listen;
mod node;
mod record;
pub mod rounds;
pub mod secret;
pub mod vectors;
mod wire;

pub use ask::{BlockId, ProposalAsk, Time, VoteAsk, VoteStep};
pub use config::{Address, Config, Handshake, Identity, Timing};
pub use fault::Fault;
pub use filepv::{Answer, FilePv, FilePvKey, Refused};
pub use node::{AskError, Exit, Lost, Node, SignedProposal, SignedVote, StartError};
pub use record::{Exchange, Outcome};
