//! The ledger against a map that forgets nothing: the bytes decide what is asked, in what order.

use crate::world::{BEGIN, CHAINS, KEYS, World, claim, duty, floors, key};
use arbitrary::{Arbitrary, Unstructured};
use signonce_core::{Change, Claim, ClaimRequest, Command, Outcome, Refusal, RequestId, State, Verdict};
use signonce_protocol::{Carry, Digest, KeyType, NodeId, Position};
use signonce_substrate::{AURA, BABE, BEEFY, Duty, GRANDPA, OwnRefusal, PARA, Side, StatementKind};
use std::collections::{BTreeMap, VecDeque};

/// The position that floors count in: slot, (set, round), (set, block), session.
type Step = (u64, u64);
/// A step, and what tells duties within it apart.
type Place = (Step, Vec<u8>);

/// The most operations executed.
const OPS: usize = 200;

/// Signatures of a para key whose bytes the ledger remembers (`ledger/sides.rs`).
const RECENT_KEPT: usize = 512;

#[derive(Arbitrary, Debug)]
enum Op {
    Claims(u8, [Ask; 2]),
    /// Claims that fill a window.
    Run(u8, u8),
    /// The chain goes on.
    Advance(u8, u8),
    NextSet(u8),
    /// Another floor, ahead or behind.
    Raise(u8, i8),
    /// Off, and on again.
    Rearm(u8, i8),
    /// All of it from a snapshot.
    Reload,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Ask {
    back: u8,
    far: u8,
    within: u8,
    digest: u8,
}

/// One key as the map knows it.
struct Known {
    now: Step,
    floor: Step,
    /// What was ever granted, for every duty.
    granted: BTreeMap<Place, u8>,
    claims: Vec<Claim>,
    /// The digests of the claims granted last.
    latest: VecDeque<Digest>,
}

struct Test {
    world: World,
    keys: Vec<Known>,
}

/// Never two payloads of a duty; a refusal only for another payload, below the floor or beyond the limits.
pub fn ledger(data: &[u8]) -> bool {
    let mut bytes = Unstructured::new(data);
    let mut test = Test { world: World::new(), keys: KEYS.iter().map(|(key, _)| Known::new(*key)).collect() };
    for _ in 0..OPS {
        if bytes.is_empty() {
            break;
        }
        let Ok(op) = Op::arbitrary(&mut bytes) else { break };
        test.run(&op);
        test.follow_floors();
    }
    test.remembers();
    test.keys.iter().any(|key| !key.granted.is_empty())
}

impl Test {
    fn run(&mut self, op: &Op) {
        let index = |n: u8| usize::from(n) % KEYS.len();
        match *op {
            Op::Claims(n, asks) => {
                let claims = asks.iter().map(|ask| self.claim(index(n), *ask)).collect();
                self.ask(index(n), claims);
            }
            Op::Run(n, digest) => {
                for _ in 0..70 {
                    self.keys[index(n)].advance(index(n), 1);
                    let ask = Ask { back: 0, far: 0, within: 0, digest };
                    self.ask(index(n), vec![self.claim(index(n), ask)]);
                }
            }
            Op::Advance(n, steps) => self.keys[index(n)].advance(index(n), u64::from(steps)),
            Op::NextSet(n) => {
                let now = &mut self.keys[index(n)].now;
                *now = (now.0 + 1, 1);
            }
            Op::Raise(n, by) => self.raise(index(n), by, false),
            Op::Rearm(n, by) => self.raise(index(n), by, true),
            Op::Reload => {
                let state = State::from_snapshot(&self.world.state.snapshot());
                self.world.state = state.expect("a state's snapshot is its own");
            }
        }
    }

    fn claim(&self, n: usize, Ask { back, far, within, digest }: Ask) -> Claim {
        let (major, minor) = self.keys[n].now;
        let ahead = if far > 250 { 3_000_000 } else { 0 };
        let back = u64::from(back) / if back > 200 { 1 } else { 50 };
        let (key_type, chain) = KEYS[n];
        let step = match key_type {
            GRANDPA | BEEFY => (major, (minor + ahead).saturating_sub(back)),
            // The payload's content follows the digest, so that equal bytes say the same.
            PARA => ((major + ahead).saturating_sub(back), u64::from(digest % 4)),
            _ => ((major + ahead).saturating_sub(back), 0),
        };
        let duty = duty(key_type, step, within, CHAINS[chain].1).expect("a claimed class");
        if key_type == PARA {
            return claim(key(n), duty, digest % 8);
        }
        // The carry may differ each time, except for sides.
        Claim { carry: Carry::new(vec![far % 3]), ..claim(key(n), duty, digest % 4) }
    }

