//! `signonce race`: the two racing validators of the demo, against a cluster that runs elsewhere.
//!
//! For testing a cluster before real keys are on it, and for watching it during an upgrade or a drain.

use super::{
    common::{Done, Output},
    demo::{
        chain::Flavour,
        checker::Checker,
        race::{Keys, Race},
        validator::{DemoKey, Notes, Tally, Validator},
    },
};
use anyhow::Context as _;
use serde_json::json;
use signonce_protocol::{
    KeyType,
    client::{ClientConfig, SignerClient, Timeouts, TlsSource},
    rpc::KeyInfo,
};
use signonce_shared::signals::StopSignals;
use signonce_substrate::{BABE, BEEFY, GRANDPA, PARA, SessionIndex, SetId};
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How long a duty that is under way may take after the end.
const LAST_DUTIES: Duration = Duration::from_secs(15);

/// Races two validators for every duty of test keys, and checks what they receive.
///
/// The client must have rights to a `babe`, a `gran`, a `beef` and a `para` key of one chain. NEVER use it with keys of
/// a real validator: it votes for blocks that do not exist, and although no duty is signed twice, the real votes of
/// those rounds would be refused.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A signer's client port. Repeatable.
    #[arg(long = "url", value_name = "URL", required = true)]
    urls: Vec<String>,
    /// PEM: the client's certificate.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// PEM: its private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// PEM: the authority of the signers' certificates.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The chain of the test keys, by name.
    #[arg(long)]
    chain: String,
    /// The length of a slot of that chain in milliseconds.
    #[arg(long, default_value_t = 6_000)]
    slot_ms: u64,
    /// Confirms that these are test keys, which no chain uses.
    #[arg(long, required = true)]
    these_are_test_keys: bool,
    /// How many seconds to race. Ctrl-C or SIGTERM ends it earlier, in order.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(args: Args) -> Done {
    let tls = TlsSource::Files { ca: args.ca.clone(), cert: args.cert.clone(), key: args.key.clone() };
    let config = ClientConfig { urls: args.urls.clone(), tls, timeouts: Timeouts::default() };
    let client = SignerClient::new(config)?;
    let mine: Vec<KeyInfo> = client.keys().await?.into_iter().filter(|k| k.chain == args.chain).collect();
    let genesis =
        mine.first().with_context(|| format!("no key of chain {} may be used", args.chain))?.genesis;
    let keys = Keys {
        babe: of_type(&mine, BABE)?,
        grandpa: of_type(&mine, GRANDPA)?,
        beefy: of_type(&mine, BEEFY)?,
        para: of_type(&mine, PARA)?,
    };
    let (receipts, inbox) = mpsc::channel();
    let judge = thread::spawn(move || {
        let mut checker = Checker::default();
        inbox.iter().for_each(|receipt| checker.add(&receipt));
        checker.finish()
    });
    let notes = Arc::new(Notes::new(receipts));
    let validator = |number: u64| Validator {
        name: format!("validator-{number}"),
        view: Flavour(number),
        client: client.clone(),
        genesis,
        notes: Arc::clone(&notes),
    };
    let (set, session) = first_unused(&mine);
    let race = Race::new([validator(0), validator(1)], keys, args.slot_ms).starting(set, session);
    let race = Arc::new(race);
    let raced = Instant::now();
    go_on_for(Duration::from_secs(args.seconds), &race).await?;
    let (total, outage, vrf_faults) = (notes.take(), notes.longest_gap(), race.vrf_faults());
    // The checker ends when nobody is left to send it anything.
    drop((race, notes));
    let findings = tokio::task::spawn_blocking(move || judge.join()).await?;
    let findings = findings.map_err(|_| anyhow::anyhow!("the checker itself failed"))?;
    let violations: Vec<String> = findings.violations.iter().map(ToString::to_string).collect();
    let good = violations.is_empty() && vrf_faults == 0 && total.signed > 0;
    let value = json!({
        "seconds": raced.elapsed().as_secs_f64(), "signed": total.signed, "repeated": total.repeated,
        "refused": total.refused, "unanswered": total.unanswered, "duties": findings.duties,
        "longestOutageMs": outage.as_millis(), "vrfFaults": vrf_faults, "violations": violations,
        "p50Ms": total.latency_ms(0.5), "p99Ms": total.latency_ms(0.99), "maxMs": total.latency_ms(1.0),
    });
    args.output.print(&value, text(&total, outage, &violations))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_type(keys: &[KeyInfo], wanted: KeyType) -> anyhow::Result<DemoKey> {
    let key = keys.iter().find(|key| key.key_type == wanted);
    let key = key.with_context(|| format!("the client may use no {wanted} key of this chain"))?;
    Ok(DemoKey { scheme: key.scheme, public: key.public })
}

/// A set and a session past everything that was signed with these keys.
fn first_unused(keys: &[KeyInfo]) -> (SetId, SessionIndex) {
    let (mut set, mut session) = (0, 0);
    let marks = keys.iter().flat_map(|key| &key.watermarks).flat_map(|mark| [mark.floor, mark.highest]);
    for coordinate in marks.flatten() {
        for (part, number) in coordinate.named() {
            match part.word {
                "set" => set = set.max(number),
                "session" => session = session.max(number),
                _ => {}
            }
        }
    }
    (SetId(set + 1), SessionIndex(u32::try_from(session + 1).unwrap_or(u32::MAX)))
}

async fn go_on_for(length: Duration, race: &Arc<Race>) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    let mut tasks = race.begin();
    let end = tokio::time::sleep(length);
    tokio::select! {
        () = end => {}
        _ = signals.next() => {}
        Some(ended) = tasks.join_next() => ended.context("a validator ended by itself")?,
    }
    race.stop();
    if tokio::time::timeout(LAST_DUTIES, async { while tasks.join_next().await.is_some() {} }).await.is_err()
    {
        tasks.shutdown().await;
    }
    Ok(())
}

fn text(total: &Tally, outage: Duration, violations: &[String]) -> String {
    let mut text = format!(
        "signed {}, repeated {}, refused {}, without a final answer {}\nlongest time without a new signature: {} ms\n\
         latency p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms\nduties signed twice: {}",
        total.signed,
        total.repeated,
        total.refusals(),
        total.unanswered.values().sum::<u64>(),
        outage.as_millis(),
        total.latency_ms(0.5),
        total.latency_ms(0.99),
        total.latency_ms(1.0),
        violations.len(),
    );
    for violation in violations {
        text.push_str("\n  ");
        text.push_str(violation);
    }
    text
}
