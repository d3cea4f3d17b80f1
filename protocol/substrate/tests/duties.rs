//! Duties: typed and general ones are the same, their JSON is what it was, and facts that do not read print as what they
//! are.

use parity_scale_codec::{DecodeAll as _, Encode as _};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};
use signonce_protocol::{DutyClass, Hash, Position, Slot};
use signonce_substrate::*;

type AnyDuty = signonce_protocol::Duty;

fn stage() -> impl Strategy<Value = GrandpaStage> {
    prop::sample::select(&[GrandpaStage::Prevote, GrandpaStage::Precommit, GrandpaStage::PrimaryPropose][..])
}

fn candidates() -> impl Strategy<Value = Vec<CandidateHash>> {
    vec(any::<[u8; 32]>().prop_map(CandidateHash), 1..=16)
}

/// Every variant, with what a payload can say.
fn duty() -> impl Strategy<Value = Duty> {
    signonce_substrate::install();
    let collation = option::of((any::<u64>(), any::<[u8; 32]>()));
    let statement = prop::sample::select(&[StatementKind::Seconded, StatementKind::Valid][..]);
    let side = prop::sample::select(&[Side::Valid, Side::Invalid][..]);
    prop_oneof![
        any::<u64>().prop_map(|slot| Duty::BabeBlock { slot: Slot(slot) }),
        (any::<u64>(), collation).prop_map(|(slot, collation)| Duty::AuraBlock {
            slot: Slot(slot),
            collation: collation.map(|(number, parent)| (BlockNumber(number), Hash(parent))),
        }),
        (any::<[u64; 3]>(), stage()).prop_map(|([set, round, target], stage)| Duty::GrandpaVote {
            set_id: SetId(set),
            round: Round(round),
            stage,
            target: BlockNumber(target),
        }),
        any::<[u64; 2]>()
            .prop_map(|[set, block]| Duty::BeefyVote { set_id: SetId(set), block: BlockNumber(block) }),
        (any::<u32>(), candidates(), side).prop_map(|(session, candidates, side)| Duty::ParaSide {
            session: SessionIndex(session),
            candidates,
            side,
            statement: None,
        }),
        (any::<u32>(), any::<[u8; 32]>(), statement).prop_map(|(session, candidate, statement)| {
            Duty::ParaSide {
                session: SessionIndex(session),
                candidates: vec![CandidateHash(candidate)],
                side: Side::Valid,
                statement: Some(statement),
            }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn typed_and_general_duties_are_the_same(duty in duty(), other in duty()) {
        let general = duty.to_any();
        prop_assert_eq!(Duty::of(&general), Some(duty.clone()));
        prop_assert_eq!(general.class(), duty.class());
        prop_assert_eq!(general.to_string(), duty.to_string());
        prop_assert_eq!(AnyDuty::decode_all(&mut &general.encode()[..]), Ok(general.clone()));
        prop_assert_eq!(general == other.to_any(), duty == other, "and no two are one");
        prop_assert!(general.within().len() <= signonce_protocol::MAX_DUTY_BYTES);
    }

    #[test]
    fn their_json_is_one(duty in duty()) {
        let general = duty.to_any();
        let json = serde_json::to_value(&duty).unwrap();
        prop_assert_eq!(serde_json::to_value(&general).unwrap(), json.clone());
        prop_assert_eq!(serde_json::from_value::<AnyDuty>(json).unwrap(), general);
    }

    #[test]
    fn a_coordinate_is_without_what_is_said_and_nothing_else(duty in duty(), other in duty()) {
        let (a, b) = (duty.to_any(), other.to_any());
        prop_assert_eq!(a.coordinate().coordinate(), a.coordinate());
        prop_assert_eq!(a.coordinate().position(), a.position());
        let coordinate = a.coordinate();
        prop_assert_eq!(coordinate.within(), a.within());
        let same = (a.position(), a.within()) == (b.position(), b.within());
        prop_assert_eq!(a.coordinate() == b.coordinate(), same);
        // What is shown again of it is a duty of the same place.
        prop_assert_eq!(a.short().position(), a.position());
        prop_assert!(Duty::of(&a.short()).is_some());
    }

    #[test]
    fn facts_that_do_not_read_print_and_do_not_panic(
        duty in duty(), within in option::of(vec(any::<u8>(), 0..80)), facts in option::of(vec(any::<u8>(), 0..12)),
    ) {
        let sound = duty.to_any();
        let within = within.unwrap_or_else(|| sound.within().to_vec());
        let broken = AnyDuty::new(sound.position(), within, facts.unwrap_or_else(|| sound.facts().to_vec()));
        prop_assert_eq!(AnyDuty::decode_all(&mut &broken.encode()[..]), Ok(broken.clone()));
        let (text, json) = (broken.to_string(), serde_json::to_value(&broken).unwrap());
        let debug = format!("{broken:?}");
        prop_assert!(!text.is_empty() && !debug.is_empty());
        prop_assert_eq!(&json["class"], broken.class().name());
        let (coordinate, short) = (broken.coordinate(), broken.short());
        prop_assert_eq!(coordinate.position(), broken.position());
        match Duty::of(&broken) {
            // There is one encoding of a duty.
            Some(typed) => prop_assert_eq!(typed.to_any(), broken),
            None => {
                prop_assert!(text.contains("with facts that cannot be read"), "{}", text);
                prop_assert_eq!((coordinate, short), (broken.clone(), broken));
            }
        }
    }
}

#[test]
fn duties_have_the_json_they_always_had() {
    signonce_substrate::install();
    let (slot, hash, set_id) = (Slot(5), Hash([7; 32]), SetId(3));
    let session = SessionIndex(9);
    let [one, two] = [CandidateHash([1; 32]), CandidateHash([2; 32])];
    let table = [
        (Duty::BabeBlock { slot }, json!({ "class": "babeBlock", "slot": 5 })),
        (Duty::AuraBlock { slot, collation: None }, json!({ "class": "auraBlock", "slot": 5 })),
        (
            Duty::AuraBlock { slot, collation: Some((BlockNumber(6), hash)) },
            json!({ "class": "auraBlock", "slot": 5, "collation": [6, hash] }),
        ),
        (
            Duty::GrandpaVote {
                set_id,
                round: Round(4),
                stage: GrandpaStage::PrimaryPropose,
                target: BlockNumber(8),
            },
            json!({ "class": "grandpaVote", "setId": 3, "round": 4, "stage": "primaryPropose", "target": 8 }),
        ),
        (
            Duty::BeefyVote { set_id, block: BlockNumber(8) },
            json!({ "class": "beefyVote", "setId": 3, "block": 8 }),
        ),
        (
            Duty::ParaSide { session, candidates: vec![one, two], side: Side::Invalid, statement: None },
            json!({ "class": "paraSide", "session": 9, "candidates": [one, two], "side": "invalid" }),
        ),
        // Of a backer's statement its kind is told since 0.2.
        (
            Duty::ParaSide {
                session,
                candidates: vec![one],
                side: Side::Valid,
                statement: Some(StatementKind::Seconded),
            },
            json!({
                "class": "paraSide", "session": 9, "candidates": [one], "side": "valid", "statement": "seconded"
            }),
        ),
    ];
    for (duty, json) in table {
        assert_eq!(serde_json::to_value(duty.to_any()).unwrap(), json);
        assert_eq!(serde_json::from_value::<AnyDuty>(json).unwrap(), duty.to_any());
    }
}

#[test]
fn json_that_is_no_duty_is_refused() {
    signonce_substrate::install();
    for json in [
        json!({}),
        json!({ "slot": 5 }),
        json!({ "class": "babeBlock" }),
        json!({ "class": "babeBlock", "slot": -1 }),
        json!({ "class": "auraBlocks", "slot": 5 }),
        json!({ "class": "bitfield" }),
        json!({ "class": "paraSide", "session": 4_294_967_296_u64, "candidates": [], "side": "valid" }),
        json!({ "class": "grandpaVote", "setId": 3, "round": 4, "stage": "commit", "target": 8 }),
        Value::Null,
    ] {
        assert!(serde_json::from_value::<AnyDuty>(json.clone()).is_err(), "{json}");
    }
}

#[test]
fn the_schema_of_a_duty_has_its_fields() {
    signonce_substrate::install();
    for (class, required) in [
        (BABE_BLOCK, &["class", "slot"][..]),
        (AURA_BLOCK, &["class", "slot"]),
        (GRANDPA_VOTE, &["class", "setId", "round", "stage", "target"]),
        (BEEFY_VOTE, &["class", "setId", "block"]),
        (PARA_SIDE, &["class", "session", "candidates", "side"]),
    ] {
        let schema = class.claim().unwrap().words.schema();
        assert_eq!(schema["properties"]["class"]["const"], class.name());
        assert_eq!(schema["required"], json!(required), "{class}");
        assert!(!schema.to_string().contains("$ref"), "it stands for itself");
    }
}

#[test]
fn a_side_is_shortened_to_one_candidate() {
    let candidates = vec![CandidateHash([1; 32]), CandidateHash([2; 32])];
    let (session, side) = (SessionIndex(1), Side::Valid);
    signonce_substrate::install();
    let duty = Duty::ParaSide { session, candidates, side, statement: None };
    let short = Duty::ParaSide { session, candidates: vec![CandidateHash([1; 32])], side, statement: None };
    assert_eq!(duty.to_any().short(), short.to_any());
}

#[test]
fn the_numbers_of_the_family_are_what_they_were() {
    signonce_substrate::install();
    let codes = |all: Vec<(u16, &'static str)>| {
        for (row, (code, name)) in all.iter().enumerate() {
            assert_eq!(*code, 0x0100 + u16::try_from(row).unwrap(), "{name}");
        }
        all.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    let classes = DutyClass::all().map(|class| (class.code(), class.name())).collect();
    assert_eq!(
        codes(classes),
        [
            "babeBlock",
            "auraBlock",
            "grandpaVote",
            "beefyVote",
            "paraSide",
            "babeVrf",
            "bitfield",
            "pvfCheck",
            "authorityRecord",
            "heartbeat",
            "ownershipProof"
        ]
    );
    let key_types = signonce_protocol::KeyType::all().map(|of| (of.code(), of.name())).collect();
    assert_eq!(codes(key_types), ["babe", "aura", "gran", "beef", "para", "audi", "imon"]);
    let schemes = signonce_protocol::Scheme::all().map(|of| (of.code(), of.name())).collect();
    assert_eq!(codes(schemes), ["sr25519", "ed25519", "ecdsa"]);
    assert_eq!(GRANDPA_VOTE.code(), 0x0102);
    let kinds = signonce_protocol::PayloadKind::all().map(|of| (of.code(), of.name())).collect();
    assert_eq!(codes(kinds), Kind::ALL.map(Kind::name));
    // A position begins with the class, then its numbers.
    let position = Position::new(GRANDPA_VOTE, &[5, 7]).unwrap();
    assert_eq!(
        position.encode(),
        [&[1, 2][..], &[5, 0, 0, 0, 0, 0, 0, 0], &[7, 0, 0, 0, 0, 0, 0, 0]].concat()
    );
}
