//! The requests of nodes, read strictly from their protobuf messages.
//!
//! The messages are those of `tendermint-proto`. Its decoder ignores unknown fields and takes numbers of any length, so
//! what was read is encoded again and must give the same bytes: an honest node's encoder has one form. A field of
//! another length or outside its range is refused, and so is whatever an honest node never asks, though FilePV may sign
//! it: a height below 1, a round below 0, a block id of which half is missing, a proposal of nil.

use crate::{BlockId, Height, Round, Step, Timestamp};
use prost::Message;
use signonce_protocol::Hash;
use tendermint_proto::{
    google::protobuf::Timestamp as ProtoTimestamp,
    v0_38::{
        privval::{SignProposalRequest, SignVoteRequest},
        types as proto,
    },
};

/// The longest vote extension, in bytes, which is the limit of nodes.
pub const MAX_EXTENSION_BYTES: usize = 1 << 20;

/// Room for the rest of a request, in bytes: ids and hashes, the validator's address, old signatures.
const MAX_OTHER_BYTES: usize = 16 << 10;
/// The longest request for a vote, in bytes.
pub(crate) const MAX_VOTE_BYTES: usize = MAX_EXTENSION_BYTES + MAX_OTHER_BYTES;
/// The longest request for a proposal, in bytes.
pub(crate) const MAX_PROPOSAL_BYTES: usize = MAX_OTHER_BYTES;

/// The highest height: one below the end of Go's `int64`, as nodes count one further.
pub(crate) const MAX_HEIGHT: u64 = i64::MAX as u64 - 1;
/// The highest round: the end of Go's `int32`.
pub(crate) const MAX_ROUND: u64 = i32::MAX as u64;

/// The length of a validator's address, in bytes.
const ADDRESS_BYTES: usize = 20;

/// Why a request is not one that an honest node makes. Final: the same bytes are refused on every signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The request is shorter than the number of a connection.
    #[error("a request of {0} bytes has no connection in front: 8 bytes, little-endian")]
    NoConnection(usize),
    /// The request is not a message of this kind.
    #[error("not the protobuf message: {0}")]
    NotProtobuf(String),
    /// The message has unknown fields, or values in another form than encoders write.
    #[error(
        "the message has unknown fields, or is not in its one encoding: {got} bytes, {canonical} if written again"
    )]
    NotCanonical {
        /// Bytes given.
        got: usize,
        /// Bytes of the same message as an encoder writes it.
        canonical: usize,
    },
    /// A part that every node sends is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number is one that no honest node sends.
    #[error("{field} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// The name of the field.
        field: &'static str,
        /// Its value.
        value: i64,
        /// The values allowed.
        allowed: &'static str,
    },
    /// A byte string does not have the length of its field.
    #[error("{field} has {got} bytes, allowed is {allowed}")]
    WrongLength {
        /// The name of the field.
        field: &'static str,
        /// Bytes given.
        got: usize,
        /// The lengths allowed.
        allowed: &'static str,
    },
    /// A block id with a hash and no parts, or parts and no hash.
    #[error(
        "the block id is half there: hash of {hash} bytes, {parts} part(s) with a hash of {parts_hash} bytes"
    )]
    HalfBlockId {
        /// Bytes of the hash.
        hash: usize,
        /// Parts.
        parts: u32,
        /// Bytes of the hash over the parts.
        parts_hash: usize,
    },
    /// The proposal does not name a block.
    #[error("a proposal of no block")]
    NilProposal,
    /// A timestamp outside of the years 1 to 9999.
    #[error("the timestamp {seconds} s and {nanos} ns is not within the years 1 to 9999")]
    Timestamp {
        /// Seconds of Unix time.
        seconds: i64,
        /// Nanoseconds past the second.
        nanos: i32,
    },
    /// An extension where there can be none.
    #[error("an extension of {len} bytes on a {step}{of_nil}: only non-nil precommits have one", of_nil = if *.nil { " of nil" } else { "" })]
    StrayExtension {
        /// The step of the vote.
        step: Step,
        /// Whether the vote is for nil.
        nil: bool,
        /// Bytes of the extension.
        len: usize,
    },
    /// The request is from a node of another chain.
    #[error(
        "the node signs for chain {asked:?} and the key is for chain {chain:?}: it never signs for another"
    )]
    OtherChain {
        /// The chain-id of the request.
        asked: String,
        /// The chain-id of the key's chain.
        chain: String,
    },
}

/// A prevote or precommit to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Prevote or precommit.
    pub step: Step,
    /// Its height.
    pub height: Height,
    /// Its round.
    pub round: Round,
    /// The block voted for; `None` for nil.
    pub block: Option<BlockId>,
    /// The timestamp, from the node's clock or the block.
    pub time: Timestamp,
    /// The extension; empty where there is none.
    pub extension: Vec<u8>,
    /// The chain-id that the node signs for.
    pub chain_id: String,
}

/// A proposal to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its height.
    pub height: Height,
    /// Its round.
    pub round: Round,
    /// The earlier round in which the block had a polka, if it had one.
    pub pol_round: Option<Round>,
    /// The block.
    pub block: BlockId,
    /// The timestamp.
    pub time: Timestamp,
    /// The chain-id that the node signs for.
    pub chain_id: String,
}

