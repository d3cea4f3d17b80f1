//! Documents that are too large for one answer: made once, then fetched piece by piece.
//!
//! `admin_backup` and `admin_exportWatermarks` make one and return its id; `admin_document` returns its pieces. A node
//! keeps the few that were made last.

use sha2::{Digest as _, Sha256};
use signonce_protocol::{HexArray, HexBytes};
use signonce_shared::{admin::api::DocumentInfo, backup::StateFile};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The size of a piece in bytes.
pub const PIECE: usize = 2 << 20;
/// How many documents are kept.
const KEPT: usize = 3;

/// A document, in memory or in a file.
#[derive(Clone, Debug)]
enum StoredDocument {
    Memory(Arc<Vec<u8>>),
    /// The file is removed with the last reference to it.
    File(Arc<StateFile>),
}

/// The documents of a node.
#[derive(Debug, Default)]
pub struct Documents(Mutex<VecDeque<(u64, StoredDocument)>>);

impl Documents {
    /// Keeps a document until it is fetched.
    pub fn keep(&self, document: Vec<u8>) -> DocumentInfo {
        let (bytes, sha256) = (document.len() as u64, HexArray(Sha256::digest(&document).into()));
        self.keep_as(StoredDocument::Memory(Arc::new(document)), bytes, sha256)
    }

    /// Keeps a document that is in a file.
    pub fn keep_file(&self, file: StateFile) -> DocumentInfo {
        let (bytes, sha256) = (file.bytes(), file.sha256());
        self.keep_as(StoredDocument::File(Arc::new(file)), bytes, sha256)
    }

    fn keep_as(&self, document: StoredDocument, bytes: u64, sha256: HexArray<32>) -> DocumentInfo {
        // Ids need not be secret (only admins get here); two documents must only not share one. JSON numbers are exact
        // up to 2^53.
        let info = DocumentInfo { id: rand::random::<u64>() >> 11, bytes, sha256 };
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((info.id, document));
        info
    }

    /// A piece of a document; empty at its end. `None` if it is no longer kept. Blocks on a file.
    pub fn piece(&self, id: u64, offset: u64) -> Option<io::Result<HexBytes>> {
        let document = self.lock().iter().find(|(known, _)| *known == id).map(|(_, kept)| kept.clone())?;
        Some(match document {
            StoredDocument::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(PIECE).min(bytes.len());
                Ok(bytes[from..to].to_vec().into())
            }
            StoredDocument::File(file) => read_piece(&file, offset).map(HexBytes::from),
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, StoredDocument)>> {
        // Every step leaves the list consistent.
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
