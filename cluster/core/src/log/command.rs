//! One entry of the log, and its versions.

use super::Change;
use crate::{
    codec::{CodecError, decode_record, encode_record},
    model::{Claim, FEATURE_LEVEL, FIRST_LEVEL, RequestId},
    records::StateHash,
};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::LogIndex;

/// The newest version of the command format. What is new in a command is a new version, and waits for the feature level
/// that says every member reads it; all else goes on to be written in the version it always had: the feature level it
/// needs.
pub const COMMAND_VERSION: u8 = version_at(FEATURE_LEVEL);

/// The version of what a cluster can do from its first day.
const FIRST_VERSION: u8 = version_at(FIRST_LEVEL);

/// The version of what needs a feature level. Every version is some level's, so that none can be forgotten here.
const fn version_at(level: u32) -> u8 {
    assert!(
        FIRST_LEVEL <= level && level <= FEATURE_LEVEL && FEATURE_LEVEL <= u8::MAX as u32,
        "no such version"
    );
    level as u8
}

/// A claim and who waits for its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClaimRequest {
    /// Who waits.
    pub request: RequestId,
    /// The claim.
    pub claim: Claim,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Claims, judged one after the other.
    #[codec(index = 0)]
    Claims(Vec<ClaimRequest>),
    /// A change by an operator, or by a node about itself.
    #[codec(index = 1)]
    Change {
        /// Who waits.
        request: RequestId,
        /// Who wanted it, for the audit.
        actor: String,
        /// When, in Unix milliseconds of the serving node. Recorded; judged only where a proposal has waited for a
        /// second officer, against the recorded time of the proposal.
        time_ms: u64,
        /// The change.
        change: Change,
    },
    /// The leader's state hash after entry `at`. A member whose own hash after `at` differs stops.
    #[codec(index = 2)]
    Checkpoint {
        /// The entry the hash was taken after.
        at: LogIndex,
        /// The leader's hash.
        hash: StateHash,
    },
}

impl Command {
    /// The bytes of the log entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_record(self.version(), self)
    }

    /// The feature level that says every member reads it: by what is in it.
    fn feature_level(&self) -> u32 {
        match self {
            Self::Change { change, .. } => change.feature_level(),
            // The highest of their families, which were there before the keys.
            Self::Claims(claims) => {
                let levels = claims.iter().map(|asked| asked.claim.duty.class().level());
                levels.max().unwrap_or(FIRST_LEVEL)
            }
            Self::Checkpoint { .. } => FIRST_LEVEL,
        }
    }

    /// The first version of the format that has it.
    fn version(&self) -> u8 {
        version_at(self.feature_level())
    }

    /// Reads a log entry.
    ///
    /// # Errors
    /// Any [`CodecError`]: the node must stop.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        const WHAT: &str = "command";
        let version = match bytes.first() {
            Some(version @ FIRST_VERSION..=COMMAND_VERSION) => *version,
            _ => COMMAND_VERSION,
        };
        let command: Self = decode_record(version, WHAT, bytes)?;
        if command.version() == version {
            return Ok(command);
        }
        // Every member must write, and hash, the same bytes for the same command.
        let reason = format!("version {version} is not the one it is written in, {}", command.version());
        Err(CodecError::Malformed { what: WHAT, reason })
    }
}
