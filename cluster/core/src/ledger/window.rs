//! A floor, exact entries above it, and how old entries make way.
//!
//! Entries belong to *steps*: the values of a position, which the floor counts in (a slot, a round, a block of a set). A
//! window keeps the entries of the highest `keep` steps that have any. Once it is full its floor is its lowest step, so a
//! step further down is refused and not granted only to be forgotten. Counting steps rather than measuring distance
//! means that one bogus vote far ahead costs one place in the window and never the honest votes below it.

#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use signonce_protocol::{
    Duty, DutyClass, Entry, MAX_PARTS, Position,
    mark::{AlreadyHigher, Rows},
};
use std::collections::BTreeMap;

/// The first byte of an entry's row; the numbers of its position follow, big-endian, then what is within the position.
const ENTRY_ROW: u8 = 1;

/// A position's numbers, whatever the class: classes can share a watermark.
pub(super) type Step = [u64; MAX_PARTS];

/// Where an entry stands. Coordinates of a lower step are lower coordinates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    step: Step,
    within: Vec<u8>,
}

impl At {
    pub(super) fn of(duty: &Duty) -> Self {
        Self { step: duty.position().order(), within: duty.within().to_vec() }
    }
}

/// An entry, with what is needed to tell the duty again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Signed {
    pub(super) class: DutyClass,
    pub(super) entry: Entry,
    pub(super) facts: Vec<u8>,
}

/// A floor and the exact entries above it.
///
/// Invariants: every entry's step is at or above `floor`; `steps` counts the entries of each step; `floor` never
/// goes down; an entry never changes and leaves only when the floor passes its step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    floor: Position,
    entries: BTreeMap<At, Signed>,
    steps: BTreeMap<Step, u32>,
}

impl Window {
    /// An empty window whose floor is stored already.
    pub(super) fn new(floor: Position) -> Self {
        Self { floor, entries: BTreeMap::new(), steps: BTreeMap::new() }
    }

    /// The lowest position that may still be signed.
    pub(super) fn floor(&self) -> Position {
        self.floor
    }

    /// A position of this window's class.
    pub(super) fn position(&self, step: Step) -> Position {
        let parts = self.floor.parts().len();
        Position::new(self.floor.class(), &step[..parts]).expect("a step is a position of its class")
    }

    /// The highest position with an entry.
    pub(super) fn highest(&self) -> Option<Position> {
        self.steps.last_key_value().map(|(step, _)| self.position(*step))
    }

    /// The farthest this key has come: the highest step, or the floor if that is higher.
    pub(super) fn reference(&self) -> Step {
        let floor = self.floor.order();
        self.steps.last_key_value().map_or(floor, |(highest, _)| floor.max(*highest))
    }

    /// Whether the coordinate is older than what is known exactly.
    pub(super) fn is_below(&self, at: &At) -> bool {
        at.step < self.floor.order()
    }

    /// What was signed at a coordinate.
    pub(super) fn get(&self, at: &At) -> Option<&Signed> {
        self.entries.get(at)
    }

    /// Entries of a step.
    pub(super) fn crowd(&self, step: Step) -> u32 {
        self.steps.get(&step).copied().unwrap_or_default()
    }

    /// The highest step with an entry that begins with these numbers.
    pub(super) fn highest_with(&self, prefix: &[u64]) -> Option<Step> {
        let (mut from, mut to) = ([0; MAX_PARTS], [u64::MAX; MAX_PARTS]);
        from[..prefix.len()].copy_from_slice(prefix);
        to[..prefix.len()].copy_from_slice(prefix);
        self.steps.range(from..=to).next_back().map(|(step, _)| *step)
    }

