//! A validator of the demo: asks the signers as node software would, and records every answer.

use super::{chain, checker::Receipt};
use hdrhistogram::Histogram;
use signonce_protocol::{
    ChainId, PublicKey, RawPayload, Scheme, Slot,
    client::{ClientError, SignerClient},
    rpc::{ChainRef, SignParams, SignReply, SignVerdict},
};
use signonce_substrate::{Kind, VrfParams, VrfReply};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

/// The longest latency that is recorded exactly, in microseconds.
const LONGEST_US: u64 = 120_000_000;

/// A key as validators refer to it.
#[derive(Clone, Copy, Debug)]
pub struct DemoKey {
    /// Its scheme.
    pub scheme: Scheme,
    /// The public key.
    pub public: PublicKey,
}

/// Counts and latencies, of a second or of the whole run.
#[derive(Clone, Debug)]
pub struct Tally {
    /// New payloads signed: one for each duty, but several for a side on a candidate.
    pub signed: u64,
    /// Repeats of a payload, which got the same signature.
    pub repeated: u64,
    /// Refusals by the name of their code.
    pub refused: BTreeMap<String, u64>,
    /// Requests without an answer, or a final one, before the deadline.
    pub unanswered: BTreeMap<&'static str, u64>,
    /// VRF outputs.
    pub vrfs: u64,
    /// Latencies of new duties in microseconds, from the request to the signature.
    pub latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency = Histogram::new_with_max(LONGEST_US, 3).expect("the bounds are sound");
        Self {
            signed: 0,
            repeated: 0,
            refused: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            vrfs: 0,
            latency,
        }
    }
}

impl Tally {
    /// Adds another tally to this one.
    pub fn merge(&mut self, other: &Self) {
        self.signed += other.signed;
        self.repeated += other.repeated;
        self.vrfs += other.vrfs;
        other.refused.iter().for_each(|(code, n)| *self.refused.entry(code.clone()).or_default() += n);
        other.unanswered.iter().for_each(|(why, n)| *self.unanswered.entry(why).or_default() += n);
        self.latency.add(&other.latency).expect("both have the same bounds");
    }

    /// All refusals.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The latency at a quantile of the new signatures, in milliseconds.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// Records everything that validators receive: in the tally of this second, and for the checker.
pub struct Notes {
    second: Mutex<Tally>,
    receipts: mpsc::Sender<Receipt>,
    outage: Mutex<Outage>,
}

/// The longest time between two new signatures.
struct Outage {
    last: Instant,
    longest: Duration,
}

impl Notes {
    /// Notes that pass receipts on to `receipts`.
    pub fn new(receipts: mpsc::Sender<Receipt>) -> Self {
        let outage = Outage { last: Instant::now(), longest: Duration::ZERO };
        Self { second: Mutex::default(), receipts, outage: Mutex::new(outage) }
    }

    /// The longest time without a new signature so far, including the present one.
    pub fn longest_gap(&self) -> Duration {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.longest.max(outage.last.elapsed())
    }

    fn signed_now(&self) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        outage.longest = outage.longest.max(now - outage.last);
        outage.last = now;
    }

    /// The tally since the last call.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.tally())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.second.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One validator: its own certificate, its own view of the chain, and the keys that both share.
#[derive(Clone)]
pub struct Validator {
    /// Its client name.
    pub name: String,
    /// Its view of the chain.
    pub view: chain::Flavour,
    /// Its connection to the signers.
    pub client: SignerClient,
    /// The chain.
    pub genesis: ChainId,
    /// The record of all it receives.
    pub notes: Arc<Notes>,
}

impl Validator {
    /// Asks for one signature.
    pub async fn ask(&self, key: &DemoKey, payload: &RawPayload) -> Option<SignReply> {
        let params =
            SignParams { chain: ChainRef::Id(self.genesis), key: key.public, payload: payload.clone() };
        let asked = Instant::now();
        let answer = self.client.sign(&params).await;
        self.note(key, payload, answer, asked.elapsed())
    }

    /// Asks for the VRF of a slot.
    pub async fn vrf(&self, key: &DemoKey, slot: Slot) -> Option<VrfReply> {
        let epoch_index = chain::epoch_of(slot);
        let randomness = chain::randomness(epoch_index);
        let params =
            VrfParams { chain: ChainRef::Id(self.genesis), key: key.public, slot, epoch_index, randomness };
        match self.client.ask(&params).await {
            Ok(reply) => {
                self.notes.tally().vrfs += 1;
                Some(reply)
            }
            Err(error) => {
                self.failed(error);
                None
            }
        }
    }

    fn note(
        &self,
        key: &DemoKey,
        payload: &RawPayload,
        answer: Result<SignReply, ClientError>,
        took: Duration,
    ) -> Option<SignReply> {
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) => {
                self.failed(error);
                return None;
            }
        };
        let kind = Kind::try_from(payload.kind()).expect("the demo asks for Substrate's payloads");
        let receipt = Receipt {
            client: self.name.clone(),
            scheme: key.scheme,
            public: key.public,
            kind,
            payload: payload.bytes().to_vec(),
            signature: reply.signature.0.clone(),
        };
        if reply.verdict == SignVerdict::Granted {
            self.notes.signed_now();
        }
        // The checker outlives every validator.
        let _ = self.notes.receipts.send(receipt);
        let mut tally = self.notes.tally();
        match reply.verdict {
            SignVerdict::Granted | SignVerdict::Free => {
                tally.signed += 1;
                let took = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US).min(LONGEST_US);
                tally.latency.saturating_record(took);
            }
            SignVerdict::Repeated => tally.repeated += 1,
        }
        drop(tally);
        Some(reply)
    }

    fn failed(&self, error: ClientError) {
        let mut tally = self.notes.tally();
        match error {
            ClientError::Refused(refusal) => {
                *tally.refused.entry(refusal.code.name().into()).or_default() += 1;
            }
            ClientError::UnknownOutcome { .. } => *tally.unanswered.entry("unknownOutcome").or_default() += 1,
            ClientError::NotReady { .. } => *tally.unanswered.entry("notReady").or_default() += 1,
            ClientError::NoUrls
            | ClientError::Url { .. }
            | ClientError::Tls(_)
            | ClientError::Protocol { .. } => *tally.unanswered.entry("clientError").or_default() += 1,
        }
    }
}
