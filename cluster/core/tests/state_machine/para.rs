//! Sides on parachain candidates.

use crate::world::*;
use signonce_core::{
    AuditEvent, AuditRecord, Claim, ClaimRequest, Command, Coverage, Outcome, Refusal, State, Table, Verdict,
};
use signonce_protocol::{Digest, Duty, ErrorCode, KeyId, LogIndex};
use signonce_substrate::{
    CandidateHash, Duty as Typed, OwnRefusal, PARA, SessionIndex, Side, Side::*, StatementKind,
};

const SECONDED: StatementKind = StatementKind::Seconded;
const BACKED: StatementKind = StatementKind::Valid;

fn world() -> (World, KeyId) {
    let mut world = World::new();
    let key = world.armed(PARA, from_session(50));
    world.state.take_audit();
    (world, key)
}

#[test]
fn many_payloads_on_one_side_are_honest() {
    let (mut world, key) = world();
    assert_eq!(world.claim(key, side(50, &[1], Valid), 1), Verdict::Granted);
    let first = LogIndex(world.at);
    assert_eq!(world.claim(key, side(50, &[1], Valid), 2), Verdict::Granted, "new bytes are on record");
    let second = LogIndex(world.at);
    assert_eq!(world.claim(key, side(50, &[1], Valid), 1), repeated(first));
    assert_eq!(world.claim(key, side(50, &[1], Valid), 2), repeated(second));
    assert_eq!(world.state.watermarks(&key)[0].entries, 1);
}

/// Who took it, when and for which bytes is in the audit.
#[test]
fn the_other_side_is_refused() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[1], Valid), 1);
    let refused = world.refusal(key, side(50, &[1], Invalid), 2);
    assert_eq!(OwnRefusal::of(&refused), Some(other_side(1, Valid)));
    assert!(refused.is_final() && refused.contradicts());
    assert_eq!(refused.code(), ErrorCode::Equivocation);
    world.claim(key, side(50, &[2], Invalid), 1);
    let refused = world.refusal(key, side(50, &[2], Valid), 1);
    assert_eq!(OwnRefusal::of(&refused), Some(other_side(2, Invalid)));
}

fn other_side(candidate: u8, signed: Side) -> OwnRefusal {
    let asked = if signed == Valid { Invalid } else { Valid };
    OwnRefusal::OtherSide {
        session: SessionIndex(50),
        candidate: CandidateHash([candidate; 32]),
        signed,
        asked,
    }
}

/// Whether the other side was taken, or the other statement made.
fn crosses(refusal: &Refusal) -> bool {
    matches!(OwnRefusal::of(refusal), Some(OwnRefusal::OtherSide { .. } | OwnRefusal::OtherStatement { .. }))
}

#[test]
fn an_approval_that_crosses_on_one_candidate_takes_no_side_on_the_others() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[2], Invalid), 1);
    assert!(crosses(&world.refusal(key, side(50, &[1, 2, 3], Valid), 1)));
    assert_eq!(world.claim(key, side(50, &[1, 3], Invalid), 1), Verdict::Granted);
}

#[test]
fn an_approval_of_old_and_new_candidates_is_granted_and_then_repeated() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[1], Valid), 1);
    assert_eq!(world.claim(key, side(50, &[1, 2], Valid), 2), Verdict::Granted);
    let at = LogIndex(world.at);
    assert_eq!(world.claim(key, side(50, &[1, 2], Valid), 2), repeated(at));
    assert_eq!(world.claim(key, side(50, &[1, 2], Valid), 3), Verdict::Granted, "with other bytes");
    assert!(crosses(&world.refusal(key, side(50, &[2], Invalid), 2)));
    assert_eq!(world.state.watermarks(&key)[0].entries, 2);
}

#[test]
fn a_repeat_of_several_candidates_names_the_latest_grant_in_any_order() {
    let (mut world, key) = world();
    world.claim(key, side(50, &[1], Valid), 1);
    world.claim(key, side(50, &[2], Valid), 1);
    let at = LogIndex(world.at);
    assert_eq!(world.claim(key, side(50, &[1, 2], Valid), 1), repeated(at));
    assert_eq!(world.claim(key, side(50, &[2, 1], Valid), 1), repeated(at));
}

