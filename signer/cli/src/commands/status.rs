//! `signonce status`: a node, all the others as it sees them, and what to do next.

pub(super) mod advice;
mod nodes;

use super::common::{Done, Reach, table};
use serde::Serialize;
use signonce_shared::{
    admin::{
        api::{AdminStatus, MemberRow},
        client::CallError,
    },
    overview::Overview,
};
use std::{fmt::Write as _, process::ExitCode};

pub(super) use nodes::{ago, bytes};

/// Shows whether the cluster is healthy, and what to do if it is not.
///
/// The node that is asked (--config or --admin) asks all the others: who leads, who is ready, how far each has come,
/// which keys are open, when certificates end, what each class of keys signed last. Exits with 4 if the node that was
/// asked is not ready.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let status = admin.status().await?;
    let members = admin.members().await?;
    let overview = match admin.overview().await {
        Ok(overview) => Some(overview),
        // The node runs an earlier version, in the middle of an upgrade.
        Err(CallError::NotOurs { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let advice = overview.as_ref().map(advice::advice);
    let text = describe(&status, &members, overview.as_ref(), advice.as_deref().unwrap_or_default());
    let value = StatusOutput { status: &status, members: &members, nodes: overview.as_ref(), advice };
    args.reach.output.print(&value, text)?;
    Ok(if status.readiness.ready { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusOutput<'a> {
    status: &'a AdminStatus,
    members: &'a [MemberRow],
    /// Every member, as the node that was asked sees it.
    nodes: Option<&'a Overview>,
    advice: Option<Vec<String>>,
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

fn describe(
    status: &AdminStatus,
    members: &[MemberRow],
    overview: Option<&Overview>,
    advice: &[String],
) -> String {
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
    let nodes = overview.map_or_else(|| members_table(members), nodes::describe);
    let next = match (overview, advice) {
        (None, _) => String::new(),
        (Some(_), []) => "\nAll is well.\n".to_owned(),
        (Some(_), advice) => {
            let lines = advice.iter().map(|line| format!("  - {line}\n"));
            format!("\nWhat to do (docs/operate/alerts.md says more):\n{}", lines.collect::<String>())
        }
    };
    format!("{text}\n{nodes}{next}")
}

/// The members as the node that was asked sees them, without asking them.
fn members_table(members: &[MemberRow]) -> String {
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
    table(["MEMBER", "VOTE", "LOG", "ANSWERS", "CLIENT URL"], rows)
}
