//! `signonce kube`: what the chart's containers and jobs run, as the image has no shell.

use super::common::{Done, Output, Usage, say};
use crate::kube::{
    api::KubeApi,
    pod::{self, JoinOffer, Ordinal, Plan, Site, Surroundings},
    roll_out, trial,
};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use signonce_cluster::identity;
use signonce_core::replica::hello::ClusterId;
use signonce_core::replica::hello::node_name;
use signonce_protocol::NodeId;
use signonce_shared::{
    admin::client::AdminClient,
    certs::Subject,
    config::{Config, JOINING_FILE},
    signals::StopSignals,
    tls::{self, DnsNames},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream, time::sleep};

/// The pause between two checks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one check of a node may take.
const LOOK: Duration = Duration::from_secs(5);
/// A limit that no answer of a probe or scrape comes near.
const MAX_PROBE_BYTES: u64 = 16 << 20;
/// The label that the leader's pod carries.
const LEADER_LABEL: &str = "signonce.io/leader";

/// For the Helm chart: what its containers and jobs do inside Kubernetes.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Prepare(Prepare),
    Wait(Wait),
    Certs(Certs),
    RollOut(RollOut),
    Drain(Drain),
    LeaderLabel(LeaderLabel),
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Prepare(args) => prepare(&args),
        Command::Wait(args) => wait(args).await,
        Command::Certs(args) => certs(args).await,
        Command::RollOut(args) => roll_out(&args).await,
        Command::Drain(args) => drain(&args).await,
        Command::LeaderLabel(args) => leader_label(&args).await,
    }
}

/// Init container: decides which node this pod is, makes its store if allowed, and writes its configuration.
///
/// A pod whose volume is empty becomes a node only before the cluster has formed, or with a join offer. Otherwise it
/// refuses, because a node that lost its memory must never come back under its id.
#[derive(clap::Args, Debug)]
struct Prepare {
    /// The configuration that all pods share.
    #[arg(long, value_name = "FILE")]
    base: PathBuf,
    /// Where to write the configuration of this pod.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The pod's name.
    #[arg(long, env = "POD_NAME")]
    pod: String,
    /// The domain of the headless service.
    #[arg(long)]
    domain: String,
    /// The mounted state of the cluster: the file `formed` holds `true` once it has formed, the file `owner` the
    /// StatefulSet that the cluster's id belongs to.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The mounted join offers: `<ordinal>.json`, as printed by `signonce members add --json`.
    #[arg(long, value_name = "DIR")]
    join: PathBuf,
    /// The mounted certificates, a directory for each ordinal.
    #[arg(long, value_name = "DIR")]
    tls: PathBuf,
}

