//! Whatever is done to an export, the verifier says so, and where.

use super::*;
use proptest::prelude::*;
use signonce_core::{
    AuditNote, Change, ChangeError, ClientError, ClientId, NotedAnswer, Position, Refusal, RequestId, Verdict,
};
use signonce_protocol::{Carry, Digest, Duty as AnyDuty, KeyId, LogIndex, PublicKey, Slot};
use signonce_substrate::{
    BABE, BABE_VRF, BEEFY_VOTE, BlockNumber, CandidateHash, Duty, GRANDPA, GRANDPA_VOTE, GrandpaStage, Round,
    SessionIndex, SetId, Side, StatementKind,
};

const CLUSTER: &str = "000102030405060708090a0b0c0d0e0f";

fn public() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(|bytes| PublicKey::try_from(&bytes[..]).unwrap())
}

fn carry() -> impl Strategy<Value = Carry> {
    prop::collection::vec(any::<u8>(), 0..16).prop_map(Carry::new)
}

fn duty() -> impl Strategy<Value = AnyDuty> {
    let duty = prop_oneof![
        any::<u64>().prop_map(|slot| Duty::BabeBlock { slot: Slot(slot) }),
        (any::<u64>(), any::<Option<(u64, [u8; 32])>>()).prop_map(|(slot, at)| Duty::AuraBlock {
            slot: Slot(slot),
            collation: at.map(|(number, parent)| (BlockNumber(number), Hash(parent))),
        }),
        any::<(u64, u64, u64)>().prop_map(|(set, round, target)| Duty::GrandpaVote {
            set_id: SetId(set),
            round: Round(round),
            stage: GrandpaStage::Precommit,
            target: BlockNumber(target),
        }),
        any::<(u64, u64)>()
            .prop_map(|(set, block)| Duty::BeefyVote { set_id: SetId(set), block: BlockNumber(block) }),
        (any::<u32>(), prop::collection::vec(any::<[u8; 32]>(), 1..4)).prop_map(|(session, candidates)| {
            let candidates = candidates.into_iter().map(CandidateHash).collect();
            Duty::ParaSide {
                session: SessionIndex(session),
                candidates,
                side: Side::Invalid,
                statement: None,
            }
        }),
        any::<(u32, [u8; 32])>().prop_map(|(session, candidate)| Duty::ParaSide {
            session: SessionIndex(session),
            candidates: vec![CandidateHash(candidate)],
            side: Side::Valid,
            statement: Some(StatementKind::Seconded),
        }),
    ];
    duty.prop_map(AnyDuty::from)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Granted),
        (any::<u64>(), carry()).prop_map(|(at, carry)| Verdict::Repeated { at: LogIndex(at), carry }),
        (duty(), any::<([u8; 32], [u8; 32], u64, u64, u32)>()).prop_map(
            |(duty, (a, b, at, time_ms, client))| {
                Verdict::Refused(Refusal::Equivocation {
                    duty,
                    signed: Digest(a),
                    asked: Digest(b),
                    at: LogIndex(at),
                    time_ms,
                    client: ClientId(client),
                })
            }
        ),
        any::<(u64, u64, u64)>().prop_map(|(a, b, limit)| {
            let at = |n| Position::new(BEEFY_VOTE, &[n, n]).unwrap();
            Verdict::Refused(Refusal::JumpTooFar { asked: at(a), reference: at(b), limit, bound: at(b) })
        }),
        any::<(u64, u64)>().prop_map(|(a, b)| {
            let at = |n| Position::new(GRANDPA_VOTE, &[n, n]).unwrap();
            Verdict::Refused(Refusal::BelowWatermark { asked: at(a), floor: at(b) })
        }),
    ]
}

