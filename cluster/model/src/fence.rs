//! The peer fence: one node is rolled back to an earlier disk and starts again, while a leader and candidates go on.
//!
//! One log position, two terms. The nodes begin in term 1 under a leader; two others may stand for election in term 2.
//! Writes are durable at once: the fence is about what a disk forgets, and the order of writes is the simulator's
//! subject. Messages arrive at once or never, except the victim's answers, which may be under way for long. A node that
//! does nothing any more is as good as lost, so losses need no action of their own.
//!
//! Bounds: one disk is rolled back, once; of three nodes the victim and one other may stand for term 2, of five two
//! others. These two are alike, so of two states that differ only in their names one is explored, and what no later
//! step can see is left out of a state ([`State::forget_what_nobody_asks`]).
//!
//! To be shown: never two leaders in a term, and never two entries committed at one position.

use stateright::{Model, Property};

/// The node whose disk is rolled back.
const VICTIM: usize = 1;
/// The leader of term 1.
const FIRST: usize = 0;
/// Nodes at most.
const MOST: usize = 5;

/// A rule taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing: the protocol as it is.
    Nothing,
    /// A node that starts asks its peers.
    Fence,
    /// It asks a majority besides itself, not with itself.
    Majority,
    /// It votes only for candidates that are as far as its witnesses were.
    Witnesses,
    /// Whoever has met its new life does not help those who have not.
    Lives,
    /// A leader or candidate that was promised more than the new life holds starts over.
    StartingOver,
}

/// The model of a cluster with this many nodes.
pub struct Fence {
    /// Three or five.
    pub nodes: usize,
    /// What is taken away.
    pub without: Without,
}

/// The content of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Disk {
    term: u8,
    /// The candidate that it voted for in this term.
    vote: Option<u8>,
    /// The term of the one entry; 0 for none.
    entry: u8,
}

/// What the victim has promised in its first life, at most, to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Promise {
    term: u8,
    vote: Option<u8>,
    entry: u8,
}

/// A node's role in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Follows, or has started over.
    Follower,
    /// Counts votes.
    Candidate,
    /// Counts acknowledgements.
    Leader,
}

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    disk: Disk,
    role: Role,
    /// Votes or acknowledgements it counts on, as bits.
    counted: u8,
    /// Whether it has met the victim's second life.
    met: bool,
    /// What it remembers of the victim's first life.
    remembers: Option<Promise>,
}

/// The stage of the victim's lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Its first life continues; a copy of its disk may have been put aside.
    First(Option<Disk>),
    /// It has started from this disk and asks its peers, with their terms and entries as answered.
    Asks(Disk, [Option<(u8, u8)>; MOST]),
    /// It takes part, with what its witnesses said.
    Member(Disk, [Option<(u8, u8)>; MOST]),
    /// It was told what it has forgotten.
    Quarantined,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    nodes: [Node; MOST],
    stage: Stage,
    /// The victim's answers under way.
    answers: Vec<Answer>,
    /// Who has led in term 2.
    second: u8,
    /// The entries that were ever committed, by term, as bits.
    committed: u8,
}

/// An answer under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Answer {
    from: u8,
    to: u8,
    vote: bool,
    promise: Promise,
    first_life: bool,
}

/// Something that may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A leader's entry, which it wrote when it was elected, reaches a node.
    Append(usize, usize),
    /// A node stands in term 2.
    Stand(usize),
    /// A candidate's request reaches a node.
    Request(usize, usize),
    /// An answer arrives.
    Arrive(Answer),
    /// The victim's disk is copied.
    Copy,
    /// The copy is put back, and the victim starts.
    Rollback,
    /// The victim asks a peer; its answer arrives, or not.
    Ask(usize, bool),
    /// A node hears of the victim's new life from another.
    Hear(usize),
}

fn bit(node: usize) -> u8 {
    1 << node
}

impl Fence {
    fn majority(&self) -> u32 {
        self.nodes as u32 / 2 + 1
    }

    /// Who may stand in term 2: of three nodes the victim and the third, of five two that are neither.
    fn may_stand(&self, node: usize) -> bool {
        if self.nodes == 3 { node != FIRST } else { node == 2 || node == 3 }
    }

    /// How many must answer the victim.
    fn needed(&self) -> usize {
        match self.without {
            Without::Fence => 0,
            Without::Majority => self.nodes / 2,
            _ => (self.nodes - 1).min(self.nodes / 2 + 1),
        }
    }

    fn has_enough(&self, said: &[Option<(u8, u8)>; MOST]) -> bool {
        said.iter().flatten().count() >= self.needed()
    }