#[test]
fn a_candidate_named_twice_counts_once() {
    let (mut world, key) = world();
    assert_eq!(world.claim(key, side(50, &[1, 1], Valid), 1), Verdict::Granted);
    assert_eq!(world.state.watermarks(&key)[0].entries, 1);
}

#[test]
fn a_side_on_nothing_or_on_too_much_is_refused() {
    let (mut world, key) = world();
    let seventeen: Vec<u8> = (0..17).collect();
    assert!(matches!(world.refusal(key, side(50, &[], Valid), 1), Refusal::WrongDuty { .. }));
    assert!(matches!(world.refusal(key, side(50, &seventeen, Valid), 1), Refusal::WrongDuty { .. }));
    assert_eq!(world.claim(key, side(50, &seventeen[1..], Valid), 1), Verdict::Granted);
}

#[test]
fn the_present_session_and_eight_back_are_exact() {
    let (mut world, key) = world();
    for session in 50..60 {
        assert_eq!(world.claim(key, side(session, &[1], Valid), 1), Verdict::Granted);
    }
    assert_eq!(world.floor(key), at_session(51));
    assert!(crosses(&world.refusal(key, side(51, &[1], Invalid), 1)));
    assert_eq!(world.claim(key, side(51, &[2], Invalid), 1), Verdict::Granted);
    let refused = Refusal::BelowWatermark { asked: at_session(50), floor: at_session(51) };
    assert_eq!(world.refusal(key, side(50, &[1], Valid), 1), refused);
}

#[test]
fn a_session_too_far_is_refused() {
    let (mut world, key) = world();
    let (asked, reference) = (at_session(1_051), at_session(50));
    let refused = world.refusal(key, side(1_051, &[1], Valid), 1);
    let bound = at_session(1_050);
    assert_eq!(refused, Refusal::JumpTooFar { asked, reference, limit: 1_000, bound });
    assert_eq!(world.claim(key, side(1_050, &[1], Valid), 1), Verdict::Granted);
}

#[test]
fn the_same_candidate_in_another_session_is_another_duty() {
    let (mut world, key) = world();
    assert_eq!(world.claim(key, side(50, &[1], Valid), 1), Verdict::Granted);
    assert_eq!(world.claim(key, side(51, &[1], Invalid), 1), Verdict::Granted);
}

/// Digests of the claims that were granted since this was last asked.
fn granted(world: &mut World) -> Vec<Digest> {
    let rows = world.state.take_audit().into_iter();
    rows.filter_map(|row| match AuditRecord::from_bytes(&row.record).unwrap().event {
        AuditEvent::Claim { digest, answer: Verdict::Granted, .. } => Some(digest),
        _ => None,
    })
    .collect()
}

#[test]
fn every_signature_with_new_bytes_is_granted_and_in_the_audit() {
    let (mut world, key) = world();
    let duties = [
        statement(50, 1, SECONDED),
        side(50, &[1], Valid),
        side(50, &[1, 2], Valid),
        side(50, &[2, 1], Valid),
        side(50, &[2], Valid),
    ];
    for (digest, duty) in (1..).zip(&duties) {
        assert_eq!(world.claim(key, duty.clone(), digest), Verdict::Granted, "{duty:?}");
    }
    let expected: Vec<Digest> = (1..=5).map(|digest| Digest([digest; 32])).collect();
    assert_eq!(granted(&mut world), expected);
    let at = LogIndex(world.at);
    for (digest, duty) in (1..).zip(duties) {
        let Verdict::Repeated { at: first, .. } = world.claim(key, duty.clone(), digest) else {
            panic!("the same bytes of {duty:?} are a repeat")
        };
        assert_eq!(first.0, at.0 + u64::from(digest) - 5);
    }
    assert_eq!(granted(&mut world), []);
}

