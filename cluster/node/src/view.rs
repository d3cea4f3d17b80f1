//! A view of what this node has applied: everything that a request needs from it, under one lock.

use crate::clock::{SlotOutOfRange, check_slot, unix_ms};
use signonce_core::{Claim, State};
use signonce_driver::decision::{Foreseen, foresee};
use signonce_protocol::LogIndex;

/// What [`Handle::view`](crate::Handle::view) gives. Applying waits while it is in use.
pub struct View<'a> {
    pub(crate) state: &'a State,
    /// The last applied entry; the state may be newer, never older.
    pub(crate) applied: LogIndex,
    pub(crate) is_member: bool,
    pub(crate) slot_tolerance: u64,
}

impl<'a> View<'a> {
    /// The applied state.
    pub const fn state(&self) -> &'a State {
        self.state
    }

    /// What the state says of `claim`. A node that is not a member never answers [`Known`](Foreseen::Known).
    pub fn foresee(&self, claim: &Claim) -> Foreseen {
        match foresee(self.state, self.applied, claim) {
            Foreseen::Known(_) if !self.is_member => Foreseen::Open,
            foreseen @ (Foreseen::Known(_) | Foreseen::Refused(_) | Foreseen::Open) => foreseen,
        }
    }

    /// Checks the claim's slot, if it has one, against this node's clock.
    ///
    /// # Errors
    /// [`SlotOutOfRange`].
    pub fn timely(&self, claim: Claim) -> Result<TimelyClaim, SlotOutOfRange> {
        check_slot(self.state, &claim, unix_ms(), self.slot_tolerance)?;
        Ok(TimelyClaim(claim))
    }
}

/// A claim whose slot, if it has one, was near this node's clock when it was checked: only these may be proposed.
#[derive(Clone, Debug)]
pub struct TimelyClaim(Claim);

impl TimelyClaim {
    /// The claim.
    pub const fn claim(&self) -> &Claim {
        &self.0
    }

    /// The claim.
    pub fn into_claim(self) -> Claim {
        self.0
    }
}
