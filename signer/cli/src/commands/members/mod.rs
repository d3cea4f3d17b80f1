//! `signonce members`: signers that join, replace others, and leave.

mod invite;
mod replace;

use super::common::{Confirm, Done, Reach, table};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;
use signonce_core::{Change, KeyState, MemberRole};
use signonce_protocol::{KeyId, NodeId};
use signonce_shared::admin::{
    api::{KeyRow, MemberRow},
    client::AdminClient,
};
use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The pause between two checks of a change's effect.
const LOOK: Duration = Duration::from_millis(200);
/// How long raft's configuration may take to follow the registry.
const FOLLOWS: Duration = Duration::from_secs(15);

/// The signers of the cluster: add, list, promote, remove, replace.
///
/// Nodes come in one at a time: a node is invited, joins as a learner that counts for nothing, catches up, and is
/// promoted to a voter. Ids are never used twice, and a removed node never comes back under its old id. Three voters
/// survive the loss of one, five of two; an even number survives no more than the odd one below it.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Add(invite::Args),
    List(List),
    Promote(Promote),
    Remove(Remove),
    Replace(replace::Args),
}

/// Lists the members. The leader also shows how far behind each is and whether it answers.
#[derive(clap::Args, Debug)]
struct List {
    /// Include removed members.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Makes a learner that has caught up a voter.
#[derive(clap::Args, Debug)]
struct Promote {
    /// The node.
    node: u64,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Removes a member permanently, or an invitation.
///
/// Refused while the rest would have no quorum of nodes that answer. The id is never used again: the machine can come
/// back only with an empty data directory and a new id. It keeps what was on its disk: the command names the keys that
/// it was able to open, which should be rotated on chain unless you have the machine and wipe it.
#[derive(clap::Args, Debug)]
struct Remove {
    /// The node.
    node: u64,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Add(args) => invite::run(args).await?,
        Command::List(args) => list(args).await?,
        Command::Promote(args) => promote(args).await?,
        Command::Remove(args) => remove(args).await?,
        Command::Replace(args) => replace::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: List) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let mut rows = admin.members().await?;
    rows.retain(|row| args.all || !row.is_removed() || row.role.is_some());
    let level = admin.status().await?.feature_level;
    args.reach.output.print(&rows, describe(&rows, level))
}

fn describe(rows: &[MemberRow], level: u32) -> String {
    let unknown = || "-".to_owned();
    let cells = rows.iter().map(|row| {
        let active = match (row.leader, row.active) {
            (true, _) => "leads",
            (_, Some(true)) => "yes",
            (_, Some(false)) => "NO",
            (_, None) => "-",
        };
        let announced = row.announced.as_ref();
        let supports = announced.map_or_else(unknown, |member| match member.supports {
            supports if supports < level => format!("{supports} (too old)"),
            supports => supports.to_string(),
        });
        [
            row.node.to_string(),
            role(row),
            row.peer_addr.clone().unwrap_or_else(unknown),
            row.lag.map_or_else(unknown, |lag| lag.to_string()),
            active.to_owned(),
            supports,
            row.version.clone().unwrap_or_else(unknown),
            row.zone.clone().unwrap_or_else(unknown),
        ]
    });
    table(["NODE", "ROLE", "ADDRESS", "LAG", "ANSWERS", "LEVEL", "VERSION", "ZONE"], cells)
}

/// The role of the node, and the role it is changing to.
fn role(row: &MemberRow) -> String {
    match (row.role, row.wanted) {
        _ if row.is_invited() => "invited".to_owned(),
        (None, None) => "removed".to_owned(),
        (Some(role), None) => format!("{role}, leaving"),
        (None, Some(_)) => "joining".to_owned(),
        (Some(MemberRole::Learner), Some(MemberRole::Voter)) => "learner, being promoted".to_owned(),
        (Some(role), Some(_)) => match row.replaces {
            Some(other) if role == MemberRole::Learner => format!("{role}, for node {other}"),
            _ => role.to_string(),
        },
    }
}

/// The row of a node, or an error that says where to look.
async fn find(admin: &AdminClient, node: NodeId) -> anyhow::Result<MemberRow> {
    let rows = admin.members().await?;
    let row = rows.into_iter().find(|row| row.node == node);
    row.with_context(|| format!("there is no node {node}; `signonce members list --all` shows all"))
}

async fn promote(args: Promote) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let node = NodeId(args.node);
    let row = find(&admin, node).await?;
    let lag = row.lag.map_or_else(String::new, |lag| format!(" It is {lag} log entries behind."));
    args.confirm.ask(format!("Will make node {node} ({} now) a voter.{lag}", role(&row)))?;
    let done = promote_now(&admin, node).await?;
    args.reach.output.done(
        &json!({ "node": node, "role": "voter", "logIndex": done }),
        format!("Node {node} is a voter (log entry {done})."),
    )
}

