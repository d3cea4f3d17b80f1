//! The lock of a height: two live CometBFT nodes with one key, and what the signers let them say together.
//!
//! Validator X is doubled: the twins A and B have one key and independent states. Two or three others are correct, and
//! one may be Byzantine. A node locks when it sees a polka (two thirds of the prevotes of a round) for a block: it asks
//! for a precommit of it and from then on prevotes nothing else, until a polka of a later round frees it. A twin knows
//! nothing of the other's lock. So the signers remember, beside the high-water mark, what was precommitted last, and
//! who has locked: a prevote for anything else is signed for these alone.
//!
//! The model checks that one correct validator could have cast X's signed votes, and that no two blocks are
//! committed, whatever is lost, delayed or cut off, and however often twins reconnect, replay their logs or forget.
//!
//! **Rounds without end.** What a correct node does in a round depends on votes of that round and earlier ones, so
//! every run is equal to one in which all of a round happens before the next begins. There, what matters of a lock is
//! not its round but whether a polka has come since; so states have no round numbers and there are finitely many. What
//! is left of real time is that the twins' requests reach the signers in another order than that of rounds: a request
//! that arrives after a later round was signed is refused, which is [`Ask::Late`], and may yet be asked again at any
//! time ([`Action::AskAgain`]). That the high-water mark refuses it is taken as given.
//!
//! A correct node that does nothing in a step is behind, cut off or down. A node may or may not see a vote. Nodes that
//! are alike (the twins; the correct others) are kept in order, so that only one of the states that differ in names
//! alone is explored.

use stateright::{Model, Property};

/// A value: nil or a block.
type Value = u8;
/// Nil: no block.
const NIL: Value = 0;
/// The most values: blocks and nil.
const MOST_VALUES: usize = 4;
/// Validators: X and three others.
const QUORUM: u8 = 3;
/// The most correct validators other than X.
const MOST_OTHERS: usize = 3;

/// A part of the rule that is taken away, or replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing is changed: the rule as it is.
    Nothing,
    /// There is no lock: the high-water mark alone, as FilePV has it.
    Lock,
    /// A prevote of nil needs the right too: a twin that is not locked may not help to free others.
    Nil,
    /// As [`Self::Nil`], where a precommit of another block than the lock's needs the right as well.
    NilAndPrecommits,
    /// As [`Self::Nil`], where the lock ends when a twin that has locked reconnects.
    NilAndReconnection,
    /// Instead of entitlement one twin owns the height; after its disconnection the other may vote nil or the lock.
    Entitlement,
    /// A later non-nil precommit moves the lock.
    Move,
    /// A lock that moves entitles only the twin that moved it.
    Anew,
    /// A new connection is not entitled.
    Connection,
    /// A new connection of a node that has not restarted is not entitled. This part can be left out.
    SameLife,
    /// A precommit of a round before the lock's entitles nobody.
    Round,
    /// A precommit of nil entitles nobody.
    NonNil,
    /// One vote per round and step.
    Once,
}

/// What frees a locked node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// The rule of nodes 0.34 to 0.40: a locked node prevotes its lock, and any polka for something else frees it, also
    /// one for nil.
    Code,
    /// The paper's rule: a locked node prevotes its lock, nil, or a block that has had a polka since.
    Paper,
}

/// What is checked. A run ends at the first wrong vote, long before two blocks can be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// X's votes, and everything else.
    Votes,
    /// Only what is committed.
    Blocks,
}

/// The model.
pub struct Lock {
    /// The part of the rule that is changed.
    pub without: Without,
    /// What frees a locked node.
    pub semantics: Semantics,
    /// Whether one of the others is Byzantine: it has voted for everything everywhere.
    pub byzantine: bool,
    /// The number of blocks that are proposed: two or three.
    pub blocks: u8,
    /// What is checked.
    pub watched: Watched,
}

