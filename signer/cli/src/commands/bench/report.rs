//! The results, as JSON and as a table.

use crate::commands::common::table;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{fmt::Write as _, fs, process::Command, time::Duration};

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// The median.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The 99.9th percentile.
    pub p999_us: f64,
}

impl Quantiles {
    /// From a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }

    fn row(&self, name: &str, beside: &Self) -> [String; 5] {
        let ratio = format!("{:.2}", self.p50_us / beside.p50_us);
        [name.into(), ms(self.p50_us), ms(self.p99_us), ms(self.p999_us), ratio]
    }
}

fn ms(us: f64) -> String {
    format!("{:.3} ms", us / 1_000.0)
}

/// The latencies of one client that waits for each answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latencies {
    /// The number of samples of each.
    pub samples: usize,
    /// The bytes of the log entry, which the bare append writes too.
    pub entry_bytes: usize,
    /// A new duty: claimed, on two disks, signed, verified.
    pub new_signature: Quantiles,
    /// The same payload again.
    pub repeat: Quantiles,
    /// A BABE VRF.
    pub vrf: Quantiles,
    /// Appending those bytes to a file, and fdatasync.
    pub bare_fdatasync: Quantiles,
    /// The same with three threads and files at once, until two are done: what this disk needs for three signers.
    pub bare_majority: Quantiles,
    /// An ed25519 signature, verified.
    pub bare_signature: Quantiles,
    /// The bare append and the bare signature, one after the other.
    pub bare_both: Quantiles,
}

/// The result of a load of many clients.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// The number of clients.
    pub clients: usize,
    /// The number of keys they use.
    pub keys: usize,
    /// Protected signatures per second.
    pub per_second: f64,
    /// The latency of each duty.
    pub latency: Quantiles,
    /// Processor time of the three signers together for each duty, in microseconds, where the system reports it.
    pub signers_cpu_us: Option<f64>,
    /// The same for the clients.
    pub clients_cpu_us: Option<f64>,
    /// Duties that came too late and were refused: headers more than three slots of 100 ms late, votes once others with
    /// the same key were a window of rounds ahead. They are in no other figure.
    pub late: u64,
}

/// All results.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// Keys that each node holds, besides the session keys.
    pub keys: usize,
    /// The latencies of one client.
    pub latency: Latencies,
    /// The loads of many clients.
    pub loads: Vec<Load>,
    /// Resident memory of each node at the end, in MiB.
    pub memory_mib: Vec<f64>,
}

impl Report {
    /// The text form, which docs/evidence/performance.md shows.
    pub fn table(&self) -> String {
        let Latencies { samples, entry_bytes, bare_both, .. } = &self.latency;
        let latency = &self.latency;
        let Machine { cpu, cores, system } = &self.machine;
        let mut text =
            format!("Three signers and their clients on one machine: {cpu}, {cores} cores, {system}\n\n");
        let rows = [
            latency.new_signature.row("new duty: claim and signature", bare_both),
            latency.repeat.row("repeat", bare_both),
            latency.vrf.row("VRF", bare_both),
            latency.bare_fdatasync.row(&format!("bare append of {entry_bytes} bytes + fdatasync"), bare_both),
            latency.bare_signature.row("bare signature (ed25519, verified)", bare_both),
            bare_both.row("both", bare_both),
            latency.bare_majority.row("that append by three at once, two done", bare_both),
        ];
        text += &table(["ONE CLIENT", "P50", "P99", "P99.9", "P50 / BOTH"], rows);
        let _ = writeln!(text, "({samples} of each, in turn)\n");
        let rows = self.loads.iter().map(|load| {
            [
                format!("{} clients, {} keys", load.clients, load.keys),
                format!("{:.0} / s", load.per_second),
                ms(load.latency.p50_us),
                ms(load.latency.p99_us),
                load.signers_cpu_us.map_or_else(|| "-".into(), ms),
                load.clients_cpu_us.map_or_else(|| "-".into(), ms),
            ]
        });
        text +=
            &table(["NEW DUTIES", "THROUGHPUT", "P50", "P99", "CPU OF 3 SIGNERS", "CPU OF CLIENTS"], rows);
        text.push_str("(CPU: processor time for each duty)\n");
        let late: u64 = self.loads.iter().map(|load| load.late).sum();
        if late > 0 {
            let _ = writeln!(text, "({late} duties came too late, were refused, and do not count)");
        }
        let memory: Vec<String> = self.memory_mib.iter().map(|mib| format!("{mib:.0} MiB")).collect();
        let _ =
            writeln!(text, "\nResident memory of the nodes with {} keys: {}", self.keys, memory.join(", "));
        text
    }
}

/// The machine that was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// The cores that this process may use.
    pub cores: usize,
    /// The operating system.
    pub system: String,
}

impl Machine {
    /// The machine that this runs on.
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        let cpu = model.map(|(_, name)| name.to_owned());
        let cpu = cpu.or_else(|| said("sysctl", &["-n", "machdep.cpu.brand_string"]));
        let unknown = || format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        Self {
            cpu: cpu.unwrap_or_else(|| "an unnamed processor".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: said("uname", &["-srm"]).unwrap_or_else(unknown),
        }
    }
}

/// The processor time that the threads of a process have used, where the system reports it (Linux).
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanoseconds = threads.flatten().filter_map(|thread| {
        // The first number is the time on a processor. A thread that has just ended has none.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanoseconds.sum()))
}
