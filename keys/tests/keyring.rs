//! The keyring signs what it holds and releases nothing without a token for those very bytes.

mod common;

use common::{SCHEMES, id, key};
use signonce_keys::{FreeDuty, InsertError, Keyring, ReleaseToken, SignError, verify, verify_babe_vrf};
use signonce_protocol::{Digest, DutyClass, EpochIndex, KeyId, KeyType, Scheme, Slot, ToSign};
use std::sync::Arc;

/// What the cluster would give for a committed claim.
struct Grant(KeyId, Digest);

impl ReleaseToken for Grant {
    fn covers(&self, key: &KeyId, digest: &Digest) -> bool {
        self.0 == *key && self.1 == *digest
    }
}

fn ring(suri: &str) -> (Keyring, KeyId) {
    let ring = Keyring::new();
    let key = key(Scheme::Sr25519, suri);
    let id = id(KeyType::Babe, &key);
    ring.insert(id, key).unwrap();
    (ring, id)
}

#[test]
fn a_signature_comes_out_against_its_grant() {
    let (ring, id) = ring("//Alice");
    let held = ring.sign(&id, ToSign::Message(b"header")).unwrap();
    let signature = held.release(Grant(id, Digest::of(b"header")));
    assert!(verify(Scheme::Sr25519, &id.public, ToSign::Message(b"header"), signature.as_bytes()));
}

#[test]
#[should_panic(expected = "without a grant")]
fn a_grant_for_other_bytes_releases_nothing() {
    let (ring, id) = ring("//Alice");
    ring.sign(&id, ToSign::Message(b"header")).unwrap().release(Grant(id, Digest::of(b"another")));
}

#[test]
#[should_panic(expected = "without a grant")]
fn a_grant_for_another_key_releases_nothing() {
    let (ring, id) = ring("//Alice");
    let bob = KeyId { public: key(Scheme::Sr25519, "//Bob").public(), ..id };
    ring.sign(&id, ToSign::Message(b"header")).unwrap().release(Grant(bob, Digest::of(b"header")));
}

#[test]
#[should_panic(expected = "without a grant")]
fn a_free_duty_of_another_key_type_releases_nothing() {
    let (ring, id) = ring("//Alice");
    let free = FreeDuty::new(DutyClass::Bitfield, Digest::of(b"header")).unwrap();
    ring.sign(&id, ToSign::Message(b"header")).unwrap().release(free);
}

#[test]
fn claimed_classes_are_never_free() {
    let claimed = [
        DutyClass::BabeBlock,
        DutyClass::AuraBlock,
        DutyClass::GrandpaVote,
        DutyClass::BeefyVote,
        DutyClass::ParaSide,
    ];
    for class in DutyClass::ALL {
        assert_eq!(FreeDuty::new(class, Digest::of(b"x")).is_none(), claimed.contains(&class), "{class}");
    }
}

#[test]
fn an_ownership_proof_is_free_for_every_key_type() {
    let ring = Keyring::new();
    let grandpa = key(Scheme::Ed25519, "//Alice");
    let id = id(KeyType::Grandpa, &grandpa);
    ring.insert(id, grandpa).unwrap();
    let free = FreeDuty::new(DutyClass::OwnershipProof, Digest::of(b"POP_")).unwrap();
    let proof = ring.sign(&id, ToSign::Message(b"POP_")).unwrap().release(free);
    assert!(verify(Scheme::Ed25519, &id.public, ToSign::Message(b"POP_"), proof.as_bytes()));
}

#[test]
fn a_vrf_comes_straight() {
    let (ring, id) = ring("//Alice");
    let vrf = ring.vrf(&id, Slot(4), EpochIndex(2), &[3; 32]).unwrap();
    assert!(verify_babe_vrf(&id.public, Slot(4), EpochIndex(2), &[3; 32], &vrf));
}

#[test]
fn a_key_is_here_from_insert_to_remove() {
    let (ring, id) = ring("//Alice");
    assert!(ring.contains(&id));
    assert_eq!(ring.ids(), [id]);
    assert!(ring.remove(&id));
    assert!(!ring.remove(&id));
    assert!(!ring.contains(&id));
    assert!(ring.ids().is_empty());
    assert_eq!(ring.sign(&id, ToSign::Message(b"x")).unwrap_err(), SignError::UnknownKey(id));
    assert_eq!(ring.vrf(&id, Slot(1), EpochIndex(1), &[0; 32]).unwrap_err(), SignError::UnknownKey(id));
}

#[test]
fn the_same_public_key_under_another_type_is_not_here() {
    let (ring, id) = ring("//Alice");
    let para = KeyId { key_type: KeyType::Para, ..id };
    assert_eq!(ring.sign(&para, ToSign::Message(b"x")).unwrap_err(), SignError::UnknownKey(para));
}

#[test]
fn inserting_checks_name_scheme_and_material() {
    let (ring, id) = ring("//Alice");
    let bob = key(Scheme::Sr25519, "//Bob");
    let found = bob.public();
    assert_eq!(ring.insert(id, bob), Err(InsertError::NotThatKey { id, found }));
    let grandpa = KeyId { key_type: KeyType::Grandpa, ..id };
    assert_eq!(
        ring.insert(grandpa, key(Scheme::Sr25519, "//Alice")),
        Err(InsertError::WrongScheme { id: grandpa, scheme: Scheme::Sr25519 })
    );
    assert_eq!(ring.insert(id, key(Scheme::Sr25519, "//Alice")), Ok(()), "again, the same");
    assert_eq!(ring.ids(), [id]);
}

#[test]
fn many_threads_get_the_same_bytes_while_keys_come_and_go() {
    for scheme in SCHEMES {
        let key_type = match scheme {
            Scheme::Sr25519 => KeyType::Para,
            Scheme::Ed25519 => KeyType::Grandpa,
            Scheme::Ecdsa => KeyType::Beefy,
        };
        let ring = Arc::new(Keyring::new());
        let stable = key(scheme, "//stable");
        let expected = stable.sign(ToSign::Message(b"m")).unwrap();
        let id = id(key_type, &stable);
        ring.insert(id, stable).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let ring = Arc::clone(&ring);
                scope.spawn(move || {
                    for n in 0..50 {
                        let held = ring.sign(&id, ToSign::Message(b"m")).unwrap();
                        assert_eq!(held.release(Grant(id, Digest::of(b"m"))), expected);
                        let passing = key(scheme, &format!("//passing//{thread}//{n}"));
                        let passing_id = common::id(key_type, &passing);
                        ring.insert(passing_id, passing).unwrap();
                        assert!(ring.remove(&passing_id));
                    }
                });
            }
        });
        assert_eq!(ring.ids(), [id]);
    }
}
