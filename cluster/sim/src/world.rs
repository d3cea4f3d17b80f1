//! The whole world of one run: machines, their environment, and the schedule. One event at a time.

use crate::disk::{Disk, Loss};
use crate::environment::{Death, Envelope, Environment, Event, Task, Want};
use crate::machine::Machine;
use crate::members::Administrator;
use crate::process::Process;
use crate::setup::{MS, Micros, Op, Options, Profile, SEATS, SECOND, Setup};
use crate::work;
use rand::RngExt;
use signonce_core::replica::{KnownConfiguration, Role};
use signonce_core::{Change, Fingerprint};
use signonce_protocol::NodeId;

/// The time within which a cluster must have formed and answered its first administrator.
const FORMED_WITHIN: Micros = 10 * SECOND;
/// The time after the last fault within which everybody must agree again: some ten election timeouts.
const HEALED_WITHIN: Micros = 15 * SECOND;

/// The world of one run.
pub struct World {
    /// The machines: those of the cluster, then a spare one for clones, then those of nodes that join later.
    pub machines: Vec<Machine>,
    /// Everything else.
    pub environment: Environment,
    /// The administrators who change the membership.
    pub administrators: Vec<Administrator>,
    /// The schedule, by time since the end of the provisioning.
    pub schedule: Vec<(Micros, Op)>,
}

impl World {
    /// The world of a seed, before its first moment.
    pub fn new(options: Options) -> Self {
        let setup = Setup::draw(&options);
        let schedule = setup.schedule(&options);
        let schedule = match &options.only {
            Some(only) => only.iter().filter_map(|i| schedule.get(*i).cloned()).collect(),
            None => schedule,
        };
        Self::with(options, setup, schedule)
    }

    /// A world with a given schedule.
    pub fn with(options: Options, setup: Setup, schedule: Vec<(Micros, Op)>) -> Self {
        signonce_substrate::install();
        signonce_core::mutation::activate(options.mutation.and_then(|mutation| mutation.in_core()));
        let nodes = options.nodes;
        let mut machines: Vec<Machine> = (0..nodes).map(|i| Machine::new(i, NodeId(i as u64 + 1))).collect();
        machines.push(Machine::new(nodes, NodeId(0)));
        machines.extend((1..=SEATS).map(|seat| Machine::new(nodes + seat, NodeId(0))));
        Self { machines, administrators: Vec::new(), environment: Environment::new(options, setup), schedule }
    }

    /// The whole run.
    ///
    /// # Panics
    /// If a rule is broken.
    pub fn run(&mut self) {
        self.provision();
        self.chaos();
        self.heal();
        self.judge_the_end();
    }

    /// Starts everybody, and has an administrator set up chains and keys. No faults yet.
    pub fn provision(&mut self) {
        self.environment.say(|| "the cluster forms".into());
        for machine in &mut self.machines[..self.environment.options.nodes] {
            machine.start(&mut self.environment);
        }
        let deadline = self.environment.now + FORMED_WITHIN;
        let mut changes =
            work::provision(&self.environment.setup.keys.clone(), self.environment.setup.shield);
        changes.push(Change::WidenTolerance { slots: self.environment.setup.slot_tolerance });
        for change in changes {
            self.environment.say(|| format!("an administrator: {change:?}"));
            let task =
                Task { want: Want::Change(change), patience: FORMED_WITHIN, tries: 1_000, answer: None };
            let task = self.environment.want(task, 0);
            while self.environment.tasks[task].answer.is_none() {
                assert!(self.environment.now < deadline, "the cluster does not form, or does not answer");
                self.run_for(5 * MS);
            }
            assert_eq!(self.environment.tasks[task].answer, Some(true), "a first change was refused");
        }
    }

    /// The schedule, with the faults of the network.
    pub fn chaos(&mut self) {
        self.environment.say(|| "faults begin".into());
        self.environment.calm = false;
        self.environment.slots_begin = self.environment.now;
        for (i, (at, _)) in self.schedule.iter().enumerate() {
            self.environment.schedule(*at, Event::Op(i));
        }
        self.run_for(self.environment.setup.chaos);
    }

