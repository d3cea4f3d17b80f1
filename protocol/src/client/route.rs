//! Which URL to ask next: a pure structure, so that failover can be tested without a network or a clock.
//!
//! Time is milliseconds since any fixed moment, jitter a number in 0..=1 that the caller draws.

use std::time::Duration;

/// First pause after a failure.
const BACKOFF_FIRST_MS: u64 = 50;
/// Longest pause after a signer said that it is not ready: elections take about a second.
const BACKOFF_BUSY_MAX_MS: u64 = 400;
/// Longest pause after a signer could not be reached.
const BACKOFF_LOST_MAX_MS: u64 = 5_000;
/// No attempt gets less than this, as long as the deadline allows it.
pub(super) const ATTEMPT_LEAST: Duration = Duration::from_millis(50);

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It answered that it cannot serve now, or does not know the outcome.
    Busy,
    /// It could not be reached, or did not answer in time.
    Lost,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// Ask this URL.
    Use(usize),
    /// Ask nobody before this time; then begin a new round.
    WaitUntil(u64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// How many times in a row it failed.
    failures: u32,
    /// It is not asked before this time.
    rests_until_ms: u64,
}

/// What is known of the URLs; shared by all requests of a client.
#[derive(Debug)]
pub(super) struct Route {
    urls: Vec<Health>,
    /// Asked first: the leader if it is known, else the last one that answered. Always an index of `urls`.
    preferred: usize,
}

impl Route {
    /// A route over `urls` URLs that begins with `first`.
    ///
    /// # Panics
    /// If there is no URL, or no such first one.
    pub(super) fn new(urls: usize, first: usize) -> Self {
        assert!(first < urls, "URL {first} of {urls}");
        Self { urls: vec![Health::default(); urls], preferred: first }
    }

    /// The URL to ask first now.
    pub(super) const fn preferred(&self) -> usize {
        self.preferred
    }

    /// Who to ask at `now_ms`, given who was asked in this round of this request.
    pub(super) fn pick(&self, now_ms: u64, asked: &[usize]) -> Pick {
        let count = self.urls.len();
        let ring = (0..count).map(|step| (self.preferred + step) % count);
        match ring.into_iter().find(|at| !asked.contains(at) && self.urls[*at].rests_until_ms <= now_ms) {
            Some(at) => Pick::Use(at),
            None => Pick::WaitUntil(self.first_rested(now_ms)),
        }
    }

    /// When the first URL may be asked again; at least a little later than `now_ms`, so that a round of URLs that
    /// all answer "not ready" at once does not spin.
    fn first_rested(&self, now_ms: u64) -> u64 {
        let first = self.urls.iter().map(|health| health.rests_until_ms).min().unwrap_or_default();
        first.max(now_ms + BACKOFF_FIRST_MS / 2)
    }

    /// `at` answered. It is preferred from now on, unless the preferred one is well.
    pub(super) fn answered(&mut self, at: usize) {
        self.urls[at] = Health::default();
        if self.urls[self.preferred].failures > 0 {
            self.preferred = at;
        }
    }

