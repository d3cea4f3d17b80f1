//! When each peer was last heard, and how long a heartbeat to it takes to be answered. For people and metrics; nothing
//! is decided by it.
//!
//! Raft's heartbeats carry no number, so only one is timed at a time: an answer belongs to the oldest one that is
//! unanswered. A lost stream forgets what was under way.

use crate::driver::Moment;
use signonce_protocol::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// A peer, as this node hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeard {
    /// Who.
    pub node: NodeId,
    /// When a raft message of it came last.
    pub heard: Option<Moment>,
    /// From a heartbeat to its answer, the last one measured.
    pub round_trip: Option<Duration>,
}

#[derive(Default)]
struct Times {
    heard: Option<Moment>,
    asked: Option<Moment>,
    round_trip: Option<Duration>,
}

#[derive(Default)]
pub(crate) struct Peers(BTreeMap<NodeId, Times>);

impl Peers {
    /// A heartbeat leaves.
    pub(crate) fn asked(&mut self, peer: NodeId, now: Moment) {
        self.0.entry(peer).or_default().asked.get_or_insert(now);
    }

    /// A raft message came, perhaps the answer to a heartbeat.
    pub(crate) fn heard(&mut self, peer: NodeId, answers: bool, now: Moment) {
        let times = self.0.entry(peer).or_default();
        times.heard = Some(now);
        if answers && let Some(asked) = times.asked.take() {
            times.round_trip = Some(now.saturating_sub(asked));
        }
    }

    /// The stream to a peer broke.
    pub(crate) fn lost(&mut self, peer: NodeId) {
        if let Some(times) = self.0.get_mut(&peer) {
            times.asked = None;
        }
    }

    /// Every peer that was ever heard or asked.
    pub(crate) fn all(&self) -> impl Iterator<Item = PeerHeard> {
        self.0.iter().map(|(node, times)| PeerHeard {
            node: *node,
            heard: times.heard,
            round_trip: times.round_trip,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    const fn ms(n: u64) -> Moment {
        Moment::from_millis(n)
    }

    fn only(peers: &Peers) -> PeerHeard {
        peers.all().next().unwrap()
    }

    #[test]
    fn an_answer_is_timed_from_the_oldest_heartbeat_without_one() {
        let mut peers = Peers::default();
        peers.asked(PEER, ms(0));
        peers.asked(PEER, ms(100));
        peers.heard(PEER, false, ms(110));
        peers.heard(PEER, true, ms(150));
        assert_eq!(only(&peers), PeerHeard { node: PEER, heard: Some(ms(150)), round_trip: Some(ms(150)) });
    }

    #[test]
    fn what_was_under_way_on_a_lost_stream_is_not_timed() {
        let mut peers = Peers::default();
        peers.asked(PEER, ms(0));
        peers.lost(PEER);
        peers.heard(PEER, true, ms(9_000));
        assert_eq!(only(&peers).round_trip, None);
    }
}
