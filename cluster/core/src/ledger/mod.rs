//! The ledger: for every key, which duties were signed and below which floor none may be signed any more.
//!
//! One watermark per key with claimed work: a **floor** that only rises (the lowest coordinate that may still be
//! signed) and a **window** of exact entries above it. The rules of the classes are in the files beside this one;
//! `window.rs` holds what they share.
//!
//! The invariant that all rests on: *a coordinate at or above the floor without an entry was never signed.* An entry
//! is dropped only when the floor passes it, in the same change.
//!
//! [`State`](crate::State) asks `Ledger::judge` and, if the verdict is `Granted`, calls `Ledger::record`. Nothing
//! else may: a verdict that is not recorded grants nothing.

mod beefy;
mod export;
#[cfg(test)]
mod golden;
mod grandpa;
mod para;
mod sides;
mod slot;
mod store;
mod watermark;
mod window;
use crate::{
    model::{
        Chain, Claim, ClientId, FloorError, Floors, Position, Refusal, SlotClock, Verdict, claimed_class,
    },
    records::Journal,
};
pub use export::{Coverage, SignedDuty};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{AuraMode, BlockNumber, Digest, Duty, KeyId, LogIndex, Slot};
use std::collections::BTreeMap;
use store::JournalWriter;
use watermark::Watermark;
pub use watermark::WatermarkView;

/// What was signed at a coordinate, and the evidence of who asked and when.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Entry {
    digest: Digest,
    at: LogIndex,
    time_ms: u64,
    client: ClientId,
}

impl Entry {
    fn of(claim: &Claim, at: LogIndex) -> Self {
        Self { digest: claim.digest, at, time_ms: claim.time_ms, client: claim.client }
    }

    /// The verdict on a claim of a coordinate that has this entry.
    fn compare(&self, claim: &Claim) -> Verdict {
        if self.digest == claim.digest {
            return Verdict::Repeated { at: self.at };
        }
        Verdict::Refused(Refusal::Equivocation {
            duty: claim.duty.clone(),
            signed: self.digest,
            asked: claim.digest,
            at: self.at,
            time_ms: self.time_ms,
            client: self.client,
        })
    }
}

/// All watermarks.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: BTreeMap<KeyId, Watermark>,
    /// Of slot keys whose chain counts its slots otherwise by now, and that have gone along: the counting of their
    /// numbers. The others' is the chain's first.
    countings: BTreeMap<KeyId, u32>,
}

