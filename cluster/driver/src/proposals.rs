//! How long the leader's entries take to be agreed on: from the proposal until the entry is committed.

use crate::driver::{Effect, Moment, Observed};
use signonce_protocol::LogIndex;
use std::collections::VecDeque;

/// Entries proposed and not committed, in order.
#[derive(Default)]
pub(crate) struct Proposals(VecDeque<(LogIndex, Moment)>);

impl Proposals {
    /// An entry was put at the end of the log.
    pub(crate) fn proposed(&mut self, at: LogIndex, now: Moment) {
        self.0.push_back((at, now));
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the oldest of them was proposed that is not among the `committed`.
    pub(crate) fn oldest(&self, committed: LogIndex) -> Option<Moment> {
        self.0.iter().find(|(entry, _)| *entry > committed).map(|(_, proposed)| *proposed)
    }

    /// Everything up to `at` is committed.
    pub(crate) fn committed(&mut self, at: LogIndex, now: Moment, effects: &mut Vec<Effect>) {
        while let Some((_, proposed)) = self.0.pop_front_if(|(entry, _)| *entry <= at) {
            effects.push(Effect::Observe(Observed::Replicated(now.saturating_sub(proposed))));
        }
    }

    /// This node does not lead any more: what it proposed is another's to commit.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}
