//! Three replicas without a driver: what each gives out, in which order, and what its disk then holds.

use signonce_core::replica::disk::{DiskImage, DiskOp, DiskTable, KeptRecords};
use signonce_core::replica::hello::{ClusterId, Life};
use signonce_core::replica::wire::{Beside, PeerMessage};
use signonce_core::replica::{Decided, Output, Replica, ReplicaConfig, Role};
use signonce_core::{Change, Claim, ClaimRequest, ClientId, Command, RequestId};
use signonce_protocol::{Carry, Digest, KeyId, NodeId, PublicKey, Slot};
use signonce_substrate::{BABE, PARA};
use signonce_substrate::{CandidateHash, Duty, SessionIndex, Side};
use std::collections::BTreeMap;
use std::sync::Arc;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const LOG_BYTES_MAX: usize = 1 << 20;

fn life(node: NodeId) -> Life {
    Life { incarnation: node.0, boot: 1 }
}

fn open(node: NodeId, disk: &DiskImage) -> Replica {
    let config = ReplicaConfig {
        node,
        cluster: ClusterId([7; 16]),
        life: life(node),
        initial: NODES.into(),
        joined: false,
        election_ticks: 10,
        heartbeat_ticks: 2,
        seed: node.0,
        log_bytes_max: LOG_BYTES_MAX,
    };
    Replica::open(config, disk, None, slog::Logger::root(slog::Discard, slog::o!()))
        .expect("the disk is sound")
}

struct Node {
    replica: Replica,
    rows: BTreeMap<(DiskTable, Vec<u8>), Vec<u8>>,
    decided: Vec<Decided>,
    sent: Vec<PeerMessage>,
    /// The records for the snapshot made last, and its index.
    captured: Option<(u64, Arc<KeptRecords>)>,
}

impl Node {
    /// Lets the replica work; every fsync is done at once, on the caller's thread. Says what it gave out, in order.
    fn pump(&mut self) -> Vec<&'static str> {
        let mut given = Vec::new();
        loop {
            let outputs = self.replica.pump().expect("nothing fails here");
            if outputs.is_empty() {
                return given;
            }
            for output in outputs {
                given.push(self.execute(output));
            }
        }
    }

    fn execute(&mut self, output: Output) -> &'static str {
        match output {
            Output::Send(messages) => {
                for mut message in messages {
                    if let Some(index) = message.records_at() {
                        let (kept, records) = self.captured.clone().expect("it was captured before");
                        assert_eq!(kept, index, "the snapshot made last is the one that is sent");
                        message.records = Beside(Some(records));
                    }
                    self.sent.push(message);
                }
                "send"
            }
            Output::Write { batch, .. } => {
                let log = batch.ops.iter().any(|op| matches!(op, DiskOp::Put(DiskTable::Log, ..)));
                batch.ops.into_iter().for_each(|op| self.write(op));
                if log { "write entries" } else { "write state" }
            }
            Output::Sync { number, .. } => {
                self.replica.persisted(number);
                "sync"
            }
            Output::Outcomes(decided) => {
                self.decided.extend(decided);
                "answer"
            }
            Output::Install { records, batch, .. } => {
                let own = |table| DiskTable::STATE.iter().find(|(_, of)| *of == table).expect("a table").0;
                self.rows.retain(|(table, _), _| DiskTable::STATE.iter().all(|(stored, _)| stored != table));
                for record in records.records() {
                    let (table, key, value) = record.expect("what is in memory can be read");
                    self.rows.insert((own(table), key), value);
                }
                batch.ops.into_iter().for_each(|op| self.write(op));
                "install"
            }
            Output::Capture { index } => {
                let records = DiskTable::STATE.into_iter().flat_map(|(stored, table)| {
                    let rows = self.rows.iter().filter(move |((of, _), _)| *of == stored);
                    rows.map(move |((_, key), value)| (table, key.clone(), value.clone()))
                });
                self.captured = Some((index, Arc::new(KeptRecords(records.collect()))));
                "capture"
            }
            Output::Jumped => "jump",
        }
    }

    fn write(&mut self, op: DiskOp) {
        match op {
            DiskOp::Put(table, key, value) => drop(self.rows.insert((table, key), value)),
            DiskOp::Delete(table, key) => drop(self.rows.remove(&(table, key))),
            DiskOp::DeleteRange(table, from, to) => {
                self.rows.retain(|(of, key), _| *of != table || !(&from..&to).contains(&key));
            }
            DiskOp::Clear(table) => self.rows.retain(|(of, _), _| *of != table),
        }
    }

    fn disk(&self) -> DiskImage {
        let row =
            |((table, key), value): (&(DiskTable, Vec<u8>), &Vec<u8>)| (*table, key.clone(), value.clone());
        DiskImage { rows: self.rows.iter().map(row).collect() }
    }

    /// How far the state on the disk is, in the store's own bytes.
    fn applied_row(&self) -> Vec<u8> {
        self.rows[&(DiskTable::Meta, b"applied".to_vec())].clone()
    }

    fn applied(&self) -> u64 {
        self.replica.status().applied.0
    }
}

