//! What a claim costs where: every node measures its round trip to each peer and its own fsyncs, and tells the others
//! what follows. So the leader can compare itself with them. Nothing is decided here.
//!
//! Once a second each peer is asked ([`Frame::Ping`](crate::frame::Frame)); the answer comes with the figures
//! of the one that answers.

use crate::driver::Moment;
use signonce_protocol::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Figures of a peer that has not answered for this long are forgotten.
const KEPT: Duration = Duration::from_secs(10);

/// What is known of a node as a place for the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How long a question to it takes to be answered; zero for the node itself.
    pub round_trip: Duration,
    /// What an fsync takes there, lately; unknown before the first.
    pub sync: Option<Duration>,
    /// What a claim would take to commit if it led.
    pub cost: Option<Duration>,
}

/// What a claim takes to commit under a leader with this `sync`: its own fsync and, at the same time, the answers of
/// the nearest of the other voters that make a majority with it. `others` has what each takes, its fsync included.
pub(crate) fn cost(sync: Duration, mut others: Vec<Option<Duration>>) -> Option<Duration> {
    let needed = others.len().div_ceil(2);
    others.sort_by_key(|other| other.unwrap_or(Duration::MAX));
    match needed.checked_sub(1) {
        None => Some(sync),
        Some(last) => others[last].map(|slowest| slowest.max(sync)),
    }
}

struct Seen {
    measured: Measured,
    at: Moment,
}

pub(crate) struct Measure {
    asked: BTreeMap<NodeId, (u64, Moment)>,
    seen: BTreeMap<NodeId, Seen>,
    nonce: u64,
    asked_at: Moment,
    sync: Option<Duration>,
    /// Fsyncs since the last question, and what they took together.
    syncs: (u32, Duration),
}

impl Measure {
    pub(crate) fn new(now: Moment) -> Self {
        let (asked, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { asked, seen, nonce: 0, asked_at: now, sync: None, syncs: (0, Duration::ZERO) }
    }

    /// Whether it is time to ask again.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        now.saturating_sub(self.asked_at) >= ASK_EVERY
    }

    /// An fsync of the store is done.
    pub(crate) fn synced(&mut self, took: Duration) {
        let (count, together) = &mut self.syncs;
        *count += 1;
        *together += took;
    }

    /// A round of questions begins: the number they carry.
    pub(crate) fn ask(&mut self, now: Moment, peers: impl Iterator<Item = NodeId>) -> u64 {
        let (count, together) = std::mem::take(&mut self.syncs);
        if let Some(mean) = together.checked_div(count) {
            self.sync = Some(smooth(self.sync, mean));
        }
        self.nonce += 1;
        self.asked_at = now;
        self.asked = peers.map(|peer| (peer, (self.nonce, now))).collect();
        self.seen.retain(|_, seen| now.saturating_sub(seen.at) <= KEPT);
        self.nonce
    }

    /// A peer has answered, with what it has measured of itself.
    pub(crate) fn answered(
        &mut self,
        from: NodeId,
        nonce: u64,
        sync: Option<Duration>,
        cost: Option<Duration>,
        now: Moment,
    ) {
        let Some((_, at)) = self.asked.remove(&from).filter(|(asked, _)| *asked == nonce) else { return };
        let before = self.seen.get(&from).map(|seen| seen.measured.round_trip);
        let round_trip = smooth(before, now.saturating_sub(at));
        self.seen.insert(from, Seen { measured: Measured { round_trip, sync, cost }, at: now });
    }

    /// What this node has measured of itself: its fsync, and its cost among `voters`.
    pub(crate) fn own(&self, own: NodeId, voters: &[NodeId]) -> Measured {
        let takes = |node: &NodeId| {
            let measured = self.seen.get(node)?.measured;
            Some(measured.round_trip + measured.sync?)
        };
        let others = voters.iter().filter(|node| **node != own).map(takes).collect();
        let cost = self.sync.and_then(|sync| cost(sync, others));
        Measured { round_trip: Duration::ZERO, sync: self.sync, cost }
    }

    /// Everybody that has answered lately.
    pub(crate) fn all(&self) -> BTreeMap<NodeId, Measured> {
        self.seen.iter().map(|(node, seen)| (*node, seen.measured)).collect()
    }
}

/// A new figure counts for a quarter.
fn smooth(before: Option<Duration>, now: Duration) -> Duration {
    before.map_or(now, |before| (before * 3 + now) / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_claim_waits_for_the_nearest_majority_and_for_the_leaders_own_disk() {
        assert_eq!(cost(ms(2), vec![]), Some(ms(2)), "alone");
        assert_eq!(cost(ms(2), vec![Some(ms(9)), Some(ms(3))]), Some(ms(3)), "the nearer of two");
        assert_eq!(cost(ms(5), vec![Some(ms(9)), Some(ms(3))]), Some(ms(5)));
        assert_eq!(cost(ms(2), vec![None, Some(ms(3))]), Some(ms(3)), "one silent node of three");
        assert_eq!(cost(ms(2), vec![None, Some(ms(3)), Some(ms(4)), None]), Some(ms(4)));
        assert_eq!(cost(ms(2), vec![None, None]), None);
        assert_eq!(cost(ms(2), vec![Some(ms(1)), Some(ms(7)), Some(ms(3))]), Some(ms(3)), "three of four");
    }

    #[test]
    fn only_the_answer_to_the_last_question_is_timed_and_old_figures_are_forgotten() {
        let (start, peer) = (ms(500), NodeId(2));
        let mut measure = Measure::new(start);
        let first = measure.ask(start, [peer].into_iter());
        measure.synced(ms(1));
        measure.synced(ms(3));
        let second = measure.ask(start + ms(1_000), [peer].into_iter());
        measure.answered(peer, first, Some(ms(1)), None, start + ms(1_001));
        assert!(measure.all().is_empty(), "an answer that comes a round late says nothing");
        let third = measure.ask(start + ms(2_000), [peer].into_iter());
        assert!(third > second);
        measure.answered(peer, third, Some(ms(1)), None, start + ms(2_004));
        assert_eq!(measure.all()[&peer].round_trip, ms(4));
        let own = measure.own(NodeId(1), &[NodeId(1), peer]);
        assert_eq!((own.sync, own.cost), (Some(ms(2)), Some(ms(5))));
        measure.ask(start + ms(20_000), std::iter::empty());
        assert!(measure.all().is_empty());
    }
}