    /// How far a candidate must be for the victim's vote: as far as those of enough witnesses that ask the least.
    fn must_reach(&self, stage: &Stage, own: u8) -> u8 {
        let Stage::Member(_, said) = stage else { return 0 };
        if self.without == Without::Witnesses {
            return 0;
        }
        let mut entries: Vec<u8> = said.iter().flatten().map(|(_, entry)| *entry).collect();
        entries.sort_unstable();
        let furthest = self.needed().checked_sub(1).and_then(|n| entries.get(n)).copied().unwrap_or_default();
        if furthest > own { furthest } else { 0 }
    }
}

impl State {
    fn second_life(&self) -> bool {
        !matches!(self.stage, Stage::First(_))
    }

    fn takes_part(&self, node: usize) -> bool {
        node != VICTIM || matches!(self.stage, Stage::First(_) | Stage::Member(..))
    }

    /// Whether a request of one node is acted upon by another, as far as the victim's lives go.
    fn heeds(&self, from: usize, to: usize, without: Without) -> bool {
        let knows_life = |node: usize| node == VICTIM || self.nodes[node].met || !self.second_life();
        if to == VICTIM {
            return knows_life(from); // else it is for the first life
        }
        if from == VICTIM {
            return knows_life(to); // else the sender is unknown
        }
        without == Without::Lives || !self.nodes[to].met || self.nodes[from].met
    }

    fn start_over(&mut self, node: usize) {
        (self.nodes[node].role, self.nodes[node].counted) = (Role::Follower, 0);
    }

    /// Sends an answer. The victim's is put under way; another's arrives at once and is returned.
    fn send(&mut self, from: usize, to: usize, vote: bool) -> Option<Answer> {
        let Disk { term, vote: voted, entry } = self.nodes[from].disk;
        let promise = Promise { term, vote: voted, entry };
        let first_life = from == VICTIM && !self.second_life();
        let answer = Answer { from: from as u8, to: to as u8, vote, promise, first_life };
        if from != VICTIM {
            return Some(answer);
        }
        if !self.answers.contains(&answer) {
            self.answers.push(answer);
            self.answers.sort_unstable();
        }
        None
    }
}

/// What makes the model small enough: states that differ only in what no later step can see are one.
impl State {
    /// Whether an answer under way still changes anything on arrival: a role or term that is over does not come back,
    /// and a node that has met the new life does not listen to the old one.
    fn has_effect(&self, answer: &Answer) -> bool {
        let to = &self.nodes[answer.to as usize];
        let expected = if answer.vote { Role::Candidate } else { Role::Leader };
        let counts = to.role == expected && to.disk.term == answer.promise.term;
        if answer.first_life { !to.met && (counts || to.remembers < Some(answer.promise)) } else { counts }
    }

    fn forget_what_nobody_asks(&mut self) {
        let answers = std::mem::take(&mut self.answers);
        self.answers = answers.into_iter().filter(|answer| self.has_effect(answer)).collect();
        match &mut self.stage {
            Stage::Quarantined => {
                let nothing = Disk { term: 0, vote: None, entry: 0 };
                self.nodes[VICTIM] =
                    Node { disk: nothing, role: Role::Follower, counted: 0, met: false, remembers: None };
                self.nodes.iter_mut().for_each(|node| node.remembers = None);
            }
            Stage::Member(_, said) => {
                said.iter_mut().flatten().for_each(|(term, _)| *term = 0);
                self.nodes.iter_mut().filter(|node| node.met).for_each(|node| node.remembers = None);
            }
            Stage::First(_) | Stage::Asks(..) => {}
        }
    }

    /// The same state with the names of two nodes exchanged.
    fn exchanged(&self, a: usize, b: usize) -> Self {
        let name = |node: u8| match node as usize {
            n if n == a => b as u8,
            n if n == b => a as u8,
            _ => node,
        };
        let bits = |set: u8| {
            let kept = set & !(bit(a) | bit(b));
            let moved = |from, to| if set & bit(from) != 0 { bit(to) } else { 0 };
            kept | moved(a, b) | moved(b, a)
        };
        let promise = |p: Promise| Promise { vote: p.vote.map(name), ..p };
        let mut other = self.clone();
        other.nodes.swap(a, b);
        for node in &mut other.nodes {
            node.disk.vote = node.disk.vote.map(name);
            node.counted = bits(node.counted);
            node.remembers = node.remembers.map(promise);
        }
        match &mut other.stage {
            Stage::First(Some(disk)) => disk.vote = disk.vote.map(name),
            Stage::Asks(disk, said) | Stage::Member(disk, said) => {
                disk.vote = disk.vote.map(name);
                said.swap(a, b);
            }
            Stage::First(None) | Stage::Quarantined => {}
        }
        for answer in &mut other.answers {
            (answer.from, answer.to) = (name(answer.from), name(answer.to));
            answer.promise = promise(answer.promise);
        }
        other.answers.sort_unstable();
        other.second = bits(other.second);
        other
    }
}

