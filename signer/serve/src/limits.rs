//! Keeps each client to its share of this node: token buckets for requests, for audit records, and for asking the log
//! again about claims that this node would refuse; and a maximum number of claims under way.
//!
//! [`sign`](crate::sign) checks before it reads a payload and again before a claim leaves for the log, so that a client
//! that runs wild costs a lookup and not a place in the leader's queue. The limits are replicated
//! ([`signonce_core::ClientLimits`]); each node counts for itself. Time is monotonic, so setting the clock changes
//! nothing.
//!
//! A claim leaves an audit record for as long as records are kept. So what a client may ask for in a burst is more than
//! it may ask for in the long run: its share of records is ten minutes of its full rate, refilled at a twentieth of it
//! (but at 20 a second at least). An honest validator of Polkadot claims one or two duties a second.
//!
//! [`Buckets`] are for callers that are not clients.

use signonce_core::{ClientId, ClientLimits};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// When a client with too many claims under way is told to ask again: about as long as a claim takes.
const CLAIM: Duration = Duration::from_millis(20);
/// Seconds of its full rate that a client's share of records holds.
const RECORDS_HELD: f64 = 600.0;
/// The rate of a client is divided by this for the rate of claims in the long run.
const RECORDS_PART: f64 = 20.0;
/// The lowest long-run rate a client is held to, in claims a second, unless its own rate is lower.
const RECORDS_LEAST: f64 = 20.0;
/// Claims that the log is asked to judge although this node would refuse them: this many at once, and one a minute.
const DOUBTS: f64 = 10.0;
const DOUBTS_PER_SECOND: f64 = 1.0 / 60.0;

/// The number of buckets above which full ones are dropped: they are no different from new ones.
const SWEEP: usize = 1_024;
/// The most subscriptions of a client at a node, on all its connections: enough for several machines with one
/// certificate that reconnect before their old connections are known to be gone.
const SUBSCRIPTIONS: u32 = 8;

/// The limit that a client has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Requests.
    Requests,
    /// Claims under way.
    InFlight,
    /// Audit records.
    Records,
}

/// Why a client has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// When to ask again.
    pub retry_after: Duration,
    /// The limit that was reached.
    pub of: Share,
}

/// What each client has used recently.
#[derive(Default)]
pub struct Limiter {
    clients: Mutex<HashMap<ClientId, Use>>,
}

struct Use {
    requests: Bucket,
    records: Bucket,
    doubts: Bucket,
    in_flight: u32,
    subscriptions: u32,
}

/// Tokens that come back with time.
struct Bucket {
    /// The tokens available at the time `counted`.
    tokens: f64,
    counted: Instant,
}

impl Bucket {
    const fn full(room: f64, now: Instant) -> Self {
        Self { tokens: room, counted: now }
    }

    /// Takes one token from a bucket of size `room` that is refilled at `rate` a second, or says when there will be
    /// one.
    fn take(&mut self, rate: f64, room: f64, now: Instant) -> Result<(), Duration> {
        self.take_many(1.0, rate, room, now)
    }

    /// Takes `cost` tokens. If that is more than the bucket ever holds, it must be full, and the rest is owed.
    fn take_many(&mut self, cost: f64, rate: f64, room: f64, now: Instant) -> Result<(), Duration> {
        self.tokens = self.holds(rate, room, now);
        self.counted = self.counted.max(now);
        let needed = cost.min(room.max(1.0));
        if self.tokens >= needed {
            self.tokens -= cost;
            return Ok(());
        }
        Err(Duration::from_secs_f64((needed - self.tokens) / rate))
    }

    /// The tokens available at `now`.
    fn holds(&self, rate: f64, room: f64, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.counted).as_secs_f64();
        (self.tokens + since * rate).min(room)
    }
}

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second in the long run.
    pub per_second: u32,
    /// Tokens at once, after a pause.
    pub burst: u32,
}

