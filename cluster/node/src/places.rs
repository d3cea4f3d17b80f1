//! The places of a listener: how many may be connected at a time, and who gives way when there are too many.
//!
//! Every connection is a stranger until the TLS handshake is done and the head of a first request, or a hello, has been
//! read. Strangers have a small budget of their own: so many at a time, so many from one network address, a few seconds
//! each. Nobody waits for a place: a listener accepts at once, and when there are too many, the oldest of the most
//! crowded address gives way. So silent connections cannot keep out those with a purpose, and an address that floods
//! crowds out itself first. A connection that is identified moves to a known place, which strangers never have; these
//! are shared out by holder (a certificate, a node) in the same manner.
//!
//! ```text
//! listener --enter(address)--> stranger --admit(who, share)--> known
//!                                 |                              |
//!                           gives_way(): late, crowded     gives_way(): displaced
//! ```

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How many places a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The most strangers at a time.
    pub strangers: usize,
    /// The most strangers at a time from one address.
    pub per_address: usize,
    /// How long a connection may stay a stranger.
    pub patience: Duration,
    /// The most known connections at a time.
    pub known: usize,
}

impl Rules {
    /// The most connections, and so file descriptors, that the listener ever keeps.
    pub const fn connections_max(&self) -> usize {
        self.strangers + self.known
    }
}

/// The counts of a listener. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct PlaceCounts {
    /// Present strangers.
    pub strangers: Gauge,
    /// Present known connections.
    pub known: Gauge,
    /// Strangers that took too long.
    pub late: Counter,
    /// Strangers that gave way to newer ones.
    pub crowded: Counter,
    /// Known connections that gave way to newer ones, of the same holder or of one with fewer.
    pub displaced: Counter,
}

/// The places of one listener. Clones share them. `K` identifies the holder of a place.
pub struct Places<K: Eq + Hash + Clone>(Arc<Inner<K>>);

impl<K: Eq + Hash + Clone> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<K> {
    patience: Duration,
    counts: PlaceCounts,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    next: u64,
    strangers: Crowd<Source>,
    known: Crowd<K>,
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// A listener's places, all free.
    pub fn new(rules: Rules, counts: PlaceCounts) -> Self {
        let Rules { strangers, per_address, patience, known } = rules;
        let taken = Taken {
            next: 0,
            strangers: Crowd::new(strangers, per_address.min(strangers)),
            known: Crowd::new(known, known),
        };
        Self(Arc::new(Inner { patience, counts, taken: Mutex::new(taken) }))
    }

    /// Takes in a stranger from `address` (none on a unix socket). Another one may have to give way for it.
    pub fn enter(&self, address: Option<IpAddr>) -> Entry<K> {
        let leave = Arc::new(Notify::new());
        let mut taken = self.0.lock();
        taken.next += 1;
        let id = taken.next;
        if taken.strangers.enter(id, Source::of(address), Arc::clone(&leave)) {
            self.0.counts.crowded.inc();
        }
        self.0.count(&taken);
        drop(taken);
        Entry { inner: Arc::clone(&self.0), id, leave, deadline: Instant::now() + self.0.patience }
    }

    /// The counts.
    pub fn counts(&self) -> &PlaceCounts {
        &self.0.counts
    }
}

impl<K> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        // A panic leaves the tables consistent, and the process aborts on panics anyway.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, taken: &Taken<K>) {
        let gauge = |gauge: &Gauge, count: usize| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        gauge(&self.counts.strangers, taken.strangers.members.len());
        gauge(&self.counts.known, taken.known.members.len());
    }
}

/// One connection's place, freed when this is dropped.
pub struct Entry<K: Eq + Hash + Clone> {
    inner: Arc<Inner<K>>,
    id: u64,
    leave: Arc<Notify>,
    deadline: Instant,
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveWay {
    /// It did not identify itself in time.
    #[error("it took too long to say who it is")]
    Late,
    /// Newer strangers came, or newer connections of the same holder, and places are limited.
    #[error("its place was needed for a newer connection")]
    Crowded,
}

impl<K: Eq + Hash + Clone> Entry<K> {
    /// Moves a connection whose holder has been proved to a known place, of which `who` may have `share`. If there are
    /// too many, the oldest of the holder with the most gives way. Does nothing for a known connection.
    ///
    /// # Errors
    /// If the stranger had given way before.
    pub fn admit(&self, who: &K, share: usize) -> Result<(), GiveWay> {
        let mut taken = self.inner.lock();
        if taken.known.members.contains_key(&self.id) {
            return Ok(());
        }
        if !taken.strangers.leave(self.id) {
            return Err(GiveWay::Crowded);
        }
        if taken.known.enter_with_share(self.id, who.clone(), Arc::clone(&self.leave), share) {
            self.inner.counts.displaced.inc();
        }
        self.inner.count(&taken);
        Ok(())
    }

