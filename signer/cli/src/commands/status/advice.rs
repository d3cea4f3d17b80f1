//! What to do next: one sentence for each problem, the gravest first. `docs/operate/alerts.md` says more of each.

use signonce_protocol::NodeId;
use signonce_shared::overview::{KeyProgress, NodeReport, NodeView, Overview};
use std::{collections::BTreeSet, fmt::Write as _};

/// Days before the end of a certificate from which on it is reported.
const RENEW_DAYS: i64 = 30;
/// The clock difference in milliseconds from which on it is reported; slots are signed up to a few slots off.
const CLOCK_MS: u64 = 500;
/// The number of log entries behind the leader from which on it is reported.
const LAG: u64 = 1_024;
/// Free bytes below which it is reported: a node keeps a few hundred megabytes at most, and its neighbours write too.
pub(in crate::commands) const DISK_FREE: u64 = 2_000_000_000;
/// Milliseconds without a vote, while others of the chain vote, from which on it is reported.
const SILENT_MS: u64 = 5 * 60 * 1_000;

/// Days until the first of a node's certificates ends; negative if it has ended.
pub(in crate::commands) fn days_left(report: &NodeReport, now_ms: u64) -> Option<i64> {
    let now = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    report.certificates.iter().map(|end| (end.not_after - now).div_euclid(86_400)).min()
}

/// The problems, and what to do about them. Empty if all is well.
pub(in crate::commands) fn advice(overview: &Overview) -> Vec<String> {
    let mut said = Vec::new();
    quorum(overview, &mut said);
    for view in &overview.nodes {
        match &view.report {
            Some(report) => node(overview, view, report, &mut said),
            None => said.push(silent_node(view)),
        }
    }
    if let Some(report) = freshest(overview) {
        said.extend(report.keys.iter().filter_map(silent_key));
        said.extend(crate::commands::officers::unpinned(&report.status.unpinned_officers));
        said.extend(report.status.drill.map(|drill| {
            format!(
                "this cluster is a drill since log entry {}: no key of it is ever armed. Stop it and destroy its disks \
                 when you are done",
                drill.begun
            )
        }));
    }
    said
}

/// The report of the node that has applied the most.
pub(in crate::commands) fn freshest(overview: &Overview) -> Option<&NodeReport> {
    overview.nodes.iter().filter_map(|view| view.report.as_ref()).max_by_key(|report| report.status.applied)
}

fn quorum(overview: &Overview, said: &mut Vec<String>) {
    let voters = overview.nodes.iter().filter(|view| view.voter).count();
    let answer = overview.nodes.iter().filter(|view| view.voter && view.report.is_some()).count();
    let majority = voters / 2 + 1;
    let reports = || overview.nodes.iter().filter_map(|view| view.report.as_ref());
    let leaders: BTreeSet<NodeId> = reports().filter_map(|report| report.status.leader).collect();
    if leaders.is_empty() {
        said.push(format!(
            "no leader: nothing new is signed. It takes {majority} of {voters} voters that reach each other on their \
             peer ports, and {answer} answer node {}: start those that do not run, then look at firewalls",
            overview.asked_by
        ));
    } else if answer <= majority && voters > 1 {
        said.push(format!(
            "{answer} of {voters} voters answer: with one more lost nothing new is signed. Bring the others back first, \
             before any other work"
        ));
    }
}

fn silent_node(view: &NodeView) -> String {
    let NodeView { node, error, .. } = view;
    let why = error.as_deref().unwrap_or("it was not asked");
    format!("node {node} does not answer: {why}. See on its machine whether it runs, and what it logged last")
}

fn node(overview: &Overview, view: &NodeView, report: &NodeReport, said: &mut Vec<String>) {
    let node = view.node;
    let status = &report.status;
    for reason in &status.readiness.reasons {
        let next = if reason.contains("quarantine") {
            ". It never takes part again: replace this member, do not give it its old data back"
        } else {
            ""
        };
        said.push(format!("node {node} is not ready: {reason}{next}"));
    }
    if !status.locked.is_empty() {
        let mut text = format!("node {node} cannot open {} of the keys", status.locked.len());
        if let Some(first) = status.locked.first() {
            let _ = write!(text, " ({}: {})", first.key, first.why);
        }
        said.push(format!("{text}. The others sign with them; seal them to this node again"));
    }
    if let Some(days) = days_left(report, overview.time_ms).filter(|days| *days < RENEW_DAYS) {
        let when = if days < 0 { "has ended".to_owned() } else { format!("ends in {days} days") };
        said.push(format!(
            "a certificate of node {node} {when}: issue another (`signonce certs issue node`)"
        ));
    }
    if let Some(disk) = report.disk.filter(|disk| disk.free < DISK_FREE) {
        let free = super::bytes(disk.free);
        said.push(format!("node {node} has {free} left for its data: a node that cannot write ends"));
    }
    if let Some(offset) = view.clock_offset_ms.filter(|offset| offset.unsigned_abs() > CLOCK_MS) {
        // The time that the question itself took is the uncertainty of the difference.
        if offset.unsigned_abs() > view.took_ms / 2 + CLOCK_MS {
            said.push(format!(
                "the clock of node {node} is {offset} ms from that of node {}: look at the time service on both",
                overview.asked_by
            ));
        }
    }
    let behind = lag(overview, report);
    if behind > LAG {
        said.push(format!("node {node} is {behind} log entries behind: look at its disk and its network"));
    }
}

