//! The gate as the keystore uses it: the [`Rules`] behind a lock that is never held across a call out, and the thread
//! that observes the voter.
//!
//! [`Gate::is_open`] is called under the voter's own lock. [`VoterView`] needs that lock too, and may wait for as long
//! as the voter sits in a signing call, so it is called only from the gate's thread, with no lock of the gate held.

use super::{Output, Recorded, Rules, VotePosition};
use crate::metrics::Metrics;
use signonce_protocol::PublicKey;
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the voter is observed. Rounds take a second or more.
const POLL: Duration = Duration::from_millis(500);

/// Where a node's GRANDPA voter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoterPosition {
    /// The authority set: `LinkHalf::shared_authority_set().set_id()`.
    pub set_id: u64,
    /// The round being voted in: `SharedVoterState::voter_state().best_round.0`.
    pub round: u64,
}

impl From<VoterPosition> for VotePosition {
    fn from(VoterPosition { set_id, round }: VoterPosition) -> Self {
        Self { set_id, round }
    }
}

/// What the gate needs of the node's voter. [`position`](Self::position) and [`restart_voter`](Self::restart_voter) are
/// called only from the gate's own thread, and may take their time.
pub trait VoterView: Send + 'static {
    /// The position of the running voter; `None` while no voter runs.
    fn position(&self) -> Option<VoterPosition>;

    /// The raw value of the aux key `grandpa_completed_round`, where sc-consensus-grandpa records its votes. Called
    /// once, by [`gate_grandpa`](crate::RemoteSigner::gate_grandpa) itself: call that before the voter is started,
    /// which writes there.
    fn recorded(&self) -> Option<Vec<u8>>;

    /// Asks the node to restart its voter in place, so that `has_keys` is asked again; `false` if the node cannot.
    /// May return before the new voter runs.
    fn restart_voter(&self) -> bool {
        false
    }
}

/// The signers' answer for votes that were recorded before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preflight {
    /// Signed: the voter may ask for it.
    Signed,
    /// Refused for good.
    Refused,
    /// There was no answer, or none that lasts.
    Unknown,
}

/// The GRANDPA gate of a node, for each of its keys.
pub(crate) struct Gate {
    rules: Mutex<Rules>,
    metrics: Metrics,
    stopped: AtomicBool,
}

