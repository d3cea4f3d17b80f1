//! The replica under faults, all in one thread and from one seed: messages lost, late and doubled, fsyncs that take
//! their time, crashes that lose whatever was not synced, restarts through the peer fence. After every step: no duty
//! has two digests granted, nothing granted is ever forgotten, equal positions mean equal states.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signonce_core::replica::disk::{DiskBatch, DiskImage, DiskOp, DiskTable, HighWater};
use signonce_core::replica::fence::{ClusterId, Life};
use signonce_core::replica::wire::PeerMessage;
use signonce_core::replica::{Decided, NotMember, Output, Replica, ReplicaConfig, Role};
use signonce_core::{
    Chain, Change, Claim, ClaimRequest, ClientId, Command, Envelope, Floors, Limits, Outcome, RequestId,
    StateHash, Verdict,
};
use signonce_protocol::*;
use std::collections::BTreeMap;

/// A disk that loses unsynced batches in a crash, but always keeps a prefix, as one WAL does.
#[derive(Clone, Default)]
struct Disk {
    synced: BTreeMap<(DiskTable, Vec<u8>), Vec<u8>>,
    unsynced: Vec<DiskBatch>,
    high_water: Option<HighWater>,
}

fn apply(rows: &mut BTreeMap<(DiskTable, Vec<u8>), Vec<u8>>, batch: &DiskBatch) {
    for op in &batch.ops {
        match op {
            DiskOp::Put(table, key, value) => {
                rows.insert((*table, key.clone()), value.clone());
            }
            DiskOp::Delete(table, key) => {
                rows.remove(&(*table, key.clone()));
            }
            DiskOp::DeleteRange(table, from, to) => {
                rows.retain(|(t, k), _| t != table || k < from || k >= to);
            }
            DiskOp::Clear(table) => rows.retain(|(t, _), _| t != table),
        }
    }
}

impl Disk {
    fn sync(&mut self) {
        for batch in std::mem::take(&mut self.unsynced) {
            apply(&mut self.synced, &batch);
        }
    }

    fn crash(&mut self, rng: &mut impl Rng) {
        let kept = rng.random_range(0..=self.unsynced.len());
        self.unsynced.truncate(kept);
        self.sync();
    }

    fn image(&self) -> DiskImage {
        DiskImage { rows: self.synced.iter().map(|((t, k), v)| (*t, k.clone(), v.clone())).collect() }
    }
}

struct Running {
    replica: Replica,
    life: Life,
    /// Asked for, not yet done.
    syncs: Vec<(u64, HighWater)>,
}

struct Node {
    disk: Disk,
    starts: u64,
    running: Option<Running>,
}

struct World {
    n: u64,
    rng: ChaCha8Rng,
    nodes: BTreeMap<u64, Node>,
    network: Vec<(u64, Life, PeerMessage)>,
    next_seq: u64,
    /// Claims asked, by request.
    asked: BTreeMap<u64, Claim>,
    /// Digests granted or repeated, by duty: the one thing that must never have two values.
    signed: BTreeMap<Duty, Digest>,
    /// State hashes seen, by applied index.
    hashes: BTreeMap<u64, StateHash>,
    /// Leaders seen, by term.
    leaders: BTreeMap<u64, u64>,
    log_bytes_max: usize,
    /// A node that is not started again.
    retired: Option<u64>,
    /// Nodes that hear and say nothing.
    isolated: Vec<u64>,
    /// A node that stays off.
    off: Option<u64>,
}

fn key() -> KeyId {
    KeyId { key_type: KeyType::Grandpa, public: PublicKey::try_from(&[5; 32][..]).unwrap() }
}

fn vote(round: u64, digest: u8) -> Claim {
    Claim {
        key: key(),
        client: ClientId(1),
        duty: Duty::GrandpaVote {
            set_id: SetId(0),
            round: Round(round),
            stage: GrandpaStage::Prevote,
            target: BlockNumber(1),
        },
        digest: Digest([digest; 32]),
        time_ms: 0,
    }
}