    /// Runs for a while.
    pub fn run_for(&mut self, time: Micros) {
        let until = self.environment.now + time;
        while let Some(event) = self.environment.next(until) {
            self.step(event);
            if self.machines.iter().any(|machine| machine.leaving.is_some()) {
                self.clear_machines();
            }
        }
    }

    /// Clears the machine of a removed node as soon as a member says that it is gone, as an operator would after
    /// `members remove`.
    fn clear_machines(&mut self) {
        let status = |machine: &Machine| machine.process.as_ref().map(|process| process.replica().status());
        let says_so = |machine: &Machine, gone: NodeId| {
            let status = status(machine).filter(|status| status.not_member.is_none());
            status.is_some_and(|s| {
                s.voters.contains(&s.node) && ![s.voters, s.learners].concat().contains(&gone)
            })
        };
        for number in 0..self.machines.len() {
            let id = self.machines[number].id;
            let known = |machine: &Machine| machine.number != number && says_so(machine, id);
            if self.machines[number].leaving.is_some() && self.machines.iter().any(known) {
                let machine = &mut self.machines[number];
                machine.halted = machine.leaving.take();
                self.environment.figures.halted += 1;
                machine.die(
                    Death { loss: Loss::Power(0), down: 0, why: "it is cleared" },
                    &mut self.environment,
                );
            }
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Op(i) => {
                let op = self.schedule[i].1.clone();
                self.op(&op);
            }
            Event::Start(machine) => self.machines[machine].start(&mut self.environment),
            // After faults have ended, no disk is changed any more.
            Event::Restore { .. } | Event::StartClone(_) if self.environment.calm => {}
            Event::Restore { machine, down, all } => self.restore(machine, down, all),
            Event::StartClone(machine) => self.start_clone(machine),
            Event::Members(which) => self.look_after_members(which),
            Event::Request { task, machine } => self.deliver_request(task, machine),
            Event::Arrive(envelope) => self.deliver(envelope),
            Event::Wake(proc)
            | Event::Work(proc)
            | Event::Dial(proc)
            | Event::Synced { proc, .. }
            | Event::SnapshotSent { proc, .. }
            | Event::Reset { proc, .. } => {
                let running = self.machines[proc.machine].process.as_ref();
                if running.is_some_and(|process| process.proc == proc) {
                    self.hand_to(proc.machine, event);
                }
            }
        }
    }

    /// Hands an event to a machine's process, once it is not frozen.
    fn hand_to(&mut self, machine: usize, event: Event) {
        let machine = &mut self.machines[machine];
        if machine.paused_until > self.environment.now {
            let later = machine.paused_until - self.environment.now;
            return self.environment.schedule(later, event);
        }
        machine.handle(event, &mut self.environment);
    }

    fn deliver_request(&mut self, task: usize, machine: usize) {
        if self.machines[machine].process.is_some() {
            self.hand_to(machine, Event::Request { task, machine });
        } else {
            self.environment.ask_another(task);
        }
    }

    fn deliver(&mut self, envelope: Box<Envelope>) {
        let runs_it = |machine: &&Machine| machine.id == envelope.to && machine.process.is_some();
        let running: Vec<usize> =
            self.machines.iter().filter(runs_it).map(|machine| machine.number).collect();
        let at_the_other_end = running.iter().copied().find(|machine| {
            let process = self.machines[*machine].process.as_ref();
            process.is_some_and(|process| Some(process.proc.boot) == envelope.boot)
        });
        let to = match (at_the_other_end, running.len()) {
            (Some(machine), _) => machine,
            (None, 0) => return self.environment.lost(&envelope),
            (None, 1) => running[0],
            (None, many) => running[self.environment.rng.random_range(0..many)],
        };
        if self.environment.is_cut(envelope.from.machine, to) {
            return self.environment.lost(&envelope);
        }
        self.hand_to(to, Event::Arrive(envelope));
    }

