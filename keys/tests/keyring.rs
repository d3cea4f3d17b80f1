//! The keyring signs what it holds and releases nothing without a token for those very bytes.

mod common;

use common::{SCHEMES, id, key, payload};
use signonce_keys::{
    FreeDuty, InsertError, Keyring, ReleaseToken, SignError, Signed, verify, verify_babe_vrf,
};
use signonce_protocol::{Algorithm, Carry, Digest, KeyId, Message, Payload, Slot, Statement, ToSign};
use signonce_substrate::{ALL_KEY_TYPES, BABE, BEEFY, ED25519, EpochIndex, GRANDPA, Kind, PARA, SR25519};
use std::sync::Arc;

/// What the cluster would give for a committed claim.
struct Grant(KeyId, Digest, Carry);

impl Grant {
    /// For the first claim of this payload's duty.
    fn of(key: KeyId, payload: &Payload) -> Self {
        Self(key, payload.digest(), payload.carry())
    }
}

impl ReleaseToken for Grant {
    fn covers(&self, key: &KeyId, digest: &Digest, carry: &Carry) -> bool {
        self.0 == *key && self.1 == *digest && self.2 == *carry
    }
}

fn ring(suri: &str) -> (Keyring, KeyId) {
    let ring = Keyring::new();
    let key = key(SR25519, suri);
    let id = id(PARA, &key);
    ring.insert(id, key).unwrap();
    (ring, id)
}

/// A duty of the ring's key.
fn dispute(candidate: u8) -> Payload {
    payload(Kind::Dispute, &[&b"DISP\x00"[..], &[candidate; 32], &4_u32.to_le_bytes()].concat())
}

/// Free work of the ring's key.
fn proof() -> Payload {
    payload(Kind::OwnershipProof, b"POP_owner")
}

#[test]
fn a_signature_comes_out_against_its_grant() {
    let (ring, id) = ring("//Alice");
    let held = ring.sign(&id, &dispute(1)).unwrap();
    let Signed { signature, beside } = held.release(Grant::of(id, &dispute(1)));
    assert!(verify(SR25519, &id.public, dispute(1).to_sign(), signature.as_bytes()));
    assert_eq!(beside, None);
}

#[test]
#[should_panic(expected = "without a grant")]
fn a_grant_for_other_bytes_releases_nothing() {
    let (ring, id) = ring("//Alice");
    ring.sign(&id, &dispute(1)).unwrap().release(Grant::of(id, &dispute(2)));
}

#[test]
#[should_panic(expected = "without a grant")]
fn a_grant_for_another_key_releases_nothing() {
    let (ring, id) = ring("//Alice");
    let bob = KeyId { public: key(SR25519, "//Bob").public(), ..id };
    ring.sign(&id, &dispute(1)).unwrap().release(Grant::of(bob, &dispute(1)));
}

/// A vote of a family whose votes have a time beside their statement, and an extension beside them.
fn timed_vote(time: u8) -> Payload {
    let vote = vote();
    let message = |time: u8| Message::Bytes([&b"vote at "[..], &[time]].concat().into());
    Payload::new(vote.kind(), vote.duty().cloned(), message(time), "a vote")
        .with_statement(Statement {
            digest: Digest::of(b"vote"),
            carry: Carry::new(vec![time]),
            restate: Arc::new(move |carry| match carry.as_bytes() {
                [time] => Some(message(*time)),
                _ => None,
            }),
        })
        .with_beside(Message::Bytes((*b"extension").into()))
}

fn grandpa_ring() -> (Keyring, KeyId) {
    let ring = Keyring::new();
    let key = key(ED25519, "//Alice");
    let id = id(GRANDPA, &key);
    ring.insert(id, key).unwrap();
    (ring, id)
}

#[test]
fn a_grant_is_for_the_statement_and_what_is_beside_it_comes_along() {
    let (ring, id) = grandpa_ring();
    let vote = timed_vote(7);
    assert_ne!(vote.digest(), Digest::of(vote.to_sign().as_bytes()));
    let Signed { signature, beside } = ring.sign(&id, &vote).unwrap().release(Grant::of(id, &vote));
    assert!(verify(ED25519, &id.public, ToSign::Message(b"vote at \x07"), signature.as_bytes()));
    assert!(verify(ED25519, &id.public, ToSign::Message(b"extension"), beside.unwrap().as_bytes()));
}

