//! RocksDB's write-ahead logs, as far as RocksDB has to be shown where they end.
//!
//! A log is a sequence of blocks, each with whole records or parts of them; a part has a header of a checksum, a length
//! and a kind. RocksDB stops at damage. But it takes a header of zeros to mean that nothing more was written to the
//! block, and the end of a log to mean that the log is complete: it silently continues with the next block or log. In a
//! log that was written in order that is right. After a power cut it need not be: a page may have been lost, or the end
//! of one log while the next one, which was written later, reached the disk. The rows of [`batches`] show what was
//! skipped; then the first batch behind it is damaged on purpose, and RocksDB stops there, as it does at any other
//! missing page.

use crate::batches::{self, Salt};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const CHECKSUM: usize = 4;
const HEADER: usize = 7;

// Kinds of parts. There are others, but not in logs with these settings.
const NOTHING: u8 = 0;
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// The logs of a database, the oldest first.
pub(crate) fn logs(database: &Path) -> io::Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(database)?.map(|entry| entry.map(|entry| entry.path()));
    let mut logs: Vec<PathBuf> = files.collect::<io::Result<_>>()?;
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort(); // by number: all have six digits, or more
    Ok(logs)
}

/// Durably damages the first batch after batch `before`, so that it and all that follow no longer count. Returns
/// whether there was one that was not damaged already.
pub(crate) fn end_after(database: &Path, salt: &Salt, before: u64) -> io::Result<bool> {
    let is_behind = |record: &[u8]| batches::number_in(record, salt).is_some_and(|number| number > before);
    for path in logs(database)? {
        let bytes = std::fs::read(&path)?;
        if let Some(at) = find(&bytes, is_behind) {
            if bytes[at..at + CHECKSUM] == [0; CHECKSUM] {
                return Ok(false);
            }
            let log = File::options().write(true).open(&path)?;
            log.write_all_at(&[0; CHECKSUM], at as u64)?;
            log.sync_all()?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The offset of the first wanted record of a log. Reads as RocksDB does, but continues behind damage.
fn find(log: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Option<usize> {
    // A record in parts, of which the last has not been read yet.
    let mut begun: Option<(usize, Vec<u8>)> = None;
    for (number, block) in log.chunks(BLOCK).enumerate() {
        let mut within = 0;
        while let Some((kind, part)) = part_at(block, within) {
            let at = number * BLOCK + within;
            match kind {
                WHOLE if wanted(part) => return Some(at),
                FIRST => begun = Some((at, part.to_vec())),
                MIDDLE | LAST => {
                    if let Some((_, record)) = &mut begun {
                        record.extend_from_slice(part);
                    }
                    if kind == LAST
                        && let Some((at, _)) = begun.take().filter(|(_, record)| wanted(record))
                    {
                        return Some(at);
                    }
                }
                _ => {}
            }
            within += HEADER + part.len();
        }
    }
    None
}

/// Kind and content of the part there, unless nothing was written there or it is cut off.
fn part_at(block: &[u8], at: usize) -> Option<(u8, &[u8])> {
    let header = block.get(at..at + HEADER)?;
    let (length, kind) = (usize::from(u16::from_le_bytes([header[4], header[5]])), header[6]);
    let part = block.get(at + HEADER..at + HEADER + length)?;
    (kind != NOTHING || length > 0).then_some((kind, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_le_bytes();
        [&[9, 9, 9, 9, length[0], length[1], kind][..], content].concat()
    }

    /// A block that ends with these parts, and has zeros before them or behind them.
    fn block(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut block = parts.concat();
        block.resize(BLOCK, 0);
        block
    }

    #[test]
    fn a_record_is_found_where_it_begins_whatever_lies_before_it() {
        let wanted = |record: &[u8]| record.ends_with(b"here");
        let at = |log: &[u8]| find(log, wanted);
        let other = part(WHOLE, b"another");
        assert_eq!(at(&[]), None);
        assert_eq!(at(&block(std::slice::from_ref(&other))), None);
        let second = [other.clone(), part(WHOLE, b"it is here")].concat();
        assert_eq!(at(&second), Some(other.len()));
        assert_eq!(at(&[block(std::slice::from_ref(&other)), second].concat()), Some(BLOCK + other.len()));
        // In parts: it begins with the first, and counts only once the last is there.
        let parts = [block(&[part(FIRST, b"it is")]), block(&[part(MIDDLE, b" he")]), part(LAST, b"re")];
        assert_eq!(at(&parts.concat()), Some(0));
        assert_eq!(at(&parts[..2].concat()), None);
        assert_eq!(at(&parts[1..].concat()), None, "without its beginning it is none");
    }

    #[test]
    fn what_is_cut_off_or_of_an_unknown_kind_is_passed_over() {
        let cut = part(WHOLE, b"it is here");
        assert_eq!(find(&cut[..cut.len() - 1], |_| true), None);
        let (odd, whole) = (part(200, b"odd"), part(WHOLE, b"x"));
        assert_eq!(find(&[odd.clone(), whole].concat(), |_| true), Some(odd.len()));
    }
}
