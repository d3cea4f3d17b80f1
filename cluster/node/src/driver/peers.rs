//! When each peer was last heard, and how long a heartbeat to it takes to be answered. For people and metrics; nothing
//! is decided by it.
//!
//! Raft's heartbeats carry no number, so only one is timed at a time: an answer belongs to the oldest one that is
//! unanswered. A lost stream forgets what was under way.

use crate::metrics::PeerHeard;
use signonce_protocol::NodeId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Times {
    heard: Option<Instant>,
    asked: Option<Instant>,
    round_trip: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Peers(BTreeMap<NodeId, Times>);

impl Peers {
    /// A heartbeat leaves.
    pub(super) fn asked(&mut self, peer: NodeId, now: Instant) {
        self.0.entry(peer).or_default().asked.get_or_insert(now);
    }

    /// A raft message came, perhaps the answer to a heartbeat.
    pub(super) fn heard(&mut self, peer: NodeId, answers: bool, now: Instant) {
        let times = self.0.entry(peer).or_default();
        times.heard = Some(now);
        if answers && let Some(asked) = times.asked.take() {
            times.round_trip = Some(now.duration_since(asked));
        }
    }

    /// The stream to a peer broke.
    pub(super) fn lost(&mut self, peer: NodeId) {
        if let Some(times) = self.0.get_mut(&peer) {
            times.asked = None;
        }
    }

    /// When a peer was last heard.
    pub(super) fn last_heard(&self, peer: NodeId) -> Option<Instant> {
        self.0.get(&peer)?.heard
    }

    /// Every peer; `lately` is not longer ago than `within`.
    pub(super) fn all(&self, within: Duration, now: Instant) -> Vec<PeerHeard> {
        let one = |(node, times): (&NodeId, &Times)| PeerHeard {
            node: *node,
            lately: times.heard.is_some_and(|at| now.duration_since(at) <= within),
            round_trip: times.round_trip,
        };
        self.0.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    #[test]
    fn an_answer_is_timed_from_the_oldest_heartbeat_without_one() {
        let (mut peers, start) = (Peers::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        peers.asked(PEER, after(0));
        peers.asked(PEER, after(100));
        peers.heard(PEER, false, after(110));
        peers.heard(PEER, true, after(150));
        let heard = &peers.all(Duration::from_millis(100), after(250))[0];
        assert_eq!((heard.round_trip, heard.lately), (Some(Duration::from_millis(150)), true));
        assert!(!peers.all(Duration::from_millis(99), after(250))[0].lately);
    }

    #[test]
    fn what_was_under_way_on_a_lost_stream_is_not_timed() {
        let (mut peers, start) = (Peers::default(), Instant::now());
        peers.asked(PEER, start);
        peers.lost(PEER);
        peers.heard(PEER, true, start + Duration::from_secs(9));
        assert_eq!(peers.all(Duration::MAX, start + Duration::from_secs(9))[0].round_trip, None);
    }
}
