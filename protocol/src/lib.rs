//! What can be asked of a signer, whatever the chain: identifiers, keys, positions, duties and claims, what a chain
//! family is, and the JSON-RPC surface with its client.
//!
//! Everything above builds on this crate and nothing here does I/O (the RPC trait and client are behind the features
//! `server` and `client`). It names no chain: families describe themselves in a [`Family`], and a process [`install`]s
//! those it knows before anything else. A caller turns untrusted bytes into a [`Payload`] with [`RawPayload::decode`];
//! only a `Payload` yields a [`Duty`] and the bytes to sign, so positions always come from what is signed.
#![deny(missing_docs)]

mod bytes;
mod chain;
mod claim;
#[cfg(feature = "client")]
pub mod client;
mod duty;
pub mod family;
mod hash;
mod ids;
mod key;
pub mod mark;
mod payload;
mod position;
mod refusal;
pub mod rpc;
mod slots;

// Tests in this crate and in others share this family.
#[cfg(test)]
extern crate self as signonce_protocol;
#[cfg(test)]
#[path = "../tests/made_up/mod.rs"]
mod made_up;

pub use bytes::{HexArray, HexBytes};
pub use chain::{Chain, MAX_SETTINGS_BYTES, Settings, SettingsError};
pub use claim::{Carry, Claim, ClientId, Entry, MAX_CARRY_BYTES, Verdict};
pub use duty::{Duty, MAX_DUTY_BYTES};
pub use family::{
    Algorithm, ClaimSpec, ClassSpec, DutyClass, DutyWords, Family, FamilyId, Jump, KeyType, KeyTypeSpec,
    KindSpec, Part, PayloadKind, RefusalDetails, Refusals, Rule, Scheme, SchemeSpec, SettingsSpec,
    ShieldContext, SlotRule, WindowRule, install,
};
pub use hash::{ChainId, Digest, Hash, HexError, blake2_256};
pub use ids::{LogIndex, NodeId, Slot, Term};
pub use key::{KeyId, KeyState, PublicKey, PublicKeyError, ToSign};
pub use payload::{CarryError, Message, Payload, PayloadError, RawPayload, Restate, Statement};
pub use position::{MAX_PARTS, Position};
pub use refusal::{Refusal, RuleRefusal};
pub use rpc::ErrorCode;
pub use slots::{MAX_SLOT_JUMP_MS, Retiming, SlotClock, SlotTooFar};
