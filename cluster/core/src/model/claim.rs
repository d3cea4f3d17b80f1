//! A claim on a duty, and what the ledger may say of it.

use super::{ClientId, Refusal};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{Digest, Duty, KeyId, LogIndex};

/// What a key asks to sign, bound to the digest of the exact bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The key.
    pub key: KeyId,
    /// The client that asks. Its rights were judged by the serving node; here it is evidence only.
    pub client: ClientId,
    /// What may be signed once.
    pub duty: Duty,
    /// Blake2b-256 of the bytes for the signature scheme.
    pub digest: Digest,
    /// When the serving node asked, in Unix milliseconds. Recorded, never judged.
    pub time_ms: u64,
}

impl Claim {
    /// Whether it is of a form that members of an older version cannot read. Such a claim waits for
    /// [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
    pub const fn is_guarded(&self) -> bool {
        matches!(self.duty, Duty::ParaStatement { .. })
    }
}

/// What the ledger says of one claim. Applying the same log gives every node the same verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Verdict {
    /// First claim of this duty: the digest is now the only one that may ever be signed.
    #[codec(index = 0)]
    Granted,
    /// The digest already recorded: the same bytes may be signed again (schemes are deterministic). Below
    /// [`GUARDED_LEVEL`](crate::GUARDED_LEVEL), of a side on candidates: the side already taken on all of them, whatever
    /// the bytes.
    #[codec(index = 1)]
    Repeated {
        /// The entry that granted it; for several candidates the latest.
        at: LogIndex,
    },
    /// Signing would, or could, equivocate, or the key does not do such work.
    #[codec(index = 2)]
    Refused(Refusal),
}

impl Verdict {
    /// Whether the signature may be released, once this verdict comes from a committed command.
    pub const fn may_sign(&self) -> bool {
        matches!(self, Self::Granted | Self::Repeated { .. })
    }
}
