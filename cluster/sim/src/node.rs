//! A machine and the process on it: the simulator's driver of the replica that production runs.
//!
//! It feeds inputs to the replica, pumps it and executes the outputs in order, as `cluster/node/src/driver` does with
//! RocksDB, threads and TLS streams. The guards that live in a driver are the ones its mutations take away.

use crate::around::{Around, Death, DutyLine, Envelope, Event, Frame, Proc, Request, Want};
use crate::disk::{Disk, Loss, chain_of};
use crate::judge::Asked;
use crate::mutation::Mutation;
use crate::setup::{MS, Micros, SECOND, chance};
use crate::waiters::Waiters;
use raft::eraftpb::MessageType as T;
use rand::RngExt;
use signonce_core::replica::disk::{DiskBatch, DiskOp, DiskTable, HighWater, KeptRecords, RecordSource};
use signonce_core::replica::fence::{ClusterId, Hello, HelloReply, Life, Quarantine, Witnessed};
use signonce_core::replica::wire::{Beside, PeerMessage};
use signonce_core::replica::{Decided, NotMember, Output, Replica, ReplicaConfig, ReplicaStatus, Role};
use signonce_core::roles::node_actor;
use signonce_core::{Change, Claim, ClaimRequest, Command, Outcome, RequestId, Verdict};
use signonce_protocol::{Duty, NodeId, SetId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Claims that share one log entry at most.
const CLAIMS_PER_ENTRY: usize = 256;
/// Ticks without a leader before an election, at least, as in production.
const ELECTION_TICKS: usize = 12;
/// Ticks between heartbeats, as in production.
const HEARTBEAT_TICKS: usize = 2;

/// A machine.
pub struct Machine {
    /// Its number.
    pub number: usize,
    /// The node it runs.
    pub id: NodeId,
    /// Its disk.
    pub disk: Disk,
    /// The process on it.
    pub process: Option<Process>,
    /// Of a node that joined later: whom it was told to ask first.
    pub hints: Vec<NodeId>,
    /// A disk kept for later.
    pub copies: Vec<Disk>,
    /// Its store was damaged as no store may be: it may halt.
    pub damaged: bool,
    /// It is gone for good, and nobody will look after it.
    pub lost: bool,
    /// It found its disk wanting and does not start any more.
    pub halted: Option<String>,
    /// Its node knows that it was removed. The machine stays until a member says so too.
    pub leaving: Option<String>,
    /// It stands still until then.
    pub paused_until: Micros,
    /// Its disk is slow until then.
    pub slow_until: Micros,
    /// The next fsync fails.
    pub fail_sync: Option<Death>,
    /// The process dies after so many more outputs.
    pub die_after: Option<(u32, Death)>,
    /// A start is on its way.
    pub starting: bool,
    starts: u64,
}

/// A running process.
pub struct Process {
    /// Which start of all.
    pub proc: Proc,
    /// The code of production.
    pub replica: Replica,
    hello: Hello,
    /// Whom it was told to ask first; nobody, if it was there from the start.
    hints: Vec<NodeId>,
    waiters: Waiters,
    forwarded: BTreeMap<NodeId, Vec<Request>>,
    /// The stream to each peer.
    streams: BTreeMap<NodeId, Stream>,
    /// The last stream each peer was heard on: its process and the number there.
    heard_on: BTreeMap<NodeId, (u64, u64)>,
    next_stream: u64,
    hold_off: bool,
    syncing: bool,
    sync_wanted: Option<(u64, HighWater)>,
    /// What was made durable and is being acknowledged.
    mark: Option<HighWater>,
    mark_synced: Micros,
    asked_peers: Micros,
    next_seq: u64,
    /// Answers to hellos, until the outputs they promise are executed.
    replies: Vec<(NodeId, u64, HelloReply)>,
    /// The state as it was at the snapshot that was offered last, and its index.
    captured: Option<(u64, Arc<KeptRecords>)>,
    /// Chain hashes of the log as written.
    chains: BTreeMap<u64, [u8; 32]>,
    seen: Seen,
}

/// A stream to a peer.
#[derive(Clone, Copy)]
struct Stream {
    /// The process at the other end.
    boot: u64,
    /// Counts this process's streams.
    number: u64,
}

/// What was seen of a process before: these only rise.
#[derive(Clone, Copy, Default)]
struct Seen {
    term: u64,
    committed: u64,
    applied: u64,
}

type Alive = Result<(), Death>;

impl Machine {
    /// A machine that has never run.
    pub fn new(number: usize, id: NodeId) -> Self {
        Self {
            number,
            id,
            disk: Disk::default(),
            process: None,
            hints: Vec::new(),
            copies: Vec::new(),
            damaged: false,
            lost: false,
            halted: None,
            leaving: None,
            paused_until: 0,
            slow_until: 0,
            fail_sync: None,
            die_after: None,
            starting: false,
            starts: 0,
        }
    }

    /// Starts the process, or finds that it must not run.
    pub fn start(&mut self, around: &mut Around) {
        self.starting = false;
        if self.process.is_some() || self.halted.is_some() {
            return;
        }
        match self.open(around) {
            Ok(process) => {
                let proc = process.proc;
                around.say(|| {
                    format!("machine {} starts node {} as process {}", self.number, self.id, proc.boot)
                });
                self.process = Some(process);
                let tick = around.setup.tick(self.number);
                let phase = around.rng.random_range(0..tick);
                around.schedule(phase, Event::Tick(proc));
                around.schedule(phase % (5 * MS), Event::Dial(proc));
            }
            Err(why) => {
                assert!(self.damaged, "machine {} does not start on an honest disk: {why}", self.number);
                around.say(|| format!("machine {} does not start: {why}", self.number));
                around.figures.halted += 1;
                self.halted = Some(why);
            }
        }
    }

    fn open(&mut self, around: &mut Around) -> Result<Process, String> {
        let unguarded = around.options.mutation.is_some_and(Mutation::without_fence);
        let disk = &mut self.disk;
        // By the rules of `cluster/node/src/identity.rs`.
        let ahead = disk.incarnation_inside.checked_sub(disk.incarnation_beside);
        if !matches!(ahead, Some(0 | 1)) && !unguarded {
            return Err("the store belongs to another identity than the file beside it".into());
        }
        // By the rules of `cluster/node/src/batches.rs`.
        disk.mutation = around.options.mutation;
        disk.check().or_else(|missing| if unguarded { Ok(()) } else { Err(missing) })?;
        self.starts += 1;
        disk.begin_life();
        let boot = around.new_boot();
        let life = if around.mutated(Mutation::ReusedNodeId) {
            Life { incarnation: 1, boot: 1 } // nobody can tell
        } else if unguarded {
            Life { incarnation: self.starts, boot }
        } else {
            Life { incarnation: disk.incarnation_inside, boot }
        };
        let config = ReplicaConfig {
            node: self.id,
            cluster: ClusterId([7; 16]),
            life,
            initial: if self.hints.is_empty() { around.initial() } else { Vec::new() },
            joined: !self.hints.is_empty(),
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed: around.rng.random(),
            log_bytes_max: around.setup.log_bytes_max,
        };
        let mark = disk.high_water.filter(|_| !unguarded);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let replica =
            Replica::open(config, &disk.image(), mark.as_ref(), logger).map_err(|error| error.to_string())?;
        Ok(Process {
            proc: Proc { machine: self.number, boot },
            hello: replica.our_hello(),
            replica,
            hints: self.hints.clone(),
            waiters: Waiters::default(),
            forwarded: BTreeMap::new(),
            streams: BTreeMap::new(),
            heard_on: BTreeMap::new(),
            next_stream: 1,
            hold_off: false,
            syncing: false,
            sync_wanted: None,
            mark: None,
            mark_synced: around.now,
            asked_peers: around.now,
            next_seq: 1,
            replies: Vec::new(),
            captured: None,
            chains: disk.chains(),
            seen: Seen::default(),
        })
    }

    /// Ends the process; the machine starts it again after a while.
    pub fn die(&mut self, death: Death, around: &mut Around) {
        let Some(mut process) = self.process.take() else { return };
        let Death { loss, down, why } = death;
        around.figures.crashes += 1;
        around.say(|| format!("machine {} dies ({why}), {loss:?}, down for {} ms", self.number, down / MS));
        for waiter in process.waiters.drain() {
            if let Some(task) = waiter.task {
                around.ask_another(task);
            }
        }
        let torn = around.mutated(Mutation::TornBatch);
        self.disk.crash(match loss {
            Loss::Power(left) if torn => Loss::Torn(left),
            loss => loss,
        });
        (self.die_after, self.fail_sync, self.paused_until) = (None, None, 0);
        if !self.starting {
            self.starting = true;
            around.schedule(down, Event::Start(self.number));
        }
    }

    /// Whether its process takes part.
    pub fn is_member(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.replica.status().not_member.is_none())
    }

    /// Handles an event of the process, and then lets it work.
    pub fn handle(&mut self, event: Event, around: &mut Around) {
        let Some(mut process) = self.process.take() else { return };
        let alive = process.input(event, self, around).and_then(|act| match act {
            true => process.pump(self, around),
            false => Ok(()),
        });
        self.process = Some(process);
        if let Err(death) = alive {
            self.die(death, around);
        }
    }

    /// Whether the process dies at this output.
    fn outputs(&mut self) -> Alive {
        if let Some((left, death)) = &mut self.die_after {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return Err(*death),
            }
        }
        Ok(())
    }

    fn sync(&mut self, upto: u64) -> Alive {
        if let Some(death) = self.fail_sync.take() {
            return Err(death);
        }
        self.disk.sync(upto);
        Ok(())
    }
}

