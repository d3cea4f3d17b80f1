//! What a signature costs a node: VRF, seal and votes through the remote keystore and from memory, in the same run
//! with the same keys; and how often the signers are called for a slot of a chain with 600 authorities.
//!
//! No node runs: its keystore calls are made here, as BABE and GRANDPA make them. Slots are short, so that there are
//! enough of them that the signers' clocks accept.

use crate::{
    cluster::{ClientFiles, Cluster},
    keys::ValidatorKeys,
    metrics::Metrics,
    report::Report,
    stage::Stage,
    standin::{EmptyBlocks, Runtime, propose},
};
use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use signonce_keystore::{RemoteSigner, RemoteSignerParams, Setup, UnsignedVotes};
use sp_consensus_babe::make_vrf_sign_data;
use sp_core::{
    crypto::{ByteArray as _, KeyTypeId, key_types},
    ed25519,
    sr25519::{self, vrf::VrfSignature},
};
use sp_keystore::{Keystore, KeystorePtr, testing::MemoryKeystore};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use substrate_prometheus_endpoint::{Registry, prometheus::TextEncoder};

/// Milliseconds of a slot.
const SLOT_MS: u64 = 50;
/// Slots measured.
const SLOTS: usize = 300;
/// Authorities of the large chain: 599 foreign ones and ours.
const AUTHORITIES: usize = 600;
/// Slots of the large chain.
const LARGE_SLOTS: usize = 20;
/// How long the keys may take to be there.
const KEYS_WITHIN: Duration = Duration::from_secs(30);

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    let cluster = Cluster::start(stage, 3).await?;
    let genesis: [u8; 32] = rand::random();
    let chain = format!("0x{}", hex::encode(genesis));
    cluster.add_chain_named("cost", &chain, SLOT_MS).await?;
    let keys = ValidatorKeys::generate("validator-1")?;
    let files = cluster.add_validator("cost", &keys).await?;
    let urls = cluster.urls();
    stage.say("measuring");
    // The keystore's calls block, as they do in a node.
    let measured = tokio::task::spawn_blocking(move || {
        let bench = Bench::new(genesis, urls, &files, &keys)?;
        let mut report = Report::default();
        bench.latencies(&mut report)?;
        bench.calls(&mut report)?;
        anyhow::Ok(report)
    });
    let mut report = measured.await??;
    report.check_result("the signers run", cluster.all_run());
    Ok(report)
}

/// Both keystores with the same keys.
struct Bench {
    signer: RemoteSigner,
    remote: KeystorePtr,
    memory: MemoryKeystore,
    registry: Registry,
    runtime: Arc<Runtime>,
    babe: sr25519::Public,
    grandpa: ed25519::Public,
}

impl Bench {
    fn new(
        genesis: [u8; 32],
        urls: Vec<String>,
        files: &ClientFiles,
        keys: &ValidatorKeys,
    ) -> anyhow::Result<Self> {
        let ClientFiles { ca, cert, key } = files.clone();
        let params = RemoteSignerParams {
            remote_signer: urls,
            remote_signer_cert: Some(cert),
            remote_signer_key: Some(key),
            remote_signer_ca: Some(ca),
            remote_signer_wait: None,
        };
        let registry = Registry::new();
        let setup = Setup {
            genesis,
            keystore_dir: None,
            data_dir: None,
            registry: Some(&registry),
            votes: UnsignedVotes::EndTheVoter,
        };
        let signer = RemoteSigner::start(&params, setup)?;
        let runtime = Arc::new(Runtime::new(slot_now().saturating_sub(100), SLOT_MS));
        signer.watch_epochs(runtime.clone());
        let memory = MemoryKeystore::new();
        for (key_type, public) in [(key_types::BABE, &keys.sr25519), (key_types::GRANDPA, &keys.ed25519)] {
            if memory.insert(key_type, keys.seed(), public).is_err() {
                bail!("a key cannot be put into memory");
            }
        }
        let remote = signer.keystore();
        let (babe, grandpa) = (keys.sr25519.into(), keys.ed25519.into());
        let bench = Self { signer, remote, memory, registry, runtime, babe, grandpa };
        bench.wait_for_keys(&[(key_types::BABE, &keys.sr25519), (key_types::GRANDPA, &keys.ed25519)])?;
        Ok(bench)
    }

