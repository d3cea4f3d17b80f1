//! Signatures of development keys in made headers and justifications, and what is none of them.

use super::*;
use serde_json::json;
use signonce_keys::{Keyring, ReleaseToken, SecretKey, SecretString};
use signonce_protocol::{Carry, KeyType, PublicKey};
use signonce_substrate::{BABE, BEEFY, GRANDPA, Kind};

struct Any;

impl ReleaseToken for Any {
    fn covers(&self, _: &KeyId, _: &Digest, _: &Carry) -> bool {
        true
    }
}

fn key(suri: &str, key_type: KeyType) -> (WatchedKey, Keyring) {
    signonce_shared::families::install();
    let scheme = key_type.schemes()[0];
    let secret = SecretKey::from_suri(scheme, &SecretString::from(suri), None).unwrap();
    let id = KeyId { key_type, public: secret.public() };
    let ring = Keyring::new();
    ring.insert(id, secret).unwrap();
    (WatchedKey { id, scheme }, ring)
}

fn sign((key, ring): &(WatchedKey, Keyring), payload: &Payload) -> Vec<u8> {
    let signature = ring.sign(&key.id, &payload.clone().into()).unwrap();
    signature.release(Any).signature.as_bytes().to_vec()
}

fn header(seal: Option<Vec<u8>>) -> JsonHeader {
    let pre_digest = (2u8, 0u32, 77u64).encode();
    let mut logs = vec![HexBytes((6u8, *b"BABE", pre_digest).encode())];
    logs.extend(seal.map(|seal| HexBytes((5u8, *b"BABE", seal).encode())));
    let hash = Hash([7; 32]);
    let json = json!({ "parentHash": hash, "number": "0x1f", "stateRoot": hash, "extrinsicsRoot": hash, "digest": { "logs": logs } });
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_seal_of_ours_is_found_with_slot_and_the_digest_that_the_audit_has() {
    let format = ChainFormat::default();
    let alice = key("//Alice", BABE);
    let bare = header(None);
    let payload =
        Payload::decode(Kind::BabeHeader, &bare.encode(&bare.digest.logs).unwrap(), &format).unwrap();
    let sealed = header(Some(sign(&alice, &payload)));
    let bob = key("//Bob", BABE).0;
    let sighting = sealed.sighting(&[bob, alice.0], &format).unwrap();
    assert_eq!(sighting.key, alice.0.id);
    assert_eq!(sighting.duty, Duty::BabeBlock { slot: signonce_protocol::Slot(77) });
    assert_eq!(sighting.digest, payload.digest());
    assert!(sighting.seen_in.starts_with("block 31 (0x"), "{}", sighting.seen_in);
    assert_eq!(sealed.sighting(&[bob], &format), None);
    assert_eq!(header(Some(vec![1; 64])).sighting(&[alice.0], &format), None, "no signature of ours");
    assert_eq!(bare.sighting(&[alice.0], &format), None);
}

#[test]
fn precommits_of_ours_are_found_in_the_set_their_signature_is_for() {
    let format = ChainFormat::default();
    let (alice, bob) = (key("//Alice", GRANDPA), key("//Bob", GRANDPA));
    let (target_hash, target) = (Hash([3; 32]), BlockNumber(12));
    let vote = |set: u64| {
        let stage = GrandpaStage::Precommit;
        let vote = GrandpaVote { stage, target_hash, target, round: Round(9), set_id: SetId(set) };
        Payload::decode(Kind::GrandpaVote, &vote.encode(&format), &format).unwrap()
    };
    let one = |who: &(WatchedKey, Keyring)| {
        let signature: [u8; 64] = sign(who, &vote(4)).try_into().unwrap();
        let voter: [u8; 32] = who.0.id.public.as_bytes().try_into().unwrap();
        (target_hash, 12u32, signature, voter)
    };
    let no_ancestries = 0u8;
    let bytes = (9u64, target_hash, 12u32, vec![one(&bob), one(&alice)], no_ancestries).encode();
    let ours = precommits(&bytes, &[alice.0], NumberWidth::U32).unwrap();
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0].sighting([SetId(3), SetId(5)], &format), None);
    let (set, sighting) = ours[0].sighting([SetId(5), SetId(4)], &format).unwrap();
    assert_eq!((set, sighting.digest), (SetId(4), vote(4).digest()));
    assert_eq!(precommits(&bytes[..90], &[alice.0], NumberWidth::U32), None);
}

#[test]
fn votes_of_ours_are_found_in_a_beefy_proof() {
    let format = ChainFormat::default();
    let (alice, bob) = (key("//Alice", BEEFY), key("//Bob", BEEFY));
    let commitment = (vec![(*b"mh", vec![5u8; 32])], 25u32, 3u64).encode();
    let payload = Payload::decode(Kind::BeefyCommitment, &commitment, &format).unwrap();
    let signatures: Vec<[u8; 65]> =
        [&bob, &alice].map(|who| sign(who, &payload).try_into().unwrap()).to_vec();
    let proof = [&[1][..], &commitment, &(vec![0xc0u8], 4u32, signatures).encode()].concat();
    let seen = beefy_votes(&proof, &[alice.0], &format).unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].digest, payload.digest());
    assert_eq!(seen[0].duty, Duty::BeefyVote { set_id: SetId(3), block: BlockNumber(25) });
    assert_eq!(beefy_votes(&proof[..40], &[alice.0], &format), None);
    let stranger = PublicKey::try_from(&[2; 33][..]).unwrap();
    let stranger = WatchedKey { id: KeyId { key_type: BEEFY, public: stranger }, ..alice.0 };
    assert_eq!(beefy_votes(&proof, &[stranger], &format), Some(vec![]));
}
