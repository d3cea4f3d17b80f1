//! How far a chain and its votes are, and the floors that follow from it for keys that come from a stopped validator.
//!
//! What a node says never makes a floor lower: floors are put above it.

use serde::{Deserialize, Serialize};
use signonce_core::{Position, SlotClock};
use signonce_protocol::{DutyClass, Slot};
use signonce_shared::admin::api::ChainRow;
use signonce_substrate::{BEEFY_VOTE, BlockNumber, GRANDPA_VOTE, PARA_SIDE, Round, SessionIndex, SetId};
use std::fmt;

/// How far a chain and its voters are, by a node of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// When it was asked, in Unix milliseconds.
    pub at_ms: u64,
    /// The slot at that time, by this machine's clock.
    pub slot: Slot,
    /// The best block.
    pub best: BlockNumber,
    /// The GRANDPA set, and the highest round that the node's voter knows of.
    pub grandpa: Option<(SetId, Round)>,
    /// The BEEFY validator set.
    pub beefy_set: Option<SetId>,
    /// The session, where the chain has parachains.
    pub session: Option<SessionIndex>,
    /// How old the node's blocks were. `None` in records from before this was asked.
    #[serde(default)]
    pub head: Option<Head>,
}

/// The age of a node's blocks, by the slots in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The slot in the best block.
    pub slot: Slot,
    /// How long ago it began, in milliseconds. 0 if it is ahead of this machine's clock.
    pub age_ms: u64,
    /// The same for the last finalized block, in milliseconds.
    pub final_age_ms: u64,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, age_ms, final_age_ms } = self;
        write!(
            f,
            "its best block is of slot {slot}, {} s old, its last final one {} s",
            age_ms / 1_000,
            final_age_ms / 1_000
        )
    }
}

/// How old a node's best block may be, in milliseconds: a minute, or ten slots. Blocks are missed now and then; a node
/// that is further behind does not know how far the votes are.
pub(crate) const HEAD_MS: u64 = 60_000;
pub(crate) const HEAD_SLOTS: u64 = 10;
/// The same for its last finalized block: ten minutes, or a hundred slots.
pub(crate) const FINAL_MS: u64 = 600_000;
pub(crate) const FINAL_SLOTS: u64 = 100;

/// How long ago a slot began, or an error as text if that is out of bounds. The bound is the longer of a time and so
/// many slots.
pub(crate) fn age(
    clock: SlotClock<'_>,
    slot: Slot,
    now_ms: u64,
    least_ms: u64,
    slots: u64,
) -> Result<u64, String> {
    let Some((counting, begin_ms)) = clock.read(slot, now_ms) else {
        return Err(format!("of slot {slot}, which the chain as it was added here does not have"));
    };
    let bound = least_ms.max(slots.saturating_mul(clock.duration_ms(counting)));
    let off = now_ms.abs_diff(begin_ms);
    if off <= bound {
        return Ok(now_ms.saturating_sub(begin_ms));
    }
    let (long, way) = (long(off), if begin_ms < now_ms { "ago" } else { "from now" });
    Err(format!("of slot {slot}, {long} {way}; {} is the limit", self::long(bound)))
}

/// A length of time, roughly.
fn long(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

impl Progress {
    /// This, raised to what was known before where that is further. Unknown fields stay unknown: an older value says
    /// nothing of now.
    pub fn raised_by(self, before: Self) -> Self {
        fn raised<T: Ord>(now: Option<T>, before: Option<T>) -> Option<T> {
            match (now, before) {
                (Some(now), Some(before)) => Some(now.max(before)),
                (now, _) => now,
            }
        }
        Self {
            at_ms: self.at_ms,
            slot: self.slot.max(before.slot),
            best: self.best.max(before.best),
            grandpa: raised(self.grandpa, before.grandpa),
            beefy_set: raised(self.beefy_set, before.beefy_set),
            session: raised(self.session, before.session),
            head: self.head,
        }
    }

    /// The further of each value from two nodes that are both up to date, or the one that is known.
    pub fn or_further(self, other: Self) -> Self {
        fn further<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.max(other)
        }
        let oldest = |one: Head, other: Head| if one.age_ms >= other.age_ms { one } else { other };
        Self {
            at_ms: self.at_ms.min(other.at_ms),
            slot: if self.at_ms <= other.at_ms { self.slot } else { other.slot },
            best: self.best.max(other.best),
            grandpa: further(self.grandpa, other.grandpa),
            beefy_set: further(self.beefy_set, other.beefy_set),
            session: further(self.session, other.session),
            head: self
                .head
                .zip(other.head)
                .map(|(one, other)| oldest(one, other))
                .or(self.head)
                .or(other.head),
        }
    }
}