// Inputs.
impl Process {
    /// Takes an input. Whether to act on it at once: production takes several before it turns to the outputs.
    fn input(&mut self, event: Event, machine: &mut Machine, around: &mut Around) -> Result<bool, Death> {
        match event {
            Event::Pump(_) => return Ok(true),
            Event::Tick(proc) => {
                self.tick(machine, around);
                around.schedule(around.setup.tick(proc.machine), Event::Tick(proc));
            }
            Event::Dial(proc) => {
                self.dial(around);
                let again = around.rng.random_range(200 * MS..400 * MS);
                around.schedule(again, Event::Dial(proc));
            }
            Event::Synced { number, upto, mark, .. } => {
                machine.sync(upto)?;
                self.syncing = false;
                self.replica.persisted(number);
                machine.disk.mark(mark);
                self.start_sync(machine, around);
            }
            Event::Arrive(envelope) => self.arrive(*envelope, around),
            Event::SnapshotSent { peer, arrived, .. } => self.replica.snapshot_sent(peer, arrived),
            Event::Reset { peer, boot, .. } => {
                if self.streams.get(&peer).is_some_and(|stream| stream.boot == boot) {
                    self.streams.remove(&peer);
                    self.lost_stream(peer);
                }
            }
            Event::Request { task, .. } => self.request(task, machine, around),
            Event::Op(_)
            | Event::Start(_)
            | Event::Restore { .. }
            | Event::StartClone(_)
            | Event::Members(_) => {}
        }
        if !around.calm && chance(&mut around.rng, around.setup.lazy) {
            let later = around.rng.random_range(1..2 * MS);
            around.schedule(later, Event::Pump(self.proc));
            return Ok(false);
        }
        Ok(true)
    }

