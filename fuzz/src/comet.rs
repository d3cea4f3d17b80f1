//! What CometBFT nodes send: privval messages, and the requests in them as payloads.

use prost::Message as _;
use signonce_cometbft::{ChainSettings, Connection, PROPOSAL_KIND, Timestamp, VOTE_KIND, vote_payload};
use signonce_protocol::{PayloadKind, RawPayload};
use std::collections::BTreeMap;
use tendermint_proto::{
    google::protobuf::Timestamp as ProtoTimestamp,
    v0_38::{
        privval::{Message, PingRequest, PubKeyRequest, SignProposalRequest, SignVoteRequest, message::Sum},
        types::{BlockId, PartSetHeader, Proposal, Vote},
    },
};

/// The chain of every payload.
const CHAIN: &str = "chain-1";

/// The kinds of payload, by the first byte of an input.
const KINDS: [PayloadKind; 2] = [VOTE_KIND, PROPOSAL_KIND];

/// A vote or proposal: the first byte is its kind, the rest the payload.
///
/// What is accepted gives its own message again for its own timestamp, another one for another, and the same digest:
/// the timestamp, and nothing else, is beside the statement.
pub fn comet(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some((kind, bytes)) = data.split_first() else { return false };
    let raw = RawPayload::new(KINDS[usize::from(*kind) % KINDS.len()], bytes.to_vec());
    let Ok(payload) = raw.decode(&ChainSettings::new(CHAIN).chain("fuzz")) else { return false };
    assert_eq!(raw.digest(), payload.digest());
    let own = payload.as_first_signed(&payload.carry()).expect("it is its own carry");
    assert_eq!(own.to_sign(), payload.to_sign());
    let earlier = Timestamp::new(7, 7).expect("a time").to_carry();
    let repeated = payload.as_first_signed(&earlier).expect("a timestamp is a carry");
    assert_eq!(repeated.digest(), payload.digest());
    assert_eq!(repeated.to_sign() == payload.to_sign(), earlier == payload.carry());
    assert_ne!(payload.beside().map(|beside| beside.to_sign()), Some(payload.to_sign()));
    true
}

/// A privval message with its length in front, as a node sends it.
pub fn privval(data: &[u8]) -> bool {
    signonce_privval::is_request(data)
}

/// Inputs of `comet`.
pub fn payloads() -> BTreeMap<String, Vec<u8>> {
    let connection = Connection(3);
    let named = |kind: u8, payload: RawPayload| [&[kind], payload.bytes()].concat();
    let votes = [("prevote", prevote(Some(1))), ("nil", prevote(None)), ("precommit", precommit())];
    let votes = votes.map(|(name, vote)| {
        let request = SignVoteRequest { vote: Some(vote), chain_id: CHAIN.into() }.encode_to_vec();
        (name.to_owned(), named(0, vote_payload(connection, &request)))
    });
    let request = SignProposalRequest { proposal: Some(proposal()), chain_id: CHAIN.into() }.encode_to_vec();
    let proposal = named(1, signonce_cometbft::proposal_payload(connection, &request));
    votes.into_iter().chain([("proposal".to_owned(), proposal)]).collect()
}

/// Inputs of `privval`.
pub fn messages() -> Vec<Vec<u8>> {
    let chain_id = || CHAIN.to_owned();
    let sums = [
        Sum::PubKeyRequest(PubKeyRequest { chain_id: chain_id() }),
        Sum::SignVoteRequest(SignVoteRequest { vote: Some(precommit()), chain_id: chain_id() }),
        Sum::SignProposalRequest(SignProposalRequest { proposal: Some(proposal()), chain_id: chain_id() }),
        Sum::PingRequest(PingRequest {}),
    ];
    sums.map(|sum| Message { sum: Some(sum) }.encode_length_delimited_to_vec()).into()
}

fn block(n: u8) -> BlockId {
    let part_set_header = Some(PartSetHeader { total: 1, hash: vec![n; 32] });
    BlockId { hash: vec![n; 32], part_set_header }
}

fn prevote(voted: Option<u8>) -> Vote {
    let nil = BlockId { hash: vec![], part_set_header: Some(PartSetHeader::default()) };
    Vote {
        r#type: 1,
        height: 5,
        round: 1,
        block_id: Some(voted.map_or(nil, block)),
        timestamp: Some(ProtoTimestamp { seconds: 1_700_000_000, nanos: 5 }),
        validator_address: vec![3; 20],
        validator_index: 2,
        ..Vote::default()
    }
}

fn precommit() -> Vote {
    Vote { r#type: 2, extension: b"extension".to_vec(), ..prevote(Some(1)) }
}

fn proposal() -> Proposal {
    Proposal {
        r#type: 32,
        height: 5,
        round: 1,
        pol_round: -1,
        block_id: Some(block(1)),
        timestamp: Some(ProtoTimestamp { seconds: 1_700_000_000, nanos: 5 }),
        signature: vec![],
    }
}
