//! ECDSA over secp256k1 by libsecp256k1: RFC 6979 nonces and low s. Substrate signs a blake2b-256 hash and appends the
//! recovery id; CometBFT signs a SHA-256 hash and has r and s alone.

use super::Signature;
use parity_scale_codec::Encode as _;
use secp256k1::{
    Message, PublicKey, SecretKey,
    ecdsa::{self, RecoverableSignature, RecoveryId},
};
use sha2::{Digest as _, Sha256};
use signonce_protocol::{ToSign, blake2_256};
use zeroize::Zeroizing;

/// The hash that is signed: BEEFY's own, or blake2b-256 of a message (`sp_core::ecdsa::Pair::sign`).
pub(crate) fn hash(to_sign: ToSign<'_>) -> [u8; 32] {
    match to_sign {
        ToSign::Message(message) => blake2_256(message),
        ToSign::Prehashed(hash) => hash,
    }
}

/// The compressed public key of a scalar; `None` where the scalar is zero or past the group order.
pub(crate) fn public(material: &[u8]) -> Option<[u8; 33]> {
    with_key(material, |key| key.public_key().serialize())
}

/// Signs a hash: r, s, recovery id.
pub(crate) fn sign(material: &[u8], hash: [u8; 32]) -> Option<Signature> {
    with_key(material, |key| {
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash), key);
        let (recovery, compact) = signature.serialize_compact();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = recovery.to_u8();
        Signature::of_65(bytes)
    })
}

/// Verifies as the chain does: recovers the key and compares.
pub(crate) fn verify(public: &[u8], hash: [u8; 32], signature: &[u8]) -> bool {
    let Some((recovery, compact)) = signature.split_last().filter(|(_, compact)| compact.len() == 64) else {
        return false;
    };
    let Ok(recovery) = RecoveryId::try_from(i32::from(*recovery)) else { return false };
    RecoverableSignature::from_compact(compact, recovery)
        .and_then(|signature| signature.recover(Message::from_digest(hash)))
        .is_ok_and(|recovered| recovered.serialize() == public)
}

/// Signs a message as CometBFT does: r and s over its SHA-256.
pub(crate) fn sign_compact(material: &[u8], message: &[u8]) -> Option<Signature> {
    with_key(material, |key| Signature::of_64(ecdsa::sign(sha256(message), key).serialize_compact()))
}

/// Checks as CometBFT does: a high s is refused, as anybody can make one of a low one.
pub(crate) fn verify_compact(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match (PublicKey::from_slice(public), ecdsa::Signature::from_compact(signature)) {
        (Ok(public), Ok(signature)) => ecdsa::verify(&signature, sha256(message), &public).is_ok(),
        (Ok(_) | Err(_), _) => false,
    }
}

fn sha256(message: &[u8]) -> Message {
    Message::from_digest(Sha256::digest(message).into())
}

/// The scalar behind a hard junction (`sp_core::ecdsa`, `derive_hard_junction`).
pub(crate) fn derive_hard(material: &[u8; 32], chain_code: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let preimage = Zeroizing::new(("Secp256k1HDKD", material, chain_code).encode());
    Zeroizing::new(blake2_256(&preimage))
}

/// Lends the library's key to `f` and wipes it afterwards.
fn with_key<R>(material: &[u8], f: impl FnOnce(&SecretKey) -> R) -> Option<R> {
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(material).ok()?);
    let mut key = SecretKey::from_secret_bytes(*bytes).ok()?;
    let result = f(&key);
    key.non_secure_erase();
    Some(result)
}
