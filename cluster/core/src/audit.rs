//! The audit log: who asked what and what was answered, as a chain of records.
//!
//! Every node derives the same records from the same log: a claim with its verdict, a change with who wanted it, and
//! what nodes note of requests that never reach the log ([`Change::RecordAudit`]). [`State::apply`](crate::State)
//! makes them; the node stores what [`State::take_audit`](crate::State::take_audit) hands out
//! in the batch of the entry that made it. Only the [`AuditHead`] is part of the replicated state (and so of its
//! hash and of snapshots): the records themselves may be pruned, and a node that came by a snapshot lacks those
//! before it.
//!
//! The chain: `after = blake2b-256(before ‖ blake2b-256(record))`. Because the record goes in as its hash, an excerpt
//! can leave a record's content out and still be checked.

use crate::{
    codec::{CodecError, decode_record, encode_record},
    log::{
        Change, ChangeError, ClaimRequest,
        error::{InputError, OfficerError},
    },
    model::{AuditHead, AuditNote, AuditSignature, ClientId, NotedAnswer, RequestId, Verdict},
};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{Carry, Digest, Duty, Hash, KeyId, LogIndex, NodeId, blake2_256};

/// The version of a record's bytes.
const AUDIT_VERSION: u8 = 1;

/// Bytes of the chain hash in front of a stored record.
const HASH_BYTES: usize = 32;

/// The most notes one change may carry.
pub const MAX_NOTES: usize = 256;

/// The longest text in a note.
pub const MAX_NOTE_TEXT: usize = 512;

/// The most bytes of certificates and signature in a signed head.
const MAX_SIGNED_BYTES: usize = 16 * 1024;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// The log entry that made it.
    pub at: LogIndex,
    /// When, in Unix milliseconds, as the node said that brought it into the log.
    pub time_ms: u64,
    /// What happened.
    pub event: AuditEvent,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum AuditEvent {
    /// A claim was judged.
    #[codec(index = 0)]
    Claim {
        /// The request; its node served it.
        request: RequestId,
        /// Who asked.
        client: ClientId,
        /// The key.
        key: KeyId,
        /// What was to be signed once.
        duty: Duty,
        /// Of the statement that was to be signed.
        digest: Digest,
        /// What was to be signed beside it.
        #[serde(default, skip_serializing_if = "Carry::is_empty")]
        carry: Carry,
        /// The verdict.
        answer: Verdict,
    },
    /// An operator, or a node, changed something, or tried to.
    #[codec(index = 1)]
    Change {
        /// The request; its node served it.
        request: RequestId,
        /// Who wanted it.
        actor: String,
        /// The change, with hashes in the place of envelopes and tokens.
        change: Box<Change>,
        /// Why it was not made.
        refused: Option<ChangeError>,
    },
    /// A node tells of requests that it answered by itself.
    #[codec(index = 2)]
    Noted {
        /// The node.
        node: NodeId,
        /// What it tells.
        note: AuditNote,
    },
    /// A node signed the chain as it was.
    #[codec(index = 3)]
    Signed(AuditSignature),
}

/// What a node signs: that in this cluster the chain before record `next` is `chain`.
pub fn signed_bytes(cluster: &str, node: NodeId, next: u64, chain: &Hash) -> Vec<u8> {
    (b"signonce audit head 1", cluster.to_ascii_lowercase(), node, next, chain).encode()
}

impl AuditRecord {
    pub(crate) fn of_claim(at: LogIndex, asked: ClaimRequest, answer: Verdict) -> Self {
        let ClaimRequest { request, claim } = asked;
        let event = AuditEvent::Claim {
            request,
            client: claim.client,
            key: claim.key,
            duty: claim.duty,
            digest: claim.digest,
            carry: claim.carry,
            answer,
        };
        Self { at, time_ms: claim.time_ms, event }
    }

    /// The bytes that are stored and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_record(AUDIT_VERSION, self)
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// # Errors
    /// Any [`CodecError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        decode_record(AUDIT_VERSION, "audit record", bytes)
    }

    /// What goes into the chain.
    pub fn hash(&self) -> Hash {
        Hash(blake2_256(&self.to_bytes()))
    }
}

/// The chain hash after a record.
pub fn chain_after(before: &Hash, record: &Hash) -> Hash {
    let mut input = [0; 2 * HASH_BYTES];
    input[..HASH_BYTES].copy_from_slice(&before.0);
    input[HASH_BYTES..].copy_from_slice(&record.0);
    Hash(blake2_256(&input))
}

impl AuditHead {
    /// Puts a record at the end of the chain.
    pub(crate) fn append(&mut self, record: &AuditRecord) -> AuditRow {
        let bytes = record.to_bytes();
        let row = AuditRow { seq: self.next, before: self.chain, record: bytes };
        self.next += 1;
        self.chain = row.after();
        self.events += u64::from(!matches!(record.event, AuditEvent::Signed(_)));
        row
    }
}

/// A record with its place in the chain, as a node stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number.
    pub seq: u64,
    /// The chain hash before it.
    pub before: Hash,
    /// [`AuditRecord::to_bytes`].
    pub record: Vec<u8>,
}

