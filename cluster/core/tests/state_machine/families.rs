//! What no real family has yet, by made-up ones: several watermarks per key, one that two classes share, one of a
//! family's own, slots with places in them; and what a family of a later level may not get into.

use crate::{
    made_up::{self, ADDED, LEFT, NOTE, PROPOSAL, RIGHT, TICK, TICKER, TWIN, VOTE, VOTER, at, duty, later},
    world::*,
};
use signonce_core::{
    ApplyError, AuditNote, BackupError, BackupName, Barred, BarredPlace, BuriedKey, Chain, ChainError,
    Change, ChangeError, ChangeKind, Claim, ClaimRequest, ClientId, Command, Coverage, FEATURE_LEVEL,
    FeatureError, Fingerprint, Floors, KeyAllowance, KeyError, KeySelector, KeyState, LeftKey, NotedAnswer,
    Outcome, Refusal, Resealed, RestoreError, RestoreStep, Right, Role, State, Table, Verdict,
};
use signonce_protocol::{
    Carry, ChainId, Digest, Duty, HexArray, KeyId, KeyType, LogIndex, NodeId, Position, RuleRefusal, Settings,
};
use signonce_substrate::AuraMode;
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

const MADE: ChainId = ChainId([3; 32]);

fn world() -> World {
    let mut world = World::new();
    world.change(Change::AddChain(made_up::chain(MADE, "made"))).unwrap();
    world
}

fn armed(world: &mut World, key_type: KeyType, floors: impl IntoIterator<Item = Position>) -> KeyId {
    let id = key(key_type, 1);
    world.register(id, MADE);
    world.change(Change::ArmKey { id, floors: floors.into_iter().collect() }).unwrap();
    id
}

/// Claims with something beside the statement.
fn claim_with(world: &mut World, key: KeyId, duty: Duty, digest: u8, carry: &[u8]) -> Verdict {
    let claim = Claim { carry: Carry::new(carry.to_vec()), ..claim(key, duty, digest) };
    let preview = world.state.check(&claim);
    let outcomes = world.apply(&Command::Claims(vec![ClaimRequest { request: request(0), claim }]));
    let [(_, Outcome::Verdict(verdict))] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(preview, *verdict);
    verdict.clone()
}

/// The state again, out of its records.
fn reload(world: &mut World) {
    let again = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(again.hash(), world.state.hash());
    assert!(again.records().eq(world.state.records()));
    world.state = again;
}

#[test]
fn two_classes_share_one_high_water_mark() {
    let mut world = world();
    let key = armed(&mut world, VOTER, [at(PROPOSAL, &[10, 0, 0])]);
    let (proposal, vote) = (|h, r| duty(PROPOSAL, &[h, r, 0]), |h, r| duty(VOTE, &[h, r, 1]));
    assert!(matches!(world.refusal(key, vote(9, 9), 1), Refusal::BelowWatermark { .. }));
    assert_eq!(claim_with(&mut world, key, proposal(10, 0), 1, &[1]), Verdict::Granted);
    assert_eq!(claim_with(&mut world, key, vote(10, 0), 2, &[2]), Verdict::Granted);
    let granted = LogIndex(world.at);
    for reloaded in [false, true] {
        if reloaded {
            reload(&mut world);
        }
        // Lower is over, in either class.
        let floor = at(PROPOSAL, &[10, 0, 1]);
        for duty in [proposal(10, 0), vote(9, 0), proposal(9, 9)] {
            let refused = Refusal::BelowWatermark { asked: duty.position(), floor };
            assert_eq!(world.refusal(key, duty, 1), refused);
        }
        // The same statement is signed as it was the first time, whatever is beside it now.
        let first = Verdict::Repeated { at: granted, carry: Carry::new(vec![2]) };
        assert_eq!(claim_with(&mut world, key, vote(10, 0), 2, &[2]), first);
        assert_eq!(claim_with(&mut world, key, vote(10, 0), 2, &[3]), first);
        // Another one is an equivocation.
        let refused = world.refusal(key, vote(10, 0), 3);
        assert!(
            matches!(&refused, Refusal::Equivocation { signed, .. } if *signed == Digest([2; 32])),
            "{refused:?}"
        );
    }
    // So is what the other class says at the same place, be it the same digest.
    let place = duty(PROPOSAL, &[10, 0, 1]);
    for digest in [2, 3] {
        assert!(
            matches!(world.refusal(key, place.clone(), digest), Refusal::Equivocation { .. }),
            "{digest}"
        );
    }
    assert_eq!(world.claim(key, proposal(10, 1), 4), Verdict::Granted, "the next round");
    let views = world.state.watermarks(&key);
    assert_eq!(views.len(), 1);
    assert_eq!((views[0].class, views[0].floor, views[0].entries), (PROPOSAL, at(PROPOSAL, &[10, 1, 0]), 1));
    let signed = world.state.signed_duties(&key, PROPOSAL).unwrap();
    assert_eq!(signed.iter().map(|signed| &signed.duty).collect::<Vec<_>>(), [&proposal(10, 1)]);
    reload(&mut world);
}

