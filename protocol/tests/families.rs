//! Families: how they are installed, what their tables must be like, and what is read and written by them.

mod made_up;

use made_up::{HEADER, LEFT, NOTE, PROPOSAL, RIGHT, TICK, TIMED, VOTE, at, chain, duty};
use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use proptest::prelude::*;
use signonce_protocol::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// This program's families.
fn install() {
    static BOTH: [&Family; 2] = [&signonce_substrate::FAMILY, &made_up::FAMILY];
    signonce_protocol::install(&BOTH);
}

/// A family that differs from the made-up one as a test says.
fn like_made_up(change: impl FnOnce(&mut Family)) -> &'static Family {
    let Family { id, name, level, schemes, key_types, classes, kinds, methods, settings } = made_up::FAMILY;
    let mut family = Family { id, name, level, schemes, key_types, classes, kinds, methods, settings };
    change(&mut family);
    Box::leak(Box::new(family))
}

/// What installing these says.
fn refused(families: &[&'static Family]) -> String {
    let families: &'static [&'static Family] = Box::leak(families.to_vec().into());
    let panic = catch_unwind(AssertUnwindSafe(|| signonce_protocol::install(families)));
    let panic = panic.expect_err("they are not sound");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().expect("a panic has a text")).to_owned(),
    }
}

#[test]
fn families_that_share_a_number_or_a_name_are_refused() {
    install();
    install();
    let text = refused(&[&made_up::FAMILY, like_made_up(|family| family.name = "another")]);
    assert!(text.contains("two families 200"), "{text}");
    let free = |family: &mut Family| {
        (family.schemes, family.key_types, family.classes, family.kinds) = (&[], &[], &[], &[]);
    };
    let twin = like_made_up(|family| {
        family.id = FamilyId(201);
        free(family);
    });
    let text = refused(&[&made_up::FAMILY, twin]);
    assert!(text.contains("two families \"madeUp\""), "{text}");
    let renumbered = like_made_up(|family| (family.id, family.name) = (FamilyId(201), "another"));
    let text = refused(&[&made_up::FAMILY, renumbered]);
    assert!(text.contains("not its row's"), "{text}");
    // Some of those that this process has may be named again; one that it has not may not, however sound.
    static ONE_OF_THEM: [&Family; 1] = [&made_up::FAMILY];
    signonce_protocol::install(&ONE_OF_THEM);
    let stranger = like_made_up(|family| {
        (family.id, family.name) = (FamilyId(201), "another");
        free(family);
    });
    let text = refused(&[stranger]);
    assert!(text.contains("other families were installed before"), "{text}");
    assert!(
        DutyClass::all().eq([&signonce_substrate::FAMILY, &made_up::FAMILY]
            .into_iter()
            .flat_map(|family| family.classes.iter().map(|spec| spec.id)))
    );
}

#[test]
fn names_are_unique_across_families() {
    install();
    static SCHEMES: [SchemeSpec; 1] = [SchemeSpec {
        id: Scheme::new(FamilyId(201), 0),
        name: "ed25519",
        about: "",
        algorithm: Algorithm::Ed25519,
        show: None,
    }];
    let other = like_made_up(|family| {
        (family.id, family.name, family.schemes) = (FamilyId(201), "another", &SCHEMES);
        (family.key_types, family.classes, family.kinds) = (&[], &[], &[]);
    });
    let text = refused(&[&signonce_substrate::FAMILY, other]);
    assert!(text.contains("two schemes \"ed25519\""), "{text}");
}

#[test]
fn something_older_than_its_family_or_of_another_one_is_refused() {
    install();
    let text = refused(&[like_made_up(|family| family.level = made_up::LEVEL + 1)]);
    assert!(text.contains("older than the family"), "{text}");
    let text = refused(&[like_made_up(|family| family.schemes = &[])]);
    assert!(text.contains("names a scheme 0xc800 that it does not have"), "{text}");
    let text = refused(&[like_made_up(|family| family.key_types = &family.key_types[..2])]);
    assert!(text.contains("names a key type 0xc802"), "{text}");
    let text = refused(&[like_made_up(|family| family.classes = &family.classes[..1])]);
    assert!(text.contains("names a class 0xc804"), "{text}");
}

