//! What the cluster speaks of: keys, chains, clients, members, floors, claims and what may be said of a claim.
//!
//! Plain values with the rules that need nothing but the value itself. The log carries them, the ledger and the registry
//! keep them; nothing here knows how. It imports nothing else of the crate.

mod audit;
mod backup;
mod chain;
mod claim;
mod client;
mod configuration;
mod floor;
mod key;
mod level;
mod member;
mod placement;
mod position;
mod refusal;
mod request;
mod role;
mod timing;

pub use audit::{AuditHead, AuditNote, AuditSignature, NotedAnswer};
pub use backup::{BackupName, Barred, BarredPlace, BuriedClient, BuriedKey, LeftKey, RestoreStep};
pub use chain::{Chain, Limits};
pub use claim::{Claim, Verdict};
pub use client::{
    Client, ClientId, ClientLimits, ClientState, DEFAULT_KEY_LIMIT, KeyAllowance, KeySelector,
    MAX_CLIENT_LIMIT, MAX_KEY_LIMIT, Right,
};
pub use configuration::Configuration;
pub use floor::Floors;
pub(crate) use floor::{FloorError, claimed_class};
pub use key::{Envelope, Key, KeyState, MAX_ENVELOPE_LEN, Resealed};
pub use level::{AUDIT_LEVEL, FEATURE_LEVEL, GUARDED_LEVEL, PINNED_LEVEL};
pub use member::{JoinToken, Member, MemberHazard, MemberRole, MemberState};
pub use placement::{LeaderPin, NodeNote, PlacementChange};
pub use position::Position;
pub use refusal::Refusal;
pub use request::RequestId;
pub use role::{ADMIN_ACTOR, Actor, LOCAL_ACTOR, Role, admin_actor, client_actor, node_actor};
pub use timing::{DEFAULT_SLOT_TOLERANCE, MAX_SLOT_JUMP_MS, MAX_SLOT_TOLERANCE, Retiming, SlotClock};