impl AuditRow {
    /// The chain hash after it.
    pub fn after(&self) -> Hash {
        chain_after(&self.before, &Hash(blake2_256(&self.record)))
    }

    /// Its key and value in the node's table.
    pub fn to_stored(&self) -> (Vec<u8>, Vec<u8>) {
        let mut value = Vec::with_capacity(HASH_BYTES + self.record.len());
        value.extend_from_slice(&self.before.0);
        value.extend_from_slice(&self.record);
        (Self::stored_key(self.seq), value)
    }

    /// The key of record `seq` in the node's table.
    pub fn stored_key(seq: u64) -> Vec<u8> {
        seq.to_be_bytes().to_vec()
    }

    /// Reads [`Self::to_stored`].
    ///
    /// # Errors
    /// If it is no such row. The record itself is not looked at.
    pub fn from_stored(key: &[u8], value: &[u8]) -> Result<Self, CodecError> {
        let seq = u64::from_be_bytes(key.try_into().map_err(|_| CodecError::TooShort { len: key.len() })?);
        let (before, record) =
            value.split_first_chunk::<HASH_BYTES>().ok_or(CodecError::TooShort { len: value.len() })?;
        Ok(Self { seq, before: Hash(*before), record: record.to_vec() })
    }
}

/// What a change becomes in the audit.
pub(crate) enum Audited {
    /// The change itself, without secrets.
    Change(Box<Change>),
    /// What it brings along.
    Notes(Vec<AuditNote>),
    /// A signature.
    Signature(AuditSignature),
}

impl Audited {
    pub(crate) fn of(change: &Change) -> Self {
        match change {
            Change::RecordAudit { notes } => Self::Notes(notes.clone()),
            Change::SignAudit(signature) => Self::Signature(signature.clone()),
            other => {
                let mut change = Box::new(other.clone());
                change.redact();
                Self::Change(change)
            }
        }
    }

    /// The records of the change, which `actor` wanted and which ended with `refused`.
    pub(crate) fn into_records(
        self,
        at: LogIndex,
        request: RequestId,
        actor: String,
        time_ms: u64,
        refused: Option<ChangeError>,
    ) -> Vec<AuditRecord> {
        let record = |event| AuditRecord { at, time_ms, event };
        match (self, refused) {
            (Self::Change(change), refused) => {
                vec![record(AuditEvent::Change { request, actor, change, refused })]
            }
            (Self::Notes(notes), None) => {
                let noted = |note| record(AuditEvent::Noted { node: request.node, note });
                notes.into_iter().map(noted).collect()
            }
            (Self::Signature(signature), None) => vec![record(AuditEvent::Signed(signature))],
            // That somebody tried to write here what is not his to write is itself worth a record; what he wrote is not.
            (
                Self::Notes(_),
                refused @ Some(
                    ChangeError::Officer(OfficerError::NotForOfficers { .. })
                    | ChangeError::Officer(OfficerError::SpeaksForAnother { .. }),
                ),
            ) => {
                let change = Box::new(Change::RecordAudit { notes: Vec::new() });
                vec![record(AuditEvent::Change { request, actor, change, refused })]
            }
            (
                Self::Signature(signature),
                refused @ Some(
                    ChangeError::Officer(OfficerError::NotForOfficers { .. })
                    | ChangeError::Officer(OfficerError::SpeaksForAnother { .. }),
                ),
            ) => {
                let empty = AuditSignature { certificates: Vec::new(), signature: Vec::new(), ..signature };
                let change = Box::new(Change::SignAudit(empty));
                vec![record(AuditEvent::Change { request, actor, change, refused })]
            }
            (Self::Notes(_) | Self::Signature(_), Some(_)) => Vec::new(),
        }
    }
}

/// Whether notes have a sensible size.
pub(crate) fn check_notes(notes: &[AuditNote]) -> Result<(), ChangeError> {
    limit("notes", notes.len(), MAX_NOTES)?;
    for note in notes {
        if let NotedAnswer::Refused { code, duty, digest: _, why } = &note.answer {
            limit("bytes in a note", code.len() + why.len(), 2 * MAX_NOTE_TEXT)?;
            limit(
                "bytes in a note's duty",
                duty.as_ref().map_or(0, Encode::encoded_size),
                2 * MAX_NOTE_TEXT,
            )?;
        }
    }
    Ok(())
}

/// Whether a signature has a sensible size. Whether it is one is for those to find out who read the audit: a state
/// machine knows no certificates.
pub(crate) fn check_signature(signature: &AuditSignature) -> Result<(), ChangeError> {
    let bytes = signature.certificates.iter().map(Vec::len).sum::<usize>() + signature.signature.len();
    limit("bytes of certificates and signature", bytes, MAX_SIGNED_BYTES)
}

fn limit(what: &str, len: usize, limit: usize) -> Result<(), ChangeError> {
    if len <= limit {
        return Ok(());
    }
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Err(ChangeError::Input(InputError::AuditTooLarge {
        what: what.into(),
        len: number(len),
        limit: number(limit),
    }))
}
