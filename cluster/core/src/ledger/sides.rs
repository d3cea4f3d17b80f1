//! The sides of a para key in as few bytes as keep them apart.
//!
//! A thousand honest validators take some hundred million sides, so a side is six bytes, in memory and on disk: 46
//! bits that stand for the candidate under this key ([`Tagger`]), and two that say what was said of it. Two candidates
//! with one tag are held to what was said of either: that can refuse what would have been honest (once in 2^32 for a
//! candidate made to collide with *one* key's votes of a session, and each key has tags of its own), never grant what is
//! not. Who took a side, when, and with which bytes is in the audit. The bytes signed last are kept here as well, so
//! that a request that is sent again is answered without the log.
//!
//! On disk the marks of a session are split by their first byte: a record is rewritten with each side, and has some
//! fifty marks on Polkadot.

use super::{
    Entry,
    store::{JournalWriter, Row},
};
use crate::codec::CodecError;
use parity_scale_codec::Encode;
use signonce_protocol::{CandidateHash, Digest, KeyId, LogIndex, SessionIndex, StatementKind, blake2_256};
use std::collections::{BTreeMap, VecDeque};

/// Signatures of a key whose bytes are remembered: ten minutes of a validator's work on Polkadot.
pub(super) const RECENT_KEPT: usize = if cfg!(signonce_sim) { 8 } else { 512 };

const MARK_BYTES: usize = 6;
const SAID_BITS: u8 = 0b11;

/// Makes the tags of one key's candidates.
pub(super) struct Tagger(Vec<u8>);

impl Tagger {
    pub(super) fn of(key: KeyId) -> Self {
        Self(key.encode())
    }

    /// What stands for a candidate: the first 46 bits of a hash over key and candidate.
    pub(super) fn tag(&self, candidate: &CandidateHash) -> Tag {
        let hash = blake2_256(&[&self.0[..], &candidate.0].concat());
        let mut tag = *hash.first_chunk::<MARK_BYTES>().expect("a hash is longer");
        tag[MARK_BYTES - 1] &= !SAID_BITS;
        Tag(tag)
    }
}

/// Stands for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag([u8; MARK_BYTES]);

/// What was said of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is valid, in approvals or disputes, not as a backer.
    Valid,
    /// It is valid, by a backing statement among others.
    Backed(StatementKind),
    /// It is invalid.
    Invalid,
}

impl Said {
    const fn bits(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Backed(StatementKind::Seconded) => 1,
            Self::Backed(StatementKind::Valid) => 2,
            Self::Invalid => 3,
        }
    }

    const fn of_bits(bits: u8) -> Self {
        match bits & SAID_BITS {
            0 => Self::Valid,
            1 => Self::Backed(StatementKind::Seconded),
            2 => Self::Backed(StatementKind::Valid),
            _ => Self::Invalid,
        }
    }
}

/// A tag and what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark([u8; MARK_BYTES]);

impl Mark {
    fn new(tag: Tag, said: Said) -> Self {
        let mut bytes = tag.0;
        bytes[MARK_BYTES - 1] |= said.bits();
        Self(bytes)
    }

    fn tag(self) -> Tag {
        let mut tag = self.0;
        tag[MARK_BYTES - 1] &= !SAID_BITS;
        Tag(tag)
    }

    const fn said(self) -> Said {
        Said::of_bits(self.0[MARK_BYTES - 1])
    }
}

/// The sides of one key: the marks of each session, and what was signed last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides {
    /// Each in rising order, no tag twice, none empty.
    sessions: BTreeMap<SessionIndex, Vec<Mark>>,
    /// The signatures taken in last, each with its number. Numbers rise by one.
    recent: VecDeque<(u64, Entry)>,
}

impl Sides {
    /// What was said of a candidate.
    pub(super) fn get(&self, session: SessionIndex, tag: Tag) -> Option<Said> {
        let marks = self.sessions.get(&session)?;
        find(marks, tag).ok().map(|place| marks[place].said())
    }

    /// The entry that granted these bytes, while it is remembered.
    pub(super) fn granted(&self, digest: &Digest) -> Option<LogIndex> {
        self.recent.iter().rev().find(|(_, entry)| entry.digest == *digest).map(|(_, entry)| entry.at)
    }

    /// What was signed last.
    pub(super) fn last(&self) -> Option<&Entry> {
        self.recent.back().map(|(_, entry)| entry)
    }

    /// Candidates of a session.
    pub(super) fn crowd(&self, session: SessionIndex) -> usize {
        self.sessions.get(&session).map_or(0, Vec::len)
    }

    /// The sessions with sides, in rising order.
    pub(super) fn sessions(&self) -> impl DoubleEndedIterator<Item = SessionIndex> {
        self.sessions.keys().copied()
    }

    /// Candidates of all sessions.
    pub(super) fn len(&self) -> usize {
        self.sessions.values().map(Vec::len).sum()
    }

    /// Notes what is said of a candidate from now on.
    pub(super) fn put(
        &mut self,
        session: SessionIndex,
        tag: Tag,
        said: Said,
        writer: &mut JournalWriter<'_>,
    ) {
        let marks = self.sessions.entry(session).or_default();
        let bucket = tag.0[0];
        let old = bytes_of(bucket_of(marks, bucket));
        let mark = Mark::new(tag, said);
        match find(marks, tag) {
            Ok(place) => marks[place] = mark,
            Err(place) => {
                make_room(marks);
                marks.insert(place, mark);
            }
        }
        let new = bytes_of(bucket_of(marks, bucket));
        let old = Some(old).filter(|old| !old.is_empty());
        writer.packed(Row::Sides, &bucket_key(session, bucket), old.as_deref(), Some(&new));
    }

