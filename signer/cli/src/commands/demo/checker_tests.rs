//! A checker that finds nothing is worth nothing: each fault it is there for is made, and must be found.

use super::*;
use crate::commands::demo::chain::{self, Flavour};
use signonce_keys::SecretKey;
use signonce_protocol::RawPayload;
use signonce_substrate::{ChainFormat, ECDSA, ED25519, GrandpaStage, Payload, SR25519, VrfRequest};

struct Signer {
    secret: SecretKey,
}

impl Signer {
    fn new(scheme: Scheme) -> Self {
        signonce_shared::families::install();
        Self { secret: SecretKey::from_seed(scheme, &[7; 32]).unwrap() }
    }

    /// Signs anything, as a signer without a ledger would.
    fn receipt(&self, raw: &RawPayload, client: &str) -> Receipt {
        let kind = Kind::try_from(raw.kind()).unwrap();
        let payload = Payload::decode(kind, raw.bytes(), &ChainFormat::default()).unwrap();
        Receipt {
            client: client.into(),
            scheme: self.secret.scheme(),
            public: self.secret.public(),
            kind,
            payload: raw.bytes().to_vec(),
            signature: self.secret.sign(payload.to_sign()).unwrap().as_bytes().to_vec(),
        }
    }
}

/// Two conflicting payloads of each kind the demo asks for, with the key that signs them.
fn conflicts() -> Vec<(Signer, RawPayload, RawPayload)> {
    let babe = Signer::new(SR25519);
    let request =
        VrfRequest { slot: 9.into(), epoch_index: 1.into(), randomness: chain::randomness(1.into()) };
    let vrf = babe.secret.babe_vrf(request.slot, request.epoch_index, &request.randomness.0).unwrap();
    let header = |flavour| chain::header(request.slot, &vrf.pre_output, &vrf.proof, flavour);
    let vote = |flavour| chain::vote(1.into(), 2.into(), GrandpaStage::Precommit, 77, flavour);
    let commitment = |flavour| chain::commitment(1.into(), 77, flavour);
    let dispute = |valid| chain::dispute(3.into(), 4, valid);
    vec![
        (babe, header(Flavour(0)), header(Flavour(1))),
        (Signer::new(ED25519), vote(Flavour(0)), vote(Flavour(1))),
        (Signer::new(ECDSA), commitment(Flavour(0)), commitment(Flavour(1))),
        (Signer::new(SR25519), dispute(true), dispute(false)),
    ]
}

#[test]
fn one_payload_and_one_signature_per_duty_is_fine_however_often() {
    for (signer, one, _) in conflicts() {
        let findings = check(&[signer.receipt(&one, "a"), signer.receipt(&one, "b")]);
        assert_eq!((findings.receipts, findings.duties), (2, 1));
        assert_eq!(findings.violations, []);
    }
}

#[test]
fn two_payloads_for_one_duty_are_found_for_every_kind() {
    for (signer, one, other) in conflicts() {
        let findings = check(&[signer.receipt(&one, "a"), signer.receipt(&other, "b")]);
        assert!(
            matches!(findings.violations[..], [Violation::TwoPayloads { .. }]),
            "{:?}: {:?}",
            one.kind(),
            findings.violations
        );
    }
}

#[test]
fn a_second_signature_over_the_same_payload_is_found() {
    for (signer, one, _) in conflicts() {
        let first = signer.receipt(&one, "a");
        let mut second = first.clone();
        second.signature[3] ^= 1;
        let findings = check(&[first, second]);
        assert!(matches!(findings.violations[..], [Violation::TwoSignatures { .. }]));
    }
}

#[test]
fn a_signature_that_does_not_verify_is_found() {
    for (signer, one, _) in conflicts() {
        let mut receipt = signer.receipt(&one, "a");
        receipt.signature[3] ^= 1;
        let findings = check(&[receipt]);
        assert!(matches!(findings.violations[..], [Violation::BadSignature { .. }]));
    }
}

#[test]
fn backing_and_disputing_one_candidate_is_found_but_backing_and_vouching_is_not() {
    let signer = Signer::new(SR25519);
    let backed = chain::backing(3.into(), 4);
    for (valid, violations) in [(true, 0), (false, 1)] {
        let dispute = chain::dispute(3.into(), 4, valid);
        let findings = check(&[signer.receipt(&backed, "a"), signer.receipt(&dispute, "a")]);
        assert_eq!(findings.violations.len(), violations, "{valid}");
    }
}

#[test]
fn a_signature_over_bytes_that_mean_nothing_is_found() {
    let signer = Signer::new(ED25519);
    let mut receipt = signer.receipt(&conflicts()[1].1, "a");
    receipt.payload.push(0);
    assert!(matches!(check(&[receipt]).violations[..], [Violation::Unreadable { .. }]));
}
