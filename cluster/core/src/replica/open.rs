//! Starting a replica from what the disk holds, and refusing to where the disk contradicts itself.

use super::disk::{AppliedRow, DiskImage, DiskTable, HardStateRow, HighWater, LogPoint, meta_key, read_meta};
use super::fence::{Arrival, Fence};
use super::log::{LogError, MemLog};
use super::members::KnownConfiguration;
use super::memory::PeerMemory;
use super::wire::{Beside, DiskPosition, beyond_reach};
use super::{Jitter, Lifecycle, Replica, ReplicaConfig};
use crate::codec::CodecError;
use crate::model::Configuration;
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use crate::records::Table;
use crate::state::{RestoreError, State};
use parity_scale_codec::Decode;
use raft::eraftpb::{ConfState, HardState};
use raft::{Config, RawNode};
use signonce_protocol::blake2_256;
use std::collections::VecDeque;
use std::sync::{Arc, RwLock};

/// The log begins behind this index, so that a member that joins later must take a snapshot and with it learns the
/// configuration, which is not in the log.
pub(super) const FIRST_INDEX: u64 = 5;
/// The term of the entry at [`FIRST_INDEX`].
const FIRST_TERM: u64 = 1;

/// Why a store must not be started from. All but [`Self::TooOld`] mean that acknowledged writes may be gone.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A row of the meta table is damaged.
    #[error("the store's {row} is damaged: {source}. Do not repair it: replace this node")]
    DamagedMeta {
        /// Which row.
        row: &'static str,
        /// What is wrong.
        source: CodecError,
    },
    /// The log is damaged.
    #[error("{0}. Do not repair it: replace this node")]
    Log(#[from] LogError),
    /// The program is older than the cluster.
    #[error("this program is too old for this node: {0}. The data directory is sound, leave it as it is")]
    TooOld(RestoreError),
    /// The state's records are damaged or incomplete.
    #[error("the watermark records are damaged: {0}. Do not repair them: replace this node")]
    State(RestoreError),
    /// A configuration that no log of ours has ever made.
    #[error("the store names members that no cluster can have: {0:?}. It is damaged; replace this node")]
    Configuration(Configuration),
    /// Positions that cannot be together in an undamaged store.
    #[error(
        "the store contradicts itself: log ({first}, {last}], committed {committed}, applied {applied}. It has lost \
         writes; replace this node"
    )]
    Inconsistent {
        /// Last index before the log.
        first: u64,
        /// Last index of the log.
        last: u64,
        /// Commit index.
        committed: u64,
        /// Applied index.
        applied: u64,
    },
    /// A term or an index that nothing could be added to.
    #[error(
        "the store counts terms or log entries up to {0}, as no cluster does. It is damaged; replace this node"
    )]
    BeyondReach(u64),
    /// Some rows are there but not those that every formed store has.
    #[error("the store has lost its {missing}; replace this node")]
    Incomplete {
        /// What is missing.
        missing: &'static str,
    },
    /// The high-water file proves that the store held more.
    #[error(
        "the store has lost acknowledged writes: the high-water file says {file}, the store holds {store}. It was \
         deleted, truncated or restored from a copy; replace this node"
    )]
    BehindHighWater {
        /// What the file says.
        file: String,
        /// What the store holds.
        store: String,
    },
    /// Raft refused the configuration.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
}

impl From<RestoreError> for OpenError {
    fn from(error: RestoreError) -> Self {
        if matches!(error, RestoreError::TooNew { .. }) { Self::TooOld(error) } else { Self::State(error) }
    }
}

impl Replica {
    /// Starts from `image`. `high_water` is the file beside the store, if there is one: a store that ever synced
    /// has one.
    ///
    /// # Errors
    /// See [`OpenError`]: the node must not run.
    pub fn open(
        config: ReplicaConfig,
        image: &DiskImage,
        high_water: Option<&HighWater>,
        logger: slog::Logger,
    ) -> Result<Self, OpenError> {
        let rows = |table| image.table(table).map(|(key, value)| (key.to_vec(), value.to_vec()));
        let registry = rows(DiskTable::Registry).map(|(key, value)| (Table::Registry, key, value));
        let ledger = rows(DiskTable::Ledger).map(|(key, value)| (Table::Ledger, key, value));
        Self::open_streaming(config, image, registry.chain(ledger), high_water, logger)
    }

