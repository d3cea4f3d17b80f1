//! Which refusals a node is told, and what to do about the others.

use signonce_protocol::rpc::{ErrorCode, RpcError};
use std::time::Duration;

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The node is told. It never asks for this vote again.
    Tell,
    /// Ask again after this time.
    AskAgain(Duration),
    /// Leave, and come back when the cluster can answer. The node asks again then.
    StayAway,
}

/// How long to wait where a signer does not say.
const PAUSE: Duration = Duration::from_millis(100);

/// What to do about a refusal by a signer.
pub(crate) fn disposition(error: &RpcError) -> Disposition {
    match error.code {
        // Nothing changes these, or only an operator who looks at this very duty, long after the node gave up on it.
        ErrorCode::Equivocation
        | ErrorCode::BelowWatermark
        | ErrorCode::JumpTooFar
        | ErrorCode::AheadOfGroup
        | ErrorCode::Locked
        | ErrorCode::MalformedPayload
        | ErrorCode::WrongChain
        | ErrorCode::UnknownKey
        | ErrorCode::WrongKeyType
        | ErrorCode::Forbidden
        | ErrorCode::InvalidParams => Disposition::Tell,
        ErrorCode::RateLimited => {
            Disposition::AskAgain(error.data.retry_after_ms.map_or(PAUSE, Duration::from_millis))
        }
        // An operator arms the key, and the validator goes on where it was.
        ErrorCode::KeyNotArmed
        | ErrorCode::KeyHalted
        | ErrorCode::SlotOutOfRange
        | ErrorCode::NotReady
        | ErrorCode::UnknownOutcome
        | ErrorCode::Internal => Disposition::StayAway,
    }
}
