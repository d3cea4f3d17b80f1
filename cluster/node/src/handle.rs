//! The handle through which a server uses the cluster. Cheap to clone; every method may be called from any thread.

use crate::audit::AuditStore;
use crate::clock::{SlotOutOfRange, check_slot, unix_ms};
use crate::inbox::{Inbox, Input};
use crate::members::MemberView;
use crate::metrics::{ClusterMetrics, Stage};
use crate::spool::StateCapture;
use crate::unfinished::Awaited;
use signonce_core::replica::fence::Quarantine;
use signonce_core::replica::{NotMember, ReplicaStatus};
use signonce_core::{
    Change, ChangeDone, ChangeError, Claim, ClaimRequest, Refusal, RequestId, State, Verdict,
};
use signonce_driver::decision::{self, Decision};
use signonce_driver::measure::Measured;
use signonce_driver::{Answer, Request};
use signonce_protocol::{LogIndex, NodeId, Slot};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How long after its deadline an answer of the driver is still awaited: it looks at deadlines once a tick.
const DRIVER_GRACE: Duration = Duration::from_millis(500);

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nothing was proposed; another node may be able to.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The deadline passed after the request may have been proposed.
    #[error(
        "the outcome is unknown: the request was sent to the leader but no answer came in time. Ask again with the \
         very same payload, here or on another node"
    )]
    Unknown,
    /// The duty's slot is not now; nothing was proposed.
    #[error(transparent)]
    SlotOutOfRange(#[from] SlotOutOfRange),
}

/// Why this node cannot decide anything at the moment. No duty was consumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No leader is known, or it took nothing before the deadline.
    #[error("the cluster has no leader with a quorum at the moment; try another node or again")]
    NoLeader,
    /// The cluster has not formed.
    #[error("the cluster has not formed: waiting for {}", nodes(.0))]
    Forming(Vec<NodeId>),
    /// The node waits for its peers.
    #[error(
        "this node has just started and waits until {missing} of {} say that it has forgotten nothing",
        nodes(.from)
    )]
    Fenced {
        /// Answers still needed.
        missing: usize,
        /// Members that have not answered.
        from: Vec<NodeId>,
    },
    /// The node will never take part again.
    #[error("this node is in quarantine: {0}")]
    Quarantined(Quarantine),
    /// It takes part, and something that it has begun does not end.
    #[error("this node gets nothing done at the moment: for {} s {}", .age.as_secs(), .what.text())]
    Stalled {
        /// What.
        what: Awaited,
        /// For how long it has been under way.
        age: Duration,
    },
    /// The node is shutting down.
    #[error("this node is stopping; use another one")]
    Stopping,
}

fn nodes(ids: &[NodeId]) -> String {
    let names: Vec<String> = ids.iter().map(|id| format!("node {id}")).collect();
    if names.is_empty() { "the others".into() } else { names.join(", ") }
}

impl From<NotMember> for NotReady {
    fn from(why: NotMember) -> Self {
        match why {
            NotMember::Forming(from) => Self::Forming(from),
            NotMember::Fenced { missing, from } => Self::Fenced { missing, from },
            NotMember::Quarantined(reason) => Self::Quarantined(reason),
        }
    }
}

/// See the module's text.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub node: NodeId,
    pub boot: u64,
    pub next_seq: AtomicU64,
    pub stopping: AtomicBool,
    pub slot_tolerance: u64,
    pub inbox: Inbox,
    pub state: Arc<RwLock<State>>,
    pub status: watch::Receiver<ReplicaStatus>,
    pub applied: watch::Receiver<LogIndex>,
    pub metrics: Arc<ClusterMetrics>,
    pub audit: AuditStore,
}

