//! What this client was given last, by key and class: shown with the next request, so that a cluster that was rolled
//! back to an older state is found out. In memory alone: a client that starts anew has nothing to show.
//!
//! Duty and digest are shown each time. The bytes and the signature, which prove them, are kept and shown only to a
//! signer that asks for them because it does not know of the duty: headers can have 70 kB.

use crate::{
    DutyClass, PublicKey, RawPayload,
    rpc::{ChainRef, LastSigned, SignParams, SignReply, SignVerdict, Signed},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Keys and classes remembered at most. A client has a handful of keys; a runaway one must not fill the memory.
const KEPT: usize = 16 * 1024;
/// The longest payload that is kept as a proof: beside another one as long it still fits into a request.
const LONGEST_PROOF: usize = 128 * 1024;
/// Bytes of payloads kept in all. What does not fit is remembered without its proof.
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
    /// Bytes of the payloads in `last`.
    bytes: usize,
}

impl Echoes {
    /// What to show with a request: the proof is with it, and is left out until a signer asks for it.
    pub fn of(&self, params: &SignParams) -> Option<LastSigned> {
        self.lock().last.get(&place(params)).cloned()
    }

    /// Takes note of an answer to a request with which `shown` was shown.
    ///
    /// The place in the log says which of two answers is the later one. After the log was cut off (and the cluster was
    /// told what it forgot), places are lower than they were: a fresh grant then takes the place of what was shown with
    /// its request.
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
            let fits = len <= LONGEST_PROOF && known.bytes + len <= ROOM_FOR_PROOFS;
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
