//! `signonce officers` and `signonce proposals`: who may operate the cluster, and what takes two of them.

use super::common::{Confirm, Done, Reach, table};
use crate::admin::{
    api::{OfficersReport, ProposalRow},
    client::AdminClient,
};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use signonce_core::{Change, Role};
use signonce_protocol::LogIndex;
use std::process::ExitCode;

/// Who may operate the cluster: roles of the names in admin certificates.
///
/// While the list is empty, every admin certificate is a key officer's. Once it has an entry, whoever is not in it may
/// nothing. The first entry must be a key officer, and the last key officer cannot be removed. The unix socket of a
/// signer is always a key officer: its user can read the disk and stop the process anyway, and it is the way back in
/// when certificates are lost.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(List),
    Set(Set),
    Remove(Remove),
    RequireApproval(RequireApproval),
}

/// Lists the officers and says who you are.
#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    reach: Reach,
}

/// Gives an admin a role, at once and without a new certificate.
#[derive(clap::Args, Debug)]
#[command(after_help = "Roles:\n  \
    viewer       looks\n  \
    operator     keeps the machines running and takes away: leadership, limits, backups, disabling keys, removing clients\n  \
    key-officer  decides who may have what signed: keys, chains, rights, watermarks, members, officers\n\nExample:\n  \
    signonce officers set alice --role key-officer")]
