//! What a node answered without the log, merged until it is brought there: refusals by rights, form, clock or an
//! older verdict, and work that uses nothing up.
//!
//! Bounded: while there is room, refusals are told apart by client, key, code and duty; then by client, key and code;
//! and at last by client and code. Nothing a client sends can make it grow further.

use signonce_core::{AuditNote, ClientId, NotedAnswer, RequestId, audit::MAX_NOTE_TEXT};
use signonce_protocol::{
    Digest, Duty, DutyClass, PublicKey,
    rpc::{ErrorCode, RpcError},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Different notes up to which duties are told apart.
const ROOM_FOR_DUTIES: usize = 256;
/// Different notes up to which keys are told apart.
const ROOM_FOR_KEYS: usize = 512;
/// Different notes in all. Codes and registered clients are few; this is a bound for what cannot be thought of.
const ROOM: usize = 4_096;
/// Free work is brought to the log this often; refusals at once.
const FREE_EVERY_MS: u64 = 60_000;

/// What notes are merged by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    client: Option<ClientId>,
    key: Option<PublicKey>,
    what: What,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Refused { code: ErrorCode, duty: Option<Duty>, digest: Option<Digest> },
    Free { class: DutyClass },
}

struct Merged {
    count: u64,
    first_ms: u64,
    last_ms: u64,
    request: RequestId,
    why: String,
}

/// See the module's text. Shared by all requests.
#[derive(Default)]
pub struct Notebook {
    notes: Mutex<BTreeMap<Subject, Merged>>,
}

/// Who asked, with what.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The client; none for a certificate that is nobody's.
    pub client: Option<ClientId>,
    /// The key, as asked for.
    pub key: Option<PublicKey>,
    /// The request.
    pub request: RequestId,
}

impl Notebook {
    /// Notes a refusal that the log does not know. What is no refusal but "not now" (no leader, no quorum) says
    /// nothing of the client and is not noted.
    pub fn refused(&self, asked: Asked, error: &RpcError, digest: Option<Digest>, now_ms: u64) {
        if matches!(error.code, ErrorCode::NotReady | ErrorCode::UnknownOutcome | ErrorCode::Internal) {
            return;
        }
        let duty = error.data.duty.clone();
        let digest = duty.as_ref().and(digest);
        let what = What::Refused { code: error.code, duty, digest };
        self.note(asked, what, 1, (now_ms, now_ms), clip(&error.message));
    }

    /// Notes work that uses nothing up.
    pub fn free(&self, asked: Asked, class: DutyClass, now_ms: u64) {
        self.note(asked, What::Free { class }, 1, (now_ms, now_ms), String::new());
    }

    fn note(&self, asked: Asked, what: What, count: u64, (first_ms, last_ms): (u64, u64), why: String) {
        let Asked { client, key, request } = asked;
        let mut notes = self.lock();
        let mut subject = Subject { client, key, what };
        if notes.len() >= ROOM_FOR_DUTIES
            && !notes.contains_key(&subject)
            && let What::Refused { duty, digest, .. } = &mut subject.what
        {
            (*duty, *digest) = (None, None);
        }
        if notes.len() >= ROOM_FOR_KEYS && !notes.contains_key(&subject) {
            subject.key = None;
        }
        if notes.len() >= ROOM && !notes.contains_key(&subject) {
            return;
        }
        let new = || Merged { count: 0, first_ms, last_ms, request, why: String::new() };
        let merged = notes.entry(subject).or_insert_with(new);
        merged.count += count;
        merged.first_ms = merged.first_ms.min(first_ms);
        merged.last_ms = merged.last_ms.max(last_ms);
        (merged.request, merged.why) = (request, why);
    }

    /// What is to be brought to the log now.
    pub fn take(&self, now_ms: u64) -> Vec<AuditNote> {
        let mut notes = self.lock();
        let due = |subject: &Subject, merged: &Merged| match subject.what {
            What::Refused { .. } => true,
            What::Free { .. } => merged.first_ms.saturating_add(FREE_EVERY_MS) <= now_ms,
        };
        notes.extract_if(.., |subject, merged| due(subject, merged)).map(into_note).collect()
    }

