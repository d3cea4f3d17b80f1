//! One of three nodes is lost, another has restarted: when may the two that are left continue in place?
//!
//! The restarted one may have forgotten anything that it and the lost one agreed on, and the survivor need not know of
//! it. So continuing can break more than raft: a duty granted with its signature gone, and a key disabled here that was
//! then armed elsewhere. This model checks a rule that would make it safe, and that no part of the rule can be left
//! out:
//!
//! - nobody continues before the lost node is off for good;
//! - from then on, and across restarts, *neither* of the two answers anybody, not even with what it knows to be granted;
//! - the first entry with a meaning that is proposed then raises every floor past all that can have been signed, and
//!   disarms every key;
//! - a node answers again once it has applied that entry;
//! - a key is armed only after that, by somebody who knows that it is nowhere else. Armed by the same entry, one that is
//!   disabled by an older entry, committed together with that one, would be armed by somebody who did not know.
//!
//! One key; one low duty, from before, and one high one, above the raised floors; two payloads for each. The entries of
//! a leader from before the loss are for the first payload if it is the survivor or the restarted one, and for the
//! second if it is the lost one. Raft is as usual: terms, the order of logs, commits by a majority of acknowledgements,
//! in the leader's own term only; messages arrive at once or never.

use stateright::{Model, Property};

/// The nodes: the one that stayed, the one that restarted, the one that is lost.
const NODES: usize = 3;
const RESTARTED: usize = 1;
const LOST: usize = 2;
/// Terms at most, and entries: before the two go on, and in all.
const TERMS: u8 = 3;
const ENTRIES_BEFORE: usize = 2;
const ENTRIES: usize = 4;

/// A part of the rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing: the whole rule.
    Nothing,
    /// The lost node is off for good.
    Gone,
    /// Floors are raised at all.
    Floors,
    /// Nobody is answered before the floors are applied.
    Silence,
    /// Both are silent, not only the restarted one.
    Both,
    /// A restart in between does not end the silence.
    Durable,
    /// The floors disarm every key, until somebody knows that it is nowhere else.
    Disarmed,
    /// Keys are armed after the floors were applied, not with them.
    Afterwards,
}

/// The model.
pub struct InPlace(pub Without);

/// A duty, below or above the raised floors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Duty {
    /// Below the floors.
    Low,
    /// Above.
    High,
}

/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The payload of a duty.
    Claim(Duty, u8),
    /// The key is disabled.
    Disable,
    /// The floors are raised; with it the key is disarmed, or armed, or left as it was.
    Floors(Option<bool>),
    /// The key is armed.
    Arm,
    /// A new leader's first, which says nothing, and commits what is older than its term.
    First,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    term: u8,
    log: Vec<(u8, Entry)>,
    committed: usize,
    leads: bool,
    /// How far each node's log is known to the leader to match its own.
    matched: [usize; NODES],
    /// Whether it answers nobody.
    silent: bool,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    nodes: [Node; NODES],
    /// Whether the restarted node waits for what the lost one would say.
    fenced: bool,
    restarted: bool,
    lost: bool,
    /// Whether the two have been told to continue.
    goes_on: bool,
    /// Whether it was committed anywhere that the key is disabled.
    disabled: bool,
    /// Signatures that have left, as bits: of each duty and payload.
    left: u8,
}

/// Something that may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A node is elected with the vote of another.
    Elect(usize, usize),
    /// A leader takes an entry.
    Propose(usize, Entry),
    /// A leader's log reaches another node, which acknowledges it.
    Replicate(usize, usize),
    /// A node gives out the signature of what it has granted.
    Answer(usize, Duty, u8),
    /// The key, disabled here, signs elsewhere.
    Elsewhere(Duty),
    /// The second node restarts with so many entries, and waits.
    Restart(usize),
    /// The third is off for good.
    Lose,
    /// The two are told to go on.
    GoOn,
    /// One of the two restarts after that, having lost nothing.
    Again(usize),
}

/// The result of applying part of a log.
struct Applied {
    granted: [Option<u8>; 2],
    armed: bool,
    floors: bool,
}

