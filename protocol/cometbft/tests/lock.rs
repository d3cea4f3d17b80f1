//! The lock of a height: what two nodes with one key are given, and what is not. Nil is block 0, V is 1, W is 2.

mod common;

use common::{
    Answer, Signer, at,
    requests::{Ask, CHAIN_ID, precommit, prevote, proposal},
};
use signonce_cometbft::{ED25519, MAX_ENTITLED, OwnRefusal, Round};
use signonce_core::{Change, Coverage};
use signonce_protocol::{ErrorCode, Refusal};

const NIL: u8 = 0;
const V: u8 = 1;
const W: u8 = 2;

/// A client and its connection.
type Node = (u32, u64);
const A: Node = (1, 10);
const B: Node = (2, 20);

fn signer() -> Signer {
    Signer::armed_at(CHAIN_ID, ED25519, &[3; 32], at(5, 0, 0))
}

/// Asks, and has the state read back after.
fn ask(signer: &mut Signer, (client, connection): Node, ask: Ask) -> Answer {
    let answer = signer.ask(client, &ask.on(connection));
    signer.restart();
    answer
}

fn is_locked(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(refusal) if OwnRefusal::of(refusal).is_some())
}

/// A has precommitted V in round 0 of height 5.
fn locked_by_a() -> Signer {
    let mut signer = signer();
    assert!(ask(&mut signer, A, prevote(5, 0, V)).is_signed());
    assert!(ask(&mut signer, A, precommit(5, 0, V)).is_signed());
    signer
}

#[test]
fn a_twin_that_has_not_locked_prevotes_the_locked_block_and_nothing_else() {
    for block in [NIL, W] {
        let mut signer = locked_by_a();
        let refused = ask(&mut signer, B, prevote(5, 1, block));
        assert!(is_locked(&refused), "{refused:?}");
        assert!(ask(&mut signer, B, prevote(5, 1, V)).is_signed(), "V is for anybody");
    }
}

#[test]
fn a_refusal_by_the_lock_says_what_stands_and_is_not_final() {
    let mut signer = locked_by_a();
    let answer = ask(&mut signer, B, prevote(5, 1, W));
    let refusal = answer.refusal();
    let Some(OwnRefusal::Locked { asked: Some(asked), locked, locked_round: Round(0), .. }) =
        OwnRefusal::of(refusal)
    else {
        panic!("{refusal:?}")
    };
    assert_eq!((asked.hash.0, locked.hash.0), ([W; 32], [V; 32]));
    assert!(!refusal.is_final() && !refusal.contradicts());
    assert_eq!(refusal.code(), ErrorCode::Locked);
    let words = refusal.to_string();
    assert!(words.contains("round 1 of height 5") && words.contains(&locked.to_string()), "{words}");
    let shown = serde_json::to_value(refusal).unwrap();
    assert_eq!((&shown["reason"], &shown["lockedRound"]), (&"locked".into(), &0.into()));
    let Refusal::Rule(rule) = refusal else { panic!("{refusal:?}") };
    assert_eq!(serde_json::from_value::<Refusal>(shown).unwrap(), Refusal::Rule(rule.clone()));
}

#[test]
fn who_has_locked_votes_as_it_sees_fit() {
    for block in [NIL, V, W] {
        let mut signer = locked_by_a();
        assert!(ask(&mut signer, A, prevote(5, 1, block)).is_signed(), "{block}");
    }
}

#[test]
fn a_twin_that_asks_for_the_same_precommit_has_locked_too() {
    let mut signer = locked_by_a();
    let Answer::Signed { repeated: true, .. } = ask(&mut signer, B, Ask { nanos: 9, ..precommit(5, 0, V) })
    else {
        panic!("a repeat")
    };
    assert!(ask(&mut signer, B, prevote(5, 1, W)).is_signed());
}

