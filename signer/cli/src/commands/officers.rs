//! `signonce officers` and `signonce proposals`: who may operate the cluster, and what needs two officers.

use super::common::{Confirm, Done, Reach, Usage, table};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use signonce_core::{Actor, Change, Fingerprint, Role};
use signonce_protocol::LogIndex;
use signonce_shared::{
    admin::{
        api::{OfficersReport, ProposalRow},
        client::AdminClient,
    },
    tls::PeerIdentity,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Who may operate the cluster: roles of admins, by the name and the key of their certificates.
///
/// A pinned officer is known by name and key: no other certificate with that name gives access, whoever issued it. An
/// officer that is not pinned is known by name alone, and so is everybody who gets a certificate with that name: pin
/// it.
///
/// While the list is empty, every admin certificate is a key officer's. Once it has an entry, whoever is not in it may
/// do nothing. The first entry must be a key officer, and the last key officer cannot be removed. The unix socket of a
/// signer always has the rights of a key officer: its user can read the disk and stop the process anyway, and it is the
/// way back in when certificates are lost.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(List),
    #[command(visible_alias = "add")]
    Set(Set),
    Pin(Pin),
    Rotate(Rotate),
    Remove(Remove),
    RequireApproval(RequireApproval),
}

/// Lists the officers and says who you are.
#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    reach: Reach,
}

/// Gives an admin a role, immediately and without a new certificate.
#[derive(clap::Args, Debug)]
#[command(after_help = "Roles:\n  \
    viewer       looks\n  \
    operator     keeps the machines running and takes away: leadership, limits, backups, disabling keys, removing clients\n  \
    key-officer  decides who may have what signed: keys, chains, rights, watermarks, members, officers\n\nExample:\n  \
    signonce officers set alice --role key-officer --certificate certs/admin-alice.pem")]