#[test]
fn a_shared_watermark_is_told_by_the_class_of_what_was_signed() {
    let mut world = world();
    let key = armed(&mut world, VOTER, [at(PROPOSAL, &[10, 0, 0])]);
    let vote = duty(VOTE, &[12, 0, 1]);
    assert_eq!(world.claim(key, vote.clone(), 2), Verdict::Granted);
    assert_eq!(world.state.watermarks(&key)[0].highest, Some(at(PROPOSAL, &[12, 0, 1])));
    let signed = world.state.signed_duties(&key, PROPOSAL).unwrap();
    assert_eq!(signed[0].duty, vote);
    assert_eq!(world.state.covers(&key, &vote, Digest([2; 32])), Coverage::Covered);
    assert_eq!(world.state.covers(&key, &vote, Digest([3; 32])), Coverage::Contradicted);
    let later = duty(PROPOSAL, &[12, 1, 0]);
    assert_eq!(world.state.covers(&key, &later, Digest([2; 32])), Coverage::Missing);
    // The class that shares has no floor of its own.
    let foreign = world.raise(key, at(VOTE, &[13, 0, 0]).into()).unwrap_err();
    assert!(matches!(foreign, ChangeError::Key(KeyError::ForeignFloor { .. })), "{foreign}");
    world.raise(key, at(PROPOSAL, &[13, 0, 0]).into()).unwrap();
    assert!(matches!(world.refusal(key, vote, 2), Refusal::BelowWatermark { .. }));
}

#[test]
fn a_key_with_two_watermarks_is_armed_with_a_floor_for_each_all_or_none() {
    let mut world = world();
    let id = key(TWIN, 1);
    world.register(id, MADE);
    let (left, right) = (at(LEFT, &[5]), at(RIGHT, &[7]));
    let before = world.state.records().filter(|(table, _, _)| *table == Table::Ledger).count();
    for floors in [vec![], vec![left], vec![right], vec![left, left], vec![left, right, at(TICK, &[1, 1])]] {
        let floors: Floors = floors.into_iter().collect();
        let refused = world.change(Change::ArmKey { id, floors: floors.clone() }).unwrap_err();
        let missing = matches!(refused, ChangeError::Key(KeyError::MissingFloor { .. }));
        assert!(missing || matches!(refused, ChangeError::Key(KeyError::ForeignFloor { .. })), "{refused}");
        assert_eq!(world.state.key(&id).unwrap().state, KeyState::Registered);
        assert!(world.state.watermarks(&id).is_empty(), "{floors:?}");
        assert_eq!(world.state.records().filter(|(table, _, _)| *table == Table::Ledger).count(), before);
    }
    // In whatever order they are given.
    world.change(Change::ArmKey { id, floors: [right, left].into_iter().collect() }).unwrap();
    let floors =
        |world: &World| world.state.watermarks(&id).iter().map(|mark| mark.floor).collect::<Vec<_>>();
    assert_eq!(floors(&world), [left, right]);
    assert_eq!(world.claim(id, duty(LEFT, &[6]), 1), Verdict::Granted);
    assert_eq!(world.claim(id, duty(RIGHT, &[7]), 1), Verdict::Granted);
    let foreign = duty(PROPOSAL, &[6, 0, 0]);
    assert!(matches!(world.refusal(id, foreign, 1), Refusal::WrongDuty { .. }));

    // One of the two is lower than it is: neither moves.
    let hash = world.state.hash();
    for floors in [[at(LEFT, &[9]), at(RIGHT, &[7])], [at(LEFT, &[4]), at(RIGHT, &[20])]] {
        let refused = world.raise(id, floors.into_iter().collect()).unwrap_err();
        assert!(matches!(refused, ChangeError::Key(KeyError::AlreadyHigher { .. })), "{refused}");
    }
    for floors in [vec![at(LEFT, &[9])], vec![at(RIGHT, &[9])]] {
        let refused = world.raise(id, floors.into_iter().collect()).unwrap_err();
        assert!(matches!(refused, ChangeError::Key(KeyError::MissingFloor { .. })), "{refused}");
    }
    assert_eq!(floors(&world), [left, at(RIGHT, &[8])]);
    assert_ne!(world.state.hash(), hash, "the audit has them");
    reload(&mut world);
    world.raise(id, [at(LEFT, &[9]), at(RIGHT, &[20])].into_iter().collect()).unwrap();
    assert_eq!(floors(&world), [at(LEFT, &[9]), at(RIGHT, &[20])]);
    reload(&mut world);
}