/// A family of one class, or of two.
fn of_classes(classes: Vec<ClassSpec>) -> &'static Family {
    like_made_up(|family| (family.classes, family.kinds) = (Vec::leak(classes), &[]))
}

fn spec(class: DutyClass, change: impl FnOnce(&mut ClassSpec, &mut ClaimSpec)) -> ClassSpec {
    install();
    let made = class.spec();
    let ClassSpec { id, name, about, level, key_types, .. } = *made;
    let ClaimSpec { parts, prefix, mark, slots, ref rule, by_everyone, words, refusals, alone } =
        *made.claim.as_ref().unwrap();
    let rule = match rule {
        Rule::Window(WindowRule { keep, per_step, jumps, fits, shield }) => {
            Rule::Window(WindowRule { keep: *keep, per_step: *per_step, jumps, fits: *fits, shield: *shield })
        }
        Rule::Own(start) => Rule::Own(*start),
    };
    let mut claim = ClaimSpec { parts, prefix, mark, slots, rule, by_everyone, words, refusals, alone };
    let mut spec = ClassSpec { id, name, about, level, key_types, claim: None };
    change(&mut spec, &mut claim);
    ClassSpec { claim: Some(claim), ..spec }
}

#[test]
fn classes_that_cannot_work_are_refused() {
    install();
    let first =
        |change: fn(&mut ClaimSpec)| refused(&[of_classes(vec![spec(PROPOSAL, |_, claim| change(claim))])]);
    let text = first(|claim| claim.parts = &[]);
    assert!(text.contains("no position"), "{text}");
    let window = |claim: &mut ClaimSpec, change: fn(&mut WindowRule)| match &mut claim.rule {
        Rule::Window(rule) => change(rule),
        Rule::Own(_) => panic!("it has a window"),
    };
    let kept = spec(PROPOSAL, |_, claim| window(claim, |rule| rule.keep = 0));
    let text = refused(&[of_classes(vec![kept])]);
    assert!(text.contains("keeps nothing"), "{text}");
    let jumps = |rule: &mut WindowRule| rule.jumps = &[Jump { part: 3, limit: |_| 1, restarts: false }];
    let text = refused(&[of_classes(vec![spec(PROPOSAL, |_, claim| window(claim, jumps))])]);
    assert!(text.contains("limits a number"), "{text}");
    // A bound is found number by number.
    let jumps = |rule: &mut WindowRule| {
        const FIRST: Jump = Jump { part: 0, limit: |_| 1, restarts: false };
        rule.jumps = &[Jump { part: 1, ..FIRST }, FIRST];
    };
    let text = refused(&[of_classes(vec![spec(PROPOSAL, |_, claim| window(claim, jumps))])]);
    assert!(text.contains("before one that it depends on"), "{text}");
    let own = |claim: &mut ClaimSpec| {
        claim.rule = Rule::Own(|_| unreachable!("it is never installed"));
        claim.slots = Some(SlotRule { may_be_retimed: false });
    };
    let text = first(own);
    assert!(text.contains("a watermark of its own"), "{text}");
}

#[test]
fn a_class_shares_a_watermark_only_where_positions_compare_and_keys_are_the_same() {
    let beside = |change: fn(&mut ClassSpec, &mut ClaimSpec)| {
        refused(&[of_classes(vec![spec(PROPOSAL, |_, _| ()), spec(VOTE, change)])])
    };
    let refusals = [
        beside(|_, claim| claim.parts = &claim.parts[..2]),
        beside(|_, claim| claim.slots = Some(SlotRule { may_be_retimed: false })),
        beside(|_, claim| claim.rule = Rule::Own(|_| unreachable!("it is never installed"))),
        beside(|class, _| class.key_types = &[made_up::VOTER, made_up::TWIN]),
    ];
    for text in refusals {
        assert!(text.contains("madeVote cannot share the watermark of madeProposal"), "{text}");
    }
    // Nor one that the other class shares itself, nor that of free work.
    let circle = [spec(PROPOSAL, |_, claim| claim.mark = VOTE), spec(VOTE, |_, _| ())];
    assert!(refused(&[of_classes(circle.into())]).contains("cannot share"));
    let free = ClassSpec { claim: None, ..spec(PROPOSAL, |_, _| ()) };
    assert!(refused(&[of_classes(vec![free, spec(VOTE, |_, _| ())])]).contains("of free work"));
}

