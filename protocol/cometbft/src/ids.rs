//! The family's identifiers: heights, rounds, blocks, connections and timestamps.

use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use signonce_protocol::{Carry, Hash, number};
use std::fmt;

number!(
    /// The height of a block, 1 and up.
    Height(u64)
);
number!(
    /// A round of a height, 0 and up.
    Round(u32)
);
number!(
    /// One connection of a client's node, or one run of the node: a number that the client gives to it and never again
    /// to another. 0 means none.
    ///
    /// A node that may have forgotten something must come with another number. A client that can tell that the same
    /// process has reconnected (over TCP its handshake key is a new one at every start) may give it the
    /// number that it had: a node that only reconnects has forgotten nothing, and does not replay its log either.
    Connection(u64)
);

impl Connection {
    /// The duty was asked for outside of a connection, which never entitles anybody.
    pub const NONE: Self = Self(0);
}

/// A whole block id. Nil is the absence of one.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockId {
    /// The block's hash.
    pub hash: Hash,
    /// Parts that the block travels in, 1 and up.
    pub parts: u32,
    /// The hash over the parts.
    pub parts_hash: Hash,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hash)
    }
}

/// A time as votes state it, within the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

/// The first second of the year 1, which is Go's zero time.
const FIRST_SECOND: i64 = -62_135_596_800;
/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

impl Timestamp {
    /// From Unix time; `None` outside of those years, or for a second or more in `nanos`.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        let fits = (FIRST_SECOND..=LAST_SECOND).contains(&seconds) && nanos < 1_000_000_000;
        fits.then_some(Self { seconds, nanos })
    }

    /// Whole seconds of Unix time.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds past the second.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// The bytes kept beside a statement: seconds and nanoseconds, little-endian.
    pub fn to_carry(self) -> Carry {
        Carry::new(self.encode())
    }

    /// The timestamp that a repeat returns; `None` if the carry is not a timestamp.
    pub fn of_carry(carry: &Carry) -> Option<Self> {
        let Self { seconds, nanos } = Self::decode_all(&mut carry.as_bytes()).ok()?;
        Self::new(seconds, nanos)
    }
}
