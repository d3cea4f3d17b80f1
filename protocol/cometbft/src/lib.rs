//! CometBFT chains: Cosmos chains and all others whose validators are CometBFT (Tendermint) nodes 0.34 to 0.40.
//!
//! Other crates need only [`FAMILY`]. A program that speaks to nodes also uses [`vote_payload`] and
//! [`proposal_payload`], which wrap the request of a node as received, and [`Timestamp`], which a repeat returns.
//!
//! | file | contents |
//! |---|---|
//! | `family.rs` | the numbers and tables: schemes, the key type, classes, kinds of payload |
//! | `request.rs` | the requests of nodes, read strictly |
//! | `canonical.rs` | the bytes that are signed, made from the fields that were read, never copied from the request |
//! | `payload.rs` | requests as payloads: duty, statement, carry, and the vote extension beside a precommit |
//! | `duty.rs` | duties as typed values, and how they are printed |
//! | `mark.rs` | FilePV's rule: one high-water mark over height, round and step |
//! | `lock.rs` | the lock of a height: how two live nodes share a key without breaking Tendermint's rule |
//! | `refusal.rs` | the refusal that only these classes have |
//! | `settings.rs` | a chain's settings: its chain-id, and how far heights may jump |
//! | `public_key.rs` | public keys and addresses as nodes show them |
//! | `state_file.rs` | what a key signed last, from the state file of a node or of tmkms |
//!
//! **Versions.** The requests of 0.34 and 0.37 are those of 0.38 to 0.40 without extensions, so one decoder reads all
//! and no setting names a version. A non-nil precommit always has its extension signed, even an empty one: 0.38 and
//! later ask for that whether extensions are on or off, and earlier nodes ignore the field.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod canonical;
mod duty;
mod family;
mod ids;
mod lock;
mod mark;
mod payload;
mod public_key;
mod refusal;
mod request;
mod settings;
mod state_file;

pub use duty::{Duty, Step};
pub use family::{
    CONSENSUS, ED25519, FAMILY, ID, PROPOSAL, PROPOSAL_KIND, SECP256K1, VOTE, VOTE_KIND, install,
};
pub use ids::{BlockId, Connection, Height, Round, Timestamp};
pub use lock::MAX_ENTITLED;
pub use payload::{proposal_payload, vote_payload};
pub use public_key::address;
pub use refusal::OwnRefusal;
pub use request::{MAX_EXTENSION_BYTES, Malformed, Proposal, Vote};
pub use settings::{ChainSettings, Limits, MAX_CHAIN_ID_BYTES, genesis_of};
pub use state_file::{LastSigned, MAX_STATE_BYTES, Software, StateProblem};