/// The bounds within which every state is explored: what frees a node, whether one other is Byzantine, and how many
/// blocks. The paper's rule with three blocks and a Byzantine validator holds as well, in 32,619,690 states that take
/// too long here.
pub const BOUNDS: [(Semantics, bool, u8); 5] = [
    (Semantics::Code, false, 2),
    (Semantics::Code, true, 2),
    (Semantics::Code, true, 3),
    (Semantics::Paper, false, 2),
    (Semantics::Paper, true, 2),
];

/// The changes that must be found wrong, each with the nodes' rule that shows it and what must be checked for that.
pub fn mistakes() -> impl Iterator<Item = (Without, Semantics, Watched)> {
    use Without as W;
    // Under the paper's rule a locked node may prevote nil, so nil needs no right there; two owners are one validator.
    let of_code = [W::Nil, W::NilAndPrecommits, W::Entitlement];
    let of_both =
        [W::Lock, W::NilAndReconnection, W::Move, W::Anew, W::Connection, W::Round, W::NonNil, W::Once];
    let of_both = of_both.into_iter().flat_map(|without| {
        [Semantics::Code, Semantics::Paper].map(|semantics| (without, semantics, Watched::Votes))
    });
    let votes = of_code.map(|without| (without, Semantics::Code, Watched::Votes)).into_iter().chain(of_both);
    // These show that the rule matters: with them, two blocks are committed.
    let blocks = [W::Lock, W::Nil, W::NilAndReconnection, W::Anew, W::Connection];
    votes.chain(blocks.map(|without| (without, Semantics::Code, Watched::Blocks)))
}

/// A node's lock, or X's as its signed votes show it: the block, and what has had a polka since that frees from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locked {
    block: Value,
    /// Values, as bits; for [`Semantics::Code`], which asks only whether there are any, bit 0.
    freed: u8,
}

/// The last non-nil precommit that a twin has asked or would ask again from its log, by its round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Logged {
    /// None.
    #[default]
    Nothing,
    /// It was in a round before the one of the signers' lock.
    BeforeLock,
    /// It was not before the round of the signers' lock.
    Recent,
    /// It was in the present round.
    ThisRound,
}

/// A correct node of another validator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    lock: Option<Locked>,
    /// Whether it has voted in this step.
    acted: bool,
}

/// A node of X.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Twin {
    node: Node,
    logged: Logged,
    /// Whether its connection is entitled.
    entitled: bool,
    /// Without entitlement: whether it owns the height and is connected.
    owner: bool,
}

/// The steps of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// First vote.
    Prevote,
    /// Second vote.
    Precommit,
}

/// A state of the model, at one step of the present round.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    step: Step,
    twins: [Twin; 2],
    others: [Node; MOST_OTHERS],
    /// Votes of the correct others in this step, by value.
    votes: [u8; MOST_VALUES],
    /// X's signed votes in this step, as bits.
    signed: u8,
    /// The value that has a polka in this round.
    polka: Option<Value>,
    /// The block that the signers' lock is on.
    lock: Option<Value>,
    /// Without entitlement: whether the height has or had an owner.
    owned: bool,
    /// X's lock, as its signed votes show it.
    shown: Option<Locked>,
    /// Blocks that were committed, as bits.
    committed: u8,
    /// X has cast a vote that one correct validator could not have.
    broken: bool,
    /// X has precommitted one block and then, freed, another.
    moved: bool,
}

/// When a twin's request is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// It is judged in its round.
    Now,
    /// It arrives when the high-water mark is past it, or never.
    Late,
}

