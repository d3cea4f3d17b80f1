//! The peer fence: a node that starts must learn from its peers that it has forgotten nothing.
//!
//! Every raft message carries its sender's [`Promise`]; each node remembers the highest promise of every peer. A node
//! that starts says [`Hello`] to its peers and compares what they remember with what its disk holds. Before enough of
//! them have answered it neither votes nor serves; if one remembers more than the disk holds, the node has lost
//! memory and stays in quarantine for good.
//!
//! *Enough* is a majority of all voters, the node itself not counted: then every quorum the node was ever part of
//! contains a peer that answered. That peer need not be the one that got the node's promise (acknowledgements go to
//! the leader alone), but it holds what the quorum agreed on. So the node also learns how far its witnesses are
//! ([`Witnessed`]), gives up its vote in all terms up to theirs, and until its own log is as far votes only for
//! candidates that are: it votes with its witnesses' eyes, whatever its disk has forgotten. Where more than enough
//! have answered, it is as far as enough of them.
//!
//! A quorum may also come together *after* its witness has answered: a leader that the node could not ask counts an
//! acknowledgement the node has forgotten, and then hears from the witness. So every message names the lives that its
//! sender has met, and a node that has met a newer life of some member does not vote for, or acknowledge to, a sender
//! that has not: whoever answered for the node's new life helps nobody who still counts on its old one. A leader or
//! candidate that meets a life which began with less than it was promised starts over as a follower. Followers and
//! candidates take over newer lives from any message; a leader first waits for those who live them. The receiver's
//! own life is among those named: of two machines under one id the older does not take for its own what is an answer
//! to the newer.
//!
//! The price: in a cluster of three, a node that restarts needs both others to answer.
//!
//! # When members come and go
//!
//! Whose majority? Every answer carries the configuration that its giver knows to be committed ([`Roll`]), and enough
//! is a majority, the node itself not counted, of the *newest* configuration known from the own disk and the answers.
//! It is found anew with every answer. That is enough because configurations change by one voter at a time:
//!
//! - A majority of C besides the node meets, besides the node, every quorum of C that the node was part of, and every
//!   quorum of a configuration that differs from C by one voter, as long as C has three voters: with n of them it has
//!   n/2+1 of the n-1 others, and such a quorum, without the node and without the voter that C lacks, n/2 or more of
//!   them. With two voters this fails, so no removal leaves fewer than three (`state/members.rs`).
//! - So if none of a majority of C knows a newer configuration, the one after next was never committed: to propose it,
//!   a leader must have applied the next one, and whoever acknowledged that proposal learnt with it that the next one
//!   is committed, durably and before it answered; a quorum of such nodes meets the majority. The next one itself may
//!   be committed; its quorums meet the majority too.
//! - Quorums of older configurations need no witness of their own: what they agreed on is in the log of everybody who
//!   acknowledged the change to C or to the one before it, and a quorum that did meets the majority. Their votes are
//!   of terms that these nodes have seen.
//! - What is committed after an answer was given is the business of lives: whoever answered helps nobody who counts on
//!   the node's old life, and no configuration after C comes about without one of those who answered.
//!
//! Where the newest configuration is told by a node that is itself behind, or was removed and does not know it, its
//! word is true but old, and it counts only as one of the voters of the newest.
//!
//! A node that came later starts with an empty disk and knows nobody: it takes the first answer's configuration and
//! goes on from there. As long as it has not passed it has promised nothing, so any memory of a promise proves that
//! its disk was wiped. With its pass it writes its (empty) store; from then on it is a returning node like any other,
//! before its first snapshot as after it.
//!
//! Who was removed gets a life that is after all others: nobody listens to it, and nobody helps those who count on it.
//! Its own word stays true, though: it still answers hellos. A leader that commits its own removal has told nobody, and
//! after a power cut the others would otherwise wait for its word for ever. So its machine is cleared only once another
//! member says that it is gone.

use super::disk::{DiskBatch, DiskImage, meta_key, read_meta};
use super::members::Roll;
use super::wire::{DiskPosition, Promise};
use crate::codec::CodecError;
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// The id of a cluster: random, made once by `init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClusterId(pub [u8; 16]);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::str::FromStr for ClusterId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a cluster id is 32 hex digits, not {text:?}");
        if text.len() != 32 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(id))
    }
}

/// One life of a node: the incarnation rises with every start, the boot id is random.
///
/// Two processes with one node id are two lives; peers serve only the highest incarnation they have met, and of two
/// with the same incarnation only the first. Should two copies of one disk start at the same moment, and some peers
/// meet the one first and some the other, these peers do not elect each other until the node starts once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Life {
    /// Rises with every start of the node.
    pub incarnation: u64,
    /// Random per start.
    pub boot: u64,
}