impl Handle {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Looks at the applied state. Applying waits meanwhile: keep `look` short.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.read().expect("apply does not panic"))
    }

    /// Raft's side of this node, at most a tick old.
    pub fn status(&self) -> ReplicaStatus {
        self.0.status.borrow().clone()
    }

    /// Every node that belongs to the cluster or is on its way into or out of it, by id.
    pub fn members(&self) -> Vec<MemberView> {
        let status = self.status();
        self.read(|state| MemberView::all(state, &status))
    }

    /// What this node and its peers are worth as places for the leader: see [`ClusterMetrics::places`].
    pub fn places(&self) -> BTreeMap<NodeId, Measured> {
        self.0.metrics.places()
    }

    /// Wakes when role, leader, term or membership change.
    pub fn status_watch(&self) -> watch::Receiver<ReplicaStatus> {
        self.0.status.clone()
    }

    /// Wakes when entries were applied.
    pub fn applied_watch(&self) -> watch::Receiver<LogIndex> {
        self.0.applied.clone()
    }

    /// Whether this node can decide anything now.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn ready(&self) -> Result<(), NotReady> {
        if self.0.stopping.load(Ordering::Relaxed) {
            return Err(NotReady::Stopping);
        }
        let status = self.0.status.borrow();
        if let Some(why) = &status.not_member {
            return Err(why.clone().into());
        }
        // The status is what the consensus thread said last: of one that hangs it says nothing.
        if let Some((what, age)) = self.0.metrics.unfinished.stalled(Instant::now()) {
            let leaderless = what == Awaited::Quorum && status.leader.is_none();
            return Err(if leaderless { NotReady::NoLeader } else { NotReady::Stalled { what, age } });
        }
        if status.leader.is_none() { Err(NotReady::NoLeader) } else { Ok(()) }
    }

    /// The voters that this node has not heard lately. A follower hears only its leader; without one, nobody answers
    /// those that are named here.
    pub fn silent_voters(&self) -> Vec<NodeId> {
        self.0.metrics.unfinished.who_is_silent()
    }

    /// The decision on `claim` that this node has already applied, if it is a final one: a repeat or a refusal that
    /// nothing can change. Only a member answers.
    pub fn known(&self, claim: &Claim) -> Option<Decision> {
        if self.0.status.borrow().not_member.is_some() {
            return None;
        }
        let applied = *self.0.applied.borrow();
        self.read(|state| decision::known(state, applied, claim))
    }

    /// Why this node, by what it has applied, would have `claim` refused, though a later entry may change it. A claim
    /// that is not refused may be refused by the log; one that the state heeds has to reach it.
    pub fn would_refuse(&self, claim: &Claim) -> Option<Refusal> {
        match self.read(|state| (state.check(claim), state.heeds(claim))) {
            (Verdict::Refused(refusal), false) => Some(refusal).filter(|refusal| !refusal.is_final()),
            (Verdict::Refused(_), true) | (Verdict::Granted | Verdict::Repeated { .. }, _) => None,
        }
    }

    /// Has the cluster decide `claim`.
    ///
    /// # Errors
    /// See [`SubmitError`]. Dropping the future does not take the claim back.
    pub async fn claim(&self, claim: Claim, timeout: Duration) -> Result<Decision, SubmitError> {
        self.claim_as(self.next_request(), claim, timeout).await
    }

    /// [`Self::claim`] under a name from [`Self::next_request`] that the caller has used before, in its log say.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn claim_as(
        &self,
        request: RequestId,
        claim: Claim,
        timeout: Duration,
    ) -> Result<Decision, SubmitError> {
        self.read(|state| check_slot(state, &claim, unix_ms(), self.0.slot_tolerance))?;
        match self.submit(Request::Claim(ClaimRequest { request, claim }), timeout).await? {
            Decided::Claim(decision) => Ok(decision),
            Decided::Change(_) => unreachable!("a claim is answered with a verdict"),
        }
    }

    /// Has the cluster make `change`, on behalf of `actor`.
    ///
    /// # Errors
    /// See [`SubmitError`]; the inner result is the state machine's own answer.
    pub async fn change(
        &self,
        actor: String,
        change: Change,
        timeout: Duration,
    ) -> Result<Result<ChangeDone, ChangeError>, SubmitError> {
        let request = self.next_request();
        let change = Request::Change { request, actor, time_ms: unix_ms(), change };
        match self.submit(change, timeout).await? {
            Decided::Change(done) => Ok(done),
            Decided::Claim(_) => unreachable!("a change is not answered with a verdict"),
        }
    }

    /// If this node leads, hands leadership to `to` or to the follower that is furthest, and waits until it no longer
    /// leads. Returns whom it was handed to.
    pub async fn transfer_leadership(&self, to: Option<NodeId>, timeout: Duration) -> Option<NodeId> {
        let mut status = self.status_watch();
        let (answer, answered) = oneshot::channel();
        self.0.inbox.push(Input::TransferLeadership { to, answer });
        let heir = answered.await.ok().flatten()?;
        let node = self.0.node;
        let moved = status.wait_for(|s| s.leader.is_some_and(|leader| leader != node));
        tokio::time::timeout(timeout, moved).await.ok()?.ok()?;
        Some(heir)
    }

    /// The state as this node has applied it, and what `look` says of it at that moment. Not for an async thread: it
    /// waits for the driver.
    ///
    /// # Errors
    /// If the node stops.
    pub fn capture<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<(StateCapture, T), NotReady> {
        let (answer, answered) = oneshot::channel();
        self.0.inbox.push(Input::CaptureState(Box::new(move |state, capture| {
            let _ = answer.send((StateCapture::of(capture), look(state)));
        })));
        answered.blocking_recv().map_err(|_| NotReady::Stopping)
    }

    /// The audit records on this node.
    pub fn audit(&self) -> AuditStore {
        self.0.audit.clone()
    }

    /// A name for a request, never used before and never again.
    pub fn next_request(&self) -> RequestId {
        let seq = self.0.next_seq.fetch_add(1, Ordering::Relaxed);
        RequestId { node: self.0.node, boot: self.0.boot, seq }
    }

    async fn submit(&self, request: Request, timeout: Duration) -> Result<Decided, SubmitError> {
        let why_not = self.0.status.borrow().not_member.clone();
        if let Some(why) = why_not {
            return Err(NotReady::from(why).into());
        }
        let started = Instant::now();
        let (answer, answered) = oneshot::channel();
        let deadline = started + timeout;
        self.0.inbox.push(Input::Submit { request, submitted: started, deadline, answer });
        let answered = tokio::time::timeout(timeout + DRIVER_GRACE, answered).await;
        // The driver has stopped with the request in its hands, or does not come round.
        let Ok(Ok(answer)) = answered else { return Err(SubmitError::Unknown) };
        if matches!(answer, Answer::Claim(_) | Answer::Change(_)) {
            self.0.metrics.stages.of(Stage::Commit).observe(started.elapsed());
        }
        match answer {
            Answer::Claim(decision) => Ok(Decided::Claim(decision)),
            Answer::Change(done) => Ok(Decided::Change(done)),
            Answer::NeverTaken => Err(NotReady::NoLeader.into()),
            Answer::Unknown => Err(SubmitError::Unknown),
            Answer::SlotOutOfRange { slot, now } => {
                let tolerance = self.0.slot_tolerance;
                Err(SlotOutOfRange { slot: Slot(slot), now: Slot(now), tolerance }.into())
            }
        }
    }
}

/// What the log decided.
enum Decided {
    Claim(Decision),
    Change(Result<ChangeDone, ChangeError>),
}
