//! The audit chain: every node makes the same records of the same log, and none is made up or lost.

use crate::world::{World, babe, change_command, claim, from_slot, key, precommit, register, request};
use parity_scale_codec::Encode as _;
use proptest::prelude::*;
use signonce_core::{
    AuditEvent, AuditHead, AuditNote, AuditRecord, AuditRow, Change, ChangeError, ClaimRequest, ClientId,
    Command, FEATURE_LEVEL, InputError, MAX_NOTES, Member, NotedAnswer, State, Verdict, audit::chain_after,
};
use signonce_protocol::{Hash, LogIndex, NodeId};
use signonce_substrate::{BABE, BABE_VRF, GRANDPA};

/// A world with a member. Its chains and the member are on record already.
fn world() -> World {
    let mut world = World::new();
    let member = Member {
        node: NodeId(1),
        recipient: "age1".into(),
        peer_addr: "a:1".into(),
        client_url: "https://a:2".into(),
        supports: FEATURE_LEVEL,
    };
    world.change(Change::AnnounceMember(member)).unwrap();
    world
}

fn records(rows: &[AuditRow]) -> Vec<AuditRecord> {
    rows.iter().map(|row| AuditRecord::from_bytes(&row.record).unwrap()).collect()
}

/// The rows follow one another from `before`, and end at the head.
fn assert_chain(before: AuditHead, rows: &[AuditRow], head: AuditHead) {
    let mut at = before;
    for row in rows {
        assert_eq!((row.seq, row.before), (at.next, at.chain));
        let (stored_key, value) = row.to_stored();
        assert_eq!(AuditRow::from_stored(&stored_key, &value).as_ref(), Ok(row));
        let record = AuditRecord::from_bytes(&row.record).unwrap();
        assert_eq!(row.after(), chain_after(&row.before, &record.hash()));
        let signed = matches!(record.event, AuditEvent::Signed(_));
        at = AuditHead { next: at.next + 1, chain: row.after(), events: at.events + u64::from(!signed) };
    }
    assert_eq!(at, head);
}

#[test]
fn claims_with_their_verdicts_and_changes_with_their_actors_are_recorded_in_order() {
    let mut world = world();
    let first = world.state.take_audit();
    let babe_key = world.armed(BABE, from_slot(1));
    world.claim(babe_key, babe(5), 1);
    world.claim(babe_key, babe(5), 1);
    world.claim(babe_key, babe(5), 2);
    let refused = world.change(Change::RemoveClient { name: "nobody".into() }).unwrap_err();
    let rows = world.state.take_audit();
    let all = [first, rows].concat();
    assert_chain(AuditHead::default(), &all, world.state.audit_head());

    let records = records(&all);
    let at: Vec<u64> = records.iter().map(|record| record.at.0).collect();
    assert!(at.is_sorted() && *at.last().unwrap() == world.at);
    let verdicts: Vec<&Verdict> = records
        .iter()
        .filter_map(|record| match &record.event {
            AuditEvent::Claim { answer, .. } => Some(answer),
            _ => None,
        })
        .collect();
    assert!(
        matches!(verdicts[..], [Verdict::Granted, Verdict::Repeated { .. }, Verdict::Refused(_)]),
        "{verdicts:?}"
    );
    let AuditEvent::Change { refused: why, .. } = &records.last().unwrap().event else { panic!() };
    assert_eq!(why.as_ref(), Some(&refused));
}

#[test]
fn envelopes_do_not_enter_the_audit() {
    let mut world = world();
    world.state.take_audit();
    let id = key(BABE, 1);
    let change = register(id, crate::world::CHAIN, None);
    let Change::RegisterKey { sealed, .. } = &change else { panic!() };
    let sealed = sealed.as_bytes().to_vec();
    world.change(change).unwrap();
    let rows = world.state.take_audit();
    assert_eq!(rows.len(), 1);
    let Some(AuditRecord { event: AuditEvent::Change { change, .. }, .. }) = records(&rows).pop() else {
        panic!()
    };
    let Change::RegisterKey { id: recorded, sealed: shown, .. } = *change else { panic!() };
    assert_eq!(recorded, id);
    assert_eq!(shown.as_bytes(), signonce_protocol::blake2_256(&sealed), "its hash is there");
}

