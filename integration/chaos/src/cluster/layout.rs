//! How a cluster is created on disk: `signonce dev` of the program under test makes certificates, stores, chain and
//! keys; then the nodes' configurations are changed so that their connections to each other pass through this program.

use super::{Cluster, GUEST, Key, LOOK, Plan, SLOT_MS, client_name, tail};
use crate::{
    net::{packets::Packets, proxy::Proxy},
    process::{CommandLine, Signal, ended},
};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use signonce_protocol::ChainId;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long `signonce dev` may take to lay a cluster out.
const LAYOUT: Duration = Duration::from_secs(120);

/// The line that `signonce dev --json` prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ready {
    pub admin: String,
    pub ca: PathBuf,
    pub chain: Chain,
    pub keys: Vec<Key>,
}

#[derive(Deserialize)]
pub(super) struct Chain {
    pub genesis: ChainId,
}

impl Cluster {
    /// Every node reaches every other one through a proxy of its own.
    pub(super) async fn join_by_proxies(
        &mut self,
        configs: &mut BTreeMap<u64, toml::Table>,
    ) -> anyhow::Result<()> {
        let peers: BTreeMap<u64, SocketAddr> = configs
            .iter()
            .map(|(id, config)| Ok((*id, listen(config, "peer")?)))
            .collect::<anyhow::Result<_>>()?;
        // `signonce dev` takes blocks of ports by holding their first, just below node 1's; so do we.
        let first = peers.get(&1).context("there is a node 1")?;
        self._guard = TcpListener::bind((first.ip(), first.port() - 1)).ok();
        for (id, config) in configs.iter_mut() {
            for (other, target) in peers.iter().filter(|(other, _)| *other != id) {
                let proxy = Proxy::start(*id, *other, *target, &self.links).await?;
                set_member(config, *other, "peer", &proxy.address.to_string())?;
                self.proxies.push(proxy);
            }
        }
        Ok(())
    }

    /// Every node gets a network of its own, and certificates for its address there.
    pub(super) async fn join_by_packets(
        &mut self,
        configs: &mut BTreeMap<u64, toml::Table>,
    ) -> anyhow::Result<()> {
        let packets = Packets::start(self.plan.nodes, &self.links, &self.dir.join("rooms.log")).await?;
        let certs = self.dir.join("certs");
        let mut moved = BTreeMap::new();
        for (id, config) in configs.iter_mut() {
            let ip = IpAddr::V4(packets.address(*id));
            for name in ["peer", "client", "admin", "metrics"] {
                let address = SocketAddr::new(ip, listen(config, name)?.port());
                section(config, "listen")?.insert(name.into(), address.to_string().into());
                moved.insert((*id, name), address);
            }
            let cluster =
                section(config, "cluster")?["id"].as_str().context("a cluster has an id")?.to_owned();
            for suffix in ["", "-key"] {
                fs::remove_file(certs.join(format!("node-{id}{suffix}.pem")))?;
            }
            let node = id.to_string();
            let words = ["certs", "issue", "node", "--id", &node, "--cluster", &cluster, "--host"];
            let binary = [self.plan.binary.clone().into_os_string()];
            let ip = ip.to_string();
            let rest = words.into_iter().chain([ip.as_str(), "--dir"]).map(OsString::from);
            CommandLine::new(binary.into_iter().chain(rest).chain([certs.clone().into()])).run()?;
        }
        for config in configs.values_mut() {
            for id in 1..=self.plan.nodes {
                set_member(config, id, "peer", &moved[&(id, "peer")].to_string())?;
                set_member(config, id, "client_url", &format!("https://{}", moved[&(id, "client")]))?;
            }
        }
        self.packets = Some(packets);
        Ok(())
    }
}

