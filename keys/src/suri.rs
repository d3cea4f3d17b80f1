//! Secret URIs: the one-line secrets in Substrate keystores and documentation (`//Alice`, a phrase, a 0x-seed).
//!
//! The grammar is `sp_core::crypto::SecretUri`'s: a phrase of 12 to 24 English BIP-39 words or `0x` and 64 hex
//! digits, then junctions `/soft` and `//hard`, then `///password`. Without a phrase, the public development phrase
//! is meant. A password given beside the URI overrides the one inside; it has no effect on a 0x-seed.

use crate::{
    scheme::{ecdsa, ed25519, sr25519},
    secret::{SecretError, SecretKey},
};
use parity_scale_codec::Encode as _;
use secrecy::{ExposeSecret as _, SecretString};
use signonce_protocol::{Algorithm, Scheme, blake2_256};
use zeroize::Zeroizing;

/// The well-known phrase, which a URI that starts with a slash implies.
const DEV_PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";

/// The longest URI read, in bytes: 24 words, a long password and a deep path fit many times.
const MAX_BYTES: usize = 8192;

/// Rounds of PBKDF2 from entropy to seed (`substrate-bip39`, and BIP-39 before it).
const PBKDF2_ROUNDS: u32 = 2048;

/// Why a secret URI gives no key. Never holds any part of the URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuriError {
    /// The URI is empty. (Substrate reads it as the development phrase; nobody means that.)
    #[error("the secret is empty")]
    Empty,
    /// The URI is absurdly long.
    #[error("the secret is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not a phrase, a path and a password.
    #[error(
        "the secret is not of the form `phrase or 0x-seed`, `/soft` and `//hard` junctions, `///password`"
    )]
    Format,
    /// `0x` that is not followed by 64 hex digits.
    #[error("a secret that starts with 0x needs exactly 64 hex digits after it")]
    Seed,
    /// Not 12, 15, 18, 21 or 24 known words, or their checksum is wrong.
    #[error(
        "the phrase is not 12, 15, 18, 21 or 24 words of the English BIP-39 list with a right checksum; \
         a raw seed must start with 0x"
    )]
    Phrase,
    /// A soft junction, which only sr25519 has.
    #[error("{0} keys have hard junctions (`//name`) only")]
    SoftJunction(Scheme),
    /// The URI is well-formed but its key is not usable.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl SecretKey {
    /// The key of a secret URI; `password` overrides the one inside it.
    pub fn from_suri(
        scheme: Scheme,
        suri: &SecretString,
        password: Option<&SecretString>,
    ) -> Result<Self, SuriError> {
        let parts = Parts::parse(suri.expose_secret())?;
        let password = password.map(|p| p.expose_secret()).or(parts.password).unwrap_or("");
        let seed = seed(parts.phrase, password)?;
        match scheme.algorithm() {
            Algorithm::Sr25519 => {
                let invalid = SecretError::Invalid(scheme);
                let mut material = sr25519::material_of_seed(&seed).ok_or(invalid.clone())?;
                for junction in parts.junctions() {
                    material = match junction.kind {
                        Kind::Hard => sr25519::derive_hard(&material, &junction.chain_code),
                        Kind::Soft => sr25519::derive_soft(&material, &junction.chain_code),
                    }
                    .ok_or(invalid.clone())?;
                }
                Ok(Self::from_material(scheme, material.as_slice())?)
            }
            Algorithm::Ed25519 => derive_hard_only(scheme, seed, &parts, ed25519::derive_hard),
            Algorithm::Secp256k1Recoverable | Algorithm::Secp256k1Compact => {
                derive_hard_only(scheme, seed, &parts, ecdsa::derive_hard)
            }
        }
    }
}

/// Derives along a path that may have only hard junctions.
fn derive_hard_only(
    scheme: Scheme,
    seed: Zeroizing<[u8; 32]>,
    parts: &Parts<'_>,
    derive: impl Fn(&[u8; 32], &[u8; 32]) -> Zeroizing<[u8; 32]>,
) -> Result<SecretKey, SuriError> {
    let mut material = seed;
    for junction in parts.junctions() {
        match junction.kind {
            Kind::Hard => material = derive(&material, &junction.chain_code),
            Kind::Soft => return Err(SuriError::SoftJunction(scheme)),
        }
    }
    Ok(SecretKey::from_material(scheme, material.as_slice())?)
}

/// The seed of a phrase or of `0x` and 64 hex digits.
fn seed(phrase: &str, password: &str) -> Result<Zeroizing<[u8; 32]>, SuriError> {
    let mut seed = Zeroizing::new([0; 32]);
    if let Some(digits) = phrase.strip_prefix("0x") {
        hex::decode_to_slice(digits, seed.as_mut_slice()).map_err(|_| SuriError::Seed)?;
        return Ok(seed);
    }
    let mnemonic = bip39::Mnemonic::parse_in_normalized(bip39::Language::English, phrase)
        .map_err(|_| SuriError::Phrase)?;
    let (entropy, len) = mnemonic.to_entropy_array();
    let entropy = Zeroizing::new(entropy);
    // BIP-39 stretches the words; Substrate stretches the entropy behind them (`substrate_bip39`).
    let salt = Zeroizing::new(["mnemonic", password].concat());
    let mut stretched = Zeroizing::new([0; 64]);
    pbkdf2::pbkdf2_hmac::<sha2::Sha512>(
        &entropy[..len],
        salt.as_bytes(),
        PBKDF2_ROUNDS,
        stretched.as_mut_slice(),
    );
    seed.copy_from_slice(&stretched[..32]);
    Ok(seed)
}

