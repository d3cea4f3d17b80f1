//! A cluster of real signers, created by `signonce dev` of the program under test and then run here: each node a
//! process of its own, reaching the others only through a network that can be broken.
//!
//! [`Cluster::create`] lays out and starts nothing; dropping it ends every process.

mod layout;

use crate::{
    host,
    net::{Links, packets::Packets, proxy::Proxy},
    process::{CommandLine, Process, Room, Signal, ended},
};
use anyhow::{Context as _, bail, ensure};
use layout::{free_port, lay_out, listen, section};
use serde::Deserialize;
use signonce_protocol::{
    ChainId, PublicKey, Scheme,
    client::{ClientConfig, SignerClient, Timeouts, TlsSource},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long a probe may take.
const PROBE: Duration = Duration::from_secs(2);
/// The pause between two checks.
const LOOK: Duration = Duration::from_millis(25);
/// The length of the chain's slots in milliseconds: short, so that there are many.
pub const SLOT_MS: u64 = 1_000;

/// The client with the default limits. It has every right.
pub const GUEST: &str = "guest";

/// What carries bytes between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Proxies on loopback.
    Proxies,
    /// A packet switch between namespaces.
    Packets,
}

/// The options of a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program under test.
    pub binary: PathBuf,
    /// Signers.
    pub nodes: u64,
    /// Validators, with a set of session keys each.
    pub validators: u64,
    /// Clients, each with every right and no limit. One more with the limits that clients have by default is
    /// [`GUEST`].
    pub clients: u64,
    /// What carries bytes between the nodes.
    pub network: Network,
}

/// A key as `signonce dev` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    /// `babe`, `gran`, …
    #[serde(rename = "type")]
    pub key_type: String,
    /// Its scheme.
    pub scheme: Scheme,
    /// The public key.
    pub public: PublicKey,
    /// The validator it belongs to.
    pub group: String,
}

/// One signer.
#[derive(Debug)]
pub struct Node {
    /// Its directory: configuration, data and log.
    pub home: PathBuf,
    /// Where clients reach it.
    pub client: SocketAddr,
    peer: SocketAddr,
    metrics: SocketAddr,
    process: Option<Process>,
    /// Words in front of its command, from the next start on.
    pub door: Vec<OsString>,
    /// Variables of its environment, from the next start on.
    pub env: Vec<(&'static str, OsString)>,
    /// The program from the next start on, if it is not the cluster's.
    pub binary: Option<PathBuf>,
}

impl Node {
    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.join("log")).unwrap_or_default()).into_owned()
    }

    /// Where it listens: for clients, for the other nodes, for scrapes.
    pub fn ports(&self) -> [SocketAddr; 3] {
        [self.client, self.peer, self.metrics]
    }

    /// Its pid while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }
}

/// A second process with a node's identity.
#[derive(Debug)]
pub struct Twin {
    /// It.
    pub process: Process,
    /// Its address for the other nodes.
    pub peer: SocketAddr,
    /// Its address for clients.
    pub client: SocketAddr,
    metrics: SocketAddr,
}

impl Twin {
    /// The answer of its `/readyz`.
    pub async fn readyz(&self) -> Result<(), String> {
        match self.process.pid() {
            Some(_) => probe(self.metrics).await,
            None => Err("it has ended".into()),
        }
    }
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The options it was made with.
    pub plan: Plan,
    /// Its directory.
    pub dir: PathBuf,
    /// The chain.
    pub genesis: ChainId,
    /// Its keys.
    pub keys: Vec<Key>,
    /// The state of the connections between the nodes.
    pub links: Links,
    nodes: BTreeMap<u64, Node>,
    ca: PathBuf,
    proxies: Vec<Proxy>,
    packets: Option<Packets>,
    /// Namespaces that scenarios made for nodes; they are removed with the cluster.
    pub rooms: Vec<Room>,
    /// Programs through which nodes' logs go, if a scenario has added them.
    pub log_readers: BTreeMap<u64, Process>,
    /// Keeps other clusters from these ports between layout and start.
    _guard: Option<TcpListener>,
}

