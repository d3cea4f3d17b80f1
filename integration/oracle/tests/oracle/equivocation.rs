//! Why signatures must be deterministic: the on-chain proof of a BABE equivocation compares *sealed* headers, so two
//! different seals over one header are a slashable offence. Ours are always the same.

use crate::{
    cases::{Header32, RefMessage, babe_header, beefy_commitment, grandpa_vote},
    random::Random,
    sign::{ec_public, ec_signature, ed_public, ed_signature, key, sr_public, sr_signature},
};
use finality_grandpa::{Equivocation as Votes, Message};
use parity_scale_codec::DecodeAll as _;
use signonce_substrate::{ChainFormat, Kind, Payload, payload::Content};
use signonce_substrate::{ECDSA, ED25519, SR25519};
use sp_consensus_babe::{EquivocationProof, check_equivocation_proof, digests::CompatibleDigestItem as _};
use sp_consensus_beefy::{
    Commitment, DoubleVotingProof, Payload as BeefyPayload, VoteMessage, check_double_voting_proof,
    ecdsa_crypto::AuthorityId, known_payloads::MMR_ROOT_ID,
};
use sp_core::{H256, Pair as _, sr25519};
use sp_runtime::{
    DigestItem,
    traits::{BlakeTwo256, Hash as _, Header as _},
};

const SEED: [u8; 32] = [42; 32];
const FORMAT: ChainFormat = ChainFormat {
    number_width: signonce_substrate::NumberWidth::U32,
    aura_mode: signonce_substrate::AuraMode::Slot,
};

/// A header of the reference, its slot, and the payload we read from it.
fn header(seed: u64) -> (Header32, u64, Payload) {
    let case = babe_header(&mut Random::new(seed), FORMAT);
    let payload = Payload::decode(Kind::BabeHeader, &case.bytes, &FORMAT).expect("the reference made it");
    let Content::BabeHeader(it) = payload.content() else { panic!("a BABE header") };
    let slot = it.slot.0;
    (Header32::decode_all(&mut &case.bytes[..]).expect("the reference made it"), slot, payload)
}

fn sealed(mut header: Header32, signature: sr25519::Signature) -> Header32 {
    header.digest_mut().push(DigestItem::babe_seal(signature.into()));
    header
}

fn is_equivocation(slot: u64, first_header: Header32, second_header: Header32) -> bool {
    let offender = sr_public(&key(SR25519, &SEED)).into();
    check_equivocation_proof(EquivocationProof { offender, slot: slot.into(), first_header, second_header })
}

#[test]
fn two_nodes_seals_on_one_header_are_no_equivocation() {
    for seed in 0..20 {
        let (header, slot, payload) = header(seed);
        let [first, second] = [(); 2].map(|()| {
            let node = key(SR25519, &SEED);
            sealed(header.clone(), sr_signature(&node.sign(payload.to_sign()).expect("an honest header")))
        });
        assert_eq!(first.hash(), second.hash());
        assert!(!is_equivocation(slot, first, second));
    }
}

#[test]
fn two_randomised_seals_on_one_header_would_be_slashed() {
    let (header, slot, payload) = header(1);
    let pair = sr25519::Pair::from_seed(&SEED);
    let [first, second] = [(); 2].map(|()| sealed(header.clone(), pair.sign(payload.to_sign().as_bytes())));
    assert_ne!(first.hash(), second.hash(), "sp_core signs with randomness");
    assert!(is_equivocation(slot, first, second));
    // A seal of ours beside one of the validator's own local key is one too: the old key file must go.
    let ours = sr_signature(&key(SR25519, &SEED).sign(payload.to_sign()).expect("an honest header"));
    let theirs = pair.sign(payload.to_sign().as_bytes());
    assert!(is_equivocation(slot, sealed(header.clone(), ours), sealed(header, theirs)));
}

