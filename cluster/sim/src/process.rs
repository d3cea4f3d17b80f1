//! A process: the simulator's shell of the driver that production runs.
//!
//! It tells the driver what happens and carries out the effects in order, as `cluster/node/src/driver` does with
//! RocksDB, threads and TLS streams.

use crate::asking::Asker;
use crate::environment::{Envelope, Environment, Event, Proc, Said, Stream};
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

/// A process on a machine.
pub struct Process {
    /// Its number among all starts.
    pub proc: Proc,
    pub(crate) driver: Driver,
    /// Its first message on every stream.
    pub(crate) hello: Hello,
    /// The nodes that it was told to ask first; empty if it was there from the start.
    hints: Vec<NodeId>,
    /// The peers to have streams to; streams from others are refused.
    peers: Vec<NodeId>,
    gone: BTreeSet<NodeId>,
    /// The stream to each peer.
    streams: BTreeMap<NodeId, Stream>,
    /// The last stream each peer was heard on: its process and the number there.
    heard_on: BTreeMap<NodeId, (u64, u64)>,
    next_stream: u64,
    /// Hellos that wait for an answer, with the process that said them.
    greeted: BTreeMap<u64, (NodeId, u64)>,
    next_call: u64,
    /// Who waits for the answer to a request, by its number.
    pub(crate) askers: BTreeMap<u64, Asker>,
    pub(crate) next_seq: u64,
    syncing: bool,
    sync_wanted: Option<(u64, HighWater)>,
    mark_synced: Micros,
    /// The records of the last snapshot offered, and its index.
    captured: Option<(u64, Arc<KeptRecords>)>,
    /// Chain hashes of the log as written.
    pub(crate) chains: BTreeMap<u64, [u8; 32]>,
    pub(crate) seen: Seen,
    /// When the alarm fires next.
    wakes: Micros,
}

/// The driver's time. It begins before the run, so that a first tick can be due at once.
pub(crate) fn moment(micros: Micros) -> Moment {
    Duration::from_micros(SECOND + micros)
}

