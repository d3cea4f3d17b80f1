//! Sides on parachain candidates.

use crate::world::*;
use signonce_core::{ClientId, Refusal, Verdict};
use signonce_protocol::{CandidateHash, Digest, KeyId, KeyType, LogIndex, SessionIndex, Side::*};

fn world() -> (World, KeyId) {
    let mut world = World::new();
    let key = world.armed(KeyType::Para, from_session(50));
    (world, key)
}

#[test]
fn many_payloads_on_one_side_are_honest() {
    let (mut world, key) = world();
    assert_eq!(world.claim(key, side(50, &[1], Valid), 1), Verdict::Granted);
    let at = LogIndex(world.at);
    assert_eq!(world.claim(key, side(50, &[1], Valid), 2), Verdict::Repeated { at });
}

#[test]
fn the_other_side_is_refused_with_the_evidence() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[1], Valid), 1);
    let at = LogIndex(world.at);
    assert_eq!(
        world.refusal(key, side(50, &[1], Invalid), 2),
        Refusal::CrossedSides {
            session: SessionIndex(50),
            candidate: CandidateHash([1; 32]),
            signed: Valid,
            asked: Invalid,
            digest: Digest([1; 32]),
            at,
            time_ms: 1_700_000_000_000,
            client: ClientId(9),
        }
    );
    world.claim(key, side(50, &[2], Invalid), 1);
    assert!(matches!(world.refusal(key, side(50, &[2], Valid), 1), Refusal::CrossedSides { .. }));
}

#[test]
fn an_approval_that_crosses_on_one_candidate_takes_no_side_on_the_others() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[2], Invalid), 1);
    assert!(matches!(world.refusal(key, side(50, &[1, 2, 3], Valid), 1), Refusal::CrossedSides { .. }));
    assert_eq!(world.claim(key, side(50, &[1, 3], Invalid), 1), Verdict::Granted);
}

#[test]
fn an_approval_of_old_and_new_candidates_is_granted_and_then_repeated() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[1], Valid), 1);
    assert_eq!(world.claim(key, side(50, &[1, 2], Valid), 2), Verdict::Granted);
    let at = LogIndex(world.at);
    assert_eq!(world.claim(key, side(50, &[1, 2], Valid), 3), Verdict::Repeated { at });
    assert!(matches!(world.refusal(key, side(50, &[2], Invalid), 2), Refusal::CrossedSides { .. }));
    assert_eq!(world.state.watermarks(&key)[0].entries, 2);
}

#[test]
fn a_repeat_of_several_candidates_names_the_latest_grant_in_any_order() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[1], Valid), 1);
    world.claim(key, side(50, &[2], Valid), 1);
    let at = LogIndex(world.at);
    assert_eq!(world.claim(key, side(50, &[1, 2], Valid), 1), Verdict::Repeated { at });
    assert_eq!(world.claim(key, side(50, &[2, 1], Valid), 1), Verdict::Repeated { at });
}

#[test]
fn a_candidate_named_twice_counts_once() {
    let (mut world, key) = world();
    assert_eq!(world.claim(key, side(50, &[1, 1], Valid), 1), Verdict::Granted);
    assert_eq!(world.state.watermarks(&key)[0].entries, 1);
}

#[test]
fn a_side_on_nothing_or_on_too_much_is_refused() {
    let (mut world, key) = world();
    let seventeen: Vec<u8> = (0..17).collect();
    assert!(matches!(world.refusal(key, side(50, &[], Valid), 1), Refusal::WrongDuty { .. }));
    assert!(matches!(world.refusal(key, side(50, &seventeen, Valid), 1), Refusal::WrongDuty { .. }));
    assert_eq!(world.claim(key, side(50, &seventeen[1..], Valid), 1), Verdict::Granted);
}

#[test]
fn the_present_session_and_eight_back_are_exact() {
    let (mut world, key) = world();
    for session in 50..60 {
        assert_eq!(world.claim(key, side(session, &[1], Valid), 1), Verdict::Granted);
    }
    assert_eq!(world.floor(key), at_session(51));
    assert!(matches!(world.refusal(key, side(51, &[1], Invalid), 1), Refusal::CrossedSides { .. }));
    assert_eq!(world.claim(key, side(51, &[2], Invalid), 1), Verdict::Granted);
    let refused = Refusal::BelowWatermark { asked: at_session(50), floor: at_session(51) };
    assert_eq!(world.refusal(key, side(50, &[1], Valid), 1), refused);
}

#[test]
fn a_session_too_far_is_refused() {
    let (mut world, key) = world();
    let (asked, reference) = (at_session(1_051), at_session(50));
    let refused = world.refusal(key, side(1_051, &[1], Valid), 1);
    assert_eq!(refused, Refusal::JumpTooFar { asked, reference, limit: 1_000 });
    assert_eq!(world.claim(key, side(1_050, &[1], Valid), 1), Verdict::Granted);
}

#[test]
fn the_same_candidate_in_another_session_is_another_duty() {
    let (mut world, key) = world();
    assert_eq!(world.claim(key, side(50, &[1], Valid), 1), Verdict::Granted);
    assert_eq!(world.claim(key, side(51, &[1], Invalid), 1), Verdict::Granted);
}