    /// Carries out an item of the schedule, or of a scenario.
    pub fn op(&mut self, op: &Op) {
        if !matches!(op, Op::Ask(_)) {
            self.environment.say(|| format!("{op:?}"));
        }
        match op {
            Op::Ask(wish) => {
                let want = Want::Claim(wish.claim.clone());
                let tries = u32::from(wish.tries) - 1;
                let task = Task { want, patience: wish.patience, tries, answer: None };
                self.environment.want(task, wish.node);
            }
            Op::Admin(node, change) => {
                let want = Want::Change(change.clone());
                self.environment.want(Task { want, patience: 2 * SECOND, tries: 2, answer: None }, *node);
            }
            Op::Crash { node, loss, after_outputs, down } => {
                let death = Death { loss: *loss, down: *down, why: "crash" };
                match after_outputs {
                    Some(outputs) => self.machines[*node].die_after = Some((*outputs, death)),
                    None => self.machines[*node].die(death, &mut self.environment),
                }
            }
            Op::CrashAll { loss, down } => {
                let death = Death { loss: *loss, down: *down, why: "all crash" };
                for machine in &mut self.machines {
                    machine.die(death, &mut self.environment);
                }
            }
            Op::Cut { from, to, lasts } => self.environment.cut(from.clone(), to.clone(), *lasts),
            Op::Break(a, b) => self.break_streams(*a, *b),
            Op::Pause { node, lasts } => self.machines[*node].paused_until = self.environment.now + lasts,
            Op::SlowDisk { node, lasts } => self.machines[*node].slow_until = self.environment.now + lasts,
            Op::FailSync { node, loss, down } => {
                let death = Death { loss: *loss, down: *down, why: "fsync failed" };
                self.machines[*node].fail_sync = Some(death);
            }
            Op::Lose(node) => self.lose(*node),
            Op::Transfer(to) => self.transfer(*to),
            Op::Members { seat, replaces } => self.change_members(*seat, *replaces),
            Op::Wipe { node, down } => {
                self.damage(*node, *down, |_| Disk::default());
            }
            Op::Rollback { node, age, down, all } => {
                let copy = self.machines[*node].disk.clone();
                self.machines[*node].copies.push(copy);
                let (machine, down, all) = (*node, *down, *all);
                self.environment.schedule(*age, Event::Restore { machine, down, all });
            }
            Op::Damage { node, back, down } => {
                let machine = &mut self.machines[*node];
                machine.damaged = true;
                let death = Death { loss: Loss::Power(300), down: *down, why: "damage" };
                machine.die(death, &mut self.environment);
                machine.disk.damage(*back);
            }
            Op::Clone { node, age } => {
                let copy = self.machines[*node].disk.clone();
                self.machines[*node].copies.push(copy);
                self.environment.schedule(*age, Event::StartClone(*node));
            }
        }
    }

    fn lose(&mut self, machine: usize) {
        let death = Death { loss: Loss::Power(0), down: 0, why: "lost for good" };
        let machine = &mut self.machines[machine];
        machine.die(death, &mut self.environment);
        machine.halted = Some("it is lost".into());
        (machine.damaged, machine.lost) = (true, true);
    }

    fn break_streams(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let Some(boot) = self.machines[to].process.as_ref().map(|process| process.proc.boot) else {
                continue;
            };
            let Some(proc) = self.machines[from].process.as_ref().map(|process| process.proc) else {
                continue;
            };
            let peer = self.machines[to].id;
            self.environment.schedule(0, Event::Reset { proc, peer, boot });
        }
    }

    fn transfer(&mut self, to: Option<usize>) {
        let to = to.map(|machine| self.machines[machine].id);
        for machine in &mut self.machines {
            let leads = |process: &Process| process.replica().status().role == Role::Leader;
            if machine.process.as_ref().is_some_and(leads) {
                machine.transfer(to, &mut self.environment);
            }
        }
    }

    /// Replaces a node's disk while it is down.
    fn damage(&mut self, machine: usize, down: Micros, disk: impl FnOnce(&Disk) -> Disk) {
        let number = machine;
        let machine = &mut self.machines[machine];
        machine.damaged = true;
        let death = Death { loss: Loss::Nothing, down, why: "damage" };
        machine.die(death, &mut self.environment);
        machine.disk = disk(&machine.disk);
        self.environment.say(|| format!("machine {number} has another disk"));
    }

    fn restore(&mut self, machine: usize, down: Micros, all: bool) {
        if self.machines[machine].copies.is_empty() {
            return;
        }
        let mut copy = self.machines[machine].copies.remove(0);
        self.damage(machine, down, |disk| {
            if all {
                copy.crash(Loss::Nothing);
                return copy;
            }
            let mut damaged = disk.clone();
            damaged.lose_synced_since(&copy);
            damaged
        });
    }

    fn start_clone(&mut self, machine: usize) {
        let spare = self.environment.options.nodes;
        if self.machines[machine].copies.is_empty() || self.machines[spare].process.is_some() {
            return;
        }
        let mut copy = self.machines[machine].copies.remove(0);
        copy.crash(Loss::Nothing);
        let id = self.machines[machine].id;
        self.machines[machine].damaged = true;
        let clone = &mut self.machines[spare];
        (clone.id, clone.disk, clone.damaged, clone.halted) = (id, copy, true, None);
        clone.start(&mut self.environment);
    }
}

