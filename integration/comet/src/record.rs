//! What a node has asked and got: every try, with its bytes.

use std::{fmt, time::Duration};

/// How one try of a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer of the right kind and without an error.
    Answered,
    /// With an error from the signer, for which a node never asks again.
    Refused {
        /// The code.
        code: i32,
        /// The text.
        description: String,
    },
    /// With a message of another kind, or none at all.
    WrongMessage,
    /// With bytes that are no message.
    Undecodable,
    /// With an answer that is too long, or a length that is none.
    Unreadable(String),
    /// The signer closed the connection.
    Closed,
    /// The connection broke.
    Broken(String),
    /// No answer came in time.
    Late,
    /// Nobody dialled.
    NoConnection,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Refused { code, description } => write!(f, "refused with code {code}: {description}"),
            Self::WrongMessage => f.write_str("answered with a message of another kind"),
            Self::Undecodable => f.write_str("answered with bytes that are no message"),
            Self::Unreadable(why) => write!(f, "answered with what is not read: {why}"),
            Self::Closed => f.write_str("the signer closed the connection"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Late => f.write_str("no answer in time"),
            Self::NoConnection => f.write_str("nobody dialled"),
        }
    }
}

/// One try of a request.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The number of the connection, from 1; 0 if there was none.
    pub connection: u64,
    /// The request's `Message`, without its length.
    pub request: Vec<u8>,
    /// The answer's `Message`, if one was read.
    pub answer: Option<Vec<u8>>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, since the node was made.
    pub at: Duration,
    /// How long it took.
    pub latency: Duration,
}
