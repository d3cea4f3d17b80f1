//! Reads the audit records of this node's store, and prunes them. Reading does not involve the driver; pruning goes
//! through it, since only the driver writes.

use crate::inbox::Inbox;
use crate::store::{Store, StoreError, StoredRow};
use signonce_core::replica::disk::DiskTable;
use signonce_core::{AuditRow, CodecError};
use signonce_driver::Event;
use std::sync::{Arc, Weak};

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node has stopped.
    #[error("this node is stopping; ask another one")]
    Stopped,
    /// A record is damaged.
    #[error(
        "an audit record in the store is damaged: {0}; the signer's own records are checked at its start"
    )]
    Damaged(#[from] CodecError),
}

/// The records on this node's disk. Blocking.
#[derive(Clone)]
pub struct AuditStore {
    /// Weak, so that a handle that lives on does not keep a stopped node's store open.
    pub(crate) store: Weak<Store>,
    pub(crate) inbox: Inbox,
}

impl AuditStore {
    /// At most `limit` records from number `from` on. Numbers rise; where one is missing, this node does not have it.
    ///
    /// # Errors
    /// If the store fails or a row is damaged.
    pub fn rows(&self, from: u64, limit: usize) -> Result<Vec<AuditRow>, AuditError> {
        let rows = self.store()?.scan(DiskTable::Audit, &AuditRow::stored_key(from), limit)?;
        rows.into_iter().map(read).collect()
    }

    /// The oldest and the newest record.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn ends(&self) -> Result<Option<(AuditRow, AuditRow)>, AuditError> {
        let Some(last) = self.store()?.last(DiskTable::Audit)? else { return Ok(None) };
        let first = self.rows(0, 1)?.pop();
        let last = read(last)?;
        Ok(Some((first.unwrap_or_else(|| last.clone()), last)))
    }

    /// The number of the first record that is not older than `time_ms`, as far as the clocks of several nodes allow an
    /// answer; one past the last record if there is none.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn seq_at(&self, time_ms: u64) -> Result<u64, AuditError> {
        let Some((first, last)) = self.ends()? else { return Ok(0) };
        let (mut low, mut high) = (first.seq, last.seq + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(row) = self.rows(middle, 1)?.pop() else { break };
            if time_of(&row)? < time_ms {
                low = row.seq + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// About how many bytes the records take on this node's disk.
    ///
    /// # Errors
    /// If the store fails, or the node has stopped.
    pub fn bytes(&self) -> Result<u64, AuditError> {
        Ok(self.store()?.size(DiskTable::Audit)?)
    }

    /// When the oldest record here was made, in Unix milliseconds.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn oldest_ms(&self) -> Result<Option<u64>, AuditError> {
        self.rows(0, 1)?.first().map(time_of).transpose()
    }

    fn store(&self) -> Result<Arc<Store>, AuditError> {
        self.store.upgrade().ok_or(AuditError::Stopped)
    }

    /// Permanently removes the records before number `seq`.
    pub fn prune(&self, seq: u64) {
        self.inbox.tell(Event::PruneAudit { before: seq });
    }
}

fn time_of(row: &AuditRow) -> Result<u64, AuditError> {
    Ok(signonce_core::AuditRecord::from_bytes(&row.record)?.time_ms)
}

fn read((key, value): StoredRow) -> Result<AuditRow, AuditError> {
    Ok(AuditRow::from_stored(&key, &value)?)
}
