//! Three drivers and any order of events: the bytes decide who works when, what arrives, is lost or comes twice, which
//! fsync is done, who is killed, and what a careless shell says.
//!
//! Whatever is written here is durable, so nothing is ever forgotten: that is the simulator's subject. This target
//! checks that no order of events makes a driver panic, answer twice, or grant two payloads of a duty, and that three
//! drivers that are finally left alone serve again.

use crate::world::{BEGIN, CHAINS, KEYS, chain, claim, duty, floors, key};
use arbitrary::{Arbitrary, Unstructured};
use signonce_core::replica::disk::{
    DiskBatch, DiskImage, DiskOp, DiskTable, HighWater, KeptRecords, RecordSource, StateRecord,
};
use signonce_core::replica::hello::{ClusterId, Hello, HelloReply, Life};
use signonce_core::replica::wire::{Beside, PeerMessage};
use signonce_core::replica::{Replica, ReplicaConfig, Role};
use signonce_core::{Change, Claim, ClaimRequest, Envelope, RequestId, Verdict};
use signonce_driver::frame::Frame;
use signonce_driver::{
    Answer, Decline, Driver, DriverConfig, ELECTION_TICKS, Effect, Event, HEARTBEAT_TICKS, Moment, Now,
    Request, Submission,
};
use signonce_protocol::{Carry, Digest, Duty, KeyId, LogIndex, NodeId};
use signonce_substrate::AuraMode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const TICK: Moment = Moment::from_millis(50);
const SLOT_MS: u64 = 6_000;
/// How long a submission is waited for.
const PATIENCE: Moment = Moment::from_secs(2);
/// How long three drivers that are left alone may take until they serve.
const HEALED: Moment = Moment::from_secs(20);
/// The size of the log that is kept for those that lag: a few entries, so that there are snapshots.
const LOG_BYTES: usize = 2_000;
/// The most operations executed.
const OPS: usize = 400;
/// The most parcels under way at once: what comes then is lost.
const WIRE: usize = 300;

#[derive(Arbitrary, Debug)]
enum Op {
    Work(u8),
    WorkAll,
    Wait(u8),
    /// The n-th parcel under way arrives.
    Arrive(u8),
    ArriveAll,
    Double(u8),
    Lose(u8),
    /// Node, key, place, digest.
    Claim(u8, u8, u8, u8),
    ReleaseSync(u8),
    /// From now on its fsyncs take their time.
    HoldSyncs(u8, bool),
    /// Nothing that it forwards leaves.
    Full(u8, bool),
    Hello(u8, u8),
    Unreachable(u8, u8),
    HeardAnew(u8, u8),
    HangUp(u8, u8),
    Decline(u8, u8, Why),
    Pong(u8, u8, u64, Option<u64>, Option<u64>),
    Ping(u8, u8, u64),
    SnapshotSent(u8, u8, bool),
    PruneAudit(u8, u8),
    StateWanted(u8),
    Transfer(u8, Option<u8>),
    Clock(u8, i8),
    Kill(u8),
}

#[derive(Arbitrary, Debug)]
enum Why {
    NotLeader,
    Busy,
    Slot,
}

enum Said {
    Raft(PeerMessage),
    Frame(Frame),
    Hello(Box<Hello>),
    Reply(HelloReply),
}

/// A message under way.
struct Parcel {
    from: NodeId,
    life: Life,
    to: NodeId,
    /// The only process that takes it, if any.
    boot: Option<u64>,
    said: Said,
}

type Rows = BTreeMap<(DiskTable, Vec<u8>), Vec<u8>>;

struct Node {
    driver: Driver,
    life: Life,
    rows: Rows,
    mark: Option<HighWater>,
    syncs: Vec<(u64, HighWater)>,
    holds_syncs: bool,
    is_full: bool,
    unix_ms: u64,
    captured: Option<(u64, Arc<KeptRecords>)>,
    /// Hellos that wait for their answer: the process that said them.
    greeted: BTreeMap<u64, (NodeId, u64)>,
    /// Submissions without an answer: what was asked, and until when.
    asked: BTreeMap<u64, (Option<Claim>, Moment)>,
}

struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    now: Moment,
    wire: Vec<Parcel>,
    /// The last number that was given out.
    last: u64,
    /// What was ever granted.
    granted: BTreeMap<(KeyId, Duty), (Digest, Carry)>,
}

/// Never two payloads of a duty, one answer to every request, and three that are left alone serve.
pub fn driver(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let mut bytes = Unstructured::new(data);
    let mut cluster = Cluster::formed();
    for _ in 0..OPS {
        if bytes.is_empty() {
            break;
        }
        let Ok(op) = Op::arbitrary(&mut bytes) else { break };
        cluster.befalls(op);
    }
    cluster.heals();
    true
}

fn node(n: u8) -> NodeId {
    NODES[usize::from(n) % NODES.len()]
}

impl Cluster {
    /// A cluster with a leader and with keys for blocks and votes.
    fn formed() -> Self {
        let nodes = NODES.map(|id| {
            (id, Node::started(id, Life { incarnation: 1, boot: id.0 }, Rows::new(), None, Moment::ZERO))
        });
        let mut cluster = Self {
            nodes: nodes.into(),
            now: Moment::ZERO,
            wire: Vec::new(),
            last: 100,
            granted: BTreeMap::new(),
        };
        for change in first_changes() {
            cluster.does(change);
        }
        cluster
    }

    /// Has the leader make a change.
    fn does(&mut self, change: Change) {
        let asked = |request| Request::Change {
            request,
            actor: "operator".into(),
            time_ms: 0,
            change: change.clone(),
        };
        let leader = self.until(|cluster| cluster.leader());
        let seq = self.submit(leader, None, asked);
        self.until(|cluster| (!cluster.nodes[&leader].asked.contains_key(&seq)).then_some(()));
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |node: &Node| node.driver.replica().status().role == Role::Leader;
        self.nodes.iter().find(|(_, node)| leads(node)).map(|(id, _)| *id)
    }

    /// Lets everybody work and everything arrive until a condition holds.
    fn until<T>(&mut self, come: impl Fn(&Self) -> Option<T>) -> T {
        let until = self.now + HEALED;
        loop {
            if let Some(come) = come(self) {
                return come;
            }
            assert!(self.now < until, "three drivers that nothing befalls serve");
            self.now += TICK / 2;
            NODES.into_iter().for_each(|id| self.work(id));
            self.arrive_all();
        }
    }

    fn befalls(&mut self, op: Op) {
        match op {
            Op::Work(n) => self.work(node(n)),
            Op::WorkAll => NODES.into_iter().for_each(|id| self.work(id)),
            Op::Wait(ms) => self.now += Moment::from_millis(u64::from(ms) * 4),
            Op::Arrive(n) => {
                if let Some(parcel) = self.take(n) {
                    self.arrive(parcel);
                }
            }
            Op::ArriveAll => self.arrive_all(),
            Op::Double(n) => self.double(n),
            Op::Lose(n) => {
                if let Some(parcel) = self.take(n) {
                    self.lost(&parcel);
                }
            }
            Op::Claim(n, k, place, digest) => self.claims(node(n), k, place, digest),
            Op::ReleaseSync(n) => self.release_syncs(node(n), 1),
            Op::HoldSyncs(n, holds) => self.node(node(n)).holds_syncs = holds,
            Op::Full(n, is_full) => self.node(node(n)).is_full = is_full,
            Op::Hello(n, to) => self.hello(node(n), node(to)),
            Op::Unreachable(n, peer) => self.tell_of(n, peer, Event::Unreachable),
            Op::HeardAnew(n, peer) => self.tell_of(n, peer, Event::HeardAnew),
            Op::HangUp(n, which) => self.hang_up(node(n), which),
            Op::Decline(n, which, why) => self.decline(node(n), which, &why),
            Op::Ping(n, from, nonce) => self.tell_of(n, from, |from| Event::Ping { from, nonce }),
            Op::Pong(n, from, nonce, sync, cost) => {
                let [sync, cost] = [sync, cost].map(|nanos| nanos.map(Duration::from_nanos));
                self.tell_of(n, from, |from| Event::Pong { from, nonce, sync, cost });
            }
            Op::SnapshotSent(n, peer, arrived) => {
                self.tell_of(n, peer, |peer| Event::SnapshotSent { peer, arrived });
            }
            Op::PruneAudit(n, before) => self.tell(node(n), Event::PruneAudit { before: before.into() }),
            Op::StateWanted(n) => self.tell(node(n), Event::StateWanted),
            Op::Transfer(n, to) => self.tell(node(n), Event::Transfer { call: 0, to: to.map(node) }),
            Op::Clock(n, seconds) => {
                let clock = &mut self.node(node(n)).unix_ms;
                *clock = clock.saturating_add_signed(i64::from(seconds) * 1_000);
            }
            Op::Kill(n) => self.kill(node(n)),
        }
    }

