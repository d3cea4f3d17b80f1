//! `signonce audit watch`

use super::usage;
use crate::commands::common::{Done, Reach, say, stdout};
use anyhow::Context as _;
use axum::{Router, routing::get};
use hyper::Uri;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use signonce_cluster::places::PlaceCounts;
use signonce_listen::probes;
use signonce_protocol::{KeyId, KeyType, PublicKey};
use signonce_shared::audit::words;
use signonce_substrate_rpc::{
    http::{Address, Dialer},
    watch::{Plan, WatchEvent, Watcher, sighting::WatchedKey},
};
use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;

/// Follows a chain and raises an alarm for every signature of a registered key that this cluster did not grant.
///
/// Such a signature means that somebody else has the key. The command reads blocks (BABE and AURA seals, forks too),
/// GRANDPA and BEEFY justifications. It needs only public keys, and the viewer's role in the cluster.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A node of the chain: wss://, ws://, https:// or http:// (polled, so forks are not seen).
    #[arg(long, value_name = "URL")]
    chain: Uri,
    /// PEM: authorities for wss:// and https://, in place of this machine's.
    #[arg(long, value_name = "FILE")]
    chain_ca: Option<PathBuf>,
    /// Look for these keys, one TYPE:0xPUBLIC on each line, instead of the cluster's.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Ask no cluster: the keys in --keys must not sign at all, and every signature raises an alarm. For keys that were
    /// taken out of a validator and should be silent.
    #[arg(long, requires = "keys")]
    silent: bool,
    /// How many seconds a signature may take to appear in the cluster's audit.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    grace: u64,
    /// Stop at the first alarm, with exit code 1.
    #[arg(long)]
    exit_on_alarm: bool,
    /// Stop after this many seconds, with exit code 0, 1 if there was an alarm, or 4 if the chain was never seen.
    #[arg(long, value_name = "SECONDS")]
    watch_for: Option<u64>,
    /// Post every alarm, as JSON, to this URL.
    #[arg(long, value_name = "URL")]
    webhook: Option<Uri>,
    /// Serve Prometheus metrics at this address.
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<SocketAddr>,
    /// Also report signatures that the cluster granted.
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    if !matches!(args.chain.scheme_str(), Some("ws" | "wss" | "http" | "https"))
        || args.chain.host().is_none()
    {
        return Err(usage(format!("--chain {}: it must be wss://, ws://, https:// or http://", args.chain)));
    }
    let keys = args.keys.as_deref().map(read_keys).transpose()?;
    let admin = if args.silent { None } else { Some(args.reach.client()?) };
    let dialer = Dialer::new(args.chain_ca.as_deref()).map_err(usage)?;
    let counts = Arc::new(Counts::new());
    let mut tasks = JoinSet::new();
    if let Some(address) = args.metrics {
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot serve metrics at {address}"))?;
        let counts = Arc::clone(&counts);
        let router = Router::new().route("/metrics", get(async move || counts.text()));
        tasks.spawn(probes::serve(listener, router, PlaceCounts::default()));
    }
    let plan = Plan {
        url: args.chain.clone(),
        dialer: dialer.clone(),
        admin,
        keys,
        grace: Duration::from_secs(args.grace),
    };
    let mut hooks = Hooks { dialer, url: args.webhook.clone(), under_way: JoinSet::new() };
    let told = |event: WatchEvent| {
        counts.count(&event);
        let alarm = matches!(event, WatchEvent::Alarm { .. });
        if alarm {
            hooks.post(&event);
        }
        // Nobody reads the output any more, so there is nothing left to do.
        show(&event, &args).is_ok() && !(alarm && args.exit_on_alarm)
    };
    let watching = Watcher::new(plan).run(told);
    match args.watch_for {
        Some(seconds) => {
            if let Ok(ended) = tokio::time::timeout(Duration::from_secs(seconds), watching).await {
                ended?;
            }
        }
        None => watching.await?,
    }
    hooks.wait().await;
    Ok(match (counts.alarms.get(), counts.connections.get()) {
        (1.., _) => ExitCode::FAILURE,
        (_, 0) => ExitCode::from(4),
        _ => ExitCode::SUCCESS,
    })
}

fn read_keys(path: &Path) -> anyhow::Result<Vec<WatchedKey>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| key(line).ok_or_else(|| usage(format!("{line:?} is not TYPE:0xPUBLIC")))).collect()
}

fn key(line: &str) -> Option<WatchedKey> {
    let (key_type, public) = line.split_once(':')?;
    let (key_type, public): (KeyType, PublicKey) = (key_type.parse().ok()?, public.parse().ok()?);
    let scheme = *key_type.schemes().iter().find(|scheme| scheme.public_len() == public.as_bytes().len())?;
    Some(WatchedKey { id: KeyId { key_type, public }, scheme })
}

