//! The numbers of a store's batches: how a start sees that the store is whole, and how far it was durable.
//!
//! A power cut may take any page of a write-ahead log that no fsync has covered, and leave later ones. The store then
//! goes back to the last point before the hole; so it does when a page that *was* durable is damaged, and says nothing
//! in either case. What tells the two apart is in each batch: a [`Row`] under the batch's number, which also takes the
//! place of the row of the batch before it.
//!
//! - **Nothing was passed over.** A whole store holds one such row, the newest. Of a batch that is missing with later
//!   ones there, the row before it was never removed: two rows are left from then on ([`Missing::Hole`]). What lies
//!   behind is cut off if nothing durable is missing.
//! - **Nothing durable is gone.** The row says up to which batch the store was durable when it was written. Rows behind
//!   the hole are read even where the store drops them, the highest goes into the high-water file, durably, and the
//!   store must hold no less ([`Missing::Durable`]). The file itself is told with every fsync as well.
//!
//! How a row looks in bytes, and where it is found behind damage, is the store's business.

#[cfg(signonce_sim)]
use signonce_core::mutation::{self, Mutation};

/// What a batch says of itself and of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub number: u64,
    /// The last batch that was durable when this one was written, with all before it.
    pub durable: u64,
}

/// How far a process has written its store, and how far it may call it durable.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batches {
    /// Invariant: durable <= written.
    durable: u64,
    written: u64,
}

impl Batches {
    /// Those of a store that was just opened, and holds all batches up to this one. What a process that was killed had
    /// written and not made durable, opening has made durable.
    pub fn opened(holds: u64) -> Self {
        Self { durable: holds, written: holds }
    }

    /// The row of the batch that is written next.
    pub fn next(&self) -> Row {
        Row { number: self.written + 1, durable: self.durable() }
    }

    /// The batch with this row was written.
    pub fn wrote(&mut self, row: Row) {
        assert_eq!(row.number, self.written + 1, "batches are written in the order of their numbers");
        self.written = row.number;
    }

    /// An fsync is done that began when batch `upto` was written.
    pub fn synced(&mut self, upto: u64) {
        assert!(upto <= self.written, "batch {upto} is not written, the last is {}", self.written);
        self.durable = self.durable.max(upto);
    }

    /// The last batch that was written: what an fsync that begins now covers.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The last batch that is known to be durable, with all before it.
    pub fn durable(&self) -> u64 {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::RowsAhead) {
            return self.written;
        }
        self.durable
    }
}

/// What a start misses in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Batches that were durable.
    #[error("up to batch {durable} it was durable, it holds {holds}")]
    Durable {
        /// The batch up to which an fsync had made it durable.
        durable: u64,
        /// The last batch it holds.
        holds: u64,
    },
    /// Batches before others that are there, though none that was durable.
    #[error("what was written after batch {before} is missing, and batch {after} is there")]
    Hole {
        /// The last batch before the hole.
        before: u64,
        /// One behind it.
        after: u64,
    },
}

/// The last batch of a store in which these rows are left, the lowest first, and of which the batches up to `durable`
/// are known to have been durable; 0 for a store that has none.
///
/// # Errors
/// [`Missing`], the worse first.
pub fn last_of(rows: impl IntoIterator<Item = u64>, durable: u64) -> Result<u64, Missing> {
    let mut rows = rows.into_iter();
    let (holds, behind) = (rows.next().unwrap_or_default(), rows.next());
    if holds < durable {
        return Err(Missing::Durable { durable, holds });
    }
    match behind {
        None => Ok(holds),
        #[cfg(signonce_sim)]
        Some(after) if mutation::is(Mutation::HolePassedOver) => Ok(rows.last().unwrap_or(after)),
        Some(after) => Err(Missing::Hole { before: holds, after }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_of_what_was_durable_when_its_batch_was_written_and_of_no_more() {
        let mut batches = Batches::opened(7);
        assert_eq!(batches.next(), Row { number: 8, durable: 7 });
        batches.wrote(batches.next());
        let upto = batches.written();
        batches.wrote(batches.next());
        assert_eq!(batches.next(), Row { number: 10, durable: 7 }, "nothing was made durable since");
        batches.synced(upto);
        assert_eq!(batches.next(), Row { number: 10, durable: 8 }, "not what was written during the fsync");
        batches.synced(7);
        assert_eq!((batches.durable(), batches.written()), (8, 9), "it never falls");
    }

    #[test]
    #[should_panic(expected = "is not written")]
    fn what_is_not_written_is_not_durable() {
        Batches::opened(7).synced(8);
    }

    #[test]
    fn a_whole_store_has_one_row_and_holds_all_that_was_durable() {
        let hole = |before, after| Err(Missing::Hole { before, after });
        let lost = |durable, holds| Err(Missing::Durable { durable, holds });
        for (rows, durable, expected) in [
            (vec![], 0, Ok(0)),
            (vec![9], 0, Ok(9)),
            (vec![9], 9, Ok(9)),
            (vec![9], 10, lost(10, 9)),
            (vec![], 1, lost(1, 0)),
            (vec![9, 12], 9, hole(9, 12)),
            (vec![9, 12, 14], 5, hole(9, 12)),
            // What lies behind the hole does not make up for it.
            (vec![9, 12], 10, lost(10, 9)),
        ] {
            assert_eq!(last_of(rows.clone(), durable), expected, "{rows:?}, durable up to {durable}");
        }
    }
}
