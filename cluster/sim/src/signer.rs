//! Signatures. A few duties of each run are signed for real, with the code of production; the others get a stand-in
//! that is as unique as their digest. Real ones take a tenth of a millisecond each.

use crate::work::KEYS;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schnorrkel::context::attach_rng;
use schnorrkel::{ExpansionMode, MiniSecretKey, signing_context};
use signonce_core::Claim;
use signonce_protocol::{Digest, ToSign};
use signonce_substrate::SR25519;
use std::collections::BTreeSet;

/// The number of sr25519 duties of a run that are signed for real.
const REAL: usize = 3;

/// Makes signatures; see the module's text.
pub struct Signer {
    real: BTreeSet<Digest>,
    /// The source of random nonces, for the mutation.
    nonces: Option<Nonces>,
}

impl Signer {
    /// A signer, with random nonces if they are asked for.
    pub fn new(seed: u64, random_nonces: bool) -> Self {
        let nonces = random_nonces.then(|| Nonces(ChaCha8Rng::seed_from_u64(seed)));
        Self { real: BTreeSet::new(), nonces }
    }

    /// The signature of a claim: of its statement and its carry.
    pub fn sign(&mut self, claim: &Claim) -> Vec<u8> {
        let message = [&claim.digest.0[..], claim.carry.as_bytes()].concat();
        let Some(key) = KEYS.iter().find(|key| key.id == claim.key && key.scheme == SR25519) else {
            return message;
        };
        if self.real.len() < REAL {
            self.real.insert(claim.digest);
        }
        if !self.real.contains(&claim.digest) {
            return message;
        }
        if let Some(nonces) = &mut self.nonces {
            let mini = MiniSecretKey::from_bytes(&key.seed).expect("the seed is a sound one");
            let pair = mini.expand_to_keypair(ExpansionMode::Ed25519);
            let transcript = signing_context(b"substrate").bytes(&message);
            return pair.sign(attach_rng(transcript, nonces)).to_bytes().to_vec();
        }
        let signature = key.secret.sign(ToSign::Message(&message)).expect("the key is sound");
        signature.as_bytes().to_vec()
    }
}

/// Random numbers for a library that has not moved to a newer trait.
struct Nonces(ChaCha8Rng);

impl rand_core_06::RngCore for Nonces {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}
impl rand_core_06::CryptoRng for Nonces {}
