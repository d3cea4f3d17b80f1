//! How a claim becomes a signature: propose, commit, apply, release, with retries on other nodes, crashes and
//! snapshots. Raft is one log that a majority agrees on; what is durable where is not the question here.
//!
//! A node releases a signature for a claim only once it has itself applied an entry that grants it, or grants the same
//! payload again. Signatures that have left are never forgotten.

use stateright::{Model, Property};

/// Nodes.
pub const NODES: usize = 3;
/// Duties; a log entry may also raise the floor past the first of them.
pub const DUTIES: u8 = 2;
/// Payloads that may be wanted for a duty.
pub const PAYLOADS: u8 = 2;
/// The most entries of the log.
pub const ENTRIES: usize = 4;

/// A rule taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing: the protocol as it is.
    Nothing,
    /// A signature waits for its entry to be committed.
    Commit,
    /// A verdict is that of the log, and not of the state before the claim was recorded.
    OneStep,
    /// A snapshot carries what was signed.
    WholeSnapshot,
    /// What was dropped stays below the floor.
    Floor,
}

/// The model.
pub struct Service(pub Without);

/// One thing in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A claim of a duty with a payload.
    Claim(u8, u8),
    /// The floor is now above the first duty.
    Floor,
}

/// What a node has applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// How many entries.
    applied: u8,
    /// The payload granted for each duty.
    granted: [Option<u8>; DUTIES as usize],
    /// Whether the first duty is below the floor.
    floor: bool,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Proposed by the present leader, not committed: may be lost.
    pending: Option<Entry>,
    log: Vec<Entry>,
    nodes: [Node; NODES],
    /// Signatures that have left: for each duty a set of payloads, as bits.
    released: [u8; DUTIES as usize],
    /// A conflicting claim was refused; a payload was granted again.
    refused: bool,
    repeated: bool,
}

/// Something that may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client's claim, or an operator's floor, reaches the leader; repeatedly and by any node.
    Propose(Entry),
    /// The leader is lost with what it has proposed.
    LoseLeader,
    /// A majority has the entry.
    Commit,
    /// A node applies its next entry, and releases what it grants.
    Apply(usize),
    /// A node answers a repeat from what it has applied.
    Answer(usize, u8, u8),
    /// A node crashes and starts from what was durable of its state, which may be any earlier point.
    Crash(usize, u8),
    /// A node that is behind gets another's state.
    Snapshot(usize, usize),
}

impl Node {
    fn verdict(&self, duty: u8, payload: u8) -> bool {
        if let Some(granted) = self.granted[duty as usize] {
            return granted == payload;
        }
        !(self.floor && duty == 0)
    }

    fn apply(&mut self, entry: Entry, without: Without) -> Option<(u8, u8, bool)> {
        self.applied += 1;
        match entry {
            Entry::Floor => {
                self.floor = without != Without::Floor;
                self.granted[0] = None; // dropped in the same change that raises the floor
                None
            }
            Entry::Claim(duty, payload) => {
                let repeat = self.granted[duty as usize].is_some();
                let may = self.verdict(duty, payload);
                if may {
                    self.granted[duty as usize] = Some(payload);
                }
                may.then_some((duty, payload, repeat))
            }
        }
    }

    fn replayed(log: &[Entry], upto: u8, without: Without) -> Self {
        let mut node = Self::default();
        for entry in &log[..upto as usize] {
            node.apply(*entry, without);
        }
        node
    }
}

impl Model for Service {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            pending: None,
            log: Vec::new(),
            nodes: Default::default(),
            released: [0; DUTIES as usize],
            refused: false,
            repeated: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.pending.is_none() && state.log.len() < ENTRIES {
            for duty in 0..DUTIES {
                actions.extend((0..PAYLOADS).map(|payload| Action::Propose(Entry::Claim(duty, payload))));
            }
            if !state.log.contains(&Entry::Floor) {
                actions.push(Action::Propose(Entry::Floor));
            }
        }
        if state.pending.is_some() {
            actions.extend([Action::Commit, Action::LoseLeader]);
        }
        for (i, node) in state.nodes.iter().enumerate() {
            if (node.applied as usize) < state.log.len() {
                actions.push(Action::Apply(i));
            }
            actions.extend((0..node.applied).map(|to| Action::Crash(i, to)));
            for duty in 0..DUTIES {
                let answers = |payload: &u8| match self.0 {
                    Without::OneStep => node.verdict(duty, *payload),
                    _ => node.granted[duty as usize] == Some(*payload),
                };
                actions.extend((0..PAYLOADS).filter(answers).map(|payload| Action::Answer(i, duty, payload)));
            }
            let ahead = |(_, other): &(usize, &Node)| other.applied > node.applied + 1;
            let from = state.nodes.iter().enumerate().filter(ahead).map(|(from, _)| from);
            actions.extend(from.map(|from| Action::Snapshot(i, from)));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Propose(entry) => {
                state.pending = Some(entry);
                if let (Without::Commit, Entry::Claim(duty, payload)) = (self.0, entry) {
                    // The leader is any node that has applied the whole log.
                    let leader = state.nodes.iter().find(|node| node.applied as usize == state.log.len())?;
                    if leader.verdict(duty, payload) {
                        state.released[duty as usize] |= 1 << payload;
                    }
                }
            }
            Action::LoseLeader => state.pending = None,
            Action::Commit => state.log.push(state.pending.take()?),
            Action::Apply(i) => {
                let entry = state.log[state.nodes[i].applied as usize];
                match (state.nodes[i].apply(entry, self.0), entry) {
                    (Some((duty, payload, repeat)), _) => {
                        state.released[duty as usize] |= 1 << payload;
                        state.repeated |= repeat;
                    }
                    (None, Entry::Claim(..)) => state.refused = true,
                    (None, Entry::Floor) => {}
                }
            }
            Action::Answer(_, duty, payload) => state.released[duty as usize] |= 1 << payload,
            Action::Crash(i, to) => state.nodes[i] = Node::replayed(&state.log, to, self.0),
            Action::Snapshot(to, from) => {
                let mut copy = state.nodes[from].clone();
                if self.0 == Without::WholeSnapshot {
                    copy.granted = [None; DUTIES as usize];
                }
                state.nodes[to] = copy;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no duty has two payloads", |_, state: &State| {
                state.released.iter().all(|payloads| payloads.count_ones() <= 1)
            }),
            Property::always("what was released is in the log", |_, state: &State| {
                (0..DUTIES).all(|duty| {
                    let logged = |payload| state.log.contains(&Entry::Claim(duty, payload));
                    (0..PAYLOADS).all(|p| state.released[duty as usize] & (1 << p) == 0 || logged(p))
                })
            }),
            Property::always("nodes that have applied the same are the same", |_, state: &State| {
                state.nodes.iter().all(|a| {
                    let same = |b: &Node| (a.granted, a.floor) == (b.granted, b.floor);
                    state.nodes.iter().all(|b| a.applied != b.applied || same(b))
                })
            }),
            Property::sometimes("a repeat is answered", |_, state: &State| state.repeated),
            Property::sometimes("a conflict is refused", |_, state: &State| state.refused),
            Property::sometimes("everything is applied everywhere", |_, state: &State| {
                state.nodes.iter().all(|node| node.applied as usize == ENTRIES)
            }),
        ]
    }
}
