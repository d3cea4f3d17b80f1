//! The keys that a running signer holds, and the gate in front of their signatures.
//!
//! A [`Keyring`] signs as soon as it is asked, so that signing may overlap replication. The result is [`Unreleased`],
//! which gives up the signature only through [`Unreleased::release`], and that takes a [`ReleaseToken`] for the very
//! key and payload. The cluster makes such tokens from committed claims only; [`FreeDuty`] is the token for work that
//! needs no claim. Only a [`Payload`] can be signed, so nothing is signed that was not decoded.

use crate::{
    scheme::{SignError, Signature},
    secret::SecretKey,
    vrf::VrfSignature,
};
use signonce_protocol::{Carry, Digest, DutyClass, KeyId, Payload, PublicKey, Scheme, Slot};
use signonce_substrate::EpochIndex;
use std::{
    collections::BTreeMap,
    collections::btree_map::Entry,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Permission to release the signature of one payload.
///
/// Only two kinds of type may implement this: the cluster's grant, which exists for a claim that the ledger of a
/// committed log has granted or repeated, and [`FreeDuty`]. Implementing it for anything else undoes the product.
pub trait ReleaseToken {
    /// Whether this token is for the signature of `key` over the payload whose statement has this digest, with this
    /// carry. A repeat is for the carry of the first time, and no other.
    fn covers(&self, key: &KeyId, digest: &Digest, carry: &Carry) -> bool;
}

/// Permission to release work that needs no claim: bitfields, PVF checks, authority records, heartbeats, ownership
/// proofs. Made only from a decoded payload, so that bytes nobody understood can never be called free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeDuty {
    class: DutyClass,
    digest: Digest,
    carry: Carry,
}

impl FreeDuty {
    /// The token for `payload`; `None` if it is a duty, which needs a claim.
    pub fn of(payload: &Payload) -> Option<Self> {
        match payload.duty() {
            Some(_) => None,
            None => Some(Self { class: payload.class(), digest: payload.digest(), carry: payload.carry() }),
        }
    }
}

impl ReleaseToken for FreeDuty {
    fn covers(&self, key: &KeyId, digest: &Digest, carry: &Carry) -> bool {
        self.class.key_types().contains(&key.key_type) && self.digest == *digest && self.carry == *carry
    }
}

/// The result of signing a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signature over the payload's message.
    pub signature: Signature,
    /// The signature over the second message, if the payload has one: it never leaves alone.
    pub beside: Option<Signature>,
}

/// Signatures that must not leave yet. Dropping them is always safe.
#[must_use = "dropped, the signature is gone; it can be made again"]
pub struct Unreleased {
    key: KeyId,
    digest: Digest,
    carry: Carry,
    held: Signed,
}

impl Unreleased {
    /// The signatures, in exchange for permission to release them. Consumes the token.
    ///
    /// # Panics
    ///
    /// If the token is for another key or payload: a defect in the caller that would otherwise let out a signature
    /// whose claim was never committed.
    pub fn release<R: ReleaseToken>(self, token: R) -> Signed {
        assert!(
            token.covers(&self.key, &self.digest, &self.carry),
            "a signature of {} over {} was to be released without a grant for it",
            self.key,
            self.digest
        );
        self.held
    }
}

impl fmt::Debug for Unreleased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unreleased")
    }
}

/// Why a key was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The secret belongs to another key.
    #[error("the secret given for {id} is that of another key: its public key is {found}")]
    NotThatKey {
        /// The name it was given.
        id: KeyId,
        /// The public key it has.
        found: PublicKey,
    },
    /// The key type has no keys of this scheme.
    #[error("a {} key is never {scheme}", .id.key_type)]
    WrongScheme {
        /// The key.
        id: KeyId,
        /// The scheme of the secret.
        scheme: Scheme,
    },
    /// The key is already held with other material, which would sign the same request with other bytes.
    #[error("{0} is held with another nonce seed already; every node must open the same envelope")]
    DifferentMaterial(KeyId),
}

