//! `signonce bench`: what a protected signature costs on this machine.
//!
//! Three real signers on loopback with mutual TLS, measured through the same client that validators use. Each protected
//! signature is measured in turn with a bare one and a bare `append + fdatasync` of the same bytes, so that a slow disk
//! or a busy machine slows all three: the ratios can be compared between machines.
//!
//! Many distinct duties are obtained in two ways. One GRANDPA key: rounds may advance at any speed, three votes in
//! each, far inside the jump limit. Many BABE keys: a slot is only signed close to its own time, so the chain's slots
//! are 100 ms short, and each of 1,000 keys may seal ten blocks a second.

mod bare;
mod latency;
mod load;
mod report;

use crate::{
    commands::common::say,
    dev::{DevKey, LocalCluster, LocalOptions, rss_mib},
};
use anyhow::Context as _;
use report::{Machine, Report};
use signonce_core::{Change, ClientLimits, MAX_CLIENT_LIMIT};
use signonce_protocol::client::{SignerClient, Timeouts};
use signonce_shared::signals::StopSignals;
use signonce_substrate::{BABE, ChainFormat, ChainSettings, GRANDPA, Limits};
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

/// Milliseconds of a slot; see the module.
const SLOT_MS: u64 = 100;
/// How long the cluster may take to form.
const FORMING: Duration = Duration::from_secs(60);
/// The client's name.
const CLIENT: &str = "bench";

/// Arguments of `signonce bench`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Take fewer samples: some seconds instead of a minute.
    #[arg(long)]
    quick: bool,
    /// Print the results as one JSON object.
    #[arg(long)]
    json: bool,
    /// How many keys the signers hold in the second half.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    keys: u64,
    /// Where the signers keep their data: an empty directory on the disk to be measured. By default the system's
    /// directory for temporary files, which may be in memory.
    #[arg(long, value_name = "EMPTY DIRECTORY")]
    dir: Option<PathBuf>,
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Samples of each latency.
    samples: usize,
    /// The duration of each load.
    load: Duration,
    /// Concurrent clients.
    clients: [usize; 3],
}

impl Plan {
    fn of(args: &Args) -> Self {
        let clients = [1, 16, 256];
        if args.quick {
            Self { samples: 300, load: Duration::from_millis(1_500), clients }
        } else {
            Self { samples: 3_000, load: Duration::from_secs(8), clients }
        }
    }
}

/// The cluster and keys that are measured.
struct Bench {
    cluster: LocalCluster,
    plan: Plan,
    grandpa: DevKey,
    babe: Vec<DevKey>,
}

impl Bench {
    fn client(&self) -> anyhow::Result<SignerClient> {
        super::demo::client(&self.cluster, CLIENT, Timeouts::default())
    }

    /// The processor time of all signers so far.
    fn signers_cpu(&self) -> Option<Duration> {
        let pids = self.cluster.node_ids().into_iter().filter_map(|id| self.cluster.pid(id));
        pids.map(report::cpu_time).sum()
    }
}

/// The chain of a benchmark, as its payloads are read.
pub(super) fn chain(genesis: signonce_protocol::ChainId) -> signonce_protocol::Chain {
    let (format, limits) = (ChainFormat::default(), Limits::default());
    ChainSettings { format, slot_duration_ms: SLOT_MS, limits }.chain(genesis, "bench")
}

/// Measures and prints the results.
///
/// # Errors
/// If the cluster cannot be made, or a request fails: a benchmark of a broken cluster says nothing.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let temporary = tempfile::Builder::new().prefix("signonce-bench-").tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let options = LocalOptions {
        clients: vec![CLIENT.into()],
        chain_name: "bench".into(),
        slot_duration_ms: SLOT_MS,
        extra_keys: usize::try_from(args.keys)?,
        ..LocalOptions::default()
    };
    let cluster = LocalCluster::create(&dir.join("cluster"), options)?;
    // A signal ends the run in order, so that no process is left behind.
    let mut signals = StopSignals::listen()?;
    let report = tokio::select! {
        report = measure(cluster, &args, &dir) => report?,
        signal = signals.next() => anyhow::bail!("{signal}: nothing was measured"),
    };
    super::common::Output { json: args.json }.print(&report, report.table())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(mut cluster: LocalCluster, args: &Args, dir: &std::path::Path) -> anyhow::Result<Report> {
    cluster.start_all()?;
    cluster.wait_ready(FORMING).await.context("the signers do not form a cluster")?;
    say!("making {} keys", args.keys);
    let keys = cluster.provision().await?;
    // The cluster is to be measured, not its limits on one client.
    let limits =
        ClientLimits { per_second: MAX_CLIENT_LIMIT, burst: MAX_CLIENT_LIMIT, in_flight: MAX_CLIENT_LIMIT };
    let unlimited = Change::SetClientLimits { name: Some(CLIENT.into()), limits: Some(limits) };
    cluster.admin(1).change(&unlimited).await?;
    let grandpa = keys.iter().find(|key| key.key_type == GRANDPA).context("no gran key was made")?;
    let babe: Vec<DevKey> = keys.iter().filter(|key| key.key_type == BABE).cloned().collect();
    let bench = Arc::new(Bench { plan: Plan::of(args), grandpa: grandpa.clone(), babe, cluster });
    say!("measuring latencies");
    let latency = latency::measure(&bench, dir).await?;
    let mut loads = Vec::new();
    for many in [false, true] {
        for clients in bench.plan.clients {
            let keys = if many { bench.babe.len() } else { 1 };
            say!("measuring the throughput of {clients} clients over {keys} keys");
            loads.push(load::measure(&bench, clients, many).await?);
        }
    }
    let memory = bench.cluster.node_ids().into_iter().filter_map(|id| bench.cluster.pid(id)).map(rss_mib);
    let memory_mib = memory.collect::<anyhow::Result<Vec<f64>>>()?;
    Ok(Report { machine: Machine::this(), keys: bench.babe.len(), latency, loads, memory_mib })
}
