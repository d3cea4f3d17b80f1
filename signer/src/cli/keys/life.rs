//! `signonce keys list|disable|remove`.

use super::find_key;
use crate::{
    admin::api::KeyRow,
    cli::common::{Confirm, Done, Reach, table},
};
use signonce_core::{Change, KeyState};
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
    /// Removed keys too.
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

pub(super) async fn list(args: List) -> Done {
    let mut rows = args.reach.client()?.keys().await?;
    let of_chain = |row: &KeyRow| {
        args.chain.as_ref().is_none_or(|chain| row.chain == *chain || row.genesis.to_string() == *chain)
    };
    let of_group = |row: &KeyRow| args.group.is_none() || row.group == args.group;
    rows.retain(|row| of_chain(row) && of_group(row) && (args.all || row.state != KeyState::Removed));
    args.reach.output.print(&rows, describe(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn describe(rows: &[KeyRow]) -> String {
    let cells = rows.iter().map(|row| {
        let marks = row.watermarks.iter().map(|mark| {
            let highest = mark.highest.map_or_else(|| "nothing yet".to_owned(), |at| at.to_string());
            format!("from {}, signed up to {highest}", mark.floor)
        });
        [
            row.group.clone().unwrap_or_default(),
            row.chain.clone(),
            row.id.to_string(),
            row.state.to_string(),
            if row.unlocked { "yes" } else { "no" }.to_owned(),
            marks.collect::<Vec<_>>().join("; "),
        ]
    });
    table(["GROUP", "CHAIN", "KEY", "STATE", "OPEN HERE", "WATERMARK"], cells)
}

pub(super) async fn disable(args: One) -> Done {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    args.confirm.ask(format!(
        "Will disable {} ({} now): it signs nothing until it is armed again.",
        row.id, row.state
    ))?;
    let done = admin.change(&Change::DisableKey { id: row.id }).await?;
    args.reach.output.print(&done, format!("Disabled {} (log entry {}).", row.id, done.at))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(args: One) -> Done {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    args.confirm.ask(format!(
        "Will remove {} ({} now) for ever: every member drops its secret, and the public key can never come back.",
        row.id, row.state
    ))?;
    let done = admin.change(&Change::RemoveKey { id: row.id }).await?;
    args.reach.output.print(&done, format!("Removed {} (log entry {}).", row.id, done.at))?;
    Ok(ExitCode::SUCCESS)
}
