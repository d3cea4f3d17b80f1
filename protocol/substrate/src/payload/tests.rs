//! Payloads laid out by hand, byte by byte, and what is refused of each.

use super::*;
use crate::{
    ALL_KEY_TYPES, AuraMode, BABE, BITFIELD, BlockNumber, CandidateHash, GrandpaStage, NumberWidth, PARA,
    Round, SessionIndex, SetId, Side,
};
use signonce_protocol::{Hash, Slot};

const U32: ChainFormat = ChainFormat { number_width: NumberWidth::U32, aura_mode: AuraMode::Slot };
const U64: ChainFormat = ChainFormat { number_width: NumberWidth::U64, aura_mode: AuraMode::Slot };
const COLLATOR: ChainFormat = ChainFormat { number_width: NumberWidth::U32, aura_mode: AuraMode::Collator };

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn pre_runtime(engine: &[u8; 4], data: &[u8]) -> Vec<u8> {
    // All lengths here are below 2^14: compact forms of one or two bytes.
    cat(&[&[6], engine, &compact(data.len()), data])
}

fn compact(n: usize) -> Vec<u8> {
    match n {
        0..64 => vec![(n << 2) as u8],
        _ => ((n << 2 | 1) as u16).to_le_bytes().to_vec(),
    }
}

fn header(items: &[&[u8]]) -> Vec<u8> {
    crate::install();
    cat(&[&[1; 32], &[0x29], &[0x01], &[2; 32], &[3; 32], &compact(items.len()), &items.concat()])
}

fn babe_digest(variant: u8) -> Vec<u8> {
    let vrf: &[u8] = if variant == 2 { &[] } else { &[8; 96] };
    cat(&[&[variant], &5u32.to_le_bytes(), &77u64.to_le_bytes(), vrf])
}

fn vote(stage: u8, number: &[u8], round: u64) -> Vec<u8> {
    cat(&[&[stage], &[4; 32], number, &round.to_le_bytes(), &9u64.to_le_bytes()])
}

fn decode(kind: Kind, bytes: &[u8]) -> Result<Payload, PayloadError> {
    crate::install();
    Payload::decode(kind, bytes, &U32)
}

fn refusal(kind: Kind, bytes: &[u8]) -> PayloadError {
    decode(kind, bytes).expect_err("must be refused")
}

#[test]
fn a_babe_header_of_each_claim_gives_its_slot_and_is_signed_by_its_hash() {
    let claims = [(1, BabeClaim::Primary), (2, BabeClaim::SecondaryPlain), (3, BabeClaim::SecondaryVrf)];
    for (variant, claim) in claims {
        let bytes =
            header(&[&pre_runtime(b"BABE", &babe_digest(variant)), &[4, b'B', b'E', b'E', b'F', 4, 0xff]]);
        let payload = decode(Kind::BabeHeader, &bytes).unwrap();
        let Content::BabeHeader(read) = payload.content() else { panic!("{payload:?}") };
        assert_eq!((read.slot, read.authority_index, read.claim), (Slot(77), 5, claim));
        assert_eq!((read.header.number, read.header.parent), (BlockNumber(74), Hash([1; 32])));
        assert_eq!(payload.duty(), Some(&Duty::BabeBlock { slot: Slot(77) }));
        assert_eq!(payload.to_sign(), ToSign::Message(&blake2_256(&bytes)));
        assert_eq!(payload.digest(), Digest::of(&blake2_256(&bytes)));
        assert_eq!(payload.key_types(), [BABE]);
    }
}

#[test]
fn an_aura_duty_has_the_number_and_parent_on_collators_only() {
    let bytes = header(&[&pre_runtime(b"aura", &77u64.to_le_bytes())]);
    let duty = |format| Payload::decode(Kind::AuraHeader, &bytes, format).unwrap().duty().cloned();
    assert_eq!(duty(&U32), Some(Duty::AuraBlock { slot: Slot(77), collation: None }));
    let collation = Some((BlockNumber(74), Hash([1; 32])));
    assert_eq!(duty(&COLLATOR), Some(Duty::AuraBlock { slot: Slot(77), collation }));
}

