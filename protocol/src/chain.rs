//! What the decoders must know of a chain.

use parity_scale_codec::{Decode, Encode, MaxEncodedLen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How wide a chain's block numbers are: `Header::Number` and the target of a GRANDPA vote.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum NumberWidth {
    /// Polkadot, Kusama and nearly every chain.
    #[codec(index = 0)]
    #[default]
    U32,
    /// Some solochains.
    #[codec(index = 1)]
    U64,
}

/// What makes an AURA block unique.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AuraMode {
    /// One block per slot: solochains.
    #[codec(index = 0)]
    #[default]
    Slot,
    /// One block per (slot, number, parent): parachain collators, which honestly seal several blocks in a slot.
    #[codec(index = 1)]
    Collator,
}

/// The settings of a chain that decide how its payloads are read.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainFormat {
    /// Width of block numbers.
    #[serde(default)]
    pub number_width: NumberWidth,
    /// What makes an AURA block unique.
    #[serde(default)]
    pub aura_mode: AuraMode,
}
