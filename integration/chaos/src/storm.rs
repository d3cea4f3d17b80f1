//! The clients: conflicting payloads for one duty, asked for microseconds apart by several of them, over many keys at
//! once, as fast as `pace` lets them, as long as the storm lasts. Every question and every answer goes to the
//! [`Checker`].
//!
//! Half of the clients know every node and fail over as validators do. The others know one node each and wait long
//! for its answer, so that what a frozen or cut-off node says when it comes back is heard as well.

use crate::{
    checker::{Answer, Checker, KeyFacts, Moment},
    cluster::{Cluster, Key, SLOT_MS, client_name},
    payload::DutyId,
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use signonce_protocol::{
    ChainId,
    client::{ClientError, SignerClient, Timeouts},
    rpc::{ChainRef, SignParams},
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long a client waits for a node that must not serve.
pub const STRANGER: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(1),
    deadline: Duration::from_secs(1),
};
/// How long a client of one node waits for it.
const PINNED: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    attempt: Duration::from_secs(12),
    deadline: Duration::from_secs(12),
};
/// How long an answer is waited for when a duty is asked for again after healing.
const AGAIN: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(20),
    deadline: Duration::from_secs(20),
};
/// The most open questions of one client; one that waits for a dead node asks no more.
const OPEN_MAX: usize = 8;
/// How long a duty's first answer is waited for before the next duty is begun.
const FIRST_ANSWER: Duration = Duration::from_millis(250);
/// The pause of the client that measures outages.
const PROBE_PAUSE: Duration = Duration::from_millis(10);
/// Rounds of a GRANDPA set.
const ROUNDS_PER_SET: u64 = 150;
/// Candidates of a session.
const CANDIDATES: u64 = 60;
/// Duties asked again at a time after healing.
const AGAIN_AT_A_TIME: usize = 16;

struct Client {
    name: String,
    signer: SignerClient,
    open: AtomicUsize,
}

struct Shared {
    checker: Mutex<Checker>,
    genesis: ChainId,
    keys: Vec<Key>,
    clients: RwLock<Vec<Arc<Client>>>,
    stop: AtomicBool,
    pace: Duration,
    /// The first slot that is asked for: later than any key was armed.
    first_slot: u64,
}

/// A storm that continues until it is stopped.
pub struct Storm {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// The duties that one key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Blocks,
    Votes,
    Commitments,
    Sides,
}

impl Storm {
    /// Starts a storm. `pace` is the mean pause of each key between two duties.
    ///
    /// # Errors
    /// If the cluster has no keys or certificates for it.
    pub fn begin(cluster: &Cluster, seed: u64, pace: Duration, clocks_lie: bool) -> anyhow::Result<Self> {
        let ids = cluster.ids();
        let mut clients = Vec::new();
        for number in 1..=cluster.plan.clients {
            let pinned = ids[usize::try_from(number / 2)? % ids.len()];
            let (nodes, timeouts) = match number % 2 {
                0 => (vec![pinned], PINNED),
                _ => (ids.clone(), Timeouts::default()),
            };
            let signer = cluster.client(number, &nodes, timeouts)?;
            clients.push(Arc::new(Client { name: client_name(number), signer, open: AtomicUsize::new(0) }));
        }
        let facts = cluster.keys.iter().map(|key| KeyFacts {
            name: format!("{} of {}", key.key_type, key.group),
            scheme: key.scheme,
            public: key.public.as_bytes().to_vec(),
        });
        let shared = Arc::new(Shared {
            checker: Mutex::new(Checker::new(facts.collect(), clocks_lie)),
            genesis: cluster.genesis,
            keys: cluster.keys.clone(),
            clients: RwLock::new(clients),
            stop: AtomicBool::new(false),
            pace,
            first_slot: now().slot + 2,
        });
        let mut tasks = JoinSet::new();
        let [measured, guests] = [1, 0].map(|back| format!("validator-{}", cluster.plan.validators - back));
        for (at, key) in cluster.keys.iter().enumerate().filter(|(_, key)| key.group != guests) {
            if key.group == measured {
                if key.key_type == "gran" {
                    let signer = cluster.client(1, &ids, Timeouts::default())?;
                    tasks.spawn(Arc::clone(&shared).measure(at, signer));
                }
            } else if let Some(work) = work(key) {
                let rng = ChaCha8Rng::seed_from_u64(seed ^ (at as u64) << 32);
                tasks.spawn(Arc::clone(&shared).contend(at, work, rng));
            }
        }
        ensure!(tasks.len() > 1, "the cluster has too few keys for a storm");
        Ok(Self { shared, tasks })
    }

