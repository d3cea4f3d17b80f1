//! The reference verifies what our keys sign, payload by payload, by the interface its own nodes and runtimes use.

use crate::{
    cases::{Case, Header32, Header64, MAKERS, RefMessage, formats},
    random::Random,
};
use parity_scale_codec::{Codec, DecodeAll};
use polkadot_primitives::{
    AvailabilityBitfield, CandidateHash, CompactStatement, DisputeStatement, InvalidDisputeStatementKind,
    SigningContext, UncheckedSigned, ValidDisputeStatementKind, ValidatorId, ValidatorIndex,
    ValidatorSignature,
};
use signonce_keys::{SecretKey, Signature, verify};
use signonce_protocol::{Algorithm, Scheme, ToSign};
use signonce_substrate::{ChainFormat, NumberWidth, Payload, payload::Content};
use signonce_substrate::{ECDSA, ED25519, Kind, SR25519};
use sp_application_crypto::RuntimeAppPublic as _;
use sp_consensus_aura::digests::CompatibleDigestItem as AuraItem;
use sp_consensus_babe::digests::CompatibleDigestItem as BabeItem;
use sp_consensus_beefy::{Commitment, check_commitment_signature, ecdsa_crypto};
use sp_consensus_grandpa::{SignatureResult, check_message_signature};
use sp_core::{Pair as _, ecdsa, ed25519, proof_of_possession::ProofOfPossessionVerifier as _, sr25519};
use sp_runtime::{DigestItem, traits::Header};

/// Our key of a scheme.
pub fn key(scheme: Scheme, seed: &[u8; 32]) -> SecretKey {
    signonce_substrate::install();
    SecretKey::from_seed(scheme, seed).expect("a seed gives a key")
}

pub fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("bytes of the length of their type")
}

pub fn sr_public(key: &SecretKey) -> sr25519::Public {
    sr25519::Public::from_raw(fixed(key.public().as_bytes()))
}

pub fn ed_public(key: &SecretKey) -> ed25519::Public {
    ed25519::Public::from_raw(fixed(key.public().as_bytes()))
}

pub fn ec_public(key: &SecretKey) -> ecdsa::Public {
    ecdsa::Public::from_raw(fixed(key.public().as_bytes()))
}

pub fn sr_signature(signature: &Signature) -> sr25519::Signature {
    sr25519::Signature::from_raw(fixed(signature.as_bytes()))
}

pub fn ed_signature(signature: &Signature) -> ed25519::Signature {
    ed25519::Signature::from_raw(fixed(signature.as_bytes()))
}

pub fn ec_signature(signature: &Signature) -> ecdsa::Signature {
    ecdsa::Signature::from_raw(fixed(signature.as_bytes()))
}

/// The schemes that sign a kind on real chains.
fn schemes(kind: Kind) -> &'static [Scheme] {
    match kind {
        Kind::BabeHeader
        | Kind::Statement
        | Kind::Approval
        | Kind::Dispute
        | Kind::Bitfield
        | Kind::PvfCheck
        | Kind::AuthorityRecord
        | Kind::Heartbeat => &[SR25519],
        Kind::AuraHeader => &[SR25519, ED25519],
        Kind::GrandpaVote => &[ED25519],
        Kind::BeefyCommitment => &[ECDSA],
        Kind::OwnershipProof => &[SR25519, ED25519, ECDSA],
    }
}

#[test]
fn the_reference_accepts_our_signature_on_every_kind_of_payload() {
    for (name, make) in MAKERS {
        for format in formats() {
            for seed in 0..12 {
                let mut random = Random::new(seed);
                let case = make(&mut random, format);
                let kind = case.content.kind();
                let payload = Payload::decode(kind, &case.bytes, &format).expect("the reference made it");
                for scheme in schemes(kind) {
                    let (key, other) = (key(*scheme, &random.block()), key(*scheme, &random.block()));
                    let signature = key.sign(payload.to_sign()).expect("an honest payload");
                    assert_eq!(key.sign(payload.to_sign()), Ok(signature), "{name}: deterministic");
                    assert!(accepts(&case, &key, &signature), "{name}, seed {seed}, {scheme}");
                    assert!(
                        !accepts(&case, &other, &signature),
                        "{name}, seed {seed}, {scheme}: another key's"
                    );
                }
            }
        }
    }
}

