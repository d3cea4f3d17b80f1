//! Lines for standard error, written by a thread of their own: whatever happens to the other end, nobody waits for it.
//!
//! A log is read by something else: a pipe whose reader may have died or stopped, a volume that may be full, a terminal
//! that somebody has paused. None of that may end or hold up a process that signs. So a line is put into a bounded
//! queue, which never waits, and [`Lines`] counts the lines that did not fit or could not be written.
//! `tracing_appender::non_blocking` does the same but not enough: it bounds lines and not bytes, does not count what
//! the other end refused, cannot have the last lines of an aborting process written within a given time, and prints to
//! standard output when its writer hangs as the process ends.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use tracing_subscriber::fmt::MakeWriter;

/// The most lines that may wait.
const LINES_MAX: usize = 8_192;
/// The most bytes that may wait, over all lines.
const BYTES_MAX: usize = 4 << 20;
/// The pause before a file that accepts nothing now (somebody else made it non-blocking) is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// How often it is checked whether everything is written.
const LOOK: Duration = Duration::from_millis(2);
/// How often the log says that lines were lost, once it can say anything again.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The process's standard error.
///
/// Not [`io::stderr`]: its lock would be held while a write hangs, and everybody who prints would wait for it.
pub fn stderr() -> &'static Lines {
    static STDERR: OnceLock<Lines> = OnceLock::new();
    STDERR.get_or_init(|| match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => Lines::to(File::from(stderr)),
        // No descriptor is left. There is nowhere to say so; the lines are counted as lost.
        Err(_) => Lines::to(Closed),
    })
}

/// A bounded queue of lines and its writer; see the module's text.
#[derive(Debug)]
pub struct Lines {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    /// Lines that were put into the queue, and how many of them are written or lost by now.
    queued: AtomicU64,
    done: AtomicU64,
    lost: AtomicU64,
}

impl Lines {
    /// Writes to `file`, on a thread that ends with the process.
    pub fn to(file: impl Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(LINES_MAX);
        let counts = Arc::<Counts>::default();
        let theirs = Arc::clone(&counts);
        // Without a thread the receiver is dropped, and every line counts as lost.
        let _ = thread::Builder::new().name("log".into()).spawn(move || write_lines(&lines, file, &theirs));
        Self { queue, counts }
    }

    /// Queues a line, its end included, if there is room for it. Never waits.
    pub fn line(&self, line: &[u8]) {
        let counts = &self.counts;
        let waiting = counts.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if waiting.saturating_add(line.len()) <= BYTES_MAX && self.queue.try_send(line.to_vec()).is_ok() {
            counts.queued.fetch_add(1, Ordering::Release);
        } else {
            counts.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was put into the queue before is written or lost, `within` at most.
    pub fn flush(&self, within: Duration) {
        let (deadline, before) = (Instant::now() + within, self.counts.queued.load(Ordering::Acquire));
        while self.counts.done.load(Ordering::Acquire) < before && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
    }

    /// Lines that nobody can have read: there was no room for them, or they could not be written.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for &'static Lines {
    type Writer = &'static Lines;

    fn make_writer(&'a self) -> Self::Writer {
        *self
    }
}

/// A file that takes nothing.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>, mut file: impl Write, counts: &Counts) {
    let (mut torn, mut told, mut told_at) = (false, 0, None::<Instant>);
    for line in lines {
        let written = write_line(&mut file, &line, &mut torn).is_ok();
        if !written {
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        counts.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        counts.done.fetch_add(1, Ordering::Release);
        let lost = counts.lost.load(Ordering::Relaxed);
        if written && lost > told && told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            // Queued at the end like everybody's lines.
            tracing::warn!(lines = lost - told, "lines of this log were lost: its reader took none");
            (told, told_at) = (lost, Some(Instant::now()));
        }
    }
}

/// Writes one line; on a new line if the one before was written only in part.
fn write_line(file: &mut impl Write, line: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        write_whole(file, b"\n", &mut false)?;
        *torn = false;
    }
    write_whole(file, line, torn)
}

