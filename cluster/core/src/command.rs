//! What the replicated log carries: batches of claims, changes by operators, checkpoints.
//!
//! A node builds a [`Command`], encodes it, proposes the bytes, and applies them when they are committed. Bytes that
//! cannot be decoded come from a newer program or a damaged disk: the node stops, it never skips one.

use crate::{
    audit::{AuditNote, AuditSignature},
    codec::{CodecError, decode_record, encode_record},
    ledger::{Claim, Position},
    records::StateHash,
    registry::{
        Chain, ClientId, ClientLimits, Envelope, JoinToken, KeyAllowance, KeyState, Limits, Member,
        PlacementChange, Resealed, RestoreStep, Right,
    },
    replica::MemberHazard,
    roles::Role,
};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{
    BlockNumber, Digest, Duty, DutyClass, GenesisHash, HexArray, KeyId, LogIndex, NodeId, Round, Scheme,
    SessionIndex, SetId, Slot,
};
use std::{fmt, str::FromStr};

/// The newest version of the command format. A new kind of command or change is a new version, and waits for the
/// feature level that says every member reads it; all else goes on to be written in the version it always had: one
/// more than the feature level it needs.
///
/// 2: clients have keys made ([`Change::SetKeyAllowance`], [`Change::AddGeneratedKey`]).
/// 3: everything that operating a cluster takes.
/// 4: officers are pinned to the keys of their certificates.
/// 5: what [`GUARDED_LEVEL`] brings.
pub const COMMAND_VERSION: u8 = 5;

/// The version of what needs no feature level.
const COMMAND_VERSION_1: u8 = 1;

/// The highest feature level this program can apply. 1: clients have keys made. 2: members come and go, clients have
/// limits, officers approve, watermarks are imported, refusals are recorded. 3: officers are known by the keys of their
/// certificates, and more changes take two of them. 4: [`GUARDED_LEVEL`].
pub const FEATURE_LEVEL: u32 = GUARDED_LEVEL;

/// Since when nobody's bare word moves a floor, halts a key or enters the audit, and one client's share of the state
/// is bounded. Rules that judge otherwise below this level do so for clusters with members of an older version alone.
pub const GUARDED_LEVEL: u32 = 4;

/// Names one request among all that were ever made, so that the node that made it finds its waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId {
    /// The node that made it.
    pub node: NodeId,
    /// Which start of that node's process.
    pub boot: u64,
    /// Counts up within the process.
    pub seq: u64,
}

impl FromStr for RequestId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/').map(str::parse::<u64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(node)), Some(Ok(boot)), Some(Ok(seq)), None) => {
                Ok(Self { node: NodeId(node), boot, seq })
            }
            _ => Err(format!("{text:?} is not a request id: NODE/START/NUMBER")),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.boot, self.seq)
    }
}

/// A claim and who waits for its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClaimRequest {
    /// Who waits.
    pub request: RequestId,
    /// The claim.
    pub claim: Claim,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Claims, judged one after the other.
    #[codec(index = 0)]
    Claims(Vec<ClaimRequest>),
    /// A change by an operator, or by a node about itself.
    #[codec(index = 1)]
    Change {
        /// Who waits.
        request: RequestId,
        /// Who wanted it, for the audit.
        actor: String,
        /// When, in Unix milliseconds of the serving node. Recorded; judged only where a proposal has waited for a
        /// second officer, against the recorded time of the proposal.
        time_ms: u64,
        /// The change.
        change: Change,
    },
    /// The leader's state hash after entry `at`. A member whose own hash after `at` differs stops.
    #[codec(index = 2)]
    Checkpoint {
        /// The entry the hash was taken after.
        at: LogIndex,
        /// The leader's hash.
        hash: StateHash,
    },
}

impl Command {
    /// The bytes of the log entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_record(self.version(), self)
    }

    /// The first version of the format that has it.
    fn version(&self) -> u8 {
        match self {
            Self::Change { change, .. } => match change.feature_level() {
                0 => COMMAND_VERSION_1,
                1 => COMMAND_VERSION_1 + 1,
                2 => COMMAND_VERSION_1 + 2,
                3 => COMMAND_VERSION_1 + 3,
                _ => COMMAND_VERSION,
            },
            Self::Claims(claims) if claims.iter().any(|asked| asked.claim.is_guarded()) => COMMAND_VERSION,
            Self::Claims(_) | Self::Checkpoint { .. } => COMMAND_VERSION_1,
        }
    }

    /// Reads a log entry.
    ///
    /// # Errors
    /// Any [`CodecError`]: the node must stop.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        const WHAT: &str = "command";
        let version = match bytes.first() {
            Some(version @ COMMAND_VERSION_1..=COMMAND_VERSION) => *version,
            _ => COMMAND_VERSION,
        };
        let command: Self = decode_record(version, WHAT, bytes)?;
        if command.version() == version {
            return Ok(command);
        }
        // Every member must write, and hash, the same bytes for the same command.
        let reason = format!("version {version} is not the one it is written in, {}", command.version());
        Err(CodecError::Malformed { what: WHAT, reason })
    }
}

