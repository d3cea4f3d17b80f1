//! The store: one RocksDB with one WAL, so that a crash leaves a prefix of what was written across all tables.
//!
//! A power cut may leave a hole in what was not durable, with later data behind it: the store then goes back to before
//! the hole. [`signonce_driver::batches`], whose rows each batch carries, detects if it ever goes back further.
//!
//! Only the driver writes here. `create` is for `init` and `join`; `open` never creates anything. Every error is fatal
//! for the process: after a failed write or fsync nobody knows what the disk holds (the kernel may have dropped the
//! dirty pages), so nothing is retried and the restart decides.

use crate::batches::{self, Salt};
use crate::spool::{Spool, parts};
use crate::trouble;
use crate::wal;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, IteratorMode, Options,
    ReadOptions, Snapshot, WriteBatch, WriteOptions,
    properties::{CUR_SIZE_ALL_MEM_TABLES, TOTAL_SST_FILES_SIZE},
};
use signonce_core::Formats;
use signonce_core::codec::{decode_record, encode_record};
use signonce_core::replica::disk::{DiskBatch, DiskImage, DiskOp, DiskTable, RecordSource, StateRecord};
use signonce_driver::batches::{Batches, Missing, last_of};
use signonce_driver::frame::FRAME_VERSION;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// The format of a data directory and of all records in it, stored in the identity, beside the database and inside.
/// Records have versions of their own besides; a new number here means that nothing older can be read.
///
/// 1: version 0.1. 2: since 0.2.
pub const FORMAT: u32 = 2;

/// The formats of this program, which a joining node must share.
pub const FORMATS: Formats = Formats { store: FORMAT, frames: FRAME_VERSION };

/// What version 0.1 wrote.
const FORMAT_OF_VERSION_0_1: u32 = 1;

/// Checks the format that a directory declares.
pub(crate) fn check_format(dir: &Path, found: u32) -> Result<(), StoreError> {
    match found {
        FORMAT => Ok(()),
        FORMAT_OF_VERSION_0_1 => Err(StoreError::OfVersion01(dir.to_owned())),
        found => Err(StoreError::Newer { dir: dir.to_owned(), found }),
    }
}

/// The key of the identity's copy in the meta table; the replica does not know it.
const IDENTITY_ROW: &[u8] = b"identity";

/// The key of the note about a snapshot that is being installed, in the meta table.
const INSTALLING_ROW: &[u8] = b"installing";
/// The version of that note.
const INSTALLING_VERSION: u8 = 1;

/// How much of all tables' files is cached in memory, in bytes. They are read at a start and for the audit, never while
/// something is signed.
const BLOCK_CACHE_BYTES: usize = 4 << 20;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// RocksDB failed; its text says how.
    #[error("the store in {path}: {}", trouble::of_rocksdb(.path, .source))]
    RocksDb {
        /// The database's directory.
        path: PathBuf,
        /// RocksDB's error.
        source: rocksdb::Error,
    },
    /// There is no database where one must be.
    #[error(
        "there is no store in {0}. If this node is new, run `signonce init`. If it ever ran, its memory is lost: \
         never initialise it again under its old id; replace it"
    )]
    Missing(PathBuf),
    /// Something lies where the store is to be created.
    #[error("{0} is not empty; a store is only ever created in an empty directory")]
    NotEmpty(PathBuf),
    /// A file beside the database failed.
    #[error("{path}: {}", trouble::of_file(.path, .source))]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A file beside the database is damaged.
    #[error("{path} is damaged: {why}. Do not repair it: replace this node")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Durable writes are gone.
    #[error(
        "the store in {path} has lost acknowledged writes: up to batch {durable} it was durable, it holds {holds}. It was \
         damaged, deleted, truncated or restored from a copy; replace this node"
    )]
    LostBatches {
        /// The database's directory.
        path: PathBuf,
        /// The batch up to which an fsync had made it durable.
        durable: u64,
        /// The last batch it holds.
        holds: u64,
    },
    /// A batch is missing while later ones are there, in no log from which they could be cut off.
    #[error(
        "the store in {path} has a hole: what was written after batch {before} is missing, and batch {after} is there. Do \
         not repair it: replace this node"
    )]
    Hole {
        /// The database's directory.
        path: PathBuf,
        /// The last batch before the hole.
        before: u64,
        /// A batch after the hole.
        after: u64,
    },
    /// It was written by version 0.1, whose records this program does not read.
    #[error(
        "{0} is the data directory of a signer of version 0.1, and this program does not read what that wrote. Nothing \
         was changed: a signer of version 0.1 can be started with it again. To come over, make a new cluster with this \
         version beside the old one, disable the keys there, take their watermarks to it with `signonce watermarks \
         export` there and `signonce watermarks import` here, and import the keys from where they were kept; \
         docs/operate/upgrade.md has it step by step"
    )]
    OfVersion01(PathBuf),
    /// It was written by a later version.
    #[error(
        "{dir} is of format {found}, and this program reads {FORMAT}: a later version wrote it. Start that; nothing was \
         changed"
    )]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// The format that it declares.
        found: u32,
    },
    /// The identity in the database is not that of the file beside it.
    #[error(
        "the store in {0} belongs to another identity than the IDENTITY file beside it; one of them was copied"
    )]
    IdentityMismatch(PathBuf),
}

