//! The identity of this node, written twice: in the `IDENTITY` file and inside the database. A start needs both to
//! agree.
//!
//! Layout of a data directory: `IDENTITY` (readable JSON), `HIGH-WATER`, `db/`. [`create`] makes all three and is only
//! called by `init` and `join`; `open` never makes anything. An identity is never reused: a lost disk means a new node
//! id.

use crate::high_water::HighWaterFile;
use crate::store::{FORMAT, Store, StoreError, check_format};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use signonce_core::replica::disk::HighWater;
use signonce_core::replica::hello::{ClusterId, Life};
use signonce_driver::identity::{life, next_life};
use signonce_protocol::NodeId;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What `init` or `join` decides once and permanently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The cluster's id, as 32 hex digits.
    #[serde(with = "as_text")]
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The members that the cluster forms from; empty on a node that joined later.
    pub initial: Vec<NodeId>,
    /// Whether the node joined a formed cluster: then it never forms one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    format: u32,
    #[serde(flatten)]
    identity: Identity,
    incarnation: u64,
}

/// A data directory that passed every check a node can make alone.
pub(crate) struct OpenedDirectory {
    pub identity: Identity,
    pub life: Life,
    pub store: Store,
    pub high_water: HighWaterFile,
    pub mark: Option<HighWater>,
}

fn identity_path(dir: &Path) -> PathBuf {
    dir.join("IDENTITY")
}

fn high_water_path(dir: &Path) -> PathBuf {
    dir.join("HIGH-WATER")
}

fn database_path(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// Creates an empty store for `identity` in `dir`.
///
/// # Errors
/// [`StoreError::NotEmpty`] if `dir` has any of a node's files.
pub fn create(dir: &Path, identity: &Identity) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    for path in [identity_path(dir), high_water_path(dir), database_path(dir)] {
        if path.exists() {
            return Err(StoreError::NotEmpty(dir.to_owned()));
        }
    }
    let file = IdentityFile { format: FORMAT, identity: identity.clone(), incarnation: 0 };
    Store::create(&database_path(dir), &to_bytes(&file), &rand::rng().random())?;
    HighWaterFile::create(&high_water_path(dir))?;
    // Written last, so that an interrupted `init` leaves a directory that `open` refuses.
    write_identity(dir, &file)
}

/// Creates an empty store in `dir` for a node that joins a formed cluster, under the id that the cluster gave it. Such
/// a node starts without knowing any member: it takes everything from the leader.
///
/// # Errors
/// [`StoreError::NotEmpty`] if there is anything in `dir`.
pub fn create_joined(dir: &Path, cluster: ClusterId, node: NodeId) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { path: dir.to_owned(), source };
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(StoreError::NotEmpty(dir.to_owned()));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    create(dir, &Identity { cluster, node, initial: Vec::new(), joined: true })
}

/// Reads only the identity, for tools that inspect a stopped or running node's directory.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read(dir: &Path) -> Result<Identity, StoreError> {
    read_identity(dir).map(|f| f.identity)
}

/// Opens `dir` for a run: checks both identities, takes the next incarnation and writes it to both, synced.
pub(crate) fn open(dir: &Path) -> Result<OpenedDirectory, StoreError> {
    let mut file = read_identity(dir)?;
    let (mut high_water, mark) = HighWaterFile::open(&high_water_path(dir))?;
    let database = database_path(dir);
    // Opening drops the log in which a damaged store says how far it was durable, so that is recorded first.
    high_water.raise(Store::testified(&database, high_water.salt())?)?;
    let store = Store::open(&database, high_water.salt(), high_water.durable())?;
    let mismatch = || StoreError::IdentityMismatch(dir.to_owned());
    let inside = store.identity()?.ok_or_else(mismatch)?;
    let inside = parse_identity(dir, &inside)?.map_err(|_| mismatch())?;
    let next = next_life(inside.incarnation, file.incarnation).map_err(|_| mismatch())?;
    if inside.identity != file.identity {
        return Err(mismatch());
    }
    store.finish_install()?;
    if next.file_is_behind {
        write_identity(dir, &inside)?;
    }
    file.incarnation = next.incarnation;
    store.put_identity(&to_bytes(&file))?;
    write_identity(dir, &file)?;
    let life = life(file.incarnation, rand::rng().random());
    Ok(OpenedDirectory { identity: file.identity, life, store, high_water, mark })
}

fn read_identity(dir: &Path) -> Result<IdentityFile, StoreError> {
    let path = identity_path(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::Missing(dir.to_owned()));
        }
        Err(source) => return Err(StoreError::File { path, source }),
    };
    parse_identity(dir, &bytes)?.map_err(|e| StoreError::Damaged { path, why: e.to_string() })
}

/// Parses an identity: the outer error is another format, the inner one is not an identity.
fn parse_identity(dir: &Path, bytes: &[u8]) -> Result<serde_json::Result<IdentityFile>, StoreError> {
    /// The fields that every format begins with.
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    match serde_json::from_slice(bytes) {
        Ok(Head { format }) => check_format(dir, format)?,
        Err(error) => return Ok(Err(error)),
    }
    Ok(serde_json::from_slice(bytes))
}

/// Replaces the file atomically and durably.
fn write_identity(dir: &Path, file: &IdentityFile) -> Result<(), StoreError> {
    let path = identity_path(dir);
    let temporary = dir.join("IDENTITY.new");
    let write = || -> std::io::Result<()> {
        let mut out = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        out.write_all(&to_bytes(file))?;
        out.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| StoreError::File { path: path.clone(), source })
}

