//! The driver: what a node does with what happens to it.
//!
//! Inputs are taken as they come; with [`Event::Work`], given once no more are at hand, the driver routes requests, lets
//! the replica work and says what is to be done. While [`Driver::is_working`], `Work` is given again after the effects
//! have been carried out: an fsync that the shell does in between is acknowledged in the same turn.

use crate::frame::Frame;
use crate::measure::{Measure, Measured};
use crate::peers::{PeerHeard, Peers};
use crate::proposals::Proposals;
use crate::request::{Answer, Decline, Request, Submission};
use crate::waiters::Waiters;
#[cfg(signonce_sim)]
use signonce_core::mutation::{self, Mutation};
use signonce_core::replica::disk::{DiskBatch, DiskOp, DiskTable, HighWater, RecordSource};
use signonce_core::replica::hello::{Hello, HelloReply, Life};
use signonce_core::replica::wire::PeerMessage;
use signonce_core::replica::{Decided, Fatal, NotMember, Output, Replica};
use signonce_core::{AuditRow, RequestId, State};
use signonce_protocol::{LogIndex, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Requests that may wait on this node at once.
const WAITERS_MAX: usize = 16 * 1024;
/// Ticks made up for after a stall; more would only cause needless elections.
const TICKS_CAUGHT_UP: u32 = 3;
/// How often a fenced node asks its peers again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long after a commit, with nothing else to say, a leader tells its followers. Entries that follow one another
/// carry the news for nothing.
const LULL: Duration = Duration::from_millis(5);
/// How long a snapshot's records are kept that nobody asks for.
const CAPTURE_KEPT: Duration = Duration::from_secs(if cfg!(signonce_sim) { 2 } else { 60 });
/// Ticks after which a peer that says nothing counts as silent: as long as followers wait before an election.
pub const SILENT_TICKS: u32 = crate::ELECTION_TICKS as u32;

/// A moment, as the time since one that stays the same while a driver lives.
pub type Moment = Duration;

/// What the shell's clocks say. The driver reads none.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Never goes back.
    pub at: Moment,
    /// Milliseconds since the Unix epoch, right or wrong.
    pub unix_ms: u64,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Event {
    /// No more input is at hand, or it is [`Driver::wake_at`]: time to work.
    Work,
    /// A raft message.
    Raft {
        /// Who sent it, as the stream has proved.
        from: NodeId,
        /// Which life of it.
        life: Life,
        /// What.
        message: Box<PeerMessage>,
    },
    /// A peer says hello.
    Hello {
        /// The shell's name for the answer.
        call: u64,
        /// What it says.
        hello: Box<Hello>,
    },
    /// A peer answers this node's hello.
    HelloReply {
        /// Who.
        from: NodeId,
        /// What.
        reply: HelloReply,
    },
    /// A peer's requests.
    Forwarded {
        /// Whose.
        from: NodeId,
        /// What.
        requests: Vec<Request>,
    },
    /// The leader did not propose these, or they could not be sent to it.
    Declined {
        /// Which.
        requests: Vec<RequestId>,
        /// Why.
        why: Decline,
    },
    /// A request of this node's own.
    Submit(Submission),
    /// Nobody waits for the requests with these numbers any more.
    HungUp(Vec<u64>),
    /// What [`Effect::Sync`] asked for is done, with everything asked for before it.
    Synced {
        /// The last number it covers.
        number: u64,
        /// How long it took.
        took: Duration,
        /// The mark, if it is not in the high-water file yet: it goes there once what waits for the fsync has left.
        unmarked: Option<HighWater>,
    },
    /// Another fsync of the store took this long.
    SyncTook(Duration),
    /// The stream to a peer broke or began anew, or it cannot be reached.
    Unreachable(NodeId),
    /// A message to a peer did not leave.
    NotSent {
        /// To whom.
        to: NodeId,
        /// Whether it was a snapshot.
        snapshot: bool,
    },
    /// The first frame on a new stream from a peer has come.
    HeardAnew(NodeId),
    /// A snapshot that was sent has arrived, or not.
    SnapshotSent {
        /// The receiver.
        peer: NodeId,
        /// Whether it has.
        arrived: bool,
    },
    /// A peer measures.
    Ping {
        /// Who.
        from: NodeId,
        /// Its number for the question.
        nonce: u64,
    },
    /// A peer answers.
    Pong {
        /// Who.
        from: NodeId,
        /// The number of the question.
        nonce: u64,
        /// What the peer has measured of itself: see [`Measured`].
        sync: Option<Duration>,
        /// The same.
        cost: Option<Duration>,
    },
    /// Audit records before this number are to go.
    PruneAudit {
        /// The first that stays.
        before: u64,
    },
    /// Somebody wants the state as it is applied: see [`Effect::StateStored`].
    StateWanted,
    /// Somebody wants another leader.
    Transfer {
        /// The shell's name for the answer.
        call: u64,
        /// Whom; the follower that is furthest, if it is not said.
        to: Option<NodeId>,
    },
}

/// What a shell has to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Send raft messages. One may be lost, never changed. The records of a snapshot that [`PeerMessage::records_at`]
    /// names go behind it, from the capture made last. [`Event::NotSent`] where one did not leave.
    Send(Vec<PeerMessage>),
    /// Send a frame. It may be lost.
    Say(NodeId, Frame),
    /// Send requests to the leader. Where they did not leave: [`Event::Declined`], with [`Decline::Busy`].
    Forward(NodeId, Vec<Request>),
    /// Write to the store, visible at once. With `sync`, durable before anything that follows, then this goes into
    /// the high-water file.
    Write {
        /// The rows.
        batch: DiskBatch,
        /// For the high-water file.
        sync: Option<HighWater>,
    },
    /// Make durable everything written so far, then say [`Event::Synced`]. Further events may be handled meanwhile, and
    /// one fsync may serve several of these.
    Sync {
        /// To be handed back.
        number: u64,
        /// For the high-water file: once the fsync is done, if it is done elsewhere; else handed back.
        mark: HighWater,
        /// The driver has nothing else to do meanwhile that it knows of: if no input waits either, the fsync is better
        /// done on its thread, which spares two changes of thread.
        may_wait: bool,
    },
    /// Put this into the high-water file.
    Mark(HighWater),
    /// Replace the state's tables by these records and write `batch`: both or neither, durable before anything that
    /// follows, then `mark` into the high-water file.
    Install {
        /// What the message that is installed had beside it.
        records: Arc<dyn RecordSource>,
        /// The rows of the other tables.
        batch: DiskBatch,
        /// For the high-water file.
        mark: HighWater,
    },
    /// Keep what the state's tables hold now, the records of the snapshot at this index, in the place of those kept
    /// before.
    Capture {
        /// The index.
        index: u64,
    },
    /// What was captured is not wanted any more.
    ReleaseCapture,
    /// Answer a hello.
    Greet {
        /// Which.
        call: u64,
        /// How.
        reply: HelloReply,
    },
    /// Answer a request of this node's own.
    Answer(RequestId, Answer),
    /// The store holds the state as it is applied up to here.
    StateStored(LogIndex),
    /// To whom leadership is being handed, if to anybody.
    Transferred {
        /// The name of the question.
        call: u64,
        /// To whom.
        heir: Option<NodeId>,
    },
    /// Keep streams to these peers, of which some have told where they are, and to nobody else; streams from those that
    /// are gone end.
    Follow {
        /// What to say on streams from now on.
        hello: Box<Hello>,
        /// Peers.
        peers: BTreeMap<NodeId, Option<String>>,
        /// Who has left forever.
        gone: BTreeSet<NodeId>,
    },
    /// Say hello anew to every peer.
    Redial,
    /// Nothing to do but to take note.
    Observe(Observed),
}

