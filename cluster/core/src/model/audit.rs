//! What nodes say for the audit, and where its chain is. The records themselves are made in `audit`.

use super::{ClientId, RequestId};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{Digest, Duty, DutyClass, Hash, NodeId, PublicKey};

/// Requests of one kind that a node answered without the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditNote {
    /// Who asked; none for a certificate that is nobody's.
    pub client: Option<ClientId>,
    /// The key, as asked for.
    pub key: Option<PublicKey>,
    /// What was answered.
    pub answer: NotedAnswer,
    /// How many there were.
    pub count: u64,
    /// When the first was, in Unix milliseconds.
    pub first_ms: u64,
    /// When the last was.
    pub last_ms: u64,
    /// The last one.
    pub request: RequestId,
}

/// An answer that did not come from the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum NotedAnswer {
    /// Refused: by rights, as malformed, by the clock, or from what the ledger has decided before.
    #[codec(index = 0)]
    Refused {
        /// The code that the client got.
        code: String,
        /// The duty asked for, if the payload was read and there was room to tell duties apart.
        duty: Option<Duty>,
        /// The digest of the bytes, as for `duty`.
        digest: Option<Digest>,
        /// What the client was told, the last time.
        why: String,
    },
    /// Signed: work that uses nothing up.
    #[codec(index = 1)]
    Free {
        /// The class of work.
        class: DutyClass,
    },
}

impl AuditNote {
    /// The feature level of the family whose work it tells of, if it says whose.
    pub(crate) fn family_level(&self) -> Option<u32> {
        let class = match &self.answer {
            NotedAnswer::Refused { duty, .. } => duty.as_ref().map(Duty::class),
            NotedAnswer::Free { class } => Some(*class),
        };
        class.map(|class| class.level())
    }
}

/// A node's signature of the chain up to a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditSignature {
    /// The node.
    pub node: NodeId,
    /// The number of the first record it does not cover.
    pub next: u64,
    /// The chain hash before that record.
    pub chain: Hash,
    /// The node's certificate with its chain, DER, leaf first.
    #[serde(with = "hex_list")]
    pub certificates: Vec<Vec<u8>>,
    /// The number of the signature scheme in TLS.
    pub scheme: u16,
    /// The signature of [`signed_bytes`](crate::audit::signed_bytes).
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
}

/// Where the chain is: part of the replicated state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditHead {
    /// The number of the next record; the first has number 0.
    pub next: u64,
    /// The hash after the last record; zeros before the first.
    pub chain: Hash,
    /// How many of the records are no signatures: a node signs again when this has moved.
    pub events: u64,
}

mod hex_bytes {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use signonce_protocol::HexBytes;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        HexBytes(bytes.to_vec()).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        HexBytes::deserialize(d).map(|bytes| bytes.0)
    }
}
mod hex_list {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use signonce_protocol::HexBytes;

    pub(super) fn serialize<S: Serializer>(list: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(list.iter().map(|bytes| HexBytes(bytes.clone())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Vec::<HexBytes>::deserialize(d).map(|list| list.into_iter().map(|bytes| bytes.0).collect())
    }
}