#[test]
fn a_precommit_that_is_refused_entitles_all_the_same() {
    let mut signer = locked_by_a();
    assert!(ask(&mut signer, A, prevote(5, 1, V)).is_signed());
    assert!(ask(&mut signer, A, precommit(5, 1, NIL)).is_signed());
    // B has seen a polka for W in round 1, and has locked it; A's nil was first.
    let refused = ask(&mut signer, B, precommit(5, 1, W));
    assert!(matches!(refused, Answer::Refused(Refusal::Equivocation { .. })), "{refused:?}");
    assert!(ask(&mut signer, B, prevote(5, 2, W)).is_signed());
    // One that comes late counts too, of the lock's round or later.
    let mut signer = locked_by_a();
    assert!(ask(&mut signer, A, prevote(5, 3, V)).is_signed());
    let refused = ask(&mut signer, B, precommit(5, 2, W));
    assert!(matches!(refused, Answer::Refused(Refusal::BelowWatermark { .. })), "{refused:?}");
    assert!(ask(&mut signer, B, prevote(5, 4, W)).is_signed());
}

#[test]
fn a_precommit_of_nil_of_an_earlier_round_or_of_another_block_in_the_locks_round_entitles_nobody() {
    let mut signer = signer();
    assert!(ask(&mut signer, A, precommit(5, 2, V)).is_signed());
    for asked in [precommit(5, 1, W), precommit(5, 1, V), precommit(5, 2, NIL), precommit(5, 2, W)] {
        assert!(!ask(&mut signer, B, asked).is_signed(), "{asked:?}");
    }
    assert!(ask(&mut signer, A, precommit(5, 3, NIL)).is_signed());
    let repeated = ask(&mut signer, B, precommit(5, 3, NIL));
    assert!(matches!(repeated, Answer::Signed { repeated: true, .. }), "{repeated:?}");
    for asked in [prevote(5, 4, W), prevote(5, 4, NIL)] {
        let refused = ask(&mut signer, B, asked);
        assert!(is_locked(&refused), "{refused:?}");
    }
}

#[test]
fn a_later_precommit_moves_the_lock_and_entitles_who_asked_alone() {
    let mut signer = locked_by_a();
    assert!(ask(&mut signer, B, precommit(5, 1, W)).is_signed());
    for block in [NIL, V] {
        let refused = ask(&mut signer, A, prevote(5, 2, block));
        assert!(is_locked(&refused), "{refused:?}");
    }
    assert!(ask(&mut signer, A, prevote(5, 2, W)).is_signed());
    assert!(ask(&mut signer, B, prevote(5, 3, NIL)).is_signed());
    // The old lock's precommit is of an earlier round now.
    assert!(!ask(&mut signer, A, precommit(5, 0, V)).is_signed());
    assert!(is_locked(&ask(&mut signer, A, prevote(5, 4, V))));
}

#[test]
fn a_new_connection_is_entitled_once_its_nodes_log_has_asked_again() {
    let mut signer = locked_by_a();
    let again: Node = (A.0, 11);
    assert!(is_locked(&ask(&mut signer, again, prevote(5, 1, W))));
    for asked in [prevote(5, 0, V), prevote(5, 1, W)] {
        assert!(!ask(&mut signer, again, asked).is_signed(), "{asked:?}");
    }
    assert!(ask(&mut signer, again, precommit(5, 0, V)).is_signed(), "its log's replay");
    assert!(ask(&mut signer, again, prevote(5, 1, W)).is_signed());
    // A connection of that number is another client's: it does not count.
    let mut signer = locked_by_a();
    assert!(is_locked(&ask(&mut signer, (B.0, A.1), prevote(5, 1, W))));
}

#[test]
fn without_a_connection_nobody_is_ever_entitled() {
    let mut signer = signer();
    let nobody: Node = (1, 0);
    assert!(ask(&mut signer, nobody, precommit(5, 0, V)).is_signed());
    assert!(ask(&mut signer, nobody, precommit(5, 0, V)).is_signed());
    assert!(is_locked(&ask(&mut signer, nobody, prevote(5, 1, W))));
    assert!(ask(&mut signer, nobody, prevote(5, 1, V)).is_signed());
    assert!(ask(&mut signer, nobody, prevote(6, 0, W)).is_signed(), "the next height is free");
}

