//! The driver: one OS thread that owns the replica and executes its outputs in order, and one that does its fsyncs.
//!
//! Everything reaches the driver through its [`Inbox`]; nothing else touches the replica or writes to the store. A failed write, a
//! failed fsync or a fatal answer of the replica aborts the process: after it, nobody knows what the disk holds.
//!
//! The driver's thread also runs the peer streams, in a runtime of its own: a message between two nodes then wakes
//! one thread on each, not three. Waking threads is most of what a claim costs beyond its fsync.

pub(crate) mod measure;
mod peers;
mod proposals;
mod sync;
pub(crate) mod waiters;

use crate::clock::{check_slot, unix_ms};
pub(crate) use crate::last_words::die;
use crate::last_words::stay_if_halted;
use crate::metrics::{ClusterMetrics, Stage};
use crate::spool::{Capture, Parts};
use crate::store::{Store, StoreError};
use crate::transport::Transport;
use crate::transport::frame::{Decline, Frame, Request, into_commands};
use crate::unfinished::{Awaited, ToApply, quorum_heard};
use measure::{Measure, Measured};
use peers::Peers;
use proposals::Proposals;
use signonce_core::replica::disk::{DiskBatch, DiskOp, DiskTable, HighWater};
use signonce_core::replica::fence::{Hello, HelloReply, Life};
use signonce_core::replica::wire::PeerMessage;
use signonce_core::replica::{NotMember, Output, ProposeError, Replica, ReplicaStatus};
use signonce_core::{AuditRow, RequestId, State};
use signonce_protocol::{LogIndex, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use sync::SyncThread;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::time::Sleep;
use waiters::{Submission, Waiters};

/// Claims that share one log entry at most.
const CLAIMS_PER_ENTRY: usize = 256;
/// Requests in one forwarded frame at most.
const REQUESTS_PER_FRAME: usize = 64;
/// Requests that may wait on this node at once.
const WAITERS_MAX: usize = 16 * 1024;
/// Inputs taken before the replica is pumped, so that a flood cannot starve the outputs.
const INPUTS_PER_PUMP: usize = 4096;
/// Ticks made up for after a stall; more would only cause needless elections.
const TICKS_CAUGHT_UP: u32 = 3;
/// How often a fenced node asks its peers again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long after a commit, with nothing else to say, a leader tells its followers. Entries that follow one another
/// carry the news for nothing.
const LULL: Duration = Duration::from_millis(5);
/// Ticks after which a peer that says nothing counts as silent: as long as followers wait before an election.
const SILENT_TICKS: u32 = 12;

/// How long a snapshot's records are kept that nobody asks for.
const CAPTURE_KEPT: Duration = Duration::from_secs(60);

/// Since when every member understands the questions of [`measure`].
const MEASURE_LEVEL: u32 = 2;

/// What can happen to a driver.
pub(crate) enum Event {
    Raft {
        from: NodeId,
        life: Life,
        message: Box<PeerMessage>,
    },
    Hello {
        hello: Box<Hello>,
        answer: oneshot::Sender<HelloReply>,
    },
    HelloReply {
        from: NodeId,
        reply: HelloReply,
    },
    Forwarded {
        from: NodeId,
        requests: Vec<Request>,
    },
    Declined {
        requests: Vec<RequestId>,
        why: Decline,
    },
    Submit(Submission),
    Persisted(u64),
    Unreachable(NodeId),
    /// The first frame on a new stream from a peer has come.
    HeardAnew(NodeId),
    SnapshotSent {
        peer: NodeId,
        arrived: bool,
    },
    Ping {
        from: NodeId,
        nonce: u64,
    },
    Pong {
        from: NodeId,
        nonce: u64,
        sync: Option<Duration>,
        cost: Option<Duration>,
    },
    PruneAudit {
        before: u64,
    },
    /// Somebody wants the state as it is applied.
    CaptureState(WantsState),
    TransferLeadership {
        to: Option<NodeId>,
        answer: oneshot::Sender<Option<NodeId>>,
    },
    Stop,
}

/// Takes a look at the state, and the capture of its records.
pub(crate) type WantsState = Box<dyn FnOnce(&State, Capture) + Send>;

/// The way to the driver.
#[derive(Clone)]
pub(crate) struct Inbox(UnboundedSender<Event>);

impl Inbox {
    pub(crate) fn new() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    /// Hands over `event`; without effect once the driver has stopped.
    pub(crate) fn push(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

/// What readers see of a driver.
pub(crate) struct Published {
    pub status: watch::Sender<ReplicaStatus>,
    pub applied: watch::Sender<LogIndex>,
}

/// Everything the driver thread owns.
pub(crate) struct Driver {
    pub node: NodeId,
    pub boot: u64,
    pub tick: Duration,
    pub slot_tolerance: u64,
    pub replica: Replica,
    pub state: Arc<RwLock<State>>,
    pub store: Arc<Store>,
    pub transport: Transport,
    pub events: UnboundedReceiver<Event>,
    pub published: Published,
    pub metrics: Arc<ClusterMetrics>,
}

struct Running {
    driver: Driver,
    sync: SyncThread,
    waiters: Waiters,
    peers: Peers,
    measure: Measure,
    proposals: Proposals,
    /// When the present pump began.
    pump_began: Instant,
    /// Requests of other nodes, to be proposed in the next round.
    forwarded: BTreeMap<NodeId, Vec<Request>>,
    /// Answers to hellos, which leave after what the replica writes because of them: they promise that this node
    /// will not forget whom it has met.
    hellos: Vec<(oneshot::Sender<HelloReply>, HelloReply)>,
    /// The leader takes nothing at the moment; wait for the next tick.
    hold_off: bool,
    next_tick: Instant,
    /// Rings no later than what comes next: a tick, or a notice.
    alarm: Pin<Box<Sleep>>,
    /// When to tell followers of what was committed, if nothing else does before.
    notice_due: Option<Instant>,
    /// For the high-water file: what was made durable on this thread and is being acknowledged.
    mark: Option<HighWater>,
    asked_peers: Instant,
    /// What is committed and waits to be applied.
    to_apply: ToApply,
    /// The leader, and since when it is known; or since when none is.
    led_by: (Option<NodeId>, Instant),
    /// Whom the transport was last told to be connected with.
    connected: BTreeMap<NodeId, Option<String>>,
    /// The records of the snapshot that was offered last.
    capture: Option<Capture>,
    /// Who waits for the state.
    wants_state: Vec<WantsState>,
    stopping: bool,
}

/// The records of a snapshot that raft still has are not kept any more.
struct CaptureGone;

impl Driver {
    /// Runs until [`Event::Stop`], on the runtime of the peer streams.
    pub(crate) async fn run(self, inbox: Inbox, high_water: crate::high_water::HighWaterFile) {
        let sync = SyncThread::start(Arc::clone(&self.store), high_water, inbox, Arc::clone(&self.metrics));
        let now = Instant::now();
        let waiters = Waiters::new(self.metrics.stages.of(Stage::Queue).clone());
        let mut running = Running {
            next_tick: now + self.tick,
            driver: self,
            sync,
            waiters,
            peers: Peers::default(),
            measure: Measure::new(now),
            proposals: Proposals::default(),
            pump_began: now,
            forwarded: BTreeMap::new(),
            hellos: Vec::new(),
            hold_off: false,
            alarm: Box::pin(tokio::time::sleep_until(now.into())),
            notice_due: None,
            mark: None,
            asked_peers: now,
            to_apply: ToApply::default(),
            led_by: (None, now),
            connected: BTreeMap::new(),
            capture: None,
            wants_state: Vec::new(),
            stopping: false,
        };
        running.driver.replica.pass_empty_fence();
        while !running.stopping {
            running.one_round().await;
        }
        running.sync.stop();
    }
}

impl Running {
    async fn one_round(&mut self) {
        self.take_inputs().await;
        self.driver.metrics.unfinished.set(Awaited::Consensus, Some(Instant::now()));
        self.tick_if_due();
        self.route();
        self.tell_if_due();
        self.pump().await;
        self.give_out_state().await;
        self.watch_for_lull();
        for (asker, reply) in self.hellos.drain(..) {
            let _ = asker.send(reply);
        }
        self.publish();
        // Let the streams read what came meanwhile, even if there is enough to do already.
        tokio::task::yield_now().await;
    }

    /// Lets the replica work and executes what it wants, until it wants nothing more.
    async fn pump(&mut self) {
        loop {
            self.pump_began = Instant::now();
            let outputs = match self.driver.replica.pump() {
                Ok(outputs) if outputs.is_empty() => break,
                Ok(outputs) => outputs,
                Err(fatal) => die(&fatal),
            };
            for output in outputs {
                let sends = matches!(output, Output::Send(_));
                self.execute(output);
                if sends {
                    // The streams share this thread: let them send before it turns to the disk.
                    tokio::task::yield_now().await;
                }
            }
        }
        // After the acknowledgement, which would wait for it: the file may lag, it must never lead.
        if let Some(mark) = self.mark.take() {
            self.sync.mark_durable(mark);
        }
    }

    /// Gives the state to whoever waits for it: once the store holds what is applied, the two are one.
    async fn give_out_state(&mut self) {
        if self.wants_state.is_empty() {
            return;
        }
        self.driver.replica.store_rest();
        self.pump().await;
        let applied = self.driver.published.status.borrow().applied.0;
        let state = self.driver.state.read().expect("apply does not panic");
        for wants in std::mem::take(&mut self.wants_state) {
            wants(&state, Capture::of(Arc::clone(&self.driver.store), applied));
        }
    }

    /// Followers that nobody has had anything else to tell hear of commits now.
    fn tell_if_due(&mut self) {
        if self.notice_due.take_if(|due| *due <= Instant::now()).is_some() {
            self.driver.replica.tell_committed();
        }
    }

    /// Sets the time for the next notice, if one is owed.
    fn watch_for_lull(&mut self) {
        let owed = self.driver.replica.owes_notice();
        self.notice_due = owed.then(|| self.notice_due.unwrap_or_else(|| Instant::now() + LULL));
    }

    async fn take_inputs(&mut self) {
        let due = self.notice_due.map_or(self.next_tick, |due| due.min(self.next_tick));
        // Only an earlier time is worth setting the alarm anew, which takes a system call.
        if self.alarm.is_elapsed() || due < self.alarm.deadline().into_std() {
            self.alarm.as_mut().reset(due.into());
        }
        let first = tokio::select! {
            biased;
            event = self.driver.events.recv() => event,
            () = self.alarm.as_mut() => return,
        };
        let Some(first) = first else {
            self.stopping = true;
            return;
        };
        self.handle(first);
        for _ in 1..INPUTS_PER_PUMP {
            let Ok(event) = self.driver.events.try_recv() else { break };
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        let replica = &mut self.driver.replica;
        match event {
            Event::Raft { from, life, message } => {
                self.peers.heard(from, message.is_heartbeat_answer(), Instant::now());
                replica.receive(from, life, *message);
            }
            Event::Hello { hello, answer } => self.hellos.push((answer, replica.hello(&hello))),
            Event::HelloReply { from, reply } => replica.hello_reply(from, &reply),
            Event::Forwarded { from, requests } => self.forwarded.entry(from).or_default().extend(requests),
            Event::Declined { requests, why } => {
                self.hold_off |= !matches!(why, Decline::SlotOutOfRange { .. } | Decline::Hazard(..));
                self.waiters.declined(&requests, why);
            }
            Event::Submit(submission) => self.submit(submission),
            Event::Persisted(number) => {
                self.sync.finished(number);
                replica.persisted(number);
            }
            Event::Unreachable(peer) => {
                replica.unreachable(peer);
                self.peers.lost(peer);
                self.hold_off |= self.waiters.lost(peer);
            }
            // What it said before may be lost with its old stream: that it had declined something, above all.
            Event::HeardAnew(peer) => self.hold_off |= self.waiters.lost(peer),
            Event::SnapshotSent { peer, arrived } => replica.snapshot_sent(peer, arrived),
            Event::Ping { from, nonce } => self.pong(from, nonce),
            Event::Pong { from, nonce, sync, cost } => {
                self.measure.answered(from, nonce, sync, cost, Instant::now());
            }
            Event::CaptureState(wants) => self.wants_state.push(wants),
            Event::TransferLeadership { to, answer } => {
                let _ = answer.send(replica.transfer_leadership(to));
            }
            Event::PruneAudit { before } => {
                let (from, to) = (AuditRow::stored_key(0), AuditRow::stored_key(before));
                let batch = DiskBatch { ops: vec![DiskOp::DeleteRange(DiskTable::Audit, from, to)] };
                self.write(&batch, false);
            }
            Event::Stop => self.stopping = true,
        }
    }

    fn submit(&mut self, submission: Submission) {
        if self.waiters.len() < WAITERS_MAX {
            self.waiters.add(submission);
        } else {
            let _ = submission.answer.send(waiters::Answer::NeverTaken);
        }
    }

    fn tick_if_due(&mut self) {
        let now = Instant::now();
        let mut caught_up = 0;
        while self.next_tick <= now && caught_up < TICKS_CAUGHT_UP {
            self.driver.replica.tick();
            self.next_tick += self.driver.tick;
            caught_up += 1;
        }
        if caught_up == 0 {
            return;
        }
        self.driver.metrics.ticked();
        self.next_tick = self.next_tick.max(now);
        self.hold_off = false;
        self.waiters.expire(now);
        let heard = self.peers.all(self.driver.tick * SILENT_TICKS, now);
        self.driver.metrics.observe_peers(&self.driver.published.status.borrow(), &heard);
        let status = self.driver.published.status.borrow().clone();
        self.watch_quorum(&status, now);
        self.driver.metrics.observe_state(&self.driver.state.read().expect("apply does not panic"));
        self.measure(now);
        self.release_capture(now);
        self.follow_members();
        if now.duration_since(self.asked_peers) >= ASK_AGAIN {
            let fenced = matches!(
                self.driver.published.status.borrow().not_member,
                Some(NotMember::Forming(_) | NotMember::Fenced { .. })
            );
            if fenced {
                self.asked_peers = now;
                self.driver.transport.redial();
            }
        }
    }

    /// Notes since when nothing has been heard of the nodes that this one needs to get anything done.
    fn watch_quorum(&mut self, status: &ReplicaStatus, now: Instant) {
        if status.leader != self.led_by.0 {
            self.led_by = (status.leader, now);
        }
        let unfinished = &self.driver.metrics.unfinished;
        // A node that is not a member yet says anyway which nodes it waits for.
        let heard = status
            .not_member
            .is_none()
            .then(|| quorum_heard(status, |node| self.peers.last_heard(node), self.led_by.1));
        unfinished.set(Awaited::Quorum, heard);
        let lately = |node: &NodeId| {
            self.peers
                .last_heard(*node)
                .is_some_and(|at| now.duration_since(at) <= self.driver.tick * SILENT_TICKS)
        };
        let others = status.voters.iter().filter(|voter| **voter != self.driver.node);
        unfinished.silent(others.copied().filter(|voter| !lately(voter)).collect());
    }

    /// Asks the peers how long they take to answer, once in a while.
    fn measure(&mut self, now: Instant) {
        if !self.measure.is_due(now) || self.level() < MEASURE_LEVEL {
            return;
        }
        let counts = self.driver.metrics.stages.of(Stage::Sync).counts();
        let syncs = (counts.buckets.iter().sum(), counts.nanoseconds);
        let nonce = self.measure.ask(now, self.connected.keys().copied(), syncs);
        for peer in self.connected.keys() {
            self.driver.transport.send(*peer, Frame::Ping(nonce));
        }
        let mut all = self.measure.all();
        all.insert(self.driver.node, self.own_measure());
        self.driver.metrics.measured(all);
    }

    fn own_measure(&self) -> Measured {
        self.measure.own(self.driver.node, &self.driver.published.status.borrow().voters)
    }

    fn level(&self) -> u32 {
        self.driver.state.read().expect("apply does not panic").feature_level()
    }

    /// Answers a peer that measures. It is at a level at which every member understands.
    fn pong(&mut self, to: NodeId, nonce: u64) {
        let Measured { sync, cost, .. } = self.own_measure();
        let nanoseconds = |took: Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (sync, cost) = (sync.map(nanoseconds), cost.map(nanoseconds));
        self.driver.transport.send(to, Frame::Pong { nonce, sync, cost });
    }

    /// Members come and go: so do the streams.
    fn follow_members(&mut self) {
        let peers = self.driver.replica.peers();
        if peers == self.connected {
            return;
        }
        self.driver.transport.introduce(self.driver.replica.our_hello());
        self.driver.transport.follow(&peers);
        let state = self.driver.state.read().expect("apply does not panic");
        let removed: BTreeSet<NodeId> = state.registry().removed().collect();
        drop(state);
        let gone = removed.into_iter().filter(|node| self.driver.replica.is_gone(*node)).collect();
        self.driver.transport.shut_out(&gone);
        self.connected = peers;
    }

    /// Proposes what is waiting, or sends it to the leader.
    fn route(&mut self) {
        let leader = self.driver.replica.leader();
        let leads = leader == Some(self.driver.node);
        if !leads {
            self.proposals.forget();
        }
        for (from, requests) in std::mem::take(&mut self.forwarded) {
            if leads {
                self.propose(from, requests);
            } else {
                self.decline(from, requests.iter().map(Request::id).collect(), Decline::NotLeader(leader));
            }
        }
        let Some(leader) = leader.filter(|_| !self.hold_off) else { return };
        let unsent = self.waiters.take_unsent((leader, self.driver.replica.term()));
        if unsent.is_empty() {
            return;
        }
        if leads {
            return self.propose(leader, unsent);
        }
        for chunk in unsent.chunks(REQUESTS_PER_FRAME) {
            if !self.driver.transport.send(leader, Frame::Forward(chunk.to_vec())) {
                let ids: Vec<RequestId> = chunk.iter().map(Request::id).collect();
                self.waiters.declined(&ids, Decline::Busy);
                self.hold_off = true;
            }
        }
    }

    fn propose(&mut self, from: NodeId, requests: Vec<Request>) {
        let requests = self.without_hazards(from, requests);
        let (requests, late) = self.split_by_slot(requests);
        for (id, why) in late {
            self.decline(from, vec![id], why);
        }
        for (ids, command) in into_commands(requests, CLAIMS_PER_ENTRY) {
            let why = match self.driver.replica.propose(&command) {
                Ok(()) => {
                    self.driver.metrics.batch_size.observe(ids.len() as f64);
                    self.proposals.proposed(self.driver.replica.last(), Instant::now());
                    tracing::trace!(?ids, "proposed");
                    continue;
                }
                Err(ProposeError::NotLeader { leader }) => Decline::NotLeader(leader),
                Err(ProposeError::Busy | ProposeError::NotMember) => Decline::Busy,
            };
            self.decline(from, ids, why);
        }
    }

    /// Declines changes of the membership that something speaks against at the moment.
    fn without_hazards(&mut self, from: NodeId, requests: Vec<Request>) -> Vec<Request> {
        let mut safe = Vec::with_capacity(requests.len());
        for request in requests {
            let hazard = match &request {
                Request::Change { change, .. } => self.driver.replica.hazard(change),
                Request::Claim(_) => None,
            };
            match hazard {
                Some((node, hazard)) => {
                    self.decline(from, vec![request.id()], Decline::Hazard(node, hazard));
                }
                None => safe.push(request),
            }
        }
        safe
    }

    /// The leader's own look at the clock.
    fn split_by_slot(&self, requests: Vec<Request>) -> (Vec<Request>, Vec<(RequestId, Decline)>) {
        let (now_ms, tolerance) = (unix_ms(), self.driver.slot_tolerance);
        let state = self.driver.state.read().expect("apply does not panic");
        let mut late = Vec::new();
        let in_time = requests
            .into_iter()
            .filter(|request| {
                let Request::Claim(claim) = request else { return true };
                let Err(off) = check_slot(&state, &claim.claim, now_ms, tolerance) else { return true };
                late.push((request.id(), Decline::SlotOutOfRange { slot: off.slot.0, now: off.now.0 }));
                false
            })
            .collect();
        (in_time, late)
    }

    fn decline(&mut self, from: NodeId, requests: Vec<RequestId>, why: Decline) {
        if from == self.driver.node {
            self.hold_off |= !matches!(why, Decline::SlotOutOfRange { .. } | Decline::Hazard(..));
            self.waiters.declined(&requests, why);
        } else {
            // If this frame is lost, the peer asks again once it hears this node on another stream.
            self.driver.transport.send(from, Frame::Declined(requests, why));
        }
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::Send(messages) => {
                for message in messages {
                    if message.is_heartbeat() {
                        self.peers.asked(message.to(), Instant::now());
                    }
                    let records = match self.records_beside(&message) {
                        Ok(records) => records,
                        Err(CaptureGone) => {
                            self.driver.replica.withdraw_snapshot();
                            self.driver.replica.snapshot_sent(message.to(), false);
                            continue;
                        }
                    };
                    if !self.driver.transport.send_raft(&message, records) {
                        self.driver.replica.unreachable(message.to());
                        if message.is_snapshot() {
                            self.driver.replica.snapshot_sent(message.to(), false);
                        }
                    }
                }
            }
            Output::Write { batch, sync } => {
                let started = Instant::now();
                self.write(&batch, sync.is_some());
                let stages = &self.driver.metrics.stages;
                if let Some(mark) = sync {
                    stages.of(Stage::Sync).observe(started.elapsed());
                    self.sync.mark_durable(mark);
                } else if appends(&batch) {
                    stages.of(Stage::Append).observe(started.elapsed());
                }
            }
            Output::Install { records, batch, mark } => {
                let started = Instant::now();
                let Driver { store, metrics, .. } = &self.driver;
                or_die(metrics.unfinished.during(Awaited::Write, || store.install(&*records, &batch)));
                self.driver.metrics.stages.of(Stage::Sync).observe(started.elapsed());
                self.sync.mark_durable(mark);
            }
            Output::Capture { index } => {
                self.capture = None;
                self.capture = Some(Capture::of(Arc::clone(&self.driver.store), index));
            }
            Output::Sync { number, mark } => {
                if self.sync_here() {
                    self.sync.run_here();
                    self.driver.replica.persisted(number);
                    self.mark = Some(mark);
                } else {
                    self.sync.request(number, mark);
                }
            }
            Output::Outcomes(decided) => {
                let (node, boot) = (self.driver.node, self.driver.boot);
                let stages = self.driver.metrics.stages.clone();
                if let Some(last) = decided.last() {
                    let replicate = stages.of(Stage::Replicate);
                    self.proposals.committed(last.at, self.pump_began, replicate);
                }
                for one in decided.into_iter().filter(|d| d.request.node == node && d.request.boot == boot) {
                    tracing::debug!(request = %one.request, at = %one.at, "decided");
                    self.waiters.decided(one);
                }
                stages.of(Stage::Apply).observe(self.pump_began.elapsed());
            }
            Output::Jumped => self.waiters.ask_again(),
        }
    }

    fn write(&self, batch: &DiskBatch, sync: bool) {
        let Driver { store, metrics, .. } = &self.driver;
        or_die(metrics.unfinished.during(Awaited::Write, || store.write(batch, sync)));
    }

    /// The records that are to travel behind a message, if any are.
    fn records_beside(&mut self, message: &PeerMessage) -> Result<Option<Parts>, CaptureGone> {
        let Some(index) = message.records_at() else { return Ok(None) };
        let capture = self.capture.as_mut().filter(|capture| capture.index() == index);
        capture.map(|capture| Some(capture.stream())).ok_or(CaptureGone)
    }

    /// What is captured holds disk space: not for longer than somebody wants it.
    fn release_capture(&mut self, now: Instant) {
        let idle = self.capture.as_ref().and_then(Capture::idle_since);
        if idle.is_some_and(|since| now.duration_since(since) > CAPTURE_KEPT) {
            self.capture = None;
            self.driver.replica.withdraw_snapshot();
        }
    }

    /// Whether the next fsync is better done on this thread than on the other, which spares two changes of thread. A
    /// busy node has batches to build meanwhile, a busy leader messages to send. An idle follower has only its
    /// acknowledgement, and a leader with one duty only answers, and both wait for the fsync anyway.
    fn sync_here(&self) -> bool {
        let leads = self.driver.replica.leader() == Some(self.driver.node);
        let lone = self.proposals.len() <= 1 && self.waiters.len() <= 1;
        (!leads || lone) && self.sync.is_idle() && self.driver.events.is_empty()
    }

    fn publish(&mut self) {
        let status = self.driver.replica.status();
        let applied = status.applied;
        let unfinished = &self.driver.metrics.unfinished;
        let to_apply = self.to_apply.look(&status, Instant::now());
        unfinished.set(Awaited::Apply, to_apply.filter(|_| status.not_member.is_none()));
        unfinished.set(Awaited::Commit, self.proposals.oldest(status.committed));
        if status.leader != self.led_by.0 {
            self.watch_quorum(&status, Instant::now());
        }
        self.driver.metrics.observe(&status, self.waiters.len());
        let not_member = status.not_member.clone();
        let mut said = None;
        let metrics = &self.driver.metrics;
        self.driver.published.status.send_if_modified(|old| {
            if old.not_member != not_member {
                said = Some(not_member);
            }
            if status.leader.is_some() && (old.leader, old.term) != (status.leader, status.term) {
                metrics.leader_changed();
            }
            let moved = (old.role, old.leader, old.term) != (status.role, status.leader, status.term);
            let changed = moved || said.is_some();
            *old = status;
            changed
        });
        if let Some(said) = said {
            say(&said);
        }
        self.driver.published.applied.send_if_modified(|old| std::mem::replace(old, applied) != applied);
    }
}

/// Whether a batch puts entries into the log.
fn appends(batch: &DiskBatch) -> bool {
    matches!(
        batch.ops.first(),
        Some(DiskOp::Put(DiskTable::Log, ..) | DiskOp::DeleteRange(DiskTable::Log, ..))
    )
}

fn say(not_member: &Option<NotMember>) {
    match not_member {
        None => tracing::info!("passed the fence: this node is a member"),
        Some(NotMember::Forming(from)) => {
            tracing::info!(?from, "waiting for all initial members to be present")
        }
        Some(NotMember::Fenced { missing, from }) => {
            tracing::info!(missing, ?from, "waiting for peers to say what they remember of this node");
        }
        Some(NotMember::Quarantined(why)) => tracing::error!(reason = %why, "this node is in quarantine"),
    }
}

/// The result of a write or an fsync, which nothing may follow if it failed: neither on this thread nor on another.
pub(crate) fn or_die(result: Result<(), StoreError>) {
    if let Err(error) = result {
        die(&error);
    }
    stay_if_halted();
}
