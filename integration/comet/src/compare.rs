//! The judge of answers to recorded requests: what FilePV said, no more and no less. Used through [`crate::vectors`].

use crate::{
    Time,
    judge::Key,
    vectors::{Expected, Recorded, RecordedKind},
};
use prost::Message as _;
use tendermint_proto::v0_38::{
    crypto,
    privval::{self, RemoteSignerError, message::Sum},
};
use thiserror::Error;

/// An answer that is not FilePV's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{about}: {what}")]
pub struct Differs {
    /// Where.
    pub about: String,
    /// How.
    pub what: String,
}

/// Whether an answer (a `Message` as [`Node::ask_raw`](crate::Node::ask_raw) gives it) says what FilePV said: the same
/// outcome, signature, timestamp and extension signature. The text of a refusal is the signer's own. A vote's answer
/// must not have an extension signature where FilePV has none.
pub fn compare(answer: &[u8], recorded: &Recorded) -> Result<(), Differs> {
    let differs = |what: String| Differs { about: recorded.about.clone(), what };
    let message = privval::Message::decode(answer)
        .map_err(|error| differs(format!("not a message ({error}): {}", hex::encode(answer))))?;
    let got = read(recorded.kind, message.sum).map_err(&differs)?;
    let same = |what: &str, got: String, expected: String| match got == expected {
        true => Ok(()),
        false => Err(differs(format!("the {what} is {got}, FilePV's {expected}"))),
    };
    let optional = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or("absent".to_owned(), hex::encode);
    match (&got, &recorded.expected) {
        (Got::PubKey(key), Expected::PubKey(expected)) => {
            let expected = privval::Message::decode(&expected[..]).ok().and_then(|message| message.sum);
            match read(RecordedKind::PubKey, expected).map_err(&differs)? {
                Got::PubKey(expected) => same("key", hex::encode(key), hex::encode(expected)),
                other => Err(differs(format!("the recording holds {other:?} instead of a key"))),
            }
        }
        (
            Got::Signed { signature, time, extension_signature },
            Expected::Signed {
                stored: _,
                signature: expected,
                time: at,
                extension_signature: expected_extension,
            },
        ) => {
            // A proposal's timestamp is not read by nodes, but a stored signature is over the stored one.
            same("timestamp", format!("{time:?}"), format!("{:?}", Some(at)))?;
            same("signature", hex::encode(signature), hex::encode(expected))?;
            if recorded.before_extensions {
                return Ok(());
            }
            same("extension signature", optional(extension_signature), optional(expected_extension))
        }
        (Got::Refused(_), Expected::Refused(_)) => Ok(()),
        (Got::Refused(error), expected) => Err(differs(format!(
            "refused (code {}: {}), FilePV answers {expected:?}",
            error.code, error.description
        ))),
        (got, expected) => Err(differs(format!("{got:?}, FilePV answers {expected:?}"))),
    }
}

#[derive(Debug)]
enum Got {
    PubKey(Vec<u8>),
    Signed { signature: Vec<u8>, time: Option<Time>, extension_signature: Option<Vec<u8>> },
    Refused(RemoteSignerError),
}

fn read(kind: RecordedKind, sum: Option<Sum>) -> Result<Got, String> {
    let (error, got) = match (kind, sum) {
        (RecordedKind::PubKey, Some(Sum::PubKeyResponse(answer))) => {
            let key = |key: crypto::PublicKey| Key::read(&key).map(|key| Got::PubKey(key.bytes()));
            (answer.error, answer.pub_key.and_then(key))
        }
        (RecordedKind::Proposal, Some(Sum::SignedProposalResponse(answer))) => {
            let got = answer.proposal.map(|proposal| Got::Signed {
                signature: proposal.signature,
                time: proposal.timestamp.map(Time::from),
                extension_signature: None,
            });
            (answer.error, got)
        }
        (RecordedKind::Prevote | RecordedKind::Precommit, Some(Sum::SignedVoteResponse(answer))) => {
            let got = answer.vote.map(|vote| Got::Signed {
                signature: vote.signature,
                time: vote.timestamp.map(Time::from),
                extension_signature: (!vote.extension_signature.is_empty())
                    .then_some(vote.extension_signature),
            });
            (answer.error, got)
        }
        (kind, other) => return Err(format!("{other:?} is no answer to a {kind:?}")),
    };
    match error {
        Some(error) => Ok(Got::Refused(error)),
        None => got.ok_or_else(|| "an answer without error, and empty".to_owned()),
    }
}
