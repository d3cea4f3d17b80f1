//! Processes that end when this one does. Each is told by the kernel to die with us (`setpriv --pdeathsig`), so even
//! a SIGKILL of this program leaves none behind; namespaces, mounts and loop devices hang on processes and go with
//! them.
//!
//! The kernel means the *thread* that started the process: start them on threads that live as long as the program,
//! the runtime's workers, never on a blocking thread.

use crate::host::Tool;
use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, kill_process};
use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

pub use rustix::process::Signal;

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(10);

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
        let mortal = if Tool::Setpriv.is_there() {
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
    /// How it ended, if it has.
    pub fn exited(&self) -> io::Result<Option<ExitStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).try_wait()
    }

    /// Its pid while it runs.
    pub fn pid(&self) -> Option<u32> {
        match self.exited() {
            Ok(None) => Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).id()),
            _ => None,
        }
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

    /// Waits for its end.
    ///
    /// # Errors
    /// If it runs still after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("the process runs still after {timeout:?}");
            }
            sleep(LOOK).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only where it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Namespaces of a node's own: they live as long as this does, and whatever is mounted or configured in them too.
#[derive(Debug)]
pub struct Room {
    holder: Process,
    flags: Vec<&'static str>,
}

impl Room {
    /// With a network, a file system table, or both of its own. Needs root.
    ///
    /// # Errors
    /// If the kernel does not let us.
    pub async fn open(flags: &[&'static str], log: &Path) -> anyhow::Result<Self> {
        let sleep_on = ["sh", "-c", "echo ready; exec sleep infinity"];
        let line = CommandLine::new(sleep_on).inside(flags.to_vec()).inside(["unshare"]);
        let before = std::fs::metadata(log).map_or(0, |file| file.len());
        let holder = line.start(log)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::metadata(log).map_or(0, |file| file.len()) == before {
            ensure!(
                Instant::now() < deadline && holder.pid().is_some(),
                "no namespaces: see {}",
                log.display()
            );
            sleep(LOOK).await;
        }
        Ok(Self { holder, flags: flags.to_vec() })
    }

    /// The pid that names the namespaces.
    ///
    /// # Errors
    /// If its process was killed by somebody.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.holder.pid().context("the process that holds the namespaces has ended")
    }

    /// The words in front of a command that is to run in it.
    ///
    /// # Errors
    /// As [`Self::pid`].
    pub fn door(&self) -> anyhow::Result<Vec<OsString>> {
        let words = ["nsenter".to_owned(), format!("--target={}", self.pid()?)];
        let flags = self.flags.iter().map(|flag| (*flag).to_owned());
        Ok(words.into_iter().chain(flags).chain(["--".to_owned()]).map(Into::into).collect())
    }

    /// Runs a command in it to its end.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        CommandLine::new(words).inside(self.door()?).run()
    }
}
