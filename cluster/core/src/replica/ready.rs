//! The Ready loop: the order in which raft's work reaches network and disk. The order is what makes it safe.
//!
//! 1. A leader's messages leave before its own fsync (raft thesis §10.2.1); everybody else's wait for it.
//! 2. A Ready that changes term or vote, or carries a snapshot, is made durable at once, before any message of it or
//!    of a later one: raft-rs 0.7 would otherwise let a node that elects itself speak in a term it may forget. So is
//!    one that learns that a step of the configuration is committed. Whoever is told so may be the one that is removed,
//!    and is switched off; were all others to forget it in a power cut, their fences would ask for that one for ever.
//! 3. All other fsyncs are asked for and awaited elsewhere; whatever is written meanwhile rides the next one.
//! 4. Committed entries are applied after that: an acknowledgement that only waits for its fsync does not wait for
//!    the work on entries before it.
//! 5. What was applied is answered first and written later, without an fsync: the log already holds it.

use super::disk::{DiskBatch, HardStateRow, HighWater, LogPoint, meta_key};
use super::members::is_step;
use super::wire::{Beside, PeerMessage, Promise};
use super::{Fatal, Lifecycle, Output, Replica, Unsynced};
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use raft::eraftpb::{HardState, Message, MessageType};
use raft::{Ready, Storage as _};

impl Replica {
    /// Does work that the inputs so far have caused. Call it until there are no outputs.
    ///
    /// # Errors
    /// See [`Fatal`]: the process must stop, without executing outputs of this call.
    pub fn pump(&mut self) -> Result<Vec<Output>, Fatal> {
        let mut acknowledges = false;
        loop {
            // What this call asks an fsync for is acknowledged by the next one: what is committed waits for that.
            if !acknowledges {
                self.apply_committed()?;
            }
            if !matches!(self.lifecycle, Lifecycle::Member) || !self.raft.has_ready() {
                break;
            }
            self.apply_committed()?;
            acknowledges |= self.one_ready()?;
            self.offer_snapshot_if_wanted();
        }
        // Of a snapshot that raft did not want.
        self.incoming = Beside::default();
        if matches!(self.lifecycle, Lifecycle::Member) {
            self.propose_checkpoint();
            self.follow_registry();
        }
        Ok(std::mem::take(&mut self.pending))
    }

    /// Returns whether an fsync was asked for.
    fn one_ready(&mut self) -> Result<bool, Fatal> {
        let mut ready = self.raft.ready();
        let number = ready.number();
        let inline = !ready.snapshot().is_empty()
            || self.changes_term_or_vote(&ready)
            || self.learns_of_committed_step(&ready);
        if !inline {
            let messages = ready.take_messages();
            self.send(messages);
        }

        let jumped = self.write(&ready, inline)?;

        if inline {
            let messages = ready.take_messages();
            self.send(messages);
        }
        let late = ready.take_persisted_messages();
        assert!(self.committed.is_empty(), "entries are applied in order");
        self.committed = ready.take_committed_entries();
        let must_sync = ready.must_sync();
        self.raft.advance_append_async(ready);

        // An inline write was durable, and with it all before it; raft must know before it hears that what a
        // snapshot brought is applied. Without anything to sync, there is nothing to wait for.
        let waits = !inline && (must_sync || !self.unsynced.is_empty());
        if waits {
            self.unsynced.push_back(Unsynced { number, needs_sync: must_sync, late });
            if must_sync {
                let mark = self.high_water();
                self.pending.push(Output::Sync { number, mark });
            }
        } else {
            self.persisted(number);
            self.send(late);
        }
        if jumped {
            self.pending.push(Output::Jumped);
        }
        Ok(waits && must_sync)
    }

    fn changes_term_or_vote(&self, ready: &Ready) -> bool {
        let known = &self.raft.store().hard_state;
        ready.hs().is_some_and(|hs| hs.term != known.term || hs.vote != known.vote)
    }

