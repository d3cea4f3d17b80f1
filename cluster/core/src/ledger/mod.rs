//! The ledger: for every key, which duties were signed and below which floor none may be signed any more.
//!
//! One watermark ([`Mark`]) per key and class of claimed work: a **floor** that only rises (the lowest position that may
//! still be signed) and what was signed above it. The rules are the families'; `window_mark.rs` holds claims to those
//! that are data, and a family brings a mark of its own where data does not reach.
//!
//! The invariant that all rests on: *a coordinate at or above the floor without an entry was never signed.* An entry
//! is dropped only when the floor passes it, in the same change.
//!
//! [`State`](crate::State) asks `Ledger::judge` and, if the verdict is `Granted`, calls `Ledger::record`. Nothing
//! else may: a verdict that is not recorded grants nothing. Claims that are not granted go to `Ledger::heed`, for the rules
//! that go by what was asked as well.

#[cfg(test)]
mod golden;
mod slots;
mod store;
mod window;
mod window_mark;

use crate::{
    model::{FloorError, Floors},
    records::Journal,
};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
pub use signonce_protocol::mark::{Coverage, SignedDuty};
use signonce_protocol::{
    Claim, DutyClass, Entry, KeyId, LogIndex, Position, Refusal, Rule, Verdict,
    mark::{AlreadyHigher, Context, Floor, Mark},
};
use std::collections::BTreeMap;
use store::JournalWriter;
use window_mark::WindowMark;

/// A key's watermark as people and servers see it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatermarkView {
    /// The class it is about.
    pub class: DutyClass,
    /// The lowest position that may still be signed.
    pub floor: Position,
    /// The highest position signed above the floor.
    pub highest: Option<Position>,
    /// Exact entries kept.
    pub entries: u64,
}

/// When floors are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// In Unix milliseconds: a slot is read as the number of a slot near then.
    pub(crate) at_ms: u64,
    /// The cluster's feature level: classes of a later one have no watermark yet.
    pub(crate) level: u32,
}

/// All watermarks, by key and the class that has them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: BTreeMap<(KeyId, DutyClass), Box<dyn Mark>>,
}

// Claims.
impl Ledger {
    /// Judges a claim of an armed key.
    pub(crate) fn judge(&self, claim: &Claim, context: &Context<'_>) -> Verdict {
        match self.mark_for(claim) {
            Some(mark) => mark.judge(claim, context),
            None => Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: claim.duty.class() }),
        }
    }

    /// Records a claim that [`Self::judge`] has just granted.
    ///
    /// # Panics
    /// If it was not granted: the node must not go on.
    pub(crate) fn record(
        &mut self,
        claim: &Claim,
        at: LogIndex,
        context: &Context<'_>,
        journal: &mut Journal,
    ) {
        let class = claim.duty.class().mark().expect("a granted claim is of claimed work");
        let mark = self.marks.get_mut(&(claim.key, class)).expect("a granted claim has a watermark");
        let rows = &mut JournalWriter::new(claim.key, class, journal);
        mark.record(claim, Entry::of(claim, at), context, rows);
    }

    /// Whether the rule takes notice of a claim that is not granted: see [`Mark::heeds`].
    pub(crate) fn heeds(&self, claim: &Claim) -> bool {
        self.mark_for(claim).is_some_and(|mark| mark.heeds(claim))
    }

    /// Takes notice of a claim that [`Self::judge`] has just not granted, if its rule does.
    pub(crate) fn heed(&mut self, claim: &Claim, journal: &mut Journal) {
        let Some(class) = claim.duty.class().mark().filter(|_| self.heeds(claim)) else { return };
        let mark = self.marks.get_mut(&(claim.key, class)).expect("what heeds a claim is there");
        mark.heed(claim, &mut JournalWriter::new(claim.key, class, journal));
    }

    /// What is known of something that is said to have been signed.
    pub(crate) fn covers(&self, claim: &Claim, context: &Context<'_>) -> Coverage {
        self.mark_for(claim).map_or(Coverage::Foreign, |mark| mark.covers(claim, context))
    }

    /// The watermark that a claim goes by, if the key does such work and was armed.
    fn mark_for(&self, claim: &Claim) -> Option<&dyn Mark> {
        let class = claim.duty.class();
        let does = class.key_types().contains(&claim.key.key_type);
        self.mark(&claim.key, class.mark().filter(|_| does)?)
    }

    /// Frees the duty of a claim: a fault for the simulator to find.
    #[cfg(signonce_sim)]
    pub(crate) fn unburn(&mut self, claim: &Claim, journal: &mut Journal) {
        let Some(class) = claim.duty.class().mark() else { return };
        if let Some(mark) = self.marks.get_mut(&(claim.key, class)) {
            mark.unburn(claim, &mut JournalWriter::new(claim.key, class, journal));
        }
    }
}

// Floors.
impl Ledger {
    /// Starts the watermarks of a key at `floors`, or raises those it has.
    ///
    /// # Errors
    /// If a floor is missing, foreign to the key, or below the one it has. Nothing is changed then.
    pub(crate) fn arm(
        &mut self,
        key: KeyId,
        floors: &Floors,
        context: &Context<'_>,
        given: Given,
        journal: &mut Journal,
    ) -> Result<(), FloorError> {
        for floor in self.judge_floors(key, floors, context, given)? {
            self.start_or_raise(key, floor, context, journal);
        }
        Ok(())
    }

