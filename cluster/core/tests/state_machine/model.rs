//! The state machine against a naive model that remembers every signature ever granted, over random commands.
//!
//! The same log goes to two states: one runs through, the other is reloaded again and again from its snapshot or
//! from the records it had a node write. Both must agree with each other and with the model, always.

use crate::{
    made_up::{self, PROPOSAL, VOTE, VOTER},
    world::*,
};
use parity_scale_codec::Encode as _;
use proptest::prelude::*;
use signonce_core::{
    Change, Claim, ClaimRequest, Command, Floors, Outcome, Position, RecordChange, Refusal, State, Table,
    TableSize, Verdict,
};
use signonce_protocol::{
    Carry, ChainId, Digest, Duty, DutyClass, ErrorCode, KeyId, KeyType, LogIndex, blake2_256,
};
use signonce_substrate::{
    AURA, BABE, BEEFY, BEEFY_VOTE, Duty as Typed, GRANDPA, GRANDPA_VOTE, GrandpaStage, PARA, Side,
    StatementKind,
};
use std::collections::{BTreeMap, BTreeSet};

const KEY_TYPES: [KeyType; 6] = [BABE, AURA, GRANDPA, BEEFY, PARA, VOTER];

/// The chain of the made-up family.
const MADE: ChainId = ChainId([3; 32]);

/// Marks the coordinate of a backing statement beside that of its side.
const STATEMENT: u8 = 0xff;

/// What the floor counts in, for every class: (slot, 0), (set, round), (set, block), (session, 0), and of the made-up key
/// (height, round and step in one).
type Step = (u64, u64);

#[derive(Clone, Debug)]
enum Op {
    /// Claims around the place where the key is now, in one command.
    Claims(Vec<Ask>),
    /// Claims of one key, each a step further, to fill its window.
    Run { key: usize, steps: u64, digest: u8 },
    /// The chain goes on.
    Advance { key: usize, steps: u64 },
    /// The next set or session.
    NextSet { key: usize },
    /// An operator raises the floor to somewhere around the place where the key is.
    Raise { key: usize, back: u64 },
    /// Off and on again, at a floor around the place where the key is.
    Rearm { key: usize, back: u64 },
    /// The second state starts again from a snapshot.
    Snapshot,
    /// The second state starts again from its written records.
    Restart,
}

#[derive(Clone, Debug)]
struct Ask {
    key: usize,
    back: u64,
    far: bool,
    variant: u8,
    digest: u8,
}

fn ask() -> impl Strategy<Value = Ask> {
    let back = prop_oneof![8 => 0..4_u64, 2 => 0..40_u64, 1 => 0..400_u64];
    (0..KEY_TYPES.len(), back, prop::bool::weighted(0.02), any::<u8>(), 1..4_u8)
        .prop_map(|(key, back, far, variant, digest)| Ask { key, back, far, variant, digest })
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEY_TYPES.len();
    prop_oneof![
        20 => prop::collection::vec(ask(), 1..8).prop_map(Op::Claims),
        2 => (key.clone(), 1..150_u64, 1..3_u8).prop_map(|(key, steps, digest)| Op::Run { key, steps, digest }),
        6 => (key.clone(), 1..4_u64).prop_map(|(key, steps)| Op::Advance { key, steps }),
        3 => key.clone().prop_map(|key| Op::NextSet { key }),
        1 => (key.clone(), 0..400_u64).prop_map(|(key, back)| Op::Raise { key, back }),
        1 => (key, 0..400_u64).prop_map(|(key, back)| Op::Rearm { key, back }),
        2 => Just(Op::Snapshot),
        2 => Just(Op::Restart),
    ]
}

/// One key as the model sees it.
struct Modelled {
    id: KeyId,
    /// Where the chain is for this key.
    now: Step,
    floor: Step,
    /// Every coordinate ever granted, with what was said there. Never forgotten.
    signed: BTreeMap<(Step, Vec<u8>), u8>,
    /// What was signed beside the statement there, the first time.
    beside: BTreeMap<(Step, Vec<u8>), Carry>,
    /// Which bytes were granted, the latest last: new bytes of a side are granted anew.
    bytes: Vec<Digest>,
}

