//! Imported watermarks, halted keys, and what a restored cluster begins with.

use crate::world::*;
use signonce_core::{
    BackupError, BackupName, Barred, BarredPlace, BuriedClient, BuriedKey, Change, ChangeError, ClientError,
    ClientId, Coverage, Fingerprint, Floors, HaltError, KeyError, KeyState, LeftKey, Refusal, RestoreStep,
    State, Verdict,
};
use signonce_protocol::{Digest, Duty, HexArray, KeyId, KeyType, LogIndex, NodeId};
use signonce_substrate::Side;
use signonce_substrate::{AURA, BABE, BEEFY, GRANDPA, IM_ONLINE, PARA, PARA_SIDE};

fn world() -> World {
    World::new()
}

fn import(world: &mut World, floors: &[(KeyId, Floors)]) -> Result<(), ChangeError> {
    let floors = floors.to_vec();
    world.change(Change::ImportWatermarks { chain: CHAIN, floors }).map(|_| ())
}

fn halt(world: &mut World, key: KeyId, duty: Duty, digest: u8) -> Result<(), ChangeError> {
    let (digest, log_index, client) = (Digest([digest; 32]), LogIndex(1_000), ClientId(9));
    world.change(Change::HaltKey { key, duty, digest, log_index, client }).map(|_| ())
}

fn backup(n: u8) -> BackupName {
    let (cluster, manifest) = (HexArray([n; 16]), HexArray([n; 32]));
    BackupName { cluster, node: NodeId(1), applied: LogIndex(70), manifest }
}

#[test]
fn watermarks_of_many_keys_rise_together_or_not_at_all() {
    let mut world = world();
    let babe_key = world.armed(BABE, from_slot(5));
    let vote_key = world.armed(GRANDPA, from_round(7, 3));
    let before = (world.floor(babe_key), world.floor(vote_key));
    for (floors, refused) in [
        (
            vec![(babe_key, from_slot(9)), (vote_key, from_round(7, 2))],
            ChangeError::Key(KeyError::AlreadyHigher {
                key: vote_key,
                floor: at_round(7, 3),
                asked: at_round(7, 2),
            }),
        ),
        (
            vec![(babe_key, from_slot(9)), (key(PARA, 9), from_session(1))],
            ChangeError::Key(KeyError::UnknownKey { key: key(PARA, 9) }),
        ),
        (
            vec![(babe_key, from_slot(9)), (babe_key, from_slot(10))],
            ChangeError::Key(KeyError::KeyTwice { key: babe_key }),
        ),
        (
            vec![(vote_key, from_slot(9))],
            ChangeError::Key(KeyError::ForeignFloor { key: vote_key, floor: at_slot(9) }),
        ),
    ] {
        assert_eq!(import(&mut world, &floors), Err(refused));
        assert_eq!((world.floor(babe_key), world.floor(vote_key)), before, "nothing partial");
    }
    import(&mut world, &[(babe_key, from_slot(9)), (vote_key, from_round(7, 3))]).unwrap();
    assert_eq!((world.floor(babe_key), world.floor(vote_key)), (at_slot(9), at_round(7, 3)));
}

#[test]
fn a_key_of_another_chain_and_free_work_take_no_imported_watermark() {
    let mut world = world();
    let id = world.armed(BABE, from_slot(5));
    let change = Change::ImportWatermarks { chain: COLLATOR_CHAIN, floors: vec![(id, from_slot(9))] };
    assert_eq!(
        world.change(change),
        Err(ChangeError::Key(KeyError::KeyOnOtherChain { key: id, chain: CHAIN }))
    );
    let free = world.armed(IM_ONLINE, Floors::default());
    let refused = import(&mut world, &[(free, Floors::default())]);
    assert_eq!(refused, Err(ChangeError::Halt(HaltError::NoWatermark { key: free })));
}

