//! The last check before a signature is used: it must be the key's own, over the very bytes that were to be signed. A
//! faulty signer, or a machine in between, can cost a duty but never get a bad signature into the chain.

use signonce_protocol::{Algorithm, KeyId, Scheme, ToSign};
use sp_core::{Pair as _, crypto::VrfPublic as _, ecdsa, ed25519, sr25519};

/// Whether `signature` is that of `key` over `to_sign`.
pub(crate) fn signature_holds(key: &KeyId, scheme: Scheme, to_sign: ToSign<'_>, signature: &[u8]) -> bool {
    let public = key.public.as_bytes();
    match (scheme.algorithm(), to_sign) {
        (Algorithm::Sr25519, ToSign::Message(message)) => match (public.try_into(), signature.try_into()) {
            (Ok(public), Ok(signature)) => sr25519::Pair::verify(&signature, message, &public),
            _ => false,
        },
        (Algorithm::Ed25519, ToSign::Message(message)) => match (public.try_into(), signature.try_into()) {
            (Ok(public), Ok(signature)) => ed25519::Pair::verify(&signature, message, &public),
            _ => false,
        },
        (Algorithm::Secp256k1Recoverable, to_sign) => match (public.try_into(), signature.try_into()) {
            (Ok(public), Ok(signature)) => match to_sign {
                ToSign::Message(message) => ecdsa::Pair::verify(&signature, message, &public),
                ToSign::Prehashed(hash) => ecdsa::Pair::verify_prehashed(&signature, &hash, &public),
            },
            _ => false,
        },
        // No Substrate chain has such keys.
        (Algorithm::Secp256k1Compact, ToSign::Message(_) | ToSign::Prehashed(_)) => false,
        // Only ECDSA signs hashes as they are.
        (Algorithm::Sr25519 | Algorithm::Ed25519, ToSign::Prehashed(_)) => false,
    }
}

/// Whether `signature` is the VRF of `public` on `data`, its extra transcript included.
pub(crate) fn vrf_holds(
    public: &sr25519::Public,
    data: &sr25519::vrf::VrfSignData,
    signature: &sr25519::vrf::VrfSignature,
) -> bool {
    public.vrf_verify(data, signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{KeyType, PublicKey};
    use signonce_substrate::{BABE, BEEFY, ECDSA, ED25519, GRANDPA, SR25519};

    fn key(key_type: KeyType, public: &[u8]) -> KeyId {
        KeyId { key_type, public: PublicKey::try_from(public).unwrap() }
    }

    /// Holds as it is, and with no other message, key or length.
    fn check(key: KeyId, other: KeyId, scheme: Scheme, signature: &[u8]) {
        let good = ToSign::Message(b"message");
        assert!(signature_holds(&key, scheme, good, signature));
        assert!(!signature_holds(&key, scheme, ToSign::Message(b"another"), signature));
        assert!(!signature_holds(&other, scheme, good, signature));
        assert!(!signature_holds(&key, scheme, good, &signature[1..]));
        assert!(!signature_holds(&key, scheme, good, &[]));
        let mut bent = signature.to_vec();
        bent[5] ^= 1;
        assert!(!signature_holds(&key, scheme, good, &bent));
        assert!(!signature_holds(&key, scheme, ToSign::Prehashed([7; 32]), signature));
    }

    #[test]
    fn a_signature_holds_for_its_own_key_and_message_only() {
        let (one, other) = (sr25519::Pair::from_seed(&[1; 32]), sr25519::Pair::from_seed(&[2; 32]));
        let keys = [&one, &other].map(|pair| key(BABE, pair.public().as_ref()));
        check(keys[0], keys[1], SR25519, one.sign(b"message").as_ref());
        let (one, other) = (ed25519::Pair::from_seed(&[1; 32]), ed25519::Pair::from_seed(&[2; 32]));
        let keys = [&one, &other].map(|pair| key(GRANDPA, pair.public().as_ref()));
        check(keys[0], keys[1], ED25519, one.sign(b"message").as_ref());
        let (one, other) = (ecdsa::Pair::from_seed(&[1; 32]), ecdsa::Pair::from_seed(&[2; 32]));
        let keys = [&one, &other].map(|pair| key(BEEFY, pair.public().as_ref()));
        check(keys[0], keys[1], ECDSA, one.sign(b"message").as_ref());
    }

    #[test]
    fn a_signature_on_a_hash_is_not_one_on_a_message() {
        let pair = ecdsa::Pair::from_seed(&[1; 32]);
        let id = key(BEEFY, pair.public().as_ref());
        let signature = pair.sign_prehashed(&[7; 32]);
        assert!(signature_holds(&id, ECDSA, ToSign::Prehashed([7; 32]), signature.as_ref()));
        assert!(!signature_holds(&id, ECDSA, ToSign::Message(&[7; 32]), signature.as_ref()));
    }
}