impl Life {
    /// The life of a node that was removed: after every other, and nobody lives it.
    pub(super) const ENDED: Self = Self { incarnation: u64::MAX, boot: 0 };

    fn is_after(&self, other: &Self) -> bool {
        self.incarnation > other.incarnation
    }
}

/// What came of meeting a life of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It was met before.
    Known,
    /// It is new, and as far as this node can tell has forgotten nothing.
    New,
    /// It is new, and this node remembers a promise that its disk does not hold.
    Forgetful,
}

/// What a node says when it connects to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Who it is.
    pub node: NodeId,
    /// Which life of it this is.
    pub life: Life,
    /// The initial members its operator gave it; none, if it came later.
    pub initial: Vec<NodeId>,
    /// Whether it came when the cluster had formed.
    pub joined: bool,
    /// Whether it has ever been part of the formed cluster.
    pub formed: bool,
    /// What its disk held when this life began.
    pub disk: DiskPosition,
    /// Term and index of its last log entry then.
    pub log: (u64, u64),
    /// The newest configuration that it knows to be committed: the receiver may have been away for long.
    pub roll: Roll,
}

/// What the peer answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HelloReply {
    /// The peer knows the node and tells what it remembers of it.
    #[codec(index = 0)]
    Welcome {
        /// The highest promise the peer has seen from the node; `None` if it never saw one.
        remembered: Option<Promise>,
        /// Whether the peer has formed: one that has not can only vouch for another that has not.
        formed: bool,
        /// How far the peer itself is.
        witnessed: Witnessed,
        /// Which life of the peer answers.
        life: Life,
        /// What the peer's disk held when that life began.
        disk: DiskPosition,
        /// The newest configuration that the peer knows to be committed.
        roll: Roll,
    },
    /// The peer will not talk to this node.
    #[codec(index = 1)]
    Refused(HelloRefusal),
    /// The peer has lost its own memory and cannot vouch for anybody.
    #[codec(index = 2)]
    NoWitness,
}

#[cfg(signonce_sim)]
impl HelloReply {
    /// The same, as if the peer had never heard of the node.
    pub(super) fn without_memory(&self) -> Self {
        let mut reply = self.clone();
        if let Self::Welcome { remembered, witnessed, .. } = &mut reply {
            (*remembered, *witnessed) = (None, Witnessed::default());
        }
        reply
    }
}

/// How far a peer is, with what it holds but has not made durable yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Witnessed {
    /// Its term.
    pub term: u64,
    /// Term and index of its last log entry: raft's order of logs.
    pub log: (u64, u64),
}

/// What each of a starting node's witnesses has said, and what follows from it.
#[derive(Debug)]
pub(super) struct Witnesses {
    own: NodeId,
    /// The newest configuration known.
    roll: Roll,
    /// Every voter must answer, not only a majority: a first start.
    everybody: bool,
    said: BTreeMap<NodeId, Witnessed>,
}

impl Witnesses {
    pub(super) fn hear(&mut self, peer: NodeId, witnessed: Witnessed) {
        self.said.insert(peer, witnessed);
    }

    /// Another answer may have told of a newer configuration. Of a first start there is none.
    fn hear_of(&mut self, roll: &Roll) {
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
    /// does: else an entry that only one of them ever had, and took with it, would keep the node back for ever.
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

/// Why a peer will not talk to a node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum HelloRefusal {
    /// The node belongs to another cluster.
    #[codec(index = 0)]
    #[error("it belongs to cluster {theirs}, this node to {ours}")]
    OtherCluster {
        /// The cluster of the node that said hello.
        theirs: ClusterId,
        /// The cluster of the one that answers.
        ours: ClusterId,
    },
    /// The two were initialised with different member lists.
    #[codec(index = 1)]
    #[error("it was initialised with other members than this node")]
    OtherMembers,
    /// No member of the cluster has this id.
    #[codec(index = 2)]
    #[error("no member has the id {0}")]
    NotAMember(NodeId),
    /// A later life of the same node has been met: this one is a clone or a left-over.
    #[codec(index = 3)]
    #[error(
        "a later start ({met}) of the same node id is known, this one is start {yours}: it is a copy, or its disk was \
         wiped or restored"
    )]
    Superseded {
        /// The incarnation already met.
        met: u64,
        /// The incarnation that said hello.
        yours: u64,
    },
    /// The node was removed.
    #[codec(index = 4)]
    #[error(
        "node {0} was removed from the cluster, for ever. To bring the machine back, clear its data directory, run \
         `members add` and join under the new id"
    )]
    Removed(NodeId),
}