#[test]
fn a_repeat_is_released_as_it_was_signed_first() {
    let (ring, id) = grandpa_ring();
    let first = timed_vote(7);
    let signed = ring.sign(&id, &first).unwrap().release(Grant::of(id, &first));
    let repeat = || Grant(id, first.digest(), first.carry());
    let again = timed_vote(8).as_first_signed(&first.carry()).unwrap();
    assert_eq!(ring.sign(&id, &again).unwrap().release(repeat()), signed);
}

#[test]
#[should_panic(expected = "without a grant")]
fn a_repeat_with_something_else_beside_its_statement_is_not_released() {
    let (ring, id) = grandpa_ring();
    let (first, later) = (timed_vote(7), timed_vote(8));
    assert_eq!(first.digest(), later.digest());
    ring.sign(&id, &later).unwrap().release(Grant::of(id, &first));
}

/// A heartbeat: block number, session, authority index, validators.
const HEARTBEAT: [u8; 16] = [9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0];

#[test]
#[should_panic(expected = "without a grant")]
fn free_work_of_another_key_type_releases_nothing() {
    let (ring, id) = ring("//Alice");
    let heartbeat = payload(Kind::Heartbeat, &HEARTBEAT);
    let free = FreeDuty::of(&heartbeat).unwrap();
    // The bytes are those of the heartbeat, and the key is a parachain validator's.
    ring.sign(&id, &heartbeat).unwrap().release(free);
}

#[test]
#[should_panic(expected = "without a grant")]
fn free_work_releases_its_own_bytes_only() {
    let (ring, id) = ring("//Alice");
    let free = FreeDuty::of(&proof()).unwrap();
    ring.sign(&id, &payload(Kind::OwnershipProof, b"POP_other")).unwrap().release(free);
}

fn vote() -> Payload {
    let vote =
        [&[0][..], &[4; 32], &77_u32.to_le_bytes(), &5_u64.to_le_bytes(), &9_u64.to_le_bytes()].concat();
    payload(Kind::GrandpaVote, &vote)
}

#[test]
fn a_duty_is_never_free() {
    for payload in [vote(), dispute(6)] {
        assert!(payload.duty().is_some());
        assert_eq!(FreeDuty::of(&payload), None, "{}", payload.kind());
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
        let held = ring.sign(&id, &proof_of).unwrap();
        let proof = held.release(FreeDuty::of(&proof_of).unwrap()).signature;
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
    assert_eq!(ring.sign(&id, &proof()).unwrap_err(), SignError::UnknownKey(id));
    assert_eq!(ring.vrf(&id, Slot(1), EpochIndex(1), &[0; 32]).unwrap_err(), SignError::UnknownKey(id));
}

#[test]
fn the_same_public_key_under_another_type_is_not_here() {
    let (ring, id) = ring("//Alice");
    let babe = KeyId { key_type: BABE, ..id };
    assert_eq!(ring.sign(&babe, &proof()).unwrap_err(), SignError::UnknownKey(babe));
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
    signonce_substrate::install();
    for scheme in SCHEMES {
        let key_type = match scheme.algorithm() {
            Algorithm::Sr25519 => PARA,
            Algorithm::Ed25519 => GRANDPA,
            Algorithm::Secp256k1Recoverable => BEEFY,
            Algorithm::Secp256k1Compact => unreachable!("no scheme of Substrate's"),
        };
        let asked = proof();
        let ring = Arc::new(Keyring::new());
        let stable = key(scheme, "//stable");
        let expected = stable.sign(asked.to_sign()).unwrap();
        let id = id(key_type, &stable);
        ring.insert(id, stable).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (ring, asked) = (Arc::clone(&ring), &asked);
                scope.spawn(move || {
                    for n in 0..50 {
                        let held = ring.sign(&id, asked).unwrap();
                        assert_eq!(held.release(Grant::of(id, asked)).signature, expected);
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
