//! BEEFY votes and the shield.

use crate::world::*;
use signonce_core::{Change, Refusal, Verdict};
use signonce_protocol::KeyId;
use signonce_substrate::Limits;
use signonce_substrate::{BEEFY, GRANDPA};
use signonce_substrate::{BlockNumber, GrandpaStage, OwnRefusal, SetId};

/// A validator's GRANDPA and BEEFY keys, both at work.
fn validator() -> (World, KeyId, KeyId) {
    let mut world = World::new();
    let grandpa = world.armed(GRANDPA, from_round(5, 1));
    let beefy = world.armed(BEEFY, from_block(3, 1_000));
    (world, grandpa, beefy)
}

fn ahead(asked: u64, precommitted: u64) -> OwnRefusal {
    let (asked, precommitted) = (BlockNumber(asked), BlockNumber(precommitted));
    OwnRefusal::AheadOfGrandpa { set_id: SetId(3), asked, precommitted, slack: 16 }
}

fn own(refusal: &Refusal) -> OwnRefusal {
    OwnRefusal::of(refusal).expect("a refusal by the shield")
}

#[test]
fn each_block_of_a_set_gets_one_commitment() {
    let (mut world, _, key) = validator();
    assert_eq!(world.claim(key, beefy(3, 1_000), 1), Verdict::Granted);
    assert!(matches!(world.claim(key, beefy(3, 1_000), 1), Verdict::Repeated { .. }));
    assert!(matches!(world.refusal(key, beefy(3, 1_000), 2), Refusal::Equivocation { .. }));
    assert_eq!(world.claim(key, beefy(4, 1_000), 2), Verdict::Granted, "another set is another duty");
}

#[test]
fn a_consensus_reset_may_go_back_to_a_block_that_was_never_voted_for() {
    let (mut world, _, key) = validator();
    assert_eq!(world.claim(key, beefy(3, 2_000), 1), Verdict::Granted);
    assert_eq!(world.claim(key, beefy(3, 1_500), 1), Verdict::Granted);
}

#[test]
fn the_last_256_votes_are_exact_and_older_ones_refused() {
    let (mut world, _, key) = validator();
    for n in 0..300 {
        assert_eq!(world.claim(key, beefy(3, 1_000 + 8 * n), 1), Verdict::Granted);
    }
    assert_eq!(world.floor(key), at_block(3, 1_000 + 8 * 44));
    assert!(matches!(world.refusal(key, beefy(3, 1_000 + 8 * 44), 2), Refusal::Equivocation { .. }));
    assert!(matches!(world.refusal(key, beefy(3, 1_000 + 8 * 43), 1), Refusal::BelowWatermark { .. }));
}

#[test]
fn a_block_or_set_too_far_is_refused() {
    let (mut world, _, key) = validator();
    let (asked, reference) = (at_block(3, 1_001_001), at_block(3, 1_000));
    let refused = world.refusal(key, beefy(3, 1_001_001), 1);
    let bound = at_block(3, 1_001_000);
    assert_eq!(refused, Refusal::JumpTooFar { asked, reference, limit: 1_000_000, bound });
    assert!(matches!(world.refusal(key, beefy(1_004, 1_001), 1), Refusal::JumpTooFar { limit: 1_000, .. }));
    assert_eq!(world.claim(key, beefy(1_003, 1_001_000), 1), Verdict::Granted);
}

/// What is named as the farthest would be taken, in the set that was asked for.
#[test]
fn the_bound_of_a_jump_is_in_the_set_that_was_asked_for() {
    let (mut world, _, key) = validator();
    world.claim(key, beefy(4, 1_000), 1);
    let (asked, reference) = (at_block(3, 1_001_001), at_block(4, 1_000));
    let bound = at_block(3, 1_001_000);
    let refused = world.refusal(key, beefy(3, 1_001_001), 1);
    assert_eq!(refused, Refusal::JumpTooFar { asked, reference, limit: 1_000_000, bound });
    assert_eq!(world.claim(key, beefy(3, 1_001_000), 1), Verdict::Granted);
}

