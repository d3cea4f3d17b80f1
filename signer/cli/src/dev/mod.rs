//! A whole cluster on this machine: real processes on loopback, with throw-away certificates and keys.
//!
//! `signonce dev`, `demo` and `bench` and the process tests run on it. [`LocalCluster::create`] creates the directory,
//! [`LocalCluster::start_all`] starts the processes, [`LocalCluster::provision`] makes chain, keys and clients;
//! [`LocalCluster::open`] opens an existing directory again. Dropping it stops the processes. They run in process
//! groups of their own, so that an interrupt of the terminal does not reach them before their owner has decided: a
//! program that uses this must end in order (not by a signal's default action), or they outlive it.
//!
//! ```text
//! DIR/cluster.json        what was created: options, ids, addresses
//! DIR/certs/              authority, node, client and admin certificates
//! DIR/node-1/signonce.toml, unlock, data/, log
//! ```

mod layout;
mod process;
mod provision;

use anyhow::{Context as _, bail, ensure};
use layout::{Layout, NodeLayout};
use process::Child;
use serde::{Deserialize, Serialize};
use signonce_cluster::identity::{self, Identity};
use signonce_core::replica::hello::ClusterId;
use signonce_keys::{NodeIdentity, PassphraseSource, ScryptWork};
use signonce_protocol::{KeyType, NodeId, PublicKey, Scheme};
use signonce_shared::{
    admin::client::AdminClient,
    certs::{Authority, CERTIFICATE_DAYS, Subject},
    config::{IDENTITY_FILE, TlsFiles},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

pub use process::{Signal, rss_mib};

/// The name of the admin whose certificate every local cluster has.
pub const ADMIN: &str = "admin";

/// The options of a local cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalOptions {
    /// The number of signers.
    pub nodes: usize,
    /// The number of validators: each has a full set of session keys and is a group of its own, `validator-1` and so
    /// on.
    pub validators: usize,
    /// The names of the clients, each with every right.
    pub clients: Vec<String>,
    /// The chain's name.
    pub chain_name: String,
    /// The length of a slot in milliseconds.
    pub slot_duration_ms: u64,
    /// The number of extra BABE keys, in the group `extra`, for measuring.
    pub extra_keys: usize,
    /// The program to run; by default the running one. Not stored: [`LocalCluster::open`] runs the present program.
    #[serde(skip)]
    pub binary: Option<PathBuf>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            validators: 1,
            clients: vec!["validator".into()],
            chain_name: "dev".into(),
            slot_duration_ms: 6_000,
            extra_keys: 0,
            binary: None,
        }
    }
}

/// A key that [`LocalCluster::provision`] has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevKey {
    /// Its type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its public key.
    pub public: PublicKey,
    /// The validator it belongs to.
    pub group: String,
}

/// The files with which a client reaches the cluster, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The authority.
    pub ca: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A cluster of processes on this machine. Dropping it stops them.
pub struct LocalCluster {
    dir: PathBuf,
    layout: Layout,
    binary: PathBuf,
    children: BTreeMap<u64, Child>,
}

impl LocalCluster {
    /// Creates a new cluster in `dir`, which must be empty or not exist: certificates, configurations, and every node
    /// initialised. Starts nothing.
    ///
    /// # Errors
    /// If the directory is not empty or something cannot be written.
    pub fn create(dir: &Path, options: LocalOptions) -> anyhow::Result<Self> {
        ensure!(options.nodes > 0 && options.slot_duration_ms > 0, "a cluster needs nodes, a chain slots");
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let empty = fs::read_dir(&dir)?.next().is_none();
        ensure!(empty, "{} is not empty; give another directory", dir.display());
        let layout = Layout::plan(options)?;
        let certs = dir.join("certs");
        let authority = Authority::create(&certs)?;
        let admin = Subject::Admin(ADMIN.into());
        let clients = layout.options.clients.iter().map(|name| Subject::Client(name.clone()));
        for subject in clients.chain([admin]) {
            authority.issue(&certs, &subject, CERTIFICATE_DAYS)?;
        }
        let binary = program(layout.options.binary.as_deref())?;
        let cluster = Self { dir, layout, binary, children: BTreeMap::new() };
        for node in &cluster.layout.nodes {
            cluster.create_node(&authority, node)?;
        }
        // Written last: a directory that was left half-way does not count as a cluster.
        cluster.layout.save(&cluster.dir)?;
        Ok(cluster)
    }

