//! What is on disks and in operators' hands: the store's rows, keystores, sealed keys, the configuration.

use crate::sealed;
use parity_scale_codec::DecodeAll;
use signonce_core::replica::disk::{DiskImage, DiskTable, HighWater};
use signonce_core::replica::hello::{ClusterId, Life};
use signonce_core::replica::{Replica, ReplicaConfig};
use signonce_keys::{NodeIdentity, Recipient, SealError, SealedKey};
use signonce_protocol::{ChainId, KeyId, NodeId};
use signonce_shared::backup::manifest::Manifest;
use signonce_shared::{config::Config, interchange::Interchange};
use signonce_substrate::BABE;
use std::path::Path;
use tempfile::TempDir;

/// Rows of a store, each value with a sound checksum, and perhaps a high-water mark: a replica opens them or says why
/// not. The first row's value is the mark, if its key is empty.
pub fn disk(data: &[u8]) -> bool {
    signonce_shared::families::install();
    type Rows = Vec<(u8, Vec<u8>, Vec<u8>)>;
    let Ok(rows) = Rows::decode_all(&mut &data[..]) else { return false };
    let mut mark = None;
    let mut image = DiskImage::default();
    for (table, key, value) in rows {
        let table = DiskTable::ALL[usize::from(table) % DiskTable::ALL.len()];
        // In front of a log entry is the hash of the log up to it.
        let (chain, record) = value.split_at(if table == DiskTable::Log { value.len().min(32) } else { 0 });
        let Some(record) = sealed(record) else { continue };
        let value = [chain, &record].concat();
        match HighWater::decode(&value) {
            Ok(high_water) if key.is_empty() => {
                assert_eq!(high_water.encode(), value);
                mark = Some(high_water);
            }
            _ => image.rows.push((table, key, value)),
        }
    }
    image.rows.sort();
    image.rows.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
    let formed = !image.rows.is_empty();
    let opened =
        Replica::open(replica(), &image, mark.as_ref(), slog::Logger::root(slog::Discard, slog::o!()));
    if let Ok(mut replica) = opened {
        replica.our_hello();
        replica.pass_empty_fence();
        for _ in 0..30 {
            replica.tick();
            if replica.pump().is_err() {
                break; // it stops, and says why
            }
        }
        return formed;
    }
    false
}

fn replica() -> ReplicaConfig {
    ReplicaConfig {
        node: NodeId(1),
        cluster: ClusterId([7; 16]),
        life: Life { incarnation: 1, boot: 1 },
        initial: vec![NodeId(1), NodeId(2), NodeId(3)],
        joined: false,
        election_ticks: 10,
        heartbeat_ticks: 2,
        seed: 1,
        log_bytes_max: 1 << 20,
    }
}

/// A directory of this thread, for what can only be read from files.
fn with_file<T>(name: &Path, content: &[u8], read: impl FnOnce(&Path, &Path) -> T) -> T {
    thread_local! {
        static DIRECTORY: TempDir = tempfile::tempdir().expect("a directory for temporary files");
    }
    DIRECTORY.with(|directory| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("temporary files can be written");
        let result = read(directory.path(), &path);
        std::fs::remove_file(&path).expect("the file is there");
        result
    })
}

/// A file of a Substrate keystore: the first line is its name, the rest its content.
pub fn keystore(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return false };
    let (Ok(name), content) = (std::str::from_utf8(&data[..end]), &data[end + 1..]) else { return false };
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || name.contains(['/', '\0']) {
        return false;
    }
    with_file(Path::new(name), content, |directory, _| {
        let read = signonce_keys::read_dir(directory, None).expect("the directory can be read");
        assert_eq!(read.len(), 1, "one file, one entry");
        match &read[0].found {
            Ok(key) => {
                assert_eq!(key.secret.public(), key.id.public, "a key is what its file is called");
                assert!(key.id.key_type.schemes().contains(&key.scheme));
                true
            }
            Err(problem) => {
                let said = format!("{problem} {problem:?}");
                let text = serde_json::from_slice::<String>(content).unwrap_or_default();
                assert!(text.len() < 12 || !said.contains(&text), "a secret in an error");
                false
            }
        }
    })
}

/// A sealed key, or the text of a recipient. It is accepted if only the recipient is wrong.
pub fn envelope(data: &[u8]) -> bool {
    signonce_shared::families::install();
    thread_local! {
        static IDENTITY: NodeIdentity = NodeIdentity::generate();
    }
    if let Some(Ok(recipient)) = std::str::from_utf8(data).ok().map(str::parse::<Recipient>) {
        assert_eq!(recipient.to_string().parse(), Ok(recipient));
        return true;
    }
    let Ok(sealed) = SealedKey::from_bytes(data.to_vec()) else { return false };
    let public = [1; 32][..].try_into().expect("32 bytes are a public key");
    let id = KeyId { key_type: BABE, public };
    let opened = IDENTITY.with(|identity| signonce_keys::open(&sealed, identity, &id, &ChainId([1; 32])));
    match opened {
        Ok(_) => panic!("nobody sealed anything for this node"),
        Err(error) => matches!(error, SealError::NotForThisNode(_)),
    }
}

/// A configuration file. Lines that begin with `#!` are overrides, as from the command line.
pub fn config(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let overrides: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#!")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    with_file(Path::new("signonce.toml"), data, |_, path| {
        let Ok(loaded) = Config::load(Some(path), [], &overrides) else { return false };
        let config = loaded.config;
        assert_eq!(config.this_member().id, config.node.id);
        assert!(config.admin_socket().is_absolute() && config.identity_file().is_absolute());
        true
    })
}

/// A file of watermarks. Its minimal form says the same, and what is written is read again.
pub fn interchange(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Ok(file) = Interchange::read(data) else { return false };
    let Ok(floors) = file.floors() else { return false };
    let minimal = file.minimal().expect("a file with floors has a minimal form");
    assert_eq!(minimal.floors().as_ref(), Ok(&floors), "the minimal form has the same floors");
    let written = serde_json::to_vec(&minimal).expect("plain data");
    assert_eq!(Interchange::read(&written).as_ref(), Ok(&minimal));
    true
}

/// The manifest of a backup. (Its state is the target `snapshot`.)
pub fn backup(data: &[u8]) -> bool {
    let Ok(manifest) = Manifest::read(data) else { return false };
    let written = serde_json::to_vec(&manifest).expect("plain data");
    assert_eq!(Manifest::read(&written), Ok(manifest));
    true
}
