//! What the tests of this crate share: keys by URI, and the live vectors beside the repository.
#![allow(dead_code)]

use signonce_keys::{SecretKey, SecretString};
use signonce_protocol::{ChainId, KeyId, KeyType, Payload, PublicKey, RawPayload, Scheme};
use signonce_substrate::{ChainFormat, ChainSettings, ECDSA, ED25519, Kind, Limits, SR25519};
use std::path::PathBuf;

pub const SCHEMES: [Scheme; 3] = [SR25519, ED25519, ECDSA];

pub const CHAIN: ChainId = ChainId([0x91; 32]);

pub fn secret(text: &str) -> SecretString {
    signonce_substrate::install();
    SecretString::from(text)
}

pub fn key(scheme: Scheme, suri: &str) -> SecretKey {
    SecretKey::from_suri(scheme, &secret(suri), None).unwrap()
}

pub fn id(key_type: KeyType, key: &SecretKey) -> KeyId {
    KeyId { key_type, public: key.public() }
}

pub fn public(text: &str) -> PublicKey {
    signonce_substrate::install();
    text.parse().unwrap()
}

pub fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).unwrap()
}

/// A file of live vectors, or `None` (said on the output) where the checkout has none beside it.
pub fn live_vectors(name: &str) -> Option<serde_json::Value> {
    signonce_substrate::install();
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let path = PathBuf::from(here).join("../../shared/vectors").join(name);
    match std::fs::read(&path) {
        Ok(content) => Some(serde_json::from_slice(&content).unwrap()),
        Err(e) => {
            println!("skipped: no live vectors in ../shared/vectors/{name} ({e})");
            None
        }
    }
}

/// A payload as a signer reads it.
pub fn payload(kind: Kind, bytes: &[u8]) -> Payload {
    signonce_substrate::install();
    let settings =
        ChainSettings { format: ChainFormat::default(), slot_duration_ms: 6_000, limits: Limits::default() };
    RawPayload::new(kind.into(), bytes.to_vec()).decode(&settings.chain(CHAIN, "test")).unwrap()
}
