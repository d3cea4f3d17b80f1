//! Applying committed entries, snapshots in both directions, log compaction and checkpoints.

use super::disk::{AppliedRow, DiskBatch, DiskOp, DiskTable, LogPoint, RecordSource, meta_key};
use super::members::is_step;
use super::ready::put_hard_state;
use super::{Decided, Fatal, Output, Replica};
use crate::codec::{decode_record, encode_record};
use crate::log::Command;
use crate::records::{RecordChange, StateHash, Table};
use crate::state::{CHECKPOINT_EVERY, Outcome, RestoreError, SNAPSHOT_VERSION, State};
use parity_scale_codec::{Decode, Encode};
use raft::StateRole;
use raft::eraftpb::{Entry, EntryType, Snapshot};
use signonce_protocol::{LogIndex, NodeId};
use std::sync::Arc;

/// Entries that stay in the log when it is compacted, so that a follower a little behind needs no snapshot.
const KEEP_ENTRIES: u64 = if cfg!(signonce_sim) { 16 } else { 1_000 };
/// Unless they are larger than the log's limit, and this: with 256 claims of parachain work an entry has 160 KB.
const KEEP_BYTES: usize = if cfg!(signonce_sim) { 4 << 10 } else { 1 << 20 };

/// The version of what stands for a state whose records travel beside the snapshot: its hash. The
/// other versions are those of whole states.
const BESIDE_VERSION: u8 = 2;
const _: () = assert!(BESIDE_VERSION != SNAPSHOT_VERSION);

/// What a raft snapshot carries.
#[derive(Encode, Decode)]
struct SnapshotBody {
    chain: [u8; 32],
    /// The state, or what stands for it.
    state: Vec<u8>,
    /// The entry that made the configuration.
    configured: u64,
}

/// Answers whose effect on the state is in memory and not yet in the store; more are written at once.
const UNSTORED_MAX: usize = 1024;

/// What was decided by entries that were just applied.
#[derive(Default)]
struct Decisions {
    all: Vec<Decided>,
    /// Whether something other than claims was among them.
    changes: bool,
    /// Whether somebody who asked another node waits for them.
    elsewhere: bool,
}

impl Decisions {
    fn take_in(&mut self, decided: Vec<Decided>, node: NodeId) {
        let verdict = |one: &Decided| matches!(one.outcome, Outcome::Verdict(_));
        self.changes |= decided.is_empty() || !decided.iter().all(verdict);
        self.elsewhere |= decided.iter().any(|one| one.request.node != node);
        self.all.extend(decided);
    }
}

impl Replica {
    /// Applies what is known to be committed, in memory.
    pub(super) fn apply_committed(&mut self) -> Result<(), Fatal> {
        let committed = std::mem::take(&mut self.committed);
        if !committed.is_empty() {
            self.apply(&committed)?;
        }
        if self.applied > self.raft.raft.raft_log.applied {
            self.raft.advance_apply_to(self.applied);
        }
        Ok(())
    }

    fn apply(&mut self, committed: &[Entry]) -> Result<(), Fatal> {
        let mut decisions = Decisions::default();
        // Up to each step of the configuration: the state judges what follows by the new one.
        for part in committed.split_inclusive(is_step) {
            let state = Arc::clone(&self.state);
            let mut state = state.write().expect("apply does not panic");
            for entry in part {
                assert_eq!(entry.index, self.applied + 1, "entries are applied in order");
                if is_step(entry) {
                    self.apply_step(entry)?;
                    decisions.changes = true;
                } else {
                    decisions.take_in(apply_entry(&mut state, entry)?, self.config.node);
                }
                self.applied = entry.index;
            }
            drop(state);
            self.settle_configuration();
        }
        let Decisions { all, changes, elsewhere } = decisions;
        self.unstored += all.len();
        if !all.is_empty() {
            self.pending.push(Output::Outcomes(all));
        }
        if changes || self.unstored >= UNSTORED_MAX {
            self.store_state();
        }
        self.owes_notice = true;
        if changes || elsewhere {
            self.tell_committed();
        }
        Ok(())
    }

    /// Whether the followers have not been told yet what this leader has committed. They learn it with its next
    /// entries; when there are none for a while, call [`Self::tell_committed`].
    pub fn owes_notice(&self) -> bool {
        self.owes_notice && self.raft.raft.state == StateRole::Leader
    }

    /// Tells the followers what is committed.
    pub fn tell_committed(&mut self) {
        if self.owes_notice() {
            self.raft.raft.bcast_append();
        }
        self.owes_notice = false;
    }

