//! Reads the file with the consensus key of a CometBFT validator, for imports: the `priv_validator_key.json` of a node,
//! or the file of tmkms' `softsign` provider.
//!
//! A node's file says the public key and the address beside the secret. Both are derived and compared, so that a file
//! that was pieced together is not taken for a validator's key. The file is only read.

use crate::{KeystoreKey, bounded, secret::SecretKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use signonce_cometbft::{CONSENSUS, ED25519, SECP256K1, Software, address};
use signonce_protocol::{KeyId, PublicKey, Scheme};
use std::{io, path::Path};
use zeroize::Zeroizing;

/// Longest key file read, in bytes.
const MAX_FILE_BYTES: usize = 16 * 1024;

/// The length of a secret, of either scheme.
const SECRET_BYTES: usize = 32;
/// The longest secret that is read: a seed and its public key.
const MAX_SECRET_BYTES: usize = 64;
/// The lengths of expanded keys in base64, without and with their public key.
const EXPANDED_TEXT: [usize; 2] = [88, 128];

/// Why a file gives no key. Never holds any of its content that is secret.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusKeyProblem {
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(io::Error),
    /// The file is of the other software.
    #[error("it looks like a file of {found}, not of {asked}; leave --format out, or give that file")]
    Other {
        /// Whose it is.
        found: Software,
        /// Whose it should be.
        asked: Software,
    },
    /// Not the JSON of a node's key.
    #[error(
        "it is not a priv_validator_key.json: that has an address, a pub_key and a priv_key, the keys with a type and a \
         value, and nothing else; give the file as the node wrote it"
    )]
    NotAKeyFile,
    /// The scheme was named for a file that names its own.
    #[error("its priv_key is a {found} key, not {asked}: leave --scheme out")]
    NotTheScheme {
        /// The file's.
        found: Scheme,
        /// The one that was named.
        asked: Scheme,
    },
    /// A key type that is not held here.
    #[error(
        "its {field} is of type {found:?}; keys that can be imported are tendermint/PrivKeyEd25519 and \
         tendermint/PrivKeySecp256k1"
    )]
    UnheldType {
        /// Which of the two keys.
        field: &'static str,
        /// The type.
        found: String,
    },
    /// The secret is not base64, or not of its length.
    #[error(
        "its secret is not base64 of {}: the file was cut off or changed; take another copy",
        lengths(.0)
    )]
    NotASecret(Scheme),
    /// tmkms takes keys of which only the expanded form is known.
    #[error(
        "it holds an expanded Ed25519 key, of which the seed cannot be found again: only seeds can be imported, as \
         `tmkms softsign keygen` and a node's priv_validator_key.json have them"
    )]
    Expanded,
    /// The secret gives another public key than the one beside it.
    #[error(
        "its priv_key gives the public key {derived}, which is not the one beside it: the file was pieced together or \
         damaged, so it is not certain which validator it is of; take the file that the node used"
    )]
    Mismatch {
        /// What the secret gives.
        derived: PublicKey,
    },
    /// The public key has another address than the one beside it.
    #[error(
        "its address is not that of its public key, which is {derived}: take the file that the node used"
    )]
    WrongAddress {
        /// What the public key gives.
        derived: String,
    },
}

fn lengths(scheme: &Scheme) -> &'static str {
    match *scheme {
        SECP256K1 => "32 bytes",
        _ => "32 bytes (a seed) or 64 (the seed, then its public key)",
    }
}

/// A node's key file. Borrowed, so that the parser copies no secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    address: &'a str,
    #[serde(borrow)]
    pub_key: Typed<'a>,
    #[serde(borrow)]
    priv_key: Typed<'a>,
}

/// A key with its type, as amino's JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    r#type: &'a str,
    value: &'a str,
}

