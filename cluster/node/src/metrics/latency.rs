//! A histogram of durations for the hot path: recording is two atomic additions, without a lock, a search or an
//! allocation.
//!
//! Buckets double from 2 µs to 8.4 s, so that the bucket of a duration is the number of leading zeros of its
//! microseconds and every histogram of the product has the same bounds. Clones share their counts.

use super::{Moments, Stage};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Buckets with a bound; the one beyond them has none.
pub const BOUNDS: usize = 23;

#[derive(Debug, Default)]
struct Counts {
    /// The count of each bucket alone, without those below it.
    buckets: [AtomicU64; BOUNDS + 1],
    nanoseconds: AtomicU64,
}

/// A histogram of durations; see the module's text.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    counts: Arc<Counts>,
    /// For a stage whose runs are also recorded one by one: where.
    noted: Option<(Stage, Moments)>,
}

/// The counts of a [`Latency`] at one moment: the durations in each bucket and their sum. The last bucket has no upper
/// bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyCounts {
    /// The count of each bucket; see [`bound`].
    pub buckets: [u64; BOUNDS + 1],
    /// The sum of all durations.
    pub nanoseconds: u64,
}

/// The upper bound of a bucket; `None` for the last.
pub const fn bound(bucket: usize) -> Option<Duration> {
    if bucket < BOUNDS { Some(Duration::from_micros(2 << bucket)) } else { None }
}

impl Latency {
    /// A histogram of a stage whose runs are also recorded one by one.
    pub(super) fn noted(stage: Stage, moments: Moments) -> Self {
        Self { counts: Arc::default(), noted: Some((stage, moments)) }
    }

    /// Counts a duration that has just ended.
    pub fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts.buckets[bucket_of(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.counts.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        if let Some((stage, moments)) = &self.noted {
            moments.note(*stage, took);
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> LatencyCounts {
        LatencyCounts {
            buckets: std::array::from_fn(|bucket| self.counts.buckets[bucket].load(Ordering::Relaxed)),
            nanoseconds: self.counts.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

/// The index of a duration's bucket. A bucket includes its upper bound.
fn bucket_of(nanoseconds: u64) -> usize {
    let above = nanoseconds.div_ceil(2_000).max(1) - 1;
    let bits = (u64::BITS - above.leading_zeros()) as usize;
    bits.min(BOUNDS)
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let LatencyCounts { buckets, nanoseconds } = self.counts();
        let bounds = (0..=BOUNDS).map(|n| bound(n).map_or(f64::INFINITY, |bound| bound.as_secs_f64()));
        let buckets: Vec<(f64, u64)> = bounds.zip(buckets).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_lowest_bucket_that_holds_it() {
        let one = Duration::from_nanos(1);
        for bucket in 0..BOUNDS {
            let bound = bound(bucket).unwrap();
            assert_eq!(bucket_of(bound.as_nanos() as u64), bucket);
            assert_eq!(bucket_of((bound + one).as_nanos() as u64), bucket + 1);
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BOUNDS));
        assert_eq!(bound(BOUNDS), None);
    }

    #[test]
    fn clones_share_what_they_count() {
        let latency = Latency::default();
        latency.clone().observe(Duration::from_micros(3));
        latency.observe(Duration::from_secs(60));
        let counts = latency.counts();
        assert_eq!((counts.buckets[1], counts.buckets[BOUNDS]), (1, 1));
        assert_eq!(counts.nanoseconds, 60_000_003_000);
    }
}
