//! A validator of the test chain as a process.

use crate::{
    chain::Chain,
    cluster::ClientFiles,
    keys::ValidatorKeys,
    metrics::Metrics,
    ports,
    process::{Process, Program, Signal},
    rpc::NodeRpc,
    stage::{Stage, until},
};
use anyhow::Context as _;
use sp_core::{Pair as _, ed25519};
use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// Where a node's keys are.
#[derive(Clone, Debug)]
pub enum Keys {
    /// It has none: it follows the chain.
    None,
    /// In a signer cluster.
    Remote {
        /// The signers.
        urls: Vec<String>,
        /// What to show them.
        files: ClientFiles,
    },
    /// In its own keystore on disk, as a stock validator has them, and protected by the password in this file.
    Disk {
        /// The file.
        password: PathBuf,
    },
    /// In its own memory, unguarded.
    Memory {
        /// What they are made of.
        seed: String,
    },
}

/// A node that can be started, once or again with the same data.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// Names it, its log and its data.
    pub name: String,
    /// Where its keys are.
    pub keys: Keys,
    /// What its clock is off by, in seconds; needs [`faketime`].
    pub clock_skew: Option<i64>,
    network: Network,
}

/// Who it is in the network, and where.
#[derive(Clone, Copy, Debug)]
struct Network {
    secret: [u8; 32],
    p2p: u16,
    rpc: u16,
    metrics: u16,
}

impl NodeSetup {
    /// A node without keys.
    pub fn observer(name: &str) -> Self {
        Self::new(name, Keys::None)
    }

    /// A validator whose keys are in a cluster.
    pub fn remote(name: &str, urls: Vec<String>, files: &ClientFiles) -> Self {
        Self::new(name, Keys::Remote { urls, files: files.clone() })
    }

    /// A validator with a keystore on disk, which has to be filled before it starts.
    pub fn disk(name: &str, password: &Path) -> Self {
        Self::new(name, Keys::Disk { password: password.to_owned() })
    }

    /// A validator that keeps its keys itself.
    pub fn memory(name: &str, keys: &ValidatorKeys) -> Self {
        Self::new(name, Keys::Memory { seed: keys.seed().to_owned() })
    }

    fn new(name: &str, keys: Keys) -> Self {
        // Ports are looked for when it starts first: 0 is none.
        let network = Network { secret: rand::random(), p2p: 0, rpc: 0, metrics: 0 };
        Self { name: name.to_owned(), keys, clock_skew: None, network }
    }

    /// Gives it ports, unless it has some.
    ///
    /// # Errors
    /// If none is free.
    pub fn place(&mut self) -> anyhow::Result<()> {
        if self.network.p2p == 0 {
            let Network { p2p, rpc, metrics, secret: _ } = &mut self.network;
            [*p2p, *rpc, *metrics] = [ports::free()?, ports::free()?, ports::free()?];
        }
        Ok(())
    }

    /// Where other nodes find it.
    pub fn address(&self) -> String {
        let Network { secret, p2p, .. } = self.network;
        format!("/ip4/127.0.0.1/tcp/{p2p}/p2p/{}", peer_id(secret))
    }

    /// Its keystore on disk, made if it is not there.
    pub fn keystore(&self, stage: &Stage, chain: &Chain) -> anyhow::Result<PathBuf> {
        let dir = self.data(stage)?.join("chains").join(chain.id()?).join("keystore");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// Where its data is.
    pub fn data(&self, stage: &Stage) -> anyhow::Result<PathBuf> {
        stage.dir(&format!("data-{}", self.name))
    }
}

/// A peer id as libp2p has it: base58 of the identity multihash of the key in protobuf, here an ed25519 one.
fn peer_id(secret: [u8; 32]) -> String {
    let public = ed25519::Pair::from_seed(&secret).public().0;
    let head = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    bs58::encode([&head[..], &public[..]].concat()).into_string()
}

/// A node that runs, or did. Dropping it kills it.
pub struct Node {
    /// How it was started.
    pub setup: NodeSetup,
    process: Process,
}

impl Node {
    /// Starts a node that knows nobody.
    ///
    /// # Errors
    /// If the process cannot be started. What it says later is in its log.
    pub fn start(stage: &Stage, chain: &Chain, setup: NodeSetup) -> anyhow::Result<Self> {
        Self::start_among(stage, chain, setup, &[])
    }

    /// Starts a node that knows where some others are.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_among(
        stage: &Stage,
        chain: &Chain,
        mut setup: NodeSetup,
        others: &[String],
    ) -> anyhow::Result<Self> {
        setup.place()?;
        let mut words = vec![stage.validator.clone().into()];
        words.extend(arguments(stage, chain, &setup, others)?);
        let environment = setup.clock_skew.map(skewed).transpose()?.unwrap_or_default();
        let log = stage.log(&setup.name);
        let process = Process::start(Program { name: setup.name.clone(), words, environment, log })?;
        Ok(Self { setup, process })
    }

