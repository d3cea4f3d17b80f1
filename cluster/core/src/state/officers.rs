//! Roles: what stands before a change, and the changes of officers themselves. Where it takes two, see `second.rs`.

use super::State;
use crate::model::Fingerprint;
use crate::{
    log::{
        Change, ChangeError,
        error::{Counted, OfficerError},
    },
    model::{Actor, PlacementChange, Role, client_actor, node_actor},
    registry::{OfficerPin, Officers},
};
use signonce_protocol::{LogIndex, NodeId};

const MAX_OFFICERS: usize = 1_000;
/// With fewer, one who is away stops everything.
const MIN_TO_APPROVE: usize = 2;
/// Certificate keys remembered as revoked, of one officer. Whoever changes them more often forgets the oldest.
const MAX_REVOKED: usize = 256;

/// An entry of the log: where it is, which node brought it there, who wanted it, when.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) at: LogIndex,
    pub(super) node: NodeId,
    pub(super) actor: &'a str,
    pub(super) time_ms: u64,
}

impl State {
    /// Whether `actor` has the role that `change` takes.
    pub(super) fn check_role(&self, actor: &str, change: &Change) -> Result<(), ChangeError> {
        if !self.is_operator(actor) {
            return Ok(());
        }
        let Some(needed) = change.least_role() else {
            let (actor, change) = (actor.to_owned(), change.kind().name().to_owned());
            return Err(ChangeError::Officer(OfficerError::NotForOfficers { actor, change }));
        };
        let role = self.registry.role_of(actor)?;
        if role >= Some(needed) {
            return Ok(());
        }
        Err(ChangeError::Officer(OfficerError::RoleTooLow { actor: actor.to_owned(), role, needed }))
    }

    /// Whether a signer speaks of itself, or for the client that it says it does.
    pub(super) fn check_speaker(&self, entry: Entry<'_>, change: &Change) -> Result<(), ChangeError> {
        if self.is_operator(entry.actor) || self.is_own_word(entry, change) {
            return Ok(());
        }
        let change = change.kind().name().to_owned();
        Err(ChangeError::Officer(OfficerError::SpeaksForAnother {
            actor: entry.actor.to_owned(),
            node: entry.node,
            change,
        }))
    }

    /// Whether the signer that wants the change is the one that has to.
    fn is_own_word(&self, entry: Entry<'_>, change: &Change) -> bool {
        let Entry { node, actor, .. } = entry;
        let is = |speaker: NodeId| actor == node_actor(speaker);
        match change {
            Change::RecordAudit { notes } => is(node) && notes.iter().all(|note| note.request.node == node),
            Change::SignAudit(signature) => is(node) && signature.node == node,
            Change::HaltKey { .. } | Change::WidenTolerance { .. } => is(node),
            Change::AnnounceMember(member) => is(member.node),
            // Another node brings it into the log.
            Change::JoinMember { member, .. } => is(member.node),
            Change::Place(PlacementChange::Note { node, .. }) => is(*node),
            Change::AddGeneratedKey { client, .. } => {
                self.registry.client(*client).is_none_or(|client| actor == client_actor(&client.name))
            }
            // Any signer may.
            Change::ResealKeys { .. }
            | Change::RaiseFeatureLevel { .. }
            | Change::Place(PlacementChange::Pin(_))
            | Change::AddChain(_)
            | Change::SetSettings { .. }
            | Change::RetimeChain { .. }
            | Change::TakeBackTiming { .. }
            | Change::RegisterKey { .. }
            | Change::ResealKey { .. }
            | Change::ArmKey { .. }
            | Change::DisableKey { .. }
            | Change::RemoveKey { .. }
            | Change::RaiseWatermark { .. }
            | Change::ImportWatermarks { .. }
            | Change::LiftHalt { .. }
            | Change::AddClient { .. }
            | Change::UpdateClient { .. }
            | Change::RemoveClient { .. }
            | Change::RotateClient { .. }
            | Change::FinishRotation { .. }
            | Change::SetClientLimits { .. }
            | Change::SetKeyAllowance { .. }
            | Change::AddMember { .. }
            | Change::RemoveMember { .. }
            | Change::PromoteMember { .. }
            | Change::Restore(_)
            | Change::SetOfficer { .. }
            | Change::PinOfficer { .. }
            | Change::RotateOfficer { .. }
            | Change::FinishOfficerRotation { .. }
            | Change::RequireApproval { .. }
            | Change::DecideProposal { .. } => true,
        }
    }

    pub(super) fn is_operator(&self, actor: &str) -> bool {
        Actor::of(actor) != Actor::Signer
    }

    /// Gives an officer a role, or takes it away, with its certificate key.
    pub(super) fn set_officer(&mut self, name: &str, role: Option<Role>) -> Result<(), ChangeError> {
        let officers = self.officers_with(name, role)?;
        self.registry.put_officers(officers, &mut self.journal);
        if role.is_none() && self.registry.officer_pin(name).is_some() {
            let mut pin = self.registry.pin_of(name);
            for key in [pin.certificate.take(), pin.next.take()].into_iter().flatten() {
                revoke(&mut pin, key);
            }
            self.registry.put_officer_pin(pin, &mut self.journal);
        }
        Ok(())
    }

