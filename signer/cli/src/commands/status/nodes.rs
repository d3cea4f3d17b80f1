//! The tables of `signonce status`: every node, and what each class of keys signed last.

use super::{advice, table};
use signonce_protocol::DutyClass;
use signonce_shared::overview::{KeyProgress, NodeReport, NodeView, Overview};
use std::collections::BTreeMap;

/// Both tables as text.
pub(super) fn describe(overview: &Overview) -> String {
    let head = ["NODE", "ROLE", "READY", "TERM", "LAG", "KEYS OPEN", "CERT", "DISK FREE", "CLOCK", "URL"];
    let nodes = table(head, overview.nodes.iter().map(|view| row(overview, view)));
    let keys = advice::freshest(overview).map(|report| duties(&report.keys, overview.time_ms));
    match keys.filter(|rows| !rows.is_empty()) {
        Some(rows) => format!("{nodes}\n{}", table(["CLASS", "KEYS", "LAST DUTY", "SIGNED"], rows)),
        None => nodes,
    }
}

fn row(overview: &Overview, view: &NodeView) -> [String; 10] {
    let name = |leads: bool| format!("{}{}", view.node, if leads { "*" } else { "" });
    let url = view.url.clone().unwrap_or_else(|| "(asked)".to_owned());
    let Some(report) = &view.report else {
        let dash = || "-".to_owned();
        return [
            name(false),
            "?".to_owned(),
            "NO ANSWER".to_owned(),
            dash(),
            dash(),
            dash(),
            dash(),
            dash(),
            dash(),
            url,
        ];
    };
    let NodeReport { status, disk, .. } = report;
    let clock = view.clock_offset_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:+} ms"));
    let role = if view.voter { status.role.clone() } else { "learner".to_owned() };
    [
        name(status.role == "leader"),
        role,
        if status.readiness.ready { "yes" } else { "NO" }.to_owned(),
        status.term.to_string(),
        advice::lag(overview, report).to_string(),
        format!("{} of {}", status.keys.unlocked, status.keys.unlocked + status.locked.len()),
        advice::days_left(report, overview.time_ms)
            .map_or_else(|| "-".to_owned(), |days| format!("{days} d")),
        disk.map_or_else(|| "-".to_owned(), |disk| bytes(disk.free)),
        clock,
        url,
    ]
}

/// One row for each class: how many keys, the latest duty of them, and when.
fn duties(keys: &[KeyProgress], now_ms: u64) -> Vec<[String; 4]> {
    let mut classes: BTreeMap<DutyClass, Vec<&KeyProgress>> = BTreeMap::new();
    for key in keys {
        classes.entry(key.class).or_default().push(key);
    }
    let one = |(class, keys): (DutyClass, Vec<&KeyProgress>)| {
        let latest = keys.iter().max_by_key(|key| key.last_ms).filter(|key| key.last_ms.is_some());
        let duty =
            latest.and_then(|key| key.highest).map_or_else(|| "none yet".to_owned(), |at| at.to_string());
        let when = latest.and_then(|key| key.last_ms);
        let when =
            when.map_or_else(|| "-".to_owned(), |ms| format!("{} ago", ago(now_ms.saturating_sub(ms))));
        [class.to_string(), keys.len().to_string(), duty, when]
    };
    classes.into_iter().map(one).collect()
}

/// A length of time, rounded for reading.
pub(in crate::commands) fn ago(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// A number of bytes, rounded for reading.
pub(in crate::commands) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_said_in_the_unit_that_fits() {
        for (ms, said) in [(900, "0.9 s"), (61_000, "61 s"), (180_000, "3 min"), (90_000_000, "25 h")] {
            assert_eq!(ago(ms), said);
        }
        for (n, said) in
            [(12, "12 B"), (1_500, "1.5 kB"), (2_340_000_000, "2.3 GB"), (u64::MAX, "18446744.1 TB")]
        {
            assert_eq!(bytes(n), said);
        }
    }
}
