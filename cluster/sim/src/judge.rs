//! The judge: sees everything that happens anywhere and forgets nothing. A broken rule is a panic, which ends the
//! run; `run.rs` catches it.
//!
//! Beside the rules on logs and leaders it keeps a naive ledger of its own (every digest ever granted, no window that
//! forgets) and holds each verdict of the real one against it.

use signonce_substrate::{AURA, AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, IM_ONLINE, PARA};
use signonce_core::replica::Decided;
use signonce_core::{
    Change, Claim, Floors, KeyState, Outcome, Refusal, RequestId, State, StateHash, Verdict,
};
use signonce_protocol::{Digest, KeyId, KeyType, NodeId};
use signonce_substrate::{Duty};
use std::collections::{BTreeMap, BTreeSet};

/// What a floor counts in: slot, (set, round), (set, block) or session.
type Step = (u64, u64);
/// A step and what tells duties within it apart.
type Coordinate = (Step, Vec<u8>);

/// What was asked of the log.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A claim, with the duty it truly is about.
    Claim(Claim),
    /// A change.
    Change(Change),
}

/// See the module's text.
#[derive(Default)]
pub struct Judge {
    /// Chain hash at each index that was ever applied anywhere.
    chains: BTreeMap<u64, [u8; 32]>,
    hashes: BTreeMap<u64, StateHash>,
    /// The machine that led in each term.
    leaders: BTreeMap<u64, usize>,
    asked: BTreeMap<RequestId, Asked>,
    decided: BTreeMap<u64, Vec<Decided>>,
    marks: BTreeMap<KeyId, Mark>,
    released: BTreeMap<(KeyId, Coordinate), [u8; 32]>,
    bytes: BTreeMap<(KeyId, Digest), Vec<u8>>,
    removed: BTreeSet<NodeId>,
    /// One claim for each released coordinate: what the states are asked at the end.
    claims: Vec<Claim>,
}

/// The naive ledger of one key.
#[derive(Default)]
struct Mark {
    armed: bool,
    floor: Step,
    entries: BTreeMap<Coordinate, [u8; 32]>,
    steps: BTreeSet<Step>,
}

impl Judge {
    /// Whether the log says that the node was removed.
    pub fn was_removed(&self, node: NodeId) -> bool {
        self.removed.contains(&node)
    }

    /// A node leads. One per term, for ever.
    pub fn leads(&mut self, term: u64, machine: usize) {
        let first = *self.leaders.entry(term).or_insert(machine);
        assert!(first == machine, "two leaders: machines {first} and {machine} both lead in term {term}");
    }