/// Token buckets, one for each caller.
pub struct Buckets<K>(Mutex<HashMap<K, Bucket>>);

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Takes `cost` tokens from the bucket of `who`.
    ///
    /// # Errors
    /// If the bucket holds too little: how long until it holds enough.
    pub fn take(&self, who: K, rate: Rate, cost: u32, now: Instant) -> Result<(), Duration> {
        let (per_second, room) = (f64::from(rate.per_second.max(1)), f64::from(rate.burst));
        let mut buckets = self.lock();
        if buckets.len() >= SWEEP {
            buckets.retain(|_, bucket| bucket.holds(per_second, room, now) < room);
        }
        let bucket = buckets.entry(who).or_insert(Bucket::full(room, now));
        bucket.take_many(f64::from(cost), per_second, room, now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Bucket>> {
        // A panic leaves the counts consistent, and the process aborts on panics anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rate and the size of a client's bucket of audit records.
fn records(limits: ClientLimits) -> (f64, f64) {
    let full = f64::from(limits.per_second.max(1));
    ((full / RECORDS_PART).max(RECORDS_LEAST).min(full), full * RECORDS_HELD)
}

/// A subscription. Gives its place back when it is dropped.
pub struct SubscriptionPlace<'a> {
    limiter: &'a Limiter,
    client: ClientId,
}

/// A claim under way. Gives its place back when it is dropped.
pub struct InFlightClaim<'a> {
    limiter: &'a Limiter,
    client: ClientId,
    /// Whether no other claim, of any client, was under way when it was taken.
    pub alone: bool,
}

impl Limiter {
    /// Takes one request from the bucket of `client`.
    ///
    /// # Errors
    /// If the bucket is empty.
    pub fn request(&self, client: ClientId, limits: ClientLimits, now: Instant) -> Result<(), TooMuch> {
        self.work(client, limits, 1, now)
    }

    /// Takes the cost of an answer, in plain requests, from the bucket of `client`.
    ///
    /// # Errors
    /// If the bucket is empty.
    pub fn work(
        &self,
        client: ClientId,
        limits: ClientLimits,
        cost: u32,
        now: Instant,
    ) -> Result<(), TooMuch> {
        let rate = f64::from(limits.per_second.max(1));
        let mut clients = self.lock();
        let used = entry(&mut clients, client, limits, now);
        let taken = used.requests.take_many(f64::from(cost), rate, f64::from(limits.burst), now);
        taken.map_err(|retry_after| TooMuch { retry_after, of: Share::Requests })
    }

    /// Takes one of `client`'s subscriptions.
    ///
    /// # Errors
    /// If it has as many as it may, with that number.
    pub fn subscription(&self, client: ClientId, limits: ClientLimits) -> Result<SubscriptionPlace<'_>, u32> {
        let mut clients = self.lock();
        let used = entry(&mut clients, client, limits, Instant::now());
        if used.subscriptions >= SUBSCRIPTIONS {
            return Err(SUBSCRIPTIONS);
        }
        used.subscriptions += 1;
        Ok(SubscriptionPlace { limiter: self, client })
    }

    /// Takes one audit record from the share of `client`.
    ///
    /// # Errors
    /// If it has used up its share.
    pub fn record(&self, client: ClientId, limits: ClientLimits, now: Instant) -> Result<(), TooMuch> {
        let (rate, room) = records(limits);
        let mut clients = self.lock();
        let taken = entry(&mut clients, client, limits, now).records.take(rate, room, now);
        taken.map_err(|retry_after| TooMuch { retry_after, of: Share::Records })
    }

    /// Whether the log is to be asked about a claim of `client` that this node would refuse.
    pub fn doubt(&self, client: ClientId, limits: ClientLimits, now: Instant) -> bool {
        entry(&mut self.lock(), client, limits, now).doubts.take(DOUBTS_PER_SECOND, DOUBTS, now).is_ok()
    }

    /// Takes one of `client`'s claims under way.
    ///
    /// # Errors
    /// If it has as many under way as it may.
    pub fn claim(&self, client: ClientId, limits: ClientLimits) -> Result<InFlightClaim<'_>, TooMuch> {
        let mut clients = self.lock();
        let used = entry(&mut clients, client, limits, Instant::now());
        if used.in_flight >= limits.in_flight {
            return Err(TooMuch { retry_after: CLAIM, of: Share::InFlight });
        }
        used.in_flight += 1;
        let alone = clients.values().map(|used| used.in_flight).sum::<u32>() == 1;
        Ok(InFlightClaim { limiter: self, client, alone })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, Use>> {
        // A panic leaves the counts consistent, and the process aborts on panics anyway.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There are only as many clients as the registry has, so this map needs no sweeping.
fn entry(clients: &mut HashMap<ClientId, Use>, id: ClientId, limits: ClientLimits, now: Instant) -> &mut Use {
    let full = || Use {
        requests: Bucket::full(f64::from(limits.burst), now),
        records: Bucket::full(records(limits).1, now),
        doubts: Bucket::full(DOUBTS, now),
        in_flight: 0,
        subscriptions: 0,
    };
    clients.entry(id).or_insert_with(full)
}

impl Drop for InFlightClaim<'_> {
    fn drop(&mut self) {
        if let Some(used) = self.limiter.lock().get_mut(&self.client) {
            used.in_flight = used.in_flight.saturating_sub(1);
        }
    }
}

impl Drop for SubscriptionPlace<'_> {
    fn drop(&mut self) {
        if let Some(used) = self.limiter.lock().get_mut(&self.client) {
            used.subscriptions = used.subscriptions.saturating_sub(1);
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
        assert_eq!(refused, TooMuch { retry_after: Duration::from_millis(100), of: Share::Requests });
        limiter.request(A, LIMITS, start + refused.retry_after).unwrap();
        assert!(limiter.request(A, LIMITS, at(150)).is_err());
        // However long the pause was, no more than the burst.
        assert_eq!((0..9).filter(|_| limiter.request(A, LIMITS, at(60_000)).is_ok()).count(), 3);
    }

    #[test]
    fn an_answer_that_costs_more_is_paid_for_even_if_a_bucket_never_holds_as_much() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        limiter.work(A, LIMITS, 23, start).unwrap();
        let refused = limiter.request(A, LIMITS, start).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(2_100), "20 are owed, and one is wanted");
        limiter.request(A, LIMITS, start + refused.retry_after).unwrap();
        assert!(limiter.work(A, LIMITS, 2, start + refused.retry_after).is_err());
    }

    #[test]
    fn buckets_of_those_who_are_quiet_are_forgotten() {
        let (buckets, start) = (Buckets::default(), Instant::now());
        let rate = Rate { per_second: 10, burst: 3 };
        for who in 0..SWEEP {
            buckets.take(who, rate, 1, start).unwrap();
        }
        buckets.take(0, rate, 2, start).unwrap();
        buckets.take(SWEEP, rate, 1, start + Duration::from_millis(100)).unwrap();
        assert_eq!(buckets.lock().len(), 2, "the one that has asked much, and the new one");
        assert!(buckets.take(0, rate, 2, start + Duration::from_millis(100)).is_err());
    }

    #[test]
    fn one_client_takes_nothing_from_another() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        while limiter.request(A, LIMITS, now).is_ok() {}
        limiter.request(B, LIMITS, now).unwrap();
        let _both = [limiter.claim(A, LIMITS).ok().unwrap(), limiter.claim(A, LIMITS).ok().unwrap()];
        assert!(limiter.claim(A, LIMITS).is_err_and(|too_much| too_much.of == Share::InFlight));
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
    fn a_client_has_a_few_subscriptions_and_gets_the_place_of_one_that_ended() {
        let limiter = Limiter::default();
        let subscribe = |client| limiter.subscription(client, LIMITS);
        let mut places: Vec<_> = (0..SUBSCRIPTIONS).map(|_| subscribe(A).ok().unwrap()).collect();
        assert!(subscribe(A).is_err());
        assert!(subscribe(B).is_ok());
        places.pop();
        assert!(subscribe(A).is_ok());
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

    #[test]
    fn a_client_claims_at_its_full_rate_for_ten_minutes_and_at_a_twentieth_for_ever() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let limits = ClientLimits { per_second: 1_000, ..LIMITS };
        let taken =
            |at: Instant| (0..1_000_000).take_while(|_| limiter.record(A, limits, at).is_ok()).count();
        assert_eq!(taken(start), 600_000);
        assert_eq!(limiter.record(A, limits, start).unwrap_err().of, Share::Records);
        assert_eq!(taken(start + Duration::from_secs(10)), 500);
        limiter.record(B, limits, start).unwrap();
        // A small client is not held to a twentieth of little.
        assert_eq!(records(ClientLimits { per_second: 30, ..LIMITS }).0, 20.0);
        assert_eq!(records(ClientLimits { per_second: 5, ..LIMITS }).0, 5.0);
    }

    #[test]
    fn the_log_is_asked_again_now_and_then() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let asked = |at: Instant| (0..1_000).filter(|_| limiter.doubt(A, LIMITS, at)).count();
        assert_eq!(asked(start), 10);
        assert_eq!(asked(start + Duration::from_secs(60)), 1);
        assert!(limiter.doubt(B, LIMITS, start));
    }
}
