//! A process: the simulator's shell of the driver that production runs.
//!
//! It tells the driver what happens and carries out the effects in order, as `cluster/node/src/driver` does with
//! RocksDB, threads and TLS streams.

use crate::around::{Around, Envelope, Event, Proc, Said, Stream};
use crate::asking::Asker;
use crate::inspect::{Seen, describe, said_is_durable};
use crate::machine::{Alive, Machine};
use crate::setup::{MS, Micros, SECOND, chance};
use rand::RngExt;
use signonce_core::replica::Replica;
use signonce_core::replica::disk::{DiskBatch, DiskOp, DiskTable, HighWater, KeptRecords, RecordSource};
use signonce_core::replica::hello::{Hello, HelloReply};
use signonce_core::replica::wire::{Beside, PeerMessage};
use signonce_driver::frame::{FRAME_BYTES_MAX, Frame};
use signonce_driver::{
    Decline, Driver, DriverConfig, Effect, Event as Input, Moment, Now, Observed, Request,
};
use signonce_protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// See the module's text.
pub struct Process {
    /// Which start of all.
    pub proc: Proc,
    pub(crate) driver: Driver,
    /// What it says first.
    pub(crate) hello: Hello,
    /// Whom it was told to ask first; nobody, if it was there from the start.
    hints: Vec<NodeId>,
    /// Whom to have streams to, and from whom to take none.
    peers: Vec<NodeId>,
    gone: BTreeSet<NodeId>,
    /// The stream to each peer.
    streams: BTreeMap<NodeId, Stream>,
    /// The last stream each peer was heard on: its process and the number there.
    heard_on: BTreeMap<NodeId, (u64, u64)>,
    next_stream: u64,
    /// Hellos that wait for an answer: the process that said it.
    greeted: BTreeMap<u64, (NodeId, u64)>,
    next_call: u64,
    /// Who waits for the answer to a request, by its number.
    pub(crate) askers: BTreeMap<u64, Asker>,
    pub(crate) next_seq: u64,
    syncing: bool,
    sync_wanted: Option<(u64, HighWater)>,
    mark_synced: Micros,
    /// The state as it was at the snapshot that was offered last, and its index.
    captured: Option<(u64, Arc<KeptRecords>)>,
    /// Chain hashes of the log as written.
    pub(crate) chains: BTreeMap<u64, [u8; 32]>,
    pub(crate) seen: Seen,
    /// When it is woken next.
    wakes: Micros,
}

/// The driver's time. It counts from before the run, so that a first tick can be due at once.
pub(crate) fn moment(micros: Micros) -> Moment {
    Duration::from_micros(SECOND + micros)
}

impl Process {
    /// A process that is about to begin.
    pub fn new(
        machine: &Machine,
        replica: Replica,
        config: DriverConfig,
        first_tick: Micros,
        around: &Around,
    ) -> Self {
        let began = moment(around.now + first_tick) - config.tick;
        let hello = replica.our_hello();
        let peers = replica.peers().into_keys().collect();
        let driver = Driver::new(replica, config, Now { at: began, unix_ms: machine.unix_ms(around) });
        let mut process = Self {
            proc: Proc { machine: machine.number, boot: config.boot },
            driver,
            hello,
            hints: machine.hints.clone(),
            peers: Vec::new(),
            gone: BTreeSet::new(),
            streams: BTreeMap::new(),
            heard_on: BTreeMap::new(),
            next_stream: 1,
            greeted: BTreeMap::new(),
            next_call: 0,
            askers: BTreeMap::new(),
            next_seq: 1,
            syncing: false,
            sync_wanted: None,
            mark_synced: around.now,
            captured: None,
            chains: machine.disk.chains(),
            seen: Seen::default(),
            wakes: Micros::MAX,
        };
        process.follow_peers(peers);
        process
    }

    /// The replica in it, to look at.
    pub fn replica(&self) -> &Replica {
        self.driver.replica()
    }

    fn follow_peers(&mut self, peers: Vec<NodeId>) {
        self.peers = if peers.is_empty() { self.hints.clone() } else { peers };
        let Self { streams, peers, .. } = self;
        streams.retain(|peer, _| peers.contains(peer));
    }
}

// Events.
impl Process {
    /// Takes an event, and works at once or a little later: production takes several before it does.
    pub fn happens(&mut self, event: Event, machine: &mut Machine, around: &mut Around) -> Alive {
        let works = match event {
            Event::Work(_) => true,
            Event::Wake(_) => {
                if self.wakes <= around.now {
                    self.wakes = Micros::MAX;
                }
                let due = self.driver.wake_at() <= moment(around.now);
                due && !self.lazes(around)
            }
            event => {
                self.takes(event, machine, around)?;
                !self.lazes(around)
            }
        };
        if works {
            self.work(machine, around)?;
        }
        self.wake_later(around);
        Ok(())
    }

