//! The numbers and hashes of Substrate chains that must never be mixed up.

use sha3::Digest as _;
use signonce_protocol::{hash32, number};

number!(
    /// The index of a BABE epoch.
    EpochIndex(u64)
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
    /// A block number, of either width.
    BlockNumber(u64)
);
hash32!(
    /// The hash of a parachain candidate.
    CandidateHash
);

/// Keccak-256: the hash under BEEFY signatures.
pub fn keccak_256(bytes: &[u8]) -> [u8; 32] {
    sha3::Keccak256::digest(bytes).into()
}