#[test]
fn headers_that_no_honest_author_signs_are_refused() {
    const KIND: Kind = Kind::BabeHeader;
    let babe = pre_runtime(b"BABE", &babe_digest(2));
    let aura = pre_runtime(b"aura", &[0; 8]);
    let seal = cat(&[&[5], b"BABE", &compact(64), &[0; 64]]);
    let table: &[(&str, Vec<u8>, PayloadError)] = &[
        ("sealed", header(&[&babe, &seal]), PayloadError::Sealed { kind: KIND, engine: "BABE".into() }),
        ("no pre-digest", header(&[]), PayloadError::PreRuntimeDigests { kind: KIND, found: 0 }),
        ("another engine's", header(&[&aura]), PayloadError::PreRuntimeDigests { kind: KIND, found: 0 }),
        (
            "two pre-digests",
            header(&[&babe, &babe]),
            PayloadError::PreRuntimeDigests { kind: KIND, found: 2 },
        ),
        (
            "both engines'",
            header(&[&babe, &aura]),
            PayloadError::Ambiguous { kind: KIND, also: Kind::AuraHeader },
        ),
        ("unknown item", header(&[&babe, &[7]]), PayloadError::UnknownDigestItem { kind: KIND, index: 7 }),
        (
            "unknown claim",
            header(&[&pre_runtime(b"BABE", &babe_digest(4))]),
            PayloadError::OutOfRange {
                kind: KIND,
                field: "BABE pre-digest variant",
                value: 4,
                allowed: "1, 2 or 3",
            },
        ),
        (
            "plain claim with a VRF",
            header(&[&pre_runtime(b"BABE", &cat(&[&babe_digest(2), &[0; 96]]))]),
            PayloadError::PreDigestLength { kind: KIND, got: 109, expected: 13 },
        ),
        (
            "trailing byte",
            cat(&[&header(&[&babe]), &[0]]),
            PayloadError::TrailingBytes { kind: KIND, extra: 1 },
        ),
        (
            "too long",
            vec![0; KIND.max_len() + 1],
            PayloadError::TooLong { kind: KIND, got: 1048577, max: 1048576 },
        ),
        (
            "a bare hash",
            vec![7; 32],
            PayloadError::Truncated { kind: KIND, field: "block number", need: 1, left: 0 },
        ),
    ];
    for (what, bytes, expected) in table {
        assert_eq!(&refusal(KIND, bytes), expected, "{what}");
    }
}

#[test]
fn a_header_number_wider_than_the_chain_is_refused() {
    let digest = pre_runtime(b"BABE", &babe_digest(1));
    let number = [0x07, 0, 0, 0, 0, 1]; // 2^32
    let bytes = cat(&[&[1; 32], &number, &[2; 64], &[4], &digest]);
    assert!(matches!(
        refusal(Kind::BabeHeader, &bytes),
        PayloadError::OutOfRange { value: 0x1_0000_0000, .. }
    ));
    assert!(Payload::decode(Kind::BabeHeader, &bytes, &U64).is_ok());
}

#[test]
fn a_length_field_larger_than_the_payload_is_refused_without_reading_on() {
    let digest = cat(&[&[6], b"BABE", &[0x03, 0xff, 0xff, 0xff, 0xff]]);
    assert_eq!(
        refusal(Kind::BabeHeader, &header(&[&digest])),
        PayloadError::Truncated { kind: Kind::BabeHeader, field: "digest data", need: 0xffff_ffff, left: 0 }
    );
}

#[test]
fn a_grandpa_vote_of_each_stage_gives_its_set_round_and_target() {
    let stages =
        [(0, GrandpaStage::Prevote), (1, GrandpaStage::Precommit), (2, GrandpaStage::PrimaryPropose)];
    let widths: [(&ChainFormat, &[u8], usize); 2] =
        [(&U32, &6u32.to_le_bytes(), 53), (&U64, &6u64.to_le_bytes(), 57)];
    for (byte, stage) in stages {
        for (format, number, len) in widths {
            let bytes = vote(byte, number, 8);
            assert_eq!(bytes.len(), len);
            let payload = Payload::decode(Kind::GrandpaVote, &bytes, format).unwrap();
            let expected =
                Duty::GrandpaVote { set_id: SetId(9), round: Round(8), stage, target: BlockNumber(6) };
            assert_eq!(payload.duty(), Some(&expected));
            assert_eq!(payload.to_sign(), ToSign::Message(&bytes));
        }
    }
}

#[test]
fn a_grandpa_vote_of_another_stage_round_zero_or_width_is_refused() {
    const KIND: Kind = Kind::GrandpaVote;
    let number = 6u32.to_le_bytes();
    assert!(matches!(refusal(KIND, &vote(3, &number, 8)), PayloadError::OutOfRange { field: "stage", .. }));
    assert!(matches!(refusal(KIND, &vote(0, &number, 0)), PayloadError::OutOfRange { field: "round", .. }));
    let wide = vote(0, &6u64.to_le_bytes(), 8);
    assert_eq!(refusal(KIND, &wide), PayloadError::TrailingBytes { kind: KIND, extra: 4 });
    let narrow = Payload::decode(KIND, &vote(0, &number, 8), &U64).unwrap_err();
    assert_eq!(narrow, PayloadError::Truncated { kind: KIND, field: "set id", need: 8, left: 4 });
}

