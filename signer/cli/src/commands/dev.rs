//! `signonce dev`: a local cluster that keeps running.

use super::common::{Done, Output, stdout};
use crate::dev::{ClientFiles, DevKey, LocalCluster, LocalOptions};
use serde::Serialize;
use signonce_protocol::{ChainId, PublicKey};
use signonce_shared::signals::StopSignals;
use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

/// How long the nodes may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long they may take to end.
const GRACE: Duration = Duration::from_secs(15);

/// Runs a throw-away cluster on this machine until it is stopped.
///
/// Real signers on loopback, with new certificates and freshly generated session keys, until SIGTERM or Ctrl-C. Prints
/// its address and what a validator needs to use it.
///
/// The directory is made by the first run; later runs use it again, with the same keys and watermarks (and the options
/// that shape the cluster keep their first values). Never use its keys on a real chain: what unlocks them lies beside
/// them.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The directory of the cluster: empty, not existing yet, or from an earlier run.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The number of signers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// The number of validators, each with a set of session keys.
    #[arg(long, default_value_t = 1)]
    validators: u16,
    /// The name of a client that may do everything. Repeatable.
    #[arg(long = "client", value_name = "NAME", default_value = "validator")]
    clients: Vec<String>,
    /// The chain's name.
    #[arg(long, default_value = "dev")]
    chain: String,
    /// The length of a slot in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 6_000, value_parser = clap::value_parser!(u64).range(1..))]
    slot_duration: u64,
    /// Print one line of JSON once the cluster is ready, and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

/// What is printed when the cluster is ready.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    urls: Vec<String>,
    /// The value for `--admin` of other commands.
    admin: String,
    ca: PathBuf,
    client_cert: PathBuf,
    client_key: PathBuf,
    chain: ReadyChain,
    keys: Vec<ReadyKey>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyChain {
    name: String,
    genesis: ChainId,
    slot_duration_ms: u64,
}

#[derive(Serialize)]
struct ReadyKey {
    r#type: &'static str,
    scheme: String,
    public: PublicKey,
    /// Present if there are several validators.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

pub(super) async fn run(args: Args) -> Done {
    // Before anything is started: from here on no signal ends this process with its children left behind.
    let mut signals = StopSignals::listen()?;
    let mut cluster = open_or_create(&args)?;
    tokio::select! {
        ready = bring_up(&mut cluster) => announce(&cluster, ready?, Output { json: args.json })?,
        _ = signals.next() => return stop(cluster),
    }
    signals.next().await;
    stop(cluster)
}

fn open_or_create(args: &Args) -> anyhow::Result<LocalCluster> {
    if LocalCluster::exists(&args.dir) {
        return LocalCluster::open(&args.dir);
    }
    let options = LocalOptions {
        nodes: args.nodes.into(),
        validators: args.validators.into(),
        clients: args.clients.clone(),
        chain_name: args.chain.clone(),
        slot_duration_ms: args.slot_duration,
        extra_keys: 0,
        binary: None,
    };
    LocalCluster::create(&args.dir, options)
}

async fn bring_up(cluster: &mut LocalCluster) -> anyhow::Result<Vec<DevKey>> {
    cluster.start_all()?;
    cluster.wait_ready(READY).await?;
    let keys = cluster.provision().await?;
    // With its first keys a node is unready until it has opened them.
    cluster.wait_ready(READY).await?;
    Ok(keys)
}

fn announce(cluster: &LocalCluster, keys: Vec<DevKey>, output: Output) -> anyhow::Result<()> {
    let options = cluster.options();
    let client = options.clients.first().map(String::as_str).unwrap_or_default();
    let ClientFiles { ca, cert, key } = cluster.client_tls(client);
    let key_row = |key: DevKey| ReadyKey {
        r#type: key.key_type.name(),
        scheme: key.scheme.to_string(),
        public: key.public,
        group: (options.validators > 1).then_some(key.group),
    };
    let ready = Ready {
        urls: cluster.urls(),
        admin: format!("unix:{}", cluster.admin_socket(1).display()),
        ca,
        client_cert: cert,
        client_key: key,
        chain: ReadyChain {
            name: options.chain_name.clone(),
            genesis: cluster.genesis(),
            slot_duration_ms: options.slot_duration_ms,
        },
        keys: keys.into_iter().map(key_row).collect(),
    };
    let mut out = stdout();
    if output.json {
        writeln!(out, "{}", serde_json::to_string(&ready)?)?;
    } else {
        writeln!(out, "{}", describe(&ready))?;
    }
    Ok(out.flush()?)
}

fn describe(ready: &Ready) -> String {
    let chain = &ready.chain;
    let mut text = format!(
        "The cluster is ready. Chain {} ({}), slots of {} ms.\n\nKeys:\n",
        chain.name, chain.genesis, chain.slot_duration_ms
    );
    for key in &ready.keys {
        let group = key.group.as_deref().unwrap_or_default();
        text.push_str(&format!("  {} {:<8} {} {group}\n", key.r#type, key.scheme, key.public));
    }
    let urls = ready.urls.iter().map(|url| format!("  --remote-signer {url}"));
    text.push_str(&format!(
        "\nPoint a validator at it:\n{}\n  --remote-signer-ca {}\n  --remote-signer-cert {}\n  --remote-signer-key {}\n\
         \nLook at it:\n  signonce status --admin {}\n\nCtrl-C stops it.",
        urls.collect::<Vec<_>>().join("\n"),
        ready.ca.display(),
        ready.client_cert.display(),
        ready.client_key.display(),
        ready.admin
    ));
    text
}

fn stop(mut cluster: LocalCluster) -> Done {
    let killed = cluster.stop_all(GRACE);
    if killed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let nodes = killed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    anyhow::bail!("node {nodes} did not end in {} s and was killed", GRACE.as_secs())
}
