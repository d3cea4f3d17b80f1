//! What other members send, and what the log holds: frames, raft messages, log entries, commands, snapshots.

use crate::sealed;
use crate::world::World;
use parity_scale_codec::DecodeAll;
use signonce_core::replica::wire::{self, PeerMessage};
use signonce_core::{Command, Outcome, RestoreError, State, StateHash, Table};
use signonce_driver::frame::{FRAME_BYTES_MAX, Frame};

/// A frame, without its length and its checksum.
pub fn frame(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some(record) = sealed(data) else { return false };
    let length = u32::try_from(record.len()).expect("fuzz inputs are small").to_be_bytes();
    let bytes = [&length[..], &record].concat();
    let Ok((frame, rest)) = Frame::first_of(&bytes, FRAME_BYTES_MAX) else { return false };
    assert!(rest.is_empty() && frame.to_bytes() == bytes, "one frame, one encoding");
    if let Frame::Raft(message) = &frame {
        // With its own checksum, as it came.
        let _ = PeerMessage::decode(message);
    }
    true
}

/// A raft message with its sender's promise and lives.
pub fn raft(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some(Ok(message)) = sealed(data).map(|record| PeerMessage::decode(&record)) else { return false };
    let again = PeerMessage::decode(&message.encode()).expect("what was read can be written and read");
    assert_eq!(again, message);
    true
}

/// A log entry as it is stored.
pub fn entry(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some(Ok(entry)) = sealed(data).map(|record| wire::decode_entry(&record)) else { return false };
    let again =
        wire::decode_entry(&wire::encode_entry(&entry)).expect("what was read can be written and read");
    assert_eq!(again, entry);
    true
}

/// The content of a log entry, applied to a state with keys: total, the same everywhere, and never two of a duty.
pub fn command(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some(record) = sealed(data) else { return false };
    let Ok(command) = Command::from_bytes(&record) else { return false };
    assert_eq!(command.to_bytes(), record, "one command, one encoding");
    let mut world = World::new();
    let outcomes = world.apply(command.clone());
    if let Command::Claims(claims) = command {
        assert_eq!(outcomes.len(), claims.len(), "every claim gets a verdict");
        for (request, outcome) in claims.iter().zip(&outcomes) {
            let again = world.state.check(&request.claim);
            let granted = matches!(outcome, Outcome::Verdict(verdict) if verdict.may_sign());
            assert!(again != signonce_core::Verdict::Granted || !granted, "{:?} twice", request.claim);
        }
    }
    true
}

/// A snapshot, without its checksum. Its state hash is corrected, so that the records behind it are read.
pub fn snapshot(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some(record) = sealed(data) else { return false };
    let _ = State::from_snapshot(&record);
    type Body = (StateHash, Vec<(Table, Vec<u8>, Vec<u8>)>);
    let Ok((hash, mut rows)) = Body::decode_all(&mut &data[1..]) else { return false };
    // As with the records' own envelopes: the last four bytes of each are put right.
    for (_, _, value) in &mut rows {
        let body = value.len().saturating_sub(4);
        if let Some(record) = sealed(&value[..body]) {
            *value = record;
        }
    }
    let state = match State::from_records(rows.clone(), hash) {
        Err(RestoreError::Hash { found, .. }) => State::from_records(rows, found),
        other => other,
    };
    let Ok(state) = state else { return false };
    let again = State::from_snapshot(&state.snapshot()).expect("a state's snapshot is its own");
    assert_eq!(again.hash(), state.hash());
    World::ask_all(&state);
    true
}
