//! What `signonce top` shows, computed from two overviews of the cluster. `--json` prints the same.

use crate::commands::status::advice;
use serde::Serialize;
use signonce_cluster::bound;
use signonce_protocol::{
    NodeId,
    rpc::{ErrorCode, ErrorKind},
};
use signonce_shared::overview::{KeyProgress, NodeReport, NodeView, Overview, StageCounts};
use std::{collections::BTreeMap, time::Duration};

/// The figures of one interval.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame {
    /// When the later overview was taken, in Unix milliseconds.
    pub time_ms: u64,
    /// The time between the two, in milliseconds.
    pub interval_ms: u64,
    /// The leader that most of the nodes know.
    pub leader: Option<NodeId>,
    /// The highest term.
    pub term: u64,
    pub nodes: Vec<NodeRow>,
    /// Duties of the interval by class.
    pub duties: Vec<DutyRow>,
    /// Refusals by code since the nodes started.
    pub refusals: BTreeMap<String, u64>,
    /// Latencies of the interval by stage.
    pub stages: Vec<StageRow>,
    /// Armed keys, those that signed last first.
    pub keys: Vec<KeyProgress>,
    /// Problems, and what to do about them.
    pub advice: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeRow {
    pub node: NodeId,
    /// `leader`, `follower`, `candidate`, or `silent`.
    pub role: String,
    pub ready: bool,
    /// How many log entries it is behind the node furthest ahead.
    pub lag: Option<u64>,
    /// Requests a second.
    pub requests: f64,
    pub keys_open: Option<usize>,
    pub clock_offset_ms: Option<i64>,
    pub disk_free: Option<u64>,
}

/// The rates of a class, per second.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DutyRow {
    pub class: String,
    pub granted: f64,
    pub repeated: f64,
    pub free: f64,
    /// Refusals, final and temporary.
    pub refused: f64,
    /// Not served, or with an unknown outcome.
    pub failed: f64,
    /// Signatures of the class since the nodes started.
    pub signed_in_all: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StageRow {
    pub stage: String,
    /// How many were measured in the interval.
    pub count: u64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
}

/// The column that an outcome counts for.
enum Kind {
    Granted,
    Repeated,
    Free,
    Refused,
    Failed,
}

fn kind(outcome: &str) -> Kind {
    match outcome {
        "granted" => Kind::Granted,
        "repeated" => Kind::Repeated,
        "free" => Kind::Free,
        code => match ErrorCode::ALL.iter().find(|known| known.name() == code).map(|code| code.kind()) {
            Some(ErrorKind::NotReady | ErrorKind::Unknown) => Kind::Failed,
            Some(ErrorKind::Refused | ErrorKind::NotYet) | None => Kind::Refused,
        },
    }
}

impl Frame {
    /// What happened between two overviews.
    pub(super) fn between(before: &Overview, now: &Overview) -> Self {
        let interval = Duration::from_millis(now.time_ms.saturating_sub(before.time_ms));
        let known = |node: NodeId| {
            let view = before.nodes.iter().find(|view| view.node == node);
            view.and_then(|view| view.report.as_ref())
        };
        let pairs: Vec<(&NodeReport, &NodeReport)> =
            now.nodes.iter().filter_map(|view| known(view.node).zip(view.report.as_ref())).collect();
        let mut keys = advice::freshest(now).map_or_else(Vec::new, |report| report.keys.clone());
        keys.sort_by_key(|key| std::cmp::Reverse(key.last_ms));
        Self {
            time_ms: now.time_ms,
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            leader: leader(now),
            term: reports(now).map(|report| report.status.term.0).max().unwrap_or_default(),
            nodes: now.nodes.iter().map(|view| node_row(now, view, known(view.node), interval)).collect(),
            duties: duties(now, &pairs, interval),
            refusals: refusals(now),
            stages: stages(&pairs),
            keys,
            advice: advice::advice(now),
        }
    }
}

fn reports(overview: &Overview) -> impl Iterator<Item = &NodeReport> {
    overview.nodes.iter().filter_map(|view| view.report.as_ref())
}

fn leader(overview: &Overview) -> Option<NodeId> {
    let mut votes: BTreeMap<NodeId, usize> = BTreeMap::new();
    for leader in reports(overview).filter_map(|report| report.status.leader) {
        *votes.entry(leader).or_default() += 1;
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(leader, _)| leader)
}

fn node_row(
    overview: &Overview,
    view: &NodeView,
    before: Option<&NodeReport>,
    interval: Duration,
) -> NodeRow {
    let report = view.report.as_ref();
    let all = |report: &NodeReport| report.requests.iter().map(|count| count.count).sum::<u64>();
    let more = report.zip(before).map_or(0, |(now, before)| grown(all(now), all(before)));
    NodeRow {
        node: view.node,
        role: report.map_or_else(|| "silent".to_owned(), |report| report.status.role.clone()),
        ready: report.is_some_and(|report| report.status.readiness.ready),
        lag: report.map(|report| advice::lag(overview, report)),
        requests: per_second(more, interval),
        keys_open: report.map(|report| report.status.keys.unlocked),
        clock_offset_ms: view.clock_offset_ms,
        disk_free: report.and_then(|report| report.disk).map(|disk| disk.free),
    }
}

