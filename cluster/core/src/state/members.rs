//! Changes of the membership: invited, joined, promoted, announced, removed.
//!
//! One node at a time is on its way in. Raft's configuration follows what is wanted here (see
//! [`crate::replica`]); the state is told of it after each step, so that a change waits until the one before is done.

use super::State;
use super::change::{MAX_MEMBERS, check_room, check_text};
use crate::{
    log::{
        ChangeError,
        error::{Counted, FeatureError, MemberError},
    },
    model::{Configuration, JoinToken, Member, MemberRole, MemberState},
    registry::{MemberRecord, Membership, Standing},
};
use signonce_protocol::NodeId;
use std::collections::BTreeSet;

/// Voters that a removal must leave.
const FEWEST_VOTERS: usize = 3;

impl State {
    /// Raft's configuration after the entries applied so far. Not part of the records: it stands beside the applied
    /// index, and equal logs give equal ones.
    pub(crate) fn set_configuration(&mut self, configuration: &Configuration) {
        self.configuration = configuration.clone();
    }

    /// Invites a node under the fresh id `node`.
    pub(super) fn add_member(
        &mut self,
        node: NodeId,
        peer_addr: String,
        token: [u8; 32],
        replaces: Option<NodeId>,
    ) -> Result<(), ChangeError> {
        // First, as ever: the audit keeps why something was refused.
        check_text("the peer address", &peer_addr)?;
        let taken = self.registry.member(node).is_some()
            || self.registry.membership(node).is_some()
            || self.configuration.members().any(|member| member == node);
        if taken {
            return Err(MemberError::NodeIdTaken { node }.into());
        }
        self.check_invitation(&peer_addr, replaces)?;
        let (role, standing) = (MemberRole::Learner, Standing::Invited { token });
        let membership = Membership { node, role, standing, peer_addr, replaces };
        self.registry.put_membership(membership, &mut self.journal);
        Ok(())
    }

    pub(super) fn check_invitation(
        &self,
        peer_addr: &str,
        replaces: Option<NodeId>,
    ) -> Result<(), ChangeError> {
        check_text("the peer address", peer_addr)?;
        if let Some(node) = replaces.filter(|node| !self.is_member(*node)) {
            return Err(MemberError::UnknownMember { node }.into());
        }
        self.check_no_change_under_way(None)?;
        check_room(self.registry.member_count(), MAX_MEMBERS, Counted::Members)
    }

    /// One node at a time comes in, and a change waits until raft's configuration is what the one before wanted.
    fn check_no_change_under_way(&self, but_for: Option<NodeId>) -> Result<(), ChangeError> {
        for Membership { node, role, standing, .. } in self.registry.memberships() {
            let doing = match (standing, role) {
                (Standing::Invited { .. }, _) => "is invited and has not joined",
                (Standing::Joined { .. }, MemberRole::Learner) => "is a learner",
                (Standing::Joined { .. }, MemberRole::Voter) | (Standing::Removed, _) => continue,
            };
            if Some(*node) != but_for {
                return Err(MemberError::MemberChangeUnderWay { node: *node, doing: doing.into() }.into());
            }
        }
        let voters = self.configuration.voters.iter().copied().map(NodeId);
        let learners = self.configuration.learners.iter().copied().map(NodeId);
        let mut standings = voters.map(|node| (node, MemberRole::Voter)).collect::<Vec<_>>();
        standings.extend(learners.map(|node| (node, MemberRole::Learner)));
        for (node, role) in standings {
            let doing = match self.registry.wanted_role(node) {
                Some(wanted) if wanted == role => continue,
                Some(_) => "is being promoted",
                None => "is being removed",
            };
            return Err(MemberError::MemberChangeUnderWay { node, doing: doing.into() }.into());
        }
        Ok(())
    }

    /// Whether the node belongs to the cluster: raft knows it, or it has announced itself, and it was not removed.
    pub(super) fn is_member(&self, node: NodeId) -> bool {
        let known = self.registry.member(node).is_some()
            || self.registry.membership(node).is_some()
            || self.configuration.members().any(|member| member == node);
        known && !self.registry.is_removed(node)
    }

    /// An invited node says who it is and shows its token.
    pub(super) fn join_member(&mut self, member: Member, token: &JoinToken) -> Result<(), ChangeError> {
        let node = member.node;
        let Some(membership) = self.registry.membership(node).cloned() else {
            return Err(MemberError::NotInvited { node }.into());
        };
        let same = |hash: [u8; 32]| hash == token.hash();
        match membership.standing {
            Standing::Removed => return Err(MemberError::MemberRemoved { node }.into()),
            Standing::Invited { token: hash } | Standing::Joined { token: hash } if !same(hash) => {
                return Err(MemberError::WrongToken { node }.into());
            }
            Standing::Joined { .. } => {
                let known = self.registry.member(node).map(|(member, _)| &member.recipient);
                let again = known == Some(&member.recipient);
                return if again {
                    Ok(())
                } else {
                    Err(ChangeError::Member(MemberError::TokenUsed { node }))
                };
            }
            Standing::Invited { token } => {
                self.check_member(&member)?;
                let twin = self.registry.member_by_recipient(&member.recipient);
                if let Some(other) = twin.filter(|other| *other != node) {
                    return Err(MemberError::RecipientTaken { node: other }.into());
                }
                let standing = Standing::Joined { token };
                self.registry.put_membership(Membership { standing, ..membership }, &mut self.journal);
                let record = MemberRecord { member, state: MemberState::Present };
                self.registry.put_member(record, &mut self.journal);
            }
        }
        Ok(())
    }