fn note(why: String) -> AuditNote {
    AuditNote {
        client: Some(ClientId(1)),
        key: None,
        answer: NotedAnswer::Refused { code: "forbidden".into(), duty: None, digest: None, why },
        count: 3,
        first_ms: 1,
        last_ms: 2,
        request: request(9),
    }
}

#[test]
fn notes_become_records_and_change_nothing_else() {
    let mut world = world();
    world.state.take_audit();
    let (version, events) = (world.state.registry_version(), world.state.audit_head().events);
    let notes = vec![
        note("no".into()),
        AuditNote { answer: NotedAnswer::Free { class: BABE_VRF }, ..note(String::new()) },
    ];
    world.change(Change::RecordAudit { notes }).unwrap();
    assert_eq!(world.state.registry_version(), version);
    assert_eq!(world.state.audit_head().events, events + 2);
    assert_eq!(world.state.take_audit().len(), 2);

    for notes in [vec![note("x".repeat(5_000))], vec![note("no".into()); MAX_NOTES + 1]] {
        let refused = world.change(Change::RecordAudit { notes }).unwrap_err();
        assert!(matches!(refused, ChangeError::Input(InputError::AuditTooLarge { .. })), "{refused:?}");
        assert!(world.state.take_audit().is_empty());
    }
}

#[test]
fn the_head_is_part_of_the_state_that_members_compare() {
    let (mut one, mut other) = (world(), world());
    assert_eq!(one.state.hash(), other.state.hash());
    one.change(Change::RecordAudit { notes: vec![note("a".into())] }).unwrap();
    other.change(Change::RecordAudit { notes: vec![note("b".into())] }).unwrap();
    assert_ne!(one.state.hash(), other.state.hash());
}

/// A few commands, good ones and bad ones.
fn command() -> impl Strategy<Value = Command> {
    let (slot_key, vote_key) = (key(BABE, 1), key(GRANDPA, 1));
    let one = (0u64..6, 0u8..3, any::<bool>()).prop_map(move |(n, digest, block)| {
        let claim = if block {
            claim(slot_key, babe(n), digest)
        } else {
            claim(vote_key, precommit(1, n + 1, 4), digest)
        };
        ClaimRequest { request: request(n), claim }
    });
    prop_oneof![
        4 => prop::collection::vec(one, 1..5).prop_map(Command::Claims),
        1 => any::<bool>().prop_map(move |which| {
            let id = if which { slot_key } else { vote_key };
            change_command(Change::DisableKey { id })
        }),
        1 => "[a-z]{0,9}".prop_map(|why| change_command(Change::RecordAudit { notes: vec![note(why)] })),
    ]
}

proptest! {
    #[test]
    fn a_member_that_restarts_or_comes_by_snapshot_goes_on_with_the_same_chain(
        commands in prop::collection::vec(command(), 1..30), at in any::<prop::sample::Index>()
    ) {
        let mut world = world();
        world.armed(BABE, from_slot(1));
        world.armed(GRANDPA, crate::world::from_round(1, 1));
        world.state.take_audit();
        let before = world.state.audit_head();
        let at = at.index(commands.len());
        let mut later: Option<State> = None;
        let (mut rows, mut later_rows) = (Vec::new(), Vec::new());
        for (i, command) in commands.iter().enumerate() {
            if i == at {
                later = Some(State::from_snapshot(&world.state.snapshot()).unwrap());
            }
            world.apply(command);
            rows.extend(world.state.take_audit());
            if let Some(later) = &mut later {
                later.apply(LogIndex(world.at), command.clone()).unwrap();
                later_rows.extend(later.take_audit());
            }
        }
        assert_chain(before, &rows, world.state.audit_head());
        let later = later.unwrap();
        prop_assert_eq!(later.audit_head(), world.state.audit_head());
        prop_assert_eq!(later.hash(), world.state.hash());
        prop_assert!(rows.ends_with(&later_rows));
        let claims: usize = commands.iter().map(|command| match command {
            Command::Claims(claims) => claims.len(),
            _ => 1,
        }).sum();
        prop_assert_eq!(rows.len(), claims, "one record for each");
    }

    #[test]
    fn the_bytes_of_a_record_are_strict(mut bytes: Vec<u8>) {
        let _ = AuditRecord::from_bytes(&bytes);
        let row = AuditRow { seq: 1, before: Hash([1; 32]), record: note("x".into()).encode() };
        bytes.truncate(31);
        prop_assert!(AuditRow::from_stored(&row.to_stored().0, &bytes).is_err());
    }
}
