//! The judge is judged: every fault is committed once and must be named, and honest histories must pass.

use super::*;
use ed25519_dalek::{Signer as _, SigningKey};
use signonce_protocol::rpc::ErrorCode;
use signonce_substrate::{BABE_BLOCK, ED25519};

const PLACE: DutyId = DutyId::Vote { set: 1, round: 5, stage: 0 };

struct World {
    checker: Checker,
    key: SigningKey,
}

impl World {
    fn new() -> Self {
        signonce_substrate::install();
        let key = SigningKey::from_bytes(&[3; 32]);
        let public = key.verifying_key().to_bytes().to_vec();
        let facts = KeyFacts { name: "gran".into(), scheme: ED25519, public };
        Self { checker: Checker::new(vec![facts], false), key }
    }

    fn now(slot: u64) -> Moment {
        Moment { at: Instant::now(), slot }
    }

    fn ask(&mut self, place: DutyId, side: u8) -> Ask {
        self.checker.ask("v1", 0, place, side, Self::now(100))
    }

    fn hear(&mut self, ask: &Ask, answer: &Answer) {
        self.checker.hear(ask, answer, Self::now(100));
    }

    fn signature(&self, place: DutyId, side: u8, verdict: SignVerdict) -> Answer {
        let signature = self.key.sign(&place.signed_bytes(side)).to_bytes().to_vec();
        Answer::Signed { signature, verdict }
    }

    fn granted(&self, place: DutyId, side: u8) -> Answer {
        self.signature(place, side, SignVerdict::Granted)
    }

    fn faults(&self) -> Vec<Fault> {
        self.checker.violations().0.iter().map(|violation| violation.fault.clone()).collect()
    }
}

fn refused(code: ErrorCode, signed: Option<[u8; 32]>, bound: Option<Position>) -> Answer {
    Answer::Refused { code, signed, bound, message: "no".into() }
}

#[test]
fn a_grant_a_repeat_and_the_refusal_of_the_other_payload_are_an_honest_history() {
    let mut world = World::new();
    let [mine, other] = [0, 1].map(|side| world.ask(PLACE, side));
    world.hear(&other, &refused(ErrorCode::Equivocation, Some(PLACE.digest(0)), None));
    world.hear(&mine, &world.granted(PLACE, 0));
    let again = world.ask(PLACE, 0);
    let answer = world.signature(PLACE, 0, SignVerdict::Repeated);
    world.checker.hear_again(&again, &answer, World::now(100));
    assert_eq!(world.faults(), []);
    assert_eq!(world.checker.acknowledged(), [(0, PLACE, 0)]);
    let figures = world.checker.figures();
    assert_eq!((figures.granted, figures.repeated, figures.refused, figures.known_again), (1, 1, 1, 1));
}

#[test]
fn two_payloads_of_a_duty_are_found_in_either_order_of_their_answers() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new();
        for side in order {
            let ask = world.ask(PLACE, side);
            world.hear(&ask, &world.granted(PLACE, side));
        }
        assert_eq!(world.faults(), [Fault::TwoPayloads { first: order[0], second: order[1] }]);
    }
}

#[test]
fn two_good_words_for_a_candidate_may_stand_and_a_bad_one_beside_them_may_not() {
    let place = DutyId::Candidate { session: 1, number: 1 };
    let mut world = World::new();
    for side in [0, 2] {
        let ask = world.ask(place, side);
        world.hear(&ask, &world.granted(place, side));
    }
    assert_eq!(world.faults(), []);
    let ask = world.ask(place, 1);
    world.hear(&ask, &world.granted(place, 1));
    assert_eq!(world.faults(), [Fault::TwoPayloads { first: 0, second: 1 }]);
}

#[test]
fn a_bad_signature_a_second_signature_and_a_second_grant_are_found() {
    let mut world = World::new();
    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &world.granted(PLACE, 1));
    assert_eq!(world.faults(), [Fault::BadSignature]);

    let mut world = World::new();
    for _ in 0..2 {
        let ask = world.ask(PLACE, 0);
        world.hear(&ask, &world.granted(PLACE, 0));
    }
    assert_eq!(world.faults(), [Fault::GrantedTwice { side: 0 }]);
    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &Answer::Signed { signature: vec![1; 64], verdict: SignVerdict::Repeated });
    assert_eq!(world.faults()[1], Fault::TwoSignatures { side: 0 });
}

#[test]
fn a_refusal_is_found_unless_it_names_a_contending_payload_that_was_asked_for() {
    for signed in [None, Some([9; 32]), Some(PLACE.digest(0)), Some(PLACE.digest(2))] {
        let mut world = World::new();
        world.ask(PLACE, 1);
        let ask = world.ask(PLACE, 0);
        world.hear(&ask, &refused(ErrorCode::Equivocation, signed, None));
        assert_eq!(world.faults(), [Fault::RefusedForNothing { side: 0 }], "{signed:?}");
    }
}