fn prepare(args: &Prepare) -> Done {
    let base =
        fs::read_to_string(&args.base).with_context(|| format!("cannot read {}", args.base.display()))?;
    let ordinal = Ordinal::of_pod(&args.pod)?;
    let initial = pod::initial_members(&base)?;
    let offer = optional(&args.join.join(format!("{}.json", ordinal.0)))?;
    let offer: Option<JoinOffer> =
        offer.map(|text| serde_json::from_str(&text)).transpose().context("the join offer cannot be read")?;
    let data_dir = data_dir(&base)?;
    let stored = stored(&data_dir)?;
    let formed = optional(&args.state.join("formed"))?.is_some_and(|text| text.trim() == "true");
    let owner = optional(&args.state.join("owner"))?;
    let set = args.pod.rsplit_once('-').map_or(args.pod.as_str(), |(set, _)| set);
    let plan = pod::decide(&Surroundings {
        ordinal,
        set,
        owner: owner.as_deref().map(str::trim),
        stored,
        formed,
        initial: &initial,
        offer: offer.as_ref().map(|offer| offer.node),
    })?;
    let host = format!("{}.{}", args.pod, args.domain);
    let site = Site { tls: &args.tls.join(ordinal.0.to_string()), host: &host };
    let text = pod::configure(&base, plan.node(), &site)?;
    fs::write(&args.out, text).with_context(|| format!("cannot write {}", args.out.display()))?;
    let config = super::common::load(&args.out, &[])?.config;
    check_secrets(&config, plan.node()).with_context(|| {
        format!("{} cannot be node {} with what it was given, and nothing was made", args.pod, plan.node())
    })?;
    match plan {
        Plan::Run(node) => say!("{} is node {node}, which its volume holds", args.pod),
        Plan::Form(node) => {
            form(&config)?;
            say!(
                "{} is node {node}: its store is made, the cluster forms when all first members are there",
                args.pod
            );
        }
        Plan::Join(node) => {
            say!("{} joins as node {node}", args.pod);
            join(&args.out, &offer.context("a join without an offer")?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks what a node must be given: before there is a store, so that the pod's status shows what is missing.
fn check_secrets(config: &Config, node: NodeId) -> anyhow::Result<()> {
    drop(config.passphrase_source().read().context(
        "the passphrase (unlock.existingSecret and unlock.key in the values, or the volume of unlock.csi)",
    )?);
    let given = || {
        let dir = config.tls.cert.parent().unwrap_or(Path::new("")).display().to_string();
        format!(
            "the certificate (ca.crt, tls.crt and tls.key in {dir}, from the Secret <name>-tls-<ordinal>)"
        )
    };
    tls::check(&config.tls).with_context(given)?;
    let cluster: ClusterId = config.cluster.id.parse().map_err(|why: String| Usage(why))?;
    let expected = node_name(&cluster, node);
    let chain = tls::read_certificates(&config.tls.cert)?;
    let found = chain.first().map(|leaf| DnsNames::of(leaf).0).unwrap_or_default();
    anyhow::ensure!(
        found.contains(&expected),
        "{} does not carry the name {expected} (it carries: {}); issue one that does",
        given(),
        found.join(", ")
    );
    Ok(())
}

fn form(config: &Config) -> anyhow::Result<()> {
    super::init::check_empty(&config.node.data_dir)?;
    super::init::make(config).map(drop)
}

/// Runs `signonce join`, which continues where an earlier pod was interrupted. Its members are asked in turn.
fn join(config: &Path, offer: &JoinOffer) -> anyhow::Result<()> {
    // On the memory-backed volume of the pod, like the Secret; it goes with this container.
    let token = tempfile::NamedTempFile::new_in(config.parent().unwrap_or(Path::new("/tmp")))?;
    fs::write(token.path(), &offer.token)?;
    let program = std::env::current_exe()?;
    let mut command = std::process::Command::new(program);
    command.arg("join").arg("--config").arg(config).arg("--token-file").arg(token.path()).arg("--yes");
    let status = command.status().context("cannot run `signonce join`")?;
    anyhow::ensure!(status.success(), "the node could not join (above is why); this pod tries again");
    Ok(())
}

/// The node whose finished store is in the directory. A store left by an interrupted `join` is not finished.
fn stored(data_dir: &Path) -> anyhow::Result<Option<NodeId>> {
    if data_dir.join(JOINING_FILE).exists() || !data_dir.join("IDENTITY").exists() {
        return Ok(None);
    }
    Ok(Some(identity::read(data_dir)?.node))
}

fn data_dir(base: &str) -> anyhow::Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Base {
        node: Node,
    }
    #[derive(serde::Deserialize)]
    struct Node {
        data_dir: PathBuf,
    }
    let base: Base = toml::from_str(base).context("the base configuration has no node.data_dir")?;
    Ok(base.node.data_dir)
}

fn optional(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Job: waits until nodes are ready, and can then record that the cluster has formed.
#[derive(clap::Args, Debug)]
struct Wait {
    /// `host:port` of a node's probes. Repeatable: all must be ready.
    #[arg(long = "node", value_name = "HOST:PORT", required = true)]
    nodes: Vec<String>,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Afterwards write `formed: "true"` into this ConfigMap.
    #[arg(long, value_name = "CONFIGMAP", requires = "namespace")]
    mark: Option<String>,
    /// The namespace of the ConfigMap.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: Option<String>,
}

async fn wait(args: Wait) -> Done {
    let until = Instant::now() + Duration::from_secs(args.timeout);
    for node in &args.nodes {
        let mut said = String::new();
        loop {
            let answer = tokio::time::timeout(LOOK, readiness(node)).await;
            let why = match answer {
                Ok(Ok(None)) => break,
                Ok(Ok(Some(why))) => why,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            if why != said {
                say!("{node}: {why}");
                said = why;
            }
            if Instant::now() > until {
                let pod = node.split('.').next().unwrap_or(node);
                anyhow::bail!(
                    "{node} is not ready after {} s: {said}. In Kubernetes `kubectl describe pod {pod}` says what it \
                     waits for or why it refuses (a Secret, a volume, a machine), `kubectl logs {pod} -c signonce` the rest",
                    args.timeout
                );
            }
            sleep(PAUSE).await;
        }
        say!("{node} is ready");
    }
    if let (Some(name), Some(namespace)) = (&args.mark, &args.namespace) {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        KubeApi::in_pod()?.merge(&path, &json!({ "data": { "formed": "true" } })).await?;
        say!("{name} says that the cluster has formed: from now on no empty volume becomes a first member");
    }
    Ok(ExitCode::SUCCESS)
}

/// `None` if the node is ready, else its answer.
async fn readiness(node: &str) -> io::Result<Option<String>> {
    let (fine, body) = probe(node, "/readyz").await?;
    Ok((!fine).then(|| body.trim().to_owned()))
}

/// The answer of a node's probes port, and whether its status is 200.
async fn probe(node: &str, path: &str) -> io::Result<(bool, String)> {
    let mut stream = TcpStream::connect(node).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_PROBE_BYTES).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.starts_with("HTTP/1.1 200"), body.to_owned()))
}

/// Job: replaces outdated pods of a StatefulSet, one at a time, each only while all others are ready.
///
/// A signer that restarts while another is away waits for that one, and all signing stops. So nothing is replaced while
/// any pod is away: the command says which, why, and what to do. It may be run again at any time, and continues where
/// it stopped. Evictions respect the disruption budget.
#[derive(clap::Args, Debug)]
struct RollOut {
    /// The StatefulSet.
    #[arg(long)]
    name: String,
    /// The ConfigMap that says whether the cluster has formed; before that there is nothing to keep available.
    #[arg(long, value_name = "CONFIGMAP")]
    state: String,
    /// How long each pod may take to become ready again, in seconds.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// The namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// The port of the pods' probes.
    #[arg(long, default_value_t = 7303)]
    probes: u16,
    #[command(flatten)]
    output: Output,
}

async fn roll_out(args: &RollOut) -> Done {
    let set = roll_out::Set {
        namespace: &args.namespace,
        name: &args.name,
        state: &args.state,
        timeout: Duration::from_secs(args.timeout),
    };
    let ask = async |address: &str| {
        let node = if address.contains(':') {
            format!("[{address}]:{}", args.probes)
        } else {
            format!("{address}:{}", args.probes)
        };
        let asked = tokio::time::timeout(LOOK, ready_and_leads(&node)).await;
        asked.map_err(|_| "it does not answer".to_owned())?
    };
    let replaced = roll_out::run(&KubeApi::in_pod()?, &set, ask, |text| say!("{text}")).await?;
    let text = match replaced.as_slice() {
        [] => "every pod is as it should be already".into(),
        some => format!("replaced {}", some.join(", ")),
    };
    args.output.done(&json!({ "replaced": replaced }), text)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a ready node leads, or why it is not ready.
async fn ready_and_leads(node: &str) -> Result<bool, String> {
    let why = |error: io::Error| format!("its probes do not answer: {error}");
    if let Some(reasons) = readiness(node).await.map_err(why)? {
        return Err(format!("not ready: {}", reasons.replace('\n', "; ")));
    }
    let (_, metrics) = probe(node, "/metrics").await.map_err(why)?;
    Ok(metrics.lines().any(|line| line == "signonce_raft_leads 1"))
}

/// Job, for trials: makes an authority and the certificates of nodes, an admin and a client, as Secrets.
///
/// Existing Secrets are left as they are, except that of an ordinal with a new member. The authority's private key
/// stays in the namespace: for a real cluster bring your own certificates.
#[derive(clap::Args, Debug)]
struct Certs {
    /// The namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// The name of the StatefulSet; Secrets are called `<name>-tls-<ordinal>`, `-ca`, `-admin` and `-client`.
    #[arg(long)]
    name: String,
    /// The cluster's id.
    #[arg(long)]
    cluster: ClusterId,
    /// A node, as `<ordinal>=<id>`. Repeatable.
    #[arg(long = "node", value_name = "ORDINAL=ID", required = true)]
    nodes: Vec<String>,
    /// An additional host name of every node. Repeatable.
    #[arg(long = "host")]
    hosts: Vec<String>,
    /// The domain of the headless service.
    #[arg(long)]
    domain: String,
    /// A label of the Secrets, as `key=value`. Repeatable.
    #[arg(long = "label")]
    labels: Vec<String>,
    #[command(flatten)]
    output: Output,
}

async fn certs(args: Certs) -> Done {
    let Certs { namespace, name, cluster, .. } = &args;
    let mut wanted = vec![
        (format!("{name}-admin"), Subject::Admin(name.clone())),
        (format!("{name}-client"), Subject::Client(name.clone())),
    ];
    for node in &args.nodes {
        let (ordinal, node) = node_of(node)?;
        let own = [format!("{name}-{ordinal}.{}", args.domain), "localhost".into(), "127.0.0.1".into()];
        let hosts = own.into_iter().chain(args.hosts.iter().cloned()).collect();
        wanted.push((format!("{name}-tls-{ordinal}"), Subject::Node { cluster: *cluster, node, hosts }));
    }
    let labels = args.labels.iter().map(|label| {
        let (key, value) =
            label.split_once('=').ok_or_else(|| Usage(format!("{label:?} is not key=value")))?;
        Ok((key.to_owned(), value.into()))
    });
    let labels: serde_json::Map<_, _> = labels.collect::<Result<_, Usage>>()?;
    let authority = format!("{name}-ca");
    let made = trial::make(&KubeApi::in_pod()?, namespace, &labels.into(), &authority, &wanted).await?;
    let text = if made.is_empty() {
        "everything is there already".into()
    } else {
        format!("made {}", made.join(", "))
    };
    args.output.done(&json!({ "made": made }), text)?;
    Ok(ExitCode::SUCCESS)
}

fn node_of(text: &str) -> Result<(u32, NodeId), Usage> {
    let parts =
        text.split_once('=').and_then(|(ordinal, node)| Some((ordinal.parse().ok()?, node.parse().ok()?)));
    let (ordinal, node) = parts.ok_or_else(|| Usage(format!("{text:?} is not ORDINAL=ID")))?;
    Ok((ordinal, NodeId(node)))
}

/// preStop: hands leadership over, and waits until the services have noticed that the pod is going.
///
/// It never removes the member: a pod that comes back with its volume is the same node.
#[derive(clap::Args, Debug)]
struct Drain {
    /// The admin socket of the node.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Seconds to wait afterwards.
    #[arg(long, default_value_t = 3)]
    wait: u64,
}

async fn drain(args: &Drain) -> Done {
    // Whatever happens, the pod stops next, and SIGTERM hands over once more.
    match AdminClient::unix(&args.socket).transfer_leadership(None).await {
        Ok(heir) => say!("leadership went to node {heir}"),
        Err(error) => say!("no leadership was handed over: {error}"),
    }
    sleep(Duration::from_secs(args.wait)).await;
    Ok(ExitCode::SUCCESS)
}

/// Sidecar: keeps the label `signonce.io/leader` on the leader's pod, for a service that reaches only the leader.
#[derive(clap::Args, Debug)]
struct LeaderLabel {
    /// The admin socket of the node.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The pod's name.
    #[arg(long, env = "POD_NAME")]
    pod: String,
    /// Its namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
}

async fn leader_label(args: &LeaderLabel) -> Done {
    let admin = AdminClient::unix(&args.socket);
    let path = format!("/api/v1/namespaces/{}/pods/{}", args.namespace, args.pod);
    let api = KubeApi::in_pod()?;
    let mut labelled = None;
    let mut signals = StopSignals::listen()?;
    loop {
        // A node that does not answer does not lead.
        let leads = admin.status().await.is_ok_and(|status| status.role == "leader");
        if labelled != Some(leads) {
            let value = if leads { json!("true") } else { json!(null) };
            match api.merge(&path, &json!({ "metadata": { "labels": { LEADER_LABEL: value } } })).await {
                Ok(()) => labelled = Some(leads),
                Err(error) => say!("the label cannot be set: {error}"),
            }
        }
        tokio::select! {
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
            () = sleep(PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_given_with_its_ordinal() {
        assert_eq!(node_of("3=1234").unwrap(), (3, NodeId(1234)));
        assert!(node_of("3").is_err());
    }
}