    fn lazes(&self, around: &mut Around) -> bool {
        let lazes = !around.calm && chance(&mut around.rng, around.setup.lazy);
        if lazes {
            let later = around.rng.random_range(1..2 * MS);
            around.schedule(later, Event::Work(self.proc));
        }
        lazes
    }

    /// The alarm: for what the driver has to do at some time, whatever happens until then.
    fn wake_later(&mut self, around: &mut Around) {
        let due = self.driver.wake_at().saturating_sub(moment(0));
        let due = Micros::try_from(due.as_micros()).unwrap_or(Micros::MAX);
        if due > around.now && due < self.wakes {
            self.wakes = due;
            around.schedule(due - around.now, Event::Wake(self.proc));
        }
    }

    fn takes(&mut self, event: Event, machine: &mut Machine, around: &mut Around) -> Alive {
        match event {
            Event::Dial(proc) => {
                self.dial(around);
                let again = around.rng.random_range(200 * MS..400 * MS);
                around.schedule(again, Event::Dial(proc));
                Ok(())
            }
            Event::Synced { number, upto, mark, took, .. } => {
                machine.sync(upto)?;
                self.syncing = false;
                let took = Duration::from_micros(took);
                self.tell(Input::Synced { number, took, unmarked: None }, machine, around)?;
                machine.disk.mark(mark);
                self.start_sync(machine, around);
                Ok(())
            }
            Event::Arrive(envelope) => self.arrive(*envelope, machine, around),
            Event::SnapshotSent { peer, arrived, .. } => {
                self.tell(Input::SnapshotSent { peer, arrived }, machine, around)
            }
            Event::Reset { peer, boot, .. } => {
                if self.streams.get(&peer).is_some_and(|stream| stream.boot == boot) {
                    self.streams.remove(&peer);
                    return self.tell(Input::Unreachable(peer), machine, around);
                }
                Ok(())
            }
            Event::Request { task, .. } => self.request(task, machine, around),
            Event::Work(_)
            | Event::Wake(_)
            | Event::Op(_)
            | Event::Start(_)
            | Event::Restore { .. }
            | Event::StartClone(_)
            | Event::Members(_) => unreachable!("{event:?} is no input of a process"),
        }
    }

    /// Says hello to every peer without a stream.
    fn dial(&mut self, around: &mut Around) {
        for peer in self.peers.iter().filter(|peer| !self.streams.contains_key(peer)) {
            self.send(*peer, None, None, Said::Hello(self.hello.clone()), around);
        }
    }

    fn arrive(&mut self, envelope: Envelope, machine: &mut Machine, around: &mut Around) -> Alive {
        let Envelope { from, node, boot, stream, said, life, .. } = envelope;
        let older = boot.filter(|boot| *boot != self.proc.boot);
        if older.is_some() || (self.gone.contains(&node) && !matches!(said, Said::Hello(_))) {
            // The other end is an older process, or of one that has left: the stream breaks. Who has left says hello
            // again, and hears why.
            let (peer, boot) = (self.hello.node, older.unwrap_or(self.proc.boot));
            let after = around.between(around.setup.delay);
            if matches!(&said, Said::Raft(message) if message.is_snapshot()) {
                around.schedule(after, Event::SnapshotSent { proc: from, peer, arrived: false });
            }
            around.schedule(after, Event::Reset { proc: from, peer, boot });
            return Ok(());
        }
        if let Some(stream) = stream
            && self.heard_on.get(&node).is_none_or(|last| *last < (from.boot, stream))
        {
            self.heard_on.insert(node, (from.boot, stream));
            self.tell(Input::HeardAnew(node), machine, around)?;
        }
        match said {
            Said::Raft(message) => {
                around.say(|| format!("  {} <- {node}: {}", self.hello.node, describe(&message)));
                if message.is_snapshot() {
                    around.figures.snapshots += 1;
                    let after = around.between(around.setup.delay);
                    let peer = self.hello.node;
                    around.schedule(after, Event::SnapshotSent { proc: from, peer, arrived: true });
                }
                self.tell(Input::Raft { from: node, life, message: Box::new(message) }, machine, around)
            }
            Said::Hello(hello) => {
                self.next_call += 1;
                self.greeted.insert(self.next_call, (node, from.boot));
                let hello = Input::Hello { call: self.next_call, hello: Box::new(hello) };
                self.tell(hello, machine, around)
            }
            Said::HelloReply(reply) => self.greeted(node, from, reply, machine, around),
            Said::Frame(frame) => {
                let input = frame.into_event(node, life).expect("a driver says only what another takes");
                self.tell(input, machine, around)
            }
        }
    }

