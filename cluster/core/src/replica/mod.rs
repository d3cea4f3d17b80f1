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
pub mod log;
mod members;
mod open;
mod ready;
pub mod wire;

use crate::codec::CodecError;
use crate::log::Command;
use crate::model::{Configuration, RequestId};
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use crate::records::StateHash;
use crate::state::{ApplyError, Outcome, State};
use disk::{DiskBatch, HighWater, RecordSource};
use fence::{
    ClusterId, Fence, FenceStep, Hello, HelloRefusal, HelloReply, Life, Meeting, PeerMemory, Quarantine,
    Witnessed, Witnesses,
};
use log::MemLog;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, StateRole};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signonce_protocol::{LogIndex, NodeId, Term};
use std::collections::VecDeque;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use wire::{Beside, DiskPosition, PeerMessage, Promise};

pub use crate::model::MemberHazard;
pub use members::Roll;
pub use open::OpenError;

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

/// A node's part in raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows the leader, if any.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// A view of the replica for status pages and routing.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// This node.
    pub node: NodeId,
    /// Its part.
    pub role: Role,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: Term,
    /// Last log index.
    pub last: LogIndex,
    /// Last committed index it knows.
    pub committed: LogIndex,
    /// Last applied index.
    pub applied: LogIndex,
    /// Hash of the state at `applied`.
    pub state_hash: StateHash,
    /// `None` for a member; otherwise why it is not one.
    pub not_member: Option<NotMember>,
    /// Voters of the configuration.
    pub voters: Vec<NodeId>,
    /// Learners of the configuration.
    pub learners: Vec<NodeId>,
    /// On the leader: how far each follower is.
    pub followers: Vec<Follower>,
    /// Bytes of the log held in memory.
    pub log_bytes: u64,
}

