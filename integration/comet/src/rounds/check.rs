//! What must hold of all that was signed and decided, judged from the votes alone. [`Rounds::wrong`](super::Rounds::wrong)
//! calls it; so may a test that has collected votes elsewhere.

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
    use crate::Time;

    fn cast(validator: usize, round: i32, step: VoteStep, block: Option<BlockId>) -> Cast {
        Cast { validator, step, height: 1, round, block, time: Time::at(0), signature: Vec::new() }
    }

    fn prevote(validator: usize, round: i32, block: Option<BlockId>) -> Cast {
        cast(validator, round, VoteStep::Prevote, block)
    }

    /// Validators 0 to 2 prevote a block in round 0, and 0 precommits it.
    fn locked_on(block: BlockId) -> Vec<Cast> {
        let prevotes = (0..3).map(|validator| prevote(validator, 0, Some(block)));
        prevotes.chain([cast(0, 0, VoteStep::Precommit, Some(block))]).collect()
    }

    fn with(mut before: Vec<Cast>, after: impl IntoIterator<Item = Cast>) -> Vec<Wrong> {
        before.extend(after);
        votes(&before, 4)
    }

    #[test]
    fn after_a_precommit_only_its_block_may_be_prevoted_until_a_later_polka_for_something_else() {
        let [v, w] = ["V", "W"].map(BlockId::named);
        assert_eq!(with(locked_on(v), [prevote(0, 1, Some(v)), prevote(0, 2, Some(v))]), []);
        for other in [None, Some(w)] {
            let wrong = with(locked_on(v), [prevote(0, 1, other)]);
            assert!(matches!(wrong[..], [Wrong::LockBroken { .. }]), "{wrong:?}");
            for polka in [None, Some(w)] {
                let freed = (1..4).map(|validator| prevote(validator, 1, polka));
                assert_eq!(with(locked_on(v), freed.chain([prevote(0, 1, other)])), []);
                let freed = (1..4).map(|validator| prevote(validator, 1, polka));
                assert_eq!(with(locked_on(v), freed.chain([prevote(0, 2, other)])), []);
            }
        }
    }

    #[test]
    fn a_polka_frees_only_if_it_is_later_than_the_lock_for_something_else_whole_and_there_in_time() {
        let [v, w] = ["V", "W"].map(BlockId::named);
        let polka = |round, block| (1..4).map(move |validator| prevote(validator, round, block));
        let is_broken = |wrong: Vec<Wrong>| matches!(wrong[..], [Wrong::LockBroken { .. }]);
        // For the block itself.
        assert!(is_broken(with(locked_on(v), polka(1, Some(v)).chain([prevote(0, 2, None)]))));
        // Of two validators only, however often they say it.
        let two = polka(1, Some(w)).take(2).chain(polka(1, Some(w)).take(2));
        assert!(is_broken(with(locked_on(v), two.chain([prevote(0, 2, Some(w))]))));
        // Of a later round than the prevote.
        assert!(is_broken(with(locked_on(v), polka(2, Some(w)).chain([prevote(0, 1, Some(w))]))));
        // Signed after it.
        assert!(is_broken(with(locked_on(v), [prevote(0, 1, Some(w))].into_iter().chain(polka(1, Some(w))))));
        // Of a round before the lock's: the validator locks V in round 1 and not in round 0.
        let earlier: Vec<_> = polka(0, Some(w)).collect();
        let later = locked_on(v).into_iter().map(|cast| Cast { round: 1, ..cast });
        assert!(is_broken(with(earlier, later.chain([prevote(0, 2, Some(w))]))));
    }

    #[test]
    fn a_second_vote_and_a_precommit_without_a_polka_are_noticed_and_a_repeat_is_neither() {
        let [v, w] = ["V", "W"].map(BlockId::named);
        let repeat = Cast { time: Time::at(9), ..prevote(0, 0, Some(v)) };
        assert_eq!(with(locked_on(v), [repeat]), []);
        for (first, other) in [(Some(v), Some(w)), (Some(v), None), (None, Some(v))] {
            for step in [VoteStep::Prevote, VoteStep::Precommit] {
                let wrong = with(Vec::new(), [cast(0, 5, step, first), cast(0, 5, step, other)]);
                assert!(matches!(wrong[0], Wrong::DuplicateVote(..)), "{wrong:?}");
            }
        }
        let wrong = with(Vec::new(), [cast(0, 0, VoteStep::Precommit, Some(v))]);
        assert!(matches!(wrong[..], [Wrong::NoPolka(_)]), "{wrong:?}");
    }

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
