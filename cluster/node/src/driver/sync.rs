//! Makes the store durable: on a thread of its own, with one fsync for everything that was requested during the last
//! one, or on the caller's thread, where that is faster.

use super::or_die;
use crate::high_water::HighWaterFile;
use crate::inbox::Inbox;
use crate::metrics::{ClusterMetrics, Stage};
use crate::store::Store;
use crate::unfinished::Awaited;
use signonce_core::replica::disk::HighWater;
use signonce_driver::Event;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the high-water file itself is made durable.
const MARK_SYNC_EVERY: Duration = Duration::from_secs(1);

pub(super) struct SyncThread {
    requests: Option<Sender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    mark_synced: Instant,
}

/// A request to the thread.
enum Job {
    /// Make everything up to this Ready durable, then remember it.
    Store(u64, HighWater),
    /// Make the high-water file itself durable.
    Mark,
}

/// What the driver and the thread both use.
struct Shared {
    store: Arc<Store>,
    high_water: Mutex<HighWaterFile>,
    metrics: Arc<ClusterMetrics>,
}

impl SyncThread {
    pub(super) fn start(
        store: Arc<Store>,
        file: HighWaterFile,
        inbox: Inbox,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let (requests, asked) = std::sync::mpsc::channel();
        let shared = Arc::new(Shared { store, high_water: Mutex::new(file), metrics });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("sync".into())
            .spawn(move || serve(&asked, &theirs, &inbox))
            .unwrap_or_else(|error| super::die(&error));
        let (requests, thread, mark_synced) = (Some(requests), Some(thread), Instant::now());
        Self { requests, shared, thread, mark_synced }
    }

    /// Asks for everything written so far to become durable; [`Event::Synced`] answers.
    pub(super) fn request(&self, number: u64, mark: HighWater) {
        self.hand_over(Job::Store(number, mark));
    }

    /// Makes everything written so far durable on the caller's thread, and returns how long that took. The caller
    /// records its mark.
    pub(super) fn run_here(&mut self) -> Duration {
        let took = self.shared.metrics.unfinished.during(Awaited::Write, || self.shared.sync_store());
        if self.mark_synced.elapsed() >= MARK_SYNC_EVERY {
            self.mark_synced = Instant::now();
            self.hand_over(Job::Mark);
        }
        took
    }

    fn hand_over(&self, job: Job) {
        let sent = self.requests.as_ref().is_some_and(|r| r.send(job).is_ok());
        assert!(sent, "the sync thread lives as long as the driver, or the process has aborted");
    }

    /// Records what a write of the driver's own has already made durable.
    pub(super) fn mark_durable(&self, mark: HighWater) {
        self.shared.take_down(mark);
    }

    /// Finishes what was requested and makes the high-water file durable.
    pub(super) fn stop(mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            super::die(&"the sync thread panicked");
        }
        or_die(self.shared.high_water().sync());
    }
}

impl Shared {
    fn sync_store(&self) -> Duration {
        let started = Instant::now();
        or_die(self.store.sync());
        let took = started.elapsed();
        self.metrics.stages.of(Stage::Sync).observe(took);
        took
    }

    /// Writes into the high-water file what is durable of the replica and of the store's batches.
    fn take_down(&self, mark: HighWater) {
        or_die(self.high_water().write(mark, self.store.durable()));
    }

    fn high_water(&self) -> MutexGuard<'_, HighWaterFile> {
        self.high_water
            .lock()
            .unwrap_or_else(|_| super::die(&"a thread panicked while it wrote the high-water file"))
    }
}

fn serve(asked: &Receiver<Job>, shared: &Shared, inbox: &Inbox) {
    let mut mark_synced = Instant::now();
    while let Ok(first) = asked.recv() {
        let jobs = std::iter::once(first).chain(asked.try_iter());
        shared
            .metrics
            .unfinished
            .during(Awaited::Sync, || serve_together(jobs, shared, inbox, &mut mark_synced));
    }
}

/// Serves with one fsync everything that was requested together.
fn serve_together(
    jobs: impl Iterator<Item = Job>,
    shared: &Shared,
    inbox: &Inbox,
    mark_synced: &mut Instant,
) {
    let mut newest = None;
    let mut sync_mark = false;
    for job in jobs {
        match job {
            Job::Store(number, mark) => newest = Some((number, mark)),
            Job::Mark => sync_mark = true,
        }
    }
    if let Some((number, mark)) = newest {
        let took = shared.sync_store();
        inbox.tell(Event::Synced { number, took, unmarked: None });
        shared.take_down(mark);
    }
    if sync_mark || mark_synced.elapsed() >= MARK_SYNC_EVERY {
        *mark_synced = Instant::now();
        or_die(shared.high_water().sync());
    }
}
