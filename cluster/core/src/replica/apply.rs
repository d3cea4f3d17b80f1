//! Applying committed entries, snapshots in both directions, log compaction and checkpoints.

use super::disk::{AppliedRow, DiskBatch, DiskOp, DiskTable, LogPoint, meta_key};
use super::members::is_step;
use super::ready::put_hard_state;
use super::{Decided, Fatal, Output, Replica};
use crate::command::Command;
use crate::records::{RecordChange, Table};
use crate::state::{CHECKPOINT_EVERY, State};
use parity_scale_codec::{Decode, Encode};
use raft::StateRole;
use raft::eraftpb::{Entry, EntryType, Snapshot};
use signonce_protocol::LogIndex;
use std::sync::Arc;

/// Entries that stay in the log when it is compacted, so that a follower a little behind needs no snapshot.
const KEEP_ENTRIES: u64 = if cfg!(signonce_sim) { 16 } else { 1_000 };

/// What a raft snapshot carries.
#[derive(Encode, Decode)]
struct SnapshotBody {
    chain: [u8; 32],
    state: Vec<u8>,
    /// The entry that made the configuration.
    configured: u64,
}

impl Replica {
    /// Applies `committed` and writes what changed, with the applied position, in one batch.
    pub(super) fn apply(&mut self, committed: Vec<Entry>) -> Result<(), Fatal> {
        let Some(last) = committed.last().map(|e| e.index) else { return Ok(()) };
        let mut decided = Vec::new();
        let configured = self.configured;
        // Up to each step of the configuration: the state judges what follows by the new one.
        for part in committed.split_inclusive(is_step) {
            let state = Arc::clone(&self.state);
            let mut state = state.write().expect("apply does not panic");
            for entry in part {
                assert_eq!(entry.index, self.applied + 1, "entries are applied in order");
                if is_step(entry) {
                    self.apply_step(entry)?;
                } else {
                    apply_entry(&mut state, entry, &mut decided)?;
                }
                self.applied = entry.index;
            }
            drop(state);
            self.settle_configuration();
        }
        let mut batch = DiskBatch::default();
        if self.configured != configured {
            self.put_configured(&mut batch);
        }
        let state = Arc::clone(&self.state);
        let mut state = state.write().expect("apply does not panic");
        put_changes(state.take_changes(), &mut batch);
        for row in state.take_audit() {
            let (key, value) = row.to_stored();
            batch.put(DiskTable::Audit, key, value);
        }
        self.put_applied(&state, &mut batch);
        drop(state);
        self.compact(last, &mut batch);
        self.memory.save(&mut batch);
        self.pending.push(Output::Write { batch, sync: None });
        if !decided.is_empty() {
            self.pending.push(Output::Outcomes(decided));
        }
        Ok(())
    }

    pub(super) fn put_applied(&self, state: &State, batch: &mut DiskBatch) {
        let row = AppliedRow {
            index: self.applied,
            configuration: (&self.raft.store().conf_state).into(),
            state_hash: state.hash(),
        };
        batch.put_meta(meta_key::APPLIED, &row);
    }

    /// Shortens the log once it is over its limit: to the slowest live follower, or without regard to followers once
    /// it is over twice the limit.
    fn compact(&mut self, applied: u64, batch: &mut DiskBatch) {
        let (limit, bytes) = (self.config.log_bytes_max, self.raft.store().bytes());
        if bytes <= limit || self.raft.store().len() as u64 <= KEEP_ENTRIES {
            return;
        }
        let mut upto = applied.saturating_sub(KEEP_ENTRIES);
        if bytes <= 2 * limit {
            let slowest = self.followers().iter().filter(|f| f.active).map(|f| f.matched.0).min();
            upto = upto.min(slowest.unwrap_or(u64::MAX));
        } else {
            upto = applied;
        }
        self.raft.mut_store().compact(upto, batch);
    }

    /// Makes the snapshot that raft found missing; raft asks again with the next heartbeat.
    pub(super) fn offer_snapshot_if_wanted(&mut self) {
        if !self.raft.store().snapshot_wanted.get() {
            return;
        }
        let store = self.raft.store();
        let point = store.point(self.applied).expect("the log reaches back to the applied entry");
        let configured = self.configured;
        let body = SnapshotBody { chain: point.chain, state: self.read_state().snapshot(), configured };
        let mut snapshot = Snapshot { data: body.encode().into(), ..Default::default() };
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (point.index, point.term);
        meta.set_conf_state(store.conf_state.clone());
        self.raft.mut_store().offer_snapshot(snapshot);
    }

