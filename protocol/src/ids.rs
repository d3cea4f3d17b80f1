//! Newtypes for the numbers that must never be mixed up: a slot is not a round and a term is not an index.

use parity_scale_codec::{Decode, Encode, MaxEncodedLen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            Encode, Decode, MaxEncodedLen, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number `n` further on, or `None` past the end of the range.
            pub fn checked_add(self, n: $inner) -> Option<Self> {
                self.0.checked_add(n).map(Self)
            }

            /// The number `n` further on, or the last of the range.
            pub fn saturating_add(self, n: $inner) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// The number `n` back, or zero.
            pub fn saturating_sub(self, n: $inner) -> Self {
                Self(self.0.saturating_sub(n))
            }
        }

        impl From<$inner> for $name {
            fn from(n: $inner) -> Self {
                Self(n)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

number!(
    /// A BABE or AURA slot: unix time divided by the chain's slot duration.
    Slot(u64)
);
number!(
    /// A GRANDPA round; restarts at 1 with every [`SetId`].
    Round(u64)
);
number!(
    /// The id of a GRANDPA or BEEFY authority set.
    SetId(u64)
);
number!(
    /// A session of the chain, as parachain payloads name it.
    SessionIndex(u32)
);
number!(
    /// The index of a BABE epoch.
    EpochIndex(u64)
);
number!(
    /// A block number, of either width.
    BlockNumber(u64)
);
number!(
    /// The place of an entry in the replicated log.
    LogIndex(u64)
);
number!(
    /// A raft term.
    Term(u64)
);
number!(
    /// A signer node. Never reused, never zero.
    NodeId(u64)
);