/// Promotes the node, and waits until raft's configuration has followed.
async fn promote_now(admin: &AdminClient, node: NodeId) -> anyhow::Result<signonce_protocol::LogIndex> {
    let done = admin.change(&Change::PromoteMember { node }).await?;
    let votes = |rows: &[MemberRow]| rows.iter().any(|row| row.node == node && row.voter);
    if !followed(admin, votes).await {
        bail!("node {node} will be a voter, and is none yet: look again with `signonce members list`");
    }
    Ok(done.at)
}

async fn remove(args: Remove) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let node = NodeId(args.node);
    let row = find(&admin, node).await?;
    let seen = seen_by(&row, &admin.keys().await?);
    args.confirm.ask(format!(
        "Will remove node {node} ({} now) permanently.\n{}",
        role(&row),
        describe_seen(node, &seen)
    ))?;
    let at = remove_now(&admin, node).await?;
    args.reach.output.done(
        &json!({ "node": node, "removed": true, "logIndex": at, "keysSeen": seen }),
        format!("Removed node {node} (log entry {at}).\n{}", describe_seen(node, &seen)),
    )
}

/// Removes the node, and waits until raft's configuration has followed.
async fn remove_now(admin: &AdminClient, node: NodeId) -> anyhow::Result<signonce_protocol::LogIndex> {
    let done = admin.change(&Change::RemoveMember { node }).await?;
    let gone = |rows: &[MemberRow]| rows.iter().all(|row| row.node != node || row.role.is_none());
    if !followed(admin, gone).await {
        bail!(
            "node {node} is removed, and the leader has not taken its vote yet: look with `signonce members list`"
        );
    }
    Ok(done.at)
}

/// Waits a while for the members to satisfy `done`. A failed call is repeated: the leader may be the node that leaves.
async fn followed(admin: &AdminClient, done: impl Fn(&[MemberRow]) -> bool) -> bool {
    let deadline = Instant::now() + FOLLOWS;
    loop {
        if admin.members().await.is_ok_and(|rows| done(&rows)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK).await;
    }
}

/// The keys that the node was able to open, as far as is known: those whose present envelope is sealed to it.
fn seen_by(row: &MemberRow, keys: &[KeyRow]) -> Vec<KeyId> {
    if row.announced.is_none() {
        return Vec::new();
    }
    let living = keys.iter().filter(|key| key.state != KeyState::Removed);
    living.filter(|key| !key.not_sealed_for.contains(&row.node)).map(|key| key.id).collect()
}

fn describe_seen(node: NodeId, seen: &[KeyId]) -> String {
    if seen.is_empty() {
        return format!("No key was sealed for node {node}.");
    }
    let mut text = format!(
        "Node {node} was able to open these keys. They are sealed again for the others, but what it has seen it has \
         seen:\nunless its disk and its unlock passphrase are in your hands and wiped, rotate them on chain."
    );
    for id in seen {
        let _ = write!(text, "\n  {id}");
    }
    text
}