#[test]
fn an_armed_key_that_misses_one_of_its_watermarks_is_noticed() {
    let mut world = world();
    let id = armed(&mut world, TWIN, [at(LEFT, &[5]), at(RIGHT, &[7])]);
    assert_eq!(world.claim(id, duty(RIGHT, &[7]), 1), Verdict::Granted);
    let class = [200, 3];
    let without =
        world.state.records().filter(|(table, key, _)| *table != Table::Ledger || key[35..37] != class);
    let refused = State::from_records(without, world.state.hash()).unwrap_err().to_string();
    assert!(refused.contains("its watermark do not go together"), "{refused}");
}

#[test]
fn imports_and_backups_take_every_floor_of_a_key() {
    let mut world = world();
    let id = key(TWIN, 1);
    world.register(id, MADE);
    let import = |floors: Vec<Position>| Change::ImportWatermarks {
        chain: MADE,
        floors: vec![(id, floors.into_iter().collect())],
    };
    assert!(world.change(import(vec![at(LEFT, &[5])])).is_err());
    assert!(world.state.watermarks(&id).is_empty());
    world.change(import(vec![at(LEFT, &[5]), at(RIGHT, &[7])])).unwrap();
    assert_eq!(world.state.watermarks(&id).len(), 2);

    let mut world = World::empty();
    let backup = BackupName {
        cluster: HexArray([1; 16]),
        node: NodeId(1),
        applied: LogIndex(9),
        manifest: HexArray([2; 32]),
    };
    world.change(Change::Restore(RestoreStep::Begin(backup))).unwrap();
    world.change(Change::AddChain(made_up::chain(MADE, "made"))).unwrap();
    world.register(id, MADE);
    let floors: Floors = [at(LEFT, &[5]), at(RIGHT, &[7])].into_iter().collect();
    let left = LeftKey { id, floors: floors.clone(), disabled: false };
    world.change(Change::Restore(RestoreStep::Leave { keys: vec![left] })).unwrap();
    world.change(Change::Restore(RestoreStep::Finish)).unwrap();
    reload(&mut world);
    assert_eq!(world.state.known_by_backup(&id), Some(&floors));
    // Above both, or not at all.
    for low in [[at(LEFT, &[5]), at(RIGHT, &[8])], [at(LEFT, &[6]), at(RIGHT, &[7])]] {
        let refused = world.change(Change::ArmKey { id, floors: low.into_iter().collect() }).unwrap_err();
        assert!(matches!(refused, ChangeError::Backup(BackupError::NotAboveBackup { .. })), "{refused}");
    }
    let above = [at(LEFT, &[6]), at(RIGHT, &[8])].into_iter().collect();
    world.change(Change::ArmKey { id, floors: above }).unwrap();
    assert_eq!(world.state.key(&id).unwrap().state, KeyState::Armed);
}

