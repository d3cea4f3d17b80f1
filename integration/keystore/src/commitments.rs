//! BEEFY commitments this node may be about to sign, found by their keccak hash.
//!
//! BEEFY hands the keystore 32 bytes: the hash of a commitment (payload, block number, validator set id). The payloads
//! are known from [`RemotePayloadProvider`](crate::RemotePayloadProvider), but the set id is not given. It is near the
//! one found last, so those ids are tried first; the first time, and after a miss, all ids that a chain can have
//! reached are tried. Memory and the hashes for each question are bounded.

use codec::Encode;
use signonce_substrate::keccak_256;
use sp_consensus_beefy::{Commitment, Payload};
use std::{
    collections::VecDeque,
    fmt,
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Payloads kept at most. BEEFY votes on the newest finalised block or an older mandatory one.
const MAX_ENTRIES: usize = 64;
/// A payload is an MMR root of 32 bytes; anything near this limit is not one.
const MAX_COMMITMENT_BYTES: usize = 4096;
/// How far around the last set id found are tried for every payload.
const NEAR: u64 = 2;
/// Set ids tried when none is near: one per session since the chain began.
const ALL: RangeInclusive<u64> = 0..=20_000;
/// How many of the newest payloads are tried with all of them: 8 × 20 000 hashes take some 100 ms, once.
const ENTRIES_FOR_ALL: usize = 8;
/// Set ids tried with the newest payload only, the one BEEFY asked for a moment ago: 20 years of hourly sessions.
const MORE: RangeInclusive<u64> = 20_001..=200_000;

/// The newest payloads, and what earlier questions showed.
#[derive(Default)]
pub(crate) struct Commitments(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Newest first; each ends in a set id of zero.
    entries: VecDeque<Template>,
    last_set: Option<u64>,
    /// A hash that fits no entry, so that asking again, as BEEFY does at every event, costs nothing.
    missed: Option<[u8; 32]>,
}

/// A SCALE commitment, to be completed with a set id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<u8>);

impl Template {
    fn new(number: u32, payload: &Payload) -> Self {
        let commitment = Commitment { payload: payload.clone(), block_number: number, validator_set_id: 0 };
        Self(commitment.encode())
    }

    /// The set id, among those given, with which the commitment has this hash.
    fn find(&self, keccak: &[u8; 32], sets: impl IntoIterator<Item = u64>) -> Option<(u64, Vec<u8>)> {
        let mut bytes = self.0.clone();
        // The set id is the last field, 8 bytes.
        let at = bytes.len() - 8;
        let set = sets.into_iter().find(|set| {
            bytes[at..].copy_from_slice(&set.to_le_bytes());
            keccak_256(&bytes) == *keccak
        })?;
        Some((set, bytes))
    }
}

impl Commitments {
    /// Keeps the payload of a block.
    pub(crate) fn remember(&self, number: u32, payload: &Payload) {
        let template = Template::new(number, payload);
        if template.0.len() > MAX_COMMITMENT_BYTES {
            log::debug!(target: crate::LOG, "the BEEFY payload of block {number} is too long to be one");
            return;
        }
        let mut known = self.lock();
        let Known { entries, last_set: _, missed } = &mut *known;
        match entries.iter().position(|entry| *entry == template) {
            Some(at) => drop(entries.remove(at)),
            None => *missed = None,
        }
        entries.push_front(template);
        entries.truncate(MAX_ENTRIES);
    }

    /// The SCALE commitment with this hash.
    pub(crate) fn find(&self, keccak: &[u8; 32]) -> Option<Vec<u8>> {
        let (entries, last_set) = {
            let known = self.lock();
            if known.missed == Some(*keccak) {
                return None;
            }
            (known.entries.clone(), known.last_set)
        };
        let found = search(&entries, last_set, keccak);
        let mut known = self.lock();
        match found {
            Some((set, commitment)) => {
                known.last_set = Some(set);
                Some(commitment)
            }
            None => {
                // A payload may have arrived in the meantime; then the question is open again.
                if known.entries == entries {
                    known.missed = Some(*keccak);
                }
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Commitments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.lock();
        f.debug_struct("Commitments")
            .field("kept", &known.entries.len())
            .field("last_set", &known.last_set)
            .finish()
    }
}

fn search(entries: &VecDeque<Template>, last_set: Option<u64>, keccak: &[u8; 32]) -> Option<(u64, Vec<u8>)> {
    let near = last_set.map(|last| last.saturating_sub(NEAR)..=last.saturating_add(NEAR));
    let near = entries.iter().find_map(|entry| entry.find(keccak, near.clone()?));
    near.or_else(|| entries.iter().take(ENTRIES_FOR_ALL).find_map(|entry| entry.find(keccak, ALL)))
        .or_else(|| entries.front()?.find(keccak, MORE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(n: u8) -> Payload {
        Payload::from_single_entry(*b"mh", vec![n; 32])
    }

    fn commitment(n: u8, number: u32, set: u64) -> (Vec<u8>, [u8; 32]) {
        let encoded =
            Commitment { payload: payload(n), block_number: number, validator_set_id: set }.encode();
        let keccak = keccak_256(&encoded);
        (encoded, keccak)
    }

    #[test]
    fn a_commitment_is_found_whatever_set_id_the_chain_has_come_to() {
        for set in [0, 1, 19_999, 20_000, 20_001, 150_000] {
            let commitments = Commitments::default();
            commitments.remember(9, &payload(9));
            let (encoded, keccak) = commitment(9, 9, set);
            assert_eq!(commitments.find(&keccak), Some(encoded), "set {set}");
        }
    }

    #[test]
    fn older_payloads_are_found_near_the_set_found_last() {
        let commitments = Commitments::default();
        for n in 0..60 {
            commitments.remember(n.into(), &payload(n));
        }
        assert_eq!(commitments.find(&commitment(3, 3, 300).1), None, "too old to try every set with it");
        let (newest, keccak) = commitment(59, 59, 300);
        assert_eq!(commitments.find(&keccak), Some(newest));
        commitments.remember(60, &payload(60));
        for set in 298..=302 {
            let (encoded, keccak) = commitment(3, 3, set);
            commitments.lock().last_set = Some(300);
            assert_eq!(commitments.find(&keccak), Some(encoded), "set {set}");
        }
    }

    #[test]
    fn a_hash_of_something_else_is_not_found_and_is_tried_again_only_with_a_new_payload() {
        let commitments = Commitments::default();
        commitments.remember(1, &payload(1));
        let (encoded, keccak) = commitment(2, 2, 5);
        assert_eq!(commitments.find(&keccak), None);
        assert_eq!(commitments.lock().missed, Some(keccak));
        commitments.remember(1, &payload(1));
        assert_eq!(commitments.lock().missed, Some(keccak), "nothing new came");
        commitments.remember(2, &payload(2));
        assert_eq!(commitments.find(&keccak), Some(encoded));
    }

    #[test]
    fn the_newest_payloads_are_kept_and_absurd_ones_are_not() {
        let commitments = Commitments::default();
        for n in 0..200 {
            commitments.remember(n, &payload(1));
        }
        assert_eq!(commitments.lock().entries.len(), MAX_ENTRIES);
        assert_eq!(commitments.lock().entries[0], Template::new(199, &payload(1)));
        commitments.remember(200, &Payload::from_single_entry(*b"mh", vec![0; MAX_COMMITMENT_BYTES]));
        assert_eq!(commitments.lock().entries[0], Template::new(199, &payload(1)));
    }
}
