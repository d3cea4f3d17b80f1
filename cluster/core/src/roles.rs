//! Who may make which change: the roles of operators, and which changes can be made to need two of them.
//!
//! The log names whoever wanted a change. Operators are `admin:NAME#0xKEY` (the name in their certificate and the hash
//! of its key; below feature level 3 the name alone) and `local:uid=N` (the unix socket of a signer's own machine);
//! everyone else in the log is a signer that acts for itself (`node:N`) or for a client (`client:NAME`). Signers have no
//! role, and what is theirs to say no role may say for them. The state machine asks these tables before it makes a
//! change, so no race and no bypass on a serving node matters.

use crate::{
    command::{Change, GUARDED_LEVEL},
    registry::PlacementChange,
};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{LogIndex, NodeId};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// What an operator may do. Each role may do what the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Read-only.
    #[codec(index = 0)]
    Viewer,
    /// Keeps the machines running and takes away: members, leadership, limits, disabling keys, removing clients.
    #[codec(index = 1)]
    Operator,
    /// Decides who may have what signed: keys, chains, rights, watermarks, officers.
    #[codec(index = 2)]
    KeyOfficer,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::KeyOfficer];

    /// As operators write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::KeyOfficer => "key-officer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("{text:?} is no role: it must be viewer, operator or key-officer"))
    }
}

/// What the log calls an operator with a certificate; the name in the certificate follows.
pub const ADMIN_ACTOR: &str = "admin:";
/// What the log calls an operator on the unix socket; the user's number follows.
pub const LOCAL_ACTOR: &str = "local:uid=";

/// What the log calls a signer that acts for itself; its node id follows.
const NODE_ACTOR: &str = "node:";
/// What the log calls a signer that acts for a client; the client's name follows.
const CLIENT_ACTOR: &str = "client:";

/// What the log calls the node itself.
pub fn node_actor(node: NodeId) -> String {
    format!("{NODE_ACTOR}{node}")
}

/// What the log calls a node that acts for the client with this name.
pub fn client_actor(name: &str) -> String {
    format!("{CLIENT_ACTOR}{name}")
}

/// Between an admin's name and its certificate. No name has it: [`admin_actor`].
const CERTIFICATE: char = '#';
/// Since when the log names the certificate of an operator, and an officer can be pinned to one.
pub const PINNED_LEVEL: u32 = 3;

/// Who wanted something, as the log names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor<'a> {
    /// An operator with a certificate.
    Admin {
        /// The name in it.
        name: &'a str,
        /// SHA-256 of its SubjectPublicKeyInfo; none below [`PINNED_LEVEL`].
        certificate: Option<[u8; 32]>,
    },
    /// An operator on the unix socket of a signer.
    Local {
        /// The user, after the prefix.
        user: &'a str,
    },
    /// A signer, for itself or for a client.
    Signer,
}

impl<'a> Actor<'a> {
    /// Reads what stands in a log entry of a cluster at this feature level. Below [`PINNED_LEVEL`] everything after
    /// the prefix is the name, as older programs read it.
    pub fn of(actor: &'a str, level: u32) -> Self {
        if let Some(user) = actor.strip_prefix(LOCAL_ACTOR) {
            return Self::Local { user };
        }
        let Some(name) = actor.strip_prefix(ADMIN_ACTOR) else { return Self::Signer };
        let with_key = || {
            let (name, digits) = name.rsplit_once(CERTIFICATE)?;
            let mut certificate = [0; 32];
            hex::decode_to_slice(digits.strip_prefix("0x")?, &mut certificate).ok()?;
            Some(Self::Admin { name, certificate: Some(certificate) })
        };
        let with_key = if level >= PINNED_LEVEL { with_key() } else { None };
        with_key.unwrap_or(Self::Admin { name, certificate: None })
    }

    /// Whether both are one person, as far as the cluster can tell. One name is, whatever its certificates; and one
    /// certificate key is, whatever names it comes with. The sockets of all signers together are one: whoever is root
    /// on one of them is every user there, and often root on the others too.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Admin { name, certificate }, Self::Admin { name: other, certificate: key }) => {
                name == other || (certificate.is_some() && certificate == key)
            }
            (Self::Local { .. }, Self::Local { .. }) => true,
            (Self::Admin { .. } | Self::Local { .. } | Self::Signer, _) => false,
        }
    }
}

/// What the log calls the operator who has shown a certificate with this name and key.
pub fn admin_actor(name: &str, certificate: &[u8; 32], level: u32) -> String {
    if level < PINNED_LEVEL {
        return format!("{ADMIN_ACTOR}{name}");
    }
    format!("{ADMIN_ACTOR}{name}{CERTIFICATE}0x{}", hex::encode(certificate))
}

/// Who may operate the cluster, and whether dangerous changes take two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Officers {
    /// By the name in the certificate. While it is empty, every admin certificate is a key officer's. The key of the
    /// certificate stands in [`OfficerPin`](crate::registry::OfficerPin).
    pub roles: BTreeMap<String, Role>,
    /// Whether dangerous changes wait for a second key officer.
    pub require_approval: bool,
}

