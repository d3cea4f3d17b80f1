//! BABE and AURA blocks: one header per slot; for collators one per (slot, number, parent).
//!
//! Source: `check_equivocation_proof` of sp-consensus-babe compares whole headers of one slot, so the digest of the
//! header's pre-hash is what is held to. Collators honestly seal several blocks in a slot; their own defender keys on
//! (slot, number, parent) and allows 16 per slot (cumulus `equivocation_import_queue.rs`).
//!
//! There is no jump limit: slots are bound to wall-clock time, which the serving node and the leader judge before a
//! claim is proposed. A lower slot above the floor without an entry was never signed and may be.
//!
//! A chain whose slots got another length counts them anew ([`SlotClock`]). A key's window is in one counting: the
//! numbers in it compare. The first slot of a later counting that is signed, or that an operator's floor names, takes the
//! window over into that counting; it must begin when everything that was signed has ended, and what was signed before
//! is below the floor from then on. So in no counting is a slot signed twice, and no two signed slots of two countings
//! overlap in time. There, and only there, a slot is at most a year past the last one: see [`MAX_SLOT_JUMP_MS`].

use super::{
    Entry,
    store::JournalWriter,
    window::{Coordinate, Window},
};
use crate::model::{Claim, MAX_SLOT_JUMP_MS, Position, Refusal, SlotClock, Verdict};
use signonce_protocol::{BlockNumber, Hash, Slot};
use std::cmp::Ordering;

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

/// A window, and the counting that its numbers are of.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) window: &'a SlotWindow,
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
    /// Where the key is: the last slot it has signed, or its floor.
    fn near_ms(&self) -> u64 {
        self.clock.begin_ms(self.counting, self.window.reference())
    }

    /// When everything that the key may have signed has ended.
    fn end_ms(&self) -> u64 {
        let floor = self.clock.begin_ms(self.counting, self.window.floor());
        let last = self.window.highest().map(|last| self.clock.begin_ms(self.counting, last));
        let duration = self.clock.duration_ms(self.counting);
        last.map_or(floor, |last| floor.max(last.saturating_add(duration)))
    }

    /// Reads a number that is asked for.
    pub(super) fn read(&self, slot: Slot) -> Result<Reading, Box<Refusal>> {
        let near = self.near_ms();
        let (counting, begin) = self.clock.read(slot, near).ok_or_else(|| self.past(slot))?;
        let reference = self.window.reference();
        // A key that starts at zero and has signed nothing has come nowhere yet.
        let is_somewhere = reference != Slot(0) || self.window.highest().is_some();
        if is_somewhere && begin.saturating_sub(near) > MAX_SLOT_JUMP_MS {
            let limit = MAX_SLOT_JUMP_MS / self.clock.duration_ms(counting);
            let [asked, reference] = [slot, reference].map(position);
            return Err(Box::new(Refusal::JumpTooFar { asked, reference, limit }));
        }
        self.place(slot, counting, begin)
    }

    /// Where a floor of an operator stands. One that lies in what was signed is put behind that. `None` for one that is
    /// over.
    pub(super) fn read_floor(&self, (counting, slot): (u32, Slot)) -> Option<Reading> {
        match counting.cmp(&self.counting) {
            Ordering::Less => None,
            Ordering::Equal => (slot >= self.window.floor()).then_some(Reading::Same),
            Ordering::Greater => Some(self.later(counting)),
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

/// Records a header that was just granted. Answers the counting of the window, if it is another since.
pub(super) fn record(
    window: &mut SlotWindow,
    (counting, clock): (u32, SlotClock<'_>),
    at: SlotCoordinate,
    entry: Entry,
    writer: &mut JournalWriter<'_>,
) -> Option<u32> {
    let reading = match clock.is_retimed() {
        true => Counted { window, counting, clock }.read(at.0).expect("a granted slot stands in a counting"),
        false => Reading::Same,
    };
    let moved = take_over(window, reading, writer);
    window.insert(at, entry, KEEP, writer);
    moved
}

/// Brings the window into the counting of what was read.
pub(super) fn take_over(
    window: &mut SlotWindow,
    reading: Reading,
    writer: &mut JournalWriter<'_>,
) -> Option<u32> {
    match reading {
        Reading::Same => None,
        Reading::Later { counting, floor } => {
            window.restart(floor, writer);
            Some(counting)
        }
    }
}

pub(super) fn judge(counted: Counted<'_>, at: SlotCoordinate, claim: &Claim) -> Verdict {
    let Counted { window, clock, .. } = counted;
    if let Some(entry) = window.get(&at) {
        return entry.compare(claim);
    }
    if clock.is_retimed() {
        match counted.read(at.0) {
            Ok(Reading::Same) => {}
            Ok(Reading::Later { .. }) => return Verdict::Granted,
            Err(refusal) => return Verdict::Refused(*refusal),
        }
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
