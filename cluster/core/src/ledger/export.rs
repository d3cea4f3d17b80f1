//! The ledger as others read it: what was signed, duty by duty, and whether something that is said to have been
//! signed is known here. Nothing in this file changes anything.

use super::{Entry, Ledger, beefy, grandpa, para, slot, watermark::Watermark};
use crate::model::{
    Chain, Claim, ClientId, FloorError, Floors, Position, Refusal, SlotClock, Verdict, claimed_class,
};
use signonce_protocol::{Digest, Duty, KeyId, KeyType, LogIndex};

/// A duty that a key has signed, as the window above its floor has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDuty {
    /// The duty. One for each candidate of a side.
    pub duty: Duty,
    /// The digest of what was signed.
    pub digest: Digest,
    /// The log entry that granted it.
    pub at: LogIndex,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
}

impl SignedDuty {
    fn of(duty: Duty, entry: &Entry) -> Self {
        Self { duty, digest: entry.digest, at: entry.at, time_ms: entry.time_ms }
    }
}

/// What a state knows of something that is said to have been signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// It can never sign anything else for that duty: it knows the very signature, or its floor is above.
    Covered,
    /// It knows nothing of it, and would sign something else.
    Missing,
    /// It has signed something else for that duty.
    Contradicted,
    /// The key has no such work, or was never armed.
    Foreign,
}

impl Ledger {
    /// Every duty of the key's window, in rising order. Empty for a key without a watermark; `None` for one whose
    /// duties are kept in a form that does not tell them.
    pub(crate) fn signed(&self, key: &KeyId) -> Option<Vec<SignedDuty>> {
        Some(match self.marks.get(key) {
            None => Vec::new(),
            Some(Watermark::Slot(window)) => {
                let duty = |at: &slot::SlotCoordinate| match key.key_type {
                    KeyType::Aura => Duty::AuraBlock { slot: at.0, collation: at.1 },
                    // The others have no slots.
                    KeyType::Babe
                    | KeyType::Grandpa
                    | KeyType::Beefy
                    | KeyType::Para
                    | KeyType::AuthorityDiscovery
                    | KeyType::ImOnline => Duty::BabeBlock { slot: at.0 },
                };
                window.entries().iter().map(|(at, entry)| SignedDuty::of(duty(at), entry)).collect()
            }
            Some(Watermark::Grandpa(window)) => {
                let signed = |(at, vote): (&grandpa::GrandpaCoordinate, &grandpa::Vote)| {
                    let (set_id, round, stage) = *at;
                    let duty = Duty::GrandpaVote { set_id, round, stage, target: vote.target };
                    SignedDuty::of(duty, &vote.entry)
                };
                window.entries().iter().map(signed).collect()
            }
            Some(Watermark::Beefy(window)) => {
                let signed = |(at, entry): (&beefy::BeefyCoordinate, &Entry)| {
                    SignedDuty::of(Duty::BeefyVote { set_id: at.0, block: at.1 }, entry)
                };
                window.entries().iter().map(signed).collect()
            }
            Some(Watermark::Para(mark)) if mark.sides().len() > 0 => return None,
            Some(Watermark::Para(mark)) => {
                let signed = |(at, stand): (&para::ParaCoordinate, &para::SideEntry)| {
                    let (session, candidates) = (at.0, vec![at.1]);
                    let duty = Duty::ParaSide { session, candidates, side: stand.side() };
                    SignedDuty::of(duty, stand.entry())
                };
                mark.window().entries().iter().map(signed).collect()
            }
        })
    }

    /// What the ledger knows of `digest` being signed for `duty`.
    pub(crate) fn covers(
        &self,
        key: KeyId,
        duty: &Duty,
        digest: Digest,
        chain: &Chain,
        clock: SlotClock<'_>,
    ) -> Coverage {
        if let (Some(Watermark::Para(mark)), Some(stance)) = (self.marks.get(&key), para::Stance::of(duty)) {
            return mark.coverage(key, &stance);
        }
        let claim = Claim { key, client: ClientId::default(), duty: duty.clone(), digest, time_ms: 0 };
        match self.judge(&claim, chain, clock, None, false) {
            Verdict::Repeated { .. }
            | Verdict::Refused(Refusal::BelowWatermark { .. } | Refusal::PastCounting { .. }) => {
                Coverage::Covered
            }
            Verdict::Refused(Refusal::Equivocation { .. } | Refusal::CrossedSides { .. }) => {
                Coverage::Contradicted
            }
            Verdict::Refused(Refusal::WrongDuty { .. }) => Coverage::Foreign,
            Verdict::Granted | Verdict::Refused(_) => Coverage::Missing,
        }
    }

    /// Whether [`Self::arm`] would start or raise the watermark.
    ///
    /// # Errors
    /// As there; and if the key has no work that a floor is about.
    pub(crate) fn may_arm(
        &self,
        key: KeyId,
        floors: &Floors,
        (clock, given_ms): (SlotClock<'_>, u64),
    ) -> Result<(), FloorError> {
        let Some(asked) = floors.of_key(key)? else { return Err(FloorError::NoWork { key }) };
        debug_assert!(claimed_class(key.key_type).is_some());
        if let Position::Slot { slot } = asked {
            return self.read_floor(key, clock, clock.read_floor(slot, given_ms)?).map(drop);
        }
        match self.watermarks(&key).first().map(|mark| mark.floor) {
            Some(floor) if asked.is_below(floor) == Some(true) => {
                Err(FloorError::AlreadyHigher { key, floor, asked })
            }
            Some(_) | None => Ok(()),
        }
    }
}
