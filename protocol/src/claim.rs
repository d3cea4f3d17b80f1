//! A claim on a duty, and what the ledger may say of it.

use crate::{Digest, Duty, KeyId, LogIndex, Refusal};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most bytes of a carry.
pub const MAX_CARRY_BYTES: usize = 256;

/// A client of the cluster, by number. Numbers start at 1 and are never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.0)
    }
}

/// What the ledger keeps beside a statement so that a repeat gives the very bytes of the first time: for example the
/// timestamp of a vote that may be asked for again with another one. Empty where the statement is the whole payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Carry(#[serde(with = "hex_bytes")] Vec<u8>);

impl Carry {
    /// A carry: what the first payload of a duty had beside its statement.
    ///
    /// # Panics
    /// If it is longer than [`MAX_CARRY_BYTES`], which is a defect of the family.
    pub fn new(bytes: Vec<u8>) -> Self {
        assert!(bytes.len() <= MAX_CARRY_BYTES, "a carry is short");
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the statement is all of the payload.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Decode for Carry {
    fn decode<I: parity_scale_codec::Input>(input: &mut I) -> Result<Self, parity_scale_codec::Error> {
        let bytes = Vec::<u8>::decode(input)?;
        if bytes.len() > MAX_CARRY_BYTES {
            return Err("a carry longer than any there is".into());
        }
        Ok(Self(bytes))
    }
}

mod hex_bytes {
    use crate::HexBytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&HexBytes(bytes.to_vec()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        HexBytes::deserialize(d).map(|bytes| bytes.0)
    }
}

/// What a key asks to sign, bound to the digest of its statement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The key.
    pub key: KeyId,
    /// The client that asks. The serving node has already checked its rights; here it is only evidence.
    pub client: ClientId,
    /// What may be signed once.
    pub duty: Duty,
    /// Blake2b-256 of the statement, which is usually the bytes that the scheme signs.
    pub digest: Digest,
    /// What is signed although it is not part of the statement.
    pub carry: Carry,
    /// When the serving node asked, in Unix milliseconds. Recorded, never judged.
    pub time_ms: u64,
}

/// What was signed for a duty, with the evidence of who asked and when.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The digest of the statement that was granted.
    pub digest: Digest,
    /// The log entry that granted it.
    pub at: LogIndex,
    /// When it was granted, in Unix milliseconds by the clock of the node that served it.
    pub time_ms: u64,
    /// The client that asked first.
    pub client: ClientId,
    /// What was signed beside the statement.
    pub carry: Carry,
}

impl Entry {
    /// The entry that a granted claim leaves behind.
    pub fn of(claim: &Claim, at: LogIndex) -> Self {
        let Claim { client, digest, time_ms, ref carry, .. } = *claim;
        Self { digest, at, time_ms, client, carry: carry.clone() }
    }

    /// The verdict on a claim of a duty that has this entry.
    pub fn compare(&self, claim: &Claim) -> Verdict {
        if self.digest == claim.digest {
            return Verdict::Repeated { at: self.at, carry: self.carry.clone() };
        }
        Verdict::Refused(self.contradicted_by(claim))
    }

    /// The refusal of a claim that differs from what was signed for its duty.
    pub fn contradicted_by(&self, claim: &Claim) -> Refusal {
        Refusal::Equivocation {
            duty: claim.duty.clone(),
            signed: self.digest,
            asked: claim.digest,
            at: self.at,
            time_ms: self.time_ms,
            client: self.client,
        }
    }
}

/// What the ledger says of one claim. Applying the same log gives every node the same verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Verdict {
    /// The first claim of this duty: its digest is now the only one that may ever be signed.
    #[codec(index = 0)]
    Granted,
    /// The digest already recorded: the bytes of the first time may be signed again (schemes are deterministic).
    #[codec(index = 1)]
    Repeated {
        /// The log entry that granted it.
        at: LogIndex,
        /// What was signed beside the statement that time. It is signed again, whatever the payload holds now.
        #[serde(default, skip_serializing_if = "Carry::is_empty")]
        carry: Carry,
    },
    /// Not signed.
    #[codec(index = 2)]
    Refused(Refusal),
}

impl Verdict {
    /// Whether the signature may leave.
    pub const fn may_sign(&self) -> bool {
        match self {
            Self::Granted | Self::Repeated { .. } => true,
            Self::Refused(_) => false,
        }
    }
}
