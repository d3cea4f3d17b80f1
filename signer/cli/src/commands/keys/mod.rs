//! `signonce keys`: session keys, from their making or import to their tombstone.

mod consensus;
pub(super) mod floors;
mod generate;
mod import;
mod keystore;
mod life;
mod move_in;
mod rotate;
mod set;
mod show;
mod source;

pub(super) use import::wait_open;

use super::common::Done;
use crate::commands::common::Usage;
use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;
use signonce_protocol::{KeyId, KeyType, PublicKey};
use signonce_shared::admin::{
    api::{ChainRow, KeyRow},
    client::AdminClient,
};
use std::path::Path;

/// Session keys: move in, import, generate, rotate, list, disable, arm again, remove.
///
/// Keys go in and never come out: they are sealed to the members' identities before they leave the importing process,
/// and only their public parts and watermarks can be read back.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Import(import::Args),
    MoveIn(move_in::Args),
    Generate(generate::Args),
    Rotate(rotate::Args),
    List(life::List),
    Show(show::Args),
    /// Stops a key from signing.
    ///
    /// Its secret and watermarks stay; `signonce keys arm` lets it sign again, from explicit floors on.
    Disable(life::One),
    Arm(life::Arm),
    /// Removes a key permanently.
    ///
    /// Every member erases its secret, its watermarks stay, and the public key can never come back, on this chain or
    /// another.
    Remove(life::One),
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Import(args) => import::run(args).await,
        Command::MoveIn(args) => move_in::run(args).await,
        Command::Generate(args) => generate::run(args).await,
        Command::Rotate(args) => rotate::run(args).await,
        Command::List(args) => life::list(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Disable(args) => life::disable(args).await,
        Command::Arm(args) => life::arm(args).await,
        Command::Remove(args) => life::remove(args).await,
    }
}

/// Writes the record of what was done: to a second file first, so that an interruption loses nothing.
fn write_record(file: &Path, record: &impl Serialize) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", file.display());
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut new = tempfile::NamedTempFile::new_in(directory).with_context(failed)?;
    serde_json::to_writer_pretty(&mut new, record)?;
    new.as_file().sync_all().with_context(failed)?;
    new.persist(file).with_context(failed)?;
    Ok(())
}

/// The chain that was named, by name or genesis hash.
pub(super) async fn find_chain(admin: &AdminClient, named: &str) -> anyhow::Result<ChainRow> {
    let chains = admin.chains().await?;
    let found = chains.iter().find(|chain| chain.name == named || chain.genesis.to_string() == named);
    if let Some(chain) = found {
        return Ok(chain.clone());
    }
    let names = chains.iter().map(|chain| chain.name.as_str()).collect::<Vec<_>>().join(", ");
    let known = if names.is_empty() { "there is none yet".to_owned() } else { format!("there are: {names}") };
    Err(Usage(format!("no chain {named:?}; {known} (`signonce chains add` adds one)")).into())
}

/// The key that was named: `type:0xPUBLIC`, or `0xPUBLIC` where it has one type only.
pub(super) async fn find_key(admin: &AdminClient, named: &str) -> anyhow::Result<KeyRow> {
    let rows = admin.keys().await?;
    let (key_type, public) = match named.split_once(':') {
        Some((key_type, public)) => {
            (Some(key_type.parse::<KeyType>().map_err(|e| Usage(format!("{named:?}: {e}")))?), public)
        }
        None => (None, named),
    };
    let public: PublicKey = public.parse().map_err(|e| Usage(format!("{named:?}: {e}")))?;
    let fits = |id: &KeyId| id.public == public && key_type.is_none_or(|wanted| wanted == id.key_type);
    let mut found = rows.into_iter().filter(|row| fits(&row.id));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => anyhow::bail!("the cluster has no key {named}; `signonce keys list` shows all"),
        (Some(_), Some(_)) => {
            let why = format!("{named} is a key of several types; say which, as type:0xPUBLIC");
            Err(Usage(why).into())
        }
    }
}
