//! Faults that no cluster survives: each takes one guard away, and the simulator must catch it.
//!
//! Most are compiled into the product's own code by this workspace's build only (`signonce_core::mutation`): the
//! ledger, the replica and the driver. Here are those of the simulated parts: disks, and signers.

use clap::ValueEnum;
use signonce_core::mutation::Mutation as InCore;

/// A guard taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutation {
    /// What should wait for an fsync does not wait.
    AckBeforeSync,
    /// The leader answers when it has the claim in its own log.
    ReleaseBeforeCommit,
    /// The serving node answers from its state and has the claim recorded afterwards.
    DecideThenRecord,
    /// A node is initialised again under its old id, and nobody asks its peers.
    WipedNode,
    /// A store loses its last synced batches; neither the high-water file nor the peers are asked.
    LostSyncedTail,
    /// A machine is restored from an older image, and nobody asks its peers.
    DiskRollback,
    /// Two machines run under one id, and peers do not tell them apart.
    ReusedNodeId,
    /// A batch that was torn in the middle counts as far as it got.
    TornBatch,
    /// sr25519 signatures with random nonces.
    RandomNonces,
    /// The set id is left out when a vote's duty is read.
    SetIdIgnored,
    /// A request that ends in an error frees its duty.
    Unburn,
    /// An operator can lower a floor.
    FloorFalls,
    /// raft's `batch_append` is on.
    BatchAppend,
    /// A starting node counts itself among those that must remember it.
    FenceCountsItself,
    /// A starting node ignores how far its witnesses are.
    WitnessesUnheard,
    /// A starting node must come as far as the furthest of all witnesses, not of enough of them.
    FurthestWitnessBinds,
    /// A node accepts messages meant for another life of itself.
    LifeUnread,
    /// A starting node asks the members that its own disk knows, whatever they know of newer ones.
    FenceAsksOldMembers,
    /// A node helps a leader or candidate that may still count on a life that has ended.
    OldLivesCount,
    /// That a step of the configuration is committed may be forgotten in a power cut.
    StepsForgotten,
    /// The high-water file is ahead of the store.
    MarkAhead,
    /// A store does not open if a power cut has left a hole in what was not durable.
    HoleRefused,
    /// What lies behind such a hole counts, as if nothing were missing.
    HolePassedOver,
    /// What was durable is damaged; neither what lies behind it nor the files beside the store nor the peers are asked.
    DamageUnnoticed,
    /// Batches, and the file beside the store, record what was written rather than what was durable.
    RowsAhead,
    /// The leader does not check its clock before it proposes.
    LeaderReadsNoClock,
}

impl Mutation {
    /// The fault inside the core, if it is one.
    pub fn in_core(self) -> Option<InCore> {
        match self {
            Self::Unburn => Some(InCore::Unburn),
            Self::FloorFalls => Some(InCore::FloorFalls),
            Self::BatchAppend => Some(InCore::BatchAppend),
            Self::FenceCountsItself => Some(InCore::FenceCountsItself),
            Self::WitnessesUnheard => Some(InCore::WitnessesUnheard),
            Self::FurthestWitnessBinds => Some(InCore::FurthestWitnessBinds),
            Self::LifeUnread => Some(InCore::LifeUnread),
            Self::FenceAsksOldMembers => Some(InCore::FenceAsksOldMembers),
            Self::OldLivesCount => Some(InCore::OldLivesCount),
            Self::StepsForgotten => Some(InCore::StepsForgotten),
            Self::MarkAhead => Some(InCore::MarkAhead),
            Self::AckBeforeSync => Some(InCore::AckBeforeSync),
            Self::ReleaseBeforeCommit => Some(InCore::ReleaseBeforeCommit),
            Self::DecideThenRecord => Some(InCore::DecideThenRecord),
            Self::LeaderReadsNoClock => Some(InCore::LeaderReadsNoClock),
            Self::RowsAhead => Some(InCore::RowsAhead),
            Self::HolePassedOver => Some(InCore::HolePassedOver),
            Self::ReusedNodeId => Some(InCore::LivesAlike),
            Self::WipedNode | Self::LostSyncedTail | Self::DiskRollback | Self::DamageUnnoticed => {
                Some(InCore::MemoryUnasked)
            }
            Self::TornBatch | Self::RandomNonces | Self::SetIdIgnored | Self::HoleRefused => None,
        }
    }

    /// Whether starting nodes ignore what their peers remember.
    pub fn without_fence(self) -> bool {
        matches!(self, Self::WipedNode | Self::LostSyncedTail | Self::DiskRollback | Self::DamageUnnoticed)
    }

    /// Whether it shows only if storage is damaged.
    pub fn damages_storage(self) -> bool {
        self.without_fence()
            || matches!(self, Self::ReusedNodeId | Self::LifeUnread)
            || self.needs_lost_leader()
            || matches!(self, Self::FurthestWitnessBinds | Self::FenceAsksOldMembers)
    }

    /// Whether it shows only if a leader is lost with its memory of what a rolled back node acknowledged.
    pub fn needs_lost_leader(self) -> bool {
        matches!(self, Self::FenceCountsItself | Self::WitnessesUnheard | Self::OldLivesCount)
    }

    /// The number of nodes it needs to show: with three, the fence asks everybody anyway.
    pub fn nodes(self) -> usize {
        let five = matches!(self, Self::FurthestWitnessBinds | Self::FenceAsksOldMembers);
        if self.needs_lost_leader() || five { 5 } else { 3 }
    }
}
