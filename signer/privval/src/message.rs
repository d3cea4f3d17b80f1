//! Privval messages: what nodes ask, and the answers.
//!
//! The inner request is kept as the bytes that came, since the signers read and judge those. Other parts of a message
//! are read no further than an answer needs.

use prost::Message as _;
use signonce_cometbft::{ED25519, SECP256K1, Timestamp};
use signonce_protocol::rpc::{KeyInfo, SignReply};
use tendermint_proto::{
    google::protobuf::Timestamp as ProtoTimestamp,
    v0_38::{
        crypto::{PublicKey, public_key},
        privval::{
            Message, PingResponse, PubKeyRequest, PubKeyResponse, RemoteSignerError, SignProposalRequest,
            SignVoteRequest, SignedProposalResponse, SignedVoteResponse, message::Sum,
        },
        types::{BlockId, PartSetHeader, Proposal, Vote},
    },
};

/// The longest message that is read, in bytes: a request with the longest extension, and room.
pub(crate) const MAX_MESSAGE_BYTES: usize = signonce_cometbft::MAX_EXTENSION_BYTES + (17 << 10);

/// The code of an error, as other signers give it. Nodes only print it.
const REFUSED: i32 = 2;
/// The longest text of an error, in bytes: nodes read answers of 10 KiB.
const MAX_TEXT_BYTES: usize = 1024;

/// A message as nodes send it, each part as the bytes that came.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Envelope {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    vote: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    proposal: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "7")]
    ping: Option<Vec<u8>>,
    /// Celestia's and tmkms' `SignRawBytesRequest`, or `SignBytesRequest` of CometBFT 1.0.
    #[prost(bytes = "vec", optional, tag = "9")]
    raw: Option<Vec<u8>>,
}

/// What a node asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The validator's public key.
    PubKey(PubKeyRequest),
    /// A prevote or precommit.
    Vote(Vec<u8>),
    /// A proposal.
    Proposal(Vec<u8>),
    /// Whether the front is there.
    Ping,
}

/// Why a message is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it holds no request that this front knows")]
    Unknown,
    #[error("it holds {0} requests at once")]
    Several(usize),
    #[error("it asks to sign raw bytes, which the signers do not do")]
    Raw,
    #[error("its request for the public key cannot be decoded: {0}")]
    PubKey(String),
}

/// Whether these bytes, with their length in front as on the wire, are a message with one request.
pub fn is_request(bytes: &[u8]) -> bool {
    Envelope::decode_length_delimited(bytes).is_ok_and(|envelope| envelope.request().is_ok())
}

impl Envelope {
    /// The one request in the message.
    pub fn request(self) -> Result<Request, Unreadable> {
        let Self { pub_key, vote, proposal, ping, raw } = self;
        let pub_key = pub_key.map(|bytes| {
            let read = PubKeyRequest::decode(&*bytes);
            read.map(Request::PubKey).map_err(|why| Unreadable::PubKey(why.to_string()))
        });
        let mut found: Vec<_> = [
            pub_key,
            vote.map(|bytes| Ok(Request::Vote(bytes))),
            proposal.map(|bytes| Ok(Request::Proposal(bytes))),
            ping.map(|_| Ok(Request::Ping)),
            raw.map(|_| Err(Unreadable::Raw)),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (found.len(), found.pop()) {
            (1, Some(request)) => request,
            (0, _) | (_, None) => Err(Unreadable::Unknown),
            (several, Some(_)) => Err(Unreadable::Several(several)),
        }
    }
}

impl Request {
    /// The chain-id that it names; `None` for a ping, or for bytes that are no request.
    pub fn chain_id(&self) -> Option<String> {
        match self {
            Self::PubKey(PubKeyRequest { chain_id }) => Some(chain_id.clone()),
            Self::Vote(bytes) => SignVoteRequest::decode(&**bytes).ok().map(|request| request.chain_id),
            Self::Proposal(bytes) => {
                SignProposalRequest::decode(&**bytes).ok().map(|request| request.chain_id)
            }
            Self::Ping => None,
        }
    }

