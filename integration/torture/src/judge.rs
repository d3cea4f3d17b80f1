//! The one judge: it gets every signature that anybody received, verifies it independently, and keeps it by key and
//! duty. Two different payloads of one duty with valid signatures are an equivocation, whoever got them and whenever.

use crate::signer::{Duty, Instance, Side};
use anyhow::ensure;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Serialize;
use std::collections::BTreeMap;

/// Two valid signatures of one key that should not both exist. Anybody can check them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The duty in the chain's words.
    pub duty: String,
    /// The ed25519 public key.
    pub public: String,
    /// The first.
    pub first: Signed,
    /// The second.
    pub second: Signed,
}

/// A payload and its signature.
#[derive(Clone, Debug, Serialize)]
pub struct Signed {
    /// What it says, in words.
    pub says: String,
    /// The signed bytes.
    pub payload: String,
    /// The signature.
    pub signature: String,
}

/// What was signed, by duty and side.
#[derive(Debug, Default)]
pub struct Judge {
    signed: BTreeMap<Duty, BTreeMap<Side, Vec<u8>>>,
    /// Duties with two payloads.
    broken: u64,
    evidence: Option<Evidence>,
    changed: Option<Evidence>,
}

impl Judge {
    /// Takes a signature that was received.
    ///
    /// # Errors
    /// If it does not verify: the adapter or the signer is wrong, and the case has no result.
    pub fn hear(
        &mut self,
        of: &dyn Instance,
        duty: Duty,
        side: Side,
        signature: &[u8],
    ) -> anyhow::Result<()> {
        let valid = VerifyingKey::from_bytes(&of.public()).is_ok_and(|key| {
            let signature = Signature::from_slice(signature);
            signature.is_ok_and(|signature| key.verify_strict(&of.message(duty, side), &signature).is_ok())
        });
        ensure!(valid, "a signature that does not verify, for {} ({side})", of.place(duty));
        let sides = self.signed.entry(duty).or_default();
        let told = |side: Side, signature: &[u8]| Signed {
            says: side.to_string(),
            payload: hex::encode(of.message(duty, side)),
            signature: hex::encode(signature),
        };
        let evidence = |first: Signed| Evidence {
            duty: of.place(duty),
            public: hex::encode(of.public()),
            first,
            second: told(side, signature),
        };
        if let Some(known) = sides.get(&side) {
            if known != signature {
                self.changed.get_or_insert_with(|| evidence(told(side, known)));
            }
            return Ok(());
        }
        if let Some((first, known)) = sides.first_key_value() {
            self.broken += u64::from(sides.len() == 1);
            self.evidence.get_or_insert_with(|| evidence(told(*first, known)));
        }
        sides.insert(side, signature.to_vec());
        Ok(())
    }

    /// Starts on another key. Earlier findings stay.
    pub fn new_key(&mut self) {
        self.signed.clear();
    }

    /// How many duties have two payloads, and the first such pair.
    pub fn equivocations(&self) -> (u64, Option<&Evidence>) {
        (self.broken, self.evidence.as_ref())
    }

    /// The first payload that has two signatures.
    pub fn changed(&self) -> Option<&Evidence> {
        self.changed.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::{Answer, How};
    use ed25519_dalek::{Signer as _, SigningKey};
    use std::{
        path::{Path, PathBuf},
        time::Duration,
    };

    struct Paper(SigningKey);

    impl Instance for Paper {
        fn public(&self) -> [u8; 32] {
            self.0.verifying_key().to_bytes()
        }
        fn message(&self, duty: Duty, side: Side) -> Vec<u8> {
            format!("{} {side:?}", duty.0).into_bytes()
        }
        fn place(&self, duty: Duty) -> String {
            duty.0.to_string()
        }
        fn lines(&self) -> usize {
            0
        }
        fn memory(&self) -> Vec<PathBuf> {
            Vec::new()
        }
        fn remembers(&self, _: &Path) -> bool {
            false
        }
        fn start(&self, _: &How) -> anyhow::Result<()> {
            Ok(())
        }
        fn kill(&self) {}
        fn stop(&self, _: usize) {}
        fn ask(&self, _: usize, duty: Duty, side: Side, _: Duration) -> Answer {
            Answer::Signed(self.0.sign(&self.message(duty, side)).to_bytes().to_vec())
        }
        fn copy(&self, _: &Path, _: bool) -> anyhow::Result<Box<dyn Instance>> {
            Ok(Box::new(Self(self.0.clone())))
        }
    }

    fn hear(judge: &mut Judge, paper: &Paper, duty: u64, side: Side) {
        let Answer::Signed(signature) = paper.ask(0, Duty(duty), side, Duration::ZERO) else { panic!() };
        judge.hear(paper, Duty(duty), side, &signature).unwrap();
    }

    #[test]
    fn two_payloads_of_one_duty_are_an_equivocation_and_a_repeat_is_none() {
        let (mut judge, paper) = (Judge::default(), Paper(SigningKey::from_bytes(&[7; 32])));
        hear(&mut judge, &paper, 1, Side::One);
        hear(&mut judge, &paper, 1, Side::One);
        hear(&mut judge, &paper, 2, Side::Nil);
        assert_eq!(judge.equivocations().0, 0);
        hear(&mut judge, &paper, 2, Side::Other);
        hear(&mut judge, &paper, 2, Side::One);
        let (broken, evidence) = judge.equivocations();
        assert_eq!(broken, 1, "one duty, however many payloads");
        assert_ne!(evidence.unwrap().first.payload, evidence.unwrap().second.payload);
        assert!(judge.changed().is_none());
    }

    #[test]
    fn what_does_not_verify_is_no_signature_and_no_evidence() {
        let (mut judge, paper) = (Judge::default(), Paper(SigningKey::from_bytes(&[7; 32])));
        let other = Paper(SigningKey::from_bytes(&[8; 32]));
        let Answer::Signed(signature) = other.ask(0, Duty(1), Side::One, Duration::ZERO) else { panic!() };
        assert!(judge.hear(&paper, Duty(1), Side::One, &signature).is_err());
        assert!(judge.signed.is_empty());
    }
}
