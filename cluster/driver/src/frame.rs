//! Frames between nodes: a 4-byte big-endian length, then a versioned and checksummed body.
//!
//! One TLS stream per direction. The dialling side speaks first with [`Frame::Hello`], reads one
//! [`Frame::HelloReply`], and from then on only writes; answers travel on the peer's own stream. A stream opened for
//! a snapshot carries one message, with the state's records behind it, and is answered with [`Frame::Arrived`].

use crate::driver::Event;
use crate::request::{Decline, Request};
use parity_scale_codec::{Decode, Encode};
use signonce_core::RequestId;
use signonce_core::codec::{self, CodecError};
use signonce_core::replica::disk::StateRecord;
use signonce_core::replica::hello::{Hello, HelloReply, Life};
use signonce_core::replica::wire::PeerMessage;
use signonce_protocol::NodeId;
use std::time::Duration;

/// Version of frames. 1 to 3 were those of version 0.1, with which a signer of 0.2 exchanges nothing: the same bytes mean
/// something else there.
pub const FRAME_VERSION: u8 = 4;

/// The largest ordinary frame. Raft messages stay below 256 KiB of entries plus one more entry.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// The largest frame on a snapshot stream.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Purpose {
    /// Raft messages and forwarded requests.
    #[codec(index = 0)]
    Messages,
    /// One snapshot.
    #[codec(index = 1)]
    Snapshot,
}

/// What one node says to another.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Frame {
    /// The first frame of whoever dials.
    #[codec(index = 0)]
    Hello(Hello, Purpose),
    /// The answer to it.
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
    /// A question that is answered at once, to measure how long that takes.
    #[codec(index = 6)]
    Ping(u64),
    /// The answer, with what its sender has measured of itself, in nanoseconds.
    #[codec(index = 7)]
    Pong {
        /// That of the question.
        nonce: u64,
        /// See [`Measured`](crate::measure::Measured).
        sync: Option<u64>,
        /// See [`Measured`](crate::measure::Measured).
        cost: Option<u64>,
    },
    /// Records of the snapshot in the message before.
    #[codec(index = 8)]
    Records(Vec<StateRecord>),
    /// Those were all the records.
    #[codec(index = 9)]
    RecordsEnd,
}

/// Why bytes, or what they say, cannot be taken from a stream.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the reader takes.
    #[error("a frame of {0} bytes is over the limit")]
    TooLong(usize),
    /// Shorter than its length says.
    #[error("a frame is cut short")]
    CutShort,
    /// Not a frame of this version.
    #[error("{0}")]
    Unreadable(#[from] CodecError),
    /// A frame that does not belong there.
    #[error("unexpected frame")]
    Unexpected,
}

/// Bytes in front of a frame that tell its length.
pub const LENGTH_BYTES: usize = 4;

/// The length of the body that follows.
///
/// # Errors
/// [`FrameError::TooLong`], before any of it is read.
pub fn body_len(length: [u8; LENGTH_BYTES], limit: usize) -> Result<usize, FrameError> {
    let len = u32::from_be_bytes(length) as usize;
    if len > limit { Err(FrameError::TooLong(len)) } else { Ok(len) }
}

impl Frame {
    /// The frame with its length in front.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = codec::encode_record(FRAME_VERSION, self);
        let mut bytes = Vec::with_capacity(LENGTH_BYTES + body.len());
        let len = u32::try_from(body.len()).expect("frames are far smaller than 4 GiB");
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads what follows the length.
    ///
    /// # Errors
    /// [`FrameError::Unreadable`].
    pub fn from_body(body: &[u8]) -> Result<Self, FrameError> {
        Ok(codec::decode_record(FRAME_VERSION, "frame", body)?)
    }

    /// The first frame of `bytes`, of at most `limit` bytes, and what comes after it.
    ///
    /// # Errors
    /// Every [`FrameError`] but `Unexpected`.
    pub fn first_of(bytes: &[u8], limit: usize) -> Result<(Self, &[u8]), FrameError> {
        let (length, rest) = bytes.split_first_chunk().ok_or(FrameError::CutShort)?;
        let (body, rest) = rest.split_at_checked(body_len(*length, limit)?).ok_or(FrameError::CutShort)?;
        Ok((Self::from_body(body)?, rest))
    }

    /// What the frame tells the driver when it comes from this life of a peer, on a stream of messages.
    ///
    /// # Errors
    /// A raft message that cannot be read, or a frame that belongs on no such stream.
    pub fn into_event(self, from: NodeId, life: Life) -> Result<Event, FrameError> {
        match self {
            Self::Raft(bytes) => {
                Ok(Event::Raft { from, life, message: Box::new(PeerMessage::decode(&bytes)?) })
            }
            Self::Forward(requests) => Ok(Event::Forwarded { from, requests }),
            Self::Declined(requests, why) => Ok(Event::Declined { requests, why }),
            Self::Ping(nonce) => Ok(Event::Ping { from, nonce }),
            Self::Pong { nonce, sync, cost } => Ok(Event::Pong {
                from,
                nonce,
                sync: sync.map(Duration::from_nanos),
                cost: cost.map(Duration::from_nanos),
            }),
            Self::Hello(..) | Self::HelloReply(_) | Self::Arrived | Self::Records(_) | Self::RecordsEnd => {
                Err(FrameError::Unexpected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_length_alone() {
        assert_eq!(body_len([0, 0, 0, 50], 50), Ok(50));
        assert_eq!(body_len([0, 0, 0, 51], 50), Err(FrameError::TooLong(51)));
    }

    #[test]
    fn frames_are_read_one_by_one_and_whole_or_not_at_all() {
        let bytes = [Frame::Raft(vec![7; 100]).to_bytes(), Frame::Ping(3).to_bytes()].concat();
        let (first, rest) = Frame::first_of(&bytes, 500).unwrap();
        assert!(matches!(first, Frame::Raft(body) if body == [7; 100]));
        assert!(matches!(Frame::first_of(rest, 500), Ok((Frame::Ping(3), []))));
        assert!(matches!(Frame::first_of(&bytes, 50), Err(FrameError::TooLong(_))));
        for cut in 0..rest.len() {
            assert!(matches!(Frame::first_of(&rest[..cut], 500), Err(FrameError::CutShort)), "{cut}");
        }
        let mut flipped = rest.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(Frame::first_of(&flipped, 500), Err(FrameError::Unreadable(_))));
    }

    #[test]
    fn what_belongs_on_another_stream_is_no_event() {
        let event = |frame: Frame| frame.into_event(NodeId(2), Life::default());
        for frame in [
            Frame::Arrived,
            Frame::RecordsEnd,
            Frame::Records(Vec::new()),
            Frame::HelloReply(HelloReply::NoWitness),
        ] {
            assert!(matches!(event(frame), Err(FrameError::Unexpected)));
        }
        assert!(matches!(event(Frame::Raft(vec![1; 20])), Err(FrameError::Unreadable(_))));
        assert!(matches!(event(Frame::Ping(1)), Ok(Event::Ping { from: NodeId(2), nonce: 1 })));
    }
}
