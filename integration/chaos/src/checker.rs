//! The judge. It learns of every question before it is sent and of every answer any client ever gets, keeps what was
//! said of each duty, and finds what must never happen. It shares nothing with the signer: bytes, duties and the
//! verification of signatures are this program's own.
//!
//! 1. Every signature verifies; a duty has one statement and a payload one signature, whoever received them.
//! 2. A refusal for equivocation names a payload that somebody had asked for before, that contends with the refused
//!    one, and that turns out to be the signed one; of a parachain candidate's sides, one that anybody took on the
//!    other. A refusal below the watermark is right only where the key may
//!    have forgotten: as many newer steps were asked for as it keeps. A refusal for the slot is right only from the
//!    fence on, by a clock that is near the true one (save where clocks are made to lie). No other refusal is ever
//!    right: every question asked here is one that an honest validator may ask.
//! 3. After healing, whatever was signed or named in a refusal is asked for again on every node: the same bytes come
//!    back, or the key may have forgotten.
//! 4. Where every node's disk was put back, [`set_back`] says what holds until an operator has looked after it.

mod set_back;

use crate::{payload::DutyId, verify::verify};
use serde::Serialize;
use set_back::SetBack;
use signonce_protocol::{
    Position, Scheme,
    rpc::{ErrorCode, SignVerdict},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

/// How many slots a slot may be from a signer's clock, by its default settings.
const SLOT_TOLERANCE: u64 = 3;
/// Twice the steps that any key keeps.
const TWICE: usize = 512;
/// How many violations are reported in full; more are counted.
const TOLD: usize = 20;

/// A key as the judge knows it.
#[derive(Clone, Debug)]
pub struct KeyFacts {
    /// The name in messages.
    pub name: String,
    /// Its scheme.
    pub scheme: Scheme,
    /// The public key.
    pub public: Vec<u8>,
}

/// The time of an event.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For durations.
    pub at: Instant,
    /// The slot by this machine's clock.
    pub slot: u64,
}

/// A question that was asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The number of the key.
    pub key: usize,
    /// The duty.
    pub place: DutyId,
    /// Which payload of the duty.
    pub side: u8,
    /// Who asks.
    pub client: String,
    /// Its index in the order of all questions and answers.
    begun: u64,
    /// Its index among the key's questions.
    nth: u64,
    asked: Moment,
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A signature.
    Signed {
        /// Its bytes.
        signature: Vec<u8>,
        /// What the signer said of it.
        verdict: SignVerdict,
    },
    /// A refusal.
    Refused {
        /// Why.
        code: ErrorCode,
        /// The digest that was signed.
        signed: Option<[u8; 32]>,
        /// The bound that was broken.
        bound: Option<Position>,
        /// The text of the refusal.
        message: String,
    },
    /// No signer could serve; nothing was signed.
    NotReady(String),
    /// The duty may be taken.
    Unknown(String),
    /// An answer that the client library does not understand.
    Broken(String),
}

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}, {place}: {fault} (asked by {client})")]
pub struct Violation {
    /// The key.
    pub key: String,
    /// The duty.
    pub place: DutyId,
    /// The client that got the answer.
    pub client: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a signature that does not verify")]
    BadSignature,
    #[error("payload {second} was signed after payload {first}: an equivocation")]
    TwoPayloads { first: u8, second: u8 },
    #[error("two different signatures of payload {side}")]
    TwoSignatures { side: u8 },
    #[error("payload {side} was granted as new twice")]
    GrantedTwice { side: u8 },
    #[error("signed as work that uses nothing up")]
    SignedFree,
    #[error("payload {side} was granted as new by a node that must not serve")]
    GrantedByStranger { side: u8 },
    #[error("granted after the place had been refused as below the watermark")]
    GrantedBelowTheFloor,
    #[error("signed by a key that had been refused as halted")]
    SignedThoughHalted,
    #[error("payload {side} was refused for a digest that is no contending payload anybody had asked for")]
    RefusedForNothing { side: u8 },
    #[error("a refusal names payload {named}, but payload {signed} was signed")]
    RefusedForAnother { named: u8, signed: u8 },
    #[error(
        "refused as below the watermark ({bound}), with {newer} newer steps asked for and {kept} kept at least"
    )]
    ForgottenTooEarly { bound: String, newer: usize, kept: usize },
    #[error("refused as out of range with the signer at slot {now:?}, the true slot being {true_slot}")]
    SlotInRange { now: Option<u64>, true_slot: u64 },
    #[error("refused without a reason that could be right: {code} {message}")]
    Unjustified { code: &'static str, message: String },
    #[error("no answer that a client understands: {0}")]
    Broken(String),
    #[error("what was acknowledged is not known afterwards: {0}")]
    Lost(String),
}