    /// A node has applied up to `to`, with this chain hash of its log there and this state.
    pub fn applied(&mut self, from: u64, to: u64, chains: &BTreeMap<u64, [u8; 32]>, hash: StateHash) {
        for index in from + 1..=to {
            // After a snapshot the entries below it are not there.
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

    /// A request is on its way to the log.
    pub fn asks(&mut self, request: RequestId, asked: Asked) {
        self.asked.insert(request, asked);
    }

    /// A leader whose clock says this has put requests into its log.
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

    /// A node has applied entries with these outcomes.
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
        let (coordinates, value) = coordinates(claim);
        match verdict {
            Verdict::Granted => self.grant(claim, coordinates, value),
            Verdict::Repeated { .. } => {
                let mark = self.marks.entry(claim.key).or_default();
                let known = coordinates.iter().all(|at| mark.entries.get(at) == Some(&value));
                assert!(known, "repeated without a first time: {claim:?}");
            }
            Verdict::Refused(refusal) => self.refused(claim, refusal),
        }
    }

    fn grant(&mut self, claim: &Claim, coordinates: Vec<Coordinate>, value: [u8; 32]) {
        let mark = self.marks.entry(claim.key).or_default();
        assert!(mark.armed, "granted to a key that is not armed: {claim:?}");
        let sides = matches!(claim.duty, Duty::ParaSide { .. });
        for at in coordinates {
            assert!(at.0 >= mark.floor, "granted below the floor {:?}: {claim:?}", mark.floor);
            match mark.entries.get(&at) {
                Some(known) => assert!(sides && *known == value, "two payloads granted: {claim:?}"),
                None => {
                    mark.steps.insert(at.0);
                    mark.entries.insert(at, value);
                }
            }
        }
        // The window keeps so many steps; when it is full, its lowest is the floor.
        let full = mark.steps.len().checked_sub(keep(claim.key.key_type));
        if let Some(lowest) = full.and_then(|n| mark.steps.iter().nth(n).copied()) {
            mark.raise(lowest);
        }
    }

    /// A refusal, from the log or from a node's own state, must have its reason.
    pub fn refused(&mut self, claim: &Claim, refusal: &Refusal) {
        let (coordinates, value) = coordinates(claim);
        let mark = self.marks.entry(claim.key).or_default();
        let justified = match refusal {
            Refusal::Equivocation { .. } | Refusal::CrossedSides { .. } | Refusal::OtherSide { .. } => {
                coordinates.iter().any(|at| mark.entries.get(at).is_some_and(|known| *known != value))
            }
            Refusal::BelowWatermark { .. } => coordinates.iter().any(|at| at.0 < mark.floor),
            // Only a node's own state may say it late: what the log said was held against the log.
            Refusal::KeyNotArmed { state, .. } => *state != KeyState::Armed && !mark.armed,
            Refusal::JumpTooFar { .. } => coordinates.iter().any(|at| at.0.0 > 1_000_000),
            Refusal::BeefyAheadOfGrandpa { asked, precommitted, slack } => asked.0 > precommitted.0 + slack,
            Refusal::Crowded { limit, .. } => mark.entries.len() >= *limit as usize,
            Refusal::UnknownKey { .. }
            | Refusal::KeyRemoved { .. }
            | Refusal::KeyHalted { .. }
            | Refusal::Barred { .. }
            | Refusal::PastCounting { .. }
            | Refusal::OtherStatement { .. }
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
        let floor = step_of(floors);
        assert!(floor >= mark.floor, "the floor of {key} fell from {:?} to {floor:?}", mark.floor);
        mark.raise(floor);
        mark.armed |= arm;
    }

    /// A signature leaves. The log must hold its claim, and there must be no other, in claim or in bytes.
    pub fn released(&mut self, claim: &Claim, signature: Vec<u8>) {
        let (coordinates, value) = coordinates(claim);
        let mark = self.marks.entry(claim.key).or_default();
        for at in coordinates {
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

    /// At the end every state must still know what was released: the same again is a repeat, all else refused.
    pub fn remembers(&self, state: &State, machine: usize) {
        for claim in &self.claims {
            let again = state.check(claim);
            // Of sides the bytes may be forgotten, and then are granted anew; the side is not.
            let sides = matches!(claim.duty, Duty::ParaSide { .. }) && again == Verdict::Granted;
            let gone = sides
                || matches!(
                    again,
                    Verdict::Repeated { .. }
                        | Verdict::Refused(Refusal::BelowWatermark { .. } | Refusal::KeyNotArmed { .. })
                );
            assert!(gone, "machine {machine} forgot what was released: {claim:?} would be {again:?}");
            let other = state.check(&contrary(claim));
            assert!(
                !other.may_sign(),
                "machine {machine} would sign the contrary of what was released: {claim:?}"
            );
        }
        for (key, mark) in &self.marks {
            let floor = state.watermarks(key).first().map(|view| view.floor);
            let floor = floor.map(|floor| match floor {
                signonce_core::Position::Slot { slot } => (slot.0, 0),
                signonce_core::Position::Grandpa { set_id, round } => (set_id.0, round.0),
                signonce_core::Position::Beefy { set_id, block } => (set_id.0, block.0),
                signonce_core::Position::Para { session } => (session.0.into(), 0),
            });
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

/// The same duty, with something else to say.
fn contrary(claim: &Claim) -> Claim {
    let mut other = Claim { digest: Digest([0xee; 32]), ..claim.clone() };
    if let Duty::ParaSide { side, .. } = &mut other.duty {
        use signonce_substrate::{Side};
        *side = if *side == Side::Valid { Side::Invalid } else { Side::Valid };
    }
    other
}

/// Steps that the window of a key type keeps.
fn keep(key_type: KeyType) -> usize {
    match key_type {
        BABE | AURA => 64,
        GRANDPA | BEEFY => 256,
        PARA => 9,
        AUTHORITY_DISCOVERY | IM_ONLINE => usize::MAX,
    }
}

fn step_of(floors: &Floors) -> Step {
    let Floors { slot, grandpa, beefy, para } = floors;
    slot.map(|slot| (slot.0, 0))
        .or(grandpa.map(|(set, round)| (set.0, round.0)))
        .or(beefy.map(|(set, block)| (set.0, block.0)))
        .or(para.map(|session| (session.0.into(), 0)))
        .unwrap_or_default()
}

/// Where a claim stands, and what may stand there only once: its digest, or its side.
fn coordinates(claim: &Claim) -> (Vec<Coordinate>, [u8; 32]) {
    let one = |step, within| (vec![(step, within)], claim.digest.0);
    match &claim.duty {
        Duty::BabeBlock { slot } => one((slot.0, 0), Vec::new()),
        Duty::AuraBlock { slot, collation } => {
            one((slot.0, 0), parity_scale_codec::Encode::encode(collation))
        }
        Duty::GrandpaVote { set_id, round, stage, .. } => one((set_id.0, round.0), vec![*stage as u8]),
        Duty::BeefyVote { set_id, block } => one((set_id.0, block.0), Vec::new()),
        Duty::ParaSide { session, candidates, side } => {
            let at = |c: &signonce_protocol::CandidateHash| ((session.0.into(), 0), c.0.to_vec());
            (candidates.iter().map(at).collect(), [*side as u8; 32])
        }
        Duty::ParaStatement { session, candidate, statement: _ } => {
            let side = signonce_protocol::Side::Valid as u8;
            (vec![((session.0.into(), 0), candidate.0.to_vec())], [side; 32])
        }
    }
}
