//! Decides what to do with an admitted request, from one view of the applied state. No side effects.

use super::{Work, echo, errors, lookup};
use signonce_cluster::{Decision, Foreseen, TimelyClaim, View};
use signonce_core::{Claim, Coverage};
use signonce_protocol::{
    Duty,
    rpc::{LastSigned, RpcError},
};

/// The next step.
pub(super) enum Next {
    /// Sign it: it is free.
    Free,
    /// Refuse it: the key is halted.
    Halted(RpcError),
    /// Answer with what was decided before.
    Known(Claim, Box<Decision>),
    /// Have the log decide.
    Ask {
        /// The claim, if its slot is about now.
        claim: Result<TimelyClaim, RpcError>,
        /// The refusal to be expected by this node's state, which a later entry may change.
        foreseen: Option<RpcError>,
    },
}

/// Whether the client was given a signature that this node does not know of. That must be cleared up first; but a
/// halted key signs nothing anyway.
pub(super) fn is_doubtful(view: &View<'_>, work: &Work, shown: &LastSigned) -> bool {
    let Work { client: _, key, payload } = work;
    let is_covered = shown.duty.class().key_types().contains(&key.key_type)
        && view.state().covers(key, &shown.duty, shown.digest) == Coverage::Covered;
    payload.duty().is_some() && !is_covered && view.state().registry().halt(key).is_none()
}

/// Decides on `work`, which was asked for at `now_ms`.
pub(super) fn next(view: &View<'_>, work: &Work, now_ms: u64) -> Next {
    let Work { client, key, payload } = work;
    let Some(duty) = payload.duty() else { return Next::Free };
    if let Some(halt) = view.state().registry().halt(key) {
        return Next::Halted(echo::halted(key, &halt.duty, halt.log_index));
    }
    let claim = Claim {
        key: *key,
        client: client.id,
        duty: duty.clone(),
        digest: payload.digest(),
        carry: payload.carry(),
        time_ms: now_ms,
    };
    let foreseen = match view.foresee(&claim) {
        Foreseen::Known(decision) => return Next::Known(claim, Box::new(decision)),
        Foreseen::Refused(refusal) => {
            Some(errors::refused(&claim, &refusal, |id| lookup::client_name(view.state(), id)))
        }
        Foreseen::Open => None,
    };
    Next::Ask { claim: timely(view, claim, duty), foreseen }
}

/// The claim of `duty`, if its slot is about now.
pub(super) fn timely(view: &View<'_>, claim: Claim, duty: &Duty) -> Result<TimelyClaim, RpcError> {
    let key = claim.key;
    view.timely(claim).map_err(|off| errors::undecided(&key, duty, off.into(), None))
}
