//! SecretConnection, made of its primitives: the handshake and the frames of CometBFT 0.34 to 0.40.
//!
//! Used by the node's listener. Keys can be fixed and each step can be taken alone, so that recorded handshakes are
//! compared byte for byte and broken ones can be sent. Nothing here is for production: secrets are not wiped.

use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, aead::Aead};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use merlin::Transcript;
use prost::Message;
use sha2::Sha256;
use tendermint_proto::v0_38::{crypto, p2p};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};

/// Bytes of data in a frame.
pub const FRAME_DATA: usize = 1024;
/// A frame before it is sealed: its length and its data.
const FRAME_OPEN: usize = 4 + FRAME_DATA;
/// A frame on the wire.
pub const FRAME_SEALED: usize = FRAME_OPEN + 16;
/// The first message: a varint length, a `BytesValue` of 32 bytes.
pub const FIRST_MESSAGE: usize = 35;
const FIRST_MESSAGE_HEAD: [u8; 3] = [34, 0x0a, 32];

/// Why a handshake or a frame is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SecretError {
    /// The first message does not hold an X25519 key.
    #[error("the first message holds no ephemeral key")]
    NoEphemeralKey,
    /// The peer's ephemeral key is a point of low order.
    #[error("the peer's ephemeral key is a point of low order")]
    LowOrder,
    /// A frame is not sealed with the connection's key and the next number.
    #[error("a frame cannot be opened")]
    NotSealed,
    /// A frame says that it holds more than fits.
    #[error("a frame says that it holds {0} bytes")]
    FrameLength(u32),
    /// The message with the identity cannot be read.
    #[error("the identity's message cannot be read")]
    NotIdentity,
    /// The identity has not signed the challenge.
    #[error("the peer has not signed the challenge")]
    NotItsSignature,
}

/// What both sides derive from their ephemeral keys.
pub struct Derived {
    /// The Diffie-Hellman secret.
    pub dh_secret: [u8; 32],
    /// All that HKDF gives: two keys and 32 bytes that nobody uses any more.
    pub hkdf: [u8; 96],
    /// What both identities sign.
    pub challenge: [u8; 32],
    /// Seals what this side sends.
    pub sealer: Sealer,
    /// Opens what the other side sends.
    pub opener: Opener,
}

/// The first message of a side.
pub fn first_message(ephemeral: &[u8; 32]) -> [u8; FIRST_MESSAGE] {
    let mut message = [0; FIRST_MESSAGE];
    message[..3].copy_from_slice(&FIRST_MESSAGE_HEAD);
    message[3..].copy_from_slice(ephemeral);
    message
}

/// The ephemeral key in the peer's first message.
pub fn read_first_message(message: &[u8; FIRST_MESSAGE]) -> Result<[u8; 32], SecretError> {
    let (head, key) = message.split_at(3);
    if head != FIRST_MESSAGE_HEAD {
        return Err(SecretError::NoEphemeralKey);
    }
    Ok(key.try_into().expect("35 - 3 bytes"))
}

/// The public key of an ephemeral secret.
pub fn ephemeral_public(secret: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

/// Keys and challenge, from our ephemeral secret and the peer's ephemeral key.
pub fn derive(secret: &[u8; 32], peer: &[u8; 32]) -> Result<Derived, SecretError> {
    let ours = ephemeral_public(secret);
    let shared = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(*peer));
    if !shared.was_contributory() {
        return Err(SecretError::LowOrder);
    }
    let dh_secret = shared.to_bytes();
    let we_are_lower = ours < *peer;
    let (lower, upper) = if we_are_lower { (&ours, peer) } else { (peer, &ours) };
    let mut transcript = Transcript::new(b"TENDERMINT_SECRET_CONNECTION_TRANSCRIPT_HASH");
    transcript.append_message(b"EPHEMERAL_LOWER_PUBLIC_KEY", lower);
    transcript.append_message(b"EPHEMERAL_UPPER_PUBLIC_KEY", upper);
    transcript.append_message(b"DH_SECRET", &dh_secret);
    let mut challenge = [0; 32];
    transcript.challenge_bytes(b"SECRET_CONNECTION_MAC", &mut challenge);
    let mut hkdf = [0; 96];
    Hkdf::<Sha256>::new(None, &dh_secret)
        .expand(b"TENDERMINT_SECRET_CONNECTION_KEY_AND_CHALLENGE_GEN", &mut hkdf)
        .expect("96 bytes are few");
    let (first, second) = (half(&hkdf, 0), half(&hkdf, 1));
    // The lower side receives with the first key.
    let (send, receive) = if we_are_lower { (second, first) } else { (first, second) };
    Ok(Derived { dh_secret, hkdf, challenge, sealer: Sealer::new(&send), opener: Opener::new(&receive) })
}

