//! The shell of [`signonce_driver`]: one OS thread that owns the driver and carries out its effects in order, and one
//! that does its fsyncs.
//!
//! Everything reaches the driver through its [`Inbox`]; nothing else touches the replica or writes to the store. A
//! failed write, a failed fsync or a fatal result from the driver aborts the process: afterwards nobody knows what the
//! disk holds.
//!
//! The driver's thread also runs the peer streams, in a runtime of its own, so that a message between two nodes wakes
//! one thread on each, not three. Waking threads is most of what a claim costs beyond its fsync.

mod seen;
mod sync;

use crate::clock::unix_ms;
use crate::high_water::HighWaterFile;
use crate::inbox::{Inbox, Input, WantsState};
pub(crate) use crate::last_words::die;
use crate::last_words::stay_if_halted;
use crate::metrics::{ClusterMetrics, Stage};
use crate::spool::{Capture, Parts};
use crate::store::{Store, StoreError};
use crate::transport::Transport;
use crate::unfinished::Awaited;
pub(crate) use seen::Published;
use seen::Seen;
use signonce_core::RequestId;
use signonce_core::replica::Replica;
use signonce_core::replica::disk::{DiskBatch, DiskOp, DiskTable, HighWater};
use signonce_core::replica::hello::HelloReply;
use signonce_core::replica::wire::PeerMessage;
use signonce_driver::frame::Frame;
use signonce_driver::{
    Answer, Decline, Driver, DriverConfig, Effect, Event, Now, Observed, Request, Submission,
};
use signonce_protocol::{LogIndex, NodeId};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sync::SyncThread;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// The most inputs taken before the driver works, so that a flood cannot starve its effects.
const INPUTS_PER_TURN: usize = 4096;

/// Everything the driver's thread owns when it starts.
pub(crate) struct Consensus {
    pub replica: Replica,
    pub config: DriverConfig,
    pub store: Arc<Store>,
    pub high_water: HighWaterFile,
    pub transport: Transport,
    pub inbox: Inbox,
    pub inputs: UnboundedReceiver<Input>,
    pub published: Published,
    pub metrics: Arc<ClusterMetrics>,
}

struct Shell {
    driver: Driver,
    /// The instant from which the driver's times count.
    origin: Instant,
    store: Arc<Store>,
    sync: SyncThread,
    transport: Transport,
    inputs: UnboundedReceiver<Input>,
    seen: Seen,
    metrics: Arc<ClusterMetrics>,
    /// Where the answers to this node's own requests go, by number.
    askers: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// Where the answers to peers' hellos go.
    greeted: BTreeMap<u64, oneshot::Sender<HelloReply>>,
    transfers: BTreeMap<u64, oneshot::Sender<Option<NodeId>>>,
    next_call: u64,
    /// Those that wait for the state.
    wants_state: Vec<WantsState>,
    /// The records of the snapshot that was offered last.
    capture: Option<Capture>,
    /// Fires no later than what comes next: a tick, or a notice.
    alarm: Pin<Box<Sleep>>,
    /// When the present part of a turn began.
    began: Instant,
    stopping: bool,
}

impl Consensus {
    /// Runs until [`Input::Stop`], on the runtime of the peer streams.
    pub(crate) async fn run(self) {
        let Self { replica, config, store, high_water, transport, inbox, inputs, published, metrics } = self;
        let sync = SyncThread::start(Arc::clone(&store), high_water, inbox, Arc::clone(&metrics));
        let origin = Instant::now();
        let now = Now { at: Duration::ZERO, unix_ms: unix_ms() };
        let mut shell = Shell {
            driver: Driver::new(replica, config, now),
            origin,
            store,
            sync,
            transport,
            inputs,
            seen: Seen::new(published, Arc::clone(&metrics), origin, config.tick),
            metrics,
            askers: BTreeMap::new(),
            greeted: BTreeMap::new(),
            transfers: BTreeMap::new(),
            next_call: 0,
            wants_state: Vec::new(),
            capture: None,
            alarm: Box::pin(tokio::time::sleep_until(origin.into())),
            began: origin,
            stopping: false,
        };
        while !shell.stopping {
            shell.one_turn().await;
        }
        shell.sync.stop();
    }
}