/// What a shell may want to measure or show.
#[derive(Debug)]
pub enum Observed {
    /// One or more ticks have passed.
    Ticked,
    /// A request waited this long before it was sent for the first time.
    Queued(Duration),
    /// These requests were proposed as one entry.
    Proposed(Vec<RequestId>),
    /// An entry of this leader's took this long to be committed.
    Replicated(Duration),
    /// Answers of committed entries were given out.
    Applied,
    /// What this node and its peers are worth as places for the leader.
    Measured(BTreeMap<NodeId, Measured>),
    /// What committed entries decided, whoever had asked: for the simulator's judge, in its build alone.
    #[cfg(signonce_sim)]
    Decided(Vec<Decided>),
}

/// How a driver runs.
#[derive(Clone, Copy, Debug)]
pub struct DriverConfig {
    /// Names the requests of this start: no other start of the node has it.
    pub boot: u64,
    /// The length of a tick.
    pub tick: Duration,
    /// How many slots a block's slot may be from the present one.
    pub slot_tolerance: u64,
}

/// The records of the snapshot that was offered last.
struct Captured {
    index: u64,
    /// Whom they are on their way to.
    travel_to: BTreeSet<NodeId>,
    /// When they were last wanted.
    wanted: Moment,
}

/// Where the work of a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing is to be done.
    Over,
    /// The replica may have more to do.
    Working,
    /// The same, and what the store lacks is on its way there.
    Storing,
}

