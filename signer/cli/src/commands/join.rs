//! `signonce join`: makes a node of an existing cluster, once.
//!
//! The files on disk tell how far an earlier run came, so a run may be interrupted at any point and repeated:
//!
//! ```text
//! JOINING          the node that joins; from the beginning to the end. `start` refuses while it is there
//! identity.age     the node's identity, which the cluster knows it by once it has joined
//! IDENTITY, db/    the store: only made when the cluster has accepted this node
//! ```

use super::common::{ConfigFile, Confirm, Done, Output, Usage, load, say};
use anyhow::{Context as _, bail};
use serde_json::json;
use signonce_cluster::{
    FORMATS,
    identity::{self, Identity},
};
use signonce_core::replica::hello::node_name;
use signonce_core::{FEATURE_LEVEL, JoinToken, Member, replica::hello::ClusterId};
use signonce_keys::{NodeIdentity, ScryptWork, SecretString};
use signonce_shared::{
    admin::{
        api::Joined,
        client::{AdminClient, CallError},
    },
    certs::write_new,
    config::{Config, IDENTITY_FILE, JOINING_FILE, TlsFiles},
    tls::{Credentials, DnsNames, leaf::Role},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

/// Makes this machine a node of an existing cluster, once.
///
/// Before this, `signonce members add` on a member gives the node's id and a token that works once; a certificate is
/// issued for that id; and the configuration lists this node and the others. Run this, then `start`.
///
/// The data directory must be empty. After an interruption, run it again with the same token.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  \
    signonce join --config signonce.toml --token-file join-token")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The file with the token that `signonce members add` gave out.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The client or admin port of a member, https://HOST:PORT. By default the members in the configuration are asked
    /// in turn.
    #[arg(long, value_name = "URL")]
    via: Vec<String>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    output: Output,
}

/// How far an earlier run came.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// There was none.
    Nothing,
    /// The cluster may have been asked; there is no store.
    Asking,
    /// The store is made.
    Store,
    /// Everything is done.
    Done,
}