    /// Checks that without further faults whatever was asked is answered in time, and what is asked now is granted.
    fn heals(&mut self) {
        for id in NODES {
            let node = self.node(id);
            (node.holds_syncs, node.is_full, node.unix_ms) = (false, false, BEGIN.0 * SLOT_MS);
            self.release_syncs(id, usize::MAX);
            for peer in NODES.into_iter().filter(|peer| *peer != id) {
                self.tell(id, Event::HeardAnew(peer));
                self.hello(id, peer);
            }
        }
        self.until(|cluster| {
            let idle = cluster.nodes.values().all(|node| {
                let status = node.driver.replica().status();
                node.asked.is_empty() && status.not_member.is_none() && status.leader.is_some()
            });
            idle.then_some(())
        });
        for id in NODES {
            assert!(self.node(id).greeted.is_empty(), "every hello is answered");
            // A round that is beyond all others so far, with a digest of its own.
            let round = BEGIN.1 + 40 + id.0;
            let duty = duty(KEYS[1].0, (BEGIN.0, round), 0, AuraMode::Slot).expect("a claimed class");
            let claim = claim(key(1), duty, 255);
            let place = (claim.key, claim.duty.clone());
            self.submit(id, Some(claim.clone()), |request| Request::Claim(ClaimRequest { request, claim }));
            self.until(|cluster| cluster.granted.contains_key(&place).then_some(()));
        }
    }
}

// What befalls them.
impl Cluster {
    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Tells a node something of a peer other than itself.
    fn tell_of(&mut self, n: u8, peer: u8, event: impl FnOnce(NodeId) -> Event) {
        if node(n) != node(peer) {
            self.tell(node(n), event(node(peer)));
        }
    }

    fn submit(
        &mut self,
        at: NodeId,
        claim: Option<Claim>,
        request: impl FnOnce(RequestId) -> Request,
    ) -> u64 {
        let seq = self.number();
        let (now, node) = (self.now, self.node(at));
        let id = RequestId { node: at, boot: node.life.boot, seq };
        node.asked.insert(seq, (claim, now + PATIENCE));
        let submission = Submission { request: request(id), submitted: now, deadline: now + PATIENCE };
        self.tell(at, Event::Submit(submission));
        seq
    }

    fn claims(&mut self, at: NodeId, k: u8, place: u8, digest: u8) {
        let k = usize::from(k % 2);
        let (major, minor) = if k == 0 { (u64::from(place % 8), 0) } else { (0, u64::from(place % 32)) };
        let place = (BEGIN.0 + major, BEGIN.1 + minor);
        let duty = duty(KEYS[k].0, place, 0, AuraMode::Slot).expect("a claimed class");
        // The carry may differ each time.
        let claim = Claim { carry: Carry::new(vec![digest / 3 % 2]), ..claim(key(k), duty, digest % 3) };
        self.submit(at, Some(claim.clone()), |request| Request::Claim(ClaimRequest { request, claim }));
    }

    fn hang_up(&mut self, at: NodeId, which: u8) {
        let node = self.node(at);
        let Some(seq) = node.asked.keys().copied().nth(usize::from(which)) else { return };
        node.asked.remove(&seq);
        self.tell(at, Event::HungUp(vec![seq]));
    }