/// An event that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// One of the correct others votes.
    Vote {
        /// The index of the node.
        node: usize,
        /// Whether it has seen the polka that frees it.
        freed: bool,
        /// The value voted for.
        value: Value,
    },
    /// A twin asks for a vote.
    Ask {
        /// The index of the node.
        twin: usize,
        /// Whether it has seen the polka that frees it.
        freed: bool,
        /// The value voted for.
        value: Value,
        /// When it is judged.
        ask: Ask,
    },
    /// This twin asks again for its last non-nil precommit: late, or from its log.
    AskAgain(usize),
    /// This twin has a new connection and still knows what it knew.
    Reconnect(usize),
    /// This twin restarts and has forgotten everything.
    Forget(usize),
    /// The next step, or the next round.
    Next,
}

impl Lock {
    /// The correct others.
    fn others(&self) -> usize {
        if self.byzantine { MOST_OTHERS - 1 } else { MOST_OTHERS }
    }

    fn values(&self) -> impl Iterator<Item = Value> + use<> {
        NIL..=self.blocks
    }

    /// A polka has come: frees from the lock, if the nodes' rule says so.
    fn loosen(&self, lock: &mut Option<Locked>, polka: Value) {
        let Some(lock) = lock.as_mut().filter(|lock| lock.block != polka) else { return };
        match self.semantics {
            Semantics::Code => lock.freed = 1,
            Semantics::Paper if polka != NIL => lock.freed |= 1 << polka,
            Semantics::Paper => {}
        }
    }

    /// Whether a correct validator with this lock may prevote a value.
    fn honest_prevote(&self, lock: Option<Locked>, value: Value) -> bool {
        let Some(Locked { block, freed }) = lock else { return true };
        value == block
            || match self.semantics {
                Semantics::Code => freed != 0,
                Semantics::Paper => value == NIL || freed & (1 << value) != 0,
            }
    }

    /// What a correct node may vote in this step: whether it has seen what frees it, and the value.
    fn votes_of(&self, state: &State, node: Node) -> Vec<(bool, Value)> {
        let code = self.semantics == Semantics::Code;
        let can_be_freed = code && node.lock.is_some_and(|lock| lock.freed != 0);
        let views = [false, true].into_iter().filter(|freed| !freed || can_be_freed);
        views.flat_map(|freed| self.seen_so(state, node, freed)).collect()
    }

    fn seen_so(&self, state: &State, node: Node, freed: bool) -> Vec<(bool, Value)> {
        // With the nodes' rule, a locked node that has not seen what frees it prevotes only its lock.
        let lock = match (self.semantics, node.lock) {
            (Semantics::Code, Some(_)) if freed => None,
            (Semantics::Code, Some(Locked { block, .. })) => Some(Locked { block, freed: 0 }),
            (Semantics::Code, None) | (Semantics::Paper, _) => node.lock,
        };
        let values = match state.step {
            Step::Prevote => self.values().filter(|value| self.honest_prevote(lock, *value)).collect(),
            // The block whose polka it has seen, or nil.
            Step::Precommit => {
                let block = state.polka.filter(|polka| *polka != NIL);
                block.into_iter().chain([NIL]).collect::<Vec<_>>()
            }
        };
        values.into_iter().map(|value| (freed, value)).collect()
    }

    /// The node's own state after its vote.
    fn after_vote(&self, step: Step, node: &mut Node, freed: bool, value: Value) {
        node.acted = true;
        if freed {
            node.lock = None;
        }
        if step == Step::Precommit && value != NIL {
            node.lock = Some(Locked { block: value, freed: 0 });
        }
    }

    /// Votes for a value in this step that anybody may count.
    fn counted(&self, state: &State, value: Value) -> u8 {
        let ours = u8::from(state.signed & (1 << value) != 0);
        state.votes[usize::from(value)] + ours + u8::from(self.byzantine)
    }

    /// A vote was cast: records a polka or a commit that it completes.
    fn count(&self, state: &mut State, value: Value) {
        if self.counted(state, value) < QUORUM {
            return;
        }
        match state.step {
            Step::Prevote if state.polka != Some(value) => {
                state.polka = Some(value);
                let twins = state.twins.iter_mut().map(|twin| &mut twin.node.lock);
                let others = state.others.iter_mut().map(|node| &mut node.lock);
                twins.chain(others).chain([&mut state.shown]).for_each(|lock| self.loosen(lock, value));
            }
            Step::Prevote => {}
            Step::Precommit if value != NIL => state.committed |= 1 << value,
            Step::Precommit => {}
        }
    }
}

