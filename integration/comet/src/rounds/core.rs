//! One node's consensus of one height, without I/O: what it has heard, and what it does next.
//!
//! The rules are those of the code of 0.34 to 0.40, not of the paper: a locked node prevotes its lock, and any polka
//! for something else in a later round frees it, nil included. What is left out: parts of blocks (whoever has a
//! proposal has its block) and the application, which accepts every block.

use crate::{BlockId, Time, VoteStep};
use std::collections::BTreeMap;

/// A proposal that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The validator.
    pub validator: usize,
    /// Its height.
    pub height: i64,
    /// Its round.
    pub round: i32,
    /// The round of the polka it builds on.
    pub pol_round: Option<i32>,
    /// The block.
    pub block: BlockId,
}

/// A vote that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The validator.
    pub validator: usize,
    /// Its kind.
    pub step: VoteStep,
    /// Its height.
    pub height: i64,
    /// Its round.
    pub round: i32,
    /// The block, or nil.
    pub block: Option<BlockId>,
    /// The time that was signed.
    pub time: Time,
    /// The signature.
    pub signature: Vec<u8>,
}

/// What nodes send each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A proposal with its block.
    Proposal(Proposed),
    /// A vote.
    Vote(Cast),
}

impl Said {
    /// Its height.
    pub fn height(&self) -> i64 {
        match self {
            Self::Proposal(proposed) => proposed.height,
            Self::Vote(cast) => cast.height,
        }
    }

    /// Its round.
    pub fn round(&self) -> i32 {
        match self {
            Self::Proposal(proposed) => proposed.round,
            Self::Vote(cast) => cast.round,
        }
    }
}

/// Where a node is in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It waits for a proposal.
    Propose,
    /// It has prevoted, or lost its prevote.
    Prevote,
    /// It has precommitted, or lost its precommit.
    Precommit,
}

/// What a node does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// It has seen a block committed.
    Decide(BlockId),
    /// It goes to a round.
    Enter(i32),
    /// It is freed from its lock.
    Unlock,
    /// A block has had a polka in its round: it will propose that one.
    Valid(BlockId),
    /// It proposes: the block that had a polka, or a new one.
    Propose(Option<(i32, BlockId)>),
    /// It prevotes.
    Prevote(Option<BlockId>),
    /// It precommits a block and locks it.
    Lock(BlockId),
    /// It precommits nil.
    PrecommitNil,
}

/// A node's consensus of one height.
#[derive(Clone, Debug)]
pub struct Core {
    /// How many validators there are.
    pub validators: usize,
    /// Which one this node is.
    pub validator: usize,
    /// The height.
    pub height: i64,
    /// The round.
    pub round: i32,
    /// The step.
    pub step: Step,
    /// The round and the block of its lock.
    pub locked: Option<(i32, BlockId)>,
    /// The round and the block of the last polka that it saw in time.
    pub valid: Option<(i32, BlockId)>,
    /// What it has heard or said, in order.
    pub heard: Vec<Said>,
    /// It has asked for its proposal of this round.
    proposed: bool,
}

impl Core {
    /// At the start of a height.
    pub fn new(validators: usize, validator: usize, height: i64) -> Self {
        Self {
            validators,
            validator,
            height,
            round: 0,
            step: Step::Propose,
            locked: None,
            valid: None,
            heard: Vec::new(),
            proposed: false,
        }
    }

    /// The proposer of a round.
    pub fn proposer(&self, round: i32) -> usize {
        (self.height as usize + round as usize) % self.validators
    }

    /// Hears something; whether it was new. The first vote of a validator is the one that counts.
    pub fn hear(&mut self, said: &Said) -> bool {
        if said.height() != self.height || self.knows(said) {
            return false;
        }
        self.heard.push(said.clone());
        true
    }

    fn knows(&self, said: &Said) -> bool {
        self.heard.iter().any(|known| match (known, said) {
            (Said::Proposal(known), Said::Proposal(new)) => known.round == new.round,
            (Said::Vote(known), Said::Vote(new)) => {
                (known.validator, known.round, known.step) == (new.validator, new.round, new.step)
            }
            (Said::Proposal(_), Said::Vote(_)) | (Said::Vote(_), Said::Proposal(_)) => false,
        })
    }