#[test]
fn a_key_that_was_only_registered_keeps_its_imported_floor_and_waits_to_be_armed() {
    let mut world = world();
    let id = key(GRANDPA, 1);
    world.register(id, CHAIN);
    import(&mut world, &[(id, from_round(4, 4))]).unwrap();
    assert_eq!(world.state.key(&id).unwrap().state, KeyState::Disabled);
    assert!(matches!(world.refusal(id, prevote(4, 5), 1), Refusal::KeyNotArmed { .. }));
    let lower = world.change(Change::ArmKey { id, floors: from_round(4, 3) });
    assert!(matches!(lower, Err(ChangeError::Key(KeyError::AlreadyHigher { .. }))), "{lower:?}");
    world.change(Change::ArmKey { id, floors: from_round(4, 4) }).unwrap();
    assert!(matches!(world.refusal(id, prevote(4, 3), 1), Refusal::BelowWatermark { .. }));
    assert_eq!(world.claim(id, prevote(4, 4), 1), Verdict::Granted);
    State::from_snapshot(&world.state.snapshot()).unwrap();
}

#[test]
fn what_was_signed_is_told_duty_by_duty() {
    let mut world = world();
    for (key_type, floors, duty) in [
        (BABE, from_slot(1), babe(5)),
        (AURA, from_aura_slot(1), aura(5)),
        (GRANDPA, from_round(1, 1), precommit(1, 5, 7)),
        (BEEFY, from_block(1, 1), beefy(1, 5)),
    ] {
        let id = world.armed(key_type, floors);
        assert_eq!(world.claim(id, duty.clone(), 7), Verdict::Granted);
        let signed = world.state.signed_duties(&id, duty.class()).unwrap();
        assert_eq!(signed.len(), 1);
        assert_eq!((&signed[0].duty, signed[0].digest), (&duty, Digest([7; 32])));
        assert_eq!(world.state.covers(&id, &duty, Digest([7; 32])), Coverage::Covered);
    }
    // Sides are kept in a form that does not tell them, and known all the same.
    let id = world.armed(PARA, from_session(1));
    assert_eq!(world.state.signed_duties(&id, PARA_SIDE), Some(vec![]));
    let duty = side(5, &[1], Side::Invalid);
    assert_eq!(world.claim(id, duty.clone(), 7), Verdict::Granted);
    assert_eq!(world.state.signed_duties(&id, PARA_SIDE), None);
    assert_eq!(world.state.covers(&id, &duty, Digest([7; 32])), Coverage::Covered);
}

#[test]
fn a_key_halts_for_a_signature_the_state_does_not_know_and_for_no_other() {
    let mut world = world();
    let id = world.armed(GRANDPA, from_round(1, 1));
    assert_eq!(world.claim(id, prevote(1, 5), 1), Verdict::Granted);
    // Known, and below the floor: whoever asked was behind, or all is well.
    for (duty, digest) in [(prevote(1, 5), 1), (prevote(0, 99), 3)] {
        assert_eq!(
            halt(&mut world, id, duty, digest),
            Err(ChangeError::Halt(HaltError::NothingForgotten { key: id }))
        );
    }
    assert_eq!(halt(&mut world, id, babe(5), 1), Err(ChangeError::Halt(HaltError::NoWatermark { key: id })));
    assert_eq!(world.state.covers(&id, &prevote(1, 5), Digest([2; 32])), Coverage::Contradicted);
    assert_eq!(world.claim(id, prevote(1, 6), 1), Verdict::Granted, "nothing was halted so far");

    halt(&mut world, id, prevote(1, 9), 1).unwrap();
    let refusal = world.refusal(id, prevote(1, 10), 1);
    assert!(matches!(&refusal, Refusal::KeyHalted { duty, .. } if *duty == prevote(1, 9)), "{refusal:?}");
    assert!(!refusal.is_final());
    assert!(matches!(world.refusal(id, prevote(1, 5), 1), Refusal::KeyHalted { .. }), "repeats halt too");
    assert!(matches!(
        halt(&mut world, id, prevote(1, 8), 1),
        Err(ChangeError::Halt(HaltError::AlreadyHalted { .. }))
    ));
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.registry().halts().count(), 1);
    assert_eq!(restored.hash(), world.state.hash());
}

