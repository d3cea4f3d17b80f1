//! Reads the keystore directory of a Substrate node (`sc-keystore`), for imports.
//!
//! A file's name is the hex of key type and public key; its content is a JSON string with a secret URI. The node that
//! wrote it checks nothing, so everything is checked here: the key is derived and compared with the name, and each file
//! without a usable key is reported with the reason. The directory is only read.

use crate::{
    bounded,
    passphrase::{PassphraseError, read_text},
    secret::SecretKey,
    suri::SuriError,
};
use secrecy::SecretString;
use signonce_protocol::{KeyId, KeyType, PublicKey, Scheme};
use signonce_substrate::FAMILY;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The most files read; a validator has tens.
const MAX_FILES: usize = 10_000;

/// The length of a key type in a name, in bytes.
const TYPE_BYTES: usize = 4;

/// Longest key file read, in bytes.
const MAX_FILE_BYTES: usize = 16 * 1024;

/// A key found in a file.
#[derive(Debug)]
pub struct KeystoreKey {
    /// Its type and public key, as the file or its name says.
    pub id: KeyId,
    /// The scheme that gives this public key.
    pub scheme: Scheme,
    /// The secret.
    pub secret: SecretKey,
}

/// The content of one file of the directory.
#[derive(Debug)]
pub struct KeystoreEntry {
    /// The file.
    pub path: PathBuf,
    /// The key, or why there is none.
    pub found: Result<KeystoreKey, KeystoreProblem>,
}

/// Why a directory was not read at all.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The directory cannot be read.
    #[error("cannot read the keystore {path}: {source}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More files than any keystore has.
    #[error("{0} has more than {MAX_FILES} files; is it a keystore?")]
    TooManyFiles(PathBuf),
}

/// Why a file gives no key. Never holds any of its content.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreProblem {
    /// The name is not that of a key file; Substrate skips it too.
    #[error("not a key file: its name is not the hex of a key type and a public key")]
    NotAKeyFile,
    /// The name is that of a key file with something around it. Substrate skips such files too.
    #[error(
        "not a key file: the name of a key file has no {extra} {place}; if it is one, call it {name} and try again"
    )]
    AlmostAKeyFile {
        /// The superfluous part.
        extra: String,
        /// Where it is.
        place: &'static str,
        /// The name without it.
        name: String,
    },
    /// A key type that this signer does not hold.
    #[error("skipped: {}", unheld_reason(.0))]
    UnheldType(String),
    /// The public key in the name does not have the length of the type's keys.
    #[error("a {key_type} key has a public key of {} bytes, its file name has {found}", expected_length(.key_type))]
    PublicKeyLength {
        /// The type.
        key_type: KeyType,
        /// Bytes in the name.
        found: usize,
    },
    /// The secret gives the public key in the name, but under a scheme that the type does not have.
    #[error(
        "the secret in the file gives the public key in its name as {found}, but {key_type} keys are {}: no chain \
         takes it for one; make a {key_type} key of its own",
        schemes_text(.key_type)
    )]
    AnotherScheme {
        /// The type in the name.
        key_type: KeyType,
        /// The scheme that gives the public key.
        found: Scheme,
    },
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(io::Error),
    /// The content is not a JSON string.
    #[error("the content is not a JSON string with a secret; Substrate would not read it either")]
    NotJson,
    /// The secret is not a secret URI.
    #[error("the secret in the file cannot be read: {0}")]
    Secret(#[from] SuriError),
    /// The secret gives another public key than the name.
    #[error("the secret in the file gives another public key than its name: {}", mismatch_reason(.with_password, .raw_seed))]
    Mismatch {
        /// A password was given.
        with_password: bool,
        /// The secret is a raw seed, on which passwords have no effect.
        raw_seed: bool,
    },
}

fn unheld_reason(key_type: &str) -> String {
    match key_type {
        "asgn" => {
            "assignment keys stay on the node (they are not slashable, and the node needs the secret)".into()
        }
        other => format!("this signer holds no keys of type {other:?}"),
    }
}

fn schemes_text(key_type: &KeyType) -> String {
    key_type.schemes().iter().map(Scheme::to_string).collect::<Vec<_>>().join(" or ")
}

fn expected_length(key_type: &KeyType) -> usize {
    key_type.schemes().first().map_or(0, |s| s.public_len())
}

fn mismatch_reason(with_password: &bool, raw_seed: &bool) -> &'static str {
    match (raw_seed, with_password) {
        (true, _) => "the file was renamed or damaged (it holds a raw seed, so no password is involved)",
        (false, true) => {
            "the keystore password is wrong (a password file is taken verbatim, with its last newline), or the file \
             was renamed or damaged"
        }
        (false, false) => "the keystore has a password, or the file was renamed or damaged",
    }
}

