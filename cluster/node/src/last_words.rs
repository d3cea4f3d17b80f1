//! How a node that must stop at once stops: all work ends, the reason is reported, the process aborts.
//!
//! The report must neither fail nor block: a log that nobody reads would otherwise keep a node alive whose disk has
//! failed. The program that contains the node knows where its log goes, and provides a way to write there.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Writes a line, soon and without failing, or not at all.
type Say = fn(&str);

static SAY: OnceLock<Say> = OnceLock::new();
static HALTED: AtomicBool = AtomicBool::new(false);

/// Sets how the reason is reported before the process aborts. `say` is called from any thread, and must return within a
/// moment. Without it the reason is printed to standard error. Only the first call has an effect.
pub fn say_with(say: fn(&str)) {
    let _ = SAY.set(say);
}

/// From now on no thread of a node gets past its next write or fsync: the process is about to abort, and whatever went
/// wrong, nothing may be acknowledged, and so nothing signed, in the moment before.
pub fn halt() {
    HALTED.store(true, Ordering::SeqCst);
}

/// Blocks the calling thread for good if the process is about to abort.
pub(crate) fn stay_if_halted() {
    while HALTED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// Stops the process, without unwinding and without another write.
pub(crate) fn die(error: &dyn std::fmt::Display) -> ! {
    // One thread reports; another that fails at the same time leaves it to that one.
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
