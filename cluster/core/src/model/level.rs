//! Feature levels: what commands may use. A level rises once every member supports it, and never falls.

/// The highest feature level this program can apply. 1: everything that version 0.2 has.
///
/// What a later version brings asks for a level of its own, by what is in the command
/// ([`Change::feature_level`](crate::Change::feature_level)): an older member stops at what it cannot read.
pub const FEATURE_LEVEL: u32 = 1;

/// The level that a cluster begins with.
pub const FIRST_LEVEL: u32 = 1;