impl Modelled {
    /// One that has signed nothing.
    fn new(id: KeyId, now: Step) -> Self {
        let (signed, beside, bytes) = Default::default();
        Self { id, now, floor: now, signed, beside, bytes }
    }

    fn keep(&self) -> usize {
        match self.id.key_type {
            PARA => 9,
            BABE | AURA => 64,
            VOTER => 1,
            _ => 256,
        }
    }

    /// A duty `back` steps behind the present; the variant varies the rest of the coordinate.
    fn duty(&self, Ask { back, far, variant, digest, .. }: &Ask) -> Duty {
        let (major, minor) = self.now;
        // Of what counts sets, the round or block, the set, or both.
        let (sets, in_set) = match (*far, variant % 3) {
            (false, _) => (0, 0),
            (true, 0) => (0, 2_000_000),
            (true, 1) => (2_000, 0),
            (true, 2..) => (2_000, 2_000_000),
        };
        let far = if *far { 2_000_000 } else { 0 };
        match self.id.key_type {
            BABE => babe((major + far).saturating_sub(*back)),
            AURA => collation((major + far).saturating_sub(*back), u64::from(variant % 3), variant % 2),
            GRANDPA => {
                let stages = [GrandpaStage::Prevote, GrandpaStage::Precommit, GrandpaStage::PrimaryPropose];
                let set = major + sets - u64::from(*variant > 200);
                let round = (minor + in_set).saturating_sub(*back);
                vote(set, round, stages[usize::from(variant % 3)])
            }
            BEEFY => beefy(major + sets - u64::from(*variant > 200), (minor + in_set).saturating_sub(*back)),
            VOTER => {
                // Mostly at the present height, whose rounds and steps go on under one watermark.
                let (height, round) = (major + far - back / 8, (minor + u64::from(variant % 4)) % 20);
                let class = if variant % 3 == 0 { PROPOSAL } else { VOTE };
                made_up::duty(class, &[height, round / 2, round % 2])
            }
            PARA if variant % 5 == 0 => {
                let session = u32::try_from((major + far).saturating_sub(*back / 4)).unwrap();
                let kind = if *digest == 1 { StatementKind::Seconded } else { StatementKind::Valid };
                statement(session, variant % 20, kind)
            }
            _ => {
                let candidates: Vec<u8> = (0..=variant % 4).map(|n| variant.wrapping_add(n) % 20).collect();
                let session = u32::try_from((major + far).saturating_sub(*back / 4)).unwrap();
                side(session, &candidates, if *digest == 1 { Side::Invalid } else { Side::Valid })
            }
        }
    }

    /// The coordinates of a duty and what it says at each.
    fn said(claim: &Claim) -> Vec<((Step, Vec<u8>), u8)> {
        let digest = claim.digest.0[0];
        let numbers = claim.duty.position().parts().to_vec();
        if claim.key.key_type == VOTER {
            // A proposal and a vote of one place are two things that were said.
            let said = digest * 2 + u8::from(claim.duty.class() == PROPOSAL);
            return vec![(((numbers[0], numbers[1] * 2 + numbers[2]), vec![]), said)];
        }
        match Typed::of(&claim.duty).expect("a duty that reads") {
            Typed::BabeBlock { slot } => vec![(((slot.0, 0), vec![]), digest)],
            Typed::AuraBlock { slot, collation } => {
                let (number, parent) = collation.unwrap();
                vec![(((slot.0, 0), vec![number.0 as u8, parent.0[0]]), digest)]
            }
            Typed::GrandpaVote { set_id, round, stage, .. } => {
                vec![(((set_id.0, round.0), vec![stage as u8]), digest)]
            }
            Typed::BeefyVote { set_id, block } => vec![(((set_id.0, block.0), vec![]), digest)],
            Typed::ParaSide { session, candidates, side, statement } => {
                let step = (u64::from(session.0), 0);
                let sides = candidates.iter().map(|c| ((step, vec![c.0[0]]), side as u8));
                let statement = statement.map(|it| ((step, vec![candidates[0].0[0], STATEMENT]), it as u8));
                sides.chain(statement).collect()
            }
        }
    }