// Inputs.
impl Shell {
    async fn one_turn(&mut self) {
        self.take_inputs().await;
        self.metrics.unfinished.set(Awaited::Consensus, Some(Instant::now()));
        self.work().await;
        self.seen.publish(&self.driver);
        // Let the streams read what came in the meantime, even if there is enough to do already.
        tokio::task::yield_now().await;
    }

    async fn take_inputs(&mut self) {
        let due = self.origin + self.driver.wake_at();
        // The alarm is set again only for an earlier time, as it takes a system call.
        if self.alarm.is_elapsed() || due < self.alarm.deadline().into_std() {
            self.alarm.as_mut().reset(due.into());
        }
        let first = tokio::select! {
            biased;
            input = self.inputs.recv() => input,
            () = self.alarm.as_mut() => return,
        };
        let Some(first) = first else {
            self.stopping = true;
            return;
        };
        self.take(first);
        for _ in 1..INPUTS_PER_TURN {
            let Ok(input) = self.inputs.try_recv() else { break };
            self.take(input);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.tell(event),
            Input::Hello { hello, answer } => {
                let call = self.name_call();
                self.greeted.insert(call, answer);
                self.tell(Event::Hello { call, hello });
            }
            Input::Submit { request, submitted, deadline, answer } => {
                self.askers.insert(request.id().seq, answer);
                let since = |at: Instant| at.saturating_duration_since(self.origin);
                let (submitted, deadline) = (since(submitted), since(deadline));
                self.tell(Event::Submit(Submission { request, submitted, deadline }));
            }
            Input::CaptureState(wants) => {
                self.wants_state.push(wants);
                self.tell(Event::StateWanted);
            }
            Input::TransferLeadership { to, answer } => {
                let call = self.name_call();
                self.transfers.insert(call, answer);
                self.tell(Event::Transfer { call, to });
            }
            Input::Stop => self.stopping = true,
        }
    }

    fn name_call(&mut self) -> u64 {
        self.next_call += 1;
        self.next_call
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let now = Now { at: self.origin.elapsed(), unix_ms: unix_ms() };
        self.driver.step(event, now).unwrap_or_else(|fatal| die(&fatal))
    }

    /// Tells the driver what happened, and carries out its effects at once.
    fn tell(&mut self, event: Event) {
        for effect in self.step(event) {
            self.carry_out(effect);
        }
    }
}

