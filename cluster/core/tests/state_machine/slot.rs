//! BABE and AURA blocks.

use crate::world::*;
use signonce_core::{Change, ClientId, Refusal, Verdict};
use signonce_protocol::{Digest, KeyId, LogIndex};
use signonce_substrate::{AURA, AURA_BLOCK, BABE, BABE_BLOCK};

fn babe_world() -> (World, KeyId) {
    let mut world = World::new();
    let key = world.armed(BABE, from_slot(100));
    (world, key)
}

fn collator_world() -> (World, KeyId) {
    let mut world = World::new();
    let id = key(AURA, 1);
    world.register(id, COLLATOR_CHAIN);
    world.change(Change::ArmKey { id, floors: from_aura_slot(100) }).unwrap();
    (world, id)
}

#[test]
fn a_second_header_for_a_slot_is_refused_with_the_evidence() {
    let (mut world, key) = babe_world();
    assert_eq!(world.claim(key, babe(100), 1), Verdict::Granted);
    let granted_at = LogIndex(world.at);
    assert_eq!(
        world.refusal(key, babe(100), 2),
        Refusal::Equivocation {
            duty: babe(100),
            signed: Digest([1; 32]),
            asked: Digest([2; 32]),
            at: granted_at,
            time_ms: 1_700_000_000_000,
            client: ClientId(9),
        }
    );
}

#[test]
fn the_same_header_is_a_repeat_that_names_its_grant() {
    let (mut world, key) = babe_world();
    world.claim(key, babe(100), 1);
    let at = LogIndex(world.at);
    for _ in 0..3 {
        assert_eq!(world.claim(key, babe(100), 1), repeated(at));
    }
}

#[test]
fn the_floor_itself_may_be_signed_and_nothing_below() {
    let (mut world, key) = babe_world();
    let refused = Refusal::BelowWatermark { asked: at_slot(99), floor: at_slot(100) };
    assert_eq!(world.refusal(key, babe(99), 1), refused);
    assert_eq!(world.claim(key, babe(100), 1), Verdict::Granted);
}

#[test]
fn a_lower_slot_that_was_never_signed_is_granted_above_the_floor() {
    let (mut world, key) = babe_world();
    assert_eq!(world.claim(key, babe(110), 1), Verdict::Granted);
    assert_eq!(world.claim(key, babe(105), 1), Verdict::Granted);
    assert!(matches!(world.refusal(key, babe(105), 2), Refusal::Equivocation { .. }));
}

#[test]
fn a_full_window_forgets_the_lowest_slot_only_with_the_floor_above_it() {
    let (mut world, key) = babe_world();
    for slot in (200..).step_by(10).take(64) {
        assert_eq!(world.claim(key, babe(slot), 1), Verdict::Granted);
    }
    // 64 slots: 200, 210 … 830. The window is full, so its floor is its lowest slot.
    assert_eq!(world.floor(key), at_slot(200));
    assert!(matches!(world.refusal(key, babe(199), 1), Refusal::BelowWatermark { .. }));
    assert!(matches!(world.refusal(key, babe(200), 2), Refusal::Equivocation { .. }));
    assert_eq!(world.claim(key, babe(205), 1), Verdict::Granted, "a gap above the floor");
    assert_eq!(world.floor(key), at_slot(205));
    assert!(matches!(world.refusal(key, babe(200), 1), Refusal::BelowWatermark { .. }));
}

#[test]
fn one_slot_far_ahead_does_not_burn_the_slots_below() {
    let (mut world, key) = babe_world();
    assert_eq!(world.claim(key, babe(u64::MAX), 1), Verdict::Granted);
    assert_eq!(world.claim(key, babe(101), 1), Verdict::Granted);
    assert_eq!(world.floor(key), at_slot(100));
}

#[test]
fn raising_the_watermark_refuses_what_lies_below() {
    let (mut world, key) = babe_world();
    for slot in [100, 150, 200] {
        world.claim(key, babe(slot), 1);
    }
    world.raise(key, from_slot(150)).unwrap();
    assert!(matches!(world.refusal(key, babe(100), 1), Refusal::BelowWatermark { .. }));
    assert!(matches!(world.claim(key, babe(150), 1), Verdict::Repeated { .. }));
    let view = &world.state.watermarks(&key)[0];
    assert_eq!((view.class, view.floor, view.highest), (BABE_BLOCK, at_slot(150), Some(at_slot(200))));
    assert_eq!(view.entries, 2);
}

#[test]
fn a_collator_seals_several_blocks_in_a_slot_but_none_of_them_twice() {
    let (mut world, key) = collator_world();
    for duty in [collation(100, 5, 1), collation(100, 6, 2), collation(100, 5, 3)] {
        assert_eq!(world.claim(key, duty.clone(), 1), Verdict::Granted);
        assert!(matches!(world.refusal(key, duty, 2), Refusal::Equivocation { .. }));
    }
}

#[test]
fn a_slot_crowded_with_collations_takes_no_more() {
    let (mut world, key) = collator_world();
    for number in 0..64 {
        assert_eq!(world.claim(key, collation(100, number, 1), 1), Verdict::Granted);
    }
    let refused = Refusal::Crowded { position: at_aura_slot(100), limit: 64 };
    assert_eq!(world.refusal(key, collation(100, 64, 1), 1), refused);
    assert!(matches!(world.claim(key, collation(100, 63, 1), 1), Verdict::Repeated { .. }));
    assert_eq!(world.claim(key, collation(101, 64, 1), 1), Verdict::Granted);
}

#[test]
fn the_floor_passes_all_blocks_of_a_slot_at_once() {
    let (mut world, key) = collator_world();
    for slot in 100..165 {
        for number in 0..3 {
            assert_eq!(world.claim(key, collation(slot, number, 1), 1), Verdict::Granted);
        }
    }
    assert_eq!(world.floor(key), at_aura_slot(101));
    assert_eq!(world.state.watermarks(&key)[0].entries, 64 * 3);
    for number in 0..4 {
        assert!(matches!(world.refusal(key, collation(100, number, 1), 1), Refusal::BelowWatermark { .. }));
    }
}

#[test]
fn the_form_of_an_aura_duty_follows_the_chain() {
    let (mut world, collator) = collator_world();
    let refused = Refusal::WrongDuty { key: collator, class: AURA_BLOCK };
    assert_eq!(world.refusal(collator, aura(100), 1), refused);
    let solo = key(AURA, 2);
    world.register(solo, CHAIN);
    world.change(Change::ArmKey { id: solo, floors: from_aura_slot(0) }).unwrap();
    assert!(matches!(world.refusal(solo, collation(100, 1, 1), 1), Refusal::WrongDuty { .. }));
    assert_eq!(world.claim(solo, aura(100), 1), Verdict::Granted);
}

#[test]
fn a_key_does_the_work_of_its_type_only() {
    let (mut world, key) = babe_world();
    for duty in [aura(100), prevote(1, 1), beefy(1, 1), side(1, &[1], signonce_substrate::Side::Valid)] {
        assert!(matches!(world.refusal(key, duty, 1), Refusal::WrongDuty { .. }));
    }
}