/// A key and its value.
pub type StoredRow = (Box<[u8]>, Box<[u8]>);

/// The database.
pub struct Store {
    db: DB,
    path: PathBuf,
    /// The salt that marks the rows of batches.
    salt: Salt,
    numbers: Mutex<Batches>,
}

const fn table_name(table: DiskTable) -> &'static str {
    match table {
        DiskTable::Log => "log",
        DiskTable::Meta => "meta",
        DiskTable::Ledger => "ledger",
        DiskTable::Registry => "keys",
        DiskTable::Audit => "audit",
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    // Goes back to before the first damaged record and drops all that follows. RocksDB does not know what an fsync had
    // made durable, so it cannot tell the hole that a power cut may leave from the loss of acknowledged writes:
    // `batches` can. Stopping at damage needs the paranoid checks too: without them records are skipped.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    // All tables reach their files together, so that the prefix rule survives a flush.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(64 << 20);
    // One bound for the memtables of all tables; the state is in memory anyway, so nothing is read back from here.
    options.set_db_write_buffer_size(8 << 20);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn table_options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(4 << 20);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options
}

fn tables() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    // RocksDB's own table has the rows of `batches`, which the replica does not see.
    let mut all = vec![ColumnFamilyDescriptor::new("default", table_options(&cache))];
    all.extend(DiskTable::ALL.map(|t| ColumnFamilyDescriptor::new(table_name(t), table_options(&cache))));
    all
}

fn must_exist(path: &Path) -> Result<(), StoreError> {
    if path.join("CURRENT").exists() { Ok(()) } else { Err(StoreError::Missing(path.to_owned())) }
}

/// The number of the last batch in a store whose batches up to `durable` were durable; 0 if no program with [`batches`]
/// has written to it.
fn last_batch(db: &DB, path: &Path, durable: u64) -> Result<u64, StoreError> {
    let path = path.to_owned();
    let number = |(key, _): StoredRow| batches::number(&key).unwrap_or_default();
    let rows = db.iterator(IteratorMode::Start).map(|row| row.map(number));
    let rows: Result<Vec<u64>, _> = rows.take(2).collect(); // no more is needed, and what is damaged may have many
    let rows = rows.map_err(|source| StoreError::RocksDb { path: path.clone(), source })?;
    last_of(rows, durable).map_err(|missing| match missing {
        Missing::Durable { durable, holds } => StoreError::LostBatches { path, durable, holds },
        Missing::Hole { before, after } => StoreError::Hole { path, before, after },
    })
}

/// [`last_batch`] of a store, without changing it.
fn look(options: &Options, path: &Path, durable: u64) -> Result<u64, StoreError> {
    let rows =
        [ColumnFamilyDescriptor::new("default", table_options(&Cache::new_lru_cache(BLOCK_CACHE_BYTES)))];
    let db = DB::open_cf_descriptors_read_only(options, path, rows, false)
        .map_err(|source| StoreError::RocksDb { path: path.to_owned(), source })?;
    last_batch(&db, path, durable)
}