    fn tick(&mut self, machine: &mut Machine, around: &mut Around) {
        self.replica.tick();
        self.replica.tell_committed();
        self.hold_off = false;
        for (waiter, maybe_taken) in self.waiters.expire(around.now) {
            if maybe_taken
                && around.mutated(Mutation::Unburn)
                && let Request::Claim(ClaimRequest { claim, .. }) = &waiter.request
            {
                let free = Claim { time_ms: signonce_core::mutation::UNBURN, ..claim.clone() };
                self.submit_claim(free.clone(), free, None, SECOND, machine, around);
            }
            if let Some(task) = waiter.task {
                around.ask_another(task);
            }
        }
        if around.now - self.mark_synced >= SECOND {
            self.mark_synced = around.now;
            machine.disk.sync_mark();
        }
        let fenced = matches!(
            self.replica.status().not_member,
            Some(NotMember::Forming(_) | NotMember::Fenced { .. })
        );
        let peers = self.peers();
        self.streams.retain(|peer, _| peers.contains(peer));
        if around.now - self.asked_peers >= SECOND && fenced {
            self.asked_peers = around.now;
            self.streams.clear();
            self.dial(around);
        }
    }

    /// Says hello to every peer without a stream.
    fn dial(&mut self, around: &mut Around) {
        for peer in self.peers() {
            if !self.streams.contains_key(&peer) {
                let hello = self.replica.our_hello();
                self.send(peer, None, None, Frame::Hello(hello), around);
            }
        }
    }

