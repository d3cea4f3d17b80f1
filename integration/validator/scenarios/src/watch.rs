//! Watches a node's heads over time, to say afterwards how long the chain stood still.

use crate::rpc::NodeRpc;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// A node under watch, until it goes out of scope.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    best: Heights,
    finalized: Heights,
    /// The highest round of each authority set.
    rounds: BTreeMap<u64, u64>,
}

impl Watch {
    /// Looks from now on.
    pub fn start(node: NodeRpc) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                // A node that does not answer now shows no height, and that is what is measured.
                if let Ok(best) = node.best().await {
                    lock(&shared).best.reached(Instant::now(), best);
                }
                if let Ok(finalized) = node.finalized().await {
                    lock(&shared).finalized.reached(Instant::now(), finalized);
                }
                if let Ok(at) = node.round().await {
                    let mut seen = lock(&shared);
                    let highest = seen.rounds.entry(at.set_id).or_default();
                    *highest = at.round.max(*highest);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { seen, task }
    }

    /// The heights of the best block so far.
    pub fn best(&self) -> Heights {
        lock(&self.seen).best.clone()
    }

    /// The heights of the finalized block so far.
    pub fn finalized(&self) -> Heights {
        lock(&self.seen).finalized.clone()
    }

    /// The highest round seen of each authority set.
    pub fn rounds(&self) -> BTreeMap<u64, u64> {
        lock(&self.seen).rounds.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When which height was first seen. Only rises: what a reorganisation takes back is not counted.
#[derive(Clone, Debug, Default)]
pub struct Heights(Vec<(Instant, u64)>);

impl Heights {
    fn reached(&mut self, at: Instant, height: u64) {
        if self.0.last().is_none_or(|(_, last)| height > *last) {
            self.0.push((at, height));
        }
    }

    /// The last height.
    pub fn last(&self) -> u64 {
        self.0.last().map_or(0, |(_, height)| *height)
    }

    /// The longest time without a new height within `from..to`, both of which count as ends.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let within = self.0.iter().map(|(at, _)| *at).filter(|at| (from..to).contains(at));
        let ends: Vec<Instant> = std::iter::once(from).chain(within).chain([to]).collect();
        ends.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
    }

    /// How long after `from` a height above `height` was seen.
    pub fn above(&self, height: u64, from: Instant) -> Option<Duration> {
        let first = self.0.iter().find(|(_, reached)| *reached > height)?;
        Some(first.0.saturating_duration_since(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_both_ends() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut heights = Heights::default();
        for (second, height) in [(2, 1), (4, 2), (5, 2), (9, 3), (10, 1)] {
            heights.reached(at(second), height);
        }
        let gap = |from, to| heights.longest_gap(at(from), at(to)).as_secs();
        assert_eq!(gap(1, 10), 5);
        assert_eq!(gap(1, 20), 11);
        assert_eq!(gap(0, 3), 2);
        assert_eq!(gap(5, 8), 3);
        assert_eq!(heights.last(), 3);
        assert_eq!(heights.above(1, at(1)), Some(Duration::from_secs(3)));
        assert_eq!(heights.above(3, at(1)), None);
    }

    #[test]
    fn a_chain_that_never_moved_stood_still_all_the_time() {
        let start = Instant::now();
        let gap = Heights::default().longest_gap(start, start + Duration::from_secs(7));
        assert_eq!(gap, Duration::from_secs(7));
    }
}