impl Cluster {
    /// Creates a cluster in `dir`. Starts none of its nodes.
    ///
    /// # Errors
    /// If the program under test does not do its part.
    pub async fn create(plan: Plan, dir: &Path) -> anyhow::Result<Self> {
        let ready = lay_out(&plan, dir).await?;
        let mut cluster = Self {
            dir: dir.to_owned(),
            genesis: ready.chain.genesis,
            keys: ready.keys,
            links: Links::default(),
            nodes: BTreeMap::new(),
            ca: ready.ca,
            proxies: Vec::new(),
            packets: None,
            rooms: Vec::new(),
            log_readers: BTreeMap::new(),
            _guard: None,
            plan,
        };
        let mut configs = BTreeMap::new();
        for id in 1..=cluster.plan.nodes {
            let text = fs::read_to_string(cluster.home(id).join("signonce.toml"))?;
            configs.insert(id, text.parse::<toml::Table>()?);
        }
        match cluster.plan.network {
            Network::Proxies => cluster.join_by_proxies(&mut configs).await?,
            Network::Packets => cluster.join_by_packets(&mut configs).await?,
        }
        for (id, config) in configs {
            fs::write(cluster.home(id).join("signonce.toml"), config.to_string())?;
            let node = Node {
                home: cluster.home(id),
                client: listen(&config, "client")?,
                peer: listen(&config, "peer")?,
                metrics: listen(&config, "metrics")?,
                process: None,
                door: Vec::new(),
                env: Vec::new(),
                binary: None,
            };
            cluster.nodes.insert(id, node);
        }
        Ok(cluster)
    }

    fn home(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    /// The nodes' ids, from 1.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// A node.
    ///
    /// # Panics
    /// If there is none with this id.
    pub fn node(&self, id: u64) -> &Node {
        &self.nodes[&id]
    }

    /// A node, to change how it is started.
    ///
    /// # Panics
    /// If there is none with this id.
    pub fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("callers name nodes of the cluster")
    }

    /// How many nodes may be away at once.
    pub fn spare(&self) -> usize {
        (self.nodes.len() - 1) / 2
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.ids().into_iter().try_for_each(|id| self.start(id))
    }

