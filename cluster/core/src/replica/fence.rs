//! The peer fence: a node that starts must learn from its peers that it has forgotten nothing.
//!
//! Every raft message carries its sender's [`Promise`]; each node remembers the highest promise of every peer
//! ([`super::memory`]). A node that starts says [`Hello`](super::hello::Hello) to its peers and compares what they
//! remember with what its disk holds. Before *enough* of them have answered it neither votes nor serves; if one
//! remembers more than the disk holds, the node has lost memory and stays in quarantine for good.
//!
//! Enough is a majority of the voters of the newest configuration that it or any answer knows of, the node itself not
//! counted. How far its witnesses are binds it until its own log is as far (`Witnesses::log`). Why that is enough,
//! whatever came together before or after the answers, and while members come and go: `docs/evidence/fence.md`.

use super::hello::{HelloRefusal, HelloReply, Witnessed};
use super::members::KnownConfiguration;
use super::wire::{DiskPosition, Promise};
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use signonce_protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What each of a starting node's witnesses has said, and what follows from it.
#[derive(Debug)]
pub(super) struct Witnesses {
    own: NodeId,
    /// The newest configuration known.
    roll: KnownConfiguration,
    /// Every voter must answer, not only a majority: a first start.
    everybody: bool,
    said: BTreeMap<NodeId, Witnessed>,
}

impl Witnesses {
    pub(super) fn hear(&mut self, peer: NodeId, witnessed: Witnessed) {
        self.said.insert(peer, witnessed);
    }

    /// Another answer may have told of a newer configuration. Of a first start there is none.
    fn hear_of(&mut self, roll: &KnownConfiguration) {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::FenceAsksOldMembers) && self.roll.is_known() {
            return;
        }
        if !self.everybody && roll.is_newer(&self.roll) {
            self.roll = roll.clone();
        }
    }

    /// The voters of the newest configuration, the node itself not counted.
    fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.roll.voters.iter().copied().filter(|voter| *voter != self.own)
    }

    /// How many are enough: a majority of the voters, the node itself not counted.
    fn needed(&self) -> usize {
        let others = self.voters().count();
        if self.everybody {
            return others;
        }
        let needed = others.min(self.roll.voters.len() / 2 + 1);
        #[cfg(signonce_sim)]
        let needed = needed - usize::from(mutation::is(Mutation::FenceCountsItself));
        needed
    }

    /// What the voters among those that answered have said.
    fn heard(&self) -> impl Iterator<Item = &Witnessed> {
        self.voters().filter_map(|voter| self.said.get(&voter))
    }

    fn enough(&self) -> bool {
        self.roll.is_known() && self.heard().count() >= self.needed()
    }

    /// The newest term of all.
    pub(super) fn term(&self) -> u64 {
        self.said.values().map(|w| w.term).max().unwrap_or_default()
    }

    /// How far the node's log must come. Any set of witnesses that is enough will do, so the one that asks least
    /// does: else an entry that only one of them ever had, and took with it, would keep the node back forever.
    pub(super) fn log(&self) -> (u64, u64) {
        let mut logs: Vec<(u64, u64)> = self.heard().map(|w| w.log).collect();
        logs.sort_unstable();
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::FurthestWitnessBinds) {
            return logs.last().copied().unwrap_or_default();
        }
        let enough = self.needed().min(logs.len());
        enough.checked_sub(1).map_or((0, 0), |furthest| logs[furthest])
    }
}

/// Why a node must not take part any more, in any life, until it is replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Quarantine {
    /// The disk holds less than this node has promised.
    #[error(
        "node {peer} remembers that this node promised term {} vote {} index {}, but the disk holds term {} vote {} \
         index {}: the disk was lost, restored or rolled back, and this identity may never vote again",
        promise.term, promise.vote, promise.index, disk.term, disk.vote, disk.last_index
    )]
    LostMemory {
        /// The peer that remembers more.
        peer: NodeId,
        /// What it remembers.
        promise: Promise,
        /// What the disk holds.
        disk: DiskPosition,
    },
    /// A peer refused this node.
    #[error("node {peer} refuses this node: {refusal}")]
    Refused {
        /// The peer.
        peer: NodeId,
        /// Its reason.
        refusal: HelloRefusal,
    },
    /// The log that this node follows says that it was removed.
    #[error("this node was removed from the cluster, for ever")]
    Removed,
}

/// A starting node's count of answers.
#[derive(Debug)]
pub struct Fence {
    disk: DiskPosition,
    formed: bool,
    /// Members that can answer, by its own disk: until peers say more, these are asked.
    asked: BTreeSet<NodeId>,
    witnesses: Witnesses,
}

/// Where the fence stands after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FenceStep {
    Waiting,
    Passed,
    Failed(Quarantine),
}

/// How a node comes to its fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// First start of an initial member: the cluster forms only from nodes that are all present and all empty.
    Forming,
    /// First start of a node that came later: it knows nobody and has promised nothing.
    Joining,
    /// It has taken part before.
    Returning,
}

