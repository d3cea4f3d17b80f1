//! Watermarks as records, and back: one record for a key's floor, one for each entry.
//!
//! The key of a record is key id ‖ class ‖ `0` for the floor, or ‖ `1` ‖ coordinate for an entry. All of a key's
//! records are neighbours, its floor first; last, under `2`, the counting of its slots if that is not the chain's first.
//! Para keys have `3` ‖ session ‖ first byte for the marks of sides, and `4` ‖ place for the signatures made last: see
//! `sides.rs`.

use super::{
    Entry, Ledger,
    para::ParaMark,
    watermark::{Watermark, claimed_class},
    window::{Coordinate, Window},
};
use crate::{
    codec::{CodecError, decode_body, decode_record, encode_record, open_record, seal_record},
    records::{Journal, RECORD_VERSION, Table},
};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{DutyClass, KeyId};

const FLOOR: u8 = 0;
const ENTRY: u8 = 1;
/// Since feature level 4.
const COUNTING: u8 = 2;
/// Marks of sides.
pub(super) const SIDES: u8 = 3;
/// A signature whose bytes are remembered.
pub(super) const RECENT: u8 = 4;

/// The version of [`SIDES`] and [`RECENT`].
const PACKED_VERSION: u8 = 1;

/// Writes the changes of one watermark into the journal.
pub(super) struct Pen<'a> {
    prefix: Vec<u8>,
    journal: &'a mut Journal,
}

impl<'a> Pen<'a> {
    /// A pen for this key's watermark.
    pub(super) fn new(key: KeyId, class: DutyClass, journal: &'a mut Journal) -> Self {
        Self { prefix: (key, class).encode(), journal }
    }

    /// Notes that the floor was `old` and is now `new`.
    pub(super) fn floor<S: Encode>(&mut self, old: Option<&S>, new: &S) {
        let [old, new] =
            [old, Some(new)].map(|floor| floor.map(|floor| encode_record(RECORD_VERSION, floor)));
        self.journal.replace(Table::Ledger, floor_key(&self.prefix), old.as_deref(), new);
    }

    /// Notes that the slots were counted by `old` and are now by `new`.
    pub(super) fn counting(&mut self, old: Option<&u32>, new: &u32) {
        let [old, new] = [old, Some(new)].map(|one| one.map(|one| encode_record(RECORD_VERSION, one)));
        self.journal.replace(Table::Ledger, counting_key(&self.prefix), old.as_deref(), new);
    }

    /// Notes that the entry at a coordinate was `old` and is now `new`.
    pub(super) fn entry<C: Encode, E: Encode>(&mut self, at: &C, old: Option<&E>, new: Option<&E>) {
        let [old, new] = [old, new].map(|entry| entry.map(|entry| encode_record(RECORD_VERSION, entry)));
        self.journal.replace(Table::Ledger, entry_key(&self.prefix, at), old.as_deref(), new);
    }
}

fn counting_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[COUNTING]].concat()
}

impl Pen<'_> {
    /// Notes that a record of sides was `old` and is now `new`.
    pub(super) fn packed(&mut self, kind: u8, at: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        let [old, new] = [old, new].map(|body| body.map(|body| seal_record(PACKED_VERSION, body)));
        self.journal.replace(Table::Ledger, packed_key(&self.prefix, kind, at), old.as_deref(), new);
    }
}

fn packed_key(prefix: &[u8], kind: u8, at: &[u8]) -> Vec<u8> {
    [prefix, &[kind], at].concat()
}

fn floor_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[FLOOR]].concat()
}

fn entry_key<C: Encode>(prefix: &[u8], at: &C) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 1 + at.size_hint());
    key.extend_from_slice(prefix);
    key.push(ENTRY);
    at.encode_to(&mut key);
    key
}