#[test]
fn only_a_floor_past_what_was_forgotten_lifts_a_halt() {
    let mut world = world();
    let id = world.armed(GRANDPA, from_round(1, 1));
    halt(&mut world, id, prevote(1, 9), 1).unwrap();
    world.raise(id, from_round(1, 9)).unwrap();
    assert!(matches!(world.refusal(id, prevote(1, 10), 1), Refusal::KeyHalted { .. }), "not past it");
    world.change(Change::DisableKey { id }).unwrap();
    world.change(Change::ArmKey { id, floors: from_round(1, 9) }).unwrap();
    assert!(matches!(world.refusal(id, prevote(1, 10), 1), Refusal::KeyHalted { .. }), "nor is arming");
    world.raise(id, from_round(1, 10)).unwrap();
    assert_eq!(world.claim(id, prevote(1, 10), 1), Verdict::Granted);
    assert_eq!(world.state.registry().halts().count(), 0);
}

#[test]
fn a_contradiction_halts_as_well() {
    let mut world = world();
    let id = world.armed(BABE, from_slot(1));
    assert_eq!(world.claim(id, babe(5), 1), Verdict::Granted);
    halt(&mut world, id, babe(5), 2).unwrap();
    world.change(Change::ImportWatermarks { chain: CHAIN, floors: vec![(id, from_slot(6))] }).unwrap();
    assert_eq!(world.claim(id, babe(6), 1), Verdict::Granted, "an import lifts it too");
}

/// A world with a key that is halted for something at the end of all numbers.
fn halted_at_the_end(key_type: KeyType, floors: Floors, shown: Duty) -> (World, KeyId, LogIndex) {
    let mut world = World::new();
    let id = world.armed(key_type, floors);
    let (digest, log_index, client) = (Digest([1; 32]), LogIndex(1_000), ClientId(9));
    let halt = Change::HaltKey { key: id, duty: shown, digest, log_index, client };
    let halted = world.by("node:3", halt).unwrap().at;
    (world, id, halted)
}

fn lift(key: KeyId, halted: LogIndex, floors: Floors) -> Change {
    Change::LiftHalt { key, halted, floors }
}

#[test]
fn a_halt_at_the_end_of_all_numbers_can_be_ended_and_what_was_shown_is_never_signed() {
    let end = u64::MAX;
    for (key_type, floors, shown, beside, onward) in [
        (BABE, from_slot(5), babe(end), babe(end), babe(6)),
        (GRANDPA, from_round(7, 3), prevote(end, end), precommit(end, end, 9), prevote(7, 4)),
        (BEEFY, from_block(7, 3), beefy(end, end), beefy(end, end), beefy(7, 4)),
        (
            PARA,
            from_session(4),
            side(u32::MAX, &[1, 2], Side::Valid),
            side(u32::MAX, &[3], Side::Invalid),
            side(4, &[1], Side::Valid),
        ),
    ] {
        let (mut world, id, halted) = halted_at_the_end(key_type, floors.clone(), shown.clone());
        let last = Floors::from(shown.position());
        assert!(matches!(world.refusal(id, onward.clone(), 1), Refusal::KeyHalted { .. }));

        let before = world.state.hash();
        let other = lift(id, LogIndex(halted.0 + 1), floors.clone());
        let refused =
            Err(ChangeError::Halt(HaltError::NotHalted { key: id, halted: LogIndex(halted.0 + 1) }));
        assert_eq!(world.change(other), refused, "what was agreed to is one halt");
        let lower = lift(id, halted, Floors::default());
        assert!(world.change(lower).is_err(), "a floor has to be named");
        assert!(matches!(world.refusal(id, onward.clone(), 1), Refusal::KeyHalted { .. }));
        assert_eq!(world.state.registry().barred().count(), 0);
        assert_ne!(world.state.hash(), before, "the audit has both");

        world.change(lift(id, halted, floors)).unwrap();
        assert_eq!(world.claim(id, onward.clone(), 1), Verdict::Granted, "the key continues where it was");
        for (duty, digest) in [(shown.clone(), 1), (shown.clone(), 2), (beside, 3)] {
            let refusal = world.refusal(id, duty, digest);
            assert!(matches!(refusal, Refusal::Barred { .. }) && refusal.is_final(), "{refusal:?}");
        }
        // Shown once more it halts nothing.
        assert_eq!(world.state.covers(&id, &shown, Digest([1; 32])), Coverage::Covered);
        let digest = Digest([1; 32]);
        let again = Change::HaltKey {
            key: id,
            duty: shown.clone(),
            digest,
            log_index: LogIndex(1),
            client: ClientId(9),
        };
        assert_eq!(
            world.by("node:3", again),
            Err(ChangeError::Halt(HaltError::NothingForgotten { key: id }))
        );
        // Nor does a floor at the last place open it, nor a restart.
        world.raise(id, last).unwrap();
        let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
        assert_eq!(restored.hash(), world.state.hash());
        let mut restored = World { state: restored, at: world.at };
        assert!(matches!(restored.refusal(id, shown, 1), Refusal::Barred { .. }));
    }
}

