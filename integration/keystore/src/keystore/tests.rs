//! The keystore as the SDK calls it, against fake signers with real keys.

use super::*;
use crate::{
    metrics::Outcome,
    report::Condition,
    testing::{Bed, Behaviour, FakeSigners, id, vote, vrf_data},
};
use signonce_protocol::{Hash, Slot, blake2_256, rpc::ErrorCode};
use signonce_substrate::{self as ours, EpochIndex, VrfRequest, keccak_256};
use sp_core::crypto::key_types::{AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, IM_ONLINE};

fn babe_pair() -> sr25519::Pair {
    sr25519::Pair::from_seed(&[1; 32])
}

fn gran_pair() -> ed25519::Pair {
    ed25519::Pair::from_seed(&[1; 32])
}

fn beef_pair() -> ecdsa::Pair {
    ecdsa::Pair::from_seed(&[1; 32])
}

fn babe_bed() -> Bed {
    Bed::new(FakeSigners::default().with_sr25519(ours::BABE, &babe_pair()))
}

fn gran_bed() -> Bed {
    Bed::new(FakeSigners::default().with_grandpa(&gran_pair()))
}

/// The hash of a header that the node knows.
fn proposed(bed: &Bed, header: &[u8]) -> [u8; 32] {
    let hash = blake2_256(header);
    bed.node.remember_header(hash, header.to_vec());
    hash
}

fn seal(bed: &Bed, hash: &[u8]) -> Result<Option<sr25519::Signature>, Error> {
    bed.keystore.sr25519_sign(BABE, &babe_pair().public(), hash)
}

const SLOT: VrfRequest = VrfRequest { slot: Slot(77), epoch_index: EpochIndex(3), randomness: Hash([5; 32]) };

fn claim(bed: &Bed) -> Result<Option<sr25519::vrf::VrfSignature>, Error> {
    bed.keystore.sr25519_vrf_sign(BABE, &babe_pair().public(), &vrf_data(&SLOT))
}

#[test]
fn six_hundred_foreign_authorities_cost_no_call() {
    let bed = babe_bed();
    bed.node.remember_slot(SLOT);
    bed.node.open_gate(true);
    for n in 0..600u32 {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&(n + 1_000).to_le_bytes());
        let public = sr25519::Pair::from_seed(&seed).public();
        assert!(matches!(bed.keystore.sr25519_vrf_sign(BABE, &public, &vrf_data(&SLOT)), Ok(None)));
        assert!(!bed.keystore.has_keys(&[(public.0.to_vec(), BABE)]));
        assert!(!bed.keystore.has_keys(&[(public.0.to_vec(), GRANDPA)]));
        assert!(matches!(bed.keystore.sr25519_sign(BABE, &public, &[7; 32]), Ok(None)));
    }
    assert!(bed.signers.calls().is_empty());
    assert!(claim(&bed).unwrap().is_some());
    assert_eq!(bed.signers.calls(), ["babeVrf"]);
}

#[test]
fn lists_and_has_keys_say_what_the_signers_list() {
    let bed = Bed::new(
        FakeSigners::default()
            .with_sr25519(ours::BABE, &babe_pair())
            .with_grandpa(&gran_pair())
            .with_beefy(&beef_pair()),
    );
    let keystore = &bed.keystore;
    assert_eq!(keystore.sr25519_public_keys(BABE), [babe_pair().public()]);
    assert_eq!(keystore.ed25519_public_keys(GRANDPA), [gran_pair().public()]);
    assert_eq!(keystore.ecdsa_public_keys(BEEFY), [beef_pair().public()]);
    assert!(keystore.ed25519_public_keys(BABE).is_empty());
    assert_eq!(keystore.keys(BEEFY).unwrap(), [beef_pair().public().0.to_vec()]);
    let assignment = KeyTypeId(*b"asgn");
    assert!(
        keystore.keys(assignment).unwrap().is_empty() && keystore.sr25519_public_keys(assignment).is_empty()
    );
    let (babe, beefy) = ((babe_pair().public().0.to_vec(), BABE), (beef_pair().public().0.to_vec(), BEEFY));
    assert!(keystore.has_keys(&[babe.clone(), beefy.clone()]));
    assert!(!keystore.has_keys(&[babe.clone(), (babe.0, assignment)]));
    assert!(bed.signers.calls().is_empty());
}