    fn create_node(&self, authority: &Authority, node: &NodeLayout) -> anyhow::Result<()> {
        let cluster: ClusterId = self.layout.cluster.parse().map_err(anyhow::Error::msg)?;
        let hosts = vec!["127.0.0.1".into(), "localhost".into()];
        let subject = Subject::Node { cluster, node: NodeId(node.id), hosts };
        authority.issue(&self.certs(), &subject, CERTIFICATE_DAYS)?;
        let home = self.node_dir(node.id);
        fs::create_dir(&home)?;
        let unlock = home.join("unlock");
        let passphrase = hex::encode(rand::random::<[u8; 16]>());
        signonce_shared::certs::write_new(&unlock, passphrase.as_bytes(), 0o600)?;
        let config = self.layout.config(node, &self.certs());
        signonce_shared::certs::write_new(&self.config_path(node.id), config.as_bytes(), 0o644)?;
        let data = self.data_dir(node.id);
        let initial = self.layout.nodes.iter().map(|node| NodeId(node.id)).collect();
        identity::create(&data, &Identity { cluster, node: NodeId(node.id), initial, joined: false })?;
        let passphrase = PassphraseSource::File(unlock).read()?;
        NodeIdentity::generate().save(&data.join(IDENTITY_FILE), &passphrase, ScryptWork::QUICK)?;
        Ok(())
    }

