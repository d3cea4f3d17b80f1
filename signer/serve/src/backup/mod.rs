//! Makes backups of what this node has applied: [`make`] at once, for operators; [`schedule`] at intervals.

pub mod schedule;

use signonce_cluster::{Handle, NotReady, clock::unix_ms};
use signonce_core::{ClientState, KeyState, State, Table};
use signonce_protocol::HexArray;
use signonce_shared::{
    backup::{
        BackupError, Counts, FileEntry, Manifest, NodeSignature, STATE_FILE, StateFile,
        folder::{Parts, StateFrom},
        manifest,
    },
    config::TlsFiles,
    tls::TlsError,
};
use std::path::Path;

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The node cannot give its state.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The state cannot be written, or the manifest cannot be signed.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

impl From<TlsError> for MakeError {
    fn from(error: TlsError) -> Self {
        Self::Backup(error.into())
    }
}

/// A new backup, its state still in a temporary file.
pub struct Made {
    /// The manifest.
    pub manifest: Manifest,
    /// The encoded manifest, as it was signed.
    pub manifest_bytes: Vec<u8>,
    /// The node's signature of the manifest.
    pub signature: NodeSignature,
    /// The state.
    pub state: StateFile,
}

impl Made {
    /// The parts of the backup, to be written.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            manifest: &self.manifest_bytes,
            signature: &self.signature,
            state: StateFrom::File(&self.state),
        }
    }
}

/// Makes a backup of what the node has applied, with the state in a file in `dir`. Blocks for as long as reading and
/// hashing the state takes.
///
/// # Errors
/// If there is no room for the state, it cannot be written, or the node's key cannot sign.
pub fn make(handle: &Handle, tls: &TlsFiles, cluster: &str, dir: &Path) -> Result<Made, MakeError> {
    let node = handle.clone();
    // Read at once, as the log index, the hash and the records belong together.
    let look = move |state: &State| {
        let applied = state.last_command().unwrap_or_else(|| node.status().applied);
        let level = state.feature_level();
        let tolerance = state.registry().slot_tolerance();
        (applied, state.hash(), level, tolerance, count(state), rows_and_bytes(state))
    };
    let (mut capture, (applied, hash, level, slot_tolerance, counts, (rows, bytes))) =
        handle.capture(look)?;
    let state = StateFile::write(dir, hash, (rows, bytes), capture.records())?;
    let manifest = Manifest {
        format: manifest::FORMAT.into(),
        version: manifest::VERSION,
        cluster: cluster.to_ascii_lowercase(),
        node: handle.node(),
        applied,
        state_hash: HexArray(hash.to_bytes()),
        feature_level: level,
        created_ms: unix_ms(),
        software: env!("CARGO_PKG_VERSION").into(),
        slot_tolerance,
        counts,
        files: vec![FileEntry { name: STATE_FILE.into(), bytes: state.bytes(), sha256: state.sha256() }],
    };
    let mut manifest_bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
    manifest_bytes.push(b'\n');
    let signature = NodeSignature::make(tls, &manifest_bytes)?;
    Ok(Made { manifest, manifest_bytes, signature, state })
}

fn rows_and_bytes(state: &State) -> (u64, u64) {
    let sizes = [Table::Registry, Table::Ledger].map(|table| state.size(table));
    (sizes.iter().map(|size| size.rows).sum(), sizes.iter().map(|size| size.bytes).sum())
}

fn count(state: &State) -> Counts {
    Counts {
        chains: state.chains().count(),
        keys: state.keys().filter(|key| key.state != KeyState::Removed).count(),
        clients: state.clients().filter(|c| c.state == ClientState::Active).count(),
    }
}
