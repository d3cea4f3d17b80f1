//! How a chain counts its slots, and how that changes.
//!
//! A slot's number is Unix time divided by the slot's length. When a runtime upgrade changes the length, the numbers of
//! all later slots are others: at longer slots they fall. So a chain has **countings**: the first is the one it was
//! added with, each later one holds from a moment on that two officers named. A slot stands in a counting if it begins
//! within the time of that counting; what is compared across countings is the time at which slots begin.
//!
//! A number may stand in two countings, decades apart. It is read in the one that puts it nearest to where the key is
//! (or, where that is not known, to when an operator wrote it). No clock is asked for that. That the two are far apart is
//! what the least change of a length is for; that a key gets from the one to the other in decades only, [`MAX_SLOT_JUMP_MS`].

use super::{Chain, FloorError};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{GenesisHash, LogIndex, Slot};

/// How far a slot of a chain with several countings may begin after the last one that its key has signed: a year. Much
/// less than two readings of a number are apart, much more than a validator is away.
pub const MAX_SLOT_JUMP_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// The most slots that a block's slot may be from a signer's clock, whatever its configuration says. A restore leaves
/// out as many after now: a wider fence would make every restore cost more, and hide a clock that is wrong.
pub const MAX_SLOT_TOLERANCE: u64 = 30;

/// The same while no signer has asked for more.
pub const DEFAULT_SLOT_TOLERANCE: u64 = 3;

/// From a moment on, slots have another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiming {
    /// The moment, in Unix milliseconds: slots that begin then or later are counted so.
    pub from_ms: u64,
    /// The new length.
    pub slot_duration_ms: u64,
    /// The log entry that said so.
    pub at: LogIndex,
}

/// The countings of a chain.
#[derive(Clone, Copy, Debug)]
pub struct SlotClock<'a> {
    chain: GenesisHash,
    first_ms: u64,
    later: &'a [Retiming],
}