struct Cluster(BTreeMap<NodeId, Node>);

impl Cluster {
    /// Formed, with a leader, and with nothing left to say.
    fn formed() -> (Self, NodeId) {
        let node = |id| {
            let replica = open(id, &DiskImage::default());
            let (rows, decided, sent) = (BTreeMap::new(), Vec::new(), Vec::new());
            (id, Node { replica, rows, decided, sent, captured: None })
        };
        let mut cluster = Self(NODES.into_iter().map(node).collect());
        for asker in NODES {
            for asked in NODES.into_iter().filter(|asked| *asked != asker) {
                cluster.greet(asker, asked);
            }
        }
        for _ in 0..100 {
            cluster.settle();
            if let Some(leader) = cluster.leader() {
                cluster.tick();
                cluster.tick();
                return (cluster, leader);
            }
            cluster.tick();
        }
        panic!("nobody was elected");
    }

    fn greet(&mut self, asker: NodeId, asked: NodeId) {
        let hello = self.at(asker).replica.our_hello();
        let reply = self.at(asked).replica.hello(&hello);
        self.at(asker).replica.hello_reply(asked, &reply);
    }

    fn at(&mut self, node: NodeId) -> &mut Node {
        self.0.get_mut(&node).expect("one of the three")
    }

    fn leader(&mut self) -> Option<NodeId> {
        self.0.values().map(|n| n.replica.status()).find(|s| s.role == Role::Leader).map(|s| s.node)
    }

    fn tick(&mut self) {
        self.0.values_mut().for_each(|node| node.replica.tick());
        self.settle();
    }

    /// Delivers messages until there are none.
    fn settle(&mut self) {
        self.settle_but(|_| false);
    }

    /// Delivers messages until there are none; but for some, which are given back.
    fn settle_but(&mut self, held: impl Fn(&PeerMessage) -> bool) -> Vec<PeerMessage> {
        self.0.values_mut().for_each(|node| drop(node.pump()));
        let mut kept = Vec::new();
        while let Some((from, message)) = self.next_message() {
            if held(&message) {
                kept.push(message);
                continue;
            }
            let to = self.at(message.to());
            to.replica.receive(from, life(from), message);
            to.pump();
        }
        kept
    }

    fn next_message(&mut self) -> Option<(NodeId, PeerMessage)> {
        self.0.iter_mut().find_map(|(id, node)| (!node.sent.is_empty()).then(|| (*id, node.sent.remove(0))))
    }

    /// Takes what `from` has to say to `to`, and has `to` work on each.
    fn deliver(&mut self, from: NodeId, to: NodeId) -> Vec<&'static str> {
        let (theirs, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.at(from).sent).into_iter().partition(|message| message.to() == to);
        self.at(from).sent = others;
        let mut given = Vec::new();
        for message in theirs {
            self.at(to).replica.receive(from, life(from), message);
            given.extend(self.at(to).pump());
        }
        given
    }
}

/// Of a key that nobody knows: the answer is a refusal, which is decided as any other.
fn claim(asked_at: NodeId, seq: u64) -> Command {
    let request = RequestId { node: asked_at, boot: 1, seq };
    let key = KeyId {
        key_type: BABE,
        public: PublicKey::try_from(&[1; 32][..]).expect("32 bytes are a public key"),
    };
    signonce_substrate::install();
    let duty = Duty::BabeBlock { slot: Slot(seq) }.into();
    let claim = Claim {
        key,
        client: ClientId(1),
        duty,
        digest: Digest([0; 32]),
        carry: Carry::default(),
        time_ms: 0,
    };
    Command::Claims(vec![ClaimRequest { request, claim }])
}