#[test]
fn what_is_of_no_installed_family_cannot_be_read() {
    fn unknown<T: Decode + std::fmt::Debug>(code: u16) {
        let error = T::decode_all(&mut &code.to_be_bytes()[..]).expect_err("no such row");
        assert!(error.to_string().contains("of no family that this program knows"), "{error}");
    }
    install();
    for code in [0x0000, 0x00ff, 0x0200, 0xc7ff, 0xc900, 0xffff, 0x01ff, 0xc8ff] {
        unknown::<KeyType>(code);
        unknown::<DutyClass>(code);
        unknown::<Scheme>(code);
        unknown::<PayloadKind>(code);
        for next in [0x0100, code] {
            let mut bytes = code.to_be_bytes().to_vec();
            bytes.extend_from_slice(&u16::to_be_bytes(next));
            bytes.extend([0; 64]);
            assert!(KeyId::decode(&mut &bytes[..]).is_err());
            assert!(Position::decode(&mut &bytes[..]).is_err());
            assert!(Duty::decode(&mut &bytes[..]).is_err());
        }
    }
    for text in ["", "madeNothing", "MADEVOTE", "madeVote "] {
        assert!(text.parse::<DutyClass>().unwrap_err().contains("one of babeBlock"), "{text}");
        assert!(text.parse::<KeyType>().is_err() && text.parse::<Scheme>().is_err());
        assert!(text.parse::<PayloadKind>().is_err());
    }
    let known = chain(ChainId([1; 32]), "made");
    let mut bytes = known.encode();
    assert_eq!(Chain::decode_all(&mut &bytes[..]).unwrap(), known);
    let at = 32 + 1 + "made".len();
    assert_eq!(bytes[at], 200);
    bytes[at] = 201;
    let error = Chain::decode_all(&mut &bytes[..]).unwrap_err();
    assert!(error.to_string().contains("no family that this program knows"), "{error}");
    let shown =
        serde_json::json!({ "genesis": known.genesis, "name": "made", "family": "nobody", "slotMs": 1 });
    let error = serde_json::from_value::<Chain>(shown).unwrap_err();
    assert!(
        error.to_string().contains("unknown chain family \"nobody\"; one of substrate, madeUp"),
        "{error}"
    );
}

#[test]
fn numbers_and_names_of_every_row_are_read_back() {
    fn whole<T>(all: impl Iterator<Item = T>)
    where
        T: Encode + Decode + Copy + PartialEq + std::fmt::Debug + std::fmt::Display,
        T: std::str::FromStr<Err = String> + serde::Serialize + serde::de::DeserializeOwned,
    {
        for one in all {
            assert_eq!(T::decode_all(&mut &one.encode()[..]).unwrap(), one);
            assert_eq!(one.to_string().parse(), Ok(one));
            let json = serde_json::to_value(one).unwrap();
            assert_eq!(json, one.to_string());
            assert_eq!(serde_json::from_value::<T>(json).unwrap(), one);
        }
    }
    install();
    whole(KeyType::all());
    whole(DutyClass::all());
    whole(Scheme::all());
    whole(PayloadKind::all());
    let numbers: Vec<_> = DutyClass::all().map(DutyClass::code).collect();
    assert!(numbers.is_sorted(), "records are in the order of the families");
}

#[test]
fn a_payload_of_another_family_than_the_chains_is_refused() {
    install();
    let raw = RawPayload::new(signonce_substrate::Kind::OwnershipProof.into(), b"POP_me".to_vec());
    let error = raw.decode(&chain(ChainId([1; 32]), "made")).unwrap_err();
    assert_eq!(error.0, "a ownershipProof is not of chain made: that is a madeUp chain");
    let long = RawPayload::new(TIMED, vec![0; 25]);
    let error = long.decode(&chain(ChainId([1; 32]), "made")).unwrap_err();
    assert_eq!(error.0, "madeTimed: 25 bytes, at most 24 are read");
}

