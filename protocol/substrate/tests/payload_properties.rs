//! Properties of the decoders, over payloads of every kind and over bytes that are none.

use proptest::{collection::vec, option, prelude::*};
use signonce_protocol::{Chain, ChainId, Hash, RawPayload, Slot};
use signonce_substrate::{payload::*, *};

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn candidate() -> impl Strategy<Value = CandidateHash> {
    any::<[u8; 32]>().prop_map(CandidateHash)
}

fn session() -> impl Strategy<Value = SessionIndex> {
    any::<u32>().prop_map(SessionIndex)
}

fn format() -> impl Strategy<Value = ChainFormat> {
    (any::<bool>(), any::<bool>()).prop_map(|(wide, collator)| ChainFormat {
        number_width: if wide { NumberWidth::U64 } else { NumberWidth::U32 },
        aura_mode: if collator { AuraMode::Collator } else { AuraMode::Slot },
    })
}

/// A chain of this format.
fn chain(format: ChainFormat) -> Chain {
    signonce_substrate::install();
    let settings = ChainSettings { format, slot_duration_ms: 6_000, limits: Limits::default() };
    settings.chain(ChainId([1; 32]), "chain")
}

/// Fits both widths, mostly small.
fn number() -> impl Strategy<Value = BlockNumber> {
    prop_oneof![0..200u64, 0..=u64::from(u32::MAX)].prop_map(BlockNumber)
}

fn neutral_item() -> impl Strategy<Value = DigestItem> {
    let data = || vec(any::<u8>(), 0..100);
    prop_oneof![
        data().prop_map(DigestItem::Other),
        (any::<[u8; 4]>(), data()).prop_map(|(engine, data)| DigestItem::Consensus(engine, data)),
        data().prop_map(|data| DigestItem::PreRuntime(*b"nmbs", data)),
        Just(DigestItem::RuntimeEnvironmentUpdated),
    ]
}

fn header(pre_digest: DigestItem) -> impl Strategy<Value = Header> {
    (hash(), number(), hash(), hash(), vec(neutral_item(), 0..4), any::<prop::sample::Index>()).prop_map(
        move |(parent, number, state_root, extrinsics_root, mut digest, at)| {
            digest.insert(at.index(digest.len() + 1), pre_digest.clone());
            Header { parent, number, state_root, extrinsics_root, digest }
        },
    )
}

fn babe() -> impl Strategy<Value = Content> {
    (1..=3u8, any::<u32>(), any::<u64>()).prop_flat_map(|(variant, authority_index, slot)| {
        let (claim, vrf) = match variant {
            1 => (BabeClaim::Primary, 96),
            2 => (BabeClaim::SecondaryPlain, 0),
            _ => (BabeClaim::SecondaryVrf, 96),
        };
        let head = [&[variant][..], &authority_index.to_le_bytes(), &slot.to_le_bytes()].concat();
        let data = [head, vec![variant; vrf]].concat();
        header(DigestItem::PreRuntime(BABE_ENGINE, data)).prop_map(move |header| {
            Content::BabeHeader(BabeHeader { header, slot: Slot(slot), authority_index, claim })
        })
    })
}

fn aura() -> impl Strategy<Value = Content> {
    any::<u64>().prop_flat_map(|slot| {
        header(DigestItem::PreRuntime(AURA_ENGINE, slot.to_le_bytes().to_vec()))
            .prop_map(move |header| Content::AuraHeader(AuraHeader { header, slot: Slot(slot) }))
    })
}

fn grandpa() -> impl Strategy<Value = Content> {
    let stage = prop_oneof![
        Just(GrandpaStage::Prevote),
        Just(GrandpaStage::Precommit),
        Just(GrandpaStage::PrimaryPropose)
    ];
    (stage, hash(), number(), 1..u64::MAX, any::<u64>()).prop_map(
        |(stage, target_hash, target, round, set_id)| {
            Content::GrandpaVote(GrandpaVote {
                stage,
                target_hash,
                target,
                round: Round(round),
                set_id: SetId(set_id),
            })
        },
    )
}

