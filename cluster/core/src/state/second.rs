//! The word of a second officer: which changes wait for one, and what becomes of those that do.

use super::{State, change::Made, officers::Entry};
use crate::{
    log::{
        Change, ChangeDone, ChangeError, Second,
        error::{Counted, InputError, MemberError, ProposalError},
    },
    model::{Actor, KeyAllowance, KeySelector, Retiming, Right},
    registry::{Proposal, ProposalDecision, Standing},
};
use signonce_protocol::{LogIndex, NodeId};

/// Proposals remembered, decided ones included: the oldest that wait for nobody go first.
const MAX_PROPOSALS: usize = 128;

impl State {
    /// Whether a second officer has to agree first.
    pub(super) fn needs_approval(&self, actor: &str, change: &Change) -> bool {
        if !self.registry.officers().require_approval || !self.is_operator(actor) {
            return false;
        }
        match change.kind().second() {
            Second::Never => false,
            Second::Always => true,
            Second::Depends => self.gives_more(change),
        }
    }

    /// Whether a change of a kind that may be harmless is not. What cannot be made at all waits for nobody either.
    fn gives_more(&self, change: &Change) -> bool {
        match change {
            Change::SetSettings { chain, settings } => self.registry.chain(chain).is_some_and(|chain| {
                // What the family does not take waits for nobody.
                chain.family.settings.lets_more_through(&chain.settings, settings)
            }),
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
            // To have no key made any more.
            Change::SetKeyAllowance { allowance: None, .. } => false,
            Change::AnnounceMember(_)
            | Change::JoinMember { .. }
            | Change::AddGeneratedKey { .. }
            | Change::ResealKeys { .. }
            | Change::RecordAudit { .. }
            | Change::SignAudit(_)
            | Change::HaltKey { .. }
            | Change::WidenTolerance { .. }
            | Change::DisableKey { .. }
            | Change::RemoveClient { .. }
            | Change::SetClientLimits { .. }
            | Change::PromoteMember { .. }
            | Change::Place(_)
            | Change::RaiseFeatureLevel { .. }
            | Change::AddChain(_)
            | Change::RetimeChain { .. }
            | Change::TakeBackTiming { .. }
            | Change::RegisterKey { .. }
            | Change::ResealKey { .. }
            | Change::ArmKey { .. }
            | Change::RemoveKey { .. }
            | Change::RaiseWatermark { .. }
            | Change::ImportWatermarks { .. }
            | Change::LiftHalt { .. }
            | Change::RotateClient { .. }
            | Change::FinishRotation { .. }
            | Change::AddMember { .. }
            | Change::Restore(_)
            | Change::SetOfficer { .. }
            | Change::PinOfficer { .. }
            | Change::RotateOfficer { .. }
            | Change::FinishOfficerRotation { .. }
            | Change::RequireApproval { .. }
            | Change::DecideProposal { .. } => false,
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

    /// An invitation that nobody has used can be taken back by one.
    fn is_unused_invitation(&self, node: NodeId) -> bool {
        let standing = self.registry.membership(node).map(|membership| membership.standing);
        matches!(standing, Some(Standing::Invited { .. }))
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
            let idle = idle.ok_or(InputError::TooMany { what: Counted::Proposals, limit })?;
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
                Err(ChangeError::Member(MemberError::UnknownMember { node: *node }))
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
            Change::AnnounceMember(_)
            | Change::JoinMember { .. }
            | Change::AddGeneratedKey { .. }
            | Change::ResealKeys { .. }
            | Change::RecordAudit { .. }
            | Change::SignAudit(_)
            | Change::HaltKey { .. }
            | Change::WidenTolerance { .. }
            | Change::DisableKey { .. }
            | Change::RemoveClient { .. }
            | Change::SetClientLimits { .. }
            | Change::PromoteMember { .. }
            | Change::Place(_)
            | Change::RaiseFeatureLevel { .. }
            | Change::AddChain(_)
            | Change::SetSettings { .. }
            | Change::RegisterKey { .. }
            | Change::ResealKey { .. }
            | Change::ImportWatermarks { .. }
            | Change::FinishRotation { .. }
            | Change::RemoveMember { .. }
            | Change::Restore(_)
            | Change::FinishOfficerRotation { .. }
            | Change::RequireApproval { .. }
            | Change::DecideProposal { .. } => Ok(()),
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
        let proposal = self.registry.proposal(id).ok_or(ProposalError::UnknownProposal { id })?.clone();
        if let Some(ProposalDecision { by, approved, .. }) = proposal.decision {
            return Err(ProposalError::ProposalDecided { id, by, approved }.into());
        }
        let mut made = Made::default();
        if approved {
            if proposal.has_expired(time_ms) {
                return Err(ProposalError::ProposalExpired { id }.into());
            }
            if Self::are_one(&proposal.by, actor) {
                return Err(ProposalError::OwnProposal { id, by: proposal.by }.into());
            }
            // Who proposed it may have lost the right since; what it is about may have changed.
            self.check_role(&proposal.by, &proposal.change)?;
            made = self.make(entry, proposal.change.clone())?;
        }
        let decision = Some(ProposalDecision { by: actor.to_owned(), time_ms, at, approved });
        self.registry.put_proposal(Proposal { decision, ..proposal }, &mut self.journal);
        Ok(made)
    }

    /// Whether both are one person.
    fn are_one(one: &str, other: &str) -> bool {
        Actor::of(one).is_same(&Actor::of(other))
    }

    /// What a change that only waits answers.
    pub(super) fn waits(&mut self, entry: Entry<'_>, change: Change) -> Result<ChangeDone, ChangeError> {
        let id = self.propose(entry, change)?;
        Ok(ChangeDone { proposed: Some(id), ..self.count_change(entry.at, Made::default()) })
    }
}