pub(super) async fn run(args: Args) -> Done {
    let config = load(&args.config.config, &[])?.config;
    let cluster: ClusterId = config.cluster.id.parse().map_err(|why: String| Usage(why))?;
    let (dir, node) = (&config.node.data_dir, config.node.id);
    let progress = progress(dir, &config)?;
    if progress == Progress::Done {
        let text = format!("Node {node} has joined already: nothing to do. Next: signonce start");
        args.output.print(&json!({ "node": node, "dataDir": dir, "joined": true }), text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let token = read_token(&args.token_file)?;
    check_certificate(&config, &cluster)?;
    let passphrase = config.passphrase_source().read()?;
    let via = places(&args.via, &config)?;
    args.confirm.ask(plan(&config, &via, &progress))?;
    if progress != Progress::Store {
        let recipient = identity(&config, &passphrase)?;
        let own = config.this_member();
        let member = Member {
            node,
            recipient: recipient.clone(),
            peer_addr: own.peer.clone(),
            client_url: own.client_url.clone(),
            supports: FEATURE_LEVEL,
        };
        let joined = ask(&via, &config.tls, &member, &token).await?;
        tracing::debug!(at = %joined.at, "the cluster has accepted this node");
        make_store(dir, Identity { cluster, node, initial: Vec::new(), joined: true })?;
    }
    fs::remove_file(dir.join(JOINING_FILE))?;
    fs::File::open(dir)?.sync_all()?;
    let config_file = args.config.config.display();
    let text = format!(
        "Node {node} has joined cluster {cluster} as a learner; its store is in {}. The token is used up.\n\nNext:\n  \
         1. signonce start --config {config_file}\n  2. on a member: signonce members promote {node}, once \
         `signonce members list` shows that it has caught up",
        dir.display()
    );
    let value = json!({ "node": node, "cluster": cluster.to_string(), "dataDir": dir, "joined": true });
    args.output.done(&value, text)?;
    Ok(ExitCode::SUCCESS)
}

fn read_token(path: &Path) -> anyhow::Result<JoinToken> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = Zeroizing::new(text);
    text.trim().parse().map_err(|why| Usage(format!("{}: {why}", path.display())).into())
}

/// Checks the certificate here too: the cluster's answer would be the same, but only after the identity was made.
fn check_certificate(config: &Config, cluster: &ClusterId) -> anyhow::Result<()> {
    let wanted = node_name(cluster, config.node.id);
    let own = Credentials::read(&config.tls, Role::Node)?;
    let names = own.chain.first().map(|leaf| DnsNames::of(leaf).0.to_vec()).unwrap_or_default();
    if names.contains(&wanted) {
        return Ok(());
    }
    bail!(
        "the certificate {} is not that of node {} of this cluster: it must carry {wanted} (it carries: {}); issue one \
         with `signonce certs issue node --id {} --cluster {cluster}`",
        config.tls.cert.display(),
        config.node.id,
        names.join(", "),
        config.node.id
    )
}

fn places(given: &[String], config: &Config) -> anyhow::Result<Vec<String>> {
    let others = config.cluster.members.iter().filter(|member| member.id != config.node.id);
    let via: Vec<String> = match given {
        [] => others.map(|member| member.client_url.clone()).collect(),
        given => given.to_vec(),
    };
    if via.is_empty() {
        let why = "the configuration lists no other member to ask: add one to cluster.members, or give --via";
        return Err(Usage(why.into()).into());
    }
    Ok(via)
}

fn plan(config: &Config, via: &[String], progress: &Progress) -> String {
    let again = match progress {
        Progress::Nothing | Progress::Done => "",
        Progress::Asking | Progress::Store => {
            "\nAn earlier run was interrupted; this one goes on where it stopped."
        }
    };
    format!(
        "Will join cluster {} as node {} with a store in {}, asking {}.{again}",
        config.cluster.id,
        config.node.id,
        config.node.data_dir.display(),
        via.join(", ")
    )
}

fn marker(config: &Config) -> String {
    format!("node {} of cluster {}\n", config.node.id, config.cluster.id.to_ascii_lowercase())
}

/// What the directory tells.
fn progress(dir: &Path, config: &Config) -> anyhow::Result<Progress> {
    let path = dir.join(JOINING_FILE);
    let mark = match fs::read_to_string(&path) {
        Ok(mark) if mark.is_empty() => {
            fs::remove_file(&path)?; // the very first write was cut short
            None
        }
        Ok(mark) => Some(mark),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
    };
    let has_identity = dir.join("IDENTITY").exists();
    match mark {
        Some(mark) if mark == marker(config) => {
            Ok(if has_identity { Progress::Store } else { Progress::Asking })
        }
        Some(mark) => bail!(
            "{} was begun to join as {}; the configuration says {}. Choose another directory",
            dir.display(),
            mark.trim(),
            marker(config).trim()
        ),
        None if has_identity => {
            let found = identity::read(dir)?;
            let same = found.node == config.node.id
                && found.cluster.to_string().eq_ignore_ascii_case(&config.cluster.id);
            if same && found.joined {
                return Ok(Progress::Done);
            }
            bail!(
                "{} holds the store of node {} of cluster {}; a node joins with an empty directory only",
                dir.display(),
                found.node,
                found.cluster
            )
        }
        None => {
            super::init::check_empty(dir)?;
            Ok(Progress::Nothing)
        }
    }
}

/// The identity of an interrupted run, or a new one; returns its recipient.
fn identity(config: &Config, passphrase: &SecretString) -> anyhow::Result<String> {
    use std::os::unix::fs::DirBuilderExt as _;
    let dir = &config.node.data_dir;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mark = dir.join(JOINING_FILE);
    if !mark.exists() {
        write_new(&mark, marker(config).as_bytes(), 0o600)?;
    }
    let path = dir.join(IDENTITY_FILE);
    let identity = if path.exists() {
        NodeIdentity::load(&path, passphrase)?
    } else {
        // Written whole or not at all: half a file could neither be opened nor made again.
        let half = dir.join("identity.age.new");
        if half.exists() {
            fs::remove_file(&half)?;
        }
        let identity = NodeIdentity::generate();
        identity.save(&half, passphrase, ScryptWork::STANDARD)?;
        fs::rename(&half, &path)?;
        identity
    };
    fs::File::open(dir)?.sync_all()?;
    Ok(identity.recipient().to_string())
}

/// Asks one member after the other until one answers: a refusal is the cluster's, whoever gives it.
async fn ask(via: &[String], files: &TlsFiles, member: &Member, token: &JoinToken) -> anyhow::Result<Joined> {
    let asked = json!({ "member": member, "token": token, "formats": FORMATS });
    let mut last = None;
    for url in via {
        let client = AdminClient::https(url, files)?;
        match client.call("admin_join", &asked).await {
            Ok(joined) => return Ok(joined),
            Err(error @ CallError::Failed(_)) if error.exit_code() != 4 => return Err(error.into()),
            Err(error) => {
                say!("signonce: {error}");
                last = Some(error);
            }
        }
    }
    let last = last.context("there is no member to ask")?;
    Err(anyhow::Error::from(last).context("no member let this node in; run the same command again"))
}

/// Makes the store. A store left by an interrupted run was never started: `start` refuses while the mark is there.
fn make_store(dir: &Path, own: Identity) -> anyhow::Result<()> {
    for (name, remove) in
        [("db", fs::remove_dir_all as fn(PathBuf) -> io::Result<()>), ("HIGH-WATER", fs::remove_file)]
    {
        match remove(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(identity::create(dir, &own)?)
}
