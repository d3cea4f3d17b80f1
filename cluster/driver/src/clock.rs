//! The wall-clock fence: a block's slot must be about now.
//!
//! It keeps a bogus far slot from burning a key's floor, and makes a lost watermark harmless after a few slots. The
//! serving node checks before it asks and the leader before it proposes; never the log, which knows no clock.

use signonce_core::{Claim, State};
use signonce_protocol::Slot;

/// A slot that is not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot {slot} is more than {tolerance} slots from the present slot {now}")]
pub struct SlotOutOfRange {
    /// The slot asked for.
    pub slot: Slot,
    /// The slot by the clock of the node that looked.
    pub now: Slot,
    /// How many slots off it may be, either way.
    pub tolerance: u64,
}

/// Checks the slot of `claim`, if its duty has one and its key and chain are known; the log judges the rest.
///
/// # Errors
/// [`SlotOutOfRange`].
pub fn check_slot(state: &State, claim: &Claim, now_ms: u64, tolerance: u64) -> Result<(), SlotOutOfRange> {
    let Some(slot) = claim.duty.slot() else { return Ok(()) };
    let chain = state.key(&claim.key).and_then(|key| state.registry().chain(&key.chain));
    let Some(chain) = chain.filter(|chain| chain.slot_duration_ms().is_some_and(|ms| ms > 0)) else {
        return Ok(());
    };
    let clock = state.registry().clock(chain);
    // No further than the log knows of: a backup has it, and a restore leaves out as much.
    let tolerance = tolerance.min(state.registry().slot_tolerance());
    if clock.is_near(slot, now_ms, tolerance) {
        return Ok(());
    }
    Err(SlotOutOfRange { slot, now: clock.slot_at(now_ms), tolerance })
}
