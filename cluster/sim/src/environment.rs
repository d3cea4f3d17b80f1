//! The environment of the nodes: time, the network, the validators, the judge, the log. Everything here is one thread
//! and one source of random numbers.

use crate::disk::Loss;
use crate::judge::Judge;
use crate::mutation::Mutation;
use crate::setup::{MS, Micros, Options, Setup, chance, run_rng};
use crate::signer::Signer;
use crate::work;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use signonce_core::replica::disk::HighWater;
use signonce_core::replica::hello::{Hello, HelloReply, Life};
use signonce_core::replica::wire::PeerMessage;
use signonce_core::{Change, Claim};
use signonce_driver::frame::Frame;
use signonce_protocol::NodeId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a moment.
#[derive(Debug)]
pub enum Event {
    /// A process's alarm fires.
    Wake(Proc),
    /// A process starts to work off its inputs.
    Work(Proc),
    /// A process checks its streams and dials missing ones.
    Dial(Proc),
    /// A process's fsync is done.
    Synced {
        /// The process.
        proc: Proc,
        /// The number that the replica waits for.
        number: u64,
        /// How many batches it covers.
        upto: u64,
        /// What to write into the high-water file.
        mark: HighWater,
        /// How long it took.
        took: Micros,
    },
    /// A frame arrives.
    Arrive(Box<Envelope>),
    /// A snapshot arrived, or not.
    SnapshotSent {
        /// The sender.
        proc: Proc,
        /// The receiver.
        peer: NodeId,
        /// Whether it did.
        arrived: bool,
    },
    /// A process notices that a stream to a peer is broken.
    Reset {
        /// The process.
        proc: Proc,
        /// The peer.
        peer: NodeId,
        /// The process it led to.
        boot: u64,
    },
    /// A validator's or an administrator's request reaches a machine.
    Request {
        /// The task.
        task: usize,
        /// The machine.
        machine: usize,
    },
    /// An item of the schedule is due.
    Op(usize),
    /// A machine starts its process.
    Start(usize),
    /// A disk is put back, or copied to another machine.
    Restore {
        /// The machine.
        machine: usize,
        /// How long it is down.
        down: Micros,
        /// Whether the files beside the store go back with it.
        all: bool,
    },
    /// A copied disk starts on the spare machine.
    StartClone(usize),
    /// An administrator checks the progress of a membership change.
    Members(usize),
}

/// A process: its machine, and its number among all starts of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proc {
    /// The machine.
    pub machine: usize,
    /// Counts every start in the run.
    pub boot: u64,
}

/// A frame under way.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The sending process.
    pub from: Proc,
    /// The node that it says it is.
    pub node: NodeId,
    /// Its life.
    pub life: Life,
    /// The receiving node.
    pub to: NodeId,
    /// The process at the other end of the stream; `None` if any will do.
    pub boot: Option<u64>,
    /// Which of the sender's streams, in the order they began; `None` outside of them.
    pub stream: Option<u64>,
    /// The content.
    pub said: Said,
}

/// A stream to a peer.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The process at the other end.
    pub boot: u64,
    /// Counts the process's own streams.
    pub number: u64,
}

/// A message between nodes.
#[derive(Clone, Debug)]
pub enum Said {
    /// A raft message: in production a frame too, here mostly not turned into bytes.
    Raft(PeerMessage),
    /// The first message on a stream.
    Hello(Hello),
    /// Its answer.
    HelloReply(HelloReply),
    /// Any other frame.
    Frame(Frame),
}

/// Something that somebody wants, and how persistently.
#[derive(Clone, Debug)]
pub struct Task {
    /// What is wanted.
    pub want: Want,
    /// How long each node is given.
    pub patience: Micros,
    /// How many more nodes will be asked.
    pub tries: u32,
    /// Whether there was a final answer, and whether it was good.
    pub answer: Option<bool>,
}

/// What a [`Task`] wants.
#[derive(Clone, Debug)]
pub enum Want {
    /// A signature.
    Claim(Claim),
    /// A change.
    Change(Change),
}

/// Messages from some machines to some others are lost until a given time.
struct Cut {
    from: Vec<usize>,
    to: Vec<usize>,
    until: Micros,
}