#[test]
fn a_beefy_commitment_is_signed_by_its_keccak_hash() {
    let bytes = cat(&[&[4], b"mh", &[0x80], &[1; 32], &25u32.to_le_bytes(), &3u64.to_le_bytes()]);
    assert_eq!(bytes.len(), 48);
    let payload = decode(Kind::BeefyCommitment, &bytes).unwrap();
    assert_eq!(payload.duty(), Some(&Duty::BeefyVote { set_id: SetId(3), block: BlockNumber(25) }));
    assert_eq!(payload.to_sign(), ToSign::Prehashed(keccak_256(&bytes)));
}

#[test]
fn beefy_payload_entries_must_be_present_sorted_and_bounded() {
    const KIND: Kind = Kind::BeefyCommitment;
    let tail = cat(&[&25u32.to_le_bytes(), &3u64.to_le_bytes()]);
    let entries = |entries: &[&[u8]]| cat(&[&compact(entries.len()), &entries.concat(), &tail]);
    assert!(decode(KIND, &entries(&[b"aa\x04x", b"mh\x04y"])).is_ok());
    let unsorted = PayloadError::NotSorted { kind: KIND, field: "payload entries" };
    assert_eq!(refusal(KIND, &entries(&[b"mh\x04y", b"aa\x04x"])), unsorted);
    assert_eq!(refusal(KIND, &entries(&[b"mh\x04y", b"mh\x04x"])), unsorted);
    assert!(matches!(refusal(KIND, &entries(&[])), PayloadError::OutOfRange { value: 0, .. }));
    let many: Vec<[u8; 3]> = (0..17).map(|n| [b'a', n, 0]).collect();
    let many: Vec<&[u8]> = many.iter().map(|e| e.as_slice()).collect();
    assert!(matches!(refusal(KIND, &entries(&many)), PayloadError::OutOfRange { value: 17, .. }));
    let long = cat(&[b"mh", &compact(513), &[0; 513]]);
    assert!(matches!(refusal(KIND, &entries(&[&long])), PayloadError::OutOfRange { value: 513, .. }));
}

#[test]
fn backing_approving_and_disputing_take_their_side() {
    let session = 5u32.to_le_bytes();
    let many = cat(&[b"APPR", &[8], &[1; 32], &[2; 32], &session]);
    let (seconded, valid) = (Some(StatementKind::Seconded), Some(StatementKind::Valid));
    type Row<'a> = (Kind, Vec<u8>, &'a [u8], Side, Option<StatementKind>);
    let table: &[Row<'_>] = &[
        (Kind::Statement, cat(&[b"BKNG", &[1], &[1; 32], &session, &[7; 32]]), &[1], Side::Valid, seconded),
        (Kind::Statement, cat(&[b"BKNG", &[2], &[1; 32], &session, &[7; 32]]), &[1], Side::Valid, valid),
        (Kind::Approval, cat(&[b"APPR", &[1; 32], &session]), &[1], Side::Valid, None),
        (Kind::Approval, many, &[1, 2], Side::Valid, None),
        (Kind::Dispute, cat(&[b"DISP", &[1], &[1; 32], &session]), &[1], Side::Valid, None),
        (Kind::Dispute, cat(&[b"DISP", &[0], &[1; 32], &session]), &[1], Side::Invalid, None),
    ];
    for (kind, bytes, candidates, side, statement) in table {
        let payload = decode(*kind, bytes).unwrap();
        let candidates = candidates.iter().map(|n| CandidateHash([*n; 32])).collect();
        assert_eq!(
            payload.duty(),
            Some(&Duty::ParaSide {
                session: SessionIndex(5),
                candidates,
                side: *side,
                statement: *statement
            })
        );
        assert_eq!(payload.to_sign(), ToSign::Message(bytes));
        assert_eq!(payload.key_types(), [PARA]);
    }
}

#[test]
fn approvals_of_none_of_too_many_or_of_one_twice_are_refused() {
    const KIND: Kind = Kind::Approval;
    let approval = |hashes: &[[u8; 32]]| cat(&[b"APPR", &compact(hashes.len()), &hashes.concat(), &[0; 4]]);
    let hashes: Vec<[u8; 32]> = (0..17).map(|n| [n; 32]).collect();
    assert!(decode(KIND, &approval(&hashes[..16])).is_ok());
    assert!(matches!(refusal(KIND, &approval(&hashes)), PayloadError::TooLong { .. }));
    assert!(matches!(refusal(KIND, &approval(&hashes[..1])), PayloadError::OutOfRange { value: 1, .. }));
    assert!(matches!(refusal(KIND, &approval(&[])), PayloadError::OutOfRange { value: 0, .. }));
    let twice = PayloadError::Duplicate { kind: KIND, field: "candidates" };
    assert_eq!(refusal(KIND, &approval(&[[1; 32], [2; 32], [1; 32]])), twice);
}

