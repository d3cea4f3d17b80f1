//! The judge: sees everything that happens anywhere and forgets nothing. A broken rule is a panic, which ends the run;
//! `run.rs` catches it.
//!
//! Beside the rules on logs and leaders it keeps a naive ledger of its own (every digest ever granted, no window that
//! forgets) and holds each verdict of the real one against it.

use signonce_core::replica::Decided;
use signonce_core::{
    Change, Claim, Floors, KeyState, Outcome, Refusal, RequestId, State, StateHash, Verdict,
};
use signonce_protocol::{Carry, Digest, Duty as AnyDuty, DutyClass, KeyId, MAX_PARTS, NodeId, Rule};
use signonce_substrate::{CandidateHash, Duty, OwnRefusal, PARA_SIDE, Side, StatementKind};
use std::collections::{BTreeMap, BTreeSet};

/// The position that floors count in: slot, (set, round), (set, block) or session.
type Step = [u64; MAX_PARTS];
/// A step, and what tells duties within it apart.
type Coordinate = (Step, Vec<u8>);
/// What was signed for a duty.
type Value = [u8; 32];

/// A request to the log.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A claim, with its true duty.
    Claim(Claim),
    /// A change.
    Change(Change),
}

/// The judge of a run.
#[derive(Default)]
pub struct Judge {
    /// The chain hash at each index that was ever applied anywhere.
    chains: BTreeMap<u64, [u8; 32]>,
    hashes: BTreeMap<u64, StateHash>,
    /// The machine that led in each term.
    leaders: BTreeMap<u64, usize>,
    asked: BTreeMap<RequestId, Asked>,
    decided: BTreeMap<u64, Vec<Decided>>,
    marks: BTreeMap<KeyId, Mark>,
    released: BTreeMap<(KeyId, Coordinate), Value>,
    /// The carry of each statement the first time.
    carries: BTreeMap<(KeyId, Digest), Carry>,
    bytes: BTreeMap<(KeyId, Digest), Vec<u8>>,
    removed: BTreeSet<NodeId>,
    /// One claim for each released duty, about which the states are asked at the end.
    claims: Vec<Claim>,
}

/// The naive ledger of one key.
#[derive(Default)]
struct Mark {
    armed: bool,
    floor: Step,
    entries: BTreeMap<Coordinate, Value>,
    steps: BTreeSet<Step>,
}

impl Judge {
    /// Whether the log says that the node was removed.
    pub fn was_removed(&self, node: NodeId) -> bool {
        self.removed.contains(&node)
    }

    /// Records that a node leads. There may be only one in each term, ever.
    pub fn leads(&mut self, term: u64, machine: usize) {
        let first = *self.leaders.entry(term).or_insert(machine);
        assert!(first == machine, "two leaders: machines {first} and {machine} both lead in term {term}");
    }

    /// Checks a node that has applied up to `to`, with this chain hash of its log there and this state.
    pub fn applied(&mut self, from: u64, to: u64, chains: &BTreeMap<u64, [u8; 32]>, hash: StateHash) {
        for index in from + 1..=to {
            // After a snapshot the entries below it are missing.
            let Some(chain) = chains.get(&index) else { continue };
            let known = self.chains.entry(index).or_insert(*chain);
            assert!(known == chain, "another log: committed entry {index} differs between nodes or was lost");
        }
        let known = *self.hashes.entry(to).or_insert(hash);
        assert!(known == hash, "another state: after entry {to}, {known} and {hash}");
    }

    /// The highest index applied anywhere.
    pub fn highest(&self) -> u64 {
        let seen = self.hashes.last_key_value().map_or(0, |(index, _)| *index);
        let decided = self.decided.last_key_value().map_or(0, |(index, _)| *index);
        seen.max(decided)
    }

    /// Records a request that is sent to the log.
    pub fn asks(&mut self, request: RequestId, asked: Asked) {
        self.asked.insert(request, asked);
    }

    /// Checks requests that a leader with this clock has put into its log.
    pub fn proposed(&self, requests: &[RequestId], unix_ms: u64, tolerance: u64) {
        for request in requests {
            let Some(Asked::Claim(claim)) = self.asked.get(request) else { continue };
            let Some(slot) = claim.duty.slot() else { continue };
            let now = crate::work::slot_at(unix_ms);
            assert!(
                slot.0.abs_diff(now) <= tolerance,
                "proposed, but by the leader's clock slot {now} is now: {claim:?}"
            );
        }
    }

    /// Checks the outcomes of entries that a node has applied.
    pub fn decided(&mut self, decided: &[Decided]) {
        for entry in decided.chunk_by(|a, b| a.at == b.at) {
            let at = entry[0].at.0;
            if let Some(known) = self.decided.get(&at) {
                assert!(known == entry, "another outcome: entry {at} gave {known:?}, now {entry:?}");
                continue;
            }
            entry.iter().for_each(|one| self.judge(one));
            self.decided.insert(at, entry.to_vec());
        }
    }

