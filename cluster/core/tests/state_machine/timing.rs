//! Chains whose slots get another length: numbers fall or jump, and nothing is signed twice.

use crate::world::*;
use proptest::prelude::*;
use signonce_core::{
    Change, ChangeDone, ChangeError, Command, KeyError, KeyState, Outcome, Refusal, State, Verdict,
};
use signonce_protocol::{ChainId, KeyId};
use signonce_substrate::{AURA, BABE};
use signonce_substrate::{AuraMode, Limits};

const NEW: ChainId = ChainId([9; 32]);
/// When the last slot of before the change begins, in the cases of the field.
const LAST_MS: u64 = 1_795_800_000_000;

/// A cluster with an armed AURA key on a chain whose slots last so long.
fn world(slot_duration_ms: u64, floor: u64) -> (World, KeyId) {
    let mut world = World::new();
    let solo = chain_of(NEW, "solo", AuraMode::Slot, slot_duration_ms, Limits::default());
    world.change(Change::AddChain(solo)).unwrap();
    let id = key(AURA, 1);
    world.register(id, NEW);
    world.change(Change::ArmKey { id, floors: from_aura_slot(floor) }).unwrap();
    (world, id)
}

fn retime(from_ms: u64, slot_duration_ms: u64) -> Change {
    Change::RetimeChain { chain: NEW, from_ms, slot_duration_ms }
}

/// A change that somebody asks for at this time.
fn at(world: &mut World, time_ms: u64, change: Change) -> Result<ChangeDone, ChangeError> {
    let command = Command::Change { request: request(0), actor: "operator".into(), time_ms, change };
    match world.apply(&command).as_slice() {
        [(_, Outcome::Change(done))] => done.clone(),
        other => panic!("{other:?}"),
    }
}

fn reload(world: &mut World) {
    let again = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(again.hash(), world.state.hash());
    assert_eq!(again.records().collect::<Vec<_>>(), world.state.records().collect::<Vec<_>>());
    world.state = again;
}

fn is_past(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::PastCounting { .. } | Refusal::BelowWatermark { .. })
}

#[test]
fn blocks_are_signed_on_at_aura_slots_of_another_length_and_none_that_began_before_is_signed_again() {
    // 6 s to 24 s: numbers fall far below the floor. 12 s to 6 s: they double.
    for (before, after, last, first) in
        [(6_000, 24_000, 299_300_000, 74_825_001), (12_000, 6_000, 149_650_000, 299_300_002)]
    {
        let (mut world, id) = world(before, last - 100);
        assert_eq!(world.claim(id, aura(last - 5), 1), Verdict::Granted);
        // Named before it comes, and the old slots go on until then.
        world.change(retime(LAST_MS + 1, after)).unwrap();
        assert_eq!(world.claim(id, aura(last), 1), Verdict::Granted);
        assert!(is_past(&world.refusal(id, aura(first - 1), 1)), "it begins before the last one has ended");
        for slot in [first, first + 1, first + 7] {
            assert_eq!(world.claim(id, aura(slot), 1), Verdict::Granted, "{slot}");
            assert!(matches!(world.claim(id, aura(slot), 1), Verdict::Repeated { .. }));
            assert!(matches!(world.refusal(id, aura(slot), 2), Refusal::Equivocation { .. }));
        }
        reload(&mut world);
        assert_eq!(world.state.counting(&id), 1);
        // Of before: what was signed, what was not, and what would have come next.
        for slot in [last - 5, last - 4, last, last + 1, last + 2, last - 1_000] {
            let refused = world.refusal(id, aura(slot), 2);
            assert!(is_past(&refused) || matches!(refused, Refusal::JumpTooFar { .. }), "{slot}: {refused}");
        }
        assert_eq!(world.claim(id, aura(first + 2), 1), Verdict::Granted, "between those that were signed");
        let floor = world.floor(id);
        assert_eq!(floor, at_aura_slot(first));
    }
}

#[test]
fn numbers_of_longer_slots_are_refused_before_anybody_has_named_them() {
    let (mut world, id) = world(6_000, 299_300_000);
    assert!(matches!(world.refusal(id, aura(74_825_001), 1), Refusal::BelowWatermark { .. }));
}

