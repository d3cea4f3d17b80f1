//! Feature levels: what commands may use. A level rises once every member supports it, and never falls.

/// The highest feature level this program can apply. 1: clients have keys made. 2: members come and go, clients have
/// limits, officers approve, watermarks are imported, refusals are recorded. 3: officers are known by the keys of their
/// certificates, and more changes take two of them. 4: [`GUARDED_LEVEL`].
pub const FEATURE_LEVEL: u32 = GUARDED_LEVEL;

/// Since when nobody's bare word moves a floor, halts a key or enters the audit, and one client's share of the state
/// is bounded. Rules that judge otherwise below this level do so for clusters with members of an older version alone.
pub const GUARDED_LEVEL: u32 = 4;

/// Since when the log names the certificate of an operator, and an officer can be pinned to one.
pub const PINNED_LEVEL: u32 = 3;

/// The feature level from which on records are made.
pub const AUDIT_LEVEL: u32 = 2;
