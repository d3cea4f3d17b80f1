//! What a node answered without the log, merged until it is brought there: refusals for rights, form, clock or an older
//! verdict, and free work.
//!
//! Bounded: while there is room, a client's refusals are told apart by key, code and duty; then by key and code; and
//! finally by code alone. Nothing a client sends can make it grow further.
//!
//! Each client also has a share of records: so many notes at once, and so many a minute in the long run. Beyond its
//! share, a client's notes are merged by code (free work: by class), with their total count, until there is room again.
//! So a client that floods a node causes a few records a minute that say how often, and takes nothing from the others.

use signonce_core::{AuditNote, ClientId, MAX_NOTE_TEXT, NotedAnswer, RequestId};
use signonce_protocol::{
    Digest, Duty, DutyClass, PublicKey,
    rpc::{ErrorCode, RpcError},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most distinct notes of a client with which duties are still told apart.
const ROOM_FOR_DUTIES: usize = 256;
/// The most distinct notes of a client with which keys are still told apart.
const ROOM_FOR_KEYS: usize = 512;
/// The most distinct notes of all clients with which more than codes is told apart.
const ROOM: usize = 4_096;
/// How often free work is brought to the log; refusals are brought at once.
const FREE_EVERY_MS: u64 = 60_000;
/// A client's share of records for refusals: what it may have at once, and how many a minute in the long run.
const REFUSALS: Rate = Rate { room: 256.0, per_minute: 4.0 };
/// The same for free work, of which there are seven classes.
const FREE: Rate = Rate { room: 64.0, per_minute: 8.0 };

/// What the notes of a client are merged by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    key: Option<PublicKey>,
    what: What,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Refused { code: ErrorCode, duty: Option<Duty>, digest: Option<Digest> },
    Free { class: DutyClass },
}

impl What {
    const fn is_free(&self) -> bool {
        matches!(self, Self::Free { .. })
    }
}

impl Subject {
    /// The subject without duty, digest and key.
    fn coarse(self) -> Self {
        let what = match self.what {
            What::Refused { code, .. } => What::Refused { code, duty: None, digest: None },
            What::Free { class } => What::Free { class },
        };
        Self { key: None, what }
    }
}

struct Merged {
    count: u64,
    first_ms: u64,
    last_ms: u64,
    request: RequestId,
    why: String,
}

impl Merged {
    /// Adds a later note of the same subject.
    fn add(&mut self, other: Self) {
        let Self { count, first_ms, last_ms, request, why } = other;
        self.count += count;
        self.first_ms = self.first_ms.min(first_ms);
        if last_ms >= self.last_ms {
            (self.last_ms, self.request, self.why) = (last_ms, request, why);
        }
    }
}

/// How many records a client may cause.
struct Rate {
    room: f64,
    per_minute: f64,
}

/// What remains of a client's share.
struct Left {
    records: f64,
    counted_ms: u64,
}

impl Left {
    /// How many records may be made now.
    fn now(&mut self, rate: &Rate, now_ms: u64) -> usize {
        let minutes = now_ms.saturating_sub(self.counted_ms) as f64 / 60_000.0;
        self.records = (self.records + minutes * rate.per_minute).min(rate.room);
        self.counted_ms = self.counted_ms.max(now_ms);
        self.records as usize
    }
}

/// One client's part of the notebook.
struct Page {
    notes: BTreeMap<Subject, Merged>,
    refusals: Left,
    free: Left,
}

impl Default for Page {
    fn default() -> Self {
        let full = |rate: &Rate| Left { records: rate.room, counted_ms: 0 };
        Self { notes: BTreeMap::new(), refusals: full(&REFUSALS), free: full(&FREE) }
    }
}

impl Page {
    fn add(&mut self, subject: Subject, merged: Merged) {
        match self.notes.entry(subject) {
            Entry::Occupied(mut known) => known.get_mut().add(merged),
            Entry::Vacant(new) => drop(new.insert(merged)),
        }
    }

    /// The notes of one kind that are due, oldest first, merged if they exceed the share.
    fn take(&mut self, free: bool, now_ms: u64) -> Vec<(Subject, Merged)> {
        let due = |subject: &Subject, merged: &Merged| {
            let waits = if free { FREE_EVERY_MS } else { 0 };
            subject.what.is_free() == free && merged.first_ms.saturating_add(waits) <= now_ms
        };
        let room = match free {
            true => self.free.now(&FREE, now_ms),
            false => self.refusals.now(&REFUSALS, now_ms),
        };
        let mut taken: Vec<_> = self.notes.extract_if(.., |subject, merged| due(subject, merged)).collect();
        if taken.len() > room {
            let mut page = Self::default();
            taken.drain(..).for_each(|(subject, merged)| page.add(subject.coarse(), merged));
            taken.extend(page.notes);
            taken.sort_by_key(|(_, merged)| merged.first_ms);
            let rest = taken.split_off(room.min(taken.len()));
            rest.into_iter().for_each(|(subject, merged)| self.add(subject, merged));
        }
        let left = if free { &mut self.free } else { &mut self.refusals };
        left.records -= taken.len() as f64;
        taken
    }
}

