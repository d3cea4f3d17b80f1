//! Throttles the log lines of libraries as strictly as our own: rustls alone warns of every peer with an odd greeting.
//!
//! Each place in a library that logs is a subject of its own. Beyond a few lines in a while its lines are dropped: they
//! help the library's developers, and whatever matters is logged or counted by us too. Raft's lines all pass, as only
//! members cause them.

use signonce_cluster::log_throttle::LogThrottle;
use std::fmt;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// The throttle, by target and line.
static SAID: LogThrottle<(String, u64)> = LogThrottle::new();

/// Filters the log lines of libraries; see the module's text.
pub struct Libraries;

impl<S: Subscriber> Layer<S> for Libraries {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let of = event.metadata();
        let target = of.target();
        if ["signonce", "raft", "slog"].iter().any(|ours| target.starts_with(ours)) {
            return true;
        }
        // A line of the `log` crate carries its origin in its fields.
        let mut place = Place((target.to_owned(), of.line().unwrap_or_default().into()));
        event.record(&mut place);
        SAID.may(place.0)
    }
}

struct Place((String, u64));

impl Visit for Place {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.0.0);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.0.1 = value;
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_library_that_logs_without_end_is_left_out_after_some_lines_and_others_are_not() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).finish().with(Libraries);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..1_000 {
                tracing::warn!(target: "rustls::msgs::handshake", "an odd greeting");
            }
            for _ in 0..100 {
                tracing::warn!(target: "signonce::alarms", "ours");
                tracing::info!(target: "slog", "raft's");
            }
            tracing::warn!(target: "rustls::msgs::handshake", "something else");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert!((1..20).contains(&count("an odd greeting")), "{text}");
        assert_eq!((count("ours"), count("raft's"), count("something else")), (100, 100, 1));
    }
}