    /// Writes what was applied and is not in the store yet, with the applied position, in one batch.
    pub(super) fn store_state(&mut self) {
        if self.applied == self.stored {
            return;
        }
        let mut batch = DiskBatch::default();
        put_hard_state(&self.raft.store().hard_state, &mut batch);
        if self.configured > self.stored {
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
        self.compact(self.applied, &mut batch);
        self.memory.save(&mut batch);
        self.pending.push(Output::Write { batch, sync: None });
        self.stored = self.applied;
        self.unstored = 0;
    }

    /// Writes all that could wait for other writes, and met none. Once the outputs are executed, the store holds the
    /// state as applied.
    pub fn store_rest(&mut self) {
        self.store_state();
        if self.formed {
            let mut batch = DiskBatch::default();
            self.memory.save(&mut batch);
            if !batch.is_empty() {
                self.pending.push(Output::Write { batch, sync: None });
            }
        }
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
    /// it is over twice the limit. The newest entries stay, unless they alone are too large.
    fn compact(&mut self, applied: u64, batch: &mut DiskBatch) {
        let (limit, store) = (self.config.log_bytes_max, self.raft.store());
        let bytes = store.bytes();
        if bytes <= limit {
            return;
        }
        let upto = if store.len() as u64 <= KEEP_ENTRIES {
            let limit = limit.max(KEEP_BYTES);
            if bytes <= 2 * limit {
                return;
            }
            store.surplus(limit).min(applied)
        } else if bytes <= 2 * limit {
            let slowest = self.followers().iter().filter(|f| f.active).map(|f| f.matched.0).min();
            applied.saturating_sub(KEEP_ENTRIES).min(slowest.unwrap_or(u64::MAX))
        } else {
            applied
        };
        self.raft.mut_store().compact(upto, batch);
    }

    /// Makes the snapshot that raft found missing; raft asks again with the next heartbeat.
    pub(super) fn offer_snapshot_if_wanted(&mut self) {
        if !self.raft.store().snapshot_wanted.get() {
            return;
        }
        let state = self.capture();
        let store = self.raft.store();
        let point = store.point(self.applied).expect("the log reaches back to the applied entry");
        let configured = self.configured;
        let body = SnapshotBody { chain: point.chain, state, configured };
        let mut snapshot = Snapshot { data: body.encode().into(), ..Default::default() };
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (point.index, point.term);
        meta.set_conf_state(store.conf_state.clone());
        self.raft.mut_store().offer_snapshot(snapshot);
    }

    /// Has the driver keep the state as it is now, and says what stands for it in the snapshot.
    fn capture(&mut self) -> Vec<u8> {
        self.store_state();
        self.pending.push(Output::Capture { index: self.applied });
        let hash = self.read_state().hash();
        encode_record(BESIDE_VERSION, &hash)
    }

    /// Replaces log and state by what the leader sent. The rows go into `batch`, with the hard state that raft
    /// derives from the snapshot; but for those of a state that came beside it, which are given back.
    pub(super) fn install_snapshot(
        &mut self,
        snapshot: &Snapshot,
        batch: &mut DiskBatch,
    ) -> Result<Option<Arc<dyn RecordSource>>, Fatal> {
        let meta = snapshot.get_metadata();
        let unreadable = |why: String| Fatal::Snapshot { at: LogIndex(meta.index), why };
        let body = SnapshotBody::decode(&mut &snapshot.data[..]).map_err(|e| unreadable(e.to_string()))?;
        let records = if has_records_beside(snapshot) {
            Some(self.take_in_beside(&body.state).map_err(unreadable)?)
        } else {
            self.take_in_whole(&body.state, batch).map_err(|e| unreadable(e.to_string()))?;
            None
        };
        let point = LogPoint { index: meta.index, term: meta.term, chain: body.chain };
        self.raft.mut_store().reset_to(point, meta.get_conf_state().clone(), batch);
        (self.applied, self.stored) = (meta.index, meta.index);
        self.configured = body.configured;
        self.put_configured(batch);
        self.put_applied(&self.read_state(), batch);
        self.settled = None;
        self.settle_configuration();
        Ok(records)
    }

    fn take_in_whole(&self, state: &[u8], batch: &mut DiskBatch) -> Result<(), RestoreError> {
        let restored = State::from_snapshot(state)?;
        batch.ops.push(DiskOp::Clear(DiskTable::Ledger));
        batch.ops.push(DiskOp::Clear(DiskTable::Registry));
        for (table, key, value) in restored.records() {
            batch.put(disk_table(table), key, value);
        }
        *self.state.write().expect("apply does not panic") = restored;
        Ok(())
    }

    /// The old state goes before the new one comes: there is no room for two. Nobody can look meanwhile, and if the
    /// new one does not come, the process stops.
    fn take_in_beside(&mut self, state: &[u8]) -> Result<Arc<dyn RecordSource>, String> {
        let expected: StateHash =
            decode_record(BESIDE_VERSION, "hash of a state", state).map_err(|e| e.to_string())?;
        let source = self.incoming.0.take().ok_or("its records did not come with it")?;
        let mut state = self.state.write().expect("apply does not panic");
        *state = State::new();
        let mut failed = None;
        let records = source.records().map_while(|record| record.map_err(|why| failed = Some(why)).ok());
        let restored = State::from_sorted(records, expected);
        if let Some(why) = failed {
            return Err(why);
        }
        *state = restored.map_err(|e| e.to_string())?;
        drop(state);
        Ok(source)
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
        (self.applied, self.stored) = (applied, applied);
        self.formed = true;
        self.settled = None;
        self.settle_configuration();
        self.put_applied(&self.read_state(), &mut batch);
        self.memory.save(&mut batch);
        let mark = self.high_water();
        self.pending.push(Output::Write { batch, sync: Some(mark) });
    }
}

/// Whether the records of a snapshot's state travel beside it.
pub(super) fn has_records_beside(snapshot: &Snapshot) -> bool {
    let body = SnapshotBody::decode(&mut &snapshot.data[..]);
    body.is_ok_and(|body| body.state.first() == Some(&BESIDE_VERSION))
}

fn apply_entry(state: &mut State, entry: &Entry) -> Result<Vec<Decided>, Fatal> {
    let at = LogIndex(entry.index);
    if entry.get_entry_type() != EntryType::EntryNormal {
        return Err(Fatal::UnknownEntry { at });
    }
    if entry.data.is_empty() {
        return Ok(Vec::new()); // a new leader's first entry
    }
    let command =
        Command::from_bytes(&entry.data).map_err(|source| Fatal::UnreadableCommand { at, source })?;
    let outcomes = state.apply(at, command)?;
    Ok(outcomes.into_iter().map(|(request, outcome)| Decided { request, at, outcome }).collect())
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