#[test]
fn the_lock_ends_with_its_height() {
    let mut signer = locked_by_a();
    assert!(ask(&mut signer, B, prevote(6, 0, W)).is_signed());
    assert!(ask(&mut signer, B, precommit(6, 0, W)).is_signed());
    assert!(is_locked(&ask(&mut signer, A, prevote(6, 1, V))), "the next height has its own");
    // So it does where an operator raises the floor past it, and not below.
    for (floor, free) in [(at(5, 4, 0), false), (at(6, 0, 0), true)] {
        let mut signer = locked_by_a();
        let key = signer.key;
        signer.change(Change::RaiseWatermark { key, floors: floor.into() });
        signer.restart();
        let height = if free { 6 } else { 5 };
        assert_eq!(ask(&mut signer, B, prevote(height, 4, W)).is_signed(), free, "{floor}");
    }
}

#[test]
fn proposals_and_precommits_go_by_the_mark_alone() {
    let mut signer = locked_by_a();
    assert!(ask(&mut signer, B, proposal(5, 1, W)).is_signed());
    assert!(ask(&mut signer, B, precommit(5, 1, NIL)).is_signed());
    assert!(ask(&mut signer, B, precommit(5, 2, W)).is_signed());
}

#[test]
fn no_client_can_fill_the_lock_or_push_another_out() {
    let mut signer = locked_by_a();
    let most = u64::try_from(MAX_ENTITLED).unwrap();
    for connection in 100..100 + most {
        assert!(ask(&mut signer, (3, connection), precommit(5, 0, V)).is_signed());
    }
    let rows = signer.ledger().iter().map(|(_, value)| value.len()).sum::<usize>();
    for connection in 200..300 {
        assert!(signer.ask(3, &precommit(5, 0, V).on(connection)).is_signed());
    }
    assert_eq!(signer.ledger().iter().map(|(_, value)| value.len()).sum::<usize>(), rows);
    signer.restart();
    // A client that has no connection there yet takes the place of the oldest, which was A's, and can be pushed out by
    // nobody but another such client.
    assert!(ask(&mut signer, B, precommit(5, 0, V)).is_signed());
    for connection in 300..400 {
        assert!(signer.ask(3, &precommit(5, 0, V).on(connection)).is_signed());
    }
    assert!(is_locked(&ask(&mut signer, A, prevote(5, 1, W))));
    assert!(ask(&mut signer, B, prevote(5, 1, W)).is_signed());
}

#[test]
fn a_height_too_far_ahead_is_refused_until_an_operator_raises_the_mark() {
    let mut signer = signer();
    let far = ask(&mut signer, A, prevote(10_000_006, 0, V));
    let Refusal::JumpTooFar { limit: 10_000_000, bound, .. } = far.refusal() else { panic!("{far:?}") };
    assert_eq!(*bound, at(10_000_005, 0, 0));
    assert!(ask(&mut signer, A, prevote(10_000_005, 9, V)).is_signed());
    // A key that has come nowhere yet learns from its first vote where the chain is.
    let mut fresh = Signer::new(CHAIN_ID, ED25519, &[4; 32]);
    assert!(ask(&mut fresh, A, prevote(i64::MAX - 1, 0, V)).is_signed());
    assert!(!ask(&mut fresh, A, prevote(7, 0, V)).is_signed());
}

#[test]
fn a_signature_that_is_shown_is_known_whatever_the_lock_says() {
    let mut signer = locked_by_a();
    let mut covers = |ask: Ask| {
        let payload = ask.on(B.1).decode(&signer.chain).unwrap();
        let covers = signer.state.covers(&signer.key, payload.duty().unwrap(), payload.digest());
        signer.restart();
        covers
    };
    assert_eq!(covers(precommit(5, 0, V)), Coverage::Covered);
    assert_eq!(covers(Ask { nanos: 7, ..precommit(5, 0, V) }), Coverage::Covered, "the timestamp is beside");
    assert_eq!(covers(prevote(5, 0, W)), Coverage::Covered, "below the floor");
    assert_eq!(covers(precommit(5, 0, W)), Coverage::Contradicted);
    assert_eq!(covers(prevote(5, 1, W)), Coverage::Missing);
}