    /// [`Self::open`] with the records of the state beside the image, in the order of their tables and keys: a large
    /// state is never in memory twice.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_streaming(
        config: ReplicaConfig,
        image: &DiskImage,
        records: impl Iterator<Item = (Table, Vec<u8>, Vec<u8>)>,
        high_water: Option<&HighWater>,
        logger: slog::Logger,
    ) -> Result<Self, OpenError> {
        #[cfg(signonce_sim)]
        let high_water = high_water.filter(|_| !mutation::is(Mutation::MemoryUnasked));
        let mut records = records.peekable();
        let truncated: Option<LogPoint> = read_row(image, "truncation point", meta_key::TRUNCATED)?;
        let hard_state: Option<HardStateRow> = read_row(image, "hard state", meta_key::HARD_STATE)?;
        let applied: Option<AppliedRow> = read_row(image, "applied position", meta_key::APPLIED)?;
        let configured: Option<u64> = read_row(image, "configuration's index", meta_key::CONFIGURED)?;
        let memory = PeerMemory::load(image)
            .map_err(|source| OpenError::DamagedMeta { row: "memory of peers", source })?;

        let Some(truncated) = truncated else {
            let blank = hard_state.is_none()
                && applied.is_none()
                && records.peek().is_none()
                && image.table(DiskTable::Log).next().is_none();
            if !blank {
                return Err(OpenError::Incomplete { missing: "truncation point" });
            }
            if let Some(mark) = high_water {
                return Err(behind(mark, "nothing"));
            }
            return Ok(Self::unformed(config, memory, logger)?);
        };
        let hard_state = hard_state.ok_or(OpenError::Incomplete { missing: "hard state" })?;
        let applied = applied.ok_or(OpenError::Incomplete { missing: "applied position" })?;

        let raft_hs = HardState {
            term: hard_state.term,
            vote: hard_state.vote,
            commit: hard_state.commit,
            ..Default::default()
        };
        check_reach(&truncated, &hard_state, &applied)?;
        check_configuration(&applied.configuration)?;
        let mut store = MemLog::new(truncated, raft_hs, applied.configuration.clone().into());
        store.load(image.table(DiskTable::Log))?;
        check_order(&store, &hard_state, &applied)?;
        if let Some(mark) = high_water {
            check_high_water(mark, &store, &hard_state, applied.index)?;
        }
        let state = State::from_sorted(records, applied.state_hash)?;

        let disk =
            DiskPosition { term: hard_state.term, vote: hard_state.vote, last_index: store.last().index };
        let began_with = (disk, (store.last().term, store.last().index));
        let fence = Fence::new(config.node, disk, Arrival::Returning, KnownConfiguration::default());
        let raft = raw_node(&config, store, applied.index, &logger)?;
        let mut replica =
            Self::assemble(config, began_with, raft, fence, state, memory, applied.index, logger);
        replica.configured = configured.unwrap_or_default();
        replica.settle_configuration();
        if matches!(replica.lifecycle, Lifecycle::Fenced(_)) {
            let fence = Fence::new(replica.config.node, disk, Arrival::Returning, replica.roll());
            replica.lifecycle = Lifecycle::Fenced(fence);
        }
        Ok(replica)
    }

    fn unformed(
        config: ReplicaConfig,
        memory: PeerMemory,
        logger: slog::Logger,
    ) -> Result<Self, raft::Error> {
        let store = MemLog::new(LogPoint::default(), HardState::default(), ConfState::default());
        let raft = raw_node(&config, store, 0, &logger)?;
        let disk = DiskPosition { term: 0, vote: 0, last_index: 0 };
        let arrival = if config.joined { Arrival::Joining } else { Arrival::Forming };
        let initial = KnownConfiguration { voters: config.initial.clone(), ..KnownConfiguration::default() };
        let fence = Fence::new(config.node, disk, arrival, initial);
        let mut replica =
            Self::assemble(config, (disk, (0, 0)), raft, fence, State::new(), memory, 0, logger);
        replica.formed = false;
        Ok(replica)
    }

    #[allow(clippy::too_many_arguments)]
    fn assemble(
        config: ReplicaConfig,
        began_with: (DiskPosition, (u64, u64)),
        raft: RawNode<MemLog>,
        fence: Fence,
        state: State,
        memory: PeerMemory,
        applied: u64,
        logger: slog::Logger,
    ) -> Self {
        Self {
            jitter: Jitter::new(config.seed, config.election_ticks),
            config,
            logger,
            raft,
            formed: true,
            lifecycle: Lifecycle::Fenced(fence),
            state: Arc::new(RwLock::new(state)),
            memory,
            committed: Vec::new(),
            applied,
            stored: applied,
            unstored: 0,
            owes_notice: false,
            configured: 0,
            settled: None,
            heard: KnownConfiguration::default(),
            member_change_at: 0,
            handed_over: 0,
            unsynced: VecDeque::new(),
            acknowledged: (0, 0),
            checkpoint_proposed: Default::default(),
            ticks: 0,
            behind_since: None,
            began_with,
            witnesses: None,
            incoming: Beside::default(),
            pending: Vec::new(),
        }
    }

    /// Lets a node without peers go on: it has nobody to ask. For clusters of one, which only trials run.
    pub fn pass_empty_fence(&mut self) {
        if matches!(&self.lifecycle, Lifecycle::Fenced(fence) if fence.is_open()) {
            self.become_member();
        }
    }
}