// The end.
impl World {
    /// Ends all faults: everybody starts, everything arrives. The cluster must serve again within a bound.
    pub fn heal(&mut self) {
        self.environment.say(|| "faults end".into());
        self.environment.calm = true;
        self.environment.mend();
        for machine in &mut self.machines {
            (machine.paused_until, machine.slow_until, machine.fail_sync, machine.die_after) =
                (0, 0, None, None);
        }
        let spare = self.environment.options.nodes;
        self.machines[spare].process = None; // a copy is found and switched off
        for which in 0..self.administrators.len() {
            self.look_after_members(which); // whoever has joined starts
        }
        let known = |machine: &&Machine| machine.number != spare && machine.id.0 > 0;
        let numbers: Vec<usize> = self.machines.iter().filter(known).map(|m| m.number).collect();
        for machine in numbers {
            self.environment.schedule(0, Event::Start(machine));
        }
        if self.environment.options.profile == Profile::Storage {
            // Each start raises the incarnation by one; a few starts get past every life that was ever met.
            for _ in 0..4 {
                self.run_for(400 * MS);
                self.look_after_damaged();
            }
        }
        if !self.must_heal() {
            return self.run_for(3 * SECOND);
        }
        self.agree("faults ended");
        self.probe();
        self.agree("the last request");
    }

    /// Somebody repairs the machine that is kept out and starts it again. It stays out, but peers that had met
    /// different lives with one incarnation (of a copy, or of a disk rolled back by a start) agree again.
    fn look_after_damaged(&mut self) {
        let nodes = self.environment.options.nodes;
        let death = Death { loss: Loss::Nothing, down: MS, why: "it is looked after" };
        for machine in self.machines[..nodes].iter_mut().filter(|machine| machine.damaged && !machine.lost) {
            machine.halted = None;
            machine.die(death, &mut self.environment);
            self.environment.schedule(2 * MS, Event::Start(machine.number));
        }
    }

    /// Whether the nodes with honest disks can be expected to serve. With one of three or four voters gone for good, a
    /// node that starts finds too few to vouch for it; that is the price of the fence.
    fn must_heal(&self) -> bool {
        let options = &self.environment.options;
        let few = self.voters().len() <= 4;
        let present = self.present();
        let damaged = |machine: &Machine| machine.damaged && present.contains(&machine.id);
        options.profile != Profile::Storage || !few || !self.machines.iter().any(damaged)
    }

    /// The machine that has applied the most.
    pub fn furthest(&self) -> Option<&Machine> {
        let applied = |machine: &&Machine| machine.process.as_ref().map(|p| p.replica().status().applied);
        self.machines.iter().filter(|machine| machine.process.is_some()).max_by_key(applied)
    }

    /// The newest configuration that any node knows to be committed. The node need not have applied it: after a power
    /// cut its fence asks by it nevertheless.
    fn roll(&self) -> Option<KnownConfiguration> {
        let rolls = self.machines.iter().filter_map(|m| Some(m.process.as_ref()?.replica().our_hello().roll));
        rolls.max_by_key(|roll| roll.at)
    }

    /// The present members.
    pub fn present(&self) -> Vec<NodeId> {
        self.roll().map_or_else(|| self.environment.initial(), |roll| [roll.voters, roll.learners].concat())
    }

    fn voters(&self) -> Vec<NodeId> {
        self.roll().map_or_else(|| self.environment.initial(), |roll| roll.voters)
    }

