//! The bytes that are signed, and the statement by which a duty is bound to one payload.
//!
//! Sign bytes are length-delimited canonical messages, made here from the fields that were read: no bytes of a request
//! are signed as received. A statement is the same message without its timestamp, which every signed message has.

use crate::{BlockId, Proposal, Step, Timestamp, Vote};
use prost::Message as _;
use signonce_protocol::Digest;
use tendermint_proto::{
    google::protobuf::Timestamp as ProtoTimestamp,
    v0_38::types::{
        CanonicalBlockId, CanonicalPartSetHeader, CanonicalProposal, CanonicalVote, CanonicalVoteExtension,
        SignedMsgType,
    },
};

/// A canonical vote or proposal without its timestamp.
#[derive(Clone, Debug)]
pub(crate) enum Timeless {
    /// A vote.
    Vote(CanonicalVote),
    /// A proposal.
    Proposal(CanonicalProposal),
}

impl Timeless {
    pub(crate) fn of_vote(vote: &Vote) -> Self {
        let r#type = match vote.step {
            Step::Prevote => SignedMsgType::Prevote,
            Step::Precommit => SignedMsgType::Precommit,
            Step::Proposal => unreachable!("no vote is read as a proposal"),
        };
        Self::Vote(CanonicalVote {
            r#type: r#type.into(),
            height: signed(vote.height.0),
            round: vote.round.0.into(),
            block_id: vote.block.map(block_id),
            timestamp: None,
            chain_id: vote.chain_id.clone(),
        })
    }

    pub(crate) fn of_proposal(proposal: &Proposal) -> Self {
        Self::Proposal(CanonicalProposal {
            r#type: SignedMsgType::Proposal.into(),
            height: signed(proposal.height.0),
            round: proposal.round.0.into(),
            pol_round: proposal.pol_round.map_or(-1, |round| round.0.into()),
            block_id: Some(block_id(proposal.block)),
            timestamp: None,
            chain_id: proposal.chain_id.clone(),
        })
    }

    /// The statement to which a duty is bound.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&match self {
            Self::Vote(vote) => vote.encode_length_delimited_to_vec(),
            Self::Proposal(proposal) => proposal.encode_length_delimited_to_vec(),
        })
    }

    /// The sign bytes, with this timestamp.
    pub(crate) fn sign_bytes(&self, time: Timestamp) -> Vec<u8> {
        let nanos = i32::try_from(time.nanos()).expect("less than a second");
        let timestamp = Some(ProtoTimestamp { seconds: time.seconds(), nanos });
        match self.clone() {
            Self::Vote(vote) => CanonicalVote { timestamp, ..vote }.encode_length_delimited_to_vec(),
            Self::Proposal(proposal) => {
                CanonicalProposal { timestamp, ..proposal }.encode_length_delimited_to_vec()
            }
        }
    }
}

/// The sign bytes of a precommit's extension.
pub(crate) fn extension_sign_bytes(vote: &Vote) -> Vec<u8> {
    let extension = CanonicalVoteExtension {
        extension: vote.extension.clone(),
        height: signed(vote.height.0),
        round: vote.round.0.into(),
        chain_id: vote.chain_id.clone(),
    };
    extension.encode_length_delimited_to_vec()
}

fn signed(height: u64) -> i64 {
    i64::try_from(height).expect("heights were read from an int64")
}

fn block_id(BlockId { hash, parts, parts_hash }: BlockId) -> CanonicalBlockId {
    let part_set_header = CanonicalPartSetHeader { total: parts, hash: parts_hash.0.to_vec() };
    CanonicalBlockId { hash: hash.0.to_vec(), part_set_header: Some(part_set_header) }
}
