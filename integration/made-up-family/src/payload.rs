//! What ferries sign, read strictly from bytes.

use crate::{CROSSING, CROSSING_KIND, MANIFEST, MANIFEST_KIND};
use signonce_protocol::{Carry, Chain, Digest, Duty, Message, Payload, PayloadError, Position, Statement};
use std::sync::Arc;

/// `FRYX ‖ voyage ‖ harbour ‖ departure`.
pub fn crossing_bytes(voyage: u64, harbour: [u8; 32], departure: u64) -> Vec<u8> {
    [&b"FRYX"[..], &voyage.to_le_bytes(), &harbour, &departure.to_le_bytes()].concat()
}

/// `FRYM ‖ voyage ‖ deck ‖ cargo`.
pub fn manifest_bytes(voyage: u64, deck: u8, cargo: [u8; 32]) -> Vec<u8> {
    [&b"FRYM"[..], &voyage.to_le_bytes(), &[deck], &cargo].concat()
}

/// Of a crossing without its departure.
pub(crate) fn crossing_digest(bytes: &[u8]) -> Digest {
    Digest::of(&bytes[..bytes.len().saturating_sub(8)])
}

fn wrong(what: &str) -> PayloadError {
    PayloadError(format!("not a {what} of a ferry"))
}

fn position(class: signonce_protocol::DutyClass, voyage: &[u8; 8]) -> Position {
    Position::new(class, &[u64::from_le_bytes(*voyage)]).expect("a voyage is a position")
}

pub(crate) fn read_crossing(bytes: &[u8], _: &Chain) -> Result<Payload, PayloadError> {
    let statement = match bytes.strip_prefix(b"FRYX") {
        Some(rest) if rest.len() == 8 + 32 + 8 => &bytes[..44],
        Some(_) | None => return Err(wrong("crossing")),
    };
    let voyage = statement[4..].first_chunk::<8>().ok_or_else(|| wrong("crossing"))?;
    let duty = Duty::new(position(CROSSING, voyage), Vec::new(), Vec::new());
    let own = statement.to_vec();
    let restate = move |carry: &Carry| match carry.as_bytes().len() {
        8 => Some(Message::Bytes([&own, carry.as_bytes()].concat().into())),
        _ => None,
    };
    let summary = format!("crossing of voyage {}", u64::from_le_bytes(*voyage));
    let payload = Payload::new(CROSSING_KIND, Some(duty), Message::Bytes(bytes.into()), summary);
    Ok(payload.with_statement(Statement {
        digest: crossing_digest(bytes),
        carry: Carry::new(bytes[44..].to_vec()),
        restate: Arc::new(restate),
    }))
}

pub(crate) fn read_manifest(bytes: &[u8], _: &Chain) -> Result<Payload, PayloadError> {
    let rest = bytes.strip_prefix(b"FRYM").filter(|rest| rest.len() == 8 + 1 + 32);
    let (voyage, rest) =
        rest.and_then(|rest| rest.split_first_chunk::<8>()).ok_or_else(|| wrong("manifest"))?;
    let duty = Duty::new(position(MANIFEST, voyage), vec![rest[0]], Vec::new());
    let summary = format!("manifest of voyage {}, deck {}", u64::from_le_bytes(*voyage), rest[0]);
    Ok(Payload::new(MANIFEST_KIND, Some(duty), Message::Bytes(bytes.into()), summary))
}