#[test]
fn a_grandpa_key_is_ours_only_while_the_gate_is_open() {
    let bed = gran_bed();
    let key = [(gran_pair().public().0.to_vec(), GRANDPA)];
    assert!(!bed.keystore.has_keys(&key));
    bed.node.open_gate(true);
    assert!(bed.keystore.has_keys(&key));
}

#[test]
fn an_operator_is_told_of_a_grandpa_key_that_waits_behind_its_gate() {
    let bed = gran_bed();
    let for_rpc = RemoteKeystore::new(bed.asker.clone(), AskedBy::Operator);
    let ours = (gran_pair().public().0.to_vec(), GRANDPA);
    assert!(!bed.keystore.has_keys(std::slice::from_ref(&ours)), "the voter must not use it");
    assert!(for_rpc.has_keys(std::slice::from_ref(&ours)));
    assert!(!for_rpc.has_keys(&[ours, (vec![9; 32], GRANDPA)]), "a foreign one is not ours for anybody");
}

#[test]
fn a_proposed_block_is_sealed_with_its_header_sent_along() {
    let bed = babe_bed();
    let hash = proposed(&bed, b"a header");
    let signature = seal(&bed, &hash).unwrap().unwrap();
    assert!(sr25519::Pair::verify(&signature, hash, &babe_pair().public()));
    assert_eq!(bed.signers.calls(), ["babeHeader"]);
    assert_eq!(bed.asker.metrics.requests_with("babeHeader", Outcome::Ok), 1);
}

#[test]
fn a_hash_without_a_known_header_is_never_sent_out() {
    let bed = babe_bed();
    let error = seal(&bed, &[7; 32]).unwrap_err().to_string();
    assert!(error.contains("wrap_proposer") && error.contains("babe:0x"), "{error}");
    assert!(bed.signers.calls().is_empty());
    let beefy = Bed::new(FakeSigners::default().with_beefy(&beef_pair()));
    let error = beefy.keystore.ecdsa_sign_prehashed(BEEFY, &beef_pair().public(), &[7; 32]).unwrap_err();
    assert!(error.to_string().contains("wrap_payload_provider"), "{error}");
    assert!(beefy.signers.calls().is_empty());
}

#[test]
fn beefy_votes_and_proofs_are_signed_each_in_its_own_way() {
    let bed = Bed::new(FakeSigners::default().with_beefy(&beef_pair()));
    let hash = keccak_256(b"a commitment");
    bed.node.remember_commitment(hash, b"a commitment".to_vec());
    let public = beef_pair().public();
    let signature = bed.keystore.ecdsa_sign_prehashed(BEEFY, &public, &hash).unwrap().unwrap();
    assert!(ecdsa::Pair::verify_prehashed(&signature, &hash, &public));
    let proof = bed.keystore.ecdsa_sign(BEEFY, &public, b"POP_").unwrap().unwrap();
    assert!(ecdsa::Pair::verify(&proof, b"POP_", &public));
    assert_eq!(bed.signers.calls(), ["beefyCommitment", "ownershipProof"]);
}

#[test]
fn the_other_keys_sign_what_the_node_hands_over() {
    let pair = babe_pair();
    let bed = Bed::new(
        FakeSigners::default()
            .with_sr25519(ours::AUTHORITY_DISCOVERY, &pair)
            .with_sr25519(ours::IM_ONLINE, &pair),
    );
    let record =
        bed.keystore.sr25519_sign(AUTHORITY_DISCOVERY, &pair.public(), b"\x0arecord").unwrap().unwrap();
    assert!(sr25519::Pair::verify(&record, b"\x0arecord", &pair.public()));
    let crypto = sr25519::CRYPTO_ID;
    let beat = bed.keystore.sign_with(IM_ONLINE, crypto, &pair.public().0, &[0; 16]).unwrap().unwrap();
    assert_eq!(beat.len(), 64);
    assert_eq!(bed.signers.calls(), ["authorityRecord", "heartbeat"]);
}