#[test]
fn ending_a_halt_takes_two_officers_and_only_rises() {
    let (mut world, id, halted) = halted_at_the_end(GRANDPA, from_round(7, 3), prevote(9, 9));
    for name in ["k1", "k2"] {
        let role = Some(signonce_core::Role::KeyOfficer);
        world.by("local:uid=0", Change::SetOfficer { name: name.into(), role }).unwrap();
    }
    world.by("admin:k1", Change::RequireApproval { on: true }).unwrap();
    let lower = lift(id, halted, from_round(7, 2));
    let proposed = world.by("admin:k1", lower).unwrap().proposed.expect("it takes two");
    let refused = world.by("admin:k2", Change::DecideProposal { id: proposed, approve: true });
    assert!(matches!(refused, Err(ChangeError::Key(KeyError::AlreadyHigher { .. }))), "{refused:?}");
    let proposed = world.by("admin:k1", lift(id, halted, from_round(8, 1))).unwrap().proposed.unwrap();
    assert!(matches!(world.refusal(id, prevote(8, 1), 1), Refusal::KeyHalted { .. }));
    world.by("admin:k2", Change::DecideProposal { id: proposed, approve: true }).unwrap();
    assert_eq!(world.claim(id, prevote(8, 1), 1), Verdict::Granted);
    assert!(matches!(world.refusal(id, prevote(9, 9), 1), Refusal::Barred { .. }));
    // A floor past the place does the rest.
    world.by("local:uid=0", Change::RequireApproval { on: false }).unwrap();
    let off = world.state.registry().proposals().last().unwrap().id;
    world.by("admin:k1", Change::DecideProposal { id: off, approve: true }).unwrap();
    world.by("admin:k1", Change::RaiseWatermark { key: id, floors: from_round(10, 1) }).unwrap();
    assert_eq!(world.claim(id, prevote(10, 1), 1), Verdict::Granted);
}

#[test]
fn barred_places_come_along_with_a_backup() {
    let mut world = World::empty();
    let id = key(GRANDPA, 1);
    let bar = |round| {
        let place = BarredPlace { duty: prevote(1, round), digest: Digest([1; 32]), at: LogIndex(77) };
        Change::Restore(RestoreStep::Bar { barred: vec![Barred { key: id, places: vec![place] }] })
    };
    assert_eq!(world.change(bar(9)), Err(ChangeError::Backup(BackupError::NoRestore)));
    world.change(Change::Restore(RestoreStep::Begin(backup(1)))).unwrap();
    assert_eq!(world.change(bar(9)), Err(ChangeError::Key(KeyError::UnknownKey { key: id })));
    world.change(Change::AddChain(chain(CHAIN, "relay", Default::default()))).unwrap();
    world.register(id, CHAIN);
    world.change(bar(9)).unwrap();
    world.change(bar(8)).expect("the same command, run again, changes nothing");
    world.change(Change::ArmKey { id, floors: from_round(1, 8) }).unwrap();
    world.change(Change::Restore(RestoreStep::Finish)).unwrap();
    assert_eq!(
        world.change(bar(10)),
        Err(ChangeError::Backup(BackupError::NoRestore)),
        "no officer bars places afterwards"
    );
    assert_eq!(world.claim(id, prevote(1, 8), 1), Verdict::Granted);
    assert!(matches!(world.refusal(id, prevote(1, 9), 1), Refusal::Barred { .. }));
}