    fn ask(&mut self, n: usize, claims: Vec<Claim>) {
        let id = |seq| RequestId { node: NodeId(1), boot: 1, seq };
        let requests = claims
            .iter()
            .zip(0..)
            .map(|(claim, seq)| ClaimRequest { request: id(seq), claim: claim.clone() });
        let outcomes = self.world.log(Command::Claims(requests.collect()));
        for (claim, outcome) in claims.iter().zip(outcomes) {
            let Outcome::Verdict(verdict) = outcome else { panic!("a claim got {outcome:?}") };
            self.keys[n].judge(claim, &verdict);
        }
    }

    fn raise(&mut self, n: usize, by: i8, rearm: bool) {
        let (id, key_type) = (key(n), KEYS[n].0);
        let (major, minor) = self.keys[n].now;
        let by = i64::from(by);
        let to = match key_type {
            GRANDPA | BEEFY => (major, minor.saturating_add_signed(by)),
            _ => (major.saturating_add_signed(by), 0),
        };
        let floors = floors(key_type, to);
        let mut change = |change| self.world.log(World::command(change));
        let outcome = if rearm {
            change(Change::DisableKey { id });
            change(Change::ArmKey { id, floors })
        } else {
            change(Change::RaiseWatermark { key: id, floors })
        };
        let risen = to >= self.keys[n].floor;
        let done = matches!(outcome[..], [Outcome::Change(Ok(_))]);
        assert_eq!(
            done, risen,
            "a floor never falls, and may rise: {:?} to {to:?}: {outcome:?}",
            self.keys[n].floor
        );
        if rearm && !done {
            // It is off now; on again where it was.
            let floors = crate::world::floors(key_type, self.keys[n].floor);
            let armed = self.world.log(World::command(Change::ArmKey { id, floors }));
            assert!(matches!(armed[..], [Outcome::Change(Ok(_))]), "{armed:?}");
        }
    }

    /// The ledger's own floors: they only rise.
    fn follow_floors(&mut self) {
        for (n, known) in self.keys.iter_mut().enumerate() {
            let view = self.world.state.watermarks(&key(n));
            let floor = step_of(view.first().expect("an armed key has a watermark").floor);
            assert!(floor >= known.floor, "the floor of {:?} fell to {floor:?}", KEYS[n].0);
            known.floor = floor;
        }
    }

    /// What was granted is a repeat for as long as it is above the floor, and the contrary is refused. A para key
    /// remembers the bytes it signed last; older ones are granted once more.
    fn remembers(&self) {
        for known in &self.keys {
            for claim in &known.claims {
                let again = self.world.state.check(claim);
                let below = places(claim).iter().any(|((step, _), _)| *step < known.floor);
                let forgotten = known.forgot(claim);
                let expected = match again {
                    Verdict::Repeated { at: _, ref carry } => !below && !forgotten && *carry == claim.carry,
                    Verdict::Granted => !below && forgotten,
                    Verdict::Refused(Refusal::BelowWatermark { .. }) => below,
                    Verdict::Refused(_) => false,
                };
                assert!(expected, "{claim:?} was granted and is now {again:?}");
                let other = contrary(claim);
                assert!(!self.world.state.check(&other).may_sign(), "the contrary of {claim:?}");
            }
        }
    }
}

/// Whether two claims have the same statement for the same duty.
fn is_same(one: &Claim, other: &Claim) -> bool {
    one.digest == other.digest && one.duty.coordinate() == other.duty.coordinate()
}

/// Another payload for the same duty; for a candidate, the contrary.
fn contrary(claim: &Claim) -> Claim {
    let mut other = Claim { digest: Digest([9; 32]), ..claim.clone() };
    let Some(Duty::ParaSide { session, candidates, mut side, mut statement }) = Duty::of(&claim.duty) else {
        return other;
    };
    match &mut statement {
        Some(said) => {
            *said = match said {
                StatementKind::Seconded => StatementKind::Valid,
                StatementKind::Valid => StatementKind::Seconded,
            }
        }
        None => {
            side = match side {
                Side::Valid => Side::Invalid,
                Side::Invalid => Side::Valid,
            }
        }
    }
    other.duty = Duty::ParaSide { session, candidates, side, statement }.to_any();
    other
}

impl Known {
    fn new(key_type: KeyType) -> Self {
        let floor = match key_type {
            GRANDPA | BEEFY => BEGIN,
            _ => (BEGIN.0, 0),
        };
        Self { now: BEGIN, floor, granted: BTreeMap::new(), claims: Vec::new(), latest: VecDeque::new() }
    }