fn half(hkdf: &[u8; 96], index: usize) -> [u8; 32] {
    hkdf[32 * index..32 * (index + 1)].try_into().expect("32 of 96 bytes")
}

/// The message in which a side says who it is: with its length in front, as it is sent.
pub fn identity_message(identity: &SigningKey, challenge: &[u8; 32]) -> Vec<u8> {
    let public = crypto::public_key::Sum::Ed25519(identity.verifying_key().to_bytes().to_vec());
    let pub_key = Some(crypto::PublicKey { sum: Some(public) });
    let sig = identity.sign(challenge).to_bytes().to_vec();
    p2p::AuthSigMessage { pub_key, sig }.encode_length_delimited_to_vec()
}

/// The peer's identity, if it has signed the challenge.
pub fn read_identity_message(message: &[u8], challenge: &[u8; 32]) -> Result<[u8; 32], SecretError> {
    let message =
        p2p::AuthSigMessage::decode_length_delimited(message).map_err(|_| SecretError::NotIdentity)?;
    let Some(crypto::public_key::Sum::Ed25519(key)) = message.pub_key.and_then(|key| key.sum) else {
        return Err(SecretError::NotIdentity);
    };
    let key: [u8; 32] = key.try_into().map_err(|_| SecretError::NotIdentity)?;
    let public = VerifyingKey::from_bytes(&key).map_err(|_| SecretError::NotIdentity)?;
    let signature = Signature::from_slice(&message.sig).map_err(|_| SecretError::NotItsSignature)?;
    public.verify_strict(challenge, &signature).map_err(|_| SecretError::NotItsSignature)?;
    Ok(key)
}

/// One direction's cipher and the number of its next frame.
struct Frames {
    cipher: ChaCha20Poly1305,
    next: u64,
}

impl Frames {
    fn new(key: &[u8; 32]) -> Self {
        Self { cipher: ChaCha20Poly1305::new(&Key::from(*key)), next: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.next.to_le_bytes());
        self.next += 1;
        nonce.into()
    }
}

/// Seals what is sent.
pub struct Sealer(Frames);

impl Sealer {
    /// From the first frame on.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Frames::new(key))
    }

    /// Data of any length, as frames.
    pub fn seal(&mut self, data: &[u8]) -> Vec<u8> {
        data.chunks(FRAME_DATA).flat_map(|chunk| self.seal_frame(chunk.len() as u32, chunk)).collect()
    }

    /// One frame that says it holds this many bytes, true or not.
    ///
    /// # Panics
    /// If the data do not fit.
    pub fn seal_frame(&mut self, says: u32, data: &[u8]) -> Vec<u8> {
        let mut frame = [0; FRAME_OPEN];
        frame[..4].copy_from_slice(&says.to_le_bytes());
        frame[4..4 + data.len()].copy_from_slice(data);
        let nonce = self.0.nonce();
        self.0.cipher.encrypt(&nonce, &frame[..]).expect("a frame is not too long")
    }
}

/// Opens what is received.
pub struct Opener(Frames);

impl Opener {
    /// From the first frame on.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Frames::new(key))
    }

    /// The data of the next frame.
    pub fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, SecretError> {
        let nonce = self.0.nonce();
        let open = self.0.cipher.decrypt(&nonce, frame).map_err(|_| SecretError::NotSealed)?;
        let (length, data) = open.split_first_chunk().ok_or(SecretError::NotSealed)?;
        let length = u32::from_le_bytes(*length);
        // What lies behind the length may be stale: it is not looked at.
        let data = data.get(..length as usize).ok_or(SecretError::FrameLength(length))?;
        Ok(data.to_vec())
    }
}