    /// From now on the officer is known by its key as well.
    pub(super) fn pin_officer(
        &mut self,
        name: &str,
        certificate: Fingerprint,
        role: Option<Role>,
    ) -> Result<(), ChangeError> {
        let (officers, pin) = self.officer_pinned(name, certificate, role)?;
        self.registry.put_officers(officers, &mut self.journal);
        self.registry.put_officer_pin(pin, &mut self.journal);
        Ok(())
    }

    pub(super) fn officer_pinned(
        &self,
        name: &str,
        certificate: Fingerprint,
        role: Option<Role>,
    ) -> Result<(Officers, OfficerPin), ChangeError> {
        let unknown = || ChangeError::Officer(OfficerError::UnknownOfficer { name: name.to_owned() });
        let role = role.or_else(|| self.registry.officers().roles.get(name).copied()).ok_or_else(unknown)?;
        let officers = self.officers_with(name, Some(role))?;
        let pin = self.registry.pin_of(name);
        if pin.certificate == Some(certificate) {
            return Ok((officers, pin));
        }
        if pin.certificate.is_some() {
            return Err(OfficerError::OfficerPinned { name: name.to_owned() }.into());
        }
        self.check_officer_key(&certificate)?;
        Ok((officers, OfficerPin { certificate: Some(certificate), ..pin }))
    }

    /// From now on a pinned officer has two keys.
    pub(super) fn rotate_officer(&mut self, name: &str, certificate: Fingerprint) -> Result<(), ChangeError> {
        let pin = self.officer_rotated(name, certificate)?;
        self.registry.put_officer_pin(pin, &mut self.journal);
        Ok(())
    }

    pub(super) fn officer_rotated(
        &self,
        name: &str,
        certificate: Fingerprint,
    ) -> Result<OfficerPin, ChangeError> {
        let pin = self.pinned(name)?;
        if pin.next.is_some() {
            return Err(OfficerError::OfficerRotationUnderWay { name: name.to_owned() }.into());
        }
        self.check_officer_key(&certificate)?;
        Ok(OfficerPin { next: Some(certificate), ..pin })
    }

    /// From now on it has one: the new one if `keep_new`. The other is never accepted again.
    pub(super) fn finish_officer_rotation(&mut self, name: &str, keep_new: bool) -> Result<(), ChangeError> {
        let mut pin = self.pinned(name)?;
        let none = || ChangeError::Officer(OfficerError::NoOfficerRotation { name: name.to_owned() });
        let next = pin.next.take().ok_or_else(none)?;
        let gone = if keep_new { pin.certificate.replace(next) } else { Some(next) };
        gone.into_iter().for_each(|key| revoke(&mut pin, key));
        self.registry.put_officer_pin(pin, &mut self.journal);
        Ok(())
    }

    fn pinned(&self, name: &str) -> Result<OfficerPin, ChangeError> {
        if !self.registry.officers().roles.contains_key(name) {
            return Err(OfficerError::UnknownOfficer { name: name.to_owned() }.into());
        }
        let none = || ChangeError::Officer(OfficerError::OfficerNotPinned { name: name.to_owned() });
        self.registry.officer_pin(name).cloned().ok_or_else(none)
    }

    /// A key must be nobody's, and must never have been.
    fn check_officer_key(&self, key: &Fingerprint) -> Result<(), ChangeError> {
        match self.registry.officer_with(key) {
            Some(pin) => Err(ChangeError::Officer(OfficerError::OfficerKeyTaken { name: pin.name.clone() })),
            None => Ok(()),
        }
    }

    /// The officers as they would be. There is always one who can change them, and two where two are needed.
    pub(super) fn officers_with(&self, name: &str, role: Option<Role>) -> Result<Officers, ChangeError> {
        let mut officers = self.registry.officers().clone();
        match role {
            Some(role) => {
                super::change::check_name(name)?;
                officers.roles.insert(name.to_owned(), role);
                super::change::check_room(officers.roles.len() - 1, MAX_OFFICERS, Counted::Officers)?;
            }
            None => {
                officers.roles.remove(name).ok_or_else(|| {
                    ChangeError::Officer(OfficerError::UnknownOfficer { name: name.to_owned() })
                })?;
            }
        }
        match officers.key_officers() {
            0 => Err(ChangeError::Officer(OfficerError::LastKeyOfficer { name: name.to_owned() })),
            have @ ..MIN_TO_APPROVE if officers.require_approval => Err(too_few(have)),
            _ => Ok(officers),
        }
    }

    /// From now on dangerous changes need two, or no longer.
    pub(super) fn require_approval(&mut self, on: bool) -> Result<(), ChangeError> {
        let officers = self.registry.officers();
        if on && officers.key_officers() < MIN_TO_APPROVE {
            return Err(too_few(officers.key_officers()));
        }
        let officers = Officers { require_approval: on, ..officers.clone() };
        self.registry.put_officers(officers, &mut self.journal);
        Ok(())
    }
}

/// Takes a key from the officer forever.
pub(super) fn revoke(pin: &mut OfficerPin, key: Fingerprint) {
    pin.revoked.push(key);
    let surplus = pin.revoked.len().saturating_sub(MAX_REVOKED);
    pin.revoked.drain(..surplus);
}

const fn too_few(have: usize) -> ChangeError {
    ChangeError::Officer(OfficerError::TooFewOfficers { have: have as u32, needed: MIN_TO_APPROVE as u32 })
}