fn apply(log: &[(u8, Entry)]) -> Applied {
    let mut state = Applied { granted: [None; 2], armed: true, floors: false };
    for (_, entry) in log {
        match *entry {
            Entry::Claim(duty, payload) if state.armed && !(state.floors && duty == Duty::Low) => {
                state.granted[duty as usize].get_or_insert(payload);
            }
            Entry::Claim(..) | Entry::First => {}
            Entry::Disable => state.armed = false,
            Entry::Arm => state.armed = true,
            Entry::Floors(arm) => {
                (state.floors, state.armed) = (true, arm.unwrap_or(state.armed));
                state.granted[Duty::Low as usize] = None; // below the floor nothing is repeated
            }
        }
    }
    state
}

fn bit(duty: Duty, payload: u8) -> u8 {
    1 << (2 * duty as u8 + payload - 1)
}

impl State {
    fn takes_part(&self, node: usize) -> bool {
        !(node == RESTARTED && self.fenced || node == LOST && self.lost)
    }

    fn last(&self, node: usize) -> (u8, usize) {
        let log = &self.nodes[node].log;
        (log.last().map_or(0, |(term, _)| *term), log.len())
    }

    fn step_down(&mut self, node: usize) {
        (self.nodes[node].leads, self.nodes[node].matched) = (false, [0; NODES]);
    }

    fn commit(&mut self, leader: usize) {
        let node = &mut self.nodes[leader];
        let mut matched = node.matched;
        matched.sort_unstable();
        let upto = matched[NODES / 2];
        let own_term = upto > 0 && node.log.get(upto - 1).is_some_and(|(term, _)| *term == node.term);
        if own_term && upto > node.committed {
            node.committed = upto;
            self.follow(leader);
        }
    }

    /// What a node does with what it knows to be committed.
    fn follow(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let committed = &node.log[..node.committed];
        self.disabled |= committed.iter().any(|(_, entry)| *entry == Entry::Disable);
        node.silent &= !apply(committed).floors;
    }
}

impl InPlace {
    fn may_go_on(&self, state: &State) -> bool {
        state.restarted && !state.goes_on && (state.lost || self.0 == Without::Gone)
    }

    fn proposals(&self, state: &State, leader: usize, out: &mut Vec<Action>) {
        let node = &state.nodes[leader];
        let claims = |duty| Entry::Claim(duty, if leader == LOST { 2 } else { 1 });
        let has = |wanted: &dyn Fn(&Entry) -> bool| node.log.iter().any(|(_, entry)| wanted(entry));
        let floors = has(&|entry| matches!(entry, Entry::Floors(_)));
        // The lost node, alive, is still in the time before the floors, whatever the others think.
        let after = state.goes_on && leader != LOST;
        if after && !has(&|entry| *entry == Entry::First) {
            out.push(Action::Propose(leader, Entry::First));
        }
        if after && !floors && self.0 != Without::Floors {
            let arm = match self.0 {
                Without::Disarmed => None,
                Without::Afterwards => Some(!state.disabled),
                _ => Some(false),
            };
            out.push(Action::Propose(leader, Entry::Floors(arm)));
            if self.0 != Without::Silence {
                return;
            }
        }
        if apply(&node.log[..node.committed]).floors && !apply(&node.log).armed && !state.disabled {
            out.push(Action::Propose(leader, Entry::Arm));
        }
        let duty = if after { Duty::High } else { Duty::Low };
        let duties =
            if self.0 == Without::Floors && after { vec![Duty::Low, Duty::High] } else { vec![duty] };
        for entry in duties.into_iter().map(claims) {
            if !has(&|known| *known == entry) {
                out.push(Action::Propose(leader, entry));
            }
        }
        if !after && !has(&|entry| *entry == Entry::Disable) {
            out.push(Action::Propose(leader, Entry::Disable));
        }
    }
}

