//! The sides of a para key, in as few bytes as needed to keep them apart.
//!
//! A thousand honest validators take some hundred million sides, so a side is six bytes, in memory and on disk: 46 bits
//! that stand for the candidate under this key ([`Tagger`]), and two that say what was said of it. Two candidates with
//! one tag are held to what was said of either: that can refuse what would have been honest (once in 2^32 for a
//! candidate made to collide with *one* key's votes of a session, and each key has tags of its own), never grant what
//! is not. Who took a side, when, and with which bytes is in the audit. The bytes signed last are kept here as well, so
//! that a request that is sent again is answered without the log.
//!
//! On disk the marks of a session are split by their first byte: a record is rewritten with each side, and has some
//! fifty marks on Polkadot.

use crate::{CandidateHash, SessionIndex, Side, StatementKind};
use parity_scale_codec::{DecodeAll as _, Encode};
use signonce_protocol::{Digest, Entry, KeyId, LogIndex, blake2_256, mark::Rows};
use std::collections::{BTreeMap, VecDeque};

/// The first byte of a row of marks; session and bucket follow, big-endian.
const SIDES_ROW: u8 = 3;
/// The first byte of a row of a remembered signature; its place in the ring follows.
const RECENT_ROW: u8 = 4;

/// How many signatures of a key are remembered with their bytes: ten minutes of a validator's work on Polkadot.
pub(crate) const RECENT_KEPT: usize = if cfg!(signonce_sim) { 8 } else { 512 };

const MARK_BYTES: usize = 6;
const SAID_BITS: u8 = 0b11;

/// Makes the tags of one key's candidates.
pub(crate) struct Tagger(Vec<u8>);

impl Tagger {
    pub(crate) fn of(key: KeyId) -> Self {
        Self(key.encode())
    }

    /// The tag of a candidate: the first 46 bits of a hash over key and candidate.
    pub(crate) fn tag(&self, candidate: &CandidateHash) -> Tag {
        let hash = blake2_256(&[&self.0[..], &candidate.0].concat());
        let mut tag = *hash.first_chunk::<MARK_BYTES>().expect("a hash is longer");
        tag[MARK_BYTES - 1] &= !SAID_BITS;
        Tag(tag)
    }
}

/// A short stand-in for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag([u8; MARK_BYTES]);

/// What was said of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is valid, in approvals or disputes, not as a backer.
    Valid,
    /// It is valid, by a backing statement among others.
    Backed(StatementKind),
    /// It is invalid.
    Invalid,
}

impl Said {
    /// What a duty says. A `statement` is a backer's, and of the valid side.
    pub(crate) const fn new(side: Side, statement: Option<StatementKind>) -> Self {
        match (side, statement) {
            (Side::Valid, None) => Self::Valid,
            (Side::Valid, Some(statement)) => Self::Backed(statement),
            // No payload says so: a backer's statement is of the valid side.
            (Side::Invalid, _) => Self::Invalid,
        }
    }

