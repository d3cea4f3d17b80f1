//! The later countings of each chain, and how far from a clock a slot may be. How slots are counted: [`SlotClock`].

use super::Registry;
use crate::model::{Chain, DEFAULT_SLOT_TOLERANCE, Retiming, SlotClock};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::ChainId;

/// By how many parts in a hundred the length must change at least. A tenth puts the two readings of a number of today
/// more than five years apart.
pub(crate) const LEAST_CHANGE: u64 = 10;

/// Countings of one chain. Nobody changes the length of slots that often.
pub(crate) const MAX_COUNTINGS: usize = 64;

/// The widest fence that a signer of the cluster has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Tolerance {
    pub(crate) widest: u64,
}

/// The later countings of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Timing {
    pub(crate) chain: ChainId,
    /// By their moments, which rise.
    pub(crate) later: Vec<Retiming>,
}

impl Registry {
    /// How a chain counts its slots.
    pub fn clock(&self, chain: &Chain) -> SlotClock<'_> {
        SlotClock::new(chain, self.retimings(&chain.genesis))
    }

    /// How many slots a block's slot can have been from the clock of whoever signed it, since the guarded level. No signer
    /// takes more, whatever its configuration says, before the log has it: so a backup has it too.
    pub fn slot_tolerance(&self) -> u64 {
        self.tolerance.map_or(DEFAULT_SLOT_TOLERANCE, |tolerance| tolerance.widest)
    }

    /// The later countings of a chain.
    pub fn retimings(&self, chain: &ChainId) -> &[Retiming] {
        self.timings.get(chain).map_or(&[], |timing| &timing.later)
    }

    pub(crate) fn timings(&self) -> impl Iterator<Item = &Timing> {
        self.timings.values()
    }
}
