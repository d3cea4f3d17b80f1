//! Newtypes for the numbers that must never be mixed up: a slot is not a round and a term is not an index.

/// Defines a number type that cannot be mixed up with another. For families; the crate that uses it depends on the
/// codec, serde and schemars itself.
#[macro_export]
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            ::parity_scale_codec::Encode, ::parity_scale_codec::Decode, ::parity_scale_codec::MaxEncodedLen,
            ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number plus `n`, or `None` past the end of the range.
            pub fn checked_add(self, n: $inner) -> Option<Self> {
                self.0.checked_add(n).map(Self)
            }

            /// The number plus `n`, or the last of the range.
            pub fn saturating_add(self, n: $inner) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// The number minus `n`, or zero.
            pub fn saturating_sub(self, n: $inner) -> Self {
                Self(self.0.saturating_sub(n))
            }
        }

        impl From<$inner> for $name {
            fn from(n: $inner) -> Self {
                Self(n)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::std::num::ParseIntError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

number!(
    /// A slot: unix time divided by the chain's slot duration.
    Slot(u64)
);
number!(
    /// The index of an entry in the replicated log.
    LogIndex(u64)
);
number!(
    /// A raft term.
    Term(u64)
);
number!(
    /// The id of a signer node. Never reused, never zero.
    NodeId(u64)
);