fn event() -> impl Strategy<Value = AuditEvent> {
    crate::families::install();
    let request =
        any::<(u64, u64, u64)>().prop_map(|(node, boot, seq)| RequestId { node: NodeId(node), boot, seq });
    let claim = (request.clone(), any::<u32>(), public(), duty(), any::<[u8; 32]>(), carry(), verdict())
        .prop_map(|(request, client, public, duty, digest, carry, answer)| AuditEvent::Claim {
            request,
            client: ClientId(client),
            key: KeyId { key_type: GRANDPA, public },
            duty,
            digest: Digest(digest),
            carry,
            answer,
        });
    let change = (request.clone(), ".{0,20}", public(), any::<Option<u32>>()).prop_map(
        |(request, actor, public, refused)| AuditEvent::Change {
            request,
            actor,
            change: Box::new(Change::DisableKey { id: KeyId { key_type: BABE, public } }),
            refused: refused
                .map(|limit| ChangeError::Client(ClientError::KeyQuota { name: "a".into(), limit })),
        },
    );
    let answer = prop_oneof![
        Just(NotedAnswer::Free { class: BABE_VRF }),
        (prop::option::of(duty()), any::<Option<[u8; 32]>>(), ".{0,40}").prop_map(|(duty, digest, why)| {
            NotedAnswer::Refused { code: "forbidden".into(), duty, digest: digest.map(Digest), why }
        }),
    ];
    let noted = (request, any::<Option<u32>>(), prop::option::of(public()), answer, any::<(u64, u64, u64)>())
        .prop_map(|(request, client, key, answer, (count, first_ms, last_ms))| AuditEvent::Noted {
            node: request.node,
            note: AuditNote { client: client.map(ClientId), key, answer, count, first_ms, last_ms, request },
        });
    prop_oneof![claim, change, noted]
}

fn records() -> impl Strategy<Value = Vec<AuditRecord>> {
    let record = (any::<u64>(), any::<u64>(), event()).prop_map(|(at, time_ms, event)| AuditRecord {
        at: LogIndex(at),
        time_ms,
        event,
    });
    prop::collection::vec(record, 1..8)
}

/// The export of records that follow record `from`.
fn export(records: &[AuditRecord], from: u64, left_out: impl Fn(usize) -> bool) -> Vec<String> {
    let mut before = if from == 0 { Hash::default() } else { Hash([9; 32]) };
    let (mut writer, header) = Writer::start(CLUSTER.into(), NodeId(1), 5, from, before);
    let mut lines = vec![header];
    for (i, record) in records.iter().enumerate() {
        let mut line = AuditLine { seq: from + i as u64, before, hash: None, record: None, says: None };
        if left_out(i) {
            line.hash = Some(record.hash());
        } else {
            line.record = Some(Box::new(record.clone()));
            line.says = Some("words".into());
        }
        before = line.after().unwrap();
        lines.extend(writer.add(line));
    }
    lines.push(writer.end());
    lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect()
}

fn verify<T: AsRef<str>>(lines: &[T]) -> Result<Report, Broken> {
    let mut verifier = Verifier::new(None);
    lines.iter().try_for_each(|line| verifier.line(line.as_ref()))?;
    verifier.end()
}

proptest! {
    #[test]
    fn what_was_exported_is_verified_also_when_parts_are_left_out(
        records in records(), from in 0u64..3, left in any::<u8>()
    ) {
        let report = verify(&export(&records, from, |i| left & (1 << i) != 0)).unwrap();
        prop_assert_eq!(report.records + report.left_out, records.len() as u64);
        prop_assert_eq!(report.next, from + records.len() as u64);
        prop_assert_eq!(report.unsigned, records.len() as u64);
    }

    #[test]
    fn a_changed_record_is_found_at_its_line(records in records(), which in any::<prop::sample::Index>()) {
        let mut lines = export(&records, 0, |_| false);
        let at = 1 + which.index(records.len());
        let Line::Record(mut line) = serde_json::from_str(&lines[at]).unwrap() else { panic!() };
        line.record.at = LogIndex(line.record.at.0 ^ 1);
        lines[at] = serde_json::to_string(&line).unwrap();
        prop_assert_eq!(verify(&lines).unwrap_err().line, at as u64 + 1);
    }

    #[test]
    fn a_line_taken_out_doubled_or_moved_is_found(
        records in records(), which in any::<prop::sample::Index>()
    ) {
        let lines = export(&records, 0, |_| false);
        let at = which.index(lines.len());
        let mut without = lines.clone();
        without.remove(at);
        prop_assert!(verify(&without).is_err());
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        prop_assert!(verify(&doubled).is_err());
        let mut moved = lines.clone();
        moved.swap(at, (at + 1) % lines.len());
        prop_assert!(verify(&moved).is_err());
    }

    #[test]
    fn any_flipped_character_is_found_unless_it_is_in_what_is_said_for_people(
        records in records(), line in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()
    ) {
        let mut lines = export(&records, 1, |_| false);
        let line = 1 + line.index(records.len());
        let mut text: Vec<char> = lines[line].chars().collect();
        let at = at.index(text.len());
        text[at] = if text[at] == '7' { '8' } else { '7' };
        lines[line] = text.into_iter().collect();
        let original = serde_json::from_str::<Line>(&export(&records, 1, |_| false)[line]).unwrap();
        let now = serde_json::from_str::<Line>(&lines[line]);
        let same = match (&original, &now) {
            (Line::Record(was), Ok(Line::Record(is))) => (&was.record, was.seq, was.chain) == (&is.record, is.seq, is.chain),
            _ => false,
        };
        prop_assert!(same || verify(&lines).is_err());
    }
}

