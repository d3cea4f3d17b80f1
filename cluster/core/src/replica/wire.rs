//! Our own byte form of raft's messages and log entries.
//!
//! raft-rs carries protobuf types inside; nothing of them is ever parsed from a peer or from the disk. Bodies here
//! are SCALE with fixed field order, wrapped by [`codec`] in a version byte and a checksum. A reader
//! that meets another version, a bad checksum or a left-over byte gets an error, never a guess.

use super::disk::RecordSource;
use super::hello::Life;
use crate::codec::{self, CodecError};
use crate::model::Configuration;
use parity_scale_codec::{Decode, Encode};
use raft::eraftpb;
use signonce_protocol::NodeId;
use std::sync::Arc;

/// Version of [`PeerMessage`] bodies. 2: the lives that the sender has met.
const MESSAGE_VERSION: u8 = 2;

/// Version of log entry bodies.
const ENTRY_VERSION: u8 = 1;

/// No honest counting of terms and log entries gets here: a million a second take a hundred thousand years. raft-rs adds
/// to what it reads, so nothing beyond it is read, neither from a peer nor from the disk.
pub(super) const FARTHEST: u64 = 1 << 62;

/// What a node has promised with a finished fsync: the newest term it knows, the vote it gave in it and the last log
/// index it has acknowledged (as follower) or counted for itself (as leader) in it. Compared in that order, it only
/// rises; a disk that holds less than a promise has lost memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Promise {
    /// The newest term.
    pub term: u64,
    /// Whom the node voted for in `term`; 0 for nobody yet.
    pub vote: u64,
    /// Last log index acknowledged in `term`; 0 for none yet.
    pub index: u64,
}

impl Promise {
    /// Whether a node that made this promise could honestly now hold `disk`.
    ///
    /// A disk with a newer term was written after the promise, so whatever it lacks was overwritten by raft itself.
    pub fn kept_by(&self, disk: &DiskPosition) -> bool {
        match disk.term.cmp(&self.term) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => {
                (self.vote == 0 || self.vote == disk.vote) && disk.last_index >= self.index
            }
        }
    }

    /// Takes over what `newer` adds. Promises of one node only rise.
    pub fn raise(&mut self, newer: &Promise) {
        match newer.term.cmp(&self.term) {
            std::cmp::Ordering::Greater => *self = *newer,
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                if self.vote == 0 {
                    self.vote = newer.vote;
                }
                self.index = self.index.max(newer.index);
            }
        }
    }
}

/// What a node's disk holds when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct DiskPosition {
    /// Term of the hard state.
    pub term: u64,
    /// Vote of the hard state.
    pub vote: u64,
    /// Last index of the log.
    pub last_index: u64,
}

/// What came beside a message, if anything did. Two are equal if they are the same.
#[derive(Clone, Debug, Default)]
pub struct Beside(pub Option<Arc<dyn RecordSource>>);

impl PartialEq for Beside {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

/// One raft message with the sender's promise at the moment of sending.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage {
    /// What the sender has promised so far; peers remember it for the sender.
    pub promise: Promise,
    /// The newest life of every member that the sender has met, the receiver's among them: see [`super::fence`].
    pub lives: Vec<(NodeId, Life)>,
    /// The raft message.
    pub message: eraftpb::Message,
    /// The records of a snapshot that has them beside it: the driver sends them after the bytes of the message, and
    /// puts them here where it arrives.
    pub records: Beside,
}

impl PeerMessage {
    /// The receiver.
    pub fn to(&self) -> NodeId {
        NodeId(self.message.to)
    }

    /// Whether the message carries a snapshot and should travel on a stream of its own.
    pub fn is_snapshot(&self) -> bool {
        self.message.get_msg_type() == eraftpb::MessageType::MsgSnapshot
    }

    /// The index of a snapshot whose records travel beside the message.
    pub fn records_at(&self) -> Option<u64> {
        let snapshot = self.message.get_snapshot();
        let beside = self.is_snapshot() && super::apply::has_records_beside(snapshot);
        beside.then(|| snapshot.get_metadata().index)
    }

    /// Whether the message is a leader's heartbeat.
    pub fn is_heartbeat(&self) -> bool {
        self.message.get_msg_type() == eraftpb::MessageType::MsgHeartbeat
    }

    /// Whether the message answers a heartbeat.
    pub fn is_heartbeat_answer(&self) -> bool {
        self.message.get_msg_type() == eraftpb::MessageType::MsgHeartbeatResponse
    }

