//! `signonce keys import`: keys from the files of a validator or of another signer.

use super::{
    find_chain,
    floors::{FloorArgs, describe},
    source::{Found, History, Skipped, Source, SourceArgs},
};
use crate::commands::common::{Confirm, Done, Reach, table};
use serde_json::{Value, json};
use signonce_cluster::clock::unix_ms;
use signonce_core::{Chain, Floors, KeyState};
use signonce_keys::KeystoreKey;
use signonce_protocol::{KeyId, LogIndex};
use signonce_shared::{
    admin::{
        api::{ChainRow, KeyRow},
        client::{AdminClient, CallError},
    },
    enroll::{EnrollError, NewKey, enroll, recipients},
};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Imports the keys of a Substrate keystore directory, or the consensus key of a CometBFT validator.
///
/// Every key is derived and compared with the public key beside it; one that does not match stops the import before
/// anything is changed. The floors of the keys are shown first: BABE and AURA keys start at the next slot; GRANDPA, BEEFY
/// and para keys where you say; CometBFT keys past what the state file says. STOP the old validator first: once a key is
/// armed here, a copy elsewhere gets a validator slashed.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce keys import chains/polkadot/keystore --chain polkadot --group validator-2 --grandpa-floor 4021:17\n  \
    signonce keys import --chain cosmoshub-4 --group validator-3 --from priv_validator_key.json \\\n    \
    --state priv_validator_state.json")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// The validator they belong to. Rights and the BEEFY shield are by validator.
    #[arg(long)]
    group: String,
    #[command(flatten)]
    floors: FloorArgs,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// How many times it is checked whether the node has opened the keys.
const OPEN_LOOKS: u32 = 50;
/// The pause between two checks.
const OPEN_WAIT: Duration = Duration::from_millis(200);

/// A key with its file and its first floors.
struct Planned {
    path: PathBuf,
    key: KeystoreKey,
    history: History,
    floors: Floors,
}

/// The result for one file.
struct Imported {
    path: PathBuf,
    text: String,
    json: Value,
    /// The proposal that a second officer has to approve before the key is armed.
    proposal: Option<LogIndex>,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    let recipients = recipients(&admin).await?;
    let source = args.source.source(&chain)?;
    let (planned, skipped) = read(&args, &source, &chain)?;
    let (old, new) = known(planned, &admin.keys().await?, &chain)?;
    let mut plan = plan(&args, &chain, &new, &old, &skipped, recipients.len());
    plan.push_str(source.caution());
    args.confirm.ask(plan)?;
    let ids: Vec<KeyId> = new.iter().chain(&old).map(|planned| planned.key.id).collect();
    let mut imported = Vec::new();
    for Planned { path, key, history, mut floors } in new {
        if floors.positions().any(|floor| floor.slot().is_some()) {
            // The confirmation may have taken minutes.
            floors = args.floors.of(key.id.key_type, &chain, unix_ms(), history)?;
        }
        let KeystoreKey { id, scheme, secret } = key;
        let key = NewKey { id, secret, group: Some(args.group.clone()), floors: floors.clone() };
        let (at, proposal) = match enroll(&admin, chain.genesis, &recipients, &key).await {
            Ok(at) => (Some(at), None),
            Err(EnrollError::Call(CallError::Proposed { id })) => (None, Some(id)),
            Err(error) => return Err(interrupted(error, &path, &imported)),
        };
        let waits = proposal.map_or_else(String::new, |proposal| {
            format!("\n    signs once another key officer says so: signonce proposals approve {proposal}")
        });
        let text = format!("  {id}  {}{waits}", describe(&floors));
        let json = json!({
            "type": id.key_type, "scheme": scheme, "public": id.public, "floors": floors, "logIndex": at,
            "proposal": proposal, "file": path,
        });
        imported.push(Imported { path, text, json, proposal });
    }
    wait_open(&admin, &ids).await?;
    let files = to_destroy(&imported, old);
    let value = json!({
        "chain": chain.name, "group": args.group,
        "imported": imported.iter().map(|done| &done.json).collect::<Vec<_>>(),
        "skipped": skipped,
        "destroy": files,
    });
    args.reach.output.done(&value, summary(&imported, &files, source.then()))?;
    Ok(ExitCode::SUCCESS)
}