/// Whether a disk holds what was promised.
fn keeps(disk: &Disk, promise: &Promise) -> bool {
    disk.term > promise.term
        || (disk.term == promise.term
            && (promise.vote.is_none() || promise.vote == disk.vote)
            && (disk.entry > 0 || promise.entry == 0))
}

impl Model for Fence {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let disk = Disk { term: 1, vote: Some(FIRST as u8), entry: 0 };
        let follower = Node { disk, role: Role::Follower, counted: 0, met: false, remembers: None };
        let mut nodes = [follower; MOST];
        (nodes[FIRST].role, nodes[FIRST].counted, nodes[FIRST].disk.entry) = (Role::Leader, bit(FIRST), 1);
        vec![State { nodes, stage: Stage::First(None), answers: Vec::new(), second: 0, committed: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for i in (0..self.nodes).filter(|i| state.takes_part(*i)) {
            let node = &state.nodes[i];
            let others = (0..self.nodes).filter(|j| *j != i && state.takes_part(*j));
            match node.role {
                Role::Leader => actions.extend(others.map(|j| Action::Append(i, j))),
                Role::Candidate => actions.extend(others.map(|j| Action::Request(i, j))),
                Role::Follower if node.disk.term == 1 && self.may_stand(i) => actions.push(Action::Stand(i)),
                Role::Follower => {}
            }
            if i != VICTIM && !node.met && state.nodes[..self.nodes].iter().any(|other| other.met) {
                actions.push(Action::Hear(i));
            }
        }
        actions.extend(state.answers.iter().map(|answer| Action::Arrive(*answer)));
        match &state.stage {
            Stage::First(None) => actions.push(Action::Copy),
            Stage::First(Some(_)) => actions.push(Action::Rollback),
            Stage::Asks(_, said) | Stage::Member(_, said) => {
                for j in (0..self.nodes).filter(|j| *j != VICTIM && said[*j].is_none()) {
                    actions.push(Action::Ask(j, true));
                    if !state.nodes[j].met {
                        actions.push(Action::Ask(j, false));
                    }
                }
            }
            Stage::Quarantined => {}
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Append(from, to) => self.append(&mut state, from, to)?,
            Action::Stand(i) => self.stand(&mut state, i)?,
            Action::Request(from, to) => self.request(&mut state, from, to)?,
            Action::Arrive(answer) => self.arrive(&mut state, answer),
            Action::Copy => state.stage = Stage::First(Some(state.nodes[VICTIM].disk)),
            Action::Rollback => self.rollback(&mut state)?,
            Action::Ask(peer, arrives) => self.ask(&mut state, peer, arrives),
            Action::Hear(i) => {
                state.nodes[i].met = true;
                state.start_over(i);
            }
        }
        Some(self.reduced(state))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one leader in a term", |_, state: &State| state.second.count_ones() <= 1),
            Property::always("one entry committed", |_, state: &State| state.committed.count_ones() <= 1),
            Property::sometimes("the victim comes back", |_, state: &State| {
                matches!(state.stage, Stage::Member(..)) && state.committed != 0
            }),
            Property::sometimes("a second leader commits", |_, state: &State| {
                state.second != 0 && state.committed & 0b100 != 0
            }),
        ]
    }
}

impl Fence {
    /// The state that represents all that are like it: of five nodes the two that may stand are alike.
    fn reduced(&self, mut state: State) -> State {
        state.forget_what_nobody_asks();
        if self.nodes < MOST {
            return state;
        }
        let other = state.exchanged(2, 3);
        state.min(other)
    }

    fn append(&self, state: &mut State, from: usize, to: usize) -> Option<()> {
        let leader = state.nodes[from];
        let has_it = leader.counted & bit(to) != 0
            && state.nodes[to].disk == Disk { vote: state.nodes[to].disk.vote, ..leader.disk };
        if has_it || state.nodes[to].disk.term > leader.disk.term || !state.heeds(from, to, self.without) {
            return None;
        }
        let follower = &mut state.nodes[to];
        if follower.disk.term < leader.disk.term {
            follower.disk = Disk { term: leader.disk.term, vote: None, entry: follower.disk.entry };
        }
        (follower.role, follower.counted) = (Role::Follower, 0);
        follower.disk.entry = leader.disk.entry;
        let at_once = state.send(to, from, false);
        at_once.into_iter().for_each(|answer| self.arrive(state, answer));
        Some(())
    }

