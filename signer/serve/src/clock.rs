//! Whether the wall clock can be trusted: it is compared with the monotonic clock, which nobody sets.
//!
//! Slots are wall-clock time. When the two clocks drift apart by more than [`JUMP_MS`] between two checks, the clock
//! was set (or the machine slept), and for [`SUSPECT_MS`] this node serves no duty with a slot: by then the clock has
//! settled, or other nodes have taken over. Duties without a slot are not affected.

use signonce_cluster::clock::unix_ms;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// How far apart, in milliseconds, the clocks may drift between two checks.
pub const JUMP_MS: u64 = 2_000;
/// For how many milliseconds a clock that jumped is not trusted.
pub const SUSPECT_MS: u64 = 10_000;

/// The wall clock jumped a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node's clock jumped by {by_ms} ms; slots are served again in {left_ms} ms (check the time service)"
)]
pub struct ClockJumped {
    /// The jump in milliseconds, positive if forwards.
    pub by_ms: i64,
    /// For how many milliseconds the clock is not trusted yet.
    pub left_ms: u64,
}

/// Compares both clocks. Shared; check often (a timer does so every second).
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    watch: Mutex<Watch>,
    jumps: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), watch: Mutex::new(Watch::default()), jumps: AtomicU64::new(0) }
    }
}

impl Clock {
    /// Compares the clocks; logs a jump when it is first seen.
    ///
    /// # Errors
    /// While the clock is not trusted.
    pub fn look(&self) -> Result<(), ClockJumped> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        // Both are read under the lock, so that checks see them in the order in which they were read.
        let monotonic_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = watch.jump;
        let verdict = watch.look(unix_ms(), monotonic_ms);
        if let Some(jump) = watch.jump.filter(|_| watch.jump != before) {
            self.jumps.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                by_ms = jump.by_ms,
                "the wall clock jumped; duties with a slot wait {SUSPECT_MS} ms"
            );
        }
        verdict
    }

    /// How often it jumped since the process started.
    pub fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    by_ms: i64,
    seen_ms: u64,
}

/// The comparison itself, on given times.
#[derive(Debug, Default)]
struct Watch {
    /// Wall and monotonic time of the last check, in milliseconds.
    last: Option<(u64, u64)>,
    jump: Option<Jump>,
}

impl Watch {
    fn look(&mut self, wall_ms: u64, monotonic_ms: u64) -> Result<(), ClockJumped> {
        if let Some((last_wall, last_monotonic)) = self.last.replace((wall_ms, monotonic_ms)) {
            let expected = last_wall.saturating_add(monotonic_ms.saturating_sub(last_monotonic));
            if wall_ms.abs_diff(expected) > JUMP_MS {
                let by_ms = i64::try_from(i128::from(wall_ms) - i128::from(expected)).unwrap_or(i64::MAX);
                self.jump = Some(Jump { by_ms, seen_ms: monotonic_ms });
            }
        }
        match self.jump {
            Some(Jump { by_ms, seen_ms }) if monotonic_ms < seen_ms + SUSPECT_MS => {
                Err(ClockJumped { by_ms, left_ms: seen_ms + SUSPECT_MS - monotonic_ms })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;

    #[test]
    fn a_clock_that_keeps_pace_is_believed() {
        let mut watch = Watch::default();
        for (wall, monotonic) in [(0, 0), (1_000, 1_000), (1_900, 1_000), (3_000, 3_900), (90_000, 90_000)] {
            assert_eq!(watch.look(START + wall, monotonic), Ok(()), "{wall} {monotonic}");
        }
    }

    #[test]
    fn a_jump_either_way_is_not_believed_for_ten_seconds() {
        for by_ms in [-3_600_000, -2_001, 2_001, 86_400_000] {
            let mut watch = Watch::default();
            assert_eq!(watch.look(START, 0), Ok(()));
            let wall = (START + 1_000).checked_add_signed(by_ms).unwrap();
            assert_eq!(watch.look(wall, 1_000), Err(ClockJumped { by_ms, left_ms: SUSPECT_MS }));
            assert_eq!(watch.look(wall + 9_999, 10_999), Err(ClockJumped { by_ms, left_ms: 1 }));
            assert_eq!(watch.look(wall + 10_000, 11_000), Ok(()));
        }
    }

    #[test]
    fn jumping_back_again_starts_the_wait_anew() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(START, 0), Ok(()));
        assert!(watch.look(START + 60_000, 10).is_err());
        assert_eq!(
            watch.look(START + 9_000, 9_000),
            Err(ClockJumped { by_ms: -59_990, left_ms: SUSPECT_MS })
        );
        assert!(watch.look(START + 18_999, 18_999).is_err());
        assert_eq!(watch.look(START + 19_000, 19_000), Ok(()));
    }
}
