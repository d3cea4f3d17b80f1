//! Why a claim is refused.

use super::{ClientId, KeyState, Position};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{
    BlockNumber, CandidateHash, Digest, Duty, DutyClass, KeyId, LogIndex, SessionIndex, Side, Slot,
    StatementKind,
};

/// Why a claim is refused. It is replicated, so it does not say what to type: the signer does. [`Self::is_final`] tells whether any node may say so from its own state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Refusal {
    /// Other bytes were signed for this duty.
    #[error(
        "{duty}: {signed} was signed already (log entry {at}, {client}), {asked} would equivocate; \
         look for a second process that uses this key"
    )]
    #[codec(index = 0)]
    Equivocation {
        /// The duty, as asked now.
        duty: Duty,
        /// The digest that was signed.
        signed: Digest,
        /// The digest asked for now.
        asked: Digest,
        /// The log entry that granted it.
        at: LogIndex,
        /// When, in Unix milliseconds of the node that served it.
        time_ms: u64,
        /// The client that asked first.
        client: ClientId,
    },
    /// The duty is older than what the ledger knows exactly.
    #[error("{asked} is below the watermark: nothing below {floor} may be signed any more")]
    #[codec(index = 1)]
    BelowWatermark {
        /// The position asked for.
        asked: Position,
        /// The lowest that may still be signed.
        floor: Position,
    },
    /// The duty is implausibly far ahead.
    #[error(
        "{asked} is more than {limit} past {reference}, the farthest this key has come; if the chain is really \
         there, raise the key's watermark"
    )]
    #[codec(index = 2)]
    JumpTooFar {
        /// The position asked for.
        asked: Position,
        /// What the jump is measured from.
        reference: Position,
        /// The limit it breaks, in the unit that jumps: sets, rounds, blocks or sessions.
        limit: u64,
    },
    /// The BEEFY shield: a vote for a block the validator's own GRANDPA key is nowhere near.
    #[error(
        "BEEFY vote for block {asked}: the GRANDPA key of this group has precommitted up to {precommitted} only \
         (slack {slack}); retry when GRANDPA has caught up"
    )]
    #[codec(index = 3)]
    BeefyAheadOfGrandpa {
        /// The block asked for.
        asked: BlockNumber,
        /// The highest target of a precommit in the present set.
        precommitted: BlockNumber,
        /// How far above it a vote may be.
        slack: u64,
    },
    /// The other side was taken on one of the candidates.
    #[error(
        "candidate {candidate} of session {session}: {signed:?} was signed already (log entry {at}, {client}), \
         {asked:?} would contradict it"
    )]
    #[codec(index = 4)]
    CrossedSides {
        /// The session.
        session: SessionIndex,
        /// The first candidate in the payload's order that crosses.
        candidate: CandidateHash,
        /// The side taken.
        signed: Side,
        /// The side asked for now.
        asked: Side,
        /// The digest of the payload that took the side.
        digest: Digest,
        /// The log entry that granted it.
        at: LogIndex,
        /// When, in Unix milliseconds of the node that served it.
        time_ms: u64,
        /// The client that asked first.
        client: ClientId,
    },
    /// So much was signed at this position that more is no honest work.
    #[error(
        "{position} has {limit} entries already: no honest node signs more there, so look for what asks so much with \
         this key; positions further on are free"
    )]
    #[codec(index = 5)]
    Crowded {
        /// The position.
        position: Position,
        /// The most entries a position holds.
        limit: u32,
    },
    /// No such key on this cluster.
    #[error("no key {key} is registered: import it, or check which cluster holds it")]
    #[codec(index = 6)]
    UnknownKey {
        /// The key.
        key: KeyId,
    },
    /// The key is registered or disabled.
    #[error("key {key} is {state}: arm it with explicit floors before it signs")]
    #[codec(index = 7)]
    KeyNotArmed {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
    },
    /// The key was removed for ever.
    #[error("key {key} was removed and never signs again")]
    #[codec(index = 8)]
    KeyRemoved {
        /// The key.
        key: KeyId,
    },
    /// The key, or its chain, has no such work; or the duty names no candidate, or too many.
    #[error("key {key} does no {class} work of this form on its chain")]
    #[codec(index = 9)]
    WrongDuty {
        /// The key.
        key: KeyId,
        /// The class asked for.
        class: DutyClass,
    },
    /// The chain counts its slots otherwise since a moment, and by that count the slot is over. Feature level 4.
    #[error(
        "slot {asked} begins before something that this key has signed, or before the moment from which the chain's slots \
         last {slot_duration_ms} ms: as slots are counted from then on, nothing before slot {floor} may be signed any more"
    )]
    #[codec(index = 70)]
    PastCounting {
        /// The slot asked for.
        asked: Slot,
        /// The first that may be signed.
        floor: Slot,
        /// The length of slots that its number goes by.
        slot_duration_ms: u64,
    },
    /// A client has shown a signature that this state knows nothing of: it was rolled back. Feature level 2.
    #[error(
        "key {key} is halted since log entry {at}: a client was given a signature for {duty} that this cluster has \
         forgotten, so it was rolled back to an older state; raise the key's watermark past everything that was \
         signed since, which lifts the halt"
    )]
    #[codec(index = 20)]
    KeyHalted {
        /// The key.
        key: KeyId,
        /// The duty that was forgotten.
        duty: Duty,
        /// The log entry that halted it.
        at: LogIndex,
    },
    /// The place of something that was signed without this cluster's ledger: two officers have ended the halt that it
    /// caused, and nothing is ever signed there. Feature level 4.
    #[error(
        "{asked} is permanently barred for key {key}, since log entry {at}: something was signed there that this cluster \
         has no record of"
    )]
    #[codec(index = 80)]
    Barred {
        /// The key.
        key: KeyId,
        /// The position asked for.
        asked: Position,
        /// The log entry that barred it.
        at: LogIndex,
    },
    /// The other side was taken on one of the candidates. From [`GUARDED_LEVEL`](crate::GUARDED_LEVEL) on, where the
    /// evidence is in the audit.
    #[error(
        "candidate {candidate} of session {session}: {signed:?} was signed already, {asked:?} would contradict it; the \
         audit has when and for whom"
    )]
    #[codec(index = 90)]
    OtherSide {
        /// The session.
        session: SessionIndex,
        /// The first candidate in the payload's order that crosses.
        candidate: CandidateHash,
        /// The side taken.
        signed: Side,
        /// The side asked for now.
        asked: Side,
    },
    /// The candidate was backed by the other statement. Since [`GUARDED_LEVEL`](crate::GUARDED_LEVEL).
    #[error(
        "candidate {candidate} of session {session}: {}, {asked} beside it would be a second statement; the audit has \
         when and for whom",
        signed_statement(*signed)
    )]
    #[codec(index = 91)]
    OtherStatement {
        /// The session.
        session: SessionIndex,
        /// The candidate.
        candidate: CandidateHash,
        /// The statement that was signed; none if the side was taken when statements were not told apart.
        signed: Option<StatementKind>,
        /// The statement asked for now.
        asked: StatementKind,
    },
}

fn signed_statement(signed: Option<StatementKind>) -> String {
    match signed {
        Some(signed) => format!("{signed} was signed already"),
        None => "a signature from before the cluster told statements apart exists".into(),
    }
}

impl Refusal {
    /// Whether no later entry of the log can change it: any node that has applied so far may say it, and a client
    /// need not retry. The others can turn (the key is armed, the watermark raised, GRANDPA goes on).
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Equivocation { .. }
            | Self::BelowWatermark { .. }
            | Self::CrossedSides { .. }
            | Self::Crowded { .. }
            | Self::Barred { .. }
            | Self::KeyRemoved { .. }
            | Self::WrongDuty { .. }
            | Self::OtherSide { .. }
            | Self::OtherStatement { .. } => true,
            // A moment that was named wrong can be taken back.
            Self::PastCounting { .. }
            | Self::JumpTooFar { .. }
            | Self::BeefyAheadOfGrandpa { .. }
            | Self::UnknownKey { .. }
            | Self::KeyNotArmed { .. }
            | Self::KeyHalted { .. } => false,
        }
    }
}
