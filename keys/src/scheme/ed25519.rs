//! Ed25519 as RFC 8032 defines it: the nonce comes from the key and the message, so signing is deterministic.

use super::Signature;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use parity_scale_codec::Encode as _;
use signonce_protocol::blake2_256;
use zeroize::Zeroizing;

/// The public key of a seed.
pub(crate) fn public(material: &[u8]) -> Option<[u8; 32]> {
    key(material).map(|key| key.verifying_key().to_bytes())
}

/// Signs; `None` where the material is not 32 bytes.
pub(crate) fn sign(material: &[u8], message: &[u8]) -> Option<Signature> {
    key(material).map(|key| Signature::of_64(key.sign(message).to_bytes()))
}

/// Verifies strictly: canonical encodings, no small-order points.
pub(crate) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (public.try_into(), signature.try_into()) else { return false };
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    VerifyingKey::from_bytes(public).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

/// The seed behind a hard junction (`sp_core::ed25519`, `derive_hard_junction`).
pub(crate) fn derive_hard(material: &[u8; 32], chain_code: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let preimage = Zeroizing::new(("Ed25519HDKD", material, chain_code).encode());
    Zeroizing::new(blake2_256(&preimage))
}

fn key(material: &[u8]) -> Option<SigningKey> {
    // The key type wipes itself on drop.
    material.try_into().ok().map(SigningKey::from_bytes)
}
