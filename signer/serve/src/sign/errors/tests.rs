//! Tests of what a client is told.

use super::*;
use parity_scale_codec::Encode as _;
use signonce_cluster::{NotReady, clock::SlotOutOfRange};
use signonce_core::{ChainError, ClientError, Counted, InputError, Position};
use signonce_protocol::{Carry, Digest, KeyType, LogIndex, NodeId, RuleRefusal, Slot, rpc::ErrorKind};
use signonce_substrate::{
    BABE, BABE_BLOCK, BEEFY, BEEFY_VOTE, BlockNumber, CandidateHash, Duty, GRANDPA, GRANDPA_VOTE,
    GrandpaStage, OwnRefusal, PARA, PARA_SIDE, Round, SessionIndex, SetId, Side, StatementKind,
};

const KEY: [u8; 32] = [0xab; 32];

fn key(key_type: KeyType) -> KeyId {
    KeyId { key_type, public: PublicKey::try_from(&KEY[..]).unwrap() }
}

fn claim(key_type: KeyType, duty: Duty) -> Claim {
    signonce_shared::families::install();
    let (client, digest, carry) = (ClientId(7), Digest([2; 32]), Carry::default());
    Claim { key: key(key_type), client, duty: duty.into(), digest, carry, time_ms: 5 }
}

fn babe() -> Claim {
    claim(BABE, Duty::BabeBlock { slot: Slot(9) })
}

fn gran() -> Claim {
    let stage = GrandpaStage::Prevote;
    claim(GRANDPA, Duty::GrandpaVote { set_id: SetId(3), round: Round(900), stage, target: BlockNumber(1) })
}

fn beef() -> Claim {
    claim(BEEFY, Duty::BeefyVote { set_id: SetId(3), block: BlockNumber(900) })
}

fn para() -> Claim {
    let candidates = vec![CandidateHash([4; 32])];
    claim(PARA, Duty::ParaSide { session: SessionIndex(8), candidates, side: Side::Invalid, statement: None })
}

fn told(claim: &Claim, refusal: &Refusal) -> RpcError {
    let error = refused(claim, refusal, |id| format!("validator-{}", id.0));
    assert!(error.message.contains(&claim.key.to_string()), "{}", error.message);
    assert!(error.message.contains(&claim.duty.to_string()), "{}", error.message);
    assert_eq!(error.data.duty.as_ref(), Some(&claim.duty));
    assert_eq!((error.data.code, error.data.kind), (error.code, error.code.kind()));
    // A refusal that may turn must not be told as final, nor the other way round.
    let key_is_missing = matches!(refusal, Refusal::UnknownKey { .. } | Refusal::KeyRemoved { .. });
    // A full place stays full, but nothing is wrong with the payload: who asks slows down and goes on further up.
    let place_is_full = matches!(refusal, Refusal::Crowded { .. });
    if !key_is_missing && !place_is_full {
        assert_eq!(refusal.is_final(), error.kind() == ErrorKind::Refused, "{refusal:?}");
    }
    error
}

#[test]
fn a_key_that_is_not_made_is_told_with_what_the_operator_types() {
    let named = || "v1".to_owned();
    let genesis = signonce_protocol::ChainId([1; 32]);
    for (refusal, code, says) in [
        (
            ChangeError::Client(ClientError::MayNotGenerate { name: named(), chain: genesis }),
            ErrorCode::Forbidden,
            "`signonce clients update v1 --may-generate`",
        ),
        (
            ChangeError::Client(ClientError::KeyQuota { name: named(), limit: 64 }),
            ErrorCode::RateLimited,
            "--key-limit 128`",
        ),
        (
            ChangeError::Input(InputError::TooMany { what: Counted::Rights, limit: 1_000 }),
            ErrorCode::RateLimited,
            "`signonce clients list`",
        ),
        (
            ChangeError::Chain(ChainError::UnknownChain { genesis }),
            ErrorCode::Internal,
            "add the chain first",
        ),
    ] {
        let told = not_made("v1", "polkadot", &refusal);
        assert_eq!(told.code, code);
        assert!(told.message.contains(says) && told.message.contains("polkadot"), "{told}");
    }
    let key = babe().key;
    let unknown = perhaps_made(&key, SubmitError::Unknown, None);
    assert_eq!(unknown.code, ErrorCode::UnknownOutcome);
    assert!(unknown.message.contains(&key.to_string()) && !unknown.message.contains("payload"), "{unknown}");
}

/// A family's own refusal, as it stands in the log.
fn by_rule(class: DutyClass, own: &OwnRefusal) -> Refusal {
    let facts = own.encode();
    Refusal::Rule(RuleRefusal { class, code: facts[0], facts })
}

