//! Several nodes in one process that play Tendermint rounds: four validators, one of which asks a remote signer and may
//! be doubled (two nodes with its key).
//!
//! A test says who hears whom, kills and restarts nodes, and looks at [`Rounds::wrong`]. Time is turns: in each, nodes
//! hear what they may hear and do what follows; a turn in which nothing happens is one of waiting, and timeouts end.
//! The same seed and answers give the same run. Whoever signs is behind [`Signs`]: FilePV in memory, or a
//! [`Node`](crate::Node) with real signers. A request is waited for before the next one is made, so a signer that holds
//! one holds up everybody.

pub mod check;
mod core;
mod sign;

pub use self::{
    check::Wrong,
    core::{Cast, Proposed, Said, Step},
    sign::{SharedFilePv, Signed, Signs},
};

use self::core::{Core, Todo};
use crate::{AskError, BlockId, FilePv, FilePvKey, ProposalAsk, Time, VoteAsk, VoteStep};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, mem};

/// Vote times begin here.
const BEGINNING: i64 = 1_700_000_000;
/// More steps than a node can make in one turn: a mistake in the rules must not run for ever.
const MOST_STEPS: usize = 10_000;

/// What is played.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The chain, as the other validators sign it.
    pub chain_id: String,
    /// The validators; the first one asks the remote signer.
    pub validators: usize,
    /// Decides orders and losses.
    pub seed: u64,
    /// How many of a hundred messages are not heard in a turn. They may be in the next.
    pub loss_percent: u32,
    /// How many of a hundred turns end a node's waiting though it still hears something: how short timeouts are
    /// beside the network's delays.
    pub impatience_percent: u32,
    /// Whether precommits of blocks have an extension, a different one at each asking.
    pub extensions: bool,
}

impl Setup {
    /// Four validators, no losses, no extensions.
    pub fn new(chain_id: &str, seed: u64) -> Self {
        let chain_id = chain_id.to_owned();
        Self { chain_id, validators: 4, seed, loss_percent: 0, impatience_percent: 0, extensions: false }
    }
}

/// What a restarted node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Its write-ahead log: it does again what is in it, and asks again for what it signed.
    Log,
    /// Nothing of the present height.
    Nothing,
}

/// Who signs for a node.
enum Signer<S> {
    Own(SharedFilePv),
    Remote(S),
}

/// An entry of a write-ahead log.
#[derive(Clone, Debug)]
enum Entry {
    Heard(Said),
    Waited { round: i32, step: Step },
}

struct Player<S> {
    signer: Signer<S>,
    core: Core,
    log: Vec<Entry>,
    up: bool,
    decided: BTreeMap<i64, BlockId>,
}

/// Which message may go from one node to another.
type Filter = Box<dyn Fn(&Said, usize, usize) -> bool + Send>;

/// The network.
pub struct Rounds<S> {
    setup: Setup,
    players: Vec<Player<S>>,
    /// Whether the second hears the first.
    hears: Vec<Vec<bool>>,
    filter: Filter,
    rng: ChaCha8Rng,
    turn: u32,
    asked: u32,
    cast: Vec<Cast>,
    proposed: Vec<Proposed>,
    lost: Vec<(usize, AskError)>,
}

impl<S: Signs> Rounds<S> {
    /// The remote nodes are the first ones, all of the first validator; each other validator is one node.
    pub fn new(setup: Setup, remote: Vec<S>) -> Self {
        assert!(!remote.is_empty() && setup.validators > 1);
        let mut rng = ChaCha8Rng::seed_from_u64(setup.seed);
        let remote = remote.into_iter().map(|signer| (0, Signer::Remote(signer)));
        let own = (1..setup.validators).map(|validator| {
            let filepv = FilePv::new(FilePvKey::ed25519(&rng.random()));
            (validator, Signer::Own(SharedFilePv::new(filepv, &setup.chain_id)))
        });
        let players: Vec<_> = remote
            .chain(own.collect::<Vec<_>>())
            .map(|(validator, signer)| Player {
                signer,
                core: Core::new(setup.validators, validator, 1),
                log: Vec::new(),
                up: true,
                decided: BTreeMap::new(),
            })
            .collect();
        let hears = vec![vec![true; players.len()]; players.len()];
        let filter: Filter = Box::new(|_, _, _| true);
        Self {
            setup,
            players,
            hears,
            filter,
            rng,
            turn: 0,
            asked: 0,
            cast: vec![],
            proposed: vec![],
            lost: vec![],
        }
    }

    /// The number of nodes.
    pub fn nodes(&self) -> usize {
        self.players.len()
    }

    /// Who signs for a node of the first validator.
    pub fn signer(&mut self, node: usize) -> &mut S {
        match &mut self.players[node].signer {
            Signer::Remote(signer) => signer,
            Signer::Own(_) => panic!("node {node} has a key of its own"),
        }
    }

