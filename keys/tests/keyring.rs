//! The keyring signs what it holds and releases nothing without a token for those very bytes.

mod common;

use common::{SCHEMES, id, key};
use signonce_keys::{FreeDuty, InsertError, Keyring, ReleaseToken, SignError, verify, verify_babe_vrf};
use signonce_protocol::{Digest, EpochIndex, KeyId, Slot, ToSign};
use signonce_substrate::{ALL_KEY_TYPES, BABE, BEEFY, ECDSA, ED25519, GRANDPA, PARA, SR25519};
use signonce_substrate::{ChainFormat, Kind, Payload};
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
    let key = key(SR25519, suri);
    let id = id(BABE, &key);
    ring.insert(id, key).unwrap();
    (ring, id)
}

#[test]
fn a_signature_comes_out_against_its_grant() {
    let (ring, id) = ring("//Alice");
    let held = ring.sign(&id, ToSign::Message(b"header")).unwrap();
    let signature = held.release(Grant(id, Digest::of(b"header")));
    assert!(verify(SR25519, &id.public, ToSign::Message(b"header"), signature.as_bytes()));
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
    let bob = KeyId { public: key(SR25519, "//Bob").public(), ..id };
    ring.sign(&id, ToSign::Message(b"header")).unwrap().release(Grant(bob, Digest::of(b"header")));
}

/// A heartbeat: block number, session, authority index, validators.
const HEARTBEAT: [u8; 16] = [9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0];

fn payload(kind: PayloadKind, bytes: &[u8]) -> Payload {
    Payload::decode(kind, bytes, &ChainFormat::default()).unwrap()
}

#[test]
#[should_panic(expected = "without a grant")]
fn free_work_of_another_key_type_releases_nothing() {
    let (ring, id) = ring("//Alice");
    let free = FreeDuty::of(&payload(Kind::Heartbeat, &HEARTBEAT)).unwrap();
    // The bytes are those of the heartbeat, and the key is BABE's.
    ring.sign(&id, ToSign::Message(&HEARTBEAT)).unwrap().release(free);
}

#[test]
#[should_panic(expected = "without a grant")]
fn free_work_releases_its_own_bytes_only() {
    let (ring, id) = ring("//Alice");
    let free = FreeDuty::of(&payload(Kind::OwnershipProof, b"POP_owner")).unwrap();
    ring.sign(&id, ToSign::Message(b"POP_other")).unwrap().release(free);
}

#[test]
fn a_duty_is_never_free() {
    let vote =
        [&[0][..], &[4; 32], &77_u32.to_le_bytes(), &5_u64.to_le_bytes(), &9_u64.to_le_bytes()].concat();
    let dispute = [&b"DISP\x00"[..], &[6; 32], &4_u32.to_le_bytes()].concat();
    for (kind, bytes) in [(Kind::GrandpaVote, vote), (Kind::Dispute, dispute)] {
        let payload = payload(kind, &bytes);
        assert!(payload.duty().is_some());
        assert_eq!(FreeDuty::of(&payload), None, "{kind:?}");
    }
}

#[test]
fn an_ownership_proof_is_free_for_every_key_type() {
    let proof_of = payload(Kind::OwnershipProof, b"POP_");
    for (key_type, scheme) in
        ALL_KEY_TYPES.into_iter().flat_map(|t| t.schemes().iter().map(move |scheme| (t, *scheme)))
    {
        let ring = Keyring::new();
        let key = key(scheme, "//Alice");
        let id = id(key_type, &key);
        ring.insert(id, key).unwrap();
        let held = ring.sign(&id, proof_of.to_sign()).unwrap();
        let proof = held.release(FreeDuty::of(&proof_of).unwrap());
        assert!(verify(scheme, &id.public, ToSign::Message(b"POP_"), proof.as_bytes()));
    }
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
    let para = KeyId { key_type: PARA, ..id };
    assert_eq!(ring.sign(&para, ToSign::Message(b"x")).unwrap_err(), SignError::UnknownKey(para));
}

#[test]
fn inserting_checks_name_scheme_and_material() {
    let (ring, id) = ring("//Alice");
    let bob = key(SR25519, "//Bob");
    let found = bob.public();
    assert_eq!(ring.insert(id, bob), Err(InsertError::NotThatKey { id, found }));
    let grandpa = KeyId { key_type: GRANDPA, ..id };
    assert_eq!(
        ring.insert(grandpa, key(SR25519, "//Alice")),
        Err(InsertError::WrongScheme { id: grandpa, scheme: SR25519 })
    );
    assert_eq!(ring.insert(id, key(SR25519, "//Alice")), Ok(()), "again, the same");
    assert_eq!(ring.ids(), [id]);
}

#[test]
fn many_threads_get_the_same_bytes_while_keys_come_and_go() {
    for scheme in SCHEMES {
        let key_type = match scheme {
            SR25519 => PARA,
            ED25519 => GRANDPA,
            ECDSA => BEEFY,
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
