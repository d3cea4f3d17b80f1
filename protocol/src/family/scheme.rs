//! Signature schemes, as a family names them.

use super::handle;
use crate::PublicKey;
use serde_json::Value;

handle!(
    /// A signature scheme of a family: an algorithm under the name that the family's users know it by.
    Scheme,
    SchemeSpec,
    schemes,
    "signature scheme"
);

/// A family's description of a scheme.
pub struct SchemeSpec {
    /// Its number.
    pub id: Scheme,
    /// Its name: `ed25519`.
    pub name: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// How it signs.
    pub algorithm: Algorithm,
    /// A public key as the chain's own tools show and take it; `None` where that is the hex that we show everywhere.
    pub show: Option<fn(&PublicKey) -> Value>,
}

/// The algorithms that secrets are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Schnorr over Ristretto under the context `substrate`; 32-byte public keys, 64-byte signatures. Signed here
    /// without randomness.
    Sr25519,
    /// Plain Ed25519; 32-byte public keys, 64-byte signatures.
    Ed25519,
    /// ECDSA over secp256k1 with RFC 6979 nonces over blake2b-256 or a given hash; 33-byte public keys, 65-byte
    /// recoverable signatures.
    Secp256k1Recoverable,
    /// ECDSA over secp256k1 with RFC 6979 nonces over SHA-256; 33-byte public keys, 64-byte signatures (`r ‖ s`, low `s`).
    Secp256k1Compact,
}

impl Algorithm {
    /// The length of a public key in bytes.
    pub const fn public_len(self) -> usize {
        match self {
            Self::Sr25519 | Self::Ed25519 => 32,
            Self::Secp256k1Recoverable | Self::Secp256k1Compact => 33,
        }
    }
}

impl Scheme {
    /// How it signs.
    pub fn algorithm(self) -> Algorithm {
        self.spec().algorithm
    }

    /// The length of a public key in bytes.
    pub fn public_len(self) -> usize {
        self.algorithm().public_len()
    }

    /// A public key as the chain's own tools show and take it; `None` where that is the hex that we show everywhere.
    pub fn show(self, public: &PublicKey) -> Option<Value> {
        self.spec().show.map(|show| show(public))
    }
}
