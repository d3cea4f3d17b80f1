//! Dangerous changes that wait for a second officer.

use crate::log::Change;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::LogIndex;

/// A dangerous change that waits for, or got, the word of a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The log entry that proposed it.
    pub id: LogIndex,
    /// Who did.
    pub by: String,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
    /// What is to be done.
    pub change: Change,
    /// What became of it.
    pub decision: Option<ProposalDecision>,
}

/// The word of a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalDecision {
    /// Whose.
    pub by: String,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
    /// In which log entry; an approved change was made by it.
    pub at: LogIndex,
    /// Yes or no.
    pub approved: bool,
}

/// How long a proposal waits: a day, by the recorded times of the two entries.
pub const PROPOSAL_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;

impl Proposal {
    /// Whether it can still be approved by an entry of that time.
    pub fn is_open(&self, time_ms: u64) -> bool {
        self.decision.is_none() && !self.has_expired(time_ms)
    }

    /// Whether it has waited too long at that time.
    pub fn has_expired(&self, time_ms: u64) -> bool {
        time_ms.saturating_sub(self.time_ms) > PROPOSAL_LIFE_MS
    }
}