/// Where watermarks start or are raised to. Each is the lowest coordinate that may still be signed: one past the
/// last that was (or may have been) signed elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Floors {
    /// For `babe` and `aura` keys: the first slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// For `gran` keys: the first set and the first round in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grandpa: Option<(SetId, Round)>,
    /// For `beef` keys: the first set and the first block in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beefy: Option<(SetId, BlockNumber)>,
    /// For `para` keys: the first session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub para: Option<SessionIndex>,
}

/// A change of the registry or of a watermark.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// Adds a chain.
    #[codec(index = 0)]
    AddChain(Chain),
    /// Sets the limits of a chain.
    #[codec(index = 1)]
    SetLimits {
        /// The chain.
        chain: GenesisHash,
        /// Its new limits.
        limits: Limits,
    },
    /// Makes a key known. It signs nothing before it is armed.
    #[codec(index = 2)]
    RegisterKey {
        /// Type and public key.
        id: KeyId,
        /// Its scheme.
        scheme: Scheme,
        /// The one chain it will ever sign for.
        chain: GenesisHash,
        /// The validator it belongs to.
        group: Option<String>,
        /// The secret, sealed to the members.
        sealed: Envelope,
    },
    /// Replaces a key's envelope by one sealed to other members.
    #[codec(index = 3)]
    ResealKey {
        /// The key.
        id: KeyId,
        /// The new envelope.
        sealed: Envelope,
    },
    /// Lets a registered or disabled key sign, from these floors on.
    #[codec(index = 4)]
    ArmKey {
        /// The key.
        id: KeyId,
        /// The floors of its class; none for a key without claimed work.
        floors: Floors,
    },
    /// Stops an armed key from signing.
    #[codec(index = 5)]
    DisableKey {
        /// The key.
        id: KeyId,
    },
    /// Removes a key for ever.
    #[codec(index = 6)]
    RemoveKey {
        /// The key.
        id: KeyId,
    },
    /// Raises the floor of an armed or disabled key, and with it the point that jumps are measured from.
    #[codec(index = 7)]
    RaiseWatermark {
        /// The key.
        key: KeyId,
        /// The new floors.
        floors: Floors,
    },
    /// Adds a client.
    #[codec(index = 8)]
    AddClient {
        /// Its name.
        name: String,
        /// SHA-256 of its certificate's SubjectPublicKeyInfo.
        spki: [u8; 32],
        /// What it may do.
        rights: Vec<Right>,
    },
    /// Gives an active client another certificate, other rights, or both.
    #[codec(index = 9)]
    UpdateClient {
        /// Its name.
        name: String,
        /// The new certificate, if any.
        spki: Option<[u8; 32]>,
        /// The new rights, if any, in place of all old ones.
        rights: Option<Vec<Right>>,
    },
    /// Removes a client; its certificate is never accepted again.
    #[codec(index = 10)]
    RemoveClient {
        /// Its name.
        name: String,
    },
    /// A node says who and where it is.
    #[codec(index = 11)]
    AnnounceMember(Member),
    /// Marks a member, or a node that was invited, as gone for ever. From feature level 2 on, raft's own configuration
    /// follows.
    #[codec(index = 12)]
    RemoveMember {
        /// The member.
        node: NodeId,
    },
    /// Raises the feature level, if every member supports it.
    #[codec(index = 13)]
    RaiseFeatureLevel {
        /// The new level.
        level: u32,
    },
    /// Lets an active client have keys made, or no longer. Feature level 1.
    #[codec(index = 14)]
    SetKeyAllowance {
        /// The client's name.
        name: String,
        /// What it may have made; `None` for nothing.
        allowance: Option<KeyAllowance>,
    },
    /// Registers a key that a signer has just made for a client, arms it, and gives the client the right to all work
    /// of its type: all of it or nothing. Feature level 1.
    #[codec(index = 15)]
    AddGeneratedKey {
        /// Who asked for it.
        client: ClientId,
        /// Type and public key.
        id: KeyId,
        /// Its scheme.
        scheme: Scheme,
        /// The one chain it will ever sign for.
        chain: GenesisHash,
        /// The secret, sealed to the members.
        sealed: Envelope,
        /// The floors of a key that never signed anything.
        floors: Floors,
    },
    /// Invites a node to join as a learner. Its id is the index of this entry: no id is ever given twice. Feature
    /// level 2.
    #[codec(index = 16)]
    AddMember {
        /// Where it will be reached.
        peer_addr: String,
        /// [`JoinToken::hash`] of the token it must show.
        token: [u8; 32],
        /// The member it is to take the place of, for whoever goes on with the replacement.
        replaces: Option<NodeId>,
    },
    /// An invited node says who it is. Its token works once; the same node may show it again. Feature level 2.
    #[codec(index = 17)]
    JoinMember {
        /// The node.
        member: Member,
        /// What it was given.
        token: JoinToken,
    },
    /// Wants a learner to become a voter. Feature level 2.
    #[codec(index = 18)]
    PromoteMember {
        /// The learner.
        node: NodeId,
    },
    /// The leader has sealed keys again, for exactly the present members. Feature level 2.
    #[codec(index = 20)]
    ResealKeys {
        /// The keys and their new envelopes.
        keys: Vec<Resealed>,
        /// Whom the envelopes are for, by id.
        members: Vec<NodeId>,
    },
    /// Where the leader should be. Feature level 2.
    #[codec(index = 38)]
    Place(PlacementChange),
    /// A node tells what it answered without the log. Feature level 2.
    #[codec(index = 34)]
    RecordAudit {
        /// What it tells.
        notes: Vec<AuditNote>,
    },
    /// A node signs the audit chain. Feature level 2.
    #[codec(index = 35)]
    SignAudit(AuditSignature),
    /// Raises the floors of many keys of one chain: all of them or none. A key that was only registered is disabled
    /// from then on: its floor is known, and it signs once it is armed. Feature level 2.
    #[codec(index = 30)]
    ImportWatermarks {
        /// The chain all the keys belong to.
        chain: GenesisHash,
        /// Every key once.
        floors: Vec<(KeyId, Floors)>,
    },
    /// A step of bringing a backup into an empty cluster. Feature level 2.
    #[codec(index = 31)]
    Restore(RestoreStep),
    /// Stops a key for which a client has shown a signature that the state knows nothing of. Judged where it stands in
    /// the log: a node that merely lags stops nothing. Feature level 2.
    #[codec(index = 32)]
    HaltKey {
        /// The key.
        key: KeyId,
        /// The duty the client had signed.
        duty: Duty,
        /// The digest of what was signed.
        digest: Digest,
        /// The log entry that the client was told.
        log_index: LogIndex,
        /// The client.
        client: ClientId,
    },
    /// Ends a halt without a floor past what was shown: for something shown so far ahead that the key would be lost.
    /// What was shown can never be signed all the same: its place is barred permanently. Feature level 4.
    #[codec(index = 55)]
    LiftHalt {
        /// The key.
        key: KeyId,
        /// The log entry that halted it: what was agreed to is this halt and no other.
        halted: LogIndex,
        /// The floors from which the key signs again: past all that it has signed, except for what was shown.
        floors: Floors,
    },
    /// Sets how much a client may ask of one signer. Feature level 2.
    #[codec(index = 23)]
    SetClientLimits {
        /// The client's name; `None` for every client without limits of its own.
        name: Option<String>,
        /// The limits; `None` for the default.
        limits: Option<ClientLimits>,
    },
    /// Gives an active client a second certificate, which is to replace its first. Feature level 2.
    #[codec(index = 24)]
    RotateClient {
        /// Its name.
        name: String,
        /// SHA-256 of the new certificate's SubjectPublicKeyInfo.
        spki: [u8; 32],
    },
    /// Ends a rotation: one of the two certificates stays, the other is never accepted again. Feature level 2.
    #[codec(index = 25)]
    FinishRotation {
        /// The client's name.
        name: String,
        /// Whether the new one stays.
        keep_new: bool,
    },
    /// Gives an operator a role, by the name in its certificate, or takes it away. Feature level 2.
    #[codec(index = 27)]
    SetOfficer {
        /// The name.
        name: String,
        /// The role; `None` for none.
        role: Option<Role>,
    },
    /// From now on dangerous changes need two key officers, or no longer. Feature level 2.
    #[codec(index = 28)]
    RequireApproval {
        /// Whether they do.
        on: bool,
    },
    /// A second key officer's word on a proposal. Feature level 2.
    #[codec(index = 29)]
    DecideProposal {
        /// The log entry that proposed it.
        id: LogIndex,
        /// Whether the change is made.
        approve: bool,
    },
    /// From now on an officer is known by its name and this certificate key, and not by the name alone. Feature level
    /// 3.
    #[codec(index = 40)]
    PinOfficer {
        /// The name.
        name: String,
        /// SHA-256 of its certificate's SubjectPublicKeyInfo.
        certificate: HexArray<32>,
        /// Its role from now on; `None` for the one it has.
        role: Option<Role>,
    },
    /// Gives a pinned officer a second certificate key, which is to replace its first. Feature level 3.
    #[codec(index = 41)]
    RotateOfficer {
        /// The name.
        name: String,
        /// SHA-256 of the new certificate's SubjectPublicKeyInfo.
        certificate: HexArray<32>,
    },
    /// Ends that: one of the two keys stays, the other is never accepted again. Feature level 3.
    #[codec(index = 42)]
    FinishOfficerRotation {
        /// The name.
        name: String,
        /// Whether the new one stays.
        keep_new: bool,
    },
    /// From a moment on the slots of a chain have another length, as its runtime was upgraded. Feature level 4.
    #[codec(index = 50)]
    RetimeChain {
        /// The chain.
        chain: GenesisHash,
        /// The moment, in Unix milliseconds: slots that begin then or later.
        from_ms: u64,
        /// Milliseconds of a slot from then on.
        slot_duration_ms: u64,
    },
    /// A signer is to take slots this far from its clock, as its configuration says. It does once this is applied.
    /// Feature level 4.
    #[codec(index = 52)]
    WidenTolerance {
        /// How many slots, either way.
        slots: u64,
    },
    /// Forgets the last change of a chain's slots, as long as no key has signed by it. Feature level 4.
    #[codec(index = 51)]
    TakeBackTiming {
        /// The chain.
        chain: GenesisHash,
    },
}

