//! Processes that end when this one does. Each is told by the kernel to die with us (`setpriv --pdeathsig`), so even
//! a SIGKILL of this program leaves none behind; namespaces, mounts and loop devices hang on processes and go with
//! them.
//!
//! The kernel means the *thread* that started the process: start them on threads that live as long as the program,
//! its first one or a runtime's workers, never on one that comes and goes.

use crate::host;
use anyhow::{Context as _, ensure};
use rustix::process::{Pid, kill_process};
use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

pub use rustix::process::Signal;

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);

/// A command line that grows from the inside out: what runs, and the programs that put it somewhere.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    words: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl CommandLine {
    /// A program and its arguments.
    pub fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), env: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn and(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Inside another program, which ends by executing it.
    #[must_use]
    pub fn inside<W: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = W>) -> Self {
        self.words = wrapper.into_iter().map(Into::into).chain(self.words).collect();
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mortal = if host::has("setpriv") {
            self.clone().inside(["setpriv", "--pdeathsig", "KILL", "--"])
        } else {
            self.clone()
        };
        let (program, arguments) = mortal.words.split_first().context("a command line has a program")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(mortal.env).stdin(Stdio::null());
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

    /// Runs it to its end, which must be soon and good; what it wrote.
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

/// Runs a command line of plain words to its end.
///
/// # Errors
/// If it fails.
pub fn run(words: &[&str]) -> anyhow::Result<String> {
    CommandLine::new(words).run()
}

/// A process that was started; killed when it goes out of scope.
#[derive(Debug)]
pub struct Process(Mutex<Child>);

impl Process {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn exited(&self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }

    /// Whether it has not ended.
    pub fn runs(&self) -> bool {
        matches!(self.exited(), Ok(None))
    }

    /// Its pid while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.runs().then(|| self.child().id())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // It is not buried while it has a pid, so the number is nobody else's.
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(kill_process(pid.context("the process has ended")?, signal)?)
    }

    /// SIGKILL. Does not wait for the end.
    pub fn kill(&self) {
        // It fails only where it has ended already.
        let _ = self.child().kill();
    }

    /// SIGTERM, its end waited for, and SIGKILL if that is not soon.
    pub fn stop(self, patience: Duration) {
        let _ = self.signal(Signal::TERM);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_says_comes_back_and_its_failure_says_why() {
        let line =
            CommandLine::new(["echo"]).and("$WORD").inside(["sh", "-c", "echo $WORD; exec \"$@\"", "sh"]);
        assert_eq!(line.with("WORD", "hello").run().unwrap(), "hello\n$WORD\n");
        let why = run(&["sh", "-c", "echo no room >&2; exit 3"]).unwrap_err().to_string();
        assert!(why.contains("no room") && why.contains("exit status: 3"), "{why}");
        assert!(CommandLine::default().run().is_err());
    }

    #[test]
    fn a_process_is_asked_to_stop_and_otherwise_ends_with_its_handle() {
        let log = std::env::temp_dir().join(format!("signonce-harness-{}", std::process::id()));
        let deaf = CommandLine::new(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]);
        let process = deaf.start(&log).unwrap();
        while !std::fs::read_to_string(&log).unwrap().contains("up") {
            sleep(LOOK);
        }
        let pid = process.pid().unwrap();
        process.signal(Signal::TERM).unwrap();
        assert!(process.runs(), "it does not listen");
        process.stop(Duration::from_millis(50));
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it was killed in the end");
        std::fs::remove_file(log).unwrap();
    }
}
