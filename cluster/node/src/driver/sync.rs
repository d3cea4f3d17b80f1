//! The thread that makes the store durable: one fsync for everything that was asked for while the last one ran.

use super::{Event, Inbox, or_die};
use crate::high_water::HighWaterFile;
use crate::metrics::ClusterMetrics;
use crate::store::Store;
use signonce_core::replica::disk::HighWater;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the high-water file itself is made durable.
const MARK_SYNC_EVERY: Duration = Duration::from_secs(1);

pub(super) struct SyncThread {
    requests: Option<Sender<(u64, HighWater)>>,
    high_water: Arc<Mutex<HighWaterFile>>,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    pub(super) fn start(
        store: Arc<Store>,
        file: HighWaterFile,
        inbox: Inbox,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let (requests, asked) = std::sync::mpsc::channel();
        let high_water = Arc::new(Mutex::new(file));
        let file = Arc::clone(&high_water);
        let thread = std::thread::Builder::new()
            .name("sync".into())
            .spawn(move || serve(&asked, &store, &file, &inbox, &metrics))
            .unwrap_or_else(|error| super::die(&error));
        Self { requests: Some(requests), high_water, thread: Some(thread) }
    }

    /// Asks for everything written so far to become durable.
    pub(super) fn request(&self, number: u64, mark: HighWater) {
        let sent = self.requests.as_ref().is_some_and(|r| r.send((number, mark)).is_ok());
        assert!(sent, "the sync thread lives as long as the driver, or the process has aborted");
    }

    /// Records what a write of the driver's own has already made durable.
    pub(super) fn mark_durable(&self, mark: HighWater) {
        or_die(lock(&self.high_water).write(mark));
    }

    /// Finishes what was asked for and makes the high-water file durable.
    pub(super) fn stop(mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            super::die(&"the sync thread panicked");
        }
        or_die(lock(&self.high_water).sync());
    }
}

fn serve(
    asked: &Receiver<(u64, HighWater)>,
    store: &Store,
    file: &Mutex<HighWaterFile>,
    inbox: &Inbox,
    metrics: &ClusterMetrics,
) {
    let mut mark_synced = Instant::now();
    while let Ok(mut newest) = asked.recv() {
        while let Ok(newer) = asked.try_recv() {
            newest = newer;
        }
        let (number, mark) = newest;
        let started = Instant::now();
        or_die(store.sync());
        metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        inbox.push(Event::Persisted(number));
        or_die(lock(file).write(mark));
        if mark_synced.elapsed() >= MARK_SYNC_EVERY {
            or_die(lock(file).sync());
            mark_synced = Instant::now();
        }
    }
}

fn lock(file: &Mutex<HighWaterFile>) -> std::sync::MutexGuard<'_, HighWaterFile> {
    file.lock().unwrap_or_else(|_| super::die(&"a thread panicked while it wrote the high-water file"))
}
