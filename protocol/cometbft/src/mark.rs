//! FilePV's rule as a watermark: one mark per key over height, round and step, for proposals and votes together.
//!
//! A claim below the last one is refused, an equal one is a repeat if the statement is the same and an equivocation if
//! not, a higher one is granted. So the floor is the position of the last signature, which is kept exactly. Two things
//! are stricter than FilePV: a height too far ahead is refused, and so is a prevote against the lock of its height
//! ([`Lock`]).

use crate::{
    ChainSettings, Duty, Height, PROPOSAL, VOTE,
    lock::{Asker, Lock},
};
use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use signonce_protocol::{
    Claim, Duty as AnyDuty, Entry, Position, Refusal, Verdict,
    mark::{AlreadyHigher, Context, Coverage, Floor, Mark, Rows, SignedDuty},
};

/// The row of the last signature.
const LAST_ROW: [u8; 1] = [1];
/// The row of the lock.
const LOCK_ROW: [u8; 1] = [2];

/// The index of the height in a position.
const HEIGHT: usize = 0;

pub(crate) fn start(floor: Position) -> Box<dyn Mark> {
    Box::new(HighWater { floor, last: None, lock: None })
}

/// A floor for a mark that knows no lock. Above round 0 of a height the key may have precommitted a block in an earlier
/// round, and then its prevotes of that height go by a lock that a position does not tell, so the next height it is.
pub(crate) fn alone(floor: Position) -> Option<Position> {
    match *floor.parts() {
        [height, round, _] if round > 0 => Position::new(VOTE, &[height.checked_add(1)?, 0, 0]),
        _ => Some(floor),
    }
}

/// What was signed last.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Last {
    duty: AnyDuty,
    entry: Entry,
}

/// The mark.
///
/// Invariants: `last` is at the floor; `lock` is of the floor's height, and at or below the floor.
#[derive(Clone, Debug)]
struct HighWater {
    floor: Position,
    last: Option<Last>,
    lock: Option<Lock>,
}

/// The position of a watermark, whatever the claim's class: floors are kept for [`VOTE`].
fn floor_at(position: Position) -> Position {
    Position::new(VOTE, position.parts()).expect("both classes count alike")
}

fn height_of(position: Position) -> Height {
    Height(position.parts()[HEIGHT])
}

impl HighWater {
    /// What was signed at a position, if anything was.
    fn at(&self, position: Position) -> Option<&Last> {
        self.last.as_ref().filter(|last| last.duty.position().parts() == position.parts())
    }

    /// The mark's verdict on a claim: a repeat or a refusal. `None` if the claim is above the mark.
    fn known(&self, claim: &Claim) -> Option<Verdict> {
        let asked = claim.duty.position();
        // A step belongs to one class, so claims at the same position are of the same class.
        if let Some(Last { duty: _, entry }) = self.at(asked) {
            return Some(entry.compare(claim));
        }
        let floor = self.floor;
        (asked.parts() < floor.parts()).then_some(Verdict::Refused(Refusal::BelowWatermark { asked, floor }))
    }

    /// Refuses a height too far ahead. A key that starts at zero and has signed nothing has no position yet: its first
    /// claim tells how far the chain has come.
    fn jump(&self, asked: Position, limit: u64) -> Option<Refusal> {
        let reference = self.floor;
        if reference.parts() == [0, 0, 0] && self.last.is_none() {
            return None;
        }
        let farthest = reference.parts()[HEIGHT].saturating_add(limit);
        if asked.parts()[HEIGHT] <= farthest {
            return None;
        }
        let bound = Position::new(VOTE, &[farthest, 0, 0]).unwrap_or(reference);
        Some(Refusal::JumpTooFar { asked, reference, limit, bound })
    }

    fn put_last(&mut self, last: Option<Last>, rows: &mut dyn Rows) {
        put(&LAST_ROW, &self.last, &last, rows);
        self.last = last;
    }

    fn put_lock(&mut self, lock: Option<Lock>, rows: &mut dyn Rows) {
        put(&LOCK_ROW, &self.lock, &lock, rows);
        self.lock = lock;
    }

    /// Raises the floor, which drops everything below it, and ends the lock of a height that it passes.
    fn rise(&mut self, floor: Position, last: Option<Last>, rows: &mut dyn Rows) {
        if floor != self.floor {
            rows.floor(Some(self.floor), floor);
            self.floor = floor;
        }
        self.put_last(last, rows);
        if self.lock.as_ref().is_some_and(|lock| lock.height() < height_of(floor)) {
            self.put_lock(None, rows);
        }
    }
}

/// Writes a row if it has changed.
fn put<T: Encode + PartialEq>(row: &[u8], old: &Option<T>, new: &Option<T>, rows: &mut dyn Rows) {
    if old != new {
        let [old, new] = [old, new].map(|one| one.as_ref().map(Encode::encode));
        rows.put(row, old.as_deref(), new.as_deref());
    }
}

impl Mark for HighWater {
    fn boxed(&self) -> Box<dyn Mark> {
        Box::new(self.clone())
    }

    fn floor(&self) -> Position {
        self.floor
    }

