//! How long a request of each kind holds up the part of a node that makes it, while all signers are away: the keystore's
//! calls are made here, each kind on a thread of its own, as BABE, GRANDPA, BEEFY, the parachain subsystems and authority
//! discovery make them.

use crate::{
    cluster::Cluster,
    keys::{TYPES, ValidatorKeys},
    report::Report,
    standin::{EmptyBlocks, Runtime, propose},
};
use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use signonce_keystore::{RemoteSigner, RemoteSignerParams, Setup, UnsignedVotes};
use signonce_substrate::PARA;

use sp_consensus_babe::make_vrf_sign_data;
use sp_core::{
    crypto::{KeyTypeId, key_types},
    ecdsa, ed25519, sr25519,
};
use sp_keystore::KeystorePtr;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds of a slot.
const SLOT_MS: u64 = 1_000;
/// How long the keys may take to be there.
const KEYS_WITHIN: Duration = Duration::from_secs(30);
/// Between two requests of one kind.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it may take until it is known that the signers are away: a frozen one is given eight seconds, and requests
/// under way have their deadlines.
const KNOWN_AFTER: Duration = Duration::from_secs(11);
/// How long a request may take from then on, on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// A keystore without a node.
pub struct Bench {
    kinds: Vec<(&'static str, Ask)>,
}

/// One request; the number makes each one another.
type Ask = Arc<dyn Fn(u64) -> Result<(), sp_keystore::Error> + Send + Sync>;

/// What requests are made of.
struct Source {
    signer: RemoteSigner,
    keystore: KeystorePtr,
    keys: ValidatorKeys,
    runtime: Arc<Runtime>,
}

impl Bench {
    /// With keys of its own in the cluster.
    ///
    /// # Errors
    /// If the cluster refuses, or does not sign.
    pub async fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        let genesis: [u8; 32] = rand::random();
        cluster.add_chain_named("held-up", &format!("0x{}", hex::encode(genesis)), SLOT_MS).await?;
        let keys = ValidatorKeys::generate("held-up")?;
        let types = [&TYPES[..], &[PARA]].concat();
        let files = cluster.add_validator_with(&types, "held-up", &keys).await?;
        let params = RemoteSignerParams {
            remote_signer: cluster.urls(),
            remote_signer_cert: Some(files.cert),
            remote_signer_key: Some(files.key),
            remote_signer_ca: Some(files.ca),
            remote_signer_wait: Some(KEYS_WITHIN.as_secs()),
        };
        // The keystore's calls block, as they do in a node.
        tokio::task::spawn_blocking(move || Self::start(&params, genesis, keys)).await?
    }

    fn start(params: &RemoteSignerParams, genesis: [u8; 32], keys: ValidatorKeys) -> anyhow::Result<Self> {
        let setup = Setup {
            genesis,
            keystore_dir: None,
            data_dir: None,
            registry: None,
            votes: UnsignedVotes::AreAskedForAgain,
        };
        let signer = RemoteSigner::start(params, setup)?;
        let runtime = Arc::new(Runtime::new(slot_now().saturating_sub(100), SLOT_MS));
        signer.watch_epochs(runtime.clone());
        let source = Source { keystore: signer.keystore(), signer, keys, runtime };
        let deadline = Instant::now() + KEYS_WITHIN;
        // The epoch is known a moment later.
        let kinds = loop {
            match source.kinds() {
                Ok(kinds) => break kinds,
                Err(error) => ensure!(Instant::now() < deadline, "{error:#}"),
            }
            std::thread::sleep(PAUSE);
        };
        for (kind, ask) in &kinds {
            while let Err(error) = ask(0) {
                ensure!(Instant::now() < deadline, "{kind}: {error}");
                std::thread::sleep(PAUSE);
            }
        }
        Ok(Self { kinds })
    }

    /// Asks for every kind, each on its own thread, for `time` from now on.
    pub async fn ask(&self, time: Duration) -> Times {
        let (began, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let mut kinds = Vec::new();
        for (kind, ask) in &self.kinds {
            let (over, ask, times) = (over.clone(), ask.clone(), Arc::new(Mutex::new(Vec::new())));
            let seen = times.clone();
            std::thread::spawn(move || {
                for n in 1.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let asked = Instant::now();
                    lock(&seen).push((asked.duration_since(began), None));
                    // Signed or not: it is over.
                    let _ = ask(n);
                    if let Some((_, took)) = lock(&seen).last_mut() {
                        *took = Some(asked.elapsed());
                    }
                    std::thread::sleep(PAUSE);
                }
            });
            kinds.push((*kind, times));
        }
        tokio::time::sleep(time).await;
        over.store(true, Ordering::Relaxed);
        Times { time, taken: kinds.into_iter().map(|(kind, times)| (kind, lock(&times).clone())).collect() }
    }
}