    /// Whether new bytes of what was said are one more signature on record.
    fn counts_bytes(&self) -> bool {
        self.id.key_type == PARA
    }

    /// Compares a verdict with what is remembered, and remembers.
    fn judge(&mut self, claim: &Claim, verdict: &Verdict) {
        let said = Self::said(claim);
        let below = said.iter().any(|((step, _), _)| *step < self.floor);
        let crossed = said.iter().any(|(at, what)| self.signed.get(at).is_some_and(|known| known != what));
        let said_already = said.iter().all(|(at, what)| self.signed.get(at) == Some(what));
        let remembered = self.bytes.iter().rev().take(512).any(|bytes| *bytes == claim.digest);
        let repeated = said_already && (remembered || !self.counts_bytes());
        let refused = match verdict {
            Verdict::Granted => {
                assert!(!below && !crossed && !repeated, "{claim:?} must not be granted");
                for (at, what) in said {
                    self.beside.entry(at.clone()).or_insert_with(|| claim.carry.clone());
                    assert!(self.signed.insert(at, what).is_none_or(|known| known == what));
                }
                self.bytes.push(claim.digest);
                self.slide();
                return;
            }
            Verdict::Repeated { carry, .. } => {
                assert!(repeated && !below, "{claim:?} is no repeat");
                // Sides are kept without what is beside them; there is nothing.
                let first = if self.counts_bytes() { &Carry::default() } else { &self.beside[&said[0].0] };
                return assert_eq!(carry, first, "{claim:?} is signed as it was the first time");
            }
            Verdict::Refused(refusal) => refusal,
        };
        match refusal_kind(refused) {
            "below" => assert!(below, "{claim:?}: {refused}"),
            "crossed" => assert!(crossed && !below, "{claim:?}: {refused}"),
            // Only what was never said, and only what is far from where the key was.
            "jump" => {
                assert!(!below && !crossed && !repeated && self.is_far(&said), "{claim:?}: {refused}");
                let Refusal::JumpTooFar { bound, .. } = refused else { panic!("{refused}") };
                let bound = step(*bound);
                assert!(
                    !self.is_far(&[((bound, vec![]), 0)]),
                    "what is named as the farthest is taken: {refused}"
                );
                assert!(bound < said[0].0.0, "and less than what was asked: {refused}");
            }
            _ => panic!("{claim:?}: {refused}"),
        }
    }

    /// The farthest step that could be reached from what the key has signed.
    fn is_far(&self, said: &[((Step, Vec<u8>), u8)]) -> bool {
        let steps = || self.signed.keys().map(|(step, _)| *step).chain([self.floor]);
        let highest = steps().max().unwrap();
        said.iter().any(|((step, _), _)| match self.id.key_type {
            GRANDPA => {
                let reached = steps().filter(|s| s.0 == step.0).map(|s| s.1).max().unwrap_or(0);
                step.0 > highest.0 + 1_000 || step.1 > reached + 100_000
            }
            BEEFY => step.0 > highest.0 + 1_000 || step.1 > highest.1 + 1_000_000,
            PARA => step.0 > highest.0 + 1_000,
            _ => false,
        })
    }

    /// A full window's floor is its lowest step.
    fn slide(&mut self) {
        let steps: BTreeSet<_> =
            self.signed.keys().map(|(step, _)| *step).filter(|s| *s >= self.floor).collect();
        if let Some(lowest) = steps.iter().nth_back(self.keep() - 1) {
            self.floor = *lowest;
        }
    }

    fn floors(&self, (major, minor): Step) -> Floors {
        match self.id.key_type {
            BABE => from_slot(major),
            AURA => from_aura_slot(major),
            VOTER => made_up::at(PROPOSAL, &[major, minor / 2, minor % 2]).into(),
            GRANDPA => from_round(major, minor),
            BEEFY => from_block(major, minor),
            _ => from_session(u32::try_from(major).unwrap()),
        }
    }