    fn highest(&self) -> Option<Position> {
        self.last.as_ref().map(|last| floor_at(last.duty.position()))
    }

    fn entries(&self) -> u64 {
        self.last.iter().count() as u64
    }

    fn last(&self) -> Option<&Entry> {
        self.last.as_ref().map(|last| &last.entry)
    }

    fn judge(&self, claim: &Claim, context: &Context<'_>) -> Verdict {
        let Some(duty) = Duty::of(&claim.duty) else {
            return Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: claim.duty.class() });
        };
        if let Some(verdict) = self.known(claim) {
            return verdict;
        }
        let limit = ChainSettings::of(context.chain).limits.heights;
        let locked = || self.lock.as_ref()?.forbids(&duty, Asker::of(claim, &duty)).map(|own| own.refuse());
        let refusal = self.jump(claim.duty.position(), limit).or_else(locked);
        refusal.map_or(Verdict::Granted, Verdict::Refused)
    }

    fn record(&mut self, claim: &Claim, entry: Entry, _: &Context<'_>, rows: &mut dyn Rows) {
        let duty = Duty::of(&claim.duty).expect("a granted claim reads");
        assert!(self.known(claim).is_none(), "{duty} was granted and is below {}", self.floor);
        self.rise(floor_at(claim.duty.position()), Some(Last { duty: claim.duty.clone(), entry }), rows);
        if let Some(lock) = Lock::by(&duty, Asker::of(claim, &duty)) {
            self.put_lock(Some(lock), rows);
        }
    }

    fn heeds(&self, claim: &Claim) -> bool {
        let (Some(lock), Some(duty)) = (&self.lock, Duty::of(&claim.duty)) else { return false };
        lock.would_entitle(&duty, Asker::of(claim, &duty))
    }

    fn heed(&mut self, claim: &Claim, rows: &mut dyn Rows) {
        if let (Some(lock), Some(duty)) = (&self.lock, Duty::of(&claim.duty)) {
            let entitled = lock.with(Asker::of(claim, &duty));
            self.put_lock(Some(entitled), rows);
        }
    }

    fn covers(&self, claim: &Claim, _: &Context<'_>) -> Coverage {
        if Duty::of(&claim.duty).is_none() {
            return Coverage::Foreign;
        }
        match self.known(claim) {
            None => Coverage::Missing,
            Some(Verdict::Refused(refusal)) if refusal.contradicts() => Coverage::Contradicted,
            Some(Verdict::Granted | Verdict::Repeated { .. } | Verdict::Refused(_)) => Coverage::Covered,
        }
    }

    fn may_raise(&self, floor: Floor, _: &Context<'_>) -> Result<(), AlreadyHigher> {
        if floor.at.parts() < self.floor.parts() { Err(AlreadyHigher) } else { Ok(()) }
    }

    fn raise(
        &mut self,
        floor: Floor,
        context: &Context<'_>,
        rows: &mut dyn Rows,
    ) -> Result<(), AlreadyHigher> {
        self.may_raise(floor, context)?;
        if floor.at != self.floor {
            self.rise(floor.at, None, rows);
        }
        Ok(())
    }

    fn signed(&self) -> Option<Vec<SignedDuty>> {
        Some(self.last.iter().map(|last| SignedDuty::of(last.duty.clone(), &last.entry)).collect())
    }

    fn rows(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        let last = self.last.iter().map(|last| (LAST_ROW.to_vec(), last.encode()));
        let lock = self.lock.iter().map(|lock| (LOCK_ROW.to_vec(), lock.encode()));
        Box::new(last.chain(lock))
    }

    fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        let unread = |what: &str, why: parity_scale_codec::Error| format!("its {what} does not read: {why}");
        match row.try_into() {
            Ok(LAST_ROW) if self.last.is_none() => {
                let last = Last::decode_all(&mut &*body).map_err(|why| unread("last signature", why))?;
                if !matches!(last.duty.class(), VOTE | PROPOSAL) || Duty::of(&last.duty).is_none() {
                    return Err("what was signed last is not of this family".into());
                }
                self.last = Some(last);
            }
            Ok(LOCK_ROW) if self.lock.is_none() => {
                let lock = Lock::decode_all(&mut &*body).map_err(|why| unread("lock", why))?;
                self.lock = Some(lock);
            }
            Ok(_) | Err(_) => return Err("a row that such marks do not have, or a second one".into()),
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        let lock_fits = |lock: &Lock| {
            let precommit = [lock.height().0, lock.round().0.into(), crate::Step::Precommit as u64];
            lock.is_sound()
                && lock.height() == height_of(self.floor)
                && precommit.as_slice() <= self.floor.parts()
        };
        self.last.as_ref().is_none_or(|last| last.duty.position().parts() == self.floor.parts())
            && self.lock.as_ref().is_none_or(lock_fits)
    }

    #[cfg(signonce_sim)]
    fn unburn(&mut self, claim: &Claim, rows: &mut dyn Rows) {
        if self.at(claim.duty.position()).is_some() {
            self.put_last(None, rows);
        }
    }
}