impl World {
    fn new(n: u64, seed: u64) -> Self {
        let nodes =
            (1..=n).map(|id| (id, Node { disk: Disk::default(), starts: 0, running: None })).collect();
        let mut world = Self {
            n,
            rng: ChaCha8Rng::seed_from_u64(seed),
            nodes,
            network: Vec::new(),
            next_seq: 1,
            asked: BTreeMap::new(),
            signed: BTreeMap::new(),
            hashes: BTreeMap::new(),
            leaders: BTreeMap::new(),
            retired: None,
            isolated: Vec::new(),
            off: None,
            log_bytes_max: if seed.is_multiple_of(2) { 32 << 10 } else { 8 << 20 },
        };
        (1..=n).for_each(|id| world.start(id));
        world
    }

    fn start(&mut self, id: u64) {
        let boot = self.rng.random();
        let seed = self.rng.random();
        let node = self.nodes.get_mut(&id).unwrap();
        node.starts += 1;
        let life = Life { incarnation: node.starts, boot };
        let config = ReplicaConfig {
            node: NodeId(id),
            cluster: ClusterId([1; 16]),
            life,
            initial: (1..=self.n).map(NodeId).collect(),
            election_ticks: 10,
            heartbeat_ticks: 2,
            seed,
            log_bytes_max: self.log_bytes_max,
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let opened = Replica::open(config, &node.disk.image(), node.disk.high_water.as_ref(), logger);
        let replica = opened.expect("a disk that is only old opens: that is the danger");
        node.running = Some(Running { replica, life, syncs: Vec::new() });
    }

    fn may_start(&self, id: u64) -> bool {
        self.nodes[&id].running.is_none() && self.retired != Some(id) && self.off != Some(id)
    }

    fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.running.take().is_some() {
            node.disk.crash(&mut self.rng);
        }
    }

    /// Every pair of running nodes says hello; what is answered while a node is fenced decides its fate.
    fn hellos(&mut self) {
        for from in 1..=self.n {
            for to in 1..=self.n {
                if from == to || self.rng.random_bool(0.2) {
                    continue;
                }
                let Some(hello) = self.running(from).map(|r| r.replica.our_hello()) else { continue };
                let Some(reply) = self.running(to).map(|r| r.replica.hello(&hello)) else { continue };
                self.running(from).unwrap().replica.hello_reply(NodeId(to), &reply);
            }
        }
    }

    fn running(&mut self, id: u64) -> Option<&mut Running> {
        self.nodes.get_mut(&id)?.running.as_mut()
    }

