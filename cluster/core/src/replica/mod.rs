//! The replica: raft, the state it drives, the peer fence, and nothing that touches the world.
//!
//! A driver owns one [`Replica`] on one thread. It feeds inputs (ticks, peer messages, hellos, proposals, finished
//! fsyncs) through the methods below and, after a bounded number of them, calls [`Replica::pump`] and executes the
//! returned [`Output`]s **in order**, stopping the process at the first that fails. Same inputs and seed, same
//! outputs: the simulator and production run this very code.
//!
//! A node moves `Fenced -> Member`, or `Fenced -> Quarantined` for good; only a `Member` votes, proposes or answers.

mod apply;
pub mod disk;
pub mod fence;
#[cfg(test)]
mod golden;
pub mod hello;
mod lives;
pub mod log;
mod members;
pub mod memory;
mod open;
mod ready;
mod status;
pub mod wire;

use crate::codec::CodecError;
use crate::log::Command;
use crate::model::{Configuration, RequestId};
use crate::state::{ApplyError, Outcome, State};
use disk::{DiskBatch, HighWater, RecordSource};
use fence::{Fence, Quarantine, Witnesses};
use hello::{ClusterId, Life};
use log::MemLog;
use memory::PeerMemory;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, StateRole};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signonce_protocol::{LogIndex, NodeId, Term};
use std::collections::VecDeque;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use wire::{Beside, DiskPosition, PeerMessage, Promise};

pub use crate::model::MemberHazard;
pub use members::KnownConfiguration;
pub use open::OpenError;
pub use status::{Follower, NotMember, ReplicaStatus, Role};

/// How a replica runs. Identical on every member but for `node`, `life` and `seed`.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// This start of it.
    pub life: Life,
    /// The members the cluster forms from; none on a node that came later.
    pub initial: Vec<NodeId>,
    /// Whether this node came when the cluster had formed: it never forms one.
    pub joined: bool,
    /// Ticks without a leader before an election, at least; the actual wait is up to twice as long.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Seeds the election jitter.
    pub seed: u64,
    /// Log bytes kept for followers that lag before they must take a snapshot instead.
    pub log_bytes_max: usize,
}

/// What the driver has to do, in order.
#[derive(Debug)]
pub enum Output {
    /// Send to peers; a message may be lost, never changed.
    Send(Vec<PeerMessage>),
    /// Write to the store, visible at once. With `sync`, the fsync finishes before anything that follows.
    Write {
        /// The rows.
        batch: DiskBatch,
        /// Set when the write must be durable before the next output; then goes into the high-water file.
        sync: Option<HighWater>,
    },
    /// Make durable everything written so far, then write `mark` and call [`Replica::persisted`] with `number`.
    /// Further inputs and outputs may be processed meanwhile; one fsync may serve several of these.
    Sync {
        /// To be handed back.
        number: u64,
        /// For the high-water file, once the fsync is done.
        mark: HighWater,
    },
    /// Replace the state's tables by these records and write `batch`: both or neither, durable before anything that
    /// follows, then `mark` into the high-water file.
    Install {
        /// What the message that is installed had beside it.
        records: Arc<dyn RecordSource>,
        /// The rows of the other tables.
        batch: DiskBatch,
        /// For the high-water file.
        mark: HighWater,
    },
    /// Keep what the state's tables hold now: the records of the snapshot at this index, in the place of those kept
    /// before. Whoever is sent that snapshot is sent them after it.
    Capture {
        /// The index.
        index: u64,
    },
    /// Answers of committed commands, to be given to whoever waits for them on this node.
    Outcomes(Vec<Decided>),
    /// The state jumped over commands by a snapshot: their answers will not come. Ask again.
    Jumped,
}

/// One committed command's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// Who asked.
    pub request: RequestId,
    /// Where in the log it was decided.
    pub at: LogIndex,
    /// The answer.
    pub outcome: Outcome,
}

/// Something that must stop the process: the node can no longer know what it has promised or decided.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A committed command cannot be read.
    #[error(
        "log entry {at} cannot be read by this version: {source}. Run a version at least as new as the others"
    )]
    UnreadableCommand {
        /// The entry.
        at: LogIndex,
        /// Why.
        source: CodecError,
    },
    /// A committed entry is of a kind this version does not know.
    #[error("log entry {at} is of an unknown kind. Run a version at least as new as the others")]
    UnknownEntry {
        /// The entry.
        at: LogIndex,
    },
    /// The state machine stopped.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A snapshot from the leader cannot be read.
    #[error("the snapshot at {at} cannot be installed: {why}")]
    Snapshot {
        /// Its index.
        at: LogIndex,
        /// Why.
        why: String,
    },
    /// Raft itself failed.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
}

/// Why a command could not be proposed here. Nothing was burnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or none.
    #[error("this node does not lead")]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// The leader is handing over, or holds too many undecided commands.
    #[error("the leader takes no commands at the moment")]
    Busy,
    /// The node has not passed its fence, or never will.
    #[error("this node is not a working member")]
    NotMember,
}

