//! Signatures verified as chains verify them, by the schemes' own libraries and none of the signer's code.

use secp256k1::{
    Message,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use signonce_protocol::{Algorithm, Scheme};

/// Whether `signature` is `public`'s over `signed`: a message, or for ECDSA the hash of one.
pub fn verify(scheme: Scheme, public: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    match scheme.algorithm() {
        Algorithm::Sr25519 => sr25519(public, signed, signature),
        Algorithm::Ed25519 => ed25519(public, signed, signature),
        Algorithm::Secp256k1Recoverable => ecdsa(public, signed, signature),
        Algorithm::Secp256k1Compact => unreachable!("no scheme of Substrate's"),
    }
}

fn sr25519(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let public = schnorrkel::PublicKey::from_bytes(public);
    let signature = schnorrkel::Signature::from_bytes(signature);
    matches!((public, signature), (Ok(key), Ok(signature))
        if key.verify_simple(b"substrate", message, &signature).is_ok())
}

fn ed25519(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (public.try_into(), signature.try_into()) else { return false };
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

/// As BEEFY does: the key is recovered from the signature of the hash and compared.
fn ecdsa(public: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    let Some((recovery, compact)) = signature.split_last().filter(|(_, compact)| compact.len() == 64) else {
        return false;
    };
    let (Ok(recovery), Ok(hash)) = (RecoveryId::try_from(i32::from(*recovery)), hash.try_into()) else {
        return false;
    };
    RecoverableSignature::from_compact(compact, recovery)
        .and_then(|signature| signature.recover(Message::from_digest(hash)))
        .is_ok_and(|recovered| recovered.serialize() == public)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::Signer as _;
    use signonce_substrate::{ECDSA, ED25519, SR25519};

    #[test]
    fn a_signature_over_other_bytes_by_another_key_or_cut_short_is_none() {
        signonce_substrate::install();
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = key.sign(b"vote").to_bytes();
        assert!(verify(ED25519, &public, b"vote", &signature));
        assert!(!verify(ED25519, &public, b"veto", &signature));
        assert!(!verify(ED25519, &public, b"vote", &signature[1..]));
        assert!(!verify(SR25519, &public, b"vote", &signature));
        let key = secp256k1::SecretKey::from_secret_bytes([9; 32]).unwrap();
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest([1; 32]), &key);
        let (recovery, compact) = signature.serialize_compact();
        let bytes = [compact.as_slice(), &[recovery.to_u8()]].concat();
        let public = key.public_key().serialize();
        assert!(verify(ECDSA, &public, &[1; 32], &bytes));
        assert!(!verify(ECDSA, &public, &[2; 32], &bytes));
    }
}
