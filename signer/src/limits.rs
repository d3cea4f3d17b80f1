//! Keeps each client to its share of this node: a token bucket for requests, a number of claims under way.
//!
//! [`sign`](crate::sign) asks before it reads a payload and again before a claim leaves for the log, so that a client
//! that goes mad costs a look-up and not a place in the leader's queue. The limits are replicated
//! ([`signonce_core::ClientLimits`]), the counting is this node's own. Time is monotonic: a clock that is set changes
//! nothing.

use signonce_core::{ClientId, ClientLimits};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// After how long a client that has too much under way is told to ask again: about what a claim takes.
const CLAIM: Duration = Duration::from_millis(20);

/// Why a client has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// When to ask again.
    pub retry_after: Duration,
    /// Too many claims under way, rather than too many requests.
    pub in_flight: bool,
}

/// What every client has used lately.
#[derive(Default)]
pub struct Limiter {
    clients: Mutex<HashMap<ClientId, Use>>,
}

struct Use {
    /// Requests that may come at once, at `counted`.
    tokens: f64,
    counted: Instant,
    in_flight: u32,
}

/// A claim under way. Gives its place back when it is dropped.
pub struct Place<'a> {
    limiter: &'a Limiter,
    client: ClientId,
    /// Whether no other claim, of any client, was under way when it was taken.
    pub alone: bool,
}

impl Limiter {
    /// Takes one request of `client` off its bucket.
    ///
    /// # Errors
    /// If the bucket is empty.
    pub fn request(&self, client: ClientId, limits: ClientLimits, now: Instant) -> Result<(), TooMuch> {
        let rate = f64::from(limits.per_second.max(1));
        let mut clients = self.lock();
        let used = entry(&mut clients, client, limits, now);
        let since = now.saturating_duration_since(used.counted).as_secs_f64();
        used.tokens = (used.tokens + since * rate).min(f64::from(limits.burst));
        used.counted = used.counted.max(now);
        if used.tokens >= 1.0 {
            used.tokens -= 1.0;
            return Ok(());
        }
        let retry_after = Duration::from_secs_f64((1.0 - used.tokens) / rate);
        Err(TooMuch { retry_after, in_flight: false })
    }

    /// Takes a place for one claim of `client`.
    ///
    /// # Errors
    /// If it has as many under way as it may.
    pub fn claim(&self, client: ClientId, limits: ClientLimits) -> Result<Place<'_>, TooMuch> {
        let mut clients = self.lock();
        let used = entry(&mut clients, client, limits, Instant::now());
        if used.in_flight >= limits.in_flight {
            return Err(TooMuch { retry_after: CLAIM, in_flight: true });
        }
        used.in_flight += 1;
        let alone = clients.values().map(|used| used.in_flight).sum::<u32>() == 1;
        Ok(Place { limiter: self, client, alone })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, Use>> {
        // Counts are whole whatever panicked, and the process aborts on panics anyway.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients are as many as the registry has, so this never has to be swept.
fn entry(clients: &mut HashMap<ClientId, Use>, id: ClientId, limits: ClientLimits, now: Instant) -> &mut Use {
    let full = || Use { tokens: f64::from(limits.burst), counted: now, in_flight: 0 };
    clients.entry(id).or_insert_with(full)
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(used) = self.limiter.lock().get_mut(&self.client) {
            used.in_flight = used.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClientId = ClientId(1);
    const B: ClientId = ClientId(2);
    const LIMITS: ClientLimits = ClientLimits { per_second: 10, burst: 3, in_flight: 2 };

    #[test]
    fn a_burst_is_served_and_then_so_many_a_second() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..3 {
            limiter.request(A, LIMITS, start).unwrap();
        }
        let refused = limiter.request(A, LIMITS, start).unwrap_err();
        assert_eq!(refused, TooMuch { retry_after: Duration::from_millis(100), in_flight: false });
        limiter.request(A, LIMITS, start + refused.retry_after).unwrap();
        assert!(limiter.request(A, LIMITS, at(150)).is_err());
        // However long the pause was, no more than the burst.
        assert_eq!((0..9).filter(|_| limiter.request(A, LIMITS, at(60_000)).is_ok()).count(), 3);
    }

    #[test]
    fn one_client_takes_nothing_from_another() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        while limiter.request(A, LIMITS, now).is_ok() {}
        limiter.request(B, LIMITS, now).unwrap();
        let _both = [limiter.claim(A, LIMITS).ok().unwrap(), limiter.claim(A, LIMITS).ok().unwrap()];
        assert!(limiter.claim(A, LIMITS).is_err_and(|too_much| too_much.in_flight));
        assert!(limiter.claim(B, LIMITS).is_ok());
    }

    #[test]
    fn a_claim_that_ends_gives_its_place_back_and_new_limits_count_at_once() {
        let limiter = Limiter::default();
        let places = [limiter.claim(A, LIMITS).ok(), limiter.claim(A, LIMITS).ok()];
        let more = ClientLimits { in_flight: 3, ..LIMITS };
        assert!(limiter.claim(A, more).is_ok());
        assert!(limiter.claim(A, LIMITS).is_err());
        drop(places);
        assert!(limiter.claim(A, LIMITS).is_ok());
        let (now, less) = (Instant::now(), ClientLimits { burst: 1, ..LIMITS });
        limiter.request(A, LIMITS, now).unwrap();
        assert!(limiter.request(A, less, now).is_ok());
        assert!(limiter.request(A, less, now).is_err());
    }

    #[test]
    fn a_claim_is_alone_where_no_other_of_any_client_is_under_way() {
        let limiter = Limiter::default();
        let first = limiter.claim(A, LIMITS).ok().unwrap();
        assert!(first.alone);
        assert!(limiter.claim(B, LIMITS).is_ok_and(|second| !second.alone));
        drop(first);
        assert!(limiter.claim(B, LIMITS).is_ok_and(|third| third.alone));
    }
}
