//! What a node asks for: votes and proposals, and the messages in which it asks.

use prost::Message as _;
use sha2::{Digest, Sha256};
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::{
        privval::{self, message::Sum},
        types,
    },
};

/// A timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanos: i32,
}

impl Time {
    /// A whole second.
    pub fn at(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// The clock's.
    pub fn now() -> Self {
        let since = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970");
        Self { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
    }
}

impl From<Time> for Timestamp {
    fn from(Time { seconds, nanos }: Time) -> Self {
        Self { seconds, nanos }
    }
}

impl From<Timestamp> for Time {
    fn from(Timestamp { seconds, nanos }: Timestamp) -> Self {
        Self { seconds, nanos }
    }
}

/// The id of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    /// Its hash.
    pub hash: [u8; 32],
    /// Its parts.
    pub parts: u32,
    /// Their hash.
    pub parts_hash: [u8; 32],
}

impl BlockId {
    /// A block for tests that is known by a name.
    pub fn named(name: &str) -> Self {
        let hash = Sha256::digest(name.as_bytes()).into();
        Self { hash, parts: 1, parts_hash: Sha256::digest(hash).into() }
    }

    /// As in a message; `None` is nil.
    pub fn message(block: Option<Self>) -> types::BlockId {
        let Some(Self { hash, parts, parts_hash }) = block else {
            let part_set_header = Some(types::PartSetHeader::default());
            return types::BlockId { hash: Vec::new(), part_set_header };
        };
        let part_set_header = Some(types::PartSetHeader { total: parts, hash: parts_hash.to_vec() });
        types::BlockId { hash: hash.to_vec(), part_set_header }
    }
}

/// The kind of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteStep {
    /// The first vote.
    Prevote,
    /// The second vote.
    Precommit,
}

impl VoteStep {
    /// As in a message.
    pub fn number(self) -> i32 {
        match self {
            Self::Prevote => 1,
            Self::Precommit => 2,
        }
    }
}

/// A vote to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteAsk {
    /// Its kind.
    pub step: VoteStep,
    /// Its height.
    pub height: i64,
    /// Its round.
    pub round: i32,
    /// The block; `None` is nil.
    pub block: Option<BlockId>,
    /// The time that the node puts in.
    pub time: Time,
    /// The application's extension.
    pub extension: Vec<u8>,
}

impl VoteAsk {
    /// A prevote.
    pub fn prevote(height: i64, round: i32, block: Option<BlockId>, time: Time) -> Self {
        Self { step: VoteStep::Prevote, height, round, block, time, extension: Vec::new() }
    }

    /// A precommit.
    pub fn precommit(height: i64, round: i32, block: Option<BlockId>, time: Time) -> Self {
        Self { step: VoteStep::Precommit, ..Self::prevote(height, round, block, time) }
    }

    /// The same with an extension.
    pub fn with_extension(self, extension: &[u8]) -> Self {
        Self { extension: extension.to_vec(), ..self }
    }

    /// The vote, unsigned.
    pub fn vote(&self, address: &[u8], index: i32) -> types::Vote {
        types::Vote {
            r#type: self.step.number(),
            height: self.height,
            round: self.round,
            block_id: Some(BlockId::message(self.block)),
            timestamp: Some(self.time.into()),
            validator_address: address.to_vec(),
            validator_index: index,
            extension: self.extension.clone(),
            ..types::Vote::default()
        }
    }
}

/// A proposal to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalAsk {
    /// Its height.
    pub height: i64,
    /// Its round.
    pub round: i32,
    /// The round of the polka that it builds on; `None` for a new block.
    pub pol_round: Option<i32>,
    /// The block.
    pub block: BlockId,
    /// The time that the node puts in.
    pub time: Time,
}

impl ProposalAsk {
    /// The proposal, unsigned.
    pub fn proposal(&self) -> types::Proposal {
        types::Proposal {
            r#type: 32,
            height: self.height,
            round: self.round,
            pol_round: self.pol_round.unwrap_or(-1),
            block_id: Some(BlockId::message(Some(self.block))),
            timestamp: Some(self.time.into()),
            signature: Vec::new(),
        }
    }
}

/// A message's bytes, without a length in front.
pub fn message(sum: Sum) -> Vec<u8> {
    privval::Message { sum: Some(sum) }.encode_to_vec()
}

/// The request for a vote.
pub fn vote_request(vote: types::Vote, chain_id: &str) -> Vec<u8> {
    message(Sum::SignVoteRequest(privval::SignVoteRequest {
        vote: Some(vote),
        chain_id: chain_id.to_owned(),
    }))
}

/// The request for a proposal.
pub fn proposal_request(proposal: types::Proposal, chain_id: &str) -> Vec<u8> {
    let (proposal, chain_id) = (Some(proposal), chain_id.to_owned());
    message(Sum::SignProposalRequest(privval::SignProposalRequest { proposal, chain_id }))
}

/// The request for the public key.
pub fn pub_key_request(chain_id: &str) -> Vec<u8> {
    message(Sum::PubKeyRequest(privval::PubKeyRequest { chain_id: chain_id.to_owned() }))
}

/// A ping.
pub fn ping_request() -> Vec<u8> {
    message(Sum::PingRequest(privval::PingRequest {}))
}