    /// Whether nothing was signed above the floor.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries, in rising order: where, what is within the position, and the entry.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = (Position, &[u8], &Signed)> {
        self.entries.iter().map(|(at, signed)| {
            let parts = signed.class.claim().map_or(0, |claim| claim.parts.len());
            let position = Position::new(signed.class, &at.step[..parts]);
            (position.expect("what was signed has a position"), &at.within[..], signed)
        })
    }

    /// Adds an entry; the lowest steps beyond `keep` make way.
    ///
    /// # Panics
    /// If the coordinate is below the floor or taken: the caller has judged it, so the ledger is broken.
    pub(super) fn insert(&mut self, at: At, signed: Signed, keep: usize, rows: &mut dyn Rows) {
        assert!(!self.is_below(&at), "a coordinate below the floor was granted");
        rows.put(&self.row(&at), None, Some(&signed.encode()));
        let step = at.step;
        assert!(self.entries.insert(at, signed).is_none(), "a coordinate was granted twice");
        *self.steps.entry(step).or_default() += 1;
        if let Some(full) = self.steps.len().checked_sub(keep) {
            let lowest = self.steps.keys().nth(full).copied();
            let floor = lowest.map_or(self.floor, |lowest| self.position(lowest));
            self.advance(floor.max(self.floor), rows);
        }
    }

    /// Raises the floor to `floor`, dropping the entries below. Raising it to where it is changes nothing.
    pub(super) fn raise(&mut self, floor: Position, rows: &mut dyn Rows) -> Result<(), AlreadyHigher> {
        #[cfg(signonce_sim)]
        if floor.order() < self.floor.order() && mutation::is(Mutation::FloorFalls) {
            rows.floor(Some(self.floor), floor);
            self.floor = floor;
        }
        if floor.order() < self.floor.order() {
            return Err(AlreadyHigher);
        }
        self.advance(floor, rows);
        Ok(())
    }

    /// Empties the window and puts its floor where coordinates of another kind begin, which may be lower numbers. Only
    /// for whoever knows that none of the old coordinates is one of the new.
    pub(super) fn restart(&mut self, floor: Position, rows: &mut dyn Rows) {
        for (at, signed) in std::mem::take(&mut self.entries) {
            rows.put(&self.row(&at), Some(&signed.encode()), None);
        }
        self.steps.clear();
        rows.floor(Some(self.floor), floor);
        self.floor = floor;
    }

    /// Frees a coordinate: a fault for the simulator to find.
    #[cfg(signonce_sim)]
    pub(super) fn remove(&mut self, at: &At, rows: &mut dyn Rows) {
        if let Some(signed) = self.entries.remove(at) {
            rows.put(&self.row(at), Some(&signed.encode()), None);
            if let Some(count) = self.steps.get_mut(&at.step) {
                *count -= 1;
            }
            self.steps.retain(|_, count| *count > 0);
        }
    }

    fn advance(&mut self, floor: Position, rows: &mut dyn Rows) {
        assert!(floor.order() >= self.floor.order(), "floors never go down");
        if floor.order() > self.floor.order() {
            rows.floor(Some(self.floor), floor);
            self.floor = floor;
        }
        let floor = floor.order();
        while let Some(lowest) = self.entries.first_entry().filter(|entry| entry.key().step < floor) {
            let (at, signed) = lowest.remove_entry();
            rows.put(&self.row(&at), Some(&signed.encode()), None);
        }
        while self.steps.first_entry().is_some_and(|step| *step.key() < floor) {
            self.steps.pop_first();
        }
    }

    /// Every entry as a row.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.entries.iter().map(|(at, signed)| (self.row(at), signed.encode()))
    }

    fn row(&self, at: &At) -> Vec<u8> {
        let parts = self.floor.parts().len();
        let mut row = Vec::with_capacity(1 + 8 * parts + at.within.len());
        row.push(ENTRY_ROW);
        at.step[..parts].iter().for_each(|number| row.extend_from_slice(&number.to_be_bytes()));
        row.extend_from_slice(&at.within);
        row
    }

    /// Takes a stored entry in.
    ///
    /// # Errors
    /// If it is no entry, below the floor, or there already.
    pub(super) fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        let (&ENTRY_ROW, rest) = row.split_first().ok_or("an empty row")? else {
            return Err("a row that windows do not have".into());
        };
        let parts = self.floor.parts().len();
        let (numbers, within) = rest.split_at_checked(8 * parts).ok_or("its key is cut short")?;
        let mut step = [0; MAX_PARTS];
        for (number, bytes) in step.iter_mut().zip(numbers.as_chunks::<8>().0) {
            *number = u64::from_be_bytes(*bytes);
        }
        let at = At { step, within: within.to_vec() };
        let signed = Signed::decode_all(&mut &*body).map_err(|e| e.to_string())?;
        let shares = signed.class.mark() == Some(self.floor.class());
        if !shares || Position::new(signed.class, &step[..parts]).is_none() {
            return Err(format!("an entry of {}, which is of another watermark", signed.class));
        }
        if self.is_below(&at) || self.entries.insert(at, signed).is_some() {
            return Err("an entry below its floor, or a second one at its coordinate".into());
        }
        *self.steps.entry(step).or_default() += 1;
        Ok(())
    }
}