#[test]
fn a_backup_comes_into_an_empty_cluster_once() {
    let begin = |n| Change::Restore(RestoreStep::Begin(backup(n)));
    let mut taken = world();
    assert_eq!(taken.change(begin(1)), Err(ChangeError::Backup(BackupError::NotEmpty)));

    let mut world = World::empty();
    assert_eq!(
        world.change(Change::Restore(RestoreStep::Finish)),
        Err(ChangeError::Backup(BackupError::NoRestore))
    );
    world.change(begin(1)).unwrap();
    world.change(Change::AddChain(chain(CHAIN, "relay", Default::default()))).unwrap();
    world.change(begin(1)).expect("the same command, run again");
    let other = world.change(begin(2));
    assert!(matches!(other, Err(ChangeError::Backup(BackupError::OtherBackup { .. }))), "{other:?}");

    let id = key(BABE, 3);
    let bury = || {
        let keys = vec![BuriedKey { id, scheme: BABE.schemes()[0], chain: CHAIN, group: None }];
        let clients = vec![BuriedClient { name: "gone".into(), spki: Fingerprint([4; 32]) }];
        Change::Restore(RestoreStep::Bury { keys, clients })
    };
    world.change(bury()).unwrap();
    world.change(bury()).expect("what is buried stays buried");
    assert_eq!(world.state.keys().count(), 1);
    assert_eq!(world.state.clients().count(), 1);
    assert_eq!(
        world.change(register(id, CHAIN, None)),
        Err(ChangeError::Key(KeyError::KeyRemoved { key: id }))
    );
    let name = "again".to_owned();
    let taken = world.change(Change::AddClient { name, spki: Fingerprint([4; 32]), rights: vec![] });
    assert!(matches!(taken, Err(ChangeError::Client(ClientError::CertificateTaken { .. }))), "{taken:?}");

    world.change(Change::Restore(RestoreStep::Finish)).unwrap();
    assert_eq!(world.change(bury()), Err(ChangeError::Backup(BackupError::NoRestore)));
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.registry().origin(), world.state.registry().origin());
    assert!(restored.registry().origin().unwrap().finished.is_some());
}

/// A cluster that takes a backup in, or practises to, with keys of it that are registered.
fn restoring(begin: RestoreStep) -> (World, KeyId, KeyId) {
    let mut world = World::empty();
    world.change(Change::Restore(begin)).unwrap();
    world.change(Change::AddChain(chain(CHAIN, "relay", Default::default()))).unwrap();
    let (votes, blocks) = (key(GRANDPA, 1), key(BABE, 1));
    world.register(votes, CHAIN);
    world.register(blocks, CHAIN);
    (world, votes, blocks)
}

fn leave(keys: &[(KeyId, Floors, bool)]) -> Change {
    let left = |(id, floors, disabled): &(KeyId, Floors, bool)| LeftKey {
        id: *id,
        floors: floors.clone(),
        disabled: *disabled,
    };
    Change::Restore(RestoreStep::Leave { keys: keys.iter().map(left).collect() })
}