fn beefy() -> impl Strategy<Value = Content> {
    let payload = prop::collection::btree_map(any::<[u8; 2]>(), vec(any::<u8>(), 0..80), 1..5);
    (payload, number(), any::<u64>()).prop_map(|(payload, block, set_id)| {
        Content::BeefyCommitment(BeefyCommitment {
            payload: payload.into_iter().collect(),
            block,
            set_id: SetId(set_id),
        })
    })
}

fn para() -> impl Strategy<Value = Content> {
    let side = prop_oneof![Just(Side::Valid), Just(Side::Invalid)];
    let kind = prop_oneof![Just(StatementKind::Seconded), Just(StatementKind::Valid)];
    let candidates = prop::collection::hash_set(any::<[u8; 32]>(), 1..=16);
    prop_oneof![
        (kind, candidate(), session(), hash()).prop_map(|(statement, candidate, session, parent)| {
            Content::Statement(Statement { statement, candidate, session, parent })
        }),
        (candidates, session()).prop_map(|(candidates, session)| {
            let candidates = candidates.into_iter().map(CandidateHash).collect();
            Content::Approval(Approval { candidates, session })
        }),
        (side, candidate(), session()).prop_map(|(side, candidate, session)| Content::Dispute(Dispute {
            side,
            candidate,
            session
        })),
        (vec(any::<bool>(), 0..300), session(), hash())
            .prop_map(|(bits, session, parent)| Content::Bitfield(Bitfield { bits, session, parent })),
        (any::<bool>(), hash(), session(), any::<u32>()).prop_map(
            |(accept, code, session, validator_index)| {
                Content::PvfCheck(PvfCheck { accept, code, session, validator_index })
            }
        ),
    ]
}

/// As nodes publish them: always with their peer id. Without it, a record can have the 16 or 20 bytes of a heartbeat
/// and is refused.
fn address() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 4]>(), any::<[u8; 2]>(), any::<[u8; 32]>()).prop_map(|(ip, port, peer)| {
        [&[4][..], &ip, &[6], &port, &[0xa5, 0x03, 34, 0x12, 0x20], &peer].concat()
    })
}

