//! Signing and checking: deterministic, agreeing with the libraries called plainly, and with published vectors.

mod common;

use common::{SCHEMES, bytes, key, public};
use proptest::prelude::*;
use signonce_keys::{SecretError, SecretKey, SignError, Signature, verify, verify_babe_vrf};
use signonce_protocol::{Algorithm, Slot, ToSign, blake2_256};
use signonce_substrate::{ECDSA, ED25519, EpochIndex, SR25519};

#[test]
fn signatures_are_the_same_for_ever() {
    // Nodes of two versions must sign one header with the same bytes: these may never change.
    let table = [(SR25519, SR25519_PINNED), (ED25519, ED25519_PINNED), (ECDSA, ECDSA_PINNED)];
    for (scheme, pinned) in table {
        let signature = key(scheme, "//Alice").sign(ToSign::Message(b"signonce")).unwrap();
        assert_eq!(signature.to_string(), pinned, "{scheme}");
    }
    let soft = key(SR25519, "//Alice/soft").sign(ToSign::Message(b"signonce")).unwrap();
    assert_eq!(soft.to_string(), SR25519_SOFT_PINNED);
    let vrf = key(SR25519, "//Alice").babe_vrf(Slot(7), EpochIndex(3), &[9; 32]).unwrap();
    assert_eq!(hex::encode(vrf.pre_output), VRF_PRE_OUTPUT_PINNED);
    assert_eq!(hex::encode(vrf.proof), VRF_PROOF_PINNED);
}

const SR25519_PINNED: &str = "0xde4dce0bffae6e2bd99ac36998b5713c5d48337f10794f112efb9cf6f2de8269a5c0caba11aa45868dec4d5340547382e72f85ed2e21a12baa81690e9d311f8b";
const SR25519_SOFT_PINNED: &str = "0x2ecf7e6f16b5b34db49bff609fac4adc8c6e87346838d4d69a1a248840448c1447cdbb9d47b9a36a70764795c2163b05ed72e7b8a6e2aed45023616ebbd9f286";
const ED25519_PINNED: &str = "0xf0121e75044ad39c6470e5f1a95fbc8fd0e55931c532f6a7b8621c81ba43a7f04201ad22dada22f4a4002ed197a62ee9041434f3822aa5f5e3fc4e0530246704";
const ECDSA_PINNED: &str = "0x2a699280c381e3a0868411159d13f76b4ad01708f2d594e8711940534165f48125e9393bf364d74d4be7d85977ab0a25d4d27cb96af849fb2f3055fa0b9a9d2001";
const VRF_PRE_OUTPUT_PINNED: &str = "50ffbd8c58edc984a2279713c36175307f8a3d6ad5c27ae8747bab921254ea2b";
const VRF_PROOF_PINNED: &str = "d3c991246e8dd6152d23f0902eb47a637b9e08276a99c5a363a922ab7fde3a0ca64d7d559e124a52699296507e32fe1b5ff8529db0beab780f3ce97ef55bbf0c";