/// What a node keeps of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Remembered {
    /// The newest life met.
    pub life: Life,
    /// The highest promise seen, if any.
    pub promise: Option<Promise>,
}

/// What a node keeps of all peers. Rows are written without an fsync of their own and ride the next one.
#[derive(Debug, Default)]
pub struct PeerMemory {
    peers: BTreeMap<NodeId, Remembered>,
    dirty: BTreeSet<NodeId>,
}

impl PeerMemory {
    pub(super) fn load(image: &DiskImage) -> Result<Self, CodecError> {
        let mut peers = BTreeMap::new();
        for (key, value) in image.table(super::disk::DiskTable::Meta) {
            let Some(id) = key.strip_prefix(meta_key::MEMORY) else { continue };
            let id = <[u8; 8]>::try_from(id).map_err(|_| CodecError::Malformed {
                what: "memory row",
                reason: "its key has no node id".into(),
            })?;
            peers.insert(NodeId(u64::from_be_bytes(id)), read_meta(value)?);
        }
        Ok(Self { peers, dirty: BTreeSet::new() })
    }

    pub(super) fn save(&mut self, batch: &mut DiskBatch) {
        for peer in std::mem::take(&mut self.dirty) {
            let mut key = meta_key::MEMORY.to_vec();
            key.extend_from_slice(&peer.0.to_be_bytes());
            batch.put_meta(key, &self.peers[&peer]);
        }
    }

    /// What is remembered of `peer`.
    pub fn of(&self, peer: NodeId) -> Remembered {
        self.peers.get(&peer).copied().unwrap_or_default()
    }

    pub(super) fn saw(&mut self, peer: NodeId, promise: &Promise) {
        let known = self.peers.entry(peer).or_default();
        let mut raised = known.promise.unwrap_or_default();
        raised.raise(promise);
        if known.promise != Some(raised) {
            known.promise = Some(raised);
            self.dirty.insert(peer);
        }
    }

    /// Admits `life` of `peer`, which began with `disk`, unless a later one was met.
    pub(super) fn meet(
        &mut self,
        peer: NodeId,
        life: Life,
        disk: &DiskPosition,
    ) -> Result<Meeting, HelloRefusal> {
        let known = self.peers.entry(peer).or_default();
        let superseded = life.incarnation < known.life.incarnation
            || (life.incarnation == known.life.incarnation && life.boot != known.life.boot);
        if known.life == Life::ENDED {
            return Err(HelloRefusal::Removed(peer));
        }
        if superseded {
            return Err(HelloRefusal::Superseded { met: known.life.incarnation, yours: life.incarnation });
        }
        if known.life == life {
            return Ok(Meeting::Known);
        }
        known.life = life;
        self.dirty.insert(peer);
        let kept = known.promise.is_none_or(|promise| promise.kept_by(disk));
        Ok(if kept { Meeting::New } else { Meeting::Forgetful })
    }

    /// The lives met, for the messages of this node.
    pub(super) fn lives(&self) -> Vec<(NodeId, Life)> {
        self.peers.iter().map(|(peer, known)| (*peer, known.life)).collect()
    }

    /// Of the lives that another node has met, those that are news to node `own`.
    pub(super) fn news(&self, own: NodeId, lives: &[(NodeId, Life)]) -> Vec<(NodeId, Life)> {
        let news = lives.iter().filter(|(peer, life)| *peer != own && life.is_after(&self.of(*peer).life));
        news.copied().collect()
    }

    /// Takes lives over that another node has met.
    pub(super) fn hear_of(&mut self, news: &[(NodeId, Life)]) {
        for (peer, life) in news {
            self.peers.entry(*peer).or_default().life = *life;
            self.dirty.insert(*peer);
        }
    }

    /// A member was removed: no life of it is listened to any more, and others hear that from every message.
    pub(super) fn bury(&mut self, peer: NodeId) {
        self.peers.entry(peer).or_default().life = Life::ENDED;
        self.dirty.insert(peer);
    }

    /// Whether `lives` of `sender` lack a life that this node has met.
    pub(super) fn is_ahead_of(&self, sender: NodeId, lives: &[(NodeId, Life)]) -> bool {
        self.peers.iter().filter(|(peer, _)| **peer != sender).any(|(peer, known)| {
            let theirs = lives.iter().find(|(id, _)| id == peer).map(|(_, life)| *life);
            let theirs = theirs.unwrap_or_default();
            theirs != known.life && !theirs.is_after(&known.life)
        })
    }
}