fn change(asked_at: NodeId, seq: u64) -> Command {
    let request = RequestId { node: asked_at, boot: 1, seq };
    let change = Change::RemoveClient { name: "nobody".into() };
    Command::Change { request, actor: "test".into(), time_ms: 0, change }
}

/// As large as an entry can be: all that fits into one, each about as many candidates as an approval can have.
fn approvals(asked_at: NodeId, first: u64) -> Command {
    let key = KeyId {
        key_type: PARA,
        public: PublicKey::try_from(&[1; 32][..]).expect("32 bytes are a public key"),
    };
    signonce_substrate::install();
    let one = |seq: u64| {
        let request = RequestId { node: asked_at, boot: 1, seq };
        let candidates = (0..16).map(|n| CandidateHash([n; 32])).collect();
        let (session, side) = (SessionIndex(1), Side::Valid);
        let duty = Duty::ParaSide { session, candidates, side, statement: None }.into();
        let claim = Claim {
            key,
            client: ClientId(1),
            duty,
            digest: Digest([0; 32]),
            carry: Carry::default(),
            time_ms: 0,
        };
        ClaimRequest { request, claim }
    };
    Command::Claims((first..first + 256).map(one).collect())
}

fn others(leader: NodeId) -> [NodeId; 2] {
    let others: Vec<NodeId> = NODES.into_iter().filter(|node| *node != leader).collect();
    [others[0], others[1]]
}

#[test]
fn an_acknowledgement_does_not_wait_for_the_work_on_entries_before_it() {
    let (mut cluster, leader) = Cluster::formed();
    let [follower, _] = others(leader);
    cluster.at(leader).replica.propose(&claim(leader, 1)).expect("it leads");
    cluster.settle();
    let before = cluster.at(follower).applied();

    cluster.at(leader).replica.propose(&claim(leader, 2)).expect("it leads");
    cluster.at(leader).pump();
    let given = cluster.deliver(leader, follower);
    // The second entry says that the first is committed. Its acknowledgement comes first, then the first's answer.
    assert_eq!(given, ["write entries", "sync", "send", "answer"]);
    assert_eq!(cluster.at(follower).applied(), before + 1);
}

#[test]
fn followers_hear_of_a_lone_claim_with_the_next_entries_or_when_the_leader_is_asked_to_tell() {
    let (mut cluster, leader) = Cluster::formed();
    let [follower, _] = others(leader);
    let before = cluster.at(follower).applied();
    cluster.at(leader).replica.propose(&claim(leader, 1)).expect("it leads");
    cluster.settle();
    assert_eq!(cluster.at(leader).decided.len(), 1, "the leader's client has its answer");
    assert_eq!(cluster.at(follower).applied(), before, "nobody told the follower");
    assert!(cluster.at(leader).replica.owes_notice());

    cluster.at(leader).replica.tell_committed();
    assert!(!cluster.at(leader).replica.owes_notice());
    cluster.settle();
    assert_eq!(cluster.at(follower).applied(), before + 1);
}

#[test]
fn followers_hear_at_once_of_what_one_of_them_waits_for_and_of_every_change() {
    let (mut cluster, leader) = Cluster::formed();
    let [follower, other] = others(leader);
    for (nth, command) in [claim(follower, 1), change(leader, 2), change(other, 3)].iter().enumerate() {
        let before = cluster.at(follower).applied();
        cluster.at(leader).replica.propose(command).expect("it leads");
        cluster.settle();
        assert_eq!(cluster.at(follower).applied(), before + 1, "command {nth}");
        assert!(!cluster.at(leader).replica.owes_notice(), "command {nth}");
    }
}

#[test]
fn heartbeats_tell_followers_what_nobody_else_told_them() {
    let (mut cluster, leader) = Cluster::formed();
    let [follower, _] = others(leader);
    let before = cluster.at(follower).applied();
    cluster.at(leader).replica.propose(&claim(leader, 1)).expect("it leads");
    cluster.settle();
    cluster.tick();
    cluster.tick();
    assert_eq!(cluster.at(follower).applied(), before + 1);
}

