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
//!
//! Below [`GUARDED_LEVEL`](crate::GUARDED_LEVEL) a side is an entry of a window with its evidence, and any bytes of a
//! side that was taken are a repeat. Entries of that time stay what they are until the floor passes them.

use super::{
    Coverage, Entry,
    sides::{Said, Sides, Tagger},
    store::JournalWriter,
    window::{AlreadyHigher, Coordinate, Window},
};
use crate::model::{Claim, Limits, Position, Refusal, Verdict};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{CandidateHash, Duty, KeyId, LogIndex, SessionIndex, Side};
use std::collections::BTreeSet;

/// Sessions with entries that are kept: the present one and 8 back. Disputes reach 6 back on Polkadot.
pub(super) const KEEP: usize = 9;

/// The most candidates of one session while a side is an entry of a window.
const MAX_PER_SESSION: u32 = 65_536;

/// The most candidates of one session: two and a half times what a validator of Polkadot takes a side on in its 4
/// hours (2,400 blocks, some five each: 100 cores, 30 approvals, 600 validators). With [`KEEP`] sessions a key has 1.8 MB
/// at most.
pub(super) const GUARDED_PER_SESSION: u32 = 32_768;

/// The most candidates a payload can be about (an approval of several).
const MAX_CANDIDATES: usize = 16;

/// Session and candidate.
pub(super) type ParaCoordinate = (SessionIndex, CandidateHash);

/// The entries of a `para` key from below [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
pub(super) type ParaWindow = Window<ParaCoordinate, SideEntry>;

impl Coordinate for ParaCoordinate {
    type Step = SessionIndex;
    fn step(&self) -> SessionIndex {
        self.0
    }
}

/// A side on record, with the payload that took it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SideEntry {
    side: Side,
    entry: Entry,
}

impl SideEntry {
    /// Who took the side, and when.
    pub(super) const fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// What a duty says of candidates.
pub(super) struct Stance<'a> {
    session: SessionIndex,
    candidates: &'a [CandidateHash],
    said: Said,
}

impl<'a> Stance<'a> {
    /// `None` for other work.
    pub(super) fn of(duty: &'a Duty) -> Option<Self> {
        match duty {
            Duty::ParaSide { session, candidates, side } => {
                let said = match side {
                    Side::Valid => Said::Valid,
                    Side::Invalid => Said::Invalid,
                };
                Some(Self { session: *session, candidates, said })
            }
            Duty::ParaStatement { session, candidate, statement } => {
                let candidates = std::slice::from_ref(candidate);
                Some(Self { session: *session, candidates, said: Said::Backed(*statement) })
            }
            Duty::BabeBlock { .. }
            | Duty::AuraBlock { .. }
            | Duty::GrandpaVote { .. }
            | Duty::BeefyVote { .. } => None,
        }
    }

    fn has_form(&self) -> bool {
        (1..=MAX_CANDIDATES).contains(&self.candidates.len())
    }
}

impl Said {
    const fn side(self) -> Side {
        match self {
            Self::Valid | Self::Backed(_) => Side::Valid,
            Self::Invalid => Side::Invalid,
        }
    }

    /// What has been said once `more` is said as well.
    fn and(self, more: Self, session: SessionIndex, candidate: CandidateHash) -> Result<Self, Box<Refusal>> {
        match (self, more) {
            (Self::Backed(signed), Self::Backed(asked)) if signed != asked => {
                Err(Box::new(Refusal::OtherStatement { session, candidate, signed: Some(signed), asked }))
            }
            (Self::Invalid, Self::Invalid) => Ok(Self::Invalid),
            (Self::Valid, valid @ (Self::Valid | Self::Backed(_)))
            | (valid @ Self::Backed(_), Self::Valid | Self::Backed(_)) => Ok(valid),
            (signed @ Self::Invalid, asked) | (signed, asked @ Self::Invalid) => {
                let [signed, asked] = [signed.side(), asked.side()];
                Err(Box::new(Refusal::OtherSide { session, candidate, signed, asked }))
            }
        }
    }
}

/// The watermark of a `para` key.
#[derive(Clone, Debug)]
pub(super) struct ParaMark {
    /// The floor, and what was signed below [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
    window: ParaWindow,
    /// What was signed since.
    sides: Sides,
}

// What is read.
impl ParaMark {
    pub(super) fn floor(&self) -> SessionIndex {
        self.window.floor()
    }

    pub(super) fn window(&self) -> &ParaWindow {
        &self.window
    }

    pub(super) fn sides(&self) -> &Sides {
        &self.sides
    }

    /// The highest session with a side.
    pub(super) fn highest(&self) -> Option<SessionIndex> {
        self.window.highest().max(self.sides.sessions().next_back())
    }

    /// Sides that are kept.
    pub(super) fn entries(&self) -> u64 {
        (self.window.entries().len() + self.sides.len()) as u64
    }

