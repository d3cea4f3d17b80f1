//! Headers of the blocks this node proposed, by their hash.
//!
//! A block is sealed by signing the hash of its header, and a signer must see the slot in the header before it signs.
//! [`RemoteProposer`](crate::RemoteProposer) remembers each header here, the keystore finds it by the hash it is
//! asked to sign. Bounded: a header is asked for moments after it was made, so only the newest are kept.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Headers kept at most.
const MAX_HEADERS: usize = 64;
/// Bytes kept at most. The header at a session change carries the new authorities: 70 kB for 600 of them.
const MAX_BYTES: usize = 4 << 20;

/// The newest proposed headers.
#[derive(Default)]
pub(crate) struct Headers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Oldest first.
    headers: VecDeque<([u8; 32], Vec<u8>)>,
    /// The sum of their lengths.
    bytes: usize,
}

impl Headers {
    /// Keeps a header under the hash that will be signed.
    pub(crate) fn remember(&self, pre_hash: [u8; 32], encoded: Vec<u8>) {
        let mut kept = self.lock();
        kept.bytes += encoded.len();
        kept.headers.push_back((pre_hash, encoded));
        while kept.headers.len() > MAX_HEADERS || kept.bytes > MAX_BYTES {
            let Some((_, dropped)) = kept.headers.pop_front() else { break };
            kept.bytes -= dropped.len();
        }
    }

    /// The header with this hash, if it is still kept.
    pub(crate) fn find(&self, pre_hash: &[u8; 32]) -> Option<Vec<u8>> {
        let kept = self.lock();
        let (_, encoded) = kept.headers.iter().rev().find(|(hash, _)| hash == pre_hash)?;
        Some(encoded.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.lock();
        f.debug_struct("Headers").field("kept", &kept.headers.len()).field("bytes", &kept.bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: usize) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(n as u64).to_le_bytes());
        hash
    }

    #[test]
    fn a_header_is_found_by_its_hash_and_only_by_it() {
        let headers = Headers::default();
        headers.remember(hash(1), vec![1]);
        headers.remember(hash(2), vec![2, 2]);
        assert_eq!(headers.find(&hash(1)), Some(vec![1]));
        assert_eq!(headers.find(&hash(2)), Some(vec![2, 2]));
        assert_eq!(headers.find(&hash(3)), None);
    }

    #[test]
    fn the_newest_headers_are_kept_when_there_are_too_many() {
        let headers = Headers::default();
        for n in 0..MAX_HEADERS + 10 {
            headers.remember(hash(n), vec![0; 300]);
        }
        assert_eq!(headers.find(&hash(9)), None);
        assert!(headers.find(&hash(10)).is_some());
        assert!(headers.find(&hash(MAX_HEADERS + 9)).is_some());
    }

    #[test]
    fn large_headers_push_out_the_old_ones_before_there_are_too_many() {
        let headers = Headers::default();
        let large = MAX_BYTES / 3;
        for n in 0..5 {
            headers.remember(hash(n), vec![0; large]);
        }
        let found = (0..5).filter(|n| headers.find(&hash(*n)).is_some()).collect::<Vec<_>>();
        assert_eq!(found, [2, 3, 4]);
        assert!(headers.lock().bytes <= MAX_BYTES);
    }

    #[test]
    fn a_header_past_the_limit_leaves_nothing_behind() {
        let headers = Headers::default();
        headers.remember(hash(1), vec![0; MAX_BYTES + 1]);
        assert_eq!((headers.find(&hash(1)), headers.lock().bytes), (None, 0));
        headers.remember(hash(2), vec![7]);
        assert_eq!(headers.find(&hash(2)), Some(vec![7]));
    }
}
