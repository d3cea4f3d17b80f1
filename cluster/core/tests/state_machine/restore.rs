//! Records, snapshots, hashes and checkpoints.

use crate::world::*;
use proptest::prelude::*;
use signonce_core::{
    ApplyError, CHECKPOINT_EVERY, ClaimRequest, ClientId, Command, Fingerprint, Floors, Outcome,
    RestoreError, SnapshotWriter, State, StateHash, Table, Verdict, seal_record,
};
use signonce_core::{Change, KeySelector, Right};
use signonce_protocol::LogIndex;
use signonce_substrate::Side;
use signonce_substrate::{AURA, BABE, BABE_BLOCK, BEEFY, GRANDPA, IM_ONLINE, PARA};

type Records = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// A state with something of everything.
fn busy() -> World {
    let mut world = World::new();
    let keys = [
        (BABE, from_slot(1), babe(5)),
        (AURA, from_aura_slot(1), aura(5)),
        (GRANDPA, from_round(1, 1), precommit(1, 5, 7)),
        (BEEFY, from_block(1, 1), beefy(1, 5)),
        (PARA, from_session(1), side(5, &[1, 2], Side::Valid)),
    ];
    for (key_type, floors, duty) in keys {
        let key = world.armed(key_type, floors);
        assert_eq!(world.claim(key, duty, 1), Verdict::Granted);
    }
    world.armed(IM_ONLINE, Floors::default());
    world.register(key(BABE, 2), CHAIN);
    let rights = vec![Right { keys: KeySelector::All, chain: None, classes: vec![BABE_BLOCK] }];
    world.change(Change::AddClient { name: "node-a".into(), spki: Fingerprint([1; 32]), rights }).unwrap();
    world
}

fn records(state: &State) -> Records {
    state.records().collect()
}

#[test]
fn a_snapshot_written_record_by_record_has_the_same_bytes() {
    let state = busy().state;
    let records: Vec<_> = state.records().collect();
    let begun = || SnapshotWriter::begin(Vec::new(), state.hash(), records.len() as u64).unwrap();
    let mut writer = begun();
    records.iter().for_each(|record| writer.add(record).unwrap());
    assert_eq!(writer.finish().unwrap(), state.snapshot());
    let mut writer = begun();
    records[1..].iter().for_each(|record| writer.add(record).unwrap());
    assert!(writer.finish().is_err(), "one is missing");
    let mut writer = begun();
    records.iter().for_each(|record| writer.add(record).unwrap());
    assert!(writer.add(&records[0]).is_err(), "one too many");
}

#[test]
fn a_snapshot_is_the_state() {
    let world = busy();
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.hash(), world.state.hash());
    assert_eq!(records(&restored), records(&world.state));
    assert_eq!(restored.client_by_spki(&Fingerprint([1; 32])).map(|client| client.id), Some(ClientId(1)));
    assert_eq!(restored.registry_version(), world.state.registry_version());
}

#[test]
fn a_restored_state_has_nothing_to_write() {
    let mut restored = State::from_snapshot(&busy().state.snapshot()).unwrap();
    assert!(restored.take_changes().is_empty());
}

#[test]
fn records_come_back_in_any_order() {
    let world = busy();
    let mut backwards = records(&world.state);
    backwards.reverse();
    assert_eq!(State::from_records(backwards, world.state.hash()).unwrap().hash(), world.state.hash());
}

#[test]
fn an_empty_store_is_the_empty_state() {
    let state = State::from_records([], StateHash::default()).unwrap();
    assert_eq!(state.hash(), State::new().hash());
}

#[test]
fn a_missing_or_foreign_record_is_noticed() {
    let world = busy();
    let all = records(&world.state);
    for missing in 0..all.len() {
        let mut some = all.clone();
        some.remove(missing);
        assert!(State::from_records(some, world.state.hash()).is_err(), "without record {missing}");
    }
    let mut twice = all.clone();
    twice.push(all[0].clone());
    assert!(matches!(State::from_records(twice, world.state.hash()), Err(RestoreError::Twice { .. })));
    let mut foreign = all.clone();
    foreign.push((Table::Registry, vec![200], seal_record(1, &[])));
    assert!(matches!(State::from_records(foreign, world.state.hash()), Err(RestoreError::Record { .. })));
}

