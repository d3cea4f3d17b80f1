//! Latencies of one client that waits for each answer, next to the bare costs measured in turn with them.

use super::{
    Bench,
    bare::{BareDisk, BareKey, BareMajority},
    report::{Latencies, Quantiles},
};
use crate::commands::demo::chain::{self, Flavour};
use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use signonce_protocol::{
    RawPayload, Slot,
    rpc::{ChainRef, SignParams, SignVerdict},
};
use signonce_substrate::{EpochIndex, GrandpaStage, Round, SetId, VrfParams};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};
use tokio::sync::oneshot;

/// The set of the votes measured here; the loads use others.
const SET: SetId = SetId(1);

/// A histogram of nanoseconds, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are sound")
}

pub(super) fn vote(set: SetId, nth: u64) -> RawPayload {
    let stages = [GrandpaStage::Prevote, GrandpaStage::Precommit, GrandpaStage::PrimaryPropose];
    let stage = stages[(nth % 3) as usize];
    chain::vote(set, Round(nth / 3 + 1), stage, nth / 3 + 1, Flavour(0))
}

/// Measures one of each in turn, as often as the plan says. The client has a thread and a runtime of its own, as a
/// validator's keystore does.
pub async fn measure(bench: &Arc<Bench>, dir: &Path) -> anyhow::Result<Latencies> {
    let stop = Arc::new(AtomicBool::new(false));
    let (done, measured) = oneshot::channel();
    let (theirs, bench, dir) = (Arc::clone(&stop), Arc::clone(bench), dir.to_owned());
    let on_a_runtime = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(one_client(&bench, &dir, &theirs))
    };
    let thread = thread::spawn(move || drop(done.send(on_a_runtime())));
    let _ends_with_us = Client { stop, thread: Some(thread) };
    measured.await.context("the client's thread panicked")?
}

/// The client's thread. Dropping this ends it: the signers stop with their last holder.
struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of the thread was reported already.
        self.thread.take().map(JoinHandle::join);
    }
}

async fn one_client(bench: &Bench, dir: &Path, stop: &AtomicBool) -> anyhow::Result<Latencies> {
    let client = bench.client()?;
    client.warm_up().await;
    let genesis = ChainRef::Id(bench.cluster.genesis());
    let bare_key = BareKey::generate()?;
    let (mut disk, mut majority) = (BareDisk::create(dir, "bare-log")?, BareMajority::create(dir)?);
    let [mut fresh, mut repeat, mut vrf, mut bare_disk, mut bare_majority, mut bare_signature, mut bare] =
        std::array::from_fn(|_| histogram());
    let mut entry_bytes = 0;
    let warm = bench.plan.samples / 10;
    for nth in 0..bench.plan.samples + warm {
        ensure!(!stop.load(Ordering::Relaxed), "interrupted");
        let payload = vote(SET, nth as u64);
        let decoded = payload.decode(&super::chain(bench.cluster.genesis()))?;
        let entry = bare_key.log_entry(&decoded);
        entry_bytes = entry.len();
        let (synced, signed) = (disk.append(&entry)?, bare_key.sign(&decoded)?);
        let agreed = majority.append(&entry)?;

        let params = SignParams { chain: genesis.clone(), key: bench.grandpa.public, payload };
        let asked = Instant::now();
        let reply = client.sign(&params).await?;
        let granted = asked.elapsed();
        ensure!(reply.verdict == SignVerdict::Granted, "a new vote was {:?}", reply.verdict);

        let asked = Instant::now();
        let reply = client.sign(&params).await?;
        let repeated = asked.elapsed();
        ensure!(reply.verdict == SignVerdict::Repeated, "an old vote was {:?}", reply.verdict);

        let slot = Slot(nth as u64);
        let epoch_index = EpochIndex(0);
        let key = bench.babe[0].public;
        let randomness = chain::randomness(epoch_index);
        let params = VrfParams { chain: genesis.clone(), key, slot, epoch_index, randomness };
        let asked = Instant::now();
        client.ask(&params).await?;
        let evaluated = asked.elapsed();

        if nth >= warm {
            for (histogram, took) in [
                (&mut fresh, granted),
                (&mut repeat, repeated),
                (&mut vrf, evaluated),
                (&mut bare_disk, synced),
                (&mut bare_majority, agreed),
                (&mut bare_signature, signed),
                (&mut bare, synced + signed),
            ] {
                histogram.saturating_record(u64::try_from(took.as_nanos())?);
            }
        }
    }
    Ok(Latencies {
        samples: bench.plan.samples,
        entry_bytes,
        new_signature: Quantiles::of(&fresh),
        repeat: Quantiles::of(&repeat),
        vrf: Quantiles::of(&vrf),
        bare_fdatasync: Quantiles::of(&bare_disk),
        bare_majority: Quantiles::of(&bare_majority),
        bare_signature: Quantiles::of(&bare_signature),
        bare_both: Quantiles::of(&bare),
    })
}
