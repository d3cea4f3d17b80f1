//! Looks up a node's audit records, page by page, as [`AuditQuery`] asks.

use signonce_cluster::{AuditError, AuditStore};
use signonce_core::{AuditEvent, AuditRecord, AuditRow, ClientId, NotedAnswer, State};
use signonce_protocol::{Hash, PublicKey};
use signonce_shared::audit::{
    query::{AuditLine, AuditQuery, DutyQuery, PAGE},
    words,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most records that one call reads.
const LOOKED_AT: usize = 50_000;
/// Records read at a time.
const CHUNK: usize = 1_000;

/// A query, resolved against this node's present state.
pub struct Filter {
    key: Option<PublicKey>,
    clients: Option<BTreeSet<ClientId>>,
    client: Option<String>,
    duty: Option<DutyQuery>,
    hashes: bool,
    names: BTreeMap<ClientId, String>,
}

impl Filter {
    /// Resolves a query. Names are looked up as they are now; removed clients count too.
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
                // Changes name keys and clients in many places; searching their text finds all of them.
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

/// The lines that `query` finds, the oldest and newest record, and where to continue. Blocking.
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
    /// The record to continue from.
    pub next: u64,
}
