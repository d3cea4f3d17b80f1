//! `signonce backup`: copies of everything the cluster knows, in case a majority is lost.

use super::common::{Done, Output, Reach, Usage, load, table, told};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use signonce_cluster::clock::unix_ms;
use signonce_shared::{
    backup::{
        Manifest,
        folder::{self, Parts, StateFrom, default_name},
        verify,
    },
    config::DEFAULT_PATH,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Backups: made from a running node, verified offline, listed.
///
/// A backup has the chains, keys (sealed to the members), clients and watermarks. It has neither a node's identity nor
/// a log, so no node can be started from it: `signonce restore` brings it into a new cluster. Keep the identity and the
/// passphrase of at least one node somewhere else: without them the keys in the backup cannot be opened.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Create(Create),
    Verify(Verify),
    List(List),
}

/// Makes a backup of what a running node has applied.
#[derive(clap::Args, Debug)]
struct Create {
    /// The directory to make. If it exists already, the backup gets a name of its own in it.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

/// Checks a backup: every byte, the node's signature, every record, and the hash of them all. Asks no node.
#[derive(clap::Args, Debug)]
struct Verify {
    /// The backup.
    backup: PathBuf,
    /// PEM: the authority that issued the nodes' certificates. By default the one in --config.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_ADMIN_CA")]
    ca: Option<PathBuf>,
    /// The configuration of a node, which names the authority.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_CONFIG", default_value = DEFAULT_PATH)]
    config: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Lists the backups in a directory, as their manifests describe them.
#[derive(clap::Args, Debug)]
struct List {
    /// The directory. By default the backup directory in --config.
    dir: Option<PathBuf>,
    /// The configuration of a node.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_CONFIG", default_value = DEFAULT_PATH)]
    config: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Create(args) => create(args).await?,
        Command::Verify(args) => check(&args)?,
        Command::List(args) => list(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: Create) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let answer = admin.backup().await?;
    let manifest: Manifest =
        serde_json::from_str(&answer.manifest).context("the node's manifest is of another version")?;
    let state = admin.document(&answer.state).await?;
    let path = if args.out.is_dir() { args.out.join(default_name(&manifest)) } else { args.out };
    let state = StateFrom::Bytes(&state);
    let parts = Parts { manifest: answer.manifest.as_bytes(), signature: &answer.signature, state };
    // The operator chose the directory, which may be on the node's own disk.
    folder::write(&path, &parts, true)?;
    let value = json!({ "path": path, "manifest": manifest });
    let text = format!("Backup written to {}.\n{}", path.display(), describe(&manifest));
    args.reach.output.done(&value, text)
}

/// The authority that was given, or the one in the configuration.
pub(super) fn authority(given: Option<&Path>, config: &Path) -> anyhow::Result<PathBuf> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => load(config, &[]).map(|loaded| loaded.config.tls.ca).map_err(|error| {
            Usage(format!("{}; or give the authority of the nodes' certificates with --ca", told(&error)))
                .into()
        }),
    }
}

fn check(args: &Verify) -> anyhow::Result<()> {
    let ca = authority(args.ca.as_deref(), &args.config)?;
    let verified = verify(&args.backup, &ca)?;
    let value = json!({ "path": args.backup, "good": true, "manifest": verified.manifest });
    let text = format!(
        "The backup in {} is whole, and signed by the node that made it.\n{}",
        args.backup.display(),
        describe(&verified.manifest)
    );
    args.output.print(&value, text)
}

fn describe(manifest: &Manifest) -> String {
    let Manifest { cluster, node, applied, state_hash, counts, created_ms, .. } = manifest;
    format!(
        "  cluster     {cluster}\n  made by     node {node}, {} ago\n  log entry   {applied}\n  state hash  {state_hash}\n  \
         holds       {} chains, {} keys, {} clients",
        age(*created_ms),
        counts.chains,
        counts.keys,
        counts.clients
    )
}

/// How long ago, roughly.
pub(super) fn age(then_ms: u64) -> String {
    match unix_ms().saturating_sub(then_ms) / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn list(args: &List) -> anyhow::Result<()> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => load(&args.config, &[])?
            .config
            .backup
            .dir
            .ok_or_else(|| Usage("the configuration has no backup.dir: name the directory".into()))?,
    };
    let found = folder::list(&dir)?;
    let cells = found.iter().map(|listed| {
        let Manifest { cluster, node, applied, created_ms, counts, .. } = &listed.manifest;
        [
            listed.path.display().to_string(),
            cluster.get(..8).unwrap_or(cluster).to_owned(),
            node.to_string(),
            applied.to_string(),
            age(*created_ms),
            counts.keys.to_string(),
        ]
    });
    let text = if found.is_empty() {
        format!("There is no backup in {}.", dir.display())
    } else {
        table(["BACKUP", "CLUSTER", "NODE", "LOG ENTRY", "AGE", "KEYS"], cells)
    };
    args.output.print(&found, text)
}