    /// A "no" that the leader never said.
    fn decline(&mut self, at: NodeId, which: u8, why: &Why) {
        let node = &self.nodes[&at];
        let Some(seq) = node.asked.keys().copied().nth(usize::from(which)) else { return };
        let id = RequestId { node: at, boot: node.life.boot, seq };
        let why = match why {
            Why::NotLeader => Decline::NotLeader(None),
            Why::Busy => Decline::Busy,
            Why::Slot => Decline::SlotOutOfRange { slot: 1, now: 2 },
        };
        self.tell(at, Event::Declined { requests: vec![id], why });
    }

    fn hello(&mut self, from: NodeId, to: NodeId) {
        if from != to {
            let hello = Box::new(self.nodes[&from].driver.replica().our_hello());
            self.send(from, to, None, Said::Hello(hello));
        }
    }

    /// A process is killed and started again: what it wrote is there.
    fn kill(&mut self, id: NodeId) {
        let boot = self.number();
        let now = self.now;
        let node = self.node(id);
        let life = Life { incarnation: node.life.incarnation + 1, boot };
        let (rows, mark) = (std::mem::take(&mut node.rows), node.mark);
        *node = Node::started(id, life, rows, mark, now);
        for peer in NODES.into_iter().filter(|peer| *peer != id) {
            // As a new stream would.
            self.tell(peer, Event::Unreachable(id));
            self.hello(id, peer);
            self.hello(peer, id);
        }
    }

    fn release_syncs(&mut self, id: NodeId, count: usize) {
        let node = self.node(id);
        let count = count.min(node.syncs.len());
        let Some((number, mark)) = node.syncs.drain(..count).next_back() else { return };
        node.mark = Some(HighWater::after(node.mark, mark));
        self.tell(id, Event::Synced { number, took: TICK, unmarked: None });
    }
}

// The wire.
impl Cluster {
    fn send(&mut self, from: NodeId, to: NodeId, boot: Option<u64>, said: Said) {
        let parcel = Parcel { from, life: self.nodes[&from].life, to, boot, said };
        if self.wire.len() < WIRE {
            self.wire.push(parcel);
        } else {
            self.lost(&parcel);
        }
    }

    fn take(&mut self, n: u8) -> Option<Parcel> {
        let len = self.wire.len();
        (len > 0).then(|| self.wire.remove(usize::from(n) % len))
    }

    fn double(&mut self, n: u8) {
        let len = self.wire.len().max(1);
        let Some(parcel) = self.wire.get(usize::from(n) % len) else { return };
        let said = match &parcel.said {
            Said::Raft(message) => Said::Raft(message.clone()),
            Said::Frame(frame) => Said::Frame(frame.clone()),
            // Each is asked and answered once on a stream.
            Said::Hello(_) | Said::Reply(_) => return,
        };
        self.wire.push(Parcel { said, ..*parcel });
    }

    /// Loses a parcel. A shell only learns for snapshots whether they arrived.
    fn lost(&mut self, parcel: &Parcel) {
        if let Said::Raft(message) = &parcel.said
            && message.is_snapshot()
            && self.nodes[&parcel.from].life == parcel.life
        {
            self.tell(parcel.from, Event::SnapshotSent { peer: parcel.to, arrived: false });
        }
    }

    fn arrive_all(&mut self) {
        // Answers arrive too, up to a limit.
        for _ in 0..4 {
            for parcel in std::mem::take(&mut self.wire) {
                self.arrive(parcel);
            }
            NODES.into_iter().for_each(|id| self.work(id));
        }
    }

    fn arrive(&mut self, parcel: Parcel) {
        if parcel.boot.is_some_and(|boot| boot != self.nodes[&parcel.to].life.boot) {
            return self.lost(&parcel); // the stream ended with the process
        }
        let Parcel { from, life, to, said, .. } = parcel;
        match said {
            Said::Raft(message) => {
                if message.is_snapshot() && self.nodes[&from].life == life {
                    self.tell(from, Event::SnapshotSent { peer: to, arrived: true });
                }
                self.tell(to, Event::Raft { from, life, message: Box::new(message) });
            }
            Said::Frame(frame) => {
                let event = frame.into_event(from, life).expect("a driver says what another takes");
                self.tell(to, event);
            }
            Said::Hello(hello) => {
                let call = self.number();
                self.node(to).greeted.insert(call, (from, life.boot));
                self.tell(to, Event::Hello { call, hello });
            }
            Said::Reply(reply) => {
                self.tell(to, Event::HelloReply { from, reply });
                self.tell(to, Event::HeardAnew(from));
            }
        }
    }
}