#[test]
fn a_record_under_another_records_key_is_noticed_even_without_the_hash() {
    let world = busy();
    let mut swapped = records(&world.state);
    let keys: Vec<_> = (0..swapped.len()).filter(|i| swapped[*i].1[0] == 2).collect();
    let (first, second) = (swapped[keys[0]].2.clone(), swapped[keys[1]].2.clone());
    (swapped[keys[0]].2, swapped[keys[1]].2) = (second, first);
    assert!(matches!(State::from_records(swapped, world.state.hash()), Err(RestoreError::Record { .. })));
}

#[test]
fn an_armed_key_without_its_watermark_is_noticed() {
    let world = busy();
    let without_ledger = records(&world.state).into_iter().filter(|(table, _, _)| *table == Table::Registry);
    let refused = State::from_records(without_ledger, world.state.hash()).unwrap_err();
    assert!(matches!(refused, RestoreError::Watermark(_)), "{refused}");
}

#[test]
fn a_key_without_its_chain_is_noticed() {
    let world = busy();
    let chain = world.state.records().find(|(_, _, value)| value.windows(5).any(|text| text == b"relay"));
    let (_, chain, _) = chain.unwrap();
    let without = records(&world.state).into_iter().filter(|(_, key, _)| *key != chain);
    let refused = State::from_records(without, world.state.hash()).unwrap_err();
    assert!(matches!(refused, RestoreError::Chainless(_)), "{refused}");
}

/// The rows written since this was last asked, but for the head of the audit: whether each is there still.
fn written(world: &mut World) -> Vec<(Table, bool)> {
    let changes = world.state.take_changes();
    let heads = changes.iter().filter(|change| is_audit_head(change.table, &change.key)).count();
    assert_eq!(heads, 1, "every claim is on record");
    let others = changes.iter().filter(|change| !is_audit_head(change.table, &change.key));
    others.map(|change| (change.table, change.value.is_some())).collect()
}

#[test]
fn a_claim_writes_its_entry_and_nothing_else() {
    let mut world = World::new();
    let key = world.armed(BABE, from_slot(1));
    world.state.take_changes();
    world.claim(key, babe(1), 1);
    assert_eq!(written(&mut world), [(Table::Ledger, true)]);
    world.claim(key, babe(1), 1);
    assert_eq!(written(&mut world), [], "nor does a repeat");
    world.claim(key, babe(1), 2);
    assert_eq!(written(&mut world), [], "nor a refusal");
}

#[test]
fn a_claim_into_a_full_window_writes_entry_floor_and_the_entry_that_goes() {
    let mut world = World::new();
    let key = world.armed(BABE, from_slot(1));
    for slot in 1..=64 {
        world.claim(key, babe(slot), 1);
    }
    world.state.take_changes();
    world.claim(key, babe(65), 1);
    assert_eq!(written(&mut world), [true, false, true].map(|there| (Table::Ledger, there)));
}

#[test]
fn conflicting_claims_of_one_command_are_judged_in_order() {
    let mut world = World::new();
    let key = world.armed(BABE, from_slot(1));
    let requests = [1, 2, 1].into_iter().zip(10..);
    let requests = requests
        .map(|(digest, seq)| ClaimRequest { request: request(seq), claim: claim(key, babe(1), digest) });
    let outcomes = world.apply(&Command::Claims(requests.collect()));
    let at = LogIndex(world.at);
    assert_eq!(outcomes[0], (request(10), Outcome::Verdict(Verdict::Granted)));
    assert!(matches!(outcomes[1], (id, Outcome::Verdict(Verdict::Refused(_))) if id == request(11)));
    assert_eq!(outcomes[2], (request(12), Outcome::Verdict(repeated(at))));
}

#[test]
fn log_entries_come_in_rising_order() {
    let mut world = World::new();
    let again = world.state.apply(LogIndex(world.at), Command::Claims(vec![]));
    assert_eq!(again, Err(ApplyError::OutOfOrder { at: LogIndex(world.at), last: LogIndex(world.at) }));
}

