//! Backups: the whole replicated state in one file, a manifest that describes it, and the node's signature.
//!
//! A backup is a directory of three files: `state` (registry and watermarks, with every key sealed as the members have
//! it), `manifest.json` and `signature.json`. It holds neither a node's identity nor a log, so no node can be started
//! from it: `signonce restore` brings it into a new cluster, key by key. [`folder`] writes and lists backups,
//! [`verify`] trusts a backup only once every part of it matches, [`used`] marks one that was restored.

pub mod folder;
pub mod manifest;
mod signature;
mod state_file;
pub mod used;

pub use manifest::{Counts, FileEntry, Manifest, ManifestError};
pub use signature::NodeSignature;
pub use state_file::StateFile;

use crate::tls::TlsError;
use sha2::{Digest as _, Sha256};
use signonce_core::{BackupName, RestoreError, State, replica::hello::ClusterId};
use signonce_protocol::HexArray;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The file with the state.
pub const STATE_FILE: &str = "state";
/// The file that says what the backup is.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The file with the node's signature of the manifest.
pub const SIGNATURE_FILE: &str = "signature.json";

/// No manifest or signature is larger than this.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// No state is larger than this.
const MAX_STATE_BYTES: u64 = 4 << 30;

/// Why there is no backup, or none that can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file that must be there is not.
    #[error("{0} is missing: the backup is not whole, use another one")]
    Missing(PathBuf),
    /// A file or directory cannot be read or written.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// `read`, `write`, …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is there already.
    #[error("{0} exists already, and a backup never overwrites anything; choose another name")]
    Exists(PathBuf),
    /// Too little room is left.
    #[error("{path} has {free} bytes left and the backup needs {needed}, with some to spare for the node")]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// A text file does not have the right form.
    #[error("{path} is not a valid {what} of a backup: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Made by another version.
    #[error(
        "{path} is of version {found}, this program reads version {}: use the program that made it (version 1 is that of \
         0.1: docs/operate/upgrade.md says how keys come over from there)",
        manifest::VERSION
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version.
        found: u32,
    },
    /// A file is not the one that was written.
    #[error("{path} is not what the manifest says: {why}; the backup is damaged, use another one")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// It was restored already.
    #[error(
        "this backup was restored into cluster {cluster} on {}, says {path}; in two clusters every key of it would sign \
         twice. Use that cluster. If it is gone for good, back up what it last knew, or remove the mark only if \
         you are certain that it never signed anything",
        crate::audit::words::time(*.time_ms)
    )]
    Used {
        /// The mark.
        path: PathBuf,
        /// The cluster.
        cluster: String,
        /// When it was restored, in Unix milliseconds.
        time_ms: u64,
    },
    /// The signature is not from the node that the manifest names.
    #[error("the signature of the backup's manifest is no good: {0}; the backup is forged or damaged")]
    Signature(String),
    /// The records are not a state, or not the state that the manifest describes.
    #[error("the state of the backup cannot be believed: {0}")]
    State(#[from] RestoreError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A backup whose every part was checked.
pub struct Verified {
    /// What it is.
    pub manifest: Manifest,
    /// The name by which a restored cluster knows it.
    pub name: BackupName,
    /// The state.
    pub state: State,
}

/// Checks a backup: every file, the signature of the node (whose certificate an authority in `ca` must have issued),
/// every record, and the hash of them all.
///
/// # Errors
/// The first thing that does not fit.
pub fn verify(dir: &Path, ca: &Path) -> Result<Verified, BackupError> {
    let (manifest, manifest_bytes) = read_manifest(dir)?;
    let path = dir.join(SIGNATURE_FILE);
    let signature: NodeSignature = serde_json::from_slice(&read(&path, MAX_TEXT_BYTES)?)
        .map_err(|e| BackupError::Malformed { path, what: "signature", why: e.to_string() })?;
    signature.check(&manifest, &manifest_bytes, ca)?;
    let bytes = read_whole(dir, &manifest)?;
    let state = State::from_snapshot(&bytes)?;
    let path = dir.join(STATE_FILE);
    if state.hash().to_bytes() != manifest.state_hash.0 {
        let why = format!("its records hash to {}, not to {}", state.hash(), manifest.state_hash);
        return Err(BackupError::Damaged { path, why });
    }
    let cluster: ClusterId = manifest.cluster.parse().map_err(|why| BackupError::Malformed {
        path: dir.join(MANIFEST_FILE),
        what: "manifest",
        why,
    })?;
    let name = BackupName {
        cluster: HexArray(cluster.0),
        node: manifest.node,
        applied: manifest.applied,
        manifest: HexArray(Sha256::digest(&manifest_bytes).into()),
    };
    Ok(Verified { manifest, name, state })
}

/// The manifest, and its bytes.
fn read_manifest(dir: &Path) -> Result<(Manifest, Vec<u8>), BackupError> {
    let path = dir.join(MANIFEST_FILE);
    let bytes = read(&path, MAX_TEXT_BYTES)?;
    match Manifest::read(&bytes) {
        Ok(manifest) => Ok((manifest, bytes)),
        Err(ManifestError::Version(found)) => Err(BackupError::Version { path, found }),
        Err(ManifestError::Malformed(why)) => Err(BackupError::Malformed { path, what: "manifest", why }),
    }
}

/// The state file, if it is the one of the manifest.
fn read_whole(dir: &Path, manifest: &Manifest) -> Result<Vec<u8>, BackupError> {
    let path = dir.join(STATE_FILE);
    let [entry] = manifest.files.as_slice() else {
        let why = "it lists other files than the state".into();
        return Err(BackupError::Malformed { path: dir.join(MANIFEST_FILE), what: "manifest", why });
    };
    if entry.name != STATE_FILE {
        return Err(BackupError::Missing(path));
    }
    let bytes = read(&path, MAX_STATE_BYTES)?;
    if bytes.len() as u64 != entry.bytes {
        let why = format!("it has {} bytes, not {}", bytes.len(), entry.bytes);
        return Err(BackupError::Damaged { path, why });
    }
    let found = HexArray(Sha256::digest(&bytes).into());
    if found != entry.sha256 {
        let why = format!("its SHA-256 is {found}, not {}", entry.sha256);
        return Err(BackupError::Damaged { path, why });
    }
    Ok(bytes)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, BackupError> {
    use std::io::Read as _;
    let failed = |source| BackupError::File { doing: "read", path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(BackupError::Missing(path.to_owned())),
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        let why = format!("it has more than {most} bytes");
        return Err(BackupError::Damaged { path: path.to_owned(), why });
    }
    Ok(bytes)
}