    fn propose(&mut self, id: u64, claim: Claim) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let request = RequestId { node: NodeId(id), boot: 0, seq };
        self.asked.insert(seq, claim.clone());
        let command = Command::Claims(vec![ClaimRequest { request, claim }]);
        if let Some(running) = self.running(id) {
            let _ = running.replica.propose(&command);
        }
    }

    fn pump(&mut self, id: u64) {
        let Some(running) = self.running(id) else { return };
        let life = running.life;
        let outputs = running.replica.pump().expect("nothing is fatal here");
        for output in outputs {
            self.execute(id, life, output);
        }
        let status = self.running(id).unwrap().replica.status();
        if status.role == Role::Leader && status.not_member.is_none() {
            let leader = *self.leaders.entry(status.term.0).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {}", status.term);
        }
        let known = *self.hashes.entry(status.applied.0).or_insert(status.state_hash);
        assert_eq!(known, status.state_hash, "states differ at {}", status.applied);
    }

    fn execute(&mut self, id: u64, life: Life, output: Output) {
        match output {
            Output::Send(messages) => {
                for message in messages {
                    // Through the wire format, as in production.
                    let message = PeerMessage::decode(&message.encode()).unwrap();
                    self.network.push((id, life, message.clone()));
                    if self.rng.random_bool(0.02) {
                        self.network.push((id, life, message));
                    }
                }
            }
            Output::Write { batch, sync } => {
                let disk = &mut self.nodes.get_mut(&id).unwrap().disk;
                disk.unsynced.push(batch);
                if sync.is_some() {
                    disk.sync();
                    disk.high_water = sync;
                }
            }
            Output::Sync { number, mark } => self.running(id).unwrap().syncs.push((number, mark)),
            Output::Outcomes(decided) => decided.into_iter().for_each(|one| self.check(one)),
            Output::Jumped => {}
        }
    }

    fn check(&mut self, decided: Decided) {
        let Outcome::Verdict(verdict) = decided.outcome else { return };
        let Some(claim) = self.asked.get(&decided.request.seq) else { return };
        if verdict.may_sign() {
            let signed = *self.signed.entry(claim.duty.clone()).or_insert(claim.digest);
            assert_eq!(signed, claim.digest, "two digests signed for {}", claim.duty);
        }
        if matches!(verdict, Verdict::Refused(signonce_core::Refusal::Equivocation { .. })) {
            let signed = self.signed.get(&claim.duty);
            assert!(signed.is_some_and(|d| *d != claim.digest), "refused without reason: {}", claim.duty);
        }
    }

    fn sync(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(running) = &mut node.running else { return };
        let Some((number, mark)) = running.syncs.drain(..).next_back() else { return };
        node.disk.sync();
        running.replica.persisted(number);
        node.disk.high_water = Some(mark);
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.network.len().min(8));
        let (from, life, message) = self.network.remove(at);
        let cut_off = self.isolated.contains(&from) || self.isolated.contains(&message.to().0);
        if cut_off || self.rng.random_bool(0.05) {
            return; // lost
        }
        let (to, snapshot) = (message.to().0, message.is_snapshot());
        if let Some(running) = self.running(to) {
            running.replica.receive(NodeId(from), life, message);
        }
        if snapshot && let Some(running) = self.running(from) {
            running.replica.snapshot_sent(NodeId(to), true);
        }
    }

    fn chaos(&mut self) {
        let id = self.rng.random_range(1..=self.n);
        match self.rng.random_range(0..1000) {
            0..2 => self.crash(id),
            2..22 if self.may_start(id) => self.start(id),
            22..40 => self.hellos(),
            40..180 => {
                if let Some(running) = self.running(id) {
                    running.replica.tick();
                }
            }
            180..300 => self.sync(id),
            300..420 => {
                // Conflicting digests for a few hot rounds that move slowly forward.
                let round = 1 + self.next_seq / 40 + self.rng.random_range(0..3);
                let digest = self.rng.random_range(1..4);
                self.propose(id, vote(round, digest));
            }
            _ => self.deliver(),
        }
        self.pump(id);
    }

    fn leader(&mut self) -> Option<u64> {
        (1..=self.n).find(|id| self.running(*id).is_some_and(|r| r.replica.status().role == Role::Leader))
    }

    /// No more faults: everybody runs, everything arrives. Ends with one leader and equal states.
    fn heal(&mut self) {
        for id in 1..=self.n {
            if self.may_start(id) {
                self.start(id);
            }
        }
        for round in 0..4000 {
            if round % 20 == 0 {
                self.hellos();
            }
            for id in 1..=self.n {
                let Some(running) = self.running(id) else { continue };
                running.replica.tick();
                self.pump(id);
                self.sync(id);
                self.pump(id);
            }
            for _ in 0..self.network.len() {
                self.deliver();
            }
        }
    }

    fn provision(&mut self) {
        let genesis = GenesisHash([3; 32]);
        let chain = Chain {
            genesis,
            name: "test".into(),
            format: ChainFormat::default(),
            slot_duration_ms: 6000,
            limits: Limits::default(),
        };
        let floors = Floors { grandpa: Some((SetId(0), Round(1))), ..Floors::default() };
        let register = Change::RegisterKey {
            id: key(),
            scheme: Scheme::Ed25519,
            chain: genesis,
            group: None,
            sealed: Envelope::from(vec![1]),
        };
        self.heal();
        let leader = self.leader().expect("a healthy cluster has a leader");
        for change in [Change::AddChain(chain), register, Change::ArmKey { id: key(), floors }] {
            let request = RequestId { node: NodeId(leader), boot: 0, seq: 0 };
            let command = Command::Change { request, actor: "test".into(), time_ms: 0, change };
            self.running(leader).unwrap().replica.propose(&command).unwrap();
        }
        self.heal();
    }
}

