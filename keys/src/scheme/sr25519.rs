//! Schnorr over Ristretto as Substrate uses it, without randomness.
//!
//! schnorrkel mixes the transcript, the key's secret nonce seed and bytes of an RNG into each nonce. Here the RNG is a
//! constant ([`attach`]), so the nonce depends on the first two alone: equal requests always give equal bytes on every
//! node, and different requests give unrelated nonces. BABE needs that: two different seals over one header are an
//! equivocation (`sp-consensus-babe`, `check_equivocation_proof` compares sealed headers).
//!
//! The constant, and everything else that enters the nonce, must never change: nodes of two versions would sign the
//! same header differently. `signatures_are_the_same_for_ever` in `tests/schemes.rs` pins the bytes.

use super::Signature;
use merlin::Transcript;
use rand_core_06::{CryptoRng, RngCore};
use schnorrkel::{
    ExpansionMode, Keypair, MiniSecretKey, PublicKey, SecretKey,
    context::{SigningTranscript, attach_rng},
    derive::{ChainCode, Derivation as _},
    signing_context,
};
use zeroize::Zeroizing;

/// The signing context of every Substrate signature.
const CONTEXT: &[u8] = b"substrate";

/// The material of a seed, as `sp_core::sr25519` expands it.
pub(crate) fn material_of_seed(seed: &[u8; 32]) -> Option<Zeroizing<[u8; 64]>> {
    let mini = MiniSecretKey::from_bytes(seed).ok()?;
    Some(Zeroizing::new(mini.expand(ExpansionMode::Ed25519).to_bytes()))
}

/// The public key of some material; `None` if it is not a usable secret.
pub(crate) fn public(material: &[u8]) -> Option<[u8; 32]> {
    let secret = SecretKey::from_bytes(material).ok()?;
    let (scalar, nonce_seed) = material.split_at_checked(32)?;
    // Without its secret nonce seed a derandomised key would reveal itself with its first signature, and the zero
    // scalar signs for everyone.
    if scalar.iter().all(|b| *b == 0) || nonce_seed.iter().all(|b| *b == 0) {
        return None;
    }
    Some(secret.to_public().to_bytes())
}

/// Signs under the context `substrate`; `public` is the material's own public key.
pub(crate) fn sign(material: &[u8], public: &[u8], message: &[u8]) -> Option<Signature> {
    let pair = pair(material, public)?;
    let transcript = attach(signing_context(CONTEXT).bytes(message));
    Some(Signature::of_64(pair.sign(transcript).to_bytes()))
}

/// Verifies a signature under the context `substrate`.
pub(crate) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) =
        (PublicKey::from_bytes(public), schnorrkel::Signature::from_bytes(signature))
    else {
        return false;
    };
    public.verify_simple(CONTEXT, message, &signature).is_ok()
}

/// The material behind a hard junction (`sp_core::sr25519`, `derive_hard_junction`).
pub(crate) fn derive_hard(material: &[u8; 64], chain_code: &[u8; 32]) -> Option<Zeroizing<[u8; 64]>> {
    let secret = SecretKey::from_bytes(material).ok()?;
    let (mini, _) = secret.hard_derive_mini_secret_key(Some(ChainCode(*chain_code)), b"");
    Some(Zeroizing::new(mini.expand(ExpansionMode::Ed25519).to_bytes()))
}

/// The material behind a soft junction.
///
/// `sp_core` draws the new nonce seed at random; here it comes from the parent alone. The public key is the same, and
/// importing a SURI twice gives the same signer.
pub(crate) fn derive_soft(material: &[u8; 64], chain_code: &[u8; 32]) -> Option<Zeroizing<[u8; 64]>> {
    let secret = SecretKey::from_bytes(material).ok()?;
    let (derived, _) = secret.derived_key_simple_rng(ChainCode(*chain_code), b"", NoRandomness);
    Some(Zeroizing::new(derived.to_bytes()))
}

/// The library's key pair; it wipes itself on drop.
pub(crate) fn pair(material: &[u8], public: &[u8]) -> Option<Keypair> {
    let secret = SecretKey::from_bytes(material).ok()?;
    let public = PublicKey::from_bytes(public).ok()?;
    Some(Keypair { secret, public })
}

/// `transcript` with nonces that are derived only from itself and the secret nonce seed.
pub(crate) fn attach(transcript: Transcript) -> impl SigningTranscript {
    attach_rng(transcript, NoRandomness)
}

/// An RNG that returns zeros. Only for nonces that a secret seed and a transcript already make secret and unique.
struct NoRandomness;

impl RngCore for NoRandomness {
    fn next_u32(&mut self) -> u32 {
        0
    }

    fn next_u64(&mut self) -> u64 {
        0
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        dest.fill(0);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_06::Error> {
        dest.fill(0);
        Ok(())
    }
}

// The marker is what `attach_rng` asks for; see the module's comment for why a constant is enough here.
impl CryptoRng for NoRandomness {}