    /// What it does without waiting.
    pub fn next(&self) -> Option<Todo> {
        let last = self.heard.iter().map(Said::round).max().unwrap_or(0);
        for round in 0..=last {
            if let Some(Some(block)) = self.majority(round, VoteStep::Precommit)
                && self.has(block)
            {
                return Some(Todo::Decide(block));
            }
        }
        if let Some((locked, block)) = self.locked {
            let polkas =
                (locked + 1..=self.round).filter_map(|round| self.majority(round, VoteStep::Prevote));
            if polkas.into_iter().any(|polka| polka != Some(block)) {
                return Some(Todo::Unlock);
            }
        }
        let polka = self.majority(self.round, VoteStep::Prevote);
        if let Some(Some(block)) = polka
            && self.valid.is_none_or(|(round, _)| round < self.round)
            && self.has(block)
        {
            return Some(Todo::Valid(block));
        }
        let many = |round: &i32| self.any(*round, VoteStep::Prevote) || self.any(*round, VoteStep::Precommit);
        if let Some(later) = (self.round + 1..=last).rev().find(many) {
            return Some(Todo::Enter(later));
        }
        if self.majority(self.round, VoteStep::Precommit) == Some(None) {
            return Some(Todo::Enter(self.round + 1));
        }
        match self.step {
            Step::Propose if self.proposer(self.round) == self.validator && !self.proposed => {
                Some(Todo::Propose(self.valid))
            }
            Step::Propose => self.complete_proposal().map(|block| self.prevote(Some(block))),
            Step::Prevote => match polka? {
                None => Some(Todo::PrecommitNil),
                Some(block) if self.has(block) => Some(Todo::Lock(block)),
                Some(_) => None,
            },
            Step::Precommit => None,
        }
    }

    /// What it does when it has waited long enough.
    pub fn next_after_waiting(&self) -> Option<Todo> {
        match self.step {
            Step::Propose => Some(self.prevote(None)),
            Step::Prevote if self.any(self.round, VoteStep::Prevote) => Some(Todo::PrecommitNil),
            Step::Prevote | Step::Precommit => {
                self.any(self.round, VoteStep::Precommit).then_some(Todo::Enter(self.round + 1))
            }
        }
    }

    /// Does it, as far as it concerns this node alone: votes and proposals are still to be signed.
    pub fn done(&mut self, todo: Todo) {
        match todo {
            Todo::Decide(_) => {}
            Todo::Enter(round) => (self.round, self.step, self.proposed) = (round, Step::Propose, false),
            Todo::Unlock => self.locked = None,
            Todo::Valid(block) => self.valid = Some((self.round, block)),
            Todo::Propose(_) => self.proposed = true,
            Todo::Prevote(_) => self.step = Step::Prevote,
            Todo::Lock(block) => {
                self.step = Step::Precommit;
                self.locked = Some((self.round, block));
            }
            Todo::PrecommitNil => self.step = Step::Precommit,
        }
    }

    /// A locked node prevotes its lock, whatever is proposed.
    fn prevote(&self, proposed: Option<BlockId>) -> Todo {
        Todo::Prevote(self.locked.map(|(_, block)| block).or(proposed))
    }

    fn complete_proposal(&self) -> Option<BlockId> {
        let proposed = self.heard.iter().find_map(|said| match said {
            Said::Proposal(proposed) if proposed.round == self.round => Some(*proposed),
            Said::Proposal(_) | Said::Vote(_) => None,
        })?;
        let has_polka = |round| self.majority(round, VoteStep::Prevote) == Some(Some(proposed.block));
        proposed.pol_round.is_none_or(has_polka).then_some(proposed.block)
    }

    fn has(&self, block: BlockId) -> bool {
        self.heard.iter().any(|said| matches!(said, Said::Proposal(proposed) if proposed.block == block))
    }

    fn votes(&self, round: i32, step: VoteStep) -> impl Iterator<Item = Option<BlockId>> {
        self.heard.iter().filter_map(move |said| match said {
            Said::Vote(cast) if (cast.round, cast.step) == (round, step) => Some(cast.block),
            Said::Vote(_) | Said::Proposal(_) => None,
        })
    }

    fn majority(&self, round: i32, step: VoteStep) -> Option<Option<BlockId>> {
        majority(self.votes(round, step), self.validators)
    }

    fn any(&self, round: i32, step: VoteStep) -> bool {
        self.votes(round, step).count() >= quorum(self.validators)
    }
}

/// More than two thirds.
pub fn quorum(validators: usize) -> usize {
    validators * 2 / 3 + 1
}

/// What more than two thirds voted for. Each validator votes once in what is given.
pub fn majority(votes: impl Iterator<Item = Option<BlockId>>, validators: usize) -> Option<Option<BlockId>> {
    let mut counts = BTreeMap::new();
    for vote in votes {
        *counts.entry(vote).or_insert(0) += 1;
    }
    counts.into_iter().find(|(_, count)| *count >= quorum(validators)).map(|(vote, _)| vote)
}