/// Collects notes until they are brought to the log; see the module's text. Shared by all requests.
#[derive(Default)]
pub struct Notebook {
    /// By client; requests without a client's certificate share one page.
    pages: Mutex<BTreeMap<Option<ClientId>, Page>>,
}

/// Who asked, and with which key.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The client; none for a certificate that no client has.
    pub client: Option<ClientId>,
    /// The key that was asked for.
    pub key: Option<PublicKey>,
    /// The request.
    pub request: RequestId,
}

impl Notebook {
    /// Notes a refusal that the log does not know. A mere "not now" (no leader, no quorum) says nothing about the
    /// client and is not noted.
    pub fn refused(&self, asked: Asked, error: &RpcError, digest: Option<Digest>, now_ms: u64) {
        if matches!(error.code, ErrorCode::NotReady | ErrorCode::UnknownOutcome | ErrorCode::Internal) {
            return;
        }
        let duty = error.data.duty.clone();
        let digest = duty.as_ref().and(digest);
        let what = What::Refused { code: error.code, duty, digest };
        self.note(asked, what, 1, (now_ms, now_ms), clip(&error.message));
    }

    /// Notes free work.
    pub fn free(&self, asked: Asked, class: DutyClass, now_ms: u64) {
        self.note(asked, What::Free { class }, 1, (now_ms, now_ms), String::new());
    }

    fn note(&self, asked: Asked, what: What, count: u64, (first_ms, last_ms): (u64, u64), why: String) {
        let Asked { client, key, request } = asked;
        let mut pages = self.lock();
        let crowded = pages.values().map(|page| page.notes.len()).sum::<usize>() >= ROOM;
        let page = pages.entry(client).or_default();
        let (known, mut subject) = (page.notes.len(), Subject { key, what });
        if known >= ROOM_FOR_DUTIES
            && !page.notes.contains_key(&subject)
            && let What::Refused { duty, digest, .. } = &mut subject.what
        {
            (*duty, *digest) = (None, None);
        }
        if (crowded || known >= ROOM_FOR_KEYS) && !page.notes.contains_key(&subject) {
            subject = subject.coarse();
        }
        page.add(subject, Merged { count, first_ms, last_ms, request, why });
    }

    /// Takes out the notes that are due.
    pub fn take(&self, now_ms: u64) -> Vec<AuditNote> {
        let mut pages = self.lock();
        let mut due = Vec::new();
        for (client, page) in pages.iter_mut() {
            for free in [false, true] {
                due.extend(page.take(free, now_ms).into_iter().map(|note| into_note(*client, note)));
            }
        }
        due
    }

