//! Roles and the word of a second officer: what stands before a change, and the changes of officers themselves.

use super::{State, change::Made};
use crate::{
    command::{Change, ChangeDone, ChangeError, Counted, Floors},
    ledger::Position,
    roles::{Officers, Proposal, ProposalDecision, Role, is_operator},
};
use signonce_protocol::LogIndex;

const MAX_OFFICERS: usize = 1_000;
/// Proposals remembered, decided ones included: the oldest that wait for nobody go first.
const MAX_PROPOSALS: usize = 128;
/// With fewer, one who is away stops everything.
const MIN_TO_APPROVE: usize = 2;

/// An entry of the log: where it is, who wanted it, when.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) at: LogIndex,
    pub(super) actor: &'a str,
    pub(super) time_ms: u64,
}

impl State {
    /// Whether `actor` has the role that `change` takes.
    pub(super) fn check_role(&self, actor: &str, change: &Change) -> Result<(), ChangeError> {
        let (Some(needed), true) = (change.least_role(), is_operator(actor)) else { return Ok(()) };
        let role = self.registry.officers().role_of(actor);
        if role >= Some(needed) {
            return Ok(());
        }
        Err(ChangeError::RoleTooLow { actor: actor.to_owned(), role, needed })
    }

    /// Whether a second officer has to agree first.
    pub(super) fn needs_approval(&self, actor: &str, change: &Change) -> bool {
        let asked = self.registry.officers().require_approval && is_operator(actor) && change.is_dangerous();
        asked && !self.arms_where_it_stood(change)
    }

    /// A key that was disabled here and goes on from its own floor takes nobody's word for anything.
    fn arms_where_it_stood(&self, change: &Change) -> bool {
        let Change::ArmKey { id, floors } = change else { return false };
        let none = Floors::default();
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
        let Entry { at, actor, time_ms } = entry;
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
            Change::ArmKey { id, .. } | Change::RemoveKey { id } => self.living_key(*id).map(drop),
            Change::RemoveMember { node } if !self.is_member(*node) => {
                Err(ChangeError::UnknownMember { node: *node })
            }
            Change::SetOfficer { name, role } => self.officers_with(name, *role).map(drop),
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
        let Entry { at, actor, time_ms } = entry;
        let proposal = self.registry.proposal(id).ok_or(ChangeError::UnknownProposal { id })?.clone();
        if let Some(ProposalDecision { by, approved, .. }) = proposal.decision {
            return Err(ChangeError::ProposalDecided { id, by, approved });
        }
        let mut made = Made::default();
        if approved {
            if proposal.has_expired(time_ms) {
                return Err(ChangeError::ProposalExpired { id });
            }
            if proposal.by == actor {
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

    /// Gives an officer a role, or takes it away.
    pub(super) fn set_officer(&mut self, name: &str, role: Option<Role>) -> Result<(), ChangeError> {
        let officers = self.officers_with(name, role)?;
        self.registry.put_officers(officers, &mut self.journal);
        Ok(())
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

const fn too_few(have: usize) -> ChangeError {
    ChangeError::TooFewOfficers { have: have as u32, needed: MIN_TO_APPROVE as u32 }
}
