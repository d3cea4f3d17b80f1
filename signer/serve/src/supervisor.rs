//! Notifies systemd: ready once the node serves, stopping when it drains, and a watchdog while the event loop lives.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing happens. The watchdog follows the consensus driver's ticks and
//! nothing else: a node without a quorum, behind the fence or with a full disk is alive, and restarting it would help
//! nobody.
//!
//! A thread of its own sends the messages: the supervisor's socket accepts a message only once the supervisor has read
//! those before it, and a supervisor that hangs must hold nobody up.

use crate::readiness::Gate;
use sd_notify::NotifyState;
use signonce_cluster::ClusterMetrics;
use std::{
    env,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How often readiness is checked.
const LOOK: Duration = Duration::from_millis(500);

/// Informs the supervisor, if there is one.
pub(super) struct Supervisor(Option<Sender<Stopping>>);

/// Says that the node drains.
struct Stopping;

impl Supervisor {
    /// Follows the node until the process ends.
    pub(super) fn follow(gate: Arc<Gate>, metrics: Arc<ClusterMetrics>) -> Self {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None); // nobody to tell
        }
        let (sender, stopping) = channel();
        let following = move || follow(&gate, &metrics, &stopping);
        match thread::Builder::new().name("supervisor".into()).spawn(following) {
            Ok(_) => Self(Some(sender)),
            Err(error) => {
                tracing::error!(%error, "the supervisor is not told how this node is");
                Self(None)
            }
        }
    }

    /// Tells the supervisor that the node drains.
    pub(super) fn stopping(&self) {
        if let Some(sender) = &self.0 {
            // Fails only if the thread has ended, which it does not.
            let _ = sender.send(Stopping);
        }
    }
}

fn follow(gate: &Gate, metrics: &ClusterMetrics, stopping: &Receiver<Stopping>) {
    let watchdog = sd_notify::watchdog_enabled();
    let pause = LOOK.min(watchdog.map_or(LOOK, |limit| limit / 4));
    let mut told = LastNotice::default();
    let mut next_sign = Instant::now();
    loop {
        if !told.stopping {
            tell_readiness(gate, &mut told);
        }
        let ticks = metrics.ticks();
        if let Some(limit) = watchdog.filter(|_| ticks != told.ticks && Instant::now() >= next_sign) {
            say(&[NotifyState::Watchdog]);
            // Three signs of life within the limit, so that a late one does no harm.
            next_sign = Instant::now() + limit / 3;
        }
        told.ticks = ticks;
        match stopping.recv_timeout(pause) {
            Ok(Stopping) => {
                told.stopping = true;
                let status = "handing over and answering what is under way";
                say(&[NotifyState::Stopping, NotifyState::Status(status)]);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn tell_readiness(gate: &Gate, told: &mut LastNotice) {
    let readiness = gate.readiness();
    if readiness.ready && !told.ready {
        told.ready = true;
        say(&[NotifyState::Ready]);
    }
    let status = if readiness.ready { "serving".to_owned() } else { readiness.reasons.join("; ") };
    if status != told.status {
        say(&[NotifyState::Status(&status)]);
        told.status = status;
    }
}

#[derive(Default)]
struct LastNotice {
    ready: bool,
    stopping: bool,
    status: String,
    ticks: u64,
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the supervisor was not told");
    }
}