#[test]
fn a_wrong_signature_is_never_used() {
    let bed = Bed::new(
        FakeSigners::default()
            .with_sr25519(ours::BABE, &babe_pair())
            .with_grandpa(&gran_pair())
            .with_beefy(&beef_pair()),
    );
    bed.signers.behave(Behaviour::Wrong);
    bed.node.remember_slot(SLOT);
    let hash = proposed(&bed, b"a header");
    assert!(seal(&bed, &hash).unwrap_err().to_string().contains("does not hold"));
    assert!(claim(&bed).unwrap_err().to_string().contains("does not hold"));
    assert!(bed.keystore.ed25519_sign(GRANDPA, &gran_pair().public(), &vote(1, 1, [1; 32])).is_err());
    assert!(bed.keystore.ecdsa_sign(BEEFY, &beef_pair().public(), b"POP_").is_err());
    for intent in ["babeHeader", "babeVrf", "grandpaVote", "ownershipProof"] {
        assert_eq!(bed.asker.metrics.requests_with(intent, Outcome::BadSignature), 1, "{intent}");
        assert_eq!(bed.asker.metrics.requests_with(intent, Outcome::Ok), 0, "{intent}");
    }
    // A wrong VRF is not kept for the next time either.
    bed.signers.behave(Behaviour::Good);
    assert!(claim(&bed).unwrap().is_some() && seal(&bed, &hash).unwrap().is_some());
    assert!(!bed.asker.report.holds(&Condition::BadSignature(id(ours::BABE, babe_pair().public()))));
}

#[test]
fn a_vrf_is_asked_for_once_per_slot_and_holds_for_its_data_only() {
    let bed = babe_bed();
    bed.node.remember_slot(SLOT);
    let first = claim(&bed).unwrap().unwrap();
    let again = claim(&bed).unwrap().unwrap();
    assert_eq!(first, again);
    assert_eq!(bed.signers.calls(), ["babeVrf"]);
    assert!(crate::verify::vrf_holds(&babe_pair().public(), &vrf_data(&SLOT), &first));
    // Same slot, but with extra data that no signer was told of: the kept answer does not do, nor does a new one.
    let extra = sr25519::vrf::VrfTranscript::new(b"extra", &[]);
    let with_extra = vrf_data(&SLOT).with_extra(extra);
    assert!(bed.keystore.sr25519_vrf_sign(BABE, &babe_pair().public(), &with_extra).is_err());
    let input = vrf_data(&SLOT).as_ref().clone();
    let pre_output = bed.keystore.sr25519_vrf_pre_output(BABE, &babe_pair().public(), &input).unwrap();
    assert_eq!(pre_output, Some(first.pre_output));
}

#[test]
fn a_vrf_of_an_unknown_epoch_is_an_error_that_says_what_is_missing() {
    let bed = babe_bed();
    let error = claim(&bed).unwrap_err().to_string();
    assert!(error.contains("watch_epochs"), "{error}");
    assert!(bed.signers.calls().is_empty());
}

#[test]
fn silent_signers_cost_a_deadline_and_then_an_error() {
    let bed = babe_bed();
    bed.node.remember_slot(SLOT);
    bed.signers.behave(Behaviour::Silent);
    let hash = proposed(&bed, b"a header");
    assert!(seal(&bed, &hash).unwrap_err().to_string().contains("no answer in time"));
    assert!(claim(&bed).is_err());
    assert!(bed.keystore.sr25519_sign(BABE, &babe_pair().public(), b"POP_").is_err());
    bed.signers.behave(Behaviour::Good);
    assert!(seal(&bed, &hash).unwrap().is_some());
}

#[test]
fn while_no_signer_serves_a_vrf_is_asked_for_beside_babe_and_there_when_it_asks_again() {
    let bed = babe_bed();
    bed.node.remember_slot(SLOT);
    bed.signers.behave(Behaviour::Away);
    assert!(claim(&bed).is_err());
    while !bed.asker.link.is_down() {
        std::thread::yield_now();
    }
    // A job that never ended would hold BABE up until the deadline; this is not waited for at all.
    bed.signers.first(&[Behaviour::Silent]);
    assert!(claim(&bed).unwrap_err().to_string().contains("not held up"));
    assert_eq!(bed.asker.metrics.requests_with("babeVrf", Outcome::Unreachable), 1);
    bed.signers.behave(Behaviour::Good);
    while bed.asker.link.is_down() {
        std::thread::yield_now();
    }
    assert!(claim(&bed).unwrap().is_some());
}

/// Has the signers away for longer than an election of theirs takes.
fn outage(bed: &Bed) {
    bed.signers.behave(Behaviour::Away);
    bed.asker.link.missed();
    until(|| bed.asker.link.is_out());
}

