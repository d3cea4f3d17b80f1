//! The rules of headers and BEEFY votes beyond their windows: the form of collations, and the shield against
//! fork and future votes.
//!
//! BEEFY's double-voting proof (sp-consensus-beefy) is two votes of one set and block with different payloads; the
//! window sees to that. A vote off the canonical chain, or for a block that does not exist yet, costs 50 % of the stake
//! (pallet-beefy `equivocation.rs`); a ledger cannot know the chain, but BEEFY votes for finalized blocks only, so a
//! vote far above what the same validator's GRANDPA key has precommitted comes from a broken node.

use crate::{
    AuraMode, BlockNumber, ChainSettings, Duty, GRANDPA_VOTE, GrandpaStage,
    refusal::{OwnRefusal, refuse},
};
use parity_scale_codec::DecodeAll as _;
use signonce_protocol::{
    Duty as AnyDuty, Refusal, Settings, ShieldContext,
    mark::{Mark, Vote},
};

/// Whether a header is a collation exactly if the chain's AURA mode says so.
pub(crate) fn collation_fits(duty: &AnyDuty, settings: &Settings) -> bool {
    let collator =
        ChainSettings::decode(settings).is_ok_and(|settings| settings.format.aura_mode == AuraMode::Collator);
    matches!(Duty::of(duty), Some(Duty::AuraBlock { collation, .. }) if collation.is_some() == collator)
}

/// Refuses a BEEFY vote far above the highest GRANDPA precommit of the group in its present set. Silent until the group
/// has precommitted in that set.
pub(crate) fn ahead_of_grandpa(context: &ShieldContext<'_>) -> Option<Refusal> {
    let slack = ChainSettings::of(context.chain).limits.beefy_shield?;
    let Some(Duty::BeefyVote { set_id, block: asked }) = Duty::of(context.duty) else { return None };
    let grandpa = context.siblings.marks(GRANDPA_VOTE);
    let precommitted = grandpa.into_iter().filter_map(highest_precommit).max()?;
    (asked > precommitted.saturating_add(slack)).then(|| {
        refuse(context.duty.class(), &OwnRefusal::AheadOfGrandpa { set_id, asked, precommitted, slack })
    })
}

/// The highest target among the precommits in the newest set; `None` if there is no precommit in it.
fn highest_precommit(mark: &dyn Mark) -> Option<BlockNumber> {
    let set_of = |position: signonce_protocol::Position| position.parts()[0];
    let present = set_of(mark.floor()).max(mark.highest().map_or(0, set_of));
    let in_set = mark.votes().rev().take_while(|vote| set_of(vote.position) == present);
    in_set.filter_map(|vote| precommit(&vote)).max()
}

fn precommit(vote: &Vote<'_>) -> Option<BlockNumber> {
    let stage = GrandpaStage::decode_all(&mut &*vote.within).ok()?;
    (stage == GrandpaStage::Precommit).then(|| BlockNumber::decode_all(&mut &*vote.facts).ok())?
}