    fn peers(&self) -> Vec<NodeId> {
        let peers: Vec<NodeId> = self.replica.peers().into_keys().collect();
        if peers.is_empty() { self.hints.clone() } else { peers }
    }

    fn lost_stream(&mut self, peer: NodeId) {
        self.replica.unreachable(peer);
        self.hold_off |= self.waiters.lost(peer);
    }

    fn arrive(&mut self, envelope: Envelope, around: &mut Around) {
        let Envelope { from, node, life, boot, stream, frame, .. } = envelope;
        if boot.is_some_and(|boot| boot != self.proc.boot) {
            // The other end is an older process; its stream breaks.
            let (peer, boot) = (self.hello.node, boot.unwrap_or_default());
            let after = around.between(around.setup.delay);
            around.schedule(after, Event::Reset { proc: from, peer, boot });
            return;
        }
        if self.replica.is_gone(node) && !matches!(frame, Frame::Hello(_)) {
            // The stream ends; its owner says hello again, and hears why.
            let (peer, boot) = (self.hello.node, self.proc.boot);
            let after = around.between(around.setup.delay);
            return around.schedule(after, Event::Reset { proc: from, peer, boot });
        }
        if let Some(stream) = stream
            && self.heard_on.get(&node).is_none_or(|last| *last < (from.boot, stream))
        {
            // What it said on the stream before may be lost: that it had declined something, above all.
            self.heard_on.insert(node, (from.boot, stream));
            self.hold_off |= self.waiters.lost(node);
        }
        match frame {
            Frame::Raft(message) => {
                around.say(|| format!("  {} <- {node}: {}", self.hello.node, describe(&message)));
                if message.is_snapshot() {
                    around.figures.snapshots += 1;
                    let after = around.between(around.setup.delay);
                    let peer = self.hello.node;
                    around.schedule(after, Event::SnapshotSent { proc: from, peer, arrived: true });
                }
                self.replica.receive(node, life, message);
            }
            Frame::Hello(hello) => {
                let reply = self.replica.hello(&hello);
                around.say(|| format!("  {} answers hello of {node}: {reply:?}", self.hello.node));
                self.replies.push((node, from.boot, reply));
            }
            Frame::HelloReply(reply) => self.greeted(node, from, reply, around),
            Frame::Forward(requests) => self.forwarded.entry(node).or_default().extend(requests),
            Frame::Declined(requests) => {
                self.hold_off = true;
                self.waiters.declined(&requests);
            }
        }
    }

