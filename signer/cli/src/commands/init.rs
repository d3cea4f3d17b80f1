//! `signonce init`: makes a node's store and identity, once.

use super::common::{ConfigFile, Confirm, Done, Output, Usage, load};
use anyhow::Context as _;
use serde_json::json;
use signonce_cluster::identity::{self, Identity};
use signonce_core::replica::hello::ClusterId;
use signonce_core::replica::hello::node_name;
use signonce_keys::{NodeIdentity, Recipient, ScryptWork};
use signonce_shared::config::{Config, IDENTITY_FILE};
use std::{fs, io, os::unix::fs::DirBuilderExt as _, path::Path, process::ExitCode};

/// Makes the store and the identity of a node of a new cluster, once.
///
/// On every node before the first `start`: the cluster forms when all its members are present and empty.
///
/// The configuration says which node of which cluster. A directory with anything in it is refused: a node that lost its
/// disk gets a new id, never an empty store under the old one, because it would have forgotten what it signed.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Print a new cluster id for the configurations, and do nothing else.
    #[arg(long)]
    new_cluster_id: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(args: Args) -> Done {
    if args.new_cluster_id {
        let id = ClusterId(rand::random()).to_string();
        args.output.print(&json!({ "cluster": id }), &id)?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = load(&args.config.config, &[])?.config;
    let dir = &config.node.data_dir;
    check_empty(dir)?;
    // Before any question is asked: without a passphrase there is no identity.
    drop(config.passphrase_source().read()?);
    args.confirm.ask(plan(&config))?;
    let (own, recipient) = make(&config)?;
    let cluster = own.cluster;
    let text = format!(
        "Node {} of cluster {cluster} is initialised in {}.\n  recipient  {recipient}\n\n\
         Next:\n  1. do the same on every other member\n  2. its certificate must carry {}\n  \
         3. signonce doctor --config {}\n  4. signonce start --config {}",
        own.node,
        dir.display(),
        node_name(&cluster, own.node),
        args.config.config.display(),
        args.config.config.display()
    );
    let value = json!({
        "node": own.node, "cluster": cluster.to_string(), "dataDir": dir, "recipient": recipient,
        "certificateName": node_name(&cluster, own.node),
    });
    args.output.done(&value, text)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the store and the sealed identity of the node that `config` describes, in an empty data directory.
pub(super) fn make(config: &Config) -> anyhow::Result<(Identity, Recipient)> {
    let passphrase = config.passphrase_source().read()?;
    let cluster: ClusterId = config.cluster.id.parse().map_err(|why: String| Usage(why))?;
    let initial = config.cluster.members.iter().map(|member| member.id).collect();
    let own = Identity { cluster, node: config.node.id, initial, joined: false };
    let dir = &config.node.data_dir;
    let path = config.identity_file();
    // The store comes last: it makes the directory a node's, and it needs an identity that can be opened. An identity
    // left by an interrupted run is as good as a new one, since nothing was ever sealed to it.
    let identity = if path.exists() {
        NodeIdentity::load(&path, &passphrase)?
    } else {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let identity = NodeIdentity::generate();
        identity.save(&path, &passphrase, ScryptWork::STANDARD)?;
        identity
    };
    identity::create(dir, &own)?;
    Ok((own, identity.recipient()))
}

/// Refuses a directory with anything in it.
pub(super) fn check_empty(dir: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
    };
    for entry in entries {
        // The first is on every fresh file system and not ours; the second was left by an `init` that was interrupted
        // before it made the store.
        let name = entry?.file_name();
        if name == "lost+found" || name == IDENTITY_FILE {
            continue;
        }
        anyhow::bail!(
            "{} is not empty, and a store is never made over another; to run this node use `signonce start`, for a \
             new node choose another directory and another id",
            dir.display()
        );
    }
    Ok(())
}

fn plan(config: &Config) -> String {
    let members = config.cluster.members.iter();
    let members = members.map(|member| format!("  node {}  {}", member.id, member.peer));
    format!(
        "Will make node {} of cluster {} in {}. The cluster forms from:\n{}\n",
        config.node.id,
        config.cluster.id,
        config.node.data_dir.display(),
        members.collect::<Vec<_>>().join("\n")
    )
}