impl Change {
    /// The feature level the cluster must be at before this is proposed: an older member stops at what it cannot
    /// read.
    pub const fn feature_level(&self) -> u32 {
        match self {
            Self::LiftHalt { .. } | Self::Restore(RestoreStep::Bar { .. }) => GUARDED_LEVEL,
            Self::RecordAudit { .. } | Self::SignAudit(_) => 2,
            Self::SetKeyAllowance { .. } | Self::AddGeneratedKey { .. } => 1,
            Self::PinOfficer { .. }
            | Self::RotateOfficer { .. }
            | Self::FinishOfficerRotation { .. }
            | Self::Restore(RestoreStep::BuryOfficers { .. }) => 3,
            Self::Restore(RestoreStep::Leave { .. } | RestoreStep::BeginDrill(_))
            | Self::RetimeChain { .. }
            | Self::WidenTolerance { .. }
            | Self::TakeBackTiming { .. } => GUARDED_LEVEL,
            Self::AddMember { .. }
            | Self::JoinMember { .. }
            | Self::PromoteMember { .. }
            | Self::ResealKeys { .. }
            | Self::ImportWatermarks { .. }
            | Self::Restore(_)
            | Self::HaltKey { .. }
            | Self::Place(_) => 2,
            Self::SetClientLimits { .. }
            | Self::RotateClient { .. }
            | Self::FinishRotation { .. }
            | Self::SetOfficer { .. }
            | Self::RequireApproval { .. }
            | Self::DecideProposal { .. } => 2,
            Self::AddChain(_)
            | Self::SetLimits { .. }
            | Self::RegisterKey { .. }
            | Self::ResealKey { .. }
            | Self::ArmKey { .. }
            | Self::DisableKey { .. }
            | Self::RemoveKey { .. }
            | Self::RaiseWatermark { .. }
            | Self::AddClient { .. }
            | Self::UpdateClient { .. }
            | Self::RemoveClient { .. }
            | Self::AnnounceMember(_)
            | Self::RemoveMember { .. }
            | Self::RaiseFeatureLevel { .. } => 0,
        }
    }

