//! A secret key: a scheme, a public key, and material in locked memory.

use crate::{
    memory::LockedBytes,
    scheme::{SignError, Signature, ecdsa, ed25519, sr25519, verify},
};
use rand::TryRng as _;
use signonce_protocol::{Algorithm, PublicKey, Scheme, ToSign};
use std::fmt;
use zeroize::Zeroizing;

/// Why some bytes are not a secret key. Never holds the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not a secret of the scheme: wrong length, or outside the group.
    #[error("these bytes are not a valid {0} secret key")]
    Invalid(Scheme),
    /// The system provided no randomness.
    #[error("the system gave no randomness: {0}")]
    Entropy(String),
}

/// A secret key. It cannot be cloned, printed or serialised, and leaves only sealed ([`crate::seal`]).
pub struct SecretKey {
    scheme: Scheme,
    public: PublicKey,
    material: LockedBytes,
}

impl SecretKey {
    /// A fresh key from the system's randomness.
    pub fn generate(scheme: Scheme) -> Result<Self, SecretError> {
        let mut seed = Zeroizing::new([0; 32]);
        // A random ecdsa seed is out of range once in 2^128; the bound is for a broken source that repeats itself.
        for _ in 0..4 {
            rand::rngs::SysRng
                .try_fill_bytes(seed.as_mut_slice())
                .map_err(|e| SecretError::Entropy(e.to_string()))?;
            if let Ok(key) = Self::from_seed(scheme, &seed) {
                return Ok(key);
            }
        }
        Err(SecretError::Entropy("it repeats an impossible value".into()))
    }

    /// The key of a 32-byte seed, as `sp_core` makes it. The caller wipes the seed.
    pub fn from_seed(scheme: Scheme, seed: &[u8; 32]) -> Result<Self, SecretError> {
        match scheme.algorithm() {
            Algorithm::Sr25519 => {
                let material = sr25519::material_of_seed(seed).ok_or(SecretError::Invalid(scheme))?;
                Self::from_material(scheme, material.as_slice())
            }
            Algorithm::Ed25519 | Algorithm::Secp256k1Recoverable | Algorithm::Secp256k1Compact => {
                Self::from_material(scheme, seed)
            }
        }
    }

    /// The key with this material of its scheme (see [`crate::scheme`]).
    pub(crate) fn from_material(scheme: Scheme, material: &[u8]) -> Result<Self, SecretError> {
        let invalid = SecretError::Invalid(scheme);
        let public = match scheme.algorithm() {
            Algorithm::Sr25519 => sr25519::public(material).map(|p| PublicKey::try_from(&p[..])),
            Algorithm::Ed25519 => ed25519::public(material).map(|p| PublicKey::try_from(&p[..])),
            Algorithm::Secp256k1Recoverable | Algorithm::Secp256k1Compact => {
                ecdsa::public(material).map(|p| PublicKey::try_from(&p[..]))
            }
        };
        match public {
            Some(Ok(public)) => Ok(Self { scheme, public, material: LockedBytes::new(material) }),
            _ => Err(invalid),
        }
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs, always with the same bytes for the same request, and checks the signature before returning it.
    ///
    /// Servers sign through a [`crate::Keyring`], which holds the signature back until it may be released.
    pub fn sign(&self, to_sign: ToSign<'_>) -> Result<Signature, SignError> {
        let made = self.material.with(|material| match (self.scheme.algorithm(), to_sign) {
            (Algorithm::Sr25519, ToSign::Message(message)) => {
                Ok(sr25519::sign(material, self.public.as_bytes(), message))
            }
            (Algorithm::Ed25519, ToSign::Message(message)) => Ok(ed25519::sign(material, message)),
            (Algorithm::Secp256k1Recoverable, to_sign) => Ok(ecdsa::sign(material, ecdsa::hash(to_sign))),
            (Algorithm::Secp256k1Compact, ToSign::Message(message)) => {
                Ok(ecdsa::sign_compact(material, message))
            }
            (Algorithm::Sr25519 | Algorithm::Ed25519 | Algorithm::Secp256k1Compact, ToSign::Prehashed(_)) => {
                Err(SignError::PrehashRefused(self.scheme))
            }
        })?;
        let signature = made.ok_or(self.damaged())?;
        // A fault while signing (a flipped bit, a glitched CPU) can give a deterministic key away.
        if verify(self.scheme, &self.public, to_sign, signature.as_bytes()) {
            Ok(signature)
        } else {
            Err(self.self_check())
        }
    }

    /// Lends the material to `f`.
    pub(crate) fn with_material<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        self.material.with(f)
    }

    /// Whether `other` has the very same material, in constant time.
    pub(crate) fn same_material(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.scheme == other.scheme && self.with_material(|a| other.with_material(|b| a.ct_eq(b).into()))
    }

    pub(crate) fn damaged(&self) -> SignError {
        SignError::Damaged { scheme: self.scheme, public: self.public }
    }

    pub(crate) fn self_check(&self) -> SignError {
        SignError::SelfCheck { scheme: self.scheme, public: self.public }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, redacted)", self.scheme)
    }
}