    fn learns_of_committed_step(&self, ready: &Ready) -> bool {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::StepsForgotten) {
            return false;
        }
        let store = self.raft.store();
        let Some(upto) = ready.hs().map(|hs| hs.commit) else { return false };
        let new = ready.entries().iter().filter(|entry| entry.index <= upto);
        store.between(store.hard_state.commit, upto).chain(new).any(is_step)
    }

    /// Writes snapshot, entries and hard state of `ready` in one batch. Returns whether a snapshot was installed.
    fn write(&mut self, ready: &Ready, inline: bool) -> Result<bool, Fatal> {
        let mut batch = DiskBatch::default();
        let jumped = !ready.snapshot().is_empty();
        let mut records = None;
        if jumped {
            self.store_state();
            records = self.install_snapshot(ready.snapshot(), &mut batch)?;
        }
        let store = self.raft.mut_store();
        store.append(ready.entries(), &mut batch);
        if let Some(hs) = ready.hs() {
            store.hard_state = hs.clone();
        }
        if jumped {
            // Raft reports the commit index that a snapshot implies; never let the row fall behind `applied`.
            let applied = self.applied;
            let hs = &mut self.raft.mut_store().hard_state;
            hs.commit = hs.commit.max(applied);
        }
        // A commit index alone can wait for what it commits: who forgets it is told again.
        if inline || (ready.hs().is_some() && !ready.entries().is_empty()) {
            put_hard_state(&self.raft.store().hard_state, &mut batch);
        }
        if inline || !batch.is_empty() {
            self.memory.save(&mut batch);
            let mark = self.high_water();
            self.pending.push(match records {
                Some(records) => Output::Install { records, batch, mark },
                None => Output::Write { batch, sync: inline.then_some(mark) },
            });
        }
        Ok(jumped)
    }

    /// Queues `messages` for their peers, each with what this node has promised by now.
    pub(super) fn send(&mut self, messages: Vec<Message>) {
        // A node in quarantine is silent, even where an fsync has only now made true what it was about to say.
        if messages.is_empty() || !matches!(self.lifecycle, Lifecycle::Member) {
            return;
        }
        for m in &messages {
            if m.get_msg_type() == MessageType::MsgAppendResponse && !m.reject {
                self.acknowledged = self.acknowledged.max((m.term, m.index));
            }
        }
        let promise = self.promise();
        let lives = self.memory.lives();
        let with =
            |message| PeerMessage { promise, lives: lives.clone(), message, records: Beside::default() };
        let messages = messages.into_iter().map(with).collect();
        self.pending.push(Output::Send(messages));
    }

    /// What this node has promised by what is durable now. Term and vote come from the hard state as written, never
    /// from raft's memory, which can already be ahead of the disk.
    fn promise(&self) -> Promise {
        let written = &self.raft.store().hard_state;
        let raft = &self.raft.raft;
        let acknowledged = if self.acknowledged.0 == written.term { self.acknowledged.1 } else { 0 };
        let index = if raft.state == raft::StateRole::Leader && raft.term == written.term {
            acknowledged.max(raft.raft_log.persisted)
        } else {
            acknowledged
        };
        Promise { term: written.term, vote: written.vote, index }
    }

    /// What the disk holds once all that was written so far is durable.
    pub(super) fn high_water(&self) -> HighWater {
        let store = self.raft.store();
        let index = self.stored;
        #[cfg(signonce_sim)]
        let index = if mutation::is(Mutation::MarkAhead) { self.applied } else { index };
        let applied = store.point(index).unwrap_or_else(|| LogPoint {
            index,
            term: store.term(index).unwrap_or_default(),
            ..LogPoint::default()
        });
        HighWater { sequence: 0, promise: self.promise(), applied }
    }
}

pub(super) fn put_hard_state(hs: &HardState, batch: &mut DiskBatch) {
    batch.put_meta(meta_key::HARD_STATE, &HardStateRow { term: hs.term, vote: hs.vote, commit: hs.commit });
}