fn run(n: u64, seed: u64, steps: usize) -> World {
    let mut world = World::new(n, seed);
    world.provision();
    for _ in 0..steps {
        world.chaos();
    }
    world.heal();
    world
}

#[test]
fn under_loss_delay_and_crashes_no_duty_gets_two_digests_and_the_cluster_recovers() {
    for seed in 0..12 {
        let mut world = run(if seed < 8 { 3 } else { 5 }, seed, 40_000);
        for id in 1..=world.n {
            let status = world.running(id).unwrap().replica.status();
            assert_eq!(status.not_member, None, "seed {seed}: an honest node passes its fence");
        }
        let hashes: Vec<_> =
            (1..=world.n).map(|id| world.running(id).unwrap().replica.status().state_hash).collect();
        assert!(hashes.windows(2).all(|w| w[0] == w[1]), "seed {seed}: all states agree at the end");
        assert!(
            world.signed.len() > 20,
            "seed {seed}: {} duties signed; the run says nothing",
            world.signed.len()
        );

        // Everything ever signed is still known.
        let signed = world.signed.clone();
        let leader = world.leader().expect("one leader after healing");
        let state = world.running(leader).unwrap().replica.state();
        let state = state.read().unwrap();
        for (duty, digest) in signed {
            let mut other = Claim { duty, digest, ..vote(1, 1) };
            other.digest = Digest([0xee; 32]);
            assert!(!state.check(&other).may_sign(), "seed {seed}: {} could be signed again", other.duty);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let fingerprint = |seed| {
        let world = run(3, seed, 10_000);
        (world.hashes, world.leaders, world.signed)
    };
    assert!(fingerprint(7) == fingerprint(7));
    assert!(fingerprint(7) != fingerprint(8));
}

#[test]
fn a_rolled_back_disk_is_caught_by_the_fence() {
    for seed in 0..8 {
        let mut world = World::new(3, seed);
        world.provision();
        let leader = world.leader().unwrap();
        let victim = 1 + leader % world.n;
        world.crash(victim);
        let yesterday = world.nodes[&victim].disk.clone();
        world.start(victim);
        world.heal();
        for round in 1..30 {
            let leader = world.leader().unwrap();
            world.propose(leader, vote(round, 1));
            world.heal_briefly();
        }
        world.crash(victim);
        world.nodes.get_mut(&victim).unwrap().disk = yesterday;
        world.start(victim);
        world.heal();
        let status = world.running(victim).unwrap().replica.status();
        assert!(matches!(status.not_member, Some(NotMember::Quarantined(_))), "seed {seed}: {status:?}");
    }
}

#[test]
fn a_rolled_back_disk_that_only_the_lost_leader_remembers_never_makes_two_of_a_duty() {
    // Five nodes. What the leader, the victim and one ally agreed on, the other two have not heard of. Then the
    // leader is lost, with its memory of what the victim acknowledged, and the victim's disk is rolled back.
    for seed in 0..40 {
        let mut world = World::new(5, seed);
        world.provision();
        let leader = world.leader().expect("a healthy cluster has a leader");
        let [victim, _ally, deaf, deaf_too] = [1, 2, 3, 4].map(|n| 1 + (leader - 1 + n) % 5);
        world.isolated = vec![deaf, deaf_too];
        let moment = world.nodes[&victim].disk.clone();
        let steps = world.rng.random_range(200..1_500);
        (0..steps).for_each(|_| world.chaos());

        world.crash(leader);
        world.off = Some(leader);
        world.crash(victim);
        world.nodes.get_mut(&victim).unwrap().disk = moment;
        world.isolated.clear();
        world.start(victim);
        (0..15_000).for_each(|_| world.chaos());

        world.off = None;
        world.retired = Some(victim);
        world.heal();
        assert!(world.leader().is_some(), "seed {seed}: the cluster serves with or without the node");
    }
}

impl World {
    fn heal_briefly(&mut self) {
        for _ in 0..10 {
            for id in 1..=self.n {
                self.pump(id);
                self.sync(id);
                self.pump(id);
            }
            for _ in 0..self.network.len() {
                self.deliver();
            }
        }
    }
}
