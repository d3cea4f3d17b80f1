//! What a scrape says of the machine and the process: clock, disk, certificates, memory, files.

use crate::{
    clock::Clock,
    config::{Config, TlsFiles},
    server::tls,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use serde::{Deserialize, Serialize};
use signonce_cluster::{Handle, clock::unix_ms};
use signonce_core::FEATURE_LEVEL;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long what the files say of the certificates is believed.
const CERTIFICATES_AGE: Duration = Duration::from_secs(30);

/// Until when a configured certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateEnd {
    /// `node` or `authority`.
    pub certificate: String,
    /// Unix seconds.
    pub not_after: i64,
}

/// Room on the file system of the data directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// What this process may still write.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// See the module's text.
pub struct Machine {
    handle: Handle,
    clock: Arc<Clock>,
    data_dir: PathBuf,
    tls: TlsFiles,
    cluster: String,
    started_ms: u64,
    certificates: Mutex<Option<(Instant, Vec<CertificateEnd>)>>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

impl Machine {
    /// Of the node that `config` describes.
    pub fn new(config: &Config, handle: Handle, clock: Arc<Clock>) -> Self {
        Self {
            handle,
            clock,
            data_dir: config.node.data_dir.clone(),
            tls: config.tls.clone(),
            cluster: config.cluster.id.clone(),
            started_ms: unix_ms(),
            certificates: Mutex::new(None),
        }
    }

    /// The configured certificates, the first to end of each file. Read anew now and then: they are renewed in place.
    pub fn certificates(&self) -> Vec<CertificateEnd> {
        let mut known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ends)) = known.as_ref().filter(|(read, _)| read.elapsed() < CERTIFICATES_AGE) {
            return ends.clone();
        }
        let files = [("node", &self.tls.cert), ("authority", &self.tls.ca)];
        let ends: Vec<CertificateEnd> = files
            .into_iter()
            .filter_map(|(name, path)| {
                first_end(path).map(|not_after| CertificateEnd { certificate: name.into(), not_after })
            })
            .collect();
        *known = Some((Instant::now(), ends.clone()));
        ends
    }

    /// The room for the data directory.
    pub fn disk(&self) -> Option<Disk> {
        let found = rustix::fs::statvfs(&self.data_dir).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Disk { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }
}

fn first_end(path: &Path) -> Option<i64> {
    tls::first_end(&tls::read_certificates(path).ok()?)
}

/// Resident bytes and open files of this process, where the system says.
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
        let audit = self.handle.audit();
        let help = "Bytes that the audit takes on this node's disk";
        gauge("audit_bytes", help, audit.bytes().ok().map(|bytes| bytes as f64))?;
        let help = "When the oldest audit record on this node was made, in Unix seconds";
        gauge("audit_oldest_timestamp_seconds", help, audit.oldest_ms().ok().flatten().and_then(seconds))?;
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

        let help = "Times the wall clock jumped against the monotonic one";
        let metric = encoder.encode_descriptor("clock_jumps", help, None, MetricType::Counter)?;
        ConstCounter::new(self.clock.jumps()).encode(metric)?;
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