    /// Starts a node, unless it runs.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(&mut self, id: u64) -> anyhow::Result<()> {
        let network = match &self.packets {
            Some(packets) => packets.room(id)?.door()?,
            None => Vec::new(),
        };
        let node = self.nodes.get_mut(&id).with_context(|| format!("there is no node {id}"))?;
        if node.pid().is_some() {
            return Ok(());
        }
        let binary = node.binary.as_ref().unwrap_or(&self.plan.binary);
        let config = node.home.join("signonce.toml");
        let words: [&std::ffi::OsStr; 4] =
            [binary.as_os_str(), "start".as_ref(), "--config".as_ref(), config.as_os_str()];
        let line = CommandLine::new(words).inside(node.door.clone()).inside(network);
        let line = node.env.iter().fold(line, |line, (name, value)| line.with(name, value));
        node.process = Some(line.start(&node.home.join("log"))?);
        Ok(())
    }

    /// Runs an operator's command on the machine of a node; returns its output.
    ///
    /// # Errors
    /// If it fails.
    pub fn command(&self, id: u64, words: &[&str]) -> anyhow::Result<String> {
        let config = self.node(id).home.join("signonce.toml");
        let words = words.iter().map(OsString::from);
        let program = self.plan.binary.clone().into_os_string();
        let config = ["--config".into(), config.into_os_string()];
        CommandLine::new(std::iter::once(program).chain(words).chain(config)).run()
    }

    /// The same on a runtime's worker, for a command that takes a while.
    ///
    /// # Errors
    /// If it fails.
    pub fn long_command(&self, id: u64, words: &[&str]) -> anyhow::Result<String> {
        tokio::task::block_in_place(|| self.command(id, words))
    }

    /// The most memory that a node's process has had since it started, or since [`Self::forget_peak`].
    pub fn peak_bytes(&self, id: u64) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.node(id).pid()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    }

    /// Resets a node's peak memory to what it has now: opening its sealed identity takes hundreds of megabytes for a
    /// moment.
    ///
    /// # Errors
    /// If the kernel does not allow it, or the node does not run.
    pub fn forget_peak(&self, id: u64) -> anyhow::Result<()> {
        let pid = self.node(id).pid().with_context(|| format!("node {id} does not run"))?;
        let path = format!("/proc/{pid}/clear_refs");
        // See proc_pid_clear_refs(5).
        fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }

    /// The sum of the samples whose series begin so, in a scrape of a node.
    ///
    /// # Errors
    /// If the node does not answer, or shows no such series.
    pub async fn sample(&self, id: u64, series: &str) -> anyhow::Result<f64> {
        let answer = get(self.node(id).metrics, "/metrics").await;
        let answer = answer.map_err(|why| anyhow::anyhow!("a scrape of node {id}: {why}"))?;
        let samples = answer.lines().filter(|line| line.starts_with(series));
        let values = samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.reduce(|a, b| a + b).with_context(|| format!("node {id} shows no series {series}"))
    }

    /// Sends a signal to a node.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, id: u64, signal: Signal) -> anyhow::Result<()> {
        let process = self.node(id).process.as_ref().with_context(|| format!("node {id} does not run"))?;
        process.signal(signal).with_context(|| format!("node {id}"))
    }

    /// SIGKILL, and its end waited for.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&self, id: u64) -> anyhow::Result<()> {
        self.signal(id, Signal::KILL)?;
        self.wait_exit(id, Duration::from_secs(10)).await.map(|_| ())
    }

    /// Waits until a node's process has ended; how it did.
    ///
    /// # Errors
    /// If it is still running after `patience`.
    pub async fn wait_exit(&self, id: u64, patience: Duration) -> anyhow::Result<ExitStatus> {
        let process = self.node(id).process.as_ref().with_context(|| format!("node {id} does not run"))?;
        ended(process, patience).await.with_context(|| format!("node {id}"))
    }

    /// What `/readyz` of a node says: whether it is ready, and why not.
    pub async fn readyz(&self, id: u64) -> Result<(), String> {
        probe(self.node(id).metrics).await
    }

    /// Waits until these nodes are ready.
    ///
    /// # Errors
    /// After `patience`, or when one of them has ended.
    pub async fn wait_ready(&self, ids: &[u64], patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        for &id in ids {
            while let Err(why) = self.readyz(id).await {
                if self.node(id).pid().is_none() {
                    bail!("node {id} has ended; its log ends:\n{}", tail(&self.node(id).log()));
                }
                ensure!(Instant::now() < deadline, "node {id} is not ready after {patience:?}: {why}");
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Waits for a leader that is none of `others`, by what the leader itself says.
    ///
    /// # Errors
    /// After `patience`.
    pub async fn leader(&self, others: &[u64], patience: Duration) -> anyhow::Result<u64> {
        let deadline = Instant::now() + patience;
        loop {
            let asked = self.ids().into_iter().filter(|id| !others.contains(id)).map(|id| self.term_led(id));
            let led = futures::future::join_all(asked).await;
            if let Some((_, leader)) = led.into_iter().flatten().max() {
                return Ok(leader);
            }
            ensure!(Instant::now() < deadline, "no leader within {patience:?}");
            sleep(LOOK).await;
        }
    }

    /// The term in which a node leads, if it is ready and believes that it leads.
    async fn term_led(&self, id: u64) -> Option<(u64, u64)> {
        self.node(id).pid()?;
        let timeouts = Timeouts { connect: PROBE / 2, attempt: PROBE / 2, deadline: PROBE / 2 };
        let status = self.client(1, &[id], timeouts).ok()?.status().await.ok()?;
        (status.readiness.ready && status.leader.is_some_and(|leader| leader.0 == id))
            .then_some((status.term.0, id))
    }

    /// A client of some nodes, by the certificate of client `number`.
    ///
    /// # Errors
    /// If there is no such certificate.
    pub fn client(&self, number: u64, nodes: &[u64], timeouts: Timeouts) -> anyhow::Result<SignerClient> {
        self.client_at(number, nodes.iter().map(|id| self.node(*id).client), timeouts)
    }

    /// A client of whatever listens at these addresses.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub fn client_at(
        &self,
        number: u64,
        addresses: impl IntoIterator<Item = SocketAddr>,
        timeouts: Timeouts,
    ) -> anyhow::Result<SignerClient> {
        self.client_named(&client_name(number), addresses, timeouts)
    }

    /// The client with the default limits, of some nodes.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub fn guest(&self, nodes: &[u64], timeouts: Timeouts) -> anyhow::Result<SignerClient> {
        self.client_named(GUEST, nodes.iter().map(|id| self.node(*id).client), timeouts)
    }

    fn client_named(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = SocketAddr>,
        timeouts: Timeouts,
    ) -> anyhow::Result<SignerClient> {
        let certs = self.dir.join("certs");
        let tls = TlsSource::Files {
            ca: self.ca.clone(),
            cert: certs.join(format!("client-{name}.pem")),
            key: certs.join(format!("client-{name}-key.pem")),
        };
        let urls = addresses.into_iter().map(|address| format!("https://{address}")).collect();
        Ok(SignerClient::new(ClientConfig { urls, tls, timeouts })?)
    }

    /// The namespaces of a node, where the cluster runs in such.
    pub fn room(&self, id: u64) -> Option<&Room> {
        self.packets.as_ref().and_then(|packets| packets.room(id).ok())
    }

    /// From now on the other nodes find something else at a node's address, or the node again. Only with proxies.
    pub fn move_address(&self, id: u64, to: Option<SocketAddr>) {
        let to = to.unwrap_or(self.node(id).peer);
        self.proxies.iter().filter(|proxy| proxy.to == id).for_each(|proxy| proxy.lead_to(to));
    }

    /// A node started a second time: its directory copied to `home` already, with addresses of its own.
    ///
    /// # Errors
    /// If the copy cannot be started.
    pub fn start_copy(&self, id: u64, home: &Path) -> anyhow::Result<Twin> {
        let config = home.join("signonce.toml");
        let mut table: toml::Table = fs::read_to_string(&config)?.parse()?;
        for name in ["peer", "client", "admin", "metrics"] {
            let ip = listen(&table, name)?.ip();
            let port = free_port()?;
            section(&mut table, "listen")?.insert(name.into(), SocketAddr::new(ip, port).to_string().into());
        }
        fs::write(&config, table.to_string())?;
        let words: [&std::ffi::OsStr; 4] =
            [self.plan.binary.as_os_str(), "start".as_ref(), "--config".as_ref(), config.as_os_str()];
        let door = match self.room(id) {
            Some(room) => room.door()?,
            None => Vec::new(),
        };
        let process = CommandLine::new(words).inside(door).start(&home.join("log"))?;
        Ok(Twin {
            process,
            peer: listen(&table, "peer")?,
            client: listen(&table, "client")?,
            metrics: listen(&table, "metrics")?,
        })
    }
}

/// The name of a client.
pub fn client_name(number: u64) -> String {
    format!("c{number}")
}

/// What `/readyz` at an address says.
async fn probe(address: SocketAddr) -> Result<(), String> {
    let answer = get(address, "/readyz").await?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or(answer.as_str(), |(_, body)| body);
    Err(body.trim().replace('\n', "; "))
}

/// The answer to a plain request, with its head.
async fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let get = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PROBE, get).await.map_err(|_| "its probe does not answer".to_owned())?;
    answer.map_err(|error| error.to_string())
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<String> = log.lines().map(|line| line.chars().take(200).collect()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Copies a directory and all that is in it.
///
/// # Errors
/// If something cannot be read or written.
pub fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The networks that can be had here, the better one first.
pub fn networks() -> Vec<Network> {
    match host::Need::Packets.lacking() {
        None => vec![Network::Packets, Network::Proxies],
        Some(_) => vec![Network::Proxies],
    }
}
