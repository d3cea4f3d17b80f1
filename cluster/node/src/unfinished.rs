//! What a node has begun and not finished, and since when.
//!
//! Only what has ended can be timed, and that says nothing of what hangs: a node whose disk does not answer has the
//! same histograms as an idle one. So whoever begins something records it here beforehand, and readiness and alerts use
//! the age of the oldest thing that is still under way. It can be read without asking anything that may hang.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use signonce_core::replica::ReplicaStatus;
use signonce_protocol::{LogIndex, NodeId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old anything may become before the node reports that it is not ready. A healthy node takes milliseconds for all
/// of this; one whose disk stumbles now and then takes some hundreds.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(3);

/// Something that a node may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    /// An fsync of the store, on the thread that does nothing else.
    Sync,
    /// A write to the store, or an fsync, by the consensus thread itself.
    Write,
    /// The consensus thread, which runs at least once a tick.
    Consensus,
    /// Committed entries to be applied.
    Apply,
    /// On the leader: entries that it has proposed to be committed.
    Commit,
    /// A sign of life: from a majority on the leader, from the leader elsewhere.
    Quorum,
}

impl Awaited {
    /// All of them, causes before their effects.
    pub const ALL: [Self; 6] =
        [Self::Sync, Self::Write, Self::Consensus, Self::Apply, Self::Commit, Self::Quorum];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "fsync",
            Self::Write => "write",
            Self::Consensus => "consensus",
            Self::Apply => "apply",
            Self::Commit => "commit",
            Self::Quorum => "quorum",
        }
    }

    /// What hangs, as readable text.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Sync => "an fsync of its store has not ended; look at its disk",
            Self::Write => "a write to its store has not ended; look at its disk",
            Self::Consensus => "its consensus thread has not come round; look at the machine's load and disk",
            Self::Apply => "log entries that are committed have not been applied",
            Self::Commit => "what it proposed has not been committed: no majority writes it down",
            Self::Quorum => "the members that make a quorum with it have not been heard",
        }
    }
}

/// Since when each thing has been under way. Shared by the driver, its fsync thread, and readers.
#[derive(Debug)]
pub struct Unfinished {
    base: Instant,
    /// Microseconds from `base`, plus one; zero if nothing is under way.
    since: [AtomicU64; Awaited::ALL.len()],
    silent: Mutex<Vec<NodeId>>,
}

impl Default for Unfinished {
    fn default() -> Self {
        Self { base: Instant::now(), since: Default::default(), silent: Mutex::default() }
    }
}

impl Unfinished {
    /// Records since when `what` has been under way; `None` if it is not.
    pub(crate) fn set(&self, what: Awaited, since: Option<Instant>) {
        let micros = |at: Instant| at.saturating_duration_since(self.base).as_micros();
        let since = since.map_or(0, |at| u64::try_from(micros(at)).unwrap_or(u64::MAX - 1) + 1);
        self.slot(what).store(since, Ordering::Relaxed);
    }

    /// Runs `work`, which counts as under way meanwhile. Only one thread at a time.
    pub(crate) fn during<T>(&self, what: Awaited, work: impl FnOnce() -> T) -> T {
        self.set(what, Some(Instant::now()));
        let done = work();
        self.set(what, None);
        done
    }

    /// Records the voters that have not been heard recently although they should have been.
    pub(crate) fn silent(&self, voters: Vec<NodeId>) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = voters;
    }

    pub(crate) fn who_is_silent(&self) -> Vec<NodeId> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For how long `what` has been under way; zero if it is not.
    pub fn age(&self, what: Awaited, now: Instant) -> Duration {
        let since = self.slot(what).load(Ordering::Relaxed);
        let began = |since: u64| self.base + Duration::from_micros(since);
        since.checked_sub(1).map_or(Duration::ZERO, |since| now.saturating_duration_since(began(since)))
    }

    /// What has been under way for too long, and for how long; if one thing explains others, it is the one given.
    pub(crate) fn stalled(&self, now: Instant) -> Option<(Awaited, Duration)> {
        let aged = Awaited::ALL.map(|what| (what, self.age(what, now)));
        aged.into_iter().find(|(_, age)| *age >= STALLED_AFTER)
    }

    fn slot(&self, what: Awaited) -> &AtomicU64 {
        &self.since[what as usize]
    }
}

impl Collector for Unfinished {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "For how long what this node waits for has been under way; 0 while nothing is";
        let mut metric = encoder.encode_descriptor("unfinished_seconds", help, None, MetricType::Gauge)?;
        let now = Instant::now();
        for what in Awaited::ALL {
            let age = ConstGauge::new(self.age(what, now).as_secs_f64());
            age.encode(metric.encode_family(&[("what", what.name())])?)?;
        }
        Ok(())
    }
}

/// Since when the oldest committed entry has been waiting to be applied, judged by occasional checks: the true age
/// differs by at most the time between two checks, and what stands still only gets older.
#[derive(Debug, Default)]
pub(crate) struct ToApply(Option<(LogIndex, Instant)>);

impl ToApply {
    pub(crate) fn look(&mut self, status: &ReplicaStatus, now: Instant) -> Option<Instant> {
        self.between(status.committed, status.applied, now)
    }