#[test]
fn a_mark_of_a_familys_own_is_judged_recorded_raised_and_read_back() {
    let mut world = world();
    let id = armed(&mut world, TWIN, [at(LEFT, &[5]), at(RIGHT, &[7])]);
    let right = |count| duty(RIGHT, &[count]);
    let skipped = world.refusal(id, right(8), 1);
    assert!(matches!(skipped, Refusal::JumpTooFar { bound, .. } if bound == at(RIGHT, &[7])), "{skipped:?}");
    for count in 7..10 {
        world.state.take_changes();
        assert_eq!(claim_with(&mut world, id, right(count), 1, &[count as u8]), Verdict::Granted);
        let written = world.state.take_changes();
        assert_eq!(
            written.iter().filter(|change| change.table == Table::Ledger).count(),
            2,
            "floor and entry"
        );
        reload(&mut world);
        let again = claim_with(&mut world, id, right(count), 1, &[99]);
        assert!(
            matches!(again, Verdict::Repeated { ref carry, .. } if carry.as_bytes() == [count as u8]),
            "{again:?}"
        );
        assert!(matches!(world.refusal(id, right(count), 2), Refusal::Equivocation { .. }));
        assert!(matches!(world.refusal(id, right(count - 1), 1), Refusal::BelowWatermark { .. }));
    }
    assert_eq!(world.state.covers(&id, &right(9), Digest([2; 32])), Coverage::Contradicted);
    assert_eq!(world.state.covers(&id, &right(20), Digest([2; 32])), Coverage::Missing);
    let view = &world.state.watermarks(&id)[1];
    assert_eq!((view.class, view.floor, view.highest), (RIGHT, at(RIGHT, &[10]), Some(at(RIGHT, &[9]))));
    world.raise(id, [at(LEFT, &[5]), at(RIGHT, &[30])].into_iter().collect()).unwrap();
    assert!(matches!(world.refusal(id, right(9), 1), Refusal::BelowWatermark { .. }));
    assert_eq!(world.claim(id, right(30), 1), Verdict::Granted);
    reload(&mut world);
    // What was read back and cannot have been written: the entry is not the one before the floor.
    let floor = |(table, key, value): (Table, Vec<u8>, Vec<u8>)| {
        let own = table == Table::Ledger && key.ends_with(&[200, 3, 0]);
        let value = if own { signonce_core::encode_record(1, &at(RIGHT, &[77])) } else { value };
        (table, key, value)
    };
    let refused = State::from_records(world.state.records().map(floor), world.state.hash()).unwrap_err();
    assert!(refused.to_string().contains("its watermark do not go together"), "{refused}");
}

#[test]
fn a_rule_may_take_notice_of_claims_that_it_does_not_grant() {
    let mut world = world();
    let id = armed(&mut world, TWIN, [at(LEFT, &[5]), at(RIGHT, &[7])]);
    let asked = |client, count, digest| Claim {
        client: ClientId(client),
        ..claim(id, duty(RIGHT, &[count]), digest)
    };
    let ask = |world: &mut World, claim: Claim| {
        let (preview, heeds) = (world.state.check(&claim), world.state.heeds(&claim));
        world.state.take_changes();
        let outcomes =
            world.apply(&Command::Claims(vec![ClaimRequest { request: request(0), claim: claim.clone() }]));
        let [(_, Outcome::Verdict(verdict))] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(preview, *verdict);
        let written = world.state.take_changes().into_iter().filter(|change| change.table == Table::Ledger);
        let granted = *verdict == Verdict::Granted;
        assert_eq!(
            written.count() > 0,
            granted || heeds,
            "what is heeded, and nothing else, changes the ledger"
        );
        assert!(granted || !world.state.heeds(&claim), "once is enough");
        (verdict.clone(), heeds)
    };
    assert_eq!(ask(&mut world, asked(1, 7, 1)), (Verdict::Granted, false));
    let granted = LogIndex(world.at);
    for (claim, heeds) in [(asked(1, 7, 1), false), (asked(2, 7, 1), true), (asked(2, 7, 1), false)] {
        assert_eq!(ask(&mut world, claim), (repeated(granted), heeds));
    }
    // What is refused can be heeded too.
    let (verdict, heeds) = ask(&mut world, asked(3, 7, 2));
    assert!(matches!(verdict, Verdict::Refused(Refusal::Equivocation { .. })) && heeds, "{verdict:?}");
    reload(&mut world);
    // A key that signs nothing heeds nothing.
    world.change(Change::DisableKey { id }).unwrap();
    let (verdict, heeds) = ask(&mut world, asked(4, 7, 1));
    assert!(matches!(verdict, Verdict::Refused(Refusal::KeyNotArmed { .. })) && !heeds, "{verdict:?}");
    world
        .change(Change::ArmKey { id, floors: [at(LEFT, &[5]), at(RIGHT, &[8])].into_iter().collect() })
        .unwrap();
    for (client, may) in [(1, false), (4, false), (3, true)] {
        let (verdict, _) = ask(&mut world, asked(client, 9, 1));
        assert_eq!(verdict == Verdict::Granted, may, "client {client}: {verdict:?}");
    }
    reload(&mut world);
    assert!(!world.state.heeds(&asked(4, 7, 1)), "it is over");
    assert!(!world.state.heeds(&claim(key(TWIN, 2), duty(RIGHT, &[7]), 1)), "no such key");
}

