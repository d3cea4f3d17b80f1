//! Limits log lines that others can cause, so that nobody fills a disk or hides among them.
//!
//! A place in the program that a client or a peer can reach at will has a static [`LogThrottle`], keyed by who causes
//! the line and why. It writes at most a few lines for each subject in ten seconds; the first one after that says how
//! many were left out. Counts and the audit stay complete: only the log is throttled. One-time messages and alarms do
//! not go through here.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The most lines about one subject in one period.
const LINES: u64 = 5;
/// The length of a period.
const PERIOD: Duration = Duration::from_secs(10);
/// The most subjects that are told apart at a time.
const SUBJECTS: usize = 512;

/// A limit on log lines by subject; see the module's text.
pub struct LogThrottle<K> {
    said: Mutex<BTreeMap<K, Said>>,
}

struct Said {
    since: Instant,
    lines: u64,
    left_out: u64,
}

impl<K: Ord> LogThrottle<K> {
    /// A throttle for which nothing was logged yet.
    pub const fn new() -> Self {
        Self { said: Mutex::new(BTreeMap::new()) }
    }

    /// Calls `write` to write a line about `about`, unless there were enough. It gets the number of lines left out
    /// before, if any.
    pub fn line(&self, about: K, write: impl FnOnce(Option<u64>)) {
        if let Some(left_out) = self.take(about, Instant::now()) {
            write((left_out > 0).then_some(left_out));
        }
    }

    /// Whether a line about `about` may be written, for callers that cannot report how many were left out.
    pub fn may(&self, about: K) -> bool {
        self.take(about, Instant::now()).is_some()
    }

    /// Permission to write a line, with the number of those left out.
    fn take(&self, about: K, now: Instant) -> Option<u64> {
        // A panic leaves the counts consistent.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= SUBJECTS && !said.contains_key(&about) {
            said.retain(|_, said| now.saturating_duration_since(said.since) < PERIOD);
            if said.len() >= SUBJECTS {
                return None;
            }
        }
        let subject = said.entry(about).or_insert(Said { since: now, lines: 0, left_out: 0 });
        if now.saturating_duration_since(subject.since) >= PERIOD {
            (subject.since, subject.lines) = (now, 0);
        }
        if subject.lines >= LINES {
            subject.left_out += 1;
            return None;
        }
        subject.lines += 1;
        Some(std::mem::take(&mut subject.left_out))
    }
}

impl<K: Ord> Default for LogThrottle<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_some_lines_and_a_number() {
        let (sparing, start) = (LogThrottle::new(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let written: Vec<_> = (0..9_999).filter_map(|ms| sparing.take("a", at(ms))).collect();
        assert_eq!(written, [0; LINES as usize]);
        assert_eq!(sparing.take("a", at(10_000)), Some(9_999 - LINES));
        assert_eq!(sparing.take("a", at(10_001)), Some(0), "it was said");
    }

    #[test]
    fn one_that_floods_silences_nobody_else() {
        let (sparing, now) = (LogThrottle::new(), Instant::now());
        while sparing.take(("mad", 1), now).is_some() {}
        assert_eq!(sparing.take(("mad", 2), now), Some(0));
        assert_eq!(sparing.take(("other", 1), now), Some(0));
    }

    #[test]
    fn subjects_are_bounded_and_forgotten_when_they_are_quiet() {
        let (sparing, start) = (LogThrottle::new(), Instant::now());
        for subject in 0..SUBJECTS {
            assert_eq!(sparing.take(subject, start), Some(0));
        }
        assert_eq!(sparing.take(SUBJECTS, start), None);
        assert_eq!(sparing.take(0, start), Some(0), "known ones go on");
        assert_eq!(sparing.take(SUBJECTS, start + PERIOD), Some(0));
        assert_eq!(sparing.said.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_line_is_given_the_number_only_if_there_is_one() {
        let (sparing, mut given) = (LogThrottle::new(), Vec::new());
        for _ in 0..2 * LINES {
            sparing.line((), |left_out| given.push(left_out));
        }
        assert_eq!(given, [None; LINES as usize]);
    }
}