    /// Puts their hashes in the place of sealed secrets and tokens: so the change enters the audit.
    pub(crate) fn redact(&mut self) {
        match self {
            Self::RegisterKey { sealed, .. }
            | Self::ResealKey { sealed, .. }
            | Self::AddGeneratedKey { sealed, .. } => sealed.redact(),
            Self::ResealKeys { keys, .. } => keys.iter_mut().for_each(|key| key.sealed.redact()),
            Self::JoinMember { token, .. } => *token = JoinToken::new(token.hash()),
            Self::AddChain(_)
            | Self::SetLimits { .. }
            | Self::ArmKey { .. }
            | Self::DisableKey { .. }
            | Self::RemoveKey { .. }
            | Self::RaiseWatermark { .. }
            | Self::AddClient { .. }
            | Self::UpdateClient { .. }
            | Self::RemoveClient { .. }
            | Self::AnnounceMember(_)
            | Self::RemoveMember { .. }
            | Self::RaiseFeatureLevel { .. }
            | Self::SetKeyAllowance { .. }
            | Self::AddMember { .. }
            | Self::PromoteMember { .. }
            | Self::Place(_)
            | Self::RecordAudit { .. }
            | Self::SignAudit(_)
            | Self::ImportWatermarks { .. }
            | Self::Restore(_)
            | Self::HaltKey { .. }
            | Self::LiftHalt { .. }
            | Self::SetClientLimits { .. }
            | Self::RotateClient { .. }
            | Self::FinishRotation { .. }
            | Self::SetOfficer { .. }
            | Self::RequireApproval { .. }
            | Self::PinOfficer { .. }
            | Self::RotateOfficer { .. }
            | Self::FinishOfficerRotation { .. }
            | Self::RetimeChain { .. }
            | Self::WidenTolerance { .. }
            | Self::TakeBackTiming { .. }
            | Self::DecideProposal { .. } => {}
        }
    }
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeDone {
    /// The log entry that made it.
    pub at: LogIndex,
    /// The registry's version since.
    pub registry_version: u64,
    /// The number of the client that was added, updated or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The node that was invited or has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Set if nothing was changed yet: the change waits under this number for another key officer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<LogIndex>,
}

/// The kinds of things that have a limited number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Counted {
    /// Chains.
    #[codec(index = 0)]
    Chains,
    /// Keys, tombstones included.
    #[codec(index = 1)]
    Keys,
    /// Clients, tombstones included.
    #[codec(index = 2)]
    Clients,
    /// Members, tombstones included.
    #[codec(index = 3)]
    Members,
    /// Rights of one client.
    #[codec(index = 4)]
    Rights,
    /// Officers.
    #[codec(index = 40)]
    Officers,
    /// Proposals that wait for a second officer.
    #[codec(index = 41)]
    Proposals,
    /// Places of one key that are barred.
    #[codec(index = 42)]
    Barred,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chains => "chains",
            Self::Keys => "keys",
            Self::Clients => "clients",
            Self::Members => "members",
            Self::Rights => "rights for one client",
            Self::Officers => "officers",
            Self::Proposals => "open proposals",
            Self::Barred => "barred places of one key",
        })
    }
}