    /// Whether [`Self::arm`] would start or raise a watermark.
    ///
    /// # Errors
    /// As there; and if the key has no work that a floor is about.
    pub(crate) fn may_arm(
        &self,
        key: KeyId,
        floors: &Floors,
        context: &Context<'_>,
        given: Given,
    ) -> Result<(), FloorError> {
        let judged = self.judge_floors(key, floors, context, given)?;
        if judged.is_empty() { Err(FloorError::NoWork { key }) } else { Ok(()) }
    }

    fn judge_floors(
        &self,
        key: KeyId,
        floors: &Floors,
        context: &Context<'_>,
        given: Given,
    ) -> Result<Vec<Floor>, FloorError> {
        let read = |at: Position| {
            let floor = match at.slot() {
                None => Floor { at, counting: 0 },
                Some(slot) => {
                    let (counting, slot) = context.clock.read_floor(slot, given.at_ms)?;
                    Floor { at: at.with_slot(slot), counting }
                }
            };
            let mark = self.mark(&key, at.class());
            match mark.map(|mark| (mark.floor(), mark.may_raise(floor, context))) {
                Some((floor, Err(AlreadyHigher))) => Err(FloorError::AlreadyHigher { key, floor, asked: at }),
                Some((_, Ok(()))) | None => Ok(floor),
            }
        };
        floors.of_key(key, given.level)?.into_iter().map(read).collect()
    }

    fn start_or_raise(&mut self, key: KeyId, floor: Floor, context: &Context<'_>, journal: &mut Journal) {
        let class = floor.at.class();
        let rows = &mut JournalWriter::new(key, class, journal);
        match self.marks.get_mut(&(key, class)) {
            Some(mark) => mark.raise(floor, context, rows).expect("it was judged before"),
            None => {
                self.marks.insert((key, class), start(floor, rows));
            }
        }
    }
}

/// An empty watermark; its rows are written.
fn start(floor: Floor, rows: &mut JournalWriter<'_>) -> Box<dyn Mark> {
    let claim = floor.at.class().claim().expect("a floor is of claimed work");
    match &claim.rule {
        Rule::Window(_) => Box::new(WindowMark::start(floor, rows)),
        Rule::Own(start) => {
            use signonce_protocol::mark::Rows as _;
            rows.floor(None, floor.at);
            start(floor.at)
        }
    }
}

// What is read.
impl Ledger {
    /// A watermark of a key.
    pub(crate) fn mark(&self, key: &KeyId, class: DutyClass) -> Option<&dyn Mark> {
        self.marks.get(&(*key, class)).map(Box::as_ref)
    }

    /// The watermarks of a key, by class.
    fn marks_of(&self, key: &KeyId) -> impl Iterator<Item = (DutyClass, &dyn Mark)> {
        key.key_type.marks().filter_map(|class| Some((class, self.mark(key, class)?)))
    }

    /// The counting that the slots of a key's watermark are of: see [`SlotClock`](signonce_protocol::SlotClock).
    pub(crate) fn counting(&self, key: &KeyId) -> u32 {
        self.marks_of(key).map(|(_, mark)| mark.counting()).max().unwrap_or_default()
    }

    /// A key whose watermark, as it was read back, cannot have been written.
    pub(crate) fn unsound(&self) -> Option<&KeyId> {
        self.marks.iter().find(|(_, mark)| !mark.is_whole()).map(|((key, _), _)| key)
    }

    /// Whether the key has a watermark.
    pub(crate) fn has_mark(&self, key: &KeyId) -> bool {
        self.marks_of(key).next().is_some()
    }

    /// Whether the key has every watermark that its type has always had. One of a class that came later starts with the
    /// next floors of the key.
    pub(crate) fn has_all_marks(&self, key: &KeyId) -> bool {
        let since = key.key_type.level();
        let mut first = key.key_type.marks().filter(|class| class.level() <= since);
        first.all(|class| self.mark(key, class).is_some())
    }

    /// The keys with a watermark.
    pub(crate) fn marked_keys(&self) -> impl Iterator<Item = &KeyId> {
        self.marks.keys().map(|(key, _)| key)
    }

    /// When the highest position of a key was claimed, in Unix milliseconds of the node that served it.
    pub fn last_signed_ms(&self, key: &KeyId) -> Option<u64> {
        self.marks_of(key).filter_map(|(_, mark)| mark.last()).map(|entry| entry.time_ms).max()
    }

    /// The watermarks of a key: none before it is armed, and none for keys whose work is all free.
    pub fn watermarks(&self, key: &KeyId) -> Vec<WatermarkView> {
        let view = |(class, mark): (DutyClass, &dyn Mark)| WatermarkView {
            class,
            floor: mark.floor(),
            highest: mark.highest(),
            entries: mark.entries(),
        };
        self.marks_of(key).map(view).collect()
    }

    /// Every duty above the floor of one of the key's watermarks, in rising order. Empty without a watermark; `None` for
    /// one whose duties are kept in a form that does not tell them.
    pub(crate) fn signed(&self, key: &KeyId, class: DutyClass) -> Option<Vec<SignedDuty>> {
        self.mark(key, class).map_or_else(|| Some(Vec::new()), Mark::signed)
    }
}
