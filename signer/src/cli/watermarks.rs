//! `signonce watermarks`: what was signed, and from where on signing goes on.

use super::{
    common::{Confirm, Done, Reach, Usage, table},
    interchange,
    keys::find_key,
};
use clap::Subcommand;
use serde_json::json;
use signonce_core::{Change, Floors};
use signonce_protocol::{BlockNumber, KeyType, Round, SessionIndex, SetId, Slot};
use std::process::ExitCode;

/// What was signed, and from where on signing goes on.
///
/// Watermarks only ever rise.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(Show),
    Raise(Raise),
    Export(interchange::Export),
    Import(interchange::Import),
}

/// Shows the watermarks of every armed or disabled key, or of one.
#[derive(clap::Args, Debug)]
struct Show {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Raises a key's watermark: nothing below it is ever signed again.
///
/// It also moves the point that jumps are measured
/// from, which lets a key go on after the chain went far ahead without it. There is no way back.
#[derive(clap::Args, Debug)]
struct Raise {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: String,
    /// The lowest coordinate that may be signed from now on: SLOT for babe and aura keys, SET:ROUND for gran keys,
    /// SET:BLOCK for beef keys, SESSION for para keys.
    #[arg(long, value_name = "COORDINATE")]
    to: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Export(args) => return interchange::export(args).await,
        Command::Import(args) => return interchange::import(args).await,
        Command::Show(args) => show(args).await?,
        Command::Raise(args) => raise(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(args: Show) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let rows = match &args.key {
        Some(key) => vec![find_key(&admin, key).await?],
        None => admin.keys().await?,
    };
    let marks = || rows.iter().flat_map(|row| row.watermarks.iter().map(move |mark| (row, mark)));
    let value = marks()
        .map(
            |(row, mark)| json!({ "key": row.id, "chain": row.chain, "group": row.group, "watermark": mark }),
        )
        .collect::<Vec<_>>();
    let cells = marks().map(|(row, mark)| {
        [
            row.group.clone().unwrap_or_default(),
            row.id.to_string(),
            mark.class.name().to_owned(),
            mark.floor.to_string(),
            mark.highest.map_or_else(|| "-".to_owned(), |at| at.to_string()),
            mark.entries.to_string(),
        ]
    });
    args.reach
        .output
        .print(&value, table(["GROUP", "KEY", "CLASS", "FLOOR", "HIGHEST SIGNED", "ENTRIES KEPT"], cells))
}

async fn raise(args: Raise) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    let floors = floors(row.id.key_type, "--to", &args.to)?;
    let now = row.watermarks.iter().map(|mark| format!("{} now", mark.floor)).collect::<Vec<_>>().join(", ");
    let to = floors.positions().map(|position| position.to_string()).collect::<Vec<_>>().join(", ");
    args.confirm.ask(format!(
        "Will raise the watermark of {} to {to} ({now}). Nothing below is ever signed again.",
        row.id
    ))?;
    let done = admin.change(&Change::RaiseWatermark { key: row.id, floors }).await?;
    args.reach
        .output
        .done(&done, format!("Raised the watermark of {} to {to} (log entry {}).", row.id, done.at))
}

/// The coordinate of a key of this type, as `option` gives it.
pub(super) fn floors(key_type: KeyType, option: &str, text: &str) -> Result<Floors, Usage> {
    let none = Floors::default();
    let form = match key_type {
        KeyType::Babe | KeyType::Aura => "SLOT",
        KeyType::Grandpa => "SET:ROUND",
        KeyType::Beefy => "SET:BLOCK",
        KeyType::Para => "SESSION",
        KeyType::AuthorityDiscovery | KeyType::ImOnline => {
            return Err(Usage(format!("a {key_type} key signs nothing that has a watermark")));
        }
    };
    let wrong = || Usage(format!("{option} {text:?}: a {key_type} key needs {form}"));
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let pair = || -> Result<(u64, u64), Usage> {
        let (set, at) = text.split_once(':').ok_or_else(wrong)?;
        Ok((number(set)?, number(at)?))
    };
    Ok(match key_type {
        KeyType::Grandpa => {
            let (set, round) = pair()?;
            Floors { grandpa: Some((SetId(set), Round(round))), ..none }
        }
        KeyType::Beefy => {
            let (set, block) = pair()?;
            Floors { beefy: Some((SetId(set), BlockNumber(block))), ..none }
        }
        KeyType::Para => {
            let session = u32::try_from(number(text)?).map_err(|_| wrong())?;
            Floors { para: Some(SessionIndex(session)), ..none }
        }
        _ => Floors { slot: Some(Slot(number(text)?)), ..none },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinate_is_read_in_the_form_of_the_key_type() {
        let none = Floors::default();
        for (key_type, text, expected) in [
            (KeyType::Babe, "12", Floors { slot: Some(Slot(12)), ..none }),
            (KeyType::Grandpa, "3:4", Floors { grandpa: Some((SetId(3), Round(4))), ..none }),
            (KeyType::Beefy, "3:4", Floors { beefy: Some((SetId(3), BlockNumber(4))), ..none }),
            (KeyType::Para, "5", Floors { para: Some(SessionIndex(5)), ..none }),
        ] {
            assert_eq!(floors(key_type, "--to", text).unwrap(), expected);
        }
    }

    #[test]
    fn another_form_is_wrong_usage() {
        for (key_type, text) in [
            (KeyType::Babe, "1:2"),
            (KeyType::Grandpa, "12"),
            (KeyType::Beefy, "a:b"),
            (KeyType::Para, "4294967296"),
            (KeyType::ImOnline, "1"),
        ] {
            assert!(floors(key_type, "--to", text).is_err(), "{key_type} {text}");
        }
    }
}