/// The counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Questions of the storm that were answered in any way. What is asked afterwards is counted below.
    pub requests: u64,
    /// Signatures for new duties.
    pub granted: u64,
    /// The same signatures again.
    pub repeated: u64,
    /// Refusals.
    pub refused: u64,
    /// Refusals by their codes.
    pub refused_by_code: BTreeMap<&'static str, u64>,
    /// Answers after which the duty may or may not be taken.
    pub unknown: u64,
    /// Questions that no signer could serve in time.
    pub not_ready: u64,
    /// Different duties.
    pub duties: u64,
    /// Acknowledged duties that were asked for again after healing, each on every node.
    pub asked_again: u64,
    /// Of those answers, the very same bytes.
    pub known_again: u64,
    /// Of those answers, refusals because the key keeps no more than its newest steps.
    pub forgotten: u64,
    /// The longest time without any new duty granted, in milliseconds.
    pub longest_outage_ms: u64,
}

#[derive(Debug, Default)]
struct Duty {
    asked: BTreeSet<u8>,
    /// By payload: the index of the latest question that was granted, among the key's.
    granted: BTreeMap<u8, u64>,
    signed: BTreeMap<u8, Vec<u8>>,
    /// The payload that refusals name as the signed one.
    named: Option<u8>,
    /// When it was first refused as below the watermark.
    below: Option<u64>,
}

/// Takes questions and answers one by one.
#[derive(Debug)]
pub struct Checker {
    keys: Vec<KeyFacts>,
    duties: HashMap<(usize, DutyId), Duty>,
    steps: HashMap<usize, BTreeSet<(u64, u64)>>,
    /// Questions of each key.
    asked: HashMap<usize, u64>,
    /// Orders questions and answers.
    clock: u64,
    clocks_lie: bool,
    strangers: HashSet<String>,
    set_back: SetBack,
    figures: Figures,
    /// Counts of what is asked after the storm; most of it matters only if it is wrong.
    after: Option<Figures>,
    violations: Vec<Violation>,
    violations_more: u64,
    last_grant: Option<Instant>,
    /// When the newest question was asked that a grant answered.
    newest_served: Option<Instant>,
    longest_outage: Duration,
}

impl Checker {
    /// A judge of these keys, numbered in this order. `clocks_lie` if signers' clocks are tampered with.
    pub fn new(keys: Vec<KeyFacts>, clocks_lie: bool) -> Self {
        Self {
            keys,
            duties: HashMap::new(),
            steps: HashMap::new(),
            asked: HashMap::new(),
            clock: 0,
            clocks_lie,
            strangers: HashSet::new(),
            set_back: SetBack::default(),
            figures: Figures::default(),
            after: None,
            violations: Vec::new(),
            violations_more: 0,
            last_grant: None,
            newest_served: None,
            longest_outage: Duration::ZERO,
        }
    }

    /// This client asks a node that must grant nothing: a copy of another one, or one that has forgotten.
    pub fn asks_a_stranger(&mut self, client: &str) {
        self.strangers.insert(client.to_owned());
    }