impl Process {
    /// A process that is about to start.
    pub fn new(
        machine: &Machine,
        replica: Replica,
        config: DriverConfig,
        first_tick: Micros,
        environment: &Environment,
    ) -> Self {
        let began = moment(environment.now + first_tick) - config.tick;
        let hello = replica.our_hello();
        let peers = replica.peers().into_keys().collect();
        let driver = Driver::new(replica, config, Now { at: began, unix_ms: machine.unix_ms(environment) });
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
            mark_synced: environment.now,
            captured: None,
            chains: machine.disk.chains(),
            seen: Seen::default(),
            wakes: Micros::MAX,
        };
        process.follow_peers(peers);
        process
    }

    /// Its replica, for inspection.
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
    /// Takes an event, and works at once or a little later: production takes several events before it works.
    pub fn happens(&mut self, event: Event, machine: &mut Machine, environment: &mut Environment) -> Alive {
        let works = match event {
            Event::Work(_) => true,
            Event::Wake(_) => {
                if self.wakes <= environment.now {
                    self.wakes = Micros::MAX;
                }
                let due = self.driver.wake_at() <= moment(environment.now);
                due && !self.lazes(environment)
            }
            event => {
                self.takes(event, machine, environment)?;
                !self.lazes(environment)
            }
        };
        if works {
            self.work(machine, environment)?;
        }
        self.wake_later(environment);
        Ok(())
    }

    fn lazes(&self, environment: &mut Environment) -> bool {
        let lazes = !environment.calm && chance(&mut environment.rng, environment.setup.lazy);
        if lazes {
            let later = environment.rng.random_range(1..2 * MS);
            environment.schedule(later, Event::Work(self.proc));
        }
        lazes
    }

    /// Sets the alarm for the next thing that the driver has to do by time.
    fn wake_later(&mut self, environment: &mut Environment) {
        let due = self.driver.wake_at().saturating_sub(moment(0));
        let due = Micros::try_from(due.as_micros()).unwrap_or(Micros::MAX);
        if due > environment.now && due < self.wakes {
            self.wakes = due;
            environment.schedule(due - environment.now, Event::Wake(self.proc));
        }
    }

    fn takes(&mut self, event: Event, machine: &mut Machine, environment: &mut Environment) -> Alive {
        match event {
            Event::Dial(proc) => {
                self.dial(environment);
                let again = environment.rng.random_range(200 * MS..400 * MS);
                environment.schedule(again, Event::Dial(proc));
                Ok(())
            }
            Event::Synced { number, upto, mark, took, .. } => {
                machine.sync(upto)?;
                self.syncing = false;
                let took = Duration::from_micros(took);
                self.tell(Input::Synced { number, took, unmarked: None }, machine, environment)?;
                machine.disk.mark(mark);
                self.start_sync(machine, environment);
                Ok(())
            }
            Event::Arrive(envelope) => self.arrive(*envelope, machine, environment),
            Event::SnapshotSent { peer, arrived, .. } => {
                self.tell(Input::SnapshotSent { peer, arrived }, machine, environment)
            }
            Event::Reset { peer, boot, .. } => {
                if self.streams.get(&peer).is_some_and(|stream| stream.boot == boot) {
                    self.streams.remove(&peer);
                    return self.tell(Input::Unreachable(peer), machine, environment);
                }
                Ok(())
            }
            Event::Request { task, .. } => self.request(task, machine, environment),
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
    fn dial(&mut self, environment: &mut Environment) {
        for peer in self.peers.iter().filter(|peer| !self.streams.contains_key(peer)) {
            self.send(*peer, None, None, Said::Hello(self.hello.clone()), environment);
        }
    }

    fn arrive(&mut self, envelope: Envelope, machine: &mut Machine, environment: &mut Environment) -> Alive {
        let Envelope { from, node, boot, stream, said, life, .. } = envelope;
        let older = boot.filter(|boot| *boot != self.proc.boot);
        if older.is_some() || (self.gone.contains(&node) && !matches!(said, Said::Hello(_))) {
            // The other end is an older process, or one of a removed node: the stream breaks. A removed node says hello
            // again, and is told why.
            let (peer, boot) = (self.hello.node, older.unwrap_or(self.proc.boot));
            let after = environment.between(environment.setup.delay);
            if matches!(&said, Said::Raft(message) if message.is_snapshot()) {
                environment.schedule(after, Event::SnapshotSent { proc: from, peer, arrived: false });
            }
            environment.schedule(after, Event::Reset { proc: from, peer, boot });
            return Ok(());
        }
        if let Some(stream) = stream
            && self.heard_on.get(&node).is_none_or(|last| *last < (from.boot, stream))
        {
            self.heard_on.insert(node, (from.boot, stream));
            self.tell(Input::HeardAnew(node), machine, environment)?;
        }
        match said {
            Said::Raft(message) => {
                environment.say(|| format!("  {} <- {node}: {}", self.hello.node, describe(&message)));
                if message.is_snapshot() {
                    environment.figures.snapshots += 1;
                    let after = environment.between(environment.setup.delay);
                    let peer = self.hello.node;
                    environment.schedule(after, Event::SnapshotSent { proc: from, peer, arrived: true });
                }
                self.tell(Input::Raft { from: node, life, message: Box::new(message) }, machine, environment)
            }
            Said::Hello(hello) => {
                self.next_call += 1;
                self.greeted.insert(self.next_call, (node, from.boot));
                let hello = Input::Hello { call: self.next_call, hello: Box::new(hello) };
                self.tell(hello, machine, environment)
            }
            Said::HelloReply(reply) => self.greeted(node, from, reply, machine, environment),
            Said::Frame(frame) => {
                let input = frame.into_event(node, life).expect("a driver says only what another takes");
                self.tell(input, machine, environment)
            }
        }
    }

    fn greeted(
        &mut self,
        peer: NodeId,
        from: Proc,
        reply: HelloReply,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        if !matches!(reply, HelloReply::Refused(_)) {
            self.streams.insert(peer, Stream { boot: from.boot, number: self.next_stream });
            self.next_stream += 1;
        }
        self.tell(Input::HelloReply { from: peer, reply }, machine, environment)?;
        // What was queued for the earlier stream is stale.
        self.tell(Input::Unreachable(peer), machine, environment)
    }
}

// The driver.
impl Process {
    fn step(&mut self, input: Input, machine: &Machine, environment: &Environment) -> Vec<Effect> {
        let now = Now { at: moment(environment.now), unix_ms: machine.unix_ms(environment) };
        self.driver.step(input, now).unwrap_or_else(|fatal| panic!("a node stops: {fatal}"))
    }

    /// Tells the driver what happened, and carries out its effects at once.
    pub fn tell(&mut self, input: Input, machine: &mut Machine, environment: &mut Environment) -> Alive {
        let effects = self.step(input, machine, environment);
        effects.into_iter().try_for_each(|effect| self.carry_out(effect, machine, environment))
    }

    /// Lets the driver work and carries out its effects, until there are no more.
    fn work(&mut self, machine: &mut Machine, environment: &mut Environment) -> Alive {
        loop {
            let effects = self.step(Input::Work, machine, environment);
            // What was applied is decided, and what was proposed is on its way, even if the process dies before it can
            // say so.
            for effect in &effects {
                match effect {
                    Effect::Observe(Observed::Decided(decided)) => environment.judge.decided(decided),
                    Effect::Observe(Observed::Proposed(ids)) => {
                        let (clock, tolerance) =
                            (machine.unix_ms(environment), environment.setup.slot_tolerance);
                        environment.judge.proposed(ids, clock, tolerance);
                    }
                    _ => {}
                }
            }
            for effect in effects {
                if !matches!(effect, Effect::Observe(_)) {
                    machine.effect()?;
                }
                self.carry_out(effect, machine, environment)?;
            }
            if !self.driver.is_working() {
                break;
            }
        }
        self.inspect(machine, environment);
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, machine: &mut Machine, environment: &mut Environment) -> Alive {
        match effect {
            Effect::Send(messages) => {
                for message in messages {
                    self.send_raft(message, machine, environment)?;
                }
            }
            Effect::Say(to, frame) => self.say(to, frame, environment),
            Effect::Forward(to, requests) => return self.forward(to, requests, machine, environment),
            Effect::Write { batch, sync } => {
                self.follow(&batch);
                machine.disk.write(batch);
                if let Some(mark) = sync {
                    return self.write_through(mark, machine, environment);
                }
            }
            Effect::Install { records, batch, mark } => {
                let batch = whole_install(&*records, batch);
                self.follow(&batch);
                machine.disk.write(batch);
                return self.write_through(mark, machine, environment);
            }
            Effect::Sync { number, mark, may_wait } => {
                return self.make_durable(number, mark, may_wait, machine, environment);
            }
            Effect::Mark(mark) => machine.disk.mark(mark),
            Effect::Capture { index } => {
                self.captured = Some((index, Arc::new(KeptRecords(machine.disk.state_records()))));
            }
            Effect::ReleaseCapture => self.captured = None,
            Effect::Greet { call, reply } => {
                let (node, boot) = self.greeted.remove(&call).expect("every hello is answered once");
                environment.say(|| format!("  {} answers hello of {node}: {reply:?}", self.hello.node));
                self.send(node, Some(boot), None, Said::HelloReply(reply), environment);
            }
            Effect::Answer(request, answer) => return self.answer(request, answer, machine, environment),
            Effect::StateStored(_) | Effect::Transferred { .. } => {}
            Effect::Follow { hello, peers, gone } => {
                (self.hello, self.gone) = (*hello, gone);
                self.follow_peers(peers.into_keys().collect());
            }
            Effect::Redial => {
                self.streams.clear();
                self.dial(environment);
            }
            Effect::Observe(Observed::Ticked) => {
                if environment.now - self.mark_synced >= SECOND {
                    self.mark_synced = environment.now;
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
    fn write_through(
        &mut self,
        mark: HighWater,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        machine.sync(machine.disk.written())?;
        machine.disk.mark(mark);
        self.tell(Input::SyncTook(Duration::from_micros(environment.setup.fsync.0)), machine, environment)
    }

    fn make_durable(
        &mut self,
        number: u64,
        mark: HighWater,
        may_wait: bool,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        // Where the driver may sync and wait, it does unless input waits too.
        if may_wait && environment.setup.sync_here && chance(&mut environment.rng, 700) {
            machine.sync(machine.disk.written())?;
            let took = Duration::from_micros(environment.setup.fsync.0);
            return self.tell(Input::Synced { number, took, unmarked: Some(mark) }, machine, environment);
        }
        self.sync_wanted = Some((number, mark));
        self.start_sync(machine, environment);
        Ok(())
    }

    /// Runs one fsync at a time, for everything that was requested during the last one.
    fn start_sync(&mut self, machine: &Machine, environment: &mut Environment) {
        if self.syncing {
            return;
        }
        let Some((number, mark)) = self.sync_wanted.take() else { return };
        self.syncing = true;
        let slow = if machine.slow_until > environment.now { 100 } else { 1 };
        let took = environment.between(environment.setup.fsync) * slow;
        let upto = machine.disk.written();
        environment.schedule(took, Event::Synced { proc: self.proc, number, upto, mark, took });
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
    fn send_raft(
        &mut self,
        message: PeerMessage,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        said_is_durable(&message, &machine.disk);
        let to = message.to();
        if self.queue_is_full(environment) {
            let snapshot = message.is_snapshot();
            return self.tell(Input::NotSent { to, snapshot }, machine, environment);
        }
        // Sometimes through its encoding, as in production.
        let mut message = if chance(&mut environment.rng, 30) {
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
            self.send(to, None, None, Said::Raft(message), environment);
        } else {
            self.send_on_stream(to, Said::Raft(message), environment);
        }
        Ok(())
    }

    fn say(&self, to: NodeId, frame: Frame, environment: &mut Environment) {
        let frame = if chance(&mut environment.rng, 100) {
            let bytes = frame.to_bytes();
            Frame::first_of(&bytes, FRAME_BYTES_MAX).expect("a frame survives the wire").0
        } else {
            frame
        };
        // Without a stream the frame is lost; when the stream returns, the requests are sent again.
        self.send_on_stream(to, Said::Frame(frame), environment);
    }

    fn forward(
        &mut self,
        to: NodeId,
        requests: Vec<Request>,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        if self.queue_is_full(environment) {
            let requests = requests.iter().map(Request::id).collect();
            return self.tell(Input::Declined { requests, why: Decline::Busy }, machine, environment);
        }
        self.say(to, Frame::Forward(requests), environment);
        Ok(())
    }

    fn queue_is_full(&self, environment: &mut Environment) -> bool {
        !environment.calm && environment.setup.lost > 0 && chance(&mut environment.rng, 2)
    }

    fn send_on_stream(&self, to: NodeId, said: Said, environment: &mut Environment) {
        if let Some(Stream { boot, number }) = self.streams.get(&to).copied() {
            self.send(to, Some(boot), Some(number), said, environment);
        }
    }

    fn send(
        &self,
        to: NodeId,
        boot: Option<u64>,
        stream: Option<u64>,
        said: Said,
        environment: &mut Environment,
    ) {
        let Hello { node, life, .. } = self.hello;
        environment.send(Envelope { from: self.proc, node, life, to, boot, stream, said });
    }
}

/// A snapshot's records and the rest of its rows as one batch: the store gets both or neither.
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