    /// Remembers a signature's bytes, in the place of the oldest.
    pub(super) fn remember(&mut self, entry: &Entry, writer: &mut JournalWriter<'_>) {
        let number = self.recent.back().map_or(0, |(last, _)| last + 1);
        let full = self.recent.len() == RECENT_KEPT;
        let old = if full { self.recent.pop_front() } else { None };
        let new = (number, entry.clone());
        writer.packed(
            Row::Recent,
            &recent_key(number),
            old.map(|old| old.encode()).as_deref(),
            Some(&new.encode()),
        );
        self.recent.push_back(new);
    }

    /// Forgets the sessions below the floor.
    pub(super) fn raise(&mut self, floor: SessionIndex, writer: &mut JournalWriter<'_>) {
        while let Some(lowest) = self.sessions.first_entry().filter(|session| *session.key() < floor) {
            let (session, marks) = lowest.remove_entry();
            for bucket in marks.chunk_by(|a, b| a.0[0] == b.0[0]) {
                writer.packed(
                    Row::Sides,
                    &bucket_key(session, bucket[0].0[0]),
                    Some(&bytes_of(bucket)),
                    None,
                );
            }
        }
    }

    /// The bodies of all records, with the key of each behind the key's own.
    pub(super) fn records(&self) -> impl Iterator<Item = (Row, Vec<u8>, Vec<u8>)> {
        let buckets = self.sessions.iter().flat_map(|(session, marks)| {
            let buckets = marks.chunk_by(|a, b| a.0[0] == b.0[0]);
            buckets.map(|bucket| (Row::Sides, bucket_key(*session, bucket[0].0[0]), bytes_of(bucket)))
        });
        let mut recent: Vec<_> = self.recent.iter().collect();
        recent.sort_unstable_by_key(|(number, _)| place(*number));
        let recent =
            recent.into_iter().map(|numbered| (Row::Recent, recent_key(numbered.0), numbered.encode()));
        buckets.chain(recent)
    }

    /// Takes stored marks in.
    ///
    /// # Errors
    /// If they are no marks, or not those of that place, or do not follow those that were taken in before.
    pub(super) fn restore_sides(&mut self, key: &[u8], body: &[u8]) -> Result<(), CodecError> {
        let wrong = |why: &str| CodecError::Malformed { what: "record of sides", reason: why.into() };
        let (session, bucket) = key.split_first_chunk::<4>().ok_or_else(|| wrong("its key is cut short"))?;
        let session = SessionIndex(u32::from_be_bytes(*session));
        let [bucket] = bucket else { return Err(wrong("its key has another length")) };
        let (stored, rest) = body.as_chunks::<MARK_BYTES>();
        if stored.is_empty() || !rest.is_empty() {
            return Err(wrong("it has no whole number of marks"));
        }
        let marks = self.sessions.entry(session).or_default();
        for mark in stored.iter().copied().map(Mark) {
            if mark.0[0] != *bucket {
                return Err(wrong("a mark of another record"));
            }
            if marks.last().is_some_and(|last| last.tag() >= mark.tag()) {
                return Err(wrong("its marks do not rise"));
            }
            make_room(marks);
            marks.push(mark);
        }
        Ok(())
    }

    /// Takes a stored signature in. Whether none is missing, [`Self::is_whole`] says once all are there.
    ///
    /// # Errors
    /// If its place is another's.
    pub(super) fn restore_recent(&mut self, key: &[u8], number: u64, entry: Entry) -> Result<(), CodecError> {
        if key != recent_key(number) || number == u64::MAX || self.recent.len() == RECENT_KEPT {
            let reason = format!("signature {number} is in another's place");
            return Err(CodecError::Malformed { what: "record of a signature", reason });
        }
        // Places come in rising order, numbers as well but for the one place where the ring is closed.
        let before = self.recent.partition_point(|(known, _)| *known < number);
        self.recent.insert(before, (number, entry));
        Ok(())
    }

    /// Whether the signatures taken in last are all there.
    pub(super) fn is_whole(&self) -> bool {
        let mut pairs = self.recent.iter().zip(self.recent.iter().skip(1));
        pairs.all(|((a, _), (b, _))| a + 1 == *b)
    }
}

fn find(marks: &[Mark], tag: Tag) -> Result<usize, usize> {
    marks.binary_search_by_key(&tag, |mark| mark.tag())
}

/// The marks with this first byte.
fn bucket_of(marks: &[Mark], bucket: u8) -> &[Mark] {
    let from = marks.partition_point(|mark| mark.0[0] < bucket);
    let to = marks.partition_point(|mark| mark.0[0] <= bucket);
    &marks[from..to]
}

fn bytes_of(marks: &[Mark]) -> Vec<u8> {
    marks.iter().flat_map(|mark| mark.0).collect()
}

/// Grows by an eighth and not to twice the size: nearly all memory of a large state is here.
fn make_room(marks: &mut Vec<Mark>) {
    if marks.len() == marks.capacity() {
        marks.reserve_exact(marks.len() / 8 + 16);
    }
}

/// Big endian, so that records come in the order of their marks.
fn bucket_key(session: SessionIndex, bucket: u8) -> Vec<u8> {
    [&session.0.to_be_bytes()[..], &[bucket]].concat()
}

/// Where in the ring a signature is.
fn place(number: u64) -> u16 {
    u16::try_from(number % RECENT_KEPT as u64).expect("the ring is small")
}

fn recent_key(number: u64) -> Vec<u8> {
    place(number).to_be_bytes().to_vec()
}
