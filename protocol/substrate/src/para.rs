//! Parachains: one side per (session, candidate), and one backing statement.
//!
//! Backing, approving and disputing as valid are one side; disputing as invalid is the other. Many payloads on one
//! side are honest (`Seconded` or `Valid`, approvals coalesced differently), so the side is held to and not the
//! bytes. Whether a candidate *is* valid no ledger can know; what is prevented is contradicting oneself, which a
//! node does only after losing its database or failing over (dispute-coordinator `initialized.rs`).
//!
//! Of the statements of a backer there is one for each candidate: `Seconded` beside `Valid` is misbehaviour to the
//! statement table (`ValidityDoubleVote`). Approvals and votes in disputes are honest beside either.
//!
//! Every payload whose bytes are new is granted anew, and so is in the log and the audit. The same bytes are a repeat
//! while they are among the key's latest; after that they are granted anew too, which signs the same once more.
//!
//! A payload about several candidates is granted whole or not at all.

use crate::{
    CandidateHash, Duty, PARA_SIDE, SessionIndex, Side,
    refusal::{OwnRefusal, refuse},
    settings::ChainSettings,
    sides::{Said, Sides, Tagger},
};
use signonce_protocol::{
    Chain, Claim, Duty as AnyDuty, Entry, LogIndex, Position, Refusal, Verdict,
    mark::{AlreadyHigher, Context, Coverage, Floor, Mark, Rows, SignedDuty},
};

/// Sessions with entries that are kept: the present one and 8 back. Disputes reach 6 back on Polkadot.
const KEEP: usize = 9;

/// The most candidates of one session: two and a half times what a validator of Polkadot takes a side on in its 4
/// hours (2,400 blocks, some five each: 100 cores, 30 approvals, 600 validators). With `KEEP` sessions a key has 1.8 MB
/// at most.
pub const MAX_PER_SESSION: u32 = 32_768;

/// The most candidates a payload can be about (an approval of several).
const MAX_CANDIDATES: usize = 16;

/// What a duty says about its candidates.
struct Stance {
    session: SessionIndex,
    candidates: Vec<CandidateHash>,
    said: Said,
}

impl Stance {
    /// `None` for other work, and for no candidates or too many.
    fn of(duty: &AnyDuty) -> Option<Self> {
        match Duty::of(duty)? {
            Duty::ParaSide { session, candidates, side, statement } => {
                let one = statement.is_none() || (candidates.len() == 1 && side == Side::Valid);
                let has_form = one && (1..=MAX_CANDIDATES).contains(&candidates.len());
                has_form.then(|| Self { session, candidates, said: Said::new(side, statement) })
            }
            Duty::BabeBlock { .. }
            | Duty::AuraBlock { .. }
            | Duty::GrandpaVote { .. }
            | Duty::BeefyVote { .. } => None,
        }
    }
}

impl Said {
    const fn side(self) -> Side {
        self.parts().0
    }

    /// What has been said once this and `more` are both said.
    fn and(self, more: Self, session: SessionIndex, candidate: CandidateHash) -> Result<Self, OwnRefusal> {
        match (self, more) {
            (Self::Backed(signed), Self::Backed(asked)) if signed != asked => {
                Err(OwnRefusal::OtherStatement { session, candidate, signed, asked })
            }
            (Self::Invalid, Self::Invalid) => Ok(Self::Invalid),
            (Self::Valid, valid @ (Self::Valid | Self::Backed(_)))
            | (valid @ Self::Backed(_), Self::Valid | Self::Backed(_)) => Ok(valid),
            (signed @ Self::Invalid, asked) | (signed, asked @ Self::Invalid) => {
                let [signed, asked] = [signed.side(), asked.side()];
                Err(OwnRefusal::OtherSide { session, candidate, signed, asked })
            }
        }
    }
}

/// The watermark of a `para` key.
#[derive(Clone, Debug)]
struct ParaMark {
    floor: SessionIndex,
    sides: Sides,
}

/// A watermark without sides.
pub(crate) fn start(floor: Position) -> Box<dyn Mark> {
    Box::new(ParaMark { floor: session_of(floor), sides: Sides::default() })
}

fn session_of(position: Position) -> SessionIndex {
    SessionIndex(u32::try_from(position.parts()[0]).expect("positions of sessions have 32 bits"))
}

fn position(session: SessionIndex) -> Position {
    Position::new(PARA_SIDE, &[u64::from(session.0)]).expect("a session is a position of sides")
}

impl Mark for ParaMark {
    fn boxed(&self) -> Box<dyn Mark> {
        Box::new(self.clone())
    }

    fn floor(&self) -> Position {
        position(self.floor)
    }

    fn highest(&self) -> Option<Position> {
        self.highest_session().map(position)
    }

    fn entries(&self) -> u64 {
        self.sides.len() as u64
    }

    fn last(&self) -> Option<&Entry> {
        self.sides.last()
    }

