//! Faults built in on purpose, so that the simulator can show that it would find them.
//!
//! This module and every line that asks it exist only where the simulator's own build sets `cfg(signonce_sim)`;
//! no other build of this crate contains them. One fault at a time, per thread.

use std::cell::Cell;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A watermark can be set to a lower floor.
    FloorFalls,
    /// A claim whose time is [`UNBURN`] frees its duty again.
    Unburn,
    /// Raft may merge appended entries into a queued message, whatever its index.
    BatchAppend,
    /// A starting node counts itself among the majority that must remember it.
    FenceCountsItself,
    /// A starting node does not mind how far its witnesses are.
    WitnessesUnheard,
    /// A starting node must come as far as the furthest of all that answered, not of enough.
    FurthestWitnessBinds,
    /// A node takes messages for another life of itself.
    LifeUnread,
    /// A starting node asks the members that its own disk knows, whatever they know of newer ones.
    FenceAsksOldMembers,
    /// A node helps those who may still count on a life that has ended.
    OldLivesCount,
    /// That a step of the configuration is committed may be forgotten in a power cut.
    StepsForgotten,
    /// The high-water mark tells of what was applied, not of what was given to the disk.
    MarkAhead,
    /// A starting node asks neither the files beside its store nor its peers what it has forgotten.
    MemoryUnasked,
    /// All lives of a node have one number.
    LivesAlike,
    /// The driver takes an fsync for done as soon as it is asked for.
    AckBeforeSync,
    /// The driver answers when a claim is in the leader's own log.
    ReleaseBeforeCommit,
    /// A serving node lets a signature leave by its own state, before the log has the claim.
    DecideThenRecord,
    /// The leader does not look at its clock before it proposes.
    LeaderReadsNoClock,
    /// Batches, and the file beside the store, tell of what was written, not of what was durable.
    RowsAhead,
    /// What lies behind a hole in the store counts, as if nothing were missing.
    HolePassedOver,
}

/// The time of a claim that frees its duty, under [`Mutation::Unburn`].
pub const UNBURN: u64 = u64::MAX;

thread_local! {
    static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Builds `mutation` into everything that runs on this thread from now on, in place of the one before.
pub fn activate(mutation: Option<Mutation>) {
    ACTIVE.set(mutation);
}

/// Whether `mutation` is built in.
pub fn is(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}
