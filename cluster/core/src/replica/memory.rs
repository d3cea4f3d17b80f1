//! What a node remembers of its peers: the newest life met of each, and the highest promise seen.
//!
//! It is what a peer is told when it starts ([`super::fence`]), and what every message names (`PeerMemory::lives`). It
//! forgets nothing: rows are written before whatever they promise leaves.

use super::disk::{DiskBatch, DiskImage, meta_key, read_meta};
use super::hello::{HelloRefusal, Life};
use super::wire::{DiskPosition, Promise};
use crate::codec::CodecError;
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};

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

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: DiskPosition = DiskPosition { term: 3, vote: 1, last_index: 20 };

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