#[test]
fn claims_are_answered_before_their_state_is_written_and_the_next_tick_writes_it() {
    let (mut cluster, leader) = Cluster::formed();
    let stored = cluster.at(leader).applied_row();
    for seq in 1..=3 {
        cluster.at(leader).replica.propose(&claim(leader, seq)).expect("it leads");
        cluster.settle();
    }
    assert_eq!(cluster.at(leader).decided.len(), 3);
    assert_eq!(cluster.at(leader).applied_row(), stored);
    cluster.at(leader).replica.tick();
    assert_eq!(cluster.at(leader).pump(), ["write state"]);
    assert_ne!(cluster.at(leader).applied_row(), stored);
}

#[test]
fn a_node_that_ends_before_the_tick_applies_again_what_its_log_holds() {
    let (mut cluster, leader) = Cluster::formed();
    for seq in 1..=3 {
        cluster.at(leader).replica.propose(&claim(leader, seq)).expect("it leads");
        cluster.settle();
    }
    let was = cluster.at(leader).replica.status();
    let again = open(leader, &cluster.at(leader).disk()).status();
    assert_eq!((again.last, again.term), (was.last, was.term), "the log is what was acknowledged");
    assert!(again.applied < was.applied, "its state was not written");

    // It comes back, and hears from the others what is committed.
    let replica = open(leader, &cluster.at(leader).disk());
    cluster.at(leader).replica = replica;
    for peer in others(leader) {
        cluster.greet(leader, peer);
        cluster.greet(peer, leader);
    }
    for _ in 0..60 {
        cluster.tick();
    }
    let now = cluster.at(leader).replica.status();
    assert!(now.applied > was.applied, "with the entry of the leader after it");
    let all = NODES.map(|node| cluster.at(node).replica.status()).map(|s| (s.applied, s.state_hash));
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
}

#[test]
fn a_log_of_a_few_large_entries_is_shortened_as_well() {
    let (mut cluster, leader) = Cluster::formed();
    let mut largest = 0;
    for n in 0..60 {
        let before = cluster.at(leader).replica.status().log_bytes;
        cluster.at(leader).replica.propose(&approvals(leader, 256 * n)).expect("it leads");
        cluster.settle();
        cluster.tick();
        for node in NODES {
            let bytes = cluster.at(node).replica.status().log_bytes;
            largest = largest.max(bytes.saturating_sub(before));
            assert!(bytes <= 2 * LOG_BYTES_MAX as u64 + largest, "node {node}, entry {n}: {bytes} bytes");
        }
    }
    assert!(largest > 100_000, "{largest}");
    // What is kept is read back.
    let disk = cluster.at(leader).disk();
    let bytes = cluster.at(leader).replica.status().log_bytes;
    assert_eq!(open(leader, &disk).status().log_bytes, bytes);
}

#[test]
fn an_older_snapshot_behind_a_newer_one_does_not_put_its_records_in_the_newer_ones_place() {
    let (mut cluster, leader) = Cluster::formed();
    let [late, _] = others(leader);
    let mut seq = 0;
    let mut snapshot = |cluster: &mut Cluster| {
        // Nothing reaches the one that is late until what it needs is no longer in the log.
        for _ in 0..30 {
            cluster.at(leader).replica.propose(&approvals(leader, seq)).expect("it leads");
            seq += 256;
            cluster.settle_but(|message| message.to() == late);
            cluster.at(leader).replica.tick();
        }
        cluster.at(leader).replica.snapshot_sent(late, false);
        for _ in 0..20 {
            cluster.0.values_mut().for_each(|node| node.replica.tick());
            let mut held = cluster.settle_but(PeerMessage::is_snapshot);
            if let Some(snapshot) = held.pop() {
                return snapshot;
            }
        }
        panic!("no snapshot is sent");
    };
    let (older, newer) = (snapshot(&mut cluster), snapshot(&mut cluster));
    assert!(older.records_at() < newer.records_at());
    for message in [newer, older] {
        cluster.at(late).replica.receive(leader, life(leader), message);
    }
    assert!(cluster.at(late).pump().contains(&"install"));
    cluster.settle();
    cluster.tick();
    let [one, other] = [late, leader].map(|node| cluster.at(node).replica.status());
    assert_eq!((one.applied, one.state_hash), (other.applied, other.state_hash));
}