#[test]
fn refusals_that_name_another_payload_than_the_signed_one_are_found_in_either_order() {
    for signature_first in [true, false] {
        let mut world = World::new();
        let asks = [0, 1, 2].map(|side| world.ask(PLACE, side));
        let grant = world.granted(PLACE, 0);
        let refusal = refused(ErrorCode::Equivocation, Some(PLACE.digest(2)), None);
        let told = [(&asks[0], &grant), (&asks[1], &refusal)];
        let order = if signature_first { [0, 1] } else { [1, 0] };
        order.into_iter().for_each(|at| world.hear(told[at].0, told[at].1));
        assert_eq!(world.faults(), [Fault::RefusedForAnother { named: 2, signed: 0 }]);
    }
}

#[test]
fn a_key_may_forget_only_what_is_older_than_the_steps_it_keeps() {
    let below = refused(ErrorCode::BelowWatermark, None, None);
    for (newer, right) in [(255, false), (256, true)] {
        let mut world = World::new();
        let old = world.ask(PLACE, 0);
        for round in 6..6 + newer {
            world.ask(DutyId::Vote { set: 1, round, stage: 0 }, 0);
        }
        world.hear(&old, &below);
        assert_eq!(world.faults().is_empty(), right, "{newer}");
    }
}

#[test]
fn a_grant_asked_for_after_a_refusal_below_the_watermark_is_found() {
    let mut world = World::new();
    let [early, refused_one] = [0, 0].map(|side| world.ask(PLACE, side));
    for round in 6..300 {
        world.ask(DutyId::Vote { set: 1, round, stage: 0 }, 0);
    }
    world.hear(&refused_one, &refused(ErrorCode::BelowWatermark, None, None));
    let late = world.ask(PLACE, 0);
    let grant = world.granted(PLACE, 0);
    let mut other = World { checker: world.checker, key: world.key };
    other.hear(&late, &grant);
    assert_eq!(other.faults(), [Fault::GrantedBelowTheFloor]);
    // An answer that was on its way before the floor rose is no fault of the floor.
    other.hear(&early, &other.signature(PLACE, 0, SignVerdict::Repeated));
    assert_eq!(other.faults().len(), 1);
}

#[test]
fn the_slot_fence_refuses_only_far_slots_by_a_true_clock() {
    signonce_substrate::install();
    let at = |slot| Position::new(BABE_BLOCK, &[slot]);
    for (slot, bound, right) in
        [(104, at(100), true), (103, at(100), false), (150, at(160), false), (104, None, false)]
    {
        let mut world = World::new();
        let ask = world.ask(DutyId::Slot(slot), 0);
        world.hear(&ask, &refused(ErrorCode::SlotOutOfRange, None, bound));
        assert_eq!(world.faults().is_empty(), right, "{slot} {bound:?}");
    }
}

#[test]
fn refusals_that_no_honest_question_deserves_are_found() {
    for code in [ErrorCode::UnknownKey, ErrorCode::Forbidden, ErrorCode::RateLimited, ErrorCode::JumpTooFar] {
        let mut world = World::new();
        let ask = world.ask(PLACE, 0);
        world.hear(&ask, &refused(code, None, None));
        assert!(matches!(world.faults()[..], [Fault::Unjustified { .. }]), "{code}");
    }
}

#[test]
fn what_was_named_in_a_refusal_must_be_signed_when_asked_for_again() {
    let mut world = World::new();
    world.ask(PLACE, 1);
    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &refused(ErrorCode::Equivocation, Some(PLACE.digest(1)), None));
    assert_eq!(world.checker.acknowledged(), [(0, PLACE, 1)]);
    for answer in [Answer::NotReady("no leader".into()), Answer::Unknown("late".into())] {
        let again = world.ask(PLACE, 1);
        let before = world.faults().len();
        world.checker.hear_again(&again, &answer, World::now(100));
        assert!(matches!(world.faults()[before..], [Fault::Lost(_)]));
    }
}

#[test]
fn a_node_that_must_not_serve_may_repeat_but_not_grant() {
    let mut world = World::new();
    world.checker.asks_a_stranger("v1");
    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &world.signature(PLACE, 0, SignVerdict::Repeated));
    assert_eq!(world.faults(), []);
    world.hear(&ask, &world.granted(PLACE, 0));
    assert_eq!(world.faults(), [Fault::GrantedByStranger { side: 0 }]);
}

#[test]
fn a_late_answer_to_an_early_question_does_not_show_that_the_cluster_serves() {
    let mut world = World::new();
    let early = world.ask(PLACE, 0);
    let fault = Instant::now();
    world.hear(&early, &world.granted(PLACE, 0));
    assert!(!world.checker.served_after(fault));
    let next = DutyId::Vote { set: 1, round: 6, stage: 0 };
    let late = world.ask(next, 0);
    world.hear(&late, &world.granted(next, 0));
    assert!(world.checker.served_after(fault));
}