/// Whether the reference takes `signature` for `key`'s on the case's payload.
fn accepts(case: &Case, key: &SecretKey, signature: &Signature) -> bool {
    let bytes = case.bytes.as_slice();
    match (&case.content, case.format.number_width) {
        (Content::BabeHeader(_) | Content::AuraHeader(_), NumberWidth::U32) => {
            seal_verifies::<Header32>(case, key, signature)
        }
        (Content::BabeHeader(_) | Content::AuraHeader(_), NumberWidth::U64) => {
            seal_verifies::<Header64>(case, key, signature)
        }
        (Content::GrandpaVote(_), NumberWidth::U32) => grandpa_verifies::<u32>(bytes, key, signature),
        (Content::GrandpaVote(_), NumberWidth::U64) => grandpa_verifies::<u64>(bytes, key, signature),
        (Content::BeefyCommitment(_), NumberWidth::U32) => beefy_verifies::<u32>(bytes, key, signature),
        (Content::BeefyCommitment(_), NumberWidth::U64) => beefy_verifies::<u64>(bytes, key, signature),
        (Content::OwnershipProof(it), _) => possession_verifies(&it.owner, key, signature),
        (Content::Heartbeat(_) | Content::AuthorityRecord(_), _) => {
            sr25519::Pair::verify(&sr_signature(signature), bytes, &sr_public(key))
        }
        (content, _) => para_verifies(content, bytes, key, signature),
    }
}

/// As `check_equivocation_proof` and the import queues do it: pop the seal, hash the rest, verify.
fn seal_verifies<H: Header<Hash = sp_core::H256> + DecodeAll>(
    case: &Case,
    key: &SecretKey,
    signature: &Signature,
) -> bool {
    let mut header = H::decode_all(&mut &case.bytes[..]).expect("the reference made it");
    let babe = matches!(case.content, Content::BabeHeader(_));
    header.digest_mut().push(match (babe, key.scheme()) {
        (true, _) => DigestItem::babe_seal(sr_signature(signature).into()),
        (false, ED25519) => AuraItem::<sp_consensus_aura::ed25519::AuthoritySignature>::aura_seal(
            ed_signature(signature).into(),
        ),
        (false, _) => AuraItem::<sp_consensus_aura::sr25519::AuthoritySignature>::aura_seal(
            sr_signature(signature).into(),
        ),
    });
    let sealed_hash = header.hash();
    let seal = header.digest_mut().pop().expect("just pushed");
    let pre_hash = header.hash();
    assert_ne!(sealed_hash, pre_hash);
    match (babe, key.scheme()) {
        (true, _) => seal.as_babe_seal().is_some_and(|seal| {
            sp_consensus_babe::AuthorityId::from(sr_public(key)).verify(&pre_hash.as_ref(), &seal)
        }),
        (false, ED25519) => AuraItem::as_aura_seal(&seal).is_some_and(|seal| {
            sp_consensus_aura::ed25519::AuthorityId::from(ed_public(key)).verify(&pre_hash.as_ref(), &seal)
        }),
        (false, _) => AuraItem::as_aura_seal(&seal).is_some_and(|seal| {
            sp_consensus_aura::sr25519::AuthorityId::from(sr_public(key)).verify(&pre_hash.as_ref(), &seal)
        }),
    }
}

fn grandpa_verifies<N: Codec>(mut bytes: &[u8], key: &SecretKey, signature: &Signature) -> bool {
    let (message, round, set) =
        <(RefMessage<N>, u64, u64)>::decode_all(&mut bytes).expect("the reference made it");
    let (id, signature) = (ed_public(key).into(), ed_signature(signature).into());
    check_message_signature(&message, &id, &signature, round, set) == SignatureResult::Valid
}