    /// When the latest side was taken.
    pub(super) fn last(&self) -> Option<&Entry> {
        let old = || self.window.entries().values().next_back().map(|stand| &stand.entry);
        self.sides.last().or_else(old)
    }

    /// What is known of a signature for this stance. That its bytes are forgotten says nothing: sides are not.
    pub(super) fn coverage(&self, key: KeyId, stance: &Stance<'_>) -> Coverage {
        let Stance { session, candidates, said } = *stance;
        if !stance.has_form() {
            return Coverage::Foreign;
        }
        if session < self.floor() {
            return Coverage::Covered;
        }
        let tagger = Tagger::of(key);
        let mut all = true;
        for candidate in candidates {
            let held = self.sides.get(session, tagger.tag(candidate));
            let stand = self.window.get(&(session, *candidate));
            let crossed = stand.is_some_and(|stand| stand.side != said.side())
                || held.is_some_and(|held| held.and(said, session, *candidate).is_err());
            if crossed {
                return Coverage::Contradicted;
            }
            all &= held.is_some() || stand.is_some();
        }
        if all { Coverage::Covered } else { Coverage::Missing }
    }
}

// How claims are judged and recorded.
impl ParaMark {
    /// The verdict at [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
    pub(super) fn judge(&self, stance: &Stance<'_>, limits: &Limits, claim: &Claim) -> Verdict {
        let Stance { session, candidates, said } = *stance;
        if !stance.has_form() {
            return Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: claim.duty.class() });
        }
        if session < self.floor() {
            return Verdict::Refused(below(session, self.floor()));
        }
        let tagger = Tagger::of(claim.key);
        let granted = self.sides.granted(&claim.digest);
        let (mut fresh, mut repeated) = (0, Some(LogIndex(0)));
        for candidate in candidates {
            let old = match self.window.get(&(session, *candidate)) {
                Some(stand) => match stand.admits(session, *candidate, said, claim) {
                    Ok(repeats) => repeats,
                    Err(refusal) => return Verdict::Refused(*refusal),
                },
                None => None,
            };
            let new = match self.sides.get(session, tagger.tag(candidate)) {
                Some(held) => match held.and(said, session, *candidate) {
                    Ok(both) => granted.filter(|_| both == held),
                    Err(refusal) => return Verdict::Refused(*refusal),
                },
                None => {
                    fresh += 1;
                    None
                }
            };
            repeated = repeated.zip(new.max(old)).map(|(known, at)| known.max(at));
        }
        match repeated {
            Some(at) => Verdict::Repeated { at },
            None => match self.jump(session, limits).or_else(|| self.crowded(session, fresh)) {
                Some(refusal) => Verdict::Refused(refusal),
                None => Verdict::Granted,
            },
        }
    }

    /// Takes a stance that was granted at [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
    pub(super) fn record(
        &mut self,
        stance: &Stance<'_>,
        key: KeyId,
        entry: &Entry,
        writer: &mut JournalWriter<'_>,
    ) {
        let Stance { session, candidates, said } = *stance;
        let tagger = Tagger::of(key);
        for candidate in candidates {
            let tag = tagger.tag(candidate);
            let held = self.sides.get(session, tag);
            let both = held.map_or(Ok(said), |held| held.and(said, session, *candidate));
            let both = both.expect("only what contradicts nothing is granted");
            if held != Some(both) {
                self.sides.put(session, tag, both, writer);
            }
        }
        self.sides.remember(entry, writer);
        self.slide(writer);
    }

    /// Once as many sessions as are kept have sides, the floor is the lowest of them.
    fn slide(&mut self, writer: &mut JournalWriter<'_>) {
        let steps: BTreeSet<_> = self.window.steps().keys().copied().chain(self.sides.sessions()).collect();
        let lowest = steps.len().checked_sub(KEEP).and_then(|full| steps.into_iter().nth(full));
        if let Some(lowest) = lowest {
            self.raise(lowest, writer).expect("sides are at or above the floor");
        }
    }

    /// Refuses a session too far past the newest. A key that starts at zero and has signed nothing has come nowhere
    /// yet: its first side says where the chain is.
    fn jump(&self, session: SessionIndex, limits: &Limits) -> Option<Refusal> {
        let reference = self.highest().unwrap_or_default().max(self.floor());
        if reference == SessionIndex(0) && self.highest().is_none() {
            return None;
        }
        too_far(session, reference, limits)
    }

    fn crowded(&self, session: SessionIndex, fresh: usize) -> Option<Refusal> {
        let (position, limit) = (position(session), GUARDED_PER_SESSION);
        let crowd = self.sides.crowd(session) + self.window.crowd(session) as usize + fresh;
        (crowd > limit as usize).then_some(Refusal::Crowded { position, limit })
    }
}

// How it begins, rises and is read back.
impl ParaMark {
    pub(super) fn start(floor: SessionIndex, writer: &mut JournalWriter<'_>) -> Self {
        Self { window: Window::start(floor, writer), sides: Sides::default() }
    }