    fn judge(&mut self, decided: &Decided) {
        match (self.asked.get(&decided.request).cloned(), &decided.outcome) {
            (Some(Asked::Claim(claim)), Outcome::Verdict(verdict)) => self.judge_claim(&claim, verdict),
            (Some(Asked::Change(change)), Outcome::Change(Ok(_))) => self.changed(&change),
            (Some(Asked::Change(_)), Outcome::Change(Err(_))) => {}
            (asked, outcome) => panic!("an answer to no question: {asked:?} got {outcome:?}"),
        }
    }

    fn judge_claim(&mut self, claim: &Claim, verdict: &Verdict) {
        if claim.time_ms == signonce_core::mutation::UNBURN {
            return;
        }
        match verdict {
            Verdict::Granted => self.grant(claim),
            Verdict::Repeated { at: _, carry } => {
                let mark = self.marks.entry(claim.key).or_default();
                let known = said(claim).iter().all(|(at, value)| mark.entries.get(at) == Some(value));
                assert!(known, "repeated without a first time: {claim:?}");
                let first = self.carries.get(&(claim.key, claim.digest));
                assert!(first == Some(carry), "repeated with {carry:?} instead of {first:?}: {claim:?}");
            }
            Verdict::Refused(refusal) => self.refused(claim, refusal),
        }
    }

    fn grant(&mut self, claim: &Claim) {
        let mark = self.marks.entry(claim.key).or_default();
        assert!(mark.armed, "granted to a key that is not armed: {claim:?}");
        for (at, value) in said(claim) {
            assert!(at.0 >= mark.floor, "granted below the floor {:?}: {claim:?}", mark.floor);
            match mark.entries.get(&at) {
                Some(known) => {
                    assert!(takes_side(claim) && *known == value, "two payloads granted: {claim:?}")
                }
                None => {
                    mark.steps.insert(at.0);
                    mark.entries.insert(at, value);
                }
            }
        }
        let first = self.carries.entry((claim.key, claim.digest)).or_insert_with(|| claim.carry.clone());
        assert!(*first == claim.carry, "granted again with something else beside it: {claim:?}");
        // The window keeps a fixed number of steps; when it is full, its lowest is the floor.
        let full = mark.steps.len().checked_sub(keep(claim.duty.class()));
        if let Some(lowest) = full.and_then(|n| mark.steps.iter().nth(n).copied()) {
            mark.raise(lowest);
        }
    }

    /// Checks that a refusal, from the log or from a node's own state, has its reason.
    pub fn refused(&mut self, claim: &Claim, refusal: &Refusal) {
        let step = claim.duty.position().order();
        let mark = self.marks.entry(claim.key).or_default();
        let contradicts =
            || said(claim).iter().any(|(at, value)| mark.entries.get(at).is_some_and(|known| known != value));
        let justified = match refusal {
            Refusal::Equivocation { .. } => contradicts(),
            Refusal::Rule(_) => match OwnRefusal::of(refusal) {
                Some(OwnRefusal::OtherSide { .. } | OwnRefusal::OtherStatement { .. }) => contradicts(),
                Some(OwnRefusal::AheadOfGrandpa { asked, precommitted, slack, .. }) => {
                    asked.0 > precommitted.0 + slack
                }
                None => false,
            },
            Refusal::BelowWatermark { .. } => step < mark.floor,
            // Only a node's own state may give it late: the log's refusals were checked at once.
            Refusal::KeyNotArmed { state, .. } => *state != KeyState::Armed && !mark.armed,
            Refusal::JumpTooFar { .. } => step[0] > 1_000_000,
            Refusal::Crowded { limit, .. } => mark.entries.len() >= *limit as usize,
            Refusal::UnknownKey { .. }
            | Refusal::KeyRemoved { .. }
            | Refusal::KeyHalted { .. }
            | Refusal::Barred { .. }
            | Refusal::PastCounting { .. }
            | Refusal::WrongDuty { .. } => false,
        };
        assert!(justified, "refused without reason: {claim:?}: {refusal}");
    }

    fn changed(&mut self, change: &Change) {
        match change {
            Change::ArmKey { id, floors } => self.raise(*id, floors, true),
            Change::RaiseWatermark { key, floors } => self.raise(*key, floors, false),
            Change::DisableKey { id } => self.marks.entry(*id).or_default().armed = false,
            Change::RemoveMember { node } => {
                self.removed.insert(*node);
            }
            _ => {}
        }
    }