fn show(event: &WatchEvent, args: &Args) -> io::Result<()> {
    if matches!(event, WatchEvent::Known { .. }) && !args.verbose {
        return Ok(());
    }
    let mut out = stdout();
    if args.reach.output.json {
        writeln!(out, "{}", serde_json::to_string(event)?)?;
    } else {
        writeln!(out, "{}", describe(event))?;
    }
    out.flush()
}

fn describe(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Watching { genesis, keys, missing, blind_secs } => {
            let blind =
                if *blind_secs > 0 { format!(" after {blind_secs} s of blindness") } else { String::new() };
            let missing = match missing.as_slice() {
                [] => String::new(),
                missing => format!("; this node does not offer {}", missing.join(", ")),
            };
            format!("watching {keys} keys on the chain with genesis {genesis}{blind}{missing}")
        }
        WatchEvent::Blind { what, since_ms, why } => {
            format!("BLIND for {what} since {}: {why}; trying again", words::time(*since_ms))
        }
        WatchEvent::AuditBack => "the audit answers again".to_owned(),
        WatchEvent::Known { sighting } => {
            format!("granted here: {} with {}, seen in {}", sighting.duty, sighting.key, sighting.seen_in)
        }
        WatchEvent::Alarm { sighting, time_ms, doubt } => {
            let doubt = doubt.as_ref().map_or_else(String::new, |doubt| format!(" In doubt: {doubt}."));
            format!(
                "ALARM {}: {} was signed with {} (digest {}), seen in {}, and this cluster did not grant it. \
                 Somebody else has this key: disable it (`signonce keys disable {}`), find the copy, set new \
                 session keys.{doubt}",
                words::time(*time_ms),
                sighting.duty,
                sighting.key,
                sighting.digest,
                sighting.seen_in,
                sighting.key
            )
        }
        WatchEvent::Unclear { what } => format!("unclear: {what}"),
    }
}

/// Posts alarms to the webhook.
struct Hooks {
    dialer: Dialer,
    url: Option<Uri>,
    under_way: JoinSet<()>,
}

/// Attempts to deliver an alarm, with growing pauses between them.
const TRIES: u32 = 5;

impl Hooks {
    fn post(&mut self, event: &WatchEvent) {
        let (Some(url), Ok(body)) = (self.url.clone(), serde_json::to_string(event)) else { return };
        let dialer = self.dialer.clone();
        self.under_way.spawn(async move {
            for attempt in 0..TRIES {
                let why = match dialer.post(&url, body.clone()).await {
                    Ok((200..=299, _)) => return,
                    Ok((status, _)) => format!("{} answered {status}", Address::of(&url)),
                    Err(why) => why,
                };
                say!("signonce: the alarm could not be delivered: {why}");
                tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
            }
        });
    }

    async fn wait(mut self) {
        while self.under_way.join_next().await.is_some() {}
    }
}

/// The metrics that `--metrics` serves.
struct Counts {
    registry: Registry,
    alarms: Counter,
    known: Counter,
    unclear: Counter,
    connections: Counter,
    seeing: Gauge,
    audit: Gauge,
}

impl Counts {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("signonce_watch");
        let [alarms, known, unclear, connections] = [(); 4].map(|()| Counter::default());
        let [seeing, audit] = [(); 2].map(|()| Gauge::default());
        audit.set(1);
        registry.register("alarms", "Signatures on chain that the cluster did not grant", alarms.clone());
        registry.register("known", "Signatures on chain that the cluster granted", known.clone());
        registry.register("unclear", "Things on chain that could not be checked", unclear.clone());
        registry.register("connections", "Connections made to the chain", connections.clone());
        registry.register("chain_visible", "Whether the chain is seen", seeing.clone());
        registry.register("audit_visible", "Whether the cluster's audit is seen", audit.clone());
        Self { registry, alarms, known, unclear, connections, seeing, audit }
    }

    fn count(&self, event: &WatchEvent) {
        match event {
            WatchEvent::Watching { .. } => {
                self.connections.inc();
                self.seeing.set(1);
            }
            WatchEvent::Blind { what, .. } => {
                if what == "the audit" { &self.audit } else { &self.seeing }.set(0);
            }
            WatchEvent::AuditBack => {
                self.audit.set(1);
            }
            WatchEvent::Known { .. } => {
                self.known.inc();
            }
            WatchEvent::Alarm { .. } => {
                self.alarms.inc();
            }
            WatchEvent::Unclear { .. } => {
                self.unclear.inc();
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_substrate::{ECDSA, SR25519};

    #[test]
    fn keys_are_read_by_type_and_length() {
        signonce_shared::families::install();
        let babe = format!("babe:0x{}", "07".repeat(32));
        assert_eq!(key(&babe).unwrap().scheme, SR25519);
        let beef = format!("beef:0x02{}", "07".repeat(32));
        assert_eq!(key(&beef).unwrap().scheme, ECDSA);
        assert!(key("babe:0x07").is_none() && key("nothing").is_none());
    }
}
