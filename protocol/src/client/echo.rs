//! The latest signature this client was given for each key and class. It is shown with the next request, so that a
//! cluster that was rolled back to an older state is found out. Kept in memory only: a restarted client shows nothing.
//!
//! Duty and digest are shown each time. The payload and the signature, which prove them, are kept here and shown only
//! to a signer that asks for them because it does not know of the duty: headers can have 70 kB.

use crate::{
    DutyClass, PublicKey, RawPayload,
    rpc::{ChainRef, LastSigned, SignParams, SignReply, SignVerdict, Signed},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most keys and classes remembered. A client has a handful of keys; a runaway one must not fill the memory.
const KEPT: usize = 16 * 1024;
/// The longest payload that is kept as a proof: beside another one as long it still fits into a request.
const LONGEST_PROOF: usize = 128 * 1024;
/// The most bytes of payloads kept in all. What does not fit is remembered without its proof.
const ROOM_FOR_PROOFS: usize = 16 * 1024 * 1024;

/// [`SignCall`](crate::rpc::SignCall) without a copy of the payload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireCall<'a> {
    pub chain: &'a ChainRef,
    pub key: &'a PublicKey,
    pub payload: &'a RawPayload,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_signed: Option<&'a LastSigned>,
}

type Place = (PublicKey, DutyClass);

/// The latest signature of each key and class.
#[derive(Default)]
pub(super) struct Echoes(Mutex<Known>);

#[derive(Default)]
struct Known {
    last: HashMap<Place, LastSigned>,
    /// The total size of the payloads in `last`.
    bytes: usize,
}

impl Echoes {
    /// What to show with a request: the proof is with it, and is left out until a signer asks for it.
    pub fn of(&self, params: &SignParams) -> Option<LastSigned> {
        self.lock().last.get(&place(params)).cloned()
    }