    fn stand(&self, state: &mut State, i: usize) -> Option<()> {
        if i == VICTIM && self.must_reach(&state.stage, state.nodes[i].disk.entry) > 0 {
            return None;
        }
        let node = &mut state.nodes[i];
        node.disk = Disk { term: 2, vote: Some(i as u8), entry: node.disk.entry };
        (node.role, node.counted) = (Role::Candidate, bit(i));
        Some(())
    }

    fn request(&self, state: &mut State, from: usize, to: usize) -> Option<()> {
        let (candidate, voter) = (state.nodes[from], state.nodes[to]);
        let free = voter.disk.term < candidate.disk.term
            || (voter.disk.term == candidate.disk.term
                && voter.disk.vote.is_none_or(|vote| vote == from as u8));
        let needs = match to {
            VICTIM => voter.disk.entry.max(self.must_reach(&state.stage, voter.disk.entry)),
            _ => voter.disk.entry,
        };
        if !free || candidate.disk.entry < needs || !state.heeds(from, to, self.without) {
            return None;
        }
        let voter = &mut state.nodes[to];
        voter.disk = Disk { term: candidate.disk.term, vote: Some(from as u8), entry: voter.disk.entry };
        (voter.role, voter.counted) = (Role::Follower, 0);
        let at_once = state.send(to, from, true);
        at_once.into_iter().for_each(|answer| self.arrive(state, answer));
        Some(())
    }

    fn arrive(&self, state: &mut State, answer: Answer) {
        state.answers.retain(|other| *other != answer);
        let (from, to) = (answer.from as usize, answer.to as usize);
        let of_old_life = from == VICTIM && answer.first_life && state.nodes[to].met;
        let unknown = from == VICTIM && !answer.first_life && !state.nodes[to].met;
        let for_old_life = to == VICTIM && state.second_life() && !state.nodes[from].met;
        if of_old_life || unknown || for_old_life || !state.takes_part(to) {
            return;
        }
        let node = &mut state.nodes[to];
        if from == VICTIM && answer.first_life {
            node.remembers = node.remembers.max(Some(answer.promise));
        }
        let expected = if answer.vote { Role::Candidate } else { Role::Leader };
        if node.role != expected || node.disk.term != answer.promise.term {
            return;
        }
        node.counted |= bit(from);
        if node.counted.count_ones() < self.majority() {
            return;
        }
        if answer.vote {
            (node.role, node.counted) = (Role::Leader, bit(to));
            if node.disk.entry == 0 {
                node.disk.entry = node.disk.term;
            }
            state.second |= bit(to);
        } else {
            state.committed |= bit(node.disk.entry as usize);
        }
    }

    fn rollback(&self, state: &mut State) -> Option<()> {
        let Stage::First(Some(disk)) = state.stage else { return None };
        let victim = &mut state.nodes[VICTIM];
        (victim.disk, victim.role, victim.counted, victim.remembers) = (disk, Role::Follower, 0, None);
        let said = [None; MOST];
        state.stage = Stage::Asks(disk, said);
        if self.without == Without::Fence {
            // Everybody takes it for what it was before.
            state.stage = Stage::Member(disk, said);
            state.nodes.iter_mut().for_each(|node| node.met = true);
        }
        Some(())
    }

    fn ask(&self, state: &mut State, peer: usize, arrives: bool) {
        let (Stage::Asks(disk, mut said) | Stage::Member(disk, mut said)) = state.stage else { return };
        let was_member = matches!(state.stage, Stage::Member(..));
        let forgotten = state.nodes[peer].remembers.is_some_and(|promise| !keeps(&disk, &promise));
        if !state.nodes[peer].met {
            state.nodes[peer].met = true;
            if forgotten && self.without != Without::StartingOver {
                state.start_over(peer);
            }
        }
        if !arrives {
            return;
        }
        if forgotten && !was_member {
            state.stage = Stage::Quarantined;
            return;
        }
        let witness = state.nodes[peer].disk;
        said[peer] = Some((witness.term, witness.entry));
        if was_member {
            state.stage = Stage::Member(disk, said);
            return;
        }
        state.stage = Stage::Asks(disk, said);
        if self.has_enough(&said) {
            state.stage = Stage::Member(disk, said);
            let newest = said.iter().flatten().map(|(term, _)| *term).max().unwrap_or_default();
            let victim = &mut state.nodes[VICTIM].disk;
            if newest > victim.term || victim.vote.is_none() {
                (victim.term, victim.vote) = (newest.max(victim.term), Some(VICTIM as u8));
            }
        }
    }
}
