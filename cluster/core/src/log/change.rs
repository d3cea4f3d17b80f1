//! What operators, and nodes about themselves, change: the registry, a watermark, the audit.

use crate::model::Fingerprint;
use crate::model::{
    AuditNote, AuditSignature, Chain, ClientId, ClientLimits, Envelope, FIRST_LEVEL, Floors, JoinToken,
    KeyAllowance, KeySelector, Member, PlacementChange, Resealed, RestoreStep, Right, Role,
};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{ChainId, Digest, Duty, KeyId, LogIndex, NodeId, Scheme, Settings};

/// A change of the registry or of a watermark.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// Adds a chain.
    #[codec(index = 0)]
    AddChain(Chain),
    /// Gives a chain other settings, as far as its family lets them change: limits.
    #[codec(index = 1)]
    SetSettings {
        /// The chain.
        chain: ChainId,
        /// Its new settings, all of them.
        settings: Settings,
    },
    /// Makes a key known. It signs nothing before it is armed.
    #[codec(index = 2)]
    RegisterKey {
        /// Type and public key.
        id: KeyId,
        /// Its scheme.
        scheme: Scheme,
        /// The one chain it will ever sign for.
        chain: ChainId,
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
    /// Removes a key forever.
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
        spki: Fingerprint,
        /// What it may do.
        rights: Vec<Right>,
    },
    /// Gives an active client another certificate, other rights, or both.
    #[codec(index = 9)]
    UpdateClient {
        /// Its name.
        name: String,
        /// The new certificate, if any.
        spki: Option<Fingerprint>,
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
    /// Marks a member, or a node that was invited, as gone forever. Raft's own configuration
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
    /// Lets an active client have keys made, or no longer.
    #[codec(index = 14)]
    SetKeyAllowance {
        /// The client's name.
        name: String,
        /// What it may have made; `None` for nothing.
        allowance: Option<KeyAllowance>,
    },
    /// Registers a key that a signer has just made for a client, arms it, and gives the client the right to all work
    /// of its type: all of it or nothing.
    #[codec(index = 15)]
    AddGeneratedKey {
        /// Who asked for it.
        client: ClientId,
        /// Type and public key.
        id: KeyId,
        /// Its scheme.
        scheme: Scheme,
        /// The one chain it will ever sign for.
        chain: ChainId,
        /// The secret, sealed to the members.
        sealed: Envelope,
        /// The floors of a key that never signed anything.
        floors: Floors,
    },
    /// Invites a node to join as a learner. Its id is the index of this entry: no id is ever given twice.
    #[codec(index = 16)]
    AddMember {
        /// Where it will be reached.
        peer_addr: String,
        /// [`JoinToken::hash`] of the token it must show.
        token: [u8; 32],
        /// The member it is to take the place of, for whoever goes on with the replacement.
        replaces: Option<NodeId>,
    },
    /// An invited node says who it is. Its token works once; the same node may show it again.
    #[codec(index = 17)]
    JoinMember {
        /// The node.
        member: Member,
        /// What it was given.
        token: JoinToken,
    },
    /// Wants a learner to become a voter.
    #[codec(index = 18)]
    PromoteMember {
        /// The learner.
        node: NodeId,
    },
    /// The leader has sealed keys again, for exactly the present members.
    #[codec(index = 19)]
    ResealKeys {
        /// The keys and their new envelopes.
        keys: Vec<Resealed>,
        /// Whom the envelopes are for, by id.
        members: Vec<NodeId>,
    },
    /// Where the leader should be.
    #[codec(index = 20)]
    Place(PlacementChange),
    /// A node tells what it answered without the log.
    #[codec(index = 21)]
    RecordAudit {
        /// What it tells.
        notes: Vec<AuditNote>,
    },
    /// A node signs the audit chain.
    #[codec(index = 22)]
    SignAudit(AuditSignature),
    /// Raises the floors of many keys of one chain: all of them or none. A key that was only registered is disabled
    /// from then on: its floor is known, and it signs once it is armed.
    #[codec(index = 23)]
    ImportWatermarks {
        /// The chain all the keys belong to.
        chain: ChainId,
        /// Every key once.
        floors: Vec<(KeyId, Floors)>,
    },
    /// A step of bringing a backup into an empty cluster.
    #[codec(index = 24)]
    Restore(RestoreStep),
    /// Stops a key for which a client has shown a signature that the state knows nothing of. Judged where it stands in
    /// the log: a node that merely lags stops nothing.
    #[codec(index = 25)]
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
    /// What was shown can never be signed all the same: its place is barred permanently.
    #[codec(index = 26)]
    LiftHalt {
        /// The key.
        key: KeyId,
        /// The log entry that halted it: what was agreed to is this halt and no other.
        halted: LogIndex,
        /// The floors from which the key signs again: past all that it has signed, except for what was shown.
        floors: Floors,
    },
    /// Sets how much a client may ask of one signer.
    #[codec(index = 27)]
    SetClientLimits {
        /// The client's name; `None` for every client without limits of its own.
        name: Option<String>,
        /// The limits; `None` for the default.
        limits: Option<ClientLimits>,
    },
    /// Gives an active client a second certificate, which is to replace its first.
    #[codec(index = 28)]
    RotateClient {
        /// Its name.
        name: String,
        /// SHA-256 of the new certificate's SubjectPublicKeyInfo.
        spki: Fingerprint,
    },
    /// Ends a rotation: one of the two certificates stays, the other is never accepted again.
    #[codec(index = 29)]
    FinishRotation {
        /// The client's name.
        name: String,
        /// Whether the new one stays.
        keep_new: bool,
    },
    /// Gives an operator a role, by the name in its certificate, or takes it away.
    #[codec(index = 30)]
    SetOfficer {
        /// The name.
        name: String,
        /// The role; `None` for none.
        role: Option<Role>,
    },
    /// From now on dangerous changes need two key officers, or no longer.
    #[codec(index = 31)]
    RequireApproval {
        /// Whether they do.
        on: bool,
    },
    /// A second key officer's word on a proposal.
    #[codec(index = 32)]
    DecideProposal {
        /// The log entry that proposed it.
        id: LogIndex,
        /// Whether the change is made.
        approve: bool,
    },
    /// From now on an officer is known by its name and this certificate key, and not by the name alone.
    #[codec(index = 33)]
    PinOfficer {
        /// The name.
        name: String,
        /// SHA-256 of its certificate's SubjectPublicKeyInfo.
        certificate: Fingerprint,
        /// Its role from now on; `None` for the one it has.
        role: Option<Role>,
    },
    /// Gives a pinned officer a second certificate key, which is to replace its first.
    #[codec(index = 34)]
    RotateOfficer {
        /// The name.
        name: String,
        /// SHA-256 of the new certificate's SubjectPublicKeyInfo.
        certificate: Fingerprint,
    },
    /// Ends that: one of the two keys stays, the other is never accepted again.
    #[codec(index = 35)]
    FinishOfficerRotation {
        /// The name.
        name: String,
        /// Whether the new one stays.
        keep_new: bool,
    },
    /// From a moment on the slots of a chain have another length, as its runtime was upgraded.
    #[codec(index = 36)]
    RetimeChain {
        /// The chain.
        chain: ChainId,
        /// The moment, in Unix milliseconds: slots that begin then or later.
        from_ms: u64,
        /// Milliseconds of a slot from then on.
        slot_duration_ms: u64,
    },
    /// A signer is to take slots this far from its clock, as its configuration says. It does once this is applied.
    #[codec(index = 37)]
    WidenTolerance {
        /// How many slots, either way.
        slots: u64,
    },
    /// Forgets the last change of a chain's slots, as long as no key has signed by it.
    #[codec(index = 38)]
    TakeBackTiming {
        /// The chain.
        chain: ChainId,
    },
}