/// See the crate's text.
pub struct Driver {
    pub(crate) node: NodeId,
    pub(crate) config: DriverConfig,
    pub(crate) replica: Replica,
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) waiters: Waiters,
    pub(crate) proposals: Proposals,
    /// Requests of other nodes, to be proposed in the next turn.
    pub(crate) forwarded: BTreeMap<NodeId, Vec<Request>>,
    /// The leader takes nothing at the moment; wait for the next tick.
    pub(crate) hold_off: bool,
    peers: Peers,
    measure: Measure,
    /// Answers to hellos, which leave after what the replica writes because of them: they promise that this node
    /// will not forget whom it has met.
    greetings: Vec<(u64, HelloReply)>,
    turn: Turn,
    next_tick: Moment,
    /// When to tell followers of what was committed, if nothing else does before.
    notice_due: Option<Moment>,
    /// The last fsync that was asked for, and the last that is done.
    sync_asked: u64,
    sync_done: u64,
    /// For the high-water file: what is durable and is being acknowledged.
    mark: Option<HighWater>,
    asked_peers: Moment,
    /// Whom the shell was last told to be connected with, and what to say to them.
    connected: BTreeMap<NodeId, Option<String>>,
    introduced: Hello,
    captured: Option<Captured>,
    state_wanted: bool,
}

impl Driver {
    /// A driver of `replica`, which nobody else changes.
    pub fn new(mut replica: Replica, config: DriverConfig, now: Now) -> Self {
        replica.pass_empty_fence();
        let introduced = replica.our_hello();
        Self {
            node: introduced.node,
            introduced,
            config,
            state: replica.state(),
            replica,
            waiters: Waiters::default(),
            proposals: Proposals::default(),
            forwarded: BTreeMap::new(),
            hold_off: false,
            peers: Peers::default(),
            measure: Measure::new(now.at),
            greetings: Vec::new(),
            turn: Turn::Over,
            next_tick: now.at + config.tick,
            notice_due: None,
            sync_asked: 0,
            sync_done: 0,
            mark: None,
            asked_peers: now.at,
            connected: BTreeMap::new(),
            captured: None,
            state_wanted: false,
        }
    }

    /// Takes an event and says what is to be done.
    ///
    /// # Errors
    /// The process must stop.
    pub fn step(&mut self, event: Event, now: Now) -> Result<Vec<Effect>, Fatal> {
        let mut effects = Vec::new();
        match event {
            Event::Work => self.work(now, &mut effects)?,
            event => self.take(event, now, &mut effects),
        }
        Ok(effects)
    }

