//! The rows that number a store's batches, as bytes: in RocksDB's table, and in its logs. Their purpose, and the check
//! at the start, are in [`signonce_driver::batches`].
//!
//! RocksDB does not see a hole if the log simply ends before it, or reads as if nothing had been written
//! ([`crate::wal`]); two rows are then left. Rows behind a hole at which RocksDB stops are still in the log's bytes:
//! they are read before RocksDB opens the store, which drops that log. Whether the store holds enough is checked before
//! anything is changed.
//!
//! Neither detects this: the last durable batches are damaged, nothing that was written after them is left, and the
//! high-water file, which is made durable once a second, lags behind them. The identity, which every start makes
//! durable in two places, limits that to the present start; the peers and the fence cover the rest.

use signonce_protocol::blake2_256;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Bytes that distinguish the rows of one store from everything else in a log. Random, so that nobody who can have
/// something written into the log can forge a row.
pub(crate) type Salt = [u8; 16];

const CHECK_BYTES: usize = 8;
const ROW_BYTES: usize = size_of::<Salt>() + size_of::<u64>() + CHECK_BYTES;
/// How many bytes of a log are read at a time.
const WINDOW: usize = 1 << 20;

/// The key of a batch's row.
pub(crate) fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The number in a row's key.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// The row of a batch that is written when all batches up to `durable` are durable.
pub(crate) fn row(salt: &Salt, durable: u64) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    let (said, check) = row.split_at_mut(ROW_BYTES - CHECK_BYTES);
    said[..salt.len()].copy_from_slice(salt);
    said[salt.len()..].copy_from_slice(&durable.to_le_bytes());
    check.copy_from_slice(&blake2_256(said)[..CHECK_BYTES]);
    row
}

fn read_row(row: &[u8]) -> Option<u64> {
    let (said, check) = row.get(..ROW_BYTES)?.split_at(ROW_BYTES - CHECK_BYTES);
    let durable = said.last_chunk()?;
    (blake2_256(said)[..CHECK_BYTES] == *check).then(|| u64::from_le_bytes(*durable))
}

/// The number of the batch in a record of a log, which ends with the batch's own row and the removal of the one before.
pub(crate) fn number_in(record: &[u8], salt: &Salt) -> Option<u64> {
    // RocksDB's form of a put, with the lengths of key and value before them, and of a removal.
    const PUT: [u8; 2] = [1, size_of::<u64>() as u8];
    const REMOVE: [u8; 2] = [0, size_of::<u64>() as u8];
    let (rest, _before) = record.split_last_chunk::<{ size_of::<u64>() }>()?;
    let rest = rest.strip_suffix(&REMOVE)?;
    let (rest, row) = rest.split_last_chunk::<ROW_BYTES>()?;
    read_row(row).filter(|_| row.starts_with(salt))?;
    let rest = rest.strip_suffix(&[ROW_BYTES as u8])?;
    let (rest, key) = rest.split_last_chunk::<{ size_of::<u64>() }>()?;
    rest.ends_with(&PUT).then(|| u64::from_be_bytes(*key))
}

/// The highest batch that any row in the logs of `database` declares durable, whatever is damaged around the row.
///
/// A row across two blocks of a log is not seen; the ones before and after it are.
pub(crate) fn testified(database: &Path, salt: &Salt) -> std::io::Result<u64> {
    let mut highest = 0;
    for path in crate::wal::logs(database)? {
        highest = highest.max(testified_in(&mut File::open(path)?, salt)?);
    }
    Ok(highest)
}

fn testified_in(log: &mut impl Read, salt: &Salt) -> std::io::Result<u64> {
    let (mut highest, mut window) = (0, Vec::with_capacity(WINDOW + ROW_BYTES));
    loop {
        let read = match log.take(WINDOW as u64).read_to_end(&mut window) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let rows = window.windows(ROW_BYTES).filter(|bytes| bytes.starts_with(salt));
        highest = rows.filter_map(read_row).fold(highest, u64::max);
        if read == 0 {
            return Ok(highest);
        }
        // Keeps what may be the beginning of a row that the next window completes.
        window.drain(..window.len().saturating_sub(ROW_BYTES - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = [7; 16];

    fn seen(bytes: &[u8]) -> u64 {
        testified_in(&mut &bytes[..], &SALT).unwrap()
    }

    #[test]
    fn the_highest_whole_row_testifies_wherever_it_lies() {
        assert_eq!(seen(&[]), 0);
        for at in
            [0, 1, 4_000, WINDOW - ROW_BYTES, WINDOW - ROW_BYTES + 1, WINDOW - 1, WINDOW, 2 * WINDOW + 5]
        {
            let mut bytes = vec![0xab; at];
            bytes.extend(row(&SALT, 41));
            bytes.extend([0; 100]);
            bytes.extend(row(&SALT, 40));
            assert_eq!(seen(&bytes), 41, "at {at}");
            bytes[at + SALT.len()] ^= 1;
            assert_eq!(seen(&bytes), 40, "a damaged row says nothing");
        }
    }

    #[test]
    fn a_record_tells_the_number_of_its_batch_and_nothing_else_does() {
        let batch = |number: u64, salt: &Salt| {
            let (put, remove) =
                ([&[1, 8][..], &key(number)].concat(), [&[0, 8][..], &key(number - 1)].concat());
            [&b"sequence, count, other rows"[..], &put, &[32], &row(salt, 5), &remove].concat()
        };
        let record = batch(77, &SALT);
        assert_eq!(number_in(&record, &SALT), Some(77));
        assert_eq!(number_in(&batch(77, &[8; 16]), &SALT), None, "of another store");
        assert_eq!(number_in(&[&record[..], b"x"].concat(), &SALT), None);
        for cut in 0..record.len() {
            assert_eq!(number_in(&record[..cut], &SALT), None);
        }
    }

    #[test]
    fn rows_of_another_store_and_halves_of_rows_say_nothing() {
        let other = row(&[8; 16], 9);
        assert_eq!(seen(&other), 0);
        assert_eq!(seen(&row(&SALT, 9)[..ROW_BYTES - 1]), 0);
        assert_eq!(number(&key(77)), Some(77));
    }
}
