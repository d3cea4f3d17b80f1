//! Duties, positions and what the ledger stores of them: in words, in JSON, and in golden bytes.

mod common;

use common::{
    Signer, at,
    requests::{CHAIN_ID, precommit, prevote, proposal},
};
use parity_scale_codec::{DecodeAll as _, Encode as _};
use serde_json::json;
use signonce_cometbft::{
    BlockId, CONSENSUS, Connection, Duty, ED25519, Height, PROPOSAL, Round, SECP256K1, Step, Timestamp, VOTE,
};
use signonce_core::{Change, State, encode_record};
use signonce_protocol::{Carry, Duty as AnyDuty, Hash, KeyId, Position, PublicKey};

fn duty(step: Step) -> Duty {
    signonce_cometbft::install();
    let block = Some(BlockId { hash: Hash([1; 32]), parts: 3, parts_hash: Hash([2; 32]) });
    Duty { height: Height(9), round: Round(1), step, block, connection: Connection(7) }
}

#[test]
fn a_key_is_of_one_type_with_two_schemes_and_one_mark() {
    signonce_cometbft::install();
    assert_eq!(CONSENSUS.schemes(), [ED25519, SECP256K1]);
    assert_eq!((ED25519.public_len(), SECP256K1.public_len()), (32, 33));
    assert!(CONSENSUS.classes().eq([VOTE, PROPOSAL]) && CONSENSUS.marks().eq([VOTE]));
    assert_eq!((VOTE.code(), PROPOSAL.code(), CONSENSUS.code()), (0x0200, 0x0201, 0x0200));
    assert_eq!((ED25519.code(), SECP256K1.code()), (0x0200, 0x0201));
    // One past the end of a round is the next round's beginning, for floors.
    assert_eq!(at(9, 1, 3).next(), Some(at(9, 2, 0)));
    assert_eq!(Position::parse(VOTE, "9:1:2"), Ok(at(9, 1, 2)));
    assert_eq!(Position::form(VOTE), "HEIGHT:ROUND:STEP");
    for too_high in [[i64::MAX as u64, 0, 0], [1, 1 << 31, 0], [1, 0, 4]] {
        assert_eq!(Position::new(VOTE, &too_high), None, "{too_high:?}");
    }
}

#[test]
fn duties_are_said_in_words_and_in_json() {
    let prevote = AnyDuty::from(duty(Step::Prevote));
    assert_eq!(prevote.to_string(), "prevote at height 9 round 1");
    let json = json!({
        "class": "cometVote", "height": 9, "round": 1, "step": "prevote", "connection": 7,
        "block": { "hash": Hash([1; 32]), "parts": 3, "partsHash": Hash([2; 32]) },
    });
    assert_eq!(serde_json::to_value(&prevote).unwrap(), json);
    assert_eq!(serde_json::from_value::<AnyDuty>(json.clone()).unwrap(), prevote);
    let coordinate = json!({ "class": "cometVote", "height": 9, "round": 1, "step": "prevote" });
    assert_eq!(serde_json::to_value(prevote.coordinate()).unwrap(), coordinate);
    assert_eq!(serde_json::from_value::<AnyDuty>(coordinate).unwrap(), prevote.coordinate());
    assert_eq!(prevote.numbers(), [("height", 9), ("round", 1), ("step", 2)]);
    for (name, value) in [
        ("class", json!("cometProposal")),
        ("step", json!("proposal")),
        ("step", json!(2)),
        ("height", json!(0)),
        ("height", json!(u64::MAX)),
        ("round", json!(1_u64 << 31)),
        ("block", json!({ "hash": Hash([1; 32]) })),
        ("more", json!(1)),
    ] {
        let mut changed = json.clone();
        changed[name] = value;
        assert!(serde_json::from_value::<AnyDuty>(changed.clone()).is_err(), "{changed}");
    }
}

#[test]
fn a_schema_has_the_fields_of_the_json() {
    signonce_cometbft::install();
    for class in [VOTE, PROPOSAL] {
        let schema = class.claim().unwrap().words.schema();
        assert_eq!(schema["properties"]["class"]["const"], class.name());
        let required: Vec<_> = schema["required"].as_array().unwrap().iter().collect();
        assert_eq!(required, ["height", "round", "step", "class"]);
        for field in ["block", "connection"] {
            assert!(schema["properties"][field].is_object(), "{schema}");
        }
    }
}

