//! What one seed decides before anything happens: the faults' strengths, the keys, the whole schedule.
//!
//! Each seed draws its own subset of fault kinds and their strengths, so that rare faults also occur in runs in which
//! little else goes wrong. Everything comes from the seed, in two streams, so that leaving out part of the schedule
//! does not change the strengths.

use crate::disk::Loss;
use crate::mutation::Mutation;
use crate::work::{self, Kind, Wish};
use clap::ValueEnum;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signonce_core::{Change, MAX_SLOT_TOLERANCE};

/// Virtual time, in microseconds.
pub type Micros = u64;
/// A millisecond.
pub const MS: Micros = 1_000;
/// A second.
pub const SECOND: Micros = 1_000 * MS;
/// The number of machines for nodes that join later.
pub const SEATS: usize = 3;
/// The length of a tick, as in production.
pub const TICK: Micros = 50 * MS;

/// Which faults a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Every fault of network, disk and process, without snapshots.
    Basic,
    /// With log compaction and snapshots, and more administrators.
    Full,
    /// As `Full`, and one node's storage does what no storage may do: it is wiped, rolled back, loses what was synced,
    /// or is copied to a second machine.
    Storage,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source of everything.
    pub seed: u64,
    /// Three or five.
    pub nodes: usize,
    /// Which faults.
    pub profile: Profile,
    /// A guard to take away.
    pub mutation: Option<Mutation>,
    /// Only these items of the schedule.
    pub only: Option<Vec<usize>>,
    /// Keep a readable log.
    pub log: bool,
}

/// The strengths of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How long faults go on.
    pub chaos: Micros,
    /// Messages lost, per thousand.
    pub lost: u32,
    /// Messages that arrive twice, per thousand.
    pub doubled: u32,
    /// Messages that are very late, per thousand.
    pub late: u32,
    /// How late.
    pub late_by: Micros,
    /// The usual delay, from and to.
    pub delay: (Micros, Micros),
    /// An fsync takes this long, from and to.
    pub fsync: (Micros, Micros),
    /// Length of each node's tick.
    pub ticks: Vec<Micros>,
    /// Inputs after which a node does not act at once, per thousand.
    pub lazy: u32,
    /// Nodes sync on the driver's thread where the driver may wait.
    pub sync_here: bool,
    /// Log bytes before compaction.
    pub log_bytes_max: usize,
    /// The keys in use.
    pub keys: Vec<Kind>,
    /// Whether the BEEFY shield is up.
    pub shield: bool,
    /// How many slots a block's slot may be from a node's clock.
    pub slot_tolerance: u64,
    /// A machine whose clock is wrong, and by how much.
    pub skewed: Option<(usize, i64)>,
}

/// A fault, or an action of administrators and validators.
#[derive(Clone, Debug)]
pub enum Op {
    /// A validator wants a signature.
    Ask(Wish),
    /// An administrator wants a change, first at this node.
    Admin(usize, Change),
    /// A process dies, perhaps after some more outputs of its next turn, and starts again later.
    Crash {
        /// Which.
        node: usize,
        /// What is left of what was not synced.
        loss: Loss,
        /// After how many more outputs.
        after_outputs: Option<u32>,
        /// How long it is down.
        down: Micros,
    },
    /// All processes die and start again.
    CrashAll {
        /// What is left of what was not synced.
        loss: Loss,
        /// How long.
        down: Micros,
    },
    /// Messages from some nodes to some others are lost for a while.
    Cut {
        /// Whose messages.
        from: Vec<usize>,
        /// To whom.
        to: Vec<usize>,
        /// How long.
        lasts: Micros,
    },
    /// The streams between two nodes break and are dialled again.
    Break(usize, usize),
    /// A process is stopped and continues later.
    Pause {
        /// Which.
        node: usize,
        /// How long.
        lasts: Micros,
    },
    /// Fsyncs take a hundred times as long.
    SlowDisk {
        /// Which.
        node: usize,
        /// How long.
        lasts: Micros,
    },
    /// The next fsync fails: the process aborts.
    FailSync {
        /// Which.
        node: usize,
        /// What is left of what was not synced.
        loss: Loss,
        /// How long it is down.
        down: Micros,
    },
    /// A machine is lost permanently.
    Lose(usize),
    /// Leadership is handed over.
    Transfer(Option<usize>),
    /// An administrator adds a node, and perhaps replaces another with it.
    Members {
        /// The machine it will run on, counted from the first free one.
        seat: usize,
        /// The node to be replaced.
        replaces: Option<usize>,
    },
    /// Forbidden: a node is wiped and initialised again under its id.
    Wipe {
        /// Which.
        node: usize,
        /// How long it is down.
        down: Micros,
    },
    /// Forbidden: an earlier state of the disk is put back some time later; with `all`, the files beside the store too.
    Rollback {
        /// Which.
        node: usize,
        /// How much later.
        age: Micros,
        /// How long it is down.
        down: Micros,
        /// Whether the files beside the store go back with it.
        all: bool,
    },
    /// Forbidden: the power fails, and a page of what was durable is damaged.
    Damage {
        /// Which.
        node: usize,
        /// How many batches before the last one.
        back: usize,
        /// How long it is down.
        down: Micros,
    },
    /// Forbidden: an earlier state of the disk starts on a second machine some time later.
    Clone {
        /// Which.
        node: usize,
        /// How much later.
        age: Micros,
    },
}