    /// Waits until this connection must end: a stranger when its time is up, any connection when its place is needed.
    pub async fn gives_way(&self) -> GiveWay {
        tokio::select! {
            () = self.leave.notified() => return GiveWay::Crowded,
            () = sleep_until(self.deadline) => {}
        }
        if self.expire() {
            return GiveWay::Late;
        }
        self.leave.notified().await;
        GiveWay::Crowded
    }

    /// Ends a stranger's stay. Returns whether it was a stranger.
    fn expire(&self) -> bool {
        let mut taken = self.inner.lock();
        let late = taken.strangers.leave(self.id);
        if late {
            self.inner.counts.late.inc();
            self.inner.count(&taken);
        }
        late
    }
}

impl<K: Eq + Hash + Clone> Drop for Entry<K> {
    fn drop(&mut self) {
        let mut taken = self.inner.lock();
        if !taken.strangers.leave(self.id) {
            taken.known.leave(self.id);
        }
        self.inner.count(&taken);
    }
}

/// The origin of strangers. Whoever has one IPv6 address has a whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Here,
    Address(IpAddr),
}

impl Source {
    fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Here,
            Some(IpAddr::V4(four)) => Self::Address(four.into()),
            Some(IpAddr::V6(six)) => {
                let network = u128::from(six) & !u128::from(u64::MAX);
                Self::Address(Ipv6Addr::from(network).into())
            }
        }
    }
}

/// Connections in groups, by age. The oldest of the most crowded group gives way.
struct Crowd<G> {
    limit: usize,
    share: usize,
    members: BTreeMap<u64, (G, Arc<Notify>)>,
    groups: HashMap<G, BTreeSet<u64>>,
}

impl<G: Eq + Hash + Clone> Crowd<G> {
    fn new(limit: usize, share: usize) -> Self {
        Self { limit, share, members: BTreeMap::new(), groups: HashMap::new() }
    }

    fn enter(&mut self, id: u64, group: G, leave: Arc<Notify>) -> bool {
        self.enter_with_share(id, group, leave, self.share)
    }

    /// Takes a connection in. Returns whether another one gave way.
    fn enter_with_share(&mut self, id: u64, group: G, leave: Arc<Notify>, share: usize) -> bool {
        let of_group = self.groups.entry(group.clone()).or_default();
        of_group.insert(id);
        let crowded = of_group.len() > share;
        self.members.insert(id, (group.clone(), leave));
        let out = if crowded {
            self.oldest_of(&group)
        } else if self.members.len() > self.limit {
            self.oldest_of_the_most_crowded()
        } else {
            None
        };
        out.is_some_and(|out| self.send_away(out))
    }

    fn oldest_of(&self, group: &G) -> Option<u64> {
        self.groups.get(group)?.first().copied()
    }

    fn oldest_of_the_most_crowded(&self) -> Option<u64> {
        let most =
            self.groups.values().max_by_key(|ids| (ids.len(), std::cmp::Reverse(ids.first().copied())));
        most?.first().copied()
    }

    fn send_away(&mut self, id: u64) -> bool {
        let leave = self.members.get(&id).map(|(_, leave)| Arc::clone(leave));
        let known = self.leave(id);
        if let Some(leave) = leave {
            leave.notify_one();
        }
        known
    }