    /// Whether [`Event::Work`] is to be given again once the effects of the last one are carried out.
    pub fn is_working(&self) -> bool {
        self.turn != Turn::Over
    }

    /// When [`Event::Work`] is to be given, whether anything happens until then or not.
    pub fn wake_at(&self) -> Moment {
        self.notice_due.map_or(self.next_tick, |due| due.min(self.next_tick))
    }

    /// The replica, to look at.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// How many requests of this node's own wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// When the oldest entry was proposed here that is not among the `committed`.
    pub fn oldest_proposal(&self, committed: LogIndex) -> Option<Moment> {
        self.proposals.oldest(committed)
    }

    /// Every peer, as this node hears it. Nothing is decided by it.
    pub fn peers(&self) -> impl Iterator<Item = PeerHeard> {
        self.peers.all()
    }
}

// Inputs.
impl Driver {
    fn take(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        let replica = &mut self.replica;
        match event {
            Event::Work => unreachable!("work is no input"),
            Event::Raft { from, life, message } => {
                self.peers.heard(from, message.is_heartbeat_answer(), now.at);
                replica.receive(from, life, *message);
            }
            Event::Hello { call, hello } => self.greetings.push((call, replica.hello(&hello))),
            Event::HelloReply { from, reply } => replica.hello_reply(from, &reply),
            Event::Forwarded { from, requests } => self.forwarded.entry(from).or_default().extend(requests),
            Event::Declined { requests, why } => {
                self.hold_off |= why.passes();
                self.waiters.declined(&requests, why, effects);
            }
            Event::Submit(submission) => self.submit(submission, effects),
            Event::HungUp(requests) => self.waiters.forget(&requests),
            Event::Synced { number, took, unmarked } => {
                self.measure.synced(took);
                self.synced(number, unmarked);
            }
            Event::SyncTook(took) => self.measure.synced(took),
            Event::Unreachable(peer) => {
                replica.unreachable(peer);
                self.peers.lost(peer);
                self.hold_off |= self.waiters.lost(peer);
            }
            Event::NotSent { to, snapshot } => {
                replica.unreachable(to);
                if snapshot {
                    self.snapshot_sent(to, false, now);
                }
            }
            // What it said before may be lost with its old stream: that it had declined something, above all.
            Event::HeardAnew(peer) => self.hold_off |= self.waiters.lost(peer),
            Event::SnapshotSent { peer, arrived } => self.snapshot_sent(peer, arrived, now),
            Event::Ping { from, nonce } => self.pong(from, nonce, effects),
            Event::Pong { from, nonce, sync, cost } => {
                self.measure.answered(from, nonce, sync, cost, now.at);
            }
            Event::PruneAudit { before } => effects.push(prune_audit(before)),
            Event::StateWanted => self.state_wanted = true,
            Event::Transfer { call, to } => {
                let heir = replica.transfer_leadership(to);
                effects.push(Effect::Transferred { call, heir });
            }
        }
    }

    fn submit(&mut self, submission: Submission, effects: &mut Vec<Effect>) {
        if self.waiters.len() < WAITERS_MAX {
            self.waiters.add(submission);
        } else {
            effects.push(Effect::Answer(submission.request.id(), Answer::NeverTaken));
        }
    }

    /// Only what was asked for can be done: a shell that says otherwise would have this node acknowledge what a crash
    /// could take back.
    fn synced(&mut self, number: u64, unmarked: Option<HighWater>) {
        assert!(
            number <= self.sync_asked,
            "fsync {number} was never asked for, the last was {}",
            self.sync_asked
        );
        self.sync_done = self.sync_done.max(number);
        self.mark = unmarked.or(self.mark);
        self.replica.persisted(number);
    }

    fn snapshot_sent(&mut self, peer: NodeId, arrived: bool, now: Now) {
        self.replica.snapshot_sent(peer, arrived);
        if let Some(captured) = &mut self.captured {
            captured.travel_to.remove(&peer);
            captured.wanted = now.at;
        }
    }