    fn greeted(&mut self, peer: NodeId, from: Proc, reply: HelloReply, around: &mut Around) {
        let unguarded = around.options.mutation.is_some_and(Mutation::without_fence);
        let reply = match reply {
            HelloReply::Welcome { formed, life, disk, roll, .. } if unguarded => {
                let witnessed = Witnessed::default();
                HelloReply::Welcome { remembered: None, formed, witnessed, life, disk, roll }
            }
            reply => reply,
        };
        if !matches!(reply, HelloReply::Refused(_)) {
            self.streams.insert(peer, Stream { boot: from.boot, number: self.next_stream });
            self.next_stream += 1;
        }
        self.replica.hello_reply(peer, &reply);
        // What was queued for the stream before is stale.
        self.lost_stream(peer);
    }
}

// Requests.
impl Process {
    fn request(&mut self, task: usize, machine: &mut Machine, around: &mut Around) {
        around.figures.asked += 1;
        let patience = around.tasks[task].patience;
        match around.tasks[task].want.clone() {
            Want::Claim(claim) => self.claim(task, claim, patience, machine, around),
            Want::Change(change) => {
                if !machine_is_member(&self.replica) {
                    return around.ask_another(task);
                }
                let id = self.next_request(machine);
                around.judge.asks(id, Asked::Change(change.clone()));
                self.waiters.add(Request::Change(id, change), Some(task), around.now + patience);
            }
        }
    }

    fn claim(
        &mut self,
        task: usize,
        truth: Claim,
        patience: Micros,
        machine: &mut Machine,
        around: &mut Around,
    ) {
        if !machine_is_member(&self.replica) {
            return around.ask_another(task);
        }
        let mut claim = truth.clone();
        if around.mutated(Mutation::SetIdIgnored) {
            match &mut claim.duty {
                Duty::GrandpaVote { set_id, .. } | Duty::BeefyVote { set_id, .. } => *set_id = SetId(1),
                _ => {}
            }
        }
        let known = self.replica.state().read().expect("apply does not panic").check(&claim);
        match known {
            Verdict::Repeated { .. } => return around.release(task, &truth, machine.number),
            Verdict::Refused(refusal) if refusal.is_final() => {
                around.judge.refused(&truth, &refusal);
                return refused(task, around);
            }
            Verdict::Granted if around.mutated(Mutation::DecideThenRecord) => {
                around.release(task, &truth, machine.number);
            }
            Verdict::Granted | Verdict::Refused(_) => {}
        }
        self.submit_claim(truth, claim, Some(task), patience, machine, around);
    }

    fn submit_claim(
        &mut self,
        truth: Claim,
        claim: Claim,
        task: Option<usize>,
        patience: Micros,
        machine: &Machine,
        around: &mut Around,
    ) {
        let request = self.next_request(machine);
        around.say(|| format!("machine {} takes {}: {request}", machine.number, truth.duty_line()));
        around.judge.asks(request, Asked::Claim(truth));
        self.waiters.add(Request::Claim(ClaimRequest { request, claim }), task, around.now + patience);
    }

    fn next_request(&mut self, machine: &Machine) -> RequestId {
        self.next_seq += 1;
        RequestId { node: machine.id, boot: self.proc.boot, seq: self.next_seq }
    }

    /// Proposes what is waiting, or sends it to the leader.
    fn route(&mut self, machine: &Machine, around: &mut Around) {
        let leader = self.replica.leader();
        let leads = leader == Some(machine.id);
        for (from, requests) in std::mem::take(&mut self.forwarded) {
            if leads {
                self.propose(from, requests, machine, around);
            } else {
                self.decline(from, requests.iter().map(Request::id).collect(), machine, around);
            }
        }
        let Some(leader) = leader.filter(|_| !self.hold_off) else { return };
        let unsent = self.waiters.take_unsent((leader, self.replica.term()));
        if unsent.is_empty() {
            return;
        }
        if leads {
            return self.propose(machine.id, unsent, machine, around);
        }
        // Without a stream the frame is lost, as in production; the stream's return sends it again.
        self.send_on_stream(leader, Frame::Forward(unsent), around);
    }