    /// A client is about to ask.
    pub fn ask(&mut self, client: &str, key: usize, place: DutyId, side: u8, now: Moment) -> Ask {
        self.clock += 1;
        self.duties.entry((key, place)).or_default().asked.insert(side);
        self.steps.entry(key).or_default().insert(place.step());
        let nth = self.asked.entry(key).or_default();
        *nth += 1;
        Ask { key, place, side, client: client.to_owned(), begun: self.clock, nth: *nth, asked: now }
    }

    /// Takes an answer.
    pub fn hear(&mut self, ask: &Ask, answer: &Answer, now: Moment) {
        self.clock += 1;
        self.count().requests += 1;
        match answer {
            Answer::Signed { signature, verdict } => self.signed(ask, signature, *verdict, now),
            Answer::Refused { code, signed, bound, message } => {
                self.count().refused += 1;
                *self.count().refused_by_code.entry(code.name()).or_default() += 1;
                let fault = match code {
                    ErrorCode::Equivocation => self.equivocation(ask, *signed),
                    ErrorCode::BelowWatermark => self.below(ask, *bound),
                    ErrorCode::SlotOutOfRange => self.out_of_range(ask, *bound, now),
                    ErrorCode::KeyHalted
                        if self.set_back.refused_as_halted(ask.key, ask.begun, self.clock) =>
                    {
                        None
                    }
                    _ => Some(Fault::Unjustified { code: code.name(), message: message.clone() }),
                };
                fault.into_iter().for_each(|fault| self.found(ask, fault));
            }
            Answer::NotReady(_) => self.count().not_ready += 1,
            Answer::Unknown(_) => self.count().unknown += 1,
            Answer::Broken(why) => self.found(ask, Fault::Broken(why.clone())),
        }
    }

    /// Takes the answer to a duty of [`Self::acknowledged`] that was asked for again on one node.
    pub fn hear_again(&mut self, ask: &Ask, answer: &Answer, now: Moment) {
        self.figures.asked_again += 1;
        let found = self.violations.len();
        self.hear(ask, answer, now);
        if self.violations.len() > found {
            return;
        }
        match answer {
            Answer::Signed { .. } => self.figures.known_again += 1,
            Answer::Refused { code: ErrorCode::BelowWatermark, .. } => self.figures.forgotten += 1,
            Answer::NotReady(why) | Answer::Unknown(why) | Answer::Broken(why) => {
                self.found(ask, Fault::Lost(why.clone()));
            }
            Answer::Refused { code, message, .. } => {
                self.found(ask, Fault::Lost(format!("{code}: {message}")));
            }
        }
    }

    /// Whatever was signed, or named as signed: key, duty and payload, in order. Leaves out those that are so old that
    /// the key may have forgotten them twice over.
    pub fn acknowledged(&self) -> Vec<(usize, DutyId, u8)> {
        let mut all = Vec::new();
        let recent = |key: &usize, place: &DutyId| {
            let newer =
                self.steps.get(key).map_or(0, |steps| steps.range(place.step()..).take(TWICE).count());
            newer < 2 * place.kept_steps()
        };
        for ((key, place), duty) in self.duties.iter().filter(|((key, place), _)| recent(key, place)) {
            let named = duty.named.filter(|side| !duty.signed.contains_key(side));
            all.extend(duty.signed.keys().copied().chain(named).map(|side| (*key, *place, side)));
        }
        all.sort_unstable();
        all
    }

    /// A duty's payload that contends with one that was signed.
    pub fn contender(&self, key: usize, place: DutyId, signed: u8) -> Option<u8> {
        self.duties.get(&(key, place))?;
        (0..DutyId::SIDES).find(|side| !place.agree(*side, signed))
    }

    /// Every node got the disk of an earlier time.
    pub fn all_were_set_back(&mut self) {
        self.clock += 1;
        self.set_back.begin(self.clock);
    }