    fn back(&self, back: u64) -> Step {
        match self.id.key_type {
            GRANDPA | BEEFY => (self.now.0, self.now.1.saturating_sub(back)),
            PARA => (self.now.0.saturating_sub(back / 40), 0),
            VOTER => (self.now.0.saturating_sub(back / 80), self.now.1),
            _ => (self.now.0.saturating_sub(back), 0),
        }
    }

    fn advance(&mut self, steps: u64) {
        match self.id.key_type {
            GRANDPA | BEEFY => self.now.1 += steps,
            PARA => self.now.0 += steps.min(2),
            VOTER if self.now.1 + steps < 20 => self.now.1 += steps,
            VOTER => self.now = (self.now.0 + 1, 0),
            _ => self.now.0 += steps,
        }
    }
}

fn refusal_kind(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::BelowWatermark { .. } => "below",
        Refusal::JumpTooFar { .. } => "jump",
        // The other side, the other statement.
        Refusal::Equivocation { .. } | Refusal::Rule(_) if refusal.code() == ErrorCode::Equivocation => {
            "crossed"
        }
        _ => "other",
    }
}

fn step(position: Position) -> Step {
    match (position.class(), position.parts()) {
        (GRANDPA_VOTE | BEEFY_VOTE, &[set, number]) => (set, number),
        (PROPOSAL | VOTE, &[height, round, step]) => (height, round * 2 + step),
        (_, &[slot_or_session]) => (slot_or_session, 0),
        (class, parts) => panic!("{class} {parts:?}"),
    }
}

/// The class of a key's watermark.
fn mark(key_type: KeyType) -> DutyClass {
    key_type.marks().next().expect("these keys have one")
}

/// The two states, the second one's disk, and the model.
struct Test {
    world: World,
    reloaded: State,
    disk: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    keys: Vec<Modelled>,
}

impl Test {
    fn new() -> Self {
        let mut world = World::new();
        world.change(Change::AddChain(made_up::chain(MADE, "made"))).unwrap();
        let mut keys = Vec::new();
        for key_type in KEY_TYPES {
            let id = key(key_type, 1);
            let chain = match key_type {
                AURA => COLLATOR_CHAIN,
                VOTER => MADE,
                _ => CHAIN,
            };
            // No group: the shield has tests of its own.
            world.change(register(id, chain, None)).unwrap();
            let now = match key_type {
                GRANDPA | BEEFY => (10, 500),
                _ => (500, 0),
            };
            let modelled = Modelled::new(id, now);
            world.change(Change::ArmKey { id, floors: modelled.floors(now) }).unwrap();
            keys.push(modelled);
        }
        world.state.take_changes();
        let reloaded = State::from_snapshot(&world.state.snapshot()).unwrap();
        let disk = reloaded.records().map(|(table, key, value)| ((table, key), value)).collect();
        Self { world, reloaded, disk, keys }
    }

