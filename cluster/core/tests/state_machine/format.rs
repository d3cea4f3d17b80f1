//! The bytes on disk and in the log are a promise: these tests fail when a format changes by accident.
//! A change on purpose gets a new version, and a reader for the old one.

use signonce_substrate::{BABE, BEEFY, GRANDPA, PARA};
use crate::world::*;
use signonce_core::{
    Change, Claim, ClaimRequest, CodecError, Command, GUARDED_LEVEL, Refusal, Table, Verdict, seal_record,
};
use signonce_substrate::{BlockNumber};

#[test]
fn a_command_has_the_bytes_it_always_had() {
    let claim = Claim { time_ms: 3, ..claim(key(BABE, 1), babe(5), 0xdd) };
    let command = Command::Claims(vec![ClaimRequest { request: request(2), claim }]);
    let public = [&[0][..], &[1; 31]].concat();
    let body = [
        &[0, 4][..],                                       // claims, one of them
        &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // node 3, boot 1
        &[2, 0, 0, 0, 0, 0, 0, 0],                         // request 2
        &[0, 32],                                          // babe, 32 bytes of key
        &public,
        &[9, 0, 0, 0],                // client 9
        &[0, 5, 0, 0, 0, 0, 0, 0, 0], // BABE block at slot 5
        &[0xdd; 32],
        &[3, 0, 0, 0, 0, 0, 0, 0], // at 3 ms
    ];
    assert_eq!(command.to_bytes(), seal_record(1, &body.concat()));
}

#[test]
fn a_ledger_record_has_the_bytes_it_always_had() {
    let mut world = World::new();
    let key = world.armed(BABE, from_slot(5));
    world.claim(key, babe(6), 0xdd);
    let records: Vec<_> = world.state.records().filter(|(table, _, _)| *table == Table::Ledger).collect();
    let prefix = [&[0, 32, 0][..], &[1; 31], &[0]].concat(); // babe, public key, class BABE block
    let floor = [&prefix[..], &[0]].concat();
    let entry = [&prefix[..], &[1, 6, 0, 0, 0, 0, 0, 0, 0, 0]].concat(); // slot 6, no collation
    let value = [
        &[0xdd; 32][..],
        &[5, 0, 0, 0, 0, 0, 0, 0], // log entry 5
        &1_700_000_000_000_u64.to_le_bytes(),
        &[9, 0, 0, 0],
    ];
    let expected = [
        (Table::Ledger, floor, seal_record(1, &[5, 0, 0, 0, 0, 0, 0, 0])),
        (Table::Ledger, entry, seal_record(1, &value.concat())),
    ];
    assert_eq!(records, expected);
}

#[test]
fn a_state_has_the_hash_it_always_had() {
    let mut world = World::new();
    for (key_type, floors, duty) in [
        (BABE, from_slot(5), babe(6)),
        (GRANDPA, from_round(5, 1), precommit(5, 6, 7)),
        (BEEFY, from_block(5, 1), beefy(5, 6)),
        (PARA, from_session(5), side(5, &[1], signonce_protocol::Side::Valid)),
    ] {
        let key = world.armed(key_type, floors);
        assert_eq!(world.claim(key, duty, 1), Verdict::Granted);
    }
    assert_eq!(
        world.state.hash().to_string(),
        "0x3874763293bb1905663be6c34f539df8f0cb060c16700cc4fdd457bc50f2aee0"
    );
}

#[test]
fn a_command_of_a_newer_program_is_named_as_such() {
    let newer = seal_record(6, &[0, 0]);
    assert_eq!(Command::from_bytes(&newer), Err(CodecError::UnknownVersion { found: 6, known: 5 }));
}

#[test]
fn refusals_and_watermarks_are_plain_json() {
    let refusal = Refusal::BelowWatermark { asked: at_round(5, 1), floor: at_round(5, 2) };
    let json = serde_json::json!({
        "reason": "belowWatermark",
        "asked": { "setId": 5, "round": 1 },
        "floor": { "setId": 5, "round": 2 },
    });
    assert_eq!(serde_json::to_value(&refusal).unwrap(), json);
    assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
    let mut world = World::new();
    let key = world.armed(BEEFY, from_block(1, 2));
    let view = serde_json::to_value(world.state.watermarks(&key)).unwrap();
    let expected = serde_json::json!([
        { "class": "beefyVote", "floor": { "setId": 1, "block": 2 }, "highest": null, "entries": 0 }
    ]);
    assert_eq!(view, expected);
}

#[test]
fn a_refusal_tells_a_person_what_to_do() {
    let refusal =
        Refusal::BeefyAheadOfGrandpa { asked: BlockNumber(30), precommitted: BlockNumber(10), slack: 16 };
    let text = refusal.to_string();
    assert!(text.contains("30") && text.contains("10") && text.contains("retry"), "{text}");
}

#[test]
fn a_key_shows_the_length_of_its_envelope_and_not_the_bytes() {
    let mut world = World::new();
    let id = world.armed(BABE, from_slot(1));
    let key = world.state.key(&id).unwrap();
    assert!(format!("{key:?}").contains("Envelope(200 bytes)"));
    assert!(serde_json::to_value(key).unwrap().get("sealed").is_none());
}

#[test]
fn a_change_of_slots_has_the_bytes_it_always_had() {
    let change = Change::RetimeChain { chain: CHAIN, from_ms: 5, slot_duration_ms: 24_000 };
    let body = [
        &[1][..],                                          // a change
        &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // node 3, boot 1
        &[0; 8],                                           // request 0
        &[32],
        b"operator",
        &[1, 0, 0, 0, 0, 0, 0, 0], // at 1 ms
        &[50],
        &[1; 32],
        &[5, 0, 0, 0, 0, 0, 0, 0],
        &24_000_u64.to_le_bytes(),
    ];
    assert_eq!(change_command(change.clone()).to_bytes(), seal_record(5, &body.concat()));

    let mut world = World::new();
    world.change(Change::RaiseFeatureLevel { level: GUARDED_LEVEL }).unwrap();
    let made = world.change(change).unwrap().at;
    let (_, _, value) = world
        .state
        .records()
        .find(|(table, key, _)| *table == Table::Registry && key[..] == [&[52][..], &[1; 32]].concat()[..])
        .unwrap();
    let record = [
        &[1; 32][..],
        &[4], // one change
        &[5, 0, 0, 0, 0, 0, 0, 0],
        &24_000_u64.to_le_bytes(),
        &made.0.to_le_bytes(),
    ];
    assert_eq!(value, seal_record(1, &record.concat()));
}
