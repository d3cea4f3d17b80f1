//! The handle through which a server uses the cluster. Cheap to clone; every method may be called from any thread.

use crate::audit::AuditStore;
use crate::clock::{SlotOutOfRange, unix_ms};
use crate::inbox::{Inbox, Input};
use crate::members::MemberView;
use crate::metrics::{ClusterMetrics, Stage};
use crate::spool::StateCapture;
use crate::unfinished::Awaited;
use crate::view::{TimelyClaim, View};
use signonce_core::replica::fence::Quarantine;
use signonce_core::replica::{NotMember, ReplicaStatus};
use signonce_core::{Change, ChangeDone, ChangeError, Claim, ClaimRequest, RequestId, State};
use signonce_driver::decision::Decision;
use signonce_driver::measure::Measured;
use signonce_driver::{Answer, Request};
use signonce_protocol::{LogIndex, NodeId, Slot};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How long after its deadline an answer of the driver is still awaited: the driver checks deadlines once a tick.
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
    /// No leader is known, or it took no request before the deadline.
    #[error("the cluster has no leader with a quorum at the moment; try another node or again")]
    NoLeader,
    /// The cluster has not formed.
    #[error("the cluster has not formed: waiting for {}", nodes(.0))]
    Forming(Vec<NodeId>),
    /// The node has just started and waits for its peers (the peer fence).
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
    /// It takes part, but something that it has begun does not end.
    #[error("this node gets nothing done at the moment: for {} s {}", .age.as_secs(), .what.text())]
    Stalled {
        /// What does not end.
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

/// A handle to a running node; see the module's text.
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
    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Calls `look` with the applied state. Applying waits in the meantime, so keep `look` short.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.read().expect("apply does not panic"))
    }

    /// Raft's status on this node, at most a tick old.
    pub fn status(&self) -> ReplicaStatus {
        self.0.status.borrow().clone()
    }

    /// Every node that belongs to the cluster or is joining or leaving it, by id.
    pub fn members(&self) -> Vec<MemberView> {
        let status = self.status();
        self.read(|state| MemberView::all(state, &status))
    }

    /// How suitable this node and its peers are as leaders: see [`ClusterMetrics::places`].
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
    /// What is missing.
    pub fn ready(&self) -> Result<(), NotReady> {
        if self.0.stopping.load(Ordering::Relaxed) {
            return Err(NotReady::Stopping);
        }
        let status = self.0.status.borrow();
        if let Some(why) = &status.not_member {
            return Err(why.clone().into());
        }
        // The status is the consensus thread's last report; it does not show that the thread hangs.
        if let Some((what, age)) = self.0.metrics.unfinished.stalled(Instant::now()) {
            let leaderless = what == Awaited::Quorum && status.leader.is_none();
            return Err(if leaderless { NotReady::NoLeader } else { NotReady::Stalled { what, age } });
        }
        if status.leader.is_none() { Err(NotReady::NoLeader) } else { Ok(()) }
    }

    /// The voters that this node has not heard recently. A follower hears only its leader; if there is none, the voters
    /// named here answer nobody.
    pub fn silent_voters(&self) -> Vec<NodeId> {
        self.0.metrics.unfinished.who_is_silent()
    }

    /// Calls `look` with the applied state and with what it says of claims. Applying waits meanwhile, so keep `look`
    /// short.
    pub fn view<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let is_member = self.0.status.borrow().not_member.is_none();
        let applied = *self.0.applied.borrow();
        let slot_tolerance = self.0.slot_tolerance;
        self.read(|state| look(&View { state, applied, is_member, slot_tolerance }))
    }

    /// Has the cluster decide `claim`.
    ///
    /// # Errors
    /// See [`SubmitError`]. Dropping the future does not take the claim back.
    pub async fn claim(&self, claim: Claim, timeout: Duration) -> Result<Decision, SubmitError> {
        let claim = self.view(|view| view.timely(claim))?;
        self.claim_as(self.next_request(), claim, timeout).await
    }

    /// Like [`Self::claim`], under a name from [`Self::next_request`] that the caller has already used, for example in
    /// logs.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn claim_as(
        &self,
        request: RequestId,
        claim: TimelyClaim,
        timeout: Duration,
    ) -> Result<Decision, SubmitError> {
        let claim = ClaimRequest { request, claim: claim.into_claim() };
        match self.submit(Request::Claim(claim), timeout).await? {
            Decided::Claim(decision) => Ok(decision),
            Decided::Change(_) => unreachable!("a claim is answered with a verdict"),
        }
    }

    /// Has the cluster make `change`, on behalf of `actor`.
    ///
    /// # Errors
    /// See [`SubmitError`]; the inner result is the answer of the state machine.
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

    /// If this node leads, hands leadership to `to` or to the follower whose log is furthest ahead, and waits until it
    /// no longer leads. Returns the new leader.
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

    /// The state as this node has applied it, and the result of `look` at that moment. Blocking: it waits for the
    /// driver, so it must not run on an async thread.
    ///
    /// # Errors
    /// If the node is stopping.
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

    /// A name for a request, unique among all requests.
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
        // The driver has stopped with the request in its hands, or hangs.
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