fn to_bytes(file: &IdentityFile) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(file).expect("an identity is plain data");
    bytes.push(b'\n');
    bytes
}

mod as_text {
    use super::ClusterId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(id: &ClusterId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ClusterId, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            cluster: ClusterId([9; 16]),
            node: NodeId(2),
            initial: vec![NodeId(1), NodeId(2), NodeId(3)],
            joined: false,
        }
    }

    fn created() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), &identity()).unwrap();
        dir
    }

    fn start(dir: &Path) -> Result<u64, StoreError> {
        open(dir).map(|d| d.life.incarnation)
    }

    #[test]
    fn every_start_is_a_new_incarnation_of_the_same_identity() {
        let dir = created();
        assert_eq!(start(dir.path()).unwrap(), 1);
        assert_eq!(start(dir.path()).unwrap(), 2);
        assert_eq!(read(dir.path()).unwrap(), identity());
    }

    #[test]
    fn start_never_creates_a_store() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(start(dir.path()), Err(StoreError::Missing(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let dir = created();
        fs::remove_dir_all(database_path(dir.path())).unwrap();
        assert!(matches!(start(dir.path()), Err(StoreError::Missing(_))));
        assert!(!database_path(dir.path()).exists());
    }

    #[test]
    fn a_directory_is_initialised_once() {
        let dir = created();
        assert!(matches!(create(dir.path(), &identity()), Err(StoreError::NotEmpty(_))));
    }

    #[test]
    fn a_node_joins_with_an_empty_directory_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "anything").unwrap();
        let join = |dir: &Path| create_joined(dir, ClusterId([9; 16]), NodeId(17));
        assert!(matches!(join(dir.path()), Err(StoreError::NotEmpty(_))));
        fs::remove_file(dir.path().join("notes.txt")).unwrap();
        join(dir.path()).unwrap();
        assert!(matches!(join(dir.path()), Err(StoreError::NotEmpty(_))));
        let read = read(dir.path()).unwrap();
        assert!(read.joined && read.initial.is_empty());
        assert_eq!(start(dir.path()).unwrap(), 1);
    }

    #[test]
    fn a_database_restored_from_an_older_start_is_refused() {
        let dir = created();
        start(dir.path()).unwrap();
        let before = fs::read(identity_path(dir.path())).unwrap();
        start(dir.path()).unwrap();
        start(dir.path()).unwrap();
        // The file from two starts ago beside today's database: as good as the other way round.
        fs::write(identity_path(dir.path()), before).unwrap();
        assert!(matches!(start(dir.path()), Err(StoreError::IdentityMismatch(_))));
    }

    #[test]
    fn a_crash_between_the_two_identity_writes_is_survived() {
        let dir = created();
        let before = fs::read(identity_path(dir.path())).unwrap();
        start(dir.path()).unwrap();
        fs::write(identity_path(dir.path()), before).unwrap();
        assert_eq!(start(dir.path()).unwrap(), 2);
    }

    #[test]
    fn a_missing_high_water_file_is_refused() {
        let dir = created();
        fs::remove_file(high_water_path(dir.path())).unwrap();
        assert!(matches!(start(dir.path()), Err(StoreError::File { .. })));
    }

    /// Everything in a directory, by its name.
    fn files(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let mut all = std::collections::BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => all.extend(files(&entry.path())),
                false => drop(all.insert(entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
        all
    }

    /// The identity as version 0.1 wrote it.
    const OF_VERSION_0_1: &[u8] = b"{
  \"format\": 1,
  \"cluster\": \"09090909090909090909090909090909\",
  \"node\": 2,
  \"initial\": [
    1,
    2,
    3
  ],
  \"incarnation\": 4
}
";

    #[test]
    fn what_version_0_1_wrote_is_left_as_it_is_and_told_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        Store::create(&database_path(dir.path()), OF_VERSION_0_1, &[7; 16]).unwrap();
        HighWaterFile::create(&high_water_path(dir.path())).unwrap();
        fs::write(identity_path(dir.path()), OF_VERSION_0_1).unwrap();
        let before = files(dir.path());
        for refused in [start(dir.path()).map(drop), read(dir.path()).map(drop)] {
            let refused = refused.unwrap_err();
            assert!(matches!(&refused, StoreError::OfVersion01(at) if at == dir.path()), "{refused}");
            let said = refused.to_string();
            assert!(said.contains("watermarks export") && said.contains("watermarks import"), "{said}");
        }
        assert!(files(dir.path()) == before, "nothing was changed");
        assert!(matches!(create(dir.path(), &identity()), Err(StoreError::NotEmpty(_))));

        // A new file beside an old database: the database says it as well.
        let file = IdentityFile { format: FORMAT, identity: identity(), incarnation: 4 };
        fs::write(identity_path(dir.path()), to_bytes(&file)).unwrap();
        assert!(matches!(start(dir.path()), Err(StoreError::OfVersion01(_))));
    }

    #[test]
    fn what_a_later_version_wrote_is_told_from_damage() {
        let dir = created();
        let later = br#"{ "format": 3, "whatever": [] }"#;
        fs::write(identity_path(dir.path()), later).unwrap();
        assert!(matches!(start(dir.path()), Err(StoreError::Newer { found: 3, .. })));
        fs::write(identity_path(dir.path()), b"{}").unwrap();
        assert!(matches!(start(dir.path()), Err(StoreError::Damaged { .. })));
    }
}