    /// Applies a command to both states.
    fn apply(&mut self, command: &Command) -> Vec<Outcome> {
        let outcomes = self.world.apply(command);
        let again = Command::from_bytes(&command.to_bytes()).unwrap();
        assert_eq!(self.reloaded.apply(LogIndex(self.world.at), again).unwrap(), outcomes);
        for RecordChange { table, key, value } in self.reloaded.take_changes() {
            match value {
                Some(value) => drop(self.disk.insert((table, key), value)),
                None => drop(self.disk.remove(&(table, key))),
            }
        }
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn claims(&mut self, claims: Vec<(usize, Claim)>) {
        let requests = claims.iter().zip(0..);
        let requests =
            requests.map(|((_, claim), seq)| ClaimRequest { request: request(seq), claim: claim.clone() });
        let outcomes = self.apply(&Command::Claims(requests.collect()));
        assert_eq!(outcomes.len(), claims.len());
        for ((key, claim), outcome) in claims.iter().zip(&outcomes) {
            let Outcome::Verdict(verdict) = outcome else {
                panic!("a claim gets a verdict, not {outcome:?}")
            };
            self.keys[*key].judge(claim, verdict);
        }
    }

    fn ask(&self, ask: &Ask) -> (usize, Claim) {
        let key = &self.keys[ask.key];
        let mut claim = claim(key.id, key.duty(ask), ask.digest);
        if key.counts_bytes() {
            // As of real bytes, which say what the duty is: no two duties share them.
            let bytes = (&claim.duty, ask.digest, ask.variant / 128).encode();
            claim.digest = Digest(blake2_256(&bytes));
        }
        if key.id.key_type == VOTER {
            claim.carry = Carry::new(vec![ask.variant]);
        }
        (ask.key, claim)
    }

    fn raise(&mut self, key: usize, to: Step, change: fn(KeyId, Floors) -> Change) {
        let modelled = &mut self.keys[key];
        let change = change(modelled.id, modelled.floors(to));
        let raised = to >= modelled.floor;
        modelled.floor = modelled.floor.max(to);
        let outcomes = self.apply(&change_command(change));
        assert!(matches!(&outcomes[..], [Outcome::Change(done)] if done.is_ok() == raised), "{outcomes:?}");
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Claims(asks) => self.claims(asks.iter().map(|ask| self.ask(ask)).collect()),
            Op::Run { key, steps, digest } => {
                for _ in 0..*steps {
                    let ask = Ask { key: *key, back: 0, far: false, variant: 0, digest: *digest };
                    self.claims(vec![self.ask(&ask)]);
                    self.keys[*key].advance(1);
                }
            }
            Op::Advance { key, steps } => self.keys[*key].advance(*steps),
            Op::NextSet { key } => match &mut self.keys[*key].now {
                now if KEY_TYPES[*key] == GRANDPA => *now = (now.0 + 1, 1),
                now => now.0 += 1,
            },
            Op::Raise { key, back } => {
                let to = self.keys[*key].back(*back);
                self.raise(*key, to, |key, floors| Change::RaiseWatermark { key, floors });
            }
            Op::Rearm { key, back } => {
                let (id, floor) = (self.keys[*key].id, self.keys[*key].floor);
                self.apply(&change_command(Change::DisableKey { id }));
                let to = self.keys[*key].back(*back).max(floor);
                self.raise(*key, to, |id, floors| Change::ArmKey { id, floors });
            }
            Op::Snapshot => self.reloaded = State::from_snapshot(&self.reloaded.snapshot()).unwrap(),
            Op::Restart => {
                let records =
                    self.disk.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
                self.reloaded = State::from_records(records, self.reloaded.hash()).unwrap();
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.world.state.hash(), self.reloaded.hash(), "one log, one hash");
        for key in &self.keys {
            let view = &self.world.state.watermarks(&key.id)[0];
            assert_eq!(view.class, mark(key.id.key_type));
            assert_eq!(step(view.floor), key.floor, "floor of {}", key.id);
            let kept =
                key.signed.keys().filter(|(step, at)| *step >= key.floor && at.get(1) != Some(&STATEMENT));
            assert_eq!(view.entries, kept.count() as u64, "entries of {}", key.id);
        }
    }

    fn check_records(&self) {
        let records: BTreeMap<_, _> =
            self.world.state.records().map(|(table, key, value)| ((table, key), value)).collect();
        assert!(records == self.disk, "what was written is the state");
        for table in [Table::Registry, Table::Ledger] {
            let rows = || records.iter().filter(|((own, _), _)| *own == table);
            let bytes: usize = rows().map(|((_, key), value)| key.len() + value.len()).sum();
            let size = TableSize { rows: rows().count() as u64, bytes: bytes as u64 };
            assert_eq!([&self.world.state, &self.reloaded].map(|state| state.size(table)), [size; 2]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_coordinate_is_ever_granted_to_two_digests(
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut test = Test::new();
        for op in &ops {
            test.run(op);
            test.check();
        }
        test.check_records();
    }
}

#[test]
fn the_model_catches_a_second_grant() {
    let id = key(BABE, 1);
    let mut modelled = Modelled::new(id, (500, 0));
    modelled.judge(&claim(id, babe(500), 1), &Verdict::Granted);
    let second = Claim { digest: Digest([2; 32]), ..claim(id, babe(500), 1) };
    let caught = std::panic::catch_unwind(move || modelled.judge(&second, &Verdict::Granted));
    assert!(caught.is_err());
}