    /// Answers a peer that measures.
    fn pong(&self, to: NodeId, nonce: u64, effects: &mut Vec<Effect>) {
        let Measured { sync, cost, .. } = self.own_measure();
        let nanoseconds = |took: Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (sync, cost) = (sync.map(nanoseconds), cost.map(nanoseconds));
        effects.push(Effect::Say(to, Frame::Pong { nonce, sync, cost }));
    }

    fn own_measure(&self) -> Measured {
        let voters: Vec<NodeId> = self.replica.configuration().voters.into_iter().map(NodeId).collect();
        self.measure.own(self.node, &voters)
    }
}

fn prune_audit(before: u64) -> Effect {
    let (from, to) = (AuditRow::stored_key(0), AuditRow::stored_key(before));
    let batch = DiskBatch { ops: vec![DiskOp::DeleteRange(DiskTable::Audit, from, to)] };
    Effect::Write { batch, sync: None }
}

// Work.
impl Driver {
    fn work(&mut self, now: Now, effects: &mut Vec<Effect>) -> Result<(), Fatal> {
        if self.turn == Turn::Over {
            self.turn = Turn::Working;
            self.tick_if_due(now, effects);
            self.route(now, effects);
            if self.notice_due.take_if(|due| *due <= now.at).is_some() {
                self.replica.tell_committed();
            }
        }
        let outputs = self.replica.pump()?;
        if outputs.is_empty() {
            self.end_turn(now, effects);
        }
        for output in outputs {
            self.output(output, now, effects);
        }
        Ok(())
    }

    fn end_turn(&mut self, now: Now, effects: &mut Vec<Effect>) {
        // After the acknowledgement, which would wait for it: the file may lag, it must never lead.
        effects.extend(self.mark.take().map(Effect::Mark));
        if self.turn == Turn::Storing {
            effects.push(Effect::StateStored(self.replica.status().applied));
        } else if std::mem::take(&mut self.state_wanted) {
            self.replica.store_rest();
            self.turn = Turn::Storing;
            return;
        }
        self.turn = Turn::Over;
        let owed = self.replica.owes_notice();
        self.notice_due = owed.then(|| self.notice_due.unwrap_or(now.at + LULL));
        let greetings = self.greetings.drain(..);
        effects.extend(greetings.map(|(call, reply)| Effect::Greet { call, reply }));
    }

    fn tick_if_due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut caught_up = 0;
        while self.next_tick <= now.at && caught_up < TICKS_CAUGHT_UP {
            self.replica.tick();
            self.next_tick += self.config.tick;
            caught_up += 1;
        }
        if caught_up == 0 {
            return;
        }
        self.next_tick = self.next_tick.max(now.at);
        self.hold_off = false;
        self.waiters.expire(now.at, effects);
        self.measure_if_due(now, effects);
        self.release_capture(now, effects);
        self.follow_members(effects);
        if now.at.saturating_sub(self.asked_peers) >= ASK_AGAIN {
            let not_member = self.replica.status().not_member;
            if matches!(not_member, Some(NotMember::Forming(_) | NotMember::Fenced { .. })) {
                self.asked_peers = now.at;
                effects.push(Effect::Redial);
            }
        }
        effects.push(Effect::Observe(Observed::Ticked));
    }

    /// Asks the peers how long they take to answer, once in a while.
    fn measure_if_due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.measure.is_due(now.at) {
            return;
        }
        let nonce = self.measure.ask(now.at, self.connected.keys().copied());
        effects.extend(self.connected.keys().map(|peer| Effect::Say(*peer, Frame::Ping(nonce))));
        let mut all = self.measure.all();
        all.insert(self.node, self.own_measure());
        effects.push(Effect::Observe(Observed::Measured(all)));
    }

    /// What is captured holds disk space: not for longer than somebody wants it.
    fn release_capture(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let unwanted = |captured: &mut Captured| {
            captured.travel_to.is_empty() && now.at.saturating_sub(captured.wanted) > CAPTURE_KEPT
        };
        if self.captured.take_if(unwanted).is_some() {
            self.replica.withdraw_snapshot();
            effects.push(Effect::ReleaseCapture);
        }
    }

    /// Members come and go, and so do the streams; what is said first on them tells of the newest configuration, even
    /// where it has the same members.
    fn follow_members(&mut self, effects: &mut Vec<Effect>) {
        let (peers, hello) = (self.replica.peers(), self.replica.our_hello());
        if peers == self.connected && hello == self.introduced {
            return;
        }
        let state = self.state.read().expect("apply does not panic");
        let removed: BTreeSet<NodeId> = state.registry().removed().collect();
        drop(state);
        let gone = removed.into_iter().filter(|node| self.replica.is_gone(*node)).collect();
        self.connected.clone_from(&peers);
        self.introduced.clone_from(&hello);
        effects.push(Effect::Follow { hello: Box::new(hello), peers, gone });
    }
}

