//! How the slots of a chain are counted.

use signonce_protocol::{Chain, ChainId, LogIndex, Retiming, Slot, SlotClock};
use signonce_substrate::{ChainFormat, ChainSettings, Limits};

const M: u64 = 1_795_800_006_000;

fn chain(slot_duration_ms: u64) -> Chain {
    signonce_substrate::install();
    let (format, limits) = (ChainFormat::default(), Limits::default());
    ChainSettings { format, slot_duration_ms, limits }.chain(ChainId([1; 32]), "c")
}

fn later(from_ms: u64, slot_duration_ms: u64) -> Retiming {
    Retiming { from_ms, slot_duration_ms, at: LogIndex(1) }
}

#[test]
fn a_slot_is_read_where_it_stands_nearest() {
    let (chain, later) = (chain(6_000), [later(M, 24_000)]);
    let clock = SlotClock::new(&chain, &later);
    let (last, first) = (Slot(299_300_000), Slot(74_825_001));
    assert_eq!(clock.read(last, M), Some((0, 1_795_800_000_000)));
    assert_eq!(clock.read(first, M), Some((1, 1_795_800_024_000)));
    assert_eq!(clock.first_from(M), (1, first));
    assert_eq!(clock.first_from(M - 6_000), (0, last));
    assert_eq!((clock.slot_at(M - 1), clock.slot_at(M + 18_000)), (last, first));
    assert_eq!((clock.slots_after(M - 18_000, 2), clock.slots_after(M - 1, 1)), (last, first));
}

#[test]
fn where_slots_get_shorter_some_numbers_are_left_out() {
    let (chain, later) = (chain(12_000), [later(1_795_800_012_000, 6_000)]);
    let clock = SlotClock::new(&chain, &later);
    assert_eq!(clock.read(Slot(149_650_000), M), Some((0, 1_795_800_000_000)));
    assert_eq!(clock.read(Slot(299_300_002), M), Some((1, 1_795_800_012_000)));
    for out in [149_650_001, 200_000_000, 299_300_001] {
        assert_eq!(clock.read(Slot(out), M), None, "{out}");
    }
}

#[test]
fn the_fence_goes_by_the_counting_of_the_moment() {
    let (chain, later) = (chain(6_000), [later(M, 24_000)]);
    let clock = SlotClock::new(&chain, &later);
    assert!(clock.is_near(Slot(299_300_000), M - 1, 3));
    assert!(!clock.is_near(Slot(299_300_001), M - 1, 3), "it would begin when slots last otherwise");
    assert!(clock.is_near(Slot(74_825_001), M - 1, 3), "a clock may be behind");
    assert!(clock.is_near(Slot(299_300_000), M + 6_000, 3), "or a block late");
    assert!(!clock.is_near(Slot(299_300_000), M + 60_000, 3));
    assert!(!clock.is_near(Slot(299_300_010), M + 60_000, 3), "no number of before");
    assert!(!clock.is_near(Slot(u64::MAX), M, 3));
}
