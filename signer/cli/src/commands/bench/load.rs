//! Throughput: many clients that ask for new duties as fast as they get answers.

use super::{
    Bench, SLOT_MS,
    latency::{histogram, vote},
    report::{Load, Quantiles, cpu_time},
};
use crate::commands::demo::chain::{self, Flavour};
use anyhow::ensure;
use signonce_protocol::{
    PublicKey, RawPayload, Slot,
    client::{ClientError, SignerClient},
    rpc::{ChainRef, ErrorCode, SignParams, SignVerdict},
};
use signonce_substrate::SetId;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::task::JoinSet;

/// Hands out duties: no two clients get the same one.
struct Duties {
    grandpa: PublicKey,
    set: SetId,
    /// The BABE keys with the last slot that each sealed; empty to vote with the one GRANDPA key.
    babe: Vec<(PublicKey, AtomicU64)>,
    next: AtomicU64,
    /// How many duties came too late.
    late: AtomicU64,
}

impl Duties {
    async fn next(&self) -> (PublicKey, RawPayload) {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        if self.babe.is_empty() {
            return (self.grandpa, vote(self.set, nth));
        }
        let (key, last) = &self.babe[nth as usize % self.babe.len()];
        loop {
            // The previous slot is as good as the present one, so each key has two to use.
            let now = slot_now();
            let from = now.saturating_sub(1);
            let taken = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(from.max(last + 1)).filter(|slot| *slot <= now)
            });
            match taken {
                Ok(last) => {
                    let slot = Slot(from.max(last + 1));
                    return (*key, chain::header(slot, &[1; 32], &[2; 64], Flavour(0)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(SLOT_MS / 20)).await,
            }
        }
    }
}

fn slot_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / SLOT_MS
}

/// `clients` clients, each with a connection of its own and one request under way, over one GRANDPA key or over all
/// BABE keys.
pub async fn measure(bench: &Bench, clients: usize, many: bool) -> anyhow::Result<Load> {
    let babe =
        if many { bench.babe.iter().map(|key| (key.public, AtomicU64::new(0))).collect() } else { vec![] };
    let keys = if many { bench.babe.len() } else { 1 };
    // A set for each number of clients: rounds start again.
    let set = SetId(2 + clients as u64);
    let duties = Arc::new(Duties {
        grandpa: bench.grandpa.public,
        set,
        babe,
        next: AtomicU64::new(0),
        late: AtomicU64::new(0),
    });
    let mut connections = Vec::new();
    for _ in 0..clients {
        let client = bench.client()?;
        // Follows the leader from the first answer on; connects before the measurement starts.
        client.status().await?;
        connections.push(client);
    }
    let chain = ChainRef::Id(bench.cluster.genesis());
    let (signers, own) = (bench.signers_cpu(), cpu_time(std::process::id()));
    let began = Instant::now();
    let until = began + bench.plan.load;
    let mut tasks = JoinSet::new();
    for client in connections {
        tasks.spawn(one(client, chain.clone(), Arc::clone(&duties), until));
    }
    let mut all = histogram();
    while let Some(done) = tasks.join_next().await {
        all.add(done??)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let each = |before: Option<Duration>, after: Option<Duration>| {
        let used = after?.checked_sub(before?)?;
        Some(used.as_secs_f64() * 1e6 / all.len() as f64)
    };
    Ok(Load {
        clients,
        keys,
        per_second: all.len() as f64 / seconds,
        latency: Quantiles::of(&all),
        signers_cpu_us: each(signers, bench.signers_cpu()),
        clients_cpu_us: each(own, cpu_time(std::process::id())),
        late: duties.late.load(Ordering::Relaxed),
    })
}

async fn one(
    client: SignerClient,
    chain: ChainRef,
    duties: Arc<Duties>,
    until: Instant,
) -> anyhow::Result<hdrhistogram::Histogram<u64>> {
    let mut histogram = histogram();
    while Instant::now() < until {
        let (key, payload) = duties.next().await;
        let params = SignParams { chain: chain.clone(), key, payload };
        let asked = Instant::now();
        let reply = match client.sign(&params).await {
            Err(ClientError::Refused(error)) if came_late(error.code) => {
                duties.late.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            reply => reply?,
        };
        let took = asked.elapsed();
        ensure!(reply.verdict != SignVerdict::Free, "a duty was free");
        histogram.saturating_record(u64::try_from(took.as_nanos())?);
    }
    Ok(histogram)
}

/// Whether a client stood still for longer than three of these short slots, or until the others, who share its key,
/// were a window of rounds ahead.
fn came_late(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::SlotOutOfRange | ErrorCode::BelowWatermark)
}