/// Reads every file of a keystore directory, ordered by name. `password` is the keystore's own.
pub fn read_dir(path: &Path, password: Option<&SecretString>) -> Result<Vec<KeystoreEntry>, KeystoreError> {
    let unreadable = |source| KeystoreError::Unreadable { path: path.into(), source };
    let mut files = Vec::new();
    for file in fs::read_dir(path).map_err(unreadable)? {
        files.push(file.map_err(unreadable)?.path());
        if files.len() > MAX_FILES {
            return Err(KeystoreError::TooManyFiles(path.into()));
        }
    }
    files.sort();
    Ok(files
        .into_iter()
        .map(|path| {
            let found = read_key(&path, password);
            KeystoreEntry { path, found }
        })
        .collect())
}

/// The password in a file, verbatim: a newline at its end is part of it, as for Substrate's `--password-filename`.
pub fn read_password_file(path: &Path) -> Result<SecretString, PassphraseError> {
    Ok(SecretString::from(read_text(path)?.as_str()))
}

fn read_key(path: &Path, password: Option<&SecretString>) -> Result<KeystoreKey, KeystoreProblem> {
    let id = parse_name(path)?;
    let content = bounded::read_file(path, MAX_FILE_BYTES).map_err(KeystoreProblem::Unreadable)?;
    // The parser's error quotes what it read.
    let text =
        Zeroizing::new(serde_json::from_slice::<String>(&content).map_err(|_| KeystoreProblem::NotJson)?);
    let suri = SecretString::from(text.as_str());
    let schemes = id.key_type.schemes();
    let (mut unread, mut derived) = (None, false);
    for scheme in fitting(schemes, &id.public) {
        match SecretKey::from_suri(scheme, &suri, password) {
            Ok(secret) if secret.public() == id.public => return Ok(KeystoreKey { id, scheme, secret }),
            Ok(_) => derived = true,
            Err(e) => unread = unread.or(Some(e)),
        }
    }
    let gives = |scheme: &Scheme| {
        SecretKey::from_suri(*scheme, &suri, password).is_ok_and(|secret| secret.public() == id.public)
    };
    if let Some(found) = fitting(&all_schemes(), &id.public).find(gives) {
        return Err(KeystoreProblem::AnotherScheme { key_type: id.key_type, found });
    }
    Err(match unread {
        Some(e) if !derived => e.into(),
        None if !derived => {
            KeystoreProblem::PublicKeyLength { key_type: id.key_type, found: id.public.as_bytes().len() }
        }
        _ => {
            KeystoreProblem::Mismatch { with_password: password.is_some(), raw_seed: text.starts_with("0x") }
        }
    })
}

fn all_schemes() -> Vec<Scheme> {
    FAMILY.schemes.iter().map(|spec| spec.id).collect()
}

/// The key type of Substrate chains with this name.
fn type_named(name: &[u8]) -> Option<KeyType> {
    FAMILY.key_types.iter().find(|spec| spec.name.as_bytes() == name).map(|spec| spec.id)
}

/// Those of `schemes` whose public keys have the length of this one.
fn fitting(schemes: &[Scheme], public: &PublicKey) -> impl Iterator<Item = Scheme> {
    let len = public.as_bytes().len();
    schemes.iter().copied().filter(move |scheme| scheme.public_len() == len)
}

/// Key type and public key from a file's name.
fn parse_name(path: &Path) -> Result<KeyId, KeystoreProblem> {
    let name = path.file_name().and_then(|n| n.to_str()).ok_or(KeystoreProblem::NotAKeyFile)?;
    let (key_type, public) = split_name(name).ok_or_else(|| almost(name))?;
    let key_type = match type_named(&key_type) {
        Some(key_type) => key_type,
        None => return Err(KeystoreProblem::UnheldType(String::from_utf8_lossy(&key_type).into_owned())),
    };
    let public = PublicKey::try_from(public.as_slice())
        .map_err(|_| KeystoreProblem::PublicKeyLength { key_type, found: public.len() })?;
    Ok(KeyId { key_type, public })
}

/// The bytes of key type and public key.
fn split_name(name: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut bytes = hex::decode(name).ok()?;
    let public = if bytes.len() > TYPE_BYTES { bytes.split_off(TYPE_BYTES) } else { return None };
    Some((bytes, public))
}

/// Recognises names that people and tools make of a key file's: with `0x` in front or an extension.
fn almost(name: &str) -> KeystoreProblem {
    let (bare, ending) = name.split_once('.').unwrap_or((name, ""));
    let hex = bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X")).unwrap_or(bare);
    let of_held_type = |(key_type, _): &(Vec<u8>, Vec<u8>)| type_named(key_type).is_some();
    if split_name(hex).filter(of_held_type).is_none() {
        return KeystoreProblem::NotAKeyFile;
    }
    let name = hex.to_ascii_lowercase();
    match hex.len() == bare.len() {
        true => KeystoreProblem::AlmostAKeyFile { extra: format!(".{ending}"), place: "behind it", name },
        false => KeystoreProblem::AlmostAKeyFile { extra: "0x".into(), place: "in front", name },
    }
}
