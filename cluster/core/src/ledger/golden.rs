//! Golden bytes of every kind of row in the ledger's table, for every kind of watermark.

use super::{Given, Ledger};
use crate::{
    golden::{
        File,
        sample::{self, *},
    },
    model::{FEATURE_LEVEL, Floors, Retiming, SlotClock},
    records::Journal,
};
use parity_scale_codec::Decode;
use signonce_protocol::{
    Duty, DutyClass, KeyId, Position, Slot, Verdict,
    mark::{Alone, Context},
};
use signonce_substrate::{AURA, AURA_BLOCK, BABE, BABE_BLOCK, Duty as Typed, PARA_SIDE};
use std::collections::BTreeMap;

/// The kinds of rows, by the byte after key and class.
const ROWS: [(u8, &str); 5] = [(0, "Floor"), (1, "Entry"), (2, "Counting"), (3, "Sides"), (4, "Recent")];

fn row_name(row: &[u8]) -> &'static str {
    let known = ROWS.into_iter().find(|(first, _)| row.first() == Some(first));
    known.map(|(_, name)| name).expect("a row of a kind that has no name here")
}

/// The lowest of a duty's class at which it may be signed.
fn floor_under(duty: &Duty) -> Position {
    duty.position()
}

/// A key of each kind of watermark, with an entry of each kind that the rules make.
fn ledger() -> Ledger {
    let (mut ledger, journal) = (Ledger::default(), &mut Journal::default());
    let chain = sample::chain();
    let later = [Retiming { from_ms: 10_000_000, slot_duration_ms: 24_000, at: AT }];
    let context = Context { chain: &chain, clock: SlotClock::new(&chain, &later), siblings: &Alone };
    let mut floors: BTreeMap<KeyId, Position> = BTreeMap::new();
    for (_, duty) in duties() {
        let key = key_of(duty.class().key_types()[0]);
        let lowest = floors.entry(key).or_insert_with(|| floor_under(&duty));
        *lowest = floor_under(&duty).min(*lowest);
    }
    let given = Given { at_ms: 0, level: FEATURE_LEVEL };
    for (key, floor) in floors {
        ledger.arm(key, &Floors::from(floor), &context, given, journal).expect("the key has no floor yet");
    }
    // Too late a number for the first length of slots: it begins after they were made longer.
    let counted = Duty::from(Typed::BabeBlock { slot: Slot(1_700) });
    let all = duties().into_iter().map(|(_, duty)| duty).chain([counted]);
    let mut granted = 0;
    for duty in all {
        let claim = sample::claim(key_of(duty.class().key_types()[0]), duty);
        // The AURA chain's blocks are collations.
        if ledger.judge(&claim, &context) == Verdict::Granted {
            ledger.record(&claim, AT, &context, journal);
            granted += 1;
        }
    }
    assert_eq!(granted, duties().len(), "all but the block that is no collation");
    ledger
}

#[test]
fn every_row_of_the_ledger_has_the_bytes_it_always_had() {
    let ledger = ledger();
    let stored: Vec<_> = ledger.records().collect();
    assert!(stored.is_sorted(), "rows come in the order of their keys");
    let (mut restored, mut file, mut counts) = (Ledger::default(), File::new("ledger"), BTreeMap::new());
    for (key, value) in &stored {
        restored.restore(key, value).expect("a row is read back");
        let mut row = &key[..];
        let (_, class) = <(KeyId, DutyClass)>::decode(&mut row).expect("a row's key");
        let name = row_name(row);
        let count = counts.entry((class, name)).and_modify(|count| *count += 1).or_insert(0_u32);
        file.bytes(format!("{class}/{name}/{count}/key"), key);
        file.bytes(format!("{class}/{name}/{count}/value"), value);
    }
    assert_eq!(restored.records().collect::<Vec<_>>(), stored);
    assert_eq!(restored.unsound(), None);
    // A class of Substrate's that is added fails here before it has its rows.
    let claimed = signonce_substrate::FAMILY.classes.iter().filter(|class| class.claim.is_some());
    for class in claimed.map(|class| class.id) {
        let entries = if class == PARA_SIDE { "Sides" } else { "Entry" };
        for row in ["Floor", entries] {
            assert!(counts.contains_key(&(class, row)), "{class} has no {row}");
        }
    }
    for (_, row) in ROWS {
        assert!(counts.keys().any(|(_, there)| *there == row), "no watermark has a row of kind {row}");
    }
    file.check();
}

/// What a row must be like to be taken in.
#[test]
fn rows_that_no_watermark_wrote_are_refused() {
    let rows: Vec<_> = ledger().records().collect();
    let refused = |rows: &[(Vec<u8>, Vec<u8>)]| {
        let mut restored = Ledger::default();
        let taken = rows.iter().try_for_each(|(key, value)| restored.restore(key, value));
        taken.expect_err("it is no row").to_string()
    };
    let of = |class: DutyClass, row: u8| {
        let of_class = |(key, _): &&(Vec<u8>, Vec<u8>)| {
            let mut rest = &key[..];
            let (_, own) = <(KeyId, DutyClass)>::decode(&mut rest).expect("a row's key");
            own == class && rest[0] == row
        };
        rows.iter().find(of_class).cloned().expect("there is one")
    };
    let (floor, entry) = (of(BABE_BLOCK, 0), of(BABE_BLOCK, 1));
    let counting = of(BABE_BLOCK, 2);
    assert!(refused(std::slice::from_ref(&entry)).contains("has no floor"));
    assert!(refused(&[floor.clone(), floor.clone()]).contains("second floor"));
    assert!(refused(&[floor.clone(), entry.clone(), entry.clone()]).contains("a second one"));
    assert!(refused(&[floor.clone(), counting.clone(), counting.clone()]).contains("a second one"));
    let foreign = of(AURA_BLOCK, 0);
    assert!(refused(&[(floor.0.clone(), foreign.1)]).contains("no floor of babeBlock"));
    // Under a key without such work.
    let aura = [&key_of(AURA), &key_of(BABE)].map(parity_scale_codec::Encode::encode);
    let moved = [&aura[0][..], &floor.0[aura[1].len()..]].concat();
    assert!(refused(&[(moved, floor.1.clone())]).contains("has no watermark of babeBlock"));
    for cut in [0, 1, 2, 20, floor.0.len() - 1] {
        assert!(!refused(&[(floor.0[..cut].to_vec(), floor.1.clone())]).is_empty(), "{cut}");
    }
    for row in [&[][..], &[0, 0], &[9], &[1, 0], &[3, 0, 0, 0, 0, 0]] {
        let key = [&floor.0[..floor.0.len() - 1], row].concat();
        assert!(!refused(&[floor.clone(), (key, entry.1.clone())]).is_empty(), "{row:?}");
    }
    // An entry of another watermark.
    let vote = of(signonce_substrate::GRANDPA_VOTE, 1);
    assert!(refused(&[floor, (entry.0, vote.1)]).contains("another watermark"));
}
