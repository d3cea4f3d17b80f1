//! What the cluster speaks of: keys, chains, clients, members, floors, claims and what may be said of a claim.
//!
//! Plain values with the rules that need nothing but the value itself. The log carries them, the ledger and the registry
//! keep them; nothing here knows how. It imports nothing else of the crate. Chains, claims and refusals are the
//! protocol's, as families speak of them too.

mod audit;
mod backup;
mod client;
mod configuration;
mod fingerprint;
mod floor;
mod formats;
mod key;
mod level;
mod member;
mod placement;
mod request;
mod role;
mod timing;

pub use audit::{AuditHead, AuditNote, AuditSignature, NotedAnswer};
pub use backup::{BackupName, Barred, BarredPlace, BuriedClient, BuriedKey, LeftKey, RestoreStep};
pub use client::{
    Client, ClientLimits, ClientState, DEFAULT_KEY_LIMIT, KeyAllowance, KeySelector, MAX_CLIENT_LIMIT,
    MAX_KEY_LIMIT, Right,
};
pub use configuration::Configuration;
pub use fingerprint::Fingerprint;
pub(crate) use floor::FloorError;
pub use floor::Floors;
pub use formats::{Formats, OtherFormats};
pub use key::{Envelope, Key, MAX_ENVELOPE_LEN, Resealed};
pub use level::{FEATURE_LEVEL, FIRST_LEVEL};
pub use member::{JoinToken, Member, MemberHazard, MemberRole, MemberState};
pub use placement::{LeaderPin, NodeNote, PlacementChange};
pub use request::RequestId;
pub use role::{ADMIN_ACTOR, Actor, LOCAL_ACTOR, Role, admin_actor, client_actor, node_actor};
pub use signonce_protocol::{
    Chain, Claim, ClientId, KeyState, MAX_SLOT_JUMP_MS, Position, Refusal, Retiming, SlotClock, Verdict,
};
pub use timing::{DEFAULT_SLOT_TOLERANCE, MAX_SLOT_TOLERANCE};
