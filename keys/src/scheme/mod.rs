//! The signature algorithms behind one [`Signature`], one [`verify`] and one [`SignError`].
//!
//! One file for each algorithm: how a seed becomes key material, how material signs, how a signature is verified, how a
//! junction derives. Material is the scheme's canonical secret: 64 bytes for sr25519 (scalar, then nonce seed), 32 for
//! ed25519 (seed) and ecdsa (scalar, big-endian).

pub(crate) mod ecdsa;
pub(crate) mod ed25519;
pub(crate) mod sr25519;

use signonce_protocol::{Algorithm, KeyId, PublicKey, Scheme, ToSign};
use std::fmt;

/// Why a key did not sign. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The keyring does not hold the key.
    #[error("this node does not hold key {0}; it has been removed, or its envelope is not opened yet")]
    UnknownKey(KeyId),
    /// A bare hash was given to a scheme that signs messages.
    #[error("an {0} key signs messages, never a bare hash")]
    PrehashRefused(Scheme),
    /// A VRF was requested from a key that has none.
    #[error("an {0} key has no VRF; BABE keys are sr25519")]
    NoVrf(Scheme),
    /// The key material has changed since it came in.
    #[error(
        "the material of {scheme} key {public} is damaged in memory; restart this node, and check its hardware \
         if this repeats"
    )]
    Damaged {
        /// The scheme.
        scheme: Scheme,
        /// The key.
        public: PublicKey,
    },
    /// The signature just made does not verify, so it was discarded.
    #[error(
        "a signature by {scheme} key {public} failed its own check and was thrown away; check this node's \
         hardware before it signs again"
    )]
    SelfCheck {
        /// The scheme.
        scheme: Scheme,
        /// The key.
        public: PublicKey,
    },
}

/// Some bytes that are not a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signature has 64 bytes (sr25519, ed25519, compact ecdsa) or 65 (recoverable ecdsa), not {0}")]
pub struct SignatureError(
    /// The number of bytes given.
    pub usize,
);

/// A signature: 64 bytes (sr25519, ed25519, compact ecdsa: r, s) or 65 (recoverable ecdsa: r, s, recovery id 0..=3). Shown
/// as 0x-hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    len: u8,
    bytes: [u8; 65],
}

impl Signature {
    /// The bytes of the signature.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn of_64(given: [u8; 64]) -> Self {
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&given);
        Self { len: 64, bytes }
    }

    fn of_65(bytes: [u8; 65]) -> Self {
        Self { len: 65, bytes }
    }
}

impl TryFrom<&[u8]> for Signature {
    type Error = SignatureError;
    fn try_from(given: &[u8]) -> Result<Self, SignatureError> {
        if let Ok(bytes) = <[u8; 64]>::try_from(given) {
            Ok(Self::of_64(bytes))
        } else if let Ok(bytes) = <[u8; 65]>::try_from(given) {
            Ok(Self::of_65(bytes))
        } else {
            Err(SignatureError(given.len()))
        }
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Whether `signature` is `public`'s over `to_sign`, as the chain checks it.
///
/// sr25519 and ecdsa agree with `sp_core` on every input. ed25519 is stricter than the chain's ZIP-215 check: it
/// also refuses signatures and keys with small-order parts, which no honest signer makes. Compact ecdsa has a low s, as
/// CometBFT wants it.
pub fn verify(scheme: Scheme, public: &PublicKey, to_sign: ToSign<'_>, signature: &[u8]) -> bool {
    let public = public.as_bytes();
    match (scheme.algorithm(), to_sign) {
        (Algorithm::Sr25519, ToSign::Message(message)) => sr25519::verify(public, message, signature),
        (Algorithm::Ed25519, ToSign::Message(message)) => ed25519::verify(public, message, signature),
        (Algorithm::Secp256k1Recoverable, to_sign) => ecdsa::verify(public, ecdsa::hash(to_sign), signature),
        (Algorithm::Secp256k1Compact, ToSign::Message(message)) => {
            ecdsa::verify_compact(public, message, signature)
        }
        (Algorithm::Sr25519 | Algorithm::Ed25519 | Algorithm::Secp256k1Compact, ToSign::Prehashed(_)) => {
            false
        }
    }
}
