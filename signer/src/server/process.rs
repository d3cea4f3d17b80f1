//! What a signer does to its process: logs, aborts on panics, listens for signals.

use crate::config::{LogFormat, LogSection};
use std::io::{self, IsTerminal as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Sends logs to standard error, as JSON lines or as text.
///
/// # Errors
/// If the level cannot be read. Calling it twice keeps the first.
pub fn log_to_stderr(section: &LogSection) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(&section.level)?;
    let colours = io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr);
    // Fails only where a test harness has installed its own.
    let _ = match section.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    Ok(())
}

/// From now on any panic, on any thread, ends the process: what panicked may have been half-way through something
/// that the rest relies on, and two other nodes go on.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: the process ends");
        std::process::abort();
    }));
}

/// The signals that stop a signer.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one; says which.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