    /// Opens a cluster that [`Self::create`] has made. Starts nothing.
    ///
    /// # Errors
    /// If there is none in `dir`.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let layout = Layout::load(dir)?;
        let dir = dir.canonicalize()?;
        Ok(Self { dir, layout, binary: program(None)?, children: BTreeMap::new() })
    }

    /// Whether `dir` holds a local cluster.
    pub fn exists(dir: &Path) -> bool {
        Layout::path(dir).exists()
    }

    /// Runs another program than the present one from now on.
    pub fn set_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// Starts every node that is not running.
    ///
    /// # Errors
    /// If a process cannot be started. Later failures are in its log.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.node_ids().into_iter().try_for_each(|id| self.start_node(id))
    }

    /// Starts a node, unless it is running. Its standard error goes to [`Self::log_path`].
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start_node(&mut self, id: u64) -> anyhow::Result<()> {
        if self.pid(id).is_some() {
            return Ok(());
        }
        self.node(id)?;
        let child = Child::start(&self.binary, &self.config_path(id), &self.log_path(id))?;
        self.children.insert(id, child);
        Ok(())
    }

    /// Waits until every node that was started reports that it is ready.
    ///
    /// # Errors
    /// After `timeout`, or when one of them ends; with its reasons, or the end of its log.
    pub async fn wait_ready(&self, timeout: Duration) -> anyhow::Result<()> {
        let started: Vec<u64> = self.children.keys().copied().collect();
        self.wait_ready_nodes(&started, timeout).await
    }

    /// [`Self::wait_ready`] for some nodes.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_ready_nodes(&self, ids: &[u64], timeout: Duration) -> anyhow::Result<()> {
        process::wait_ready(self, ids, timeout).await
    }

    /// Makes whatever is missing of chain, keys and clients; returns the keys. Calling it again changes nothing.
    ///
    /// # Errors
    /// If the cluster is not ready or refuses.
    pub async fn provision(&self) -> anyhow::Result<Vec<DevKey>> {
        provision::provision(self).await
    }

    /// The client URLs of the nodes, in order of their ids.
    pub fn urls(&self) -> Vec<String> {
        self.layout.nodes.iter().map(NodeLayout::client_url).collect()
    }

    /// The nodes' ids, from 1.
    pub fn node_ids(&self) -> Vec<u64> {
        self.layout.nodes.iter().map(|node| node.id).collect()
    }

    /// The options with which it was created.
    pub fn options(&self) -> &LocalOptions {
        &self.layout.options
    }

    /// The chain's genesis hash.
    pub fn genesis(&self) -> signonce_protocol::ChainId {
        self.layout.genesis
    }

    /// The node's admin socket.
    pub fn admin_socket(&self, id: u64) -> PathBuf {
        self.data_dir(id).join("admin.sock")
    }

    /// A client of the node's admin API.
    pub fn admin(&self, id: u64) -> AdminClient {
        AdminClient::unix(self.admin_socket(id))
    }

    /// The node's admin API over HTTPS.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn admin_url(&self, id: u64) -> String {
        let node = self.node(id).expect("a caller names a node of the cluster");
        format!("https://{}", node.admin)
    }

    /// `http://…/metrics` of the node.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn metrics_url(&self, id: u64) -> String {
        format!("http://{}/metrics", self.metrics_address(id))
    }

    /// The address of the node's probes and metrics.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn metrics_address(&self, id: u64) -> std::net::SocketAddr {
        self.node(id).expect("a caller names a node of the cluster").metrics
    }

    /// The files of a client.
    pub fn client_tls(&self, name: &str) -> ClientFiles {
        self.files(&Subject::Client(name.to_owned()).stem())
    }

    /// The files of the admin.
    pub fn admin_tls(&self) -> TlsFiles {
        let ClientFiles { ca, cert, key } = self.files(&Subject::Admin(ADMIN.into()).stem());
        TlsFiles { ca, cert, key }
    }

    fn files(&self, stem: &str) -> ClientFiles {
        let certs = self.certs();
        ClientFiles {
            ca: certs.join(signonce_shared::certs::CA_CERTIFICATE),
            cert: certs.join(format!("{stem}.pem")),
            key: certs.join(format!("{stem}-key.pem")),
        }
    }

    fn certs(&self) -> PathBuf {
        self.dir.join("certs")
    }

    fn node_dir(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    /// The node's data directory.
    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("data")
    }

    /// The node's configuration.
    pub fn config_path(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("signonce.toml")
    }

    /// The node's log; later runs append.
    pub fn log_path(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("log")
    }

    fn node(&self, id: u64) -> anyhow::Result<&NodeLayout> {
        let node = self.layout.nodes.iter().find(|node| node.id == id);
        node.with_context(|| format!("there is no node {id} in {}", self.dir.display()))
    }

    /// The leader, as the nodes that answer within a second see it (the latest term counts).
    pub async fn leader(&self) -> Option<u64> {
        let asked = self.node_ids().into_iter().map(async |id| {
            let admin = self.admin(id);
            let status = tokio::time::timeout(Duration::from_secs(1), admin.status()).await;
            let status = status.ok()?.ok()?;
            Some((status.term, status.leader?.0))
        });
        let answers = futures::future::join_all(asked).await;
        answers.into_iter().flatten().max().map(|(_, leader)| leader)
    }

    /// The process of a node, while it runs.
    pub fn pid(&self, id: u64) -> Option<u32> {
        self.children.get(&id).and_then(Child::pid)
    }

    /// Sends a signal to a node's process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&mut self, id: u64, signal: Signal) -> anyhow::Result<()> {
        match self.children.get(&id) {
            Some(child) => child.signal(signal).with_context(|| format!("cannot signal node {id}")),
            None => bail!("node {id} does not run"),
        }
    }

    /// Waits until a node's process has ended.
    ///
    /// # Errors
    /// If it was never started, or is still running after `timeout`.
    pub fn wait_exit(&mut self, id: u64, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.children.get(&id).with_context(|| format!("node {id} was not started"))?;
        child.wait(timeout).with_context(|| format!("node {id}"))
    }

    /// Stops every process: SIGTERM, and SIGKILL for those still running after `grace`. Returns those that had to be
    /// killed.
    pub fn stop_all(&mut self, grace: Duration) -> Vec<u64> {
        let children = std::mem::take(&mut self.children);
        process::stop(children, grace)
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        self.stop_all(process::GRACE);
    }
}

fn program(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => std::env::current_exe().context("this program does not know where it is"),
    }
}
