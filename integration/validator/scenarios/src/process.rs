//! Processes that never outlive the scenario: each in a group of its own that is killed when its guard goes, and told
//! by the kernel to end if we are killed ourselves (`setpriv --pdeathsig`, where there is one).

use anyhow::{Context as _, bail};
use rustix::process::{Pid, kill_process, kill_process_group};
use std::{
    ffi::OsString,
    fs::OpenOptions,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use rustix::process::Signal;

/// Between two looks whether a process has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How much of a log is shown when a process has ended, in lines.
const LOG_LINES: usize = 12;

/// What to run.
pub struct Program {
    /// What people call it.
    pub name: String,
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// Added to the environment.
    pub environment: Vec<(&'static str, String)>,
    /// Where both of its outputs go. Appended to.
    pub log: PathBuf,
}

/// A process that runs, or did. Dropping it kills it.
pub struct Process {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// # Errors
    /// If it cannot be started. What it says later is in its log.
    pub fn start(program: Program) -> anyhow::Result<Self> {
        let Program { name, words, environment, log } = program;
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("cannot write {}", log.display()))?;
        let words = dying_with_us().into_iter().chain(words).collect::<Vec<_>>();
        let (first, rest) = words.split_first().context("no program")?;
        let child = Command::new(first)
            .args(rest)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", first.display()))?;
        Ok(Self { name, log, child: Mutex::new(child) })
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// # Errors
    /// If it has ended; with the end of its log.
    pub fn must_run(&self) -> anyhow::Result<()> {
        match self.exited() {
            None => Ok(()),
            Some(status) => {
                bail!("{} has ended ({status}); its log says:\n{}", self.name, log_end(&self.log))
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.must_run()?;
        kill_process(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for its end; how long that took.
    ///
    /// # Errors
    /// If it runs still after `patience`.
    pub async fn wait(&self, patience: Duration) -> anyhow::Result<(ExitStatus, Duration)> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Ok((status, began.elapsed()));
            }
            if began.elapsed() >= patience {
                bail!("{} runs still after {} s", self.name, patience.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// As in a crash.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.child.lock().unwrap_or_else(PoisonError::into_inner).id();
        i32::try_from(id).ok().and_then(Pid::from_raw).context("a process has an id")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not buried yet while we have not waited for it, so the number is nobody else's.
        if self.exited().is_none()
            && let Ok(pid) = self.pid()
        {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
        }
    }
}

/// Makes the kernel kill the process when we die without having killed it.
fn dying_with_us() -> Vec<OsString> {
    let there = Path::new("/usr/bin/setpriv");
    match there.exists() {
        true => vec![there.into(), "--pdeathsig".into(), "KILL".into(), "--".into()],
        false => Vec::new(),
    }
}

/// Runs a program that must end well within `patience`; what it printed.
///
/// # Errors
/// If it fails or does not end; with what it said.
pub async fn run(program: &Path, arguments: &[&str], patience: Duration) -> anyhow::Result<String> {
    let said = attempt(program, arguments, patience).await?;
    if said.code != Some(0) {
        let name = format!("{} {}", program.display(), arguments.join(" "));
        bail!("{name} failed ({:?}): {}", said.code, said.err.trim());
    }
    Ok(said.out)
}

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
}

/// Runs a program, whatever comes of it.
///
/// # Errors
/// If it cannot be started or does not end.
pub async fn attempt(program: &Path, arguments: &[&str], patience: Duration) -> anyhow::Result<Ended> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    let name = || format!("{} {}", program.display(), arguments.join(" "));
    let output = match tokio::time::timeout(patience, command.output()).await {
        Ok(output) => output.with_context(name)?,
        Err(_) => bail!("{} runs still after {} s", name(), patience.as_secs()),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}

/// The last lines of a log.
pub fn log_end(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(log: &Path) -> Process {
        let words = ["sleep", "600"].map(OsString::from).to_vec();
        let program = Program { name: "sleeper".into(), words, environment: Vec::new(), log: log.to_owned() };
        Process::start(program).unwrap()
    }

    #[tokio::test]
    async fn a_process_ends_with_its_guard() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(&dir.path().join("log"));
        let pid = process.pid().unwrap();
        process.must_run().unwrap();
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[tokio::test]
    async fn one_that_has_ended_is_told_from_one_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(&dir.path().join("log"));
        process.signal(Signal::TERM).unwrap();
        process.wait(Duration::from_secs(30)).await.unwrap();
        assert!(process.must_run().is_err());
        assert!(process.kill().is_err());
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let error =
            run(Path::new("/bin/ls"), &["/no/such/place"], Duration::from_secs(30)).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/place"), "{error}");
    }
}