/// How far a chain is, and how far a stopped validator of it may have come.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// What the old validator said before it was stopped.
    pub old: Option<Progress>,
    /// What another node said after that.
    pub now: Option<Progress>,
    /// How many GRANDPA rounds are left out above the highest one known.
    pub rounds: u64,
}

/// How many slots are left out above the present one, as the clocks of two machines differ.
const SLOTS: u64 = 2;

impl Reached {
    /// The lowest safe floors, where enough is known.
    ///
    /// A node that was asked after the old validator had stopped knows a later round than any that it voted in, or the
    /// one before; the margin covers the rest. Without such a node there is only what the old validator said before it
    /// went on for a while. It may have gone on into the next set, but no further (see `move_in`), so the set after
    /// that is safe from its beginning.
    pub fn floor(&self, class: DutyClass, chain: &ChainRow, unix_ms: u64) -> Option<Position> {
        let seen = match (self.old, self.now) {
            (Some(old), Some(now)) => Some(now.raised_by(old)),
            (_, now) => now,
        };
        let parts: Option<[u64; 2]> = match class {
            GRANDPA_VOTE => match seen {
                Some(seen) => seen
                    .grandpa
                    .map(|(set, round)| [set.0, round.0.saturating_add(self.rounds.saturating_add(1))]),
                None => self.old?.grandpa.map(|(set, _)| [set.0.saturating_add(2), 0]),
            },
            BEEFY_VOTE => match seen {
                Some(seen) => seen.beefy_set.map(|set| [set.0, seen.best.0.saturating_add(1)]),
                None => self.old?.beefy_set.map(|set| [set.0.saturating_add(2), 0]),
            },
            PARA_SIDE => {
                let session = match seen {
                    Some(seen) => seen.session?.saturating_add(1),
                    None => self.old?.session?.saturating_add(2),
                };
                return Position::new(class, &[u64::from(session.0)]);
            }
            class => {
                // The later clock, of this machine then and now: numbers do not compare where slots change.
                let zero = Position::zero(class).filter(|zero| zero.slot().is_some())?;
                let seen_ms = seen.or(self.old).map_or(0, |place| place.at_ms);
                return Some(zero.with_slot(chain.clock().slots_after(unix_ms.max(seen_ms), 1 + SLOTS)));
            }
        };
        Position::new(class, &parts?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_of_now_within_bounds_and_of_no_other_time() {
        signonce_shared::families::install();
        let settings = signonce_substrate::ChainSettings {
            format: Default::default(),
            slot_duration_ms: 6_000,
            limits: Default::default(),
        };
        let chain = settings.chain(signonce_protocol::ChainId([1; 32]), "polkadot");
        let clock = SlotClock::new(&chain, &[]);
        let now_ms = 1_796_000_000_000;
        let now = now_ms / 6_000;
        let age = |slot: u64| age(clock, Slot(slot), now_ms, HEAD_MS, HEAD_SLOTS);
        assert_eq!(age(now), Ok(now_ms % 6_000));
        assert_eq!((age(now - 9).is_ok(), age(now + 2)), (true, Ok(0)));
        for (slot, why) in [(now - 11, "68 s ago"), (290_000_000, "days ago"), (now + 20, "from now")] {
            let said = age(slot).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