impl Officers {
    /// How many key officers have certificates.
    pub fn key_officers(&self) -> usize {
        self.roles.values().filter(|role| **role == Role::KeyOfficer).count()
    }
}

/// A dangerous change that waits for, or got, the word of a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The log entry that proposed it.
    pub id: LogIndex,
    /// Who did.
    pub by: String,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
    /// What is to be done.
    pub change: Change,
    /// What became of it.
    pub decision: Option<ProposalDecision>,
}

/// The word of a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalDecision {
    /// Whose.
    pub by: String,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
    /// In which log entry; an approved change was made by it.
    pub at: LogIndex,
    /// Yes or no.
    pub approved: bool,
}

/// How long a proposal waits: a day, by the recorded times of the two entries.
pub const PROPOSAL_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;

impl Proposal {
    /// Whether it can still be approved by an entry of that time.
    pub fn is_open(&self, time_ms: u64) -> bool {
        self.decision.is_none() && !self.has_expired(time_ms)
    }

    /// Whether it has waited too long at that time.
    pub fn has_expired(&self, time_ms: u64) -> bool {
        time_ms.saturating_sub(self.time_ms) > PROPOSAL_LIFE_MS
    }
}

/// Whether a second key officer has to agree to a change, where approval is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// No: it takes something away that can be given back, or moves nothing that keys depend on.
    Never,
    /// Yes, from this feature level on: it cannot be taken back, gives somebody more than he had, or takes the word of
    /// one person for where a key has signed before.
    Always(u32),
    /// From this feature level on, if this very change is like that: the state machine looks.
    Depends(u32),
}

const SIGNERS: Option<Role> = None;
const OPERATOR: Option<Role> = Some(Role::Operator);
const KEY_OFFICER: Option<Role> = Some(Role::KeyOfficer);

macro_rules! changes {
    ($($kind:ident = $name:literal, $role:ident, $second:expr;)*) => {
        /// A [`Change`] without what it is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ChangeKind {
            $(#[doc = concat!("[`Change::", stringify!($kind), "`]")] $kind,)*
        }

        impl ChangeKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// As it is called in JSON and in logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The least role that may make it; of a single change [`Change::least_role`] knows better. `None` for what
            /// signers alone say of themselves.
            pub const fn least_role(self) -> Option<Role> {
                match self { $(Self::$kind => $role,)* }
            }

            /// Whether it takes two.
            pub const fn second(self) -> Second {
                match self { $(Self::$kind => $second,)* }
            }
        }

        impl Change {
            /// What kind of change it is.
            pub const fn kind(&self) -> ChangeKind {
                match self { $(Self::$kind { .. } => ChangeKind::$kind,)* }
            }
        }
    };
}

impl Change {
    /// The least role that may make this very change. `None` for what signers alone say of themselves.
    pub const fn least_role(&self) -> Option<Role> {
        if let Self::Place(change) = self {
            return match change {
                // The wish for a leader is an operator's; where a node stands the node says.
                PlacementChange::Pin(_) => ChangeKind::Place.least_role(),
                PlacementChange::Note { .. } => SIGNERS,
            };
        }
        self.kind().least_role()
    }
}

use Second::{Always, Depends, Never};