/// Why a change was not made. The state is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ChangeError {
    /// A name that would be ambiguous or unreadable.
    #[error("{name:?} is not a usable name: use 1 to 64 of a-z A-Z 0-9 . _ - @, and not 0x in front")]
    #[codec(index = 0)]
    BadName {
        /// The name.
        name: String,
    },
    /// A text (URL, address, recipient) that is empty or too long.
    #[error("{what} must have 1 to {limit} bytes, not {len}")]
    #[codec(index = 1)]
    BadText {
        /// Which text.
        what: String,
        /// Its length.
        len: u32,
        /// The longest allowed.
        limit: u32,
    },
    /// There is no room for more.
    #[error("a cluster holds at most {limit} {what}")]
    #[codec(index = 2)]
    TooMany {
        /// Of what.
        what: Counted,
        /// The limit.
        limit: u32,
    },
    /// A chain with this name or genesis exists.
    #[error("chain {name} with genesis {genesis} exists; only its limits can be changed")]
    #[codec(index = 3)]
    ChainExists {
        /// The name of the existing chain.
        name: String,
        /// The genesis hash of the existing chain.
        genesis: GenesisHash,
    },
    /// Slots must last.
    #[error("a slot of 0 ms is none: give the chain's slot duration (6000 on Polkadot)")]
    #[codec(index = 4)]
    ZeroSlotDuration,
    /// No such chain.
    #[error("no chain has genesis {genesis}: add the chain first")]
    #[codec(index = 5)]
    UnknownChain {
        /// The genesis hash asked for.
        genesis: GenesisHash,
    },
    /// The key is registered already.
    #[error("key {key} exists and is {state}")]
    #[codec(index = 6)]
    KeyExists {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
    },
    /// The key was removed, which is for ever.
    #[error("key {key} was removed and can never come back: generate a new one")]
    #[codec(index = 7)]
    KeyRemoved {
        /// The key.
        key: KeyId,
    },
    /// The public key signs, or signed, for another chain.
    #[error("the public key of {key} belongs to chain {chain} for ever: a key must never serve two chains")]
    #[codec(index = 8)]
    KeyOnOtherChain {
        /// The key.
        key: KeyId,
        /// The chain it belongs to.
        chain: GenesisHash,
    },
    /// The scheme does not go with the key's type or the length of the public key.
    #[error("key {key} cannot be {scheme}")]
    #[codec(index = 9)]
    WrongScheme {
        /// The key.
        key: KeyId,
        /// The scheme given.
        scheme: Scheme,
    },
    /// The sealed secret is empty or too big.
    #[error("the envelope of key {key} must have 1 to {limit} bytes, not {len}")]
    #[codec(index = 10)]
    BadEnvelope {
        /// The key.
        key: KeyId,
        /// Its length.
        len: u32,
        /// The longest allowed.
        limit: u32,
    },
    /// No such key.
    #[error("no key {key} is registered")]
    #[codec(index = 11)]
    UnknownKey {
        /// The key asked for.
        key: KeyId,
    },
    /// The key is in a state that does not allow the change.
    #[error("key {key} is {state}: {hint}")]
    #[codec(index = 12)]
    WrongState {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
        /// What to do instead.
        hint: String,
    },
    /// A key with claimed work needs an explicit floor.
    #[error("key {key} needs a floor for {class}: the lowest coordinate it may sign")]
    #[codec(index = 13)]
    MissingFloor {
        /// The key.
        key: KeyId,
        /// Its claimed class.
        class: DutyClass,
    },
    /// A floor for work this key never does: probably a mix-up.
    #[error("key {key} does no work that a floor of {floor} is about")]
    #[codec(index = 14)]
    ForeignFloor {
        /// The key.
        key: KeyId,
        /// The floor that does not belong.
        floor: Position,
    },
    /// Floors only rise.
    #[error("key {key} has its floor at {floor} already, which is higher than {asked}: floors never go down")]
    #[codec(index = 15)]
    AlreadyHigher {
        /// The key.
        key: KeyId,
        /// The floor as it is.
        floor: Position,
        /// The floor asked for.
        asked: Position,
    },
    /// An active client has the name.
    #[error("client {name} exists: update or remove it, or choose another name")]
    #[codec(index = 16)]
    ClientExists {
        /// The name.
        name: String,
    },
    /// The certificate is, or was, another client's.
    #[error("the certificate belongs to {client} ({name}), active or removed: issue a new one")]
    #[codec(index = 17)]
    CertificateTaken {
        /// The client that has or had it.
        client: ClientId,
        /// The name of that client.
        name: String,
    },
    /// No active client has the name.
    #[error("no client is called {name}")]
    #[codec(index = 18)]
    UnknownClient {
        /// The name asked for.
        name: String,
    },
    /// Node ids are never reused.
    #[error("node {node} was removed from this cluster: join with a new node id and an empty disk")]
    #[codec(index = 19)]
    MemberRemoved {
        /// The node.
        node: NodeId,
    },
    /// Another machine, or the same with another identity, uses a member's id.
    #[error(
        "node {node} is known by recipient {known}: an identity never changes, join as a new node instead"
    )]
    #[codec(index = 20)]
    MemberIdentityChanged {
        /// The node.
        node: NodeId,
        /// The recipient it was announced with first.
        known: String,
    },
    /// No such member.
    #[error("node {node} is no member")]
    #[codec(index = 21)]
    UnknownMember {
        /// The node asked for.
        node: NodeId,
    },
    /// A member could not read what the new level allows.
    #[error(
        "node {node} supports feature level {supports} only: upgrade it before raising the level to {level}"
    )]
    #[codec(index = 22)]
    FeatureUnsupported {
        /// The member that holds it back.
        node: NodeId,
        /// What it supports.
        supports: u32,
        /// What was asked.
        level: u32,
    },
    /// Levels only rise.
    #[error("the feature level is {current} already, asked was {level}: it never goes down")]
    #[codec(index = 23)]
    FeatureNotHigher {
        /// The level as it is.
        current: u32,
        /// What was asked.
        level: u32,
    },
    /// A member announced itself with less than the cluster's feature level.
    #[error("node {node} supports feature level {supports}, the cluster is at {current}: upgrade the node")]
    #[codec(index = 24)]
    MemberTooOld {
        /// The node.
        node: NodeId,
        /// What it supports.
        supports: u32,
        /// The cluster's level.
        current: u32,
    },
    /// Zero is no node id.
    #[error("0 is not a node id")]
    #[codec(index = 25)]
    ZeroNode,
    /// Members may not be able to read the change yet.
    #[error(
        "this needs feature level {level}, the cluster is at {current}: upgrade every node, and it rises by itself \
         (`signonce status` shows what holds it back)"
    )]
    #[codec(index = 26)]
    FeatureNeeded {
        /// The level the change needs.
        level: u32,
        /// The level as it is.
        current: u32,
    },
    /// The client has no leave to have keys made, or not for this chain.
    #[error("client {name} may not have keys made for chain {chain}")]
    #[codec(index = 27)]
    MayNotGenerate {
        /// The client.
        name: String,
        /// The chain asked for.
        chain: GenesisHash,
    },
    /// The client has as many living keys as it may.
    #[error("client {name} has had {limit} keys made that were not removed, as many as it may have")]
    #[codec(index = 28)]
    KeyQuota {
        /// The client.
        name: String,
        /// How many it may have.
        limit: u32,
    },
    /// An allowance of no keys, or of more than a client can have rights to.
    #[error("a client may be allowed 1 to {most} keys, not {asked}")]
    #[codec(index = 29)]
    BadKeyLimit {
        /// The limit asked for.
        asked: u32,
        /// The highest there is.
        most: u32,
    },
    /// One node at a time comes or goes.
    #[error(
        "node {node} {doing}: one member is changed at a time. Wait for it (`members list`), or remove node {node}"
    )]
    #[codec(index = 30)]
    MemberChangeUnderWay {
        /// The node.
        node: NodeId,
        /// What is going on.
        doing: String,
    },
    /// The token is not the one that was handed out for this id.
    #[error("this is not the join token of node {node}: look at what `members add` printed")]
    #[codec(index = 31)]
    WrongToken {
        /// The node.
        node: NodeId,
    },
    /// Another machine has joined with it, or the same before it lost its identity.
    #[error(
        "the join token of node {node} was used by another machine: a token works once. If that was not yours, run \
         `members remove {node}`, then `members add` for a new id"
    )]
    #[codec(index = 32)]
    TokenUsed {
        /// The node.
        node: NodeId,
    },
    /// The node was invited and has not joined.
    #[error("node {node} was invited but has not joined: run `signonce join` on it with its token first")]
    #[codec(index = 33)]
    NotJoined {
        /// The node.
        node: NodeId,
    },
    /// The node votes already.
    #[error("node {node} is a voter already")]
    #[codec(index = 34)]
    AlreadyVoter {
        /// The node.
        node: NodeId,
    },
    /// Too few would be left to vote.
    #[error(
        "without node {node} only {left} voters would be left, and a cluster needs three to bear a loss: add and \
         promote another node before you remove this one (`members replace` does it in this order)"
    )]
    #[codec(index = 35)]
    TooFewVoters {
        /// The node.
        node: NodeId,
        /// Voters that would be left.
        left: u32,
    },
    /// The fresh id happens to be that of a member that was there from the start.
    #[error("{node} is a node's id already: ask again, the next id is another")]
    #[codec(index = 36)]
    NodeIdTaken {
        /// The id.
        node: NodeId,
    },
    /// The new machine has an identity that another node has or had.
    #[error("the recipient belongs to node {node}, present or removed: make a new identity for the new node")]
    #[codec(index = 37)]
    RecipientTaken {
        /// The node that has or had it.
        node: NodeId,
    },
    /// Nobody asked the node in.
    #[error("node {node} was not invited: run `members add` and join with the id and token that it prints")]
    #[codec(index = 38)]
    NotInvited {
        /// The node.
        node: NodeId,
    },
    /// The state knows of the signature: whoever asked was behind.
    #[error("key {key} is not halted: the cluster knows what was signed with it")]
    #[codec(index = 50)]
    NothingForgotten {
        /// The key.
        key: KeyId,
    },
    /// The key is halted already.
    #[error("key {key} is halted already, since log entry {at}")]
    #[codec(index = 51)]
    AlreadyHalted {
        /// The key.
        key: KeyId,
        /// Since when.
        at: LogIndex,
    },
    /// A list has a key twice.
    #[error("key {key} is in the list twice: nothing was changed")]
    #[codec(index = 52)]
    KeyTwice {
        /// The key.
        key: KeyId,
    },
    /// The key has no work with a watermark, or the duty is none of its.
    #[error("key {key} does no work that such a watermark is about")]
    #[codec(index = 53)]
    NoWatermark {
        /// The key.
        key: KeyId,
    },
    /// A backup is restored into an empty cluster only.
    #[error(
        "this cluster has chains, keys or clients already: a backup is restored into a cluster that has just formed \
         and nothing else"
    )]
    #[codec(index = 54)]
    NotEmpty,
    /// Another backup was begun with.
    #[error(
        "this cluster is being restored, or was, from another backup (of cluster {cluster}, after its log entry \
         {applied}); finish with that one, or form another cluster"
    )]
    #[codec(index = 55)]
    OtherBackup {
        /// The cluster of that backup.
        cluster: HexArray<16>,
        /// The log entry it was made after.
        applied: LogIndex,
    },
    /// Nothing is being restored.
    #[error("no backup is being restored here")]
    #[codec(index = 56)]
    NoRestore,
    /// Members came or went while keys were sealed again.
    #[error("the keys were sealed for {}, the members are {} by now: seal them again", nodes(.sealed_for), nodes(.members))]
    #[codec(index = 39)]
    SealedForOthers {
        /// Whom the envelopes are for.
        sealed_for: Vec<NodeId>,
        /// The members.
        members: Vec<NodeId>,
    },
    /// A node's note for the audit that is larger than notes are.
    #[error("the audit takes at most {limit} {what} at a time, not {len}")]
    #[codec(index = 60)]
    AuditTooLarge {
        /// Of what.
        what: String,
        /// How much there was.
        len: u32,
        /// The most there may be.
        limit: u32,
    },
    /// A limit of nothing, or beyond sense.
    #[error("a limit of a client must be 1 to {most}, not {asked}; to shut a client out, remove it")]
    #[codec(index = 40)]
    BadClientLimit {
        /// The limit asked for.
        asked: u32,
        /// The highest there is.
        most: u32,
    },
    /// The client has two certificates already.
    #[error(
        "client {name} is changing its certificate already: finish that (`signonce clients rotate {name} --finish`) \
         or take it back (`--cancel`)"
    )]
    #[codec(index = 41)]
    RotationUnderWay {
        /// The client.
        name: String,
    },
    /// The client has one certificate only.
    #[error(
        "client {name} is not changing its certificate: start with `signonce clients rotate {name} --cert FILE`"
    )]
    #[codec(index = 42)]
    NoRotation {
        /// The client.
        name: String,
    },
    /// Who asks may not.
    #[error(
        "{actor} has {}, this takes the role {needed}; a key officer can give it (`signonce officers set`)",
        .role.map_or_else(|| "no role in this cluster".to_owned(), |role| format!("the role {role}"))
    )]
    #[codec(index = 43)]
    RoleTooLow {
        /// Who asked.
        actor: String,
        /// Its role.
        role: Option<Role>,
        /// What it takes.
        needed: Role,
    },
    /// Somebody must be able to change the officers.
    #[error(
        "without {name} as a key officer nobody could change the officers any more: make another key officer first"
    )]
    #[codec(index = 44)]
    LastKeyOfficer {
        /// Whose role was to change.
        name: String,
    },
    /// Two must be able to agree.
    #[error(
        "dangerous changes that take two officers need {needed} key officers with certificates at least; there would \
         be {have}"
    )]
    #[codec(index = 45)]
    TooFewOfficers {
        /// How many there would be.
        have: u32,
        /// How many it takes.
        needed: u32,
    },
    /// No officer has the name.
    #[error("no officer is called {name}; `signonce officers list` shows all")]
    #[codec(index = 46)]
    UnknownOfficer {
        /// The name asked for.
        name: String,
    },
    /// No proposal has the number.
    #[error("there is no proposal {id}; `signonce proposals list` shows all")]
    #[codec(index = 47)]
    UnknownProposal {
        /// The number asked for.
        id: LogIndex,
    },
    /// One person is not two.
    #[error("proposal {id} is by {by}: another key officer must approve it")]
    #[codec(index = 48)]
    OwnProposal {
        /// The proposal.
        id: LogIndex,
        /// Whose it is.
        by: String,
    },
    /// Decided already, or too late.
    #[error("proposal {id} was {} by {by} already", if *.approved { "approved" } else { "rejected" })]
    #[codec(index = 49)]
    ProposalDecided {
        /// The proposal.
        id: LogIndex,
        /// Who decided.
        by: String,
        /// What.
        approved: bool,
    },
    /// It has waited too long.
    #[error("proposal {id} is older than a day and has expired: propose the change again")]
    #[codec(index = 70)]
    ProposalExpired {
        /// The proposal.
        id: LogIndex,
    },
    /// The certificate is not the officer's.
    #[error(
        "the certificate that was shown says {name} and has {}, which is no key that {name} is known by. If it is \
         {name}'s new one, a key officer accepts it with `signonce officers rotate {name} --certificate FILE`; if \
         nobody knows of it, somebody can issue certificates in the name of officers",
        .key.map_or_else(|| "no key that was recorded".to_owned(), |key| format!("the key {key}"))
    )]
    #[codec(index = 71)]
    OfficerKey {
        /// The name in it.
        name: String,
        /// Its key.
        key: Option<HexArray<32>>,
    },
    /// Two officers have two keys, and a key that was taken away never comes back.
    #[error(
        "the certificate key belongs, or belonged, to officer {name}: issue a certificate with a new key"
    )]
    #[codec(index = 72)]
    OfficerKeyTaken {
        /// Whose it is or was.
        name: String,
    },
    /// The officer has a key already.
    #[error(
        "officer {name} is pinned to another certificate key: `signonce officers rotate {name} --certificate FILE` \
         changes it"
    )]
    #[codec(index = 73)]
    OfficerPinned {
        /// The name.
        name: String,
    },
    /// The officer is known by name.
    #[error("officer {name} is not pinned: start with `signonce officers pin {name} --certificate FILE`")]
    #[codec(index = 74)]
    OfficerNotPinned {
        /// The name.
        name: String,
    },
    /// The officer has two keys already.
    #[error(
        "officer {name} is changing its certificate already: finish that (`signonce officers rotate {name} --finish`) \
         or take it back (`--cancel`)"
    )]
    #[codec(index = 75)]
    OfficerRotationUnderWay {
        /// The name.
        name: String,
    },
    /// The officer has one key only.
    #[error(
        "officer {name} is not changing its certificate: start with `signonce officers rotate {name} --certificate FILE`"
    )]
    #[codec(index = 76)]
    NoOfficerRotation {
        /// The name.
        name: String,
    },
    /// What signers alone say of themselves.
    #[error(
        "{change} is what signers say of themselves, and no role may say it for them: {actor} was refused"
    )]
    #[codec(index = 81)]
    NotForOfficers {
        /// Who asked.
        actor: String,
        /// The kind of change.
        change: String,
    },
    /// What one signer says of another.
    #[error(
        "{actor} said by way of node {node} what another has to say of itself ({change}); this is an error in the \
         program, please report it"
    )]
    #[codec(index = 82)]
    SpeaksForAnother {
        /// Who asked.
        actor: String,
        /// The node that brought it into the log.
        node: NodeId,
        /// The kind of change.
        change: String,
    },
    /// The halt is another one, or none.
    #[error(
        "key {key} is not halted by log entry {halted}: `signonce keys list --json` shows which keys are, and by which"
    )]
    #[codec(index = 83)]
    NotHalted {
        /// The key.
        key: KeyId,
        /// The log entry that is said to have halted it.
        halted: LogIndex,
    },
    /// The floor is no further than what a backup knew, and the cluster that it was made of went on. Feature level 4.
    #[error(
        "key {key} came with a backup that knows what it signed below {known}, and the old cluster went on after the \
         backup was made: {asked} is not above that. Look on the chain how far the key voted, and arm it past that"
    )]
    #[codec(index = 77)]
    NotAboveBackup {
        /// The key.
        key: KeyId,
        /// The lowest that the backup knows not to be signed.
        known: Position,
        /// The floor asked for.
        asked: Position,
    },
    /// This cluster holds a backup for practice. Feature level 4.
    #[error(
        "this cluster is a drill, begun with `signonce restore --drill` in log entry {begun}: its keys sign elsewhere \
         and can never be armed here. Restore into another new cluster, without --drill, when it is in earnest"
    )]
    #[codec(index = 78)]
    Drill {
        /// Since when.
        begun: LogIndex,
    },
    /// Slots cannot change like that. Feature level 4.
    #[error("the slots of chain {chain} are left as they are: {why}")]
    #[codec(index = 79)]
    BadTiming {
        /// The chain.
        chain: GenesisHash,
        /// Why.
        why: String,
    },
    /// What speaks against it at the moment. It was not proposed.
    #[error("node {node} is left as it is: {hazard}")]
    #[codec(index = 80)]
    MemberHazard {
        /// The node.
        node: NodeId,
        /// Why.
        hazard: MemberHazard,
    },
}

fn nodes(ids: &[NodeId]) -> String {
    ids.iter().map(|id| format!("node {id}")).collect::<Vec<_>>().join(", ")
}
