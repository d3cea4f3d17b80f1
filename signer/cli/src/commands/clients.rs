//! `signonce clients`: the validators that may ask for signatures.

mod terms;

use super::common::{Confirm, Done, Reach, Usage, say, table};
use crate::commands::keys::find_chain;
use anyhow::Context as _;
use clap::Subcommand;
use signonce_core::{Change, ChangeDone, ClientState, DEFAULT_KEY_LIMIT, KeyAllowance, KeySelector, Right};
use signonce_protocol::{ChainId, DutyClass, KeyId};
use signonce_shared::{
    admin::{
        api::ClientRow,
        client::{AdminClient, CallError},
    },
    tls::PeerIdentity,
};
use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

/// The validators that may ask for signatures.
///
/// They are known by the key of their certificate and may do what their rights name, nothing else.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Add(Add),
    Update(Update),
    List(List),
    Show(terms::Show),
    Limits(terms::Limits),
    Rotate(terms::Rotate),
    Remove(Remove),
}

/// Adds a client with its certificate and rights.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce clients add validator-a --cert certs/client-validator-a.pem --rights group:validator-a\n  \
    signonce clients add collator --cert c.pem --rights group:c=auraBlock --rights group:c=ownershipProof\n  \
    signonce clients add validator-b --cert b.pem --may-generate --chain polkadot")]
