//! Measures how long the disk takes to make a small append durable, which every new signature waits for, and checks the
//! room for the audit.

use super::Findings;
use crate::commands::status::bytes;
use signonce_shared::config::Config;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// Bytes of audit that a Polkadot validator leaves a day: some 60,000 votes and blocks. See docs/operate/audit.md.
const AUDIT_A_DAY: u64 = 15_000_000;
/// The same with some 70,000 parachain statements.
const AUDIT_A_DAY_WITH_PARAS: u64 = 35_000_000;

/// Appends measured.
const APPENDS: usize = 200;
/// The size of one append in bytes: a log entry with a handful of claims.
const BYTES: usize = 512;
/// If half of the appends are slower than this, the whole cluster is slow.
const SLOW_P50: Duration = Duration::from_millis(10);
/// A tail longer than this uses up a good part of a validator's deadlines.
const SLOW_P99: Duration = Duration::from_millis(100);
/// Faster than any disk that keeps its promises.
const TOO_FAST: Duration = Duration::from_micros(5);

pub(super) fn check(dir: &Path, findings: &mut Findings) {
    let mut times = match measure(dir) {
        Ok(times) => times,
        Err(error) => return findings.wrong("disk", format!("cannot write in {}: {error}", dir.display())),
    };
    times.sort();
    let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
    let found = format!(
        "append + fdatasync of {BYTES} bytes, {APPENDS} times: p50 {:.2} ms, p99 {:.2} ms",
        millis(p50),
        millis(p99)
    );
    if p50 < TOO_FAST {
        findings.warning("disk", format!("{found}; is this a disk that keeps data through a power cut?"));
    } else if p50 > SLOW_P50 || p99 > SLOW_P99 {
        let hint = "every new signature waits for this on a majority of nodes; use a local SSD";
        findings.warning("disk", format!("{found}; {hint}"));
    } else {
        findings.fine("disk", found);
    }
}

/// Checks the room that the audit will need.
pub(super) fn check_audit(config: &Config, findings: &mut Findings) {
    let days = config.audit.keep_days;
    let (least, most) = [AUDIT_A_DAY, AUDIT_A_DAY_WITH_PARAS].map(|a_day| days.saturating_mul(a_day)).into();
    let needs = format!(
        "{days} days of records (audit.keep_days) take about {} for a validator, {} with parachain work",
        bytes(least),
        bytes(most)
    );
    match rustix::fs::statvfs(&config.node.data_dir).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)) {
        Ok(free) if free < least => {
            let free = bytes(free);
            findings
                .warning("audit", format!("{needs}; {free} are left: get a bigger disk, or keep fewer days"));
        }
        Ok(free) => findings.fine("audit", format!("{needs}; {} are left", bytes(free))),
        Err(error) => findings.warning("audit", format!("{needs}; what is left is not known: {error}")),
    }
}

fn measure(dir: &Path) -> io::Result<Vec<Duration>> {
    let path = dir.join("doctor.tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let block = [0xA5; BYTES];
    let measured = (0..APPENDS)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&block)?;
            file.sync_data()?;
            Ok(start.elapsed())
        })
        .collect();
    fs::remove_file(&path)?;
    measured
}

/// A percentile of sorted times, by the nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(measure(dir.path()).unwrap().len(), APPENDS);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
