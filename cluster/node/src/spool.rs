//! Records of a state that travel from node to node: captured in the sender's store, spooled in a file by the receiver,
//! and installed from there. Neither side ever has more than a few parts of them in memory.

use crate::driver::die;
use crate::store::{Store, StoreError};
use parity_scale_codec::Encode as _;
use signonce_core::codec::{decode_record, encode_record};
use signonce_core::replica::disk::{RecordSource, StateRecord};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Bytes of records that travel, and are written, together. A single record may be longer.
const PART_BYTES: usize = 256 << 10;
/// The longest part that is read back, in bytes: longer than any frame in which a part can have come.
const PART_BYTES_MAX: usize = 8 << 20;
/// How many parts wait for a slow peer.
const PARTS_AHEAD: usize = 4;
/// The version of parts in a file.
const PART_VERSION: u8 = 1;

/// Records that travel together.
pub(crate) type Part = Vec<StateRecord>;

/// Splits records into parts.
pub(crate) fn parts<E>(
    records: impl Iterator<Item = Result<StateRecord, E>>,
) -> impl Iterator<Item = Result<Part, E>> {
    let mut records = records.fuse();
    std::iter::from_fn(move || {
        let (mut part, mut bytes) = (Part::new(), 0);
        while bytes < PART_BYTES {
            match records.next() {
                Some(Ok(record)) => {
                    bytes += record.1.len() + record.2.len();
                    part.push(record);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!part.is_empty()).then_some(Ok(part))
    })
}

/// A message to the stream of one peer.
#[derive(Debug)]
pub(crate) enum Travelling {
    /// The next part.
    Part(Part),
    /// There are no more parts.
    End,
}

/// The source of the parts for one peer.
pub(crate) type Parts = tokio::sync::mpsc::Receiver<Travelling>;

/// The state's records at one moment, held in the store by a thread.
pub(crate) struct Capture {
    index: u64,
    busy: Arc<AtomicBool>,
    requests: Option<mpsc::Sender<tokio::sync::mpsc::Sender<Travelling>>>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Captures the store's present records, for the snapshot at `index`.
    pub(crate) fn of(store: Arc<Store>, index: u64) -> Self {
        let (requests, asked) = mpsc::channel::<tokio::sync::mpsc::Sender<Travelling>>();
        let (captured, is_captured) = mpsc::channel();
        let busy = Arc::new(AtomicBool::new(false));
        let working = Arc::clone(&busy);
        let serve = move || {
            let view = store.view();
            let _ = captured.send(());
            while let Ok(peer) = asked.recv() {
                send_all(&view, &peer);
                working.store(false, Ordering::Release);
            }
        };
        let thread =
            std::thread::Builder::new().name("snapshot".into()).spawn(serve).unwrap_or_else(|e| die(&e));
        if is_captured.recv().is_err() {
            die(&"the snapshot thread panicked");
        }
        let (requests, thread) = (Some(requests), Some(thread));
        Self { index, busy, requests, thread }
    }

    /// The index of the snapshot that these are the records of.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// The records, part by part, for one peer. A second peer waits until the first has received its own.
    pub(crate) fn stream(&mut self) -> Parts {
        let (sender, parts) = tokio::sync::mpsc::channel(PARTS_AHEAD);
        self.busy.store(true, Ordering::Release);
        if let Some(requests) = &self.requests {
            // If the thread is gone the parts end at once, and the peer gets no end message.
            let _ = requests.send(sender);
        }
        parts
    }
}

/// The state as a node had applied it at one moment. Its records are read from the store, part by part.
pub struct StateCapture {
    parts: Parts,
    /// Keeps the records in the store.
    _capture: Capture,
}

impl StateCapture {
    pub(crate) fn of(mut capture: Capture) -> Self {
        Self { parts: capture.stream(), _capture: capture }
    }

    /// The records, in the order of their tables and keys. Blocking, so not for an async thread.
    ///
    /// # Errors
    /// If the node stops meanwhile: the records are then incomplete.
    pub fn records(&mut self) -> impl Iterator<Item = std::io::Result<StateRecord>> + '_ {
        let mut done = false;
        let parts = std::iter::from_fn(move || match self.parts.blocking_recv() {
            _ if done => None,
            Some(Travelling::Part(part)) => Some(Ok(part)),
            Some(Travelling::End) => None,
            None => {
                done = true;
                Some(Err(std::io::Error::other("the node stopped before its state was read")))
            }
        });
        parts.flat_map(|part| {
            let (records, failed) = match part {
                Ok(part) => (part, None),
                Err(error) => (Part::new(), Some(Err(error))),
            };
            records.into_iter().map(Ok).chain(failed)
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        drop(self.requests.take());
        // A thread that is busy ends once its peer's stream does, which must not be waited for here.
        if !self.busy.load(Ordering::Acquire)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Sends all records; ends early if the peer's stream does.
fn send_all(view: &crate::store::View<'_>, peer: &tokio::sync::mpsc::Sender<Travelling>) {
    for part in parts(view.records()) {
        match part {
            Ok(part) => {
                if peer.blocking_send(Travelling::Part(part)).is_err() {
                    return;
                }
            }
            Err(error) => die(&error),
        }
    }
    let _ = peer.blocking_send(Travelling::End);
}

/// A file of records from a peer. Dropping this value removes the file.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    name: String,
}

/// The file while records are being received.
pub(crate) struct SpoolWriter {
    spool: Spool,
    file: BufWriter<File>,
}

impl SpoolWriter {
    /// Creates a file in `dir`.
    pub(crate) fn create(dir: &Path) -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = dir.join(&name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { spool: Spool { path, name }, file: BufWriter::new(file) })
    }

    /// Adds a part.
    pub(crate) fn add(&mut self, part: &Part) -> std::io::Result<()> {
        let sealed = encode_record(PART_VERSION, part);
        let len = u32::try_from(sealed.len()).map_err(std::io::Error::other)?;
        self.file.write_all(&len.encode())?;
        self.file.write_all(&sealed)
    }

    /// Makes the file durable.
    pub(crate) fn finish(self) -> std::io::Result<Spool> {
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        if let Some(dir) = self.spool.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(self.spool)
    }
}

impl Spool {
    /// Opens the file of this name, left by an earlier run.
    pub(crate) fn left_behind(dir: &Path, name: String) -> Result<Self, StoreError> {
        let path = dir.join(&name);
        match path.exists() {
            true => Ok(Self { path, name }),
            false => Err(StoreError::Damaged {
                path,
                why: "it is missing: a snapshot was being installed from it".into(),
            }),
        }
    }

    fn read(&self) -> Result<impl Iterator<Item = Result<StateRecord, String>> + use<>, String> {
        let mut file = BufReader::new(File::open(&self.path).map_err(|e| self.wrong(&e))?);
        let path = self.path.clone();
        let mut broken = false;
        let parts = std::iter::from_fn(move || {
            if broken {
                return None;
            }
            let next = next_part(&mut file);
            broken = next.is_err();
            next.map_err(|why| format!("{}: {why}", path.display())).transpose()
        });
        Ok(parts.flat_map(|part| {
            let (records, failed) = match part {
                Ok(part) => (part, None),
                Err(why) => (Part::new(), Some(Err(why))),
            };
            records.into_iter().map(Ok).chain(failed)
        }))
    }

    fn wrong(&self, why: &dyn std::fmt::Display) -> String {
        format!("{}: {why}", self.path.display())
    }
}

/// The next part; `None` at the end of the file.
fn next_part(file: &mut BufReader<File>) -> Result<Option<Part>, String> {
    let mut len = [0; 4];
    match file.read(&mut len[..1]).map_err(|e| e.to_string())? {
        0 => return Ok(None),
        _ => file.read_exact(&mut len[1..]).map_err(|e| e.to_string())?,
    }
    let len = u32::from_le_bytes(len) as usize;
    if len > PART_BYTES_MAX {
        return Err(format!("a part of {len} bytes is longer than any"));
    }
    let mut sealed = vec![0; len];
    file.read_exact(&mut sealed).map_err(|e| e.to_string())?;
    decode_record(PART_VERSION, "part of a snapshot", &sealed).map(Some).map_err(|e| e.to_string())
}

impl RecordSource for Spool {
    fn records(&self) -> Box<dyn Iterator<Item = Result<StateRecord, String>> + '_> {
        match self.read() {
            Ok(records) => Box::new(records),
            Err(why) => Box::new(std::iter::once(Err(why))),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // A file that could not be removed is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::Table;

    fn record(n: u32) -> StateRecord {
        (Table::Ledger, n.to_be_bytes().to_vec(), vec![n as u8; 1000])
    }

    fn spooled(dir: &Path, count: u32) -> Spool {
        let mut writer = SpoolWriter::create(dir).unwrap();
        for part in parts((0..count).map(|n| Ok::<_, ()>(record(n)))) {
            let part = part.unwrap();
            assert!(part.len() <= 300, "a part is small: {}", part.len());
            writer.add(&part).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn records_come_out_of_the_file_as_they_went_in_and_the_file_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spooled(&dir.path().join("incoming"), 1_000);
        let read: Vec<StateRecord> = spool.records().map(Result::unwrap).collect();
        assert_eq!(read, (0..1_000).map(record).collect::<Vec<_>>());
        assert_eq!(spool.records().count(), 1_000, "again from the first on");
        drop(spool);
        assert_eq!(std::fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_cut_short_or_damaged_is_no_source() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spooled(dir.path(), 1_000);
        let bytes = std::fs::read(&spool.path).unwrap();
        std::fs::write(&spool.path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(spool.records().last().unwrap().is_err());
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        std::fs::write(&spool.path, flipped).unwrap();
        assert!(spool.records().any(|record| record.is_err()));
        std::fs::remove_file(&spool.path).unwrap();
        assert!(spool.records().next().unwrap().is_err());
    }
}
