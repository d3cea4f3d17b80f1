//! Golden bytes of every kind of row in the ledger's table, for every kind of watermark.

use super::{Ledger, store::Row, watermark::Watermark};
use crate::{
    Floors, Verdict,
    golden::{
        File,
        sample::{self, *},
        variants,
    },
    model::{Claim, Position, Retiming, SlotClock},
    records::Journal,
};
use parity_scale_codec::Decode;
use signonce_protocol::{Duty, DutyClass, KeyId, KeyType, Slot};
use std::collections::BTreeMap;

variants! {
    fn rows() -> Row {
        Floor => Row::Floor;
        Entry => Row::Entry;
        Counting => Row::Counting;
        Sides => Row::Sides;
        Recent => Row::Recent;
    }
}

/// The key type that has such a watermark. A watermark that is added does not compile before it is here.
const fn key_type(mark: &Watermark) -> KeyType {
    match mark {
        Watermark::Slot(_) => KeyType::Babe,
        Watermark::Grandpa(_) => KeyType::Grandpa,
        Watermark::Beefy(_) => KeyType::Beefy,
        Watermark::Para(_) => KeyType::Para,
    }
}

/// A key of each kind of watermark, with an entry of each kind that the rules make.
fn ledger() -> Ledger {
    let (mut ledger, journal) = (Ledger::default(), &mut Journal::default());
    let chain = sample::chain();
    let later = [Retiming { from_ms: 10_000_000, slot_duration_ms: 24_000, at: AT }];
    let clock = SlotClock::new(&chain, &later);
    for key_type in KeyType::ALL {
        let key = key_of(key_type);
        let Some(position) = duties().iter().find_map(|(_, duty)| {
            let position = Position::of(duty);
            position.fits(key_type).then_some(position)
        }) else {
            continue;
        };
        ledger.arm(key, &Floors::from(position), (clock, 0), journal).expect("the key has no floor yet");
    }
    for (_, duty) in duties() {
        // Sides are kept in two ways, by the level at which they were taken. The AURA chain's blocks are collations.
        for guarded in [false, true] {
            let of = Position::of(&duty);
            let key = KeyType::ALL.into_iter().find(|key_type| {
                of.fits(*key_type) && (*key_type == KeyType::Aura) == matches!(duty, Duty::AuraBlock { .. })
            });
            let key = key_of(key.expect("a duty is some key's"));
            let claim = Claim { key, client: CLIENT, duty: duty.clone(), digest: DIGEST, time_ms: TIME_MS };
            if ledger.judge(&claim, &chain, clock, None, guarded) == Verdict::Granted {
                ledger.record(&claim, clock, AT, guarded, journal);
            }
        }
    }
    // Too late a number for the first length of slots: it begins after they were made longer.
    let counted = Duty::BabeBlock { slot: Slot(1_700) };
    let claim =
        Claim { key: key_of(KeyType::Babe), client: CLIENT, duty: counted, digest: DIGEST, time_ms: TIME_MS };
    assert_eq!(ledger.judge(&claim, &chain, clock, None, true), Verdict::Granted);
    ledger.record(&claim, clock, AT, true, journal);
    ledger
}

#[test]
fn every_row_of_the_ledger_has_the_bytes_it_always_had() {
    let ledger = ledger();
    let stored: Vec<_> = ledger.records().collect();
    let (mut restored, mut file, mut counts) = (Ledger::default(), File::new("ledger"), BTreeMap::new());
    for (key, value) in &stored {
        restored.restore(key, value).expect("a row is read back");
        let (id, class, row) = <(KeyId, DutyClass, Row)>::decode(&mut &key[..]).expect("a row's key");
        let count = counts.entry((row, id.key_type)).and_modify(|count| *count += 1).or_insert(0_u32);
        file.bytes(format!("{class}/{row:?}/{count}/key"), key);
        file.bytes(format!("{class}/{row:?}/{count}/value"), value);
    }
    assert_eq!(restored.records().collect::<Vec<_>>(), stored);
    for mark in ledger.marks.values() {
        for row in [Row::Floor, Row::Entry] {
            assert!(counts.contains_key(&(row, key_type(mark))), "{mark:?} has no {row:?}");
        }
    }
    for (name, row) in rows() {
        assert!(counts.keys().any(|(there, _)| *there == row), "no watermark has a row of kind {name}");
    }
    file.check();
}