    fn advance(&mut self, n: usize, steps: u64) {
        match KEYS[n].0 {
            GRANDPA | BEEFY => self.now.1 += steps,
            PARA => self.now.0 += steps % 3,
            _ => self.now.0 += steps,
        }
    }

    fn judge(&mut self, claim: &Claim, verdict: &Verdict) {
        let places = places(claim);
        let differs = places.iter().any(|(at, said)| self.granted.get(at).is_some_and(|known| known != said));
        let known = places.iter().all(|(at, said)| self.granted.get(at) == Some(said));
        let below = places.iter().any(|((step, _), _)| *step < self.floor);
        let justified = match verdict {
            Verdict::Granted => {
                assert!(!differs && !below, "granted: {claim:?}");
                let forgotten = self.forgot(claim);
                self.claims.push(claim.clone());
                self.granted.extend(places);
                self.remember(claim.digest);
                self.slide(claim.key.key_type);
                !known || forgotten
            }
            Verdict::Repeated { at: _, carry } => {
                // The bytes of a repeated side may have been about more candidates; sides have no carry.
                let sides = claim.key.key_type == PARA && carry.is_empty();
                let first = self.claims.iter().find(|first| is_same(first, claim));
                let as_first = sides || first.is_some_and(|first| first.carry == *carry);
                known && !below && !self.forgot(claim) && as_first
            }
            Verdict::Refused(Refusal::Equivocation { .. }) => differs && !below,
            Verdict::Refused(Refusal::BelowWatermark { .. }) => below,
            Verdict::Refused(Refusal::JumpTooFar { .. }) => {
                !known && self.is_far(claim.key.key_type, &places)
            }
            Verdict::Refused(other) => match OwnRefusal::of(other) {
                Some(OwnRefusal::OtherSide { .. } | OwnRefusal::OtherStatement { .. }) => differs && !below,
                Some(OwnRefusal::AheadOfGrandpa { .. }) | None => false,
            },
        };
        assert!(justified, "{claim:?}: {verdict:?}, floor {:?}", self.floor);
    }

    /// Whether the ledger has forgotten these bytes. Only a para key forgets: the others hold one payload for each
    /// duty.
    fn forgot(&self, claim: &Claim) -> bool {
        claim.key.key_type == PARA && !self.latest.contains(&claim.digest)
    }

    fn remember(&mut self, digest: Digest) {
        if self.latest.len() == RECENT_KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(digest);
    }

    /// Whether a claim is beyond the default limits of a chain.
    fn is_far(&self, key_type: KeyType, places: &[(Place, u8)]) -> bool {
        let steps = || self.granted.keys().map(|(step, _)| *step).chain([self.floor]);
        let highest = steps().max().unwrap_or_default();
        places.iter().any(|((step, _), _)| match key_type {
            GRANDPA => {
                let in_set = steps().filter(|at| at.0 == step.0).map(|at| at.1).max().unwrap_or_default();
                step.0 > highest.0 + 1_000 || step.1 > in_set + 100_000
            }
            BEEFY => step.0 > highest.0 + 1_000 || step.1 > highest.1 + 1_000_000,
            PARA => step.0 > highest.0 + 1_000,
            _ => false,
        })
    }

    /// Slides the window: a key keeps a fixed number of steps; the lowest of a full window is its floor.
    fn slide(&mut self, key_type: KeyType) {
        let keep = match key_type {
            PARA => 9,
            BABE | AURA => 64,
            _ => 256,
        };
        let mut steps: Vec<Step> =
            self.granted.keys().map(|(step, _)| *step).filter(|step| *step >= self.floor).collect();
        steps.dedup();
        if let Some(lowest) = steps.len().checked_sub(keep).map(|n| steps[n]) {
            self.floor = lowest;
        }
    }
}

fn step_of(position: Position) -> Step {
    let [major, minor, _] = position.order();
    (major, minor)
}

/// The duties of a claim and what it says for each: its digest, or its side and its statement.
fn places(claim: &Claim) -> Vec<(Place, u8)> {
    let step = step_of(claim.duty.position());
    let Some(Duty::ParaSide { candidates, side, statement, .. }) = Duty::of(&claim.duty) else {
        return vec![((step, claim.duty.within().to_vec()), claim.digest.0[0])];
    };
    let sides = candidates.iter().map(|candidate| ((step, vec![candidate.0[0]]), side as u8));
    let backed = candidates.iter().zip(statement);
    let backed = backed.map(|(candidate, statement)| ((step, vec![candidate.0[0], 1]), statement as u8));
    sides.chain(backed).collect()
}