impl Ledger {
    /// Every record, key and sealed value, in the order of the keys.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.marks.iter().flat_map(|(key, mark)| {
            let class = claimed_class(key.key_type);
            let prefix = (*key, class.expect("only keys with claimed work have a watermark")).encode();
            match mark {
                Watermark::Slot(window) => {
                    let mut records = window_records(window, &prefix);
                    let counting = self.countings.get(key);
                    let record = |counting| (counting_key(&prefix), encode_record(RECORD_VERSION, counting));
                    records.extend(counting.map(record));
                    records
                }
                Watermark::Grandpa(window) => window_records(window, &prefix),
                Watermark::Beefy(window) => window_records(window, &prefix),
                Watermark::Para(mark) => {
                    let mut records = window_records(mark.window(), &prefix);
                    let sides = mark.sides().records().map(|(kind, at, body)| {
                        (packed_key(&prefix, kind, &at), seal_record(PACKED_VERSION, &body))
                    });
                    records.extend(sides);
                    records
                }
            }
        })
    }

    /// Takes one stored record in. A key's floor must come before its entries.
    ///
    /// # Errors
    /// If it cannot be read, belongs to no key with such work, or breaks an invariant of the window.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let mut rest = key;
        let (id, class, kind) = <(KeyId, DutyClass, u8)>::decode(&mut rest)
            .map_err(|e| malformed(format!("its key cannot be read: {e}")))?;
        if claimed_class(id.key_type) != Some(class) {
            return Err(malformed(format!("{id} does no {class} work")));
        }
        match kind {
            FLOOR if rest.is_empty() => self.restore_floor(id, class, value)?,
            ENTRY => match self.marks.get_mut(&id) {
                Some(Watermark::Slot(window)) => restore_entry(window, rest, value)?,
                Some(Watermark::Grandpa(window)) => restore_entry(window, rest, value)?,
                Some(Watermark::Beefy(window)) => restore_entry(window, rest, value)?,
                Some(Watermark::Para(mark)) => restore_entry(mark.window_mut(), rest, value)?,
                None => return Err(malformed(format!("an entry of {id}, which has no floor"))),
            },
            COUNTING if rest.is_empty() => match self.marks.get(&id) {
                Some(Watermark::Slot(_)) => {
                    self.countings.insert(id, decode_record(RECORD_VERSION, "counting", value)?);
                }
                Some(Watermark::Grandpa(_) | Watermark::Beefy(_) | Watermark::Para(_)) | None => {
                    return Err(malformed(format!("a counting of {id}, which has no slots")));
                }
            },
            SIDES | RECENT => match self.marks.get_mut(&id) {
                Some(Watermark::Para(mark)) => restore_packed(mark, kind, rest, value)?,
                Some(Watermark::Slot(_) | Watermark::Grandpa(_) | Watermark::Beefy(_)) | None => {
                    return Err(malformed(format!("sides of {id}, which takes none or has no floor")));
                }
            },
            _ => return Err(malformed("it is of no kind that there is".into())),
        }
        Ok(())
    }

    fn restore_floor(&mut self, id: KeyId, class: DutyClass, value: &[u8]) -> Result<(), CodecError> {
        fn floor<S: Decode>(value: &[u8]) -> Result<S, CodecError> {
            decode_record(RECORD_VERSION, "floor", value)
        }
        let mark = match class {
            DutyClass::BabeBlock | DutyClass::AuraBlock => Watermark::Slot(Window::restored(floor(value)?)),
            DutyClass::GrandpaVote => Watermark::Grandpa(Window::restored(floor(value)?)),
            DutyClass::BeefyVote => Watermark::Beefy(Window::restored(floor(value)?)),
            DutyClass::ParaSide => Watermark::Para(ParaMark::restored(floor(value)?)),
            DutyClass::BabeVrf
            | DutyClass::Bitfield
            | DutyClass::PvfCheck
            | DutyClass::AuthorityRecord
            | DutyClass::Heartbeat
            | DutyClass::OwnershipProof => return Err(malformed(format!("{class} work has no floor"))),
        };
        match self.marks.insert(id, mark) {
            None => Ok(()),
            Some(_) => Err(malformed(format!("a second floor of {id}"))),
        }
    }
}

fn window_records<C: Coordinate, E: Encode>(window: &Window<C, E>, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let floor = (floor_key(prefix), encode_record(RECORD_VERSION, &window.floor()));
    let entries = window.entries().iter();
    let entries = entries.map(|(at, entry)| (entry_key(prefix, at), encode_record(RECORD_VERSION, entry)));
    std::iter::once(floor).chain(entries).collect()
}

fn restore_entry<C: Coordinate, E: Encode + Decode>(
    window: &mut Window<C, E>,
    at: &[u8],
    value: &[u8],
) -> Result<(), CodecError> {
    let at: C = decode_body("coordinate", at)?;
    let entry: E = decode_record(RECORD_VERSION, "ledger entry", value)?;
    if window.restore(at, entry) {
        return Ok(());
    }
    Err(malformed("an entry below its floor, or a second one at its coordinate".into()))
}

fn restore_packed(mark: &mut ParaMark, kind: u8, at: &[u8], value: &[u8]) -> Result<(), CodecError> {
    let body = open_record(PACKED_VERSION, value)?;
    if kind == SIDES {
        return mark.sides_mut().restore_sides(at, body);
    }
    let (number, entry): (u64, Entry) = decode_body("record of a signature", body)?;
    mark.sides_mut().restore_recent(at, number, entry)
}

fn malformed(reason: String) -> CodecError {
    CodecError::Malformed { what: "ledger record", reason }
}
