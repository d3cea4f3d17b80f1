//! The I/O thread. The SDK calls the keystore synchronously, from threads of its own and from inside tokio workers,
//! where waiting for a future would panic. So futures run on one thread with its own runtime, and the caller waits for
//! the result on a channel, with a deadline, and no longer than the node lives.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch};

/// How much longer than a job's deadline its caller waits, for a thread that is late: the job ends by itself.
const GRACE: Duration = Duration::from_millis(100);

/// Why a job gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoResult {
    /// The deadline passed.
    Late,
    /// The node stops.
    Stopped,
}

/// The thread. Stops when dropped or told to.
pub(crate) struct Worker {
    handle: Handle,
    stop: Stop,
}

/// Tells everybody that the node stops, once and permanently.
#[derive(Clone)]
pub(crate) struct Stop {
    stopped: Arc<AtomicBool>,
    tell: watch::Sender<bool>,
}

impl Stop {
    fn new() -> Self {
        Self { stopped: Arc::default(), tell: watch::Sender::new(false) }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.tell.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Completes when the node stops.
    fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut told = self.tell.subscribe();
        async move {
            // The sender lives in every clone; if it is gone, that means the same.
            let _ = told.wait_for(|stopped| *stopped).await;
        }
    }
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = Stop::new();
        let stopped = stop.wait();
        std::thread::Builder::new().name("remote-signer".into()).spawn(move || {
            runtime.block_on(stopped);
            // Tasks are dropped with the runtime, and so is what callers wait for.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop })
    }

    /// The means to stop this thread and all who wait for it.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Runs `task` beside everything else until the node stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    /// Runs `job` and waits for it: until the deadline if there is one, and until the node stops.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        deadline: Option<Duration>,
        job: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoResult> {
        if self.stop.is_stopped() {
            return Err(NoResult::Stopped);
        }
        let (tell, result) = mpsc::sync_channel(1);
        let task = self.handle.spawn(async move {
            let done = match deadline {
                Some(deadline) => tokio::time::timeout(deadline, job).await.map_err(|_| NoResult::Late),
                None => Ok(job.await),
            };
            // Nobody listens any more if the caller's own deadline passed first.
            let _ = tell.send(done);
        });
        let result = match deadline {
            Some(deadline) => result.recv_timeout(deadline + GRACE),
            None => result.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        result.unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                task.abort();
                Err(NoResult::Late)
            }
            // The runtime drops a job only when it stops.
            RecvTimeoutError::Disconnected => Err(NoResult::Stopped),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_runs_elsewhere_and_its_result_comes_back() {
        let worker = Worker::start().unwrap();
        let here = std::thread::current().id();
        let there = worker.run(None, async { std::thread::current().id() }).unwrap();
        assert_ne!(here, there);
    }

    #[test]
    fn a_deadline_frees_the_caller_of_a_job_that_never_ends() {
        let worker = Worker::start().unwrap();
        let late = worker.run(Some(Duration::from_millis(10)), std::future::pending::<()>());
        assert_eq!(late, Err(NoResult::Late));
        assert_eq!(worker.run(Some(Duration::from_secs(60)), async { 7 }), Ok(7));
    }

    #[test]
    fn stopping_frees_everybody_who_waits_and_everybody_who_comes_later() {
        let worker = Arc::new(Worker::start().unwrap());
        let (started, has_started) = mpsc::channel();
        let waiting: Vec<_> = [None, Some(Duration::from_secs(3_600))]
            .into_iter()
            .map(|deadline| {
                let (worker, started) = (worker.clone(), started.clone());
                std::thread::spawn(move || {
                    worker.run(deadline, async move {
                        started.send(()).unwrap();
                        std::future::pending::<()>().await;
                    })
                })
            })
            .collect();
        for _ in &waiting {
            has_started.recv().unwrap();
        }
        worker.stop().stop();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Err(NoResult::Stopped));
        }
        assert_eq!(worker.run(None, async {}), Err(NoResult::Stopped));
    }

    #[test]
    fn a_call_from_inside_a_tokio_worker_works() {
        let worker = Worker::start().unwrap();
        let node = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(node.block_on(async { worker.run(Some(Duration::from_secs(60)), async { 7 }) }), Ok(7));
    }

    #[test]
    fn a_job_that_panics_frees_its_caller() {
        let worker = Worker::start().unwrap();
        let result = worker.run(None, async { panic!("on purpose") });
        assert_eq!(result, Err::<(), _>(NoResult::Stopped));
        assert_eq!(worker.run(None, async { 7 }), Ok(7));
    }
}
