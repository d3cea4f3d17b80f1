//! Processes that end when this one does: the kernel is told to kill them with us (`setpriv --pdeathsig`). It means
//! the thread that started them, so they are started on the program's first thread.

use crate::{host, signer::How};
use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs::OpenOptions,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);
/// What `strace` writes down: whatever makes, changes, moves or syncs a file.
const TRACED: &str = "trace=open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,\
                      fsync,fdatasync,sync,syncfs,msync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat";

/// A command line.
#[derive(Clone, Debug)]
pub struct CommandLine {
    words: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

impl CommandLine {
    /// A program and its first arguments.
    pub fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), env: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn and(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Traced, or with another clock, as a case wants it.
    ///
    /// # Errors
    /// If the means are lacking.
    pub fn started_as(mut self, how: &How, machine: usize) -> anyhow::Result<Self> {
        if let Some(seconds) = how.clock {
            let library = host::faketime().context("needs libfaketime")?;
            self.env = vec![
                ("LD_PRELOAD", library.into()),
                ("FAKETIME", format!("{seconds:+}").into()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
                ("DONT_FAKE_MONOTONIC", "1".into()),
            ];
        }
        if let Some(dir) = &how.traced {
            // The traced process stays our child (`-D`), so that signals reach it and not the tracer.
            let words = ["strace", "-D", "-f", "-y", "-s", "0", "-e", TRACED, "-o"];
            let file = dir.join(format!("trace-{machine}"));
            let front = words.into_iter().map(OsString::from).chain([file.into(), "--".into()]);
            self.words = front.chain(self.words).collect();
        }
        Ok(self)
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut words = self.words.clone();
        if host::has("setpriv") {
            let front = ["setpriv", "--pdeathsig", "KILL", "--"].map(OsString::from);
            words.splice(0..0, front);
        }
        let (program, arguments) = words.split_first().context("a command line has a program")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.env.clone()).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it with its output appended to `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, log: &Path) -> anyhow::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = self.command()?;
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", self.words))?;
        Ok(Process(Mutex::new(child)))
    }

    /// Runs it to its end, which must be good; what it wrote.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self) -> anyhow::Result<String> {
        let output = self.command()?.output().with_context(|| format!("cannot run {:?}", self.words))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{:?}: {}: {}", self.words, output.status, said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A process that was started; killed when it goes out of scope.
#[derive(Debug)]
pub struct Process(Mutex<Child>);

impl Process {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has not ended.
    pub fn runs(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// SIGKILL. Does not wait for the end.
    pub fn kill(&self) {
        // It fails only where it has ended already.
        let _ = self.child().kill();
    }

    /// SIGTERM, its end waited for, and SIGKILL if that is not soon.
    pub fn stop(self, patience: Duration) {
        let pid = i32::try_from(self.child().id()).ok().and_then(Pid::from_raw);
        if let (true, Some(pid)) = (self.runs(), pid) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + patience;
        while self.runs() && Instant::now() < deadline {
            sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child().wait();
    }
}
