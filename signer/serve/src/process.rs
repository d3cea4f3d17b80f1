//! Process-wide settings of a signer: logging, and aborting on panics.

use crate::libraries::Libraries;
use crate::output;
use signonce_cluster::last_words;
use signonce_shared::config::{LogFormat, LogSection};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _},
    panic::PanicHookInfo,
    time::Duration,
};
use tracing_subscriber::{
    EnvFilter, filter::ParseError, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// How long an aborting process waits for its last lines to be written. Short, as nobody may be reading.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long a process that ends normally waits for them.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends logs to standard error, as JSON lines or as text. A caller that logs never waits for them: see [`output`].
///
/// # Errors
/// If the level cannot be read. Calling it twice keeps the first.
pub fn log_to_stderr(section: &LogSection) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(&section.level)?;
    let colours = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        // It would print its own errors to standard error, and panic where that fails.
        .log_internal_errors(false)
        .with_writer(output::stderr());
    // Fails only where a test harness has installed its own.
    let _ = match section.format {
        LogFormat::Json => builder.json().flatten_event(true).finish().with(Libraries).try_init(),
        LogFormat::Text => builder.finish().with(Libraries).try_init(),
    };
    Ok(())
}

/// From now on any panic, on any thread, ends the process: what panicked may have been half-way through something that
/// the rest relies on, and two other nodes continue.
pub fn abort_on_panic() {
    last_words::say_with(say_at_the_end);
    std::panic::set_hook(Box::new(|panic| {
        signonce_cluster::halt();
        say_at_the_end(&obituary(panic));
        std::process::abort();
    }));
}

/// The text of a panic, with a backtrace where the environment asks for one, as the standard library prints it. The
/// library itself would write to standard error directly, and block where nobody reads.
fn obituary(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let (name, place) = (thread.name().unwrap_or("<unnamed>"), panic.location());
    let place = place.map(ToString::to_string).unwrap_or_default();
    let why = panic.payload_as_str().unwrap_or("no text");
    let backtrace = Backtrace::capture();
    let end = match backtrace.status() {
        BacktraceStatus::Captured => format!("\nstack backtrace:\n{backtrace}"),
        _ => String::new(),
    };
    format!("thread {name:?} panicked at {place}: {why}; the process ends{end}")
}

/// Logs why the process ends and waits a moment for the line to be written: the process aborts next.
fn say_at_the_end(why: &str) {
    tracing::error!("{why}");
    say(why, LAST_WORDS);
}

/// A line as programs print it when they fail, whatever level is logged. Waits for the lines before it too.
pub fn say_failed(why: &str) {
    say(why, FAREWELL);
}

fn say(why: &str, within: Duration) {
    let lines = output::stderr();
    lines.line(format!("signonce: {why}\n").as_bytes());
    lines.flush(within);
}

/// Waits a moment for the last lines of the log, as the process is about to end.
pub fn flush_log() {
    output::stderr().flush(FAREWELL);
}
