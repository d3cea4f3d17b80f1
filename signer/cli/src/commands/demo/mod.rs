//! `signonce demo`: three real signers, two validators that race for every duty with the same keys, a killed leader, a
//! frozen node, and a checker at the end.
//!
//! [`run`] starts a cluster of processes in a throw-away directory, runs [`race`] and `trouble` against it, shows
//! `view`, and has [`checker`] judge what the validators received. It fails if any duty was signed twice, any signature
//! or VRF is wrong, or nothing was signed at all.

pub mod chain;
pub mod checker;
pub mod race;
mod trouble;
pub mod validator;
mod view;

use crate::dev::{DevKey, LocalCluster, LocalOptions};
use anyhow::Context as _;
use checker::{Checker, Findings};
use race::{Keys, Race};
use signonce_protocol::{
    KeyType,
    client::{ClientConfig, SignerClient, Timeouts, TlsSource},
};
use signonce_substrate::{BABE, BEEFY, GRANDPA, PARA};
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::unbounded_channel;
use validator::{DemoKey, Notes, Tally, Validator};
use view::{Leadership, Summary, View, put};

/// The slot length, in milliseconds. Polkadot's six seconds would leave a short demo few slots to race for.
const SLOT_MS: u64 = 1_000;
/// How long the cluster may take to form.
const FORMING: Duration = Duration::from_secs(60);
/// How long a duty that is under way may take after the end.
const LAST_DUTIES: Duration = Duration::from_secs(15);
/// The names of the validators, as their certificates have them.
const VALIDATORS: [&str; 2] = ["validator-a", "validator-b"];

/// Arguments of `signonce demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many seconds the validators race.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(4..=86_400))]
    pub seconds: u64,
    /// Print nothing but the summary, as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The directory of the signers, which is kept. By default a temporary one.
    #[arg(long, value_name = "EMPTY DIRECTORY")]
    pub dir: Option<PathBuf>,
}

/// Runs the demo. The exit code tells whether it succeeded.
///
/// # Errors
/// If the cluster cannot be made, or does not recover from what is done to it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let temporary = tempfile::Builder::new().prefix("signonce-demo-").tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().join("cluster"));
    let mut view = View::new(args.json);
    view.event("three signers and their certificates are made");
    let options = LocalOptions {
        clients: VALIDATORS.map(str::to_owned).to_vec(),
        chain_name: "polkadot-demo".into(),
        slot_duration_ms: SLOT_MS,
        ..LocalOptions::default()
    };
    let mut cluster = LocalCluster::create(&dir, options)?;
    // The race begins only once everything is ready; an interrupt ends it in order, so that no process is left.
    let mut stop = std::pin::pin!(stopped());
    let summary = tokio::select! {
        summary = race_and_check(&mut cluster, &args, &mut view) => summary?,
        () = &mut stop => {
            drop(cluster);
            anyhow::bail!("interrupted; nothing was judged");
        }
    };
    drop(cluster);
    if args.json {
        put(&serde_json::to_string(&summary)?);
    } else {
        summary.print();
    }
    Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for SIGINT or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

async fn race_and_check(cluster: &mut LocalCluster, args: &Args, view: &mut View) -> anyhow::Result<Summary> {
    cluster.start_all()?;
    cluster.wait_ready(FORMING).await.context("the signers do not form a cluster")?;
    view.event("the signers have formed a cluster");
    let keys = keys(&cluster.provision().await?)?;
    view.event("one chain, generated session keys, two validators that share them");

    let (receipts, inbox) = mpsc::channel();
    let judge = thread::spawn(move || {
        let mut checker = Checker::default();
        inbox.iter().for_each(|receipt| checker.add(&receipt));
        checker.finish()
    });
    let notes = Arc::new(Notes::new(receipts));
    let [a, b] = VALIDATORS;
    let pair = [validator(cluster, a, 0, &notes)?, validator(cluster, b, 1, &notes)?];
    let race = Arc::new(Race::new(pair, keys, SLOT_MS));
    let raced = Instant::now();
    let mut shown = storm(cluster, args, view, &race, &notes).await?;
    shown.total.merge(&notes.take());
    let (vrf_faults, seconds) = (race.vrf_faults(), raced.elapsed().as_secs_f64());
    // The checker ends when nobody is left to send it anything.
    drop((race, notes));
    let findings = tokio::task::spawn_blocking(move || judge.join()).await?;
    let findings = findings.map_err(|_| anyhow::anyhow!("the checker itself failed"))?;
    Ok(summary(shown, findings, vrf_faults, seconds))
}

