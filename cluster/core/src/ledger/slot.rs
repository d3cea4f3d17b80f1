//! BABE and AURA blocks: one header per slot; for collators one per (slot, number, parent).
//!
//! Source: `check_equivocation_proof` of sp-consensus-babe compares whole headers of one slot, so the digest of the
//! header's pre-hash is what is held to. Collators honestly seal several blocks in a slot; their own defender keys on
//! (slot, number, parent) and allows 16 per slot (cumulus `equivocation_import_queue.rs`).
//!
//! There is no jump limit: slots are bound to wall-clock time, which the serving node and the leader judge before a
//! claim is proposed. A lower slot above the floor without an entry was never signed and may be.

use super::{
    Claim, Entry, Position, Refusal, Verdict,
    window::{Coordinate, Window},
};
use signonce_protocol::{BlockNumber, Hash, Slot};

/// Slots with entries that are kept.
pub(super) const KEEP: usize = 64;

/// The most blocks of one collator in one slot: four times what cumulus allows.
pub(super) const MAX_PER_SLOT: u32 = 64;

/// The slot, and on collators the block's number and parent.
pub(super) type SlotCoordinate = (Slot, Option<(BlockNumber, Hash)>);

/// The watermark of a `babe` or `aura` key.
pub(super) type SlotWindow = Window<SlotCoordinate, Entry>;

impl Coordinate for SlotCoordinate {
    type Step = Slot;
    fn step(&self) -> Slot {
        self.0
    }
}

pub(super) fn judge(window: &SlotWindow, at: SlotCoordinate, claim: &Claim) -> Verdict {
    if let Some(entry) = window.get(&at) {
        return entry.compare(claim);
    }
    if window.is_below(&at) {
        let [asked, floor] = [at.0, window.floor()].map(position);
        return Verdict::Refused(Refusal::BelowWatermark { asked, floor });
    }
    if window.crowd(at.0) >= MAX_PER_SLOT {
        return Verdict::Refused(Refusal::Crowded { position: position(at.0), limit: MAX_PER_SLOT });
    }
    Verdict::Granted
}

pub(super) fn position(slot: Slot) -> Position {
    Position::Slot { slot }
}