impl Source {
    /// Every kind of request that this chain's keys make.
    fn kinds(&self) -> anyhow::Result<Vec<(&'static str, Ask)>> {
        let sr25519 = sr25519::Public::from(self.keys.sr25519);
        let by_sr25519 = |key_type: KeyTypeId, message: fn(u64) -> Vec<u8>| -> Ask {
            let keystore = self.keystore.clone();
            Arc::new(move |n| signed(keystore.sr25519_sign(key_type, &sr25519, &message(n))))
        };
        let para = KeyTypeId(*b"para");
        Ok(vec![
            ("BABE VRF", self.vrf(sr25519)),
            ("BABE seal", self.seal(sr25519)?),
            ("GRANDPA vote", self.vote()),
            ("BEEFY proof of possession", self.beefy()),
            (
                "parachain statement",
                by_sr25519(para, |n| [b"BKNG\x01".as_slice(), &bytes(n), &[0; 36]].concat()),
            ),
            ("availability bitfield", by_sr25519(para, |n| [&[4, 1, 0, 0, 0, 0], &bytes(n)[..]].concat())),
            (
                "authority discovery record",
                // One address, /ip4/…/tcp/30333.
                by_sr25519(key_types::AUTHORITY_DISCOVERY, |n| {
                    [&[10, 8, 4], &bytes(n)[..4], &[6, 0x76, 0x5d]].concat()
                }),
            ),
        ])
    }

    fn vrf(&self, public: sr25519::Public) -> Ask {
        let (keystore, epoch) = (self.keystore.clone(), self.runtime.epoch.clone());
        Arc::new(move |_| {
            let data = make_vrf_sign_data(&epoch.randomness, slot_now().into(), epoch.epoch_index);
            signed(keystore.sr25519_vrf_sign(key_types::BABE, &public, &data))
        })
    }

    fn seal(&self, public: sr25519::Public) -> anyhow::Result<Ask> {
        let epoch = &self.runtime.epoch;
        let data = make_vrf_sign_data(&epoch.randomness, slot_now().into(), epoch.epoch_index);
        let claim = self.keystore.sr25519_vrf_sign(key_types::BABE, &public, &data);
        let claim = claim.map_err(|error| anyhow::anyhow!("{error}"))?.context("the key is not ours")?;
        let environment = Mutex::new(self.signer.wrap_proposer(EmptyBlocks));
        let keystore = self.keystore.clone();
        Ok(Arc::new(move |n| {
            let mut environment = environment.lock().unwrap_or_else(PoisonError::into_inner);
            let header = propose(&mut *environment, slot_now() + n, claim.clone())
                .map_err(|error| sp_keystore::Error::Other(error.to_string()))?;
            signed(keystore.sr25519_sign(key_types::BABE, &public, header.hash().as_ref()))
        }))
    }

    fn vote(&self) -> Ask {
        let (keystore, public) = (self.keystore.clone(), ed25519::Public::from(self.keys.ed25519));
        Arc::new(move |n| {
            let target = [&[0][..], &[7; 32], &1_u32.to_le_bytes()].concat();
            let vote = [target, (n + 1).to_le_bytes().to_vec(), 0_u64.to_le_bytes().to_vec()].concat();
            signed(keystore.ed25519_sign(key_types::GRANDPA, &public, &vote))
        })
    }

    fn beefy(&self) -> Ask {
        let (keystore, public) = (self.keystore.clone(), ecdsa::Public::from(self.keys.ecdsa));
        Arc::new(move |n| {
            let proof = [b"POP_".as_slice(), &bytes(n)].concat();
            signed(keystore.ecdsa_sign(key_types::BEEFY, &public, &proof))
        })
    }
}

/// When a request was made, and how long it took; none if it was not over when the time was.
type Taken = (Duration, Option<Duration>);

/// What was seen.
pub struct Times {
    time: Duration,
    taken: Vec<(&'static str, Vec<Taken>)>,
}

impl Times {
    /// Notes them, and that nothing is held up once it is known that the signers are away.
    pub fn tell(&self, report: &mut Report, away: &str) {
        let mut figures = Map::new();
        let mut held_up = Vec::new();
        for (kind, taken) in &self.taken {
            let long = |(at, took): &Taken| took.unwrap_or(self.time.saturating_sub(*at));
            let mut at_first: Vec<_> = taken.iter().filter(|(at, _)| *at < KNOWN_AFTER).map(long).collect();
            let mut later: Vec<_> = taken
                .iter()
                .filter(|(at, took)| {
                    *at >= KNOWN_AFTER || took.is_none_or(|took| *at + took > KNOWN_AFTER + AT_ONCE)
                })
                .map(long)
                .collect();
            if later.is_empty() || later.iter().any(|took| *took > AT_ONCE) {
                held_up.push(*kind);
            }
            let shown = json!({ "at first": shown(&mut at_first), "then": shown(&mut later) });
            figures.insert((*kind).to_owned(), shown);
        }
        report.fact(format!("a request with the signers {away}, milliseconds"), Value::Object(figures));
        let what =
            format!("with the signers {away} for {} s, no request holds anybody up", KNOWN_AFTER.as_secs());
        report.check(what, held_up.is_empty(), held_up.join(", "));
    }
}

/// Count, median and longest.
fn shown(times: &mut [Duration]) -> Value {
    times.sort_unstable();
    let ms = |time: &Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    json!({
        "asked": times.len(),
        "median": times.get(times.len() / 2).map(ms),
        "longest": times.last().map(ms),
    })
}

fn signed<T>(answer: Result<Option<T>, sp_keystore::Error>) -> Result<(), sp_keystore::Error> {
    match answer? {
        Some(_) => Ok(()),
        None => Err(sp_keystore::Error::Other("the key is not ours".into())),
    }
}

/// Something else each time.
fn bytes(n: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn lock<T>(seen: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64 / SLOT_MS
}