/// What was observed during the race.
struct RaceResult {
    total: Tally,
    events: Vec<String>,
    term: u64,
}

/// Runs the race, with trouble, until both are over.
async fn storm(
    cluster: &mut LocalCluster,
    args: &Args,
    view: &mut View,
    race: &Arc<Race>,
    notes: &Notes,
) -> anyhow::Result<RaceResult> {
    let length = Duration::from_secs(args.seconds);
    let status = race.pair[0].client.with_deadline(Duration::from_millis(700));
    let (events, mut news) = unbounded_channel();
    let mut shown = RaceResult { total: Tally::default(), events: Vec::new(), term: 0 };
    let mut tasks = race.begin();
    let mut trouble = std::pin::pin!(trouble::make(cluster, length, &events));
    let mut troubled = false;
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    clock.tick().await;
    let end = tokio::time::Instant::now() + length;
    while !troubled || tokio::time::Instant::now() < end {
        tokio::select! {
            done = &mut trouble, if !troubled => {
                done?;
                troubled = true;
            }
            Some(event) = news.recv() => {
                view.event(&event);
                shown.events.push(event);
            }
            Some(ended) = tasks.join_next() => {
                ended.context("a validator ended by itself")?;
            }
            _ = clock.tick() => {
                let second = notes.take();
                shown.total.merge(&second);
                let status = status.status().await.ok();
                let leadership = status.map_or_else(Leadership::default, |status| Leadership {
                    leader: status.leader.map(|leader| leader.0),
                    term: status.term.0,
                });
                shown.term = shown.term.max(leadership.term);
                view.second(leadership, &second, &shown.total);
            }
        }
    }
    race.stop();
    let ended = tokio::time::timeout(LAST_DUTIES, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tasks.shutdown().await;
    }
    while let Ok(event) = news.try_recv() {
        view.event(&event);
        shown.events.push(event);
    }
    Ok(shown)
}

fn summary(shown: RaceResult, findings: Findings, vrf_faults: u64, seconds: f64) -> Summary {
    let RaceResult { total, events, term } = shown;
    Summary {
        seconds,
        signed: total.signed,
        repeated: total.repeated,
        vrfs: total.vrfs,
        vrf_faults,
        checked: findings.receipts,
        duties: findings.duties,
        violations: findings.violations.iter().map(ToString::to_string).collect(),
        p50_ms: total.latency_ms(0.5),
        p99_ms: total.latency_ms(0.99),
        max_ms: total.latency_ms(1.0),
        refused: total.refused,
        unanswered: total.unanswered,
        events,
        term,
    }
}

fn validator(cluster: &LocalCluster, name: &str, view: u64, notes: &Arc<Notes>) -> anyhow::Result<Validator> {
    Ok(Validator {
        name: name.into(),
        view: chain::Flavour(view),
        client: client(cluster, name, Timeouts::default())?,
        genesis: cluster.genesis(),
        notes: Arc::clone(notes),
    })
}

/// A client of all the cluster's signers, with the certificate of the client called `name`.
///
/// # Errors
/// If the certificate cannot be read.
pub fn client(cluster: &LocalCluster, name: &str, timeouts: Timeouts) -> anyhow::Result<SignerClient> {
    let files = cluster.client_tls(name);
    let tls = TlsSource::Files { ca: files.ca, cert: files.cert, key: files.key };
    Ok(SignerClient::new(ClientConfig { urls: cluster.urls(), tls, timeouts })?)
}

fn keys(made: &[DevKey]) -> anyhow::Result<Keys> {
    let of = |key_type: KeyType| {
        let key = made.iter().find(|key| key.key_type == key_type);
        let DevKey { scheme, public, .. } = *key.with_context(|| format!("no {key_type} key was made"))?;
        anyhow::Ok(DemoKey { scheme, public })
    };
    Ok(Keys { babe: of(BABE)?, grandpa: of(GRANDPA)?, beefy: of(BEEFY)?, para: of(PARA)? })
}
