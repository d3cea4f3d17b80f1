//! Processes in namespaces of their own, and waiting for a process without holding up the runtime.
//!
//! Start processes on the runtime's workers, never on a blocking thread: they die with the thread.

use anyhow::{Context as _, bail, ensure};
use std::{
    ffi::OsString,
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};
use tokio::time::sleep;

pub use signonce_harness::{CommandLine, Process, Signal, run};

/// The pause between two checks of a process.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for the end of a process.
///
/// # Errors
/// If it is still running after `timeout`.
pub async fn ended(process: &Process, timeout: Duration) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = process.exited()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            bail!("the process runs still after {timeout:?}");
        }
        sleep(LOOK).await;
    }
}

/// A node's own namespaces: they live as long as this value, and so does whatever is mounted or configured in them.
#[derive(Debug)]
pub struct Room {
    holder: Process,
    flags: Vec<&'static str>,
}

impl Room {
    /// With a network, a file system table, or both of its own. Needs root.
    ///
    /// # Errors
    /// If the kernel does not allow it.
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

    /// The pid by which the namespaces are entered.
    ///
    /// # Errors
    /// If its process was killed by somebody.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.holder.pid().context("the process that holds the namespaces has ended")
    }

    /// The words to put before a command so that it runs in them.
    ///
    /// # Errors
    /// As [`Self::pid`].
    pub fn door(&self) -> anyhow::Result<Vec<OsString>> {
        let words = ["nsenter".to_owned(), format!("--target={}", self.pid()?)];
        let flags = self.flags.iter().map(|flag| (*flag).to_owned());
        Ok(words.into_iter().chain(flags).chain(["--".to_owned()]).map(Into::into).collect())
    }

    /// Runs a command in them to its end.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        CommandLine::new(words).inside(self.door()?).run()
    }
}