    /// Height, round and step of a node.
    pub fn at(&self, node: usize) -> (i64, i32, Step) {
        let core = &self.players[node].core;
        (core.height, core.round, core.step)
    }

    /// The block that a node is locked on.
    pub fn locked(&self, node: usize) -> Option<BlockId> {
        self.players[node].core.locked.map(|(_, block)| block)
    }

    /// The height up to which all nodes that are up have decided.
    pub fn decided(&self) -> i64 {
        let up = self.players.iter().filter(|player| player.up);
        up.map(|player| player.core.height - 1).min().unwrap_or(0)
    }

    /// Every vote that was signed, in order; repeats too.
    pub fn cast(&self) -> &[Cast] {
        &self.cast
    }

    /// Every proposal that was signed, in order; repeats too.
    pub fn proposed(&self) -> &[Proposed] {
        &self.proposed
    }

    /// Every vote and proposal that a node was not given.
    pub fn lost(&self) -> &[(usize, AskError)] {
        &self.lost
    }

    /// All that must not happen, and has.
    pub fn wrong(&self) -> Vec<Wrong> {
        let mut wrong = check::votes(&self.cast, self.setup.validators);
        wrong.extend(check::agreement(self.players.iter().map(|player| &player.decided)));
        wrong
    }

    /// Only nodes of the same group hear each other; a node in no group hears nobody.
    pub fn cut(&mut self, groups: &[&[usize]]) {
        for from in 0..self.nodes() {
            for to in 0..self.nodes() {
                let together = groups.iter().any(|group| group.contains(&from) && group.contains(&to));
                self.hears[from][to] = together;
            }
        }
    }

    /// Everybody hears everybody.
    pub fn heal(&mut self) {
        self.hears.iter_mut().flatten().for_each(|hears| *hears = true);
        self.filter = Box::new(|_, _, _| true);
    }

    /// Whether one node hears another.
    pub fn link(&mut self, from: usize, to: usize, hears: bool) {
        self.hears[from][to] = hears;
    }

    /// Which messages go from one node to another, beside what [`Self::cut`] and [`Self::link`] say. Ends with
    /// [`Self::heal`].
    pub fn only(&mut self, may_hear: impl Fn(&Said, usize, usize) -> bool + Send + 'static) {
        self.filter = Box::new(may_hear);
    }

    /// Plays turns until something is so; whether it came to be.
    pub async fn until(&mut self, turns: u32, is_so: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..turns {
            if is_so(self) {
                return true;
            }
            self.turn().await;
        }
        is_so(self)
    }

    /// One turn.
    pub async fn turn(&mut self) {
        self.turn += 1;
        let mut happened = self.hear_each_other();
        let mut order: Vec<_> = (0..self.nodes()).filter(|node| self.players[*node].up).collect();
        order.shuffle(&mut self.rng);
        for node in &order {
            happened |= self.go_on(*node).await;
        }
        for node in order {
            let impatience = self.setup.impatience_percent;
            if happened && (impatience == 0 || !self.rng.random_ratio(impatience, 100)) {
                continue;
            }
            let core = &self.players[node].core;
            let Some(todo) = core.next_after_waiting() else { continue };
            let waited = Entry::Waited { round: core.round, step: core.step };
            self.players[node].log.push(waited);
            self.carry_out(node, todo).await;
            self.go_on(node).await;
        }
    }

    /// kill -9 of a node.
    pub fn kill(&mut self, node: usize) {
        self.players[node].up = false;
    }

    /// Starts a node again, which is killed first if it was up.
    pub async fn restart(&mut self, node: usize, memory: Memory) -> Result<(), AskError> {
        self.kill(node);
        if let Signer::Remote(signer) = &mut self.players[node].signer {
            signer.restart().await?;
        }
        let player = &mut self.players[node];
        player.up = true;
        player.core = Core::new(player.core.validators, player.core.validator, player.core.height);
        let log = mem::take(&mut player.log);
        match memory {
            Memory::Nothing => {}
            Memory::Log => {
                for entry in log {
                    self.replay(node, entry).await;
                }
            }
        }
        Ok(())
    }

    /// What is asked now may have been asked before, with another time.
    async fn replay(&mut self, node: usize, entry: Entry) {
        self.go_on(node).await;
        let player = &mut self.players[node];
        match entry {
            Entry::Heard(said) => {
                if player.core.hear(&said) {
                    player.log.push(Entry::Heard(said));
                }
            }
            Entry::Waited { round, step } if (round, step) == (player.core.round, player.core.step) => {
                let Some(todo) = player.core.next_after_waiting() else { return };
                player.log.push(entry);
                self.carry_out(node, todo).await;
            }
            Entry::Waited { .. } => {}
        }
    }