impl Model for InPlace {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (fenced, restarted, lost, goes_on, disabled) = Default::default();
        vec![State { nodes: Default::default(), fenced, restarted, lost, goes_on, disabled, left: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for i in (0..NODES).filter(|i| state.takes_part(*i)) {
            let node = &state.nodes[i];
            for j in (0..NODES).filter(|j| *j != i && state.takes_part(*j)) {
                if !node.leads && node.term.max(state.nodes[j].term) < TERMS && state.last(i) >= state.last(j)
                {
                    actions.push(Action::Elect(i, j));
                }
                if node.leads && state.nodes[j].term <= node.term {
                    actions.push(Action::Replicate(i, j));
                }
            }
            let room = if state.goes_on && i != LOST { ENTRIES } else { ENTRIES_BEFORE };
            if node.leads && node.log.len() < room {
                self.proposals(state, i, actions);
            }
            let applied = apply(&node.log[..node.committed]);
            for duty in [Duty::Low, Duty::High] {
                if let Some(payload) = applied.granted[duty as usize]
                    && applied.armed
                    && !node.silent
                    && state.left & bit(duty, payload) == 0
                {
                    actions.push(Action::Answer(i, duty, payload));
                }
            }
            if state.goes_on && self.0 == Without::Durable && node.silent {
                actions.push(Action::Again(i));
            }
        }
        if state.disabled && state.left & bit(Duty::High, 2) == 0 {
            actions.push(Action::Elsewhere(Duty::High));
        }
        if !state.restarted {
            actions.extend((0..=state.nodes[RESTARTED].log.len()).map(Action::Restart));
        }
        if !state.lost {
            actions.push(Action::Lose);
        }
        if self.may_go_on(state) {
            actions.push(Action::GoOn);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Elect(i, j) => {
                let term = state.nodes[i].term.max(state.nodes[j].term) + 1;
                state.step_down(j);
                (state.nodes[i].term, state.nodes[j].term) = (term, term);
                state.nodes[i].leads = true;
                state.nodes[i].matched = [0; NODES];
                state.nodes[i].matched[i] = state.nodes[i].log.len();
            }
            Action::Propose(i, entry) => {
                let node = &mut state.nodes[i];
                node.log.push((node.term, entry));
                node.matched[i] = node.log.len();
            }
            Action::Replicate(i, j) => {
                let leader = state.nodes[i].clone();
                state.step_down(j);
                let follower = &mut state.nodes[j];
                if follower.committed > leader.log.len()
                    || follower.log[..follower.committed] != leader.log[..follower.committed]
                {
                    return None; // raft says that it has lost memory, and it goes no further
                }
                (follower.term, follower.log) = (leader.term, leader.log.clone());
                follower.committed = follower.committed.max(leader.committed);
                state.nodes[i].matched[j] = leader.log.len();
                state.follow(j);
                state.commit(i);
            }
            Action::Answer(_, duty, payload) => state.left |= bit(duty, payload),
            Action::Elsewhere(duty) => state.left |= bit(duty, 2),
            Action::Restart(kept) => {
                state.step_down(RESTARTED);
                let node = &mut state.nodes[RESTARTED];
                if kept < node.log.len() {
                    node.log.truncate(kept);
                    node.term = node.log.last().map_or(0, |(term, _)| *term);
                    node.committed = node.committed.min(kept);
                }
                (state.fenced, state.restarted) = (true, true);
            }
            Action::Lose => state.lost = true,
            Action::GoOn => {
                (state.goes_on, state.fenced) = (true, false);
                // A leader starts over: it may count on what the restarted node has forgotten.
                state.step_down(0);
                let silent = |node: usize| match self.0 {
                    Without::Silence | Without::Floors => false,
                    Without::Both => node == RESTARTED,
                    _ => true,
                };
                (0..LOST).for_each(|node| state.nodes[node].silent = silent(node));
            }
            Action::Again(i) => state.nodes[i].silent = false,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one payload of a duty", |_, state: &State| {
                [Duty::Low, Duty::High].iter().all(|duty| {
                    let both = bit(*duty, 1) | bit(*duty, 2);
                    state.left & both != both
                })
            }),
            Property::sometimes("the two sign on", |_, state: &State| {
                state.lost && state.left & bit(Duty::High, 1) != 0
            }),
            Property::sometimes("what the lost one signed is forgotten", |_, state: &State| {
                let forgotten = |node: &Node| apply(&node.log).granted[0] != Some(2);
                state.goes_on
                    && state.left & bit(Duty::Low, 2) != 0
                    && state.nodes[..LOST].iter().all(forgotten)
            }),
        ]
    }
}