    fn wait_for_keys(&self, keys: &[(KeyTypeId, &[u8; 32])]) -> anyhow::Result<()> {
        let deadline = Instant::now() + KEYS_WITHIN;
        while !keys.iter().all(|(key_type, public)| self.remote.has_keys(&[(public.to_vec(), *key_type)])) {
            ensure!(Instant::now() < deadline, "the remote keystore does not show its keys");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Slot by slot what an author and voter needs, from both.
    fn latencies(&self, report: &mut Report) -> anyhow::Result<()> {
        let mut environment = self.signer.wrap_proposer(EmptyBlocks);
        let (mut vrf, mut seal, mut vote) = (Both::default(), Both::default(), Both::default());
        let mut same = true;
        for round in 1..=SLOTS as u64 {
            let slot = next_slot();
            let claim = vrf.measure(|keystore| self.vrf(keystore, slot), self)?;
            same &= claim.0.pre_output == claim.1.pre_output;
            let header = propose(&mut environment, slot, claim.0)?;
            let hash = header.hash();
            seal.measure(
                |keystore| signed(keystore.sr25519_sign(key_types::BABE, &self.babe, hash.as_ref())),
                self,
            )?;
            for stage in [0_u8, 1] {
                let payload = vote_bytes(stage, round);
                let ask = |keystore: &dyn Keystore| {
                    signed(keystore.ed25519_sign(key_types::GRANDPA, &self.grandpa, &payload))
                };
                let (remote, memory) = vote.measure(ask, self)?;
                same &= remote == memory;
            }
        }
        for (what, both) in [("VRF", vrf), ("seal", seal), ("vote", vote)] {
            both.tell(report, what);
        }
        report.check("VRF outputs and votes are the same from both keystores", same, "");
        Ok(())
    }

    fn vrf(&self, keystore: &dyn Keystore, slot: u64) -> anyhow::Result<VrfSignature> {
        let epoch = &self.runtime.epoch;
        let data = make_vrf_sign_data(&epoch.randomness, slot.into(), epoch.epoch_index);
        signed(keystore.sr25519_vrf_sign(key_types::BABE, &self.babe, &data))
    }

    /// What BABE and GRANDPA ask of the keystore for a slot when there are many authorities.
    fn calls(&self, report: &mut Report) -> anyhow::Result<()> {
        let foreign: Vec<[u8; 32]> = (1..AUTHORITIES).map(|_| rand::random()).collect();
        let epoch = &self.runtime.epoch;
        let before = self.remote_calls()?;
        let began = Instant::now();
        for _ in 0..LARGE_SLOTS {
            let data = make_vrf_sign_data(&epoch.randomness, next_slot().into(), epoch.epoch_index);
            for public in &foreign {
                let public = sr25519::Public::from_slice(public).ok().context("32 bytes are a key")?;
                let claim = self.remote.sr25519_vrf_sign(key_types::BABE, &public, &data);
                ensure!(matches!(claim, Ok(None)), "a foreign key was answered with {claim:?}");
            }
            let voters = foreign
                .iter()
                .filter(|public| self.remote.has_keys(&[(public.to_vec(), key_types::GRANDPA)]));
            ensure!(voters.count() == 0, "a foreign key was taken for ours");
        }
        let of_foreign = self.remote_calls()? - before;
        report.time(
            format!(
                "a slot's questions about {} foreign authorities, with the wait for the slot",
                foreign.len()
            ),
            began.elapsed() / LARGE_SLOTS as u32,
        );
        let before = self.remote_calls()?;
        for _ in 0..LARGE_SLOTS {
            let slot = next_slot();
            // The primary claim, and the secondary one if that was not won.
            self.vrf(&*self.remote, slot)?;
            self.vrf(&*self.remote, slot)?;
        }
        let per_slot = (self.remote_calls()? - before) / LARGE_SLOTS as f64;
        report.fact(format!("remote calls per slot with {AUTHORITIES} authorities, to claim it"), per_slot);
        report.check(
            "foreign authorities cause no remote call",
            of_foreign == 0.0,
            format!("{of_foreign} calls"),
        );
        report.check("a claim causes at most two remote calls", per_slot <= 2.0, format!("{per_slot}"));
        Ok(())
    }

    fn remote_calls(&self) -> anyhow::Result<f64> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        Ok(Metrics::parse(&text).sum("signonce_remote_calls_total", &[]).unwrap_or_default())
    }
}

/// Times of the same question to both keystores.
#[derive(Default)]
struct Both {
    remote: Vec<Duration>,
    memory: Vec<Duration>,
}

impl Both {
    fn measure<T>(
        &mut self,
        ask: impl Fn(&dyn Keystore) -> anyhow::Result<T>,
        bench: &Bench,
    ) -> anyhow::Result<(T, T)> {
        let began = Instant::now();
        let remote = ask(&*bench.remote)?;
        self.remote.push(began.elapsed());
        let began = Instant::now();
        let memory = ask(&bench.memory)?;
        self.memory.push(began.elapsed());
        Ok((remote, memory))
    }

    fn tell(mut self, report: &mut Report, what: &str) {
        let [remote, memory] = [&mut self.remote, &mut self.memory].map(|times| {
            times.sort_unstable();
            times.as_slice()
        });
        let ratio = share(remote, 50).as_secs_f64() / share(memory, 50).as_secs_f64().max(f64::EPSILON);
        let figures = json!({
            "samples": remote.len(),
            "remote, median": ms(share(remote, 50)), "remote, 99 of 100 within": ms(share(remote, 99)),
            "memory, median": ms(share(memory, 50)), "memory, 99 of 100 within": ms(share(memory, 99)),
            "ratio of medians": (ratio * 10.0).round() / 10.0,
        });
        report.fact(format!("{what}, milliseconds"), figures);
    }
}

/// The time that so many of a hundred samples, which are sorted, do not exceed.
fn share(sorted: &[Duration], of_hundred: usize) -> Duration {
    let at = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn signed<T>(answer: Result<Option<T>, sp_keystore::Error>) -> anyhow::Result<T> {
    answer.map_err(|error| anyhow::anyhow!("{error}"))?.context("the keystore says that the key is not ours")
}

/// As `sp_consensus_grandpa::localized_payload` makes it: a vote for block 1 in a round of set 0.
fn vote_bytes(stage: u8, round: u64) -> Vec<u8> {
    [&[stage][..], &[7; 32][..], &1_u32.to_le_bytes()[..], &round.to_le_bytes()[..], &0_u64.to_le_bytes()[..]]
        .concat()
}

fn slot_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64 / SLOT_MS
}

/// Waits for a slot to begin.
fn next_slot() -> u64 {
    let last = slot_now();
    while slot_now() == last {
        std::thread::sleep(Duration::from_millis(1));
    }
    slot_now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_taken_of_sorted_samples() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(share(&times, 50), Duration::from_millis(100));
        assert_eq!(share(&times, 99), Duration::from_millis(198));
        assert_eq!(share(&times[..1], 99), Duration::from_millis(1));
        assert_eq!(share(&[], 50), Duration::ZERO);
    }
}