fn read_row<T: Decode>(image: &DiskImage, row: &'static str, key: &[u8]) -> Result<Option<T>, OpenError> {
    let damaged = |source| OpenError::DamagedMeta { row, source };
    image.meta(key).map(|bytes| read_meta(bytes).map_err(damaged)).transpose()
}

/// Log entries are looked at as they are read.
fn check_reach(truncated: &LogPoint, hs: &HardStateRow, applied: &AppliedRow) -> Result<(), OpenError> {
    match beyond_reach([truncated.index, truncated.term, hs.term, hs.commit, applied.index]) {
        Some(far) => Err(OpenError::BeyondReach(far)),
        None => Ok(()),
    }
}

fn check_configuration(configuration: &Configuration) -> Result<(), OpenError> {
    match configuration.is_sound() {
        true => Ok(()),
        false => Err(OpenError::Configuration(configuration.clone())),
    }
}

/// Raft-rs panics on positions out of order; here they are what they are: proof of lost writes.
fn check_order(store: &MemLog, hs: &HardStateRow, applied: &AppliedRow) -> Result<(), OpenError> {
    let (first, last) = (store.truncated().index, store.last().index);
    let ordered = first <= applied.index && applied.index <= hs.commit && hs.commit <= last;
    if ordered && store.last().term <= hs.term {
        return Ok(());
    }
    Err(OpenError::Inconsistent { first, last, committed: hs.commit, applied: applied.index })
}

fn check_high_water(
    mark: &HighWater,
    store: &MemLog,
    hs: &HardStateRow,
    applied: u64,
) -> Result<(), OpenError> {
    let disk = DiskPosition { term: hs.term, vote: hs.vote, last_index: store.last().index };
    let holds =
        format!("term {} vote {} last index {}, applied {applied}", disk.term, disk.vote, disk.last_index);
    if !mark.promise.kept_by(&disk) || mark.applied.index > applied {
        return Err(behind(mark, &holds));
    }
    // Where both know the entry, it must be the same one.
    let differs = store
        .point(mark.applied.index)
        .is_some_and(|p| mark.applied.chain != [0; 32] && p.chain != mark.applied.chain);
    if differs { Err(behind(mark, &format!("{holds}, with another history"))) } else { Ok(()) }
}