#[test]
fn limits_of_a_window_are_those_of_its_class() {
    let mut world = world();
    let id = armed(&mut world, TWIN, [at(LEFT, &[5]), at(RIGHT, &[7])]);
    let left = |count, within: u8| Duty::new(at(LEFT, &[count]), vec![within], Vec::new());
    let far = world.refusal(id, left(106, 0), 1);
    assert!(
        matches!(far, Refusal::JumpTooFar { limit: 100, bound, .. } if bound == at(LEFT, &[105])),
        "{far:?}"
    );
    assert_eq!(world.claim(id, left(5, 0), 1), Verdict::Granted);
    assert_eq!(world.claim(id, left(5, 1), 1), Verdict::Granted, "told apart by what is within");
    let crowded = Refusal::Crowded { position: at(LEFT, &[5]), limit: 2 };
    assert_eq!(world.refusal(id, left(5, 2), 1), crowded);
    for count in 6..9 {
        assert_eq!(world.claim(id, left(count, 0), 1), Verdict::Granted);
    }
    assert_eq!(world.state.watermarks(&id)[0].floor, at(LEFT, &[5]), "four steps are kept");
    assert_eq!(world.claim(id, left(9, 0), 1), Verdict::Granted);
    assert!(matches!(world.refusal(id, left(5, 0), 1), Refusal::BelowWatermark { .. }));
    reload(&mut world);
}

#[test]
fn a_key_is_for_chains_of_its_family_alone() {
    let mut world = world();
    for (key_type, chain) in [(TWIN, CHAIN), (signonce_substrate::BABE, MADE)] {
        let refused = world.change(register(key(key_type, 3), chain, None)).unwrap_err();
        assert!(matches!(refused, ChangeError::Key(KeyError::OtherFamily { .. })), "{refused}");
        // Nor in a state that is read back: rules read a chain's settings as their own.
        let home = if chain == CHAIN { MADE } else { CHAIN };
        let mut moved = World { state: world.state.clone(), at: world.at };
        let id = key(key_type, 4);
        moved.register(id, home);
        let rows = moved.state.records().map(|(table, key, mut value)| {
            let own = table == Table::Registry && key.first() == Some(&2);
            let place = own.then(|| value.windows(32).position(|window| window == home.0)).flatten();
            if let Some(place) = place {
                value[place..place + 32].copy_from_slice(&chain.0);
                value = signonce_core::seal_record(value[0], &value[1..value.len() - 4]);
            }
            (table, key, value)
        });
        let refused = State::from_records(rows, moved.state.hash()).unwrap_err();
        assert!(matches!(refused, RestoreError::OtherFamily(other) if other == id), "{refused}");
    }
}

const NOW: u64 = 300_000_000;

fn ticker(world: &mut World) -> KeyId {
    armed(world, TICKER, [at(TICK, &[NOW, 3])])
}

#[test]
fn a_floor_within_a_slot_is_never_lowered() {
    let mut world = world();
    let id = ticker(&mut world);
    // The same slot, and a lower place in it.
    let refused = world.raise(id, at(TICK, &[NOW, 2]).into()).unwrap_err();
    assert!(matches!(refused, ChangeError::Key(KeyError::AlreadyHigher { .. })), "{refused}");
    assert!(matches!(world.refusal(id, duty(TICK, &[NOW, 2]), 1), Refusal::BelowWatermark { .. }));
    assert_eq!(world.claim(id, duty(TICK, &[NOW, 3]), 1), Verdict::Granted);
    world.raise(id, at(TICK, &[NOW, 4]).into()).unwrap();
    assert_eq!(world.floor(id), at(TICK, &[NOW, 4]));
}

#[test]
fn the_shield_holds_in_slots_of_another_length_as_well() {
    let mut world = world();
    let id = ticker(&mut world);
    let shielded = |refusal: &Refusal| matches!(refusal, Refusal::Rule(RuleRefusal { class: TICK, .. }));
    assert!(shielded(&world.refusal(id, duty(TICK, &[NOW + 13, 0]), 1)));
    let from_ms = (NOW + 100) * 6_000;
    world.change(Change::RetimeChain { chain: MADE, from_ms, slot_duration_ms: 24_000 }).unwrap();
    let first = from_ms.div_ceil(24_000);
    // The first of the new length that ends in 13.
    let thirteen = (first..).find(|slot| slot % 100 == 13).unwrap();
    assert!(
        shielded(&world.refusal(id, duty(TICK, &[thirteen, 0]), 1)),
        "it takes the window over, and may not"
    );
    assert_eq!(world.claim(id, duty(TICK, &[thirteen + 1, 0]), 1), Verdict::Granted);
    assert_eq!(world.state.counting(&id), 1);
    assert!(shielded(&world.refusal(id, duty(TICK, &[thirteen + 100, 0]), 1)));
    reload(&mut world);
}