impl Gate {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { rules: Mutex::default(), metrics, stopped: AtomicBool::new(false) }
    }

    /// Whether the voter may have this key now. Never waits for anything but other calls like it.
    pub(crate) fn is_open(&self, key: &PublicKey) -> bool {
        self.rules().is_open(key)
    }

    /// Takes in how far a key has signed, as the signers report it at the start and at each change. A key without a
    /// floor is not armed and stays closed.
    pub(crate) fn watermark(
        &self,
        key: &PublicKey,
        floor: Option<VotePosition>,
        highest: Option<VotePosition>,
    ) {
        let outputs = self.rules().watermark(key, floor, highest, Instant::now());
        self.tell(&outputs);
    }

    /// This process got a signature.
    pub(crate) fn signed(&self, key: &PublicKey, at: VotePosition) {
        self.rules().signed(key, at);
    }

    /// The key is not this node's any more.
    pub(crate) fn forget(&self, key: &PublicKey) {
        self.rules().forget(key);
        self.metrics.gate_gone(key);
    }

    /// This process was denied a vote.
    pub(crate) fn refused(&self, key: &PublicKey, at: VotePosition) {
        let output = self.rules().refused(key, at, Instant::now());
        self.tell(output.as_slice());
    }

    /// Ends the thread soon.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Reads what the voter recorded, then observes it from a thread of its own until the gate is stopped or dropped.
    /// `preflight` asks the signers for a vote's signature, discards it and returns the answer; it may take as long as
    /// such a call may.
    pub(crate) fn watch<V, F>(self: &Arc<Self>, voter: V, preflight: F)
    where
        V: VoterView,
        F: Fn(&PublicKey, Vec<u8>) -> Preflight + Send + 'static,
    {
        self.read_record(&voter);
        let gate = Arc::downgrade(self);
        let watch = move || {
            while let Some(gate) = gate.upgrade().filter(|gate| !gate.stopped.load(Ordering::Relaxed)) {
                gate.look(&voter, &preflight);
                drop(gate);
                std::thread::sleep(POLL);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("grandpa-gate".into()).spawn(watch) {
            log::error!(target: crate::LOG, "GRANDPA keys that have voted before stay unused: no thread can be \
                started to follow the voter ({error}). Restart the node");
        }
    }

    fn read_record(&self, voter: &impl VoterView) {
        let recorded = voter.recorded().and_then(|bytes| match Recorded::decode(&bytes) {
            Ok(recorded) => Some(recorded),
            Err(error) => {
                log::warn!(target: crate::LOG, "what the node's voter recorded cannot be read, so it counts as \
                    lost: {error}");
                None
            }
        });
        let outputs = self.rules().recorded(recorded, Instant::now());
        self.tell(&outputs);
    }

    /// Observes the voter once, and does what follows from it.
    fn look(&self, voter: &impl VoterView, preflight: &impl Fn(&PublicKey, Vec<u8>) -> Preflight) {
        let position = voter.position().map(VotePosition::from);
        let outputs = self.rules().tick(position, Instant::now());
        self.tell(&outputs);
        for output in outputs {
            match output {
                Output::Preflight { key, at, votes } => {
                    let answer = preflight_all(&key, votes, preflight);
                    let output = self.rules().preflighted(&key, at, answer, Instant::now());
                    self.tell(output.as_slice());
                }
                Output::RestartVoter => {
                    let done = voter.restart_voter();
                    let outputs = self.rules().restarted(done, Instant::now());
                    self.tell(&outputs);
                }
                Output::Opened { .. } | Output::Closed { .. } | Output::StandingBy { .. } => {}
            }
        }
    }

    /// Logs each transition, and sets the gauge.
    fn tell(&self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Opened { key, why, highest } => {
                    self.metrics.gate(key, true);
                    log::info!(target: crate::LOG, "GRANDPA key {key} may vote: {why}{}", Signed(*highest));
                }
                Output::Closed { key, why, highest } => {
                    self.metrics.gate(key, false);
                    log::warn!(target: crate::LOG, "GRANDPA key {key} does not vote for now: {why}{}. It will again \
                        when the node's voter is past that and nobody else signs with it", Signed(*highest));
                }
                Output::StandingBy { key, highest } => {
                    log::info!(target: crate::LOG, "GRANDPA key {key} stands by: another node signs with it, \
                        last in {highest}");
                }
                Output::Preflight { key, at, .. } => {
                    log::debug!(target: crate::LOG, "asking again for the votes recorded for {key} in {at}");
                }
                Output::RestartVoter => {
                    log::info!(target: crate::LOG, "restarting the GRANDPA voter, as the round \
                    it is in began without a key")
                }
            }
        }
    }

    // No call out is made while it is held, and every change leaves the rules consistent.
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signers' answer to all votes of a round: one refusal decides, and without one all must be signed.
fn preflight_all(
    key: &PublicKey,
    votes: Vec<Vec<u8>>,
    preflight: &impl Fn(&PublicKey, Vec<u8>) -> Preflight,
) -> Preflight {
    for vote in votes {
        match preflight(key, vote) {
            Preflight::Signed => {}
            other => return other,
        }
    }
    Preflight::Signed
}

