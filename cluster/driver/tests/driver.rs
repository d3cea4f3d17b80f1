//! Three drivers without a shell: what each wants done, and in which order.

use signonce_core::replica::disk::{DiskImage, HighWater};
use signonce_core::replica::hello::{ClusterId, Life};
use signonce_core::replica::wire::PeerMessage;
use signonce_core::replica::{Replica, ReplicaConfig, Role};
use signonce_core::{Change, Claim, ClaimRequest, ClientId, Envelope, Floors, RequestId, Verdict};
use signonce_driver::frame::Frame;
use signonce_driver::{
    Answer, Decline, Driver, DriverConfig, ELECTION_TICKS, Effect, Event, HEARTBEAT_TICKS, Moment, Now,
    Observed, Request, Submission,
};
use signonce_protocol::{Carry, ChainId, Digest, KeyId, NodeId, Position, PublicKey, Slot};
use signonce_substrate::{BABE, BABE_BLOCK, ChainFormat, ChainSettings, Duty, Limits, SR25519};
use std::collections::{BTreeMap, VecDeque};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const TICK: Moment = Moment::from_millis(50);
const SLOT_MS: u64 = 6_000;
const SLOT: u64 = 1_000;
const TOLERANCE: u64 = 3;

enum Said {
    Raft(PeerMessage),
    Frame(Frame),
}

struct Node {
    driver: Driver,
    life: Life,
    /// Fsyncs that were asked for and are not done, if they are held up.
    syncs: Vec<u64>,
    hold_syncs: bool,
    /// Frames to others do not leave.
    is_full: bool,
    told: Vec<(RequestId, Answer)>,
    marked: Vec<HighWater>,
    /// What was wanted, in order, since it was last looked at.
    wanted: Vec<&'static str>,
    unix_ms: u64,
}

struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    now: Moment,
    wire: VecDeque<(NodeId, NodeId, Said)>,
    next: u64,
}