    fn propose(&mut self, from: NodeId, requests: Vec<Request>, machine: &Machine, around: &mut Around) {
        for (ids, command) in into_commands(requests) {
            if let Command::Change { change, .. } = &command
                && self.replica.hazard(change).is_some()
            {
                self.decline(from, ids, machine, around);
                continue;
            }
            match self.replica.propose(&command) {
                Ok(()) if around.mutated(Mutation::ReleaseBeforeCommit) && from == machine.id => {
                    self.release_early(command, machine, around);
                }
                Ok(()) => {}
                Err(_) => self.decline(from, ids, machine, around),
            }
        }
    }

    fn release_early(&mut self, command: Command, machine: &Machine, around: &mut Around) {
        let Command::Claims(claims) = command else { return };
        for ClaimRequest { request, claim } in claims {
            let verdict = self.replica.state().read().expect("apply does not panic").check(&claim);
            if verdict == Verdict::Granted
                && let Some(task) = self.waiters.decided(request).and_then(|waiter| waiter.task)
            {
                around.release(task, &claim, machine.number);
            }
        }
    }

    fn decline(&mut self, from: NodeId, ids: Vec<RequestId>, machine: &Machine, around: &mut Around) {
        if from == machine.id {
            self.hold_off = true;
            self.waiters.declined(&ids);
        } else {
            self.send_on_stream(from, Frame::Declined(ids), around);
        }
    }

    fn answer(&mut self, decided: Decided, machine: &Machine, around: &mut Around) {
        let Decided { request, outcome, .. } = decided;
        if request.node != machine.id || request.boot != self.proc.boot {
            return;
        }
        let Some(task) = self.waiters.decided(request).and_then(|waiter| waiter.task) else { return };
        match (outcome, around.tasks[task].want.clone()) {
            (Outcome::Verdict(verdict), Want::Claim(claim)) if verdict.may_sign() => {
                around.release(task, &claim, machine.number);
            }
            (Outcome::Verdict(_), _) => refused(task, around),
            (Outcome::Change(done), _) => around.tasks[task].answer = Some(done.is_ok()),
        }
    }
}

fn machine_is_member(replica: &Replica) -> bool {
    replica.status().not_member.is_none()
}

fn refused(task: usize, around: &mut Around) {
    around.figures.refused += 1;
    around.tasks[task].answer = Some(false);
}

/// Puts requests into as few log entries as may be, in their order.
fn into_commands(requests: Vec<Request>) -> Vec<(Vec<RequestId>, Command)> {
    let mut commands: Vec<(Vec<RequestId>, Command)> = Vec::new();
    for request in requests {
        let id = request.id();
        match (request, commands.last_mut()) {
            (Request::Claim(claim), Some((ids, Command::Claims(claims))))
                if claims.len() < CLAIMS_PER_ENTRY =>
            {
                claims.push(claim);
                ids.push(id);
            }
            (Request::Claim(claim), _) => commands.push((vec![id], Command::Claims(vec![claim]))),
            (Request::Change(request, change), _) => {
                let actor = match &change {
                    Change::AnnounceMember(member) | Change::JoinMember { member, .. } => {
                        node_actor(member.node)
                    }
                    _ => "simulator".to_owned(),
                };
                commands.push((vec![id], Command::Change { request, actor, time_ms: 0, change }));
            }
        }
    }
    commands
}