impl Change {
    /// The feature level the cluster must be at before this is proposed, by what is in it: an older member stops at what
    /// it cannot read.
    pub fn feature_level(&self) -> u32 {
        let key = |id: &KeyId| id.key_type.level();
        let floored = |id: &KeyId, floors: &Floors| floors.family_level().max(Some(key(id)));
        let sealed = |id: &KeyId, scheme: &Scheme| key(id).max(scheme.family().level);
        let rights = |rights: &[Right]| {
            let classes = rights.iter().flat_map(|right| &right.classes);
            let keys = rights.iter().filter_map(|right| match &right.keys {
                KeySelector::Key(id) => Some(key(id)),
                KeySelector::All | KeySelector::Group(_) => None,
            });
            classes.map(|class| class.level()).chain(keys).max()
        };
        let needed = match self {
            Self::AddChain(chain) => Some(chain.family.level),
            Self::RegisterKey { id, scheme, .. } => Some(sealed(id, scheme)),
            Self::AddGeneratedKey { id, scheme, floors, .. } => {
                floored(id, floors).max(Some(sealed(id, scheme)))
            }
            Self::ResealKey { id, .. } | Self::DisableKey { id } | Self::RemoveKey { id } => Some(key(id)),
            Self::ArmKey { id, floors }
            | Self::RaiseWatermark { key: id, floors }
            | Self::LiftHalt { key: id, floors, .. } => floored(id, floors),
            Self::HaltKey { key: id, duty, .. } => Some(key(id).max(duty.class().level())),
            Self::ImportWatermarks { floors, .. } => {
                floors.iter().filter_map(|(id, floors)| floored(id, floors)).max()
            }
            Self::ResealKeys { keys, .. } => keys.iter().map(|resealed| key(&resealed.id)).max(),
            Self::AddClient { rights: given, .. } => rights(given),
            Self::UpdateClient { rights: given, .. } => rights(given.as_deref().unwrap_or_default()),
            Self::RecordAudit { notes } => notes.iter().filter_map(AuditNote::family_level).max(),
            Self::Restore(step) => step.family_level(),
            Self::SetSettings { .. }
            | Self::RemoveClient { .. }
            | Self::AnnounceMember(_)
            | Self::RemoveMember { .. }
            | Self::RaiseFeatureLevel { .. }
            | Self::SetKeyAllowance { .. }
            | Self::AddMember { .. }
            | Self::JoinMember { .. }
            | Self::PromoteMember { .. }
            | Self::Place(_)
            | Self::SignAudit(_)
            | Self::SetClientLimits { .. }
            | Self::RotateClient { .. }
            | Self::FinishRotation { .. }
            | Self::SetOfficer { .. }
            | Self::RequireApproval { .. }
            | Self::DecideProposal { .. }
            | Self::PinOfficer { .. }
            | Self::RotateOfficer { .. }
            | Self::FinishOfficerRotation { .. }
            | Self::RetimeChain { .. }
            | Self::WidenTolerance { .. }
            | Self::TakeBackTiming { .. } => None,
        };
        needed.unwrap_or_default().max(FIRST_LEVEL)
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
            | Self::SetSettings { .. }
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
