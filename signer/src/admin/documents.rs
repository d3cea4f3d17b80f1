//! Documents that are too large for one answer: made once, then fetched piece by piece.
//!
//! `admin_backup` and `admin_exportWatermarks` make one and answer its id; `admin_document` gives its pieces. A node
//! keeps the few made last.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use signonce_protocol::{HexArray, HexBytes};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of one piece.
pub const PIECE: usize = 2 << 20;
/// Documents kept.
const KEPT: usize = 3;

/// A document that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentInfo {
    /// What to ask for.
    pub id: u64,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: HexArray<32>,
}

/// The documents of a node.
#[derive(Debug, Default)]
pub struct Documents(Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>);

impl Documents {
    /// Keeps a document for those who fetch it.
    pub fn keep(&self, document: Vec<u8>) -> DocumentInfo {
        let info = DocumentInfo {
            // Guessing one gains nothing (admins alone get here); it must only not be another's by mistake. JSON
            // numbers are exact up to 2^53.
            id: rand::random::<u64>() >> 11,
            bytes: document.len() as u64,
            sha256: HexArray(Sha256::digest(&document).into()),
        };
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((info.id, Arc::new(document)));
        info
    }

    /// A piece of a document; empty at its end. `None` if it is not kept any more.
    pub fn piece(&self, id: u64, offset: u64) -> Option<HexBytes> {
        let document = self.lock().iter().find(|(known, _)| *known == id).map(|(_, d)| Arc::clone(d))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(document.len());
        let to = from.saturating_add(PIECE).min(document.len());
        Some(document[from..to].to_vec().into())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Vec<u8>>)>> {
        // Every step leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_in_pieces_and_goes_when_newer_ones_come() {
        let documents = Documents::default();
        let bytes = vec![7; PIECE + 3];
        let info = documents.keep(bytes.clone());
        let first = documents.piece(info.id, 0).unwrap().0;
        let second = documents.piece(info.id, first.len() as u64).unwrap().0;
        assert_eq!([first, second].concat(), bytes);
        for offset in [info.bytes, u64::MAX] {
            assert!(documents.piece(info.id, offset).unwrap().0.is_empty());
        }
        for _ in 0..KEPT {
            documents.keep(vec![1]);
        }
        assert_eq!(documents.piece(info.id, 0), None);
    }
}