/// Turns a hole that RocksDB did not see, and that has nothing durable in or behind it, into one at which it stops.
///
/// # Errors
/// `error`, if it is not about such a hole, or if what is behind the hole is no longer in a log.
fn cut_off(path: &Path, salt: &Salt, error: StoreError) -> Result<(), StoreError> {
    let StoreError::Hole { before, .. } = error else { return Err(error) };
    match wal::end_after(path, salt, before) {
        Ok(true) => Ok(()),
        Ok(false) => Err(error),
        Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}

impl Store {
    /// Creates an empty store with `identity` inside, synced.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] if anything lies there already.
    pub fn create(path: &Path, identity: &[u8], salt: &Salt) -> Result<(), StoreError> {
        if path.exists() {
            return Err(StoreError::NotEmpty(path.to_owned()));
        }
        let mut options = database_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
        let db = DB::open_cf_descriptors(&options, path, tables())
            .map_err(|source| StoreError::RocksDb { path: path.to_owned(), source })?;
        Self::new(db, path, salt).put_identity(identity)
    }

    fn new(db: DB, path: &Path, salt: &Salt) -> Self {
        Self { db, path: path.to_owned(), salt: *salt, numbers: Mutex::default() }
    }

    /// The highest batch that was durable, as far as the store's logs tell. Call this before [`Self::open`], which may
    /// drop the log that says so, and store the answer durably.
    ///
    /// # Errors
    /// As [`Self::open`], or a log cannot be read.
    pub fn testified(path: &Path, salt: &Salt) -> Result<u64, StoreError> {
        must_exist(path)?;
        let testified = batches::testified(path, salt);
        testified.map_err(|source| StoreError::File { path: path.to_owned(), source })
    }

    /// Opens an existing store of which the batches up to `durable` are known to have been durable.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none, [`StoreError::RocksDb`] for a locked one or one that RocksDB finds
    /// damaged, [`StoreError::LostBatches`] and [`StoreError::Hole`] where something is missing.
    pub fn open(path: &Path, salt: &Salt, durable: u64) -> Result<Self, StoreError> {
        must_exist(path)?;
        let failed = |source| StoreError::RocksDb { path: path.to_owned(), source };
        let mut options = database_options();
        // First without changing anything: a store that is refused stays as it was, including its damage.
        while let Err(error) = look(&options, path, durable) {
            cut_off(path, salt, error)?;
        }
        // Stores from before the audit lack its table, and no other: any other missing table was lost.
        let there = DB::list_cf(&options, path).map_err(failed)?;
        let has = |table: &DiskTable| there.iter().any(|name| name == table_name(*table));
        options.create_missing_column_families(DiskTable::READ_AT_START.iter().all(has));
        let db = DB::open_cf_descriptors(&options, path, tables()).map_err(failed)?;
        let holds = last_batch(&db, path, durable)?;
        // RocksDB has by now put into its files what a killed process had written without making it durable.
        Ok(Self { numbers: Batches::opened(holds).into(), ..Self::new(db, path, salt) })
    }

    /// The last batch that is known to be durable, with all before it.
    pub fn durable(&self) -> u64 {
        self.numbers().durable()
    }

    /// Never held while anything is written: the thread that makes the store durable reads it too.
    fn numbers(&self) -> MutexGuard<'_, Batches> {
        self.numbers.lock().expect("a thread that breaks the rule of the numbers ends the process")
    }

    /// Reads everything that a start needs but the state's records: see [`Self::records`].
    pub fn image(&self) -> Result<DiskImage, StoreError> {
        let mut rows = Vec::new();
        for table in [DiskTable::Log, DiskTable::Meta] {
            for row in self.db.iterator_cf(self.table(table), IteratorMode::Start) {
                let (key, value) = row.map_err(|e| self.failed(e))?;
                rows.push((table, key.into_vec(), value.into_vec()));
            }
        }
        Ok(DiskImage { rows })
    }

    /// The state's records in the order in which they are restored, one by one, so that a large state is not read at
    /// once.
    pub fn records(&self) -> impl Iterator<Item = Result<StateRecord, StoreError>> {
        DiskTable::STATE.into_iter().flat_map(move |(stored, table)| {
            let mut once = ReadOptions::default();
            once.fill_cache(false);
            let rows = self.db.iterator_cf_opt(self.table(stored), once, IteratorMode::Start);
            rows.map(move |row| {
                let (key, value) = row.map_err(|e| self.failed(e))?;
                Ok((table, key.into_vec(), value.into_vec()))
            })
        })
    }

    /// The state's records as they are now, whatever is written later.
    pub fn view(&self) -> View<'_> {
        View { store: self, snapshot: self.db.snapshot() }
    }

    /// Replaces the state's records, and applies `batch`: both or neither, durably.
    ///
    /// This is too much for one batch, so the plan is written down first, and repeated from the start if the process
    /// ends before it is carried out: see [`Self::finish_install`].
    pub fn install(&self, records: &dyn RecordSource, batch: &DiskBatch) -> Result<(), StoreError> {
        let note = encode_record(INSTALLING_VERSION, &(records.name(), batch));
        let mut writes = WriteBatch::default();
        writes.put_cf(self.table(DiskTable::Meta), INSTALLING_ROW, note);
        self.write_numbered(writes, true)?;
        self.replace_state(records, batch)
    }

    /// Finishes an [`Self::install`] that the end of the process interrupted, and removes snapshots that were never
    /// installed.
    pub fn finish_install(&self) -> Result<(), StoreError> {
        let dir = self.incoming();
        let note = self.db.get_cf(self.table(DiskTable::Meta), INSTALLING_ROW).map_err(|e| self.failed(e))?;
        if let Some(note) = note {
            let damaged = |why: String| StoreError::Damaged { path: self.path.clone(), why };
            let (name, batch): (String, DiskBatch) =
                decode_record(INSTALLING_VERSION, "note of a snapshot", &note)
                    .map_err(|e| damaged(e.to_string()))?;
            self.replace_state(&Spool::left_behind(&dir, name)?, &batch)?;
        }
        match std::fs::remove_dir_all(&dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::File { path: dir, source })
            }
            _ => Ok(()),
        }
    }

    /// The directory in which snapshots are spooled.
    pub fn incoming(&self) -> PathBuf {
        self.path.with_file_name("incoming")
    }

    fn replace_state(&self, records: &dyn RecordSource, batch: &DiskBatch) -> Result<(), StoreError> {
        let clear = DiskTable::STATE.map(|(table, _)| DiskOp::Clear(table));
        self.write(&DiskBatch { ops: clear.into() }, false)?;
        for part in parts(records.records()) {
            let part = part.map_err(|why| StoreError::Damaged { path: self.incoming(), why })?;
            let mut writes = WriteBatch::default();
            for (own, key, value) in &part {
                let stored = DiskTable::STATE.iter().find(|(_, table)| table == own);
                let (table, _) = stored.expect("the state's tables are all there");
                writes.put_cf(self.table(*table), key, value);
            }
            self.write_numbered(writes, false)?;
        }
        let mut writes = self.to_writes(batch);
        writes.delete_cf(self.table(DiskTable::Meta), INSTALLING_ROW);
        self.write_numbered(writes, true)
    }

    /// Applies `batch` atomically. Visible at once; durable with `sync` or after the next [`Self::sync`].
    pub fn write(&self, batch: &DiskBatch, sync: bool) -> Result<(), StoreError> {
        self.write_numbered(self.to_writes(batch), sync)
    }

    fn to_writes(&self, batch: &DiskBatch) -> WriteBatch {
        let mut writes = WriteBatch::default();
        for op in &batch.ops {
            match op {
                DiskOp::Put(table, key, value) => writes.put_cf(self.table(*table), key, value),
                DiskOp::Delete(table, key) => writes.delete_cf(self.table(*table), key),
                DiskOp::DeleteRange(table, from, to) => writes.delete_range_cf(self.table(*table), from, to),
                // Keys of the cleared tables are at most 255 bytes and never start with eight 0xff.
                DiskOp::Clear(table) => {
                    writes.delete_range_cf(self.table(*table), &[][..], &[0xff; 256][..]);
                }
            }
        }
        writes
    }

    /// Writes a batch under the next number: see [`batches`].
    fn write_numbered(&self, mut writes: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let row = self.numbers().next();
        writes.put(batches::key(row.number), batches::row(&self.salt, row.durable));
        writes.delete(batches::key(row.number - 1));
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(writes, &options).map_err(|e| self.failed(e))?;
        let mut numbers = self.numbers();
        numbers.wrote(row);
        if sync {
            numbers.synced(row.number);
        }
        Ok(())
    }

    /// At most `limit` rows of a table from `from` on, in key order.
    pub fn scan(&self, table: DiskTable, from: &[u8], limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let rows = self.db.iterator_cf(self.table(table), IteratorMode::From(from, Direction::Forward));
        rows.take(limit).map(|row| row.map_err(|e| self.failed(e))).collect()
    }

    /// The last row of a table.
    pub fn last(&self, table: DiskTable) -> Result<Option<StoredRow>, StoreError> {
        self.db
            .iterator_cf(self.table(table), IteratorMode::End)
            .next()
            .transpose()
            .map_err(|e| self.failed(e))
    }

    /// About how many bytes a table takes, in files and in memory.
    pub fn size(&self, table: DiskTable) -> Result<u64, StoreError> {
        let part = |property| {
            let found = self.db.property_int_value_cf(self.table(table), property);
            found.map(Option::unwrap_or_default).map_err(|e| self.failed(e))
        };
        Ok(part(TOTAL_SST_FILES_SIZE)? + part(CUR_SIZE_ALL_MEM_TABLES)?)
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        let upto = self.numbers().written();
        self.db.flush_wal(true).map_err(|e| self.failed(e))?;
        self.numbers().synced(upto);
        Ok(())
    }

    /// The identity inside the database.
    pub fn identity(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.table(DiskTable::Meta), IDENTITY_ROW).map_err(|e| self.failed(e))
    }

    /// Replaces the identity inside the database, synced.
    pub fn put_identity(&self, identity: &[u8]) -> Result<(), StoreError> {
        let mut writes = WriteBatch::default();
        writes.put_cf(self.table(DiskTable::Meta), IDENTITY_ROW, identity);
        self.write_numbered(writes, true)
    }

    fn table(&self, table: DiskTable) -> &rocksdb::ColumnFamily {
        // `open` fails unless all tables are there.
        self.db.cf_handle(table_name(table)).expect("every table was opened")
    }

    fn failed(&self, source: rocksdb::Error) -> StoreError {
        StoreError::RocksDb { path: self.path.clone(), source }
    }
}