/// Why a node must not take part any more, in any life, until it is replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Quarantine {
    /// The disk holds less than this node has promised.
    #[error(
        "node {peer} remembers that this node promised term {} vote {} index {}, but the disk holds term {} vote {} \
         index {}: the disk was lost, restored or rolled back. This identity may never vote again; give the machine \
         a new one with `members replace`",
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
    #[error(
        "this node was removed from the cluster, for ever. To bring the machine back, clear its data directory, run \
         `members add` and join under the new id"
    )]
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
    pub(super) fn new(own: NodeId, disk: DiskPosition, arrival: Arrival, roll: Roll) -> Self {
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
    use super::*;
    use crate::model::Configuration;

    const DISK: DiskPosition = DiskPosition { term: 3, vote: 1, last_index: 20 };

    fn roll(at: u64, voters: &[u64]) -> Roll {
        Roll::new(at, &Configuration { voters: voters.to_vec(), ..Default::default() })
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
            roll: Roll::default(),
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
        let mut fence = Fence::new(NodeId(9), DISK, Arrival::Joining, Roll::default());
        assert!(!fence.is_open(), "it knows of nobody");
        assert_eq!(fence.answer(NodeId(2), &welcome_with(9, &[1, 2, 3])), FenceStep::Waiting);
        assert_eq!(fence.missing(), 1);
        assert_eq!(fence.answer(NodeId(3), &welcome_with(9, &[1, 2, 3])), FenceStep::Passed);
    }

    #[test]
    fn a_node_that_joined_before_and_was_wiped_is_known_by_what_is_remembered() {
        let mut fence = Fence::new(NodeId(9), DISK, Arrival::Joining, Roll::default());
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
    fn no_life_of_a_removed_node_is_met_and_others_hear_of_it() {
        let mut memory = PeerMemory::default();
        let life = Life { incarnation: 3, boot: 5 };
        assert_eq!(memory.meet(NodeId(2), life, &DISK), Ok(Meeting::New));
        memory.bury(NodeId(2));
        let later = Life { incarnation: 4, boot: 6 };
        assert_eq!(memory.meet(NodeId(2), later, &DISK), Err(HelloRefusal::Removed(NodeId(2))));
        let other = PeerMemory::default();
        assert_eq!(other.news(NodeId(1), &memory.lives()), [(NodeId(2), Life::ENDED)]);
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

    #[test]
    fn of_processes_with_one_id_only_the_latest_life_is_met() {
        let mut memory = PeerMemory::default();
        let life = |incarnation, boot| Life { incarnation, boot };
        let mut meet = |life| memory.meet(NodeId(2), life, &DISK);
        assert_eq!(meet(life(4, 77)), Ok(Meeting::New));
        assert_eq!(meet(life(4, 77)), Ok(Meeting::Known), "the same life may reconnect");
        assert!(meet(life(4, 78)).is_err(), "a clone with the same incarnation");
        assert_eq!(meet(life(5, 1)), Ok(Meeting::New));
        assert!(meet(life(4, 77)).is_err(), "the one before");
    }

    #[test]
    fn a_new_life_on_a_disk_that_holds_less_than_was_promised_is_known_as_forgetful() {
        let mut memory = PeerMemory::default();
        memory.saw(NodeId(2), &Promise { term: 3, vote: 1, index: 21 });
        let life = Life { incarnation: 2, boot: 5 };
        assert_eq!(memory.meet(NodeId(2), life, &DISK), Ok(Meeting::Forgetful));
        assert_eq!(memory.meet(NodeId(2), life, &DISK), Ok(Meeting::Known), "it is said once");
    }

    #[test]
    fn who_has_not_met_a_newer_life_is_behind_until_it_hears_of_it() {
        let life = |incarnation, boot| Life { incarnation, boot };
        let memory_of = |lives: &[Life]| {
            let mut memory = PeerMemory::default();
            for life in lives {
                let _ = memory.meet(NodeId(2), *life, &DISK);
            }
            memory
        };
        let (old, new) = (memory_of(&[life(1, 7)]), memory_of(&[life(1, 7), life(2, 8)]));
        assert!(new.is_ahead_of(NodeId(3), &old.lives()));
        assert!(!old.is_ahead_of(NodeId(3), &new.lives()));
        assert!(!new.is_ahead_of(NodeId(2), &old.lives()), "of itself a sender says nothing");
        let copy = memory_of(&[life(2, 9)]);
        assert!(copy.is_ahead_of(NodeId(3), &new.lives()) && new.is_ahead_of(NodeId(3), &copy.lives()));
        assert!(new.news(NodeId(1), &copy.lives()).is_empty(), "of two copies neither is newer");
        let mut learnt = old;
        learnt.hear_of(&learnt.news(NodeId(1), &new.lives()));
        assert!(!new.is_ahead_of(NodeId(3), &learnt.lives()));
    }
}