impl Ledger {
    /// Judges a claim of an armed key on `chain`. `ceiling` is the BEEFY shield: the highest block a BEEFY vote may
    /// be for, if any GRANDPA vote of the group says so; `guarded`, whether the cluster is at
    /// [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
    pub(crate) fn judge(
        &self,
        claim: &Claim,
        chain: &Chain,
        clock: SlotClock<'_>,
        ceiling: Option<Ceiling>,
        guarded: bool,
    ) -> Verdict {
        let wrong_duty =
            || Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: claim.duty.class() });
        if claimed_class(claim.key.key_type) != Some(claim.duty.class()) {
            return wrong_duty();
        }
        let Some(mark) = self.marks.get(&claim.key) else { return wrong_duty() };
        let counted = |window| slot::Counted { window, counting: self.counting(&claim.key), clock };
        match (mark, &claim.duty) {
            (Watermark::Slot(window), Duty::BabeBlock { slot }) => {
                slot::judge(counted(window), (*slot, None), claim)
            }
            (Watermark::Slot(window), Duty::AuraBlock { slot, collation }) => {
                // A header is a collation exactly on chains whose AURA mode says so.
                if collation.is_some() != (chain.format.aura_mode == AuraMode::Collator) {
                    return wrong_duty();
                }
                slot::judge(counted(window), (*slot, *collation), claim)
            }
            (Watermark::Grandpa(window), Duty::GrandpaVote { set_id, round, stage, .. }) => {
                grandpa::judge(window, (*set_id, *round, *stage), &chain.limits, claim)
            }
            (Watermark::Beefy(window), Duty::BeefyVote { set_id, block }) => {
                beefy::judge(window, (*set_id, *block), &chain.limits, ceiling, claim)
            }
            (Watermark::Para(mark), duty) if guarded => match para::Stance::of(duty) {
                Some(stance) => mark.judge(&stance, &chain.limits, claim),
                None => wrong_duty(),
            },
            (Watermark::Para(mark), Duty::ParaSide { session, candidates, side }) => {
                mark.judge_unguarded(*session, candidates, *side, &chain.limits, claim)
            }
            (Watermark::Slot(_) | Watermark::Grandpa(_) | Watermark::Beefy(_) | Watermark::Para(_), _) => {
                wrong_duty()
            }
        }
    }

    /// Records a claim that [`Self::judge`] has just granted.
    ///
    /// # Panics
    /// If it was not granted: the node must not go on.
    pub(crate) fn record(
        &mut self,
        claim: &Claim,
        clock: SlotClock<'_>,
        at: LogIndex,
        guarded: bool,
        journal: &mut Journal,
    ) {
        let counted = (self.counting(&claim.key), clock);
        let mut moved = None;
        let mark = self.marks.get_mut(&claim.key).expect("a granted claim has a watermark");
        let writer = &mut JournalWriter::new(claim.key, claim.duty.class(), journal);
        let entry = Entry::of(claim, at);
        match (mark, &claim.duty) {
            (Watermark::Slot(window), Duty::BabeBlock { slot }) => {
                moved = slot::record(window, counted, (*slot, None), entry, writer);
            }
            (Watermark::Slot(window), Duty::AuraBlock { slot, collation }) => {
                moved = slot::record(window, counted, (*slot, *collation), entry, writer);
            }
            (Watermark::Grandpa(window), Duty::GrandpaVote { set_id, round, stage, target }) => {
                let vote = grandpa::Vote { entry, target: *target };
                window.insert((*set_id, *round, *stage), vote, grandpa::KEEP, writer);
            }
            (Watermark::Beefy(window), Duty::BeefyVote { set_id, block }) => {
                window.insert((*set_id, *block), entry, beefy::KEEP, writer);
            }
            (Watermark::Para(mark), duty) if guarded => {
                let stance = para::Stance::of(duty).expect("a granted claim of a para key takes sides");
                mark.record(&stance, claim.key, &entry, writer);
            }
            (Watermark::Para(mark), Duty::ParaSide { session, candidates, side }) => {
                mark.record_unguarded(*session, candidates, *side, &entry, writer);
            }
            (mark, duty) => panic!("a {duty} was granted to a key with watermark {mark:?}"),
        }
        if let Some(counting) = moved {
            self.put_counting(claim.key, counting, writer);
        }
    }

    /// The counting that the slots of a key's watermark are of: see [`SlotClock`].
    pub(crate) fn counting(&self, key: &KeyId) -> u32 {
        self.countings.get(key).copied().unwrap_or_default()
    }

    fn put_counting(&mut self, key: KeyId, counting: u32, writer: &mut JournalWriter<'_>) {
        writer.counting(self.countings.get(&key), &counting);
        self.countings.insert(key, counting);
    }

    /// The highest target among the precommits of a GRANDPA key in its present set. `None` until it has precommitted
    /// in that set.
    pub(crate) fn highest_precommit(&self, key: &KeyId) -> Option<BlockNumber> {
        match self.marks.get(key)? {
            Watermark::Grandpa(window) => grandpa::highest_precommit(window),
            Watermark::Slot(_) | Watermark::Beefy(_) | Watermark::Para(_) => None,
        }
    }

    /// Starts the watermark of a key at `floors`, or raises the one it has. `given_ms` is when they were given: a slot
    /// is read as the number of a slot near then.
    ///
    /// # Errors
    /// If a floor is missing, foreign to the key, or below the one it has. Nothing is changed then.
    pub(crate) fn arm(
        &mut self,
        key: KeyId,
        floors: &Floors,
        (clock, given_ms): (SlotClock<'_>, u64),
        journal: &mut Journal,
    ) -> Result<(), FloorError> {
        let Some((floor, class)) = floors.of_key(key)?.zip(claimed_class(key.key_type)) else {
            return Ok(());
        };
        if let Position::Slot { slot } = floor {
            return self.arm_slots(key, clock, clock.read_floor(slot, given_ms)?, journal);
        }
        let writer = &mut JournalWriter::new(key, class, journal);
        match self.marks.get_mut(&key) {
            Some(mark) => mark.raise(key, floor, writer),
            None => {
                self.marks.insert(key, Watermark::start(floor, writer));
                Ok(())
            }
        }
    }

    /// The same for slots, read already.
    fn arm_slots(
        &mut self,
        key: KeyId,
        clock: SlotClock<'_>,
        floor: (u32, Slot),
        journal: &mut Journal,
    ) -> Result<(), FloorError> {
        let reading = self.read_floor(key, clock, floor)?;
        let class = claimed_class(key.key_type).expect("a floor of slots is of a key with such work");
        let writer = &mut JournalWriter::new(key, class, journal);
        let (counting, slot) = floor;
        let moved = match self.marks.get_mut(&key) {
            Some(Watermark::Slot(window)) => {
                let moved = slot::take_over(window, reading, writer);
                // Where it was taken over, the floor may be past what was asked for already.
                let floor = if moved.is_some() { slot.max(window.floor()) } else { slot };
                window.raise(floor, writer).expect("it was read as one that is not lower");
                moved
            }
            Some(mark) => return mark.raise(key, slot::position(slot), writer),
            None => {
                self.marks.insert(key, Watermark::start(slot::position(slot), writer));
                (counting > 0).then_some(counting)
            }
        };
        if let Some(counting) = moved {
            self.put_counting(key, counting, writer);
        }
        Ok(())
    }

    /// Where a floor of slots stands.
    ///
    /// # Errors
    /// If it is below the one that the key has.
    fn read_floor(
        &self,
        key: KeyId,
        clock: SlotClock<'_>,
        floor: (u32, Slot),
    ) -> Result<slot::Reading, FloorError> {
        let Some(Watermark::Slot(window)) = self.marks.get(&key) else { return Ok(slot::Reading::Same) };
        let counting = self.counting(&key);
        slot::Counted { window, counting, clock }.read_floor(floor).ok_or_else(|| {
            let [floor, asked] = [window.floor(), floor.1].map(slot::position);
            FloorError::AlreadyHigher { key, floor, asked }
        })
    }

    /// Frees the duty of a claim: a fault for the simulator to find.
    #[cfg(signonce_sim)]
    pub(crate) fn unburn(&mut self, claim: &Claim, journal: &mut Journal) {
        let writer = &mut JournalWriter::new(claim.key, claim.duty.class(), journal);
        match (self.marks.get_mut(&claim.key), &claim.duty) {
            (Some(Watermark::Slot(window)), Duty::BabeBlock { slot }) => {
                window.remove(&(*slot, None), writer)
            }
            (Some(Watermark::Grandpa(window)), Duty::GrandpaVote { set_id, round, stage, .. }) => {
                window.remove(&(*set_id, *round, *stage), writer);
            }
            (Some(Watermark::Beefy(window)), Duty::BeefyVote { set_id, block }) => {
                window.remove(&(*set_id, *block), writer);
            }
            (
                Some(Watermark::Slot(_) | Watermark::Grandpa(_) | Watermark::Beefy(_) | Watermark::Para(_)),
                _,
            )
            | (None, _) => {}
        }
    }

    /// A key whose watermark, as it was read back, cannot have been written.
    pub(crate) fn unsound(&self) -> Option<&KeyId> {
        let broken = |mark: &Watermark| matches!(mark, Watermark::Para(mark) if !mark.is_whole());
        self.marks.iter().find(|(_, mark)| broken(mark)).map(|(key, _)| key)
    }

    /// Whether the key has a watermark.
    pub(crate) fn has_mark(&self, key: &KeyId) -> bool {
        self.marks.contains_key(key)
    }

    /// The keys with a watermark.
    pub(crate) fn marked_keys(&self) -> impl Iterator<Item = &KeyId> {
        self.marks.keys()
    }

    /// When the highest coordinate of a key was claimed, in Unix milliseconds of the node that served it.
    pub fn last_signed_ms(&self, key: &KeyId) -> Option<u64> {
        let last = match self.marks.get(key)? {
            Watermark::Slot(window) => window.entries().values().next_back(),
            Watermark::Grandpa(window) => window.entries().values().next_back().map(|vote| &vote.entry),
            Watermark::Beefy(window) => window.entries().values().next_back(),
            Watermark::Para(mark) => mark.last(),
        };
        last.map(|entry| entry.time_ms)
    }

    /// The watermark of a key: one for a key with claimed work that was armed, else none.
    pub fn watermarks(&self, key: &KeyId) -> Vec<WatermarkView> {
        let mark = self.marks.get(key).zip(claimed_class(key.key_type));
        mark.map(|(mark, class)| mark.view().for_class(class)).into_iter().collect()
    }
}

/// The BEEFY shield at work: what a GRANDPA key of the group has precommitted, and the slack above it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceiling {
    pub(crate) precommitted: BlockNumber,
    pub(crate) slack: u64,
}
