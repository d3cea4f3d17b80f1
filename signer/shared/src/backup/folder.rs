//! Backups on disk: written whole or not at all, listed, and thinned out.

use super::{
    BackupError, MANIFEST_FILE, Manifest, NodeSignature, SIGNATURE_FILE, STATE_FILE, StateFile, read_manifest,
};
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Bytes that must stay free beside the node's store after a backup was written: a node whose disk is full stops.
const SPARE_BYTES: u64 = 64 << 20;

/// The parts of a backup as they are written.
pub struct Parts<'a> {
    /// The bytes of the manifest.
    pub manifest: &'a [u8],
    /// The signature of the manifest.
    pub signature: &'a NodeSignature,
    /// The state.
    pub state: StateFrom<'a>,
}

/// Where the state comes from.
#[derive(Clone, Copy)]
pub enum StateFrom<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From a file on the same file system, which is moved.
    File(&'a StateFile),
}

/// The default name of a backup: it sorts by the log entry that the backup was made after.
pub fn default_name(manifest: &Manifest) -> String {
    let Manifest { cluster, node, applied, created_ms, .. } = manifest;
    let cluster = cluster.get(..8).unwrap_or(cluster);
    format!("signonce-{cluster}-node{node}-{:012}-{created_ms}", applied.0)
}

/// Writes a backup as the directory `path`, which must not exist: all of it, durably, or nothing. `node_lives_here`
/// says that the node's store may be on the same file system, so that some room must be left.
///
/// # Errors
/// What went wrong. Whatever was written is removed again.
pub fn write(path: &Path, parts: &Parts<'_>, node_lives_here: bool) -> Result<(), BackupError> {
    let failed = |source| BackupError::File { doing: "write", path: path.to_owned(), source };
    if path.exists() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if node_lives_here {
        let state = match parts.state {
            StateFrom::Bytes(bytes) => bytes.len(),
            StateFrom::File(_) => 0, // it is there already
        };
        check_room(&parent, (state + parts.manifest.len()) as u64)?;
    }
    let name = path.file_name().ok_or_else(|| failed(io::Error::other("it has no name")))?;
    let unfinished = parent.join(format!(".{}.unfinished", name.to_string_lossy()));
    let written = write_files(&unfinished, parts).and_then(|()| {
        fs::rename(&unfinished, path)?;
        File::open(&parent)?.sync_all()
    });
    written.map_err(|error| {
        // What could not be removed is of no use to anybody; the error above says what happened.
        let _ = fs::remove_dir_all(&unfinished);
        failed(error)
    })
}

fn write_files(dir: &Path, parts: &Parts<'_>) -> io::Result<()> {
    // Left by a run that was killed.
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(dir)?;
    let mut signature = serde_json::to_vec_pretty(parts.signature)?;
    signature.push(b'\n');
    let mut texts = vec![(MANIFEST_FILE, parts.manifest), (SIGNATURE_FILE, &signature[..])];
    match parts.state {
        StateFrom::Bytes(bytes) => texts.push((STATE_FILE, bytes)),
        StateFrom::File(file) => fs::rename(file.path(), dir.join(STATE_FILE))?,
    }
    for (name, bytes) in texts {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(dir)?.sync_all()
}

pub(super) fn check_room(dir: &Path, bytes: u64) -> Result<(), BackupError> {
    let found = rustix::fs::statvfs(dir).map_err(|e| BackupError::File {
        doing: "look at",
        path: dir.to_owned(),
        source: e.into(),
    })?;
    let (free, needed) = (found.f_bavail.saturating_mul(found.f_frsize), bytes.saturating_add(SPARE_BYTES));
    if free < needed {
        return Err(BackupError::NoRoom { path: dir.to_owned(), free, needed });
    }
    Ok(())
}

/// A backup in a directory of backups, as its manifest describes it. Nothing of it has been checked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Where it is.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

/// The backups in a directory, the oldest first.
///
/// # Errors
/// If the directory cannot be read. Anything that is not a backup is skipped.
pub fn list(dir: &Path) -> Result<Vec<Listed>, BackupError> {
    let failed = |source| BackupError::File { doing: "read", path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || !path.is_dir() {
            continue;
        }
        if let Ok((manifest, _)) = read_manifest(&path) {
            found.push(Listed { path, manifest });
        }
    }
    found.sort_by_key(|listed| (listed.manifest.created_ms, listed.path.clone()));
    Ok(found)
}

/// Removes the oldest backups of this node of this cluster beyond the newest `keep`. Other nodes' backups are left
/// alone, and so is anything with another name than [`default_name`] gives.
///
/// # Errors
/// If the directory cannot be read, or something in it cannot be removed.
pub fn thin_out(dir: &Path, own: &Manifest, keep: usize) -> Result<usize, BackupError> {
    let ours = |listed: &Listed| {
        let same = listed.manifest.cluster == own.cluster && listed.manifest.node == own.node;
        same && listed.path.file_name().is_some_and(|name| *name == *default_name(&listed.manifest))
    };
    let backups: Vec<Listed> = list(dir)?.into_iter().filter(ours).collect();
    let surplus = backups.len().saturating_sub(keep.max(1));
    for Listed { path, .. } in &backups[..surplus] {
        fs::remove_dir_all(path).map_err(|source| BackupError::File {
            doing: "remove",
            path: path.clone(),
            source,
        })?;
    }
    Ok(surplus)
}