/// Runs `signonce dev` until it has laid out and filled a cluster, and ends it.
pub(super) async fn lay_out(plan: &Plan, dir: &Path) -> anyhow::Result<Ready> {
    let out = dir.with_extension("json");
    let mut words: Vec<OsString> =
        vec![plan.binary.clone().into(), "dev".into(), "--json".into(), "--dir".into()];
    words.push(dir.into());
    for (flag, value) in
        [("--nodes", plan.nodes), ("--validators", plan.validators), ("--slot-duration", SLOT_MS)]
    {
        words.extend([flag.into(), value.to_string().into()]);
    }
    let clients = (1..=plan.clients).map(client_name).chain([GUEST.into()]);
    clients.for_each(|name| words.extend(["--client".into(), name.into()]));
    let dev = CommandLine::new(words).start(&out)?;
    let deadline = Instant::now() + LAYOUT;
    let line = loop {
        let text = fs::read_to_string(&out).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with('{') && text.ends_with('\n')) {
            break line.to_owned();
        }
        ensure!(dev.pid().is_some(), "`signonce dev` ended: {}", tail(&text));
        ensure!(Instant::now() < deadline, "`signonce dev` lays no cluster out in {LAYOUT:?}");
        sleep(LOOK).await;
    };
    let ready: Ready =
        serde_json::from_str(&line).with_context(|| format!("`signonce dev` printed {line:?}"))?;
    lift_limits(plan, &ready.admin).await?;
    dev.signal(Signal::TERM)?;
    ended(&dev, Duration::from_secs(60)).await?;
    // Its nodes end with it; their logs are not those that are read later.
    for id in 1..=plan.nodes {
        fs::write(dir.join(format!("node-{id}/log")), "")?;
    }
    Ok(ready)
}

/// A storm asks more than a cluster allows by default, which is not what it tests, so its clients' limits are lifted.
/// The guest keeps the default limits.
async fn lift_limits(plan: &Plan, admin: &str) -> anyhow::Result<()> {
    limit(plan, admin, &["--everyone"], ["1000000"; 3]).await?;
    limit(plan, admin, &[GUEST], ["1000", "2000", "256"]).await
}

/// A program from before there were limits has none.
async fn limit(plan: &Plan, admin: &str, who: &[&str], limits: [&str; 3]) -> anyhow::Result<()> {
    let [per_second, burst, in_flight] = limits;
    let numbers = ["--per-second", per_second, "--burst", burst, "--in-flight", in_flight];
    let mut command = tokio::process::Command::new(&plan.binary);
    command.args(["clients", "limits"]).args(who).args(numbers).args(["--yes", "--admin", admin]);
    let done = command.output().await?;
    let said = String::from_utf8_lossy(&done.stderr);
    let unknown = said.contains("unrecognized subcommand") || said.contains("feature level");
    ensure!(done.status.success() || unknown, "the limits of clients are not set: {said}");
    Ok(())
}

pub(super) fn section<'a>(config: &'a mut toml::Table, name: &str) -> anyhow::Result<&'a mut toml::Table> {
    let section = config.get_mut(name).and_then(toml::Value::as_table_mut);
    section.with_context(|| format!("a configuration has [{name}]"))
}

pub(super) fn listen(config: &toml::Table, name: &str) -> anyhow::Result<SocketAddr> {
    let address = config.get("listen").and_then(|listen| listen.get(name)).and_then(toml::Value::as_str);
    Ok(address.with_context(|| format!("a configuration has listen.{name}"))?.parse()?)
}

fn set_member(config: &mut toml::Table, id: u64, name: &str, value: &str) -> anyhow::Result<()> {
    let members = section(config, "cluster")?.get_mut("members").and_then(toml::Value::as_array_mut);
    let mut tables =
        members.context("a cluster has members")?.iter_mut().filter_map(toml::Value::as_table_mut);
    let member = tables.find(|member| member["id"].as_integer() == i64::try_from(id).ok());
    member.with_context(|| format!("there is a member {id}"))?.insert(name.into(), value.into());
    Ok(())
}

/// A port that nobody listens on, below the ephemeral ones.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let tries = std::iter::repeat_with(|| rand::random_range(10_000..12_000)).take(200);
    let mut free = tries.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().context("no free port on loopback")
}
