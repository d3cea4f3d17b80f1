//! How long the leader's entries take to be agreed on: from the proposal until the entry is committed.

use crate::metrics::Latency;
use signonce_protocol::LogIndex;
use std::collections::VecDeque;
use std::time::Instant;

/// Entries proposed and not committed, in order.
#[derive(Default)]
pub(super) struct Proposals(VecDeque<(LogIndex, Instant)>);

impl Proposals {
    /// An entry was put at the end of the log.
    pub(super) fn proposed(&mut self, at: LogIndex, now: Instant) {
        self.0.push_back((at, now));
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the oldest of them was proposed that is not among the `committed`.
    pub(super) fn oldest(&self, committed: LogIndex) -> Option<Instant> {
        self.0.iter().find(|(entry, _)| *entry > committed).map(|(_, proposed)| *proposed)
    }

    /// Everything up to `at` is committed.
    pub(super) fn committed(&mut self, at: LogIndex, now: Instant, replicate: &Latency) {
        while let Some((_, proposed)) = self.0.pop_front_if(|(entry, _)| *entry <= at) {
            replicate.observe(now.saturating_duration_since(proposed));
        }
    }

    /// This node does not lead any more: what it proposed is another's to commit.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
