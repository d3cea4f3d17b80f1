//! The pure core of a cluster: what may be signed ([`ledger`]), who may ask and with which keys ([`registry`]),
//! the commands of the replicated log ([`command`]), the state they make ([`state`]), and one member of the raft
//! group that agrees on them ([`replica`]).
//!
//! Nothing here does I/O, reads a clock or draws a random number: every node that applies the same log holds the
//! same [`State`], byte for byte. Callers propose [`Command`]s, apply what was committed with [`State::apply`],
//! write [`State::take_changes`] in the same batch as the applied index, and release a signature only for a
//! [`Verdict::Granted`] or [`Verdict::Repeated`] that came from a committed command.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod audit;
pub mod codec;
pub mod command;
#[cfg(test)]
mod golden;
pub mod ledger;
#[cfg(signonce_sim)]
pub mod mutation;
pub mod records;
pub mod registry;
pub mod replica;
pub mod roles;
pub mod state;

pub use audit::{AuditEvent, AuditHead, AuditNote, AuditRecord, AuditRow, AuditSignature, NotedAnswer};
pub use codec::{CodecError, decode_record, encode_record, open_record, seal_record};
pub use command::{
    Change, ChangeDone, ChangeError, ClaimRequest, Command, FEATURE_LEVEL, Floors, GUARDED_LEVEL, RequestId,
};
pub use ledger::{Claim, Coverage, Position, Refusal, SignedDuty, Verdict, WatermarkView};
pub use records::{RecordChange, StateHash, Table, TableSize};
pub use registry::{
    BackupName, Barred, BarredPlace, BuriedClient, BuriedKey, Chain, Client, ClientId, ClientLimits,
    ClientState, DEFAULT_SLOT_TOLERANCE, Drill, Envelope, Halt, JoinToken, Key, KeyAllowance, KeySelector,
    KeyState, LeaderPin, LeftKey, Limits, MAX_SLOT_JUMP_MS, MAX_SLOT_TOLERANCE, Member, MemberRole,
    MemberState, Membership, NodeNote, OfficerPin, Origin, PlacementChange, Registry, Resealed, RestoreStep,
    Retiming, Right, SlotClock, Standing,
};
pub use roles::{ChangeKind, Officers, Proposal, ProposalDecision, Role};
pub use state::{ApplyError, CHECKPOINT_EVERY, Outcome, RestoreError, SnapshotWriter, State, is_name};