// What is of a later level.

/// Members of two versions judge alike: for the older one the class does not exist.
#[test]
fn a_class_that_a_key_type_gets_later_is_not_there_before_its_level() {
    let mut world = world();
    assert!(TWIN.marks().eq([LEFT, RIGHT, ADDED]), "the program knows it");
    let id = armed(&mut world, TWIN, [at(LEFT, &[5]), at(RIGHT, &[7])]);
    assert!(matches!(world.refusal(id, duty(LEFT, &[4]), 1), Refusal::BelowWatermark { .. }));
    reload(&mut world);
    world.raise(id, [at(LEFT, &[6]), at(RIGHT, &[8])].into_iter().collect()).unwrap();
    let floors = || [at(LEFT, &[9]), at(RIGHT, &[9]), at(ADDED, &[1])].into_iter().collect();
    for change in [
        Change::RaiseWatermark { key: id, floors: floors() },
        Change::ImportWatermarks { chain: MADE, floors: vec![(id, floors())] },
        Change::LiftHalt { key: id, halted: LogIndex(1), floors: floors() },
    ] {
        assert_eq!(change.feature_level(), later::LEVEL, "{change:?}");
    }
    // Nor does a client that has a key made get a right to it.
    world.change(Change::AddClient { name: "a".into(), spki: Fingerprint([1; 32]), rights: vec![] }).unwrap();
    let allowance = Some(KeyAllowance { group: "g".into(), chain: None, limit: 5 });
    let client =
        world.change(Change::SetKeyAllowance { name: "a".into(), allowance }).unwrap().client.unwrap();
    let made = Change::AddGeneratedKey {
        client,
        id: key(TWIN, 2),
        scheme: made_up::PLAIN,
        chain: MADE,
        sealed: vec![1].into(),
        floors: [at(LEFT, &[0]), at(RIGHT, &[0])].into_iter().collect(),
    };
    world.change(made).unwrap();
    let rights = &world.state.client(client).unwrap().rights;
    assert_eq!(rights.iter().flat_map(|right| &right.classes).collect::<Vec<_>>(), [&LEFT, &RIGHT, &NOTE]);
}

fn late_key() -> KeyId {
    key(later::KEY, 1)
}

/// Of each kind of change that can name something of a family, one that names something of a later one.
fn of_later() -> Vec<Change> {
    let (id, chain, late) = (key(TWIN, 1), ChainId([4; 32]), late_key());
    let floors = || -> Floors { later_floor().into() };
    let right = |keys, classes| Right { keys, chain: None, classes };
    let add = |right| Change::AddClient { name: "c".into(), spki: Fingerprint([1; 32]), rights: vec![right] };
    let update = |right| Change::UpdateClient { name: "c".into(), spki: None, rights: Some(vec![right]) };
    let note = |answer| AuditNote {
        client: None,
        key: None,
        answer,
        count: 1,
        first_ms: 1,
        last_ms: 2,
        request: request(9),
    };
    let refused = NotedAnswer::Refused {
        code: "forbidden".into(),
        duty: Some(later::vote(1)),
        digest: None,
        why: "no".into(),
    };
    let buried = |id, scheme| {
        let keys = vec![BuriedKey { id, scheme, chain, group: None }];
        Change::Restore(RestoreStep::Bury { keys, clients: vec![] })
    };
    let left = |id, floors| {
        Change::Restore(RestoreStep::Leave { keys: vec![LeftKey { id, floors, disabled: false }] })
    };
    let bar = |key, duty| {
        let places = vec![BarredPlace { duty, digest: Digest([1; 32]), at: LogIndex(1) }];
        Change::Restore(RestoreStep::Bar { barred: vec![Barred { key, places }] })
    };
    let registered =
        |id, scheme| Change::RegisterKey { id, scheme, chain, group: None, sealed: vec![1].into() };
    let generated = |id, scheme, floors| Change::AddGeneratedKey {
        client: ClientId(1),
        id,
        scheme,
        chain,
        sealed: vec![1].into(),
        floors,
    };
    let halt = |key, duty| Change::HaltKey {
        key,
        duty,
        digest: Digest([1; 32]),
        log_index: LogIndex(1),
        client: ClientId(1),
    };
    let none = Floors::default;
    vec![
        Change::AddChain(later::chain(chain, "late")),
        registered(late, later::PLAIN),
        registered(id, later::PLAIN),
        Change::ResealKey { id: late, sealed: vec![1].into() },
        Change::ArmKey { id: late, floors: none() },
        Change::ArmKey { id, floors: floors() },
        Change::DisableKey { id: late },
        Change::RemoveKey { id: late },
        Change::RaiseWatermark { key: late, floors: none() },
        Change::RaiseWatermark { key: id, floors: floors() },
        add(right(KeySelector::All, vec![NOTE, later::NOTE])),
        add(right(KeySelector::Key(late), vec![])),
        update(right(KeySelector::All, vec![later::VOTE])),
        update(right(KeySelector::Key(late), vec![])),
        generated(late, later::PLAIN, none()),
        generated(id, later::PLAIN, none()),
        generated(id, made_up::PLAIN, floors()),
        Change::ResealKeys {
            keys: vec![Resealed { id: late, sealed: vec![1].into() }],
            members: vec![NodeId(1)],
        },
        Change::RecordAudit { notes: vec![note(refused)] },
        Change::RecordAudit { notes: vec![note(NotedAnswer::Free { class: later::NOTE })] },
        Change::ImportWatermarks { chain, floors: vec![(late, none())] },
        Change::ImportWatermarks { chain, floors: vec![(id, floors())] },
        buried(late, later::PLAIN),
        buried(id, later::PLAIN),
        left(late, none()),
        left(id, floors()),
        bar(late, duty(LEFT, &[1])),
        bar(id, later::vote(1)),
        halt(late, duty(LEFT, &[1])),
        halt(id, later::vote(1)),
        Change::LiftHalt { key: late, halted: LogIndex(1), floors: none() },
        Change::LiftHalt { key: id, halted: LogIndex(1), floors: floors() },
    ]
}