/// Totals of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Events.
    pub events: u64,
    /// Requests that reached a node.
    pub asked: u64,
    /// Signatures released.
    pub released: u64,
    /// Of these, repeats for the same duty.
    pub repeated: u64,
    /// Refusals.
    pub refused: u64,
    /// Requests for a slot that was not now.
    pub late: u64,
    /// Answers that never came.
    pub unknown: u64,
    /// Ends of processes.
    pub crashes: u64,
    /// Snapshots that reached a node.
    pub snapshots: u64,
    /// Nodes that came later and became voters.
    pub promoted: u64,
    /// Nodes that were removed.
    pub removed: u64,
    /// Nodes that found their disk faulty, by themselves or through the fence.
    pub halted: u64,
    /// Virtual time in microseconds.
    pub virtual_us: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        let Self {
            events,
            asked,
            released,
            repeated,
            refused,
            late,
            unknown,
            crashes,
            snapshots,
            promoted,
            removed,
            halted,
            virtual_us,
        } = other;
        self.events += events;
        self.asked += asked;
        self.released += released;
        self.repeated += repeated;
        self.refused += refused;
        self.late += late;
        self.unknown += unknown;
        self.crashes += crashes;
        self.snapshots += snapshots;
        self.promoted += promoted;
        self.removed += removed;
        self.halted += halted;
        self.virtual_us += virtual_us;
    }
}

struct Scheduled {
    at: Micros,
    seq: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// The environment of the nodes; see the module's text.
pub struct Environment {
    /// The options of the run.
    pub options: Options,
    /// The strengths of its faults.
    pub setup: Setup,
    /// The source of its random numbers.
    pub rng: ChaCha8Rng,
    /// The present virtual time.
    pub now: Micros,
    /// Whether there are no faults at present.
    pub calm: bool,
    /// When the chains' slots begin.
    pub slots_begin: Micros,
    /// The judge.
    pub judge: Judge,
    /// Makes the signatures.
    pub signer: Signer,
    /// What everybody wants.
    pub tasks: Vec<Task>,
    /// Totals.
    pub figures: Figures,
    /// Everything that happened, if it is recorded.
    pub log: Vec<String>,
    /// A number that differs if anything in the run differed.
    pub fingerprint: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    seq: u64,
    boots: u64,
    cuts: Vec<Cut>,
}

impl Environment {
    /// The environment before anything happens.
    pub fn new(options: Options, setup: Setup) -> Self {
        let signer = Signer::new(options.seed, options.mutation == Some(Mutation::RandomNonces));
        Self {
            rng: run_rng(options.seed),
            now: 0,
            calm: true,
            slots_begin: 0,
            judge: Judge::default(),
            signer,
            tasks: Vec::new(),
            figures: Figures::default(),
            log: Vec::new(),
            fingerprint: 0xcbf2_9ce4_8422_2325,
            queue: BinaryHeap::new(),
            seq: 0,
            boots: 0,
            cuts: Vec::new(),
            options,
            setup,
        }
    }

    /// Makes `event` happen after `after`.
    pub fn schedule(&mut self, after: Micros, event: Event) {
        self.seq += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + after, seq: self.seq, event }));
    }

    /// Takes the next event, and advances the time to it.
    pub fn next(&mut self, until: Micros) -> Option<Event> {
        if self.queue.peek().is_none_or(|next| next.0.at > until) {
            self.now = until;
            return None;
        }
        let Reverse(Scheduled { at, seq, event }) = self.queue.pop()?;
        self.now = at;
        self.figures.events += 1;
        self.mix(at ^ seq.rotate_left(32));
        Some(event)
    }

    /// Mixes `value` into the fingerprint.
    pub fn mix(&mut self, value: u64) {
        self.fingerprint = (self.fingerprint ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// The true time, by which chains count their slots.
    pub fn unix_ms(&self) -> u64 {
        work::unix_ms(self.now.saturating_sub(self.slots_begin))
    }

    /// The members the cluster forms from.
    pub fn initial(&self) -> Vec<NodeId> {
        (1..=self.options.nodes as u64).map(NodeId).collect()
    }

    /// A number that no start of this run had before.
    pub fn new_boot(&mut self) -> u64 {
        self.boots += 1;
        self.boots
    }

    /// Records what happens, if the log is kept.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if self.options.log {
            let (s, us) = (self.now / 1_000_000, self.now % 1_000_000);
            self.log.push(format!("{s:>4}.{us:06} {}", line()));
        }
    }

    /// Whether this guard has been taken away.
    pub fn mutated(&self, mutation: Mutation) -> bool {
        self.options.mutation == Some(mutation)
    }

    /// A random number from a range.
    pub fn between(&mut self, range: (Micros, Micros)) -> Micros {
        self.rng.random_range(range.0..=range.1)
    }
}

