//! The store: one RocksDB with one WAL, so that a crash leaves a prefix of what was written across all tables.
//!
//! Only the driver writes here. `create` is for `init` and `join`; `open` never creates anything. Every error is
//! fatal for the process: after a failed write or fsync nobody knows what the disk holds (the kernel may have dropped
//! the dirty pages), so nothing is retried and the restart decides.

use crate::trouble;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, IteratorMode, Options,
    WriteBatch, WriteOptions,
    properties::{CUR_SIZE_ALL_MEM_TABLES, TOTAL_SST_FILES_SIZE},
};
use signonce_core::replica::disk::{DiskBatch, DiskImage, DiskOp, DiskTable};
use std::path::{Path, PathBuf};

/// Where the identity's copy inside the database lives (in the meta table; the replica does not know it).
const IDENTITY_ROW: &[u8] = b"identity";

/// What all tables together keep of their files in memory. They are read at a start and for the audit, never while
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
    /// There is something where nothing may be.
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
    /// The identity in the database is not that of the file beside it.
    #[error(
        "the store in {0} belongs to another identity than the IDENTITY file beside it; one of them was copied"
    )]
    IdentityMismatch(PathBuf),
}

/// Key and value.
pub type StoredRow = (Box<[u8]>, Box<[u8]>);

/// The database.
pub struct Store {
    db: DB,
    path: PathBuf,
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
    // Drops a torn last record, which was never acknowledged, and refuses every other damage. The default mode
    // would silently drop synced records after a damaged one.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    // All tables reach their files together, so that the prefix rule survives a flush.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(64 << 20);
    // One bound for the memtables of all tables; the state is in memory anyway, nothing is read back from here.
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
    let mut all = vec![ColumnFamilyDescriptor::new("default", table_options(&cache))];
    all.extend(DiskTable::ALL.map(|t| ColumnFamilyDescriptor::new(table_name(t), table_options(&cache))));
    all
}

impl Store {
    /// Creates an empty store with `identity` inside, synced.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] where anything lies already.
    pub fn create(path: &Path, identity: &[u8]) -> Result<(), StoreError> {
        if path.exists() {
            return Err(StoreError::NotEmpty(path.to_owned()));
        }
        let mut options = database_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
        let db = DB::open_cf_descriptors(&options, path, tables())
            .map_err(|source| StoreError::RocksDb { path: path.to_owned(), source })?;
        let store = Self { db, path: path.to_owned() };
        store.put_identity(identity)
    }

    /// Opens an existing store.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none, [`StoreError::RocksDb`] for a damaged or locked one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.join("CURRENT").exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let failed = |source| StoreError::RocksDb { path: path.to_owned(), source };
        let mut options = database_options();
        // Stores from before the audit lack its table, and no other: what else is missing was lost.
        let there = DB::list_cf(&options, path).map_err(failed)?;
        let has = |table: &DiskTable| there.iter().any(|name| name == table_name(*table));
        options.create_missing_column_families(DiskTable::READ_AT_START.iter().all(has));
        let db = DB::open_cf_descriptors(&options, path, tables()).map_err(failed)?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Reads everything that a start needs.
    pub fn image(&self) -> Result<DiskImage, StoreError> {
        let mut rows = Vec::new();
        for table in DiskTable::READ_AT_START {
            for row in self.db.iterator_cf(self.table(table), IteratorMode::Start) {
                let (key, value) = row.map_err(|e| self.failed(e))?;
                rows.push((table, key.into_vec(), value.into_vec()));
            }
        }
        Ok(DiskImage { rows })
    }

    /// Applies `batch` atomically. Visible at once; durable with `sync` or after the next [`Self::sync`].
    pub fn write(&self, batch: &DiskBatch, sync: bool) -> Result<(), StoreError> {
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
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(writes, &options).map_err(|e| self.failed(e))
    }

    /// At most `limit` rows of a table from `from` on, in the order of their keys.
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

    /// About how many bytes a table takes, in files and in memory before it reaches them.
    pub fn size(&self, table: DiskTable) -> Result<u64, StoreError> {
        let part = |property| {
            let found = self.db.property_int_value_cf(self.table(table), property);
            found.map(Option::unwrap_or_default).map_err(|e| self.failed(e))
        };
        Ok(part(TOTAL_SST_FILES_SIZE)? + part(CUR_SIZE_ALL_MEM_TABLES)?)
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|e| self.failed(e))
    }

    /// The identity inside the database.
    pub fn identity(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.table(DiskTable::Meta), IDENTITY_ROW).map_err(|e| self.failed(e))
    }

    /// Replaces the identity inside the database, synced.
    pub fn put_identity(&self, identity: &[u8]) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db
            .put_cf_opt(self.table(DiskTable::Meta), IDENTITY_ROW, identity, &options)
            .map_err(|e| self.failed(e))
    }

    fn table(&self, table: DiskTable) -> &rocksdb::ColumnFamily {
        // `open` fails unless all tables are there.
        self.db.cf_handle(table_name(table)).expect("every table was opened")
    }

    fn failed(&self, source: rocksdb::Error) -> StoreError {
        StoreError::RocksDb { path: self.path.clone(), source }
    }
}
