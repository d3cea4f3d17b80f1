//! Requests for the log, what may become of them, and how they share its entries.

use crate::decision::Decision;
use crate::driver::Moment;
use parity_scale_codec::{Decode, Encode};
use signonce_core::MemberHazard;
use signonce_core::{Change, ChangeDone, ChangeError, ClaimRequest, Command, RequestId};
use signonce_protocol::NodeId;

/// Claims that share one log entry at most.
pub(crate) const CLAIMS_PER_ENTRY: usize = 256;

/// One request for the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// A claim.
    #[codec(index = 0)]
    Claim(ClaimRequest),
    /// A change.
    #[codec(index = 1)]
    Change {
        /// Its name.
        request: RequestId,
        /// On whose behalf.
        actor: String,
        /// When it was asked for.
        time_ms: u64,
        /// What.
        change: Change,
    },
}

impl Request {
    /// Its name.
    pub fn id(&self) -> RequestId {
        match self {
            Self::Claim(claim) => claim.request,
            Self::Change { request, .. } => *request,
        }
    }
}

/// Why a request was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Decline {
    /// The receiver does not lead; perhaps it knows who does.
    #[codec(index = 0)]
    NotLeader(Option<NodeId>),
    /// The receiver leads but takes nothing at the moment.
    #[codec(index = 1)]
    Busy,
    /// The leader's clock says that the slot is not now.
    #[codec(index = 2)]
    SlotOutOfRange {
        /// The slot asked for.
        slot: u64,
        /// The slot by the leader's clock.
        now: u64,
    },
    /// The leader sees what speaks against a change of the membership.
    #[codec(index = 3)]
    Hazard(NodeId, MemberHazard),
}

impl Decline {
    /// Whether another leader, or this one later, may take the same request.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::NotLeader(_) | Self::Busy => true,
            Self::SlotOutOfRange { .. } | Self::Hazard(..) => false,
        }
    }
}

/// A request of this node's own, handed to the driver.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is asked. Its name is never used twice.
    pub request: Request,
    /// When.
    pub submitted: Moment,
    /// Until when its owner waits.
    pub deadline: Moment,
}

/// What the owner of a submission is told, once.
#[derive(Debug)]
pub enum Answer {
    /// The log decided a claim.
    Claim(Decision),
    /// The log decided a change, or the leader sees what speaks against it.
    Change(Result<ChangeDone, ChangeError>),
    /// The deadline passed after the request may have been proposed.
    Unknown,
    /// The deadline passed, or there are too many, and no leader ever took the request.
    NeverTaken,
    /// The leader's clock says that the slot is not now.
    SlotOutOfRange {
        /// The slot asked for.
        slot: u64,
        /// The slot by the leader's clock.
        now: u64,
    },
}

/// Puts requests into as few log entries as the limits allow, in their order.
pub(crate) fn into_commands(
    requests: Vec<Request>,
    claims_per_entry: usize,
) -> Vec<(Vec<RequestId>, Command)> {
    let mut commands: Vec<(Vec<RequestId>, Command)> = Vec::new();
    for request in requests {
        let id = request.id();
        match request {
            Request::Claim(claim) => {
                if let Some((ids, Command::Claims(claims))) = commands.last_mut()
                    && claims.len() < claims_per_entry
                {
                    claims.push(claim);
                    ids.push(id);
                } else {
                    commands.push((vec![id], Command::Claims(vec![claim])));
                }
            }
            Request::Change { request, actor, time_ms, change } => {
                commands.push((vec![id], Command::Change { request, actor, time_ms, change }));
            }
        }
    }
    commands
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use signonce_core::{Claim, ClientId};
    use signonce_protocol::{Carry, Digest, KeyId, PublicKey, Slot};
    use signonce_substrate::{BABE, Duty};

    fn id(seq: u64) -> RequestId {
        RequestId { node: NodeId(1), boot: 1, seq }
    }

    pub(crate) fn change(seq: u64) -> Request {
        let change = Change::RemoveClient { name: "a".into() };
        Request::Change { request: id(seq), actor: "test".into(), time_ms: 0, change }
    }

    pub(crate) fn claim(seq: u64) -> Request {
        signonce_substrate::install();
        let public = PublicKey::try_from(&[1; 32][..]).unwrap();
        let claim = Claim {
            key: KeyId { key_type: BABE, public },
            client: ClientId(1),
            duty: Duty::BabeBlock { slot: Slot(seq) }.to_any(),
            digest: Digest([seq as u8; 32]),
            carry: Carry::default(),
            time_ms: 0,
        };
        Request::Claim(ClaimRequest { request: id(seq), claim })
    }

    #[test]
    fn claims_share_entries_up_to_the_limit_and_keep_their_order_around_changes() {
        let requests = vec![claim(1), claim(2), claim(3), change(4), claim(5)];
        let shape: Vec<Vec<u64>> = into_commands(requests, 2)
            .into_iter()
            .map(|(ids, _)| ids.into_iter().map(|id| id.seq).collect())
            .collect();
        assert_eq!(shape, [vec![1, 2], vec![3], vec![4], vec![5]]);
    }
}