    fn hear_each_other(&mut self) -> bool {
        let mut heard = false;
        let said: Vec<_> = self.players.iter().map(|player| player.core.heard.clone()).collect();
        let decided: Vec<_> = self.players.iter().map(|player| player.decided.clone()).collect();
        for to in 0..self.nodes() {
            for from in 0..self.nodes() {
                if from == to || !self.hears[from][to] || !self.players[from].up || !self.players[to].up {
                    continue;
                }
                for said in &said[from] {
                    if !(self.filter)(said, from, to) || self.rng.random_ratio(self.setup.loss_percent, 100) {
                        continue;
                    }
                    let player = &mut self.players[to];
                    if player.core.hear(said) {
                        player.log.push(Entry::Heard(said.clone()));
                        heard = true;
                    }
                }
                // A node that is behind is given the commit.
                let height = self.players[to].core.height;
                if let Some(block) = decided[from].get(&height) {
                    self.decide(to, *block);
                    heard = true;
                }
            }
        }
        heard
    }

    fn decide(&mut self, node: usize, block: BlockId) {
        let player = &mut self.players[node];
        let height = player.core.height;
        player.decided.insert(height, block);
        player.core = Core::new(player.core.validators, player.core.validator, height + 1);
        player.log.clear();
    }

    /// Does all that needs no waiting; whether there was anything.
    async fn go_on(&mut self, node: usize) -> bool {
        for done in 0..MOST_STEPS {
            let Some(todo) = self.players[node].core.next() else { return done > 0 };
            if self.carry_out(node, todo).await {
                // The next height is for the next turn, so that nobody runs ahead.
                return true;
            }
        }
        panic!("node {node} goes on for ever: {:?}", self.players[node].core);
    }

    /// Whether the height ended.
    async fn carry_out(&mut self, node: usize, todo: Todo) -> bool {
        let core = &mut self.players[node].core;
        core.done(todo);
        let (height, round, validator) = (core.height, core.round, core.validator);
        let time = self.time(node);
        let vote = match todo {
            Todo::Decide(block) => {
                self.decide(node, block);
                if let Signer::Remote(signer) = &mut self.players[node].signer
                    && let Err(error) = signer.new_height().await
                {
                    self.lost.push((node, error));
                }
                return true;
            }
            Todo::Enter(_) | Todo::Unlock | Todo::Valid(_) => return false,
            Todo::Propose(valid) => {
                let new = || BlockId::named(&format!("{height}/{round} of node {node}, turn {}", self.turn));
                let (pol_round, block) = valid.map_or_else(|| (None, new()), |(at, block)| (Some(at), block));
                let ask = ProposalAsk { height, round, pol_round, block, time };
                let signed = match &mut self.players[node].signer {
                    Signer::Own(signer) => signer.proposal(ask).await,
                    Signer::Remote(signer) => signer.proposal(ask).await,
                };
                match signed {
                    Ok(()) => {
                        let proposed = Proposed { validator, height, round, pol_round, block };
                        self.proposed.push(proposed);
                        self.say(node, Said::Proposal(proposed));
                    }
                    Err(error) => self.lost.push((node, error)),
                }
                return false;
            }
            Todo::Prevote(block) => VoteAsk::prevote(height, round, block, time),
            Todo::Lock(block) => {
                let extension = match self.setup.extensions {
                    true => format!("extension {}", self.asked).into_bytes(),
                    false => Vec::new(),
                };
                VoteAsk::precommit(height, round, Some(block), time).with_extension(&extension)
            }
            Todo::PrecommitNil => VoteAsk::precommit(height, round, None, time),
        };
        let (step, block): (VoteStep, _) = (vote.step, vote.block);
        let signed = match &mut self.players[node].signer {
            Signer::Own(signer) => signer.vote(vote).await,
            Signer::Remote(signer) => signer.vote(vote).await,
        };
        match signed {
            Ok(Signed { signature, time }) => {
                let cast = Cast { validator, step, height, round, block, time, signature };
                self.cast.push(cast.clone());
                self.say(node, Said::Vote(cast));
            }
            Err(error) => self.lost.push((node, error)),
        }
        false
    }

    /// A node hears itself.
    fn say(&mut self, node: usize, said: Said) {
        let player = &mut self.players[node];
        if player.core.hear(&said) {
            player.log.push(Entry::Heard(said));
        }
    }

    /// Never the same time twice.
    fn time(&mut self, node: usize) -> Time {
        self.asked += 1;
        let nanos = (self.asked % 1_000_000 * 1_000) as i32 + node as i32;
        Time { seconds: BEGINNING + i64::from(self.turn), nanos }
    }
}
