//! The pauses between attempts to reach somebody: longer and longer, with jitter, so that all who lose the same peer at
//! one moment do not all come back at one moment.

use backon::{BackoffBuilder as _, ExponentialBuilder};
use std::time::Duration;

/// Endless pauses that double from `first` to `longest`. Each is lengthened by a random part of itself.
pub fn pauses(first: Duration, longest: Duration) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}
