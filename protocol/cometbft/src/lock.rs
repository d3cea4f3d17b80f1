//! The lock of a height: how two live nodes of one validator share a key without ever breaking a lock.
//!
//! A node that precommits a block is **locked**: until the height ends it prevotes nothing else, unless a later round
//! frees it (two thirds of the prevotes for something else). Two nodes with one key know nothing of each other's locks:
//! one precommits V, the other prevotes W a round later, and the high-water mark sees nothing wrong. Nobody is slashed
//! for that, yet the validator has helped to commit two blocks. So the ledger keeps the last non-nil precommit that was
//! granted at a height, and who has locked: connections, as a node that has forgotten its lock comes on a new one.
//!
//! * A granted non-nil precommit sets the lock, or moves it. Only the connection that asked is entitled then.
//! * While the lock stands, a connection that asks for a non-nil precommit of its round or later becomes **entitled**,
//!   granted or not: its node has seen the polka and locked before it asked, whatever the signer says.
//! * A prevote for the block is granted to anybody; for anything else, nil included, only to the entitled.
//!
//! An entitled node has locked the block or something later, so whatever frees it frees the validator.
//! `cluster/model/src/lock.rs` checks this in every state, and shows that no part of the rule can be left out.
//!
//! One thing is stricter here than in the model: a precommit of the lock's own round entitles only if it is for the
//! same block. Two blocks cannot both have two thirds in one round, so no honest node asks for the other.

use crate::{BlockId, Connection, Duty, Height, OwnRefusal, Round, Step};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{Claim, ClientId};

/// The most connections that are entitled at a time. A validator has two nodes, or a few. When there are more, a client's
/// own oldest connection gives way to its new one, so that nobody can push another client out; one that has none yet
/// takes the place of the oldest of all. Being dropped can only lead to a refusal.
pub const MAX_ENTITLED: usize = 16;

/// The connection that asks for a duty, with its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Asker {
    client: ClientId,
    connection: Connection,
}

impl Asker {
    pub(crate) fn of(claim: &Claim, duty: &Duty) -> Self {
        Self { client: claim.client, connection: duty.connection }
    }

    /// Outside of a connection nobody can tell whether the node has forgotten its lock.
    fn can_be_entitled(&self) -> bool {
        self.connection != Connection::NONE
    }
}

/// The block that a height is locked on.
///
/// Invariants: `entitled` holds no connection twice, never [`Connection::NONE`], and at most [`MAX_ENTITLED`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Lock {
    height: Height,
    round: Round,
    block: BlockId,
    /// In the order in which they asked.
    entitled: Vec<Asker>,
}

impl Lock {
    /// The lock that a granted duty sets in place of the earlier one; `None` if it sets none.
    pub(crate) fn by(duty: &Duty, asker: Asker) -> Option<Self> {
        let Duty { height, round, step: Step::Precommit, block: Some(block), .. } = *duty else {
            return None;
        };
        let entitled = Some(asker).filter(Asker::can_be_entitled).into_iter().collect();
        Some(Self { height, round, block, entitled })
    }

    pub(crate) fn height(&self) -> Height {
        self.height
    }

    pub(crate) fn round(&self) -> Round {
        self.round
    }

    /// Why a duty that the high-water mark would grant is not signed.
    pub(crate) fn forbids(&self, duty: &Duty, asker: Asker) -> Option<OwnRefusal> {
        let Duty { height, round, step: Step::Prevote, block: asked, .. } = *duty else { return None };
        let (locked, locked_round) = (self.block, self.round);
        let free = height != self.height || asked == Some(locked) || self.entitled.contains(&asker);
        (!free).then_some(OwnRefusal::Locked { height, round, asked, locked, locked_round })
    }

    /// Whether asking for this duty, granted or not, newly entitles the connection.
    pub(crate) fn would_entitle(&self, duty: &Duty, asker: Asker) -> bool {
        let Duty { height, round, step: Step::Precommit, block: Some(block), .. } = *duty else {
            return false;
        };
        let has_locked = round > self.round || (round == self.round && block == self.block);
        let new = asker.can_be_entitled() && !self.entitled.contains(&asker);
        height == self.height && has_locked && new
    }

    /// The lock with one more entitled connection.
    pub(crate) fn with(&self, asker: Asker) -> Self {
        let mut entitled = self.entitled.clone();
        if entitled.len() == MAX_ENTITLED {
            let own = entitled.iter().position(|other| other.client == asker.client);
            entitled.remove(own.unwrap_or(0));
        }
        entitled.push(asker);
        Self { entitled, ..self.clone() }
    }

    /// Whether the invariants hold, so that a signer can have written this lock.
    pub(crate) fn is_sound(&self) -> bool {
        let unique = |(at, asker): (usize, &Asker)| !self.entitled[..at].contains(asker);
        self.entitled.len() <= MAX_ENTITLED
            && self.entitled.iter().all(Asker::can_be_entitled)
            && self.entitled.iter().enumerate().all(unique)
    }
}