#[test]
fn flags_and_tags_of_para_payloads_have_two_values() {
    for (kind, bytes) in [
        (Kind::Statement, cat(&[b"BKNG", &[0], &[0; 68]])),
        (Kind::Statement, cat(&[b"BKNG", &[3], &[0; 68]])),
        (Kind::Dispute, cat(&[b"DISP", &[2], &[0; 36]])),
        (Kind::PvfCheck, cat(&[b"VCPC", &[2], &[0; 40]])),
    ] {
        assert!(matches!(refusal(kind, &bytes), PayloadError::OutOfRange { .. }), "{kind}");
    }
}

#[test]
fn a_bitfield_is_exactly_as_long_as_its_cores_and_padded_with_zeros() {
    const KIND: Kind = Kind::Bitfield;
    let tail = [5; 36];
    let payload = decode(KIND, &cat(&[&compact(10), &[0b0000_0101, 0b10], &tail])).unwrap();
    let Content::Bitfield(read) = payload.content() else { panic!("{payload:?}") };
    let set: Vec<_> = (0..10).filter(|n| read.bits[*n]).collect();
    assert_eq!(set, [0, 2, 9]);
    assert_eq!((payload.duty(), payload.class()), (None, BITFIELD));
    let padded = PayloadError::NotCanonical { kind: KIND, field: "padding of the last byte" };
    assert_eq!(refusal(KIND, &cat(&[&compact(10), &[0, 0b100], &tail])), padded);
    let extra = PayloadError::TrailingBytes { kind: KIND, extra: 1 };
    assert_eq!(refusal(KIND, &cat(&[&compact(8), &[0, 0], &tail])), extra);
    assert!(decode(KIND, &cat(&[&compact(0), &tail])).is_ok());
    assert!(decode(KIND, &cat(&[&compact(4096), &[0xff; 512], &tail])).is_ok());
    assert!(matches!(
        refusal(KIND, &cat(&[&compact(4097), &tail])),
        PayloadError::OutOfRange { value: 4097, .. }
    ));
}

const ADDRESS: [u8; 8] = [4, 127, 0, 0, 1, 6, 0x76, 0x5f];

#[test]
fn authority_records_with_and_without_a_time_are_read() {
    const KIND: Kind = Kind::AuthorityRecord;
    let address = cat(&[&[0x0a, 8], &ADDRESS]);
    let time = cat(&[&[0x12, 18, 0x0a, 16], &1_700_000_000_000_000_000u128.to_le_bytes()]);
    for (bytes, addresses, time) in
        [(address.clone(), 1, None), (cat(&[&address, &address, &time]), 2, Some(1_700_000_000_000_000_000))]
    {
        let payload = decode(KIND, &bytes).unwrap();
        let Content::AuthorityRecord(read) = payload.content() else { panic!("{payload:?}") };
        assert_eq!((read.addresses.len(), read.creation_time_ns), (addresses, time));
    }
    for (what, bytes) in [
        ("nothing", vec![]),
        ("no address", time.clone()),
        ("address after the time", cat(&[&time, &address])),
        ("two times", cat(&[&address, &time, &time])),
        ("unknown field", cat(&[&address, &[0x1a, 1, 0]])),
        ("long varint", cat(&[&[0x0a, 0x88, 0x00], &ADDRESS])),
        ("huge length", cat(&[&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &ADDRESS])),
        ("short timestamp", cat(&[&address, &[0x12, 10, 0x0a, 8], &[0; 8]])),
        ("too many", address.repeat(129)),
    ] {
        assert!(decode(KIND, &bytes).is_err(), "{what}");
    }
    assert!(decode(KIND, &address.repeat(128)).is_ok());
}

#[test]
fn no_verbatim_message_has_the_length_of_a_hash() {
    let record = [&[0x0a, 8][..], &ADDRESS, &[0x0a, 20], &ADDRESS, &ADDRESS, &[4, 1, 2, 3][..]].concat();
    assert_eq!(record.len(), 32);
    // Made to parse: the second address is three protocols, the last of which is /ws twice.
    let record = cat(&[&record[..28], &[0xdd, 0x03, 0xdd, 0x03]]);
    let kind = Kind::AuthorityRecord;
    assert_eq!(refusal(kind, &record), PayloadError::LooksLikeHash { kind });
    let kind = Kind::OwnershipProof;
    assert_eq!(refusal(kind, &cat(&[b"POP_", &[7; 28]])), PayloadError::LooksLikeHash { kind });
}