    /// Wants a learner to vote.
    pub(super) fn promote_member(&mut self, node: NodeId) -> Result<(), ChangeError> {
        if self.registry.is_removed(node) {
            return Err(MemberError::MemberRemoved { node }.into());
        }
        let Some(membership) = self.registry.membership(node).cloned() else {
            return Err(match self.is_member(node) {
                true => ChangeError::Member(MemberError::AlreadyVoter { node }),
                false => ChangeError::Member(MemberError::UnknownMember { node }),
            });
        };
        match (membership.standing, membership.role) {
            (Standing::Invited { .. }, _) => {
                return Err(MemberError::NotJoined { node }.into());
            }
            (_, MemberRole::Voter) => return Err(MemberError::AlreadyVoter { node }.into()),
            (_, MemberRole::Learner) => {}
        }
        self.check_no_change_under_way(Some(node))?;
        let role = MemberRole::Voter;
        self.registry.put_membership(Membership { role, ..membership }, &mut self.journal);
        Ok(())
    }

    /// A member says who and where it is.
    pub(super) fn announce_member(&mut self, member: Member) -> Result<(), ChangeError> {
        let node = member.node;
        if node == NodeId(0) {
            return Err(MemberError::ZeroNode.into());
        }
        if self.registry.is_removed(node) {
            return Err(MemberError::MemberRemoved { node }.into());
        }
        match self.registry.member(node) {
            Some((known, _)) if known.recipient != member.recipient => {
                return Err(
                    MemberError::MemberIdentityChanged { node, known: known.recipient.clone() }.into()
                );
            }
            Some(_) => {}
            None if self.registry.membership(node).is_some() => {
                return Err(MemberError::NotJoined { node }.into());
            }
            None => check_room(self.registry.member_count(), MAX_MEMBERS, Counted::Members)?,
        }
        self.check_member(&member)?;
        self.registry.put_member(MemberRecord { member, state: MemberState::Present }, &mut self.journal);
        Ok(())
    }

    fn check_member(&self, member: &Member) -> Result<(), ChangeError> {
        let Member { node, recipient, peer_addr, client_url, supports } = member;
        check_text("the recipient", recipient)?;
        check_text("the peer address", peer_addr)?;
        check_text("the client URL", client_url)?;
        let (node, supports, current) = (*node, *supports, self.registry.feature_level());
        if supports < current {
            return Err(FeatureError::MemberTooOld { node, supports, current }.into());
        }
        Ok(())
    }

    pub(super) fn remove_member(&mut self, node: NodeId) -> Result<(), ChangeError> {
        if self.registry.is_removed(node) {
            return Err(MemberError::MemberRemoved { node }.into());
        }
        let known = self.registry.member(node).map(|(member, _)| member.clone());
        if known.is_none() && !self.is_member(node) {
            return Err(MemberError::UnknownMember { node }.into());
        }
        self.check_voters_without(node)?;
        let membership = self.registry.membership(node).cloned();
        let membership = membership.unwrap_or_else(|| Membership {
            node,
            role: MemberRole::Voter,
            standing: Standing::Removed,
            peer_addr: known.as_ref().map(|member| member.peer_addr.clone()).unwrap_or_default(),
            replaces: None,
        });
        let standing = Standing::Removed;
        self.registry.put_membership(Membership { standing, ..membership }, &mut self.journal);
        if let Some(member) = known {
            let record = MemberRecord { member, state: MemberState::Removed };
            self.registry.put_member(record, &mut self.journal);
        }
        Ok(())
    }

    /// Three must be left to vote: with fewer there is no quorum to spare, and no witness for a node that starts (see
    /// [`crate::replica::fence`]).
    fn check_voters_without(&self, node: NodeId) -> Result<(), ChangeError> {
        let announced = self.registry.members().map(|member| member.node);
        let voters = self.configuration.voters.iter().copied().map(NodeId);
        let known: BTreeSet<NodeId> = announced.chain(voters).collect();
        let votes = |other: &NodeId| self.registry.wanted_role(*other) == Some(MemberRole::Voter);
        let left = known.iter().filter(|other| **other != node && votes(other)).count();
        if votes(&node) && left < FEWEST_VOTERS {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            return Err(MemberError::TooFewVoters { node, left }.into());
        }
        Ok(())
    }
}