#[test]
fn a_candidate_is_seconded_or_held_valid_by_a_backer_and_not_both() {
    for (first, second) in [(SECONDED, BACKED), (BACKED, SECONDED)] {
        let (mut world, key) = world();
        assert_eq!(world.claim(key, statement(50, 1, first), 1), Verdict::Granted);
        let own = OwnRefusal::OtherStatement {
            session: SessionIndex(50),
            candidate: CandidateHash([1; 32]),
            signed: first,
            asked: second,
        };
        let refused = world.refusal(key, statement(50, 1, second), 2);
        assert_eq!(OwnRefusal::of(&refused), Some(own));
        assert!(refused.is_final() && refused.contradicts());
        // Approvals and votes in disputes are honest beside either, before and after.
        assert_eq!(world.claim(key, side(50, &[1], Valid), 3), Verdict::Granted);
        assert_eq!(world.refusal(key, statement(50, 1, second), 2), refused);
        // So is the statement itself with other bytes, and any statement about another candidate.
        assert_eq!(world.claim(key, statement(50, 1, first), 4), Verdict::Granted);
        assert_eq!(world.claim(key, statement(50, 2, second), 5), Verdict::Granted);
    }
    let (mut world, key) = world();
    world.claim(key, side(50, &[1], Valid), 1);
    assert_eq!(world.claim(key, statement(50, 1, BACKED), 2), Verdict::Granted);
    assert!(crosses(&world.refusal(key, statement(50, 1, SECONDED), 3)));
}

#[test]
fn the_other_side_is_refused_after_a_statement_an_approval_and_a_vote() {
    let (mut world, key) = world();
    world.claim(key, statement(50, 1, SECONDED), 1);
    world.claim(key, side(50, &[2, 3], Valid), 2);
    world.claim(key, side(50, &[4], Invalid), 3);
    for candidate in 1..=3 {
        let refused = world.refusal(key, side(50, &[candidate], Invalid), 9);
        assert_eq!(OwnRefusal::of(&refused), Some(other_side(candidate, Valid)));
    }
    for duty in [statement(50, 4, BACKED), side(50, &[5, 4], Valid)] {
        let refused = OwnRefusal::of(&world.refusal(key, duty, 9));
        assert!(matches!(refused, Some(OwnRefusal::OtherSide { signed: Invalid, .. })), "{refused:?}");
    }
    assert_eq!(world.claim(key, side(50, &[5], Invalid), 9), Verdict::Granted, "no side was taken on 5");
}

#[test]
fn forgotten_bytes_are_granted_anew_and_forgotten_sides_there_are_none() {
    let (mut world, key) = world();
    for n in 0..600_u16 {
        let mut candidate = [0; 32];
        candidate[..2].copy_from_slice(&n.to_be_bytes());
        let duty = approval(50, [candidate]);
        assert_eq!(claim_bytes(&mut world, key, duty, candidate), Verdict::Granted);
    }
    let reloaded = State::from_snapshot(&world.state.snapshot()).unwrap();
    for n in [0_u16, 599] {
        let mut candidate = [0; 32];
        candidate[..2].copy_from_slice(&n.to_be_bytes());
        let other = one_side(50, [candidate], Invalid);
        let asked = |duty| Claim { digest: Digest(candidate), ..claim(key, duty, 0) };
        let again = asked(approval(50, [candidate]));
        assert_eq!(matches!(reloaded.check(&again), Verdict::Repeated { .. }), n == 599);
        assert!(reloaded.check(&again).may_sign());
        assert!(!reloaded.check(&asked(other.clone())).may_sign());
        // Whoever shows it is not taken for a witness of a rollback.
        assert_eq!(reloaded.covers(&key, &again.duty, again.digest), Coverage::Covered);
        assert_eq!(reloaded.covers(&key, &other, again.digest), Coverage::Contradicted);
    }
    // A statement that is not known could be followed by the other one, whoever approved beside it.
    let mut world = World { state: reloaded.clone(), at: world.at };
    world.claim(key, side(50, &[0xdd], Valid), 1);
    let backed = |world: &World| world.state.covers(&key, &statement(50, 0xdd, SECONDED), Digest([2; 32]));
    assert_eq!(backed(&world), Coverage::Missing);
    world.claim(key, statement(50, 0xdd, SECONDED), 2);
    assert_eq!(backed(&world), Coverage::Covered);
    let never = side(50, &[0xee], Valid);
    assert_eq!(reloaded.covers(&key, &never, Digest([1; 32])), Coverage::Missing);
}