#[test]
fn duties_of_another_form_are_not_read() {
    for step in [Step::Proposal, Step::Prevote, Step::Precommit] {
        let any = AnyDuty::from(duty(step));
        assert_eq!(Duty::of(&any), Some(duty(step)));
        assert_eq!(AnyDuty::decode_all(&mut &any.encode()[..]).unwrap(), any);
        let other = if step == Step::Proposal { VOTE } else { PROPOSAL };
        let facts = any.facts().to_vec();
        let moved = |class, parts: &[u64]| Position::new(class, parts).unwrap();
        for wrong in [
            AnyDuty::new(moved(other, any.position().parts()), Vec::new(), facts.clone()),
            AnyDuty::new(moved(any.class(), &[0, 1, step as u64]), Vec::new(), facts.clone()),
            AnyDuty::new(moved(any.class(), &[9, 1, 0]), Vec::new(), facts.clone()),
            AnyDuty::new(any.position(), vec![1], facts.clone()),
            AnyDuty::new(any.position(), Vec::new(), facts[1..].to_vec()),
            AnyDuty::new(any.position(), Vec::new(), Vec::new()),
        ] {
            assert_eq!(Duty::of(&wrong), None, "{wrong:?}");
            assert!(wrong.to_string().contains("cannot be read"), "{wrong}");
        }
    }
}

#[test]
fn a_timestamp_is_of_the_years_1_to_9999_and_carried_in_12_bytes() {
    let time = Timestamp::new(-1, 999_999_999).unwrap();
    let carry = time.to_carry();
    assert_eq!(carry.as_bytes(), [[0xff; 8].as_slice(), &999_999_999_u32.to_le_bytes()].concat());
    assert_eq!(Timestamp::of_carry(&carry), Some(time));
    assert_eq!((time.seconds(), time.nanos()), (-1, 999_999_999));
    let years = [-62_135_596_800, 253_402_300_799];
    assert!(years.into_iter().all(|second| Timestamp::new(second, 0).is_some()));
    assert!([years[0] - 1, years[1] + 1].into_iter().all(|second| Timestamp::new(second, 0).is_none()));
    for wrong in [&[][..], &[0; 11], &[0; 13], &[[0; 8].as_slice(), &[0xff; 4]].concat(), &[0x7f; 12]] {
        assert_eq!(Timestamp::of_carry(&Carry::new(wrong.to_vec())), None, "{wrong:?}");
    }
}

/// The rows of one key: its floor, what it signed last and its lock. These bytes are stored, and must never change.
#[test]
fn what_the_ledger_stores_has_the_bytes_it_always_had() {
    let mut signer = Signer::armed_at(CHAIN_ID, ED25519, &[3; 32], at(5, 0, 0));
    assert!(signer.ask(1, &precommit(5, 0, 1).on(10)).is_signed());
    assert!(signer.ask(2, &precommit(5, 0, 1).on(20)).is_signed());
    let rows: Vec<_> = signer.ledger().into_iter().map(|(key, value)| (key, hex::encode(value))).collect();
    let prefix = (signer.key, VOTE).encode();
    let [floor, last, lock] = &rows[..] else { panic!("{rows:?}") };
    for (row, number) in [(floor, 0), (last, 1), (lock, 2)] {
        assert_eq!(row.0, [&prefix[..], &[number]].concat());
    }
    let block = format!("{}01000000{}", "01".repeat(32), "01".repeat(32));
    let position = "0200050000000000000000000000000000000300000000000000";
    assert_eq!(inside(&floor.1), position);
    let digest = hex::encode(precommit(5, 0, 1).on(10).digest().0);
    let facts = format!("01{block}0a00000000000000");
    let time = "00f1536500000000".to_owned() + "00000000";
    let entry = format!("{digest}040000000000000000{}{}30{time}", "68e5cf8b010000", "01000000");
    assert_eq!(inside(&last.1), format!("{position}00{}{facts}{entry}", "3501"));
    let entitled = "08010000000a00000000000000020000001400000000000000";
    assert_eq!(inside(&lock.1), format!("050000000000000000000000{block}{entitled}"));
}

