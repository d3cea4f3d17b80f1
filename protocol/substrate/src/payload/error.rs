//! Why some bytes are not the payload they are said to be. Every message names the payload and the value at fault.

use super::Kind;

/// Why a payload was refused by its decoder. Final: the same bytes are always refused, on every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// More bytes than any honest payload of the kind has.
    #[error("{kind}: {got} bytes, at most {max} are read")]
    TooLong {
        /// What the bytes were said to be.
        kind: Kind,
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The bytes end within a field.
    #[error(
        "{kind}: ends within {field}, which needs {need} bytes where {left} are left; send the payload whole"
    )]
    Truncated {
        /// What the bytes were said to be.
        kind: Kind,
        /// The field being read.
        field: &'static str,
        /// Bytes the field needs.
        need: u64,
        /// Bytes left.
        left: usize,
    },
    /// Bytes after the end of the payload.
    #[error(
        "{kind}: {extra} bytes after the end; wrong block-number width for this chain, or another payload"
    )]
    TrailingBytes {
        /// What the bytes were said to be.
        kind: Kind,
        /// Bytes too many.
        extra: usize,
    },
    /// A value in another encoding than the one every encoder of the chain makes.
    #[error("{kind}: {field} is not in its canonical encoding")]
    NotCanonical {
        /// What the bytes were said to be.
        kind: Kind,
        /// The field at fault.
        field: &'static str,
    },
    /// A number outside what honest nodes send.
    #[error("{kind}: {field} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// What the bytes were said to be.
        kind: Kind,
        /// The field at fault.
        field: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The kind starts with four fixed bytes, and these are others.
    #[error("{kind}: starts with {got:?}, must start with {expected:?}")]
    WrongMagic {
        /// What the bytes were said to be.
        kind: Kind,
        /// What it starts with, as text (escaped where it is none).
        got: String,
        /// What it must start with.
        expected: &'static str,
    },
    /// The first four bytes say that this is another kind.
    #[error("asked to sign a {kind}, but the bytes start as a {found}; send them as what they are")]
    OtherIntent {
        /// What the bytes were said to be.
        kind: Kind,
        /// What the magic stands for.
        found: Kind,
    },
    /// The bytes can be read in two ways, so a signature on them could be used for the other one.
    #[error("these bytes are a {kind} and also a {also}; what can be read in two ways is never signed")]
    Ambiguous {
        /// What the bytes were said to be.
        kind: Kind,
        /// The other reading.
        also: Kind,
    },
    /// 32 bytes to be signed as they are: they could be the hash of a header.
    #[error("{kind}: a message of exactly 32 bytes could be a block hash and is never signed")]
    LooksLikeHash {
        /// What the bytes were said to be.
        kind: Kind,
    },
    /// The header carries a seal: it has been signed already, or is somebody else's.
    #[error("{kind}: the header carries a seal of {engine:?}; send it without")]
    Sealed {
        /// What the bytes were said to be.
        kind: Kind,
        /// The engine of the seal, as text.
        engine: String,
    },
    /// Not exactly one pre-runtime digest of the engine.
    #[error("{kind}: {found} pre-runtime digests of the engine, must be exactly one")]
    PreRuntimeDigests {
        /// What the bytes were said to be.
        kind: Kind,
        /// How many there are.
        found: usize,
    },
    /// A digest item this decoder does not know.
    #[error("{kind}: digest item of unknown index {index}; known are 0, 4, 5, 6 and 8")]
    UnknownDigestItem {
        /// What the bytes were said to be.
        kind: Kind,
        /// The index.
        index: u8,
    },
    /// The pre-runtime digest has another length than its variant.
    #[error("{kind}: pre-runtime digest of {got} bytes, its variant has {expected}")]
    PreDigestLength {
        /// What the bytes were said to be.
        kind: Kind,
        /// Bytes given.
        got: usize,
        /// Bytes of the variant.
        expected: usize,
    },
    /// Entries out of order or twice.
    #[error("{kind}: {field} must be sorted and without repetition")]
    NotSorted {
        /// What the bytes were said to be.
        kind: Kind,
        /// The list.
        field: &'static str,
    },
    /// An entry twice.
    #[error("{kind}: {field} names the same entry twice")]
    Duplicate {
        /// What the bytes were said to be.
        kind: Kind,
        /// The list.
        field: &'static str,
    },
    /// An address that is not a multiaddr of a known protocol.
    #[error("{kind}: address {index} is not a multiaddr: {reason}")]
    Multiaddr {
        /// What the bytes were said to be.
        kind: Kind,
        /// Which address, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}
