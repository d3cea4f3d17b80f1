//! What must hold once every node of a cluster was set back to an older copy of its disk. No cluster can know that by
//! itself; a client that shows what it was given tells it, and the key is halted until an operator raises its
//! watermark. So for each key, after the copies were put back:
//!
//! * until its first refusal as halted, anything may be said of what was forgotten, two payloads of a duty included:
//!   it is noted, and not held against the cluster;
//! * from then on nothing is signed, and every refusal as halted is right;
//! * after its watermark was raised it is a key like any other, and nothing below that mark is ever signed.

use super::Violation;
use std::collections::HashMap;

/// A key's coordinate, as in `DutyId::step`.
type Step = (u64, u64);

/// Tracks the keys of such a cluster. All moments are indexes in the judge's order of questions and answers.
#[derive(Debug, Default)]
pub(super) struct SetBack {
    since: Option<u64>,
    /// The first refusal of each key as halted.
    halted: HashMap<usize, u64>,
    /// The new floor of each key, from when the raise began; and when it had ended.
    raised: HashMap<usize, (Step, Option<u64>)>,
    /// What was said of forgotten duties before the halt.
    noted: Vec<Violation>,
}

impl SetBack {
    /// Every node has its older disk.
    pub(super) fn begin(&mut self, now: u64) {
        self.since = Some(now);
    }

    /// An operator begins to raise the key's watermark.
    pub(super) fn raising(&mut self, key: usize, to: Step) {
        self.raised.insert(key, (to, None));
    }

    /// It is raised.
    pub(super) fn raised(&mut self, key: usize, now: u64) {
        if let Some((_, done)) = self.raised.get_mut(&key) {
            *done = Some(now);
        }
    }

    /// Judges a refusal as halted of a question that was asked at `begun`: whether it can be right.
    pub(super) fn refused_as_halted(&mut self, key: usize, begun: u64, now: u64) -> bool {
        let cured = self.raised.get(&key).and_then(|(_, done)| *done);
        let right = self.since.is_some() && cured.is_none_or(|cured| begun < cured);
        if right {
            self.halted.entry(key).or_insert(now);
        }
        right
    }

    /// Whether a signature for a question that was asked at `begun` comes from a key that is halted.
    pub(super) fn is_halted(&self, key: usize, begun: u64) -> bool {
        !self.raised.contains_key(&key) && self.halted.get(&key).is_some_and(|halted| *halted < begun)
    }

    /// Whether a refusal of this step as below the watermark is due to an operator who raised it.
    pub(super) fn is_below(&self, key: usize, step: Step) -> bool {
        self.raised.get(&key).is_some_and(|(to, _)| step < *to)
    }

    /// Whether an answer to a question that was asked at `begun` may disregard the forgotten past.
    pub(super) fn may_have_forgotten(&self, key: usize, begun: u64) -> bool {
        self.since.is_some() && self.halted.get(&key).is_none_or(|halted| begun < *halted)
    }

    /// Notes such an answer.
    pub(super) fn note(&mut self, violation: Violation) {
        self.noted.push(violation);
    }

    /// The answers that were noted.
    pub(super) fn noted(&self) -> &[Violation] {
        &self.noted
    }

    /// Whether the key is halted, or was.
    pub(super) fn was_halted(&self, key: usize) -> bool {
        self.halted.contains_key(&key)
    }
}