fn later_floor() -> Position {
    at(later::VOTE, &[1])
}

/// Changes that name no key type, class, scheme or chain's family: nothing in them depends on what a program knows.
const OF_NO_FAMILY: [ChangeKind; 22] = [
    ChangeKind::SetSettings,
    ChangeKind::RemoveClient,
    ChangeKind::AnnounceMember,
    ChangeKind::RemoveMember,
    ChangeKind::RaiseFeatureLevel,
    ChangeKind::SetKeyAllowance,
    ChangeKind::AddMember,
    ChangeKind::JoinMember,
    ChangeKind::PromoteMember,
    ChangeKind::Place,
    ChangeKind::SignAudit,
    ChangeKind::SetClientLimits,
    ChangeKind::RotateClient,
    ChangeKind::FinishRotation,
    ChangeKind::SetOfficer,
    ChangeKind::RequireApproval,
    ChangeKind::DecideProposal,
    ChangeKind::PinOfficer,
    ChangeKind::RotateOfficer,
    ChangeKind::FinishOfficerRotation,
    ChangeKind::RetimeChain,
    ChangeKind::TakeBackTiming,
];

#[test]
fn whatever_names_something_of_a_later_family_waits_for_its_level() {
    let mut world = world();
    let id = key(TWIN, 1);
    world.register(id, MADE);
    let kinds: BTreeSet<_> = of_later().iter().map(Change::kind).collect();
    let others: BTreeSet<_> = OF_NO_FAMILY.into_iter().chain([ChangeKind::WidenTolerance]).collect();
    let missing: Vec<_> =
        ChangeKind::ALL.iter().filter(|kind| !kinds.contains(kind) && !others.contains(kind)).collect();
    assert!(missing.is_empty() && kinds.is_disjoint(&others), "a kind is missing here: {missing:?}");
    for change in of_later() {
        assert_eq!(change.feature_level(), later::LEVEL, "{change:?}");
        // Not through its bytes: members that lack the level must never see them.
        let registry = world.state.registry_version();
        let command = change_command(change.clone());
        world.at += 1;
        let outcomes = world.state.apply(LogIndex(world.at), command).unwrap();
        let [(_, Outcome::Change(Err(ChangeError::Feature(refused))))] = &outcomes[..] else {
            panic!("{change:?}: {outcomes:?}")
        };
        let needed = FeatureError::FeatureNeeded { level: later::LEVEL, current: FEATURE_LEVEL };
        assert_eq!(*refused, needed, "{change:?}");
        assert_eq!(world.state.registry_version(), registry);
    }
    assert_eq!(world.state.keys().count(), 1);
    assert_eq!(world.state.chains().count(), 3);
}