/// The state's records as they were at one moment.
pub struct View<'a> {
    store: &'a Store,
    snapshot: Snapshot<'a>,
}

impl View<'_> {
    /// The records in the order in which they are restored.
    pub fn records(&self) -> impl Iterator<Item = Result<StateRecord, StoreError>> + '_ {
        DiskTable::STATE.into_iter().flat_map(move |(stored, table)| {
            let mut once = ReadOptions::default();
            once.fill_cache(false);
            let rows = self.snapshot.iterator_cf_opt(self.store.table(stored), once, IteratorMode::Start);
            rows.map(move |row| {
                let (key, value) = row.map_err(|e| self.store.failed(e))?;
                Ok((table, key.into_vec(), value.into_vec()))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SALT: Salt = [5; 16];
    const PAGE: usize = 4096;

    /// A store that is written to, and copies of it as a killed process or a power cut leaves them.
    struct Trial {
        dir: tempfile::TempDir,
        store: Store,
        rows: u64,
    }

    impl Trial {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            Store::create(&path, b"who", &SALT).unwrap();
            let store = Store::open(&path, &SALT, 0).unwrap();
            Self { dir, store, rows: 0 }
        }

        /// Writes one row in one batch.
        fn write(&mut self, bytes: usize) {
            self.rows += 1;
            let key = self.rows.to_be_bytes().to_vec();
            let value = [self.rows as u8 | 1].repeat(bytes);
            let batch = DiskBatch { ops: vec![DiskOp::Put(DiskTable::Log, key, value)] };
            self.store.write(&batch, false).unwrap();
        }

        fn write_many(&mut self, count: usize) {
            (0..count).for_each(|i| self.write(200 + i * 37 % 500));
        }

        /// The log that is written to.
        fn log(&self) -> PathBuf {
            wal::logs(&self.dir.path().join("db")).unwrap().pop().unwrap()
        }

        fn log_bytes(&self) -> usize {
            fs::metadata(self.log()).unwrap().len() as usize
        }

        /// What is on the disk now, with a change to the log's bytes.
        fn copy(&self, change: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
            let copy = tempfile::tempdir().unwrap();
            for file in fs::read_dir(self.dir.path().join("db")).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
            let log = copy.path().join(self.log().file_name().unwrap());
            let mut bytes = fs::read(&log).unwrap();
            change(&mut bytes);
            fs::write(&log, bytes).unwrap();
            copy
        }
    }

    /// As a start opens it; `marked` is what the high-water file says.
    fn open(database: &Path, marked: &mut u64) -> Result<Store, StoreError> {
        *marked = Store::testified(database, &SALT)?.max(*marked);
        Store::open(database, &SALT, *marked)
    }

    /// The numbers of the rows it holds, which must be those up to some number, without a gap.
    fn rows_of(store: &Store) -> u64 {
        let rows = store.scan(DiskTable::Log, &[], usize::MAX).unwrap();
        for (row, expected) in rows.iter().zip(1u64..) {
            assert_eq!(*row.0, expected.to_be_bytes(), "a row is missing in the middle");
        }
        rows.len() as u64
    }

    fn zero(bytes: &mut [u8], page: usize) {
        let end = bytes.len().min((page + 1) * PAGE);
        bytes[page * PAGE..end].fill(0);
    }

    #[test]
    fn a_page_that_no_fsync_covered_may_be_missing_and_everything_before_it_is_there() {
        let mut trial = Trial::new();
        trial.write_many(100);
        trial.store.sync().unwrap();
        let (durable_rows, durable_bytes) = (trial.rows, trial.log_bytes());
        trial.write_many(150);
        let pages = durable_bytes.div_ceil(PAGE)..trial.log_bytes().div_ceil(PAGE);
        assert!(pages.len() > 10, "58 KB and more without an fsync: {pages:?}");
        let mut last = 0;
        for page in pages {
            let mut marked = 0;
            let copy = trial.copy(|bytes| zero(bytes, page));
            let store = open(copy.path(), &mut marked).unwrap();
            let rows = rows_of(&store);
            assert!((durable_rows..trial.rows).contains(&rows), "page {page}: {rows} rows");
            assert!(rows >= last, "the later the page, the more is there");
            last = rows;
            // It continues from there: nothing that was behind the hole comes back.
            let key = (rows + 1).to_be_bytes().to_vec();
            let batch = DiskBatch { ops: vec![DiskOp::Put(DiskTable::Log, key, vec![1])] };
            store.write(&batch, true).unwrap();
            drop(store);
            assert_eq!(rows_of(&open(copy.path(), &mut marked).unwrap()), rows + 1, "page {page}");
        }
        assert!(last > durable_rows + 100, "a hole near the end costs what is behind it, no more");
    }

    #[test]
    fn what_an_fsync_covered_is_missed_wherever_it_is_damaged_at_every_start() {
        let mut trial = Trial::new();
        trial.write_many(60);
        trial.store.sync().unwrap();
        let durable_bytes = trial.log_bytes();
        trial.write_many(5);
        let refused = |what: &str, copy: &Path| {
            let mut marked = 0; // nothing but the store's own word
            for start in ["first", "second"] {
                let error = open(copy, &mut marked).err();
                let named = matches!(error, Some(StoreError::LostBatches { .. } | StoreError::Hole { .. }));
                assert!(named, "{what}, {start} start: {error:?}");
            }
        };
        for page in 0..durable_bytes.div_ceil(PAGE) {
            refused(&format!("page {page} zeroed"), trial.copy(|bytes| zero(bytes, page)).path());
        }
        for at in (0..durable_bytes).step_by(997) {
            let copy = trial.copy(|bytes| bytes[at] ^= 0x10);
            refused(&format!("bit flipped at {at}"), copy.path());
            // A store that is refused stays as it was: should the disk read its own bytes again, nothing is lost.
            fs::copy(trial.log(), copy.path().join(trial.log().file_name().unwrap())).unwrap();
            assert_eq!(rows_of(&open(copy.path(), &mut 0).unwrap()), trial.rows);
        }
    }

    #[test]
    fn of_damage_with_nothing_behind_it_the_high_water_file_tells() {
        let mut trial = Trial::new();
        trial.write_many(60);
        trial.store.sync().unwrap();
        let last = trial.log_bytes() - 40;
        let copy = trial.copy(|bytes| bytes[last] ^= 1);
        let mut marked = trial.store.durable();
        assert!(matches!(open(copy.path(), &mut marked), Err(StoreError::LostBatches { .. })));
        let cut = trial.copy(|bytes| bytes.truncate(last / 2));
        assert!(matches!(open(cut.path(), &mut marked), Err(StoreError::LostBatches { .. })));
        let whole = trial.copy(|_| {});
        assert_eq!(rows_of(&open(whole.path(), &mut marked).unwrap()), trial.rows);
    }

    #[test]
    fn a_missing_block_that_rocksdb_would_pass_over_ends_the_log_as_well() {
        // A zeroed page at the beginning of one of the log's blocks reads as the end of what was written there. Where
        // the next block begins with a whole record, RocksDB would go on with that.
        const BLOCK: usize = 32 * 1024;
        let mut trial = Trial::new();
        let before = trial.log_bytes();
        trial.write(8_000);
        let around = trial.log_bytes() - before - 8_000; // what a row of such a length costs besides
        let fill = |trial: &mut Trial| {
            let end = (trial.log_bytes() + 1).next_multiple_of(BLOCK);
            while end - trial.log_bytes() > 15_000 {
                trial.write(7_000);
            }
            trial.write(end - trial.log_bytes() - around);
            assert_eq!(trial.log_bytes(), end, "a record ends where the block does");
        };
        fill(&mut trial);
        let (end, rows) = (trial.log_bytes(), trial.rows);
        fill(&mut trial);
        trial.write(100);
        let copy = trial.copy(|bytes| zero(bytes, end / PAGE));
        for start in ["first", "second"] {
            assert_eq!(rows_of(&open(copy.path(), &mut 0).unwrap()), rows, "{start} start");
        }
        // Had it been durable, it would be missed.
        let copy = trial.copy(|bytes| zero(bytes, end / PAGE));
        let before = fs::read(copy.path().join(trial.log().file_name().unwrap())).unwrap();
        let opened = open(copy.path(), &mut trial.store.numbers().written()).err();
        assert!(matches!(opened, Some(StoreError::LostBatches { .. })), "{opened:?}");
        let after = fs::read(copy.path().join(trial.log().file_name().unwrap())).unwrap();
        assert!(before == after, "a store that is refused stays as it was");
    }

    #[test]
    fn what_a_new_log_holds_never_counts_where_the_end_of_the_one_before_it_is_missing() {
        // The memory tables were full, and what follows went into a new log. Then the power failed, before the tables
        // reached their files. Where the old log ends with a whole batch, RocksDB takes the new one all the same.
        let mut trial = Trial::new();
        trial.write_many(5);
        trial.store.sync().unwrap();
        let (old, durable_rows, durable_bytes) = (trial.log(), trial.rows, trial.log_bytes());
        let mut ends = vec![(durable_rows, durable_bytes)];
        for _ in 0..20 {
            trial.write_many(1);
            ends.push((trial.rows, trial.log_bytes()));
        }
        let copied = trial.copy(|_| {});
        while trial.log() == old {
            trial.write(60_000);
        }
        trial.write_many(3);
        fs::copy(trial.log(), copied.path().join(trial.log().file_name().unwrap())).unwrap();
        let old = copied.path().join(old.file_name().unwrap());
        let whole = fs::read(&old).unwrap();
        let cut = |bytes: usize| {
            let copy = tempfile::tempdir().unwrap();
            for file in fs::read_dir(copied.path()).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
            fs::write(copy.path().join(old.file_name().unwrap()), &whole[..bytes]).unwrap();
            copy
        };
        for (rows, end) in ends {
            for (bytes, rows) in [(end, rows), (end + 3, rows)] {
                let (copy, mut marked) = (cut(bytes.min(whole.len())), 0);
                for start in ["first", "second"] {
                    let store = open(copy.path(), &mut marked).unwrap();
                    assert_eq!(rows_of(&store), rows, "cut at {bytes}, {start} start");
                }
            }
        }
        // The new log says how far the old one was durable.
        for bytes in [0, 1, durable_bytes / 2, durable_bytes - 1] {
            let opened = open(cut(bytes).path(), &mut 0).err();
            assert!(matches!(opened, Some(StoreError::LostBatches { .. })), "cut at {bytes}: {opened:?}");
        }
    }
}

#[cfg(test)]
mod install_tests {
    use super::*;
    use crate::spool::SpoolWriter;
    use signonce_core::Table;

    const SALT: Salt = [5; 16];

    fn put(table: DiskTable, key: &[u8], value: &[u8]) -> DiskOp {
        DiskOp::Put(table, key.to_vec(), value.to_vec())
    }

    fn created(dir: &Path) -> Store {
        let path = dir.join("db");
        Store::create(&path, b"identity", &SALT).unwrap();
        let store = Store::open(&path, &SALT, 0).unwrap();
        let ops = vec![
            put(DiskTable::Registry, b"old", b"1"),
            put(DiskTable::Ledger, b"old", b"2"),
            put(DiskTable::Meta, b"applied", b"old"),
        ];
        store.write(&DiskBatch { ops }, true).unwrap();
        store
    }

    fn new_records() -> Vec<StateRecord> {
        let ledger = (0..2_000_u32).map(|n| (Table::Ledger, n.to_be_bytes().to_vec(), vec![7; 300]));
        std::iter::once((Table::Registry, b"new".to_vec(), b"3".to_vec())).chain(ledger).collect()
    }

    fn spooled(store: &Store) -> Spool {
        let mut writer = SpoolWriter::create(&store.incoming()).unwrap();
        for part in parts(new_records().into_iter().map(Ok::<_, ()>)) {
            writer.add(&part.unwrap()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn batch() -> DiskBatch {
        DiskBatch { ops: vec![put(DiskTable::Meta, b"applied", b"new")] }
    }

    fn is_installed(store: &Store) -> bool {
        let applied = store.image().unwrap().rows.into_iter().find(|(_, key, _)| key == b"applied");
        let records: Vec<_> = store.records().map(Result::unwrap).collect();
        records == new_records() && applied.is_some_and(|(_, _, value)| value == b"new")
    }

    #[test]
    fn a_view_shows_what_was_there_whatever_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let store = created(dir.path());
        let view = store.view();
        store.write(&DiskBatch { ops: vec![DiskOp::Clear(DiskTable::Ledger)] }, false).unwrap();
        assert_eq!(view.records().count(), 2);
        assert_eq!(store.records().count(), 1);
    }

    #[test]
    fn records_take_the_place_of_those_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = created(dir.path());
        store.install(&spooled(&store), &batch()).unwrap();
        assert!(is_installed(&store));
        store.finish_install().unwrap();
        assert!(is_installed(&store) && !store.incoming().exists());
    }

    #[test]
    fn an_install_that_was_cut_off_is_done_again_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = created(dir.path());
        let spool = spooled(&store);
        // As far as `install` gets before the tables are whole.
        let note = encode_record(INSTALLING_VERSION, &(spool.name(), &batch()));
        store.db.put_cf(store.table(DiskTable::Meta), INSTALLING_ROW, note).unwrap();
        let torn = vec![DiskOp::Clear(DiskTable::Ledger), put(DiskTable::Ledger, b"half", b"4")];
        store.write(&DiskBatch { ops: torn }, true).unwrap();
        std::mem::forget(spool); // a process that dies removes nothing
        drop(store);

        let store = Store::open(&dir.path().join("db"), &SALT, 0).unwrap();
        assert!(!is_installed(&store));
        store.finish_install().unwrap();
        assert!(is_installed(&store) && !store.incoming().exists());

        // Without the file there is nothing to start from.
        let note = encode_record(INSTALLING_VERSION, &("gone", &batch()));
        store.db.put_cf(store.table(DiskTable::Meta), INSTALLING_ROW, note).unwrap();
        assert!(matches!(store.finish_install(), Err(StoreError::Damaged { .. })));
    }
}
