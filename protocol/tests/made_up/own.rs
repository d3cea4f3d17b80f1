//! A watermark of a family's own: positions are signed one after the other, and what was signed is known by its digest. It
//! goes by who asks as well: who has asked for what another client had signed last, granted or not, may leave one out.

use super::{RIGHT, at};
use parity_scale_codec::{DecodeAll, Encode};
use signonce_protocol::{
    Claim, ClientId, Entry, Position, Refusal, Verdict,
    mark::{AlreadyHigher, Context, Coverage, Floor, Mark, Rows, SignedDuty},
};

/// The row of the last entry.
const LAST: [u8; 1] = [7];
/// The row of the clients that were heard.
const HEARD: [u8; 1] = [8];

/// The next position may be signed, and the last one again; nothing else.
#[derive(Clone, Debug)]
pub struct Counter {
    floor: Position,
    last: Option<(u64, Entry)>,
    /// Who else has asked for the last one.
    heard: Vec<ClientId>,
}

/// One that starts at this floor.
pub(super) fn start(floor: Position) -> Box<dyn Mark> {
    Box::new(Counter { floor, last: None, heard: Vec::new() })
}

fn count(position: Position) -> u64 {
    position.parts()[0]
}

impl Counter {
    fn hear(&mut self, heard: Vec<ClientId>, rows: &mut dyn Rows) {
        let bytes = |heard: &Vec<ClientId>| (!heard.is_empty()).then(|| heard.encode());
        let (old, new) = (bytes(&self.heard), bytes(&heard));
        if old != new {
            rows.put(&HEARD, old.as_deref(), new.as_deref());
        }
        self.heard = heard;
    }
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
            _ if Some(position) == floor.next() && self.heard.contains(&claim.client) => Verdict::Granted,
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
        self.hear(Vec::new(), rows);
    }

    fn heeds(&self, claim: &Claim) -> bool {
        let of_last = |(last, entry): &(u64, Entry)| {
            *last == count(claim.duty.position()) && entry.client != claim.client
        };
        self.last.as_ref().is_some_and(of_last) && !self.heard.contains(&claim.client)
    }

    fn heed(&mut self, claim: &Claim, rows: &mut dyn Rows) {
        let heard = self.heard.iter().copied().chain([claim.client]).collect();
        self.hear(heard, rows);
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
            self.hear(Vec::new(), rows);
        }
        Ok(())
    }

    fn signed(&self) -> Option<Vec<SignedDuty>> {
        Some(Vec::new())
    }

    fn rows(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        let heard = (!self.heard.is_empty()).then(|| (HEARD.to_vec(), self.heard.encode()));
        Box::new(self.last.iter().map(|last| (LAST.to_vec(), last.encode())).chain(heard))
    }

    fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        if row == HEARD && self.heard.is_empty() {
            self.heard = DecodeAll::decode_all(&mut &*body).map_err(|e| e.to_string())?;
            return Ok(());
        }
        if row != LAST || self.last.is_some() {
            return Err("a counter has one row of what it signed, and one of who was heard".into());
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