/// The parts of a URI.
struct Parts<'a> {
    phrase: &'a str,
    path: &'a str,
    password: Option<&'a str>,
}

/// How a junction derives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Soft,
    Hard,
}

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
struct Junction {
    kind: Kind,
    chain_code: [u8; 32],
}

impl<'a> Parts<'a> {
    /// Splits a URI as the expression `^([\d\w ]+)?((//?[^/]+)*)(///(.*))?$` does.
    fn parse(suri: &'a str) -> Result<Self, SuriError> {
        if suri.is_empty() {
            return Err(SuriError::Empty);
        }
        if suri.len() > MAX_BYTES {
            return Err(SuriError::TooLong);
        }
        let (phrase, rest) = suri.split_at(suri.find('/').unwrap_or(suri.len()));
        // Other letters are `\w` too, but no English word and no hex digit has them.
        if !phrase.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_')) {
            return Err(SuriError::Format);
        }
        // A path cannot contain three slashes in a row, so the first three begin the password.
        let (path, password) = match rest.find("///") {
            Some(at) => (&rest[..at], Some(&rest[at + 3..])),
            None => (rest, None),
        };
        // `.` matches no line feed; a junction must not be empty.
        if password.is_some_and(|p| p.contains('\n')) || path.ends_with('/') {
            return Err(SuriError::Format);
        }
        Ok(Self { phrase: if phrase.is_empty() { DEV_PHRASE } else { phrase }, path, password })
    }

    /// The steps of the path.
    fn junctions(&self) -> impl Iterator<Item = Junction> {
        let mut rest = self.path;
        std::iter::from_fn(move || {
            let body = rest.strip_prefix('/')?;
            let (kind, body) = match body.strip_prefix('/') {
                Some(body) => (Kind::Hard, body),
                None => (Kind::Soft, body),
            };
            let (code, after) = body.split_at(body.find('/').unwrap_or(body.len()));
            rest = after;
            Some(Junction { kind, chain_code: chain_code(code) })
        })
    }
}

/// A junction's chain code (`sp_core::crypto::DeriveJunction`): a number as u64, anything else as a string, SCALE
/// encoded, zero-padded to 32 bytes or hashed where longer.
fn chain_code(code: &str) -> [u8; 32] {
    let encoded = match code.parse::<u64>() {
        Ok(number) => number.encode(),
        Err(_) => code.encode(),
    };
    if encoded.len() > 32 {
        return blake2_256(&encoded);
    }
    let mut chain_code = [0; 32];
    chain_code[..encoded.len()].copy_from_slice(&encoded);
    chain_code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(suri: &str) -> Result<(String, Vec<Junction>, Option<String>), SuriError> {
        let parts = Parts::parse(suri)?;
        Ok((parts.phrase.into(), parts.junctions().collect(), parts.password.map(Into::into)))
    }

    fn soft(code: &str) -> Junction {
        Junction { kind: Kind::Soft, chain_code: chain_code(code) }
    }

    fn hard(code: &str) -> Junction {
        Junction { kind: Kind::Hard, chain_code: chain_code(code) }
    }

    #[test]
    fn a_uri_is_taken_apart_as_sp_core_does() {
        let dev = DEV_PHRASE.to_owned();
        let table = [
            ("//Alice", dev.clone(), vec![hard("Alice")], None),
            ("/Alice", dev.clone(), vec![soft("Alice")], None),
            ("///", dev.clone(), vec![], Some("")),
            ("//a/b//1///p/w///x", dev.clone(), vec![hard("a"), soft("b"), hard("1")], Some("p/w///x")),
            ("////b", dev, vec![], Some("/b")),
            ("some words", "some words".into(), vec![], None),
            ("0xab//a b", "0xab".into(), vec![hard("a b")], None),
            ("words///pass word", "words".into(), vec![], Some("pass word")),
        ];
        for (suri, phrase, junctions, password) in table {
            assert_eq!(parsed(suri), Ok((phrase, junctions, password.map(Into::into))), "{suri}");
        }
    }

    #[test]
    fn what_sp_core_does_not_match_is_refused() {
        for suri in ["/", "//", "//a/", "//a//", "a-b", "word\n", "a.b//c", "///a\nb"] {
            assert_eq!(parsed(suri), Err(SuriError::Format), "{suri:?}");
        }
        assert_eq!(parsed(""), Err(SuriError::Empty));
        assert_eq!(parsed(&"a".repeat(MAX_BYTES + 1)), Err(SuriError::TooLong));
    }

    #[test]
    fn chain_codes_are_numbers_strings_or_hashes() {
        assert_eq!(chain_code("1")[..9], [1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(chain_code("007"), chain_code("7"));
        assert_eq!(chain_code("Alice")[..7], [20, b'A', b'l', b'i', b'c', b'e', 0]);
        let longest_plain = "x".repeat(31);
        assert_eq!(&chain_code(&longest_plain)[1..], longest_plain.as_bytes());
        let hashed = "x".repeat(32);
        assert_eq!(chain_code(&hashed), blake2_256(&hashed.encode()));
    }
}