    /// `at` failed and rests for a while that doubles with every failure in a row.
    pub(super) fn failed(&mut self, at: usize, failure: Failure, now_ms: u64, jitter: f64) {
        let longest = match failure {
            Failure::Busy => BACKOFF_BUSY_MAX_MS,
            Failure::Lost => BACKOFF_LOST_MAX_MS,
        };
        let health = &mut self.urls[at];
        let full = BACKOFF_FIRST_MS.saturating_mul(1 << health.failures.min(16)).min(longest);
        // Half fixed, half drawn: clients that failed together do not come back together.
        let pause = full / 2 + (full as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as u64;
        health.failures = health.failures.saturating_add(1);
        health.rests_until_ms = now_ms + pause;
    }

    /// A signer says that `at` is the leader. Ignored while `at` rests after a failure.
    pub(super) fn leader_is(&mut self, at: usize, now_ms: u64) {
        if self.urls[at].rests_until_ms <= now_ms {
            self.preferred = at;
        }
    }
}

/// How long one attempt may take: all that is `left` when nobody else could be asked, else at most half of it and at
/// most `longest`, so that a frozen signer leaves time for another one.
pub(super) fn attempt_time(left: Duration, longest: Duration, others: bool) -> Duration {
    if others { (left / 2).min(longest).max(ATTEMPT_LEAST).min(left) } else { longest.min(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_preferred_url_is_asked_first_and_then_each_other_once() {
        let route = Route::new(3, 1);
        assert_eq!(route.pick(0, &[]), Pick::Use(1));
        assert_eq!(route.pick(0, &[1]), Pick::Use(2));
        assert_eq!(route.pick(0, &[1, 2]), Pick::Use(0));
        assert_eq!(route.pick(0, &[1, 2, 0]), Pick::WaitUntil(25));
    }

    #[test]
    fn a_url_that_failed_rests_longer_each_time_and_is_well_after_an_answer() {
        let mut route = Route::new(1, 0);
        for pause in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            route.failed(0, Failure::Lost, 0, 1.0);
            assert_eq!(route.pick(pause - 1, &[]), Pick::WaitUntil(pause.max(pause - 1 + 25)));
            assert_eq!(route.pick(pause, &[]), Pick::Use(0));
        }
        route.answered(0);
        assert_eq!(route.pick(0, &[]), Pick::Use(0));
        route.failed(0, Failure::Lost, 0, 0.0);
        assert_eq!(route.pick(25, &[]), Pick::Use(0));
    }

    #[test]
    fn a_busy_signer_rests_for_a_fraction_of_an_election_at_most() {
        let mut route = Route::new(1, 0);
        for _ in 0..40 {
            route.failed(0, Failure::Busy, 0, 1.0);
        }
        assert_eq!(route.pick(400, &[]), Pick::Use(0));
    }

    #[test]
    fn after_a_failover_the_one_that_answered_stays_preferred() {
        let mut route = Route::new(3, 0);
        route.failed(0, Failure::Lost, 0, 0.5);
        assert_eq!(route.pick(0, &[0]), Pick::Use(1));
        route.answered(1);
        assert_eq!(route.pick(1_000_000, &[]), Pick::Use(1));
    }

    #[test]
    fn an_answer_from_another_url_leaves_a_well_leader_preferred() {
        let mut route = Route::new(3, 0);
        route.leader_is(2, 0);
        route.answered(1);
        assert_eq!(route.pick(0, &[]), Pick::Use(2));
    }

    #[test]
    fn a_leader_that_just_failed_is_not_believed_in() {
        let mut route = Route::new(2, 0);
        route.failed(1, Failure::Lost, 100, 1.0);
        route.leader_is(1, 120);
        assert_eq!(route.preferred(), 0);
        route.leader_is(1, 150);
        assert_eq!(route.preferred(), 1);
    }

    #[test]
    fn a_frozen_signer_leaves_half_of_the_time_for_another_one() {
        let ms = Duration::from_millis;
        assert_eq!(attempt_time(ms(300), ms(1000), true), ms(150));
        assert_eq!(attempt_time(ms(300), ms(1000), false), ms(300));
        assert_eq!(attempt_time(ms(9000), ms(1000), true), ms(1000));
        assert_eq!(attempt_time(ms(60), ms(1000), true), ms(50));
        assert_eq!(attempt_time(ms(20), ms(1000), true), ms(20));
    }

    proptest! {
        #[test]
        fn whatever_happens_a_request_can_always_go_on(
            events in proptest::collection::vec((0usize..4, 0u8..4, 0u64..2_000, 0.0f64..=1.0), 0..60),
        ) {
            let mut route = Route::new(4, 0);
            let mut now = 0;
            for (at, event, step, jitter) in events {
                now += step;
                match event {
                    0 => route.answered(at),
                    1 => route.failed(at, Failure::Lost, now, jitter),
                    2 => route.failed(at, Failure::Busy, now, jitter),
                    _ => route.leader_is(at, now),
                }
                match route.pick(now, &[]) {
                    Pick::Use(at) => prop_assert!(at < 4),
                    Pick::WaitUntil(then) => {
                        prop_assert!(then > now && then <= now + BACKOFF_LOST_MAX_MS);
                        prop_assert!(matches!(route.pick(then, &[]), Pick::Use(_)));
                    }
                }
            }
        }
    }
}