impl Vote {
    /// Reads a `SignVoteRequest`.
    ///
    /// # Errors
    /// If it is not a request that an honest node makes, or not in its one encoding.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let SignVoteRequest { vote, chain_id } = message(bytes)?;
        let proto::Vote {
            r#type,
            height,
            round,
            block_id,
            timestamp,
            validator_address,
            validator_index,
            // Signatures that the message already carries do not matter.
            signature: _,
            extension,
            extension_signature: _,
        } = vote.ok_or(Malformed::Missing("the vote"))?;
        let step = match r#type {
            1 => Step::Prevote,
            2 => Step::Precommit,
            other => return Err(out_of_range("the vote's type", other.into(), "1 or 2")),
        };
        let (height, round) = (read_height(height)?, read_round("round", round)?);
        let block = read_block(block_id)?;
        let time = read_time(timestamp)?;
        if !matches!(validator_address.len(), 0 | ADDRESS_BYTES) {
            return Err(wrong_length("the validator's address", validator_address.len(), "20"));
        }
        if validator_index < 0 {
            return Err(out_of_range("the validator's index", validator_index.into(), "0 and up"));
        }
        if !extension.is_empty() && (step != Step::Precommit || block.is_none()) {
            return Err(Malformed::StrayExtension { step, nil: block.is_none(), len: extension.len() });
        }
        if extension.len() > MAX_EXTENSION_BYTES {
            return Err(wrong_length("the extension", extension.len(), "1048576 and less"));
        }
        Ok(Self { step, height, round, block, time, extension, chain_id })
    }
}

impl Proposal {
    /// Reads a `SignProposalRequest`.
    ///
    /// # Errors
    /// If it is not a request that an honest node makes, or not in its one encoding.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let SignProposalRequest { proposal, chain_id } = message(bytes)?;
        let proto::Proposal { r#type, height, round, pol_round, block_id, timestamp, signature: _ } =
            proposal.ok_or(Malformed::Missing("the proposal"))?;
        if r#type != 32 {
            return Err(out_of_range("the proposal's type", r#type.into(), "32"));
        }
        let (height, round) = (read_height(height)?, read_round("round", round)?);
        let pol_round = match pol_round {
            -1 => None,
            pol_round => Some(read_round("the POL round", pol_round)?),
        };
        if let Some(pol) = pol_round.filter(|pol| *pol >= round) {
            return Err(out_of_range("the POL round", pol.0.into(), "-1, or a round before the proposal's"));
        }
        let block = read_block(block_id)?.ok_or(Malformed::NilProposal)?;
        Ok(Self { height, round, pol_round, block, time: read_time(timestamp)?, chain_id })
    }
}

/// Reads a message that is in its one encoding.
fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, Malformed> {
    let message = M::decode(bytes).map_err(|why| Malformed::NotProtobuf(why.to_string()))?;
    let canonical = message.encode_to_vec();
    if canonical == bytes {
        Ok(message)
    } else {
        Err(Malformed::NotCanonical { got: bytes.len(), canonical: canonical.len() })
    }
}

fn read_height(height: i64) -> Result<Height, Malformed> {
    let read = u64::try_from(height).ok().filter(|height| (1..=MAX_HEIGHT).contains(height));
    read.map(Height).ok_or(out_of_range("height", height, "1 to 9223372036854775806"))
}

fn read_round(field: &'static str, round: i32) -> Result<Round, Malformed> {
    u32::try_from(round).map(Round).map_err(|_| out_of_range(field, round.into(), "0 and up"))
}

/// Nodes send an empty block id for nil, with an empty part-set header in it.
fn read_block(block: Option<proto::BlockId>) -> Result<Option<BlockId>, Malformed> {
    let proto::BlockId { hash, part_set_header } = block.ok_or(Malformed::Missing("the block id"))?;
    let header = part_set_header.ok_or(Malformed::Missing("the part-set header"))?;
    let proto::PartSetHeader { total: parts, hash: parts_hash } = header;
    let half = Malformed::HalfBlockId { hash: hash.len(), parts, parts_hash: parts_hash.len() };
    match (hash.is_empty(), parts, parts_hash.is_empty()) {
        (true, 0, true) => Ok(None),
        (false, 1.., false) => {
            let hash = read_hash("the block's hash", &hash)?;
            let parts_hash = read_hash("the hash over the parts", &parts_hash)?;
            Ok(Some(BlockId { hash, parts, parts_hash }))
        }
        (true, _, _) | (false, _, _) => Err(half),
    }
}

fn read_hash(field: &'static str, bytes: &[u8]) -> Result<Hash, Malformed> {
    bytes.try_into().map(Hash).map_err(|_| wrong_length(field, bytes.len(), "0 or 32"))
}

fn read_time(time: Option<ProtoTimestamp>) -> Result<Timestamp, Malformed> {
    let ProtoTimestamp { seconds, nanos } = time.ok_or(Malformed::Missing("the timestamp"))?;
    let read = u32::try_from(nanos).ok().and_then(|nanos| Timestamp::new(seconds, nanos));
    read.ok_or(Malformed::Timestamp { seconds, nanos })
}

fn out_of_range(field: &'static str, value: i64, allowed: &'static str) -> Malformed {
    Malformed::OutOfRange { field, value, allowed }
}

fn wrong_length(field: &'static str, got: usize, allowed: &'static str) -> Malformed {
    Malformed::WrongLength { field, got, allowed }
}
