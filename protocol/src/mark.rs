//! The trait of a key's watermark in one class, whatever its rule. The ledger keeps one for every (key, class).
//!
//! `signonce-core` has the two that most classes need: a window of exact entries, and the same over wall-clock slots. A
//! family with another rule implements [`Mark`] itself and names it in [`Rule::Own`](crate::Rule::Own).
//!
//! A mark lives in memory and writes every change through [`Rows`] as it makes it; it is restored from these rows. It
//! is deterministic (the same claims in the same order make the same rows on every node) and reads no clock.

use crate::{Chain, Claim, Digest, Duty, DutyClass, Entry, LogIndex, Position, SlotClock, Verdict};
use std::fmt;

/// One key's watermark in one class.
///
/// The invariant that everything rests on: *a duty at or above the floor without an entry was never signed.*
pub trait Mark: fmt::Debug + Send + Sync {
    /// A copy.
    fn boxed(&self) -> Box<dyn Mark>;

    /// The lowest position that may still be signed.
    fn floor(&self) -> Position;

    /// The highest position with a signature above the floor.
    fn highest(&self) -> Option<Position>;

    /// The number of exact entries kept.
    fn entries(&self) -> u64;

    /// The entry of the highest position.
    fn last(&self) -> Option<&Entry>;

    /// What was signed above the floor, in rising order, with what it said. Empty for marks that do not keep it.
    fn votes(&self) -> Box<dyn DoubleEndedIterator<Item = Vote<'_>> + '_> {
        Box::new(std::iter::empty())
    }

    /// The verdict on a claim. It changes nothing.
    fn judge(&self, claim: &Claim, context: &Context<'_>) -> Verdict;

    /// Records a claim that [`Self::judge`] has just granted.
    ///
    /// # Panics
    /// If it was not granted: the node must not go on.
    fn record(&mut self, claim: &Claim, entry: Entry, context: &Context<'_>, rows: &mut dyn Rows);

    /// Whether the rule takes notice of this claim although it is not granted, because asking says something about the
    /// asker. Such a claim has to reach the log, so no node answers it from its own state. Most rules never do.
    fn heeds(&self, claim: &Claim) -> bool {
        let _ = claim;
        false
    }

    /// Takes notice of a claim that was not granted and that [`Self::heeds`].
    fn heed(&mut self, claim: &Claim, rows: &mut dyn Rows) {
        let _ = (claim, rows);
    }

    /// What this mark knows of something that is said to have been signed.
    fn covers(&self, claim: &Claim, context: &Context<'_>) -> Coverage;

    /// Whether [`Self::raise`] would succeed.
    ///
    /// # Errors
    /// If the floor is higher already.
    fn may_raise(&self, floor: Floor, context: &Context<'_>) -> Result<(), AlreadyHigher>;

    /// Raises the floor and forgets what is below. Raising it to its present value changes nothing.
    ///
    /// # Errors
    /// If it is higher already. Nothing is changed then.
    fn raise(
        &mut self,
        floor: Floor,
        context: &Context<'_>,
        rows: &mut dyn Rows,
    ) -> Result<(), AlreadyHigher>;

    /// Every duty above the floor, in rising order; `None` for marks that keep them in a form that does not tell.
    fn signed(&self) -> Option<Vec<SignedDuty>>;

    /// Every row but the floor's, in the order of their keys.
    fn rows(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_>;

    /// Takes a stored row in; the floor is there already.
    ///
    /// # Errors
    /// What is wrong with it.
    fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String>;

    /// Whether the rows that were restored are a state that can have been written.
    fn is_whole(&self) -> bool {
        true
    }

    /// The counting that its slots belong to: see [`SlotClock`].
    fn counting(&self) -> u32 {
        0
    }

    /// Frees the duty of a claim: a fault injected for the simulator to find.
    #[cfg(signonce_sim)]
    fn unburn(&mut self, claim: &Claim, rows: &mut dyn Rows);
}

impl Clone for Box<dyn Mark> {
    fn clone(&self) -> Self {
        self.boxed()
    }
}

/// The value of a floor. A slot belongs to a counting of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The position.
    pub at: Position,
    /// The counting that its slot is of; 0 for classes without slots.
    pub counting: u32,
}

/// Why a floor cannot be raised: it is higher already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyHigher;

/// Something signed above the floor, as other rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Vote<'a> {
    /// Its position.
    pub position: Position,
    /// What tells it apart from others of its position.
    pub within: &'a [u8],
    /// What it says.
    pub facts: &'a [u8],
}

/// What a mark judges by, besides itself.
pub struct Context<'a> {
    /// The chain of the key.
    pub chain: &'a Chain,
    /// How the chain counts its slots.
    pub clock: SlotClock<'a>,
    /// What the other keys of the group have signed.
    pub siblings: &'a dyn Siblings,
}

/// The watermarks of the other armed keys in a key's group on its chain.
pub trait Siblings {
    /// Their watermarks in a class.
    fn marks(&self, class: DutyClass) -> Vec<&dyn Mark>;
}

/// No siblings: for keys without a group, and where no rule may look at others.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Siblings for Alone {
    fn marks(&self, _: DutyClass) -> Vec<&dyn Mark> {
        Vec::new()
    }
}

/// Where a mark writes its changes. A row is named by bytes that the mark chooses. The first of them is never zero:
/// that is the floor's row, which the ledger writes.
pub trait Rows {
    /// The floor was `old` and is now `new`.
    fn floor(&mut self, old: Option<Position>, new: Position);

    /// The row was `old` and is now `new`; `None` for no row.
    fn put(&mut self, row: &[u8], old: Option<&[u8]>, new: Option<&[u8]>);
}

/// A duty that a key has signed, as recorded above its floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDuty {
    /// The duty.
    pub duty: Duty,
    /// The digest of what was signed.
    pub digest: Digest,
    /// The log entry that granted it.
    pub at: LogIndex,
    /// When, in Unix milliseconds of the serving node.
    pub time_ms: u64,
}

impl SignedDuty {
    /// A duty and its entry.
    pub fn of(duty: Duty, entry: &Entry) -> Self {
        Self { duty, digest: entry.digest, at: entry.at, time_ms: entry.time_ms }
    }
}

/// What a state knows about something that is said to have been signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// The state can never sign anything else for that duty: it knows the very signature, or its floor is above.
    Covered,
    /// The state knows nothing of it and would sign something else.
    Missing,
    /// The state has signed something else for that duty.
    Contradicted,
    /// The key does no such duties, or was never armed.
    Foreign,
}