/// The end of a line: the highest vote signed.
struct Signed(Option<VotePosition>);

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(highest) => write!(f, " (signed so far: up to {highest})"),
            None => f.write_str(" (signed so far: nothing)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::memory::tests::{LastVote, Record};
    use std::sync::mpsc;

    const A: VotePosition = VotePosition { set_id: 3, round: 10 };
    const NEW: Option<VotePosition> = Some(VotePosition { set_id: 0, round: 1 });

    fn key(n: u8) -> PublicKey {
        PublicKey::try_from([n; 32].as_slice()).expect("32 bytes")
    }

    fn gate() -> Arc<Gate> {
        Arc::new(Gate::new(Metrics::new(None).expect("metrics without a registry")))
    }

    /// A voter in `A`; looking at it waits for a word of the test while there may be one.
    struct Fake {
        record: Option<Vec<u8>>,
        looked: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
    }

    impl VoterView for Fake {
        fn position(&self) -> Option<VoterPosition> {
            // A test that is over hears of nothing any more.
            let _ = self.looked.send(());
            let _ = self.go_on.recv();
            Some(VoterPosition { set_id: A.set_id, round: A.round })
        }
        fn recorded(&self) -> Option<Vec<u8>> {
            self.record.clone()
        }
    }

    fn fake(record: Option<Vec<u8>>) -> (Fake, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (looked, look) = mpsc::channel();
        let (go, go_on) = mpsc::channel();
        (Fake { record, looked, go_on }, look, go)
    }

    fn voted_in_a() -> Record {
        let current = vec![(10, Some((1, LastVote::Precommit(None, 8, 9))))];
        Record { set_id: 3, completed: vec![9], current, paused: false }
    }

    fn wait_until(done: impl Fn() -> bool) {
        while !done() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_keystore_is_answered_while_the_voter_cannot_be_looked_at() {
        let gate = gate();
        let (voter, look, go) = fake(None);
        gate.watch(voter, |_, _| unreachable!("nothing was recorded"));
        look.recv().expect("the voter is looked at");
        // It sits there now, as it does while the voter waits for a signature. None of these waits for it.
        gate.watermark(&key(1), NEW, None);
        assert!(gate.is_open(&key(1)));
        gate.signed(&key(1), A);
        gate.refused(&key(1), A);
        assert!(!gate.is_open(&key(1)));
        drop(go);
    }

    #[test]
    fn the_votes_in_the_nodes_database_are_shown_to_the_signers_and_open_the_gate() {
        let gate = gate();
        let bytes = voted_in_a().encode();
        let expected = Recorded::decode(&bytes).expect("as the voter writes it").votes(&key(1), A);
        let (voter, _look, go) = fake(Some(bytes));
        drop(go);
        gate.watermark(&key(1), NEW, Some(A));
        let (asked, votes) = mpsc::channel();
        gate.watch(voter, move |of, vote| {
            asked.send((*of, vote)).expect("the test listens");
            Preflight::Signed
        });
        let shown = [votes.recv(), votes.recv()].map(|vote| vote.expect("two votes are shown"));
        assert_eq!(expected.len(), 2);
        assert_eq!(shown.to_vec(), expected.into_iter().map(|vote| (key(1), vote)).collect::<Vec<_>>());
        wait_until(|| gate.is_open(&key(1)));
    }

    #[test]
    fn one_vote_that_is_not_signed_decides_for_all_of_its_round() {
        for (answer, shown) in [(Preflight::Refused, 2), (Preflight::Unknown, 2), (Preflight::Signed, 3)] {
            let seen = std::cell::Cell::new(0);
            let answers = |_: &PublicKey, _| {
                seen.set(seen.get() + 1);
                if seen.get() == 2 { answer } else { Preflight::Signed }
            };
            assert_eq!(preflight_all(&key(1), vec![vec![0], vec![1], vec![2]], &answers), answer);
            assert_eq!(seen.get(), shown);
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_counts_as_lost() {
        let gate = gate();
        let (voter, look, go) = fake(Some(vec![9; 40]));
        gate.watch(voter, |_, _| unreachable!("there is no vote to show"));
        gate.watermark(&key(1), NEW, Some(A));
        for _ in 0..2 {
            look.recv().expect("the voter is looked at");
            go.send(()).expect("the thread lives");
        }
        assert!(!gate.is_open(&key(1)));
    }

    #[test]
    fn the_thread_ends_when_the_gate_is_stopped_or_dropped() {
        for stop in [true, false] {
            let gate = gate();
            let (voter, look, go) = fake(None);
            drop(go);
            gate.watch(voter, |_, _| Preflight::Unknown);
            let kept = if stop {
                gate.stop();
                Some(gate)
            } else {
                drop(gate);
                None
            };
            // Ends when the thread has let go of the voter.
            while look.recv().is_ok() {}
            drop(kept);
        }
    }
}
