//! Requests as payloads: what a client asks a signer to sign, and the duty that signing it uses up.
//!
//! A payload is the number of the node's connection, 8 bytes little-endian, followed by the node's request as received:
//! a `SignVoteRequest` or `SignProposalRequest`. The connection is not signed; the lock of a height depends on it.

use crate::{
    BlockId, ChainSettings, Connection, Duty, Malformed, PROPOSAL_KIND, Proposal, Step, Timestamp, VOTE_KIND,
    Vote,
    canonical::{Timeless, extension_sign_bytes},
};
use signonce_protocol::{
    Carry, Chain, Digest, Message, Payload, PayloadError, PayloadKind, RawPayload, Statement,
};
use std::sync::Arc;

/// The length of a connection's number, in bytes.
pub(crate) const CONNECTION_BYTES: usize = 8;

/// The payload that asks for a vote: a node's `SignVoteRequest`, on one of its connections.
pub fn vote_payload(connection: Connection, request: &[u8]) -> RawPayload {
    wrap(VOTE_KIND, connection, request)
}

/// The payload that asks for a proposal: a node's `SignProposalRequest`, on one of its connections.
pub fn proposal_payload(connection: Connection, request: &[u8]) -> RawPayload {
    wrap(PROPOSAL_KIND, connection, request)
}

fn wrap(kind: PayloadKind, connection: Connection, request: &[u8]) -> RawPayload {
    RawPayload::new(kind, [&connection.0.to_le_bytes(), request].concat())
}

fn unwrap(bytes: &[u8]) -> Result<(Connection, &[u8]), Malformed> {
    let (connection, request) =
        bytes.split_first_chunk::<CONNECTION_BYTES>().ok_or(Malformed::NoConnection(bytes.len()))?;
    Ok((Connection(u64::from_le_bytes(*connection)), request))
}

fn read_vote(bytes: &[u8]) -> Result<(Connection, Vote), Malformed> {
    let (connection, request) = unwrap(bytes)?;
    Ok((connection, Vote::read(request)?))
}

fn read_proposal(bytes: &[u8]) -> Result<(Connection, Proposal), Malformed> {
    let (connection, request) = unwrap(bytes)?;
    Ok((connection, Proposal::read(request)?))
}

/// The digest of a vote's statement; if the bytes are not a vote, the digest of the bytes.
pub(crate) fn vote_digest(bytes: &[u8]) -> Digest {
    read_vote(bytes).map_or_else(|_| Digest::of(bytes), |(_, vote)| Timeless::of_vote(&vote).digest())
}

/// The digest of a proposal's statement; if the bytes are not a proposal, the digest of the bytes.
pub(crate) fn proposal_digest(bytes: &[u8]) -> Digest {
    let read = read_proposal(bytes);
    read.map_or_else(|_| Digest::of(bytes), |(_, proposal)| Timeless::of_proposal(&proposal).digest())
}

/// A vote, with its extension beside it where there can be one.
pub(crate) fn decode_vote(bytes: &[u8], chain: &Chain) -> Result<Payload, PayloadError> {
    let read = read_vote(bytes).and_then(|(connection, vote)| {
        check_chain(&vote.chain_id, chain)?;
        Ok((connection, vote))
    });
    let (connection, vote) = read.map_err(|why| PayloadError(format!("{VOTE_KIND}: {why}")))?;
    let Vote { step, height, round, block, time, .. } = vote;
    let duty = Duty { height, round, step, block, connection };
    let payload = payload(VOTE_KIND, &duty, &Timeless::of_vote(&vote), time, name_of(block));
    let extended = step == Step::Precommit && block.is_some();
    Ok(if extended { payload.with_beside(bytes_of(extension_sign_bytes(&vote))) } else { payload })
}

/// A proposal.
pub(crate) fn decode_proposal(bytes: &[u8], chain: &Chain) -> Result<Payload, PayloadError> {
    let read = read_proposal(bytes).and_then(|(connection, proposal)| {
        check_chain(&proposal.chain_id, chain)?;
        Ok((connection, proposal))
    });
    let (connection, proposal) = read.map_err(|why| PayloadError(format!("{PROPOSAL_KIND}: {why}")))?;
    let Proposal { height, round, pol_round, block, time, .. } = proposal;
    let duty = Duty { height, round, step: Step::Proposal, block: Some(block), connection };
    let named = match pol_round {
        Some(pol) => format!("{block}, which had a polka in round {pol}"),
        None => name_of(Some(block)),
    };
    Ok(payload(PROPOSAL_KIND, &duty, &Timeless::of_proposal(&proposal), time, named))
}

/// The request's chain-id is what is signed, so it alone decides for which chain the signature is.
fn check_chain(asked: &str, chain: &Chain) -> Result<(), Malformed> {
    let ChainSettings { chain_id, .. } = ChainSettings::of(chain);
    if chain_id == asked {
        return Ok(());
    }
    Err(Malformed::OtherChain { asked: asked.to_owned(), chain: chain_id })
}

fn name_of(block: Option<BlockId>) -> String {
    block.map_or_else(|| "nil".to_owned(), |block| block.to_string())
}

fn payload(kind: PayloadKind, duty: &Duty, timeless: &Timeless, time: Timestamp, named: String) -> Payload {
    let summary = format!("{duty} for {named}");
    let restated = timeless.clone();
    let restate = move |carry: &Carry| Some(bytes_of(restated.sign_bytes(Timestamp::of_carry(carry)?)));
    let message = bytes_of(timeless.sign_bytes(time));
    Payload::new(kind, Some(duty.into()), message, summary).with_statement(Statement {
        digest: timeless.digest(),
        carry: time.to_carry(),
        restate: Arc::new(restate),
    })
}

fn bytes_of(bytes: Vec<u8>) -> Message {
    Message::Bytes(bytes.into())
}