#[test]
fn a_gap_is_told() {
    let record = |n| AuditRecord {
        at: LogIndex(n),
        time_ms: n,
        event: AuditEvent::Change {
            request: RequestId { node: NodeId(1), boot: 1, seq: n },
            actor: "admin:ops".into(),
            change: Box::new(Change::RemoveClient { name: "a".into() }),
            refused: None,
        },
    };
    let (mut writer, header) = Writer::start(CLUSTER.into(), NodeId(1), 5, 0, Hash::default());
    let line =
        |seq, before| AuditLine { seq, before, hash: None, record: Some(Box::new(record(seq))), says: None };
    let mut lines = vec![header];
    lines.extend(writer.add(line(0, Hash::default())));
    lines.extend(writer.add(line(5, Hash([3; 32]))));
    lines.push(writer.end());
    let lines: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    let report = verify(&lines).unwrap();
    assert_eq!((report.records, report.missing, report.next), (2, 4, 6));
}

/// Records with a signature by node 1 that nobody made between them.
fn with_garbage() -> Vec<AuditRecord> {
    let record = |n, event| AuditRecord { at: LogIndex(n), time_ms: n, event };
    let garbage = AuditSignature {
        node: NodeId(1),
        next: 1,
        chain: Hash([7; 32]),
        certificates: vec![vec![1, 2, 3]],
        scheme: 0x0807,
        signature: vec![9; 64],
    };
    let change = |n| AuditEvent::Change {
        request: RequestId { node: NodeId(1), boot: 1, seq: n },
        actor: "admin:ops".into(),
        change: Box::new(Change::RemoveClient { name: "a".into() }),
        refused: None,
    };
    vec![record(1, change(1)), record(2, AuditEvent::Signed(garbage)), record(3, change(3))]
}

#[test]
fn a_bad_signature_is_told_and_the_records_after_it_are_still_checked() {
    let lines = export(&with_garbage(), 0, |_| false);
    let report = verify(&lines).unwrap();
    assert_eq!((report.records, report.next, report.bad), (3, 3, 1));
    let [BadSignature { line: 3, seq: 1, node: NodeId(1), why }] = &report.bad_signatures[..] else {
        panic!("{:?}", report.bad_signatures)
    };
    assert!(!why.is_empty());
    assert!(report.signed.is_empty(), "it vouches for nothing");

    // A record behind it that was changed is that, and no bad signature.
    let mut changed = lines.clone();
    changed[3] = changed[3].replace("admin:ops", "admin:eve");
    let broken = verify(&changed).unwrap_err();
    assert!(broken.line == 4 && broken.why.contains("was changed"), "{broken}");
    // So is the signature itself, once it is not what the record says.
    let mut changed = lines;
    changed[2] = changed[2].replace(r#""next":1"#, r#""next":0"#);
    assert!(verify(&changed).unwrap_err().why.contains("was changed"));
}

#[test]
fn many_bad_signatures_are_counted_and_some_are_told() {
    let garbage = with_garbage().remove(1);
    let many: Vec<AuditRecord> = (0..2 * TOLD).map(|_| garbage.clone()).collect();
    let report = verify(&export(&many, 0, |_| false)).unwrap();
    assert_eq!((report.bad, report.bad_signatures.len()), (2 * TOLD as u64, TOLD));
}
