//! The gate as the keystore has it: the [`Rules`] behind a lock that is never held across a call out, and the thread
//! that looks at the voter.
//!
//! [`Gate::is_open`] is asked under the voter's own lock. [`VoterView`] needs that lock too, and may wait for as long
//! as the voter sits in a signing call: so it is asked from the gate's thread only, with no lock of the gate held.

use super::{Output, Place, Recorded, Rules};
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

/// How often the voter is looked at. Rounds take a second or more.
const POLL: Duration = Duration::from_millis(500);

/// Where a node's GRANDPA voter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoterPosition {
    /// The authority set: `LinkHalf::shared_authority_set().set_id()`.
    pub set_id: u64,
    /// The round being voted in: `SharedVoterState::voter_state().best_round.0`.
    pub round: u64,
}

impl From<VoterPosition> for Place {
    fn from(VoterPosition { set_id, round }: VoterPosition) -> Self {
        Self { set_id, round }
    }
}

/// What the gate needs of the node's voter. [`position`](Self::position) and [`restart_voter`](Self::restart_voter) are
/// asked from the gate's own thread only, and may take their time.
pub trait VoterView: Send + 'static {
    /// The running voter's place; `None` while no voter runs.
    fn position(&self) -> Option<VoterPosition>;

    /// The raw value of the aux key `grandpa_completed_round`, where sc-consensus-grandpa records its votes. Asked once,
    /// by [`gate_grandpa`](crate::RemoteSigner::gate_grandpa) itself: call that before the voter is started, which
    /// writes there.
    fn recorded(&self) -> Option<Vec<u8>>;

    /// Asks the node to restart its voter in place, so that `has_keys` is asked again; `false` if the node cannot.
    /// May return before the new voter runs.
    fn restart_voter(&self) -> bool {
        false
    }
}

/// What the signers say to votes that were recorded before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preflight {
    /// Signed: the voter may ask for it.
    Signed,
    /// Refused for good.
    Refused,
    /// No answer, or none that lasts.
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

    /// Whether the voter may have this key now. Never waits for anything but other questions like it.
    pub(crate) fn is_open(&self, key: &PublicKey) -> bool {
        self.rules().is_open(key)
    }

    /// How far a key has signed, as the signers tell it: at the start, and at each change. A key without a floor is
    /// not armed and stays closed.
    pub(crate) fn watermark(&self, key: &PublicKey, floor: Option<Place>, highest: Option<Place>) {
        let outputs = self.rules().watermark(key, floor, highest, Instant::now());
        self.tell(&outputs);
    }

    /// This process got a signature.
    pub(crate) fn signed(&self, key: &PublicKey, at: Place) {
        self.rules().signed(key, at);
    }

    /// This process was refused for good.
    pub(crate) fn refused(&self, key: &PublicKey, at: Place) {
        let output = self.rules().refused(key, at, Instant::now());
        self.tell(output.as_slice());
    }

    /// Ends the thread soon.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Reads what the voter recorded, then looks at it from an own thread until the gate is stopped or dropped. `preflight` asks the signers for a
    /// vote's signature, throws it away and tells the answer; it may take as long as such a call may.
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

    /// One look at the voter, and what follows from it.
    fn look(&self, voter: &impl VoterView, preflight: &impl Fn(&PublicKey, Vec<u8>) -> Preflight) {
        let position = voter.position().map(Place::from);
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

    /// One line for each transition, and the gauge.
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

    // No call out is made while it is held, and every change leaves the rules whole.
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signers' answer to all of a round's votes: one refusal is enough, and without one all must be signed.
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
struct Signed(Option<Place>);

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(highest) => write!(f, " (signed so far: up to {highest})"),
            None => f.write_str(" (signed so far: nothing)"),
        }
    }
}