    /// Records an answer to a request that showed `shown`.
    ///
    /// The index in the log says which of two answers is the later one. After the log was cut off (and the cluster was
    /// told what it forgot), indexes are lower than before: a fresh grant then replaces what was shown with its
    /// request.
    pub fn remember(&self, params: &SignParams, shown: Option<&LastSigned>, reply: &SignReply) {
        let (Some(duty), Some(log_index)) = (&reply.duty, reply.log_index) else { return };
        let place = place(params);
        let mut known = self.lock();
        let later = match known.last.get(&place) {
            None => known.last.len() < KEPT,
            Some(last) => {
                let follows = reply.verdict == SignVerdict::Granted && shown == Some(last);
                log_index > last.log_index || follows
            }
        };
        if later {
            known.bytes -= known.last.get(&place).map_or(0, proof_len);
            let len = params.payload.bytes().len();
            // Where something else was signed beside the statement, these bytes prove nothing.
            let fits = reply.carry.is_none() && len <= LONGEST_PROOF && known.bytes + len <= ROOM_FOR_PROOFS;
            let proof = || Signed { payload: params.payload.clone(), signature: reply.signature.clone() };
            let (duty, digest, signed) = (duty.short(), params.payload.digest(), fits.then(proof));
            let last = LastSigned { log_index, duty, digest, signed };
            known.bytes += proof_len(&last);
            known.last.insert(place, last);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every step leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is shown each time: without the proof.
pub(super) fn claimed(last: &LastSigned) -> LastSigned {
    let LastSigned { log_index, duty, digest, signed: _ } = last;
    LastSigned { log_index: *log_index, duty: duty.clone(), digest: *digest, signed: None }
}

fn proof_len(last: &LastSigned) -> usize {
    last.signed.as_ref().map_or(0, |signed| signed.payload.bytes().len())
}

fn place(params: &SignParams) -> Place {
    (params.key, params.payload.kind().class())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ChainId, Duty, LogIndex,
        made_up::{self, HEADER, TICK},
    };

    fn params(byte: u8) -> SignParams {
        made_up::install();
        SignParams {
            chain: ChainRef::Id(ChainId([1; 32])),
            key: PublicKey::try_from([7; 32].as_slice()).unwrap(),
            payload: RawPayload::new(HEADER, vec![byte]),
        }
    }

    fn tick(slot: u64) -> Duty {
        tick_within(slot, 0)
    }

    /// A test may begin with this one: the family is installed here too.
    fn tick_within(slot: u64, within: u64) -> Duty {
        made_up::install();
        made_up::duty(TICK, &[slot, within])
    }

    fn reply(at: u64, slot: u64, verdict: SignVerdict) -> SignReply {
        let (signature, duty, log_index) = (vec![].into(), Some(tick(slot)), Some(LogIndex(at)));
        SignReply { signature, beside: None, carry: None, verdict, duty, log_index, leader: None }
    }

    fn last(echoes: &Echoes) -> Option<u64> {
        echoes.of(&params(0)).map(|last| last.log_index.0)
    }

    #[test]
    fn the_latest_grant_is_shown_and_older_answers_are_not() {
        let echoes = Echoes::default();
        assert_eq!(last(&echoes), None);
        echoes.remember(&params(1), None, &reply(5, 1, SignVerdict::Granted));
        echoes.remember(&params(2), None, &reply(4, 2, SignVerdict::Granted));
        echoes.remember(&params(3), echoes.of(&params(0)).as_ref(), &reply(3, 3, SignVerdict::Repeated));
        let known = echoes.of(&params(0)).unwrap();
        assert_eq!(known.duty, tick(1));
        assert_eq!(known.digest, params(1).payload.digest());
        assert_eq!(known.signed.as_ref().unwrap().payload, params(1).payload, "with its proof");
        assert_eq!(claimed(&known), LastSigned { signed: None, ..known });
        echoes.remember(&params(2), None, &reply(6, 2, SignVerdict::Granted));
        assert_eq!(last(&echoes), Some(6));
    }

    #[test]
    fn a_grant_with_which_the_last_one_was_shown_takes_its_place_in_a_shorter_log() {
        let echoes = Echoes::default();
        echoes.remember(&params(1), None, &reply(50, 1, SignVerdict::Granted));
        let shown = echoes.of(&params(0));
        echoes.remember(&params(2), shown.as_ref(), &reply(9, 2, SignVerdict::Granted));
        assert_eq!(last(&echoes), Some(9));
        // Its neighbour, asked for at the same time, came after it.
        echoes.remember(&params(3), shown.as_ref(), &reply(8, 3, SignVerdict::Granted));
        assert_eq!(last(&echoes), Some(9));
    }

    #[test]
    fn free_work_is_not_remembered_and_a_duty_is_shortened() {
        let echoes = Echoes::default();
        let free = SignReply { duty: None, log_index: None, ..reply(1, 1, SignVerdict::Free) };
        echoes.remember(&params(1), None, &free);
        assert_eq!(last(&echoes), None);
        // The family leaves out what is not needed to tell whether it is known.
        let (short, long) = (tick_within(1, 0), tick_within(1, 9));
        echoes.remember(
            &params(1),
            None,
            &SignReply { duty: Some(long), ..reply(1, 1, SignVerdict::Granted) },
        );
        assert_eq!(echoes.of(&params(1)).unwrap().duty, short);
    }

    #[test]
    fn proofs_have_bounded_room_and_what_does_not_fit_is_remembered_without() {
        let echoes = Echoes::default();
        let long = |key: u8, len: usize| SignParams {
            key: PublicKey::try_from([key; 32].as_slice()).unwrap(),
            payload: RawPayload::new(HEADER, vec![key; len]),
            ..params(0)
        };
        let proved = |params: &SignParams| echoes.of(params).unwrap().signed.is_some();
        echoes.remember(&long(1, LONGEST_PROOF + 1), None, &reply(1, 1, SignVerdict::Granted));
        assert!(!proved(&long(1, 0)), "too long");
        let fit = u8::try_from(ROOM_FOR_PROOFS / LONGEST_PROOF).unwrap();
        for key in 1..=fit + 1 {
            echoes.remember(&long(key, LONGEST_PROOF), None, &reply(2, 2, SignVerdict::Granted));
            assert_eq!(proved(&long(key, 0)), key <= fit, "key {key}");
        }
        // Room that is given back is used.
        echoes.remember(&long(1, 1), None, &reply(3, 3, SignVerdict::Granted));
        echoes.remember(&long(fit + 1, LONGEST_PROOF / 2), None, &reply(3, 3, SignVerdict::Granted));
        assert!(proved(&long(fit + 1, 0)));
    }
}
