//! Why a gate opens or closes, as the log says it.

use super::VotePosition;
use std::fmt;

/// Why a gate opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// The signers know of no vote with it.
    NeverVoted,
    /// At the start, with an intact database.
    DatabaseAhead { next: VotePosition },
    /// At the start, in the round of the last vote, with a database that has it.
    VotesConfirmed { at: VotePosition },
    /// The usual way after a refusal or a lost database.
    Past { position: VotePosition },
    /// The chain stands still, perhaps for want of this vote.
    Try { position: VotePosition },
}

/// Why a gate closed, or stays closed after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// The vote there was another one, or below what may be signed.
    Refused { at: VotePosition },
    /// No record, or one that cannot be read.
    NothingRecorded,
    /// An old copy of the database, or another node has voted.
    RecordBehind { next: VotePosition },
    /// The same, in the middle of a round.
    VotesNotRecorded { at: VotePosition },
    /// Ends a try before it began.
    NoRestart,
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverVoted => f.write_str("the key has never voted"),
            Self::DatabaseAhead { next } => {
                write!(f, "the node's database goes on at {next}, past every vote")
            }
            Self::VotesConfirmed { at } => {
                write!(f, "the votes the node recorded in {at} are the ones signed")
            }
            Self::Past { position } => {
                write!(f, "the voter is in {position}, past every vote, and nobody else signs")
            }
            Self::Try { position } => {
                write!(
                    f,
                    "a try, as finality stands still at {position} and may need this vote; \
                    what is not safe will be refused"
                )
            }
        }
    }
}

impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { at } => write!(f, "a vote in {at} was refused"),
            Self::NothingRecorded => f.write_str("the node's database does not say what it voted"),
            Self::RecordBehind { next } => {
                write!(f, "the node's database goes on at {next}, behind what was signed")
            }
            Self::VotesNotRecorded { at } => {
                write!(f, "votes in {at} were signed that the node's database lacks")
            }
            Self::NoRestart => f.write_str("this node cannot restart its voter for a try"),
        }
    }
}