fn rng(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// The random numbers of the run itself.
pub fn run_rng(seed: u64) -> ChaCha8Rng {
    rng(seed, 2)
}

/// One of a few values, all equally likely.
pub fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

/// True `n` times of a thousand.
pub fn chance(rng: &mut ChaCha8Rng, n: u32) -> bool {
    n > 0 && rng.random_range(0..1_000) < n
}

impl Setup {
    /// A machine's tick. Those of later nodes are exact.
    pub fn tick(&self, machine: usize) -> Micros {
        self.ticks.get(machine).copied().unwrap_or(TICK)
    }

    /// How far a machine's clock is ahead.
    pub fn skew_ms(&self, machine: usize) -> i64 {
        self.skewed.filter(|(skewed, _)| *skewed == machine).map_or(0, |(_, by)| by)
    }

    /// Draws the strengths of a run.
    pub fn draw(options: &Options) -> Self {
        signonce_substrate::install();
        let rng = &mut rng(options.seed, 0);
        let full = options.profile != Profile::Basic;
        Self {
            chaos: if full { 20 * SECOND } else { 12 * SECOND },
            lost: pick(rng, &[0, 0, 10, 50, 150]),
            doubled: pick(rng, &[0, 10, 50]),
            late: pick(rng, &[0, 10, 50]),
            late_by: pick(rng, &[20 * MS, 200 * MS, 2 * SECOND]),
            delay: pick(rng, &[(50, 300), (200, 2 * MS), (MS, 20 * MS), (20 * MS, 60 * MS)]),
            fsync: pick(rng, &[(50, 200), (200, 2 * MS), (MS, 15 * MS)]),
            ticks: (0..=options.nodes).map(|_| TICK * rng.random_range(85..=115) / 100).collect(),
            lazy: pick(rng, &[0, 200, 700]),
            sync_here: rng.random(),
            log_bytes_max: if full { pick(rng, &[3 << 10, 6 << 10, 16 << 10, 8 << 20]) } else { 8 << 20 },
            keys: work::draw_keys(rng),
            shield: rng.random(),
            slot_tolerance: pick(rng, &[3, 10, MAX_SLOT_TOLERANCE]),
            skewed: chance(rng, 300).then(|| {
                let machine = rng.random_range(0..options.nodes);
                (machine, pick(rng, &[-60_000, -3_000, -400, 400, 3_000, 60_000]))
            }),
        }
    }

    /// Draws what will happen, in the order of time, counted from the end of the provisioning.
    pub fn schedule(&self, options: &Options) -> Vec<(Micros, Op)> {
        let rng = &mut rng(options.seed, 1);
        let mut draw = Draw { rng, n: options.nodes, setup: self, ops: Vec::new() };
        draw.work(options.profile);
        draw.faults(options.profile);
        if options.profile == Profile::Storage {
            draw.forbidden(options);
        }
        let scripted = draw.ops.iter().any(|(_, op)| matches!(op, Op::Members { .. }));
        if options.mutation == Some(Mutation::StepsForgotten) {
            draw.power_cut_after_replacing();
        }
        // Schedules that show a missing guard must stay short.
        let calm = scripted || options.mutation.is_some();
        if options.profile != Profile::Basic && !calm {
            draw.members();
        }
        let mut ops = draw.ops;
        damage(&mut ops, options);
        ops.retain(|(at, _)| *at < self.chaos);
        ops.sort_by_key(|(at, _)| *at);
        ops
    }
}

/// Replaces some other losses of durable data with a damaged page. Uses a stream of random numbers of its own, so that
/// everything else stays as it was drawn.
fn damage(ops: &mut [(Micros, Op)], options: &Options) {
    let rng = &mut rng(options.seed, 3);
    let often = match options.mutation {
        Some(Mutation::DamageUnnoticed) => 1_000,
        Some(_) => 0,
        None => 500,
    };
    // Where peers have met two lives with one number, they agree again once the node has started once more. One whose
    // identity is damaged does not.
    if ops.iter().any(|(_, op)| matches!(op, Op::Clone { .. })) {
        return;
    }
    for (_, op) in ops {
        let (node, down) = match op {
            Op::Rollback { node, down, all: false, .. } | Op::Wipe { node, down } => (*node, *down),
            _ => continue,
        };
        if chance(rng, often) {
            let back = pick(rng, &[1, 2, 3, 8, 20, 60]);
            *op = Op::Damage { node, back, down };
        }
    }
}

struct Draw<'a> {
    rng: &'a mut ChaCha8Rng,
    n: usize,
    setup: &'a Setup,
    ops: Vec<(Micros, Op)>,
}