struct Add {
    /// The client's name.
    name: String,
    /// PEM: its certificate.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// KEYS[=CLASS,CLASS…]: KEYS is `all`, `group:NAME` or `key:TYPE:0xPUBLIC`; without classes, every class of work.
    /// Classes: babeBlock, auraBlock, grandpaVote, beefyVote, paraSide, babeVrf, bitfield, pvfCheck, authorityRecord,
    /// heartbeat, ownershipProof. Repeatable.
    #[arg(long, required_unless_present = "may_generate", value_parser = right)]
    rights: Vec<Right>,
    /// Restricts these rights, and the keys it may have made, to one chain, by name or genesis hash.
    #[arg(long)]
    chain: Option<String>,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Allows a client to have session keys made, or takes that permission away.
///
/// Its rights stay as they are, and so do the keys that were made for it.
#[derive(clap::Args, Debug)]
struct Update {
    /// The client's name.
    name: String,
    #[command(flatten)]
    making: Making,
    /// No longer lets the client have keys made. Keys that were made for it still sign.
    #[arg(long, conflicts_with = "may_generate", required_unless_present = "may_generate")]
    no_generate: bool,
    /// Only for keys of this chain, by name or genesis hash.
    #[arg(long, requires = "may_generate")]
    chain: Option<String>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// The permission to have session keys made.
#[derive(clap::Args, Clone, Debug)]
struct Making {
    /// Lets the client have session keys made, as `author_rotateKeys` on its node does. A signer makes them, they are
    /// armed as keys that never signed anything, and the client has every right to them.
    #[arg(long)]
    may_generate: bool,
    /// The validator that its keys belong to. By default the group that its rights name, if they name one, or else its
    /// own name.
    #[arg(long, value_name = "GROUP", requires = "may_generate")]
    key_group: Option<String>,
    /// How many of the keys made for it may exist at a time. Removed keys do not count.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_KEY_LIMIT, requires = "may_generate")]
    key_limit: u32,
}

impl Making {
    /// The allowance that the options give a client with this name and these rights.
    fn allowance(&self, name: &str, rights: &[Right], chain: Option<ChainId>) -> Option<KeyAllowance> {
        let group = || match named_groups(rights).as_slice() {
            [only] => (*only).to_owned(),
            _ => name.to_owned(),
        };
        self.may_generate.then(|| KeyAllowance {
            group: self.key_group.clone().unwrap_or_else(group),
            chain,
            limit: self.key_limit,
        })
    }
}

/// The distinct groups that rights name.
fn named_groups(rights: &[Right]) -> Vec<&str> {
    let mut groups: Vec<&str> = Vec::new();
    for right in rights {
        if let KeySelector::Group(group) = &right.keys
            && !groups.contains(&group.as_str())
        {
            groups.push(group);
        }
    }
    groups
}

/// Lists the clients: their rights and limits, and what they asked of the node that answers.
#[derive(clap::Args, Debug)]
struct List {
    /// Include removed clients.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Removes a client immediately.
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
        None => (text, DutyClass::all().collect()),
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
        Command::Update(args) => update(args).await?,
        Command::List(List { all, reach }) => {
            let admin = reach.client()?;
            let mut rows = admin.clients().await?;
            rows.retain(|row| all || row.state == ClientState::Active);
            let status = admin.status().await?;
            let text = describe(&rows, status.time_ms);
            let seen = format!("Seen by node {} since it started; each node counts for itself.", status.node);
            reach.output.print(&rows, format!("{text}\n{seen}"))?;
        }
        Command::Show(args) => terms::show(args).await?,
        Command::Limits(args) => terms::limits(args).await?,
        Command::Rotate(args) => terms::rotate(args).await?,
        Command::Remove(Remove { name, confirm, reach }) => {
            let admin = reach.client()?;
            confirm.ask(format!("Will remove client {name}; its certificate is never accepted again."))?;
            let done = admin.change(&Change::RemoveClient { name: name.clone() }).await?;
            reach.output.done(&done, format!("Removed client {name} (log entry {}).", done.at))?;
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
    let (name, mut rights) = (args.name, args.rights);
    let chain = genesis(&admin, args.chain.as_deref()).await?;
    rights.iter_mut().for_each(|right| right.chain = chain);
    let allowance = args.making.allowance(&name, &rights, chain);
    let mut shown: Vec<String> =
        rights.iter().map(|right| format!("\n  {}", describe_right(right))).collect();
    shown.extend(allowance.iter().map(|allowance| format!("\n  {}", describe_allowance(allowance))));
    args.confirm.ask(format!(
        "Will add client {name} with the certificate key {}, which may do:{}",
        identity.spki,
        shown.concat()
    ))?;
    let change = Change::AddClient { name: name.clone(), spki: identity.spki, rights };
    let added = admin.change(&change).await;
    if let (Err(CallError::Proposed { .. }), Some(_)) = (&added, &allowance) {
        say!(
            "Leave to have keys made is not part of the proposal: once it is approved, run `signonce clients update \
             {name} --may-generate`."
        );
    }
    let mut done = added?;
    if allowance.is_some() {
        let allowed = allow(&admin, &name, allowance).await;
        done = allowed.with_context(|| {
            format!("client {name} was added, without leave to have keys made (`signonce clients update` gives it)")
        })?;
    }
    args.reach.output.done(&done, format!("Added client {name} (log entry {}).", done.at))
}

async fn update(args: Update) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let name = args.name;
    let rows = admin.clients().await?;
    let row = rows.iter().find(|row| row.name == name && row.state == ClientState::Active);
    let row =
        row.with_context(|| format!("no client is called {name}; `signonce clients list` shows all"))?;
    let chain = genesis(&admin, args.chain.as_deref()).await?;
    let allowance = args.making.allowance(&name, &row.rights, chain);
    if allowance.is_none() && row.key_allowance.is_none() {
        anyhow::bail!("client {name} may not have keys made as it is: nothing was changed");
    }
    let plan = match &allowance {
        Some(allowance) => format!("Will let client {name} {}.", describe_allowance(allowance)),
        None => format!(
            "Will not let client {name} have keys made any more; the {} it has go on to sign for it.",
            row.keys_made
        ),
    };
    args.confirm.ask(plan)?;
    let done = allow(&admin, &name, allowance).await?;
    args.reach.output.done(&done, format!("Updated client {name} (log entry {}).", done.at))
}

async fn genesis(admin: &AdminClient, chain: Option<&str>) -> anyhow::Result<Option<ChainId>> {
    match chain {
        Some(chain) => Ok(Some(find_chain(admin, chain).await?.genesis)),
        None => Ok(None),
    }
}

async fn allow(
    admin: &AdminClient,
    name: &str,
    allowance: Option<KeyAllowance>,
) -> anyhow::Result<ChangeDone> {
    Ok(admin.change(&Change::SetKeyAllowance { name: name.to_owned(), allowance }).await?)
}

fn describe_allowance(allowance: &KeyAllowance) -> String {
    let KeyAllowance { group, chain, limit } = allowance;
    let chain = chain.map_or_else(String::new, |chain| format!(" on chain {chain}"));
    format!("have up to {limit} session keys made, for group {group}{chain}")
}

fn describe_right(right: &Right) -> String {
    let keys = match &right.keys {
        KeySelector::All => "every key".to_owned(),
        KeySelector::Group(group) => format!("keys of group {group}"),
        KeySelector::Key(id) => format!("key {id}"),
    };
    let chain = right.chain.map_or_else(String::new, |chain| format!(" on chain {chain}"));
    let classes = if right.classes.len() == DutyClass::all().count() {
        "every class of work".to_owned()
    } else {
        right.classes.iter().map(|class| class.name()).collect::<Vec<_>>().join(", ")
    };
    format!("{keys}{chain}: {classes}")
}

fn allowance_of(row: &ClientRow) -> Option<String> {
    let allowance = row.key_allowance.as_ref()?;
    Some(format!("{} ({} so far)", describe_allowance(allowance), row.keys_made))
}

fn describe(rows: &[ClientRow], now_ms: u64) -> String {
    let cells = rows.iter().map(|row| {
        let rights = row.rights.iter().map(describe_right).chain(allowance_of(row));
        let rights = rights.collect::<Vec<_>>().join("; ");
        let mut name = row.name.clone();
        if row.state == ClientState::Removed {
            let _ = write!(name, " (removed)");
        }
        let mut spki = row.spki.to_string();
        if let Some(next) = &row.next_spki {
            let _ = write!(spki, " and {next}");
        }
        let [seen, duty, refused] = terms::describe_activity(row.activity.as_ref(), now_ms);
        let limits = terms::describe_limits(&row.limits);
        [row.id.0.to_string(), name, seen, duty, refused, limits, spki, rights]
    });
    let head =
        ["ID", "NAME", "LAST SEEN", "LAST DUTY", "REFUSED", "LIMITS", "CERTIFICATE KEY (SPKI)", "MAY DO"];
    table(head, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_as_written() {
        signonce_shared::families::install();
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
    fn keys_are_made_for_the_one_group_that_a_client_has_rights_to() {
        signonce_shared::families::install();
        let making = Making { may_generate: true, key_group: None, key_limit: 64 };
        let group = |making: &Making, rights: &[&str]| {
            let rights: Vec<Right> = rights.iter().map(|text| right(text).unwrap()).collect();
            making.allowance("validator-a", &rights, None).unwrap().group
        };
        assert_eq!(group(&making, &[]), "validator-a");
        assert_eq!(group(&making, &["all"]), "validator-a");
        assert_eq!(group(&making, &["group:v=babeBlock", "group:v=babeVrf"]), "v");
        assert_eq!(group(&making, &["group:v", "group:w"]), "validator-a");
        let given = Making { key_group: Some("given".into()), ..making.clone() };
        assert_eq!(group(&given, &["group:v"]), "given");
        assert_eq!(Making { may_generate: false, ..making }.allowance("a", &[], None), None);
    }

    #[test]
    fn a_right_that_names_nothing_known_is_refused() {
        signonce_shared::families::install();
        for text in
            ["", "group:", "everything", "all=", "all=babeblock", "key:babe", "key:asgn:0x00", "key:babe:1"]
        {
            assert!(right(text).is_err(), "{text:?}");
        }
    }
}