/// How much a counter has grown; a lower value means that it started again.
fn grown(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn per_second(count: u64, interval: Duration) -> f64 {
    if interval.is_zero() { 0.0 } else { count as f64 / interval.as_secs_f64() }
}

fn duties(now: &Overview, pairs: &[(&NodeReport, &NodeReport)], interval: Duration) -> Vec<DutyRow> {
    let mut rows: BTreeMap<&str, DutyRow> = BTreeMap::new();
    for counted in reports(now).flat_map(|report| &report.requests) {
        let row = rows.entry(&counted.class).or_default();
        row.class.clone_from(&counted.class);
        if matches!(kind(&counted.outcome), Kind::Granted | Kind::Repeated | Kind::Free) {
            row.signed_in_all += counted.count;
        }
    }
    for (before, now) in pairs {
        for counted in &now.requests {
            let same = before.requests.iter().find(|old| {
                (&old.method, &old.class, &old.outcome) == (&counted.method, &counted.class, &counted.outcome)
            });
            let rate = per_second(grown(counted.count, same.map_or(0, |old| old.count)), interval);
            let Some(row) = rows.get_mut(counted.class.as_str()) else { continue };
            *match kind(&counted.outcome) {
                Kind::Granted => &mut row.granted,
                Kind::Repeated => &mut row.repeated,
                Kind::Free => &mut row.free,
                Kind::Refused => &mut row.refused,
                Kind::Failed => &mut row.failed,
            } += rate;
        }
    }
    rows.into_values().collect()
}

fn refusals(now: &Overview) -> BTreeMap<String, u64> {
    let mut refusals = BTreeMap::new();
    for counted in reports(now).flat_map(|report| &report.requests) {
        if matches!(kind(&counted.outcome), Kind::Refused | Kind::Failed) {
            *refusals.entry(counted.outcome.clone()).or_default() += counted.count;
        }
    }
    refusals
}

fn stages(pairs: &[(&NodeReport, &NodeReport)]) -> Vec<StageRow> {
    let Some((_, any)) = pairs.first() else { return Vec::new() };
    let of = |report: &NodeReport, stage: &str| -> Vec<u64> {
        let found = report.stages.iter().find(|counts| counts.stage == stage);
        found.map_or_else(Vec::new, |counts| counts.buckets.clone())
    };
    let row = |StageCounts { stage, buckets, .. }: &StageCounts| {
        let mut sums = vec![0_u64; buckets.len()];
        for (before, now) in pairs {
            let (before, now) = (of(before, stage), of(now, stage));
            // A node that started in the meantime has smaller counts in some bucket: everything it has is new.
            let anew = now.iter().zip(&before).any(|(now, before)| now < before);
            for (nth, sum) in sums.iter_mut().enumerate() {
                let count = |counts: &[u64]| counts.get(nth).copied().unwrap_or_default();
                *sum += if anew { count(&now) } else { count(&now) - count(&before) };
            }
        }
        StageRow {
            stage: stage.clone(),
            count: sums.iter().sum(),
            p50_us: quantile_us(&sums, 0.5),
            p99_us: quantile_us(&sums, 0.99),
        }
    };
    any.stages.iter().map(row).collect()
}

/// A quantile of a histogram, in microseconds, interpolated within its bucket; the last bucket counts as its lower
/// bound.
fn quantile_us(buckets: &[u64], quantile: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    let rank = quantile * total as f64;
    let mut below = 0.0;
    for (nth, count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if below + count >= rank {
            let us = |bucket: usize| bound(bucket).map(|bound| bound.as_secs_f64() * 1e6);
            let low = nth.checked_sub(1).and_then(us).unwrap_or(0.0);
            let Some(high) = us(nth) else { return Some(low) };
            return Some(low + (high - low) * (rank - below) / count);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_their_bucket() {
        // 2, 4 and 8 µs are the first bounds.
        assert_eq!(quantile_us(&[0, 100, 0], 0.5), Some(3.0));
        assert_eq!(quantile_us(&[50, 50, 0], 0.5), Some(2.0));
        assert_eq!(quantile_us(&[0, 0, 10], 0.99), Some(4.0 + 4.0 * 0.99));
        assert_eq!(quantile_us(&[0, 0, 0], 0.5), None);
    }

    #[test]
    fn a_counter_that_fell_started_anew() {
        assert_eq!((grown(7, 5), grown(3, 5)), (2, 3));
        assert_eq!(per_second(3, Duration::ZERO), 0.0);
    }

    #[test]
    fn outcomes_are_signed_refused_or_failed() {
        assert!(matches!(kind("equivocation"), Kind::Refused));
        assert!(matches!(kind("unknownOutcome"), Kind::Failed));
        assert!(matches!(kind("one of a later version"), Kind::Refused));
    }
}