struct Set {
    /// The name in the admin's certificate (`signonce certs issue admin NAME`).
    name: String,
    /// viewer, operator or key-officer.
    #[arg(long)]
    role: Role,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Takes an admin's role away: its certificate opens nothing any more, at its next request.
#[derive(clap::Args, Debug)]
struct Remove {
    /// The name in the admin's certificate.
    name: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Makes dangerous changes take two key officers, or no longer.
///
/// Arming a key with a floor, removing a key or a member, importing watermarks and changing the officers then wait for
/// a second key officer (`signonce proposals`). Turning it off takes two as well.
#[derive(clap::Args, Debug)]
struct RequireApproval {
    /// From now on two. There must be two key officers.
    #[arg(long, required_unless_present = "off", conflicts_with = "off")]
    on: bool,
    /// From then on one again.
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::List(List { reach }) => {
            let report = reach.client()?.officers().await?;
            reach.output.print(&report, describe(&report))?;
        }
        Command::Set(Set { name, role, confirm, reach }) => set(&name, Some(role), confirm, &reach).await?,
        Command::Remove(Remove { name, confirm, reach }) => set(&name, None, confirm, &reach).await?,
        Command::RequireApproval(RequireApproval { on, off: _, confirm, reach }) => {
            let admin = reach.client()?;
            let plan = if on {
                "Will make dangerous changes wait for a second key officer."
            } else {
                "Will let one key officer make dangerous changes alone again."
            };
            confirm.ask(plan)?;
            let done = admin.change(&Change::RequireApproval { on }).await?;
            let now = if on { "two key officers" } else { "one key officer" };
            reach.output.print(&done, format!("Dangerous changes take {now} (log entry {}).", done.at))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(name: &str, role: Option<Role>, confirm: Confirm, reach: &Reach) -> anyhow::Result<()> {
    let admin = reach.client()?;
    let report = admin.officers().await?;
    let mut plan = match role {
        Some(role) => format!("Will make {name} a {role}."),
        None => format!("Will take every right from {name}."),
    };
    if report.officers.roles.is_empty() {
        plan.push_str(
            "\nIt is the first entry of the list: from then on admin certificates with other names may nothing.",
        );
    }
    if report.you == format!("admin:{name}") {
        plan.push_str("\nThat is you.");
    }
    confirm.ask(plan)?;
    let done = admin.change(&Change::SetOfficer { name: name.to_owned(), role }).await?;
    let text = match role {
        Some(role) => format!("{name} is a {role} (log entry {}).", done.at),
        None => format!("{name} has no role any more (log entry {}).", done.at),
    };
    reach.output.print(&done, text)
}

fn describe(report: &OfficersReport) -> String {
    let role = report.your_role.map_or_else(|| "no role".to_owned(), |role| role.to_string());
    let roles = &report.officers.roles;
    let list = if roles.is_empty() {
        "There are no officers: every admin certificate is a key officer's.\n".to_owned()
    } else {
        table(["NAME", "ROLE"], roles.iter().map(|(name, role)| [name.clone(), role.to_string()]))
    };
    let takes = if report.officers.require_approval { "two key officers" } else { "one key officer" };
    format!("{list}\nDangerous changes take {takes}.\nYou are {}: {role}.", report.you)
}

/// Dangerous changes that wait for a second key officer.
///
/// The first officer's command is the proposal: it prints a number. Another key officer looks at it and approves or
/// rejects it; approval makes the change, in the name of both. Whoever proposed may reject (take back) but not
/// approve. A proposal expires after a day, and is judged anew when it is approved.
#[derive(clap::Args, Debug)]
pub struct ProposalArgs {
    #[command(subcommand)]
    command: ProposalCommand,
}

#[derive(Subcommand, Debug)]
enum ProposalCommand {
    List(ListProposals),
    /// Approves: the change is made.
    Approve(Decide),
    /// Rejects: the change will not be made.
    Reject(Decide),
}

/// Lists what waits for a second officer.
#[derive(clap::Args, Debug)]
struct ListProposals {
    /// Decided and expired ones too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(clap::Args, Debug)]
struct Decide {
    /// The numbers of the proposals.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn proposals(args: ProposalArgs) -> Done {
    match args.command {
        ProposalCommand::List(ListProposals { all, reach }) => {
            let mut rows = reach.client()?.officers().await?.proposals;
            rows.retain(|row| all || (row.proposal.decision.is_none() && !row.expired));
            let text =
                if rows.is_empty() { "Nothing waits for a second officer.".into() } else { list(&rows) };
            reach.output.print(&rows, text)?;
        }
        ProposalCommand::Approve(args) => decide(args, true).await?,
        ProposalCommand::Reject(args) => decide(args, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn decide(args: Decide, approve: bool) -> anyhow::Result<()> {
    let Decide { ids, confirm, reach } = args;
    let admin = reach.client()?;
    let rows = find(&admin, &ids).await?;
    let verb = if approve { "approve" } else { "reject" };
    let shown: Vec<String> = rows.iter().map(|row| format!("\n  {}", line(row))).collect();
    confirm.ask(format!("Will {verb}:{}", shown.concat()))?;
    let mut done = Vec::new();
    for id in ids {
        let change = Change::DecideProposal { id: LogIndex(id), approve };
        let so_far = || format!("at proposal {id}, after {} others", done.len());
        let at = admin.change(&change).await.with_context(so_far)?.at;
        done.push(json!({ "id": id, "approved": approve, "at": at }));
    }
    let what = if approve { "Approved, and made" } else { "Rejected" };
    let shown: Vec<String> = rows.iter().map(|row| format!("\n  {}", line(row))).collect();
    reach.output.print(&done, format!("{what}:{}", shown.concat()))
}

async fn find(admin: &AdminClient, ids: &[u64]) -> anyhow::Result<Vec<ProposalRow>> {
    let rows = admin.officers().await?.proposals;
    let one = |id: &u64| {
        let found = rows.iter().find(|row| row.proposal.id == LogIndex(*id)).cloned();
        found.with_context(|| format!("there is no proposal {id}; `signonce proposals list` shows all"))
    };
    ids.iter().map(one).collect()
}

/// The change as it stands in the log: whoever approves must see all of it.
fn line(row: &ProposalRow) -> String {
    let change = serde_json::to_string(&row.proposal.change).unwrap_or_else(|_| row.what.clone());
    format!("{}  by {}: {change}", row.proposal.id, row.proposal.by)
}

fn list(rows: &[ProposalRow]) -> String {
    let cells = rows.iter().map(|row| {
        let state = match &row.proposal.decision {
            Some(decision) => {
                let word = if decision.approved { "approved" } else { "rejected" };
                format!("{word} by {} (log entry {})", decision.by, decision.at)
            }
            None if row.expired => "expired".into(),
            None => "waits".into(),
        };
        let change = serde_json::to_string(&row.proposal.change).unwrap_or_else(|_| row.what.clone());
        [row.proposal.id.to_string(), row.proposal.by.clone(), state, change]
    });
    table(["ID", "BY", "STATE", "CHANGE"], cells)
}
