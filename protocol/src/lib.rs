//! What can be asked of a signer: identifiers, keys, chains, typed payloads with strict decoders, duties,
//! and the JSON-RPC surface.
//!
//! Everything above builds on this crate and nothing here does I/O (the RPC trait and client are behind the
//! features `server` and `client`). A caller turns untrusted bytes into a [`Payload`] with [`Payload::decode`];
//! only a `Payload` yields a [`Duty`] and the bytes to sign, so coordinates always come from what is signed.
#![deny(missing_docs)]

mod bytes;
mod chain;
#[cfg(feature = "client")]
pub mod client;
mod duty;
mod hash;
mod ids;
mod key;
pub mod payload;
pub mod rpc;
mod vrf;

pub use bytes::{HexArray, HexBytes};
pub use chain::{AuraMode, ChainFormat, NumberWidth};
pub use duty::{Duty, DutyClass, GrandpaStage, Side, StatementKind};
pub use hash::{CandidateHash, Digest, GenesisHash, Hash, HexError, blake2_256, keccak_256};
pub use ids::{BlockNumber, EpochIndex, LogIndex, NodeId, Round, SessionIndex, SetId, Slot, Term};
pub use key::{KeyId, KeyType, PublicKey, PublicKeyError, Scheme, ToSign, UnknownKeyType};
pub use payload::{Content, Payload, PayloadError, PayloadKind, RawPayload, possible_kinds};
pub use vrf::{
    VRF_EPOCH_LABEL, VRF_PRE_OUTPUT_LEN, VRF_PROOF_LEN, VRF_RANDOMNESS_LABEL, VRF_SLOT_LABEL,
    VRF_TRANSCRIPT_LABEL, VrfMessage, VrfRequest,
};