/// Why a node does not take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotMember {
    /// The cluster has not formed; it waits for these members.
    Forming(Vec<NodeId>),
    /// The fence waits for this many of these members.
    Fenced {
        /// Answers still needed.
        missing: usize,
        /// Members that have not answered.
        from: Vec<NodeId>,
    },
    /// For good.
    Quarantined(Quarantine),
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Who.
    pub node: NodeId,
    /// The last index known to be on its disk.
    pub matched: LogIndex,
    /// Whether it has answered since the last check.
    pub active: bool,
    /// Its newest life that was met.
    pub life: Life,
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
    heard: Roll,
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

    /// Whether the sender means this process, and not one that runs or ran under the same id.
    fn is_for_this_life(&self, message: &PeerMessage) -> bool {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::LifeUnread) {
            return true;
        }
        message.lives.contains(&(self.config.node, self.config.life))
    }

    /// Whether the sender asks for a vote or an acknowledgement and may still count on a life that has ended.
    fn relies_on_an_old_life(&self, from: NodeId, message: &PeerMessage) -> bool {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::OldLivesCount) {
            return false;
        }
        let asks = matches!(
            message.message.get_msg_type(),
            MessageType::MsgAppend
                | MessageType::MsgHeartbeat
                | MessageType::MsgSnapshot
                | MessageType::MsgRequestVote
                | MessageType::MsgRequestPreVote
                | MessageType::MsgTimeoutNow
        );
        asks && self.memory.is_ahead_of(from, &message.lives)
    }

    /// Takes over newer lives that the sender has met. A leader, which may count on the old ones, waits for those who
    /// live them to say so themselves: as long as it would take to elect another.
    fn hear_of_lives(&mut self, message: &PeerMessage) {
        let news = self.memory.news(self.config.node, &message.lives);
        if news.is_empty() {
            return;
        }
        if self.raft.raft.state == StateRole::Leader {
            let since = *self.behind_since.get_or_insert(self.ticks);
            if self.ticks - since < self.config.election_ticks as u64 {
                return;
            }
        }
        self.behind_since = None;
        self.start_over();
        self.memory.hear_of(&news);
    }

    /// Tells a node whose request was not acted upon of the lives it has not met: every message does.
    fn tell_of_lives(&mut self, from: NodeId) {
        let mut refusal =
            Message { to: from.0, from: self.config.node.0, reject: true, ..Message::default() };
        refusal.set_msg_type(MessageType::MsgRequestPreVoteResponse);
        refusal.term = self.raft.store().hard_state.term;
        self.send(vec![refusal]);
    }

    /// Counts no longer on any vote or acknowledgement it was given.
    fn start_over(&mut self) {
        let raft = &mut self.raft.raft;
        if raft.state != StateRole::Follower {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    /// Admits a life; whether it is a new one.
    fn meet(&mut self, peer: NodeId, life: Life, disk: &DiskPosition) -> Result<bool, HelloRefusal> {
        let meeting = self.memory.meet(peer, life, disk)?;
        match meeting {
            Meeting::Known => {}
            Meeting::New => self.behind_since = None,
            Meeting::Forgetful => self.start_over(),
        }
        Ok(meeting != Meeting::Known)
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

    /// What this node says when it connects to a peer.
    pub fn our_hello(&self) -> Hello {
        Hello {
            cluster: self.config.cluster,
            node: self.config.node,
            life: self.config.life,
            initial: self.config.initial.clone(),
            joined: self.config.joined,
            formed: self.formed,
            disk: self.began_with.0,
            log: self.began_with.1,
            roll: self.roll(),
        }
    }

    /// Answers a peer's hello with what this node remembers of it. The answer must not leave before the outputs of
    /// the next [`Self::pump`] are executed: it promises that this node will not forget having met the peer.
    pub fn hello(&mut self, hello: &Hello) -> HelloReply {
        match self.admit(hello) {
            Err(refusal) => HelloReply::Refused(refusal),
            Ok(()) if !self.may_witness() => HelloReply::NoWitness,
            Ok(()) => {
                // Not only what is durable: what it may yet acknowledge counts too.
                let raft = &self.raft.raft;
                let log = (raft.raft_log.last_term(), raft.raft_log.last_index());
                HelloReply::Welcome {
                    remembered: self.memory.of(hello.node).promise,
                    formed: self.formed,
                    witnessed: Witnessed { term: raft.term, log },
                    life: self.config.life,
                    disk: self.began_with.0,
                    roll: self.roll(),
                }
            }
        }
    }

    /// Whether what this node remembers is all that it ever knew. A node that was removed has forgotten nothing, and
    /// may be the only one that knows so: a leader that commits its own removal tells nobody.
    fn may_witness(&self) -> bool {
        match &self.lifecycle {
            Lifecycle::Fenced(_) | Lifecycle::Member => true,
            Lifecycle::Quarantined(why) => *why == Quarantine::Removed,
        }
    }

    fn admit(&mut self, hello: &Hello) -> Result<(), HelloRefusal> {
        if hello.cluster != self.config.cluster {
            return Err(HelloRefusal::OtherCluster { theirs: hello.cluster, ours: self.config.cluster });
        }
        let later = hello.joined || self.config.joined;
        if !(later || self.formed && hello.formed) && hello.initial != self.config.initial {
            return Err(HelloRefusal::OtherMembers);
        }
        // It may have come while this node was away. Its word is enough to ask it, and to hear what others say.
        if hello.roll.has(self.config.node) && hello.roll.has(hello.node) {
            self.hear_of_roll(&hello.roll);
            self.learn_committed(hello.log, &hello.roll);
        }
        if self.is_gone(hello.node) {
            return Err(HelloRefusal::Removed(hello.node));
        }
        if hello.node == self.config.node || !self.knows(hello.node) {
            return Err(HelloRefusal::NotAMember(hello.node));
        }
        if self.meet(hello.node, hello.life, &hello.disk)? && self.formed {
            let mut batch = DiskBatch::default();
            self.memory.save(&mut batch);
            let mark = self.high_water();
            self.pending.push(Output::Write { batch, sync: Some(mark) });
            if let Some(witnesses) = &mut self.witnesses {
                // What its last life held and had not made durable may be gone.
                witnesses.hear(hello.node, Witnessed { term: hello.disk.term, log: hello.log });
            }
        }
        Ok(())
    }

    /// The answer of `from` to our hello.
    pub fn hello_reply(&mut self, from: NodeId, reply: &HelloReply) {
        #[cfg(signonce_sim)]
        let without_memory = mutation::is(Mutation::MemoryUnasked).then(|| reply.without_memory());
        #[cfg(signonce_sim)]
        let reply = without_memory.as_ref().unwrap_or(reply);
        if let HelloReply::Welcome { life, disk, roll, witnessed, .. } = reply {
            if self.meet(from, *life, disk).is_err() {
                return; // the word of a process that a later one has replaced
            }
            self.hear_of_roll(roll);
            self.learn_committed(witnessed.log, roll);
        }
        let step = match &mut self.lifecycle {
            Lifecycle::Fenced(fence) => fence.answer(from, reply),
            Lifecycle::Member => match reply {
                HelloReply::Refused(HelloRefusal::NotAMember(_)) => FenceStep::Waiting,
                HelloReply::Refused(refusal) => {
                    FenceStep::Failed(Quarantine::Refused { peer: from, refusal: refusal.clone() })
                }
                HelloReply::Welcome { formed: true, witnessed, .. } => {
                    if let Some(witnesses) = &mut self.witnesses {
                        witnesses.hear(from, *witnessed);
                    }
                    FenceStep::Waiting
                }
                HelloReply::Welcome { .. } | HelloReply::NoWitness => FenceStep::Waiting,
            },
            Lifecycle::Quarantined(_) => FenceStep::Waiting,
        };
        match step {
            FenceStep::Waiting => {}
            FenceStep::Passed => self.become_member(),
            FenceStep::Failed(reason) => self.lifecycle = Lifecycle::Quarantined(reason),
        }
    }

    fn become_member(&mut self) {
        let before = std::mem::replace(&mut self.lifecycle, Lifecycle::Member);
        if !self.formed {
            if !self.config.joined {
                return self.form();
            }
            self.begin_empty();
        }
        if let Lifecycle::Fenced(fence) = before {
            self.trust_witnesses(fence.into_witnesses());
        }
    }

    /// Takes on what this node may have forgotten: see [`fence`].
    fn trust_witnesses(&mut self, witnesses: Witnesses) {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::WitnessesUnheard) {
            return;
        }
        let own = self.config.node.0;
        let raft = &mut self.raft.raft;
        if witnesses.term() > raft.term || raft.vote == raft::INVALID_ID {
            // The vote of this term may have been given and forgotten: give it to nobody else. The next Ready makes
            // this durable before anything is said.
            raft.term = raft.term.max(witnesses.term());
            raft.vote = own;
        }
        self.witnesses = Some(witnesses);
    }

    /// Where the witnesses' logs were, as long as this node's own is behind; once it has been there, never again.
    fn behind_witnesses(&mut self) -> Option<(u64, u64)> {
        let durable = self.durable_log();
        let must_reach = self.witnesses.as_ref().map(Witnesses::log).filter(|log| *log > durable);
        if must_reach.is_none() {
            self.witnesses = None;
        }
        must_reach
    }

    /// Term and index of the last entry that is durable here.
    fn durable_log(&self) -> (u64, u64) {
        let log = &self.raft.raft.raft_log;
        (log.term(log.persisted).unwrap_or_default(), log.persisted)
    }

    /// Whether this node may act on a message, as long as its log is behind its witnesses': it helps to elect only
    /// nodes that are as far as they were, and does not stand itself.
    fn may_act_on(&mut self, message: &Message) -> bool {
        let Some(must_reach) = self.behind_witnesses() else { return true };
        match message.get_msg_type() {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                (message.log_term, message.index) >= must_reach
            }
            MessageType::MsgTimeoutNow => false,
            _ => true,
        }
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

    fn followers(&self) -> Vec<Follower> {
        if self.raft.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let mut followers: Vec<Follower> = self
            .raft
            .raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != self.config.node.0)
            .map(|(id, p)| Follower {
                node: NodeId(*id),
                matched: LogIndex(p.matched),
                active: p.recent_active,
                life: self.memory.of(NodeId(*id)).life,
            })
            .collect();
        followers.sort_unstable_by_key(|f| f.node);
        followers
    }

    /// Whether this node has ever been part of the formed cluster.
    pub fn is_formed(&self) -> bool {
        self.formed
    }

    /// A view for status pages and routing.
    pub fn status(&self) -> ReplicaStatus {
        let core = &self.raft.raft;
        let not_member = match &self.lifecycle {
            Lifecycle::Member => None,
            Lifecycle::Fenced(fence) if !self.formed => {
                Some(NotMember::Forming(fence.waiting_for().collect()))
            }
            Lifecycle::Fenced(fence) => {
                Some(NotMember::Fenced { missing: fence.missing(), from: fence.waiting_for().collect() })
            }
            Lifecycle::Quarantined(why) => Some(NotMember::Quarantined(why.clone())),
        };
        ReplicaStatus {
            node: self.config.node,
            role: match core.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            leader: self.leader().filter(|_| not_member.is_none()),
            term: Term(core.term),
            last: LogIndex(core.raft_log.last_index()),
            committed: LogIndex(core.raft_log.committed),
            applied: LogIndex(self.applied),
            state_hash: self.read_state().hash(),
            voters: self.configuration().voters.into_iter().map(NodeId).collect(),
            learners: self.configuration().learners.into_iter().map(NodeId).collect(),
            followers: self.followers(),
            log_bytes: self.raft.store().bytes() as u64,
            not_member,
        }
    }
}

impl Jitter {
    fn new(seed: u64, shortest: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let ticks = rng.random_range(shortest..2 * shortest);
        Self { rng, seen: (0, StateRole::Follower, 0), ticks }
    }
}