/// Whether the node may take part.
#[derive(Debug)]
pub enum Lifecycle {
    /// Waiting for peers to say what they remember.
    Fenced(Fence),
    /// Takes part.
    Member,
    /// Never takes part again.
    Quarantined(Quarantine),
}

/// One member of the cluster, without I/O. See the module's text for how to drive it.
pub struct Replica {
    config: ReplicaConfig,
    logger: slog::Logger,
    raft: RawNode<MemLog>,
    formed: bool,
    lifecycle: Lifecycle,
    state: Arc<RwLock<State>>,
    memory: PeerMemory,
    /// Committed entries that were handed out by raft and are not applied yet.
    committed: Vec<Entry>,
    /// Invariant: stored <= applied <= committed <= last.
    applied: u64,
    /// The last applied entry whose effect was given out to be written.
    stored: u64,
    /// Answers given by the entries between the two.
    unstored: usize,
    /// Whether something was committed that followers have not been told.
    owes_notice: bool,
    /// The entry that made the configuration as applied; 0 for the first one.
    configured: u64,
    /// Index of the configuration and version of the registry that were last followed.
    settled: Option<(u64, u64)>,
    /// The newest configuration that a peer has told of.
    heard: KnownConfiguration,
    /// The newest change of the membership that this node has proposed.
    member_change_at: u64,
    /// The tick at which this leader, which is to go, last tried to hand over.
    handed_over: u64,
    /// Readies that await an fsync, their own or that of one before them. Numbers rise.
    unsynced: VecDeque<Unsynced>,
    /// The last index acknowledged to a leader, and in which term.
    acknowledged: (u64, u64),
    /// The newest checkpoint this node has proposed as leader.
    checkpoint_proposed: LogIndex,
    /// Counts up.
    ticks: u64,
    /// Since which tick this leader has known that others have met newer lives than it has.
    behind_since: Option<u64>,
    /// What the disk held when this life began, and the term and index of its last log entry.
    began_with: (DiskPosition, (u64, u64)),
    /// This node's witnesses, while its own log is behind theirs.
    witnesses: Option<Witnesses>,
    jitter: Jitter,
    /// What the snapshot that was received last has beside it, until the next pump.
    incoming: Beside,
    /// Outputs produced between pumps.
    pending: Vec<Output>,
}

/// A Ready that was written but is not durable, and the messages that must not leave before it is.
struct Unsynced {
    number: u64,
    /// Whether its own writes must be durable; if not, it only waits for those before it.
    needs_sync: bool,
    late: Vec<Message>,
}

/// Election timeouts from a seed instead of the thread's random numbers.
///
/// raft-rs draws a new timeout whenever it resets; it resets when term, role or leader change. Drawing our own at
/// the same moments and setting it before every tick keeps runs reproducible.
struct Jitter {
    rng: ChaCha8Rng,
    seen: (u64, StateRole, u64),
    ticks: usize,
}

impl Replica {
    /// One tick of the driver's timer.
    pub fn tick(&mut self) {
        self.ticks += 1;
        self.store_rest();
        if matches!(self.lifecycle, Lifecycle::Member) {
            self.set_election_timeout();
            self.raft.tick();
        }
    }

    fn set_election_timeout(&mut self) {
        let now = (self.raft.raft.term, self.raft.raft.state, self.raft.raft.leader_id);
        if now != self.jitter.seen {
            let shortest = self.config.election_ticks;
            self.jitter.ticks = self.jitter.rng.random_range(shortest..2 * shortest);
            self.jitter.seen = now;
        }
        let behind = self.behind_witnesses().is_some();
        let raft = &mut self.raft.raft;
        if behind {
            // It does not stand for election: the timeout is never reached. It is long enough without a leader,
            // though, for the votes of others to be considered.
            let longest = 2 * self.config.election_ticks - 1;
            raft.set_randomized_election_timeout(longest);
            raft.election_elapsed = raft.election_elapsed.min(longest - 2);
        } else {
            raft.set_randomized_election_timeout(self.jitter.ticks);
        }
    }

    /// A raft message from `life` of `from`, which the transport has proved and this node has welcomed.
    pub fn receive(&mut self, from: NodeId, life: Life, message: PeerMessage) {
        let addressed = message.message.from == from.0 && message.message.to == self.config.node.0;
        if !addressed || self.memory.of(from).life != life {
            return; // of another node, or of a process that a later one has replaced
        }
        self.memory.saw(from, &message.promise);
        self.hear_of_lives(&message);
        if !self.is_for_this_life(&message) {
            return;
        }
        if self.relies_on_an_old_life(from, &message) {
            return self.tell_of_lives(from);
        }
        if let Some(forgotten) = self.forgotten(from, &message.message) {
            self.lifecycle = Lifecycle::Quarantined(forgotten);
        }
        if matches!(self.lifecycle, Lifecycle::Member) && self.may_act_on(&message.message) {
            let offered = message.is_snapshot().then(|| message.message.get_snapshot().get_metadata().index);
            // The only errors are messages of unknown or departed peers, which raft ignores by returning them.
            let _ = self.raft.step(message.message);
            // An older snapshot may arrive behind a newer one. Raft ignores it, and so are its records.
            if offered.is_some() && offered == self.snapshot_taken() {
                self.incoming = message.records;
            }
        }
    }