    /// The bytes of this message.
    pub fn encode(&self) -> Vec<u8> {
        let Self { promise, lives, message, records: _ } = self;
        let body =
            MessageBody { promise: *promise, lives: lives.clone(), message: WireMessage::from(message) };
        codec::encode_record(MESSAGE_VERSION, &body)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Another version, a bad checksum, an unknown type number, left-over bytes, a term or an index that no cluster
    /// reaches, a snapshot whose members no cluster can have.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let body: MessageBody = codec::decode_record(MESSAGE_VERSION, "peer message", bytes)?;
        check_reach([body.promise.term, body.promise.index])?;
        let (promise, lives, message) = (body.promise, body.lives, body.message.into_raft()?);
        Ok(Self { promise, lives, message, records: Beside::default() })
    }
}

/// The bytes of a log entry, as stored and as hashed into the log's chain.
pub fn encode_entry(entry: &eraftpb::Entry) -> Vec<u8> {
    codec::encode_record(ENTRY_VERSION, &WireEntry::from(entry))
}

/// Reads what [`encode_entry`] wrote.
///
/// # Errors
/// As [`PeerMessage::decode`].
pub fn decode_entry(bytes: &[u8]) -> Result<eraftpb::Entry, CodecError> {
    codec::decode_record::<WireEntry>(ENTRY_VERSION, "log entry", bytes)?.into_raft()
}

#[derive(Encode, Decode)]
struct MessageBody {
    promise: Promise,
    lives: Vec<(NodeId, Life)>,
    message: WireMessage,
}

#[derive(Encode, Decode)]
struct WireEntry {
    kind: u8,
    term: u64,
    index: u64,
    data: Vec<u8>,
    context: Vec<u8>,
}

#[derive(Encode, Decode)]
struct WireSnapshot {
    data: Vec<u8>,
    configuration: Configuration,
    index: u64,
    term: u64,
}

#[derive(Encode, Decode)]
struct WireMessage {
    kind: u8,
    to: u64,
    from: u64,
    term: u64,
    log_term: u64,
    index: u64,
    entries: Vec<WireEntry>,
    commit: u64,
    commit_term: u64,
    snapshot: Option<WireSnapshot>,
    request_snapshot: u64,
    reject: bool,
    reject_hint: u64,
    context: Vec<u8>,
    priority: i64,
}

impl From<&eraftpb::Entry> for WireEntry {
    fn from(entry: &eraftpb::Entry) -> Self {
        Self {
            kind: entry.get_entry_type() as u8,
            term: entry.term,
            index: entry.index,
            data: entry.data.to_vec(),
            context: entry.context.to_vec(),
        }
    }
}

impl WireEntry {
    fn into_raft(self) -> Result<eraftpb::Entry, CodecError> {
        check_reach([self.term, self.index])?;
        let mut entry = eraftpb::Entry::default();
        entry.set_entry_type(match self.kind {
            0 => eraftpb::EntryType::EntryNormal,
            1 => eraftpb::EntryType::EntryConfChange,
            2 => eraftpb::EntryType::EntryConfChangeV2,
            other => return Err(malformed(format!("entry type {other}"))),
        });
        entry.term = self.term;
        entry.index = self.index;
        entry.data = self.data.into();
        entry.context = self.context.into();
        Ok(entry)
    }
}

impl From<&eraftpb::ConfState> for Configuration {
    fn from(state: &eraftpb::ConfState) -> Self {
        Self {
            voters: state.voters.clone(),
            learners: state.learners.clone(),
            voters_outgoing: state.voters_outgoing.clone(),
            learners_next: state.learners_next.clone(),
            auto_leave: state.auto_leave,
        }
    }
}

impl From<Configuration> for eraftpb::ConfState {
    fn from(own: Configuration) -> Self {
        let Configuration { voters, learners, voters_outgoing, learners_next, auto_leave } = own;
        Self { voters, learners, voters_outgoing, learners_next, auto_leave, ..Default::default() }
    }
}

impl From<&eraftpb::Snapshot> for WireSnapshot {
    fn from(snapshot: &eraftpb::Snapshot) -> Self {
        let meta = snapshot.get_metadata();
        Self {
            data: snapshot.data.to_vec(),
            configuration: meta.get_conf_state().into(),
            index: meta.index,
            term: meta.term,
        }
    }
}

