//! How far from a signer's clock a slot may be.

/// The most slots that a block's slot may be from a signer's clock, whatever its configuration says. A restore leaves
/// out as many after now: a wider fence would make every restore cost more, and hide a clock that is wrong.
pub const MAX_SLOT_TOLERANCE: u64 = 30;

/// The same while no signer has asked for more.
pub const DEFAULT_SLOT_TOLERANCE: u64 = 3;