fn free() -> impl Strategy<Value = Content> {
    prop_oneof![
        (vec(address(), 1..6), option::of(any::<u128>())).prop_map(|(addresses, creation_time_ns)| {
            Content::AuthorityRecord(AuthorityRecord { addresses, creation_time_ns })
        }),
        (number(), session(), any::<u32>(), any::<u32>()).prop_map(|(block, session, a, b)| {
            let (authority_index, validators) =
                (a.min(b).min(u32::MAX - 1), a.max(b).max(a.min(b).saturating_add(1)));
            Content::Heartbeat(Heartbeat { block, session, authority_index, validators })
        }),
        vec(any::<u8>(), 0..=64)
            .prop_filter("28 bytes make it as long as a hash", |owner| owner.len() != 28)
            .prop_map(|owner| Content::OwnershipProof(OwnershipProof { owner })),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![babe(), aura(), grandpa(), beefy(), para(), free()]
}

/// Whatever is accepted is the one encoding of what it says.
fn assert_canonical(kind: Kind, bytes: &[u8], format: &ChainFormat) -> Result<bool, TestCaseError> {
    let chain = chain(*format);
    let general = RawPayload::new(kind.into(), bytes.to_vec()).decode(&chain);
    match Payload::decode(kind, bytes, format) {
        Ok(payload) => {
            prop_assert_eq!(payload.kind(), kind);
            prop_assert_eq!(payload.content().encode(format), bytes);
            prop_assert_eq!(payload.duty().is_some(), payload.class().is_claimed());
            prop_assert!(!payload.summary().is_empty());
            let general = general.map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(general.kind(), kind.into());
            prop_assert_eq!(general.class(), payload.class());
            prop_assert_eq!(general.duty().cloned(), payload.duty().map(Duty::to_any));
            prop_assert_eq!(general.to_sign(), payload.to_sign());
            prop_assert_eq!(general.digest(), payload.digest());
            prop_assert_eq!(RawPayload::new(kind.into(), bytes.to_vec()).digest(), payload.digest());
            prop_assert_eq!(general.summary(), payload.summary());
            prop_assert!(general.carry().is_empty() && general.beside().is_none());
            Ok(true)
        }
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            prop_assert!(general.is_err(), "the family's table reads what the decoder refuses");
            Ok(false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_itself_and_to_no_other_kind(content in content(), format in format()) {
        let bytes = content.encode(&format);
        if bytes.len() == 32 && !matches!(content, Content::BabeHeader(_) | Content::AuraHeader(_)) {
            return Ok(()); // a record that happens to have the length of a hash is refused
        }
        let raw = content.to_raw(&format);
        prop_assert_eq!((raw.kind(), raw.bytes()), (content.kind().into(), &bytes[..]));
        prop_assert!(assert_canonical(content.kind(), &bytes, &format)?);
        let payload = Payload::decode(content.kind(), &bytes, &format);
        let payload = payload.map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(payload.content(), &content);
        prop_assert!(possible_kinds(&bytes, &format).contains(&content.kind()));
        // Two kinds meet in one signed message only if both sign it verbatim, or both are headers.
        let verbatim = |payload: &Payload| payload.to_sign().as_bytes() == bytes;
        for other in Kind::ALL.into_iter().filter(|other| *other != content.kind()) {
            if let Ok(other) = Payload::decode(other, &bytes, &format) {
                prop_assert!(!(verbatim(&payload) && verbatim(&other)), "also a {}", other.kind());
                prop_assert_ne!(payload.to_sign(), other.to_sign());
            }
        }
    }

    #[test]
    fn one_byte_more_less_or_different_is_refused_or_says_something_else(
        content in content(), format in format(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let bytes = content.encode(&format);
        let at = at.index(bytes.len());
        let appended = [bytes.as_slice(), &[byte]].concat();
        let removed = [&bytes[..at], &bytes[at + 1..]].concat();
        let mut changed = bytes.clone();
        changed[at] = byte;
        let digest = |bytes: &[u8]| Payload::decode(content.kind(), bytes, &format).ok().map(|p| p.digest());
        for other in [appended, removed, changed] {
            if assert_canonical(content.kind(), &other, &format)? && other != bytes {
                prop_assert_ne!(digest(&other), digest(&bytes));
            }
        }
        let cut = &bytes[..bytes.len() - 1];
        let exact = !matches!(content, Content::OwnershipProof(_));
        prop_assert!(!(exact && digest(cut).is_some()), "accepted without its last byte");
    }

    #[test]
    fn random_bytes_never_panic_and_only_canonical_ones_are_read(
        bytes in vec(any::<u8>(), 0..700), format in format(), kind in prop::sample::select(&Kind::ALL[..]),
    ) {
        assert_canonical(kind, &bytes, &format)?;
        for kind in possible_kinds(&bytes, &format) {
            assert_canonical(kind, &bytes, &format)?;
        }
    }

    #[test]
    fn random_bytes_behind_a_true_start_never_panic(
        content in content(), format in format(), keep in any::<prop::sample::Index>(), tail in vec(any::<u8>(), 0..200),
    ) {
        let bytes = content.encode(&format);
        let bytes = [&bytes[..keep.index(bytes.len() + 1)], &tail].concat();
        assert_canonical(content.kind(), &bytes, &format)?;
    }

    #[test]
    fn random_json_never_panics_as_a_payload(text in ".{0,60}", tag in "[a-zA-Z]{0,16}") {
        let chain = chain(ChainFormat::default());
        let json = serde_json::json!({ tag: text }).to_string();
        if let Ok(raw) = serde_json::from_str::<RawPayload>(&json) {
            let _ = raw.decode(&chain);
        }
    }
}
