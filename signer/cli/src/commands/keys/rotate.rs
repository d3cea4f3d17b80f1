//! `signonce keys rotate`: makes a new set of session keys beside the old one, and ends the old one once the chain has
//! changed over.
//!
//! Between `session.setKeys` and the session in which it takes effect the validator signs with the old keys, so both
//! sets are armed. The record, a file with public facts only, tells which keys belong to which set.

use super::{
    find_chain,
    generate::POLKADOT,
    set::{Elsewhere, Entry, Fresh, MadeSet, entries, statement},
};
use crate::commands::common::{Confirm, Done, NotYet, Reach, Usage, recorded, say, table};
use anyhow::Context as _;
use hyper::Uri;
use serde::{Deserialize, Serialize};
use signonce_core::{Chain, Change, KeyState};
use signonce_protocol::{ChainId, HexBytes, KeyId, KeyType};
use signonce_shared::admin::{
    api::{ChainRow, KeyRow},
    client::{AdminClient, CallError},
};
use signonce_substrate::{AURA, AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, PARA};
use signonce_substrate_rpc::http::Address;
use signonce_substrate_rpc::node::{Node, nodes};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where `pallet_session` keeps the keys of the next session: the hashes of `Session` and `QueuedKeys`.
const QUEUED_KEYS: &str = "0xcec5070d609dd3497f72bde07fc96ba0e0cdd062e6eaf24295ad4ccfc41d4609";

/// Replaces a validator's session keys.
///
/// Makes a new set and prints it for `session.setKeys`; the old keys continue to sign. When the chain uses the new
/// ones, `--finish` disables the old keys, and `--remove`, some sessions later, removes them permanently. If the first
/// step is run again, it prints the same set.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  \
    signonce keys rotate --chain polkadot --group validator-2 --owner 0xACCOUNT --elsewhere asgn:0xPUBLIC:0xPROOF\n  \
    # session.setKeys with what it printed; then, two sessions later:\n  \
    signonce keys rotate --chain polkadot --group validator-2 --finish --chain-url wss://rpc.polkadot.io\n  \
    signonce keys rotate --chain polkadot --group validator-2 --remove")]