struct Set {
    /// The name in the admin's certificate (`signonce certs issue admin NAME`).
    name: String,
    /// viewer, operator or key-officer.
    #[arg(long)]
    role: Role,
    /// PEM: its certificate, to whose key it is pinned. Without it a new officer is known by its name alone.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Pins an officer that is known by its name alone to the key of its certificate.
///
/// From then on a certificate with its name and another key gives no access. A renewed certificate with the same key
/// needs nothing here.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  \
    signonce officers pin alice --certificate certs/admin-alice.pem")]
struct Pin {
    /// The officer's name.
    name: String,
    /// PEM: its certificate.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Replaces a pinned officer's certificate key, without a gap.
///
/// First give `--certificate` with the new one: from then on both are accepted. Once the officer uses the new one, give
/// `--finish`: the old one is never accepted again.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce officers rotate alice --certificate new/admin-alice.pem\n  \
    signonce officers rotate alice --finish")]
struct Rotate {
    /// The officer's name.
    name: String,
    /// PEM: the new certificate.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["finish", "cancel"])]
    certificate: Option<PathBuf>,
    /// Keep the new certificate; the old one is never accepted again.
    #[arg(long, conflicts_with_all = ["certificate", "cancel"])]
    finish: bool,
    /// Keep the old certificate; the new one is never accepted again.
    #[arg(long, conflicts_with = "certificate")]
    cancel: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Takes an admin's role away: from its next request on, its certificate gives no access.
///
/// A key that it was pinned to is never accepted again, from anybody.
#[derive(clap::Args, Debug)]
struct Remove {
    /// The name in the admin's certificate.
    name: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Makes dangerous changes need two key officers, or only one again.
///
/// What cannot be taken back, or gives somebody more rights than before, then waits for a second key officer (`signonce
/// proposals`): arming a key with a floor, raising and importing watermarks, wider limits of a chain, removing keys and
/// members, inviting members, adding clients with rights and widening these, another certificate of a client, changing
/// officers. Turning it off needs two as well.
#[derive(clap::Args, Debug)]
struct RequireApproval {
    /// Require two officers from now on. There must be two key officers.
    #[arg(long, required_unless_present = "off", conflicts_with = "off")]
    on: bool,
    /// Require only one officer again.
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
        Command::Set(Set { name, role, certificate, confirm, reach }) => {
            set(&name, Some(role), certificate.as_deref(), confirm, &reach).await?;
        }
        Command::Pin(args) => pin(args).await?,
        Command::Rotate(args) => rotate(args).await?,
        Command::Remove(Remove { name, confirm, reach }) => set(&name, None, None, confirm, &reach).await?,
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
            reach.output.done(&done, format!("Dangerous changes take {now} (log entry {}).", done.at))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(
    name: &str,
    role: Option<Role>,
    certificate: Option<&Path>,
    confirm: Confirm,
    reach: &Reach,
) -> anyhow::Result<()> {
    let admin = reach.client()?;
    let report = admin.officers().await?;
    let certificate = certificate.map(|file| key_of(file, name)).transpose()?;
    let mut plan = match role {
        Some(role) => format!("Will make {name} a {role}."),
        None => format!("Will take every right from {name}."),
    };
    plan.push_str(&known_by(&report, name, role, certificate));
    if report.officers.roles.is_empty() {
        plan.push_str(
            "\nIt is the first entry of the list: from then on admin certificates with other names may do nothing.",
        );
    }
    if is_you(&report, name) {
        plan.push_str("\nThat is you.");
    }
    confirm.ask(plan)?;
    let name = name.to_owned();
    let change = match certificate {
        Some(certificate) => Change::PinOfficer { name: name.clone(), certificate, role },
        None => Change::SetOfficer { name: name.clone(), role },
    };
    let done = admin.change(&change).await?;
    let text = match role {
        Some(role) => format!("{name} is a {role} (log entry {}).", done.at),
        None => format!("{name} has no role any more (log entry {}).", done.at),
    };
    reach.output.done(&done, text)
}

/// How the officer will be known, for the plan.
fn known_by(
    report: &OfficersReport,
    name: &str,
    role: Option<Role>,
    certificate: Option<Fingerprint>,
) -> String {
    match (role, certificate) {
        (Some(_), Some(key)) => format!("\nIt is known by the certificate key {key}."),
        (Some(_), None) if !report.pins.iter().any(|pin| pin.name == name) => {
            "\nIt is known by its name alone: whoever gets a certificate with that name is this officer. Give \
             --certificate FILE to pin it to a key."
                .to_owned()
        }
        _ => String::new(),
    }
}

fn is_you(report: &OfficersReport, name: &str) -> bool {
    matches!(Actor::of(&report.you), Actor::Admin { name: you, .. } if you == name)
}

/// The key of an officer's certificate.
fn key_of(file: &Path, name: &str) -> anyhow::Result<Fingerprint> {
    let identity = PeerIdentity::of_file(file)?;
    match identity.admin {
        Some(named) if named == name => Ok(identity.spki),
        Some(other) => {
            let why = format!("the certificate in {} is admin {other}'s, not {name}'s", file.display());
            Err(Usage(why).into())
        }
        None => {
            let why = format!(
                "the certificate in {} names no admin; issue one with `signonce certs issue admin {name}`",
                file.display()
            );
            Err(Usage(why).into())
        }
    }
}

async fn pin(args: Pin) -> anyhow::Result<()> {
    let Pin { name, certificate, confirm, reach } = args;
    let certificate = key_of(&certificate, &name)?;
    let admin = reach.client()?;
    confirm.ask(format!(
        "Will pin officer {name} to the certificate key {certificate}: others with its name open nothing from then on."
    ))?;
    let change = Change::PinOfficer { name: name.clone(), certificate, role: None };
    let done = admin.change(&change).await?;
    reach.output.done(&done, format!("{name} is known by {certificate} (log entry {}).", done.at))
}

async fn rotate(args: Rotate) -> anyhow::Result<()> {
    let Rotate { name, certificate, finish, cancel: _, confirm, reach } = args;
    let admin = reach.client()?;
    let (change, plan, told) = if let Some(file) = &certificate {
        let certificate = key_of(file, &name)?;
        let plan = format!(
            "Will accept the certificate key {certificate} for officer {name} beside its present one."
        );
        let told = format!(
            "{name} may come with either. Once it works with the new one: signonce officers rotate {name} --finish"
        );
        (Change::RotateOfficer { name: name.clone(), certificate }, plan, told)
    } else {
        let pins = admin.officers().await?.pins;
        let both = pins.iter().find(|pin| pin.name == name).and_then(|pin| pin.certificate.zip(pin.next));
        let (old, new) = both.with_context(|| format!("officer {name} is not changing its certificate"))?;
        let (kept, gone) = if finish { (new, old) } else { (old, new) };
        let plan = format!("Will keep {kept} for officer {name} and never accept {gone} again.");
        let change = Change::FinishOfficerRotation { name: name.clone(), keep_new: finish };
        (change, plan, format!("{name} is known by {kept}."))
    };
    confirm.ask(plan)?;
    let done = admin.change(&change).await?;
    reach.output.done(&done, format!("{told} (log entry {})", done.at))
}

fn describe(report: &OfficersReport) -> String {
    let role = report.your_role.map_or_else(|| "no role".to_owned(), |role| role.to_string());
    let roles = &report.officers.roles;
    let list = if roles.is_empty() {
        "There are no officers: every admin certificate is a key officer's.\n".to_owned()
    } else {
        let key = |name: &String| {
            let pin = report.pins.iter().find(|pin| pin.name == *name);
            let keys = pin.map(|pin| [pin.certificate, pin.next].map(|key| key.map(|key| key.to_string())));
            let keys = keys.map(|keys| keys.into_iter().flatten().collect::<Vec<_>>().join(" and "));
            keys.unwrap_or_else(|| "NOT PINNED".to_owned())
        };
        let rows = roles.iter().map(|(name, role)| [name.clone(), role.to_string(), key(name)]);
        table(["NAME", "ROLE", "CERTIFICATE KEY (SPKI)"], rows)
    };
    let unpinned = unpinned(&report.unpinned).map_or_else(String::new, |finding| format!("\n{finding}.\n"));
    let takes = if report.officers.require_approval { "two key officers" } else { "one key officer" };
    format!("{list}{unpinned}\nDangerous changes take {takes}.\nYou are {}: {role}.", report.you)
}

/// A warning about officers that are known by their name alone.
pub(super) fn unpinned(names: &[String]) -> Option<String> {
    let first = names.first()?;
    Some(format!(
        "officers that are known by the name in their certificate alone: {}. Whoever can issue certificates is each of \
         them: `signonce officers pin {first} --certificate FILE`",
        names.join(", ")
    ))
}

/// Dangerous changes that wait for a second key officer.
///
/// The first officer's command is the proposal: it prints a number. Another key officer reviews it and approves or
/// rejects it; approval makes the change, in the name of both. Whoever proposed it may reject it (take it back) but not
/// approve it. A proposal expires after a day, and is judged again when it is approved.
#[derive(clap::Args, Debug)]
pub struct ProposalArgs {
    #[command(subcommand)]
    command: ProposalCommand,
}

#[derive(Subcommand, Debug)]
enum ProposalCommand {
    List(ListProposals),
    /// Approves a proposal: the change is made.
    Approve(Decide),
    /// Rejects a proposal: the change will not be made.
    Reject(Decide),
}

/// Lists what waits for a second officer.
#[derive(clap::Args, Debug)]
struct ListProposals {
    /// Include decided and expired ones.
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
    reach.output.done(&done, format!("{what}:{}", shown.concat()))
}

async fn find(admin: &AdminClient, ids: &[u64]) -> anyhow::Result<Vec<ProposalRow>> {
    let rows = admin.officers().await?.proposals;
    let one = |id: &u64| {
        let found = rows.iter().find(|row| row.proposal.id == LogIndex(*id)).cloned();
        found.with_context(|| format!("there is no proposal {id}; `signonce proposals list` shows all"))
    };
    ids.iter().map(one).collect()
}

/// The change exactly as in the log: whoever approves it must see all of it.
fn line(row: &ProposalRow) -> String {
    let change = serde_json::to_string(&row.proposal.change).unwrap_or_else(|_| row.what.clone());
    format!("{}  by {}: {change}", row.proposal.id, row.proposal.by)
}

fn list(rows: &[ProposalRow]) -> String {
    let cells = rows.iter().map(|row| {
        let state = match &row.proposal.decision {
            Some(decision) => {
                let word = if decision.approved { "approved" } else { "rejected" };
                let node = row.node.map_or_else(String::new, |node| format!(", invited node {node}"));
                format!("{word} by {} (log entry {}{node})", decision.by, decision.at)
            }
            None if row.expired => "expired".into(),
            None => "waits".into(),
        };
        let change = serde_json::to_string(&row.proposal.change).unwrap_or_else(|_| row.what.clone());
        [row.proposal.id.to_string(), row.proposal.by.clone(), state, change]
    });
    table(["ID", "BY", "STATE", "CHANGE"], cells)
}