// The network.
impl Environment {
    /// Sends a frame, or loses it.
    pub fn send(&mut self, envelope: Envelope) {
        let Setup { lost, doubled, late, late_by, delay, .. } = self.setup;
        let snapshot = matches!(&envelope.said, Said::Raft(message) if message.is_snapshot());
        if !self.calm && chance(&mut self.rng, lost) {
            return self.lost(&envelope);
        }
        let mut after = self.between(delay);
        if snapshot {
            after += self.rng.random_range(0..100 * MS);
        }
        if !self.calm && chance(&mut self.rng, late) {
            after += self.rng.random_range(0..late_by);
        }
        if !self.calm && chance(&mut self.rng, doubled) {
            let again = after + self.rng.random_range(0..100 * MS);
            self.schedule(again, Event::Arrive(Box::new(envelope.clone())));
        }
        self.schedule(after, Event::Arrive(Box::new(envelope)));
    }

    /// Handles a frame that does not arrive. Only for a snapshot does its sender ever learn of it.
    pub fn lost(&mut self, envelope: &Envelope) {
        if matches!(&envelope.said, Said::Raft(message) if message.is_snapshot()) {
            let (proc, peer) = (envelope.from, envelope.to);
            self.schedule(500 * MS, Event::SnapshotSent { proc, peer, arrived: false });
        }
    }

    /// Cuts machines off.
    pub fn cut(&mut self, from: Vec<usize>, to: Vec<usize>, lasts: Micros) {
        self.cuts.push(Cut { from, to, until: self.now + lasts });
    }

    /// Whether messages from one machine to another are being lost.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        let now = self.now;
        self.cuts.iter().any(|cut| cut.until > now && cut.from.contains(&from) && cut.to.contains(&to))
    }

    /// Ends all cuts.
    pub fn mend(&mut self) {
        self.cuts.clear();
    }
}

// Validators and administrators.
impl Environment {
    /// Adds a task of somebody who wants something.
    pub fn want(&mut self, task: Task, machine: usize) -> usize {
        let index = self.tasks.len();
        self.tasks.push(task);
        self.ask(index, machine, 0);
        index
    }

    fn ask(&mut self, task: usize, machine: usize, pause: Micros) {
        let after = pause + self.between(self.setup.delay);
        self.schedule(after, Event::Request { task, machine });
    }

    /// Asks another node with the very same payload, after there was no answer.
    pub fn ask_another(&mut self, task: usize) {
        self.figures.unknown += 1;
        if self.tasks[task].tries == 0 {
            return;
        }
        self.tasks[task].tries -= 1;
        let machine = self.rng.random_range(0..self.options.nodes);
        let pause = self.rng.random_range(0..100 * MS);
        self.ask(task, machine, pause);
    }

    /// A signature leaves a node.
    pub fn release(&mut self, task: usize, claim: &Claim, machine: usize) {
        let signature = self.signer.sign(claim);
        let before = self.judge.released_count();
        self.judge.released(claim, signature);
        self.figures.released += 1;
        self.figures.repeated += u64::from(before == self.judge.released_count());
        self.tasks[task].answer = Some(true);
        self.say(|| format!("machine {machine} releases {} {}", claim.duty_line(), claim.digest));
    }
}

/// A short description of a claim.
pub trait DutyLine {
    /// The key's type and the duty.
    fn duty_line(&self) -> String;
}

impl DutyLine for Claim {
    fn duty_line(&self) -> String {
        format!("{:?} {}", self.key.key_type, self.duty)
    }
}

/// The death of a process in the middle of its work.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// What is lost with it.
    pub loss: Loss,
    /// How long the machine stays down.
    pub down: Micros,
    /// The reason.
    pub why: &'static str,
}