#[test]
fn a_moment_that_was_named_wrong_is_taken_back_while_nothing_rests_on_it() {
    let (mut world, id) = world(6_000, 299_299_000);
    // A day early, and twice.
    let wrong = retime(LAST_MS - 86_400_000, 24_000);
    world.change(wrong.clone()).unwrap();
    world.change(wrong).expect("what is known already");
    let refused = world.refusal(id, aura(299_300_000), 1);
    assert!(matches!(refused, Refusal::JumpTooFar { .. }), "no slot any more: {refused}");
    let earlier = world.change(retime(LAST_MS - 90_000_000, 24_000)).unwrap_err().to_string();
    assert!(earlier.contains("take that back first"), "{earlier}");
    let take_back = || Change::TakeBackTiming { chain: NEW };
    world.change(take_back()).unwrap();
    assert_eq!(world.claim(id, aura(299_300_000), 1), Verdict::Granted);
    world.change(retime(LAST_MS + 6_000, 24_000)).unwrap();
    assert_eq!(world.claim(id, aura(74_825_001), 1), Verdict::Granted);
    let rests = world.change(take_back()).unwrap_err().to_string();
    assert!(rests.contains("counts by the last change already"), "{rests}");
    // Then only a later one: back to what it was, and no number of before comes again.
    world.change(retime(LAST_MS + 600_000, 6_000)).unwrap();
    for slot in [299_300_000, 299_300_004, 299_300_099] {
        let refused = world.refusal(id, aura(slot), 2);
        assert!(is_past(&refused) || matches!(refused, Refusal::JumpTooFar { .. }), "{slot}: {refused}");
    }
    assert_eq!(world.claim(id, aura(299_300_100), 1), Verdict::Granted);
    reload(&mut world);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let (mut world, id) = world(6_000, 5);
    let before = world.state.hash();
    for (wrong, why) in [
        (retime(1, 0), "0 ms"),
        (retime(0, 24_000), "later moment"),
        (retime(1, 6_000), "too near"),
        (retime(1, 6_500), "too near"),
        (Change::TakeBackTiming { chain: NEW }, "nothing to take back"),
        (Change::RetimeChain { chain: ChainId([7; 32]), from_ms: 1, slot_duration_ms: 9 }, "no chain"),
    ] {
        let error = world.change(wrong).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let counted = world.state.records().count();
    // BABE counts epochs by its slots, which never change.
    let babe_key = world.armed(BABE, from_slot(5));
    let relay = Change::RetimeChain { chain: CHAIN, from_ms: 1, slot_duration_ms: 9_000 };
    assert!(world.change(relay.clone()).unwrap_err().to_string().contains("never change"));
    world.change(Change::RemoveKey { id: babe_key }).unwrap();
    world.change(relay).unwrap();
    let late = world.change(register(key(BABE, 2), CHAIN, None)).unwrap_err().to_string();
    assert!(late.contains("never do"), "{late}");
    assert!(world.state.records().count() > counted && world.state.hash() != before);
    assert_eq!(world.state.key(&id).unwrap().state, KeyState::Armed);
}

#[test]
fn a_floor_is_a_slot_of_when_it_is_given_and_never_lower_in_time() {
    let (mut world, id) = world(6_000, 299_299_000);
    assert_eq!(world.claim(id, aura(299_300_000), 1), Verdict::Granted);
    world.change(retime(LAST_MS + 6_000, 24_000)).unwrap();
    let raise = |slot| Change::RaiseWatermark { key: id, floors: from_aura_slot(slot) };
    // The old length's number; what would have come next in it, which is a time; and one of the new length.
    for (given, floor, counting) in
        [(299_300_000, 299_300_000, 0), (299_300_001, 74_825_001, 1), (74_825_003, 74_825_003, 1)]
    {
        at(&mut world, LAST_MS + 60_000, raise(given)).unwrap();
        assert_eq!((world.floor(id), world.state.counting(&id)), (at_aura_slot(floor), counting));
    }
    let far = at(&mut world, LAST_MS, raise(74_825_003 + 2_000_000)).unwrap_err().to_string();
    assert!(far.contains("more than a year from now"), "{far}");
    for lower in [74_825_002, 299_300_002] {
        let refused = at(&mut world, LAST_MS, raise(lower));
        assert!(
            matches!(refused, Err(ChangeError::Key(KeyError::AlreadyHigher { .. }))),
            "{lower}: {refused:?}"
        );
    }
    assert!(is_past(&world.refusal(id, aura(74_825_002), 1)));
    assert_eq!(world.claim(id, aura(74_825_003), 1), Verdict::Granted);
    // A key that comes later starts where its numbers are.
    let late = key(AURA, 2);
    world.register(late, NEW);
    at(&mut world, LAST_MS + 120_000, Change::ArmKey { id: late, floors: from_aura_slot(74_825_005) })
        .unwrap();
    assert_eq!(world.state.counting(&late), 1);
    assert_eq!(world.claim(late, aura(74_825_006), 1), Verdict::Granted);
    let of_before = world.refusal(late, aura(299_300_020), 1);
    assert!(is_past(&of_before) || matches!(of_before, Refusal::JumpTooFar { .. }), "{of_before}");
    reload(&mut world);
}

#[test]
fn a_floor_in_the_middle_of_what_was_signed_drops_nothing() {
    let (mut world, id) = world(6_000, 299_299_000);
    world.change(retime(LAST_MS, 24_000)).unwrap();
    assert_eq!(world.claim(id, aura(74_825_100), 1), Verdict::Granted);
    world.change(retime(LAST_MS + 10_000_000, 3_000)).unwrap();
    // Given as a slot of the third length that begins before the one that was signed in the second.
    let floors = from_aura_slot((LAST_MS + 10_000_000).div_ceil(3_000));
    at(&mut world, LAST_MS + 10_000_000, Change::RaiseWatermark { key: id, floors }).unwrap();
    assert!(is_past(&world.refusal(id, aura(74_825_100), 2)));
}

/// What may happen around a change.
#[derive(Clone, Debug)]
enum Op {
    Wait {
        ms: u64,
    },
    /// A slot around now, by some counting that the chain has or had.
    Claim {
        counting: usize,
        off: i64,
        digest: u8,
    },
    /// A slot that was signed before, or its neighbour.
    Again {
        which: usize,
        next: u64,
        digest: u8,
    },
    Retime {
        duration: usize,
        ahead_ms: i64,
    },
    TakeBack,
    Raise {
        counting: usize,
        off: i64,
    },
    Reload,
}

const DURATIONS: [u64; 5] = [2_000, 3_000, 6_000, 12_000, 24_000];
const START_MS: u64 = 1_790_000_000_000;

fn op() -> impl Strategy<Value = Op> {
    let off = prop_oneof![6 => -3..4_i64, 2 => -300..300_i64];
    prop_oneof![
        3 => prop_oneof![0..60_000_u64, 0..2_592_000_000_u64].prop_map(|ms| Op::Wait { ms }),
        9 => (0..4_usize, off.clone(), 1..4_u8)
            .prop_map(|(counting, off, digest)| Op::Claim { counting, off, digest }),
        4 => (any::<usize>(), 0..2_u64, 1..4_u8)
            .prop_map(|(which, next, digest)| Op::Again { which, next, digest }),
        3 => (0..DURATIONS.len(), -86_400_000..86_400_000_i64)
            .prop_map(|(duration, ahead_ms)| Op::Retime { duration, ahead_ms }),
        1 => Just(Op::TakeBack),
        1 => (0..4_usize, off).prop_map(|(counting, off)| Op::Raise { counting, off }),
        1 => Just(Op::Reload),
    ]
}

/// A signature that was granted, and for which time.
#[derive(Clone, Debug)]
struct Signed {
    slot: u64,
    digest: u8,
    counting: u32,
    end_ms: u64,
}

/// The state, and all that it ever granted.
struct Watched {
    world: World,
    id: KeyId,
    now_ms: u64,
    durations: Vec<u64>,
    signed: Vec<Signed>,
}

impl Watched {
    fn number(&self, counting: usize, off: i64) -> u64 {
        (self.now_ms / self.durations[counting % self.durations.len()]).saturating_add_signed(off)
    }

    fn claim(&mut self, slot: u64, digest: u8) {
        match self.world.claim(self.id, aura(slot), digest) {
            Verdict::Granted => self.granted(slot, digest),
            Verdict::Repeated { .. } => {
                assert!(self.signed.iter().any(|known| (known.slot, known.digest) == (slot, digest)));
            }
            Verdict::Refused(_) => {}
        }
    }

    fn granted(&mut self, slot: u64, digest: u8) {
        let counting = self.world.state.counting(&self.id);
        let duration = self.durations[counting as usize];
        let (begin_ms, end_ms) = (slot * duration, (slot + 1) * duration);
        for known in &self.signed {
            assert!(known.slot != slot, "slot {slot} was granted twice: {known:?}");
            let apart = known.counting == counting || begin_ms >= known.end_ms;
            assert!(apart, "slot {slot} of {begin_ms} overlaps {known:?}");
        }
        self.signed.push(Signed { slot, digest, counting, end_ms });
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Wait { ms } => self.now_ms += ms,
            Op::Claim { counting, off, digest } => self.claim(self.number(counting, off), digest),
            Op::Again { which, next, digest } => {
                if let Some(known) = self.signed.get(which % self.signed.len().max(1)).cloned() {
                    self.claim(known.slot + next, digest);
                }
            }
            Op::Retime { duration, ahead_ms } => {
                let from_ms = self.now_ms.saturating_add_signed(ahead_ms);
                if at(&mut self.world, self.now_ms, retime(from_ms, DURATIONS[duration])).is_ok() {
                    self.durations.push(DURATIONS[duration]);
                }
            }
            Op::TakeBack => {
                if self.world.change(Change::TakeBackTiming { chain: NEW }).is_ok() {
                    self.durations.pop();
                }
            }
            Op::Raise { counting, off } => {
                let floors = from_aura_slot(self.number(counting, off));
                let _ = at(&mut self.world, self.now_ms, Change::RaiseWatermark { key: self.id, floors });
            }
            Op::Reload => reload(&mut self.world),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// No clock guards the state machine here: whatever is asked, in whatever order of changes.
    #[test]
    fn no_slot_is_granted_twice_and_none_overlaps_one_of_another_length(
        ops in prop::collection::vec(op(), 1..60)
    ) {
        let (world, id) = world(6_000, START_MS / 6_000);
        let mut watched =
            Watched { world, id, now_ms: START_MS, durations: vec![6_000], signed: Vec::new() };
        for op in &ops {
            watched.step(op);
        }
        reload(&mut watched.world);
    }
}