    /// Removes a connection. Returns whether it was here.
    fn leave(&mut self, id: u64) -> bool {
        let Some((group, _)) = self.members.remove(&id) else { return false };
        if let Some(ids) = self.groups.get_mut(&group) {
            ids.remove(&id);
            if ids.is_empty() {
                self.groups.remove(&group);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    const RULES: Rules = Rules { strangers: 4, per_address: 3, patience: Duration::from_secs(3), known: 4 };

    fn places(rules: Rules) -> Places<&'static str> {
        Places::new(rules, PlaceCounts::default())
    }

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Whether the connection has to end now.
    fn must_go(entry: &Entry<&'static str>) -> bool {
        pin!(entry.gives_way()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn a_flood_from_one_address_is_in_its_own_way_and_in_nobody_elses() {
        let places = places(RULES);
        let real = places.enter(from("10.0.0.2"));
        let flood: Vec<_> = (0..100).map(|_| places.enter(from("10.0.0.1"))).collect();
        assert!(!must_go(&real));
        let left = flood.iter().filter(|one| !must_go(one)).count();
        assert_eq!(left, RULES.per_address, "the newest stay");
        assert!(!must_go(&flood[99]));
        assert_eq!(places.counts().crowded.get(), 97);
        assert_eq!(places.counts().strangers.get(), 4);
    }

    #[tokio::test]
    async fn with_many_addresses_the_oldest_of_the_most_crowded_gives_way() {
        let places = places(RULES);
        let crowded = [places.enter(from("10.0.0.1")), places.enter(from("10.0.0.1"))];
        let alone = [places.enter(from("10.0.0.2")), places.enter(from("10.0.0.3"))];
        let new = places.enter(from("10.0.0.4"));
        assert!(must_go(&crowded[0]));
        assert!([&crowded[1], &alone[0], &alone[1], &new].iter().all(|one| !must_go(one)));
        // All alike: the oldest of all.
        let newer = places.enter(from("10.0.0.5"));
        assert!(must_go(&crowded[1]) && !must_go(&newer));
    }

    #[tokio::test]
    async fn who_is_known_is_out_of_reach_of_strangers() {
        let places = places(RULES);
        let real = places.enter(from("10.0.0.1"));
        real.admit(&"a", 2).unwrap();
        let flood: Vec<_> = (0..100).map(|_| places.enter(from("10.0.0.1"))).collect();
        assert!(!must_go(&real));
        assert!(flood[0].admit(&"b", 2).is_err(), "one that gave way is not let in any more");
        assert_eq!((places.counts().known.get(), places.counts().strangers.get()), (1, 3));
    }

    #[tokio::test]
    async fn everybody_has_a_share_and_whoever_has_the_most_gives_way_first() {
        let places = places(RULES);
        let known = |who, share| {
            let entry = places.enter(None);
            entry.admit(&who, share).unwrap();
            entry
        };
        let a: Vec<_> = (0..3).map(|_| known("a", 2)).collect();
        assert_eq!(a.iter().map(must_go).collect::<Vec<_>>(), [true, false, false]);
        let b = [known("b", 9), known("b", 9), known("b", 9)];
        assert!(must_go(&b[0]) && !must_go(&a[1]), "4 places: b has most");
        let c = known("c", 9);
        assert!(!must_go(&c));
        assert_eq!(places.counts().displaced.get(), 3);
    }

    #[tokio::test]
    async fn a_stranger_has_its_time_and_one_that_is_known_has_all_day() {
        let places = places(Rules { patience: Duration::from_millis(10), ..RULES });
        let (silent, real) = (places.enter(None), places.enter(None));
        real.admit(&"a", 9).unwrap();
        assert_eq!(silent.gives_way().await, GiveWay::Late);
        assert!(silent.admit(&"a", 9).is_err());
        assert!(!must_go(&real), "its time as a stranger is over too");
        assert_eq!((places.counts().late.get(), places.counts().strangers.get()), (1, 0));
    }

    #[tokio::test]
    async fn a_place_that_is_dropped_is_free_again() {
        let places = places(RULES);
        for _ in 0..100 {
            let stranger = places.enter(from("10.0.0.1"));
            let known = places.enter(from("10.0.0.1"));
            known.admit(&"a", 1).unwrap();
            drop((stranger, known));
        }
        let counts = places.counts();
        assert_eq!((counts.known.get(), counts.strangers.get()), (0, 0));
        assert_eq!((counts.crowded.get(), counts.displaced.get()), (0, 0));
        assert!(places.0.lock().strangers.groups.is_empty() && places.0.lock().known.groups.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_addresses_is_one_source_and_a_mapped_ipv4_address_is_itself() {
        let of = |text| Source::of(from(text));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
