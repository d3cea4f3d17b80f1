//! Classes of duty: what rights are granted by, and for the claimed ones the rule that the ledger holds them to.

use super::{KeyType, handle};
use crate::{
    Chain, Duty, ErrorCode, Position, Refusal, Settings,
    mark::{Mark, Siblings},
};
use serde_json::{Map, Value};

handle!(
    /// A class of work. Rights are granted per class; the claimed classes each have a rule in the ledger.
    DutyClass,
    ClassSpec,
    classes,
    "duty class"
);

/// What a family says of a class.
pub struct ClassSpec {
    /// Its number.
    pub id: DutyClass,
    /// Its name in rights, metrics and JSON: `grandpaVote`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The feature level from which on it is there.
    pub level: u32,
    /// The key types that do work of this class.
    pub key_types: &'static [KeyType],
    /// What a claim of it is held to; `None` for free work.
    pub claim: Option<ClaimSpec>,
}

/// How the ledger holds a claimed class to one payload per duty.
pub struct ClaimSpec {
    /// What floors count in, the most significant number first. One to three.
    pub parts: &'static [Part],
    /// What stands before a position in text: `GRANDPA ` in "GRANDPA set 5 round 7".
    pub prefix: &'static str,
    /// The class whose watermark this class shares; itself for a watermark of its own. What a shared watermark keeps and
    /// how far it reaches is that class's rule; `fits` and `shield` are each class's own.
    pub mark: DutyClass,
    /// Set where the first part is a slot of the chain's clock.
    pub slots: Option<SlotRule>,
    /// What may be signed above the floor.
    pub rule: Rule,
    /// Whether every validator of the active set does such work all the time: one that does not while another does is
    /// behind.
    pub by_everyone: bool,
    /// How duties of this class print and parse.
    pub words: &'static dyn DutyWords,
    /// The refusals that only this class has.
    pub refusals: Option<&'static dyn Refusals>,
}

/// One of the numbers that make up a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// In JSON: `setId`.
    pub name: &'static str,
    /// In text and as a label of metrics: `set`.
    pub word: &'static str,
    /// The highest there is.
    pub max: u64,
}

/// What is bound to wall-clock slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRule {
    /// Whether a runtime upgrade can change the length of the chain's slots under keys of this class.
    pub may_be_retimed: bool,
}

/// What may be signed above the floor.
pub enum Rule {
    /// Exact entries in a window above the floor, one payload per coordinate.
    Window(WindowRule),
    /// The family's own watermark, which starts at this floor.
    Own(fn(Position) -> Box<dyn Mark>),
}

/// A window's rule, as data.
pub struct WindowRule {
    /// How many steps (values of the position) with entries are kept; older ones make way and the floor rises.
    pub keep: usize,
    /// The most entries of one step; `None` where what tells entries of a step apart is few by nature.
    pub per_step: Option<u32>,
    /// How far past the farthest a claim may be, in the order of the numbers.
    pub jumps: &'static [Jump],
    /// Whether a duty has the form that the chain's settings ask for; checked where decoders of another version may have
    /// made the claim.
    pub fits: Option<fn(&Duty, &Settings) -> bool>,
    /// Judges a claim that nothing else refuses by what other keys of the group have signed.
    pub shield: Option<fn(&ShieldContext<'_>) -> Option<Refusal>>,
}

/// How far a number of the position may be past the farthest that the key has come. Stops a broken node from burning a
/// key in a bogus future; an operator raises the watermark where the chain is really there.
#[derive(Clone, Copy)]
pub struct Jump {
    /// Which number.
    pub part: usize,
    /// How far.
    pub limit: fn(&Settings) -> u64,
    /// Whether the number starts again at zero with each step of the numbers before it.
    pub restarts: bool,
}

/// What a shield judges by.
pub struct ShieldContext<'a> {
    /// The duty that is asked for.
    pub duty: &'a Duty,
    /// The chain.
    pub chain: &'a Chain,
    /// What the other armed keys of the group have signed.
    pub siblings: &'a dyn Siblings,
}

/// How duties of a class print and parse. Total: facts that do not read print as what they are.
pub trait DutyWords: Sync {
    /// For people: "GRANDPA Prevote in set 5 round 7".
    fn describe(&self, duty: &Duty) -> String;

    /// The fields of the JSON object beside `class`.
    fn show(&self, duty: &Duty) -> Map<String, Value>;

    /// Reads them back; `None` if they are not a duty of this class.
    fn read(&self, shown: &Map<String, Value>) -> Option<Duty>;

    /// The duty without what the vote says: two duties of one coordinate are then equal.
    fn coordinate(&self, duty: &Duty) -> Duty;

    /// Its numbers by what they count, for whoever looks for a duty: those of the position, and what else a family has.
    fn numbers(&self, duty: &Duty) -> Vec<(&'static str, u64)> {
        duty.position().named().map(|(part, number)| (part.word, number)).collect()
    }

    /// A duty that stands for this one where a signature is shown again: as little of it as tells whether it is known.
    fn short(&self, duty: &Duty) -> Duty {
        duty.clone()
    }

    /// The JSON schema of the object, `class` included.
    fn schema(&self) -> Value;
}

/// The refusals that only one class has. In the log they are a number and the family's own bytes.
pub trait Refusals: Sync {
    /// What a refusal says; `None` for a number or facts that the family does not know.
    fn tell(&self, code: u8, facts: &[u8]) -> Option<Told>;
}

/// What a family's own refusal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The name in JSON: `beefyAheadOfGrandpa`.
    pub reason: &'static str,
    /// For people: what happened and what to do.
    pub text: String,
    /// Whether no later entry of the log can change it.
    pub is_final: bool,
    /// The code that a client is told.
    pub code: ErrorCode,
    /// The bound that was broken, if there is one.
    pub bound: Option<Position>,
    /// Whether something else was signed that this contradicts.
    pub contradicts: bool,
    /// The facts in JSON.
    pub facts: Map<String, Value>,
}

impl DutyClass {
    /// Whether work of this class uses up a duty and passes through the ledger. The other classes are free.
    pub fn is_claimed(self) -> bool {
        self.claim().is_some()
    }

    /// How claims of this class are held to; `None` for free work.
    pub fn claim(self) -> Option<&'static ClaimSpec> {
        self.spec().claim.as_ref()
    }

    /// The key types that do work of this class.
    pub fn key_types(self) -> &'static [KeyType] {
        self.spec().key_types
    }

    /// The feature level that a command about it needs.
    pub fn level(self) -> u32 {
        self.spec().level
    }

    /// The class whose watermark holds this one; `None` for free work.
    pub fn mark(self) -> Option<Self> {
        self.claim().map(|claim| claim.mark)
    }
}
