//! Chains that keys sign for.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{ChainFormat, GenesisHash};

/// How far past the highest signed coordinate (or the floor, if that is higher) a claim may be. Further is
/// refused until an operator raises the watermark: it stops a broken node from voting in a bogus future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// GRANDPA rounds within one set.
    pub grandpa_rounds: u64,
    /// GRANDPA sets.
    pub grandpa_sets: u64,
    /// BEEFY blocks.
    pub beefy_blocks: u64,
    /// BEEFY sets.
    pub beefy_sets: u64,
    /// Parachain sessions.
    pub para_sessions: u32,
    /// The BEEFY shield: blocks a BEEFY vote may be above the highest GRANDPA precommit of the same group in its
    /// present set. `None` turns the shield off. BEEFY votes for finalized blocks only, so an honest vote is above
    /// the own precommit just when the node missed some rounds; 16 blocks let it miss a minute and a half.
    pub beefy_shield: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grandpa_rounds: 100_000,
            grandpa_sets: 1_000,
            beefy_blocks: 1_000_000,
            beefy_sets: 1_000,
            para_sessions: 1_000,
            beefy_shield: Some(16),
        }
    }
}

/// A chain that keys sign for. All but the limits is fixed when the chain is added; that its slots have another length
/// later stands in a record of its own ([`Retiming`](super::Retiming)).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// The hash of block 0: the chain's name among all chains.
    pub genesis: GenesisHash,
    /// The operator's name for it, unique in the cluster.
    pub name: String,
    /// How its payloads are read.
    pub format: ChainFormat,
    /// Milliseconds of a BABE or AURA slot, as the chain was added.
    pub slot_duration_ms: u64,
    /// The jump limits and the BEEFY shield.
    pub limits: Limits,
}