#[test]
fn published_vectors_hold() {
    signonce_substrate::install();
    let seed: [u8; 32] =
        bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").try_into().unwrap();
    // RFC 8032, 7.1, test 1.
    let ed25519 = SecretKey::from_seed(ED25519, &seed).unwrap();
    assert_eq!(
        ed25519.public(),
        public("0xd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    );
    assert_eq!(
        ed25519.sign(ToSign::Message(b"")).unwrap().to_string(),
        "0xe5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    );
    // sp_core::ecdsa, `test_vector_should_work`.
    let ecdsa = SecretKey::from_seed(ECDSA, &seed).unwrap();
    assert_eq!(
        ecdsa.public(),
        public("0x028db55b05db86c0b1786ca49f095d76344c9e6056b2f02701a7e7f3c20aabfd91")
    );
    assert_eq!(
        ecdsa.sign(ToSign::Message(b"")).unwrap().to_string(),
        "0x3dde91174bd9359027be59a428b8146513df80a2a3c7eda2194f64de04a69ab97b753169e94db6ffd50921a2668a48b94ca11e3d32c1ff19cfe88890aa7e8f3c00"
    );
    // sp_core::sr25519, `sr_test_vector_should_work`.
    let sr25519 = SecretKey::from_seed(SR25519, &seed).unwrap();
    assert_eq!(
        sr25519.public(),
        public("0x44a996beb1eef7bdcab976ab6d2ca26104834164ecf28fb375600576fcc6eb0f")
    );
}

#[test]
fn another_message_gives_an_unrelated_nonce() {
    // The first half of an sr25519, ed25519 or ecdsa signature is the nonce's point: equal halves under different
    // messages would give the key away.
    for scheme in SCHEMES {
        let key = key(scheme, "//Alice");
        let mut nonces: Vec<_> = (0..200_u32)
            .map(|n| key.sign(ToSign::Message(&n.to_le_bytes())).unwrap().as_bytes()[..32].to_vec())
            .collect();
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), 200, "{scheme}");
    }
}

#[test]
fn two_keys_never_share_a_nonce() {
    let nonces: std::collections::BTreeSet<_> = ["//Alice", "//Bob", "//Alice/a", "//Alice/b", "//Alice//a"]
        .map(|suri| key(SR25519, suri).sign(ToSign::Message(b"m")).unwrap().as_bytes()[..32].to_vec())
        .into();
    assert_eq!(nonces.len(), 5);
}

#[test]
fn a_bare_hash_is_signed_by_ecdsa_only() {
    for scheme in SCHEMES {
        let key = key(scheme, "//Alice");
        let signed = key.sign(ToSign::Prehashed([7; 32]));
        match scheme.algorithm() {
            Algorithm::Secp256k1Recoverable => {
                let signature = signed.unwrap();
                assert!(verify(scheme, &key.public(), ToSign::Prehashed([7; 32]), signature.as_bytes()));
                assert!(!verify(scheme, &key.public(), ToSign::Message(&[7; 32]), signature.as_bytes()));
            }
            Algorithm::Sr25519 | Algorithm::Ed25519 | Algorithm::Secp256k1Compact => {
                assert_eq!(signed.unwrap_err(), SignError::PrehashRefused(scheme));
                let over_bytes = key.sign(ToSign::Message(&[7; 32])).unwrap();
                assert!(!verify(scheme, &key.public(), ToSign::Prehashed([7; 32]), over_bytes.as_bytes()));
            }
        }
    }
}

#[test]
fn an_ecdsa_message_is_hashed_with_blake2b() {
    let key = key(ECDSA, "//Alice");
    let as_message = key.sign(ToSign::Message(b"POP_")).unwrap();
    assert_eq!(as_message, key.sign(ToSign::Prehashed(blake2_256(b"POP_"))).unwrap());
}

#[test]
fn only_sr25519_keys_have_a_vrf() {
    for scheme in [ED25519, ECDSA] {
        let refused = key(scheme, "//Alice").babe_vrf(Slot(1), EpochIndex(1), &[0; 32]).unwrap_err();
        assert_eq!(refused, SignError::NoVrf(scheme));
    }
}

#[test]
fn a_vrf_is_bound_to_key_slot_epoch_and_randomness() {
    let alice = key(SR25519, "//Alice");
    let bob = key(SR25519, "//Bob").public();
    let made = alice.babe_vrf(Slot(5), EpochIndex(2), &[1; 32]).unwrap();
    assert!(verify_babe_vrf(&alice.public(), Slot(5), EpochIndex(2), &[1; 32], &made));
    assert!(!verify_babe_vrf(&bob, Slot(5), EpochIndex(2), &[1; 32], &made));
    assert!(!verify_babe_vrf(&alice.public(), Slot(6), EpochIndex(2), &[1; 32], &made));
    assert!(!verify_babe_vrf(&alice.public(), Slot(5), EpochIndex(3), &[1; 32], &made));
    assert!(!verify_babe_vrf(&alice.public(), Slot(5), EpochIndex(2), &[2; 32], &made));
    for bit in 0..8 * 32 {
        let mut changed = made;
        changed.pre_output[bit / 8] ^= 1 << (bit % 8);
        assert!(!verify_babe_vrf(&alice.public(), Slot(5), EpochIndex(2), &[1; 32], &changed), "bit {bit}");
    }
}

#[test]
fn the_vrf_is_the_librarys_own_vrf() {
    signonce_substrate::install();
    // The output equals what schnorrkel's randomised VRF gives, and schnorrkel verifies our proof.
    let seed = [3; 32];
    let key = SecretKey::from_seed(SR25519, &seed).unwrap();
    let made = key.babe_vrf(Slot(11), EpochIndex(4), &[8; 32]).unwrap();
    let pair = schnorrkel::MiniSecretKey::from_bytes(&seed)
        .unwrap()
        .expand_to_keypair(schnorrkel::ExpansionMode::Ed25519);
    let transcript = || {
        let mut t = merlin::Transcript::new(b"BABE");
        t.append_message(b"slot number", &11_u64.to_le_bytes());
        t.append_message(b"current epoch", &4_u64.to_le_bytes());
        t.append_message(b"chain randomness", &[8; 32]);
        t
    };
    let (in_out, _, _) = pair.vrf_sign(transcript());
    assert_eq!(in_out.to_preout().to_bytes(), made.pre_output);
    let pre_output = schnorrkel::vrf::VRFPreOut::from_bytes(&made.pre_output).unwrap();
    let proof = schnorrkel::vrf::VRFProof::from_bytes(&made.proof).unwrap();
    pair.public.vrf_verify(transcript(), &pre_output, &proof).unwrap();
}

#[test]
fn an_impossible_scalar_is_no_ecdsa_key() {
    signonce_substrate::install();
    for seed in [[0; 32], [0xff; 32]] {
        let refused = SecretKey::from_seed(ECDSA, &seed).unwrap_err();
        assert_eq!(refused, SecretError::Invalid(ECDSA));
    }
}

#[test]
fn generated_keys_differ_and_sign() {
    signonce_substrate::install();
    for scheme in SCHEMES {
        let (a, b) = (SecretKey::generate(scheme).unwrap(), SecretKey::generate(scheme).unwrap());
        assert_ne!(a.public(), b.public());
        assert_eq!((a.scheme(), a.public().as_bytes().len()), (scheme, scheme.public_len()));
        a.sign(ToSign::Message(b"x")).unwrap();
    }
}

#[test]
fn a_signature_has_64_or_65_bytes() {
    for len in 0..100_usize {
        let made = Signature::try_from(&vec![1; len][..]);
        match len {
            64 | 65 => assert_eq!(made.unwrap().as_bytes().len(), len),
            _ => assert!(made.unwrap_err().to_string().contains(&len.to_string())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_requests_give_equal_bytes_that_verify(seed: [u8; 32], message: Vec<u8>, other: Vec<u8>) {
        signonce_substrate::install();
        for scheme in SCHEMES {
            let Ok(key) = SecretKey::from_seed(scheme, &seed) else { continue };
            let again = SecretKey::from_seed(scheme, &seed).unwrap();
            let signature = key.sign(ToSign::Message(&message)).unwrap();
            prop_assert_eq!(signature, again.sign(ToSign::Message(&message)).unwrap());
            prop_assert!(verify(scheme, &key.public(), ToSign::Message(&message), signature.as_bytes()));
            if other != message {
                prop_assert_ne!(signature, key.sign(ToSign::Message(&other)).unwrap());
                prop_assert!(!verify(scheme, &key.public(), ToSign::Message(&other), signature.as_bytes()));
            }
        }
    }

    #[test]
    fn the_libraries_called_plainly_agree(seed: [u8; 32], message: Vec<u8>) {
        signonce_substrate::install();
        let ours = |scheme| {
            let key = SecretKey::from_seed(scheme, &seed).unwrap();
            (key.public(), key.sign(ToSign::Message(&message)).unwrap())
        };

        let (public, signature) = ours(SR25519);
        let pair = schnorrkel::MiniSecretKey::from_bytes(&seed)
            .unwrap()
            .expand_to_keypair(schnorrkel::ExpansionMode::Ed25519);
        prop_assert_eq!(public.as_bytes(), &pair.public.to_bytes()[..]);
        let theirs = schnorrkel::Signature::from_bytes(signature.as_bytes()).unwrap();
        prop_assert!(pair.public.verify_simple(b"substrate", &message, &theirs).is_ok());
        let randomised = pair.sign_simple(b"substrate", &message).to_bytes();
        prop_assert!(verify(SR25519, &public, ToSign::Message(&message), &randomised));

        let (public, signature) = ours(ED25519);
        let theirs = ed25519_dalek::SigningKey::from_bytes(&seed);
        prop_assert_eq!(public.as_bytes(), &theirs.verifying_key().to_bytes()[..]);
        let expected = ed25519_dalek::Signer::sign(&theirs, &message).to_bytes();
        prop_assert_eq!(signature.as_bytes(), &expected[..]);

        prop_assume!(SecretKey::from_seed(ECDSA, &seed).is_ok());
        let (public, signature) = ours(ECDSA);
        let hash = secp256k1::Message::from_digest(blake2_256(&message));
        let theirs = secp256k1::SecretKey::from_secret_bytes(seed).unwrap();
        prop_assert_eq!(public.as_bytes(), &theirs.public_key().serialize()[..]);
        let expected = theirs.sign_ecdsa(hash).serialize_compact();
        prop_assert_eq!(&signature.as_bytes()[..64], &expected[..]);
        prop_assert!(signature.as_bytes()[64] <= 1);
    }

    #[test]
    fn a_changed_signature_verifies_no_more(bit in 0..8 * 64_usize, message: Vec<u8>) {
        for scheme in SCHEMES {
            let key = key(scheme, "//Alice");
            let mut changed = key.sign(ToSign::Message(&message)).unwrap().as_bytes().to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify(scheme, &key.public(), ToSign::Message(&message), &changed));
        }
    }

    #[test]
    fn checking_takes_any_bytes(public in proptest::collection::vec(any::<u8>(), 32..=33),
                                signature in proptest::collection::vec(any::<u8>(), 0..80)) {
        signonce_substrate::install();
        let public = signonce_protocol::PublicKey::try_from(&public[..]).unwrap();
        for scheme in SCHEMES {
            prop_assert!(!verify(scheme, &public, ToSign::Message(b"m"), &signature));
            prop_assert!(!verify(scheme, &public, ToSign::Prehashed([1; 32]), &signature));
        }
    }
}
