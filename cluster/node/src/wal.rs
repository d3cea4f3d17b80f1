//! What RocksDB must be told of its own write-ahead logs before it opens them.
//!
//! A log is a row of blocks, each with whole records or parts of them; a part has a header of a checksum, a length and a
//! kind. A header of zeros means to RocksDB that nothing more was written to the block, and it goes on with the next
//! block, or the next log, without a word. That is so in no log that was written in order, but it is what a page looks
//! like that a power cut has taken. So where there is anything behind such zeros, their header is made one that no
//! checksum fits: then RocksDB finds damage there, as it does at any other page that is missing, and stops.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
/// Where in a header the kind is, and a kind that some record has.
const KIND_AT: usize = 6;
const SOME_KIND: u8 = 1;

/// The logs of a database, the oldest first.
pub(crate) fn logs(database: &Path) -> io::Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(database)?.map(|entry| entry.map(|entry| entry.path()));
    let mut logs: Vec<PathBuf> = files.collect::<io::Result<_>>()?;
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort(); // by number: all have six digits, or more
    Ok(logs)
}

/// Makes damage of the first zeros with something behind them.
pub(crate) fn name_the_hole(database: &Path) -> io::Result<()> {
    let mut zeros: Option<(PathBuf, u64)> = None;
    for path in logs(database)? {
        let mut log = File::open(&path)?;
        let mut at = 0;
        loop {
            let block = read_block(&mut log)?;
            if let Some((path, at)) = zeros.as_ref().filter(|_| block.iter().any(|byte| *byte != 0)) {
                let log = File::options().write(true).open(path)?;
                log.write_all_at(&[SOME_KIND], at + KIND_AT as u64)?;
                return log.sync_all();
            }
            zeros = zeros.or_else(|| zero_header(&block).map(|within| (path.clone(), at + within as u64)));
            at += block.len() as u64;
            if block.len() < BLOCK {
                break;
            }
        }
    }
    Ok(())
}

fn read_block(log: &mut File) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        match log.take((BLOCK - block.len()) as u64).read_to_end(&mut block) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(block)
}

/// Where in a block the first header of zeros is.
fn zero_header(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let header = block.get(at..at + HEADER)?;
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        if length == 0 && header[KIND_AT] == 0 {
            return Some(at);
        }
        at += HEADER + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let mut record = vec![9, 9, 9, 9, 0, 0, 1];
        record[4..6].copy_from_slice(&(length as u16).to_le_bytes());
        record.resize(HEADER + length, 0xab);
        record
    }

    /// The logs after the hole was named.
    fn named(before: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> =
            (7..).take(before.len()).map(|n| dir.path().join(format!("{n:06}.log"))).collect();
        for (path, bytes) in paths.iter().zip(before) {
            std::fs::write(path, bytes).unwrap();
        }
        name_the_hole(dir.path()).unwrap();
        paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    #[test]
    fn zeros_at_the_end_are_left_and_zeros_with_anything_behind_them_become_damage() {
        let block = record(BLOCK - HEADER);
        let half = [record(1_000), vec![0; BLOCK - HEADER - 1_000]].concat();
        let untouched: [&[Vec<u8>]; 4] = [
            std::slice::from_ref(&block),
            &[[block.clone(), record(5)].concat(), record(9)],
            &[[block.clone(), half.clone()].concat()],
            &[[block.clone(), vec![0; 3 * BLOCK]].concat(), Vec::new()],
        ];
        for logs in untouched {
            assert_eq!(named(logs), logs);
        }
        let hole = BLOCK + HEADER + 1_000;
        for logs in [
            vec![[block.clone(), half.clone(), record(5)].concat()],
            vec![[block.clone(), half.clone()].concat(), record(5)],
            vec![[block.clone(), half.clone(), vec![0; 2 * BLOCK], record(5)].concat()],
        ] {
            let mut expected = logs.clone();
            expected[0][hole + KIND_AT] = SOME_KIND;
            assert_eq!(named(&logs), expected);
        }
    }
}