fn outage_over(bed: &Bed) {
    bed.signers.behave(Behaviour::Good);
    until(|| !bed.asker.link.is_down());
}

fn until(done: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !done() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
        std::thread::yield_now();
    }
}

#[test]
fn in_an_outage_nothing_that_may_fail_is_asked_for_or_waited_for() {
    let pair = babe_pair();
    let bed = Bed::new(
        FakeSigners::default()
            .with_sr25519(ours::BABE, &pair)
            .with_beefy(&beef_pair())
            .with_sr25519(ours::PARA, &sr25519::Pair::from_seed(&[2; 32]))
            .with_sr25519(ours::AUTHORITY_DISCOVERY, &sr25519::Pair::from_seed(&[3; 32]))
            .with_sr25519(ours::IM_ONLINE, &sr25519::Pair::from_seed(&[4; 32])),
    );
    let header = proposed(&bed, b"a header");
    let commitment = keccak_256(b"a commitment");
    bed.node.remember_commitment(commitment, b"a commitment".to_vec());
    let of = |seed| sr25519::Pair::from_seed(&[seed; 32]).public();
    let para = KeyTypeId(*b"para");
    let side = [b"BKNG\x01".as_slice(), &[1; 32], &[0; 36]].concat();
    let bitfield = [[4u8].as_slice(), &[1], &[0; 36]].concat();
    let ask_all = || {
        [
            seal(&bed, &header).map(|it| it.is_some()),
            bed.keystore
                .ecdsa_sign_prehashed(BEEFY, &beef_pair().public(), &commitment)
                .map(|it| it.is_some()),
            bed.keystore.sr25519_sign(para, &of(2), &side).map(|it| it.is_some()),
            bed.keystore.sr25519_sign(para, &of(2), &bitfield).map(|it| it.is_some()),
            bed.keystore.sr25519_sign(AUTHORITY_DISCOVERY, &of(3), b"record").map(|it| it.is_some()),
            bed.keystore.sr25519_sign(IM_ONLINE, &of(4), b"heartbeat").map(|it| it.is_some()),
            bed.keystore.sr25519_sign(BABE, &pair.public(), b"POP_").map(|it| it.is_some()),
        ]
    };
    outage(&bed);
    for result in ask_all() {
        assert!(result.unwrap_err().to_string().contains("no signer serves"));
    }
    assert!(bed.asker.generate(ours::BABE, ours::SR25519).is_err());
    assert!(bed.signers.calls().is_empty(), "{:?}", bed.signers.calls());
    assert_eq!(bed.asker.metrics.requests_with("statement", Outcome::Unreachable), 1);
    // Nothing of that is a refusal: the same is signed when they are back.
    outage_over(&bed);
    for result in ask_all() {
        assert!(result.unwrap());
    }
}

#[test]
fn what_nobody_answered_is_not_asked_again_for_a_moment_but_everything_else_is() {
    let pair = babe_pair();
    let bed = Bed::new(FakeSigners::default().with_sr25519(ours::AUTHORITY_DISCOVERY, &pair));
    let ask = |record: &[u8]| bed.keystore.sr25519_sign(AUTHORITY_DISCOVERY, &pair.public(), record);
    bed.signers.first(&[Behaviour::Silent]);
    assert!(ask(b"record").is_err());
    assert!(ask(b"record").unwrap_err().to_string().contains("a moment ago"));
    assert_eq!(bed.signers.calls().len(), 1);
    assert!(ask(b"another record").unwrap().is_some());
    until(|| ask(b"record").is_ok());
    assert_eq!(bed.signers.calls().len(), 3);
}

#[test]
fn a_vote_of_a_voter_that_asks_again_is_given_up_and_that_is_no_denial() {
    let bed = Bed::whose_voter_asks_again(FakeSigners::default().with_grandpa(&gran_pair()));
    let ask = || bed.keystore.ed25519_sign(GRANDPA, &gran_pair().public(), &vote(4, 9, [1; 32]));
    bed.signers.first(&[Behaviour::Silent]);
    assert!(ask().is_err(), "two seconds are enough");
    outage(&bed);
    assert!(ask().unwrap_err().to_string().contains("no signer serves"));
    assert_eq!((bed.node.votes(), bed.signers.calls().len()), (vec![], 1));
    outage_over(&bed);
    assert!(ask().unwrap().is_some());
    bed.signers.behave(Behaviour::Refuse(ErrorCode::RateLimited));
    assert!(bed.keystore.ed25519_sign(GRANDPA, &gran_pair().public(), &vote(4, 10, [1; 32])).is_err());
    let place = crate::ask::VotePosition { set_id: 4, round: 9 };
    assert_eq!(bed.node.votes(), [(place, true)], "nothing is said of a vote by a limit of the client");
}

