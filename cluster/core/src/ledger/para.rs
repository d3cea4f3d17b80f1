//! Parachains: one side per (session, candidate).
//!
//! Backing, approving and disputing as valid are one side; disputing as invalid is the other. Many payloads on one
//! side are honest (`Seconded` or `Valid`, approvals coalesced differently), so the side is held to and not the
//! bytes. Whether a candidate *is* valid no ledger can know; what is prevented is contradicting oneself, which a
//! node does only after losing its database or failing over (dispute-coordinator `initialized.rs`).
//!
//! A payload about several candidates is granted whole or not at all.

use super::{
    Claim, Entry, Position, Refusal, Verdict,
    store::Pen,
    window::{Coordinate, Window},
};
use crate::registry::Limits;
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{CandidateHash, SessionIndex, Side};

/// Sessions with entries that are kept: the present one and 8 back. Disputes reach 6 back on Polkadot.
pub(super) const KEEP: usize = 9;

/// The most candidates of one session: four times what a validator of Polkadot sees in its 4 hours.
pub(super) const MAX_PER_SESSION: u32 = 65_536;

/// The most candidates a payload can be about (an approval of several).
const MAX_CANDIDATES: usize = 16;

/// Session and candidate.
pub(super) type ParaCoordinate = (SessionIndex, CandidateHash);

/// The watermark of a `para` key.
pub(super) type ParaWindow = Window<ParaCoordinate, Stand>;

impl Coordinate for ParaCoordinate {
    type Step = SessionIndex;
    fn step(&self) -> SessionIndex {
        self.0
    }
}

/// A side on record, with the payload that took it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Stand {
    side: Side,
    entry: Entry,
}

impl Stand {
    /// Who took the side, and when.
    pub(super) const fn entry(&self) -> &Entry {
        &self.entry
    }
}

pub(super) fn judge(
    window: &ParaWindow,
    session: SessionIndex,
    candidates: &[CandidateHash],
    side: Side,
    limits: &Limits,
    claim: &Claim,
) -> Verdict {
    if candidates.is_empty() || candidates.len() > MAX_CANDIDATES {
        return Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: claim.duty.class() });
    }
    if session < window.floor() {
        let [asked, floor] = [session, window.floor()].map(position);
        return Verdict::Refused(Refusal::BelowWatermark { asked, floor });
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
        _ => match jump(window, session, limits).or_else(|| crowded(window, session, fresh)) {
            Some(refusal) => Verdict::Refused(refusal),
            None => Verdict::Granted,
        },
    }
}

/// Takes the side on every candidate that has none yet.
pub(super) fn record(
    window: &mut ParaWindow,
    session: SessionIndex,
    candidates: &[CandidateHash],
    side: Side,
    entry: &Entry,
    pen: &mut Pen<'_>,
) {
    for candidate in candidates {
        let at = (session, *candidate);
        match window.get(&at) {
            Some(stand) => assert!(stand.side == side, "the other side was granted"),
            None => window.insert(at, Stand { side, entry: entry.clone() }, KEEP, pen),
        }
    }
}

impl Stand {
    pub(super) const fn side(&self) -> Side {
        self.side
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

/// Refuses a session too far past the newest. A key that starts at zero and has signed nothing has come nowhere
/// yet: its first side says where the chain is.
fn jump(window: &ParaWindow, session: SessionIndex, limits: &Limits) -> Option<Refusal> {
    let reference = window.reference();
    if reference == SessionIndex(0) && window.steps().is_empty() {
        return None;
    }
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
