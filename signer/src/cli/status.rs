//! `signonce status`: a node and the cluster as it sees it.

use super::common::{Done, Reach, table};
use crate::admin::api::{AdminStatus, MemberRow};
use serde_json::json;
use std::{fmt::Write as _, process::ExitCode};

/// Shows a node and the cluster as it sees it.
///
/// Exits with 4 when the node is not ready.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let status = admin.status().await?;
    let members = admin.members().await?;
    let value = json!({ "status": status, "members": members });
    args.reach.output.print(&value, describe(&status, &members))?;
    Ok(if status.readiness.ready { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

/// The feature level, and what keeps it from rising.
fn level(status: &AdminStatus) -> String {
    let AdminStatus { feature_level, feature_newest, feature_held_back_by, .. } = status;
    if feature_level >= feature_newest {
        return feature_level.to_string();
    }
    let waits = feature_held_back_by.iter().map(|held| match held.supports {
        Some(supports) => format!("node {} (supports {supports}: upgrade it)", held.node),
        None => format!("node {} (has not said what it supports: start it)", held.node),
    });
    let waits = waits.collect::<Vec<_>>().join(", ");
    let waits = if waits.is_empty() { "the leader, which raises it in a moment".to_owned() } else { waits };
    format!("{feature_level}; {feature_newest} waits for {waits}")
}

fn describe(status: &AdminStatus, members: &[MemberRow]) -> String {
    let ready = if status.readiness.ready { "yes".to_owned() } else { "NO".to_owned() };
    let leader = status.leader.map_or_else(|| "none".to_owned(), |leader| format!("node {leader}"));
    let keys = &status.keys;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("node", format!("{} ({}, version {})", status.node, status.role, status.version));
    line("cluster", status.cluster.clone());
    line("ready", ready);
    for reason in &status.readiness.reasons {
        line("", format!("- {reason}"));
    }
    let pin = status.leader_pin.as_ref().map_or_else(String::new, |pin| format!(", pinned to {pin}"));
    line("leader", format!("{leader}, term {}{pin}", status.term));
    line(
        "log",
        format!("applied {} of {} committed, last {}", status.applied, status.committed, status.last),
    );
    line("state", format!("{} (registry version {})", status.state_hash, status.registry_version));
    line("level", level(status));
    line(
        "keys",
        format!(
            "{} armed, {} registered, {} disabled, {} removed; {} open here",
            keys.armed, keys.registered, keys.disabled, keys.removed, keys.unlocked
        ),
    );
    for locked in &status.locked {
        line("", format!("- {} is not open here: {}", locked.key, locked.why));
    }
    if let Some(tls) = &status.tls {
        let now = i64::try_from(status.time_ms / 1_000).unwrap_or(i64::MAX);
        let days = |ends: i64| ends.saturating_sub(now) / 86_400;
        let (own, authority) = (days(tls.certificate_ends), days(tls.authority_ends));
        line("tls", format!("certificate ends in {own} days, authority in {authority}"));
        if let Some(why) = &tls.not_reloaded {
            line("", format!("- NOT RELOADED, the files cannot be used: {why}"));
        }
    }
    for warning in &status.memory_warnings {
        line("memory", warning.clone());
    }
    let rows = members.iter().map(|row| {
        let said = row.announced.as_ref();
        let seen = match row.active {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        [
            format!("{}{}", row.node, if row.leader { "*" } else { "" }),
            if row.voter { "voter" } else { "-" }.to_owned(),
            row.matched.map_or_else(|| "-".to_owned(), |at| at.to_string()),
            seen.to_owned(),
            said.map_or_else(|| "not announced".to_owned(), |member| member.client_url.clone()),
        ]
    });
    format!("{text}\n{}", table(["MEMBER", "VOTE", "LOG", "ANSWERS", "CLIENT URL"], rows))
}
