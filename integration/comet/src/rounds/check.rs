//! What must hold of all that was signed and decided, judged from the votes alone.

use super::core::{Cast, quorum};
use crate::{BlockId, VoteStep};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Two votes of one validator for different things at one height, round and step: slashable.
    DuplicateVote(Cast, Cast),
    /// After a precommit of a block, a prevote of something else, and no polka that frees from the block. No correct
    /// validator casts it (property P).
    LockBroken {
        /// What locked.
        precommit: Cast,
        /// What should not have been signed.
        prevote: Cast,
    },
    /// A precommit of a block that has no polka in its round.
    NoPolka(Cast),
    /// Two blocks at one height.
    TwoBlocks {
        /// The height.
        height: i64,
        /// The blocks.
        blocks: [BlockId; 2],
    },
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { validator, step, height, round, block, .. } = self;
        let block = block.map_or("nil".to_owned(), |block| hex::encode(&block.hash[..4]));
        write!(f, "{step:?} of {block} by validator {validator} at {height}/{round}")
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateVote(one, other) => write!(f, "{one}, and {other}"),
            Self::LockBroken { precommit, prevote } => {
                write!(f, "{precommit}, then {prevote}, and nothing has freed it")
            }
            Self::NoPolka(cast) => write!(f, "{cast}, without a polka"),
            Self::TwoBlocks { height, blocks } => write!(f, "two blocks at {height}: {blocks:?}"),
        }
    }
}

/// All that is wrong with these votes of correct validators, in the order in which they were signed.
pub fn votes(cast: &[Cast], validators: usize) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let validator_heights: BTreeSet<_> = cast.iter().map(|cast| (cast.validator, cast.height)).collect();
    for (validator, height) in validator_heights {
        let of_height: Vec<_> = cast.iter().filter(|cast| cast.height == height).collect();
        let own = of_height.iter().enumerate().filter(|(_, cast)| cast.validator == validator);
        let mut own: Vec<_> = own.map(|(order, cast)| (order, *cast)).collect();
        own.sort_by_key(|(order, cast)| (cast.round, cast.step, *order));
        // Repeats are no votes of their own.
        wrong.extend(duplicates(&own));
        own.dedup_by_key(|(_, cast)| (cast.round, cast.step));
        wrong.extend(lock(&own, &of_height, validators));
    }
    wrong
}

fn duplicates(own: &[(usize, &Cast)]) -> Vec<Wrong> {
    let mut first = BTreeMap::new();
    let mut wrong = Vec::new();
    for (_, cast) in own {
        let known = first.entry((cast.round, cast.step)).or_insert(*cast);
        if known.block != cast.block {
            wrong.push(Wrong::DuplicateVote((*known).clone(), (*cast).clone()));
        }
    }
    wrong
}

/// Property P: the votes of a height are such as one correct validator could have cast, who has heard at most what was
/// signed before.
fn lock(own: &[(usize, &Cast)], all: &[&Cast], validators: usize) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut locked: Option<&Cast> = None;
    for (order, cast) in own {
        let before = &all[..*order];
        match (cast.step, cast.block) {
            (VoteStep::Precommit, None) => {}
            (VoteStep::Precommit, Some(block)) => {
                if !has_polka(before, cast.round, Some(block), validators) {
                    wrong.push(Wrong::NoPolka((*cast).clone()));
                }
                locked = Some(cast);
            }
            (VoteStep::Prevote, value) => {
                let Some(precommit) = locked.filter(|locked| locked.block != value) else { continue };
                let mut since = precommit.round + 1..=cast.round;
                if !since.any(|round| frees(before, round, precommit.block, validators)) {
                    let (precommit, prevote) = (precommit.clone(), (*cast).clone());
                    wrong.push(Wrong::LockBroken { precommit, prevote });
                }
            }
        }
    }
    wrong
}

/// Who prevoted what in a round. Values, not votes: a repeat with another timestamp is no second vote.
fn prevotes(all: &[&Cast], round: i32) -> BTreeMap<Option<BlockId>, BTreeSet<usize>> {
    let mut by_value = BTreeMap::<_, BTreeSet<_>>::new();
    for cast in all.iter().filter(|cast| cast.step == VoteStep::Prevote && cast.round == round) {
        by_value.entry(cast.block).or_default().insert(cast.validator);
    }
    by_value
}

fn has_polka(all: &[&Cast], round: i32, value: Option<BlockId>, validators: usize) -> bool {
    prevotes(all, round).get(&value).is_some_and(|who| who.len() >= quorum(validators))
}

fn frees(all: &[&Cast], round: i32, lock: Option<BlockId>, validators: usize) -> bool {
    prevotes(all, round).iter().any(|(value, who)| *value != lock && who.len() >= quorum(validators))
}

/// Whether two nodes have decided differently.
pub fn agreement<'a>(decided: impl Iterator<Item = &'a BTreeMap<i64, BlockId>>) -> Vec<Wrong> {
    let mut first = BTreeMap::new();
    let mut wrong = Vec::new();
    for (height, block) in decided.flatten() {
        let known = first.entry(*height).or_insert(*block);
        if known != block {
            wrong.push(Wrong::TwoBlocks { height: *height, blocks: [*known, *block] });
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_that_decide_differently_are_noticed() {
        let [v, w] = ["V", "W"].map(BlockId::named);
        let one = BTreeMap::from([(1, v), (2, v)]);
        let other = BTreeMap::from([(1, v), (2, w)]);
        assert_eq!(agreement([&one, &one].into_iter()), []);
        let wrong = agreement([&one, &other].into_iter());
        assert_eq!(wrong, [Wrong::TwoBlocks { height: 2, blocks: [v, w] }]);
    }
}
