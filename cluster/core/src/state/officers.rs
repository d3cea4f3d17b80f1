//! Roles and the word of a second officer: what stands before a change, and the changes of officers themselves.

use super::{State, change::Made};
use crate::{
    command::{Change, ChangeDone, ChangeError, Counted, Floors, GUARDED_LEVEL},
    ledger::Position,
    registry::{KeyAllowance, KeySelector, Limits, OfficerPin, PlacementChange, Retiming, Right, Standing},
    roles::{
        Actor, Officers, PINNED_LEVEL, Proposal, ProposalDecision, Role, Second, client_actor, node_actor,
    },
};
use signonce_protocol::{HexArray, LogIndex, NodeId};

const MAX_OFFICERS: usize = 1_000;
/// Proposals remembered, decided ones included: the oldest that wait for nobody go first.
const MAX_PROPOSALS: usize = 128;
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
        let guarded = self.registry.feature_level() >= GUARDED_LEVEL;
        let needed = if guarded { change.least_role() } else { change.kind().least_role() };
        let Some(needed) = needed else {
            let (actor, change) = (actor.to_owned(), change.kind().name().to_owned());
            return if guarded { Err(ChangeError::NotForOfficers { actor, change }) } else { Ok(()) };
        };
        let role = self.registry.role_of(actor)?;
        if role >= Some(needed) {
            return Ok(());
        }
        Err(ChangeError::RoleTooLow { actor: actor.to_owned(), role, needed })
    }

    /// Whether a signer speaks of itself, or for the client that it says it does. Judged from [`GUARDED_LEVEL`] on.
    pub(super) fn check_speaker(&self, entry: Entry<'_>, change: &Change) -> Result<(), ChangeError> {
        if self.registry.feature_level() < GUARDED_LEVEL || self.is_operator(entry.actor) {
            return Ok(());
        }
        let Some(speaker) = self.speaker_of(entry, change) else { return Ok(()) };
        if entry.actor == speaker && says_it_of_its_own(entry.node, change) {
            return Ok(());
        }
        let change = change.kind().name().to_owned();
        Err(ChangeError::SpeaksForAnother { actor: entry.actor.to_owned(), node: entry.node, change })
    }

    /// Whose change it is; `None` if any signer may make it.
    fn speaker_of(&self, entry: Entry<'_>, change: &Change) -> Option<String> {
        match change {
            Change::RecordAudit { .. }
            | Change::SignAudit(_)
            | Change::HaltKey { .. }
            | Change::WidenTolerance { .. } => Some(node_actor(entry.node)),
            Change::AnnounceMember(member) => Some(node_actor(member.node)),
            // Another node brings it into the log.
            Change::JoinMember { member, .. } => Some(node_actor(member.node)),
            Change::Place(PlacementChange::Note { node, .. }) => Some(node_actor(*node)),
            Change::AddGeneratedKey { client, .. } => {
                self.registry.client(*client).map(|client| client_actor(&client.name))
            }
            _ => None,
        }
    }

    /// Who the log means by `actor`.
    fn who<'a>(&self, actor: &'a str) -> Actor<'a> {
        Actor::of(actor, self.registry.feature_level())
    }

    fn is_operator(&self, actor: &str) -> bool {
        self.who(actor) != Actor::Signer
    }

    /// Whether a second officer has to agree first.
    pub(super) fn needs_approval(&self, actor: &str, change: &Change) -> bool {
        if !self.registry.officers().require_approval || !self.is_operator(actor) {
            return false;
        }
        let level = self.registry.feature_level();
        match change.kind().second() {
            Second::Never => false,
            Second::Always(since) => level >= since && !self.took_one_before(change),
            Second::Depends(since) => level >= since && self.gives_more(change),
        }
    }

    /// Whether a change of a kind that may be harmless is not. What cannot be made at all waits for nobody either.
    fn gives_more(&self, change: &Change) -> bool {
        match change {
            Change::SetLimits { chain, limits } => {
                self.registry.chain(chain).is_some_and(|chain| are_wider(limits, &chain.limits))
            }
            Change::AddClient { rights, .. } => !rights.is_empty(),
            Change::UpdateClient { name, spki, rights } => {
                self.registry.client_by_name(name).is_some_and(|client| {
                    let other = spki.is_some_and(|spki| spki != client.spki);
                    let more = |right: &Right| !client.rights.iter().any(|old| self.includes(old, right));
                    other || rights.iter().flatten().any(more)
                })
            }
            Change::SetKeyAllowance { name, allowance: Some(new) } => {
                self.registry.client_by_name(name).is_some_and(|client| {
                    let old = self.registry.key_allowance(client.id);
                    !old.is_some_and(|KeyAllowance { group, chain, limit }| {
                        *group == new.group && (chain.is_none() || *chain == new.chain) && *limit >= new.limit
                    })
                })
            }
            Change::RemoveMember { node } => !self.is_unused_invitation(*node),
            _ => false,
        }
    }

    /// Whether `old` permits all that `new` does.
    fn includes(&self, old: &Right, new: &Right) -> bool {
        let keys = match (&old.keys, &new.keys) {
            (KeySelector::All, _) => true,
            (KeySelector::Group(group), KeySelector::Key(id)) => {
                self.registry.key(id).is_some_and(|key| key.group.as_ref() == Some(group))
            }
            (old, new) => old == new,
        };
        let chain = old.chain.is_none() || old.chain == new.chain;
        keys && chain && new.classes.iter().all(|class| old.classes.contains(class))
    }

    /// An invitation can be taken back by one, as it could not below the level that takes two for inviting.
    fn is_unused_invitation(&self, node: NodeId) -> bool {
        let standing = self.registry.membership(node).map(|membership| membership.standing);
        self.registry.feature_level() >= PINNED_LEVEL && matches!(standing, Some(Standing::Invited { .. }))
    }

    /// Below [`GUARDED_LEVEL`] one officer arms a key that goes on from its own floor, and one whose work is not
    /// claimed. That the key stood still since is his word too: a key that was disabled here may have signed elsewhere,
    /// and the floor of one that was restored is its backup's.
    fn took_one_before(&self, change: &Change) -> bool {
        let Change::ArmKey { id, floors } = change else { return false };
        if self.registry.feature_level() >= GUARDED_LEVEL {
            return false;
        }
        let none = Floors::default();
        if *floors == none {
            return true;
        }
        let stood = self.ledger.watermarks(id).first().map(|watermark| match watermark.floor {
            Position::Slot { slot } => Floors { slot: Some(slot), ..none },
            Position::Grandpa { set_id, round } => Floors { grandpa: Some((set_id, round)), ..none },
            Position::Beefy { set_id, block } => Floors { beefy: Some((set_id, block)), ..none },
            Position::Para { session } => Floors { para: Some(session), ..none },
        });
        stood == Some(*floors)
    }

    /// Keeps the change until another officer decides. Proposing the same again finds the first proposal.
    pub(super) fn propose(&mut self, entry: Entry<'_>, change: Change) -> Result<LogIndex, ChangeError> {
        let Entry { at, node: _, actor, time_ms } = entry;
        let same = |p: &&Proposal| p.is_open(time_ms) && p.by == actor && p.change == change;
        if let Some(known) = self.registry.proposals().find(same) {
            return Ok(known.id);
        }
        self.check_sense(&change)?;
        if self.registry.proposals().count() >= MAX_PROPOSALS {
            let idle = self.registry.proposals().find(|p| !p.is_open(time_ms)).map(|p| p.id);
            let limit = MAX_PROPOSALS as u32;
            let idle = idle.ok_or(ChangeError::TooMany { what: Counted::Proposals, limit })?;
            self.registry.drop_proposal(idle, &mut self.journal);
        }
        let proposal = Proposal { id: at, by: actor.to_owned(), time_ms, change, decision: None };
        self.registry.put_proposal(proposal, &mut self.journal);
        Ok(at)
    }

    /// What cannot be made now need not wait for anybody. Everything is judged in full when it is approved.
    fn check_sense(&self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::ArmKey { id, floors } => self.check_arm(*id, floors).map(drop),
            Change::RemoveKey { id } => self.living_key(*id).map(drop),
            Change::RemoveMember { node } if !self.is_member(*node) => {
                Err(ChangeError::UnknownMember { node: *node })
            }
            Change::SetOfficer { name, role } => self.officers_with(name, *role).map(drop),
            Change::PinOfficer { name, certificate, role } => {
                self.officer_pinned(name, *certificate, *role).map(drop)
            }
            Change::RotateOfficer { name, certificate } => self.officer_rotated(name, *certificate).map(drop),
            Change::AddClient { name, spki, rights } => self.check_new_client(name, spki, rights),
            Change::UpdateClient { name, .. } | Change::SetKeyAllowance { name, .. } => {
                self.active_client(name).map(drop)
            }
            Change::RotateClient { name, spki } => {
                self.active_client(name)?;
                self.check_certificate(spki, None)
            }
            Change::RaiseWatermark { key, .. } => self.living_key(*key).map(drop),
            Change::LiftHalt { key, halted, .. } => self.halt_of(*key, *halted).map(drop),
            Change::RetimeChain { chain, from_ms, slot_duration_ms } => {
                let (from_ms, slot_duration_ms) = (*from_ms, *slot_duration_ms);
                self.retimed(*chain, Retiming { from_ms, slot_duration_ms, at: LogIndex(0) }).map(drop)
            }
            Change::TakeBackTiming { chain } => self.taken_back(*chain).map(drop),
            Change::AddMember { peer_addr, replaces, .. } => self.check_invitation(peer_addr, *replaces),
            _ => Ok(()),
        }
    }

    /// Makes the proposed change in the name of both, or closes the proposal.
    pub(super) fn decide(
        &mut self,
        entry: Entry<'_>,
        id: LogIndex,
        approved: bool,
    ) -> Result<Made, ChangeError> {
        let Entry { at, node: _, actor, time_ms } = entry;
        let proposal = self.registry.proposal(id).ok_or(ChangeError::UnknownProposal { id })?.clone();
        if let Some(ProposalDecision { by, approved, .. }) = proposal.decision {
            return Err(ChangeError::ProposalDecided { id, by, approved });
        }
        let mut made = Made::default();
        if approved {
            if proposal.has_expired(time_ms) {
                return Err(ChangeError::ProposalExpired { id });
            }
            if self.are_one(&proposal.by, actor) {
                return Err(ChangeError::OwnProposal { id, by: proposal.by });
            }
            // Who proposed it may have lost the right since; what it is about may have changed.
            self.check_role(&proposal.by, &proposal.change)?;
            made = self.make(entry, proposal.change.clone())?;
        }
        let decision = Some(ProposalDecision { by: actor.to_owned(), time_ms, at, approved });
        self.registry.put_proposal(Proposal { decision, ..proposal }, &mut self.journal);
        Ok(made)
    }

    /// Whether both are one person. Below the level at which certificates are known it goes by the whole text.
    fn are_one(&self, one: &str, other: &str) -> bool {
        if self.registry.feature_level() < PINNED_LEVEL {
            return one == other;
        }
        self.who(one).is_same(&self.who(other))
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
        certificate: HexArray<32>,
        role: Option<Role>,
    ) -> Result<(), ChangeError> {
        let (officers, pin) = self.officer_pinned(name, certificate, role)?;
        self.registry.put_officers(officers, &mut self.journal);
        self.registry.put_officer_pin(pin, &mut self.journal);
        Ok(())
    }

    fn officer_pinned(
        &self,
        name: &str,
        certificate: HexArray<32>,
        role: Option<Role>,
    ) -> Result<(Officers, OfficerPin), ChangeError> {
        let unknown = || ChangeError::UnknownOfficer { name: name.to_owned() };
        let role = role.or_else(|| self.registry.officers().roles.get(name).copied()).ok_or_else(unknown)?;
        let officers = self.officers_with(name, Some(role))?;
        let pin = self.registry.pin_of(name);
        if pin.certificate == Some(certificate) {
            return Ok((officers, pin));
        }
        if pin.certificate.is_some() {
            return Err(ChangeError::OfficerPinned { name: name.to_owned() });
        }
        self.check_officer_key(&certificate)?;
        Ok((officers, OfficerPin { certificate: Some(certificate), ..pin }))
    }

    /// From now on a pinned officer has two keys.
    pub(super) fn rotate_officer(
        &mut self,
        name: &str,
        certificate: HexArray<32>,
    ) -> Result<(), ChangeError> {
        let pin = self.officer_rotated(name, certificate)?;
        self.registry.put_officer_pin(pin, &mut self.journal);
        Ok(())
    }

    fn officer_rotated(&self, name: &str, certificate: HexArray<32>) -> Result<OfficerPin, ChangeError> {
        let pin = self.pinned(name)?;
        if pin.next.is_some() {
            return Err(ChangeError::OfficerRotationUnderWay { name: name.to_owned() });
        }
        self.check_officer_key(&certificate)?;
        Ok(OfficerPin { next: Some(certificate), ..pin })
    }

    /// From now on it has one: the new one if `keep_new`. The other is never accepted again.
    pub(super) fn finish_officer_rotation(&mut self, name: &str, keep_new: bool) -> Result<(), ChangeError> {
        let mut pin = self.pinned(name)?;
        let none = || ChangeError::NoOfficerRotation { name: name.to_owned() };
        let next = pin.next.take().ok_or_else(none)?;
        let gone = if keep_new { pin.certificate.replace(next) } else { Some(next) };
        gone.into_iter().for_each(|key| revoke(&mut pin, key));
        self.registry.put_officer_pin(pin, &mut self.journal);
        Ok(())
    }

    fn pinned(&self, name: &str) -> Result<OfficerPin, ChangeError> {
        if !self.registry.officers().roles.contains_key(name) {
            return Err(ChangeError::UnknownOfficer { name: name.to_owned() });
        }
        let none = || ChangeError::OfficerNotPinned { name: name.to_owned() };
        self.registry.officer_pin(name).cloned().ok_or_else(none)
    }

    /// A key must be nobody's, and must never have been.
    fn check_officer_key(&self, key: &HexArray<32>) -> Result<(), ChangeError> {
        match self.registry.officer_with(&key.0) {
            Some(pin) => Err(ChangeError::OfficerKeyTaken { name: pin.name.clone() }),
            None => Ok(()),
        }
    }

    /// The officers as they would be. There is always one who can change them, and two where two are needed.
    fn officers_with(&self, name: &str, role: Option<Role>) -> Result<Officers, ChangeError> {
        let mut officers = self.registry.officers().clone();
        match role {
            Some(role) => {
                super::change::check_name(name)?;
                officers.roles.insert(name.to_owned(), role);
                super::change::check_room(officers.roles.len() - 1, MAX_OFFICERS, Counted::Officers)?;
            }
            None => {
                officers
                    .roles
                    .remove(name)
                    .ok_or_else(|| ChangeError::UnknownOfficer { name: name.to_owned() })?;
            }
        }
        match officers.key_officers() {
            0 => Err(ChangeError::LastKeyOfficer { name: name.to_owned() }),
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

    /// What a change that only waits answers.
    pub(super) fn waits(&mut self, entry: Entry<'_>, change: Change) -> Result<ChangeDone, ChangeError> {
        let id = self.propose(entry, change)?;
        Ok(ChangeDone { proposed: Some(id), ..self.count_change(entry.at, Made::default()) })
    }
}

/// Whether the notes and the signature in a change are those of the node that brought them into the log.
fn says_it_of_its_own(node: NodeId, change: &Change) -> bool {
    match change {
        Change::RecordAudit { notes } => notes.iter().all(|note| note.request.node == node),
        Change::SignAudit(signature) => signature.node == node,
        _ => true,
    }
}

/// Whether any limit lets more through than it did.
fn are_wider(new: &Limits, old: &Limits) -> bool {
    let shield = |limits: &Limits| limits.beefy_shield.unwrap_or(u64::MAX);
    new.grandpa_rounds > old.grandpa_rounds
        || new.grandpa_sets > old.grandpa_sets
        || new.beefy_blocks > old.beefy_blocks
        || new.beefy_sets > old.beefy_sets
        || new.para_sessions > old.para_sessions
        || shield(new) > shield(old)
}

/// Takes a key from the officer for ever.
pub(super) fn revoke(pin: &mut OfficerPin, key: HexArray<32>) {
    pin.revoked.push(key);
    let surplus = pin.revoked.len().saturating_sub(MAX_REVOKED);
    pin.revoked.drain(..surplus);
}

const fn too_few(have: usize) -> ChangeError {
    ChangeError::TooFewOfficers { have: have as u32, needed: MIN_TO_APPROVE as u32 }
}