#[test]
fn the_longest_time_between_two_grants_is_the_longest_outage() {
    let mut world = World::new();
    let start = Instant::now();
    for (round, ms) in [(1, 0), (2, 40), (3, 1_040), (4, 1_100)] {
        let place = DutyId::Vote { set: 1, round, stage: 0 };
        let ask = world.ask(place, 0);
        let grant = world.granted(place, 0);
        let at = start + Duration::from_millis(ms);
        world.checker.hear(&ask, &grant, Moment { at, slot: 100 });
    }
    assert_eq!(world.checker.figures().longest_outage_ms, 1_000);
}

#[test]
fn a_refusal_as_halted_is_right_only_between_a_set_back_and_the_end_of_the_raise() {
    let halted = refused(ErrorCode::KeyHalted, None, None);
    let wrong = |world: &World| matches!(world.faults()[..], [Fault::Unjustified { .. }]);
    let mut world = World::new();
    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &halted);
    assert!(wrong(&world), "nothing was set back");

    let mut world = World::new();
    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &world.granted(PLACE, 0));
    world.checker.all_were_set_back();
    assert_eq!(world.checker.not_halted(), [0]);
    for _ in 0..2 {
        let ask = world.ask(PLACE, 0);
        world.hear(&ask, &halted);
    }
    assert_eq!((world.checker.not_halted(), world.checker.halted()), (vec![], vec![(0, PLACE)]));
    let on_its_way = world.ask(PLACE, 0);
    world.checker.raising(0, PLACE.above().step());
    world.checker.raised(0);
    world.hear(&on_its_way, &halted);
    let low = world.ask(PLACE, 0);
    world.hear(&low, &refused(ErrorCode::BelowWatermark, None, None));
    assert_eq!(world.faults(), []);
    let late = world.ask(PLACE.above(), 0);
    world.hear(&late, &halted);
    assert!(wrong(&world), "the key was raised");
}

#[test]
fn what_a_set_back_cluster_says_twice_is_noted_until_the_key_is_halted_and_found_from_then_on() {
    let mut world = World::new();
    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &world.granted(PLACE, 0));
    world.checker.all_were_set_back();
    let ask = world.ask(PLACE, 1);
    world.hear(&ask, &world.granted(PLACE, 1));
    assert_eq!(world.faults(), []);
    assert_eq!(world.checker.said_before_the_halt().len(), 1);

    let ask = world.ask(PLACE, 0);
    world.hear(&ask, &refused(ErrorCode::KeyHalted, None, None));
    let next = PLACE.above();
    let ask = world.ask(next, 0);
    world.hear(&ask, &world.granted(next, 0));
    assert_eq!(world.faults(), [Fault::SignedThoughHalted]);

    world.checker.raising(0, next.above().step());
    world.checker.raised(0);
    let ask = world.ask(next, 1);
    world.hear(&ask, &world.granted(next, 1));
    assert_eq!(world.faults()[1], Fault::TwoPayloads { first: 0, second: 1 });
}

#[test]
fn a_refused_side_needs_no_digest_but_somebody_who_took_the_other() {
    let place = DutyId::Candidate { session: 1, number: 1 };
    let refusal = refused(ErrorCode::Equivocation, None, None);
    let mut world = World::new();
    let [valid, backing] = [0, 2].map(|side| world.ask(place, side));
    world.hear(&valid, &refusal);
    assert_eq!(world.faults(), [Fault::RefusedForNothing { side: 0 }], "nobody was against it");
    let against = world.ask(place, 1);
    world.hear(&backing, &refusal);
    assert_eq!(world.faults().len(), 1);
    world.hear(&against, &refusal);
    assert_eq!(world.faults()[1], Fault::RefusedForAnother { named: 0, signed: 1 }, "both sides are refused");

    let ask = World::new().ask(PLACE, 0);
    let mut world = World::new();
    world.ask(PLACE, 1);
    world.hear(&ask, &refusal);
    assert_eq!(world.faults(), [Fault::RefusedForNothing { side: 0 }], "a vote's refusal names the other");
}

#[test]
fn a_side_may_be_granted_again_only_once_its_bytes_may_be_forgotten() {
    for (more, right) in [(510, false), (511, true)] {
        let mut world = World::new();
        let place = DutyId::Candidate { session: 1, number: 1 };
        let ask = world.ask(place, 0);
        world.hear(&ask, &world.granted(place, 0));
        for number in 2..2 + more {
            world.ask(DutyId::Candidate { session: 1, number }, 0);
        }
        let again = world.ask(place, 0);
        world.hear(&again, &world.granted(place, 0));
        assert_eq!(world.faults().is_empty(), right, "{more}");
    }
}
