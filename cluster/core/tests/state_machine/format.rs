//! The bytes on disk and in the log are a promise: these tests fail when a format changes by accident.
//! A change on purpose gets a new version, and a reader for the old one.

use crate::world::*;
use signonce_core::{Change, Claim, ClaimRequest, CodecError, Command, Refusal, Table, Verdict, seal_record};
use signonce_protocol::{Carry, RuleRefusal};
use signonce_substrate::BEEFY_VOTE;
use signonce_substrate::{BABE, BEEFY, GRANDPA, PARA};

#[test]
fn a_command_has_the_bytes_it_always_had() {
    let claim = Claim { time_ms: 3, carry: Carry::new(vec![7, 7]), ..claim(key(BABE, 1), babe(5), 0xdd) };
    let command = Command::Claims(vec![ClaimRequest { request: request(2), claim }]);
    let public = [&[0][..], &[1; 31]].concat();
    let body = [
        &[0, 4][..],                                       // claims, one of them
        &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // node 3, boot 1
        &[2, 0, 0, 0, 0, 0, 0, 0],                         // request 2
        &[1, 0, 32],                                       // Substrate's babe, 32 bytes of key
        &public,
        &[9, 0, 0, 0],                         // client 9
        &[1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], // Substrate's BABE block at slot 5, with nothing else
        &[0xdd; 32],
        &[8, 7, 7],                // two bytes are carried
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
    // Substrate's babe, public key, the class of BABE blocks.
    let prefix = [&[1, 0, 32, 0][..], &[1; 31], &[1, 0]].concat();
    let floor = [&prefix[..], &[0]].concat();
    let entry = [&prefix[..], &[1, 0, 0, 0, 0, 0, 0, 0, 6]].concat(); // slot 6, no collation
    let value = [
        &[1, 0][..], // BABE block
        &[0xdd; 32],
        &[5, 0, 0, 0, 0, 0, 0, 0], // log entry 5
        &1_700_000_000_000_u64.to_le_bytes(),
        &[9, 0, 0, 0],
        &[0], // nothing was carried
        &[0], // and nothing said beside
    ];
    let expected = [
        (Table::Ledger, floor, seal_record(1, &[1, 0, 5, 0, 0, 0, 0, 0, 0, 0])),
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
        (PARA, from_session(5), side(5, &[1], signonce_substrate::Side::Valid)),
    ] {
        let key = world.armed(key_type, floors);
        assert_eq!(world.claim(key, duty, 1), Verdict::Granted);
    }
    assert_eq!(
        world.state.hash().to_string(),
        "0x267536b1249b377d49760882996631a0eb004a0ad985a178f33bae96945cbecf"
    );
}

#[test]
fn a_command_of_a_newer_program_is_named_as_such() {
    let newer = seal_record(2, &[0, 0]);
    assert_eq!(Command::from_bytes(&newer), Err(CodecError::UnknownVersion { found: 2, known: 1 }));
    let nothing = seal_record(0, &[0, 0]);
    assert_eq!(Command::from_bytes(&nothing), Err(CodecError::UnknownVersion { found: 0, known: 1 }));
}

#[test]
fn refusals_and_watermarks_are_plain_json() {
    let refusal = Refusal::BelowWatermark { asked: at_round(5, 1), floor: at_round(5, 2) };
    let json = serde_json::json!({
        "reason": "belowWatermark",
        "asked": { "class": "grandpaVote", "setId": 5, "round": 1 },
        "floor": { "class": "grandpaVote", "setId": 5, "round": 2 },
    });
    assert_eq!(serde_json::to_value(&refusal).unwrap(), json);
    assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
    let mut world = World::new();
    let key = world.armed(BEEFY, from_block(1, 2));
    let view = serde_json::to_value(world.state.watermarks(&key)).unwrap();
    let expected = serde_json::json!([
        {
            "class": "beefyVote", "floor": { "class": "beefyVote", "setId": 1, "block": 2 }, "highest": null,
            "entries": 0
        }
    ]);
    assert_eq!(view, expected);
}

/// A refusal by the shield, as the ledger gives it.
fn shielded() -> Refusal {
    let mut world = World::new();
    let grandpa = world.armed(GRANDPA, from_round(5, 1));
    let key = world.armed(BEEFY, from_block(3, 1));
    world.claim(grandpa, precommit(5, 1, 10), 1);
    world.refusal(key, beefy(3, 30), 1)
}

#[test]
fn a_refusal_tells_a_person_what_to_do() {
    let text = shielded().to_string();
    assert!(text.contains("30") && text.contains("10") && text.contains("retry"), "{text}");
}

#[test]
fn a_refusal_of_one_class_is_json_with_its_facts_and_is_read_back() {
    let refusal = shielded();
    let Refusal::Rule(RuleRefusal { class: BEEFY_VOTE, code: 0, facts }) = &refusal else {
        panic!("{refusal:?}")
    };
    let json = serde_json::json!({
        "reason": "beefyAheadOfGrandpa",
        "class": "beefyVote",
        "rule": 0,
        "ruleFacts": format!("0x{}", facts.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        "setId": 3,
        "asked": 30,
        "precommitted": 10,
        "slack": 16,
    });
    assert_eq!(serde_json::to_value(&refusal).unwrap(), json);
    assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
    // One that the family does not know says that much, and is never final.
    let Refusal::Rule(known) = refusal else { unreachable!("as above") };
    for unknown in [
        RuleRefusal { code: 77, ..known.clone() },
        RuleRefusal { facts: vec![0], ..known.clone() },
        RuleRefusal { class: signonce_substrate::BABE_BLOCK, ..known },
    ] {
        let unknown = Refusal::Rule(unknown);
        assert!(!unknown.is_final() && !unknown.contradicts());
        assert!(unknown.to_string().contains("refuses by its rule"), "{unknown}");
        let json = serde_json::to_value(&unknown).unwrap();
        assert_eq!(json["reason"], "rule");
        assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), unknown);
    }
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
        &[36],
        &[1; 32],
        &[5, 0, 0, 0, 0, 0, 0, 0],
        &24_000_u64.to_le_bytes(),
    ];
    assert_eq!(change_command(change.clone()).to_bytes(), seal_record(1, &body.concat()));

    let mut world = World::new();
    let made = world.change(change).unwrap().at;
    let (_, _, value) = world
        .state
        .records()
        .find(|(table, key, _)| *table == Table::Registry && key[..] == [&[17][..], &[1; 32]].concat()[..])
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
