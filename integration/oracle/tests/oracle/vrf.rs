//! The BABE VRF: the reference verifies ours and we verify theirs, over its own transcript.

use crate::{
    random::Random,
    sign::{key, sr_public},
};
use parity_scale_codec::{Decode as _, Encode as _};
use signonce_keys::{VrfSignature, verify_babe_vrf};
use signonce_protocol::Slot;
use signonce_substrate::{EpochIndex, SR25519};
use sp_consensus_babe::make_vrf_sign_data;
use sp_core::{
    Pair as _,
    crypto::{VrfPublic as _, VrfSecret as _},
    sr25519::{self, vrf},
};

/// Ours as the reference's type: through the bytes of a pre-digest.
fn theirs(ours: &VrfSignature) -> vrf::VrfSignature {
    let bytes = [&ours.pre_output[..], &ours.proof].concat();
    vrf::VrfSignature::decode(&mut &bytes[..]).expect("96 bytes of a VRF")
}

/// The reference's as ours.
pub fn ours(theirs: &vrf::VrfSignature) -> VrfSignature {
    let bytes = theirs.encode();
    let (pre_output, proof) = bytes.split_at(32);
    VrfSignature {
        pre_output: pre_output.try_into().expect("32 bytes"),
        proof: proof.try_into().expect("64 bytes"),
    }
}

#[test]
fn both_make_the_same_output_and_accept_each_others_proof() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (secret, randomness) = (random.block(), random.block());
        let (slot, epoch) = (random.number(u64::MAX), random.number(u64::MAX));
        let data = make_vrf_sign_data(&randomness, slot.into(), epoch);
        let key = key(SR25519, &secret);
        let made = key.babe_vrf(Slot(slot), EpochIndex(epoch), &randomness).expect("an sr25519 key");
        assert_eq!(key.babe_vrf(Slot(slot), EpochIndex(epoch), &randomness), Ok(made), "deterministic");
        assert!(sr_public(&key).vrf_verify(&data, &theirs(&made)), "seed {seed}");

        let reference = sr25519::Pair::from_seed(&secret).vrf_sign(&data);
        assert_eq!(ours(&reference).pre_output, made.pre_output);
        let accepted = |slot| {
            verify_babe_vrf(&key.public(), Slot(slot), EpochIndex(epoch), &randomness, &ours(&reference))
        };
        assert!(accepted(slot));
        assert!(!accepted(slot ^ 1));

        for wrong in [
            make_vrf_sign_data(&randomness, (slot ^ 1).into(), epoch),
            make_vrf_sign_data(&randomness, slot.into(), epoch ^ 1),
            make_vrf_sign_data(&random.block(), slot.into(), epoch),
        ] {
            assert!(!sr_public(&key).vrf_verify(&wrong, &theirs(&made)));
        }
    }
}