fn beefy_verifies<N: Codec + Clone + PartialEq>(
    mut bytes: &[u8],
    key: &SecretKey,
    signature: &Signature,
) -> bool {
    let commitment = Commitment::<N>::decode_all(&mut bytes).expect("the reference made it");
    let id = ecdsa_crypto::AuthorityId::from(ec_public(key));
    check_commitment_signature(&commitment, &id, &ec_signature(signature).into())
}

fn possession_verifies(owner: &[u8], key: &SecretKey, signature: &Signature) -> bool {
    match key.scheme().algorithm() {
        Algorithm::Sr25519 => {
            sr25519::Pair::verify_proof_of_possession(owner, &sr_signature(signature), &sr_public(key))
        }
        Algorithm::Ed25519 => {
            ed25519::Pair::verify_proof_of_possession(owner, &ed_signature(signature), &ed_public(key))
        }
        Algorithm::Secp256k1Recoverable => {
            ecdsa::Pair::verify_proof_of_possession(owner, &ec_signature(signature), &ec_public(key))
        }
        Algorithm::Secp256k1Compact => unreachable!("no scheme of Substrate's"),
    }
}

/// Statements and bitfields as signed items of a relay parent, and as votes of a dispute where they can become such.
fn para_verifies(content: &Content, mut bytes: &[u8], key: &SecretKey, signature: &Signature) -> bool {
    let id = ValidatorId::from(sr_public(key));
    let signature = ValidatorSignature::from(sr_signature(signature));
    let index = ValidatorIndex(3);
    let candidate = |it: &signonce_substrate::CandidateHash| CandidateHash(it.0.into());
    let vote = |vote: DisputeStatement, of: &signonce_substrate::CandidateHash, session: u32| {
        vote.check_signature(&id, candidate(of), session, &signature).is_ok()
    };
    match content {
        Content::Statement(it) => {
            let (statement, context) =
                <(CompactStatement, SigningContext)>::decode_all(&mut bytes).expect("the reference made it");
            let backing = match statement {
                CompactStatement::Seconded(_) => {
                    ValidDisputeStatementKind::BackingSeconded(context.parent_hash)
                }
                CompactStatement::Valid(_) => ValidDisputeStatementKind::BackingValid(context.parent_hash),
            };
            let signed = UncheckedSigned::<CompactStatement>::new(statement, index, signature.clone());
            let verifies = signed.check_signature(&context, &id).is_ok();
            assert_eq!(verifies, vote(DisputeStatement::Valid(backing), &it.candidate, it.session.0));
            verifies
        }
        Content::Bitfield(_) => {
            let (field, context) = <(AvailabilityBitfield, SigningContext)>::decode_all(&mut bytes)
                .expect("the reference made it");
            UncheckedSigned::<AvailabilityBitfield>::new(field, index, signature.clone())
                .check_signature(&context, &id)
                .is_ok()
        }
        Content::Approval(it) => {
            let kind = match it.candidates.as_slice() {
                [_] => ValidDisputeStatementKind::ApprovalChecking,
                many => ValidDisputeStatementKind::ApprovalCheckingMultipleCandidates(
                    many.iter().map(candidate).collect::<Vec<_>>().try_into().expect("at most 16"),
                ),
            };
            it.candidates.iter().all(|of| vote(DisputeStatement::Valid(kind.clone()), of, it.session.0))
        }
        Content::Dispute(it) => {
            let statement = match it.side {
                signonce_substrate::Side::Valid => {
                    DisputeStatement::Valid(ValidDisputeStatementKind::Explicit)
                }
                signonce_substrate::Side::Invalid => {
                    DisputeStatement::Invalid(InvalidDisputeStatementKind::Explicit)
                }
            };
            vote(statement, &it.candidate, it.session.0)
        }
        _ => id.verify(&bytes, &signature),
    }
}