impl Fence {
    /// The fence of a node with `disk`, which knows `roll`.
    pub(super) fn new(own: NodeId, disk: DiskPosition, arrival: Arrival, roll: KnownConfiguration) -> Self {
        let asked = roll.voters.iter().chain(&roll.learners).copied().filter(|node| *node != own).collect();
        let everybody = arrival == Arrival::Forming;
        let witnesses = Witnesses { own, roll, everybody, said: BTreeMap::new() };
        Self { disk, formed: arrival == Arrival::Returning, asked, witnesses }
    }

    /// Whether a lone node, which has nobody to ask, passes at once.
    pub(super) fn is_open(&self) -> bool {
        self.witnesses.enough()
    }

    /// Members that have not answered.
    pub fn waiting_for(&self) -> impl Iterator<Item = NodeId> {
        let newest = self.witnesses.voters().collect::<BTreeSet<_>>();
        let asked = if self.witnesses.roll.is_known() { newest } else { self.asked.clone() };
        asked.into_iter().filter(|peer| !self.witnesses.said.contains_key(peer))
    }

    /// Answers still needed.
    pub fn missing(&self) -> usize {
        if !self.witnesses.roll.is_known() {
            return 1; // whoever answers first says how many there are
        }
        self.witnesses.needed().saturating_sub(self.witnesses.heard().count())
    }

    /// What those that answered have said.
    pub(super) fn into_witnesses(self) -> Witnesses {
        self.witnesses
    }