#[test]
fn every_denial_of_a_vote_is_told_to_the_gate_also_one_from_memory_and_one_of_a_bad_signature() {
    for behaviour in [
        Behaviour::Refuse(ErrorCode::Equivocation),
        Behaviour::Refuse(ErrorCode::Forbidden),
        Behaviour::Wrong,
    ] {
        let bed = gran_bed();
        bed.signers.behave(behaviour);
        for asked in 1..=3 {
            assert!(bed.keystore.ed25519_sign(GRANDPA, &gran_pair().public(), &vote(4, 9, [1; 32])).is_err());
            let place = crate::ask::VotePosition { set_id: 4, round: 9 };
            assert_eq!(bed.node.votes(), vec![(place, false); asked], "{behaviour:?}");
        }
    }
}

#[test]
fn a_vote_is_asked_for_until_it_is_answered() {
    let bed = gran_bed();
    let unready = Behaviour::Refuse(ErrorCode::KeyNotArmed);
    bed.signers.first(&[Behaviour::Away, Behaviour::Away, unready]);
    let message = vote(4, 9, [1; 32]);
    let signature = bed.keystore.ed25519_sign(GRANDPA, &gran_pair().public(), &message).unwrap().unwrap();
    assert!(ed25519::Pair::verify(&signature, &message, &gran_pair().public()));
    assert_eq!(bed.signers.calls(), ["grandpaVote"; 4]);
    assert_eq!(bed.node.votes(), [(crate::ask::VotePosition { set_id: 4, round: 9 }, true)]);
}

#[test]
fn a_refused_vote_is_an_error_at_once_and_closes_the_gate() {
    let bed = gran_bed();
    bed.signers.behave(Behaviour::Refuse(ErrorCode::Equivocation));
    let ask = || bed.keystore.ed25519_sign(GRANDPA, &gran_pair().public(), &vote(4, 9, [1; 32]));
    assert!(ask().unwrap_err().to_string().contains("equivocation"));
    assert_eq!(bed.node.votes(), [(crate::ask::VotePosition { set_id: 4, round: 9 }, false)]);
    assert_eq!(bed.signers.calls().len(), 1);
}

#[test]
fn a_final_refusal_is_answered_from_here_afterwards() {
    let bed = babe_bed();
    let (refused, other) = (proposed(&bed, b"a header"), proposed(&bed, b"another header"));
    bed.signers.first(&[Behaviour::Refuse(ErrorCode::Equivocation)]);
    assert!(seal(&bed, &refused).is_err());
    for _ in 0..3 {
        assert!(seal(&bed, &refused).unwrap_err().to_string().contains("refused before"));
    }
    assert_eq!(bed.signers.calls().len(), 1);
    assert!(seal(&bed, &other).unwrap().is_some());
    assert_eq!(bed.asker.metrics.requests_with("babeHeader", Outcome::RefusedBefore), 3);
    assert_eq!(bed.asker.metrics.calls_with("babeHeader"), 2);
}

#[test]
fn clock_skew_is_told_when_it_begins_and_when_it_ends() {
    let bed = babe_bed();
    bed.signers.behave(Behaviour::Refuse(ErrorCode::SlotOutOfRange));
    for header in [b"one", b"two"] {
        assert!(seal(&bed, &proposed(&bed, header)).is_err());
    }
    assert!(bed.asker.report.holds(&Condition::ClockSkew));
    bed.signers.behave(Behaviour::Good);
    assert!(seal(&bed, &proposed(&bed, b"three")).is_ok());
    assert!(!bed.asker.report.holds(&Condition::ClockSkew));
}

#[test]
fn a_class_the_client_may_not_do_is_not_asked_for() {
    let signers = FakeSigners::default().with_sr25519(ours::BABE, &babe_pair()).without(ours::BABE_VRF);
    let bed = Bed::new(signers);
    bed.node.remember_slot(SLOT);
    assert!(claim(&bed).unwrap_err().to_string().contains("no right to babeVrf"));
    assert!(bed.signers.calls().is_empty());
    assert!(seal(&bed, &proposed(&bed, b"a header")).unwrap().is_some());
}

