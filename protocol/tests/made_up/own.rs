//! A watermark of a family's own: positions are signed one after the other, and what was signed is known by its digest.

use super::{RIGHT, at};
use parity_scale_codec::{DecodeAll, Encode};
use signonce_protocol::{
    Claim, Entry, Position, Refusal, Verdict,
    mark::{AlreadyHigher, Context, Coverage, Floor, Mark, Rows, SignedDuty},
};

/// The row of the last entry.
const LAST: [u8; 1] = [7];

/// The next position may be signed, and the last one again; nothing else.
#[derive(Clone, Debug)]
pub struct Counter {
    floor: Position,
    last: Option<(u64, Entry)>,
}

/// One that starts at this floor.
pub(super) fn start(floor: Position) -> Box<dyn Mark> {
    Box::new(Counter { floor, last: None })
}

fn count(position: Position) -> u64 {
    position.parts()[0]
}

impl Mark for Counter {
    fn boxed(&self) -> Box<dyn Mark> {
        Box::new(self.clone())
    }

    fn floor(&self) -> Position {
        self.floor
    }

    fn highest(&self) -> Option<Position> {
        self.last.as_ref().map(|(count, _)| at(RIGHT, &[*count]))
    }

    fn entries(&self) -> u64 {
        self.last.iter().count() as u64
    }

    fn last(&self) -> Option<&Entry> {
        self.last.as_ref().map(|(_, entry)| entry)
    }

    fn judge(&self, claim: &Claim, _: &Context<'_>) -> Verdict {
        let (position, floor) = (claim.duty.position(), self.floor);
        match &self.last {
            Some((count_of_last, entry)) if *count_of_last == count(position) => entry.compare(claim),
            _ if position.is_below(floor) == Some(true) => {
                Verdict::Refused(Refusal::BelowWatermark { asked: position, floor })
            }
            _ if position == floor => Verdict::Granted,
            _ => Verdict::Refused(Refusal::JumpTooFar {
                asked: position,
                reference: floor,
                limit: 0,
                bound: floor,
            }),
        }
    }

    fn record(&mut self, claim: &Claim, entry: Entry, _: &Context<'_>, rows: &mut dyn Rows) {
        let next = claim.duty.position().next().expect("tests do not count so far");
        rows.floor(Some(self.floor), next);
        let old = self.last.replace((count(claim.duty.position()), entry)).map(|old| old.encode());
        rows.put(&LAST, old.as_deref(), Some(&self.last.encode()[1..]));
        self.floor = next;
    }

    fn covers(&self, claim: &Claim, context: &Context<'_>) -> Coverage {
        match self.judge(claim, context) {
            Verdict::Repeated { .. } | Verdict::Refused(Refusal::BelowWatermark { .. }) => Coverage::Covered,
            Verdict::Refused(refusal) if refusal.contradicts() => Coverage::Contradicted,
            Verdict::Granted | Verdict::Refused(_) => Coverage::Missing,
        }
    }

    fn may_raise(&self, floor: Floor, _: &Context<'_>) -> Result<(), AlreadyHigher> {
        if floor.at.is_below(self.floor) == Some(false) { Ok(()) } else { Err(AlreadyHigher) }
    }

    fn raise(
        &mut self,
        floor: Floor,
        context: &Context<'_>,
        rows: &mut dyn Rows,
    ) -> Result<(), AlreadyHigher> {
        self.may_raise(floor, context)?;
        if floor.at != self.floor {
            rows.floor(Some(self.floor), floor.at);
            let old = self.last.take().map(|old| old.encode());
            rows.put(&LAST, old.as_deref(), None);
            self.floor = floor.at;
        }
        Ok(())
    }

    fn signed(&self) -> Option<Vec<SignedDuty>> {
        Some(Vec::new())
    }

    fn rows(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        Box::new(self.last.iter().map(|last| (LAST.to_vec(), last.encode())))
    }

    fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        if row != LAST || self.last.is_some() {
            return Err("a counter has one row".into());
        }
        self.last = Some(DecodeAll::decode_all(&mut &*body).map_err(|e| e.to_string())?);
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.last.as_ref().is_none_or(|(last, _)| last + 1 == count(self.floor))
    }

    #[cfg(signonce_sim)]
    fn unburn(&mut self, _: &Claim, _: &mut dyn Rows) {}
}
