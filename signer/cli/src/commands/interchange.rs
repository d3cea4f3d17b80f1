//! `signonce watermarks export | import`: watermarks as a file.

use super::{
    common::{Confirm, Done, Reach, Usage, say, stdout, table},
    keys::find_chain,
};
use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use signonce_core::{Change, Floors, KeyState, Position};
use signonce_protocol::{DutyClass, KeyId};
use signonce_shared::{
    admin::api::KeyRow,
    interchange::{Interchange, MAX_BYTES},
};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Writes the watermarks of a chain's keys to a file, for another cluster.
///
/// The file has every key's floor and every signature above it (docs/reference/watermarks.md describes the format). It
/// holds everything that was committed before the command was run, and nothing that is signed afterwards: disable the
/// keys first if they are to sign elsewhere.
#[derive(clap::Args, Debug)]
pub(super) struct Export {
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// The file to write, which must not exist yet. Without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write only floors, each past everything that was signed.
    #[arg(long)]
    minimal: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Raises watermarks to those in a file that `export` wrote.
///
/// Every key's floor becomes the one past everything that the file says was signed: for all keys or for none. The keys
/// must be in the cluster already. A key that was never armed becomes disabled, and signs once it is armed, from that
/// floor on at the earliest. Nothing is ever lowered: a key whose floor here is higher than the file's stops the
/// import.
#[derive(clap::Args, Debug)]
pub(super) struct Import {
    /// The file.
    file: PathBuf,
    /// Leave keys as they are if their floor here is already higher.
    #[arg(long)]
    only_higher: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn export(args: Export) -> Done {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    let info = admin.export_watermarks(chain.genesis, args.minimal).await?;
    let file = admin.document(&info).await?;
    // Written only if an import would accept it.
    let read = Interchange::read(&file)?;
    let rows = admin.keys().await?;
    let armed = rows.iter().filter(|row| row.genesis == chain.genesis && row.state == KeyState::Armed);
    let armed = armed.filter(|row| !row.watermarks.is_empty()).count();
    if armed > 0 {
        say!(
            "{armed} of these keys are armed: what they sign from now on is not in the file. Before they sign \
             elsewhere, disable them here and export again."
        );
    }
    match &args.out {
        None => stdout().write_all(&file)?,
        Some(path) => {
            let written = || -> std::io::Result<()> {
                let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                out.write_all(&file)?;
                out.sync_all()
            };
            written().with_context(|| format!("cannot write {}", path.display()))?;
            let value = json!({ "file": path, "keys": read.keys.len(), "chain": chain.genesis });
            let text = format!(
                "Wrote the watermarks of {} keys of chain {} to {}.",
                read.keys.len(),
                chain.name,
                path.display()
            );
            args.reach.output.done(&value, text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What an import would do to one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Raise {
    key: KeyId,
    class: DutyClass,
    from: Option<Position>,
    to: Position,
    /// It was only registered before.
    becomes_disabled: bool,
}

pub(super) async fn import(args: Import) -> Done {
    let file = Interchange::read(&read_file(&args.file)?)
        .with_context(|| format!("nothing was imported from {}", args.file.display()))?;
    let admin = args.reach.client()?;
    let genesis = file.metadata.genesis_hash;
    let chains = admin.chains().await?;
    let Some(chain) = chains.iter().find(|chain| chain.genesis == genesis) else {
        anyhow::bail!(
            "nothing was imported: the file is of chain {} ({genesis}), which this cluster does not have",
            file.metadata.chain
        );
    };
    let rows = admin.keys().await?;
    let raises = plan(&file, &rows, args.only_higher)?;
    if raises.is_empty() {
        let text = "Nothing to do: every key of the file has its floor here already.";
        args.reach.output.print(&json!({ "raised": raises }), text)?;
        return Ok(ExitCode::SUCCESS);
    }
    args.confirm.ask(format!(
        "Will raise the watermarks of {} keys of chain {}. Nothing below is ever signed again.\n\n{}",
        raises.len(),
        chain.name,
        describe(&raises)
    ))?;
    let floors = floors(&raises, &rows);
    let done = admin.change(&Change::ImportWatermarks { chain: genesis, floors }).await?;
    let value = json!({ "raised": raises, "logIndex": done.at });
    let text = format!("Raised the watermarks of {} keys (log entry {}).", raises.len(), done.at);
    args.reach.output.done(&value, text)?;
    Ok(ExitCode::SUCCESS)
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || Usage(format!("cannot read {}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(bytes)
}

/// The new floors of each key that has something to raise; its other watermarks stay as they are.
fn floors(raises: &[Raise], rows: &[KeyRow]) -> Vec<(KeyId, Floors)> {
    let mut all: BTreeMap<KeyId, BTreeMap<DutyClass, Position>> = BTreeMap::new();
    for row in rows {
        let own = row.watermarks.iter().map(|mark| (mark.class, mark.floor)).collect();
        all.insert(row.id, own);
    }
    for raise in raises {
        all.entry(raise.key).or_default().insert(raise.class, raise.to);
    }
    all.retain(|key, _| raises.iter().any(|raise| raise.key == *key));
    all.into_iter().map(|(key, floors)| (key, floors.into_values().collect())).collect()
}

/// What to raise, or everything that prevents it.
fn plan(file: &Interchange, rows: &[KeyRow], only_higher: bool) -> anyhow::Result<Vec<Raise>> {
    let (mut raises, mut wrong) = (Vec::new(), Vec::new());
    let floors: Vec<(KeyId, Floors)> = file.floors()?;
    for (key, to) in floors.iter().flat_map(|(key, floors)| floors.positions().map(|to| (*key, to))) {
        let class = to.class();
        let Some(row) = rows.iter().find(|row| row.id == key) else {
            wrong.push(format!("{key}: this cluster does not have it; import the key first"));
            continue;
        };
        let from = row.watermarks.iter().find(|mark| mark.class == class).map(|mark| mark.floor);
        let lower = from.is_some_and(|from| to.is_below(from) == Some(true));
        match row.state {
            KeyState::Removed => wrong.push(format!("{key}: it was removed here and never signs again")),
            _ if row.genesis != file.metadata.genesis_hash => {
                wrong.push(format!("{key}: here it belongs to chain {} ({})", row.chain, row.genesis));
            }
            _ if lower && !only_higher => wrong.push(format!(
                "{key}: its floor here is {}, higher than the file's {to}; floors never go down (--only-higher leaves \
                 such keys as they are)",
                from.map_or_else(String::new, |from| from.to_string())
            )),
            _ if lower || from == Some(to) => {}
            state => {
                raises.push(Raise { key, class, from, to, becomes_disabled: state == KeyState::Registered });
            }
        }
    }
    if wrong.is_empty() {
        return Ok(raises);
    }
    anyhow::bail!("nothing was imported:\n  {}", wrong.join("\n  "))
}

fn describe(raises: &[Raise]) -> String {
    let cells = raises.iter().map(|Raise { key, class: _, from, to, becomes_disabled }| {
        [
            key.to_string(),
            from.map_or_else(|| "none".to_owned(), |from| from.to_string()),
            to.to_string(),
            if *becomes_disabled { "disabled, until it is armed" } else { "" }.to_owned(),
        ]
    });
    table(["KEY", "FLOOR NOW", "FLOOR THEN", ""], cells)
}