#[test]
fn heartbeats_and_ownership_proofs_are_read() {
    let fields = cat(&[&1u32.to_le_bytes(), &2u32.to_le_bytes(), &3u32.to_le_bytes()]);
    for (format, number) in [(&U32, &7u32.to_le_bytes()[..]), (&U64, &7u64.to_le_bytes())] {
        let bytes = cat(&[number, &fields]);
        let payload = Payload::decode(Kind::Heartbeat, &bytes, format).unwrap();
        let expected =
            Heartbeat { block: BlockNumber(7), session: SessionIndex(1), authority_index: 2, validators: 3 };
        assert_eq!(payload.content(), &Content::Heartbeat(expected));
    }
    let outside = cat(&[&[0; 4], &[0; 4], &3u32.to_le_bytes(), &3u32.to_le_bytes()]);
    assert!(matches!(refusal(Kind::Heartbeat, &outside), PayloadError::OutOfRange { value: 3, .. }));

    for owner in [&[][..], &[7; 20], &[7; 32], &[7; 64]] {
        let payload = decode(Kind::OwnershipProof, &cat(&[b"POP_", owner])).unwrap();
        assert_eq!(payload.content(), &Content::OwnershipProof(OwnershipProof { owner: owner.to_vec() }));
        assert_eq!(payload.key_types(), ALL_KEY_TYPES);
    }
    assert!(matches!(
        refusal(Kind::OwnershipProof, &cat(&[b"POP_", &[7; 65]])),
        PayloadError::TooLong { .. }
    ));
}

#[test]
fn bytes_with_a_magic_are_that_kind_or_none() {
    // Without magic first this proof would be a bitfield of 20 cores.
    let proof = cat(&[b"POP_", &[0; 36]]);
    assert!(Bitfield::read(&cat(&[b"PO\0\0", &[0; 36]]), &U32).is_ok());
    assert_eq!(possible_kinds(&proof, &U32), [Kind::OwnershipProof]);
    let other = |kind, found| PayloadError::OtherIntent { kind, found };
    for kind in [Kind::Bitfield, Kind::Dispute, Kind::Heartbeat] {
        assert_eq!(refusal(kind, &proof), other(kind, Kind::OwnershipProof));
    }
    let dispute = cat(&[b"DISP", &[1; 37]]);
    assert_eq!(refusal(Kind::Approval, &dispute), other(Kind::Approval, Kind::Dispute));
    assert_eq!(
        refusal(Kind::Dispute, &[0xff, 1, 2]),
        PayloadError::WrongMagic { kind: Kind::Dispute, got: "\\xff\\x01\\x02".into(), expected: "DISP" }
    );
}

#[test]
fn a_grandpa_vote_is_never_a_bitfield_of_the_same_length() {
    // 53 bytes are a bitfield of 113 to 120 cores, whose first byte is none of the three stages.
    for bits in 113..=120u16 {
        let bytes = cat(&[&(bits << 2 | 1).to_le_bytes(), &[0; 15], &[0; 36]]);
        assert_eq!(bytes.len(), 53);
        assert_eq!(possible_kinds(&bytes, &U32), [Kind::Bitfield]);
    }
}

#[test]
fn every_kind_has_one_class_whose_keys_may_sign_it() {
    crate::install();
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        assert!(!kind.key_types().is_empty());
        let raw = RawPayload::new(kind.into(), vec![1, 2]);
        assert_eq!((raw.kind(), raw.bytes()), (kind.into(), &[1, 2][..]));
        // The table says the same of it.
        let spec = raw.kind().spec();
        assert_eq!((spec.name, spec.class, spec.max_len), (kind.name(), kind.class(), kind.max_len()));
        assert!(!spec.about.is_empty());
        let json = serde_json::json!({ kind.name(): "0x0102" });
        assert_eq!(serde_json::to_value(&raw).unwrap(), json);
        assert_eq!(serde_json::from_value::<RawPayload>(json).unwrap(), raw);
    }
}

#[test]
fn summaries_name_the_coordinates() {
    let payload = decode(Kind::GrandpaVote, &vote(1, &6u32.to_le_bytes(), 8)).unwrap();
    let summary = payload.summary();
    for part in ["Precommit", "block 6", "set 9", "round 8"] {
        assert!(summary.contains(part), "{summary}");
    }
}