// The one table of who may do what. `docs/operate/clients.md` shows it to operators.
changes! {
    // Signers, of themselves.
    AnnounceMember = "announceMember", SIGNERS, Never;
    JoinMember = "joinMember", SIGNERS, Never;
    AddGeneratedKey = "addGeneratedKey", SIGNERS, Never;
    ResealKeys = "resealKeys", SIGNERS, Never;
    RecordAudit = "recordAudit", SIGNERS, Never;
    SignAudit = "signAudit", SIGNERS, Never;
    HaltKey = "haltKey", SIGNERS, Never;
    WidenTolerance = "widenTolerance", SIGNERS, Never;
    // Keeping the machines running, and taking away.
    DisableKey = "disableKey", OPERATOR, Never;
    RemoveClient = "removeClient", OPERATOR, Never;
    SetClientLimits = "setClientLimits", OPERATOR, Never;
    // Two have agreed to the invitation.
    PromoteMember = "promoteMember", OPERATOR, Never;
    Place = "place", OPERATOR, Never;
    RaiseFeatureLevel = "raiseFeatureLevel", OPERATOR, Never;
    // Chains and keys. What is registered signs nothing before it is armed.
    AddChain = "addChain", KEY_OFFICER, Never;
    // Limits that stop a broken node from voting in a bogus future: wider is less of them.
    SetLimits = "setLimits", KEY_OFFICER, Depends(3);
    // By it numbers below every floor are signed.
    RetimeChain = "retimeChain", KEY_OFFICER, Always(4);
    TakeBackTiming = "takeBackTiming", KEY_OFFICER, Always(4);
    RegisterKey = "registerKey", KEY_OFFICER, Never;
    // A bad envelope is a lost key.
    ResealKey = "resealKey", KEY_OFFICER, Always(3);
    // A floor that somebody names is somebody's word, a key's own one too: it may have signed elsewhere since. (Below
    // the guarded level one may arm a key from its own floor, and one without a watermark.)
    ArmKey = "armKey", KEY_OFFICER, Always(2);
    RemoveKey = "removeKey", KEY_OFFICER, Always(2);
    // No floor comes down again, and it ends a halt.
    RaiseWatermark = "raiseWatermark", KEY_OFFICER, Always(3);
    ImportWatermarks = "importWatermarks", KEY_OFFICER, Always(2);
    // Their word for where the key has signed, against what was shown.
    LiftHalt = "liftHalt", KEY_OFFICER, Always(GUARDED_LEVEL);
    // Clients. More rights, or the same for another certificate.
    AddClient = "addClient", KEY_OFFICER, Depends(3);
    UpdateClient = "updateClient", KEY_OFFICER, Depends(3);
    RotateClient = "rotateClient", KEY_OFFICER, Always(3);
    // Of two certificates that were agreed to, one goes.
    FinishRotation = "finishRotation", KEY_OFFICER, Never;
    // A key in a group counts for the BEEFY shield of the others.
    SetKeyAllowance = "setKeyAllowance", KEY_OFFICER, Depends(3);
    // Members. Whoever joins gets every key, sealed to it.
    AddMember = "addMember", KEY_OFFICER, Always(3);
    // Not for an invitation that nobody has used.
    RemoveMember = "removeMember", KEY_OFFICER, Depends(2);
    // Refused anywhere but in an empty cluster, which has no officers yet.
    Restore = "restore", KEY_OFFICER, Never;
    // Officers.
    SetOfficer = "setOfficer", KEY_OFFICER, Always(2);
    PinOfficer = "pinOfficer", KEY_OFFICER, Always(3);
    RotateOfficer = "rotateOfficer", KEY_OFFICER, Always(3);
    FinishOfficerRotation = "finishOfficerRotation", KEY_OFFICER, Never;
    RequireApproval = "requireApproval", KEY_OFFICER, Always(2);
    // The second word itself.
    DecideProposal = "decideProposal", KEY_OFFICER, Never;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const OWN: [u8; 32] = [0xab; 32];

    #[test]
    fn every_change_stands_in_the_table_once_under_its_own_name() {
        // What the decoder says it knows: each variant of the enum, whatever the table says.
        let known = serde_json::from_str::<Change>("\"nonsense\"").unwrap_err().to_string();
        let known: BTreeSet<String> = known.split('`').skip(3).step_by(2).map(ToOwned::to_owned).collect();
        let table: BTreeSet<String> = ChangeKind::ALL.iter().map(|kind| kind.name().to_owned()).collect();
        assert_eq!(table, known);
        assert_eq!(table.len(), ChangeKind::ALL.len());
        assert_eq!(Change::DisableKey { id: key() }.kind(), ChangeKind::DisableKey);
    }

    fn key() -> signonce_protocol::KeyId {
        let public = signonce_protocol::PublicKey::try_from(&[7; 32][..]).unwrap();
        signonce_protocol::KeyId { key_type: signonce_protocol::KeyType::Babe, public }
    }

    #[test]
    fn what_takes_two_takes_a_key_officer() {
        for kind in ChangeKind::ALL {
            if kind.second() != Never {
                assert_eq!(kind.least_role(), Some(Role::KeyOfficer), "{}", kind.name());
            }
        }
    }

    #[test]
    fn an_admin_is_a_name_and_from_level_3_on_also_a_key() {
        let old = admin_actor("alice", &OWN, 2);
        let new = admin_actor("alice", &OWN, 3);
        assert_eq!(old, "admin:alice");
        assert_eq!(Actor::of(&old, 2), Actor::Admin { name: "alice", certificate: None });
        assert_eq!(Actor::of(&new, 3), Actor::Admin { name: "alice", certificate: Some(OWN) });
        // Whatever an older cluster has in its log is a name and nothing else.
        let name = new.strip_prefix("admin:").unwrap();
        assert_eq!(Actor::of(&new, 2), Actor::Admin { name, certificate: None });
        for text in ["admin:alice#", "admin:alice#0x12", "admin:alice#0xzz"] {
            assert!(matches!(Actor::of(text, 3), Actor::Admin { certificate: None, .. }), "{text}");
        }
        // The last one counts: a name cannot bring its own.
        let forged = admin_actor(name, &[1; 32], 3);
        assert_eq!(Actor::of(&forged, 3), Actor::Admin { name, certificate: Some([1; 32]) });
    }

    #[test]
    fn one_person_is_one_name_one_key_or_the_sockets_of_all_signers() {
        let same = |one: &str, other: &str, level| Actor::of(one, level).is_same(&Actor::of(other, level));
        let [alice, bob] = ["alice", "bob"].map(|name| admin_actor(name, &OWN, 3));
        assert!(same(&alice, &admin_actor("alice", &[1; 32], 3), 3), "one name, two keys");
        assert!(same(&alice, "admin:alice", 3), "proposed before there were keys");
        assert!(same(&alice, &bob, 3), "one key, two names");
        assert!(!same(&alice, &admin_actor("bob", &[1; 32], 3), 3));
        assert!(same("local:uid=0", "local:uid=1000", 3));
        assert!(!same("local:uid=0", &alice, 3));
    }
}
