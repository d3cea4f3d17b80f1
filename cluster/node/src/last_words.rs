//! How a node that must stop at once stops: nothing more is done, the reason is said, the process aborts.
//!
//! Saying it must neither fail nor wait: a log that nobody reads would otherwise keep a node alive whose disk has failed.
//! The program that the node runs in knows where its log goes, and gives a way to say something there.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says a line, soon and without fail, or not at all.
type Say = fn(&str);

static SAY: OnceLock<Say> = OnceLock::new();
static HALTED: AtomicBool = AtomicBool::new(false);

/// Gives the way in which the reason is said before the process aborts. It is called from any thread, and must return
/// within a moment. Without one the reason is printed to standard error. Calling it twice keeps the first.
pub fn say_with(say: fn(&str)) {
    let _ = SAY.set(say);
}

/// From now on no thread of a node gets beyond its next write or fsync: the process is about to abort, and whatever
/// went wrong, nothing may be acknowledged, and so nothing signed, in the moment before.
pub fn halt() {
    HALTED.store(true, Ordering::SeqCst);
}

/// Ends the calling thread's work if the process is about to abort: it does not come back.
pub(crate) fn stay_if_halted() {
    while HALTED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// Stops the process, without unwinding and without another write.
pub(crate) fn die(error: &dyn std::fmt::Display) -> ! {
    // One speaks; another that fails at the same time leaves it to that one.
    if HALTED.swap(true, Ordering::SeqCst) {
        stay_if_halted();
    }
    let why = format!("stopping: {error}; nothing may be signed after this");
    match SAY.get() {
        Some(say) => say(&why),
        None => {
            let _ = writeln!(std::io::stderr(), "signonce: {why}");
        }
    }
    std::process::abort()
}
