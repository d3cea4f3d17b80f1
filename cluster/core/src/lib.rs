//! The pure core of a cluster: what it speaks of ([`model`]), the commands of the replicated log ([`log`]), what may be
//! signed ([`ledger`]), who may ask and with which keys ([`registry`]), who asked what ([`audit`]), the state they make
//! ([`state`]), and one member of the raft group that agrees on them ([`replica`]). Each imports only those before it:
//! `tests/layers.rs`.
//!
//! Nothing here does I/O, reads a clock or draws a random number: every node that applies the same log holds the
//! same [`State`], byte for byte. Callers propose [`Command`]s, apply what was committed with [`State::apply`],
//! write [`State::take_changes`] in the same batch as the applied index, and release a signature only for a
//! [`Verdict::Granted`] or [`Verdict::Repeated`] that came from a committed command.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod audit;
pub mod codec;
#[cfg(test)]
mod golden;
pub mod ledger;
pub mod log;
#[cfg(test)]
#[path = "../../../protocol/tests/made_up/mod.rs"]
mod made_up;
pub mod model;
#[cfg(signonce_sim)]
pub mod mutation;
pub mod records;
pub mod registry;
pub mod replica;
pub mod state;

pub use audit::{AuditEvent, AuditRecord, AuditRow, MAX_NOTE_TEXT, MAX_NOTES};
pub use codec::{CodecError, decode_record, encode_record, open_record, seal_record};
pub use ledger::{Coverage, SignedDuty, WatermarkView};
pub use log::{
    Change, ChangeDone, ChangeError, ChangeKind, ClaimRequest, Command, Second,
    error::{
        BackupError, ChainError, ClientError, Counted, FeatureError, HaltError, InputError, KeyError,
        KeyStep, MemberError, OfficerError, ProposalError,
    },
};
pub use model::{
    ADMIN_ACTOR, Actor, AuditHead, AuditNote, AuditSignature, BackupName, Barred, BarredPlace, BuriedClient,
    BuriedKey, Chain, Claim, Client, ClientId, ClientLimits, ClientState, Configuration, DEFAULT_KEY_LIMIT,
    DEFAULT_SLOT_TOLERANCE, Envelope, FEATURE_LEVEL, FIRST_LEVEL, Fingerprint, Floors, Formats, JoinToken,
    Key, KeyAllowance, KeySelector, KeyState, LOCAL_ACTOR, LeaderPin, LeftKey, MAX_CLIENT_LIMIT,
    MAX_ENVELOPE_LEN, MAX_KEY_LIMIT, MAX_SLOT_JUMP_MS, MAX_SLOT_TOLERANCE, Member, MemberHazard, MemberRole,
    MemberState, NodeNote, NotedAnswer, PlacementChange, Position, Refusal, RequestId, Resealed, RestoreStep,
    Retiming, Right, Role, SlotClock, Verdict, admin_actor, client_actor, node_actor,
};
pub use records::{RecordChange, StateHash, Table, TableSize};
pub use registry::{
    Drill, Halt, Membership, OfficerPin, Officers, Origin, PROPOSAL_LIFE_MS, Proposal, ProposalDecision,
    Registry, Standing,
};
pub use state::{ApplyError, CHECKPOINT_EVERY, Outcome, RestoreError, SnapshotWriter, State, is_name};
