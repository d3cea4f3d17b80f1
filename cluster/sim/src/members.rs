//! An administrator who adds a node, and perhaps replaces another with it: `members add`, `join`, `promote`, `remove`,
//! each repeated until the log has it. The administrator sees what any machine has applied, never messages.

use crate::environment::{Event, Task, Want};
use crate::setup::{MS, Micros, SECOND};
use crate::world::World;
use signonce_core::{Change, JoinToken, Member, MemberRole, Membership, Standing};
use signonce_protocol::NodeId;

/// How often the administrator checks.
const LOOKS_EVERY: Micros = 300 * MS;
/// How long the administrator waits for an answer before asking again.
const GIVES_UP_AFTER: Micros = 3 * SECOND;

/// An administrator with one such change.
pub struct Administrator {
    /// The machine of the new node.
    machine: usize,
    /// The machine whose node is to go.
    replaces: Option<usize>,
    /// The last request.
    task: Option<usize>,
    asked: Micros,
    promoted: bool,
    /// Whether nothing is left to do.
    pub done: bool,
}

impl World {
    /// Begins a change of the membership.
    pub fn change_members(&mut self, seat: usize, replaces: Option<usize>) {
        let machine = self.environment.options.nodes + 1 + seat;
        let one = Administrator { machine, replaces, task: None, asked: 0, promoted: false, done: false };
        self.administrators.push(one);
        self.environment.schedule(0, Event::Members(self.administrators.len() - 1));
    }

    /// Checks how far the change has come, and takes the next step.
    pub fn look_after_members(&mut self, which: usize) {
        let wish = self.next_wish(which);
        let one = &self.administrators[which];
        let answered = one.task.is_none_or(|task| self.environment.tasks[task].answer.is_some());
        let answered = answered || self.environment.now - one.asked > GIVES_UP_AFTER;
        if let Some(change) = wish.filter(|_| answered) {
            let machine = self.any_member();
            let task = Task { want: Want::Change(change), patience: SECOND, tries: 1, answer: None };
            let task = Some(self.environment.want(task, machine));
            (self.administrators[which].task, self.administrators[which].asked) =
                (task, self.environment.now);
        }
        if !self.administrators[which].done && !self.environment.calm {
            self.environment.schedule(LOOKS_EVERY, Event::Members(which));
        }
    }

    fn any_member(&self) -> usize {
        let members: Vec<usize> = self.machines.iter().filter(|m| m.is_member()).map(|m| m.number).collect();
        members.get(self.administrators.len() % members.len().max(1)).copied().unwrap_or_default()
    }

    fn next_wish(&mut self, which: usize) -> Option<Change> {
        let Administrator { machine, replaces, .. } = self.administrators[which];
        let token = JoinToken::new([which as u8 + 1; 32]);
        let Some(membership) = self.membership(&token) else {
            if self.machines[machine].id.0 > 0 {
                return self.done(which); // another administrator has removed it since
            }
            let replaces = replaces.map(|machine| self.machines[machine].id).filter(|id| id.0 > 0);
            let peer_addr = format!("machine-{machine}");
            return Some(Change::AddMember { peer_addr, token: token.hash(), replaces });
        };
        let node = membership.node;
        match (membership.standing, membership.role) {
            (Standing::Invited { .. }, _) => Some(Change::JoinMember { member: member(node), token }),
            (Standing::Joined { .. }, MemberRole::Learner) => {
                self.start_joined(machine, node);
                Some(Change::PromoteMember { node })
            }
            (Standing::Joined { .. }, MemberRole::Voter) => {
                self.environment.figures.promoted += u64::from(!self.administrators[which].promoted);
                self.administrators[which].promoted = true;
                self.remove(which, membership.replaces)
            }
            (Standing::Removed, _) => self.done(which),
        }
    }

    fn remove(&mut self, which: usize, replaced: Option<NodeId>) -> Option<Change> {
        let Some(node) = replaced else { return self.done(which) };
        if self.environment.judge.was_removed(node) {
            self.environment.figures.removed += 1;
            return self.done(which);
        }
        Some(Change::RemoveMember { node })
    }

    fn done(&mut self, which: usize) -> Option<Change> {
        self.administrators[which].done = true;
        None
    }

    /// Starts a new machine with an empty disk, once. It is told who the members are now.
    fn start_joined(&mut self, machine: usize, node: NodeId) {
        if self.machines[machine].id == node {
            return;
        }
        let hints = self.present();
        let machine = &mut self.machines[machine];
        (machine.id, machine.hints) = (node, hints);
        machine.start(&mut self.environment);
    }

    /// What the furthest machine has applied about the node with this token.
    fn membership(&self, token: &JoinToken) -> Option<Membership> {
        let hash = token.hash();
        let has_it = |membership: &&Membership| match membership.standing {
            Standing::Invited { token } | Standing::Joined { token } => token == hash,
            Standing::Removed => false,
        };
        let state = self.furthest()?.process.as_ref()?.replica().state();
        let state = state.read().expect("apply does not panic");
        state.registry().memberships().find(has_it).cloned()
    }
}

fn member(node: NodeId) -> Member {
    Member {
        node,
        recipient: format!("age1later{node}"),
        peer_addr: format!("10.0.1.{node}:7000"),
        client_url: format!("https://10.0.1.{node}:8000"),
        supports: signonce_core::FEATURE_LEVEL,
    }
}
