//! GRANDPA: one vote per (set id, round, stage).
//!
//! Source: the equivocation proof of sp-consensus-grandpa is two votes of one set, round and stage with different
//! targets. Entries are exact, not a high-water mark: after a catch-up, finality-grandpa goes on voting in the
//! background rounds it left behind (`past_rounds.rs`). The primary's proposal is not slashable and held to one per
//! round all the same. Rounds restart at 1 with every set, so jumps are measured within the set.

use super::{
    Entry,
    window::{Coordinate, Window},
};
use crate::model::{Claim, Limits, Position, Refusal, Verdict};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{BlockNumber, GrandpaStage, Round, SetId};

/// Rounds with entries that are kept, across sets: the last rounds of the previous set stay until the present one
/// has come this far.
pub(super) const KEEP: usize = 256;

/// Set, round and stage.
pub(super) type GrandpaCoordinate = (SetId, Round, GrandpaStage);

/// The watermark of a `gran` key.
pub(super) type GrandpaWindow = Window<GrandpaCoordinate, Vote>;

impl Coordinate for GrandpaCoordinate {
    type Step = (SetId, Round);
    fn step(&self) -> (SetId, Round) {
        (self.0, self.1)
    }
}

/// A vote on record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Vote {
    pub(super) entry: Entry,
    /// The block voted for: the BEEFY shield goes by it.
    pub(super) target: BlockNumber,
}

pub(super) fn judge(
    window: &GrandpaWindow,
    at: GrandpaCoordinate,
    limits: &Limits,
    claim: &Claim,
) -> Verdict {
    if let Some(vote) = window.get(&at) {
        return vote.entry.compare(claim);
    }
    if window.is_below(&at) {
        let [asked, floor] = [at.step(), window.floor()].map(position);
        return Verdict::Refused(Refusal::BelowWatermark { asked, floor });
    }
    match jump(window, at.step(), limits) {
        Some(refusal) => Verdict::Refused(refusal),
        None => Verdict::Granted,
    }
}

/// Refuses a set too far past the newest, and a round too far past the highest of its set (past 0 in a new set).
/// A key that starts at zero and has signed nothing has come nowhere yet: its first vote says where the chain is.
fn jump(window: &GrandpaWindow, (set, round): (SetId, Round), limits: &Limits) -> Option<Refusal> {
    let reference = window.reference();
    if reference == <(SetId, Round)>::default() && window.steps().is_empty() {
        return None;
    }
    let refuse = |reference, limit| {
        Some(Refusal::JumpTooFar { asked: position((set, round)), reference: position(reference), limit })
    };
    if set > reference.0.saturating_add(limits.grandpa_sets) {
        return refuse(reference, limits.grandpa_sets);
    }
    let reached = reached_in(window, set);
    if round > reached.saturating_add(limits.grandpa_rounds) {
        return refuse((set, reached), limits.grandpa_rounds);
    }
    None
}

/// The farthest round of a set: the highest signed, or the floor's; 0 in a set the key has not come to.
fn reached_in(window: &GrandpaWindow, set: SetId) -> Round {
    let floor = Some(window.floor()).filter(|floor| floor.0 == set);
    let signed =
        window.steps().range((set, Round(0))..=(set, Round(u64::MAX))).next_back().map(|(step, _)| *step);
    signed.or(floor).map_or(Round(0), |step| step.1)
}

/// The highest target among the precommits in the newest set; `None` if there is no precommit in it.
pub(super) fn highest_precommit(window: &GrandpaWindow) -> Option<BlockNumber> {
    let present = window.reference().0;
    let votes = window.entries().range((present, Round(0), GrandpaStage::Prevote)..);
    votes.filter(|(at, _)| at.2 == GrandpaStage::Precommit).map(|(_, vote)| vote.target).max()
}

pub(super) fn position((set_id, round): (SetId, Round)) -> Position {
    Position::Grandpa { set_id, round }
}