    /// The keys that have signed and were not refused as halted since.
    pub fn not_halted(&self) -> Vec<usize> {
        let signed = self.duties.iter().filter(|(_, duty)| !duty.signed.is_empty());
        let keys: BTreeSet<usize> = signed.map(|((key, _), _)| *key).collect();
        keys.into_iter().filter(|key| !self.set_back.was_halted(*key)).collect()
    }

    /// The keys that were refused as halted, each with its highest place that was signed.
    pub fn halted(&self) -> Vec<(usize, DutyId)> {
        let mut highest: BTreeMap<usize, DutyId> = BTreeMap::new();
        for (key, place) in self.duties.iter().filter(|(_, duty)| !duty.signed.is_empty()).map(|(of, _)| *of)
        {
            let known = highest.entry(key).or_insert(place);
            if place.step() > known.step() {
                *known = place;
            }
        }
        highest.into_iter().filter(|(key, _)| self.set_back.was_halted(*key)).collect()
    }

    /// An operator begins to raise the watermark of a key: what is below is never signed again.
    pub fn raising(&mut self, key: usize, to: (u64, u64)) {
        self.set_back.raising(key, to);
    }

    /// The watermark is raised.
    pub fn raised(&mut self, key: usize) {
        self.clock += 1;
        self.set_back.raised(key, self.clock);
    }

    /// What was said of forgotten duties before a client told the cluster.
    pub fn said_before_the_halt(&self) -> &[Violation] {
        self.set_back.noted()
    }

    /// Whether a new duty was granted that was asked for after this moment. A grant that was already under way says
    /// nothing about the cluster now.
    pub fn served_after(&self, moment: Instant) -> bool {
        self.newest_served.is_some_and(|asked| asked > moment)
    }

    /// The storm is over: outages end here, and what is asked from now on is counted apart.
    pub fn storm_is_over(&mut self) {
        self.last_grant = None;
        self.after = Some(Figures::default());
    }

    fn count(&mut self) -> &mut Figures {
        self.after.as_mut().unwrap_or(&mut self.figures)
    }

    /// What was counted so far.
    pub fn figures(&self) -> Figures {
        let longest_outage_ms = u64::try_from(self.longest_outage.as_millis()).unwrap_or(u64::MAX);
        Figures { duties: self.duties.len() as u64, longest_outage_ms, ..self.figures.clone() }
    }

    /// The violations so far, and how many more there are than are kept.
    pub fn violations(&self) -> (&[Violation], u64) {
        (&self.violations, self.violations_more)
    }

    fn signed(&mut self, ask: &Ask, signature: &[u8], verdict: SignVerdict, now: Moment) {
        let Ask { key, place, side, .. } = *ask;
        match verdict {
            SignVerdict::Granted => {
                self.count().granted += 1;
                self.newest_served = self.newest_served.max(Some(ask.asked.at));
                if let Some(last) = self.last_grant.replace(now.at) {
                    self.longest_outage = self.longest_outage.max(now.at.saturating_duration_since(last));
                }
            }
            SignVerdict::Repeated => self.count().repeated += 1,
            SignVerdict::Free => self.found(ask, Fault::SignedFree),
        }
        let halted = self.set_back.is_halted(key, ask.begun);
        let facts = &self.keys[key];
        let duty = self.duties.entry((key, place)).or_default();
        let mut faults = Vec::new();
        faults.extend(halted.then_some(Fault::SignedThoughHalted));
        match duty.signed.get(&side) {
            Some(known) if known != signature => faults.push(Fault::TwoSignatures { side }),
            Some(_) => {}
            None if !verify(facts.scheme, &facts.public, &place.signed_bytes(side), signature) => {
                faults.push(Fault::BadSignature);
            }
            None => {
                let first = duty.signed.keys().copied().find(|first| !place.agree(*first, side));
                faults.extend(first.map(|first| Fault::TwoPayloads { first, second: side }));
                duty.signed.insert(side, signature.to_vec());
            }
        }
        if let Some(named) = duty.named.filter(|named| !place.agree(*named, side)) {
            faults.push(Fault::RefusedForAnother { named, signed: side });
        }
        if verdict == SignVerdict::Granted {
            if self.strangers.contains(&ask.client) {
                faults.push(Fault::GrantedByStranger { side });
            }
            // What it has forgotten by now, at the latest, when nobody asked for the same meanwhile.
            let asked = self.asked.get(&key).copied().unwrap_or_default();
            let forgotten = |first| place.bytes_kept().is_some_and(|kept| asked - first >= kept);
            if duty.granted.insert(side, ask.nth).is_some_and(|first| !forgotten(first)) {
                faults.push(Fault::GrantedTwice { side });
            }
            if duty.below.is_some_and(|below| below < ask.begun) {
                faults.push(Fault::GrantedBelowTheFloor);
            }
        }
        faults.into_iter().for_each(|fault| self.found(ask, fault));
    }

