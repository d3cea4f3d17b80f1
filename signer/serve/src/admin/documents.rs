//! Documents that are too large for one answer: made once, then fetched piece by piece.
//!
//! `admin_backup` and `admin_exportWatermarks` make one and answer its id; `admin_document` gives its pieces. A node
//! keeps the few made last.

use sha2::{Digest as _, Sha256};
use signonce_protocol::{HexArray, HexBytes};
use signonce_shared::{admin::api::DocumentInfo, backup::StateFile};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of one piece.
pub const PIECE: usize = 2 << 20;
/// Documents kept.
const KEPT: usize = 3;

/// Where a document is.
#[derive(Clone, Debug)]
enum Kept {
    Memory(Arc<Vec<u8>>),
    /// The file goes with the last that keeps it.
    File(Arc<StateFile>),
}

/// The documents of a node.
#[derive(Debug, Default)]
pub struct Documents(Mutex<VecDeque<(u64, Kept)>>);

impl Documents {
    /// Keeps a document for those who fetch it.
    pub fn keep(&self, document: Vec<u8>) -> DocumentInfo {
        let (bytes, sha256) = (document.len() as u64, HexArray(Sha256::digest(&document).into()));
        self.keep_as(Kept::Memory(Arc::new(document)), bytes, sha256)
    }

    /// The same for one that is in a file.
    pub fn keep_file(&self, file: StateFile) -> DocumentInfo {
        let (bytes, sha256) = (file.bytes(), file.sha256());
        self.keep_as(Kept::File(Arc::new(file)), bytes, sha256)
    }

    fn keep_as(&self, document: Kept, bytes: u64, sha256: HexArray<32>) -> DocumentInfo {
        // Guessing one gains nothing (admins alone get here); it must only not be another's by mistake. JSON numbers are
        // exact up to 2^53.
        let info = DocumentInfo { id: rand::random::<u64>() >> 11, bytes, sha256 };
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((info.id, document));
        info
    }

    /// A piece of a document; empty at its end. `None` if it is not kept any more. Reads a file: not for an async thread.
    pub fn piece(&self, id: u64, offset: u64) -> Option<io::Result<HexBytes>> {
        let document = self.lock().iter().find(|(known, _)| *known == id).map(|(_, kept)| kept.clone())?;
        Some(match document {
            Kept::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(PIECE).min(bytes.len());
                Ok(bytes[from..to].to_vec().into())
            }
            Kept::File(file) => read_piece(&file, offset).map(HexBytes::from),
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Kept)>> {
        // Every step leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_piece(file: &StateFile, offset: u64) -> io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    if offset < file.bytes() {
        let mut open = File::open(file.path())?;
        open.seek(SeekFrom::Start(offset))?;
        open.take(PIECE as u64).read_to_end(&mut piece)?;
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_in_pieces_and_goes_when_newer_ones_come() {
        let documents = Documents::default();
        let bytes = vec![7; PIECE + 3];
        let info = documents.keep(bytes.clone());
        let first = documents.piece(info.id, 0).unwrap().unwrap().0;
        let second = documents.piece(info.id, first.len() as u64).unwrap().unwrap().0;
        assert_eq!([first, second].concat(), bytes);
        for offset in [info.bytes, u64::MAX] {
            assert!(documents.piece(info.id, offset).unwrap().unwrap().0.is_empty());
        }
        for _ in 0..KEPT {
            documents.keep(vec![1]);
        }
        assert!(documents.piece(info.id, 0).is_none());
    }
}
