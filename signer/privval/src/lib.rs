//! The front for CometBFT nodes. A node listens on its `priv_validator_laddr`; the front dials it and answers its
//! requests with signatures of a cluster.
//!
//! [`serve`] keeps one node connected until it is stopped. Who signs is behind [`Signers`]: the sidecar
//! (`signonce privval`) asks a cluster through [`Remote`]; a signer that dials nodes itself asks itself.
//!
//! | file | contents |
//! |---|---|
//! | `address.rs` | the address of a node, as operators write it |
//! | `identity.rs` | the key by which nodes see that the same front has come back |
//! | `link/` | connections: unix sockets, SecretConnection over TCP, Noise |
//! | `message.rs` | privval messages: what nodes ask, and the answers |
//! | `outcome.rs` | which refusals a node is told, and after which ones the front leaves and comes back |
//! | `keys.rs` | which key answers for a chain, and the public keys that were known last |
//! | `signers.rs`, `remote.rs` | who signs: the trait, and a cluster behind JSON-RPC |
//! | `front.rs` | the loop: dial, answer, leave, come back |
//! | `metrics.rs` | what is counted |
//!
//! **Answers.** A node never asks again for a vote that was answered with an error, and a validator whose vote is lost
//! may stand still. So a node is told only what is final. For everything else the request is held and asked again for
//! up to [`HOLD`]; then the front closes the connection and stays away until the cluster can answer: the node waits and
//! asks for the very same bytes. Closing and dialling in a loop would use up the node's tries.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod address;
mod front;
mod identity;
mod keys;
mod link;
mod message;
mod metrics;
mod outcome;
mod remote;
mod signers;

pub use address::{AddressError, NodeAddress};
pub use front::{HOLD, Node, serve};
pub use identity::{Identity, IdentityError};
pub use keys::{KeyFilter, KnownFile};
pub use message::is_request;
pub use metrics::Metrics;
pub use remote::Remote;
pub use signers::{Signers, Unsigned};