#[test]
fn two_headers_for_a_slot_are_the_equivocation_the_ledger_refuses() {
    let (first, slot, payload) = header(1);
    let mut second = first.clone();
    second.set_state_root(H256([9; 32]));
    let other = Payload::decode(Kind::BabeHeader, &parity_scale_codec::Encode::encode(&second), &FORMAT)
        .expect("only the state root differs");
    assert_eq!(payload.duty(), other.duty(), "one duty");
    assert_ne!(payload.digest(), other.digest(), "two digests");
    let node = key(SR25519, &SEED);
    let seal = |payload: &Payload| sr_signature(&node.sign(payload.to_sign()).expect("keys know no duties"));
    assert!(is_equivocation(slot, sealed(first, seal(&payload)), sealed(second, seal(&other))));
}

#[test]
fn the_digest_of_a_grandpa_duty_tells_an_equivocation_from_a_repeat() {
    let case = grandpa_vote(&mut Random::new(3), FORMAT);
    let (message, round, set) =
        <(RefMessage<u32>, u64, u64)>::decode_all(&mut &case.bytes[..]).expect("the reference made it");
    let (target_hash, target_number) = (*message.target().0, message.target().1);
    let vote = |target_hash, target_number| finality_grandpa::Prevote { target_hash, target_number };
    let node = key(ED25519, &SEED);
    let signed = |vote: finality_grandpa::Prevote<H256, u32>| {
        let bytes = sp_consensus_grandpa::localized_payload(round, set, &Message::Prevote(vote.clone()));
        let payload = Payload::decode(Kind::GrandpaVote, &bytes, &FORMAT).expect("a vote");
        let signature = node.sign(payload.to_sign()).expect("a vote");
        (vote, sp_consensus_grandpa::AuthoritySignature::from(ed_signature(&signature)), payload.digest())
    };
    let is_equivocation =
        |first: (finality_grandpa::Prevote<H256, u32>, _, signonce_protocol::Digest),
         second: (finality_grandpa::Prevote<H256, u32>, _, signonce_protocol::Digest)| {
            let same = first.2 == second.2;
            let votes = Votes {
                round_number: round,
                identity: ed_public(&node).into(),
                first: (first.0, first.1),
                second: (second.0, second.1),
            };
            let proof = sp_consensus_grandpa::EquivocationProof::new(
                set,
                sp_consensus_grandpa::Equivocation::Prevote(votes),
            );
            let slashed = sp_consensus_grandpa::check_equivocation_proof(proof);
            assert_eq!(slashed, !same, "a digest stands for exactly one vote");
            slashed
        };
    let once = || signed(vote(target_hash, target_number));
    assert!(!is_equivocation(once(), once()));
    assert!(is_equivocation(once(), signed(vote(BlakeTwo256::hash(b"fork"), target_number))));
    assert!(is_equivocation(once(), signed(vote(target_hash, target_number ^ 1))));
}

#[test]
fn the_digest_of_a_beefy_duty_tells_a_double_vote_from_a_repeat() {
    let case = beefy_commitment(&mut Random::new(4), FORMAT);
    let commitment = Commitment::<u32>::decode_all(&mut &case.bytes[..]).expect("the reference made it");
    let fork = Commitment {
        payload: BeefyPayload::from_single_entry(MMR_ROOT_ID, vec![1; 32]),
        ..commitment.clone()
    };
    let node = key(ECDSA, &SEED);
    let signed = |commitment: &Commitment<u32>| {
        let bytes = parity_scale_codec::Encode::encode(commitment);
        let payload = Payload::decode(Kind::BeefyCommitment, &bytes, &FORMAT).expect("a commitment");
        let signature = ec_signature(&node.sign(payload.to_sign()).expect("a commitment"));
        let id = AuthorityId::from(ec_public(&node));
        (VoteMessage { commitment: commitment.clone(), id, signature: signature.into() }, payload)
    };
    for second in [&commitment, &fork] {
        let ((first, ours), (second, other)) = (signed(&commitment), signed(second));
        assert_eq!(ours.duty(), other.duty());
        let slashed = check_double_voting_proof(&DoubleVotingProof { first, second });
        assert_eq!(slashed, ours.digest() != other.digest());
    }
}