#[test]
fn the_bound_of_a_jump_is_taken_where_set_and_block_are_too_far() {
    let (mut world, _, key) = validator();
    let refused = world.refusal(key, beefy(2_000, 9_000_000), 1);
    let (asked, reference) = (at_block(2_000, 9_000_000), at_block(3, 1_000));
    let bound = at_block(1_003, 1_001_000);
    assert_eq!(refused, Refusal::JumpTooFar { asked, reference, limit: 1_000, bound });
    assert_eq!(world.claim(key, beefy(1_003, 1_001_000), 1), Verdict::Granted);
}

#[test]
fn the_shield_is_silent_until_grandpa_has_precommitted() {
    let (mut world, grandpa, key) = validator();
    assert_eq!(world.claim(key, beefy(3, 5_000), 1), Verdict::Granted);
    for stage in [GrandpaStage::Prevote, GrandpaStage::PrimaryPropose] {
        world.claim(grandpa, vote(5, 1, stage), 1);
    }
    assert_eq!(world.claim(key, beefy(3, 5_001), 1), Verdict::Granted);
}

#[test]
fn a_vote_above_the_own_precommits_is_refused_until_grandpa_has_caught_up() {
    let (mut world, grandpa, key) = validator();
    world.claim(grandpa, precommit(5, 1, 2_000), 1);
    assert_eq!(world.claim(key, beefy(3, 2_016), 1), Verdict::Granted);
    let refused = world.refusal(key, beefy(3, 2_017), 1);
    assert_eq!(own(&refused), ahead(2_017, 2_000));
    assert!(!refused.is_final());
    world.claim(grandpa, precommit(5, 2, 2_001), 1);
    assert_eq!(world.claim(key, beefy(3, 2_017), 1), Verdict::Granted);
}

#[test]
fn what_was_signed_may_be_repeated_under_the_shield() {
    let (mut world, grandpa, key) = validator();
    world.claim(key, beefy(3, 5_000), 1);
    world.claim(grandpa, precommit(5, 1, 2_000), 1);
    assert!(matches!(world.claim(key, beefy(3, 5_000), 1), Verdict::Repeated { .. }));
}

#[test]
fn the_shield_goes_by_the_highest_precommit_of_the_present_set() {
    let (mut world, grandpa, key) = validator();
    world.claim(grandpa, precommit(5, 2, 3_000), 1);
    world.claim(grandpa, precommit(5, 1, 2_000), 1);
    assert_eq!(own(&world.refusal(key, beefy(3, 3_100), 1)), ahead(3_100, 3_000));
    world.claim(grandpa, prevote(6, 1), 1);
    assert_eq!(world.claim(key, beefy(3, 3_100), 1), Verdict::Granted, "silent in a set without a precommit");
    world.claim(grandpa, precommit(6, 1, 3_050), 1);
    assert_eq!(own(&world.refusal(key, beefy(3, 3_101), 1)), ahead(3_101, 3_050));
}

#[test]
fn the_shield_follows_the_group_and_the_newest_of_its_keys() {
    let (mut world, _, key) = validator();
    let stranger = crate::world::key(GRANDPA, 2);
    world.change(register(stranger, CHAIN, Some("validator-2"))).unwrap();
    world.change(Change::ArmKey { id: stranger, floors: from_round(5, 1) }).unwrap();
    world.claim(stranger, precommit(5, 1, 1_100), 1);
    assert_eq!(
        world.claim(key, beefy(3, 1_200), 1),
        Verdict::Granted,
        "another validator's key says nothing"
    );
    let rotated = crate::world::key(GRANDPA, 3);
    world.register(rotated, CHAIN);
    world.change(Change::ArmKey { id: rotated, floors: from_round(5, 1) }).unwrap();
    world.claim(rotated, precommit(5, 1, 1_200), 1);
    assert_eq!(own(&world.refusal(key, beefy(3, 1_300), 1)), ahead(1_300, 1_200));
    world.change(Change::DisableKey { id: rotated }).unwrap();
    assert_eq!(
        world.claim(key, beefy(3, 1_300), 1),
        Verdict::Granted,
        "a disabled key does not hold it back"
    );
}

#[test]
fn the_shield_can_be_turned_off_for_a_chain() {
    let (mut world, grandpa, key) = validator();
    world.claim(grandpa, precommit(5, 1, 1_000), 1);
    let limits = Limits { beefy_shield: None, ..Limits::default() };
    world.change(set_limits(limits)).unwrap();
    assert_eq!(world.claim(key, beefy(3, 9_000), 1), Verdict::Granted);
}
