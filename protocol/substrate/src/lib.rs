//! Substrate chains: Polkadot, Kusama, their parachains and solochains with BABE, AURA, GRANDPA or BEEFY.
//!
//! [`FAMILY`] is all that other crates need: a process lists it in `signonce_protocol::install` (or calls
//! [`install`], if it is the only one). Validators' keystores and tests also use the typed [`Duty`], [`Payload`] and
//! [`Content`] of this crate, which convert to the general ones with `into`.
//!
//! | file | content |
//! |---|---|
//! | `family.rs` | the numbers and tables: schemes, key types, classes with their windows and limits |
//! | `payload/` | the kinds of payload: strict decoders, and everything else about each |
//! | `duty.rs` | what a key may sign once, typed |
//! | `para.rs`, `sides.rs` | the rule of parachain sides, and how sides are stored |
//! | `shield.rs` | the BEEFY shield, and which chains have collations |
//! | `refusal.rs` | the refusals that only these classes have |
//! | `settings.rs` | what is kept about a chain |
//! | `vrf.rs`, `rpc.rs` | the VRF of a slot, and the method by which clients ask for it |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod duty;
mod family;
mod ids;
mod para;
pub mod payload;
mod refusal;
#[cfg(feature = "server")]
pub mod rpc;
mod settings;
mod shield;
mod sides;
mod vrf;

pub use duty::{Duty, GrandpaStage, Side, StatementKind};
pub use family::{
    ALL_KEY_TYPES, AURA, AURA_BLOCK, AUTHORITY_DISCOVERY, AUTHORITY_RECORD, BABE, BABE_BLOCK, BABE_VRF,
    BEEFY, BEEFY_VOTE, BITFIELD, ECDSA, ED25519, FAMILY, GRANDPA, GRANDPA_VOTE, HEARTBEAT, ID, IM_ONLINE,
    OWNERSHIP_PROOF, PARA, PARA_SIDE, PVF_CHECK, SR25519, install,
};
pub use ids::{BlockNumber, CandidateHash, EpochIndex, Round, SessionIndex, SetId, keccak_256};
pub use para::MAX_PER_SESSION;
pub use payload::{Content, Kind, Payload, PayloadError, possible_kinds};
pub use refusal::OwnRefusal;
pub use settings::{AuraMode, ChainFormat, ChainSettings, Limits, NumberWidth};
pub use vrf::{
    VRF_EPOCH_LABEL, VRF_PRE_OUTPUT_LEN, VRF_PROOF_LEN, VRF_RANDOMNESS_LABEL, VRF_SLOT_LABEL,
    VRF_TRANSCRIPT_LABEL, VrfMessage, VrfParams, VrfReply, VrfRequest,
};
