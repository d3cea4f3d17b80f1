//! Recorded handshakes of Go's SecretConnection, byte for byte: ours makes the same from the same keys, on both sides.
//! That it understands `cometbft-p2p`, which is another implementation, is in `node.rs`: the signer there uses it.

use ed25519_dalek::SigningKey;
use serde_json::Value;
use signonce_comet_node::{
    secret::{self, FRAME_SEALED, Opener, Sealer, SecretError},
    vectors::Recordings,
};
use std::path::Path;

fn handshakes() -> Option<Vec<Value>> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let recordings = Recordings::find(Path::new(&here), 2)?;
    let file = recordings.json("secret-connection.json").expect("the recording is read");
    let handshakes = file["handshakes"].as_array().expect("a list").clone();
    assert!(handshakes.len() >= 2);
    Some(handshakes)
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hex")
}

fn key(value: &Value) -> [u8; 32] {
    bytes(value).try_into().expect("32 bytes")
}

#[test]
fn recorded_handshakes_are_made_byte_for_byte_on_both_sides() {
    let Some(handshakes) = handshakes() else { return };
    for handshake in handshakes {
        for (side, other) in [("node", "signer"), ("signer", "node")] {
            let (ours, theirs) = (&handshake[side], &handshake[other]);
            let ephemeral = key(&ours["ephemeral_secret"]);
            let public = secret::ephemeral_public(&ephemeral);
            assert_eq!(public, key(&ours["ephemeral_pub"]));
            let mut derived = secret::derive(&ephemeral, &key(&theirs["ephemeral_pub"])).expect("a key");
            assert_eq!(derived.dh_secret, key(&handshake["dh_secret"]));
            assert_eq!(derived.hkdf.to_vec(), bytes(&handshake["hkdf_96"]));
            assert_eq!(derived.challenge, key(&handshake["challenge"]));
            let identity = SigningKey::from_bytes(&key(&ours["identity_seed"]));
            assert_eq!(identity.verifying_key().to_bytes(), key(&ours["identity_pub"]));
            let message = secret::identity_message(&identity, &derived.challenge);
            assert_eq!(message, bytes(&ours["auth_plain"]));
            let wire = [&secret::first_message(&public)[..], &derived.sealer.seal(&message)].concat();
            let recorded = bytes(&ours["handshake_wire"]);
            // Behind a frame's data, recorded bytes may be stale: up to there they are the same, and all of it opens
            // to the same data.
            let until = 35 + 4 + message.len();
            assert_eq!((wire.len(), &wire[..until]), (recorded.len(), &recorded[..until]));
            assert_eq!(Opener::new(&key(&ours["send_key"])).open(&recorded[35..]).expect("a frame"), message);
            let first = recorded[..35].try_into().expect("35 bytes");
            assert_eq!(secret::read_first_message(first), Ok(public));
            let theirs_sealed = &bytes(&theirs["handshake_wire"])[35..];
            let opened = derived.opener.open(theirs_sealed).expect("their frame");
            let peer = secret::read_identity_message(&opened, &derived.challenge);
            assert_eq!(peer, Ok(key(&theirs["identity_pub"])));
        }
    }
}

#[test]
fn recorded_frames_open_to_the_recorded_data_and_are_sealed_to_the_same_bytes() {
    let Some(handshakes) = handshakes() else { return };
    let mut frames = 0;
    for handshake in handshakes {
        for (direction, side) in [("node to signer", "node"), ("signer to node", "signer")] {
            let send_key = key(&handshake[side]["send_key"]);
            let (mut opener, mut sealer) = (Opener::new(&send_key), Sealer::new(&send_key));
            // The first frame was the handshake's.
            let identity = &bytes(&handshake[side]["handshake_wire"])[35..];
            let identity = opener.open(identity).expect("a frame");
            sealer.seal(&identity);
            for data in handshake["data"].as_array().expect("a list") {
                if data["dir"] != direction {
                    continue;
                }
                let (plain, wire) = (bytes(&data["plain"]), bytes(&data["wire"]));
                let mut opened = Vec::new();
                let sealed = sealer.seal(&plain);
                assert_eq!(sealed.len(), wire.len());
                let (ours, theirs) = (sealed.chunks(FRAME_SEALED), wire.chunks(FRAME_SEALED));
                for (ours, theirs) in ours.zip(theirs) {
                    let data = opener.open(theirs).expect("a frame");
                    assert_eq!(ours[..4 + data.len()], theirs[..4 + data.len()]);
                    opened.extend(data);
                    frames += 1;
                }
                assert_eq!(opened, plain);
            }
        }
    }
    assert!(frames >= 2, "only {frames} frames");
}

#[test]
fn a_low_order_point_a_foreign_signature_and_a_frame_out_of_order_are_refused() {
    assert_eq!(secret::derive(&[1; 32], &[0; 32]).err(), Some(SecretError::LowOrder));
    let identity = SigningKey::from_bytes(&[2; 32]);
    let message = secret::identity_message(&identity, &[3; 32]);
    assert_eq!(secret::read_identity_message(&message, &[4; 32]), Err(SecretError::NotItsSignature));
    let (mut sealer, mut opener) = (Sealer::new(&[5; 32]), Opener::new(&[5; 32]));
    let _lost = sealer.seal(b"first");
    assert_eq!(opener.open(&sealer.seal(b"second")), Err(SecretError::NotSealed));
    let mut opener = Opener::new(&[5; 32]);
    let frame = Sealer::new(&[5; 32]).seal_frame(1025, b"too long");
    assert_eq!(opener.open(&frame), Err(SecretError::FrameLength(1025)));
}