/// The keys this node can sign with. Shared between threads.
#[derive(Default)]
pub struct Keyring {
    keys: RwLock<BTreeMap<KeyId, Arc<SecretKey>>>,
}

impl Keyring {
    /// A ring without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key. Adding the same key again changes nothing.
    pub fn insert(&self, id: KeyId, key: SecretKey) -> Result<(), InsertError> {
        if key.public() != id.public {
            return Err(InsertError::NotThatKey { id, found: key.public() });
        }
        if !id.key_type.schemes().contains(&key.scheme()) {
            return Err(InsertError::WrongScheme { id, scheme: key.scheme() });
        }
        match self.write().entry(id) {
            Entry::Vacant(place) => {
                place.insert(Arc::new(key));
                Ok(())
            }
            Entry::Occupied(held) if held.get().same_material(&key) => Ok(()),
            Entry::Occupied(_) => Err(InsertError::DifferentMaterial(id)),
        }
    }

    /// Removes a key; its memory is wiped once no signature is being made with it. Returns whether it was held.
    pub fn remove(&self, id: &KeyId) -> bool {
        self.write().remove(id).is_some()
    }

    /// Whether the key is held.
    pub fn contains(&self, id: &KeyId) -> bool {
        self.read().contains_key(id)
    }

    /// The keys that are held, in order.
    pub fn ids(&self) -> Vec<KeyId> {
        self.read().keys().copied().collect()
    }

    /// Signs a payload, and its second message if it has one, and holds the signatures back.
    pub fn sign(&self, id: &KeyId, payload: &Payload) -> Result<Unreleased, SignError> {
        let key = self.get(id)?;
        let signature = key.sign(payload.to_sign())?;
        let beside = payload.beside().map(|message| key.sign(message.to_sign())).transpose()?;
        let held = Signed { signature, beside };
        Ok(Unreleased { key: *id, digest: payload.digest(), carry: payload.carry(), held })
    }

    /// The BABE VRF of a key. It is free (one output for each key and input, nothing to equivocate), so it is not held
    /// back; the caller must still check the client's right to `babeVrf`.
    pub fn vrf(
        &self,
        id: &KeyId,
        slot: Slot,
        epoch: EpochIndex,
        randomness: &[u8; 32],
    ) -> Result<VrfSignature, SignError> {
        self.get(id)?.babe_vrf(slot, epoch, randomness)
    }

    /// The key, kept alive by the caller so that signing does not hold the lock.
    fn get(&self, id: &KeyId) -> Result<Arc<SecretKey>, SignError> {
        self.read().get(id).cloned().ok_or(SignError::UnknownKey(*id))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<KeyId, Arc<SecretKey>>> {
        // A panic cannot leave the map half-changed: each change is one call.
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<KeyId, Arc<SecretKey>>> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.read().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_substrate::{BABE, ChainFormat, Kind, SR25519};

    #[test]
    fn a_key_with_another_nonce_seed_is_not_taken_in_beside_the_first() {
        signonce_substrate::install();
        let proof =
            signonce_substrate::Payload::decode(Kind::OwnershipProof, b"POP_owner", &ChainFormat::default());
        let proof = Payload::from(proof.unwrap());
        let first = SecretKey::from_seed(SR25519, &[7; 32]).unwrap();
        let id = KeyId { key_type: BABE, public: first.public() };
        let expected = first.sign(proof.to_sign()).unwrap();
        let mut material = first.with_material(<[u8]>::to_vec);
        material[40] ^= 1;
        let other = SecretKey::from_material(SR25519, &material).unwrap();
        assert_eq!(other.public(), id.public, "the nonce seed does not show in the public key");
        assert_ne!(other.sign(proof.to_sign()).unwrap(), expected);

        let ring = Keyring::new();
        ring.insert(id, first).unwrap();
        assert_eq!(ring.insert(id, other), Err(InsertError::DifferentMaterial(id)));
        assert_eq!(ring.sign(&id, &proof).unwrap().held, Signed { signature: expected, beside: None });
    }
}