// Outputs.
impl Process {
    /// Lets the replica work and executes what it wants, until it wants nothing more.
    fn pump(&mut self, machine: &mut Machine, around: &mut Around) -> Alive {
        self.route(machine, around);
        loop {
            let outputs = self.replica.pump().unwrap_or_else(|fatal| panic!("a node stops: {fatal}"));
            if outputs.is_empty() {
                break;
            }
            // What was applied is decided, even if the process dies before it can say so.
            for output in &outputs {
                if let Output::Outcomes(decided) = output {
                    around.judge.decided(decided);
                }
            }
            for output in outputs {
                machine.outputs()?;
                self.execute(output, machine, around)?;
            }
        }
        if let Some(mark) = self.mark.take() {
            machine.disk.mark(mark);
        }
        for (node, boot, reply) in std::mem::take(&mut self.replies) {
            self.send(node, Some(boot), None, Frame::HelloReply(reply), around);
        }
        self.inspect(machine, around);
        Ok(())
    }

    fn execute(&mut self, output: Output, machine: &mut Machine, around: &mut Around) -> Alive {
        match output {
            Output::Send(messages) => {
                for message in messages {
                    self.send_raft(message, machine, around);
                }
            }
            Output::Write { batch, sync } => {
                self.follow(&batch);
                machine.disk.write(batch);
                if let Some(mark) = sync {
                    machine.sync(machine.disk.written())?;
                    machine.disk.mark(mark);
                }
            }
            Output::Install { records, batch, mark } => {
                let batch = whole_install(&*records, batch);
                self.follow(&batch);
                machine.disk.write(batch);
                machine.sync(machine.disk.written())?;
                machine.disk.mark(mark);
            }
            Output::Capture { index } => {
                self.captured = Some((index, Arc::new(KeptRecords(machine.disk.state_records()))));
            }
            Output::Sync { number, mark } => self.sync(number, mark, machine, around)?,
            Output::Outcomes(decided) => {
                for one in decided {
                    self.answer(one, machine, around);
                }
            }
            Output::Jumped => self.waiters.ask_again(),
        }
        Ok(())
    }

    fn sync(&mut self, number: u64, mark: HighWater, machine: &mut Machine, around: &mut Around) -> Alive {
        if around.mutated(Mutation::AckBeforeSync) {
            self.replica.persisted(number);
        }
        // In production a leader does so when it has one claim to see to.
        let leads = self.replica.leader() == Some(machine.id);
        let idle = !self.syncing && self.sync_wanted.is_none();
        if around.setup.sync_here && idle && (!leads || chance(&mut around.rng, 500)) {
            machine.sync(machine.disk.written())?;
            self.replica.persisted(number);
            self.mark = Some(mark);
            return Ok(());
        }
        self.sync_wanted = Some((number, mark));
        self.start_sync(machine, around);
        Ok(())
    }

    fn start_sync(&mut self, machine: &Machine, around: &mut Around) {
        if self.syncing {
            return;
        }
        let Some((number, mark)) = self.sync_wanted.take() else { return };
        self.syncing = true;
        let slow = if machine.slow_until > around.now { 100 } else { 1 };
        let takes = around.between(around.setup.fsync) * slow;
        let upto = machine.disk.written();
        around.schedule(takes, Event::Synced { proc: self.proc, number, upto, mark });
    }

    fn follow(&mut self, batch: &DiskBatch) {
        for op in &batch.ops {
            match op {
                DiskOp::Put(table, key, value) => self.chains.extend(chain_of(*table, key, value)),
                DiskOp::Clear(DiskTable::Log) => self.chains.clear(),
                _ => {}
            }
        }
    }

    fn send_raft(&mut self, message: PeerMessage, machine: &Machine, around: &mut Around) {
        said_is_durable(&message, &machine.disk);
        // Now and then through its bytes, as in production.
        let mut message = if chance(&mut around.rng, 30) {
            PeerMessage::decode(&message.encode()).expect("a message survives the wire")
        } else {
            message
        };
        let to = message.to();
        if let Some(index) = message.records_at() {
            match &self.captured {
                Some((kept, records)) if *kept == index => message.records = Beside(Some(records.clone())),
                _ => {
                    self.replica.withdraw_snapshot();
                    return self.replica.snapshot_sent(to, false);
                }
            }
        }
        if message.is_snapshot() {
            self.send(to, None, None, Frame::Raft(message), around);
        } else {
            self.send_on_stream(to, Frame::Raft(message), around);
        }
    }

