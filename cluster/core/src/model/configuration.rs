//! A raft configuration, as the state is told of it.

use parity_scale_codec::{Decode, Encode};
use signonce_protocol::NodeId;
use std::collections::BTreeSet;

/// A raft configuration: who votes and who learns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Configuration {
    /// The voters.
    pub voters: Vec<u64>,
    /// The learners.
    pub learners: Vec<u64>,
    /// Voters of the outgoing configuration while a joint change is under way.
    pub voters_outgoing: Vec<u64>,
    /// Learners once the joint change ends.
    pub learners_next: Vec<u64>,
    /// Whether raft leaves the joint configuration by itself.
    pub auto_leave: bool,
}

impl Configuration {
    /// Whether it is one that ours can be: never a joint one, and each member in it once. Raft-rs panics on one that
    /// contradicts itself.
    pub fn is_sound(&self) -> bool {
        let Self { voters, learners, voters_outgoing, learners_next, auto_leave } = self;
        let mut seen = BTreeSet::from([0]);
        let once = voters.iter().chain(learners).all(|member| seen.insert(*member));
        once && voters_outgoing.is_empty() && learners_next.is_empty() && !auto_leave
    }

    /// Every member, voting or not.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let mut all: Vec<u64> =
            self.voters.iter().chain(&self.learners).chain(&self.voters_outgoing).copied().collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(NodeId)
    }
}
