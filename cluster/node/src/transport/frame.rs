//! Frames between nodes: a 4-byte big-endian length, then a versioned and checksummed body.
//!
//! One TLS stream per direction. The dialling side speaks first with [`Frame::Hello`], reads one
//! [`Frame::HelloReply`], and from then on only writes; answers travel on the peer's own stream. A stream opened for
//! a snapshot carries one message, with the state's records behind it, and is answered with [`Frame::Arrived`].

use parity_scale_codec::{Decode, Encode};
use signonce_core::codec::{self, CodecError};
use signonce_core::replica::MemberHazard;
use signonce_core::replica::disk::StateRecord;
use signonce_core::replica::fence::{Hello, HelloReply};
use signonce_core::{Change, ClaimRequest, Command, RequestId};
use signonce_protocol::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Version of frames. 2: hellos say what the disk held when a life began. 3: they say who the members are.
const FRAME_VERSION: u8 = 3;

/// The largest ordinary frame. Raft messages stay below 256 KiB of entries plus one more entry.
pub(crate) const FRAME_BYTES_MAX: usize = 4 << 20;
/// The largest frame on a snapshot stream.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Purpose {
    /// Raft messages and forwarded requests.
    #[codec(index = 0)]
    Messages,
    /// One snapshot.
    #[codec(index = 1)]
    Snapshot,
}

/// What one node says to another.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Frame {
    #[codec(index = 0)]
    Hello(Hello, Purpose),
    #[codec(index = 1)]
    HelloReply(HelloReply),
    /// A raft message in its own encoding.
    #[codec(index = 2)]
    Raft(Vec<u8>),
    /// Requests that the sender's clients made, for the leader. Never forwarded again.
    #[codec(index = 3)]
    Forward(Vec<Request>),
    /// Requests that the receiver of a `Forward` did not propose.
    #[codec(index = 4)]
    Declined(Vec<RequestId>, Decline),
    /// A snapshot was handed to the replica.
    #[codec(index = 5)]
    Arrived,
    /// A question that is answered at once, to measure how long that takes. Since feature level 2.
    #[codec(index = 6)]
    Ping(u64),
    /// The answer, with what its sender has measured of itself, in nanoseconds. Since feature level 2.
    #[codec(index = 7)]
    Pong { nonce: u64, sync: Option<u64>, cost: Option<u64> },
    /// Records of the snapshot in the message before. Since feature level 4.
    #[codec(index = 8)]
    Records(Vec<StateRecord>),
    /// Those were all the records.
    #[codec(index = 9)]
    RecordsEnd,
}

/// Why a forwarded request was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Decline {
    /// The receiver does not lead; perhaps it knows who does.
    #[codec(index = 0)]
    NotLeader(Option<NodeId>),
    /// The receiver leads but takes nothing at the moment.
    #[codec(index = 1)]
    Busy,
    /// The leader's clock says that the slot is not now.
    #[codec(index = 2)]
    SlotOutOfRange { slot: u64, now: u64 },
    /// The leader sees what speaks against a change of the membership.
    #[codec(index = 3)]
    Hazard(NodeId, MemberHazard),
}

/// One request for the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Request {
    #[codec(index = 0)]
    Claim(ClaimRequest),
    #[codec(index = 1)]
    Change { request: RequestId, actor: String, time_ms: u64, change: Change },
}

impl Request {
    pub(crate) fn id(&self) -> RequestId {
        match self {
            Self::Claim(claim) => claim.request,
            Self::Change { request, .. } => *request,
        }
    }
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

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("a frame of {0} bytes is over the limit")]
    TooLong(usize),
    #[error("{0}")]
    Unreadable(#[from] CodecError),
    #[error("unexpected frame")]
    Unexpected,
}

impl Frame {
    /// The frame with its length in front.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let body = codec::encode_record(FRAME_VERSION, self);
        let mut bytes = Vec::with_capacity(4 + body.len());
        let len = u32::try_from(body.len()).expect("frames are far smaller than 4 GiB");
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Writes the frame and flushes.
    pub(crate) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), FrameError> {
        stream.write_all(&self.to_bytes()).await?;
        Ok(stream.flush().await?)
    }

    /// Reads one frame of at most `limit` bytes.
    pub(crate) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        limit: usize,
    ) -> Result<Self, FrameError> {
        let len = stream.read_u32().await? as usize;
        if len > limit {
            return Err(FrameError::TooLong(len));
        }
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await?;
        Ok(codec::decode_record(FRAME_VERSION, "frame", &body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(seq: u64) -> Request {
        let request = RequestId { node: NodeId(1), boot: 1, seq };
        let change = Change::RemoveClient { name: "a".into() };
        Request::Change { request, actor: "test".into(), time_ms: 0, change }
    }

    fn claim(seq: u64) -> Request {
        use signonce_protocol::{Digest, Duty, KeyId, KeyType, PublicKey, Slot};
        let request = RequestId { node: NodeId(1), boot: 1, seq };
        let public = PublicKey::try_from(&[1; 32][..]).unwrap();
        Request::Claim(ClaimRequest {
            request,
            claim: signonce_core::Claim {
                key: KeyId { key_type: KeyType::Babe, public },
                client: signonce_core::ClientId(1),
                duty: Duty::BabeBlock { slot: Slot(seq) },
                digest: Digest([0; 32]),
                time_ms: 0,
            },
        })
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

    #[tokio::test]
    async fn a_frame_over_the_limit_is_not_read_into_memory() {
        let bytes = Frame::Raft(vec![0; 100]).to_bytes();
        assert!(matches!(Frame::read(&mut &bytes[..], 50).await, Err(FrameError::TooLong(_))));
        assert!(matches!(Frame::read(&mut &bytes[..], 500).await, Ok(Frame::Raft(_))));
        assert!(matches!(Frame::read(&mut &bytes[..50], 500).await, Err(FrameError::Io(_))));
    }
}