    /// Replaces log and state by what the leader sent. The rows go into `batch`, with the hard state that raft
    /// derives from the snapshot.
    pub(super) fn install_snapshot(
        &mut self,
        snapshot: &Snapshot,
        batch: &mut DiskBatch,
    ) -> Result<(), Fatal> {
        let meta = snapshot.get_metadata();
        let unreadable = |why: String| Fatal::Snapshot { at: LogIndex(meta.index), why };
        let body = SnapshotBody::decode(&mut &snapshot.data[..]).map_err(|e| unreadable(e.to_string()))?;
        let restored = State::from_snapshot(&body.state).map_err(|e| unreadable(e.to_string()))?;
        let point = LogPoint { index: meta.index, term: meta.term, chain: body.chain };
        self.raft.mut_store().reset_to(point, meta.get_conf_state().clone(), batch);
        self.applied = meta.index;
        batch.ops.push(DiskOp::Clear(DiskTable::Ledger));
        batch.ops.push(DiskOp::Clear(DiskTable::Registry));
        for (table, key, value) in restored.records() {
            batch.put(disk_table(table), key, value);
        }
        self.configured = body.configured;
        self.put_configured(batch);
        self.put_applied(&restored, batch);
        *self.state.write().expect("apply does not panic") = restored;
        self.settled = None;
        self.settle_configuration();
        Ok(())
    }

    /// The leader states its hash at every checkpoint; members that differ stop.
    pub(super) fn propose_checkpoint(&mut self) {
        if self.raft.raft.state != StateRole::Leader {
            return;
        }
        let at = LogIndex(self.applied - self.applied % CHECKPOINT_EVERY);
        if at <= self.checkpoint_proposed {
            return;
        }
        let Some(hash) = self.read_state().hash_at(at) else { return };
        if self.propose(&Command::Checkpoint { at, hash }).is_ok() {
            self.checkpoint_proposed = at;
        }
    }

    /// Writes the first state of a node that came later: nothing at all, before any entry of the log. A leader that
    /// has it for a learner sends a snapshot.
    pub(super) fn begin_empty(&mut self) {
        let mut batch = DiskBatch::default();
        batch.put_meta(meta_key::TRUNCATED, &self.raft.store().truncated());
        put_hard_state(&self.raft.store().hard_state, &mut batch);
        self.formed = true;
        self.put_applied(&self.read_state(), &mut batch);
        self.memory.save(&mut batch);
        let mark = self.high_water();
        self.pending.push(Output::Write { batch, sync: Some(mark) });
    }

    /// Writes the first state of the cluster: an empty one, behind a log that starts after
    /// [`FIRST_INDEX`](super::open::FIRST_INDEX).
    pub(super) fn form(&mut self) {
        let (store, applied) = super::open::first_store(&self.config);
        let mut batch = DiskBatch::default();
        batch.put_meta(meta_key::TRUNCATED, &store.truncated());
        put_hard_state(&store.hard_state, &mut batch);
        self.raft = super::open::raw_node(&self.config, store, applied, &self.logger)
            .expect("the first store is consistent");
        self.applied = applied;
        self.formed = true;
        self.settled = None;
        self.settle_configuration();
        self.put_applied(&self.read_state(), &mut batch);
        self.memory.save(&mut batch);
        let mark = self.high_water();
        self.pending.push(Output::Write { batch, sync: Some(mark) });
    }
}

fn apply_entry(state: &mut State, entry: &Entry, decided: &mut Vec<Decided>) -> Result<(), Fatal> {
    let at = LogIndex(entry.index);
    if entry.get_entry_type() != EntryType::EntryNormal {
        return Err(Fatal::UnknownEntry { at });
    }
    if entry.data.is_empty() {
        return Ok(()); // a new leader's first entry
    }
    let command =
        Command::from_bytes(&entry.data).map_err(|source| Fatal::UnreadableCommand { at, source })?;
    let outcomes = state.apply(at, command)?;
    decided.extend(outcomes.into_iter().map(|(request, outcome)| Decided { request, at, outcome }));
    Ok(())
}

fn put_changes(changes: Vec<RecordChange>, batch: &mut DiskBatch) {
    for RecordChange { table, key, value } in changes {
        match value {
            Some(value) => batch.put(disk_table(table), key, value),
            None => batch.ops.push(DiskOp::Delete(disk_table(table), key)),
        }
    }
}

pub(super) fn disk_table(table: Table) -> DiskTable {
    match table {
        Table::Ledger => DiskTable::Ledger,
        Table::Registry => DiskTable::Registry,
    }
}