impl<'a> SlotClock<'a> {
    /// Of a chain and its later countings.
    pub fn new(chain: &Chain, later: &'a [Retiming]) -> Self {
        // A cluster refuses slots of 0 ms.
        Self { chain: chain.genesis, first_ms: chain.slot_duration_ms.max(1), later }
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

    /// The length of a slot.
    pub fn duration_ms(&self, counting: u32) -> u64 {
        self.retiming(counting).map_or(self.first_ms, |later| later.slot_duration_ms.max(1))
    }

    /// Since when a counting holds.
    pub fn since_ms(&self, counting: u32) -> u64 {
        self.retiming(counting).map_or(0, |later| later.from_ms)
    }

    /// When a slot begins; the end of time for numbers that no clock reaches.
    pub fn begin_ms(&self, counting: u32, slot: Slot) -> u64 {
        slot.0.saturating_mul(self.duration_ms(counting))
    }

    /// Whether a slot that begins then is one of this counting.
    fn holds(&self, counting: u32, begin_ms: u64) -> bool {
        let next = counting.checked_add(1).and_then(|next| self.retiming(next));
        begin_ms >= self.since_ms(counting) && next.is_none_or(|next| begin_ms < next.from_ms)
    }

    /// The counting that holds at a moment.
    pub fn counting_at(&self, unix_ms: u64) -> u32 {
        let passed = self.later.iter().take_while(|later| later.from_ms <= unix_ms).count();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    /// The slot of a moment.
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

    /// The slot so many after that of a moment: by time, where slots change meanwhile.
    pub fn slots_after(&self, unix_ms: u64, slots: u64) -> Slot {
        let begin = self.begin_ms(self.counting_at(unix_ms), self.slot_at(unix_ms).saturating_add(slots));
        self.first_from(begin).1
    }

    /// The first slot of a counting that begins at a moment or later.
    pub(crate) fn first_in(&self, counting: u32, unix_ms: u64) -> Slot {
        Slot(unix_ms.max(self.since_ms(counting)).div_ceil(self.duration_ms(counting)))
    }

    /// The counting in which a number is a slot that begins nearest to a moment, and when it begins. `None` for a
    /// number that is left out where slots get shorter.
    pub fn read(&self, slot: Slot, near_ms: u64) -> Option<(u32, u64)> {
        let readings = (0..=self.newest()).map(|counting| (counting, self.begin_ms(counting, slot)));
        readings
            .filter(|(counting, begin)| self.holds(*counting, *begin))
            .min_by_key(|(_, begin)| begin.abs_diff(near_ms))
    }

    /// Reads a floor that was given at a moment: the counting and the slot from which on may be signed. A number that
    /// was left out, or that the old length would have had later, stands for the time at which it would begin.
    ///
    /// # Errors
    /// In words, for one of a year from then or later: it would make numbers of before look like slots to come.
    pub(crate) fn read_floor(&self, slot: Slot, given_ms: u64) -> Result<(u32, Slot), FloorError> {
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
            return Err(FloorError::TooFar { chain: self.chain, why });
        }
        Ok(if self.holds(counting, begin) { (counting, slot) } else { self.first_from(begin) })
    }

    /// Whether a slot is the present one, or at most `tolerance` from it, in a counting that it stands in.
    pub fn is_near(&self, slot: Slot, now_ms: u64, tolerance: u64) -> bool {
        (0..=self.newest()).any(|counting| {
            let now = now_ms / self.duration_ms(counting);
            self.holds(counting, self.begin_ms(counting, slot)) && slot.0.abs_diff(now) <= tolerance
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Limits;
    use signonce_protocol::ChainFormat;

    const M: u64 = 1_795_800_006_000;

    fn chain(slot_duration_ms: u64) -> Chain {
        let (genesis, name) = (GenesisHash([1; 32]), "c".into());
        Chain { genesis, name, format: ChainFormat::default(), slot_duration_ms, limits: Limits::default() }
    }

    fn later(from_ms: u64, slot_duration_ms: u64) -> Retiming {
        Retiming { from_ms, slot_duration_ms, at: LogIndex(1) }
    }

    #[test]
    fn a_slot_is_read_where_it_stands_nearest() {
        let (chain, later) = (chain(6_000), [later(M, 24_000)]);
        let clock = SlotClock::new(&chain, &later);
        let (last, first) = (Slot(299_300_000), Slot(74_825_001));
        assert_eq!(clock.read(last, M), Some((0, 1_795_800_000_000)));
        assert_eq!(clock.read(first, M), Some((1, 1_795_800_024_000)));
        assert_eq!(clock.first_from(M), (1, first));
        assert_eq!(clock.first_from(M - 6_000), (0, last));
        assert_eq!((clock.slot_at(M - 1), clock.slot_at(M + 18_000)), (last, first));
        assert_eq!((clock.slots_after(M - 18_000, 2), clock.slots_after(M - 1, 1)), (last, first));
    }

    #[test]
    fn where_slots_get_shorter_some_numbers_are_left_out() {
        let (chain, later) = (chain(12_000), [later(1_795_800_012_000, 6_000)]);
        let clock = SlotClock::new(&chain, &later);
        assert_eq!(clock.read(Slot(149_650_000), M), Some((0, 1_795_800_000_000)));
        assert_eq!(clock.read(Slot(299_300_002), M), Some((1, 1_795_800_012_000)));
        for out in [149_650_001, 200_000_000, 299_300_001] {
            assert_eq!(clock.read(Slot(out), M), None, "{out}");
        }
    }

    #[test]
    fn the_fence_goes_by_the_counting_of_the_moment() {
        let (chain, later) = (chain(6_000), [later(M, 24_000)]);
        let clock = SlotClock::new(&chain, &later);
        assert!(clock.is_near(Slot(299_300_000), M - 1, 3));
        assert!(!clock.is_near(Slot(299_300_001), M - 1, 3), "it would begin when slots last otherwise");
        assert!(clock.is_near(Slot(74_825_001), M - 1, 3), "a clock may be behind");
        assert!(clock.is_near(Slot(299_300_000), M + 6_000, 3), "or a block late");
        assert!(!clock.is_near(Slot(299_300_000), M + 60_000, 3));
        assert!(!clock.is_near(Slot(299_300_010), M + 60_000, 3), "no number of before");
        assert!(!clock.is_near(Slot(u64::MAX), M, 3));
    }
}