#[test]
fn each_refusal_of_the_ledger_has_its_code_and_its_bound() {
    let (asked, at, time_ms, client) = (Digest([2; 32]), LogIndex(4), 77, ClientId(7));
    signonce_shared::families::install();
    let at_place = |class, parts: &[u64]| Position::new(class, parts).unwrap();
    let slot = |n| at_place(BABE_BLOCK, &[n]);
    let round = |set, n| at_place(GRANDPA_VOTE, &[set, n]);
    let jump = |asked, reference, limit, bound| Refusal::JumpTooFar { asked, reference, limit, bound };
    let table = [
        (
            babe(),
            Refusal::Equivocation { duty: babe().duty, signed: Digest([1; 32]), asked, at, time_ms, client },
            ErrorCode::Equivocation,
            None,
        ),
        (
            para(),
            by_rule(
                PARA_SIDE,
                &OwnRefusal::OtherSide {
                    session: SessionIndex(8),
                    candidate: CandidateHash([4; 32]),
                    signed: Side::Valid,
                    asked: Side::Invalid,
                },
            ),
            ErrorCode::Equivocation,
            None,
        ),
        (
            para(),
            by_rule(
                PARA_SIDE,
                &OwnRefusal::OtherStatement {
                    session: SessionIndex(8),
                    candidate: CandidateHash([4; 32]),
                    signed: StatementKind::Seconded,
                    asked: StatementKind::Valid,
                },
            ),
            ErrorCode::Equivocation,
            None,
        ),
        (
            babe(),
            Refusal::BelowWatermark { asked: slot(9), floor: slot(20) },
            ErrorCode::BelowWatermark,
            Some(slot(20)),
        ),
        (babe(), Refusal::Crowded { position: slot(9), limit: 64 }, ErrorCode::RateLimited, Some(slot(9))),
        (
            gran(),
            jump(round(3, 900), round(3, 10), 100, round(3, 110)),
            ErrorCode::JumpTooFar,
            Some(round(3, 110)),
        ),
        (
            beef(),
            by_rule(
                BEEFY_VOTE,
                &OwnRefusal::AheadOfGrandpa {
                    set_id: SetId(3),
                    asked: BlockNumber(900),
                    precommitted: BlockNumber(10),
                    slack: 16,
                },
            ),
            ErrorCode::AheadOfGroup,
            Some(at_place(BEEFY_VOTE, &[3, 26])),
        ),
        (babe(), Refusal::UnknownKey { key: babe().key }, ErrorCode::UnknownKey, None),
        (
            babe(),
            Refusal::KeyNotArmed { key: babe().key, state: KeyState::Disabled },
            ErrorCode::KeyNotArmed,
            None,
        ),
        (babe(), Refusal::KeyRemoved { key: babe().key }, ErrorCode::KeyNotArmed, None),
        (babe(), Refusal::WrongDuty { key: babe().key, class: BABE_BLOCK }, ErrorCode::WrongKeyType, None),
    ];
    for (claim, refusal, code, bound) in table {
        let error = told(&claim, &refusal);
        assert_eq!((error.code, error.data.bound), (code, bound), "{refusal:?}");
    }
}

#[test]
fn an_equivocation_comes_with_the_evidence() {
    let refusal = Refusal::Equivocation {
        duty: babe().duty,
        signed: Digest([1; 32]),
        asked: Digest([2; 32]),
        at: LogIndex(4),
        time_ms: 77,
        client: ClientId(7),
    };
    let data = told(&babe(), &refusal).data;
    assert_eq!((data.digest_signed, data.digest_asked), (Some(Digest([1; 32])), Some(Digest([2; 32]))));
    assert_eq!((data.log_index, data.time_ms), (Some(LogIndex(4)), Some(77)));
    assert_eq!(data.client.as_deref(), Some("validator-7"));
}

#[test]
fn what_was_not_decided_is_told_with_the_leader() {
    let hint = LeaderHint { node: NodeId(2), url: Some("https://two:7301".into()) };
    let off = SlotOutOfRange { slot: Slot(9), now: Slot(99), tolerance: 3 };
    let Claim { key, duty, .. } = babe();
    for (error, code, kind, leader) in [
        (SubmitError::NotReady(NotReady::NoLeader), ErrorCode::NotReady, ErrorKind::NotReady, true),
        (SubmitError::NotReady(NotReady::Stopping), ErrorCode::NotReady, ErrorKind::NotReady, true),
        (SubmitError::Unknown, ErrorCode::UnknownOutcome, ErrorKind::Unknown, true),
        (SubmitError::SlotOutOfRange(off), ErrorCode::SlotOutOfRange, ErrorKind::NotYet, false),
    ] {
        let told = undecided(&key, &duty, error, Some(hint.clone()));
        assert_eq!((told.code, told.kind()), (code, kind));
        assert_eq!(told.data.leader.is_some(), leader);
        assert!(
            told.message.contains(&key.to_string()) && told.message.contains("slot 9"),
            "{}",
            told.message
        );
        assert_eq!(told.data.duty.as_ref(), Some(&duty));
    }
    let told = undecided(&key, &duty, SubmitError::SlotOutOfRange(off), None);
    assert_eq!(told.data.bound, Position::new(BABE_BLOCK, &[99]));
}