    fn greeted(
        &mut self,
        peer: NodeId,
        from: Proc,
        reply: HelloReply,
        machine: &mut Machine,
        around: &mut Around,
    ) -> Alive {
        if !matches!(reply, HelloReply::Refused(_)) {
            self.streams.insert(peer, Stream { boot: from.boot, number: self.next_stream });
            self.next_stream += 1;
        }
        self.tell(Input::HelloReply { from: peer, reply }, machine, around)?;
        // What was queued for the stream before is stale.
        self.tell(Input::Unreachable(peer), machine, around)
    }
}

// The driver.
impl Process {
    fn step(&mut self, input: Input, machine: &Machine, around: &Around) -> Vec<Effect> {
        let now = Now { at: moment(around.now), unix_ms: machine.unix_ms(around) };
        self.driver.step(input, now).unwrap_or_else(|fatal| panic!("a node stops: {fatal}"))
    }

    /// Tells the driver what happened, and does what it wants at once.
    pub fn tell(&mut self, input: Input, machine: &mut Machine, around: &mut Around) -> Alive {
        let effects = self.step(input, machine, around);
        effects.into_iter().try_for_each(|effect| self.carry_out(effect, machine, around))
    }

    /// Lets the driver work and carries out what it wants, until it wants nothing more.
    fn work(&mut self, machine: &mut Machine, around: &mut Around) -> Alive {
        loop {
            let effects = self.step(Input::Work, machine, around);
            // What was applied is decided, and what was proposed is on its way, even if the process dies before it can
            // say so.
            for effect in &effects {
                match effect {
                    Effect::Observe(Observed::Decided(decided)) => around.judge.decided(decided),
                    Effect::Observe(Observed::Proposed(ids)) => {
                        let (clock, tolerance) = (machine.unix_ms(around), around.setup.slot_tolerance);
                        around.judge.proposed(ids, clock, tolerance);
                    }
                    _ => {}
                }
            }
            for effect in effects {
                if !matches!(effect, Effect::Observe(_)) {
                    machine.effect()?;
                }
                self.carry_out(effect, machine, around)?;
            }
            if !self.driver.is_working() {
                break;
            }
        }
        self.inspect(machine, around);
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, machine: &mut Machine, around: &mut Around) -> Alive {
        match effect {
            Effect::Send(messages) => {
                for message in messages {
                    self.send_raft(message, machine, around)?;
                }
            }
            Effect::Say(to, frame) => self.say(to, frame, around),
            Effect::Forward(to, requests) => return self.forward(to, requests, machine, around),
            Effect::Write { batch, sync } => {
                self.follow(&batch);
                machine.disk.write(batch);
                if let Some(mark) = sync {
                    return self.write_through(mark, machine, around);
                }
            }
            Effect::Install { records, batch, mark } => {
                let batch = whole_install(&*records, batch);
                self.follow(&batch);
                machine.disk.write(batch);
                return self.write_through(mark, machine, around);
            }
            Effect::Sync { number, mark, may_wait } => {
                return self.make_durable(number, mark, may_wait, machine, around);
            }
            Effect::Mark(mark) => machine.disk.mark(mark),
            Effect::Capture { index } => {
                self.captured = Some((index, Arc::new(KeptRecords(machine.disk.state_records()))));
            }
            Effect::ReleaseCapture => self.captured = None,
            Effect::Greet { call, reply } => {
                let (node, boot) = self.greeted.remove(&call).expect("every hello is answered once");
                around.say(|| format!("  {} answers hello of {node}: {reply:?}", self.hello.node));
                self.send(node, Some(boot), None, Said::HelloReply(reply), around);
            }
            Effect::Answer(request, answer) => return self.answer(request, answer, machine, around),
            Effect::StateStored(_) | Effect::Transferred { .. } => {}
            Effect::Follow { hello, peers, gone } => {
                (self.hello, self.gone) = (*hello, gone);
                self.follow_peers(peers.into_keys().collect());
            }
            Effect::Redial => {
                self.streams.clear();
                self.dial(around);
            }
            Effect::Observe(Observed::Ticked) => {
                if around.now - self.mark_synced >= SECOND {
                    self.mark_synced = around.now;
                    machine.disk.sync_mark();
                }
            }
            Effect::Observe(_) => {}
        }
        Ok(())
    }
}

// The disk.
impl Process {
    fn write_through(&mut self, mark: HighWater, machine: &mut Machine, around: &mut Around) -> Alive {
        machine.sync(machine.disk.written())?;
        machine.disk.mark(mark);
        self.tell(Input::SyncTook(Duration::from_micros(around.setup.fsync.0)), machine, around)
    }

