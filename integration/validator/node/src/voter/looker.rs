//! Looks at what may be held for long, without waiting long for it: one thread looks, and whoever comes meanwhile hears
//! after a moment that it is busy. So however many ask, no more than one thread is held up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// How long somebody who asks waits.
const PATIENCE: Duration = Duration::from_millis(200);
/// Between two tries for the turn to look.
const PAUSE: Duration = Duration::from_millis(2);

/// The voter signs, or cannot be looked at for another reason; it can be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Remembers whether a thread looks.
#[derive(Default)]
pub struct Looker(Arc<AtomicBool>);

/// Somebody who looks; ends with it, also in a panic.
struct Looking(Arc<AtomicBool>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Looker {
    /// What `look` sees, unless it takes too long or another one is still at it.
    pub fn look<T: Send + 'static>(&self, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let begun = Instant::now();
        while self.0.swap(true, Ordering::Acquire) {
            if begun.elapsed() >= PATIENCE {
                return Err(Busy);
            }
            std::thread::sleep(PAUSE);
        }
        let looking = Looking(self.0.clone());
        let (tell, seen) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("voter-look".into()).spawn(move || {
            let found = look();
            drop(looking);
            // Who asked may have gone.
            let _ = tell.send(found);
        });
        thread.map_err(|_| Busy)?;
        seen.recv_timeout(PATIENCE).map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, atomic::AtomicUsize};

    #[test]
    fn who_asks_while_the_lock_is_held_hears_that_it_is_busy_and_one_thread_waits() {
        let looker = Looker::default();
        let (lock, waiting) = (Arc::new(Mutex::new(7)), Arc::new(AtomicUsize::new(0)));
        let look = || {
            let (lock, waiting) = (lock.clone(), waiting.clone());
            looker.look(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                *lock.lock().unwrap()
            })
        };
        assert_eq!(look(), Ok(7));
        let held = lock.lock().unwrap();
        for _ in 0..5 {
            assert_eq!(look(), Err(Busy));
        }
        assert_eq!(waiting.load(Ordering::SeqCst), 2, "the first look, and one that waits");
        drop(held);
        while look() != Ok(7) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_look_that_panics_leaves_room_for_the_next() {
        let looker = Looker::default();
        assert_eq!(looker.look(|| -> u8 { panic!("on purpose") }), Err(Busy));
        while looker.look(|| 7) != Ok(7) {
            std::thread::yield_now();
        }
    }
}
