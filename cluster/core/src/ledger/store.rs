//! Watermarks as records, and back: one record for a key's floor, one for each entry.
//!
//! The key of a record is key id ‖ class ‖ `0` for the floor, or ‖ `1` ‖ coordinate for an entry. All of a key's
//! records are neighbours, its floor first; last, under `2`, the counting of its slots if that is not the chain's first.
//! Para keys have `3` ‖ session ‖ first byte for the marks of sides, and `4` ‖ place for the signatures made last: see
//! `sides.rs`.

use super::{
    Entry, Ledger,
    para::ParaMark,
    watermark::Watermark,
    window::{Coordinate, Window},
};
use crate::{
    codec::{CodecError, decode_body, decode_record, encode_record, open_record, seal_record},
    model::claimed_class,
    records::{Journal, RECORD_VERSION, Table},
};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{DutyClass, KeyId};

/// What a record of a watermark is: the byte after key and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(super) enum Row {
    #[codec(index = 0)]
    Floor,
    #[codec(index = 1)]
    Entry,
    /// Since feature level 4.
    #[codec(index = 2)]
    Counting,
    /// Marks of sides.
    #[codec(index = 3)]
    Sides,
    /// A signature whose bytes are remembered.
    #[codec(index = 4)]
    Recent,
}

/// The version of [`Row::Sides`] and [`Row::Recent`].
const PACKED_VERSION: u8 = 1;

/// Writes the changes of one watermark into the journal.
pub(super) struct JournalWriter<'a> {
    prefix: Vec<u8>,
    journal: &'a mut Journal,
}

impl<'a> JournalWriter<'a> {
    /// A writer for this key's watermark.
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
    row_key(prefix, Row::Counting, &[])
}

impl JournalWriter<'_> {
    /// Notes that a record of sides was `old` and is now `new`.
    pub(super) fn packed(&mut self, row: Row, at: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        let [old, new] = [old, new].map(|body| body.map(|body| seal_record(PACKED_VERSION, body)));
        self.journal.replace(Table::Ledger, row_key(&self.prefix, row, at), old.as_deref(), new);
    }
}

fn row_key(prefix: &[u8], row: Row, at: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 1 + at.len());
    key.extend_from_slice(prefix);
    row.encode_to(&mut key);
    key.extend_from_slice(at);
    key
}

fn floor_key(prefix: &[u8]) -> Vec<u8> {
    row_key(prefix, Row::Floor, &[])
}

fn entry_key<C: Encode>(prefix: &[u8], at: &C) -> Vec<u8> {
    let mut key = row_key(prefix, Row::Entry, &[]);
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
                    let sides = mark.sides().records().map(|(row, at, body)| {
                        (row_key(&prefix, row, &at), seal_record(PACKED_VERSION, &body))
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
        let (id, class, row) = <(KeyId, DutyClass, Row)>::decode(&mut rest)
            .map_err(|e| malformed(format!("its key cannot be read: {e}")))?;
        if claimed_class(id.key_type) != Some(class) {
            return Err(malformed(format!("{id} does no {class} work")));
        }
        match row {
            Row::Floor | Row::Counting if !rest.is_empty() => {
                return Err(malformed(format!("its key has bytes left over: {row:?} of {id}")));
            }
            Row::Floor => self.restore_floor(id, class, value)?,
            Row::Entry => match self.marks.get_mut(&id) {
                Some(Watermark::Slot(window)) => restore_entry(window, rest, value)?,
                Some(Watermark::Grandpa(window)) => restore_entry(window, rest, value)?,
                Some(Watermark::Beefy(window)) => restore_entry(window, rest, value)?,
                Some(Watermark::Para(mark)) => restore_entry(mark.window_mut(), rest, value)?,
                None => return Err(malformed(format!("an entry of {id}, which has no floor"))),
            },
            Row::Counting => match self.marks.get(&id) {
                Some(Watermark::Slot(_)) => {
                    self.countings.insert(id, decode_record(RECORD_VERSION, "counting", value)?);
                }
                Some(Watermark::Grandpa(_) | Watermark::Beefy(_) | Watermark::Para(_)) | None => {
                    return Err(malformed(format!("a counting of {id}, which has no slots")));
                }
            },
            Row::Sides | Row::Recent => match self.marks.get_mut(&id) {
                Some(Watermark::Para(mark)) => restore_packed(mark, row, rest, value)?,
                Some(Watermark::Slot(_) | Watermark::Grandpa(_) | Watermark::Beefy(_)) | None => {
                    return Err(malformed(format!("sides of {id}, which takes none or has no floor")));
                }
            },
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

fn restore_packed(mark: &mut ParaMark, row: Row, at: &[u8], value: &[u8]) -> Result<(), CodecError> {
    let body = open_record(PACKED_VERSION, value)?;
    if row == Row::Sides {
        return mark.sides_mut().restore_sides(at, body);
    }
    let (number, entry): (u64, Entry) = decode_body("record of a signature", body)?;
    mark.sides_mut().restore_recent(at, number, entry)
}

fn malformed(reason: String) -> CodecError {
    CodecError::Malformed { what: "ledger record", reason }
}
