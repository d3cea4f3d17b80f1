//! Audit records in words.

use signonce_core::{
    AuditEvent, AuditNote, AuditRecord, AuditSignature, Change, ClientId, NotedAnswer, Verdict,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A time as people and logs write it, to the second.
pub fn time(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
    let known = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|t| t.format(&Rfc3339).ok());
    known.unwrap_or_else(|| format!("{unix_ms} ms after 1970"))
}

/// The record as one sentence. `name_of` knows clients by name.
pub fn says(record: &AuditRecord, name_of: impl Fn(ClientId) -> Option<String>) -> String {
    let name = |id: ClientId| match name_of(id) {
        Some(name) => format!("{name} (client {})", id.0),
        None => id.to_string(),
    };
    match &record.event {
        AuditEvent::Claim { request, client, key, duty, digest, answer, carry: _ } => {
            let asked = format!("{} asked node {} for the {duty} with {key}", name(*client), request.node);
            match answer {
                Verdict::Granted => format!("{asked}: granted, digest {digest}"),
                Verdict::Repeated { at, carry: _ } => {
                    format!("{asked}: the same bytes as granted in log entry {at}, signed again")
                }
                Verdict::Refused(refusal) => format!("{asked} with digest {digest}: REFUSED: {refusal}"),
            }
        }
        AuditEvent::Change { request, actor, change, refused } => {
            let what = kind_of(change);
            match refused {
                None => format!("{actor} at node {}: {what}", request.node),
                Some(why) => format!("{actor} at node {}: {what} REFUSED: {why}", request.node),
            }
        }
        AuditEvent::Noted { node, note } => noted(note, node.0, name),
        AuditEvent::Signed(AuditSignature { node, next, chain, .. }) => {
            format!("node {node} signed the chain before record {next}: {chain}")
        }
    }
}

fn noted(note: &AuditNote, node: u64, name: impl Fn(ClientId) -> String) -> String {
    let AuditNote { client, key, answer, count, first_ms, last_ms, request: _ } = note;
    let who = client.map_or_else(|| "somebody with the certificate of no client".to_owned(), name);
    let times = match count {
        1 => String::new(),
        _ => format!(" {count} times between {} and {}", time(*first_ms), time(*last_ms)),
    };
    let key = key.map_or_else(String::new, |key| format!(" with key {key}"));
    match answer {
        NotedAnswer::Refused { code, duty, digest, why } => {
            let what = duty.as_ref().map_or_else(String::new, |duty| format!(" for the {duty}"));
            let digest = digest.map_or_else(String::new, |digest| format!(", digest {digest}"));
            format!("{who} asked node {node}{what}{key}{digest}{times}: REFUSED ({code}): {why}")
        }
        NotedAnswer::Free { class } => {
            format!("{who} asked node {node} for {class} work{key}{times}: signed (uses nothing up)")
        }
    }
}

/// The change's name and subject, as JSON shortened to fit.
fn kind_of(change: &Change) -> String {
    let text = serde_json::to_string(change).unwrap_or_else(|_| "a change".to_owned());
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
