//! `signonce leader`: which node leads, and which should.

use super::common::{Confirm, Done, Reach, Usage};
use clap::Subcommand;
use serde_json::json;
use signonce_core::{Change, LeaderPin, PlacementChange};
use signonce_protocol::NodeId;
use signonce_shared::admin::{api::MemberRow, client::AdminClient};
use std::{collections::BTreeSet, process::ExitCode, time::Duration};

/// How long a new member may take to announce its zone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The leader: hand leadership over, or pin it to a node or a zone.
///
/// Every node serves clients, whoever leads, but each signature waits for the leader and the nearest majority. Without
/// a pin the leader stays where it is, unless another node is clearly faster for minutes. Any voter may lead: none of
/// this affects safety.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Transfer(Transfer),
    Pin(Pin),
}

/// Hands leadership over. Must be asked of the leader.
///
/// Requests under way continue. A node that is stopped with SIGTERM does this by itself.
#[derive(clap::Args, Debug)]
struct Transfer {
    /// The node that is to lead. By default the one whose log is furthest ahead.
    node: Option<u64>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Pins the leader to a node or a zone, until changed.
///
/// The leader hands over within seconds, once the pinned node (or some node of the pinned zone) is a voter, answers and
/// has the log. While none can, others lead. A node's zone is `node.zone` in its configuration.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct PinWhere {
    /// To this node.
    #[arg(long, value_name = "N")]
    node: Option<u64>,
    /// To any node of this zone.
    #[arg(long, value_name = "Z")]
    zone: Option<String>,
    /// To nothing: the leader may be anywhere.
    #[arg(long)]
    none: bool,
}

#[derive(clap::Args, Debug)]
struct Pin {
    #[command(flatten)]
    place: PinWhere,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Transfer(args) => transfer(args).await?,
        Command::Pin(args) => pin(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn transfer(args: Transfer) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let status = admin.status().await?;
    let to = args.node.map(NodeId);
    let whom =
        to.map_or_else(|| "the node with the most of the log".to_owned(), |node| format!("node {node}"));
    let mut plan = format!("Will hand leadership from node {} to {whom}.", status.node);
    if let Some(pin) = &status.leader_pin {
        plan.push_str(&format!(
            "\nThe leader is pinned to {pin}: unless that is there, leadership goes back within seconds \
             (`signonce leader pin --none` lets it go)."
        ));
    }
    args.confirm.ask(plan)?;
    let heir = admin.transfer_leadership(to).await?;
    args.reach.output.done(&json!({ "leader": heir }), format!("Node {heir} leads."))
}

async fn pin(args: Pin) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let pin = match args.place {
        PinWhere { node: Some(node), .. } => Some(LeaderPin::Node(NodeId(node))),
        PinWhere { zone: Some(zone), .. } => Some(LeaderPin::Zone(zone)),
        PinWhere { .. } => None,
    };
    check(&admin, pin.as_ref()).await?;
    args.confirm.ask(match &pin {
        Some(pin) => {
            format!("Will pin the leader to {pin}: leadership goes there whenever a node there can lead.")
        }
        None => "Will let the leader be anywhere: it moves only to a node that is clearly faster.".to_owned(),
    })?;
    let done = admin.change(&Change::Place(PlacementChange::Pin(pin.clone()))).await?;
    let text = match &pin {
        Some(pin) => format!("The leader is pinned to {pin} (log entry {}).", done.at),
        None => format!("The leader is pinned to nothing (log entry {}).", done.at),
    };
    args.reach.output.done(&json!({ "pin": pin, "logIndex": done.at }), text)
}

/// Checks that somebody is there: a pin to nowhere is more often a typing error than a plan.
async fn check(admin: &AdminClient, pin: Option<&LeaderPin>) -> anyhow::Result<()> {
    let Some(LeaderPin::Zone(zone)) = pin else { return Ok(()) };
    let is_there = |row: &MemberRow| row.zone.as_deref() == Some(zone.as_str());
    let known = |rows: &[MemberRow]| rows.iter().any(is_there) || !rows.iter().any(is_silent);
    let rows = admin.members_once(PATIENCE, known).await?;
    if rows.iter().any(is_there) {
        return Ok(());
    }
    let zones: BTreeSet<&str> = rows.iter().filter_map(|row| row.zone.as_deref()).collect();
    let zones: Vec<&str> = zones.into_iter().collect();
    let silent: Vec<String> =
        rows.iter().filter(|row| is_silent(row)).map(|row| row.node.to_string()).collect();
    let known = match zones.is_empty() {
        true => "no node has said where it stands; set node.zone in the configurations".to_owned(),
        false => format!("there are: {}", zones.join(", ")),
    };
    let silent = match silent.is_empty() {
        true => String::new(),
        false => format!(" (nothing said yet by: {})", silent.join(", ")),
    };
    Err(Usage(format!("no node is in zone {zone:?}; {known}{silent}")).into())
}

/// Whether it has not announced its zone. A new node does so a moment later; one that is away never does.
fn is_silent(row: &MemberRow) -> bool {
    row.role.is_some() && row.version.is_none()
}
