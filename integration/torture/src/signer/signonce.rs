//! Signonce: a cluster of three, laid out by `signonce dev` of the program under test, asked for GRANDPA votes. Each
//! line leads to one machine, so that two lines are two machines.

use super::{Answer, Duty, How, Instance, Kind, Side};
use crate::{
    files::copy_dir,
    process::{CommandLine, Process, started_as},
};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use signonce_protocol::{
    ChainId, PublicKey, RawPayload, blake2_256,
    client::{ClientConfig, ClientError, SignerClient, Timeouts, TlsSource},
    rpc::{ChainRef, SignParams},
};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Signers of a cluster.
const MACHINES: usize = 3;
/// How long `signonce dev` may take.
const LAYOUT: Duration = Duration::from_secs(120);
/// How long a connection may take.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// Longer than any question is asked for.
const LONG: Duration = Duration::from_secs(60);
/// How long a process may take to end in order.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// The program under test, and a cluster that was created once and is copied for every case.
pub struct Signonce {
    binary: PathBuf,
    version: String,
    runtime: Arc<Runtime>,
    template: TempDir,
    ready: Arc<Ready>,
    /// Keeps other clusters from these ports while ours is down.
    _guard: Option<TcpListener>,
}

/// What `signonce dev --json` prints.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    ca: PathBuf,
    client_cert: PathBuf,
    client_key: PathBuf,
    chain: Chain,
    keys: Vec<Key>,
}

#[derive(Clone, Deserialize)]
struct Chain {
    genesis: ChainId,
}

#[derive(Clone, Deserialize)]
struct Key {
    #[serde(rename = "type")]
    key_type: String,
    public: PublicKey,
}

impl Signonce {
    /// Lays a cluster out.
    ///
    /// # Errors
    /// If the program does not do its part.
    pub fn new(original: &Path) -> anyhow::Result<Self> {
        let template = tempfile::Builder::new().prefix("signonce-torture-").tempdir()?;
        // A copy, as the program may be rebuilt in the meantime.
        let binary = template.path().join("signonce");
        fs::copy(original, &binary)?;
        let version = CommandLine::new([&binary]).and("--version").run()?.trim().to_owned();
        let ready = lay_out(&binary, template.path())?;
        // `signonce dev` takes blocks of ports by holding their first, just below node 1's; so do we.
        let config = read_config(&template.path().join("cluster/node-1"))?;
        let peer: SocketAddr = config["listen"]["peer"].as_str().context("a peer address")?.parse()?;
        let _guard = TcpListener::bind((peer.ip(), peer.port() - 1)).ok();
        let runtime = Arc::new(Runtime::new()?);
        Ok(Self { binary, version, runtime, template, ready: Arc::new(ready), _guard })
    }
}

/// Runs `signonce dev` until it has laid out and filled a cluster, and ends it.
fn lay_out(binary: &Path, dir: &Path) -> anyhow::Result<Ready> {
    let out = dir.join("ready.json");
    let line = CommandLine::new([binary]).and("dev").and("--json").and("--dir").and(dir.join("cluster"));
    let dev = line.and("--validators").and("1").start(&out)?;
    let deadline = Instant::now() + LAYOUT;
    let line = loop {
        let text = fs::read_to_string(&out).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with('{') && text.ends_with('\n')) {
            break line.to_owned();
        }
        ensure!(dev.runs(), "`signonce dev` ended: {}", text.trim());
        ensure!(Instant::now() < deadline, "`signonce dev` lays no cluster out in {LAYOUT:?}");
        sleep(Duration::from_millis(50));
    };
    dev.stop(ENDS_WITHIN);
    serde_json::from_str(&line).with_context(|| format!("`signonce dev` printed {line:?}"))
}

impl Kind for Signonce {
    fn name(&self) -> &'static str {
        "signonce"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn machines(&self) -> usize {
        MACHINES
    }

    fn fresh(&self, home: &Path) -> anyhow::Result<Box<dyn Instance>> {
        let mut machines = Vec::new();
        for id in 1..=MACHINES {
            let node = home.join(format!("node-{id}"));
            copy_dir(&self.template.path().join(format!("cluster/node-{id}")), &node)?;
            machines.push(Machine::at(node, &self.ready)?);
        }
        self.instance(machines)
    }
}

impl Signonce {
    fn instance(&self, machines: Vec<Machine>) -> anyhow::Result<Box<dyn Instance>> {
        let cluster = Cluster {
            binary: self.binary.clone(),
            runtime: Arc::clone(&self.runtime),
            ready: Arc::clone(&self.ready),
            machines,
        };
        cluster.gran()?;
        Ok(Box::new(cluster))
    }
}

/// One signer of a cluster.
struct Machine {
    home: PathBuf,
    client: SignerClient,
    process: Mutex<Option<Process>>,
}

