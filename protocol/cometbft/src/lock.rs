//! The lock of a height: how two live nodes of one validator share a key, and no lock is ever broken.
//!
//! A node that precommits a block is **locked**: until the height ends it prevotes nothing else, unless a later round frees
//! it (two thirds of the prevotes for something else). Two nodes with one key know nothing of each other's locks: one
//! precommits V, the other prevotes W a round later, and the high-water mark sees nothing wrong. Nobody is slashed
//! for that, yet the validator has helped to commit two blocks. So the ledger keeps the last non-nil precommit that was
//! granted at a height, and who has locked: connections, as a node that forgets comes back on a new one.
//!
//! * A granted non-nil precommit sets the lock, or moves it. Entitled is the connection that asked, and no other any more.
//! * While it stands, whoever asks for a non-nil precommit of that round or later becomes **entitled**, granted or not:
//!   its node has seen the polka and locked before it asked, whatever the signer says.
//! * A prevote for anything but the block, nil included, is granted to the entitled alone; for the block to anybody.
//!
//! An entitled node has locked the block or something later, so that what frees it frees the validator.
//! `cluster/model/src/lock.rs` checks this in every state, and that no part of it can be left out.
//!
//! One thing is stricter here than in the model: a precommit of the lock's own round entitles only if it is for the same
//! block. Two blocks cannot both have two thirds in one round, so no honest node asks the other.

use crate::{BlockId, Connection, Duty, Height, OwnRefusal, Round, Step};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{Claim, ClientId};

/// Connections that are entitled at a time. A validator has two nodes, or a few; the one that asked first makes way, which
/// can only refuse.
pub const MAX_ENTITLED: usize = 16;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Asker {
    client: ClientId,
    connection: Connection,
}

impl Asker {
    pub(crate) fn of(claim: &Claim, duty: &Duty) -> Self {
        Self { client: claim.client, connection: duty.connection }
    }

    /// Asked outside of a connection, nobody knows what forgets and what does not.
    fn can_be_entitled(&self) -> bool {
        self.connection != Connection::NONE
    }
}

/// The block that a height is locked on.
///
/// Invariants: `entitled` holds nobody twice, nobody without a connection, and at most [`MAX_ENTITLED`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Lock {
    height: Height,
    round: Round,
    block: BlockId,
    /// In the order in which they asked.
    entitled: Vec<Asker>,
}

impl Lock {
    /// The lock that a granted duty leaves, in place of what there was; `None` if it sets none.
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

    /// Whether to ask for this, granted or not, entitles somebody who was not.
    pub(crate) fn would_entitle(&self, duty: &Duty, asker: Asker) -> bool {
        let Duty { height, round, step: Step::Precommit, block: Some(block), .. } = *duty else {
            return false;
        };
        let has_locked = round > self.round || (round == self.round && block == self.block);
        let new = asker.can_be_entitled() && !self.entitled.contains(&asker);
        height == self.height && has_locked && new
    }

    /// The lock with one more who is entitled.
    pub(crate) fn with(&self, asker: Asker) -> Self {
        let mut entitled = self.entitled.clone();
        if entitled.len() == MAX_ENTITLED {
            entitled.remove(0);
        }
        entitled.push(asker);
        Self { entitled, ..self.clone() }
    }

    /// Whether it can have been written.
    pub(crate) fn is_sound(&self) -> bool {
        let unique = |(at, asker): (usize, &Asker)| !self.entitled[..at].contains(asker);
        self.entitled.len() <= MAX_ENTITLED
            && self.entitled.iter().all(Asker::can_be_entitled)
            && self.entitled.iter().enumerate().all(unique)
    }
}