#[test]
fn the_reference_verifies_our_signatures_on_any_message_and_we_verify_theirs() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let secret = random.block();
        let len = random.below(300) as usize;
        let message = random.bytes(len);
        let to_sign = ToSign::Message(&message);
        let sign = |scheme| key(scheme, &secret).sign(to_sign).expect("any message");
        let verifies =
            |scheme, theirs: &[u8]| verify(scheme, &key(scheme, &secret).public(), to_sign, theirs);

        let (pair, ours) = (sr25519::Pair::from_seed(&secret), sign(SR25519));
        assert!(sr25519::Pair::verify(&sr_signature(&ours), &message, &pair.public()));
        assert!(verifies(SR25519, pair.sign(&message).as_ref()));

        let (pair, ours) = (ed25519::Pair::from_seed(&secret), sign(ED25519));
        assert!(ed25519::Pair::verify(&ed_signature(&ours), &message, &pair.public()));
        assert!(verifies(ED25519, pair.sign(&message).as_ref()));
        assert_eq!(ed_signature(&ours), pair.sign(&message), "ed25519 has one signature");

        let (pair, ours) = (ecdsa::Pair::from_seed(&secret), sign(ECDSA));
        assert!(ecdsa::Pair::verify(&ec_signature(&ours), &message, &pair.public()));
        assert!(verifies(ECDSA, pair.sign(&message).as_ref()));
        assert_eq!(ec_signature(&ours), pair.sign(&message), "RFC 6979 has one signature");

        let hash = random.block();
        let ours = key(ECDSA, &secret).sign(ToSign::Prehashed(hash)).expect("any hash");
        assert!(ecdsa::Pair::verify_prehashed(&ec_signature(&ours), &hash, &pair.public()));
        assert_eq!(ec_signature(&ours), pair.sign_prehashed(&hash));
    }
}

#[test]
fn a_damaged_signature_is_refused_by_both() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let (secret, message) = (random.block(), random.bytes(50));
        for scheme in [SR25519, ED25519, ECDSA] {
            let key = key(scheme, &secret);
            let mut bytes = key.sign(ToSign::Message(&message)).expect("any message").as_bytes().to_vec();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
            assert!(
                !verify(scheme, &key.public(), ToSign::Message(&message), &bytes),
                "{scheme}, seed {seed}"
            );
            let damaged = Signature::try_from(bytes.as_slice()).expect("still as long");
            assert!(!match scheme.algorithm() {
                Algorithm::Sr25519 =>
                    sr25519::Pair::verify(&sr_signature(&damaged), &message, &sr_public(&key)),
                Algorithm::Ed25519 =>
                    ed25519::Pair::verify(&ed_signature(&damaged), &message, &ed_public(&key)),
                Algorithm::Secp256k1Recoverable =>
                    ecdsa::Pair::verify(&ec_signature(&damaged), &message, &ec_public(&key)),
                Algorithm::Secp256k1Compact => unreachable!("no scheme of Substrate's"),
            });
        }
    }
}

#[test]
fn a_vote_of_the_set_before_is_told_apart_by_the_reference() {
    // Why the set is part of the coordinate: the reference finds a vote for the wrong set, and says which.
    let format = ChainFormat::default();
    let case = crate::cases::grandpa_vote(&mut Random::new(5), format);
    let (message, round, set) =
        <(RefMessage<u32>, u64, u64)>::decode_all(&mut &case.bytes[..]).expect("the reference made it");
    let key = key(ED25519, &[5; 32]);
    let signature = key.sign(case.signed.to_sign()).expect("a vote");
    let (id, signature) = (ed_public(&key).into(), ed_signature(&signature).into());
    let next = set.checked_add(1).expect("seed 5 does not give the last set");
    assert_eq!(check_message_signature(&message, &id, &signature, round, next), SignatureResult::OutdatedSet);
}