/// Settings of a form that the family has later, and of one that this program does not know, are refused alike: so say
/// two members of which one knows the form and the other does not.
#[test]
fn settings_of_a_form_that_comes_later_are_refused_as_those_of_no_known_form_are() {
    let mut world = world();
    // Longer settings let more through, so that two would have to agree.
    for name in ["a", "b"] {
        world.by("root", Change::SetOfficer { name: name.into(), role: Some(Role::KeyOfficer) }).unwrap();
    }
    world.by("admin:a", Change::RequireApproval { on: true }).unwrap();
    let made = made_up::chain(MADE, "made");
    let relay = chain(CHAIN, "relay", AuraMode::Slot);
    let too_new = |chain| FeatureError::SettingsTooNew { chain, current: FEATURE_LEVEL }.into();
    for (chain, bytes, level, is_bad) in [
        (&made, &[1; 7][..], Some(made_up::LEVEL), true),
        (&made, &[0; 8], Some(made_up::LEVEL), true),
        (&made, &[1; 9], Some(later::LEVEL), false),
        (&made, &[1; 10], None, false),
        (&relay, &[2, 1], None, false),
        (&relay, &[], None, false),
    ] {
        let settings = Settings::new(bytes.to_vec());
        assert_eq!(chain.family.settings.level(&settings), level, "{chain:?} {bytes:?}");
        let registry = world.state.registry_version();
        let set = Change::SetSettings { chain: chain.genesis, settings: settings.clone() };
        let new = Chain { genesis: ChainId([5; 32]), name: "new".into(), settings, ..chain.clone() };
        for (change, genesis) in [(set, chain.genesis), (Change::AddChain(new), ChainId([5; 32]))] {
            // A member that does not know them writes the command in the same version.
            assert_eq!(change.feature_level(), FEATURE_LEVEL, "{change:?}");
            let refused = world.by("admin:a", change.clone()).unwrap_err();
            match refused {
                ChangeError::Chain(ChainError::BadSettings { .. }) => assert!(is_bad, "{change:?}"),
                refused => assert_eq!((is_bad, refused), (false, too_new(genesis)), "{change:?}"),
            }
        }
        assert_eq!(world.state.registry_version(), registry, "nor does any of them wait for an officer");
    }
}

#[test]
fn what_names_only_older_families_does_not_wait() {
    let (id, floors) =
        (key(TWIN, 1), || -> Floors { [at(LEFT, &[5]), at(RIGHT, &[7])].into_iter().collect() });
    for change in [
        Change::AddChain(made_up::chain(MADE, "made")),
        Change::ArmKey { id, floors: floors() },
        register(id, MADE, None),
        Change::AddClient { name: "c".into(), spki: Fingerprint([1; 32]), rights: vec![] },
        Change::AddClient {
            name: "c".into(),
            spki: Fingerprint([1; 32]),
            rights: vec![Right { keys: KeySelector::Key(id), chain: None, classes: vec![NOTE] }],
        },
        Change::ImportWatermarks { chain: MADE, floors: vec![(id, floors())] },
        Change::RemoveMember { node: NodeId(1) },
    ] {
        assert_eq!(change.feature_level(), FEATURE_LEVEL, "{change:?}");
        let command = change_command(change);
        assert_eq!(command.to_bytes()[0], 1);
        assert_eq!(Command::from_bytes(&command.to_bytes()), Ok(command));
    }
}

/// No command with a later family's work is written by a program that lacks its level.
#[test]
fn commands_of_a_level_that_this_program_lacks_have_no_bytes() {
    install();
    let command = change_command(Change::DisableKey { id: late_key() });
    assert!(catch_unwind(AssertUnwindSafe(|| command.to_bytes())).is_err());
    let claim = claim(late_key(), later::vote(1), 1);
    let command = Command::Claims(vec![ClaimRequest { request: request(0), claim }]);
    assert!(catch_unwind(AssertUnwindSafe(|| command.to_bytes())).is_err());
}

#[test]
fn a_level_that_this_program_lacks_stops_it_before_anything_of_that_level_is_made() {
    let mut world = world();
    let raise = change_command(Change::RaiseFeatureLevel { level: later::LEVEL });
    let at = LogIndex(world.at + 1);
    let stopped = world.state.apply(at, raise).unwrap_err();
    assert_eq!(stopped, ApplyError::TooNew { at, level: later::LEVEL, supports: FEATURE_LEVEL });
}