#[test]
fn a_call_from_inside_a_tokio_worker_works() {
    let bed = babe_bed();
    let hash = proposed(&bed, b"a header");
    let node = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(node.block_on(async { seal(&bed, &hash) }).unwrap().is_some());
}

#[test]
fn a_rotation_makes_keys_that_are_ours_at_once_and_prove_their_owner() {
    let bed = babe_bed();
    let public = bed.keystore.sr25519_generate_new(BABE, None).unwrap();
    assert!(bed.keystore.has_keys(&[(public.0.to_vec(), BABE)]));
    let proof = bed.keystore.sr25519_sign(BABE, &public, b"POP_owner").unwrap().unwrap();
    assert!(sr25519::Pair::verify(&proof, b"POP_owner", &public));
    assert_eq!(bed.signers.calls(), ["generateKey", "ownershipProof"]);
    let beefy = bed.keystore.ecdsa_generate_new(BEEFY, None).unwrap();
    assert!(bed.keystore.ecdsa_public_keys(BEEFY).contains(&beefy));
}

#[test]
fn a_rotation_that_fails_gives_keys_without_proofs_and_makes_no_more_of_them() {
    for behaviour in [Behaviour::Refuse(ErrorCode::Forbidden), Behaviour::Away, Behaviour::Wrong] {
        let bed = babe_bed();
        bed.signers.first(&[behaviour]);
        let babe = bed.keystore.sr25519_generate_new(BABE, None).unwrap();
        let gran = bed.keystore.ed25519_generate_new(GRANDPA, None).unwrap();
        assert_eq!(bed.signers.calls(), ["generateKey"], "{behaviour:?}");
        assert!(!bed.keystore.has_keys(&[(babe.0.to_vec(), BABE)]));
        assert!(matches!(bed.keystore.sr25519_sign(BABE, &babe, b"POP_"), Ok(None)));
        assert!(matches!(bed.keystore.ed25519_sign(GRANDPA, &gran, b"POP_"), Ok(None)));
        // The next rotation is a new try.
        let public = bed.keystore.sr25519_generate_new(BABE, None).unwrap();
        assert!(bed.keystore.has_keys(&[(public.0.to_vec(), BABE)]));
    }
}

#[test]
fn keys_of_types_the_signers_do_not_hold_are_not_made() {
    let bed = babe_bed();
    let public = bed.keystore.sr25519_generate_new(KeyTypeId(*b"asgn"), None).unwrap();
    assert!(matches!(bed.keystore.sr25519_sign(KeyTypeId(*b"asgn"), &public, b"POP_"), Ok(None)));
    assert!(bed.signers.calls().is_empty());
}

#[test]
fn keys_from_seeds_and_inserted_keys_are_turned_away() {
    let bed = babe_bed();
    let error = bed.keystore.sr25519_generate_new(BABE, Some("//Alice")).unwrap_err().to_string();
    assert!(error.contains("--alice") && error.contains("signonce keys import"), "{error}");
    assert!(bed.keystore.insert(BABE, "//Alice", &[1; 32]).is_err());
    assert!(bed.signers.calls().is_empty());
}

#[test]
fn recorded_votes_are_asked_for_on_behalf_of_the_gate() {
    use crate::gate::Preflight;
    let bed = gran_bed();
    let public = id(ours::GRANDPA, gran_pair().public()).public;
    let ask = |behaviour| {
        bed.signers.first(&[behaviour]);
        bed.asker.preflight(&public, vote(1, 2, [3; 32]))
    };
    assert_eq!(ask(Behaviour::Good), Preflight::Signed);
    assert_eq!(ask(Behaviour::Wrong), Preflight::Unknown);
    assert_eq!(ask(Behaviour::Away), Preflight::Unknown);
    assert_eq!(ask(Behaviour::Refuse(ErrorCode::RateLimited)), Preflight::Unknown);
    assert_eq!(ask(Behaviour::Refuse(ErrorCode::Equivocation)), Preflight::Refused);
    let foreign = id(ours::GRANDPA, [9; 32]).public;
    assert_eq!(bed.asker.preflight(&foreign, vote(1, 2, [3; 32])), Preflight::Unknown);
}