// Outputs.
impl Driver {
    fn output(&mut self, output: Output, now: Now, effects: &mut Vec<Effect>) {
        match output {
            Output::Send(messages) => self.send(messages, now, effects),
            Output::Write { batch, sync } => effects.push(Effect::Write { batch, sync }),
            Output::Install { records, batch, mark } => {
                effects.push(Effect::Install { records, batch, mark });
            }
            Output::Capture { index } => {
                self.captured = Some(Captured { index, travel_to: BTreeSet::new(), wanted: now.at });
                effects.push(Effect::Capture { index });
            }
            Output::Sync { number, mark } => {
                let may_wait = self.may_wait();
                self.sync_asked = number;
                effects.push(Effect::Sync { number, mark, may_wait });
                #[cfg(signonce_sim)]
                if mutation::is(Mutation::AckBeforeSync) {
                    self.replica.persisted(number);
                }
            }
            Output::Outcomes(decided) => self.give_out(decided, now, effects),
            Output::Jumped => self.waiters.ask_again(),
        }
    }

    fn send(&mut self, mut messages: Vec<PeerMessage>, now: Now, effects: &mut Vec<Effect>) {
        for message in messages.iter().filter(|message| message.is_heartbeat()) {
            self.peers.asked(message.to(), now.at);
        }
        messages.retain(|message| self.has_records(message, now));
        if !messages.is_empty() {
            effects.push(Effect::Send(messages));
        }
    }

    /// Whether the records that belong behind a message, if any do, are still there.
    fn has_records(&mut self, message: &PeerMessage, now: Now) -> bool {
        let Some(index) = message.records_at() else { return true };
        match self.captured.as_mut().filter(|captured| captured.index == index) {
            Some(captured) => {
                captured.travel_to.insert(message.to());
                captured.wanted = now.at;
                true
            }
            None => {
                self.replica.withdraw_snapshot();
                self.replica.snapshot_sent(message.to(), false);
                false
            }
        }
    }

    /// A busy node has batches to build during an fsync, a busy leader messages to send. An idle follower has only its
    /// acknowledgement, and a leader with one duty only answers, and both wait for the fsync anyway.
    fn may_wait(&self) -> bool {
        let leads = self.replica.leader() == Some(self.node);
        let lone = self.proposals.len() <= 1 && self.waiters.len() <= 1;
        (!leads || lone) && self.sync_asked == self.sync_done
    }

    fn give_out(&mut self, decided: Vec<Decided>, now: Now, effects: &mut Vec<Effect>) {
        #[cfg(signonce_sim)]
        effects.push(Effect::Observe(Observed::Decided(decided.clone())));
        if let Some(last) = decided.last() {
            self.proposals.committed(last.at, now.at, effects);
        }
        let own = |one: &Decided| one.request.node == self.node && one.request.boot == self.config.boot;
        for one in decided.into_iter().filter(own) {
            self.waiters.decided(one, effects);
        }
        effects.push(Effect::Observe(Observed::Applied));
    }
}
