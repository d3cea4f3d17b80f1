//! Queries for a node's audit records, page by page, and their answers.

use serde::{Deserialize, Serialize};
use signonce_core::{AuditRecord, audit::chain_after};
use signonce_protocol::{Duty, Hash, NodeId, PublicKey};
use std::collections::BTreeMap;

/// The most records in one page.
pub const PAGE: u32 = 1_000;

/// Parameters of `admin_audit`. All are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuditQuery {
    /// The first record to return; the oldest if not given.
    pub from: Option<u64>,
    /// Only records at or after this time, in Unix milliseconds.
    pub since_ms: Option<u64>,
    /// The most lines to return; 1000 if not given, which is also the upper limit.
    pub limit: Option<u32>,
    /// Only records about this key.
    pub key: Option<PublicKey>,
    /// Only records about the client with this name or number.
    pub client: Option<String>,
    /// Only records about this duty.
    pub duty: Option<DutyQuery>,
    /// For the other records, return their hashes, so that an excerpt can be checked.
    pub hashes: bool,
}

/// The numbers of a duty by name (`slot`; `set`, `round`; `height`, …). All those given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DutyQuery(pub BTreeMap<String, u64>);

impl DutyQuery {
    /// Whether no number is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the duty has all the numbers that are given.
    pub fn matches(&self, duty: &Duty) -> bool {
        let numbers = duty.numbers();
        self.0.iter().all(|(word, asked)| numbers.iter().any(|(has, number)| has == word && number == asked))
    }
}

/// Answer of `admin_audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The cluster's id.
    pub cluster: String,
    /// The node whose records these are.
    pub node: NodeId,
    /// The cluster's feature level.
    pub feature_level: u32,
    /// The oldest record on the node.
    pub first: Option<u64>,
    /// One past the newest record on the node, and the chain hash before it.
    pub head: (u64, Hash),
    /// The records found.
    pub lines: Vec<AuditLine>,
    /// The record to continue from; equal to the head after the last page.
    pub next: u64,
}

/// One record, or its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditLine {
    /// Its number.
    pub seq: u64,
    /// The chain hash before it.
    pub before: Hash,
    /// The hash of a record that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// The record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<AuditRecord>>,
    /// The record in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

impl AuditLine {
    /// The chain hash after it.
    pub fn after(&self) -> Option<Hash> {
        let hash = self.hash.or_else(|| self.record.as_ref().map(|record| record.hash()))?;
        Some(chain_after(&self.before, &hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_substrate::{BlockNumber, Duty, GrandpaStage, Round, SetId};

    #[test]
    fn coordinates_that_are_given_must_all_agree() {
        crate::families::install();
        let vote = Duty::GrandpaVote {
            set_id: SetId(2),
            round: Round(5),
            stage: GrandpaStage::Prevote,
            target: BlockNumber(40),
        };
        let matches = |asked: &[(&str, u64)]| {
            let asked = asked.iter().map(|(word, number)| ((*word).to_owned(), *number));
            DutyQuery(asked.collect()).matches(&vote.to_any())
        };
        assert!(matches(&[("round", 5)]));
        assert!(matches(&[("round", 5), ("set", 2)]));
        assert!(matches(&[("block", 40)]));
        assert!(!matches(&[("round", 5), ("set", 3)]));
        assert!(!matches(&[("slot", 5)]));
    }
}