// The signers.
impl Lock {
    /// Whether the rule lets a twin have a vote that the high-water mark would grant.
    fn may_sign(&self, state: &State, twin: &Twin, value: Value) -> bool {
        let for_lock = state.lock.is_none_or(|lock| lock == value);
        match (self.without, state.step) {
            (Without::Lock, _) => true,
            (Without::Entitlement, _) => {
                let left = state.twins.iter().all(|twin| !twin.owner);
                !state.owned || twin.owner || (left && (value == NIL || for_lock))
            }
            (Without::Nil | Without::NilAndPrecommits | Without::NilAndReconnection, Step::Prevote) => {
                for_lock || twin.entitled || value == NIL
            }
            (Without::NilAndPrecommits, Step::Precommit) => for_lock || twin.entitled || value == NIL,
            (_, Step::Prevote) => for_lock || twin.entitled,
            (_, Step::Precommit) => true,
        }
    }

    /// A twin asks, in its round.
    fn judge(&self, state: &mut State, twin: usize, value: Value) {
        let bit = 1 << value;
        let repeated = state.signed & bit != 0;
        let taken = state.signed != 0 && self.without != Without::Once;
        if !repeated && !taken && self.may_sign(state, &state.twins[twin], value) {
            return self.sign(state, twin, value);
        }
        if state.step == Step::Precommit && (value != NIL || self.without == Without::NonNil) {
            state.twins[twin].entitled |= state.lock.is_some();
        }
    }

    fn sign(&self, state: &mut State, twin: usize, value: Value) {
        self.watch(state, state.signed == 0);
        state.signed |= 1 << value;
        if self.without == Without::Entitlement && !state.owned {
            state.owned = true;
            state.twins[twin].owner = true;
        }
        match state.step {
            Step::Prevote => self.watch(state, self.honest_prevote(state.shown, value)),
            Step::Precommit if value != NIL => {
                state.moved |= state.shown.is_some_and(|shown| shown.block != value);
                state.shown = Some(Locked { block: value, freed: 0 });
                self.lock(state, twin, value);
            }
            // A twin that asked for this has not locked, but a mistaken rule may think so.
            Step::Precommit => {
                state.twins[twin].entitled |= self.without == Without::NonNil && state.lock.is_some();
            }
        }
        self.count(state, value);
    }

    /// X has cast a vote: checks whether one correct validator could have cast it.
    fn watch(&self, state: &mut State, honest: bool) {
        match self.watched {
            Watched::Votes => state.broken |= !honest,
            Watched::Blocks => {}
        }
    }

    /// A non-nil precommit was granted.
    fn lock(&self, state: &mut State, twin: usize, block: Value) {
        if self.without == Without::Move && state.lock.is_some() {
            state.twins[twin].entitled = true;
            return;
        }
        state.lock = Some(block);
        for (other, own) in state.twins.iter_mut().enumerate() {
            own.entitled = other == twin || (own.entitled && self.without == Without::Anew);
            if own.logged == Logged::Recent {
                own.logged = Logged::BeforeLock;
            }
        }
    }

    /// A twin has a new connection.
    fn reconnect(&self, state: &mut State, twin: usize) {
        if self.without == Without::NilAndReconnection && state.twins[twin].entitled {
            state.lock = None;
        }
        state.twins[twin].owner = false;
        if self.without != Without::Connection {
            state.twins[twin].entitled = false;
        }
    }
}