fn node(node: NodeId) -> Node {
    let life = Life { incarnation: 1, boot: node.0 };
    let config = ReplicaConfig {
        node,
        cluster: ClusterId([7; 16]),
        life,
        initial: NODES.into(),
        joined: false,
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: HEARTBEAT_TICKS,
        seed: node.0,
        log_bytes_max: 1 << 20,
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let replica = Replica::open(config, &DiskImage::default(), None, logger).expect("an empty disk is sound");
    let config = DriverConfig { boot: node.0, tick: TICK, slot_tolerance: TOLERANCE };
    let unix_ms = SLOT * SLOT_MS;
    Node {
        driver: Driver::new(replica, config, Now { at: Moment::ZERO, unix_ms }),
        life,
        syncs: Vec::new(),
        hold_syncs: false,
        is_full: false,
        told: Vec::new(),
        marked: Vec::new(),
        wanted: Vec::new(),
        unix_ms,
    }
}

impl Cluster {
    /// Formed, with a leader, and with a key for blocks.
    fn serving() -> (Self, NodeId) {
        signonce_substrate::install();
        let nodes = NODES.map(|id| (id, node(id))).into();
        let mut cluster = Self { nodes, now: Moment::ZERO, wire: VecDeque::new(), next: 0 };
        for from in NODES {
            for to in NODES.into_iter().filter(|to| *to != from) {
                let hello = Box::new(cluster.nodes[&from].driver.replica().our_hello());
                cluster.tell(to, Event::Hello { call: from.0, hello });
                cluster.work(to);
            }
        }
        let leader = cluster.leader();
        for change in first_changes() {
            let id = cluster.submit(leader, |request| Request::Change {
                request,
                actor: "test".into(),
                time_ms: 0,
                change,
            });
            cluster.run(Moment::from_millis(200));
            assert!(matches!(cluster.answer(leader, id), Some(Answer::Change(Ok(_)))));
        }
        (cluster, leader)
    }

    fn leader(&mut self) -> NodeId {
        for _ in 0..100 {
            self.run(TICK);
            let leads = |node: &Node| node.driver.replica().status().role == Role::Leader;
            if let Some((id, _)) = self.nodes.iter().find(|(_, node)| leads(node)) {
                return *id;
            }
        }
        panic!("nobody leads");
    }

    /// Lets everybody work and everything arrive, for a while.
    fn run(&mut self, time: Moment) {
        let until = self.now + time;
        while self.now < until {
            self.now += Moment::from_millis(5);
            NODES.into_iter().for_each(|id| self.work(id));
            self.deliver();
        }
    }

    /// Without time passing.
    fn deliver(&mut self) {
        while let Some((from, to, said)) = self.wire.pop_front() {
            let life = self.nodes[&from].life;
            let event = match said {
                Said::Raft(message) => Event::Raft { from, life, message: Box::new(message) },
                Said::Frame(frame) => frame.into_event(from, life).expect("a driver says what another takes"),
            };
            self.tell(to, event);
            self.work(to);
        }
    }

    fn tell(&mut self, id: NodeId, event: Event) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let now = Now { at: self.now, unix_ms: node.unix_ms };
        for effect in node.driver.step(event, now).expect("nothing fatal") {
            self.carry_out(id, effect);
        }
    }

    fn work(&mut self, id: NodeId) {
        self.tell(id, Event::Work);
        while self.nodes[&id].driver.is_working() {
            self.tell(id, Event::Work);
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        let node = self.nodes.get_mut(&id).expect("a node");
        match effect {
            Effect::Send(messages) => {
                node.wanted.push("send");
                self.wire.extend(messages.into_iter().map(|m| (id, m.to(), Said::Raft(m))));
            }
            Effect::Say(to, frame) => self.wire.push_back((id, to, Said::Frame(frame))),
            Effect::Forward(_, requests) if node.is_full => {
                let requests = requests.iter().map(Request::id).collect();
                self.tell(id, Event::Declined { requests, why: Decline::Busy });
            }
            Effect::Forward(to, requests) => {
                self.wire.push_back((id, to, Said::Frame(Frame::Forward(requests))));
            }
            Effect::Write { sync: Some(_), .. } => node.wanted.push("write through"),
            Effect::Write { sync: None, .. } => node.wanted.push("write"),
            Effect::Sync { number, mark, .. } => {
                node.wanted.push("sync");
                if node.hold_syncs {
                    node.syncs.push(number);
                } else {
                    let synced = Event::Synced { number, took: Moment::ZERO, unmarked: Some(mark) };
                    self.tell(id, synced);
                }
            }
            Effect::Mark(mark) => {
                node.wanted.push("mark");
                node.marked.push(mark);
            }
            Effect::Greet { call, reply } => {
                node.wanted.push("greet");
                self.tell(NodeId(call), Event::HelloReply { from: id, reply });
            }
            Effect::Answer(request, answer) => {
                node.wanted.push("answer");
                node.told.push((request, answer));
            }
            Effect::StateStored(_) => node.wanted.push("state stored"),
            Effect::Install { .. } | Effect::Capture { .. } | Effect::ReleaseCapture => {
                panic!("no snapshot here")
            }
            Effect::Transferred { .. } | Effect::Follow { .. } | Effect::Redial => {}
            Effect::Observe(Observed::Ticked) => node.wanted.push("tick"),
            Effect::Observe(_) => {}
        }
    }

    fn submit(&mut self, at: NodeId, request: impl FnOnce(RequestId) -> Request) -> RequestId {
        self.next += 1;
        let id = RequestId { node: at, boot: at.0, seq: self.next };
        let (submitted, deadline) = (self.now, self.now + Moment::from_secs(2));
        self.tell(at, Event::Submit(Submission { request: request(id), submitted, deadline }));
        id
    }

    fn claim(&mut self, at: NodeId, slot: u64) -> RequestId {
        self.submit(at, |request| Request::Claim(ClaimRequest { request, claim: claim(slot) }))
    }

    /// What the owner of a request was told, which must be once.
    fn answer(&self, at: NodeId, id: RequestId) -> Option<&Answer> {
        let told: Vec<&Answer> =
            self.nodes[&at].told.iter().filter(|(told, _)| *told == id).map(|(_, answer)| answer).collect();
        assert!(told.len() <= 1, "{told:?}");
        told.first().copied()
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }
}

fn key() -> KeyId {
    KeyId { key_type: BABE, public: PublicKey::try_from(&[1; 32][..]).expect("32 bytes") }
}

fn claim(slot: u64) -> Claim {
    let duty = Duty::BabeBlock { slot: Slot(slot) }.to_any();
    let (digest, carry) = (Digest([slot as u8; 32]), Carry::default());
    Claim { key: key(), client: ClientId(1), duty, digest, carry, time_ms: 0 }
}

fn first_changes() -> [Change; 3] {
    let genesis = ChainId([1; 32]);
    let (format, limits) = (ChainFormat::default(), Limits::default());
    let chain = ChainSettings { format, slot_duration_ms: SLOT_MS, limits }.chain(genesis, "relay");
    let floor = Position::new(BABE_BLOCK, &[SLOT - 10]).expect("a slot");
    let sealed = Envelope::from(vec![1; 64]);
    [
        Change::AddChain(chain),
        Change::RegisterKey { id: key(), scheme: SR25519, chain: genesis, group: None, sealed },
        Change::ArmKey { id: key(), floors: Floors::from(floor) },
    ]
}

fn is_granted(answer: Option<&Answer>, slot: u64) -> bool {
    let Some(Answer::Claim(decision)) = answer else { return false };
    let Claim { digest, carry, .. } = claim(slot);
    let covers = decision.grant.as_ref().is_some_and(|grant| grant.covers(&key(), &digest, &carry));
    decision.verdict == Verdict::Granted && covers
}

fn follower(leader: NodeId) -> NodeId {
    NODES.into_iter().find(|node| *node != leader).expect("three nodes")
}

#[test]
fn a_claim_is_answered_on_the_node_that_was_asked_once_a_majority_has_it_on_disk() {
    let (mut cluster, leader) = Cluster::serving();
    let majority = [leader, follower(leader)];
    for (at, slot) in majority.into_iter().zip(SLOT..) {
        NODES.into_iter().for_each(|id| cluster.node(id).hold_syncs = true);
        let id = cluster.claim(at, slot);
        cluster.run(Moment::from_millis(100));
        assert!(cluster.answer(at, id).is_none(), "nobody has it on disk");
        for node in majority {
            assert!(cluster.answer(at, id).is_none(), "only the leader has it on disk");
            let number = *cluster.node(node).syncs.last().expect("an fsync was asked for");
            cluster.node(node).syncs.clear();
            cluster.tell(node, Event::Synced { number, took: TICK, unmarked: None });
            cluster.run(Moment::from_millis(20));
        }
        assert!(is_granted(cluster.answer(at, id), slot), "{:?}", cluster.answer(at, id));
        for node in NODES {
            let late = std::mem::take(&mut cluster.node(node).syncs);
            cluster.node(node).hold_syncs = false;
            for number in late {
                cluster.tell(node, Event::Synced { number, took: TICK, unmarked: None });
            }
        }
        cluster.run(Moment::from_millis(100));
    }
}

#[test]
#[should_panic(expected = "was never asked for")]
fn an_fsync_that_nobody_asked_for_is_not_believed() {
    let (mut cluster, leader) = Cluster::serving();
    cluster.tell(leader, Event::Synced { number: u64::MAX, took: TICK, unmarked: None });
}

#[test]
fn a_follower_acknowledges_before_the_high_water_file_is_written_and_after_the_fsync() {
    let (mut cluster, leader) = Cluster::serving();
    let follower = follower(leader);
    cluster.node(follower).wanted.clear();
    cluster.claim(leader, SLOT);
    cluster.work(leader);
    cluster.deliver();
    let wanted = std::mem::take(&mut cluster.node(follower).wanted);
    let place = |what: &str| wanted.iter().position(|wanted| *wanted == what).expect("it was wanted");
    assert!(place("write") < place("sync") && place("sync") < place("send"), "{wanted:?}");
    assert!(place("send") < place("mark"), "{wanted:?}");
}

#[test]
fn a_hello_is_answered_when_the_life_that_said_it_is_on_disk() {
    let (mut cluster, leader) = Cluster::serving();
    let peer = follower(leader);
    let mut hello = cluster.nodes[&peer].driver.replica().our_hello();
    hello.life = Life { incarnation: 2, boot: 77 };
    cluster.node(leader).wanted.clear();
    cluster.tell(leader, Event::Hello { call: peer.0, hello: Box::new(hello) });
    assert!(cluster.node(leader).wanted.is_empty(), "not at once");
    cluster.work(leader);
    let wanted = &cluster.nodes[&leader].wanted;
    let place = |what: &str| wanted.iter().position(|wanted| *wanted == what).expect("it was wanted");
    assert!(place("write through") < place("greet"), "{wanted:?}");
}

#[test]
fn a_slot_that_is_not_now_by_the_leaders_clock_is_not_proposed() {
    let (mut cluster, leader) = Cluster::serving();
    for at in NODES {
        for slot in [SLOT - TOLERANCE - 1, SLOT + TOLERANCE + 1] {
            let before = cluster.nodes[&leader].driver.replica().last();
            let id = cluster.claim(at, slot);
            cluster.run(Moment::from_millis(100));
            let answer = cluster.answer(at, id);
            assert!(
                matches!(answer, Some(Answer::SlotOutOfRange { slot: asked, now: SLOT }) if *asked == slot),
                "{answer:?}"
            );
            assert_eq!(cluster.nodes[&leader].driver.replica().last(), before);
        }
    }
    cluster.node(leader).unix_ms += 4 * SLOT_MS;
    let id = cluster.claim(follower(leader), SLOT);
    cluster.run(Moment::from_millis(100));
    assert!(matches!(cluster.answer(follower(leader), id), Some(Answer::SlotOutOfRange { .. })));
}

#[test]
fn a_request_that_did_not_leave_is_sent_with_the_next_tick() {
    let (mut cluster, leader) = Cluster::serving();
    let follower = follower(leader);
    cluster.node(follower).is_full = true;
    let id = cluster.claim(follower, SLOT);
    cluster.work(follower);
    cluster.node(follower).is_full = false;
    cluster.node(follower).wanted.clear();
    cluster.work(follower);
    cluster.deliver();
    let ticked = cluster.node(follower).wanted.contains(&"tick");
    assert!(ticked || cluster.answer(follower, id).is_none(), "it holds off until then");
    cluster.run(2 * TICK);
    assert!(is_granted(cluster.answer(follower, id), SLOT));
}

#[test]
fn a_request_lost_with_a_stream_is_sent_again_and_granted_once() {
    let (mut cluster, leader) = Cluster::serving();
    let follower = follower(leader);
    let id = cluster.claim(follower, SLOT);
    cluster.work(follower);
    cluster.wire.clear();
    cluster.run(4 * TICK);
    assert!(cluster.answer(follower, id).is_none(), "the leader never heard of it");
    cluster.tell(follower, Event::HeardAnew(leader));
    cluster.run(2 * TICK);
    assert!(is_granted(cluster.answer(follower, id), SLOT));
}

#[test]
fn a_request_that_nobody_waits_for_any_more_is_not_answered() {
    let (mut cluster, leader) = Cluster::serving();
    let id = cluster.claim(leader, SLOT);
    cluster.tell(leader, Event::HungUp(vec![id.seq]));
    assert_eq!(cluster.nodes[&leader].driver.waiting(), 0);
    cluster.run(Moment::from_secs(3));
    assert!(cluster.answer(leader, id).is_none());
}

#[test]
fn without_a_leader_a_request_ends_at_its_deadline_as_never_taken() {
    let mut cluster =
        Cluster { nodes: [(NODES[0], node(NODES[0]))].into(), now: TICK, wire: VecDeque::new(), next: 0 };
    let id = cluster.claim(NODES[0], SLOT);
    cluster.work(NODES[0]);
    cluster.now += Moment::from_secs(2);
    cluster.work(NODES[0]);
    assert!(matches!(cluster.answer(NODES[0], id), Some(Answer::NeverTaken)));
}

#[test]
fn after_a_stall_few_ticks_are_made_up_for_and_the_next_one_is_not_in_the_past() {
    let (mut cluster, leader) = Cluster::serving();
    cluster.now += Moment::from_secs(60);
    cluster.work(leader);
    assert_eq!(cluster.nodes[&leader].driver.replica().status().role, Role::Leader, "no needless election");
    assert!(cluster.nodes[&leader].driver.wake_at() >= cluster.now);
}

#[test]
fn a_leader_tells_what_it_has_committed_when_a_lull_has_passed() {
    let (mut cluster, leader) = Cluster::serving();
    let id = cluster.claim(leader, SLOT);
    cluster.work(leader);
    cluster.deliver();
    assert!(is_granted(cluster.answer(leader, id), SLOT));
    let lull = Moment::from_millis(5);
    assert!(cluster.nodes[&leader].driver.wake_at() <= cluster.now + lull);
    let committed = |cluster: &Cluster, id| cluster.nodes[&id].driver.replica().status().committed;
    assert!(NODES.iter().any(|node| committed(&cluster, *node) < committed(&cluster, leader)), "not at once");
    cluster.now += lull;
    cluster.work(leader);
    cluster.deliver();
    for node in NODES {
        assert_eq!(committed(&cluster, node), committed(&cluster, leader));
    }
}

#[test]
fn the_state_is_given_out_when_the_store_has_all_of_it() {
    let (mut cluster, leader) = Cluster::serving();
    cluster.claim(leader, SLOT);
    cluster.work(leader);
    cluster.deliver();
    cluster.node(leader).wanted.clear();
    cluster.tell(leader, Event::StateWanted);
    cluster.work(leader);
    let wanted = &cluster.nodes[&leader].wanted;
    assert_eq!(wanted.iter().filter(|wanted| **wanted == "state stored").count(), 1);
    assert_eq!(wanted.last(), Some(&"state stored"), "{wanted:?}");
    assert!(wanted.contains(&"write"), "what was answered first is written before: {wanted:?}");
}
