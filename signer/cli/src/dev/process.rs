//! The processes of a local cluster: started, signalled, waited for, and never left behind.

use super::LocalCluster;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, kill_process};
use signonce_shared::http::{HttpClient, Limits};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a process may take to end in order.
pub(super) const GRACE: Duration = Duration::from_secs(15);
/// The pause between two checks of a process or a probe.
const LOOK: Duration = Duration::from_millis(20);
/// The limits of a probe's answer.
const PROBE: Limits = Limits { time: Duration::from_secs(1), bytes: 64 << 10 };
/// How many lines of its log are shown when a process has ended.
const LOG_LINES: usize = 8;

/// A signal for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: it ends at once, as in a crash.
    Kill,
    /// SIGTERM: it ends in order.
    Term,
    /// SIGSTOP: it freezes.
    Stop,
    /// SIGCONT: it goes on.
    Cont,
}

impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Kill => Self::KILL,
            Signal::Term => Self::TERM,
            Signal::Stop => Self::STOP,
            Signal::Cont => Self::CONT,
        }
    }
}

/// A process that was started. Shared references may wait for it: checking whether it ended also reaps it.
pub(super) struct Child(Mutex<std::process::Child>);

impl Child {
    pub fn start(binary: &Path, config: &Path, log: &Path) -> anyhow::Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(binary)
            .arg("start")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self(Mutex::new(child)))
    }

    fn exited(&self) -> io::Result<Option<ExitStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).try_wait()
    }

    pub fn pid(&self) -> Option<u32> {
        match self.exited() {
            Ok(None) => Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).id()),
            _ => None,
        }
    }

    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let ended = || io::Error::new(io::ErrorKind::NotFound, "the process has ended");
        // It has not been reaped while it has a pid, so the number belongs to no other process.
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or_else(ended)?, signal.into())?)
    }

    pub fn wait(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("the process runs still after {timeout:?}");
            }
            thread::sleep(LOOK);
        }
    }
}

/// Ends all; returns those that had to be killed.
pub(super) fn stop(children: BTreeMap<u64, Child>, grace: Duration) -> Vec<u64> {
    for child in children.values() {
        // It fails only for those that have already ended.
        let _ = child.signal(Signal::Term);
        let _ = child.signal(Signal::Cont);
    }
    let deadline = Instant::now() + grace;
    let mut killed = Vec::new();
    for (id, child) in &children {
        if child.wait(deadline.saturating_duration_since(Instant::now())).is_err() {
            killed.push(*id);
            let _ = child.signal(Signal::Kill);
            let _ = child.wait(GRACE);
        }
    }
    killed
}

/// Polls the probes of some nodes until all are ready.
pub(super) async fn wait_ready(cluster: &LocalCluster, ids: &[u64], timeout: Duration) -> anyhow::Result<()> {
    let (http, deadline) = (HttpClient::plain(), Instant::now() + timeout);
    for &id in ids {
        loop {
            let url = format!("http://{}/readyz", cluster.metrics_address(id)).parse()?;
            let why = match http.get(&url, PROBE).await {
                Ok(answer) if answer.status().is_success() => break,
                Ok(answer) => String::from_utf8_lossy(answer.body()).trim().replace('\n', "; "),
                Err(error) => format!("its probe: {error}"),
            };
            // Any of them: a node that waits for one that has ended would wait indefinitely.
            if let Some(id) = ids.iter().find(|id| cluster.pid(**id).is_none()) {
                bail!("node {id} has ended; its log says:\n{}", log_end(&cluster.log_path(*id)));
            }
            if Instant::now() >= deadline {
                let log = cluster.log_path(id);
                bail!("node {id} is not ready after {timeout:?}: {why} (its log is {})", log.display());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

fn log_end(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// The resident memory of a process, in MiB.
///
/// # Errors
/// If the system does not tell.
pub fn rss_mib(pid: u32) -> anyhow::Result<f64> {
    let kib = |text: &str| text.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let resident = status.as_deref().and_then(|s| s.lines().find_map(|line| line.strip_prefix("VmRSS:")));
    let resident = match resident.and_then(kib) {
        Some(resident) => Some(resident),
        // Without /proc, as on macOS.
        None => {
            let output = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output()?;
            kib(&String::from_utf8_lossy(&output.stdout))
        }
    };
    Ok(resident.with_context(|| format!("nobody says how much memory process {pid} has"))? / 1_024.0)
}