    /// The index of the snapshot that raft has taken from a message and that is not installed yet.
    fn snapshot_taken(&self) -> Option<u64> {
        self.raft.raft.raft_log.unstable.snapshot.as_ref().map(|snapshot| snapshot.get_metadata().index)
    }

    /// A leader tells a follower to commit only what the follower has acknowledged to it. Being told to commit more
    /// than the log holds proves lost memory that no witness knew of; raft itself would panic.
    fn forgotten(&self, from: NodeId, message: &Message) -> Option<Quarantine> {
        let (raft, heartbeat) = (&self.raft.raft, MessageType::MsgHeartbeat);
        let last_index = raft.raft_log.last_index();
        let member = matches!(self.lifecycle, Lifecycle::Member);
        let proof =
            message.get_msg_type() == heartbeat && message.term >= raft.term && message.commit > last_index;
        (member && proof).then(|| Quarantine::LostMemory {
            peer: from,
            promise: Promise { term: message.term, vote: 0, index: message.commit },
            disk: DiskPosition { term: raft.term, vote: raft.vote, last_index },
        })
    }

    /// Proposes `command`. `Ok` says that it was taken, not that it will commit.
    ///
    /// # Errors
    /// See [`ProposeError`]; nothing was burnt.
    pub fn propose(&mut self, command: &Command) -> Result<(), ProposeError> {
        if !matches!(self.lifecycle, Lifecycle::Member) {
            return Err(ProposeError::NotMember);
        }
        if self.raft.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        if self.must_wait(command) {
            return Err(ProposeError::Busy);
        }
        self.raft.propose(Vec::new(), command.to_bytes()).map_err(|_| ProposeError::Busy)?;
        self.note_proposed(command);
        self.owes_notice = false; // the new entry carries it
        Ok(())
    }

    /// Everything up to `number` is durable.
    pub fn persisted(&mut self, number: u64) {
        let mut persisted = number;
        let mut late = Vec::new();
        while let Some(first) = self.unsynced.pop_front_if(|u| u.number <= number || !u.needs_sync) {
            persisted = persisted.max(first.number);
            late.push(first.late);
        }
        self.raft.on_persist_ready(persisted);
        late.into_iter().for_each(|messages| self.send(messages));
    }

    /// A message to `peer` could not be delivered.
    pub fn unreachable(&mut self, peer: NodeId) {
        self.raft.report_unreachable(peer.0);
    }

    /// What was captured for the snapshot is gone: another is made if it is still wanted.
    pub fn withdraw_snapshot(&mut self) {
        self.raft.mut_store().withdraw_snapshot();
    }

    /// The snapshot to `peer` has arrived, or not.
    pub fn snapshot_sent(&mut self, peer: NodeId, arrived: bool) {
        let status = if arrived { raft::SnapshotStatus::Finish } else { raft::SnapshotStatus::Failure };
        self.raft.report_snapshot(peer.0, status);
    }

    /// Hands leadership to `to`, or to the follower that is furthest. Returns whom, if this node leads and there is
    /// anybody.
    pub fn transfer_leadership(&mut self, to: Option<NodeId>) -> Option<NodeId> {
        let mut followers = self.followers();
        followers.retain(|follower| self.may_lead(follower.node));
        let heir = match to {
            Some(wanted) => followers.into_iter().find(|f| f.node == wanted),
            None => followers.into_iter().filter(|f| f.active).max_by_key(|f| f.matched),
        }?;
        self.raft.transfer_leader(heir.node.0);
        Some(heir.node)
    }

    /// Raft's present term.
    pub fn term(&self) -> Term {
        Term(self.raft.raft.term)
    }

    /// The last index of the log, proposals of this moment included.
    pub fn last(&self) -> LogIndex {
        LogIndex(self.raft.raft.raft_log.last_index())
    }

    /// The leader this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raft.raft.leader_id)).filter(|id| id.0 != 0)
    }

    /// The state as applied so far. Readers on other threads hold the same handle and must not keep it locked.
    pub fn state(&self) -> Arc<RwLock<State>> {
        Arc::clone(&self.state)
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        // A poisoned lock means that apply panicked half way: the process is going down.
        self.state.read().expect("apply does not panic")
    }

    /// The members now: from the log, or those it will form from.
    pub fn configuration(&self) -> Configuration {
        if self.formed {
            (&self.raft.store().conf_state).into()
        } else {
            Configuration {
                voters: self.config.initial.iter().map(|id| id.0).collect(),
                ..Configuration::default()
            }
        }
    }

    /// Whether this node has ever been part of the formed cluster.
    pub fn is_formed(&self) -> bool {
        self.formed
    }
}

impl Jitter {
    fn new(seed: u64, shortest: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let ticks = rng.random_range(shortest..2 * shortest);
        Self { rng, seen: (0, StateRole::Follower, 0), ticks }
    }
}
