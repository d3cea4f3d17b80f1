//! What a certificate is known by.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{HexArray, HexError};
use std::{fmt, str::FromStr};

/// SHA-256 of the SubjectPublicKeyInfo of a certificate, so that a renewed certificate of the same key is the same; `0x…`
/// in JSON and in texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(from = "HexArray<32>", into = "HexArray<32>")]
pub struct Fingerprint(pub [u8; 32]);

impl From<HexArray<32>> for Fingerprint {
    fn from(bytes: HexArray<32>) -> Self {
        Self(bytes.0)
    }
}

impl From<Fingerprint> for HexArray<32> {
    fn from(fingerprint: Fingerprint) -> Self {
        Self(fingerprint.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HexArray(self.0).fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        text.parse().map(|HexArray(bytes)| Self(bytes))
    }
}