pub(super) struct Args {
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// The validator whose keys are replaced.
    #[arg(long)]
    group: String,
    /// The account that will call `session.setKeys`, as the runtime encodes it.
    #[arg(long, value_name = "0xHEX", required_unless_present_any = ["finish", "remove"])]
    owner: Option<HexBytes>,
    /// The order of the runtime's session keys. By default Polkadot's and Kusama's.
    #[arg(long, value_delimiter = ',', value_name = "TYPES", default_value = POLKADOT)]
    order: Vec<String>,
    /// A key of the set that stays on the validator, with its ownership proof: TYPE:0xPUBLIC:0xPROOF. Repeatable.
    #[arg(long, value_name = "KEY")]
    elsewhere: Vec<Elsewhere>,
    /// Disable the old keys, once the chain uses the new ones.
    #[arg(long, conflicts_with = "remove")]
    finish: bool,
    /// Remove the old keys permanently, after --finish. Parachain disputes can ask for the keys of the last six
    /// sessions.
    #[arg(long)]
    remove: bool,
    /// A node of the chain, to see which keys it uses. It must be up to date, by the slots in its blocks. Repeatable:
    /// each of them has to confirm it. Without it, --finish trusts you.
    #[arg(long, value_name = "URL", requires = "finish")]
    chain_url: Vec<Uri>,
    /// PEM: authorities for wss:// and https://, in place of this machine's.
    #[arg(long, value_name = "FILE")]
    chain_ca: Option<PathBuf>,
    /// The file for the record of the two sets. By default `rotate-GROUP.json` in the working directory.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// A rotation. Public facts only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    chain: String,
    genesis: ChainId,
    group: String,
    #[serde(flatten)]
    made: MadeSet,
    /// The keys that are replaced.
    old: Vec<KeyId>,
    state: Stage,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Stage {
    /// The new keys are being brought into the cluster. A record that stays in this stage is useless: their secrets are
    /// gone with the process that made them.
    Making,
    /// Both sets are armed.
    Overlapping,
    /// The old keys are disabled.
    Finished,
    /// The old keys are removed.
    Removed,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    let file = args.record.clone().unwrap_or_else(|| format!("rotate-{}.json", args.group).into());
    let record = Record::open(&file, &chain, &args.group)?;
    let record = match (record, args.finish, args.remove) {
        (Some(record), true, _) => finish(&args, &admin, record, &file).await?,
        (Some(record), _, true) => remove(&args, &admin, record, &file).await?,
        (None, true, _) | (None, _, true) => {
            let why = format!("there is no rotation of {:?} in {}", args.group, file.display());
            return Err(Usage(format!("{why}; give the file that the first step wrote with --record")).into());
        }
        (Some(record), ..) if record.state == Stage::Overlapping => {
            say!("The rotation in {} is under way; this is its set.", file.display());
            record
        }
        (before, ..) => begin(&args, &admin, &chain, before.as_ref(), &file).await?,
    };
    args.reach.output.done(&record, record.describe(&file))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the new set.
async fn begin(
    args: &Args,
    admin: &AdminClient,
    chain: &ChainRow,
    before: Option<&Record>,
    file: &Path,
) -> anyhow::Result<Record> {
    let entries = entries(&args.order, &args.elsewhere)?;
    let statement = statement(args.owner.as_ref().unwrap_or(&HexBytes(Vec::new())), chain)?;
    let rows = admin.keys().await?;
    let of_group = |row: &&KeyRow| row.group.as_deref() == Some(&args.group) && row.genesis == chain.genesis;
    let old: Vec<&KeyRow> = rows.iter().filter(of_group).filter(|row| row.state == KeyState::Armed).collect();
    if old.is_empty() {
        let why = format!("{:?} has no keys on chain {} that could be replaced", args.group, chain.name);
        return Err(
            Usage(format!("{why}; `signonce keys generate --for-set-keys` makes the first ones")).into()
        );
    }
    let left_out = |row: &&&KeyRow| !entries.contains(&Entry::Ours(row.id.key_type));
    if let Some(row) = old.iter().find(left_out) {
        let why = format!("{:?} has a {} key, and --order does not", args.group, row.id.key_type);
        return Err(Usage(format!("{why}: give the order of the runtime's session keys")).into());
    }
    let ids: Vec<String> = old.iter().map(|row| format!("  {}", row.id)).collect();
    let unfinished = before.filter(|before| before.state == Stage::Making).map_or_else(String::new, |_| {
        "\nAn earlier run was interrupted: the keys it made are among these and were never of use.".to_owned()
    });
    args.confirm.ask(format!(
        "Will make a new set of session keys for {:?} on chain {} and arm it. These go on signing until --finish:\n{}{unfinished}",
        args.group,
        chain.name,
        ids.join("\n")
    ))?;
    let fresh = Fresh::make(&entries, None, chain, &args.group, Some(&statement))?;
    let mut record = Record {
        version: 1,
        chain: chain.name.clone(),
        genesis: chain.genesis,
        group: args.group.clone(),
        made: fresh.made.clone(),
        old: old.iter().map(|row| row.id).collect(),
        state: Stage::Making,
    };
    // Before a key is in the cluster, as the proofs cannot be made again.
    record.write(file)?;
    fresh.enroll(admin, chain).await?;
    record.state = Stage::Overlapping;
    recorded(record.write(file))?;
    Ok(record)
}

/// Disables the old keys, if the chain no longer uses them.
async fn finish(args: &Args, admin: &AdminClient, mut record: Record, file: &Path) -> anyhow::Result<Record> {
    match record.state {
        Stage::Making => anyhow::bail!("this rotation was interrupted before its set was whole; begin again"),
        Stage::Finished | Stage::Removed => return Ok(record),
        Stage::Overlapping => {}
    }
    let seen = match args.chain_url.is_empty() {
        true => "Nobody looks at the chain: there is no --chain-url. If it still uses the old keys, the validator \
                 falls silent."
            .to_owned(),
        false => look(args, admin, &record).await?,
    };
    let ids: Vec<String> = record.old.iter().map(|id| format!("  {id}")).collect();
    args.confirm.ask(format!("{seen}\nWill disable the old keys:\n{}", ids.join("\n")))?;
    let rows = admin.keys().await?;
    for id in &record.old {
        if state_of(&rows, id) == Some(KeyState::Armed) {
            admin.change(&Change::DisableKey { id: *id }).await?;
        }
    }
    record.state = Stage::Finished;
    recorded(record.write(file))?;
    Ok(record)
}

/// What every node says of the keys, and how old that is.
///
/// # Errors
/// As [`changed_over`], for any of them; or if one is not up to date.
async fn look(args: &Args, admin: &AdminClient, record: &Record) -> anyhow::Result<String> {
    let chain = find_chain(admin, &args.chain).await?;
    let mut text = String::new();
    for (url, node) in
        args.chain_url.iter().zip(nodes("--chain-url", &args.chain_url, args.chain_ca.as_deref())?)
    {
        let place =
            node.progress(&chain).await.with_context(|| format!("--chain-url {}", Address::of(url)))?;
        let uses = changed_over(&node, record).await?;
        let head = place.head.map_or_else(String::new, |head| head.to_string());
        text.push_str(&format!("By {} ({head}):\n{uses}", Address::of(url)));
    }
    Ok(text)
}

/// Removes the old keys, which are disabled already.
async fn remove(args: &Args, admin: &AdminClient, mut record: Record, file: &Path) -> anyhow::Result<Record> {
    if matches!(record.state, Stage::Making | Stage::Overlapping) {
        return Err(NotYet("the old keys may still be used: run this with --finish first".to_owned()).into());
    }
    let rows = admin.keys().await?;
    let left = |id: &&KeyId| state_of(&rows, id).is_some_and(|state| state != KeyState::Removed);
    let left: Vec<KeyId> = record.old.iter().filter(left).copied().collect();
    if let Some(armed) = left.iter().find(|id| state_of(&rows, id) == Some(KeyState::Armed)) {
        anyhow::bail!("{armed} was armed again after the rotation: disable it first, if it is not used");
    }
    if !left.is_empty() {
        let ids: Vec<String> = left.iter().map(|id| format!("  {id}")).collect();
        args.confirm.ask(format!(
            "Will remove these keys permanently: every member drops their secrets, and they can never come back.\n{}",
            ids.join("\n")
        ))?;
    }
    let mut waiting = Vec::new();
    for id in left {
        match admin.change(&Change::RemoveKey { id }).await {
            Ok(_) => {}
            Err(CallError::Proposed { id: proposal }) => {
                waiting.push(format!("{id}: signonce proposals approve {proposal}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !waiting.is_empty() {
        let why = "another key officer has to say so; run this again then";
        return Err(NotYet(format!("{why}:\n  {}", waiting.join("\n  "))).into());
    }
    record.state = Stage::Removed;
    recorded(record.write(file))?;
    Ok(record)
}

fn state_of(rows: &[KeyRow], id: &KeyId) -> Option<KeyState> {
    rows.iter().find(|row| row.id == *id).map(|row| row.state)
}

/// Whether the chain uses the new keys and none of the old ones, as text.
///
/// Only what is finalized counts: the block in which the authorities change has to be finalized by the old ones, so
/// until it is, the chain needs the old keys, whatever its best block says. BEEFY follows behind GRANDPA.
///
/// # Errors
/// If it does not, or if that cannot be told.
async fn changed_over(node: &Node, record: &Record) -> anyhow::Result<String> {
    let finalized = node.finalized().await.context("--chain-url")?;
    let finalized_by_beefy = node.beefy_finalized().await.unwrap_or(finalized);
    let mut rows = Vec::new();
    let (mut waits, mut seen) = (false, 0);
    for key in &record.made.keys {
        let id = key.id;
        let old = record.old.iter().find(|old| old.key_type == id.key_type);
        let at = if id.key_type == BEEFY { finalized_by_beefy } else { finalized };
        let authorities = match authorities_of(id.key_type) {
            Some(function) => node.runtime_at(function, at).await.ok(),
            None => None,
        };
        let uses = |id: &KeyId| authorities.as_ref().map(|bytes| contains(bytes, id.public.as_bytes()));
        let (new_used, old_used) = (uses(&id), old.and_then(uses));
        let words = match (new_used, old_used) {
            (None, _) => "the chain does not tell",
            (Some(true), None | Some(false)) => "in use",
            (Some(true), Some(true)) => "in use, and the old one too",
            (Some(false), Some(true)) => "not in use yet; the old one is",
            (Some(false), None | Some(false)) => "not in use, nor is the old one",
        };
        seen += u32::from(new_used.is_some());
        waits |= new_used == Some(false) || old_used == Some(true);
        rows.push([id.key_type.to_string(), id.public.to_string(), words.to_owned()]);
    }
    let text = table(["TYPE", "NEW KEY", "ON CHAIN"], rows);
    if seen == 0 {
        anyhow::bail!(
            "the chain tells of none of these keys whether it uses them; look for yourself, then leave out --chain-url"
        );
    }
    if !waits {
        return Ok(text);
    }
    let queued = match node.storage(QUEUED_KEYS).await {
        Ok(Some(bytes)) => record.made.keys.iter().all(|key| contains(&bytes, key.id.public.as_bytes())),
        _ => false,
    };
    let next = if queued {
        "The new set is queued: it counts from the next session on, and the old one until that is finalized. Run this \
         again then."
    } else {
        "The new set is not queued: if session.setKeys was sent, it is queued from the next session on, and counts one \
         session later."
    };
    Err(NotYet(format!("nothing was disabled.\n{text}{next}")).into())
}

/// The runtime function that tells which keys are in use now.
fn authorities_of(key_type: KeyType) -> Option<&'static str> {
    match key_type {
        GRANDPA => Some("GrandpaApi_grandpa_authorities"),
        BABE => Some("BabeApi_current_epoch"),
        AURA => Some("AuraApi_authorities"),
        BEEFY => Some("BeefyApi_validator_set"),
        PARA => Some("ParachainHost_validators"),
        AUTHORITY_DISCOVERY => Some("AuthorityDiscoveryApi_authorities"),
        // No such set (im-online), or not a Substrate chain's.
        _ => None,
    }
}

/// These answers are lists of public keys; a key's 32 random bytes occur nowhere else in them.
fn contains(bytes: &[u8], public: &[u8]) -> bool {
    bytes.windows(public.len()).any(|window| window == public)
}

impl Record {
    fn open(file: &Path, chain: &Chain, group: &str) -> anyhow::Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let record: Self = serde_json::from_str(&text).map_err(|error| {
            Usage(format!(
                "{} is not the record of a rotation: {error}; take another --record",
                file.display()
            ))
        })?;
        if record.version != 1 || record.genesis != chain.genesis || record.group != group {
            let why = format!("{} is the record of another rotation", file.display());
            return Err(Usage(format!(
                "{why} ({:?} on {}); take another --record",
                record.group, record.chain
            ))
            .into());
        }
        Ok(Some(record))
    }

    /// Written to a second file first: an interrupted write must not lose the proofs.
    fn write(&self, file: &Path) -> anyhow::Result<()> {
        super::write_record(file, self)
    }

    fn describe(&self, file: &Path) -> String {
        match self.state {
            Stage::Making => String::new(),
            Stage::Overlapping => format!(
                "{}\n\nBoth sets are armed. Send session.setKeys with these from the owner's account, and run `signonce \
                 keys rotate --finish` when the chain uses them. Written to {}.",
                self.made.describe(),
                file.display()
            ),
            Stage::Finished => format!(
                "{} old keys are disabled; their secrets and watermarks stay. `signonce keys rotate --remove` removes \
                 them permanently, some sessions later.",
                self.old.len()
            ),
            Stage::Removed => format!("{} old keys are removed permanently.", self.old.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_at_any_place_of_an_answer() {
        let answer = [&[4][..], &[7; 32], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(contains(&answer, &[7; 32]));
        assert!(!contains(&answer, &[8; 32]) && !contains(&[], &[7; 32]));
    }
}
