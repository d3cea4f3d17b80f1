//! The metrics of the machine and the process: clock, disk, certificates, memory, files.
//!
//! A thread of its own looks at file systems and at the size of the audit in the store, now and then: a disk that does
//! not answer must not hold up a scrape, and with it the threads that serve requests.

use crate::{clock::Clock, output};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use signonce_cluster::{AuditStore, Handle, clock::unix_ms};
use signonce_core::FEATURE_LEVEL;
use signonce_shared::overview::{CertificateEnd, Disk};
use signonce_shared::{
    config::{Config, TlsFiles},
    tls,
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How often files and disk are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long a reading of the disk stays valid: a disk that does not answer has no free bytes to report.
const DISK_AGE: Duration = Duration::from_secs(30);

/// Collects the metrics of the machine.
pub struct Machine {
    handle: Handle,
    clock: Arc<Clock>,
    data_dir: PathBuf,
    tls: TlsFiles,
    cluster: String,
    started_ms: u64,
    found: Mutex<Found>,
}

/// The latest readings.
struct Found {
    at: Instant,
    certificates: Vec<CertificateEnd>,
    disk: Option<Disk>,
    /// The bytes that the audit takes, and when its oldest record was made.
    audit_bytes: Option<u64>,
    audit_oldest_ms: Option<u64>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

impl Machine {
    /// For the node that `config` describes.
    pub fn new(config: &Config, handle: Handle, clock: Arc<Clock>) -> Self {
        let found = Found::look(&config.node.data_dir, &config.tls, &handle.audit());
        Self {
            handle,
            clock,
            data_dir: config.node.data_dir.clone(),
            tls: config.tls.clone(),
            cluster: config.cluster.id.clone(),
            started_ms: unix_ms(),
            found: Mutex::new(found),
        }
    }

    /// Keeps reading until the process ends.
    pub fn watch(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let looking = move || {
            loop {
                thread::sleep(LOOK);
                let found = Found::look(&this.data_dir, &this.tls, &this.handle.audit());
                *this.found() = found;
            }
        };
        if let Err(error) = thread::Builder::new().name("machine".into()).spawn(looking) {
            tracing::error!(%error, "disk and certificates are not looked at again");
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first certificate to end in each configured file, as of the latest reading: they are renewed in place.
    pub fn certificates(&self) -> Vec<CertificateEnd> {
        self.found().certificates.clone()
    }

    /// The room for the data directory, as of the latest reading.
    pub fn disk(&self) -> Option<Disk> {
        let found = self.found();
        found.disk.filter(|_| found.at.elapsed() < DISK_AGE)
    }

    /// The bytes that the audit takes and when its oldest record was made, as of the latest reading.
    fn audit(&self) -> (Option<u64>, Option<u64>) {
        let found = self.found();
        (found.audit_bytes, found.audit_oldest_ms)
    }
}

impl Found {
    fn look(data_dir: &Path, tls: &TlsFiles, audit: &AuditStore) -> Self {
        let files = [("node", &tls.cert), ("authority", &tls.ca)];
        let end = |(name, path): (&str, &PathBuf)| {
            Some(CertificateEnd { certificate: name.into(), not_after: first_end(path)? })
        };
        let certificates = files.into_iter().filter_map(end).collect();
        Self {
            at: Instant::now(),
            certificates,
            disk: room(data_dir),
            audit_bytes: audit.bytes().ok(),
            audit_oldest_ms: audit.oldest_ms().ok().flatten(),
        }
    }
}

fn room(dir: &Path) -> Option<Disk> {
    let found = rustix::fs::statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(Disk { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}

fn first_end(path: &Path) -> Option<i64> {
    tls::first_end(&tls::read_certificates(path).ok()?)
}

/// Resident bytes and open files of this process, where the system tells.
fn process() -> (Option<u64>, Option<u64>) {
    let page = rustix::param::page_size() as u64;
    let statm = fs::read_to_string("/proc/self/statm").ok();
    let resident = statm.and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    (resident.map(|pages| pages * page), open)
}

/// How many files this process may open.
fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

impl Collector for Machine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => {
                let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(metric)
            }
            None => Ok(()),
        };
        let seconds = |ms: u64| Some(ms as f64 / 1_000.0);
        gauge("clock_seconds", "This node's wall clock at the scrape, in Unix seconds", seconds(unix_ms()))?;
        let trusted = f64::from(u8::from(self.clock.look().is_ok()));
        gauge("clock_trusted", "0 for a while after the wall clock jumped; slots wait then", Some(trusted))?;
        gauge("start_time_seconds", "When the process started, in Unix seconds", seconds(self.started_ms))?;
        let (level, audited) = self.handle.read(|state| (state.feature_level(), state.audit_head().next));
        gauge("audit_records", "Records in the audit chain", Some(audited as f64))?;
        let (bytes, oldest_ms) = self.audit();
        let help = "Bytes that the audit takes on this node's disk";
        gauge("audit_bytes", help, bytes.map(|bytes| bytes as f64))?;
        let help = "When the oldest audit record on this node was made, in Unix seconds";
        gauge("audit_oldest_timestamp_seconds", help, oldest_ms.and_then(seconds))?;
        gauge("feature_level", "What the cluster's log may use", Some(level.into()))?;
        let help = "The highest feature level that this program supports";
        gauge("feature_level_supported", help, Some(FEATURE_LEVEL.into()))?;
        let disk = self.disk();
        let help = "Room left on the file system of the data directory";
        gauge("disk_free_bytes", help, disk.map(|disk| disk.free as f64))?;
        let help = "Size of the file system of the data directory";
        gauge("disk_size_bytes", help, disk.map(|disk| disk.total as f64))?;
        let (resident, open) = process();
        gauge("process_resident_bytes", "Memory of the process", resident.map(|bytes| bytes as f64))?;
        gauge("process_open_files", "File descriptors open", open.map(|files| files as f64))?;
        let help = "File descriptors that may be open";
        gauge("process_open_files_max", help, open_files_max().map(|files| files as f64))?;

        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)
        };
        counter("clock_jumps", "Times the wall clock jumped against the monotonic one", self.clock.jumps())?;
        let help = "Lines of the log that were lost: its reader has stopped, died, or has no room";
        counter("log_lines_lost", help, output::stderr().lost())?;
        let help = "Until when the first certificate of a configured file is valid, in Unix seconds";
        let name = "certificate_not_after_timestamp_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for end in self.certificates() {
            let labels = [("certificate", end.certificate.as_str())];
            ConstGauge::new(end.not_after).encode(metric.encode_family(&labels)?)?;
        }
        let help = "Which node of which cluster this is, and its version";
        let mut metric = encoder.encode_descriptor("node_info", help, None, MetricType::Gauge)?;
        let node = self.handle.node().to_string();
        let labels =
            [("node", node.as_str()), ("cluster", &self.cluster), ("version", env!("CARGO_PKG_VERSION"))];
        ConstGauge::new(1).encode(metric.encode_family(&labels)?)
    }
}
