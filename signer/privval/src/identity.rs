//! The key by which nodes and firewalls see that the same front has come back. It signs handshakes and nothing else.
//!
//! Nodes do not check it over TCP; over Noise they answer only the peer id that their configuration names. It is made
//! at the first start and kept in a file: losing it costs a line in the nodes' configuration, no safety.

use ed25519_dalek_2::SigningKey;
use libp2p_identity::{Keypair, PeerId};
use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The name of the file in the state directory.
const FILE: &str = "identity.key";

/// The front's identity.
#[derive(Clone)]
pub struct Identity(SigningKey);

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("identity {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not an identity.
    #[error(
        "identity {path} has {got} bytes instead of 64 hex digits; restore it, or remove it and put the new peer id into the \
         configuration of nodes that name this front"
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// Its length.
        got: usize,
    },
    /// Others may read the file.
    #[error("identity {path} may be read by others (mode {mode:o}): chmod 600 it")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl Identity {
    /// The identity in this directory, made now if there is none.
    ///
    /// # Errors
    /// If the file cannot be used or made.
    pub fn in_directory(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(FILE);
        let failed = |source| IdentityError::Io { path: path.clone(), source };
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::made_up();
                made.write(&path).map_err(failed)?;
                return Ok(made);
            }
            Err(error) => return Err(failed(error)),
            Ok(found) => {
                let mode = found.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(IdentityError::Mode { path, mode });
                }
            }
        }
        let text = Zeroizing::new(fs::read_to_string(&path).map_err(failed)?);
        read_hex(text.trim())
            .map(|seed| Self(SigningKey::from_bytes(&seed)))
            .ok_or_else(|| IdentityError::Form { path: path.clone(), got: text.len() })
    }

    /// One for this process alone: where nothing pins it.
    pub fn made_up() -> Self {
        Self(SigningKey::from_bytes(&Zeroizing::new(rand::random())))
    }

    /// The peer id that a node's `noise://PEER@…` names.
    pub fn peer_id(&self) -> PeerId {
        self.keypair().public().to_peer_id()
    }

    pub(crate) fn keypair(&self) -> Keypair {
        let mut seed = Zeroizing::new(self.0.to_bytes());
        Keypair::ed25519_from_bytes(&mut seed[..]).expect("an Ed25519 seed has 32 bytes")
    }

    pub(crate) const fn signing_key(&self) -> &SigningKey {
        &self.0
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let seed = Zeroizing::new(self.0.to_bytes());
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in seed.iter() {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

fn read_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(seed)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let made = Identity::in_directory(directory.path()).unwrap();
        let again = Identity::in_directory(directory.path()).unwrap();
        assert_eq!(made.peer_id(), again.peer_id());
        assert_ne!(made.peer_id(), Identity::made_up().peer_id());
    }

    #[test]
    fn a_damaged_or_open_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        Identity::in_directory(directory.path()).unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, "abc").unwrap();
        assert!(matches!(Identity::in_directory(directory.path()), Err(IdentityError::Form { got: 3, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::in_directory(directory.path()), Err(IdentityError::Mode { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }
}