    pub(crate) const fn parts(self) -> (Side, Option<StatementKind>) {
        match self {
            Self::Valid => (Side::Valid, None),
            Self::Backed(statement) => (Side::Valid, Some(statement)),
            Self::Invalid => (Side::Invalid, None),
        }
    }

    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Backed(StatementKind::Seconded) => 1,
            Self::Backed(StatementKind::Valid) => 2,
            Self::Invalid => 3,
        }
    }

    /// The meaning of the two lowest bits.
    pub(crate) const fn of_bits(bits: u8) -> Self {
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
pub(crate) struct Sides {
    /// The marks of each session, in rising order, without repeated tags. No session is empty.
    sessions: BTreeMap<SessionIndex, Vec<Mark>>,
    /// The latest signatures, each with its number. Numbers rise by one.
    recent: VecDeque<(u64, Entry)>,
}

impl Sides {
    /// What was said of a candidate.
    pub(crate) fn get(&self, session: SessionIndex, tag: Tag) -> Option<Said> {
        let marks = self.sessions.get(&session)?;
        find(marks, tag).ok().map(|place| marks[place].said())
    }

    /// The entry that granted these bytes, while it is remembered.
    pub(crate) fn granted(&self, digest: &Digest) -> Option<LogIndex> {
        self.recent.iter().rev().find(|(_, entry)| entry.digest == *digest).map(|(_, entry)| entry.at)
    }

    /// The latest signature.
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.recent.back().map(|(_, entry)| entry)
    }

    /// The number of candidates in a session.
    pub(crate) fn crowd(&self, session: SessionIndex) -> usize {
        self.sessions.get(&session).map_or(0, Vec::len)
    }

    /// The sessions with sides, in rising order.
    pub(crate) fn sessions(&self) -> impl DoubleEndedIterator<Item = SessionIndex> {
        self.sessions.keys().copied()
    }

    /// The number of candidates in all sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.values().map(Vec::len).sum()
    }

    /// Sets what is said of a candidate.
    pub(crate) fn put(&mut self, session: SessionIndex, tag: Tag, said: Said, rows: &mut dyn Rows) {
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
        rows.put(&bucket_key(session, bucket), old.as_deref(), Some(&new));
    }

    /// Remembers a signature's bytes, replacing the oldest.
    pub(crate) fn remember(&mut self, entry: &Entry, rows: &mut dyn Rows) {
        let number = self.recent.back().map_or(0, |(last, _)| last + 1);
        let full = self.recent.len() == RECENT_KEPT;
        let old = if full { self.recent.pop_front() } else { None };
        let new = (number, entry.clone());
        rows.put(&recent_key(number), old.map(|old| old.encode()).as_deref(), Some(&new.encode()));
        self.recent.push_back(new);
    }

    /// Forgets the sessions below the floor.
    pub(crate) fn raise(&mut self, floor: SessionIndex, rows: &mut dyn Rows) {
        while let Some(lowest) = self.sessions.first_entry().filter(|session| *session.key() < floor) {
            let (session, marks) = lowest.remove_entry();
            for bucket in marks.chunk_by(|a, b| a.0[0] == b.0[0]) {
                rows.put(&bucket_key(session, bucket[0].0[0]), Some(&bytes_of(bucket)), None);
            }
        }
    }

    /// Every row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let buckets = self.sessions.iter().flat_map(|(session, marks)| {
            let buckets = marks.chunk_by(|a, b| a.0[0] == b.0[0]);
            buckets.map(|bucket| (bucket_key(*session, bucket[0].0[0]), bytes_of(bucket)))
        });
        let mut recent: Vec<_> = self.recent.iter().collect();
        recent.sort_unstable_by_key(|(number, _)| place(*number));
        let recent = recent.into_iter().map(|numbered| (recent_key(numbered.0), numbered.encode()));
        buckets.chain(recent)
    }

    /// Restores a stored row.
    ///
    /// # Errors
    /// If it is not a row of sides, or does not follow those that were restored before.
    pub(crate) fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        match row.split_first() {
            Some((&SIDES_ROW, key)) => self.restore_sides(key, body),
            Some((&RECENT_ROW, _)) => {
                let (number, entry) = <(u64, Entry)>::decode_all(&mut &*body).map_err(|e| e.to_string())?;
                self.restore_recent(row, number, entry)
            }
            Some(_) | None => Err("a row that sides do not have".into()),
        }
    }

    fn restore_sides(&mut self, key: &[u8], body: &[u8]) -> Result<(), String> {
        let (session, bucket) = key.split_first_chunk::<4>().ok_or("its key is cut short")?;
        let session = SessionIndex(u32::from_be_bytes(*session));
        let [bucket] = bucket else { return Err("its key has another length".into()) };
        let (stored, rest) = body.as_chunks::<MARK_BYTES>();
        if stored.is_empty() || !rest.is_empty() {
            return Err("it has no whole number of marks".into());
        }
        let marks = self.sessions.entry(session).or_default();
        for mark in stored.iter().copied().map(Mark) {
            if mark.0[0] != *bucket {
                return Err("a mark of another record".into());
            }
            if marks.last().is_some_and(|last| last.tag() >= mark.tag()) {
                return Err("its marks do not rise".into());
            }
            make_room(marks);
            marks.push(mark);
        }
        Ok(())
    }

    /// Restores a remembered signature. [`Self::is_whole`] checks at the end that none is missing.
    fn restore_recent(&mut self, row: &[u8], number: u64, entry: Entry) -> Result<(), String> {
        if row != recent_key(number) || number == u64::MAX || self.recent.len() == RECENT_KEPT {
            return Err(format!("signature {number} is in another's place"));
        }
        // Indexes come in rising order, and so do numbers, except at the one index where the ring closes.
        let before = self.recent.partition_point(|(known, _)| *known < number);
        self.recent.insert(before, (number, entry));
        Ok(())
    }

    /// Whether all of the latest signatures are there.
    pub(crate) fn is_whole(&self) -> bool {
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

/// Grows a vector by an eighth instead of doubling it: nearly all memory of a large state is here.
fn make_room(marks: &mut Vec<Mark>) {
    if marks.len() == marks.capacity() {
        marks.reserve_exact(marks.len() / 8 + 16);
    }
}

/// Big endian, so that records come in the order of their marks.
fn bucket_key(session: SessionIndex, bucket: u8) -> Vec<u8> {
    [&[SIDES_ROW][..], &session.0.to_be_bytes(), &[bucket]].concat()
}

/// The index of a signature in the ring.
fn place(number: u64) -> u16 {
    u16::try_from(number % RECENT_KEPT as u64).expect("the ring is small")
}

fn recent_key(number: u64) -> Vec<u8> {
    [&[RECENT_ROW][..], &place(number).to_be_bytes()].concat()
}