// The shell.
impl Cluster {
    fn tell(&mut self, id: NodeId, event: Event) {
        let now = self.now;
        let node = self.node(id);
        let now = Now { at: now, unix_ms: node.unix_ms };
        let effects = node.driver.step(event, now).unwrap_or_else(|fatal| panic!("node {id} stops: {fatal}"));
        for effect in effects {
            self.carry_out(id, effect);
        }
    }

    fn work(&mut self, id: NodeId) {
        for _ in 0..1_000 {
            self.tell(id, Event::Work);
            if !self.nodes[&id].driver.is_working() {
                return;
            }
        }
        panic!("a turn ends");
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Send(messages) => messages.into_iter().for_each(|message| self.send_raft(id, message)),
            Effect::Say(to, frame) => self.send(id, to, None, Said::Frame(frame)),
            Effect::Forward(_, requests) if self.nodes[&id].is_full => {
                let requests = requests.iter().map(Request::id).collect();
                self.tell(id, Event::Declined { requests, why: Decline::Busy });
            }
            Effect::Forward(to, requests) => self.send(id, to, None, Said::Frame(Frame::Forward(requests))),
            Effect::Write { batch, sync } => {
                self.node(id).write(batch);
                if let Some(mark) = sync {
                    self.marked(id, mark);
                }
            }
            Effect::Install { records, batch, mark } => {
                self.node(id).install(&*records, batch);
                self.marked(id, mark);
            }
            Effect::Sync { number, mark, .. } => {
                let node = self.node(id);
                node.syncs.push((number, mark));
                if !node.holds_syncs {
                    self.release_syncs(id, usize::MAX);
                }
            }
            Effect::Mark(mark) => {
                let node = self.node(id);
                node.mark = Some(HighWater::after(node.mark, mark));
            }
            Effect::Capture { index } => {
                let node = self.node(id);
                node.captured = Some((index, Arc::new(KeptRecords(node.records()))));
            }
            Effect::ReleaseCapture => self.node(id).captured = None,
            Effect::Greet { call, reply } => {
                let (to, boot) = self.node(id).greeted.remove(&call).expect("a hello is answered once");
                self.send(id, to, Some(boot), Said::Reply(reply));
            }
            Effect::Answer(request, answer) => self.answered(id, request, &answer),
            Effect::Redial => NODES.into_iter().for_each(|peer| self.hello(id, peer)),
            Effect::StateStored(applied) => self.node(id).is_stored(applied),
            Effect::Transferred { .. } | Effect::Follow { .. } | Effect::Observe(_) => {}
        }
    }

    fn send_raft(&mut self, id: NodeId, mut message: PeerMessage) {
        if let Some(index) = message.records_at() {
            let (kept, records) = self.nodes[&id].captured.clone().expect("what is sent was captured");
            assert_eq!(kept, index, "what is sent is what was captured last");
            message.records = Beside(Some(records));
        }
        self.send(id, message.to(), None, Said::Raft(message));
    }

    /// Records that a write of the driver's own is durable.
    fn marked(&mut self, id: NodeId, mark: HighWater) {
        let node = self.node(id);
        node.mark = Some(HighWater::after(node.mark, mark));
        self.tell(id, Event::SyncTook(TICK));
    }

    fn answered(&mut self, id: NodeId, request: RequestId, answer: &Answer) {
        let (now, node) = (self.now, self.node(id));
        assert_eq!((request.node, request.boot), (id, node.life.boot), "its own request");
        let (claim, deadline) =
            node.asked.remove(&request.seq).expect("a request that waits is answered, once");
        match answer {
            Answer::Unknown => assert!(now >= deadline, "not before its time is up"),
            Answer::Claim(decision) => {
                let claim = claim.expect("a claim's answer is for a claim");
                let grant = decision.grant.as_ref();
                let covered = grant.map(|grant| grant.covers(&claim.key, &claim.digest, grant.carry()));
                let may_leave = matches!(decision.verdict, Verdict::Granted | Verdict::Repeated { .. });
                assert_eq!(covered, may_leave.then_some(true), "{claim:?}: {decision:?}");
                if let Some(grant) = grant {
                    let signed = (claim.digest, grant.carry().clone());
                    let first =
                        self.granted.entry((claim.key, claim.duty.clone())).or_insert_with(|| signed.clone());
                    assert_eq!(*first, signed, "two payloads of {:?}", claim.duty);
                }
            }
            Answer::Change(done) => assert!(claim.is_none() && done.is_ok(), "{done:?}"),
            Answer::NeverTaken | Answer::SlotOutOfRange { .. } => {}
        }
    }
}

