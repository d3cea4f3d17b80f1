//! Requests that tests make up, and what has come of them.

use prost::Message as _;
use signonce_cometbft::{Connection, Step, proposal_payload, vote_payload};
use signonce_protocol::RawPayload;
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::{privval, types},
};

/// The chain-id of all of them.
pub const CHAIN_ID: &str = "made-up-1";

/// The block of this number; 0 is nil.
pub fn block_id(block: u8) -> types::BlockId {
    let (hash, parts) = if block == 0 { (Vec::new(), 0) } else { (vec![block; 32], block.into()) };
    types::BlockId { part_set_header: Some(types::PartSetHeader { total: parts, hash: hash.clone() }), hash }
}

fn time(nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_700_000_000, nanos })
}

/// A node's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub height: i64,
    pub round: i32,
    pub step: Step,
    pub block: u8,
    pub nanos: i32,
}

impl Ask {
    pub fn new(height: i64, round: i32, step: Step, block: u8) -> Self {
        Self { height, round, step, block, nanos: 0 }
    }

    /// The message.
    pub fn vote(self) -> types::Vote {
        let Self { height, round, step, block, nanos } = self;
        types::Vote {
            r#type: if step == Step::Prevote { 1 } else { 2 },
            height,
            round,
            block_id: Some(block_id(block)),
            timestamp: time(nanos),
            validator_address: vec![7; 20],
            ..types::Vote::default()
        }
    }

    /// The request on a connection.
    pub fn on(self, connection: u64) -> RawPayload {
        let (connection, chain_id) = (Connection(connection), CHAIN_ID.to_owned());
        if self.step != Step::Proposal {
            let request = privval::SignVoteRequest { vote: Some(self.vote()), chain_id };
            return vote_payload(connection, &request.encode_to_vec());
        }
        let Self { height, round, block, nanos, .. } = self;
        let proposal = types::Proposal {
            r#type: 32,
            height,
            round,
            pol_round: -1,
            block_id: Some(block_id(block)),
            timestamp: time(nanos),
            signature: Vec::new(),
        };
        let request = privval::SignProposalRequest { proposal: Some(proposal), chain_id };
        proposal_payload(connection, &request.encode_to_vec())
    }
}

pub fn prevote(height: i64, round: i32, block: u8) -> Ask {
    Ask::new(height, round, Step::Prevote, block)
}

pub fn precommit(height: i64, round: i32, block: u8) -> Ask {
    Ask::new(height, round, Step::Precommit, block)
}

pub fn proposal(height: i64, round: i32, block: u8) -> Ask {
    Ask::new(height, round, Step::Proposal, block)
}