#[test]
fn a_vote_key_that_came_with_a_backup_is_armed_above_what_the_backup_knew_and_never_at_it() {
    let (mut world, votes, blocks) = restoring(RestoreStep::Begin(backup(1)));
    world.change(leave(&[(votes, from_round(3, 8), false), (blocks, from_slot(900), true)])).unwrap();
    let state_of = |world: &World, id| world.state.key(&id).unwrap().state;
    assert_eq!(state_of(&world, votes), KeyState::Registered);
    assert_eq!(state_of(&world, blocks), KeyState::Disabled, "it was in the old cluster");
    assert_eq!(world.floor(votes), at_round(3, 8), "nothing that the backup knows is lost");
    world.change(leave(&[(votes, from_round(3, 8), false)])).expect("the same command, run again");
    world.change(Change::Restore(RestoreStep::Finish)).unwrap();
    assert_eq!(
        world.change(leave(&[(votes, from_round(4, 0), false)])),
        Err(ChangeError::Backup(BackupError::NoRestore))
    );

    // The old cluster has precommitted in round 8 after the backup was made.
    for (set, round) in [(3, 8), (3, 7), (0, 0)] {
        let (known, asked) = (at_round(3, 8), at_round(set, round));
        let refused = world.change(Change::ArmKey { id: votes, floors: from_round(set, round) });
        assert_eq!(
            refused,
            Err(ChangeError::Backup(BackupError::NotAboveBackup { key: votes, known, asked }))
        );
    }
    // Nor does another way lead there.
    let raised = world.raise(votes, from_round(3, 8));
    assert!(matches!(raised, Err(ChangeError::Key(KeyError::WrongState { .. }))), "{raised:?}");
    world.change(Change::ImportWatermarks { chain: CHAIN, floors: vec![(votes, from_round(3, 8))] }).unwrap();
    assert_eq!(state_of(&world, votes), KeyState::Registered);
    let refused = world.change(Change::ArmKey { id: votes, floors: from_round(3, 8) });
    assert!(matches!(refused, Err(ChangeError::Backup(BackupError::NotAboveBackup { .. }))), "{refused:?}");

    let again = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!((again.hash(), again.known_by_backup(&votes)), (world.state.hash(), Some(&from_round(3, 8))));
    let mut world = World { state: again, at: world.at };
    world.change(Change::ArmKey { id: votes, floors: from_round(4, 0) }).unwrap();
    assert!(matches!(world.refusal(votes, precommit(3, 8, 1), 1), Refusal::BelowWatermark { .. }));
    // The clock says of slots how far the old cluster can have come, and that is what was left.
    let refused = world.change(Change::ArmKey { id: blocks, floors: from_slot(899) });
    assert!(matches!(refused, Err(ChangeError::Key(KeyError::AlreadyHigher { .. }))), "{refused:?}");
    world.change(Change::ArmKey { id: blocks, floors: from_slot(900) }).unwrap();
}

#[test]
fn what_is_left_is_left_whole_or_not_at_all() {
    let (mut world, votes, blocks) = restoring(RestoreStep::Begin(backup(1)));
    let free = key(IM_ONLINE, 1);
    world.register(free, CHAIN);
    for (wrong, refused) in [
        (vec![(votes, from_round(3, 8), false), (votes, from_round(3, 9), false)], "twice"),
        (vec![(votes, from_round(3, 8), false), (blocks, from_round(3, 8), false)], "no work"),
        (vec![(votes, from_round(3, 8), false), (free, Floors::default(), false)], "no work"),
    ] {
        let error = world.change(leave(&wrong)).unwrap_err().to_string();
        assert!(error.contains(refused), "{error}");
        assert_eq!(world.state.known_by_backup(&votes), None);
        assert!(world.state.watermarks(&votes).is_empty());
    }
}

#[test]
fn a_drill_arms_no_key_and_never_becomes_earnest() {
    let (mut world, votes, blocks) = restoring(RestoreStep::BeginDrill(backup(1)));
    world.change(Change::Restore(RestoreStep::BeginDrill(backup(1)))).expect("the same command, run again");
    world.change(leave(&[(votes, from_round(3, 8), false)])).unwrap();
    for (id, floors) in [(votes, from_round(9, 0)), (blocks, from_slot(1_000_000))] {
        let refused = world.change(Change::ArmKey { id, floors });
        assert!(matches!(refused, Err(ChangeError::Backup(BackupError::Drill { .. }))), "{refused:?}");
    }
    let earnest = world.change(Change::Restore(RestoreStep::Begin(backup(1))));
    assert!(matches!(earnest, Err(ChangeError::Backup(BackupError::Drill { .. }))), "{earnest:?}");
    world.change(Change::Restore(RestoreStep::Finish)).unwrap();
    let mut again = World { state: State::from_snapshot(&world.state.snapshot()).unwrap(), at: world.at };
    let refused = again.change(Change::ArmKey { id: votes, floors: from_round(9, 0) });
    assert!(matches!(refused, Err(ChangeError::Backup(BackupError::Drill { .. }))), "{refused:?}");
    // And what was begun in earnest does not turn into practice.
    let (mut world, ..) = restoring(RestoreStep::Begin(backup(1)));
    let drill = world.change(Change::Restore(RestoreStep::BeginDrill(backup(1))));
    assert_eq!(drill, Err(ChangeError::Backup(BackupError::NotEmpty)));
}