    fn honest(&self) -> impl Iterator<Item = &Machine> {
        let (spare, present) = (self.environment.options.nodes, self.present());
        let there = move |m: &&Machine| m.number != spare && !m.damaged && present.contains(&m.id);
        self.machines.iter().filter(there)
    }

    fn agree(&mut self, since: &str) {
        let deadline = self.environment.now + HEALED_WITHIN;
        while !self.agreed() {
            assert!(self.environment.now < deadline, "no agreement since {since}: {}", self.positions());
            self.run_for(50 * MS);
        }
    }

    /// One leader; everybody with an honest disk is a member and equally far. Where a disk was damaged, a majority is
    /// enough: lives of the damaged node that only some have met can keep one more out until it is replaced.
    fn agreed(&self) -> bool {
        let honest = self.honest().count();
        let storage = self.environment.options.profile == Profile::Storage;
        let enough = if storage { self.voters().len() / 2 + 1 } else { honest };
        self.in_agreement().len() >= enough.min(honest)
    }

    /// The largest number of honest machines that are members, follow one leader and hold the same.
    fn in_agreement(&self) -> Vec<usize> {
        let settled: Vec<_> = self
            .honest()
            .filter_map(|machine| {
                let status = machine.process.as_ref()?.replica().status();
                let settled =
                    status.not_member.is_none() && status.leader.is_some() && status.applied == status.last;
                let position = (status.leader, status.term, status.applied, status.state_hash);
                settled.then_some((machine.number, position))
            })
            .collect();
        let like =
            |position: &_| settled.iter().filter(|(_, other)| other == position).map(|(n, _)| *n).collect();
        let groups = settled.iter().map(|(_, position)| like(position));
        groups.max_by_key(Vec::len).unwrap_or_default()
    }

    fn positions(&self) -> String {
        let position = |machine: &Machine| match &machine.process {
            None => format!("machine {}: down ({:?})", machine.number, machine.halted),
            Some(process) => {
                let s = process.replica().status();
                format!(
                    "machine {}: {:?} of {:?} in {}, last {} committed {} applied {} {:?}",
                    machine.number, s.role, s.leader, s.term, s.last, s.committed, s.applied, s.not_member
                )
            }
        };
        self.machines.iter().map(position).collect::<Vec<_>>().join("; ")
    }

    /// Checks that every node answers, unless it turns out to be removed: earlier requests to it take their course.
    fn probe(&mut self) {
        let asked = self.in_agreement();
        let tasks: Vec<(usize, usize)> = asked
            .into_iter()
            .map(|machine| {
                let name = format!("probe-{machine}");
                let spki = Fingerprint([machine as u8; 32]);
                let want = Want::Change(Change::AddClient { name, spki, rights: Vec::new() });
                let task = Task { want, patience: 3 * SECOND, tries: 0, answer: None };
                (machine, self.environment.want(task, machine))
            })
            .collect();
        let deadline = self.environment.now + 4 * SECOND;
        while tasks.iter().any(|(machine, task)| self.waits(*machine, *task)) {
            assert!(
                self.environment.now < deadline,
                "a healed cluster does not answer: {}",
                self.positions()
            );
            self.run_for(20 * MS);
        }
    }

    fn waits(&self, machine: usize, task: usize) -> bool {
        let removed = self.environment.judge.was_removed(self.machines[machine].id);
        self.environment.tasks[task].answer.is_none() && !removed
    }

    /// Checks that nothing that was released was forgotten.
    pub fn judge_the_end(&mut self) {
        let heal = self.must_heal();
        let honest: Vec<usize> = self.honest().map(|machine| machine.number).collect();
        for machine in honest.into_iter().map(|number| &self.machines[number]) {
            let Some(process) = &machine.process else { continue };
            let status = process.replica().status();
            let knows_all = status.applied.0 == self.environment.judge.highest();
            if knows_all || (heal && self.environment.options.profile != Profile::Storage) {
                let state = process.replica().state();
                let state = state.read().expect("apply does not panic");
                self.environment.judge.remembers(&state, machine.number);
            }
        }
        self.environment.figures.virtual_us = self.environment.now;
    }
}