impl WireSnapshot {
    fn into_raft(self) -> Result<eraftpb::Snapshot, CodecError> {
        let Self { data, configuration, index, term } = self;
        check_reach([index, term])?;
        if index == 0 {
            // Raft takes it for none, whatever it holds.
            return Err(malformed("a snapshot of no entries".into()));
        }
        if !configuration.is_sound() {
            return Err(malformed(format!("a snapshot of {configuration:?}, which no cluster has")));
        }
        let mut snapshot = eraftpb::Snapshot { data: data.into(), ..Default::default() };
        let meta = snapshot.mut_metadata();
        meta.index = index;
        meta.term = term;
        meta.set_conf_state(configuration.into());
        Ok(snapshot)
    }
}

impl From<&eraftpb::Message> for WireMessage {
    fn from(m: &eraftpb::Message) -> Self {
        Self {
            kind: m.get_msg_type() as u8,
            to: m.to,
            from: m.from,
            term: m.term,
            log_term: m.log_term,
            index: m.index,
            entries: m.entries.iter().map(WireEntry::from).collect(),
            commit: m.commit,
            commit_term: m.commit_term,
            snapshot: (!m.get_snapshot().is_empty()).then(|| m.get_snapshot().into()),
            request_snapshot: m.request_snapshot,
            reject: m.reject,
            reject_hint: m.reject_hint,
            context: m.context.to_vec(),
            priority: m.priority,
        }
    }
}

impl WireMessage {
    fn into_raft(self) -> Result<eraftpb::Message, CodecError> {
        check_reach([self.term, self.log_term, self.index, self.commit, self.commit_term])?;
        check_reach([self.request_snapshot, self.reject_hint])?;
        let mut m = eraftpb::Message::default();
        m.set_msg_type(message_type(self.kind)?);
        m.to = self.to;
        m.from = self.from;
        m.term = self.term;
        m.log_term = self.log_term;
        m.index = self.index;
        m.entries = self.entries.into_iter().map(WireEntry::into_raft).collect::<Result<Vec<_>, _>>()?.into();
        m.commit = self.commit;
        m.commit_term = self.commit_term;
        if let Some(snapshot) = self.snapshot {
            m.set_snapshot(snapshot.into_raft()?);
        }
        m.request_snapshot = self.request_snapshot;
        m.reject = self.reject;
        m.reject_hint = self.reject_hint;
        m.context = self.context.into();
        m.priority = self.priority;
        Ok(m)
    }
}

/// A term or an index at [`FARTHEST`] or beyond it.
pub(super) fn beyond_reach<const N: usize>(counts: [u64; N]) -> Option<u64> {
    counts.into_iter().find(|count| *count >= FARTHEST)
}

fn check_reach<const N: usize>(counts: [u64; N]) -> Result<(), CodecError> {
    match beyond_reach(counts) {
        Some(count) => Err(malformed(format!("no cluster counts terms or entries up to {count}"))),
        None => Ok(()),
    }
}

fn malformed(reason: String) -> CodecError {
    CodecError::Malformed { what: "peer message", reason }
}

/// The message types that may travel between nodes; local ones and forwarded proposals may not.
pub(super) const TRAVELS: [eraftpb::MessageType; 11] = {
    use eraftpb::MessageType as T;
    [
        T::MsgAppend,
        T::MsgAppendResponse,
        T::MsgRequestVote,
        T::MsgRequestVoteResponse,
        T::MsgSnapshot,
        T::MsgHeartbeat,
        T::MsgHeartbeatResponse,
        T::MsgTransferLeader,
        T::MsgTimeoutNow,
        T::MsgRequestPreVote,
        T::MsgRequestPreVoteResponse,
    ]
};