/// The files whose keys are all armed here now; none while one of the keys is not.
fn to_destroy(imported: &[Imported], old: Vec<Planned>) -> Vec<PathBuf> {
    if imported.iter().any(|done| done.proposal.is_some()) {
        return Vec::new();
    }
    imported.iter().map(|done| done.path.clone()).chain(old.into_iter().map(|old| old.path)).collect()
}

/// Separates the keys that the cluster already holds for this chain from those that are to be imported.
///
/// # Errors
/// If the cluster has one as a key of another chain, or as a removed one: then the file may be its only copy, and must
/// not be listed among those to destroy.
fn known(
    planned: Vec<Planned>,
    there: &[KeyRow],
    chain: &Chain,
) -> anyhow::Result<(Vec<Planned>, Vec<Planned>)> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for planned in planned {
        let id = planned.key.id;
        match there.iter().find(|row| row.id == id) {
            Some(row) if row.genesis != chain.genesis => anyhow::bail!(
                "nothing was imported: {id} is a key of chain {} already, and a key belongs to one chain permanently",
                row.chain
            ),
            Some(row) => match row.state {
                KeyState::Armed | KeyState::Disabled => old.push(planned),
                KeyState::Registered => new.push(planned),
                KeyState::Removed => anyhow::bail!(
                    "nothing was imported: {id} was removed from this cluster and can never come back; leave it out \
                     with --types, or generate a new key"
                ),
            },
            None => new.push(planned),
        }
    }
    Ok((old, new))
}

/// Waits until the asked node has opened the keys. The old copy must not be destroyed before it is certain that the new
/// one works.
///
/// # Errors
/// If the node has not opened them after a while.
pub(in crate::commands) async fn wait_open(admin: &AdminClient, ids: &[KeyId]) -> anyhow::Result<()> {
    for _ in 0..OPEN_LOOKS {
        let rows = admin.keys().await?;
        if ids.iter().all(|id| rows.iter().any(|row| row.id == *id && row.unlocked)) {
            return Ok(());
        }
        tokio::time::sleep(OPEN_WAIT).await;
    }
    anyhow::bail!(
        "the cluster holds the keys, but the node that was asked has not opened all of them: destroy NOTHING yet, see \
         `signonce status` and run the same command again"
    )
}

/// The error with what was done before it; the same command continues from there.
fn interrupted(error: EnrollError, path: &Path, imported: &[Imported]) -> anyhow::Error {
    let context = format!(
        "at {}; {} keys were imported before it, and the same command goes on from there",
        path.display(),
        imported.len()
    );
    anyhow::Error::from(error).context(context)
}

/// The keys with their floors, and the files that hold no such key, with reasons.
fn read(args: &Args, source: &Source, chain: &ChainRow) -> anyhow::Result<(Vec<Planned>, Vec<Skipped>)> {
    let (keys, skipped) = source.read()?;
    let mut planned = Vec::new();
    for Found { path, key, history } in keys {
        let floors = args.floors.of(key.id.key_type, chain, unix_ms(), history)?;
        planned.push(Planned { path, key, history, floors });
    }
    Ok((planned, skipped))
}