/// A record's body: without version in front and checksum behind.
fn inside(record: &str) -> &str {
    &record[2..record.len() - 8]
}

#[test]
fn rows_that_no_mark_wrote_are_refused() {
    let mut signer = Signer::armed_at(CHAIN_ID, ED25519, &[3; 32], at(5, 0, 0));
    for asked in [prevote(5, 0, 1), precommit(5, 0, 1), proposal(5, 1, 2)] {
        assert!(signer.ask(1, &asked.on(10)).is_signed());
    }
    let prefix = (signer.key, VOTE).encode();
    let refused = |row: u8, value: Vec<u8>| {
        let own = [&prefix[..], &[row]].concat();
        let records = signer.state.records().map(|(table, key, old)| {
            let value = if key == own { value.clone() } else { old };
            (table, key, value)
        });
        State::from_records(records, signer.state.hash()).unwrap_err().to_string()
    };
    let floor = |parts: [u64; 3]| encode_record(1, &Position::new(VOTE, &parts).unwrap());
    // The floor is where the last signature is, and the lock below it, at the same height.
    for parts in [[5, 1, 2], [5, 0, 3], [6, 1, 1], [5, 0, 2]] {
        assert!(refused(0, floor(parts)).contains("do not go together"), "{parts:?}");
    }
    let block = BlockId { hash: Hash([1; 32]), parts: 1, parts_hash: Hash([1; 32]) };
    let lock = |height: u64, round: u32, entitled: Vec<(u32, u64)>| {
        encode_record(1, &(Height(height), Round(round), block, entitled))
    };
    for lock in [
        lock(4, 0, vec![]),
        lock(5, 1, vec![]),
        lock(5, 0, vec![(1, 0)]),
        lock(5, 0, vec![(1, 7), (2, 7), (1, 7)]),
        lock(5, 0, (1..=17).map(|connection| (1, connection)).collect()),
    ] {
        assert!(refused(2, lock).contains("do not go together"));
    }
    assert!(refused(2, encode_record(1, &7_u8)).contains("lock does not read"));
    assert!(refused(1, encode_record(1, &7_u8)).contains("last signature does not read"));
}

#[test]
fn an_armed_key_that_has_signed_nothing_signs_at_its_floor() {
    let floor = at(5, 2, 2);
    let mut signer = Signer::armed_at(CHAIN_ID, ED25519, &[3; 32], floor);
    for asked in [prevote(4, 9, 1), precommit(5, 1, 1), proposal(5, 2, 1)] {
        assert!(!signer.ask(1, &asked.on(1)).is_signed(), "{asked:?}");
    }
    assert!(signer.ask(1, &prevote(5, 2, 1).on(1)).is_signed());
    let view = &signer.state.watermarks(&signer.key)[0];
    assert_eq!((view.floor, view.highest, view.entries), (floor, Some(floor), 1));
    let signed = signer.state.signed_duties(&signer.key, VOTE).unwrap();
    assert_eq!(signed[0].duty.to_string(), "prevote at height 5 round 2");
    // A floor goes up, never down, and forgets what is below it.
    let key = signer.key;
    signer.change(Change::RaiseWatermark { key, floors: floor.into() });
    assert_eq!(signer.state.watermarks(&key)[0].entries, 1, "where it is already");
    signer.change(Change::RaiseWatermark { key, floors: at(5, 2, 3).into() });
    signer.restart();
    assert!(!signer.ask(1, &prevote(5, 2, 1).on(1)).is_signed());
    let view = &signer.state.watermarks(&key)[0];
    assert_eq!((view.floor, view.highest, view.entries), (at(5, 2, 3), None, 0));
}

#[test]
fn a_consensus_key_is_named_by_type_and_public_key() {
    signonce_cometbft::install();
    let public = PublicKey::try_from(&[2; 33][..]).unwrap();
    let key = KeyId { key_type: CONSENSUS, public };
    assert_eq!(key.to_string(), format!("comet:0x{}", "02".repeat(33)));
}
