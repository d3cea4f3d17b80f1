//! Classes of duty: rights are granted by class, and each claimed class has a rule that the ledger holds it to.

use super::{KeyType, handle};
use crate::{
    Chain, Duty, ErrorCode, Position, Refusal, Settings,
    mark::{Mark, Siblings},
};
use serde_json::{Map, Value};

handle!(
    /// A class of duty. Rights are granted per class; each claimed class has a rule in the ledger.
    DutyClass,
    ClassSpec,
    classes,
    "duty class"
);

/// A family's description of a class.
pub struct ClassSpec {
    /// Its number.
    pub id: DutyClass,
    /// Its name in rights, metrics and JSON: `grandpaVote`.
    pub name: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// The feature level from which on the class exists.
    pub level: u32,
    /// The key types that do duties of this class.
    pub key_types: &'static [KeyType],
    /// The rule for its claims; `None` for free work.
    pub claim: Option<ClaimSpec>,
}

/// How the ledger holds a claimed class to one payload per duty.
pub struct ClaimSpec {
    /// What floors count in, the most significant number first. One to three.
    pub parts: &'static [Part],
    /// What stands before a position in text: `GRANDPA ` in "GRANDPA set 5 round 7".
    pub prefix: &'static str,
    /// The class whose watermark this class shares; itself for a watermark of its own. What a shared watermark keeps
    /// and how far it reaches is that class's rule; `fits` and `shield` are each class's own.
    pub mark: DutyClass,
    /// Set where the first part is a slot of the chain's clock.
    pub slots: Option<SlotRule>,
    /// What may be signed above the floor.
    pub rule: Rule,
    /// Whether every validator of the active set does such duties all the time, so that one that does none while others
    /// do is behind.
    pub by_everyone: bool,
    /// How duties of this class are printed and parsed.
    pub words: &'static dyn DutyWords,
    /// The refusals that only this class has.
    pub refusals: Option<&'static dyn Refusals>,
    /// Where a floor goes that arrives without what its watermark remembers beside it, from a file or a backup: the same
    /// position or a higher one, `None` if there is none. Set where what is signed above a floor can depend on what was
    /// signed below; otherwise floors stand alone.
    pub alone: Option<fn(Position) -> Option<Position>>,
}

/// One of the numbers that make up a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// In JSON: `setId`.
    pub name: &'static str,
    /// In text and as a label of metrics: `set`.
    pub word: &'static str,
    /// The highest value.
    pub max: u64,
}

/// The rule for duties that are bound to wall-clock slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRule {
    /// Whether a runtime upgrade can change the chain's slot length while keys of this class are in use.
    pub may_be_retimed: bool,
}

/// What may be signed above the floor.
pub enum Rule {
    /// Exact entries in a window above the floor, one payload per duty.
    Window(WindowRule),
    /// The family's own watermark, created with this floor.
    Own(fn(Position) -> Box<dyn Mark>),
}

/// The rule of a window, as data.
pub struct WindowRule {
    /// How many steps (values of the position) with entries are kept; older ones make way and the floor rises.
    pub keep: usize,
    /// The most entries of one step; `None` where only a few different ones can exist.
    pub per_step: Option<u32>,
    /// How far past the highest signed position a claim may be, for each number in order.
    pub jumps: &'static [Jump],
    /// Whether a duty has the form that the chain's settings ask for. Checked again here because the claim may come
    /// from a decoder of another version.
    pub fits: Option<fn(&Duty, &Settings) -> bool>,
    /// Judges a claim, which nothing else refuses, by what other keys of the group have signed.
    pub shield: Option<fn(&ShieldContext<'_>) -> Option<Refusal>>,
}

/// How far a number of the position may be past the highest that the key has signed. It stops a broken node from
/// burning a key in a bogus future; where the chain really is there, an operator raises the watermark.
#[derive(Clone, Copy)]
pub struct Jump {
    /// The index of the number in the position.
    pub part: usize,
    /// The largest distance allowed by the chain's settings.
    pub limit: fn(&Settings) -> u64,
    /// Whether the number starts again at zero with each step of the numbers before it.
    pub restarts: bool,
}

/// What a shield judges by: the claim and what else is signed.
pub struct ShieldContext<'a> {
    /// The duty that is asked for.
    pub duty: &'a Duty,
    /// The chain.
    pub chain: &'a Chain,
    /// What the other armed keys of the group have signed.
    pub siblings: &'a dyn Siblings,
}

/// How duties of a class are printed and parsed. Never fails: facts that cannot be read are printed as hex.
pub trait DutyWords: Sync {
    /// Readable text: "GRANDPA Prevote in set 5 round 7".
    fn describe(&self, duty: &Duty) -> String;

    /// The fields of the JSON object beside `class`.
    fn show(&self, duty: &Duty) -> Map<String, Value>;

    /// Reads them back; `None` if they are not a duty of this class.
    fn read(&self, shown: &Map<String, Value>) -> Option<Duty>;

    /// The duty without what the vote says: two payloads for the same duty then compare equal.
    fn coordinate(&self, duty: &Duty) -> Duty;

    /// Its numbers by name, for searches: those of the position, and any others the family has.
    fn numbers(&self, duty: &Duty) -> Vec<(&'static str, u64)> {
        duty.position().named().map(|(part, number)| (part.word, number)).collect()
    }

    /// A duty that stands for this one where a signature is shown again: only as much as tells whether it is known.
    fn short(&self, duty: &Duty) -> Duty {
        duty.clone()
    }

    /// The JSON schema of the object, `class` included.
    fn schema(&self) -> Value;
}

/// The refusals that only one class has. In the log they are a number and the family's own bytes.
pub trait Refusals: Sync {
    /// The meaning of a refusal; `None` for a number or facts that the family does not know.
    fn tell(&self, code: u8, facts: &[u8]) -> Option<RefusalDetails>;
}

/// The meaning of a family's own refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalDetails {
    /// The name in JSON: `beefyAheadOfGrandpa`.
    pub reason: &'static str,
    /// Readable text: what happened and what to do.
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
    /// Whether this class uses up duties and passes through the ledger. The other classes are free.
    pub fn is_claimed(self) -> bool {
        self.claim().is_some()
    }

    /// The rule for claims of this class; `None` for free work.
    pub fn claim(self) -> Option<&'static ClaimSpec> {
        self.spec().claim.as_ref()
    }

    /// The key types that do duties of this class.
    pub fn key_types(self) -> &'static [KeyType] {
        self.spec().key_types
    }

    /// The feature level that a command naming this class needs.
    pub fn level(self) -> u32 {
        self.spec().level
    }

    /// The class whose watermark holds this one; `None` for free work.
    pub fn mark(self) -> Option<Self> {
        self.claim().map(|claim| claim.mark)
    }
}
