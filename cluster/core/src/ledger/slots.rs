//! Windows over wall-clock slots, on chains whose slots got another length.
//!
//! Such a chain counts them anew ([`SlotClock`]). A key's window is in one counting: the
//! numbers in it compare. The first slot of a later counting that is signed, or that an operator's floor names, takes the
//! window over into that counting; it must begin when everything that was signed has ended, and what was signed before
//! is below the floor from then on. So in no counting is a slot signed twice, and no two signed slots of two countings
//! overlap in time. There, and only there, a slot is at most a year past the last one: see [`MAX_SLOT_JUMP_MS`].

use super::window::Window;
use signonce_protocol::{MAX_SLOT_JUMP_MS, Position, Refusal, Slot, SlotClock, mark::Floor};
use std::cmp::Ordering;

/// A window, and the counting that its numbers are of.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) window: &'a Window,
    pub(super) counting: u32,
    pub(super) clock: SlotClock<'a>,
}

/// Where a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// In the counting of the window.
    Same,
    /// In a later one, after everything that the window has.
    Later {
        /// Which.
        counting: u32,
        /// The first slot of it that begins after everything that the window has.
        floor: Slot,
    },
}

impl Counted<'_> {
    fn reference(&self) -> Slot {
        slot_of(self.window.position(self.window.reference()))
    }

    /// Where the key is: the last slot it has signed, or its floor.
    fn near_ms(&self) -> u64 {
        self.clock.begin_ms(self.counting, self.reference())
    }

    /// When everything that the key may have signed has ended.
    fn end_ms(&self) -> u64 {
        let floor = self.clock.begin_ms(self.counting, slot_of(self.window.floor()));
        let last = self.window.highest().map(|last| self.clock.begin_ms(self.counting, slot_of(last)));
        let duration = self.clock.duration_ms(self.counting);
        last.map_or(floor, |last| floor.max(last.saturating_add(duration)))
    }

    /// Reads a number that is asked for.
    pub(super) fn read(&self, slot: Slot) -> Result<Reading, Box<Refusal>> {
        let near = self.near_ms();
        let (counting, begin) = self.clock.read(slot, near).ok_or_else(|| self.past(slot))?;
        let reference = self.reference();
        // A key that starts at zero and has signed nothing has come nowhere yet.
        let is_somewhere = reference != Slot(0) || self.window.highest().is_some();
        if is_somewhere && begin.saturating_sub(near) > MAX_SLOT_JUMP_MS {
            let limit = MAX_SLOT_JUMP_MS / self.clock.duration_ms(counting);
            let bound = reference.saturating_add(limit);
            let [asked, reference, bound] =
                [slot, reference, bound].map(|slot| self.window.floor().with_slot(slot));
            return Err(Box::new(Refusal::JumpTooFar { asked, reference, limit, bound }));
        }
        self.place(slot, counting, begin)
    }

    /// Where a floor of an operator stands. One that lies in what was signed is put behind that. `None` for one that is
    /// over.
    pub(super) fn read_floor(&self, floor: Floor) -> Option<Reading> {
        match floor.counting.cmp(&self.counting) {
            Ordering::Less => None,
            Ordering::Equal => (floor.at.order() >= self.window.floor().order()).then_some(Reading::Same),
            Ordering::Greater => Some(self.later(floor.counting)),
        }
    }

    fn place(&self, slot: Slot, counting: u32, begin_ms: u64) -> Result<Reading, Box<Refusal>> {
        if counting == self.counting {
            return Ok(Reading::Same);
        }
        if counting < self.counting || begin_ms < self.end_ms() {
            return Err(self.past(slot));
        }
        Ok(self.later(counting))
    }

    fn later(&self, counting: u32) -> Reading {
        Reading::Later { counting, floor: self.clock.first_in(counting, self.end_ms()) }
    }

    fn past(&self, asked: Slot) -> Box<Refusal> {
        let (counting, floor) = self.clock.first_from(self.end_ms());
        let slot_duration_ms = self.clock.duration_ms(counting);
        Box::new(Refusal::PastCounting { asked, floor, slot_duration_ms })
    }
}

fn slot_of(position: Position) -> Slot {
    position.slot().expect("a window of slots has slots")
}