/// Reads a key file: of the software that is named, or of the one that it looks like. `scheme` is for files of tmkms,
/// which do not say it; Ed25519 if it is not named.
///
/// # Errors
/// What is wrong with it.
pub fn read_consensus_key(
    path: &Path,
    software: Option<Software>,
    scheme: Option<Scheme>,
) -> Result<KeystoreKey, ConsensusKeyProblem> {
    let content = bounded::read_file(path, MAX_FILE_BYTES).map_err(ConsensusKeyProblem::Unreadable)?;
    let content = content.trim_ascii();
    let found = if content.first() == Some(&b'{') { Software::FilePv } else { Software::Tmkms };
    if let Some(asked) = software.filter(|asked| *asked != found) {
        return Err(ConsensusKeyProblem::Other { found, asked });
    }
    let secret = match found {
        Software::FilePv => of_node(content, scheme)?,
        Software::Tmkms => of_tmkms(content, scheme.unwrap_or(ED25519))?,
    };
    let id = KeyId { key_type: CONSENSUS, public: secret.public() };
    Ok(KeystoreKey { id, scheme: secret.scheme(), secret })
}

fn of_node(content: &[u8], asked: Option<Scheme>) -> Result<SecretKey, ConsensusKeyProblem> {
    // The parser's error may quote what it read.
    let KeyFile { address: listed_address, pub_key, priv_key } =
        serde_json::from_slice(content).map_err(|_| ConsensusKeyProblem::NotAKeyFile)?;
    let unheld = |field, found: &str| ConsensusKeyProblem::UnheldType { field, found: found.to_owned() };
    let (found, public_type) = match priv_key.r#type {
        "tendermint/PrivKeyEd25519" => (ED25519, "tendermint/PubKeyEd25519"),
        "tendermint/PrivKeySecp256k1" => (SECP256K1, "tendermint/PubKeySecp256k1"),
        other => return Err(unheld("priv_key", other)),
    };
    if let Some(asked) = asked.filter(|asked| *asked != found) {
        return Err(ConsensusKeyProblem::NotTheScheme { found, asked });
    }
    if pub_key.r#type != public_type {
        return Err(unheld("pub_key", pub_key.r#type));
    }
    let secret = secret_of(found, priv_key.value.as_bytes())?;
    let derived = secret.public();
    if STANDARD.encode(derived.as_bytes()) != pub_key.value {
        return Err(ConsensusKeyProblem::Mismatch { derived });
    }
    let address = address(found, &derived).map(hex::encode_upper).unwrap_or_default();
    if !address.eq_ignore_ascii_case(listed_address) {
        return Err(ConsensusKeyProblem::WrongAddress { derived: address });
    }
    Ok(secret)
}

fn of_tmkms(content: &[u8], scheme: Scheme) -> Result<SecretKey, ConsensusKeyProblem> {
    // tmkms reads 64 and 96 bytes as a scalar and a nonce seed, which follow from no seed that could be found.
    let is_expanded = scheme == ED25519 && EXPANDED_TEXT.contains(&content.len());
    secret_of(scheme, content).map_err(|problem| match is_expanded {
        true => ConsensusKeyProblem::Expanded,
        false => problem,
    })
}

/// The key of a secret in base64.
fn secret_of(scheme: Scheme, base64: &[u8]) -> Result<SecretKey, ConsensusKeyProblem> {
    let wrong = || ConsensusKeyProblem::NotASecret(scheme);
    let mut bytes = Zeroizing::new([0; MAX_SECRET_BYTES]);
    let length = STANDARD.decode_slice(base64, bytes.as_mut_slice()).map_err(|_| wrong())?;
    let (seed, rest) = bytes[..length].split_first_chunk::<SECRET_BYTES>().ok_or_else(wrong)?;
    let secret = SecretKey::from_seed(scheme, seed).map_err(|_| wrong())?;
    match (rest.len(), scheme) {
        (0, _) => Ok(secret),
        (SECRET_BYTES, ED25519) if rest == secret.public().as_bytes() => Ok(secret),
        (_, _) => Err(wrong()),
    }
}