    /// The judge.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.shared.checker()
    }

    /// From now on a client of a node that must grant nothing contends as well.
    pub fn ask_stranger(&self, name: &str, signer: SignerClient) {
        self.checker().asks_a_stranger(name);
        self.ask_also(name, signer);
    }

    /// From now on this client contends as well.
    pub fn ask_also(&self, name: &str, signer: SignerClient) {
        let client = Client { name: name.to_owned(), signer, open: AtomicUsize::new(0) };
        self.shared.clients.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(client));
    }

    /// Stops this client and waits until all it asked is answered: a later client of the same address is another one.
    pub async fn leave(&self, name: &str) {
        let gone: Vec<Arc<Client>> = {
            let mut clients = self.shared.clients.write().unwrap_or_else(PoisonError::into_inner);
            clients.extract_if(.., |client| client.name == name).collect()
        };
        for client in gone {
            // A question that was drawn for it may be on its way to being asked.
            while Arc::strong_count(&client) > 1 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Waits until a new duty is granted.
    ///
    /// # Errors
    /// After `patience`: the cluster does not serve.
    pub async fn served_within(&self, patience: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while !self.checker().served_after(begun) {
            ensure!(begun.elapsed() < patience, "no new duty was granted within {patience:?}");
            sleep(Duration::from_millis(5)).await;
        }
        Ok(begun.elapsed())
    }

    /// Ends the storm: no new questions, and the open ones are waited for.
    ///
    /// # Errors
    /// If a question has no answer past every deadline.
    pub async fn calm(&mut self) -> anyhow::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        timeout(PINNED.deadline + Duration::from_secs(8), all)
            .await
            .context("a client's question never ended")
    }

    /// Asks each of these nodes for everything that was acknowledged, and for a part of it with the other payload.
    ///
    /// # Errors
    /// If there is no certificate to ask with.
    pub async fn ask_again(&self, cluster: &Cluster, nodes: &[u64]) -> anyhow::Result<()> {
        let acknowledged = self.checker().acknowledged();
        for &node in nodes {
            let signer = cluster.client(1, &[node], AGAIN)?;
            let name = format!("afterwards, node {node}");
            let again = acknowledged.iter().enumerate().map(|(at, (key, place, side))| {
                let (signer, name) = (&signer, &name);
                async move {
                    let (answer, ask) = self.shared.put(signer, name, *key, *place, *side).await;
                    self.checker().hear_again(&ask, &answer, now());
                    let contender = self.checker().contender(*key, *place, *side).filter(|_| at % 4 == 0);
                    if let Some(other) = contender {
                        let (answer, ask) = self.shared.put(signer, name, *key, *place, other).await;
                        self.checker().hear(&ask, &answer, now());
                    }
                }
            });
            stream::iter(again).buffer_unordered(AGAIN_AT_A_TIME).collect::<Vec<()>>().await;
        }
        Ok(())
    }
}

fn work(key: &Key) -> Option<Work> {
    // A validator's BEEFY votes are held to what its GRANDPA key voted for: here each validator does one of the two.
    let odd = key.group.trim_start_matches("validator-").parse::<u64>().ok()? % 2 == 1;
    match key.key_type.as_str() {
        "babe" => Some(Work::Blocks),
        "gran" => odd.then_some(Work::Votes),
        "beef" => (!odd).then_some(Work::Commitments),
        "para" => Some(Work::Sides),
        _ => None,
    }
}

/// The present moment by this machine's clocks.
pub fn now() -> Moment {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Moment { at: Instant::now(), slot: u64::try_from(ms).unwrap_or(u64::MAX) / SLOT_MS }
}

impl Shared {
    fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Asks one question; the checker learns of it before the signer does.
    async fn put(
        &self,
        signer: &SignerClient,
        name: &str,
        key: usize,
        place: DutyId,
        side: u8,
    ) -> (Answer, crate::checker::Ask) {
        let ask = self.checker().ask(name, key, place, side, now());
        let params = SignParams {
            chain: ChainRef::Id(self.genesis),
            key: self.keys[key].public,
            payload: place.payload(side),
        };
        (answer(signer.sign(&params).await), ask)
    }