    fn send_on_stream(&mut self, to: NodeId, frame: Frame, around: &mut Around) {
        if let Some(Stream { boot, number }) = self.streams.get(&to).copied() {
            self.send(to, Some(boot), Some(number), frame, around);
        }
    }

    fn send(&self, to: NodeId, boot: Option<u64>, stream: Option<u64>, frame: Frame, around: &mut Around) {
        let Hello { node, life, .. } = self.hello;
        around.send(Envelope { from: self.proc, node, life, to, boot, stream, frame });
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

// What must hold after every event.
impl Process {
    fn inspect(&mut self, machine: &mut Machine, around: &mut Around) {
        let status = self.replica.status();
        let ReplicaStatus { term, committed, applied, last, .. } = status;
        let now = Seen { term: term.0, committed: committed.0, applied: applied.0 };
        if status.role == Role::Leader && status.not_member.is_none() {
            around.judge.leads(term.0, machine.number);
        }
        if now.applied != self.seen.applied {
            around.judge.applied(self.seen.applied, now.applied, &self.chains, status.state_hash);
            around.mix(now.applied ^ (now.term << 32));
            self.chains = self.chains.split_off(&now.applied);
        }
        let Seen { term, committed, applied } = self.seen;
        assert!(
            now.term >= term && now.committed >= committed && now.applied >= applied,
            "machine {} went back in one life: ({term}, {committed}, {applied}) to {status:?}",
            machine.number
        );
        assert!(
            now.applied <= now.committed && now.committed <= last.0,
            "machine {}: positions out of order: {status:?}",
            machine.number
        );
        self.seen = now;
        if let Some(NotMember::Quarantined(why)) = status.not_member
            && machine.halted.is_none()
        {
            let left = around.judge.was_removed(machine.id);
            if why == Quarantine::Removed && !machine.damaged {
                assert!(left, "machine {}: nobody removed it", machine.number);
                machine.leaving = Some(why.to_string());
                return;
            }
            let expected = machine.damaged || left;
            assert!(expected, "machine {}, an honest one, is in quarantine: {why}", machine.number);
            around.say(|| format!("machine {} is in quarantine: {why}", machine.number));
            around.figures.halted += 1;
            machine.halted = Some(why.to_string());
        }
    }
}

/// A node speaks only of what a crash could not take back: terms, votes and entries that are durable.
fn said_is_durable(message: &PeerMessage, disk: &Disk) {
    let m = &message.message;
    let hard_state = disk.durable.hard_state;
    let voted = |m_term: u64, vote: u64| hard_state.term == m_term && hard_state.vote == vote;
    let durable = match m.get_msg_type() {
        // A later term may have overwritten what was acknowledged in an earlier one.
        T::MsgAppendResponse if !m.reject => {
            hard_state.term > m.term || (hard_state.term == m.term && disk.durable.last >= m.index)
        }
        T::MsgAppend | T::MsgHeartbeat | T::MsgSnapshot => hard_state.term >= m.term,
        T::MsgRequestVote => hard_state.term > m.term || voted(m.term, m.from),
        T::MsgRequestVoteResponse if !m.reject => hard_state.term > m.term || voted(m.term, m.to),
        _ => true,
    };
    assert!(durable, "said before it was durable: {}, but {:?}", describe(message), disk.durable);
}

fn describe(message: &PeerMessage) -> String {
    let m = &message.message;
    let mut line = format!("{:?} term {} at {}/{}", m.get_msg_type(), m.term, m.index, m.log_term);
    if !m.entries.is_empty() {
        line += &format!(" +{} entries", m.entries.len());
    }
    if m.commit > 0 {
        line += &format!(" commit {}", m.commit);
    }
    if m.reject {
        line += " rejected";
    }
    line
}