    fn equivocation(&mut self, ask: &Ask, digest: Option<[u8; 32]>) -> Option<Fault> {
        let Ask { key, place, side, .. } = *ask;
        let duty = self.duties.entry((key, place)).or_default();
        let contend: Vec<u8> =
            duty.asked.iter().copied().filter(|asked| !place.agree(*asked, side)).collect();
        // Of a side that was taken, nobody knows any more by which payload.
        let may_be = |asked: &u8| match digest {
            Some(digest) => place.digest(*asked) == digest,
            None => matches!(place, DutyId::Candidate { .. }),
        };
        let named: Vec<u8> = contend.into_iter().filter(may_be).collect();
        let Some(&one) = named.first() else { return Some(Fault::RefusedForNothing { side }) };
        let said = duty.signed.keys().copied().chain(duty.named);
        if let Some(signed) = said.into_iter().find(|said| !place.agree(*said, one)) {
            return Some(Fault::RefusedForAnother { named: one, signed });
        }
        if named.len() == 1 {
            duty.named.get_or_insert(one);
        }
        None
    }

    fn below(&mut self, ask: &Ask, bound: Option<Position>) -> Option<Fault> {
        let Ask { key, place, .. } = *ask;
        let clock = self.clock;
        self.duties.entry((key, place)).or_default().below.get_or_insert(clock);
        if self.set_back.is_below(key, place.step()) {
            return None;
        }
        let kept = place.kept_steps();
        let steps = self.steps.entry(key).or_default();
        let newer = steps.range(place.step()..).filter(|step| **step != place.step()).take(kept).count();
        (newer < kept).then(|| Fault::ForgottenTooEarly { bound: format!("{bound:?}"), newer, kept })
    }

    fn out_of_range(&self, ask: &Ask, bound: Option<Position>, now: Moment) -> Option<Fault> {
        let signers = bound.and_then(|bound| bound.slot()).map(|slot| slot.0);
        let far = |clock: u64| ask.place.step().1.abs_diff(clock) > SLOT_TOLERANCE;
        let near_truth = |clock: u64| (ask.asked.slot.saturating_sub(1)..=now.slot + 1).contains(&clock);
        let right = signers.is_some_and(|clock| far(clock) && (self.clocks_lie || near_truth(clock)));
        (!right).then_some(Fault::SlotInRange { now: signers, true_slot: now.slot })
    }

    fn found(&mut self, ask: &Ask, fault: Fault) {
        let (key, place, client) = (self.keys[ask.key].name.clone(), ask.place, ask.client.clone());
        let violation = Violation { key, place, client, fault };
        if self.set_back.may_have_forgotten(ask.key, ask.begun) {
            self.set_back.note(violation);
        } else if self.violations.len() < TOLD {
            self.violations.push(violation);
        } else {
            self.violations_more += 1;
        }
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