#[test]
fn a_session_takes_what_honest_work_needs_and_not_more_and_the_next_one_begins_anew() {
    let (mut world, key) = world();
    const LIMIT: u32 = 32_768;
    for first in (0..LIMIT).step_by(16) {
        let candidates: Vec<[u8; 32]> = (first..first + 16).map(candidate).collect();
        assert_eq!(claim_all(&mut world, key, 50, &candidates), Verdict::Granted);
    }
    let refused = claim_all(&mut world, key, 50, &[candidate(LIMIT)]);
    let Verdict::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal, Refusal::Crowded { position: at_session(50), limit: LIMIT });
    assert_eq!(claim_all(&mut world, key, 50, &[candidate(7)]), Verdict::Granted, "a side that is taken");
    assert_eq!(claim_all(&mut world, key, 51, &[candidate(LIMIT)]), Verdict::Granted);
    // Key type, 32 bytes with their length, class; then the row: the remembered signatures are others.
    let marks = world.state.records().filter(|(table, key, _)| *table == Table::Ledger && key[37] == 3);
    let bytes: usize = marks.map(|(_, key, value)| key.len() + value.len()).sum();
    assert!(bytes < 7 * LIMIT as usize, "a side takes some six bytes: {bytes}");
    assert_eq!(State::from_snapshot(&world.state.snapshot()).unwrap().hash(), world.state.hash());
}

#[test]
fn a_snapshot_in_which_a_side_is_out_of_its_place_is_refused() {
    let (mut world, key) = world();
    for n in 0..3_000 {
        claim_all(&mut world, key, 50, &[candidate(n)]);
    }
    let records: Vec<_> = world.state.records().collect();
    // Key type, 32 bytes with their length, class; then the row.
    let marks = records.iter().position(|(table, key, _)| *table == Table::Ledger && key[37] == 3);
    let (table, place, value) = &records[marks.expect("marks have records")];
    let body = &value[1..value.len() - 4];
    let rebuilt = |place: Vec<u8>, body: &[u8]| {
        let mut changed = records.clone();
        changed.remove(marks.unwrap());
        changed.retain(|(_, key, _)| *key != place);
        changed.push((*table, place, signonce_core::seal_record(1, body)));
        State::from_records(changed, world.state.hash()).unwrap_err().to_string()
    };
    let mut moved = place.clone();
    *moved.last_mut().unwrap() ^= 1;
    assert!(rebuilt(moved, body).contains("cannot be read"));
    assert!(rebuilt(place.clone(), &[body, body].concat()).contains("do not rise"));
    assert!(rebuilt(place.clone(), &body[1..]).contains("whole number"));
    assert!(rebuilt(place.clone(), &body[6..]).contains("hash"), "one that is missing changes the hash");
}

fn candidate(n: u32) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    hash
}

fn one_side(session: u32, candidates: impl IntoIterator<Item = [u8; 32]>, side: Side) -> Duty {
    let candidates = candidates.into_iter().map(CandidateHash).collect();
    Typed::ParaSide { session: SessionIndex(session), candidates, side, statement: None }.into()
}

fn approval<const N: usize>(session: u32, candidates: [[u8; 32]; N]) -> Duty {
    one_side(session, candidates, Valid)
}

fn claim_bytes(world: &mut World, key: KeyId, duty: Duty, digest: [u8; 32]) -> Verdict {
    let claim = Claim { digest: Digest(digest), ..claim(key, duty, 0) };
    let outcomes = world.apply(&Command::Claims(vec![ClaimRequest { request: request(0), claim }]));
    match &outcomes[..] {
        [(_, Outcome::Verdict(verdict))] => verdict.clone(),
        other => panic!("{other:?}"),
    }
}

/// Claims an approval of candidates, with bytes of its own.
fn claim_all(world: &mut World, key: KeyId, session: u32, candidates: &[[u8; 32]]) -> Verdict {
    let mut digest = candidates[0];
    digest[31] = u8::try_from(candidates.len()).unwrap();
    digest[30] = u8::try_from(session).unwrap();
    let duty = one_side(session, candidates.iter().copied(), Valid);
    claim_bytes(world, key, duty, digest)
}
