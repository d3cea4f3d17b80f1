//! Why a key, its envelope or its floor is left as it is.

use crate::model::{KeyState, Position};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{ChainId, DutyClass, KeyId, NodeId, Scheme};

/// Why a key, its envelope or its floor is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum KeyError {
    /// The key is registered already.
    #[error("key {key} exists and is {state}")]
    #[codec(index = 6)]
    KeyExists {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
    },
    /// The key was removed, which is forever.
    #[error("key {key} was removed and can never come back: generate a new one")]
    #[codec(index = 7)]
    KeyRemoved {
        /// The key.
        key: KeyId,
    },
    /// The public key signs, or signed, for another chain.
    #[error("the public key of {key} belongs to chain {chain} for ever: a key must never serve two chains")]
    #[codec(index = 8)]
    KeyOnOtherChain {
        /// The key.
        key: KeyId,
        /// The chain it belongs to.
        chain: ChainId,
    },
    /// The chain is of another family than the key's type.
    #[error("key {key} is not for chain {chain}: that is a {family} chain")]
    #[codec(index = 16)]
    OtherFamily {
        /// The key.
        key: KeyId,
        /// The chain.
        chain: ChainId,
        /// The chain's family.
        family: String,
    },
    /// The scheme does not go with the key's type or the length of the public key.
    #[error("key {key} cannot be {scheme}")]
    #[codec(index = 9)]
    WrongScheme {
        /// The key.
        key: KeyId,
        /// The scheme given.
        scheme: Scheme,
    },
    /// The sealed secret is empty or too big.
    #[error("the envelope of key {key} must have 1 to {limit} bytes, not {len}")]
    #[codec(index = 10)]
    BadEnvelope {
        /// The key.
        key: KeyId,
        /// Its length.
        len: u32,
        /// The longest allowed.
        limit: u32,
    },
    /// No such key.
    #[error("no key {key} is registered")]
    #[codec(index = 11)]
    UnknownKey {
        /// The key asked for.
        key: KeyId,
    },
    /// The key is in a state that does not allow the change.
    #[error("key {key} is {state}: {step}")]
    #[codec(index = 12)]
    WrongState {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
        /// What was to be done with it.
        step: KeyStep,
    },
    /// A key with claimed work needs an explicit floor.
    #[error("key {key} needs a floor for {class}: the lowest coordinate it may sign")]
    #[codec(index = 13)]
    MissingFloor {
        /// The key.
        key: KeyId,
        /// Its claimed class.
        class: DutyClass,
    },
    /// A floor for work this key never does: probably a mix-up.
    #[error("key {key} does no work that a floor of {floor} is about")]
    #[codec(index = 14)]
    ForeignFloor {
        /// The key.
        key: KeyId,
        /// The floor that does not belong.
        floor: Position,
    },
    /// Floors only rise.
    #[error("key {key} has its floor at {floor} already, which is higher than {asked}: floors never go down")]
    #[codec(index = 15)]
    AlreadyHigher {
        /// The key.
        key: KeyId,
        /// The floor as it is.
        floor: Position,
        /// The floor asked for.
        asked: Position,
    },
    /// A list has a key twice.
    #[error("key {key} is in the list twice: nothing was changed")]
    #[codec(index = 52)]
    KeyTwice {
        /// The key.
        key: KeyId,
    },
    /// Members came or went while keys were sealed again.
    #[error("the keys were sealed for {}, the members are {} by now: seal them again", nodes(.sealed_for), nodes(.members))]
    #[codec(index = 39)]
    SealedForOthers {
        /// Whom the envelopes are for.
        sealed_for: Vec<NodeId>,
        /// The members.
        members: Vec<NodeId>,
    },
}

/// What is done with a key in some of its states only, and what speaks against it in the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "camelCase")]
pub enum KeyStep {
    /// To arm it.
    #[codec(index = 0)]
    #[strum(to_string = "it cannot be armed again")]
    Arm,
    /// To disable it.
    #[codec(index = 1)]
    #[strum(to_string = "it signs nothing as it is")]
    Disable,
    /// To raise its floor.
    #[codec(index = 2)]
    #[strum(to_string = "it has no floor to raise before it is armed")]
    Raise,
    /// To leave it as a restore finds it.
    #[codec(index = 3)]
    #[strum(to_string = "a restore leaves what is not armed yet")]
    Leave,
}

fn nodes(ids: &[NodeId]) -> String {
    ids.iter().map(|id| format!("node {id}")).collect::<Vec<_>>().join(", ")
}
