//! How a chain counts its slots, and how that changes.
//!
//! A slot's number is Unix time divided by the slot's length. When a runtime upgrade changes the length, the numbers of
//! all later slots change: with longer slots they fall. So a chain has **countings**: the first is the one it was added
//! with; each later one holds from a moment that two officers named. A slot belongs to a counting if it begins while
//! that counting holds. Across countings, the times at which slots begin are compared.
//!
//! A number may belong to two countings, decades apart. It is read in the one that puts it nearest to where the key is
//! (or, where that is not known, to when an operator wrote it); no clock is read. A minimum for changes of the length
//! keeps the two readings far apart, and [`MAX_SLOT_JUMP_MS`] keeps a key from getting from one to the other within
//! decades.

use crate::{Chain, ChainId, LogIndex, Slot};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How far, in milliseconds, a slot of a chain with several countings may begin after the last one that its key has
/// signed: a year. Two readings of a number are much further apart; a validator is never away that long.
pub const MAX_SLOT_JUMP_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// A change of the slot length from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiming {
    /// The moment, in Unix milliseconds: slots that begin then or later have the new length.
    pub from_ms: u64,
    /// The new length in milliseconds.
    pub slot_duration_ms: u64,
    /// The log entry that set it.
    pub at: LogIndex,
}

/// A floor so far ahead that numbers of earlier slots would be read as slots to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTooFar {
    /// The chain.
    pub chain: ChainId,
    /// The explanation, as text.
    pub why: String,
}

/// The countings of a chain.
#[derive(Clone, Copy, Debug)]
pub struct SlotClock<'a> {
    chain: ChainId,
    first_ms: u64,
    later: &'a [Retiming],
}

impl<'a> SlotClock<'a> {
    /// The countings of a chain: the one it was added with, and the later ones.
    pub fn new(chain: &Chain, later: &'a [Retiming]) -> Self {
        // A cluster refuses slots of 0 ms. A chain without slots is never asked.
        Self { chain: chain.genesis, first_ms: chain.slot_duration_ms().unwrap_or(1).max(1), later }
    }

    /// Whether there is more than one counting.
    pub fn is_retimed(&self) -> bool {
        !self.later.is_empty()
    }

    /// The newest counting; the first is 0.
    pub fn newest(&self) -> u32 {
        u32::try_from(self.later.len()).unwrap_or(u32::MAX)
    }

    fn retiming(&self, counting: u32) -> Option<&'a Retiming> {
        self.later.get(usize::try_from(counting.checked_sub(1)?).ok()?)
    }

    /// The length of a slot in milliseconds.
    pub fn duration_ms(&self, counting: u32) -> u64 {
        self.retiming(counting).map_or(self.first_ms, |later| later.slot_duration_ms.max(1))
    }

    /// The moment from which a counting holds, in Unix milliseconds.
    pub fn since_ms(&self, counting: u32) -> u64 {
        self.retiming(counting).map_or(0, |later| later.from_ms)
    }

    /// When a slot begins, in Unix milliseconds; the end of time for numbers that no clock reaches.
    pub fn begin_ms(&self, counting: u32, slot: Slot) -> u64 {
        slot.0.saturating_mul(self.duration_ms(counting))
    }

    /// Whether a slot that begins then belongs to this counting.
    fn holds(&self, counting: u32, begin_ms: u64) -> bool {
        let next = counting.checked_add(1).and_then(|next| self.retiming(next));
        begin_ms >= self.since_ms(counting) && next.is_none_or(|next| begin_ms < next.from_ms)
    }

    /// The counting that holds at a moment.
    pub fn counting_at(&self, unix_ms: u64) -> u32 {
        let passed = self.later.iter().take_while(|later| later.from_ms <= unix_ms).count();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    /// The slot at a moment.
    pub fn slot_at(&self, unix_ms: u64) -> Slot {
        Slot(unix_ms / self.duration_ms(self.counting_at(unix_ms)))
    }

    /// The first slot that begins at a moment or later, and its counting.
    pub fn first_from(&self, unix_ms: u64) -> (u32, Slot) {
        let newest = self.newest();
        for counting in self.counting_at(unix_ms)..newest {
            let slot = self.first_in(counting, unix_ms);
            if self.holds(counting, self.begin_ms(counting, slot)) {
                return (counting, slot);
            }
        }
        (newest, self.first_in(newest, unix_ms))
    }

    /// The slot that comes `slots` after the one at a moment: by time, where the length changes meanwhile.
    pub fn slots_after(&self, unix_ms: u64, slots: u64) -> Slot {
        let begin = self.begin_ms(self.counting_at(unix_ms), self.slot_at(unix_ms).saturating_add(slots));
        self.first_from(begin).1
    }

    /// The first slot of a counting that begins at a moment or later.
    pub fn first_in(&self, counting: u32, unix_ms: u64) -> Slot {
        Slot(unix_ms.max(self.since_ms(counting)).div_ceil(self.duration_ms(counting)))
    }

    /// The counting in which a number is a slot that begins nearest to a moment, and when it begins. `None` for a
    /// number that no counting has because slots got shorter.
    pub fn read(&self, slot: Slot, near_ms: u64) -> Option<(u32, u64)> {
        let readings = (0..=self.newest()).map(|counting| (counting, self.begin_ms(counting, slot)));
        readings
            .filter(|(counting, begin)| self.holds(*counting, *begin))
            .min_by_key(|(_, begin)| begin.abs_diff(near_ms))
    }

    /// Reads a floor that was given at a moment: the counting and the first slot that may be signed. A number that no
    /// counting has, or that the old length would have reached later, stands for the time at which it would begin.
    ///
    /// # Errors
    /// As text, for a floor a year or more after that moment: numbers of earlier slots would be read as slots to come.
    pub fn read_floor(&self, slot: Slot, given_ms: u64) -> Result<(u32, Slot), SlotTooFar> {
        if !self.is_retimed() {
            return Ok((0, slot));
        }
        let readings = (0..=self.newest()).map(|counting| (counting, self.begin_ms(counting, slot)));
        let (counting, begin) = readings
            .filter(|(counting, begin)| *begin >= self.since_ms(*counting))
            .min_by_key(|(_, begin)| begin.abs_diff(given_ms))
            .expect("every slot begins after the first counting does");
        if begin.saturating_sub(given_ms) > MAX_SLOT_JUMP_MS {
            let why = format!(
                "slot {slot} is more than a year from now. A slot of the chain lasts {} ms at present, and is number {}",
                self.duration_ms(self.counting_at(given_ms)),
                self.slot_at(given_ms)
            );
            return Err(SlotTooFar { chain: self.chain, why });
        }
        Ok(if self.holds(counting, begin) { (counting, slot) } else { self.first_from(begin) })
    }

    /// Whether a slot is the present one, or at most `tolerance` slots from it, in a counting that it belongs to.
    pub fn is_near(&self, slot: Slot, now_ms: u64, tolerance: u64) -> bool {
        (0..=self.newest()).any(|counting| {
            let now = now_ms / self.duration_ms(counting);
            self.holds(counting, self.begin_ms(counting, slot)) && slot.0.abs_diff(now) <= tolerance
        })
    }
}
