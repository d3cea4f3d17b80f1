//! What operators ask of a node's audit records, page by page, and the answer.

use super::words;
use serde::{Deserialize, Serialize};
use signonce_cluster::{AuditError, AuditStore};
use signonce_core::{AuditEvent, AuditRecord, AuditRow, ClientId, NotedAnswer, State, audit::chain_after};
use signonce_protocol::{Duty, Hash, NodeId, PublicKey};
use std::collections::{BTreeMap, BTreeSet};

/// Records in one page at most.
pub const PAGE: u32 = 1_000;
/// Records that one call looks at, at most.
const LOOKED_AT: usize = 50_000;
/// Records read at a time.
const CHUNK: usize = 1_000;

/// Parameters of `admin_audit`. Everything can be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuditQuery {
    /// From this record on; else from the oldest.
    pub from: Option<u64>,
    /// Nothing older than this, in Unix milliseconds.
    pub since_ms: Option<u64>,
    /// At most so many lines; 1000 unless given, which is the most.
    pub limit: Option<u32>,
    /// Only what is about this key.
    pub key: Option<PublicKey>,
    /// Only what is about the client of this name, or with this number.
    pub client: Option<String>,
    /// Only this duty.
    pub duty: Option<DutyQuery>,
    /// Of the others, give the hashes: an excerpt can then be checked.
    pub hashes: bool,
}

/// The coordinates of a duty by what they count (`slot`; `set`, `round`; `height`, …); those that are given must all
/// agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DutyQuery(pub BTreeMap<String, u64>);

impl DutyQuery {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the duty has all coordinates that are given.
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
    /// One past the newest record on the node, and the chain hash there.
    pub head: (u64, Hash),
    /// What was found.
    pub lines: Vec<AuditLine>,
    /// Where to go on; the page was the last if this is the head.
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

/// What a query means on this node now.
pub struct Filter {
    key: Option<PublicKey>,
    clients: Option<BTreeSet<ClientId>>,
    client: Option<String>,
    duty: Option<DutyQuery>,
    hashes: bool,
    names: BTreeMap<ClientId, String>,
}

impl Filter {
    /// Names are looked up as they are now; clients that were removed count too.
    pub fn new(query: &AuditQuery, state: &State) -> Self {
        let names: BTreeMap<ClientId, String> =
            state.clients().map(|client| (client.id, client.name.clone())).collect();
        let clients = query.client.as_ref().map(|wanted| {
            let number = wanted.parse().ok().map(ClientId);
            let meant = names.iter().filter(|(id, name)| *name == wanted || Some(**id) == number);
            meant.map(|(id, _)| *id).collect()
        });
        Self {
            key: query.key,
            clients,
            client: query.client.clone(),
            duty: query.duty.clone(),
            hashes: query.hashes,
            names,
        }
    }

    fn wants(&self, record: &AuditRecord) -> bool {
        let Self { key, clients, client: name, duty, .. } = self;
        let of_client = |id: Option<ClientId>| {
            clients.as_ref().is_none_or(|wanted| id.is_some_and(|id| wanted.contains(&id)))
        };
        match &record.event {
            AuditEvent::Claim { client, key: of, duty: what, .. } => {
                key.is_none_or(|key| key == of.public)
                    && of_client(Some(*client))
                    && duty.as_ref().is_none_or(|duty| duty.matches(what))
            }
            AuditEvent::Noted { note, .. } => {
                let of_duty = |asked: &DutyQuery| match &note.answer {
                    NotedAnswer::Refused { duty: Some(what), .. } => asked.matches(what),
                    NotedAnswer::Refused { duty: None, .. } | NotedAnswer::Free { .. } => false,
                };
                key.is_none_or(|key| note.key == Some(key))
                    && of_client(note.client)
                    && duty.as_ref().is_none_or(of_duty)
            }
            AuditEvent::Change { change, .. } => {
                // Changes name keys and clients in many places; as text they are found in all of them.
                let text = serde_json::to_string(change).unwrap_or_default();
                duty.is_none()
                    && key.is_none_or(|key| text.contains(&key.to_string()))
                    && name.as_ref().is_none_or(|name| text.contains(&format!("{name:?}")))
            }
            AuditEvent::Signed(_) => key.is_none() && clients.is_none() && duty.is_none(),
        }
    }

    fn line(&self, row: &AuditRow, record: AuditRecord) -> Option<AuditLine> {
        let AuditRow { seq, before, record: _ } = *row;
        if self.wants(&record) {
            let says = words::says(&record, |id| self.names.get(&id).cloned());
            let record = Some(Box::new(record));
            return Some(AuditLine { seq, before, hash: None, record, says: Some(says) });
        }
        self.hashes.then(|| AuditLine { seq, before, hash: Some(record.hash()), record: None, says: None })
    }
}

/// The lines that `query` finds, the oldest and newest record, and where to go on. Blocking.
///
/// # Errors
/// If the store cannot be read.
pub fn page(store: &AuditStore, query: &AuditQuery, filter: &Filter) -> Result<Found, AuditError> {
    let Some((first, last)) = store.ends()? else { return Ok(Found::default()) };
    let head = (last.seq + 1, last.after());
    let mut next = query.from.unwrap_or(0).max(first.seq);
    if let Some(since) = query.since_ms {
        next = next.max(store.seq_at(since)?);
    }
    let limit = query.limit.unwrap_or(PAGE).min(PAGE) as usize;
    let (mut lines, mut looked_at) = (Vec::new(), 0);
    'all: while looked_at < LOOKED_AT && next < head.0 {
        let rows = store.rows(next, CHUNK)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if lines.len() >= limit || row.seq >= head.0 {
                break 'all;
            }
            looked_at += 1;
            next = row.seq + 1;
            let record = AuditRecord::from_bytes(&row.record)?;
            lines.extend(filter.line(&row, record));
        }
    }
    Ok(Found { first: Some(first.seq), head, lines, next: next.min(head.0) })
}

/// What [`page`] found.
#[derive(Default)]
pub struct Found {
    /// The oldest record on the node.
    pub first: Option<u64>,
    /// One past the newest record on the node, and the chain hash there.
    pub head: (u64, Hash),
    /// The lines.
    pub lines: Vec<AuditLine>,
    /// Where to go on.
    pub next: u64,
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