    fn judge(&self, claim: &Claim, context: &Context<'_>) -> Verdict {
        let Some(Stance { session, candidates, said }) = Stance::of(&claim.duty) else {
            return Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: claim.duty.class() });
        };
        if session < self.floor {
            let [asked, floor] = [session, self.floor].map(position);
            return Verdict::Refused(Refusal::BelowWatermark { asked, floor });
        }
        let tagger = Tagger::of(claim.key);
        let granted = self.sides.granted(&claim.digest);
        let (mut fresh, mut repeated) = (0, Some(LogIndex(0)));
        for candidate in &candidates {
            let known = match self.sides.get(session, tagger.tag(candidate)) {
                Some(held) => match held.and(said, session, *candidate) {
                    Ok(both) => granted.filter(|_| both == held),
                    Err(own) => return Verdict::Refused(refuse(PARA_SIDE, &own)),
                },
                None => {
                    fresh += 1;
                    None
                }
            };
            repeated = repeated.zip(known).map(|(latest, at)| latest.max(at));
        }
        let refusal = || self.jump(session, context.chain).or_else(|| self.crowded(session, fresh));
        match repeated {
            Some(at) => Verdict::Repeated { at, carry: signonce_protocol::Carry::default() },
            None => refusal().map_or(Verdict::Granted, Verdict::Refused),
        }
    }

    fn record(&mut self, claim: &Claim, entry: Entry, _: &Context<'_>, rows: &mut dyn Rows) {
        let stance = Stance::of(&claim.duty).expect("a granted claim of a para key takes sides");
        let Stance { session, candidates, said } = stance;
        let tagger = Tagger::of(claim.key);
        for candidate in candidates {
            let tag = tagger.tag(&candidate);
            let held = self.sides.get(session, tag);
            let both = held.map_or(Ok(said), |held| held.and(said, session, candidate));
            let both = both.expect("only what contradicts nothing is granted");
            if held != Some(both) {
                self.sides.put(session, tag, both, rows);
            }
        }
        self.sides.remember(&entry, rows);
        self.slide(rows);
    }

    /// Forgotten bytes of a signature do not matter here: sides are not forgotten.
    fn covers(&self, claim: &Claim, _: &Context<'_>) -> Coverage {
        let Some(Stance { session, candidates, said }) = Stance::of(&claim.duty) else {
            return Coverage::Foreign;
        };
        if session < self.floor {
            return Coverage::Covered;
        }
        let tagger = Tagger::of(claim.key);
        let mut all = true;
        for candidate in candidates {
            let held = self.sides.get(session, tagger.tag(&candidate));
            match held.map(|held| (held, held.and(said, session, candidate))) {
                Some((_, Err(_))) => return Coverage::Contradicted,
                // After a statement that is not known, the other one could still be signed.
                Some((held, Ok(both))) => all &= both == held,
                None => all = false,
            }
        }
        if all { Coverage::Covered } else { Coverage::Missing }
    }

    fn may_raise(&self, floor: Floor, _: &Context<'_>) -> Result<(), AlreadyHigher> {
        if session_of(floor.at) < self.floor { Err(AlreadyHigher) } else { Ok(()) }
    }

    fn raise(
        &mut self,
        floor: Floor,
        context: &Context<'_>,
        rows: &mut dyn Rows,
    ) -> Result<(), AlreadyHigher> {
        self.may_raise(floor, context)?;
        self.raise_to(session_of(floor.at), rows);
        Ok(())
    }

    /// Sides are kept without the candidates' hashes.
    fn signed(&self) -> Option<Vec<SignedDuty>> {
        (self.sides.len() == 0).then(Vec::new)
    }

    fn rows(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        Box::new(self.sides.rows())
    }

    fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        self.sides.restore(row, body)
    }

    fn is_whole(&self) -> bool {
        self.sides.is_whole() && self.sides.sessions().all(|session| session >= self.floor)
    }

    /// Sides are never taken back, not even for the simulator, which only frees duties of windows.
    #[cfg(signonce_sim)]
    fn unburn(&mut self, _: &Claim, _: &mut dyn Rows) {}
}

impl ParaMark {
    fn highest_session(&self) -> Option<SessionIndex> {
        self.sides.sessions().next_back()
    }

    /// Once as many sessions as are kept have sides, the floor is the lowest of them.
    fn slide(&mut self, rows: &mut dyn Rows) {
        let full = self.sides.sessions().count().checked_sub(KEEP);
        if let Some(lowest) = full.and_then(|full| self.sides.sessions().nth(full)) {
            self.raise_to(lowest, rows);
        }
    }

    fn raise_to(&mut self, floor: SessionIndex, rows: &mut dyn Rows) {
        assert!(floor >= self.floor, "floors never go down");
        if floor > self.floor {
            rows.floor(Some(position(self.floor)), position(floor));
            self.floor = floor;
        }
        self.sides.raise(floor, rows);
    }

    /// Refuses a session too far past the newest. A key that starts at zero and has signed nothing has no position
    /// yet: its first side shows where the chain is.
    fn jump(&self, session: SessionIndex, chain: &Chain) -> Option<Refusal> {
        let reference = self.highest_session().unwrap_or_default().max(self.floor);
        if reference == SessionIndex(0) && self.highest_session().is_none() {
            return None;
        }
        let limit = ChainSettings::of(chain).limits.para_sessions;
        let farthest = reference.saturating_add(limit);
        let [asked, reference, bound] = [session, reference, farthest].map(position);
        (session > farthest).then_some(Refusal::JumpTooFar { asked, reference, limit: limit.into(), bound })
    }

    fn crowded(&self, session: SessionIndex, fresh: usize) -> Option<Refusal> {
        let crowd = self.sides.crowd(session) + fresh;
        let (position, limit) = (position(session), MAX_PER_SESSION);
        (crowd > limit as usize).then_some(Refusal::Crowded { position, limit })
    }
}