impl Node {
    fn started(id: NodeId, life: Life, rows: Rows, mark: Option<HighWater>, now: Moment) -> Self {
        let config = ReplicaConfig {
            node: id,
            cluster: ClusterId([7; 16]),
            life,
            initial: NODES.into(),
            joined: false,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed: life.boot,
            log_bytes_max: LOG_BYTES,
        };
        let image = rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
        let image = DiskImage { rows: image.collect() };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let replica = Replica::open(config, &image, mark.as_ref(), logger);
        let replica = replica.unwrap_or_else(|error| panic!("node {id} does not start: {error}"));
        let config = DriverConfig { boot: life.boot, tick: TICK, slot_tolerance: 3 };
        let unix_ms = BEGIN.0 * SLOT_MS;
        let driver = Driver::new(replica, config, Now { at: now, unix_ms });
        Self {
            driver,
            life,
            rows,
            mark,
            syncs: Vec::new(),
            holds_syncs: false,
            is_full: false,
            unix_ms,
            captured: None,
            greeted: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    fn write(&mut self, batch: DiskBatch) {
        for op in batch.ops {
            match op {
                DiskOp::Put(table, key, value) => drop(self.rows.insert((table, key), value)),
                DiskOp::Delete(table, key) => drop(self.rows.remove(&(table, key))),
                DiskOp::DeleteRange(table, from, to) => {
                    self.rows.retain(|(own, key), _| *own != table || *key < from || *key >= to);
                }
                DiskOp::Clear(table) => self.rows.retain(|(own, _), _| *own != table),
            }
        }
    }

    fn install(&mut self, records: &dyn RecordSource, batch: DiskBatch) {
        let stored = DiskTable::STATE.map(|(table, _)| table);
        self.rows.retain(|(table, _), _| !stored.contains(table));
        for record in records.records() {
            let (table, key, value) = record.expect("what is in memory can be read");
            let own =
                DiskTable::STATE.into_iter().find(|(_, own)| *own == table).expect("a table of the state");
            self.rows.insert((own.0, key), value);
        }
        self.write(batch);
    }

    /// The state's records as they are in the store.
    fn records(&self) -> Vec<StateRecord> {
        let of = |(stored, table)| {
            let rows = self.rows.iter().filter(move |((own, _), _)| *own == stored);
            rows.map(move |((_, key), value)| (table, key.clone(), value.clone()))
        };
        DiskTable::STATE.into_iter().flat_map(of).collect()
    }

    /// Checks that the store holds the state that is handed out, row by row.
    fn is_stored(&self, applied: LogIndex) {
        let replica = self.driver.replica();
        assert_eq!(replica.status().applied, applied);
        let state = replica.state();
        let state = state.read().expect("apply does not panic");
        let stored: BTreeSet<StateRecord> = self.records().into_iter().collect();
        let applied: BTreeSet<StateRecord> = state.records().collect();
        assert!(stored == applied, "the store and the state are one");
    }
}

fn first_changes() -> Vec<Change> {
    let genesis = CHAINS[0].0;
    let mut changes = vec![Change::AddChain(chain(0))];
    for (n, (key_type, _)) in KEYS.into_iter().enumerate().take(2) {
        let (id, scheme) = (key(n), key_type.schemes()[0]);
        let sealed = Envelope::from(vec![7; 64]);
        changes.push(Change::RegisterKey { id, scheme, chain: genesis, group: None, sealed });
        changes.push(Change::ArmKey { id, floors: floors(key_type, BEGIN) });
    }
    changes
}
