//! GRANDPA votes.

use crate::world::*;
use signonce_core::{Floors, Refusal, Verdict};
use signonce_protocol::KeyId;
use signonce_substrate::GRANDPA;
use signonce_substrate::GrandpaStage;

fn world(floors: Floors) -> (World, KeyId) {
    let mut world = World::new();
    let key = world.armed(GRANDPA, floors);
    (world, key)
}

#[test]
fn each_stage_of_a_round_votes_once() {
    let (mut world, key) = world(from_round(5, 1));
    for stage in [GrandpaStage::PrimaryPropose, GrandpaStage::Prevote, GrandpaStage::Precommit] {
        assert_eq!(world.claim(key, vote(5, 1, stage), 1), Verdict::Granted);
        assert!(matches!(world.claim(key, vote(5, 1, stage), 1), Verdict::Repeated { .. }));
        assert!(matches!(world.refusal(key, vote(5, 1, stage), 2), Refusal::Equivocation { .. }));
    }
}

#[test]
fn a_round_left_behind_in_a_catch_up_may_still_vote() {
    let (mut world, key) = world(from_round(5, 1));
    assert_eq!(world.claim(key, prevote(5, 10), 1), Verdict::Granted);
    assert_eq!(world.claim(key, precommit(5, 8, 1), 1), Verdict::Granted);
    assert!(matches!(world.refusal(key, precommit(5, 8, 1), 2), Refusal::Equivocation { .. }));
}

#[test]
fn rounds_restart_with_a_set_and_the_previous_set_may_finish() {
    let (mut world, key) = world(from_round(5, 100));
    assert_eq!(world.claim(key, prevote(5, 200), 1), Verdict::Granted);
    assert_eq!(world.claim(key, prevote(6, 1), 1), Verdict::Granted);
    assert_eq!(world.claim(key, prevote(5, 201), 1), Verdict::Granted);
    assert!(matches!(world.refusal(key, prevote(5, 200), 2), Refusal::Equivocation { .. }));
    assert!(matches!(world.refusal(key, prevote(5, 99), 1), Refusal::BelowWatermark { .. }));
}

#[test]
fn the_last_256_rounds_are_exact_and_older_ones_refused() {
    let (mut world, key) = world(from_round(5, 1));
    for round in 1..=300 {
        assert_eq!(world.claim(key, prevote(5, round), 1), Verdict::Granted);
        assert_eq!(world.claim(key, precommit(5, round, round), 1), Verdict::Granted);
    }
    assert_eq!(world.floor(key), at_round(5, 45));
    assert_eq!(world.state.watermarks(&key)[0].entries, 512);
    assert!(matches!(world.refusal(key, prevote(5, 45), 2), Refusal::Equivocation { .. }));
    let refused = Refusal::BelowWatermark { asked: at_round(5, 44), floor: at_round(5, 45) };
    assert_eq!(world.refusal(key, prevote(5, 44), 1), refused);
}

#[test]
fn a_round_too_far_is_refused_until_the_watermark_is_raised() {
    let (mut world, key) = world(from_round(5, 1_000));
    world.claim(key, prevote(5, 1_000), 1);
    assert_eq!(world.claim(key, prevote(5, 101_000), 1), Verdict::Granted, "the limit itself is allowed");
    let refused = world.refusal(key, prevote(5, 201_001), 1);
    let (asked, reference) = (at_round(5, 201_001), at_round(5, 101_000));
    let bound = at_round(5, 201_000);
    assert_eq!(refused, Refusal::JumpTooFar { asked, reference, limit: 100_000, bound });
    assert!(!refused.is_final());
    world.raise(key, from_round(5, 150_000)).unwrap();
    assert_eq!(world.claim(key, prevote(5, 201_001), 1), Verdict::Granted);
}

#[test]
fn a_set_too_far_is_refused_and_a_new_set_begins_near_round_one() {
    let (mut world, key) = world(from_round(5, 1));
    assert!(matches!(world.refusal(key, prevote(1_006, 1), 1), Refusal::JumpTooFar { limit: 1_000, .. }));
    assert_eq!(world.claim(key, prevote(1_005, 1), 1), Verdict::Granted);
    let refused = world.refusal(key, prevote(1_006, 100_001), 1);
    let (asked, reference) = (at_round(1_006, 100_001), at_round(1_006, 0));
    let bound = at_round(1_006, 100_000);
    assert_eq!(refused, Refusal::JumpTooFar { asked, reference, limit: 100_000, bound });
}

#[test]
fn the_bound_of_a_jump_is_taken_where_set_and_round_are_too_far() {
    for (floor, asked, bound) in [
        // A new set begins at round zero.
        ((5, 1_000), (1_006, 100_001), (1_005, 100_000)),
        ((5, 1_000), (2_000, 7), (1_005, 7)),
        ((5, 1_000), (5, 200_000), (5, 101_000)),
        ((u64::MAX, 5), (u64::MAX, 100_006), (u64::MAX, 100_005)),
    ] {
        let (mut world, key) = world(from_round(floor.0, floor.1));
        let Refusal::JumpTooFar { reference, bound: told, .. } =
            world.refusal(key, prevote(asked.0, asked.1), 1)
        else {
            panic!("{asked:?} is not too far")
        };
        assert_eq!((reference, told), (at_round(floor.0, floor.1), at_round(bound.0, bound.1)), "{asked:?}");
        assert_eq!(world.claim(key, prevote(bound.0, bound.1), 1), Verdict::Granted, "{asked:?}");
    }
}

#[test]
fn a_bogus_set_far_ahead_does_not_burn_the_present_one() {
    let (mut world, key) = world(from_round(5, 1));
    assert_eq!(world.claim(key, prevote(900, 1), 1), Verdict::Granted);
    for round in 1..=255 {
        assert_eq!(world.claim(key, prevote(5, round), 1), Verdict::Granted);
    }
    assert!(matches!(world.refusal(key, prevote(900, 1), 2), Refusal::Equivocation { .. }));
}

#[test]
fn a_key_that_never_voted_starts_where_the_chain_is() {
    let (mut world, key) = world(from_round(0, 0));
    assert_eq!(world.claim(key, prevote(20_000, 1_500_000), 1), Verdict::Granted);
    assert!(matches!(world.refusal(key, prevote(21_001, 1), 1), Refusal::JumpTooFar { .. }), "only once");
}

#[test]
fn a_raise_to_the_end_of_the_range_is_survived() {
    let (mut world, key) = world(from_round(5, 1));
    world.claim(key, prevote(5, 1), 1);
    world.raise(key, from_round(u64::MAX, u64::MAX)).unwrap();
    assert!(matches!(world.refusal(key, prevote(5, 1), 1), Refusal::BelowWatermark { .. }));
    assert_eq!(world.claim(key, prevote(u64::MAX, u64::MAX), 1), Verdict::Granted);
}