/// How many entries the node is behind the one furthest ahead.
pub(in crate::commands) fn lag(overview: &Overview, report: &NodeReport) -> u64 {
    let farthest = freshest(overview).map_or(report.status.applied, |report| report.status.applied);
    farthest.0.saturating_sub(report.status.applied.0)
}

fn silent_key(key: &KeyProgress) -> Option<String> {
    let silent = key.silent_ms.filter(|ms| *ms > SILENT_MS)?;
    let KeyProgress { key, chain, class, .. } = key;
    Some(format!(
        "key {key} of {chain} has given no {class} for {} while others did: look at its validator; if it is not in \
         the active set any more, disable the key",
        super::ago(silent)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use signonce_protocol::LogIndex;
    use signonce_shared::admin::api::AdminStatus;
    use signonce_shared::{
        admin::api::{KeyCounts, LockedKey},
        overview::{CertificateEnd, Disk},
    };

    const NOW_MS: u64 = 1_700_000_000_000;
    const DAY: i64 = 86_400;

    fn status(node: u64) -> AdminStatus {
        let keys = KeyCounts::default();
        serde_json::from_value(json!({
            "node": node, "cluster": "c", "version": "0", "role": "follower", "leader": 1, "leaderUrl": null,
            "term": 1, "last": 5000, "committed": 5000, "applied": 5000, "stateHash": "", "registryVersion": 1,
            "featureLevel": 1, "readiness": { "ready": true, "reasons": [] }, "keys": keys, "locked": [],
            "memoryWarnings": [], "timeMs": NOW_MS,
        }))
        .unwrap()
    }

    fn report(node: u64) -> NodeReport {
        NodeReport {
            status: status(node),
            certificates: vec![CertificateEnd {
                certificate: "node".into(),
                not_after: (NOW_MS / 1_000) as i64 + 31 * DAY,
            }],
            disk: Some(Disk { free: 5_000_000_000, total: 100_000_000_000 }),
            requests: vec![],
            stages: vec![],
            keys: vec![],
        }
    }

    fn view(node: u64, report: Option<NodeReport>) -> NodeView {
        let error = report.is_none().then(|| "refused".to_owned());
        let node = NodeId(node);
        NodeView { node, url: None, voter: true, took_ms: 2, clock_offset_ms: Some(3), report, error }
    }

    fn cluster(change: impl Fn(&mut Vec<NodeView>)) -> Vec<String> {
        let mut nodes: Vec<NodeView> = (1..=3).map(|node| view(node, Some(report(node)))).collect();
        change(&mut nodes);
        advice(&Overview { asked_by: NodeId(1), time_ms: NOW_MS, nodes })
    }

    #[test]
    fn a_cluster_that_is_well_needs_nothing() {
        assert_eq!(cluster(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_wrong_is_named_with_what_to_do() {
        let with = |n: usize, change: fn(&mut NodeReport)| {
            cluster(move |nodes| change(nodes[n].report.as_mut().unwrap())).join("\n")
        };
        for (found, words) in [
            (
                cluster(|nodes| nodes[2] = view(3, None)).join("\n"),
                vec!["node 3 does not answer: refused", "one more lost"],
            ),
            (
                cluster(|nodes| {
                    nodes.iter_mut().for_each(|n| n.report.as_mut().unwrap().status.leader = None);
                })
                .join("\n"),
                vec!["no leader", "2 of 3"],
            ),
            (
                with(1, |r| r.status.readiness.reasons = vec!["this node is in quarantine: x".into()]),
                vec!["replace"],
            ),
            (
                with(1, |r| r.certificates[0].not_after -= 2 * DAY),
                vec!["node 2", "ends in 29 days", "certs issue"],
            ),
            (with(1, |r| r.certificates[0].not_after -= 40 * DAY), vec!["has ended"]),
            (with(2, |r| r.disk = Some(Disk { free: 9, total: 100 })), vec!["node 3 has 9 B left"]),
            (with(1, |r| r.status.applied = LogIndex(1_000)), vec!["node 2 is 4000 log entries behind"]),
            (cluster(|nodes| nodes[1].clock_offset_ms = Some(-900)).join("\n"), vec!["node 2 is -900 ms"]),
            (
                with(2, |r| {
                    r.status.applied = LogIndex(5_001);
                    r.status.unpinned_officers = vec!["alice".into(), "bob".into()];
                }),
                vec!["name in their certificate alone: alice, bob", "officers pin alice"],
            ),
            (
                with(1, |r| {
                    let public = signonce_protocol::PublicKey::try_from(&[7; 32][..]).unwrap();
                    let key = signonce_protocol::KeyId { key_type: signonce_substrate::BABE, public };
                    r.status.locked = vec![LockedKey { key, why: "sealed to others".into() }];
                }),
                vec!["node 2 cannot open 1", "sealed to others"],
            ),
        ] {
            for word in words {
                assert!(found.contains(word), "{word:?} in {found:?}");
            }
        }
    }

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        assert!(
            cluster(|nodes| (nodes[1].took_ms, nodes[1].clock_offset_ms) = (1_500, Some(700))).is_empty()
        );
    }
}
