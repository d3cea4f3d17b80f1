//! BEEFY: one vote per (set id, block number), and the shield against fork and future votes.
//!
//! Source: the double-voting proof of sp-consensus-beefy is two votes of one set and block with different payloads.
//! Entries are exact: after a consensus reset a node honestly goes back. A vote off the canonical chain, or for a
//! block that does not exist yet, costs 50 % of the stake (pallet-beefy `equivocation.rs`); a ledger cannot know the
//! chain, but BEEFY votes for finalized blocks only, so a vote far above what the same validator's GRANDPA key has
//! precommitted comes from a broken node.

use super::{
    Ceiling, Entry,
    window::{Coordinate, Window},
};
use crate::model::{Claim, Limits, Position, Refusal, Verdict};
use signonce_protocol::{BlockNumber, SetId};

/// Votes that are kept.
pub(super) const KEEP: usize = 256;

/// Set and block.
pub(super) type BeefyCoordinate = (SetId, BlockNumber);

/// The watermark of a `beef` key.
pub(super) type BeefyWindow = Window<BeefyCoordinate, Entry>;

impl Coordinate for BeefyCoordinate {
    type Step = Self;
    fn step(&self) -> Self {
        *self
    }
}

pub(super) fn judge(
    window: &BeefyWindow,
    at: BeefyCoordinate,
    limits: &Limits,
    ceiling: Option<Ceiling>,
    claim: &Claim,
) -> Verdict {
    if let Some(entry) = window.get(&at) {
        return entry.compare(claim);
    }
    if window.is_below(&at) {
        let [asked, floor] = [at, window.floor()].map(position);
        return Verdict::Refused(Refusal::BelowWatermark { asked, floor });
    }
    match jump(window, at, limits).or_else(|| shield(at.1, ceiling)) {
        Some(refusal) => Verdict::Refused(refusal),
        None => Verdict::Granted,
    }
}

/// Refuses a set or a block too far past the newest vote. Block numbers go on across sets. A key that starts at
/// zero and has signed nothing has come nowhere yet: its first vote says where the chain is.
fn jump(window: &BeefyWindow, at: BeefyCoordinate, limits: &Limits) -> Option<Refusal> {
    let reference = window.reference();
    if reference == BeefyCoordinate::default() && window.steps().is_empty() {
        return None;
    }
    let refuse =
        |limit| Some(Refusal::JumpTooFar { asked: position(at), reference: position(reference), limit });
    if at.0 > reference.0.saturating_add(limits.beefy_sets) {
        return refuse(limits.beefy_sets);
    }
    if at.1 > reference.1.saturating_add(limits.beefy_blocks) {
        return refuse(limits.beefy_blocks);
    }
    None
}

fn shield(asked: BlockNumber, ceiling: Option<Ceiling>) -> Option<Refusal> {
    let Ceiling { precommitted, slack } = ceiling?;
    (asked > precommitted.saturating_add(slack)).then_some(Refusal::BeefyAheadOfGrandpa {
        asked,
        precommitted,
        slack,
    })
}

pub(super) fn position((set_id, block): BeefyCoordinate) -> Position {
    Position::Beefy { set_id, block }
}
