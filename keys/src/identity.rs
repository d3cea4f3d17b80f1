//! A node's own key, which envelopes are encrypted to, and the passphrase-locked file that holds it.
//!
//! The file is an `age` file (scrypt) whose plaintext is an `age` identity file, so the standard tool reads it in an
//! emergency: `age --decrypt identity.age`. It is made once, by `init` or `join`, and never overwritten.

use crate::{bounded, memory::LockedBytes};
use age::{Decryptor, Encryptor, scrypt, x25519};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    borrow::Cow,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    iter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};
use zeroize::Zeroizing;

/// The first line of the plaintext, which identifies the file.
const FIRST_LINE: &str = "# signonce node identity 1\n";

/// Longest identity file read, in bytes.
const MAX_FILE_BYTES: usize = 16 * 1024;

/// The most scrypt work accepted when loading: 2^22 is about 4 GiB and 16 s.
const MAX_WORK: u8 = 22;

/// A recipient of envelopes: an `age` X25519 recipient, written `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(x25519::Recipient);

/// A text that is not a recipient.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a recipient; a node shows its own as `age1…`")]
pub struct RecipientError(
    /// The text given.
    pub String,
);

impl Recipient {
    /// The form that [`Encryptor`] takes.
    pub(crate) fn as_age(&self) -> &dyn age::Recipient {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;
    fn from_str(text: &str) -> Result<Self, RecipientError> {
        // A secret pasted in the wrong place must not end up in an error message.
        let shown =
            if text.get(..4) == Some("age1") { text.chars().take(80).collect() } else { "…".into() };
        text.parse().map(Self).map_err(|_| RecipientError(shown))
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How hard it is to guess a passphrase: scrypt with N = 2^n. Each step doubles time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScryptWork(u8);

impl ScryptWork {
    /// `age`'s usual 2^18: 256 MiB, about a second.
    pub const STANDARD: Self = Self(18);
    /// 2^10, a few milliseconds: for tests and throw-away clusters, whose passphrase protects nothing.
    pub const QUICK: Self = Self(10);
}

/// Why an identity was not saved or loaded. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file exists; identities are never overwritten.
    #[error("{0} exists already; a node identity is never overwritten (envelopes may be encrypted to it)")]
    Exists(PathBuf),
    /// There is no such file.
    #[error("there is no node identity at {0}; `init` or `join` makes one")]
    Missing(PathBuf),
    /// The file cannot be written or read.
    #[error("cannot {doing} the node identity {path}: {source}")]
    Io {
        /// `write` or `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not open with this passphrase.
    #[error("the passphrase does not open the node identity {0}")]
    WrongPassphrase(PathBuf),
    /// The file demands more scrypt work than is sensible.
    #[error("the node identity {path} asks for scrypt work 2^{work}, more than 2^{MAX_WORK}; it is not ours")]
    TooMuchWork {
        /// The file.
        path: PathBuf,
        /// The exponent asked for.
        work: u8,
    },
    /// Not a file that this program wrote, or a damaged one.
    #[error(
        "{path} is not a node identity of signonce: {reason}; restore it from its backup, or join as a new node"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
}

/// A node's secret identity. Cannot be cloned or printed.
pub struct NodeIdentity {
    /// The `AGE-SECRET-KEY-…` text: `age` gives and takes no other form.
    secret: LockedBytes,
    recipient: Recipient,
}

impl NodeIdentity {
    /// A fresh identity.
    pub fn generate() -> Self {
        Self::of(&x25519::Identity::generate())
    }

    fn of(identity: &x25519::Identity) -> Self {
        let secret = LockedBytes::new(identity.to_string().expose_secret().as_bytes());
        Self { secret, recipient: Recipient(identity.to_public()) }
    }

    /// The recipient by which others encrypt to this node.
    pub fn recipient(&self) -> Recipient {
        self.recipient.clone()
    }

    /// `age`'s own type, which wipes itself on drop.
    pub(crate) fn to_age(&self) -> Option<x25519::Identity> {
        self.secret.with(|text| std::str::from_utf8(text).ok()?.parse().ok())
    }

    /// Writes a new file, readable only by its owner, locked with `passphrase`, and syncs it to disk.
    ///
    /// Fails if the file exists. A file that could not be written whole is removed again.
    pub fn save(
        &self,
        path: &Path,
        passphrase: &SecretString,
        work: ScryptWork,
    ) -> Result<(), IdentityError> {
        if passphrase.expose_secret().is_empty() {
            return Err(IdentityError::EmptyPassphrase);
        }
        let failed = |source| IdentityError::Io { doing: "write", path: path.into(), source };
        let locked = self.lock(passphrase, work).map_err(failed)?;
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(IdentityError::Exists(path.into()));
            }
            Err(e) => return Err(failed(e)),
        };
        let written = file.write_all(&locked).and_then(|()| file.sync_all()).and_then(|()| sync_parent(path));
        written.map_err(|e| {
            // The file is ours and useless: the error above matters more than one here.
            let _ = fs::remove_file(path);
            failed(e)
        })
    }

    /// The content of the file.
    fn lock(&self, passphrase: &SecretString, work: ScryptWork) -> io::Result<Vec<u8>> {
        let mut recipient = scrypt::Recipient::new(passphrase.clone());
        recipient.set_work_factor(work.0);
        let encryptor = Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
            .map_err(io::Error::other)?;
        let mut locked = Vec::new();
        let mut writer = encryptor.wrap_output(&mut locked)?;
        writer.write_all(FIRST_LINE.as_bytes())?;
        self.secret.with(|text| writer.write_all(text))?;
        writer.write_all(b"\n")?;
        writer.finish()?;
        Ok(locked)
    }

    /// Reads and unlocks a file that [`Self::save`] wrote.
    pub fn load(path: &Path, passphrase: &SecretString) -> Result<Self, IdentityError> {
        let locked = bounded::read_file(path, MAX_FILE_BYTES).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => IdentityError::Missing(path.into()),
            _ => IdentityError::Io { doing: "read", path: path.into(), source },
        })?;
        let not_ours = |reason| IdentityError::NotOurs { path: path.into(), reason };
        let decryptor = Decryptor::new_buffered(&locked[..])
            .map_err(|_| not_ours("it is not an age file, or not a whole one"))?;
        if !decryptor.is_scrypt() {
            return Err(not_ours("it is not locked with a passphrase"));
        }
        let mut key = scrypt::Identity::new(passphrase.clone());
        key.set_max_work_factor(MAX_WORK);
        let reader = decryptor.decrypt(iter::once(&key as &dyn age::Identity)).map_err(|e| match e {
            age::DecryptError::DecryptionFailed
            | age::DecryptError::KeyDecryptionFailed
            | age::DecryptError::NoMatchingKeys => IdentityError::WrongPassphrase(path.into()),
            age::DecryptError::ExcessiveWork { required, .. } => {
                IdentityError::TooMuchWork { path: path.into(), work: required }
            }
            _ => not_ours("its header is damaged"),
        })?;
        let plain = bounded::read(reader, MAX_FILE_BYTES).map_err(|_| not_ours("its content is damaged"))?;
        let line = plain
            .strip_prefix(FIRST_LINE.as_bytes())
            .ok_or(not_ours("it holds something else, or a later version of an identity"))?;
        parse(line).ok_or(not_ours("its secret line is damaged"))
    }
}

/// The identity in one line of text.
fn parse(line: &[u8]) -> Option<NodeIdentity> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let identity = Zeroizing::new(text.to_owned()).parse().ok()?;
    Some(NodeIdentity::of(&identity))
}

/// Makes a new directory entry durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeIdentity({}, redacted)", self.recipient)
    }
}
