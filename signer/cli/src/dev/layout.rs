//! The directory of a local cluster: ids, addresses, options, and the configuration of each node.

use super::LocalOptions;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use signonce_core::replica::hello::ClusterId;
use signonce_protocol::{ChainId, blake2_256};
use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The content of `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Layout {
    pub options: LocalOptions,
    /// The cluster's id, 32 hex digits.
    pub cluster: String,
    pub genesis: ChainId,
    pub nodes: Vec<NodeLayout>,
    /// See [`free_addresses`]; `None` once the directory is opened again.
    #[serde(skip)]
    _guard: Option<Arc<TcpListener>>,
}

/// The addresses of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeLayout {
    pub id: u64,
    pub peer: SocketAddr,
    pub client: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: SocketAddr,
}

impl NodeLayout {
    pub fn client_url(&self) -> String {
        format!("https://{}", self.client)
    }
}

impl Layout {
    /// The layout of a new cluster, on ports that are free now.
    pub fn plan(options: LocalOptions) -> anyhow::Result<Self> {
        let (ports, guard) = free_addresses(options.nodes * 4)?;
        let mut ports = ports.into_iter();
        let mut next = || ports.next().context("as many ports as asked for");
        let mut nodes = Vec::new();
        for id in 1..=options.nodes as u64 {
            let [peer, client, admin, metrics] = [next()?, next()?, next()?, next()?];
            nodes.push(NodeLayout { id, peer, client, admin, metrics });
        }
        let cluster = ClusterId(rand::random()).to_string();
        // A key belongs to one chain permanently, so no two local clusters share one.
        let genesis = ChainId(blake2_256(format!("{}/{cluster}", options.chain_name).as_bytes()));
        Ok(Self { options, cluster, genesis, nodes, _guard: Some(Arc::new(guard)) })
    }

    pub fn path(dir: &Path) -> PathBuf {
        dir.join("cluster.json")
    }

    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = Self::path(dir);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("there is no local cluster in {}", dir.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(signonce_shared::certs::write_new(&Self::path(dir), text.as_bytes(), 0o644)?)
    }

    /// The node's `signonce.toml`; relative paths start at its own directory.
    pub fn config(&self, node: &NodeLayout, certs: &Path) -> String {
        let NodeLayout { id, peer, client, admin, metrics } = node;
        let certs = certs.display();
        let cluster = &self.cluster;
        let mut text = format!(
            "# A node of a local cluster, made by `signonce dev`. Its passphrase lies beside it: not for real keys.\n\
             [node]\nid = {id}\ndata_dir = \"data\"\nunlock_file = \"unlock\"\n\n\
             [cluster]\nid = \"{cluster}\"\n"
        );
        for member in &self.nodes {
            let (id, peer, url) = (member.id, member.peer, member.client_url());
            let _ =
                write!(text, "\n[[cluster.members]]\nid = {id}\npeer = \"{peer}\"\nclient_url = \"{url}\"\n");
        }
        let _ = write!(
            text,
            "\n[listen]\npeer = \"{peer}\"\nclient = \"{client}\"\nadmin = \"{admin}\"\nmetrics = \"{metrics}\"\n\n\
             [tls]\nca = '{certs}/ca.pem'\ncert = '{certs}/node-{id}.pem'\nkey = '{certs}/node-{id}-key.pem'\n\n\
             [log]\nformat = \"text\"\n"
        );
        text
    }
}

/// The range of ports: below the ephemeral ports, which outgoing connections could take between the search and the
/// node's listening.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// The ports of one cluster: the first is held as long as the cluster exists, so that no other cluster takes the block.
const BLOCK: u16 = 64;

/// Free addresses on loopback, and what keeps other clusters from choosing them too.
fn free_addresses(count: usize) -> anyhow::Result<(Vec<SocketAddr>, TcpListener)> {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    anyhow::ensure!(count < usize::from(BLOCK), "a local cluster has at most {} ports", BLOCK - 1);
    for _ in 0..1_000 {
        let first = rand::random_range(PORTS.start / BLOCK..PORTS.end / BLOCK) * BLOCK;
        let Ok(guard) = TcpListener::bind(address(first)) else { continue };
        let ports: Vec<SocketAddr> = (first + 1..first + BLOCK).take(count).map(address).collect();
        if ports.iter().all(|port| TcpListener::bind(port).is_ok()) {
            return Ok((ports, guard));
        }
    }
    anyhow::bail!("no free ports on loopback")
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_shared::config::Config;

    #[test]
    fn every_node_of_a_plan_has_a_configuration_that_loads() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::plan(LocalOptions { nodes: 5, ..LocalOptions::default() }).unwrap();
        for node in &layout.nodes {
            let path = dir.path().join("signonce.toml");
            fs::write(&path, layout.config(node, Path::new("/certs"))).unwrap();
            let config = Config::load(Some(&path), [], &[]).unwrap().config;
            assert_eq!(config.node.id.0, node.id);
            assert_eq!(config.cluster.members.len(), 5);
            assert_eq!(config.node.data_dir, dir.path().join("data"));
        }
    }
}