#[test]
fn a_node_that_differs_at_a_checkpoint_stops() {
    let boundary = LogIndex(CHECKPOINT_EVERY);
    let mut world = busy();
    world.at = CHECKPOINT_EVERY - 1;
    world.apply(&Command::Claims(vec![]));
    let ours = world.state.hash();
    assert_eq!(world.state.hash_at(boundary), Some(ours));
    world.change(Change::RemoveClient { name: "node-a".into() }).unwrap();
    let before = world.state.hash();
    world.apply(&Command::Checkpoint { at: boundary, hash: ours });
    let theirs = StateHash::from_bytes([1; 32]);
    let checkpoint = Command::Checkpoint { at: boundary, hash: theirs };
    let stopped = world.state.apply(LogIndex(world.at + 1), checkpoint);
    assert_eq!(stopped, Err(ApplyError::Diverged { at: boundary, ours, theirs }));
    assert_eq!(world.state.hash(), before);
}

#[test]
fn a_checkpoint_on_an_entry_without_a_command_is_compared_too() {
    let boundary = LogIndex(2 * CHECKPOINT_EVERY);
    let mut world = busy();
    let (ours, theirs) = (world.state.hash(), StateHash::default());
    // Raft's own entries lie between: the next command comes well after the boundary.
    let checkpoint = Command::Checkpoint { at: boundary, hash: theirs };
    let stopped = world.state.apply(LogIndex(boundary.0 + 5), checkpoint);
    assert_eq!(stopped, Err(ApplyError::Diverged { at: boundary, ours, theirs }));
    world.at = boundary.0 + 4;
    world.apply(&Command::Checkpoint { at: boundary, hash: ours });
    assert_eq!(world.state.hash_at(boundary), Some(ours));
}

#[test]
fn a_checkpoint_no_longer_or_not_yet_known_is_passed_over() {
    let mut world = busy();
    for n in 1..=9 {
        world.at = n * CHECKPOINT_EVERY - 1;
        world.apply(&Command::Claims(vec![]));
    }
    assert_eq!(world.state.hash_at(LogIndex(CHECKPOINT_EVERY)), None);
    assert!(world.state.hash_at(LogIndex(2 * CHECKPOINT_EVERY)).is_some());
    let bogus = StateHash::from_bytes([9; 32]);
    world.apply(&Command::Checkpoint { at: LogIndex(CHECKPOINT_EVERY), hash: bogus });
    let mut restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    let at = LogIndex(9 * CHECKPOINT_EVERY);
    restored.apply(LogIndex(world.at + 1), Command::Checkpoint { at, hash: bogus }).unwrap();
}

proptest! {
    #[test]
    fn a_damaged_snapshot_is_refused(position: prop::sample::Index, flip in 1..=255_u8) {
        let mut bytes = busy().state.snapshot();
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        prop_assert!(matches!(State::from_snapshot(&bytes), Err(RestoreError::Snapshot(_))));
        prop_assert!(State::from_snapshot(&bytes[..position]).is_err());
    }

    #[test]
    fn records_that_pass_their_checksums_but_not_the_rules_never_panic(
        table in prop::sample::select(vec![Table::Registry, Table::Ledger]),
        which: prop::sample::Index,
        key_edit in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        body: Option<Vec<u8>>,
    ) {
        let world = busy();
        let mut all = records(&world.state);
        let own: Vec<_> = (0..all.len()).filter(|i| all[*i].0 == table).collect();
        let record = &mut all[own[which.index(own.len())]];
        let old = record.clone();
        if let Some((position, byte)) = key_edit {
            let position = position.index(record.1.len());
            record.1[position] = byte;
        }
        if let Some(body) = body {
            record.2 = seal_record(1, &body);
        }
        let same = *record == old;
        prop_assert_eq!(State::from_records(all, world.state.hash()).is_ok(), same);
    }

    #[test]
    fn random_bytes_are_no_command_and_never_panic(body: Vec<u8>) {
        let _ = Command::from_bytes(&body);
        if let Ok(command) = Command::from_bytes(&seal_record(1, &body)) {
            prop_assert_eq!(command.to_bytes(), seal_record(1, &body));
        }
    }
}