    /// Its JSON-RPC.
    pub fn rpc(&self) -> NodeRpc {
        NodeRpc(SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.network.rpc)))
    }

    /// Its metrics.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::scrape(SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.network.metrics))).await
    }

    /// Its log, of all its runs.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// # Errors
    /// If it has ended; with the end of its log.
    pub fn must_run(&self) -> anyhow::Result<()> {
        self.process.must_run()
    }

    /// Kills it, as in a crash.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Waits for its end; how it ended.
    ///
    /// # Errors
    /// If it runs still after `patience`.
    pub async fn wait(&self, patience: Duration) -> anyhow::Result<ExitStatus> {
        Ok(self.process.wait(patience).await?.0)
    }

    /// Interrupts it; how it ended and how long that took.
    ///
    /// # Errors
    /// If it had ended before, or runs still after `patience`.
    pub async fn interrupt(&self, patience: Duration) -> anyhow::Result<(ExitStatus, Duration)> {
        self.process.signal(Signal::INT)?;
        self.process.wait(patience).await
    }

    /// Waits for something, as long as the node runs.
    ///
    /// # Errors
    /// If it ends, or after `patience`.
    pub async fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        look: impl AsyncFn() -> Option<T>,
    ) -> anyhow::Result<T> {
        let name = &self.setup.name;
        let found = until(&format!("{name}: {what}"), patience, async || {
            if self.must_run().is_err() {
                return Some(None);
            }
            look().await.map(Some)
        })
        .await?;
        match found {
            Some(found) => Ok(found),
            None => Err(self.must_run().err().context("it has ended, and runs again?")?),
        }
    }

    /// Waits until its best block is above `height`.
    ///
    /// # Errors
    /// If it ends, or after `patience`.
    pub async fn best_above(&self, height: u64, patience: Duration) -> anyhow::Result<u64> {
        let what = format!("a block above {height}");
        self.until(&what, patience, async || self.rpc().best().await.ok().filter(|best| *best > height)).await
    }

    /// Waits until it has finalized above `height`.
    ///
    /// # Errors
    /// If it ends, or after `patience`.
    pub async fn finalized_above(&self, height: u64, patience: Duration) -> anyhow::Result<u64> {
        let what = format!("a finalized block above {height}");
        self.until(&what, patience, async || self.rpc().finalized().await.ok().filter(|at| *at > height))
            .await
    }
}

/// The environment in which a process has another wall clock. The library is preloaded here and not by the program
/// `faketime`, which would stand between us and the process.
fn skewed(seconds: i64) -> anyhow::Result<Vec<(&'static str, String)>> {
    let library = faketime().context("faketime is not installed")?;
    let library = library.to_str().context("a library's path is text")?.to_owned();
    // Only the wall clock: time that passes must pass.
    let monotonic =
        ["FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"].map(|name| (name, "1".to_owned()));
    let skew = [("LD_PRELOAD", library), ("FAKETIME", format!("{seconds:+}s"))];
    Ok(skew.into_iter().chain(monotonic).collect())
}

/// The library that gives a process another clock, where it is installed.
pub fn faketime() -> Option<PathBuf> {
    let below = |root: &str| {
        let dirs = std::fs::read_dir(root).into_iter().flatten().flatten();
        dirs.map(|dir| dir.path()).chain([PathBuf::from(root)]).collect::<Vec<_>>()
    };
    let places = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].into_iter().flat_map(below);
    places.map(|dir| dir.join("faketime/libfaketime.so.1")).find(|library| library.is_file())
}

fn arguments(
    stage: &Stage,
    chain: &Chain,
    setup: &NodeSetup,
    others: &[String],
) -> anyhow::Result<Vec<OsString>> {
    let Network { secret, p2p, rpc, metrics } = setup.network;
    let mut words: Vec<OsString> = Vec::new();
    let mut with = |option: &str, value: OsString| words.extend([option.into(), value]);
    with("--chain", chain.spec.clone().into());
    with("--base-path", setup.data(stage)?.into());
    with("--name", setup.name.clone().into());
    with("--node-key", hex::encode(secret).into());
    with("--listen-addr", format!("/ip4/127.0.0.1/tcp/{p2p}").into());
    with("--rpc-port", rpc.to_string().into());
    with("--prometheus-port", metrics.to_string().into());
    for other in others.iter().filter(|other| **other != setup.address()) {
        with("--bootnodes", other.into());
    }
    match &setup.keys {
        Keys::None => {}
        Keys::Remote { urls, files } => {
            urls.iter().for_each(|url| with("--remote-signer", url.into()));
            with("--remote-signer-cert", files.cert.clone().into());
            with("--remote-signer-key", files.key.clone().into());
            with("--remote-signer-ca", files.ca.clone().into());
            if stage.patched_voter {
                words.push("--patched-voter".into());
            }
        }
        Keys::Disk { password } => with("--password-filename", password.into()),
        Keys::Memory { seed } => with("--in-memory-keys", seed.into()),
    }
    if !matches!(setup.keys, Keys::None) {
        words.push("--validator".into());
    }
    let flags = ["--allow-private-ip", "--no-mdns", "--no-telemetry"];
    // With the levels and the parts of the node that speak.
    let log = ["--detailed-log-output", "--disable-log-color"];
    words.extend(flags.into_iter().chain(log).map(OsString::from));
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_is_the_one_libp2p_makes_of_the_key() {
        // What `inspect-node-key` prints for this one.
        assert_eq!(peer_id([0; 32]), "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN");
    }

    #[test]
    fn a_node_finds_the_others_but_not_itself() {
        let mut setup = NodeSetup::observer("a");
        setup.place().unwrap();
        let before = setup.address();
        setup.place().unwrap();
        assert_eq!(setup.address(), before);
        assert!(!before.contains("/tcp/0/"));
    }
}