    fn make_durable(
        &mut self,
        number: u64,
        mark: HighWater,
        may_wait: bool,
        machine: &mut Machine,
        around: &mut Around,
    ) -> Alive {
        // Where the driver may wait, it does unless input waits too.
        if may_wait && around.setup.sync_here && chance(&mut around.rng, 700) {
            machine.sync(machine.disk.written())?;
            let took = Duration::from_micros(around.setup.fsync.0);
            return self.tell(Input::Synced { number, took, unmarked: Some(mark) }, machine, around);
        }
        self.sync_wanted = Some((number, mark));
        self.start_sync(machine, around);
        Ok(())
    }

    /// One fsync at a time, for everything that was asked for while the last one ran.
    fn start_sync(&mut self, machine: &Machine, around: &mut Around) {
        if self.syncing {
            return;
        }
        let Some((number, mark)) = self.sync_wanted.take() else { return };
        self.syncing = true;
        let slow = if machine.slow_until > around.now { 100 } else { 1 };
        let took = around.between(around.setup.fsync) * slow;
        let upto = machine.disk.written();
        around.schedule(took, Event::Synced { proc: self.proc, number, upto, mark, took });
    }

    fn follow(&mut self, batch: &DiskBatch) {
        for op in &batch.ops {
            match op {
                DiskOp::Put(table, key, value) => {
                    self.chains.extend(crate::disk::chain_of(*table, key, value));
                }
                DiskOp::Clear(DiskTable::Log) => self.chains.clear(),
                DiskOp::Clear(_) | DiskOp::Delete(..) | DiskOp::DeleteRange(..) => {}
            }
        }
    }
}

// The network.
impl Process {
    fn send_raft(&mut self, message: PeerMessage, machine: &mut Machine, around: &mut Around) -> Alive {
        said_is_durable(&message, &machine.disk);
        let to = message.to();
        if self.queue_is_full(around) {
            let snapshot = message.is_snapshot();
            return self.tell(Input::NotSent { to, snapshot }, machine, around);
        }
        // Now and then through its bytes, as in production.
        let mut message = if chance(&mut around.rng, 30) {
            PeerMessage::decode(&message.encode()).expect("a message survives the wire")
        } else {
            message
        };
        if let Some(index) = message.records_at() {
            let (kept, records) = self.captured.clone().expect("what is sent was captured");
            assert_eq!(kept, index, "what is sent is what was captured last");
            message.records = Beside(Some(records));
        }
        if message.is_snapshot() {
            self.send(to, None, None, Said::Raft(message), around);
        } else {
            self.send_on_stream(to, Said::Raft(message), around);
        }
        Ok(())
    }

    fn say(&self, to: NodeId, frame: Frame, around: &mut Around) {
        let frame = if chance(&mut around.rng, 100) {
            let bytes = frame.to_bytes();
            Frame::first_of(&bytes, FRAME_BYTES_MAX).expect("a frame survives the wire").0
        } else {
            frame
        };
        // Without a stream the frame is lost; the stream's return has the requests sent again.
        self.send_on_stream(to, Said::Frame(frame), around);
    }

    fn forward(
        &mut self,
        to: NodeId,
        requests: Vec<Request>,
        machine: &mut Machine,
        around: &mut Around,
    ) -> Alive {
        if self.queue_is_full(around) {
            let requests = requests.iter().map(Request::id).collect();
            return self.tell(Input::Declined { requests, why: Decline::Busy }, machine, around);
        }
        self.say(to, Frame::Forward(requests), around);
        Ok(())
    }

    fn queue_is_full(&self, around: &mut Around) -> bool {
        !around.calm && around.setup.lost > 0 && chance(&mut around.rng, 2)
    }

    fn send_on_stream(&self, to: NodeId, said: Said, around: &mut Around) {
        if let Some(Stream { boot, number }) = self.streams.get(&to).copied() {
            self.send(to, Some(boot), Some(number), said, around);
        }
    }

    fn send(&self, to: NodeId, boot: Option<u64>, stream: Option<u64>, said: Said, around: &mut Around) {
        let Hello { node, life, .. } = self.hello;
        around.send(Envelope { from: self.proc, node, life, to, boot, stream, said });
    }
}

/// A snapshot's records and the rest of its rows: the store has both or neither.
fn whole_install(records: &dyn RecordSource, batch: DiskBatch) -> DiskBatch {
    let mut ops: Vec<DiskOp> = DiskTable::STATE.map(|(table, _)| DiskOp::Clear(table)).into();
    for record in records.records() {
        let (table, key, value) = record.expect("what is in memory can be read");
        let (stored, _) =
            DiskTable::STATE.into_iter().find(|(_, own)| *own == table).expect("both are there");
        ops.push(DiskOp::Put(stored, key, value));
    }
    ops.extend(batch.ops);
    DiskBatch { ops }
}