/// Writes everything, however long the file keeps this thread waiting. `torn` is set if only a part could be written.
fn write_whole(file: &mut impl Write, mut bytes: &[u8], torn: &mut bool) -> io::Result<()> {
    let whole = bytes.len();
    while !bytes.is_empty() {
        let failed = match file.write(bytes) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(written) => {
                bytes = &bytes[written..];
                continue;
            }
            Err(error) => error,
        };
        match failed.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => thread::sleep(TRY_AGAIN),
            _ => {
                *torn = bytes.len() < whole;
                return Err(failed);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::OpenOptions,
        io::{BufRead as _, BufReader, pipe},
        sync::{Mutex, mpsc},
    };

    /// Longer than anything here takes; a flush that ends because of it has failed.
    const LONG: Duration = Duration::from_secs(60);

    /// Takes three bytes at a time; once it has taken `well`, it fails a few times.
    struct Odd {
        taken: Arc<Mutex<Vec<u8>>>,
        well: usize,
        errors: Vec<io::ErrorKind>,
    }

    impl Write for Odd {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.taken.lock().unwrap();
            if taken.len() > self.well
                && let Some(error) = self.errors.pop()
            {
                return Err(error.into());
            }
            let part = bytes.len().min(3);
            taken.extend_from_slice(&bytes[..part]);
            Ok(part)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_arrive_in_order_and_flush_waits_for_them() {
        let (reader, writer) = pipe().unwrap();
        let lines = Lines::to(writer);
        for n in 0..100 {
            lines.line(format!("line {n}\n").as_bytes());
        }
        lines.flush(LONG);
        assert_eq!(lines.counts.done.load(Ordering::Acquire), 100);
        let read = BufReader::new(reader).lines().take(100).map(Result::unwrap);
        assert!(read.eq((0..100).map(|n| format!("line {n}"))));
        assert_eq!(lines.lost(), 0);
    }

    #[test]
    fn a_reader_that_stops_holds_nobody_up_and_what_it_misses_is_bounded_and_counted() {
        let (mut reader, writer) = pipe().unwrap();
        let lines = Lines::to(writer);
        let line = [b'x'; 1_024];
        let count = 3 * BYTES_MAX / line.len();
        // Whoever writes is done, though nobody reads.
        for _ in 0..count {
            lines.line(&line);
        }
        let lost = lines.lost();
        assert!(lost as usize > count / 2, "{lost} of {count}");
        assert!(lines.counts.waiting_bytes.load(Ordering::Relaxed) <= BYTES_MAX);
        for _ in 0..2 * LINES_MAX {
            lines.line(b"");
        }
        assert!(lines.lost() > lost, "the number of lines is bounded as well");
        lines.flush(Duration::from_millis(10));
        assert!(lines.counts.done.load(Ordering::Acquire) < count as u64, "it has not waited for the reader");
        // It takes them up again: those that waited arrive.
        let reading = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        lines.flush(LONG);
        let counts = &lines.counts;
        assert_eq!(counts.done.load(Ordering::Acquire), counts.queued.load(Ordering::Acquire));
        assert_eq!(counts.waiting_bytes.load(Ordering::Relaxed), 0);
        drop(lines);
        assert!(reading.join().unwrap().unwrap() > 0);
    }

    #[test]
    fn a_reader_that_is_gone_and_a_full_volume_cost_lines_and_nothing_else() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        for lines in [Lines::to(writer), Lines::to(full), Lines::to(Closed)] {
            for _ in 0..10 {
                lines.line(b"nobody reads this\n");
            }
            lines.flush(LONG);
            assert_eq!(lines.lost(), 10);
            assert_eq!(lines.counts.waiting_bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn a_line_that_was_torn_does_not_spoil_the_next_and_a_busy_file_is_waited_for() {
        use io::ErrorKind::{Interrupted, StorageFull, WouldBlock};
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let errors = vec![StorageFull, WouldBlock, Interrupted, WouldBlock];
        let lines = Lines::to(Odd { taken: Arc::clone(&taken), well: 8, errors });
        for line in ["first\n", "second\n", "third\n"] {
            lines.line(line.as_bytes());
        }
        lines.flush(LONG);
        assert_eq!(lines.lost(), 1);
        assert_eq!(*taken.lock().unwrap(), b"first\nsec\nthird\n");
    }

    #[test]
    fn a_writer_that_never_returns_keeps_neither_lines_nor_flush() {
        struct Hangs(mpsc::Receiver<()>);
        impl Write for Hangs {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, hang) = mpsc::channel();
        let lines = Lines::to(Hangs(hang));
        for _ in 0..2 * LINES_MAX {
            lines.line(b"x\n");
        }
        lines.flush(Duration::from_millis(10));
        assert_eq!(lines.counts.done.load(Ordering::Acquire), 0);
        assert!(lines.lost() >= LINES_MAX as u64 - 1, "{}", lines.lost());
        drop(release);
    }
}
