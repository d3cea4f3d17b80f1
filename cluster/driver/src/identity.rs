//! Whose incarnation a data directory holds. It is written twice, inside the store and in a file beside it, so that one
//! of the two that was put back from a copy does not fit the other.

#[cfg(signonce_sim)]
use signonce_core::mutation::{self, Mutation};
use signonce_core::replica::hello::Life;

/// The store and the file beside it are not of the same start: one of them was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is of start {inside}, the file beside it of start {beside}: one of them was copied")]
pub struct Copied {
    /// The incarnation in the store.
    pub inside: u64,
    /// The one beside it.
    pub beside: u64,
}

/// What a start writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextLife {
    /// The new incarnation: first into the store, then into the file, each durably.
    pub incarnation: u64,
    /// The last start ended between the two writes. Before anything else the file must get the store's incarnation, so
    /// that a second crash at the same place leaves the two one apart again.
    pub file_is_behind: bool,
}

/// The incarnation of a start that finds these two. The store is written first: after a crash in between it is one
/// ahead. Anything else was copied.
///
/// # Errors
/// [`Copied`].
pub fn next_life(inside: u64, beside: u64) -> Result<NextLife, Copied> {
    let ahead = inside.checked_sub(beside);
    #[cfg(signonce_sim)]
    let ahead = if mutation::is(Mutation::MemoryUnasked) { Some(0) } else { ahead };
    match ahead {
        Some(ahead @ (0 | 1)) => Ok(NextLife { incarnation: inside + 1, file_is_behind: ahead == 1 }),
        Some(_) | None => Err(Copied { inside, beside }),
    }
}

/// The life of a start: peers tell it from every other by both numbers. `boot` is random.
pub fn life(incarnation: u64, boot: u64) -> Life {
    #[cfg(signonce_sim)]
    if mutation::is(Mutation::LivesAlike) {
        return Life { incarnation: 1, boot: 1 };
    }
    Life { incarnation, boot }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_takes_what_a_crash_between_the_two_writes_leaves_and_nothing_that_was_copied() {
        let next = |incarnation, file_is_behind| Ok(NextLife { incarnation, file_is_behind });
        assert_eq!(next_life(0, 0), next(1, false));
        assert_eq!(next_life(7, 7), next(8, false));
        assert_eq!(next_life(8, 7), next(9, true));
        for (inside, beside) in [(9, 7), (7, 8), (0, 1), (u64::MAX, 0)] {
            assert_eq!(next_life(inside, beside), Err(Copied { inside, beside }));
        }
    }
}
