//! When the stages of the log ran, one by one, for traces of single requests. Nothing is recorded, and nothing costs
//! more than reading a flag, unless [`Moments::keep`] was called.

use super::Stage;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How many runs are remembered: those of some seconds on a busy node.
const KEPT: usize = 8_192;

/// One run of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The stage.
    pub stage: Stage,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
}

/// The newest runs of the stages. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Moments(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    on: AtomicBool,
    newest: Mutex<VecDeque<Moment>>,
}

impl Moments {
    /// Starts to record runs.
    pub fn keep(&self) {
        self.0.on.store(true, Ordering::Relaxed);
    }

    /// Records that a stage has just ended.
    pub(super) fn note(&self, stage: Stage, took: Duration) {
        if !self.0.on.load(Ordering::Relaxed) {
            return;
        }
        let ended = Instant::now();
        let began = ended.checked_sub(took).unwrap_or(ended);
        let mut newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() == KEPT {
            newest.pop_front();
        }
        newest.push_back(Moment { stage, began, ended });
    }

    /// The runs that began in this period, in the order in which they ended.
    pub fn between(&self, began: Instant, ended: Instant) -> Vec<Moment> {
        let newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.iter().filter(|moment| (began..=ended).contains(&moment.began)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_remembered_once_somebody_wants_them_and_not_without_end() {
        let moments = Moments::default();
        let before = Instant::now();
        moments.note(Stage::Sync, Duration::ZERO);
        assert_eq!(moments.between(before, Instant::now()), []);
        moments.keep();
        (0..KEPT + 5).for_each(|_| moments.note(Stage::Append, Duration::ZERO));
        moments.note(Stage::Sync, Duration::ZERO);
        let found = moments.between(before, Instant::now());
        assert_eq!((found.len(), found.last().map(|moment| moment.stage)), (KEPT, Some(Stage::Sync)));
        assert_eq!(moments.between(Instant::now(), Instant::now() + Duration::from_secs(1)), []);
    }
}
