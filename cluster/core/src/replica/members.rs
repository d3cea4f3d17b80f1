//! Raft's configuration follows the registry: one step at a time, proposed by whoever leads.
//!
//! The registry says who is wanted ([`Registry::wanted_role`](crate::Registry::wanted_role)); raft's configuration is
//! what is. The leader compares the two after everything it has applied and proposes the next [`Step`]: a learner that
//! has joined, a learner that is to vote, a node that is to go. Never two at once, never a joint configuration, so any
//! later leader can go on wherever the last one stopped. A step is proposed only when no change of the membership is
//! under way in the log, and no such change while a step is: what a step is based on still holds when it is applied.
//!
//! [`Replica::hazard`] is asked before a change is proposed: what the log itself cannot judge, because it depends on
//! who is alive at the moment.

use super::disk::{DiskBatch, meta_key};
use super::fence::Quarantine;
use super::hello::Life;
use super::{Fatal, Lifecycle, Replica};
use crate::codec::{self, CodecError};
use crate::log::{Change, Command};
use crate::model::{Configuration, MemberHazard, MemberRole};
use crate::registry::{Registry, Standing};
use parity_scale_codec::{Decode, Encode};
use raft::StateRole;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry};
use signonce_protocol::{LogIndex, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Entries a learner may be behind and still count as caught up.
const CAUGHT_UP: u64 = if cfg!(signonce_sim) { 20 } else { 100 };

/// Version of a step's bytes.
const STEP_VERSION: u8 = 1;

/// One change of raft's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Step {
    #[codec(index = 0)]
    AddLearner(u64),
    #[codec(index = 1)]
    Promote(u64),
    #[codec(index = 2)]
    Remove(u64),
}

impl Step {
    /// Raft carries a change as protobuf, which nothing here ever parses: the step travels beside it.
    fn to_bytes(self) -> Vec<u8> {
        codec::encode_record(STEP_VERSION, &self)
    }

    pub(super) fn of(entry: &Entry) -> Result<Self, CodecError> {
        codec::decode_record(STEP_VERSION, "step of the configuration", &entry.context)
    }

    fn to_raft(self) -> ConfChangeV2 {
        let (kind, node) = match self {
            Self::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
            Self::Promote(node) => (ConfChangeType::AddNode, node),
            Self::Remove(node) => (ConfChangeType::RemoveNode, node),
        };
        let mut single = ConfChangeSingle { node_id: node, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        ConfChangeV2 { changes: vec![single].into(), ..ConfChangeV2::default() }
    }

    /// The configuration after it.
    pub(super) fn after(self, before: &Configuration) -> Configuration {
        let mut after = before.clone();
        let (Self::AddLearner(node) | Self::Promote(node) | Self::Remove(node)) = self;
        after.voters.retain(|other| *other != node);
        after.learners.retain(|other| *other != node);
        match self {
            Self::AddLearner(_) => after.learners.push(node),
            Self::Promote(_) => after.voters.push(node),
            Self::Remove(_) => {}
        }
        after
    }
}

/// A configuration, where in the log it was made, and where its members are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct KnownConfiguration {
    /// The entry that made it; 0 for the first one.
    pub at: LogIndex,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who learns.
    pub learners: Vec<NodeId>,
    /// Where they are, as far as the registry knows.
    pub addresses: Vec<(NodeId, String)>,
}

impl KnownConfiguration {
    pub(super) fn new(at: u64, configuration: &Configuration) -> Self {
        Self {
            at: LogIndex(at),
            voters: configuration.voters.iter().copied().map(NodeId).collect(),
            learners: configuration.learners.iter().copied().map(NodeId).collect(),
            addresses: Vec::new(),
        }
    }

    /// Whether it says anything: a node that has just joined knows of nobody.
    pub(super) fn is_known(&self) -> bool {
        !self.voters.is_empty()
    }

    /// Whether it was made after `other`.
    pub(super) fn is_newer(&self, other: &Self) -> bool {
        self.is_known() && (!other.is_known() || self.at > other.at)
    }