fn message_type(kind: u8) -> Result<eraftpb::MessageType, CodecError> {
    let travels = TRAVELS.into_iter().find(|travels| *travels as u8 == kind);
    travels.ok_or_else(|| malformed(format!("message type {kind} does not travel")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eraftpb::MessageType;

    fn sample() -> PeerMessage {
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.to, message.from, message.term, message.index, message.commit) = (2, 1, 7, 41, 40);
        let mut entry = eraftpb::Entry::default();
        (entry.term, entry.index, entry.data) = (7, 42, vec![1, 2, 3].into());
        message.entries = vec![entry].into();
        let lives = vec![(NodeId(2), Life { incarnation: 3, boot: 9 })];
        PeerMessage {
            promise: Promise { term: 7, vote: 1, index: 41 },
            lives,
            message,
            records: Beside::default(),
        }
    }

    #[test]
    fn a_message_survives_the_wire() {
        let sent = sample();
        assert_eq!(PeerMessage::decode(&sent.encode()).unwrap(), sent);
    }

    #[test]
    fn any_damaged_byte_of_a_message_is_noticed() {
        let bytes = sample().encode();
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            assert!(PeerMessage::decode(&damaged).is_err(), "byte {i}");
        }
        assert!(PeerMessage::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn a_forwarded_proposal_never_travels() {
        let mut sent = sample();
        sent.message.set_msg_type(MessageType::MsgPropose);
        assert!(PeerMessage::decode(&sent.encode()).is_err());
    }

    /// Found by libFuzzer, on the disk's side: raft adds one to a term.
    #[test]
    fn terms_and_indices_that_no_cluster_reaches_are_no_message() {
        let far = |change: fn(&mut PeerMessage)| {
            let mut sent = sample();
            change(&mut sent);
            PeerMessage::decode(&sent.encode())
        };
        assert!(far(|sent| sent.message.term = FARTHEST - 1).is_ok());
        for change in [
            (|sent| sent.message.term = u64::MAX) as fn(&mut PeerMessage),
            |sent| sent.message.term = FARTHEST,
            |sent| sent.message.log_term = u64::MAX,
            |sent| sent.message.index = u64::MAX,
            |sent| sent.message.commit = u64::MAX,
            |sent| sent.message.reject_hint = u64::MAX,
            |sent| sent.message.request_snapshot = u64::MAX,
            |sent| sent.message.entries[0].term = u64::MAX,
            |sent| sent.message.entries[0].index = u64::MAX,
            |sent| sent.message.mut_snapshot().mut_metadata().index = u64::MAX,
            |sent| sent.promise.term = u64::MAX,
        ] {
            assert!(matches!(far(change), Err(CodecError::Malformed { .. })));
        }
    }

    #[test]
    fn a_snapshot_of_members_that_raft_would_panic_on_is_no_message() {
        let of = |voters: Vec<u64>, auto_leave| {
            let mut sent = sample();
            let meta = sent.message.mut_snapshot().mut_metadata();
            meta.index = 9;
            meta.mut_conf_state().voters = voters;
            meta.mut_conf_state().auto_leave = auto_leave;
            PeerMessage::decode(&sent.encode())
        };
        assert!(of(vec![1, 2, 3], false).is_ok());
        for (voters, auto_leave) in [(vec![1, 2, 3], true), (vec![1, 1], false), (vec![0], false)] {
            assert!(matches!(of(voters, auto_leave), Err(CodecError::Malformed { .. })));
        }
    }

    /// Found by libFuzzer: it was read, and was gone when it was written again.
    #[test]
    fn a_snapshot_of_no_entries_is_no_message() {
        let up_to = |index| {
            let mut message = WireMessage::from(&sample().message);
            let (data, configuration) = (vec![1], Configuration::default());
            message.snapshot = Some(WireSnapshot { data, configuration, index, term: 3 });
            message.into_raft()
        };
        assert!(up_to(1).is_ok());
        assert!(matches!(up_to(0), Err(CodecError::Malformed { .. })));
    }

    #[test]
    fn a_promise_is_kept_by_an_equal_or_later_disk_only() {
        let promise = Promise { term: 5, vote: 2, index: 10 };
        let disk = |term, vote, last_index| DiskPosition { term, vote, last_index };
        for (held, kept) in [
            (disk(5, 2, 10), true),
            (disk(5, 2, 11), true),
            (disk(6, 0, 3), true),   // overwritten by a later leader
            (disk(5, 2, 9), false),  // lost an acknowledged entry
            (disk(5, 1, 10), false), // voted twice
            (disk(5, 0, 10), false), // forgot its vote
            (disk(4, 2, 99), false), // forgot a term
        ] {
            assert_eq!(promise.kept_by(&held), kept, "{held:?}");
        }
    }

    #[test]
    fn a_remembered_promise_only_rises() {
        let mut remembered = Promise { term: 5, vote: 0, index: 10 };
        remembered.raise(&Promise { term: 4, vote: 3, index: 99 });
        assert_eq!(remembered, Promise { term: 5, vote: 0, index: 10 });
        remembered.raise(&Promise { term: 5, vote: 2, index: 8 });
        assert_eq!(remembered, Promise { term: 5, vote: 2, index: 10 });
        remembered.raise(&Promise { term: 6, vote: 0, index: 0 });
        assert_eq!(remembered, Promise { term: 6, vote: 0, index: 0 });
    }
}