fn plan(
    args: &Args,
    chain: &ChainRow,
    new: &[Planned],
    old: &[Planned],
    skipped: &[Skipped],
    members: usize,
) -> String {
    let rows = new.iter().map(|planned| {
        let id = planned.key.id;
        [id.key_type.to_string(), id.public.to_string(), describe(&planned.floors)]
    });
    let mut text = if new.is_empty() {
        format!("Nothing is left to import to chain {}.\n", chain.name)
    } else {
        format!(
            "Will import {} keys to chain {} for {:?}, sealed to {members} members:\n\n{}",
            new.len(),
            chain.name,
            args.group,
            table(["TYPE", "PUBLIC KEY", "SIGNS"], rows)
        )
    };
    for planned in new {
        text.push_str(&left_out(planned));
    }
    for planned in old {
        let _ = writeln!(text, "\nIn the cluster already, its watermark stays as it is: {}", planned.key.id);
    }
    for Skipped { file, why } in skipped {
        let _ = writeln!(text, "\nNot imported: {}: {why}", file.display());
    }
    text.push_str(
        "\nThe old validator must be STOPPED now, and never start with these keys again: two copies of a key that do \
         not know of each other are what gets a validator slashed.\n",
    );
    text
}

/// What is left out between what a key signed last and its floor, and why.
fn left_out(planned: &Planned) -> String {
    let History::UpTo(last) = planned.history else { return String::new() };
    let mut text = format!("\nBy its state file, {} signed up to {last}.\n", planned.key.id);
    let next = last.of_mark().next();
    if let Some(next) =
        next.filter(|next| planned.floors.positions().any(|floor| next.is_below(floor) == Some(true)))
    {
        let numbers = next.parts().iter().map(ToString::to_string).collect::<Vec<_>>().join(":");
        let _ = writeln!(
            text,
            "Its floor is higher than the next position: what it may sign there depends on what it signed before, which \
             a state file does not tell.\nOnly if the chain cannot go on without it there, and a single node has this \
             key: --floor {}={numbers}",
            next.class()
        );
    }
    text
}

/// What was done, and what to do with the old files. They must not be destroyed while a second officer may still refuse
/// a key, since they are then its only other copy, and the way back.
fn summary(imported: &[Imported], files: &[PathBuf], then: &str) -> String {
    let mut text = format!("Imported {} keys; the node that was asked has opened them.\n", imported.len());
    for done in imported {
        text.push_str(&done.text);
        text.push('\n');
    }
    let waiting: Vec<String> = imported
        .iter()
        .filter_map(|done| Some(format!("signonce proposals approve {}", done.proposal?)))
        .collect();
    if !waiting.is_empty() {
        let _ = write!(
            text,
            "\nDESTROY NOTHING YET: {} of these keys sign only once another key officer has agreed, who may refuse.\n  1. \
             the old validator stays stopped\n  2. another key officer: {}\n  3. then run this same command again: \
             with every key armed, it says which files to destroy",
            waiting.len(),
            waiting.join("; ")
        );
        return text;
    }
    text.push_str("\nRetire the old copy:\n  1. the old validator stays stopped\n  2. destroy these files, and their backups:\n");
    for file in files {
        let _ = writeln!(text, "       shred -u '{}'", file.display());
    }
    let _ = write!(text, "  3. {then}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(proposal: Option<u64>) -> Imported {
        Imported {
            path: "keystore/62616265aa".into(),
            text: "  babe".into(),
            json: json!({}),
            proposal: proposal.map(LogIndex),
        }
    }

    #[test]
    fn nothing_is_to_be_destroyed_while_one_key_waits_for_a_second_officer() {
        let done = [imported(None), imported(Some(7))];
        let text = summary(&done, &[], "start it");
        for part in
            ["DESTROY NOTHING YET: 1 of these keys", "signonce proposals approve 7", "same command again"]
        {
            assert!(text.contains(part), "{part:?} is missing: {text}");
        }
        assert!(!text.contains("shred"), "{text}");
        assert!(to_destroy(&done, Vec::new()).is_empty());
    }

    #[test]
    fn when_every_key_is_armed_the_old_files_are_named() {
        let done = [imported(None)];
        let text = summary(&done, &to_destroy(&done, Vec::new()), "start it");
        assert!(text.contains("shred -u 'keystore/62616265aa'") && !text.contains("NOTHING"), "{text}");
    }
}
