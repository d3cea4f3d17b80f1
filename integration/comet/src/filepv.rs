//! Go's FilePV in memory: the rule that every stock node has, to compare with and to sign for validators of tests.
//!
//! Its order is exactly Go's (0.38): height, round and step first, then the extension, then what was signed before. Its
//! sign bytes are made of the protobuf types; the `tendermint` crate judges them in [`crate::judge`].

use crate::{Time, ask, judge};
use ed25519_dalek::{Signer as _, SigningKey};
use k256::ecdsa::{Signature as K256Signature, SigningKey as K256Key};
use prost::Message as _;
use tendermint_proto::v0_38::{
    crypto,
    privval::{self, message::Sum},
    types,
};
use thiserror::Error;

/// A validator's secret.
#[derive(Clone)]
pub enum FilePvKey {
    /// Of an ed25519 key.
    Ed25519(Box<SigningKey>),
    /// Of a secp256k1 key.
    Secp256k1(Box<K256Key>),
}

impl FilePvKey {
    /// From a seed.
    pub fn ed25519(seed: &[u8; 32]) -> Self {
        Self::Ed25519(Box::new(SigningKey::from_bytes(seed)))
    }

    /// From a secret.
    ///
    /// # Panics
    /// If it is 0 or not below the order of the curve.
    pub fn secp256k1(secret: &[u8; 32]) -> Self {
        Self::Secp256k1(Box::new(K256Key::from_slice(secret).expect("a secret within the order")))
    }

    /// Signs as Go does.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(bytes).to_bytes().to_vec(),
            Self::Secp256k1(key) => {
                let signature: K256Signature = key.sign(bytes);
                signature.normalize_s().to_bytes().to_vec()
            }
        }
    }

    /// The public key, as in a message.
    pub fn public(&self) -> crypto::PublicKey {
        let sum = match self {
            Self::Ed25519(key) => crypto::public_key::Sum::Ed25519(key.verifying_key().to_bytes().to_vec()),
            Self::Secp256k1(key) => {
                let point = key.verifying_key().to_sec1_point(true);
                crypto::public_key::Sum::Secp256k1(point.as_bytes().to_vec())
            }
        };
        crypto::PublicKey { sum: Some(sum) }
    }
}

/// Why FilePV does not sign.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The height, round or step lies below what was signed.
    #[error("{what} regression. Got {got}, last {last}")]
    Regression {
        /// Which of them.
        what: &'static str,
        /// What was asked.
        got: i64,
        /// What was signed.
        last: i64,
    },
    /// An extension on a prevote or a nil precommit.
    #[error("unexpected vote extension - extensions are only allowed in non-nil precommits")]
    Extension,
    /// Something else was signed there.
    #[error("conflicting data")]
    Conflict,
    /// It is no vote and no proposal.
    #[error("neither a vote nor a proposal: type {0}")]
    Type(i32),
}

/// What FilePV answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The signature.
    pub signature: Vec<u8>,
    /// The timestamp that was signed.
    pub time: Time,
    /// The extension's signature, of every non-nil precommit.
    pub extension_signature: Option<Vec<u8>>,
}

/// What was signed last.
#[derive(Clone, Debug)]
struct Last {
    at: (i64, i32, i32),
    /// Sign bytes without the timestamp.
    statement: Vec<u8>,
    signature: Vec<u8>,
    time: Time,
}

/// FilePV: a key and what it signed last.
#[derive(Clone)]
pub struct FilePv {
    key: FilePvKey,
    last: Option<Last>,
}

impl FilePv {
    /// With a key that has signed nothing.
    pub fn new(key: FilePvKey) -> Self {
        Self { key, last: None }
    }

    /// The key.
    pub fn key(&self) -> &FilePvKey {
        &self.key
    }

    /// Height, round and step (1 to 3) of what was signed last.
    pub fn state(&self) -> (i64, i32, i32) {
        self.last.as_ref().map_or((0, 0, 0), |last| last.at)
    }

