//! `signonce clients`: the validators that may ask for signatures.

use super::common::{Confirm, Done, Reach, Usage, table};
use crate::{admin::api::ClientRow, cli::keys::find_chain, server::tls::PeerIdentity};
use clap::Subcommand;
use signonce_core::{Change, ClientState, KeySelector, Right};
use signonce_protocol::{DutyClass, KeyId};
use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

/// The validators that may ask for signatures.
///
/// They are known by the key of their certificate, and may do what their
/// rights name; all else is forbidden.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Adds a client with its certificate and rights.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce clients add validator-a --cert certs/client-validator-a.pem --rights group:validator-a\n  \
    signonce clients add collator --cert c.pem --rights group:c=auraBlock --rights group:c=ownershipProof")]
struct Add {
    /// The client's name.
    name: String,
    /// PEM: its certificate.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// KEYS[=CLASS,CLASS…]: KEYS is `all`, `group:NAME` or `key:TYPE:0xPUBLIC`; without classes, every class of work.
    /// Classes: babeBlock, auraBlock, grandpaVote, beefyVote, paraSide, babeVrf, bitfield, pvfCheck, authorityRecord,
    /// heartbeat, ownershipProof. Repeatable.
    #[arg(long, required = true, value_parser = right)]
    rights: Vec<Right>,
    /// Restricts all of these rights to one chain, by name or genesis hash.
    #[arg(long)]
    chain: Option<String>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Lists the clients and their rights.
#[derive(clap::Args, Debug)]
struct List {
    /// Removed clients too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Removes a client at once.
///
/// Its certificate is never accepted again.
#[derive(clap::Args, Debug)]
struct Remove {
    /// The client's name.
    name: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

fn right(text: &str) -> Result<Right, String> {
    let (keys, classes) = match text.split_once('=') {
        Some((keys, classes)) => {
            let classes = classes.split(',').map(str::parse).collect::<Result<Vec<DutyClass>, _>>()?;
            (keys, classes)
        }
        None => (text, DutyClass::ALL.to_vec()),
    };
    Ok(Right { keys: selector(keys)?, chain: None, classes })
}

fn selector(text: &str) -> Result<KeySelector, String> {
    if text == "all" {
        return Ok(KeySelector::All);
    }
    if let Some(group) = text.strip_prefix("group:").filter(|group| !group.is_empty()) {
        return Ok(KeySelector::Group(group.to_owned()));
    }
    if let Some((key_type, public)) = text.strip_prefix("key:").and_then(|key| key.split_once(':')) {
        let key_type = key_type.parse().map_err(|e| format!("{text:?}: {e}"))?;
        let public = public.parse().map_err(|e| format!("{text:?}: {e}"))?;
        return Ok(KeySelector::Key(KeyId { key_type, public }));
    }
    Err(format!("{text:?} names no keys: it must be all, group:NAME or key:TYPE:0xPUBLIC"))
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Add(args) => add(args).await?,
        Command::List(List { all, reach }) => {
            let mut rows = reach.client()?.clients().await?;
            rows.retain(|row| all || row.state == ClientState::Active);
            reach.output.print(&rows, describe(&rows))?;
        }
        Command::Remove(Remove { name, confirm, reach }) => {
            let admin = reach.client()?;
            confirm.ask(format!("Will remove client {name}; its certificate is never accepted again."))?;
            let done = admin.change(&Change::RemoveClient { name: name.clone() }).await?;
            reach.output.print(&done, format!("Removed client {name} (log entry {}).", done.at))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: Add) -> anyhow::Result<()> {
    let identity = PeerIdentity::of_file(&args.cert)?;
    if identity.admin.is_some() {
        let why =
            "an admin's certificate would let this client change the cluster; issue a client certificate";
        return Err(Usage(why.into()).into());
    }
    let admin = args.reach.client()?;
    let mut rights = args.rights;
    if let Some(chain) = &args.chain {
        let genesis = find_chain(&admin, chain).await?.genesis;
        rights.iter_mut().for_each(|right| right.chain = Some(genesis));
    }
    let shown = rights.iter().map(|right| format!("  {}", describe_right(right))).collect::<Vec<_>>();
    args.confirm.ask(format!(
        "Will add client {} with the certificate key {}, which may do:\n{}",
        args.name,
        identity.spki,
        shown.join("\n")
    ))?;
    let change = Change::AddClient { name: args.name.clone(), spki: identity.spki.0, rights };
    let done = admin.change(&change).await?;
    args.reach.output.print(&done, format!("Added client {} (log entry {}).", args.name, done.at))
}

fn describe_right(right: &Right) -> String {
    let keys = match &right.keys {
        KeySelector::All => "every key".to_owned(),
        KeySelector::Group(group) => format!("keys of group {group}"),
        KeySelector::Key(id) => format!("key {id}"),
    };
    let chain = right.chain.map_or_else(String::new, |chain| format!(" on chain {chain}"));
    let classes = if right.classes.len() == DutyClass::ALL.len() {
        "every class of work".to_owned()
    } else {
        right.classes.iter().map(|class| class.name()).collect::<Vec<_>>().join(", ")
    };
    format!("{keys}{chain}: {classes}")
}

fn describe(rows: &[ClientRow]) -> String {
    let cells = rows.iter().map(|row| {
        let rights = row.rights.iter().map(describe_right).collect::<Vec<_>>().join("; ");
        let mut name = row.name.clone();
        if row.state == ClientState::Removed {
            let _ = write!(name, " (removed)");
        }
        [row.id.0.to_string(), name, row.spki.to_string(), rights]
    });
    table(["ID", "NAME", "CERTIFICATE KEY (SPKI)", "MAY DO"], cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_as_written() {
        let public = format!("0x{}", "11".repeat(32));
        for (text, shown) in [
            ("all".to_owned(), "every key: every class of work".to_owned()),
            ("group:a".into(), "keys of group a: every class of work".into()),
            ("group:a=babeBlock,babeVrf".into(), "keys of group a: babeBlock, babeVrf".into()),
            (format!("key:gran:{public}=grandpaVote"), format!("key gran:{public}: grandpaVote")),
        ] {
            assert_eq!(describe_right(&right(&text).unwrap()), shown);
        }
    }

    #[test]
    fn a_right_that_names_nothing_known_is_refused() {
        for text in
            ["", "group:", "everything", "all=", "all=babeblock", "key:babe", "key:asgn:0x00", "key:babe:1"]
        {
            assert!(right(text).is_err(), "{text:?}");
        }
    }
}