// Effects.
impl Shell {
    /// Lets the driver work and carries out its effects, until there are no more.
    async fn work(&mut self) {
        loop {
            self.began = Instant::now();
            for effect in self.step(Event::Work) {
                let sends = matches!(effect, Effect::Send(_));
                self.carry_out(effect);
                if sends {
                    // The streams share this thread: let them send before it turns to the disk.
                    tokio::task::yield_now().await;
                }
            }
            if !self.driver.is_working() {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send(messages) => messages.iter().for_each(|message| self.send(message)),
            // Whoever does not get it asks again.
            Effect::Say(to, frame) => drop(self.transport.send(to, frame)),
            Effect::Forward(to, requests) => self.forward(to, requests),
            Effect::Write { batch, sync } => self.write(&batch, sync),
            Effect::Sync { number, mark, may_wait } => self.make_durable(number, mark, may_wait),
            Effect::Mark(mark) => self.sync.mark_durable(mark),
            Effect::Install { records, batch, mark } => {
                let started = Instant::now();
                let (store, unfinished) = (&self.store, &self.metrics.unfinished);
                or_die(unfinished.during(Awaited::Write, || store.install(&*records, &batch)));
                self.was_synced(started.elapsed(), mark);
            }
            Effect::Capture { index } => {
                self.capture = None; // before the next one takes its place on the disk
                self.capture = Some(Capture::of(Arc::clone(&self.store), index));
            }
            Effect::ReleaseCapture => self.capture = None,
            Effect::Greet { call, reply } => answer(&mut self.greeted, call, reply),
            Effect::Answer(request, told) => self.answer(request, told),
            Effect::StateStored(applied) => self.give_out_state(applied),
            Effect::Transferred { call, heir } => answer(&mut self.transfers, call, heir),
            Effect::Follow { hello, peers, gone } => {
                self.transport.introduce(*hello);
                self.transport.follow(&peers);
                self.transport.shut_out(&gone);
            }
            Effect::Redial => self.transport.redial(),
            Effect::Observe(observed) => {
                if matches!(observed, Observed::Ticked) {
                    self.forget_who_hung_up();
                }
                self.seen.note(observed, &self.driver, self.began);
            }
        }
    }

    fn send(&mut self, message: &PeerMessage) {
        let records = self.records_beside(message);
        if !self.transport.send_raft(message, records) {
            self.tell(Event::NotSent { to: message.to(), snapshot: message.is_snapshot() });
        }
    }

    /// The records that are to travel behind a message, if any.
    fn records_beside(&mut self, message: &PeerMessage) -> Option<Parts> {
        let index = message.records_at()?;
        let capture = self.capture.as_mut().filter(|capture| capture.index() == index);
        Some(capture.expect("the driver sends the snapshot that it had captured last").stream())
    }

    fn forward(&mut self, to: NodeId, requests: Vec<Request>) {
        let ids: Vec<RequestId> = requests.iter().map(Request::id).collect();
        if !self.transport.send(to, Frame::Forward(requests)) {
            self.tell(Event::Declined { requests: ids, why: Decline::Busy });
        }
    }

    fn write(&mut self, batch: &DiskBatch, sync: Option<HighWater>) {
        let started = Instant::now();
        let (store, unfinished) = (&self.store, &self.metrics.unfinished);
        or_die(unfinished.during(Awaited::Write, || store.write(batch, sync.is_some())));
        if let Some(mark) = sync {
            self.was_synced(started.elapsed(), mark);
        } else if appends(batch) {
            self.metrics.stages.of(Stage::Append).observe(started.elapsed());
        }
    }

    fn was_synced(&mut self, took: Duration, mark: HighWater) {
        self.metrics.stages.of(Stage::Sync).observe(took);
        self.sync.mark_durable(mark);
        self.tell(Event::SyncTook(took));
    }

    fn make_durable(&mut self, number: u64, mark: HighWater, may_wait: bool) {
        if may_wait && self.inputs.is_empty() {
            let took = self.sync.run_here();
            self.tell(Event::Synced { number, took, unmarked: Some(mark) });
        } else {
            self.sync.request(number, mark);
        }
    }

    fn answer(&mut self, request: RequestId, told: Answer) {
        if let Answer::Claim(decision) = &told {
            tracing::debug!(%request, at = %decision.at, "decided");
        }
        answer(&mut self.askers, request.seq, told);
    }

    /// Gives the state to those that wait for it: the store holds what is applied, so the two match.
    fn give_out_state(&mut self, applied: LogIndex) {
        let state = self.driver.replica().state();
        let state = state.read().expect("apply does not panic");
        for wants in std::mem::take(&mut self.wants_state) {
            wants(&state, Capture::of(Arc::clone(&self.store), applied.0));
        }
    }

    fn forget_who_hung_up(&mut self) {
        let gone = self.askers.extract_if(.., |_, asker| asker.is_closed());
        let numbers: Vec<u64> = gone.map(|(seq, _)| seq).collect();
        if !numbers.is_empty() {
            self.tell(Event::HungUp(numbers));
        }
    }
}

/// Answers the caller, which may be gone, for example because a client hung up. What was decided stays decided.
fn answer<T>(waiting: &mut BTreeMap<u64, oneshot::Sender<T>>, name: u64, told: T) {
    if let Some(asker) = waiting.remove(&name) {
        let _ = asker.send(told);
    }
}

/// Whether a batch puts entries into the log.
fn appends(batch: &DiskBatch) -> bool {
    matches!(
        batch.ops.first(),
        Some(DiskOp::Put(DiskTable::Log, ..) | DiskOp::DeleteRange(DiskTable::Log, ..))
    )
}

/// Aborts if a write or an fsync failed: nothing may follow it, on this thread or another.
pub(crate) fn or_die(result: Result<(), StoreError>) {
    if let Err(error) = result {
        die(&error);
    }
    stay_if_halted();
}
