//! The family's own watermark: up to three manifests per voyage, one for each deck, of the last eight voyages.

use crate::{CROSSING, MANIFEST};
use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use serde_json::{Map, json};
use signonce_protocol::{
    Claim, Duty, Entry, ErrorCode, Position, Refusal, RefusalDetails, Refusals, RuleRefusal, Verdict,
    mark::{AlreadyHigher, Context, Coverage, Floor, Mark, Rows, SignedDuty},
};
use std::collections::BTreeMap;

const KEEP: usize = 8;
const MOST: usize = 3;
/// The first byte of a manifest's row; voyage (big-endian) and deck follow.
const ROW: u8 = 1;

pub(crate) fn start(floor: Position) -> Box<dyn Mark> {
    Box::new(Manifests { floor, signed: BTreeMap::new() })
}

#[derive(Clone, Debug)]
struct Manifests {
    floor: Position,
    signed: BTreeMap<(u64, u8), Entry>,
}

fn at(duty: &Duty) -> Option<(u64, u8)> {
    match (duty.position().parts(), duty.within()) {
        (&[voyage], &[deck]) => Some((voyage, deck)),
        _ => None,
    }
}

fn position(voyage: u64) -> Position {
    Position::new(MANIFEST, &[voyage]).expect("a voyage is a position")
}

fn row((voyage, deck): (u64, u8)) -> Vec<u8> {
    [&[ROW][..], &voyage.to_be_bytes(), &[deck]].concat()
}

impl Manifests {
    fn rise(&mut self, floor: Position, rows: &mut dyn Rows) {
        if floor.parts() > self.floor.parts() {
            rows.floor(Some(self.floor), floor);
            self.floor = floor;
        }
        while let Some(lowest) = self.signed.first_entry().filter(|entry| entry.key().0 < floor.parts()[0]) {
            let (key, entry) = lowest.remove_entry();
            rows.put(&row(key), Some(&entry.encode()), None);
        }
    }

    fn voyages(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.signed.keys().map(|(voyage, _)| *voyage).collect();
        all.dedup();
        all
    }
}

impl Mark for Manifests {
    fn boxed(&self) -> Box<dyn Mark> {
        Box::new(self.clone())
    }

    fn floor(&self) -> Position {
        self.floor
    }

    fn highest(&self) -> Option<Position> {
        self.signed.last_key_value().map(|((voyage, _), _)| position(*voyage))
    }

    fn entries(&self) -> u64 {
        self.signed.len() as u64
    }

    fn last(&self) -> Option<&Entry> {
        self.signed.last_key_value().map(|(_, entry)| entry)
    }

    fn judge(&self, claim: &Claim, _: &Context<'_>) -> Verdict {
        let Some((voyage, deck)) = at(&claim.duty) else {
            return Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: MANIFEST });
        };
        if let Some(entry) = self.signed.get(&(voyage, deck)) {
            return entry.compare(claim);
        }
        if voyage < self.floor.parts()[0] {
            return Verdict::Refused(Refusal::BelowWatermark { asked: position(voyage), floor: self.floor });
        }
        match self.signed.range((voyage, 0)..=(voyage, u8::MAX)).count() {
            0..MOST => Verdict::Granted,
            _ => Verdict::Refused(refuse(&Own::TooManyDecks { voyage })),
        }
    }

    fn record(&mut self, claim: &Claim, entry: Entry, _: &Context<'_>, rows: &mut dyn Rows) {
        let key = at(&claim.duty).expect("a granted manifest is one");
        rows.put(&row(key), None, Some(&entry.encode()));
        assert!(self.signed.insert(key, entry).is_none(), "a manifest was granted twice");
        let voyages = self.voyages();
        if let Some(full) = voyages.len().checked_sub(KEEP) {
            self.rise(position(voyages[full]), rows);
        }
    }

    fn covers(&self, claim: &Claim, context: &Context<'_>) -> Coverage {
        match self.judge(claim, context) {
            Verdict::Repeated { .. } | Verdict::Refused(Refusal::BelowWatermark { .. }) => Coverage::Covered,
            Verdict::Refused(Refusal::WrongDuty { .. }) => Coverage::Foreign,
            Verdict::Refused(refusal) if refusal.contradicts() => Coverage::Contradicted,
            Verdict::Granted | Verdict::Refused(_) => Coverage::Missing,
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
        self.rise(floor.at, rows);
        Ok(())
    }

    fn signed(&self) -> Option<Vec<SignedDuty>> {
        let duty = |((voyage, deck), entry): (&(u64, u8), &Entry)| {
            SignedDuty::of(Duty::new(position(*voyage), vec![*deck], Vec::new()), entry)
        };
        Some(self.signed.iter().map(duty).collect())
    }

    fn rows(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        Box::new(self.signed.iter().map(|(key, entry)| (row(*key), entry.encode())))
    }

    fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        let ([ROW, voyage @ .., deck], Ok(entry)) = (row, Entry::decode_all(&mut &*body)) else {
            return Err("not a manifest".into());
        };
        let voyage = u64::from_be_bytes(voyage.try_into().map_err(|_| "not a voyage")?);
        match self.signed.insert((voyage, *deck), entry) {
            None if voyage >= self.floor.parts()[0] => Ok(()),
            _ => Err("a manifest below the floor, or a second one".into()),
        }
    }

    #[cfg(signonce_sim)]
    fn unburn(&mut self, _: &Claim, _: &mut dyn Rows) {}
}

/// What only ferries refuse.
#[derive(Encode, Decode)]
enum Own {
    #[codec(index = 0)]
    TooManyDecks { voyage: u64 },
    #[codec(index = 1)]
    TooFarAhead { asked: u64, farthest: u64, ahead: u64 },
}

fn refuse(own: &Own) -> Refusal {
    let (class, code) = match own {
        Own::TooManyDecks { .. } => (MANIFEST, 0),
        Own::TooFarAhead { .. } => (CROSSING, 1),
    };
    Refusal::Rule(RuleRefusal { class, code, facts: own.encode() })
}

pub(crate) fn too_far_ahead(asked: u64, farthest: u64, ahead: u64) -> Refusal {
    refuse(&Own::TooFarAhead { asked, farthest, ahead })
}

pub(crate) struct ManifestRefusals;

impl Refusals for ManifestRefusals {
    fn tell(&self, code: u8, facts: &[u8]) -> Option<RefusalDetails> {
        let own = Own::decode_all(&mut &*facts).ok().filter(|_| facts.first() == Some(&code))?;
        let told = |reason, text, is_final, code, bound: Option<Position>, facts: Map<_, _>| RefusalDetails {
            reason,
            text,
            is_final,
            code,
            bound,
            contradicts: false,
            facts,
        };
        Some(match own {
            Own::TooManyDecks { voyage } => told(
                "tooManyDecks",
                format!("voyage {voyage} has {MOST} manifests already, and a ferry has no more decks"),
                true,
                ErrorCode::RateLimited,
                Some(position(voyage)),
                Map::from_iter([("voyage".to_owned(), json!(voyage))]),
            ),
            Own::TooFarAhead { asked, farthest, ahead } => told(
                "tooFarAhead",
                format!(
                    "voyage {asked}: the other ferries have crossed to {farthest} only (at most {ahead} ahead)"
                ),
                false,
                ErrorCode::AheadOfGroup,
                Position::new(CROSSING, &[farthest.saturating_add(ahead)]),
                Map::from_iter([
                    ("asked".to_owned(), json!(asked)),
                    ("farthest".to_owned(), json!(farthest)),
                ]),
            ),
        })
    }
}