fn behind(mark: &HighWater, store: &str) -> OpenError {
    let HighWater { promise, applied, .. } = mark;
    let file = format!(
        "term {} vote {} index {}, applied {}",
        promise.term, promise.vote, promise.index, applied.index
    );
    OpenError::BehindHighWater { file, store: store.to_owned() }
}

/// The store of a cluster's first moment, and its applied index. Equal on every member.
pub(super) fn first_store(config: &ReplicaConfig) -> (MemLog, u64) {
    let point = LogPoint { index: FIRST_INDEX, term: FIRST_TERM, chain: blake2_256(&config.cluster.0) };
    let hs = HardState { term: FIRST_TERM, vote: 0, commit: FIRST_INDEX, ..Default::default() };
    let voters = config.initial.iter().map(|id| id.0).collect();
    let conf = ConfState { voters, ..Default::default() };
    (MemLog::new(point, hs, conf), FIRST_INDEX)
}

pub(super) fn raw_node(
    config: &ReplicaConfig,
    store: MemLog,
    applied: u64,
    logger: &slog::Logger,
) -> Result<RawNode<MemLog>, raft::Error> {
    // Must stay off: raft 0.7 appends a resent range to a queued message that has no entries, whatever its index.
    // The follower then acknowledges entries it never got (found by the simulator; a mutation brings it back).
    let batch_append = false;
    #[cfg(signonce_sim)]
    let batch_append = batch_append || mutation::is(Mutation::BatchAppend);
    let raft_config = Config {
        id: config.node.0,
        applied,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        // 0.7's default of 0 would send one entry per message.
        max_size_per_msg: 256 * 1024,
        max_inflight_msgs: 256,
        // A leader that has lost its quorum steps down; a node that returns does not disrupt.
        check_quorum: true,
        pre_vote: true,
        // A leader without quorum must not grow without bound, nor one Ready stall the loop.
        max_uncommitted_size: 16 * 1024 * 1024,
        max_committed_size_per_ready: 4 * 1024 * 1024,
        batch_append,
        // Followers learn of it with the next entries; where somebody waits, `Replica::tell_committed`.
        skip_bcast_commit: true,
        ..Default::default()
    };
    RawNode::new(&raft_config, store, logger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::wire::FARTHEST;

    /// Found by libFuzzer: the next election adds one to the term.
    #[test]
    fn a_term_or_an_index_that_no_cluster_reaches_is_refused() {
        let check = |(cut, cut_term): (u64, u64), term, commit, index| {
            let truncated = LogPoint { index: cut, term: cut_term, chain: [0; 32] };
            let hs = HardStateRow { term, vote: 0, commit };
            let (configuration, state_hash) = Default::default();
            check_reach(&truncated, &hs, &AppliedRow { index, configuration, state_hash })
        };
        let far = FARTHEST - 1;
        assert!(check((far, far), far, far, far).is_ok());
        for far in [FARTHEST, u64::MAX] {
            for refused in [
                check((far, 1), 2, 3, 3),
                check((1, far), 2, 3, 3),
                check((1, 1), far, 3, 3),
                check((1, 1), 2, far, 3),
                check((1, 1), 2, 3, far),
            ] {
                assert!(matches!(refused, Err(OpenError::BeyondReach(at)) if at == far));
            }
        }
    }

    #[test]
    fn a_configuration_that_raft_would_panic_on_is_refused() {
        let sound = Configuration { voters: vec![1, 2, 3], learners: vec![9], ..Configuration::default() };
        assert!(check_configuration(&sound).is_ok());
        assert!(check_configuration(&Configuration::default()).is_ok(), "a node that has only just joined");
        for wrong in [
            Configuration { auto_leave: true, ..sound.clone() }, // found by libFuzzer
            Configuration { voters_outgoing: vec![1], ..sound.clone() },
            Configuration { learners_next: vec![1], ..sound.clone() },
            Configuration { voters: vec![1, 1], ..sound.clone() },
            Configuration { learners: vec![3], ..sound.clone() },
            Configuration { voters: vec![0], ..sound.clone() },
        ] {
            assert!(matches!(check_configuration(&wrong), Err(OpenError::Configuration(_))), "{wrong:?}");
        }
    }
}