    fn raise(&mut self, key: KeyId, floors: &Floors, arm: bool) {
        let mark = self.marks.entry(key).or_default();
        let floor = floors.positions().next().map(|floor| floor.order()).unwrap_or_default();
        assert!(floor >= mark.floor, "the floor of {key} fell from {:?} to {floor:?}", mark.floor);
        mark.raise(floor);
        mark.armed |= arm;
    }

    /// Checks a signature that leaves. The log must hold its claim, and there must be no other claim or signature.
    pub fn released(&mut self, claim: &Claim, signature: Vec<u8>) {
        let mark = self.marks.entry(claim.key).or_default();
        for (at, value) in said(claim) {
            assert!(mark.entries.get(&at) == Some(&value), "released, but not in the log: {claim:?}");
            if let Some(known) = self.released.insert((claim.key, at), value) {
                assert!(known == value, "two payloads released: {claim:?}");
            } else {
                self.claims.push(claim.clone());
            }
        }
        let known = self.bytes.entry((claim.key, claim.digest)).or_insert_with(|| signature.clone());
        assert!(*known == signature, "two signatures of the same bytes: {claim:?}");
    }

    /// Signatures released for different duties.
    pub fn released_count(&self) -> usize {
        self.released.len()
    }

    /// Checks at the end that a state still knows what was released: the same again is a repeat, all else is refused.
    pub fn remembers(&self, state: &State, machine: usize) {
        for claim in &self.claims {
            let again = state.check(claim);
            // The bytes of sides may be forgotten and are then granted again; the side is not forgotten.
            let gone = match &again {
                Verdict::Granted => takes_side(claim),
                Verdict::Repeated { at: _, carry } => *carry == claim.carry,
                Verdict::Refused(refusal) => {
                    matches!(refusal, Refusal::BelowWatermark { .. } | Refusal::KeyNotArmed { .. })
                }
            };
            assert!(gone, "machine {machine} forgot what was released: {claim:?} would be {again:?}");
            for other in contraries(claim) {
                assert!(
                    !state.check(&other).may_sign(),
                    "machine {machine} would sign the contrary of what was released: {claim:?}"
                );
            }
        }
        for (key, mark) in &self.marks {
            let floor = state.watermarks(key).first().map(|view| view.floor.order());
            assert!(
                floor.unwrap_or_default() == mark.floor,
                "machine {machine}: the floor of {key} is {floor:?}"
            );
        }
    }
}

impl Mark {
    fn raise(&mut self, floor: Step) {
        self.floor = self.floor.max(floor);
        self.steps = self.steps.split_off(&self.floor);
    }
}

/// Claims of the same duty that say something else.
fn contraries(claim: &Claim) -> Vec<Claim> {
    let other = |duty: AnyDuty| Claim { digest: Digest([0xee; 32]), duty, ..claim.clone() };
    let Some(Duty::ParaSide { session, candidates, side, statement }) = Duty::of(&claim.duty) else {
        return vec![other(claim.duty.clone())];
    };
    let saying = |side, statement| {
        other(Duty::ParaSide { session, candidates: candidates.clone(), side, statement }.to_any())
    };
    let statement = statement.map(|statement| match statement {
        StatementKind::Seconded => saying(side, Some(StatementKind::Valid)),
        StatementKind::Valid => saying(side, Some(StatementKind::Seconded)),
    });
    let side = match side {
        Side::Valid => Side::Invalid,
        Side::Invalid => Side::Valid,
    };
    statement.into_iter().chain([saying(side, None)]).collect()
}

/// Steps that the windows of a key's class keep.
fn keep(class: DutyClass) -> usize {
    match class.claim().map(|claim| &claim.rule) {
        Some(Rule::Window(window)) => window.keep,
        Some(Rule::Own(_)) => SESSIONS,
        None => usize::MAX,
    }
}

/// The number of sessions for which sides are kept.
const SESSIONS: usize = 9;

/// The duties of a claim, and what may be signed only once for each: its digest, or its side and its statement.
fn said(claim: &Claim) -> Vec<(Coordinate, Value)> {
    let step = claim.duty.position().order();
    let Some(Duty::ParaSide { candidates, side, statement, .. }) = Duty::of(&claim.duty) else {
        return vec![((step, claim.duty.within().to_vec()), claim.digest.0)];
    };
    let one = |what: &str, candidate: &CandidateHash, value: u8| {
        ((step, [what.as_bytes(), &candidate.0].concat()), [value; 32])
    };
    let sides = candidates.iter().map(|candidate| one("side", candidate, side as u8));
    let statements = candidates.iter().zip(statement);
    let statements = statements.map(|(candidate, statement)| one("statement", candidate, statement as u8));
    sides.chain(statements).collect()
}

/// Whether the claim is about sides: many payloads on one side are honest.
fn takes_side(claim: &Claim) -> bool {
    claim.duty.class() == PARA_SIDE
}