impl Machine {
    fn at(home: PathBuf, ready: &Ready) -> anyhow::Result<Self> {
        let config = read_config(&home)?;
        let address = config["listen"]["client"].as_str().context("a client address")?;
        let tls = TlsSource::Files {
            ca: ready.ca.clone(),
            cert: ready.client_cert.clone(),
            key: ready.client_key.clone(),
        };
        // Only this machine: a request that it does not answer has no answer.
        let timeouts = Timeouts { connect: CONNECTS_WITHIN, attempt: LONG, deadline: LONG };
        let client =
            SignerClient::new(ClientConfig { urls: vec![format!("https://{address}")], tls, timeouts })?;
        Ok(Self { home, client, process: Mutex::new(None) })
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_config(home: &Path) -> anyhow::Result<toml::Table> {
    Ok(fs::read_to_string(home.join("signonce.toml"))?.parse()?)
}

struct Cluster {
    binary: PathBuf,
    runtime: Arc<Runtime>,
    ready: Arc<Ready>,
    machines: Vec<Machine>,
}

impl Cluster {
    fn gran(&self) -> anyhow::Result<&Key> {
        let keys = &self.ready.keys;
        keys.iter().find(|key| key.key_type == "gran").context("`signonce dev` makes a GRANDPA key")
    }
}

impl Instance for Cluster {
    fn public(&self) -> [u8; 32] {
        let key = self.gran().map(|key| key.public.as_bytes().to_vec()).unwrap_or_default();
        key.try_into().unwrap_or_default()
    }

    /// SCALE of (stage and target, round, set), as `sp_consensus_grandpa` lays a vote out.
    fn message(&self, duty: Duty, side: Side) -> Vec<u8> {
        let (set, round, stage) = place(duty);
        let target = blake2_256(format!("block {round} {side:?}").as_bytes());
        let number = u32::try_from(round % 1_000_000).unwrap_or_default();
        [&[stage][..], &target, &number.to_le_bytes(), &round.to_le_bytes(), &set.to_le_bytes()].concat()
    }

    fn place(&self, duty: Duty) -> String {
        let (set, round, stage) = place(duty);
        format!("GRANDPA set {set}, round {round}, {}", if stage == 0 { "prevote" } else { "precommit" })
    }

    fn lines(&self) -> usize {
        self.machines.len()
    }

    fn memory(&self) -> Vec<PathBuf> {
        self.machines.iter().map(|machine| machine.home.join("data")).collect()
    }

    fn remembers(&self, file: &Path) -> bool {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // RocksDB's text logs, its lock and its record of options hold nothing of what was signed.
        !(name == "LOCK" || name.starts_with("LOG") || name.starts_with("OPTIONS"))
    }

    fn start(&self, how: &How) -> anyhow::Result<()> {
        for (at, machine) in self.machines.iter().enumerate() {
            let mut process = machine.process();
            if process.as_ref().is_some_and(Process::runs) {
                continue;
            }
            let config = machine.home.join("signonce.toml");
            let line = CommandLine::new([&self.binary]).and("start").and("--config").and(config);
            *process = Some(started_as(line, how, at)?.start(&machine.home.join("log"))?);
        }
        Ok(())
    }

    fn kill(&self) {
        // All are killed first and waited for afterwards: one power cut.
        self.machines.iter().for_each(|machine| {
            machine.process().as_ref().inspect(|process| process.kill());
        });
        self.machines.iter().for_each(|machine| drop(machine.process().take()));
    }

    fn stop(&self, machines: usize) {
        for machine in self.machines.iter().take(machines) {
            if let Some(process) = machine.process().take() {
                process.stop(ENDS_WITHIN);
            }
        }
    }

    fn ask(&self, line: usize, duty: Duty, side: Side, patience: Duration) -> Answer {
        let params = SignParams {
            chain: ChainRef::Id(self.ready.chain.genesis),
            key: self.gran().expect("looked up when it was made").public,
            payload: RawPayload::new(signonce_substrate::Kind::GrandpaVote.into(), self.message(duty, side)),
        };
        let client = self.machines[line].client.with_deadline(patience);
        let answer = self.runtime.block_on(client.sign(&params));
        match answer {
            Ok(reply) => Answer::Signed(reply.signature.0),
            Err(ClientError::Refused(why)) => Answer::Refused(why.to_string()),
            Err(other) => Answer::Silent(other.to_string()),
        }
    }

    fn copy(&self, home: &Path, whole: bool) -> anyhow::Result<Box<dyn Instance>> {
        let originals = &self.machines[..if whole { self.machines.len() } else { 1 }];
        let mut configs = Vec::new();
        for machine in originals {
            let copy = home.join(machine.home.file_name().context("a machine has a directory")?);
            copy_dir(&machine.home, &copy)?;
            let mut config = read_config(&copy)?;
            for name in ["peer", "client", "admin", "metrics"] {
                config["listen"][name] = free_address()?.to_string().into();
            }
            configs.push((copy, config));
        }
        if whole {
            lead_to_each_other(&mut configs)?;
        }
        let mut machines = Vec::new();
        for (copy, config) in configs {
            fs::write(copy.join("signonce.toml"), config.to_string())?;
            machines.push(Machine::at(copy, &self.ready)?);
        }
        let (binary, runtime) = (self.binary.clone(), Arc::clone(&self.runtime));
        Ok(Box::new(Cluster { binary, runtime, ready: Arc::clone(&self.ready), machines }))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Set, round and stage of a duty: two stages a round.
fn place(Duty(n): Duty) -> (u64, u64, u8) {
    (1, 1 + n / 2, u8::from(n % 2 == 1))
}

/// The members of a copied cluster know each other, and not the originals.
fn lead_to_each_other(configs: &mut [(PathBuf, toml::Table)]) -> anyhow::Result<()> {
    let mut addresses = Vec::new();
    for (_, config) in configs.iter() {
        let listen = |name: &str| config["listen"][name].as_str().unwrap_or_default().to_owned();
        addresses.push((config["node"]["id"].clone(), listen("peer"), listen("client")));
    }
    for (_, config) in configs {
        let members = config["cluster"]["members"].as_array_mut().context("a cluster has members")?;
        for member in members {
            let of =
                addresses.iter().find(|(id, ..)| *id == member["id"]).context("every member is copied")?;
            member["peer"] = of.1.clone().into();
            member["client_url"] = format!("https://{}", of.2).into();
        }
    }
    Ok(())
}

/// An address that nobody listens on, below the ephemeral ports.
fn free_address() -> anyhow::Result<SocketAddr> {
    let tries =
        std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], rand::random_range(12_000..14_000))));
    tries.take(200).find(|address| TcpListener::bind(address).is_ok()).context("no free port on loopback")
}
