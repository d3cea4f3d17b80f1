//! What the watermarks of all classes share: a floor, exact entries above it, and how old entries make way.
//!
//! Entries belong to *steps*: the unit the floor counts in (a slot, a round, a block of a set, a session). A window
//! keeps the entries of the highest `keep` steps that have any. Once it is full its floor is its lowest step, so a
//! step further down is refused and not granted only to be forgotten. Counting steps rather than measuring distance
//! means that one bogus vote far ahead costs one place in the window and never the honest votes below it.

use super::store::JournalWriter;
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use parity_scale_codec::{Decode, Encode};
use std::collections::BTreeMap;

/// Where an entry stands. Coordinates of a lower step are lower coordinates.
pub(super) trait Coordinate: Copy + Ord + Encode + Decode {
    /// What the floor counts in.
    type Step: Copy + Ord + Encode + Decode;
    /// The step the coordinate belongs to.
    fn step(&self) -> Self::Step;
}

/// Why a window cannot be raised to a floor: its own is higher already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AlreadyHigher;

/// A floor and the exact entries above it.
///
/// Invariants: every entry's step is at or above `floor`; `steps` counts the entries of each step; `floor` never
/// goes down; an entry never changes and leaves only when the floor passes its step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window<C: Coordinate, E> {
    floor: C::Step,
    entries: BTreeMap<C, E>,
    steps: BTreeMap<C::Step, u32>,
}

impl<C: Coordinate, E: Encode> Window<C, E> {
    /// An empty window; the writer writes its floor.
    pub(super) fn start(floor: C::Step, writer: &mut JournalWriter<'_>) -> Self {
        writer.floor(None, &floor);
        Self::restored(floor)
    }

    /// An empty window whose floor is stored already.
    pub(super) fn restored(floor: C::Step) -> Self {
        Self { floor, entries: BTreeMap::new(), steps: BTreeMap::new() }
    }

    /// Takes a stored entry in. `false` if it cannot be: below the floor, or there already.
    pub(super) fn restore(&mut self, at: C, entry: E) -> bool {
        if self.is_below(&at) || self.entries.insert(at, entry).is_some() {
            return false;
        }
        *self.steps.entry(at.step()).or_default() += 1;
        true
    }

    /// The lowest step that may still be signed.
    pub(super) fn floor(&self) -> C::Step {
        self.floor
    }

    /// The highest step with an entry.
    pub(super) fn highest(&self) -> Option<C::Step> {
        self.steps.last_key_value().map(|(step, _)| *step)
    }

    /// The farthest this key has come: the highest step, or the floor if that is higher.
    pub(super) fn reference(&self) -> C::Step {
        self.highest().map_or(self.floor, |highest| highest.max(self.floor))
    }

    /// Whether the coordinate is older than what is known exactly.
    pub(super) fn is_below(&self, at: &C) -> bool {
        at.step() < self.floor
    }

    /// What was signed at a coordinate.
    pub(super) fn get(&self, at: &C) -> Option<&E> {
        self.entries.get(at)
    }

    /// Entries of a step.
    pub(super) fn crowd(&self, step: C::Step) -> u32 {
        self.steps.get(&step).copied().unwrap_or_default()
    }

    /// The steps with entries, in rising order.
    pub(super) fn steps(&self) -> &BTreeMap<C::Step, u32> {
        &self.steps
    }

    /// The entries, in rising order.
    pub(super) fn entries(&self) -> &BTreeMap<C, E> {
        &self.entries
    }

    /// Adds an entry; the lowest steps beyond `keep` make way.
    ///
    /// # Panics
    /// If the coordinate is below the floor or taken: the caller has judged it, so the ledger is broken.
    pub(super) fn insert(&mut self, at: C, entry: E, keep: usize, writer: &mut JournalWriter<'_>) {
        assert!(!self.is_below(&at), "a coordinate below the floor was granted");
        writer.entry(&at, None, Some(&entry));
        assert!(self.entries.insert(at, entry).is_none(), "a coordinate was granted twice");
        *self.steps.entry(at.step()).or_default() += 1;
        if let Some(full) = self.steps.len().checked_sub(keep) {
            let lowest = self.steps.keys().nth(full).copied();
            self.advance(lowest.unwrap_or(self.floor), writer);
        }
    }

    /// Raises the floor to `floor`, dropping the entries below. Raising it to where it is changes nothing.
    pub(super) fn raise(
        &mut self,
        floor: C::Step,
        writer: &mut JournalWriter<'_>,
    ) -> Result<(), AlreadyHigher> {
        #[cfg(signonce_sim)]
        if floor < self.floor && mutation::is(Mutation::FloorFalls) {
            writer.floor(Some(&self.floor), &floor);
            self.floor = floor;
        }
        if floor < self.floor {
            return Err(AlreadyHigher);
        }
        self.advance(floor, writer);
        Ok(())
    }

    /// Empties the window and puts its floor where coordinates of another kind begin, which may be lower numbers. Only
    /// for whoever knows that none of the old coordinates is one of the new.
    pub(super) fn restart(&mut self, floor: C::Step, writer: &mut JournalWriter<'_>) {
        for (at, entry) in std::mem::take(&mut self.entries) {
            writer.entry(&at, Some(&entry), None);
        }
        self.steps.clear();
        writer.floor(Some(&self.floor), &floor);
        self.floor = floor;
    }

    /// Frees a coordinate: a fault for the simulator to find.
    #[cfg(signonce_sim)]
    pub(super) fn remove(&mut self, at: &C, writer: &mut JournalWriter<'_>) {
        if let Some(entry) = self.entries.remove(at) {
            writer.entry(at, Some(&entry), None);
            if let Some(count) = self.steps.get_mut(&at.step()) {
                *count -= 1;
            }
            self.steps.retain(|_, count| *count > 0);
        }
    }

    fn advance(&mut self, floor: C::Step, writer: &mut JournalWriter<'_>) {
        assert!(floor >= self.floor, "floors never go down");
        if floor > self.floor {
            writer.floor(Some(&self.floor), &floor);
            self.floor = floor;
        }
        while let Some(lowest) = self.entries.first_entry().filter(|entry| entry.key().step() < floor) {
            let (at, entry) = lowest.remove_entry();
            writer.entry(&at, Some(&entry), None);
        }
        while self.steps.first_entry().is_some_and(|step| *step.key() < floor) {
            self.steps.pop_first();
        }
    }
}
