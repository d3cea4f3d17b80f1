//! Which lives of its peers a replica goes by, and how it comes to be a member: hellos, their answers, and what its
//! witnesses bind it to.
//!
//! The rules are those of [`super::fence`]; why they are enough is in `docs/evidence/fence.md`.

use super::fence::{FenceStep, Quarantine, Witnesses};
use super::hello::{Hello, HelloRefusal, HelloReply, Life, Witnessed};
use super::memory::Meeting;
use super::wire::{DiskPosition, PeerMessage};
use super::{DiskBatch, Lifecycle, Output, Replica};
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};
use signonce_protocol::NodeId;

// Lives.
impl Replica {
    /// Whether the sender means this process, and not one that runs or ran under the same id.
    pub(super) fn is_for_this_life(&self, message: &PeerMessage) -> bool {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::LifeUnread) {
            return true;
        }
        message.lives.contains(&(self.config.node, self.config.life))
    }

    /// Whether the sender asks for a vote or an acknowledgement and may still count on a life that has ended.
    pub(super) fn relies_on_an_old_life(&self, from: NodeId, message: &PeerMessage) -> bool {
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
    pub(super) fn hear_of_lives(&mut self, message: &PeerMessage) {
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
    pub(super) fn tell_of_lives(&mut self, from: NodeId) {
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
}

// Hellos.
impl Replica {
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

    pub(super) fn become_member(&mut self) {
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
}

// Witnesses.
impl Replica {
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
    pub(super) fn behind_witnesses(&mut self) -> Option<(u64, u64)> {
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
    pub(super) fn may_act_on(&mut self, message: &Message) -> bool {
        let Some(must_reach) = self.behind_witnesses() else { return true };
        match message.get_msg_type() {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                (message.log_term, message.index) >= must_reach
            }
            MessageType::MsgTimeoutNow => false,
            _ => true,
        }
    }
}