impl State {
    fn next_step(&mut self) {
        let nodes = self.twins.iter_mut().map(|twin| &mut twin.node).chain(&mut self.others);
        nodes.for_each(|node| node.acted = false);
        (self.votes, self.signed) = ([0; MOST_VALUES], 0);
        self.step = match self.step {
            Step::Prevote => Step::Precommit,
            Step::Precommit => {
                self.polka = None;
                for twin in &mut self.twins {
                    if twin.logged == Logged::ThisRound {
                        twin.logged = Logged::Recent;
                    }
                }
                Step::Prevote
            }
        };
    }

    /// The normal form of a state: without a lock nobody is entitled, and nodes that are alike are sorted.
    fn tidy(&mut self) {
        if self.lock.is_none() {
            self.twins.iter_mut().for_each(|twin| twin.entitled = false);
        }
        self.twins.sort_unstable();
        self.others.sort_unstable();
    }
}

impl Model for Lock {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            step: Step::Prevote,
            twins: [Twin::default(); 2],
            others: [Node::default(); MOST_OTHERS],
            votes: [0; MOST_VALUES],
            signed: 0,
            polka: None,
            lock: None,
            owned: false,
            shown: None,
            committed: 0,
            broken: false,
            moved: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // A run ends at the first thing wrong.
        if state.broken || state.committed.count_ones() > 1 {
            return;
        }
        actions.push(Action::Next);
        // The last ones are taken, as nodes that never act sort first.
        for node in MOST_OTHERS - self.others()..MOST_OTHERS {
            if !state.others[node].acted {
                let votes = self.votes_of(state, state.others[node]).into_iter();
                actions.extend(votes.map(|(freed, value)| Action::Vote { node, freed, value }));
            }
        }
        for twin in 0..2 {
            let own = state.twins[twin];
            if !own.node.acted {
                let votes = self.votes_of(state, own.node).into_iter();
                let asks = votes.flat_map(|vote| [(vote, Ask::Now), (vote, Ask::Late)]);
                let asks = asks.map(|((freed, value), ask)| Action::Ask { twin, freed, value, ask });
                actions.extend(asks);
            }
            if own.logged != Logged::Nothing {
                actions.push(Action::AskAgain(twin));
            }
            actions.extend([Action::Reconnect(twin), Action::Forget(twin)]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Vote { node, freed, value } => {
                self.after_vote(state.step, &mut state.others[node], freed, value);
                state.votes[usize::from(value)] += 1;
                self.count(&mut state, value);
            }
            Action::Ask { twin, freed, value, ask } => {
                let step = state.step;
                self.after_vote(step, &mut state.twins[twin].node, freed, value);
                if step == Step::Precommit && value != NIL {
                    state.twins[twin].logged = Logged::ThisRound;
                }
                match ask {
                    Ask::Now => self.judge(&mut state, twin, value),
                    Ask::Late => {}
                }
            }
            Action::AskAgain(twin) => {
                let own = &mut state.twins[twin];
                let recent = own.logged != Logged::BeforeLock || self.without == Without::Round;
                own.entitled |= recent && state.lock.is_some();
            }
            Action::Reconnect(_) if self.without == Without::SameLife => {}
            Action::Reconnect(twin) => self.reconnect(&mut state, twin),
            Action::Forget(twin) => {
                self.reconnect(&mut state, twin);
                let own = &mut state.twins[twin];
                (own.node.lock, own.logged) = (None, Logged::Nothing);
            }
            Action::Next => state.next_step(),
        }
        state.tidy();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("X votes as one correct validator could", |_, state: &State| !state.broken),
            Property::always("no two blocks are committed", |_, state: &State| {
                state.committed.count_ones() <= 1
            }),
            Property::sometimes("a block is committed", |_, state: &State| state.committed != 0),
            Property::sometimes("X is freed and locks another block", |_, state: &State| state.moved),
            Property::sometimes("both twins are entitled", |_, state: &State| {
                state.twins.iter().all(|twin| twin.entitled)
            }),
        ]
    }
}