impl Draw<'_> {
    fn when(&mut self) -> Micros {
        self.rng.random_range(0..self.setup.chaos)
    }

    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.n)
    }

    fn down(&mut self) -> Micros {
        pick(self.rng, &[10 * MS, 300 * MS, SECOND, 3 * SECOND]) + self.rng.random_range(0..50 * MS)
    }

    fn loss(&mut self) -> Loss {
        match self.rng.random_range(0..4) {
            0 => Loss::Nothing,
            1 => Loss::Power(0),
            _ => Loss::Power(self.rng.random_range(0..1_000)),
        }
    }

    fn work(&mut self, profile: Profile) {
        let mut at = 0;
        let gap = pick(self.rng, &[20 * MS, 60 * MS, 150 * MS]);
        while at < self.setup.chaos {
            for (later, wish) in work::draw_wishes(self.rng, &self.setup.keys, at, self.n) {
                self.ops.push((at + later, Op::Ask(wish)));
            }
            at += self.rng.random_range(1..2 * gap);
        }
        let changes = if profile == Profile::Basic { 4 } else { 12 };
        for _ in 0..self.rng.random_range(0..=changes) {
            let at = self.when();
            let change = work::draw_change(self.rng, &self.setup.keys, at);
            let node = self.node();
            self.ops.push((at, Op::Admin(node, change)));
        }
    }

    fn faults(&mut self, profile: Profile) {
        // A third of the runs have none of a kind, the others few or many.
        let mut count = |most: u32| pick(self.rng, &[0, most / 3, most]);
        let (crashes, storms, cuts) = (count(12), count(2), count(8));
        let (breaks, pauses, slow, fails, transfers) = (count(6), count(4), count(4), count(3), count(5));
        let all = if profile == Profile::Basic { count(1) } else { count(3) };
        for _ in 0..crashes {
            let (at, node, down) = (self.when(), self.node(), self.down());
            let after_outputs = self.rng.random::<bool>().then(|| self.rng.random_range(0..6));
            let loss = self.loss();
            self.ops.push((at, Op::Crash { node, loss, after_outputs, down }));
        }
        for _ in 0..storms {
            let (mut at, node) = (self.when(), self.node());
            for _ in 0..self.rng.random_range(3..8) {
                let (loss, down) = (self.loss(), self.rng.random_range(1..100 * MS));
                self.ops.push((at, Op::Crash { node, loss, after_outputs: None, down }));
                at += self.rng.random_range(10 * MS..800 * MS);
            }
        }
        for _ in 0..all {
            let (at, loss, down) = (self.when(), self.loss(), self.down());
            self.ops.push((at, Op::CrashAll { loss, down }));
        }
        for _ in 0..cuts {
            self.cut();
        }
        for _ in 0..breaks {
            let (at, a, b) = (self.when(), self.node(), self.node());
            self.ops.push((at, Op::Break(a, b)));
        }
        for _ in 0..pauses {
            let (at, node) = (self.when(), self.node());
            let lasts = self.rng.random_range(100 * MS..3 * SECOND);
            self.ops.push((at, Op::Pause { node, lasts }));
        }
        for _ in 0..slow {
            let (at, node) = (self.when(), self.node());
            let lasts = self.rng.random_range(100 * MS..3 * SECOND);
            self.ops.push((at, Op::SlowDisk { node, lasts }));
        }
        for _ in 0..fails {
            let (at, node, loss, down) = (self.when(), self.node(), self.loss(), self.down());
            self.ops.push((at, Op::FailSync { node, loss, down }));
        }
        // With three nodes, a loss and a restart leave too few to vouch for the node that starts.
        if profile == Profile::Full && self.n > 3 && chance(self.rng, 300) {
            let (at, node) = (self.when(), self.node());
            self.ops.push((at, Op::Lose(node)));
        }
        for _ in 0..transfers {
            let at = self.when();
            let to = self.rng.random::<bool>().then(|| self.node());
            self.ops.push((at, Op::Transfer(to)));
        }
    }

    fn cut(&mut self) {
        let (at, lasts) = (self.when(), self.rng.random_range(50 * MS..4 * SECOND));
        let side: Vec<bool> = (0..self.n).map(|_| self.rng.random()).collect();
        let side_of = |which: bool| (0..self.n).filter(|i| side[*i] == which).collect::<Vec<_>>();
        let (a, b) = (side_of(true), side_of(false));
        self.ops.push((at, Op::Cut { from: a.clone(), to: b.clone(), lasts }));
        if self.rng.random_range(0..3) > 0 {
            self.ops.push((at, Op::Cut { from: b, to: a, lasts }));
        }
    }

    /// What a leader, a victim and one ally agree on, the two others do not hear of. Then the leader goes, with its
    /// memory of what the victim acknowledged, and the victim's disk is rolled back.
    fn lost_leader(&mut self, victim: usize) {
        let mut others: Vec<usize> = (0..self.n).filter(|i| *i != victim).collect();
        let mut draw = || others.remove(self.rng.random_range(0..others.len()));
        let (leader, ally) = (draw(), draw());
        let lasts = self.rng.random_range(200 * MS..2 * SECOND);
        let at = self.rng.random_range(0..self.setup.chaos - 8 * SECOND);
        let cut_at = at + self.rng.random_range(10 * MS..SECOND);
        let heard = vec![victim, leader, ally];
        let end = cut_at + lasts;
        let back = Op::Rollback { node: victim, age: lasts, down: 10 * MS, all: true };
        self.ops.extend([
            (at, Op::Transfer(Some(leader))),
            (cut_at, Op::Cut { from: heard.clone(), to: others.clone(), lasts }),
            (cut_at, Op::Cut { from: others, to: heard, lasts }),
            (cut_at, back),
            (end, Op::Crash { node: leader, loss: Loss::Power(0), after_outputs: None, down: 5 * SECOND }),
        ]);
    }

    /// A leader counts what the victim has acknowledged, which is then rolled back; it cannot reach the leader, and the
    /// three others remember nothing. Only then does the leader reach one of them, which makes a majority.
    fn late_quorum(&mut self, victim: usize) {
        let mut others: Vec<usize> = (0..self.n).filter(|i| *i != victim).collect();
        let mut draw = || others.remove(self.rng.random_range(0..others.len()));
        let (leader, third) = (draw(), draw());
        let age = self.rng.random_range(50 * MS..500 * MS);
        let deaf = age + self.rng.random_range(30 * MS..300 * MS);
        let at = self.rng.random_range(0..self.setup.chaos - 8 * SECOND);
        let cut_at = at + self.rng.random_range(10 * MS..SECOND);
        let (alone, lasts) = (vec![leader], 6 * SECOND);
        let end = cut_at + deaf + self.rng.random_range(20 * MS..300 * MS);
        self.ops.extend([
            (at, Op::Transfer(Some(leader))),
            (cut_at, Op::Cut { from: alone.clone(), to: vec![third], lasts: deaf }),
            (cut_at, Op::Cut { from: alone.clone(), to: others, lasts }),
            (cut_at, Op::Rollback { node: victim, age, down: 5 * MS, all: true }),
            (cut_at + age, Op::Cut { from: alone.clone(), to: vec![victim], lasts }),
            (cut_at + age, Op::Cut { from: vec![victim], to: alone, lasts }),
            (end, Op::Crash { node: leader, loss: Loss::Power(0), after_outputs: None, down: 4 * SECOND }),
        ]);
    }

    /// A copy that has lost nothing starts beside its original, and both stand for election: one peer's stream still
    /// leads to the older of the two, the other's to the newer.
    fn twins(&mut self, node: usize) {
        let other = (node + self.rng.random_range(1..self.n)) % self.n;
        let leads = (0..self.n).find(|i| *i != node && *i != other).unwrap_or(other);
        let mut at = self.rng.random_range(0..self.setup.chaos / 2);
        let age = self.rng.random_range(MS..50 * MS);
        self.ops.push((at, Op::Transfer(Some(leads))));
        at += self.rng.random_range(100 * MS..SECOND);
        self.ops.push((at, Op::Clone { node, age }));
        self.ops.push((at + age + 500 * MS, Op::Break(other, node)));
        for _ in 0..3 {
            at += self.rng.random_range(SECOND..3 * SECOND);
            let crash = Op::Crash { node: leads, loss: Loss::Nothing, after_outputs: None, down: 5 * MS };
            self.ops.extend([(at, crash), (at + 2 * SECOND, Op::Transfer(Some(leads)))]);
        }
    }

    /// One of five is replaced without hearing of it. What the leader, the newcomer and the victim then agree on, the
    /// two others do not hear of. The victim's disk is put back to before the change, and the three others that it
    /// knows from then would vouch for it; leader and newcomer are away.
    fn old_members(&mut self) {
        let (left, deaf, leader, victim, newcomer) = (0, [1, 2], 3, 4, self.n + 1);
        let at = self.rng.random_range(SECOND..2 * SECOND);
        let copied = at + 500 * MS;
        let age = self.rng.random_range(5 * SECOND..7 * SECOND);
        let back = copied + age;
        let asks = |op: &Op| matches!(op, Op::Ask(_));
        self.ops.retain(|(_, op)| asks(op));
        self.ops.push((at, Op::Transfer(Some(leader))));
        self.ops.push((copied, Op::Rollback { node: victim, age, down: 5 * MS, all: true }));
        self.ops.push((copied + 10 * MS, Op::Members { seat: 0, replaces: Some(left) }));
        let unaware = copied + self.rng.random_range(20 * MS..2 * SECOND);
        let unheard = back - self.rng.random_range(100 * MS..500 * MS);
        self.apart(&[left], &[deaf[0], deaf[1], leader, victim, newcomer], unaware, back);
        self.apart(&[left], &[deaf[0], deaf[1], leader, newcomer], back, back + 4 * SECOND);
        self.apart(&deaf, &[leader, victim, newcomer], unheard, back);
        for node in [leader, newcomer] {
            let crash = Op::Crash { node, loss: Loss::Power(0), after_outputs: None, down: 5 * SECOND };
            self.ops.push((back, crash));
        }
    }

    /// A node is replaced and switched off; then the power of all others fails.
    fn power_cut_after_replacing(&mut self) {
        let node = self.node();
        let at = self.rng.random_range(0..self.setup.chaos / 2);
        self.ops.retain(|(_, op)| matches!(op, Op::Ask(_)));
        self.ops.push((at, Op::Members { seat: 0, replaces: Some(node) }));
        let cut = at + self.rng.random_range(SECOND..5 * SECOND);
        self.ops.push((cut, Op::CrashAll { loss: Loss::Power(0), down: 300 * MS }));
    }

    fn apart(&mut self, some: &[usize], others: &[usize], from: Micros, to: Micros) {
        for (a, b) in [(some, others), (others, some)] {
            self.ops.push((from, Op::Cut { from: a.to_vec(), to: b.to_vec(), lasts: to - from }));
        }
    }

    /// All restart; one node alone has the last entries, tells everybody so, and is gone for good.
    fn longest_log_lost(&mut self, node: usize) {
        let at = self.rng.random_range(2 * SECOND..self.setup.chaos - SECOND);
        let others = (0..self.n).filter(|i| *i != node).collect();
        let down = self.rng.random_range(50 * MS..200 * MS);
        let gone = at + down + self.rng.random_range(20 * MS..200 * MS);
        // Nothing else happens to the nodes afterwards: four of five are left, and each is needed.
        self.ops.retain(|(when, op)| matches!(op, Op::Ask(_) | Op::Admin(..)) || when + 5 * SECOND < at);
        self.ops.extend([
            (at - 2 * SECOND, Op::Transfer(Some(node))),
            (at - 100 * MS, Op::Cut { from: vec![node], to: others, lasts: 300 * MS }),
            (at, Op::CrashAll { loss: Loss::Nothing, down }),
            (gone, Op::Lose(node)),
        ]);
    }

    /// Nodes come, take the place of others, and have faults of their own.
    fn members(&mut self) {
        for seat in 0..pick(self.rng, &[0, 1, 2, SEATS]) {
            let at = self.rng.random_range(0..self.setup.chaos * 3 / 4);
            let replaces = chance(self.rng, 700).then(|| self.rng.random_range(0..self.n + seat));
            let replaces = replaces.map(|n| if n < self.n { n } else { n + 1 });
            self.ops.push((at, Op::Members { seat, replaces }));
            let machine = self.n + 1 + seat;
            for _ in 0..self.rng.random_range(0..6) {
                let (at, loss, down) = (self.when(), self.loss(), self.down());
                let op = match self.rng.random_range(0..5) {
                    0 => Op::Pause { node: machine, lasts: down },
                    1 => Op::SlowDisk { node: machine, lasts: down },
                    2 => Op::Cut { from: vec![machine], to: (0..self.n).collect(), lasts: down },
                    3 => Op::FailSync { node: machine, loss, down },
                    _ => Op::Crash { node: machine, loss, after_outputs: None, down },
                };
                self.ops.push((at, op));
            }
        }
    }

    /// One node, again and again: two at a time are more than any fence can tolerate.
    fn forbidden(&mut self, options: &Options) {
        if options.mutation == Some(Mutation::FenceAsksOldMembers) || (self.n == 5 && chance(self.rng, 50)) {
            return self.old_members();
        }
        let node = self.node();
        let kinds: &[u8] = match options.mutation {
            Some(Mutation::WipedNode) => &[0],
            Some(Mutation::DiskRollback) => &[1],
            Some(Mutation::LostSyncedTail | Mutation::DamageUnnoticed) => &[2],
            Some(Mutation::ReusedNodeId | Mutation::LifeUnread) => &[3],
            _ => &[0, 1, 1, 2, 3],
        };
        if options.mutation == Some(Mutation::FurthestWitnessBinds) {
            return self.longest_log_lost(node);
        }
        let twins = match options.mutation {
            Some(mutation) => matches!(mutation, Mutation::LifeUnread | Mutation::ReusedNodeId),
            None => self.n == 3 && chance(self.rng, 200),
        };
        if twins {
            return self.twins(node);
        }
        let hard = options.mutation.is_some_and(Mutation::needs_lost_leader);
        if self.n == 5 && (hard || chance(self.rng, 400)) {
            return if self.rng.random() { self.lost_leader(node) } else { self.late_quorum(node) };
        }
        for _ in 0..self.rng.random_range(1..=3) {
            let (at, down) = (self.when(), self.down());
            let age = pick(self.rng, &[20 * MS, 200 * MS, 2 * SECOND, 6 * SECOND]);
            let op = match pick(self.rng, kinds) {
                0 => Op::Wipe { node, down },
                1 => Op::Rollback { node, age, down, all: true },
                2 => {
                    Op::Rollback { node, age: pick(self.rng, &[5 * MS, 50 * MS, 500 * MS]), down, all: false }
                }
                _ => {
                    // With elections after it, for the two to get in each other's way.
                    for _ in 0..3 {
                        let later = at + self.rng.random_range(100 * MS..4 * SECOND);
                        let (node, loss) = (self.node(), self.loss());
                        let crash = Op::Crash { node, loss, after_outputs: None, down: 300 * MS };
                        self.ops.push((later, crash));
                    }
                    Op::Clone { node, age }
                }
            };
            self.ops.push((at, op));
        }
    }
}
