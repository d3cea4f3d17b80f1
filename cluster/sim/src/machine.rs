//! A machine: its disk, and what happens to the process on it.

use crate::disk::{Disk, Loss};
use crate::environment::{Death, Environment, Event};
use crate::mutation::Mutation;
use crate::process::Process;
use crate::setup::{MS, Micros};
use rand::RngExt;
use signonce_core::replica::hello::{ClusterId, Life};
use signonce_core::replica::{Replica, ReplicaConfig};
use signonce_driver::identity::{life, next_life};
use signonce_driver::{DriverConfig, ELECTION_TICKS, Event as Input, HEARTBEAT_TICKS};
use signonce_protocol::NodeId;
use std::time::Duration;

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
    /// For a node that joined later: the nodes that it was told to ask first.
    pub hints: Vec<NodeId>,
    /// A disk kept for later.
    pub copies: Vec<Disk>,
    /// Whether its store was damaged as no store may be, so that it may halt.
    pub damaged: bool,
    /// Whether it is permanently lost, and nobody will repair it.
    pub lost: bool,
    /// Why it found its disk faulty and no longer starts.
    pub halted: Option<String>,
    /// Why its node knows that it was removed. The machine stays until a member says so too.
    pub leaving: Option<String>,
    /// The time until which it is frozen.
    pub paused_until: Micros,
    /// The time until which its disk is slow.
    pub slow_until: Micros,
    /// Set if the next fsync fails.
    pub fail_sync: Option<Death>,
    /// Set if the process dies after this many more outputs.
    pub die_after: Option<(u32, Death)>,
    /// Whether a start is scheduled.
    pub starting: bool,
    starts: u64,
}

/// Whether a process survives.
pub type Alive = Result<(), Death>;

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
    pub fn start(&mut self, environment: &mut Environment) {
        self.starting = false;
        if self.process.is_some() || self.halted.is_some() {
            return;
        }
        match self.open(environment) {
            Ok(process) => {
                let proc = process.proc;
                environment.say(|| {
                    format!("machine {} starts node {} as process {}", self.number, self.id, proc.boot)
                });
                self.process = Some(process);
                environment.schedule(0, Event::Wake(proc));
                let phase = environment.rng.random_range(0..5 * MS);
                environment.schedule(phase, Event::Dial(proc));
            }
            Err(why) => {
                assert!(self.damaged, "machine {} does not start on an honest disk: {why}", self.number);
                environment.say(|| format!("machine {} does not start: {why}", self.number));
                environment.figures.halted += 1;
                self.halted = Some(why);
            }
        }
    }

    fn open(&mut self, environment: &mut Environment) -> Result<Process, String> {
        let unguarded = environment.options.mutation.is_some_and(Mutation::without_fence);
        let disk = &mut self.disk;
        let next = next_life(disk.incarnation_inside, disk.incarnation_beside);
        let next = next.map_err(|copied| copied.to_string())?;
        let refuses_holes = environment.mutated(Mutation::HoleRefused);
        disk.open(refuses_holes).or_else(|missing| if unguarded { Ok(()) } else { Err(missing) })?;
        self.starts += 1;
        disk.begin_life(next.incarnation);
        let boot = environment.new_boot();
        // The number rises even for a store whose node asks no peers what it has forgotten.
        let life =
            if unguarded { Life { incarnation: self.starts, boot } } else { life(next.incarnation, boot) };
        let config = ReplicaConfig {
            node: self.id,
            cluster: ClusterId([7; 16]),
            life,
            initial: if self.hints.is_empty() { environment.initial() } else { Vec::new() },
            joined: !self.hints.is_empty(),
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed: environment.rng.random(),
            log_bytes_max: environment.setup.log_bytes_max,
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let replica = Replica::open(config, &disk.image(), disk.high_water.as_ref(), logger)
            .map_err(|error| error.to_string())?;
        let tick = environment.setup.tick(self.number);
        let driver = DriverConfig {
            boot,
            tick: Duration::from_micros(tick),
            slot_tolerance: environment.setup.slot_tolerance,
        };
        let first_tick = environment.rng.random_range(0..tick);
        Ok(Process::new(self, replica, driver, first_tick, environment))
    }

    /// Ends the process; the machine starts it again after a while.
    pub fn die(&mut self, death: Death, environment: &mut Environment) {
        let Some(mut process) = self.process.take() else { return };
        let Death { loss, down, why } = death;
        environment.figures.crashes += 1;
        environment
            .say(|| format!("machine {} dies ({why}), {loss:?}, down for {} ms", self.number, down / MS));
        process.unanswered().for_each(|task| environment.ask_another(task));
        let torn = environment.mutated(Mutation::TornBatch);
        self.disk.crash(match loss {
            Loss::Power(left) if torn => Loss::Torn(left),
            loss => loss,
        });
        (self.die_after, self.fail_sync, self.paused_until) = (None, None, 0);
        if !self.starting {
            self.starting = true;
            environment.schedule(down, Event::Start(self.number));
        }
    }

    /// Whether its process is a member.
    pub fn is_member(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.replica().status().not_member.is_none())
    }

    /// Handles an event of the process, and then lets it work.
    pub fn handle(&mut self, event: Event, environment: &mut Environment) {
        let Some(mut process) = self.process.take() else { return };
        let alive = process.happens(event, self, environment);
        self.survives(process, alive, environment);
    }

    /// Has the process, if it leads, hand over leadership.
    pub fn transfer(&mut self, to: Option<NodeId>, environment: &mut Environment) {
        let Some(mut process) = self.process.take() else { return };
        let alive = process.tell(Input::Transfer { call: 0, to }, self, environment);
        self.survives(process, alive, environment);
    }

    fn survives(&mut self, process: Process, alive: Alive, environment: &mut Environment) {
        self.process = Some(process);
        if let Err(death) = alive {
            self.die(death, environment);
        }
    }

    /// The time by this machine's clock: slots begin with the faults.
    pub fn unix_ms(&self, environment: &Environment) -> u64 {
        let honest = environment.unix_ms().cast_signed();
        (honest + environment.setup.skew_ms(self.number)).max(0).cast_unsigned()
    }

    /// Whether the process survives what it is about to do.
    pub fn effect(&mut self) -> Alive {
        if let Some((left, death)) = &mut self.die_after {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return Err(*death),
            }
        }
        Ok(())
    }

    /// Makes batches durable, or dies.
    pub fn sync(&mut self, upto: u64) -> Alive {
        if let Some(death) = self.fail_sync.take() {
            return Err(death);
        }
        self.disk.sync(upto);
        Ok(())
    }
}