    pub(super) fn answer(&mut self, peer: NodeId, reply: &HelloReply) -> FenceStep {
        let (remembered, witnessed, roll) = match reply {
            // The peer may be behind, and not have heard of this node.
            HelloReply::Refused(HelloRefusal::NotAMember(_)) => return FenceStep::Waiting,
            HelloReply::Refused(refusal) => {
                return FenceStep::Failed(Quarantine::Refused { peer, refusal: refusal.clone() });
            }
            HelloReply::NoWitness => return FenceStep::Waiting,
            HelloReply::Welcome { formed: false, .. } if !self.witnesses.everybody => {
                return FenceStep::Waiting;
            }
            HelloReply::Welcome { remembered, witnessed, roll, .. } => (remembered, *witnessed, roll),
        };
        if let Some(promise) = remembered
            && !(self.formed && promise.kept_by(&self.disk))
        {
            // A node that has not formed has promised nothing, so any memory of a promise proves a lost disk.
            return FenceStep::Failed(Quarantine::LostMemory { peer, promise: *promise, disk: self.disk });
        }
        self.witnesses.hear(peer, witnessed);
        self.witnesses.hear_of(roll);
        if self.is_open() { FenceStep::Passed } else { FenceStep::Waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hello::Life;
    use super::*;
    use crate::model::Configuration;

    const DISK: DiskPosition = DiskPosition { term: 3, vote: 1, last_index: 20 };

    fn roll(at: u64, voters: &[u64]) -> KnownConfiguration {
        KnownConfiguration::new(at, &Configuration { voters: voters.to_vec(), ..Default::default() })
    }

    fn fence(voters: &[u64], formed: bool) -> Fence {
        let arrival = if formed { Arrival::Returning } else { Arrival::Forming };
        Fence::new(NodeId(1), DISK, arrival, roll(0, voters))
    }

    fn welcome(remembered: Option<Promise>) -> HelloReply {
        HelloReply::Welcome {
            remembered,
            formed: true,
            witnessed: Witnessed::default(),
            life: Life::default(),
            disk: DISK,
            roll: KnownConfiguration::default(),
        }
    }

    #[test]
    fn a_majority_besides_itself_must_answer() {
        for (voters, needed) in [(vec![1], 0), (vec![1, 2, 3], 2), (vec![1, 2, 3, 4, 5], 3)] {
            assert_eq!(fence(&voters, true).missing(), needed, "{voters:?}");
        }
        assert_eq!(fence(&[1, 2, 3, 4, 5], false).missing(), 4, "a first start needs everybody");
    }

    fn welcome_with(at: u64, voters: &[u64]) -> HelloReply {
        match welcome(None) {
            HelloReply::Welcome { remembered, formed, witnessed, life, disk, .. } => {
                HelloReply::Welcome { remembered, formed, witnessed, life, disk, roll: roll(at, voters) }
            }
            other => other,
        }
    }

    #[test]
    fn the_newest_configuration_that_any_answer_knows_says_whose_majority_it_takes() {
        let mut fence = fence(&[1, 2, 3], true);
        assert_eq!(fence.answer(NodeId(2), &welcome_with(9, &[1, 2, 4])), FenceStep::Waiting);
        assert_eq!(
            fence.answer(NodeId(3), &welcome_with(0, &[1, 2, 3])),
            FenceStep::Waiting,
            "3 votes no more"
        );
        assert_eq!(fence.waiting_for().collect::<Vec<_>>(), [NodeId(4)]);
        assert_eq!(fence.answer(NodeId(4), &welcome_with(7, &[1, 2, 3, 4])), FenceStep::Passed);
    }

    #[test]
    fn a_node_that_joins_learns_from_the_first_answer_how_many_it_needs() {
        let mut fence = Fence::new(NodeId(9), DISK, Arrival::Joining, KnownConfiguration::default());
        assert!(!fence.is_open(), "it knows of nobody");
        assert_eq!(fence.answer(NodeId(2), &welcome_with(9, &[1, 2, 3])), FenceStep::Waiting);
        assert_eq!(fence.missing(), 1);
        assert_eq!(fence.answer(NodeId(3), &welcome_with(9, &[1, 2, 3])), FenceStep::Passed);
    }

    #[test]
    fn a_node_that_joined_before_and_was_wiped_is_known_by_what_is_remembered() {
        let mut fence = Fence::new(NodeId(9), DISK, Arrival::Joining, KnownConfiguration::default());
        let step = fence.answer(NodeId(2), &welcome(Some(Promise { term: 1, vote: 0, index: 0 })));
        assert!(matches!(step, FenceStep::Failed(Quarantine::LostMemory { .. })));
    }

    #[test]
    fn a_peer_that_has_not_heard_of_a_node_does_not_condemn_it() {
        let mut fence = fence(&[1, 2, 3], true);
        let unknown = HelloReply::Refused(HelloRefusal::NotAMember(NodeId(1)));
        assert_eq!(fence.answer(NodeId(2), &unknown), FenceStep::Waiting);
        let removed = HelloReply::Refused(HelloRefusal::Removed(NodeId(1)));
        assert!(matches!(fence.answer(NodeId(3), &removed), FenceStep::Failed(_)));
    }

    #[test]
    fn the_same_peer_counts_once_and_a_stranger_never() {
        let mut fence = fence(&[1, 2, 3], true);
        assert_eq!(fence.answer(NodeId(2), &welcome(None)), FenceStep::Waiting);
        assert_eq!(fence.answer(NodeId(2), &welcome(None)), FenceStep::Waiting);
        assert_eq!(fence.answer(NodeId(9), &welcome(None)), FenceStep::Waiting);
        assert_eq!(fence.answer(NodeId(3), &welcome(None)), FenceStep::Passed);
    }

    #[test]
    fn a_peer_without_memory_of_its_own_vouches_for_nobody() {
        let mut fence = fence(&[1, 2, 3], true);
        assert_eq!(fence.answer(NodeId(2), &HelloReply::NoWitness), FenceStep::Waiting);
        let mut empty = welcome(None);
        if let HelloReply::Welcome { formed, .. } = &mut empty {
            *formed = false;
        }
        assert_eq!(fence.answer(NodeId(3), &empty), FenceStep::Waiting);
        assert_eq!(fence.missing(), 2);
    }

    #[test]
    fn a_peer_that_remembers_more_than_the_disk_holds_ends_it() {
        let promise = Promise { term: 3, vote: 1, index: 21 };
        let step = fence(&[1, 2, 3], true).answer(NodeId(2), &welcome(Some(promise)));
        assert_eq!(step, FenceStep::Failed(Quarantine::LostMemory { peer: NodeId(2), promise, disk: DISK }));
    }

    #[test]
    fn an_empty_node_that_is_remembered_at_all_never_forms() {
        let promise = Promise { term: 1, vote: 0, index: 0 };
        let step = fence(&[1, 2, 3], false).answer(NodeId(2), &welcome(Some(promise)));
        assert!(matches!(step, FenceStep::Failed(Quarantine::LostMemory { .. })));
    }

    #[test]
    fn the_furthest_witness_counts_in_each_respect() {
        let mut fence = fence(&[1, 2, 3], true);
        for (peer, term, log) in [(2, 9, (3, 20)), (3, 7, (4, 5))] {
            let mut reply = welcome(None);
            if let HelloReply::Welcome { witnessed, .. } = &mut reply {
                *witnessed = Witnessed { term, log };
            }
            fence.answer(NodeId(peer), &reply);
        }
        let witnesses = fence.into_witnesses();
        assert_eq!((witnesses.term(), witnesses.log()), (9, (4, 5)));
    }

    #[test]
    fn of_more_witnesses_than_needed_those_that_ask_least_are_enough() {
        let mut witnesses = fence(&[1, 2, 3, 4, 5], true).into_witnesses();
        for (peer, index, must_reach) in [(2, 17, 17), (3, 12, 17), (4, 15, 17), (5, 16, 16)] {
            witnesses.hear(NodeId(peer), Witnessed { term: 2, log: (2, index) });
            assert_eq!(witnesses.log(), (2, must_reach), "after {peer}");
        }
    }
}