    /// One whose floor is stored already.
    pub(super) fn restored(floor: SessionIndex) -> Self {
        Self { window: Window::restored(floor), sides: Sides::default() }
    }

    pub(super) fn raise(
        &mut self,
        floor: SessionIndex,
        writer: &mut JournalWriter<'_>,
    ) -> Result<(), AlreadyHigher> {
        self.window.raise(floor, writer)?;
        self.sides.raise(floor, writer);
        Ok(())
    }

    pub(super) fn window_mut(&mut self) -> &mut ParaWindow {
        &mut self.window
    }

    pub(super) fn sides_mut(&mut self) -> &mut Sides {
        &mut self.sides
    }

    /// Whether what was read back can have been written.
    pub(super) fn is_whole(&self) -> bool {
        self.sides.is_whole() && self.sides.sessions().all(|session| session >= self.floor())
    }
}

// Below `GUARDED_LEVEL`.
impl ParaMark {
    /// The verdict below [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
    pub(super) fn judge_unguarded(
        &self,
        session: SessionIndex,
        candidates: &[CandidateHash],
        side: Side,
        limits: &Limits,
        claim: &Claim,
    ) -> Verdict {
        let window = &self.window;
        if candidates.is_empty() || candidates.len() > MAX_CANDIDATES {
            return Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: claim.duty.class() });
        }
        if session < window.floor() {
            return Verdict::Refused(below(session, window.floor()));
        }
        let mut latest = None;
        let mut fresh = 0;
        for candidate in candidates {
            match window.get(&(session, *candidate)) {
                Some(stand) if stand.side == side => latest = latest.max(Some(stand.entry.at)),
                Some(stand) => return Verdict::Refused(stand.crossed_by(session, *candidate, side)),
                None => fresh += 1,
            }
        }
        match latest {
            Some(at) if fresh == 0 => Verdict::Repeated { at },
            Some(_) | None => match self.jump(session, limits).or_else(|| crowded(window, session, fresh)) {
                Some(refusal) => Verdict::Refused(refusal),
                None => Verdict::Granted,
            },
        }
    }

    /// Takes the side on every candidate that has none yet.
    pub(super) fn record_unguarded(
        &mut self,
        session: SessionIndex,
        candidates: &[CandidateHash],
        side: Side,
        entry: &Entry,
        writer: &mut JournalWriter<'_>,
    ) {
        for candidate in candidates {
            let at = (session, *candidate);
            match self.window.get(&at) {
                Some(stand) => assert!(stand.side == side, "the other side was granted"),
                None => self.window.insert(at, SideEntry { side, entry: entry.clone() }, KEEP, writer),
            }
        }
    }
}

impl SideEntry {
    pub(super) const fn side(&self) -> Side {
        self.side
    }

    /// Whether `said` may be said beside this, which may have been a statement of either kind; and if these are the
    /// bytes that took the side, where.
    fn admits(
        &self,
        session: SessionIndex,
        candidate: CandidateHash,
        said: Said,
        claim: &Claim,
    ) -> Result<Option<LogIndex>, Box<Refusal>> {
        if self.side != said.side() {
            return Err(Box::new(self.crossed_by(session, candidate, said.side())));
        }
        match said {
            _ if self.entry.digest == claim.digest => Ok(Some(self.entry.at)),
            Said::Backed(asked) => {
                Err(Box::new(Refusal::OtherStatement { session, candidate, signed: None, asked }))
            }
            Said::Valid | Said::Invalid => Ok(None),
        }
    }

    fn crossed_by(&self, session: SessionIndex, candidate: CandidateHash, asked: Side) -> Refusal {
        Refusal::CrossedSides {
            session,
            candidate,
            signed: self.side,
            asked,
            digest: self.entry.digest,
            at: self.entry.at,
            time_ms: self.entry.time_ms,
            client: self.entry.client,
        }
    }
}

fn below(session: SessionIndex, floor: SessionIndex) -> Refusal {
    let [asked, floor] = [session, floor].map(position);
    Refusal::BelowWatermark { asked, floor }
}

fn too_far(session: SessionIndex, reference: SessionIndex, limits: &Limits) -> Option<Refusal> {
    let [asked, from] = [session, reference].map(position);
    let limit = limits.para_sessions;
    (session > reference.saturating_add(limit)).then(|| Refusal::JumpTooFar {
        asked,
        reference: from,
        limit: limit.into(),
    })
}

fn crowded(window: &ParaWindow, session: SessionIndex, fresh: u32) -> Option<Refusal> {
    (window.crowd(session).saturating_add(fresh) > MAX_PER_SESSION)
        .then(|| Refusal::Crowded { position: position(session), limit: MAX_PER_SESSION })
}

pub(super) fn position(session: SessionIndex) -> Position {
    Position::Para { session }
}
