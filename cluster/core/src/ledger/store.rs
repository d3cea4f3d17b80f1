//! Watermarks as records, and back: one record for a watermark's floor, the others as its rule keeps them.
//!
//! The key of a record is key id ‖ class ‖ row. The row of the floor is one zero byte, and its value the numbers of the
//! floor's position; the other rows are the mark's own ([`Mark::rows`]). All of a watermark's records are neighbours, its
//! floor first.

use super::{Ledger, window_mark::WindowMark};
use crate::{
    codec::{CodecError, decode_record, encode_record, open_record, seal_record},
    records::{Journal, RECORD_VERSION, Table},
};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{
    DutyClass, KeyId, Position, Rule,
    mark::{Mark, Rows},
};

/// The row of the floor.
const FLOOR_ROW: [u8; 1] = [0];

/// Writes the changes of one watermark into the journal.
pub(super) struct JournalWriter<'a> {
    prefix: Vec<u8>,
    journal: &'a mut Journal,
}

impl<'a> JournalWriter<'a> {
    /// A writer for this watermark.
    pub(super) fn new(key: KeyId, class: DutyClass, journal: &'a mut Journal) -> Self {
        Self { prefix: (key, class).encode(), journal }
    }

    fn key(&self, row: &[u8]) -> Vec<u8> {
        record_key(&self.prefix, row)
    }
}

impl Rows for JournalWriter<'_> {
    fn floor(&mut self, old: Option<Position>, new: Position) {
        let [old, new] =
            [old, Some(new)].map(|floor| floor.map(|floor| encode_record(RECORD_VERSION, &floor)));
        self.journal.replace(Table::Ledger, self.key(&FLOOR_ROW), old.as_deref(), new);
    }

    fn put(&mut self, row: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        assert!(row.first().is_some_and(|first| *first != FLOOR_ROW[0]), "a mark's rows are not the floor's");
        let [old, new] = [old, new].map(|body| body.map(|body| seal_record(RECORD_VERSION, body)));
        self.journal.replace(Table::Ledger, self.key(row), old.as_deref(), new);
    }
}

fn record_key(prefix: &[u8], row: &[u8]) -> Vec<u8> {
    [prefix, row].concat()
}

impl Ledger {
    /// Every record, key and sealed value, in the order of the keys.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.marks.iter().flat_map(|(of, mark)| {
            let prefix = of.encode();
            let floor = (record_key(&prefix, &FLOOR_ROW), encode_record(RECORD_VERSION, &mark.floor()));
            let rows = mark
                .rows()
                .map(move |(row, body)| (record_key(&prefix, &row), seal_record(RECORD_VERSION, &body)));
            std::iter::once(floor).chain(rows)
        })
    }

    /// Takes one stored record in. A floor must come before the other rows of its watermark.
    ///
    /// # Errors
    /// If it cannot be read, belongs to no key with such work, or breaks an invariant of the watermark.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let mut row = key;
        let (id, class) = <(KeyId, DutyClass)>::decode(&mut row)
            .map_err(|e| malformed(format!("its key cannot be read: {e}")))?;
        if !id.key_type.marks().any(|mark| mark == class) {
            return Err(malformed(format!("{id} has no watermark of {class}")));
        }
        if row == FLOOR_ROW {
            return self.restore_floor(id, class, value);
        }
        let Some(mark) = self.marks.get_mut(&(id, class)) else {
            return Err(malformed(format!("a row of {id}, {class}, which has no floor")));
        };
        let body = open_record(RECORD_VERSION, value)?;
        mark.restore(row, body).map_err(|why| malformed(format!("{id}, {class}: {why}")))
    }

    fn restore_floor(&mut self, id: KeyId, class: DutyClass, value: &[u8]) -> Result<(), CodecError> {
        let floor: Position = decode_record(RECORD_VERSION, "floor", value)?;
        let claim = class.claim().filter(|_| floor.class() == class);
        let mark: Box<dyn Mark> = match claim.map(|claim| &claim.rule) {
            Some(Rule::Window(_)) => Box::new(WindowMark::new(floor)),
            Some(Rule::Own(start)) => start(floor),
            None => return Err(malformed(format!("{floor} is no floor of {class}"))),
        };
        match self.marks.insert((id, class), mark) {
            None => Ok(()),
            Some(_) => Err(malformed(format!("a second floor of {id}, {class}"))),
        }
    }
}

fn malformed(reason: String) -> CodecError {
    CodecError::Malformed { what: "ledger record", reason }
}
