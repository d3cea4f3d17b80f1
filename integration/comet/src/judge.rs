//! Sign bytes and signatures as others compute them: the `tendermint` crate's, never the signers' own.

use prost::Message as _;
use tendermint::{
    Proposal, PublicKey, Signature, Vote,
    crypto::{default::signature::Verifier, signature::Verifier as _},
};
use tendermint_proto::v0_38::{crypto, types};
use thiserror::Error;

/// Why something is not validly signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// The judge cannot read it: it has no sign bytes.
    #[error("it has no sign bytes: {0}")]
    NoSignBytes(String),
    /// The signature is not 64 bytes.
    #[error("a signature of {0} bytes")]
    Length(usize),
    /// The signature is not the key's over the sign bytes.
    #[error("the signature is not the key's over these sign bytes")]
    Signature,
}

/// The sign bytes of a vote.
pub fn vote_bytes(vote: &types::Vote, chain_id: &str) -> Result<Vec<u8>, Invalid> {
    // Signatures are not signed, and bad ones must not make the vote unreadable.
    let unsigned = types::Vote { signature: Vec::new(), extension_signature: Vec::new(), ..vote.clone() };
    let vote = Vote::try_from(unsigned).map_err(unreadable)?;
    Ok(vote.into_signable_vec(chain_id.try_into().map_err(unreadable)?))
}

/// The sign bytes of a proposal.
pub fn proposal_bytes(proposal: &types::Proposal, chain_id: &str) -> Result<Vec<u8>, Invalid> {
    let unsigned = types::Proposal { signature: Vec::new(), ..proposal.clone() };
    let proposal = Proposal::try_from(unsigned).map_err(unreadable)?;
    Ok(proposal.into_signable_vec(chain_id.try_into().map_err(unreadable)?))
}

/// The sign bytes of a vote's extension.
pub fn extension_bytes(vote: &types::Vote, chain_id: &str) -> Vec<u8> {
    let canonical = types::CanonicalVoteExtension {
        extension: vote.extension.clone(),
        height: vote.height,
        round: vote.round.into(),
        chain_id: chain_id.to_owned(),
    };
    canonical.encode_length_delimited_to_vec()
}

fn unreadable(error: impl std::fmt::Display) -> Invalid {
    Invalid::NoSignBytes(error.to_string())
}

/// A validator's key, read from the signer's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(PublicKey);

impl Key {
    /// From a message.
    pub fn read(key: &crypto::PublicKey) -> Option<Self> {
        match key.sum.as_ref()? {
            crypto::public_key::Sum::Ed25519(bytes) => PublicKey::from_raw_ed25519(bytes),
            crypto::public_key::Sum::Secp256k1(bytes) => PublicKey::from_raw_secp256k1(bytes),
        }
        .map(Self)
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// The validator's address.
    pub fn address(&self) -> Vec<u8> {
        tendermint::account::Id::from(self.0).as_bytes().to_vec()
    }

    /// Whether this is its signature over these bytes.
    pub fn check(&self, bytes: &[u8], signature: &[u8]) -> Result<(), Invalid> {
        let length = Invalid::Length(signature.len());
        let signature = Signature::new(signature).map_err(|_| length.clone())?.ok_or(length)?;
        Verifier.verify(self.0, bytes, &signature).map_err(|_| Invalid::Signature)
    }
}