fn class() -> impl Strategy<Value = DutyClass> {
    install();
    let claimed: Vec<_> = DutyClass::all().filter(|class| class.is_claimed()).collect();
    prop::sample::select(claimed)
}

/// Mostly at the edges of what each number can be.
fn position() -> impl Strategy<Value = Position> {
    (class(), any::<[u64; MAX_PARTS]>(), any::<[u8; MAX_PARTS]>()).prop_map(|(class, any, edge)| {
        let parts: Vec<_> = class.claim().unwrap().parts.iter().zip(any).zip(edge).map(numbers).collect();
        Position::new(class, &parts).unwrap()
    })
}

fn numbers(((part, any), edge): ((&Part, u64), u8)) -> u64 {
    match edge % 4 {
        0 => part.max,
        1 => part.max - u64::from(edge / 4).min(part.max),
        2 => u64::from(edge / 4).min(part.max),
        _ => part.max.checked_add(1).map_or(any, |end| any % end),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn positions_are_read_back(position in position()) {
        let class = position.class();
        prop_assert_eq!(Position::new(class, position.parts()), Some(position));
        prop_assert_eq!(Position::decode_all(&mut &position.encode()[..]), Ok(position));
        let text = position.parts().iter().map(u64::to_string).collect::<Vec<_>>().join(":");
        prop_assert_eq!(Position::parse(class, &text), Ok(position));
        prop_assert_eq!(Position::read(class, &position.show()), Ok(position));
        let json = serde_json::to_value(position).unwrap();
        prop_assert_eq!(&json["class"], class.name());
        prop_assert_eq!(serde_json::from_value::<Position>(json).unwrap(), position);
        let printed = position.to_string();
        for (part, number) in position.named() {
            prop_assert!(printed.contains(&format!("{} {number}", part.word)), "{}", printed);
        }
    }

    #[test]
    fn the_next_position_is_the_lowest_above(a in position(), b in position()) {
        match a.next() {
            Some(next) => {
                prop_assert_eq!(a.is_below(next), Some(true));
                prop_assert_eq!(next.is_below(a), Some(false));
                // Nothing lies between.
                if a.class().mark() == b.class().mark() {
                    prop_assert!(a.is_below(b) == Some(false) || next.is_below(b) == Some(true) || next.order() == b.order());
                }
            }
            None => prop_assert!(a.named().all(|(part, number)| number == part.max)),
        }
        let zero = Position::zero(a.class()).unwrap();
        prop_assert_eq!(a.is_below(zero), Some(false));
    }

    #[test]
    fn positions_of_two_watermarks_do_not_compare(a in position(), b in position()) {
        let compare = a.class().mark() == b.class().mark();
        prop_assert_eq!(a.is_below(b), compare.then(|| a.order() < b.order()));
        prop_assert_eq!(a.is_below(a), Some(false));
    }
}

#[test]
fn what_is_no_position_of_its_class_is_refused() {
    install();
    for (class, parts) in [
        (PROPOSAL, &[1, 10, 0][..]),
        (PROPOSAL, &[1, 1, 2]),
        (PROPOSAL, &[1, 1]),
        (PROPOSAL, &[1, 1, 1, 0]),
        (LEFT, &[1_000_001]),
        (LEFT, &[]),
        (NOTE, &[]),
        (NOTE, &[1]),
    ] {
        assert_eq!(Position::new(class, parts), None, "{class} {parts:?}");
        let text = parts.iter().map(u64::to_string).collect::<Vec<_>>().join(":");
        assert!(Position::parse(class, &text).is_err(), "{class} {text:?}");
    }
    for text in
        ["", ":", "1:2:3", " 1:1:1", "1:1:1 ", "+1:1:1:", "a:1:1", "-1:1:1", "18446744073709551616:1:1"]
    {
        assert!(Position::parse(PROPOSAL, text).is_err(), "{text:?}");
    }
    let too_high = (PROPOSAL, 1_u64, 10_u64, 0_u64).encode();
    assert!(Position::decode_all(&mut &too_high[..]).is_err());
    for shown in [
        serde_json::json!({ "class": "madeLeft" }),
        serde_json::json!({ "class": "madeLeft", "count": -1 }),
        serde_json::json!({ "class": "madeLeft", "count": "1" }),
        serde_json::json!({ "class": "madeLeft", "count": 1, "slot": 1 }),
        serde_json::json!({ "class": "madeLeft", "slot": 1 }),
        serde_json::json!({ "class": "madeNote" }),
        serde_json::json!({ "count": 1 }),
    ] {
        assert!(serde_json::from_value::<Position>(shown.clone()).is_err(), "{shown}");
    }
}

#[test]
fn a_slot_is_the_first_number_of_a_class_with_slots() {
    install();
    assert_eq!(at(TICK, &[7, 3]).slot(), Some(Slot(7)));
    assert_eq!(at(TICK, &[7, 3]).with_slot(Slot(9)), at(TICK, &[9, 3]));
    assert_eq!(at(LEFT, &[7]).slot(), None);
    assert_eq!(at(RIGHT, &[1_000_000]).next(), None);
    assert_eq!(at(PROPOSAL, &[1, 9, 1]).next(), Some(at(PROPOSAL, &[2, 0, 0])));
    assert_eq!(at(PROPOSAL, &[1, 2, 0]).is_below(at(VOTE, &[1, 2, 1])), Some(true));
    assert_eq!(at(PROPOSAL, &[1, 2, 0]).is_below(at(LEFT, &[9])), None);
}

#[test]
fn duties_of_any_family_are_bounded_and_read_back() {
    install();
    for made in [duty(VOTE, &[1, 2, 1]), Duty::new(at(LEFT, &[4]), b"left".to_vec(), Vec::new())] {
        assert_eq!(Duty::decode_all(&mut &made.encode()[..]), Ok(made.clone()));
        let json = serde_json::to_value(&made).unwrap();
        assert_eq!(serde_json::from_value::<Duty>(json).unwrap(), made);
    }
    for (within, facts) in [(MAX_DUTY_BYTES + 1, 0), (0, MAX_DUTY_BYTES + 1)] {
        let long = Duty::new(at(LEFT, &[4]), vec![0; within], vec![0; facts]);
        assert!(Duty::decode_all(&mut &long.encode()[..]).is_err());
    }
    assert!(Duty::decode_all(&mut &(NOTE, (), Vec::<u8>::new(), Vec::<u8>::new()).encode()[..]).is_err());
    assert!(serde_json::from_value::<Duty>(serde_json::json!({ "class": "madeNote" })).is_err());
}

fn timed(height: u64, time: u64, value: u64) -> RawPayload {
    RawPayload::new(TIMED, [height, time, value].map(u64::to_le_bytes).concat())
}

fn read(raw: &RawPayload) -> Payload {
    install();
    raw.decode(&chain(ChainId([1; 32]), "made")).expect("it is sound")
}

#[test]
fn a_payload_with_a_carry_is_signed_as_it_was_the_first_time() {
    let (first, again, other) = (read(&timed(5, 100, 7)), read(&timed(5, 200, 7)), read(&timed(5, 100, 8)));
    assert_eq!(first.digest(), again.digest(), "the time is no part of the statement");
    assert_eq!(timed(5, 200, 7).digest(), again.digest(), "and the unread payload says the same");
    assert_ne!(first.digest(), other.digest());
    assert_ne!(first.carry(), again.carry());
    assert_ne!(first.to_sign(), again.to_sign());

    let restated = again.as_first_signed(&first.carry()).unwrap();
    assert_eq!(restated.to_sign(), first.to_sign(), "the very bytes of the first time");
    assert_eq!((restated.carry(), restated.digest()), (first.carry(), first.digest()));
    assert_eq!(restated.duty(), again.duty());
    // Its own carry, and back again.
    assert_eq!(again.as_first_signed(&again.carry()).unwrap().to_sign(), again.to_sign());
    assert_eq!(restated.as_first_signed(&again.carry()).unwrap().to_sign(), again.to_sign());
}

#[test]
fn a_carry_that_is_not_one_of_the_kind_signs_nothing() {
    let vote = read(&timed(5, 100, 7));
    for wrong in [Carry::default(), Carry::new(vec![1; 7]), Carry::new(vec![1; 9])] {
        let error = vote.as_first_signed(&wrong).unwrap_err();
        assert_eq!(error, CarryError { kind: TIMED });
        assert!(error.to_string().contains("a madeTimed cannot be signed again"), "{error}");
    }
    // A payload that is all statement has nothing beside it.
    let header = read(&RawPayload::new(HEADER, vec![1; 9]));
    assert_eq!(header.carry(), Carry::default());
    assert_eq!(header.as_first_signed(&Carry::default()).unwrap().to_sign(), header.to_sign());
    assert_eq!(header.as_first_signed(&Carry::new(vec![1])).unwrap_err(), CarryError { kind: HEADER });
}

#[test]
fn carries_are_short_and_read_back() {
    let longest = Carry::new(vec![7; MAX_CARRY_BYTES]);
    assert_eq!(Carry::decode_all(&mut &longest.encode()[..]), Ok(longest));
    assert!(Carry::decode_all(&mut &vec![7_u8; MAX_CARRY_BYTES + 1].encode()[..]).is_err());
    assert!(catch_unwind(|| Carry::new(vec![7; MAX_CARRY_BYTES + 1])).is_err());
    let carry = Carry::new(vec![1, 2]);
    assert_eq!(serde_json::to_value(&carry).unwrap(), "0x0102");
    assert_eq!(serde_json::from_value::<Carry>("0x0102".into()).unwrap(), carry);
    // An answer without one is as it was before there were any.
    let plain = Verdict::Repeated { at: LogIndex(3), carry: Carry::default() };
    let shown = serde_json::json!({ "verdict": "repeated", "at": 3 });
    assert_eq!(serde_json::to_value(&plain).unwrap(), shown);
    assert_eq!(serde_json::from_value::<Verdict>(shown).unwrap(), plain);
}

#[test]
fn an_entry_repeats_its_statement_with_the_first_carry_and_refuses_any_other() {
    install();
    let claim = |digest: u8, carry: u8| Claim {
        key: made_up::key(made_up::VOTER, 1),
        client: ClientId(1),
        duty: duty(VOTE, &[5, 0, 1]),
        digest: Digest([digest; 32]),
        carry: Carry::new(vec![carry]),
        time_ms: 9,
    };
    let entry = Entry::of(&claim(1, 1), LogIndex(3));
    let repeated = Verdict::Repeated { at: LogIndex(3), carry: Carry::new(vec![1]) };
    assert_eq!(entry.compare(&claim(1, 1)), repeated);
    assert_eq!(entry.compare(&claim(1, 2)), repeated, "whatever it has beside it now");
    assert!(matches!(entry.compare(&claim(2, 1)), Verdict::Refused(Refusal::Equivocation { .. })));
}

#[test]
fn schemas_name_every_row_of_every_family() {
    install();
    let schema = |value: schemars::Schema| value.to_value().to_string();
    let claimed = DutyClass::all().filter(|class| class.is_claimed()).count();
    for (text, sign, count) in [
        (schema(schemars::schema_for!(Position)), "\"class\":{\"const\":", claimed),
        (schema(schemars::schema_for!(Duty)), "\"class\":{\"const\":", claimed),
        (schema(schemars::schema_for!(DutyClass)), "{\"const\":", DutyClass::all().count()),
        (schema(schemars::schema_for!(KeyType)), "{\"const\":", KeyType::all().count()),
        (schema(schemars::schema_for!(Scheme)), "{\"const\":", Scheme::all().count()),
    ] {
        assert_eq!(text.matches(sign).count(), count, "{text}");
    }
    let payloads = schema(schemars::schema_for!(RawPayload));
    for kind in PayloadKind::all() {
        assert!(payloads.contains(&format!("\"{kind}\"")), "{kind}");
    }
}
