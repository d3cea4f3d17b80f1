//! `signonce keys list|disable|arm|remove`.

use super::{find_key, floors::describe as describe_floors, show};
use crate::commands::{
    common::{Confirm, Done, Reach, Usage, table},
    watermarks,
};
use serde_json::{Value, json};
use signonce_core::{Change, Floors, KeyState};
use signonce_shared::admin::api::KeyRow;
use std::process::ExitCode;

/// Lists the keys with their watermarks.
#[derive(clap::Args, Debug)]
pub(super) struct List {
    /// Only keys of this chain, by name or genesis hash.
    #[arg(long)]
    chain: Option<String>,
    /// Only keys of this validator.
    #[arg(long)]
    group: Option<String>,
    /// Include removed keys.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(clap::Args, Debug)]
pub(super) struct One {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Arms a key that is disabled, whose import was interrupted, or that waits since a restore.
///
/// Where two officers are required, a second one has to agree, whatever the floor.
///
/// The key signs from the position that is given or, if it signed nowhere else in the meantime, from where the cluster
/// stopped.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce keys arm gran:0xPUBLIC --from 12346:1\n  \
    signonce keys arm babe:0xPUBLIC --unchanged")]
pub(super) struct Arm {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: String,
    /// The lowest position that may be signed: SLOT for babe and aura keys, SET:ROUND for gran keys, SET:BLOCK for beef
    /// keys, SESSION for para keys, HEIGHT:ROUND:STEP for comet keys. One past the last that the key signed, or may have
    /// signed, elsewhere.
    #[arg(long, value_name = "COORDINATE", conflicts_with = "unchanged")]
    from: Option<String>,
    /// Asserts that the key signed nowhere else since this cluster stopped signing with it, so the watermark stays as
    /// it is. If it did sign, the cluster can be made to contradict that, which is slashed.
    #[arg(long)]
    unchanged: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn list(args: List) -> Done {
    let mut rows = args.reach.client()?.keys().await?;
    let of_chain = |row: &KeyRow| {
        args.chain.as_ref().is_none_or(|chain| row.chain == *chain || row.genesis.to_string() == *chain)
    };
    let of_group = |row: &KeyRow| args.group.is_none() || row.group == args.group;
    rows.retain(|row| of_chain(row) && of_group(row) && (args.all || row.state != KeyState::Removed));
    let values: Vec<_> = rows.iter().map(value).collect::<Result<_, _>>()?;
    args.reach.output.print(&values, describe(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn value(row: &KeyRow) -> serde_json::Result<Value> {
    Ok(show::with_shown(serde_json::to_value(row)?, row.scheme, &row.id.public))
}

fn describe(rows: &[KeyRow]) -> String {
    let cells = rows.iter().map(|row| {
        let marks = row.watermarks.iter().map(|mark| {
            let highest = mark.highest.map_or_else(|| "nothing yet".to_owned(), |at| at.to_string());
            match row.known_by_backup.as_ref().and_then(|known| known.of(mark.class)) {
                Some(known) => format!("above {known}, as its backup knew"),
                None => format!("from {}, signed up to {highest}", mark.floor),
            }
        });
        [
            row.group.clone().unwrap_or_default(),
            row.chain.clone(),
            row.id.to_string(),
            if row.halted.is_some() { "HALTED".to_owned() } else { row.state.to_string() },
            if row.unlocked { "yes" } else { "no" }.to_owned(),
            sealed_for(row),
            marks.collect::<Vec<_>>().join("; "),
        ]
    });
    table(["GROUP", "CHAIN", "KEY", "STATE", "OPEN HERE", "SEALED FOR", "WATERMARK"], cells)
}

/// The members that the envelope is sealed to.
fn sealed_for(row: &KeyRow) -> String {
    if row.not_sealed_for.is_empty() {
        return "all".to_owned();
    }
    let nodes = row.not_sealed_for.iter().map(ToString::to_string).collect::<Vec<_>>();
    format!("not {} yet", nodes.join(", "))
}

pub(super) async fn disable(args: One) -> Done {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    args.confirm.ask(format!(
        "Will disable {} ({} now): it signs nothing until it is armed again.",
        row.id, row.state
    ))?;
    let done = admin.change(&Change::DisableKey { id: row.id }).await?;
    args.reach.output.done(&done, format!("Disabled {} (log entry {}).", row.id, done.at))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn arm(args: Arm) -> Done {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    if matches!(row.state, KeyState::Armed | KeyState::Removed) {
        let why = match row.state {
            KeyState::Armed => "to raise its floor, see `signonce watermarks raise`",
            _ => "it can never come back",
        };
        anyhow::bail!("{} is {}: {why}", row.id, row.state);
    }
    let floors = arm_floors(&args, &row)?;
    args.confirm.ask(format!(
        "Will arm {} ({} now, {}): it signs {}.\nNo other program may sign with it from now on.",
        row.id,
        row.state,
        floor_now(&row),
        describe_floors(&floors)
    ))?;
    let done = admin.change(&Change::ArmKey { id: row.id, floors: floors.clone() }).await?;
    let value = json!({
        "type": row.id.key_type, "public": row.id.public, "floors": floors, "logIndex": done.at,
    });
    let text = format!("Armed {}, {} (log entry {}).", row.id, describe_floors(&floors), done.at);
    args.reach.output.done(&value, text)?;
    Ok(ExitCode::SUCCESS)
}

/// The floors from which the key is to sign. Keys of free classes have none.
fn arm_floors(args: &Arm, row: &KeyRow) -> Result<Floors, Usage> {
    let key_type = row.id.key_type;
    let is_free = key_type.marks().next().is_none();
    match (&args.from, args.unchanged) {
        (Some(from), _) => watermarks::floors(key_type, "--from", from),
        (None, _) if is_free => Ok(Floors::default()),
        (None, true) if row.known_by_backup.is_some() => Err(Usage(format!(
            "{} came with a backup, and the old cluster went on after that was made: nobody can say that it signed \
             nothing since; look on the chain, and give --from",
            row.id
        ))),
        (None, true) if row.watermarks.is_empty() => {
            Err(Usage(format!("{} was never armed: say from where on it signs, with --from", row.id)))
        }
        (None, true) => Ok(row.watermarks.iter().map(|mark| mark.floor).collect()),
        (None, false) => Err(Usage(format!(
            "say from where on {} signs: --from, one past the last that it may have signed elsewhere, or --unchanged \
             if it signed nowhere else",
            row.id
        ))),
    }
}

fn floor_now(row: &KeyRow) -> String {
    match row.watermarks.first() {
        Some(mark) if row.known_by_backup.is_some() => {
            format!(
                "the backup it came with knows nothing from {} on, and the old cluster went on",
                mark.floor
            )
        }
        Some(mark) => {
            let highest = mark.highest.map_or_else(|| "nothing".to_owned(), |at| at.to_string());
            format!("floor {}, signed up to {highest}", mark.floor)
        }
        None => "without a watermark".to_owned(),
    }
}

pub(super) async fn remove(args: One) -> Done {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    args.confirm.ask(format!(
        "Will remove {} ({} now) permanently: every member drops its secret, and the public key can never come back.",
        row.id, row.state
    ))?;
    let done = admin.change(&Change::RemoveKey { id: row.id }).await?;
    args.reach.output.done(&done, format!("Removed {} (log entry {}).", row.id, done.at))?;
    Ok(ExitCode::SUCCESS)
}