    fn between(&mut self, committed: LogIndex, applied: LogIndex, now: Instant) -> Option<Instant> {
        if self.0.is_none_or(|(at, _)| at <= applied) {
            self.0 = (committed > applied).then_some((committed, now));
        }
        self.0.map(|(_, since)| since)
    }
}

/// When a quorum last showed a sign of life: on the leader, the last moment at which it had heard a majority, itself
/// included; elsewhere, when the leader was heard. Counted at the earliest from when the leader was found, or lost.
pub(crate) fn quorum_heard(
    status: &ReplicaStatus,
    heard: impl Fn(NodeId) -> Option<Instant>,
    since: Instant,
) -> Instant {
    let when = |node: NodeId| heard(node).map_or(since, |at| at.max(since));
    match status.leader {
        None => since,
        Some(leader) if leader != status.node => when(leader),
        Some(_) => {
            let others = status.voters.iter().filter(|voter| **voter != status.node);
            let mut times: Vec<Instant> = others.map(|voter| when(*voter)).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            // This many others make a majority with this node. A single node needs nobody.
            let needed = status.voters.len() / 2;
            needed.checked_sub(1).and_then(|last| times.get(last)).copied().unwrap_or_else(Instant::now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::StateHash;
    use signonce_core::replica::Role;
    use signonce_protocol::Term;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn an_fsync_that_hangs_is_seen_while_it_hangs_and_names_itself_before_what_follows_from_it() {
        let unfinished = Unfinished::default();
        let start = unfinished.base + ms(10);
        assert_eq!(unfinished.stalled(start + ms(60_000)), None, "without work nothing is late");
        unfinished.set(Awaited::Sync, Some(start));
        unfinished.set(Awaited::Commit, Some(start));
        unfinished.set(Awaited::Consensus, Some(start + ms(5_000)));
        assert_eq!(unfinished.stalled(start + ms(2_999)), None);
        assert_eq!(unfinished.stalled(start + ms(3_000)), Some((Awaited::Sync, ms(3_000))));
        assert_eq!(unfinished.stalled(start + ms(60_000)), Some((Awaited::Sync, ms(60_000))));
        // It ends after all; what waited for it may take a moment more.
        unfinished.set(Awaited::Sync, None);
        assert_eq!(unfinished.stalled(start + ms(7_000)), Some((Awaited::Commit, ms(7_000))));
        unfinished.set(Awaited::Commit, Some(start + ms(6_999)));
        assert_eq!(unfinished.stalled(start + ms(7_000)), None);
        assert_eq!(unfinished.stalled(start + ms(8_000)).unwrap().0, Awaited::Consensus);
    }

    #[test]
    fn work_is_under_way_while_it_is_done_and_no_longer() {
        let unfinished = Unfinished::default();
        let later = unfinished.base + ms(3_600_000);
        unfinished.during(Awaited::Write, || {
            assert_eq!(unfinished.stalled(later).map(|(what, _)| what), Some(Awaited::Write));
        });
        assert_eq!(unfinished.stalled(later), None);
    }

    #[test]
    fn entries_that_stay_unapplied_age_though_more_are_committed() {
        let (mut behind, start) = (ToApply::default(), Instant::now());
        let mut look = |committed, applied, at| behind.between(LogIndex(committed), LogIndex(applied), at);
        assert_eq!(look(5, 5, start), None);
        assert_eq!(look(6, 5, start + ms(1)), Some(start + ms(1)));
        assert_eq!(look(900, 5, start + ms(9_000)), Some(start + ms(1)), "the oldest counts");
        // It moves: what is looked at next has waited for a moment only.
        assert_eq!(look(900, 6, start + ms(9_001)), Some(start + ms(9_001)));
        assert_eq!(look(901, 899, start + ms(9_500)), Some(start + ms(9_001)));
        assert_eq!(look(901, 901, start + ms(9_501)), None);
    }

    fn status(leader: Option<u64>, voters: u64) -> ReplicaStatus {
        ReplicaStatus {
            node: NodeId(1),
            role: Role::Follower,
            leader: leader.map(NodeId),
            term: Term(1),
            last: LogIndex(0),
            committed: LogIndex(0),
            applied: LogIndex(0),
            state_hash: StateHash::default(),
            not_member: None,
            voters: (1..=voters).map(NodeId).collect(),
            learners: vec![],
            followers: vec![],
            log_bytes: 0,
        }
    }

    #[test]
    fn a_leader_needs_a_majority_with_itself_and_a_follower_its_leader() {
        let start = Instant::now();
        // Node 2 was heard last, then node 3, and so on.
        let heard = |node: NodeId| (node.0 < 5).then(|| start + ms(10_000 - node.0 * 1_000));
        let last = |leader, voters| quorum_heard(&status(leader, voters), heard, start);
        assert_eq!(last(Some(1), 3), start + ms(8_000), "one other of three");
        assert_eq!(last(Some(1), 4), start + ms(7_000), "two others of four");
        assert_eq!(last(Some(1), 5), start + ms(7_000), "two others of five");
        assert_eq!(last(Some(3), 5), start + ms(7_000), "the leader, whoever else is heard");
        assert_eq!(last(Some(5), 5), start, "one that was never heard, from when it was known");
        assert_eq!(last(None, 3), start, "from when there was none");
        // What was heard before this leader says nothing about it.
        assert_eq!(quorum_heard(&status(Some(3), 3), heard, start + ms(9_000)), start + ms(9_000));
    }
}