    /// Signs a vote, or says why not.
    pub fn vote(&mut self, vote: &types::Vote, chain_id: &str) -> Result<Answer, Refused> {
        let step = match vote.r#type {
            1 => 2,
            2 => 3,
            other => return Err(Refused::Type(other)),
        };
        let at = (vote.height, vote.round, step);
        self.check(at)?;
        let is_nil = vote.block_id.as_ref().is_none_or(is_zero);
        let extension_signature = match (step == 3 && !is_nil, vote.extension.is_empty()) {
            (true, _) => Some(self.key.sign(&judge::extension_bytes(vote, chain_id))),
            (false, true) => None,
            (false, false) => return Err(Refused::Extension),
        };
        let canonical = types::CanonicalVote {
            r#type: vote.r#type,
            height: vote.height,
            round: vote.round.into(),
            block_id: vote.block_id.as_ref().and_then(canonical_block),
            timestamp: vote.timestamp,
            chain_id: chain_id.to_owned(),
        };
        let statement = types::CanonicalVote { timestamp: None, ..canonical.clone() }.encode_to_vec();
        let bytes = canonical.encode_length_delimited_to_vec();
        let (signature, time) = self.sign(at, statement, &bytes, vote.timestamp)?;
        Ok(Answer { signature, time, extension_signature })
    }

    /// Signs a proposal, or says why not.
    pub fn proposal(&mut self, proposal: &types::Proposal, chain_id: &str) -> Result<Answer, Refused> {
        let at = (proposal.height, proposal.round, 1);
        self.check(at)?;
        let canonical = types::CanonicalProposal {
            r#type: proposal.r#type,
            height: proposal.height,
            round: proposal.round.into(),
            pol_round: proposal.pol_round.into(),
            block_id: proposal.block_id.as_ref().and_then(canonical_block),
            timestamp: proposal.timestamp,
            chain_id: chain_id.to_owned(),
        };
        let statement = types::CanonicalProposal { timestamp: None, ..canonical.clone() }.encode_to_vec();
        let bytes = canonical.encode_length_delimited_to_vec();
        let (signature, time) = self.sign(at, statement, &bytes, proposal.timestamp)?;
        Ok(Answer { signature, time, extension_signature: None })
    }

    /// Answers a request's `Message` with a `Message`, as Go's signer does. `None`: it is no request.
    pub fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let sum = match privval::Message::decode(request).ok()?.sum? {
            Sum::PubKeyRequest(_) => {
                Sum::PubKeyResponse(privval::PubKeyResponse { pub_key: Some(self.key.public()), error: None })
            }
            Sum::PingRequest(_) => Sum::PingResponse(privval::PingResponse {}),
            Sum::SignVoteRequest(request) => {
                let mut vote = request.vote?;
                Sum::SignedVoteResponse(match self.vote(&vote, &request.chain_id) {
                    Ok(answer) => {
                        vote.signature = answer.signature;
                        vote.timestamp = Some(answer.time.into());
                        vote.extension_signature = answer.extension_signature.unwrap_or_default();
                        privval::SignedVoteResponse { vote: Some(vote), error: None }
                    }
                    Err(why) => privval::SignedVoteResponse { vote: None, error: Some(error(&why)) },
                })
            }
            Sum::SignProposalRequest(request) => {
                let mut proposal = request.proposal?;
                Sum::SignedProposalResponse(match self.proposal(&proposal, &request.chain_id) {
                    Ok(answer) => {
                        proposal.signature = answer.signature;
                        proposal.timestamp = Some(answer.time.into());
                        privval::SignedProposalResponse { proposal: Some(proposal), error: None }
                    }
                    Err(why) => privval::SignedProposalResponse { proposal: None, error: Some(error(&why)) },
                })
            }
            Sum::PubKeyResponse(_)
            | Sum::SignedVoteResponse(_)
            | Sum::SignedProposalResponse(_)
            | Sum::PingResponse(_) => return None,
        };
        Some(ask::message(sum))
    }

    fn check(&self, (height, round, step): (i64, i32, i32)) -> Result<(), Refused> {
        let (last_height, last_round, last_step) = self.state();
        let parts = [
            ("height", height, last_height),
            ("round", round.into(), last_round.into()),
            ("step", step.into(), last_step.into()),
        ];
        for (what, got, last) in parts {
            if got < last {
                return Err(Refused::Regression { what, got, last });
            }
            if got > last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn sign(
        &mut self,
        at: (i64, i32, i32),
        statement: Vec<u8>,
        bytes: &[u8],
        time: Option<tendermint_proto::google::protobuf::Timestamp>,
    ) -> Result<(Vec<u8>, Time), Refused> {
        if let Some(last) = self.last.as_ref().filter(|last| last.at == at) {
            // The same bytes give the same signature; another timestamp gets the stored one.
            return match last.statement == statement {
                true => Ok((last.signature.clone(), last.time)),
                false => Err(Refused::Conflict),
            };
        }
        let time = time.unwrap_or_default().into();
        let signature = self.key.sign(bytes);
        self.last = Some(Last { at, statement, signature: signature.clone(), time });
        Ok((signature, time))
    }
}

fn error(why: &Refused) -> privval::RemoteSignerError {
    privval::RemoteSignerError { code: 0, description: format!("error signing: {why}") }
}

fn is_zero(block: &types::BlockId) -> bool {
    let no_parts =
        block.part_set_header.as_ref().is_none_or(|parts| parts.total == 0 && parts.hash.is_empty());
    block.hash.is_empty() && no_parts
}

fn canonical_block(block: &types::BlockId) -> Option<types::CanonicalBlockId> {
    let parts = block.part_set_header.clone().unwrap_or_default();
    let part_set_header = Some(types::CanonicalPartSetHeader { total: parts.total, hash: parts.hash });
    (!is_zero(block)).then(|| types::CanonicalBlockId { hash: block.hash.clone(), part_set_header })
}
