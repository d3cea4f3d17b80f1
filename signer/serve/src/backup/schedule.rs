//! Scheduled backups: `[backup]` in the configuration. Every node makes its own. A leader delays its backup for a while
//! in case it becomes a follower, since reading the whole state costs a leader's clients some milliseconds.

use super::{MakeError, make};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use signonce_cluster::{Handle, clock::unix_ms};
use signonce_core::replica::Role;
use signonce_protocol::NodeId;
use signonce_shared::backup::{
    BackupError, Manifest, StateFile,
    folder::{self, Listed},
};
use signonce_shared::config::{BackupSection, Config, TlsFiles};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often, at least, the clock is checked.
const LOOK: Duration = Duration::from_secs(30);
/// The age at which an unfinished state that nobody writes to counts as left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(3_600);

/// The metrics of scheduled backups.
#[derive(Debug, Default)]
pub struct BackupMetrics {
    /// When the last backup was made, in Unix milliseconds; 0 for never.
    last_ms: AtomicU64,
    failures: AtomicU64,
}

impl Collector for BackupMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let last = self.last_ms.load(Ordering::Relaxed);
        if last > 0 {
            let help = "Seconds since this node made its last scheduled backup";
            let age = unix_ms().saturating_sub(last) as f64 / 1_000.0;
            let metric = encoder.encode_descriptor("backup_age_seconds", help, None, MetricType::Gauge)?;
            ConstGauge::new(age).encode(metric)?;
        }
        let help = "Scheduled backups that failed";
        let metric = encoder.encode_descriptor("backup_failures", help, None, MetricType::Counter)?;
        ConstCounter::new(self.failures.load(Ordering::Relaxed)).encode(metric)
    }
}

/// The task that makes backups.
pub struct Schedule {
    handle: Handle,
    tls: TlsFiles,
    cluster: String,
    section: BackupSection,
    metrics: Arc<BackupMetrics>,
}

impl Schedule {
    /// The schedule of a started node.
    pub fn new(config: &Config, handle: Handle, metrics: Arc<BackupMetrics>) -> Self {
        let (tls, cluster, section) =
            (config.tls.clone(), config.cluster.id.to_ascii_lowercase(), config.backup.clone());
        Self { handle, tls, cluster, section, metrics }
    }

    /// Makes backups until the process ends. Returns at once if none are configured.
    pub async fn run(self) {
        let Some(dir) = self.section.dir.clone() else { return };
        StateFile::sweep(&dir, LEFT_BEHIND);
        let every = self.section.every.0;
        let (cluster, node, in_it) = (self.cluster.clone(), self.handle.node(), dir.clone());
        let newest = tokio::task::spawn_blocking(move || newest(&in_it, &cluster, node)).await;
        // Fails only when the process ends.
        let Ok(mut last_ms) = newest else { return };
        self.metrics.last_ms.store(last_ms, Ordering::Relaxed);
        let mut try_after_ms = 0;
        loop {
            tokio::time::sleep(LOOK.min(every / 4)).await;
            let now = unix_ms();
            let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            let due = last_ms.saturating_add(every_ms);
            if now < due.max(try_after_ms) || self.waits_to_follow(now, due, every_ms) {
                continue;
            }
            match self.one(&dir).await {
                Ok((path, manifest, removed)) => {
                    last_ms = manifest.created_ms;
                    self.metrics.last_ms.store(last_ms, Ordering::Relaxed);
                    let path = path.display();
                    tracing::info!(%path, applied = %manifest.applied, removed, "backup made");
                }
                Err(error) => {
                    self.metrics.failures.fetch_add(1, Ordering::Relaxed);
                    try_after_ms = now.saturating_add(every_ms / 4);
                    tracing::error!(%error, "the scheduled backup failed; the node goes on");
                }
            }
        }
    }

    /// Whether a leader still delays its backup, as leadership may move.
    fn waits_to_follow(&self, now: u64, due: u64, every_ms: u64) -> bool {
        let status = self.handle.status();
        let could_follow = status.role == Role::Leader && status.voters.len() > 1;
        could_follow && now < due.saturating_add(every_ms / 4)
    }

    async fn one(&self, dir: &Path) -> Result<(PathBuf, Manifest, usize), MakeError> {
        let (handle, tls, cluster) = (self.handle.clone(), self.tls.clone(), self.cluster.clone());
        let (dir, keep) = (dir.to_owned(), self.section.keep);
        let made = tokio::task::spawn_blocking(move || {
            let failed = |source| BackupError::File { doing: "make", path: dir.clone(), source };
            fs::create_dir_all(&dir).map_err(failed)?;
            let made = make(&handle, &tls, &cluster, &dir)?;
            let path = dir.join(folder::default_name(&made.manifest));
            folder::write(&path, &made.parts(), true)?;
            let removed = folder::thin_out(&dir, &made.manifest, keep)?;
            Ok((path, made.manifest, removed))
        });
        match made.await {
            Ok(made) => made,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }
}

/// When the newest backup of this node of this cluster in the directory was made; 0 if there is none.
fn newest(dir: &Path, cluster: &str, node: NodeId) -> u64 {
    let ours = |listed: &&Listed| listed.manifest.cluster == cluster && listed.manifest.node == node;
    let listed = folder::list(dir).unwrap_or_default();
    listed.iter().filter(ours).map(|listed| listed.manifest.created_ms).max().unwrap_or(0)
}