    /// The answer that refuses the request.
    pub fn refused(&self, why: &str) -> Message {
        let error = Some(RemoteSignerError { code: REFUSED, description: shortened(why) });
        wrapped(match self {
            Self::PubKey(_) => Sum::PubKeyResponse(PubKeyResponse { pub_key: None, error }),
            Self::Vote(_) => Sum::SignedVoteResponse(SignedVoteResponse { vote: Some(no_vote()), error }),
            Self::Proposal(_) => {
                Sum::SignedProposalResponse(SignedProposalResponse { proposal: Some(no_proposal()), error })
            }
            Self::Ping => Sum::PingResponse(PingResponse {}),
        })
    }
}

/// The answer to a ping.
pub(crate) fn pong() -> Message {
    wrapped(Sum::PingResponse(PingResponse {}))
}

/// The answer that gives the public key; `None` for a scheme that nodes of these versions do not have.
pub(crate) fn pub_key(key: &KeyInfo) -> Option<Message> {
    let bytes = key.public.as_bytes().to_vec();
    let sum = match key.scheme {
        ED25519 => public_key::Sum::Ed25519(bytes),
        SECP256K1 => public_key::Sum::Secp256k1(bytes),
        _ => return None,
    };
    Some(wrapped(Sum::PubKeyResponse(PubKeyResponse {
        pub_key: Some(PublicKey { sum: Some(sum) }),
        error: None,
    })))
}

/// The answer to a request that was signed: the node's own vote or proposal with the signatures and the timestamp that
/// they are over. Never with its extension, which may be longer than a node reads.
///
/// `None` if the reply does not fit the request: then nothing may be sent.
pub(crate) fn signed(request: &Request, reply: &SignReply) -> Option<Message> {
    let time = match &reply.carry {
        None => None,
        Some(carry) => Some(timestamp(&carry.0)?),
    };
    let signature = reply.signature.0.to_vec();
    match request {
        Request::Vote(bytes) => {
            let asked = SignVoteRequest::decode(&**bytes).ok()?.vote?;
            let timestamp = time.or(asked.timestamp);
            let extension_signature =
                reply.beside.as_ref().map(|beside| beside.0.to_vec()).unwrap_or_default();
            let vote = Vote { signature, timestamp, extension_signature, extension: Vec::new(), ..asked };
            let response = SignedVoteResponse { vote: Some(vote), error: None };
            Some(wrapped(Sum::SignedVoteResponse(response)))
        }
        Request::Proposal(bytes) => {
            let asked = SignProposalRequest::decode(&**bytes).ok()?.proposal?;
            let timestamp = time.or(asked.timestamp);
            let proposal = Proposal { signature, timestamp, ..asked };
            let response = SignedProposalResponse { proposal: Some(proposal), error: None };
            Some(wrapped(Sum::SignedProposalResponse(response)))
        }
        Request::PubKey(_) | Request::Ping => None,
    }
}

fn timestamp(carry: &[u8]) -> Option<ProtoTimestamp> {
    let time = Timestamp::of_carry(&signonce_protocol::Carry::new(carry.to_vec()))?;
    Some(ProtoTimestamp { seconds: time.seconds(), nanos: time.nanos().try_into().ok()? })
}

fn wrapped(sum: Sum) -> Message {
    Message { sum: Some(sum) }
}

/// What a node's own encoder makes of an empty vote: Go writes every part, and its zero time.
fn no_vote() -> Vote {
    Vote { block_id: Some(no_block()), timestamp: Some(ZERO_TIME), ..Vote::default() }
}

fn no_proposal() -> Proposal {
    Proposal { block_id: Some(no_block()), timestamp: Some(ZERO_TIME), ..Proposal::default() }
}

fn no_block() -> BlockId {
    BlockId { hash: Vec::new(), part_set_header: Some(PartSetHeader::default()) }
}

/// The first second of the year 1.
const ZERO_TIME: ProtoTimestamp = ProtoTimestamp { seconds: -62_135_596_800, nanos: 0 };

fn shortened(text: &str) -> String {
    match text.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_TEXT_BYTES).last() {
        Some(end) if text.len() > MAX_TEXT_BYTES => format!("{}…", &text[..end]),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