    pub(super) fn has(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

/// Whether `command` says who is wanted.
fn changes_membership(command: &Command) -> bool {
    let Command::Change { change, .. } = command else { return false };
    matches!(
        change,
        Change::AddMember { .. }
            | Change::JoinMember { .. }
            | Change::PromoteMember { .. }
            | Change::RemoveMember { .. }
            // It may be the word that such a change waits for.
            | Change::DecideProposal { .. }
    )
}

/// Whether a node has left forever: the registry says so, and raft's configuration has followed.
pub(super) fn is_gone(registry: &Registry, configuration: &Configuration, node: NodeId) -> bool {
    registry.is_removed(node) && !configuration.members().any(|member| member == node)
}

// What is, and who is there.
impl Replica {
    /// The configuration that this node knows to be committed. What a crash has kept from being applied counts too.
    pub(super) fn roll(&self) -> KnownConfiguration {
        let store = self.raft.store();
        let mut configuration = self.configuration();
        let mut at = self.configured;
        for entry in store.between(self.applied, store.hard_state.commit) {
            if let Some(Ok(step)) = is_step(entry).then(|| Step::of(entry)) {
                configuration = step.after(&configuration);
                at = entry.index;
            }
        }
        let mut roll = KnownConfiguration::new(at, &configuration);
        let state = self.read_state();
        let registry = state.registry();
        let joined = registry.memberships().map(|membership| membership.node);
        let joined = joined.filter(|node| registry.has_joined(*node));
        let all: BTreeSet<NodeId> = configuration.members().chain(joined).collect();
        let addressed = all.into_iter().filter_map(|node| Some((node, registry.peer_addr(node)?.to_owned())));
        roll.addresses = addressed.collect();
        roll
    }

    /// Takes note of a configuration that a peer has told of.
    pub(super) fn hear_of_roll(&mut self, roll: &KnownConfiguration) {
        if roll.is_newer(&self.heard) {
            self.heard = roll.clone();
        }
    }

    /// A peer whose log ends with `log` knows the step that made `roll` to be committed. If this log has that last
    /// entry too, the two are the same up to there, and the step is committed here as well. Else a node that has the
    /// longest log but does not know that it votes would wait for an election that only it can win.
    pub(super) fn learn_committed(&mut self, log: (u64, u64), roll: &KnownConfiguration) {
        let (term, index) = log;
        let raft = &mut self.raft.raft;
        let same = term > 0 && raft.raft_log.term(index).is_ok_and(|own| own == term);
        if same && raft.state != StateRole::Leader && roll.at.0 <= index {
            raft.raft_log.commit_to(roll.at.0);
        }
    }

    /// Whether this node has to do with `node`: a member now, or one that has joined, or a member by what peers say.
    pub(super) fn knows(&self, node: NodeId) -> bool {
        let own = self.configuration();
        if own.members().any(|member| member == node) || self.read_state().registry().has_joined(node) {
            return true;
        }
        self.heard.is_newer(&KnownConfiguration::new(self.configured, &own)) && self.heard.has(node)
    }

    /// Whether `node` has left forever: nothing is accepted from it.
    pub fn is_gone(&self, node: NodeId) -> bool {
        is_gone(self.read_state().registry(), &self.configuration(), node)
    }

    /// Whom to be connected with, and where they are, as far as the log or peers have said.
    pub fn peers(&self) -> BTreeMap<NodeId, Option<String>> {
        let own = self.roll();
        let mut peers: BTreeMap<NodeId, Option<String>> = BTreeMap::new();
        for roll in [&self.heard, &own] {
            if roll.is_newer(&own) || std::ptr::eq(roll, &own) {
                peers.extend(roll.voters.iter().chain(&roll.learners).map(|node| (*node, None)));
            }
        }
        peers.extend(
            self.heard
                .addresses
                .iter()
                .filter(|(node, _)| self.knows(*node))
                .map(|(n, a)| (*n, Some(a.clone()))),
        );
        peers.extend(own.addresses.iter().map(|(node, address)| (*node, Some(address.clone()))));
        peers.retain(|node, _| *node != self.config.node && !self.is_gone(*node));
        peers
    }
}

pub(super) fn is_step(entry: &Entry) -> bool {
    entry.get_entry_type() == raft::eraftpb::EntryType::EntryConfChangeV2
}

// The leader's part.
impl Replica {
    /// Whether `command` must wait: it is about members, and a step of the configuration is under way.
    pub(super) fn must_wait(&self, command: &Command) -> bool {
        changes_membership(command) && self.raft.raft.has_pending_conf()
    }

    /// Remembers the newest change of the membership in the log, for no step to overtake it.
    pub(super) fn note_proposed(&mut self, command: &Command) {
        if changes_membership(command) {
            self.member_change_at = self.raft.raft.raft_log.last_index();
        }
    }

    /// What speaks against a change at this moment, and of which node; asked of the leader before it proposes one.
    pub fn hazard(&self, change: &Change) -> Option<(NodeId, MemberHazard)> {
        if self.raft.raft.state != StateRole::Leader {
            return None;
        }
        if let Change::DecideProposal { id, approve: true } = change {
            let proposed = self.read_state().registry().proposal(*id)?.change.clone();
            return self.hazard(&proposed);
        }
        if let Change::PromoteMember { node } = change {
            return Some((*node, self.hazard_of_promoting(*node)?));
        }
        let Change::RemoveMember { node } = change else { return None };
        Some((*node, self.hazard_of_removing(*node)?))
    }

    fn hazard_of_promoting(&self, node: NodeId) -> Option<MemberHazard> {
        let state = self.read_state();
        let membership = state.registry().membership(node)?;
        if !matches!((membership.standing, membership.role), (Standing::Joined { .. }, MemberRole::Learner)) {
            return None; // the log says what is wrong
        }
        let last = self.raft.raft.raft_log.last_index();
        let progress = self.raft.raft.prs().get(node.0).filter(|progress| progress.recent_active);
        let Some(progress) = progress else { return Some(MemberHazard::NotActive) };
        let behind = progress.matched + CAUGHT_UP < last || progress.matched == 0;
        let (matched, last) = (LogIndex(progress.matched), LogIndex(last));
        behind.then_some(MemberHazard::NotCaughtUp { matched, last })
    }

    fn hazard_of_removing(&self, node: NodeId) -> Option<MemberHazard> {
        let configuration = self.configuration();
        if !configuration.voters.contains(&node.0) {
            return None;
        }
        let rest: Vec<u64> = configuration.voters.into_iter().filter(|voter| *voter != node.0).collect();
        let alive = |voter: &&u64| {
            let progress = self.raft.raft.prs().get(**voter);
            **voter == self.config.node.0 || progress.is_some_and(|progress| progress.recent_active)
        };
        let (live, needed) = (rest.iter().filter(alive).count(), rest.len() / 2 + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (voters, short) = (count(rest.len()), live < needed);
        short.then_some(MemberHazard::NoQuorumLeft { voters, live: count(live), needed: count(needed) })
    }

    /// Proposes the next step towards what the registry wants, if there is one and it is safe now.
    pub(super) fn follow_registry(&mut self) {
        let raft = &self.raft.raft;
        let waits = raft.state != StateRole::Leader
            || raft.has_pending_conf()
            || self.applied < self.member_change_at;
        if waits {
            return;
        }
        let Some(step) = self.next_step() else { return };
        if step == Step::Remove(self.config.node.0) {
            return self.hand_over_before_leaving();
        }
        // An error says that raft takes nothing at the moment; the next round asks again.
        let _ = self.raft.propose_conf_change(step.to_bytes(), step.to_raft());
    }

    fn next_step(&self) -> Option<Step> {
        let state = self.read_state();
        let registry = state.registry();
        registry.memberships().next()?; // nobody ever came or went
        let configuration = self.configuration();
        // Not before who takes its place votes: in between, one that is away would be one too many for the fence.
        let awaited = |node: NodeId| {
            registry.memberships().any(|membership| {
                let heir = membership.node;
                let comes = registry.wanted_role(heir) == Some(MemberRole::Voter);
                membership.replaces == Some(node) && comes && !configuration.voters.contains(&heir.0)
            })
        };
        let mut going = configuration.members().filter(|node| registry.is_removed(*node) && !awaited(*node));
        if let Some(node) = going.find(|node| self.hazard_of_removing(*node).is_none()) {
            return Some(Step::Remove(node.0));
        }
        for node in registry.memberships().map(|membership| membership.node) {
            let Some(wanted) = registry.wanted_role(node) else { continue };
            if !configuration.members().any(|member| member == node) {
                return Some(Step::AddLearner(node.0));
            }
            if wanted == MemberRole::Voter && configuration.learners.contains(&node.0) {
                let matched = self.raft.raft.prs().get(node.0).map_or(0, |progress| progress.matched);
                let ready = matched + CAUGHT_UP >= self.raft.raft.raft_log.last_index() && matched > 0;
                if ready {
                    return Some(Step::Promote(node.0));
                }
            }
        }
        None
    }

    /// A leader does not remove itself: it hands over, and the next one does.
    fn hand_over_before_leaving(&mut self) {
        let due = self.ticks.saturating_sub(self.handed_over) >= self.config.election_ticks as u64;
        if due && self.raft.raft.lead_transferee.is_none() {
            self.handed_over = self.ticks;
            self.transfer_leadership(None);
        }
    }

    /// The voters that may lead: not those that are to go.
    pub(super) fn may_lead(&self, node: NodeId) -> bool {
        let votes = self.configuration().voters.contains(&node.0);
        votes && !self.read_state().registry().is_removed(node)
    }
}

// Everybody's part.
impl Replica {
    /// Applies a committed step; the configuration goes into the same batch as the applied position.
    pub(super) fn apply_step(&mut self, entry: &Entry) -> Result<(), Fatal> {
        let at = LogIndex(entry.index);
        let step = Step::of(entry).map_err(|source| Fatal::UnreadableCommand { at, source })?;
        let configuration = self.raft.apply_conf_change(&step.to_raft())?;
        self.raft.mut_store().set_configuration(configuration);
        self.configured = entry.index;
        Ok(())
    }

    pub(super) fn put_configured(&self, batch: &mut DiskBatch) {
        batch.put_meta(meta_key::CONFIGURED, &self.configured);
    }

    /// Follows a new configuration: nobody listens to who has left, and who has left falls silent.
    pub(super) fn settle_configuration(&mut self) {
        let now = (self.configured, self.read_state().registry_version());
        if self.settled.replace(now) == Some(now) {
            return;
        }
        let configuration = self.configuration();
        let state = std::sync::Arc::clone(&self.state);
        let mut state = state.write().expect("apply does not panic");
        state.set_configuration(&configuration);
        let registry = state.registry();
        let gone: Vec<NodeId> =
            registry.removed().filter(|node| is_gone(registry, &configuration, *node)).collect();
        drop(state);
        for node in gone {
            if node == self.config.node {
                self.lifecycle = Lifecycle::Quarantined(Quarantine::Removed);
            } else if self.memory.of(node).life != Life::ENDED {
                self.memory.bury(node);
            }
        }
    }
}