    /// Puts back notes that could not be brought, and returns them to the share.
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
            let free = what.is_free();
            self.note(Asked { client, key, request }, what, count, (first_ms, last_ms), why);
            let mut pages = self.lock();
            let page = pages.entry(client).or_default();
            let left = if free { &mut page.free } else { &mut page.refusals };
            left.records += 1.0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<ClientId>, Page>> {
        // A panic leaves the map consistent, and the process aborts on panics anyway.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn into_note(client: Option<ClientId>, (subject, merged): (Subject, Merged)) -> AuditNote {
    let Subject { key, what } = subject;
    let Merged { count, first_ms, last_ms, request, why } = merged;
    let answer = match what {
        What::Refused { code, duty, digest } => {
            NotedAnswer::Refused { code: code.name().to_owned(), duty, digest, why }
        }
        What::Free { class } => NotedAnswer::Free { class },
    };
    AuditNote { client, key, answer, count, first_ms, last_ms, request }
}

/// The text, cut to the length that a note may have.
fn clip(text: &str) -> String {
    let end = (0..=MAX_NOTE_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::{Change, MAX_NOTES};
    use signonce_protocol::{NodeId, Slot};
    use signonce_substrate::{BABE_VRF, Duty};

    fn asked(client: u32, seq: u64) -> Asked {
        signonce_shared::families::install();
        let request = RequestId { node: NodeId(1), boot: 1, seq };
        Asked { client: Some(ClientId(client)), key: PublicKey::try_from(&[7; 32][..]).ok(), request }
    }

    fn slot_refused(slot: u64) -> RpcError {
        RpcError::new(ErrorCode::SlotOutOfRange, "too far")
            .with_duty(Duty::BabeBlock { slot: Slot(slot) }.into())
    }

    #[test]
    fn equal_refusals_are_one_note_with_a_count_and_the_times() {
        let notes = Notebook::default();
        for seq in 1..=3 {
            notes.refused(asked(1, seq), &slot_refused(9), None, 100 * seq);
        }
        notes.refused(asked(2, 4), &slot_refused(9), None, 400);
        let taken = notes.take(400);
        assert_eq!(taken.len(), 2);
        let AuditNote { count, first_ms, last_ms, request, .. } = taken[0];
        assert_eq!((count, first_ms, last_ms, request.seq), (3, 100, 300, 3));
        assert!(notes.take(400).is_empty());
    }

    #[test]
    fn a_flood_of_different_duties_does_not_make_the_notebook_grow_and_loses_no_count() {
        let notes = Notebook::default();
        for slot in 0..10_000 {
            notes.refused(asked(1, slot), &slot_refused(slot), Some(Digest([1; 32])), slot);
        }
        notes.refused(asked(2, 1), &slot_refused(7), Some(Digest([1; 32])), 5);
        let taken = notes.take(10_000);
        let of = |client| taken.iter().filter(move |note| note.client == Some(ClientId(client)));
        assert!(of(1).count() <= ROOM_FOR_DUTIES + 1, "{}", of(1).count());
        assert_eq!(of(1).map(|note| note.count).sum::<u64>(), 10_000);
        let [AuditNote { answer: NotedAnswer::Refused { duty: Some(_), .. }, .. }] =
            of(2).collect::<Vec<_>>()[..]
        else {
            panic!("another client's refusals are told apart all the same")
        };
        const { assert!(super::super::NOTES_PER_CHANGE <= MAX_NOTES) };
    }

    #[test]
    fn what_could_not_be_brought_is_merged_with_what_came_meanwhile() {
        let notes = Notebook::default();
        notes.refused(asked(1, 1), &slot_refused(9), Some(Digest([1; 32])), 100);
        let taken = notes.take(150);
        notes.refused(asked(1, 2), &slot_refused(9), Some(Digest([1; 32])), 200);
        notes.give_back(taken);
        let taken = notes.take(200);
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].count, taken[0].first_ms, taken[0].last_ms), (2, 100, 200));
        let change = Change::RecordAudit { notes: taken };
        assert_eq!(change.feature_level(), 1);
    }

    #[test]
    fn not_ready_is_no_refusal_and_free_work_is_counted_for_a_minute() {
        let notes = Notebook::default();
        notes.refused(asked(1, 1), &RpcError::not_ready("no leader", None), None, 5);
        notes.free(asked(1, 2), BABE_VRF, 10);
        notes.free(asked(1, 3), BABE_VRF, 20);
        assert!(notes.take(FREE_EVERY_MS).is_empty());
        assert_eq!(notes.take(FREE_EVERY_MS + 10)[0].count, 2);
    }

    /// A client that is refused in every way it can think of, a hundred times a second for an hour.
    #[test]
    fn a_flood_leaves_a_few_records_a_minute_that_say_who_what_and_how_often() {
        let notes = Notebook::default();
        let codes = [ErrorCode::JumpTooFar, ErrorCode::Equivocation, ErrorCode::MalformedPayload];
        let (mut records, mut counted, mut last) = (0, 0, Vec::new());
        for second in 0..3_600u64 {
            for n in 0..100 {
                let at = second * 1_000 + 10 * n;
                let duty = Duty::BabeBlock { slot: Slot(at) };
                let error = RpcError::new(codes[(at % 3) as usize], "no").with_duty(duty.into());
                notes.refused(asked(1, at), &error, Some(Digest([1; 32])), at);
            }
            if second % 2 == 1 {
                last = notes.take(second * 1_000 + 999);
                records += last.len();
                counted += last.iter().map(|note| note.count).sum::<u64>();
            }
        }
        assert!(records <= 256 + 4 * 60, "{records} records");
        let rest = notes.take(2 * 3_600_000);
        counted += rest.iter().map(|note| note.count).sum::<u64>();
        assert_eq!(counted, 360_000, "none is lost");
        for note in last.iter().chain(&rest) {
            assert_eq!(note.client, Some(ClientId(1)));
            let NotedAnswer::Refused { code, duty: None, .. } = &note.answer else { panic!("{note:?}") };
            assert!(codes.iter().any(|known| known.name() == code));
        }
        // Its neighbour is told of at once, in full, all the time; and so is it, when it has been quiet for long.
        for (client, at) in [(2, 7_200_000), (1, 90_000_000)] {
            notes.refused(asked(client, 1), &slot_refused(7), Some(Digest([1; 32])), at);
            let taken = notes.take(at);
            let [AuditNote { answer: NotedAnswer::Refused { duty: Some(_), .. }, .. }] = &taken[..] else {
                panic!("{taken:?}")
            };
        }
    }

    #[test]
    fn free_work_with_very_many_keys_is_counted_by_class() {
        let notes = Notebook::default();
        let mut records = 0;
        for minute in 0..60u64 {
            for key in 0..200u8 {
                let key = PublicKey::try_from(&[key; 32][..]).ok();
                let asked = Asked { key, ..asked(1, minute) };
                notes.free(asked, BABE_VRF, minute * 60_000);
            }
            records += notes.take(minute * 60_000 + FREE_EVERY_MS).len();
        }
        assert!(records <= 64 + 8 * 60, "{records}");
    }

    #[test]
    fn what_the_log_did_not_take_is_not_counted_against_the_share() {
        let notes = Notebook::default();
        for at in 0..10 {
            for duty in 0..200 {
                notes.refused(asked(1, duty), &slot_refused(duty), Some(Digest([1; 32])), at);
            }
            let taken = notes.take(at);
            assert_eq!(taken.len(), 200);
            notes.give_back(taken);
        }
    }
}