    async fn ask(self: Arc<Self>, who: Arc<Client>, key: usize, place: DutyId, side: u8) {
        who.open.fetch_add(1, Ordering::Relaxed);
        let (answer, ask) = self.put(&who.signer, &who.name, key, place, side).await;
        who.open.fetch_sub(1, Ordering::Relaxed);
        self.checker().hear(&ask, &answer, now());
    }

    /// Has several clients contend for one duty of a key after the other.
    async fn contend(self: Arc<Self>, key: usize, work: Work, mut rng: ChaCha8Rng) {
        let mut asking = JoinSet::new();
        let mut turn = 0;
        while self.goes_on() {
            let place = self.next_place(work, &mut turn, &mut rng);
            let free = self.free();
            let many = rng.random_range(2..=4);
            // All are begun before any is waited for: they leave microseconds apart.
            let askers: Vec<_> = free.sample(&mut rng, many).collect();
            for client in askers {
                let side = rng.random_range(0..DutyId::SIDES);
                asking.spawn(Arc::clone(&self).ask(Arc::clone(client), key, place, side));
            }
            let _ = timeout(FIRST_ANSWER, asking.join_next()).await;
            while asking.try_join_next().is_some() {}
            sleep(self.pace.mul_f64(rng.random_range(0.5..1.5))).await;
        }
        while asking.join_next().await.is_some() {}
    }

    /// The clients that do not wait for too much already.
    fn free(&self) -> Vec<Arc<Client>> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.iter().filter(|client| client.open.load(Ordering::Relaxed) < OPEN_MAX).cloned().collect()
    }

    /// A new duty mostly, a recent one now and then.
    fn next_place(&self, work: Work, turn: &mut u64, rng: &mut ChaCha8Rng) -> DutyId {
        if work == Work::Blocks {
            let slot = now().slot.saturating_add_signed(rng.random_range(-2..=2));
            return DutyId::Slot(slot.max(self.first_slot));
        }
        let again = *turn > 40 && rng.random_ratio(1, 8);
        let n = if again { *turn - rng.random_range(1..40) } else { *turn };
        *turn += u64::from(!again);
        match work {
            Work::Votes => vote(n),
            Work::Commitments => {
                DutyId::Commitment { set: 1, block: u32::try_from(n + 1).unwrap_or(u32::MAX) }
            }
            Work::Sides | Work::Blocks => DutyId::Candidate {
                session: u32::try_from(n / CANDIDATES + 1).unwrap_or(u32::MAX),
                number: u32::try_from(n % CANDIDATES).unwrap_or(u32::MAX),
            },
        }
    }

    /// Asks for one new duty after the other, by a client like a validator's: when these stop, the cluster is out.
    async fn measure(self: Arc<Self>, key: usize, signer: SignerClient) {
        let mut round = 0;
        while self.goes_on() {
            let (answer, ask) = self.put(&signer, "probe", key, vote(round), 0).await;
            self.checker().hear(&ask, &answer, now());
            round += 1;
            sleep(PROBE_PAUSE).await;
        }
    }
}

/// The `n`th vote of a key: three stages a round, and sets that follow each other.
pub fn vote(n: u64) -> DutyId {
    let rounds = n / 3;
    let stage = u8::try_from(n % 3).unwrap_or_default();
    DutyId::Vote { set: 1 + rounds / ROUNDS_PER_SET, round: 1 + rounds % ROUNDS_PER_SET, stage }
}

/// A client's result, for the checker.
pub fn answer(result: Result<signonce_protocol::rpc::SignReply, ClientError>) -> Answer {
    match result {
        Ok(reply) => Answer::Signed { signature: reply.signature.0, verdict: reply.verdict },
        Err(ClientError::Refused(refusal)) => Answer::Refused {
            code: refusal.code,
            signed: refusal.data.digest_signed.map(|digest| digest.0),
            bound: refusal.data.bound,
            message: refusal.message,
        },
        Err(ClientError::NotReady { why, .. }) => Answer::NotReady(why),
        Err(ClientError::UnknownOutcome { why, .. }) => Answer::Unknown(why),
        Err(other) => Answer::Broken(other.to_string()),
    }
}