    /// Takes back what could not be brought.
    pub fn give_back(&self, notes: Vec<AuditNote>) {
        for AuditNote { client, key, answer, count, first_ms, last_ms, request } in notes {
            let (what, why) = match answer {
                NotedAnswer::Refused { code, duty, digest, why } => {
                    let Some(code) = ErrorCode::ALL.iter().find(|known| known.name() == code) else {
                        continue;
                    };
                    (What::Refused { code: *code, duty, digest }, why)
                }
                NotedAnswer::Free { class } => (What::Free { class }, String::new()),
            };
            self.note(Asked { client, key, request }, what, count, (first_ms, last_ms), why);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Subject, Merged>> {
        // Whatever panicked left the map whole, and the process aborts on panics anyway.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn into_note((subject, merged): (Subject, Merged)) -> AuditNote {
    let Subject { client, key, what } = subject;
    let Merged { count, first_ms, last_ms, request, why } = merged;
    let answer = match what {
        What::Refused { code, duty, digest } => {
            NotedAnswer::Refused { code: code.name().to_owned(), duty, digest, why }
        }
        What::Free { class } => NotedAnswer::Free { class },
    };
    AuditNote { client, key, answer, count, first_ms, last_ms, request }
}

/// The start of a text, as long as a note may be.
fn clip(text: &str) -> String {
    let end = (0..=MAX_NOTE_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::{audit::MAX_NOTES, command::Change};
    use signonce_protocol::{NodeId, Slot};

    fn asked(client: u32, seq: u64) -> Asked {
        let request = RequestId { node: NodeId(1), boot: 1, seq };
        Asked { client: Some(ClientId(client)), key: PublicKey::try_from(&[7; 32][..]).ok(), request }
    }

    fn slot_refused(slot: u64) -> RpcError {
        RpcError::new(ErrorCode::SlotOutOfRange, "too far").with_duty(Duty::BabeBlock { slot: Slot(slot) })
    }

    #[test]
    fn equal_refusals_are_one_note_with_a_count_and_the_times() {
        let notes = Notebook::default();
        for seq in 1..=3 {
            notes.refused(asked(1, seq), &slot_refused(9), None, 100 * seq);
        }
        notes.refused(asked(2, 4), &slot_refused(9), None, 400);
        let taken = notes.take(0);
        assert_eq!(taken.len(), 2);
        let AuditNote { count, first_ms, last_ms, request, .. } = taken[0];
        assert_eq!((count, first_ms, last_ms, request.seq), (3, 100, 300, 3));
        assert!(notes.take(0).is_empty());
    }

    #[test]
    fn a_flood_of_different_duties_does_not_make_the_notebook_grow_and_loses_no_count() {
        let notes = Notebook::default();
        for slot in 0..10_000 {
            notes.refused(asked(1, slot), &slot_refused(slot), Some(Digest([1; 32])), slot);
        }
        let taken = notes.take(0);
        assert!(taken.len() <= ROOM_FOR_DUTIES + 1, "{}", taken.len());
        assert_eq!(taken.iter().map(|note| note.count).sum::<u64>(), 10_000);
        const { assert!(super::super::NOTES_PER_CHANGE <= MAX_NOTES) };
    }

    #[test]
    fn what_could_not_be_brought_is_merged_with_what_came_meanwhile() {
        let notes = Notebook::default();
        notes.refused(asked(1, 1), &slot_refused(9), Some(Digest([1; 32])), 100);
        let taken = notes.take(0);
        notes.refused(asked(1, 2), &slot_refused(9), Some(Digest([1; 32])), 200);
        notes.give_back(taken);
        let taken = notes.take(0);
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].count, taken[0].first_ms, taken[0].last_ms), (2, 100, 200));
        let change = Change::RecordAudit { notes: taken };
        assert_eq!(change.feature_level(), 2);
    }

    #[test]
    fn not_ready_is_no_refusal_and_free_work_is_counted_for_a_minute() {
        let notes = Notebook::default();
        notes.refused(asked(1, 1), &RpcError::not_ready("no leader", None), None, 5);
        notes.free(asked(1, 2), DutyClass::BabeVrf, 10);
        notes.free(asked(1, 3), DutyClass::BabeVrf, 20);
        assert!(notes.take(FREE_EVERY_MS).is_empty());
        assert_eq!(notes.take(FREE_EVERY_MS + 10)[0].count, 2);
    }
}
