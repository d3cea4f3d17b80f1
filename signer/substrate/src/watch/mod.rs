//! The watch: compares the signatures of our keys that a chain shows with the audit, and raises an alarm for each one
//! that this cluster did not grant. It has only public keys and changes nothing.
//!
//! A signature on a chain whose claim is not in the audit means that somebody else has the key. A sighting is kept for
//! a grace period, while the node that is asked may still be applying the claim; then the whole audit is searched for
//! the duty before the alarm is raised. While the chain or the audit cannot be reached nothing is judged: the watch
//! reports since when it is blind, and later continues where it was. A node that shows old blocks proves nothing: where
//! the chain's slots are known, its best block must be recent.

pub mod chain;
pub mod sighting;

use crate::http::Dialer;
use chain::{ChainClient, ChainItem};
use hyper::Uri;
use serde::Serialize;
use sighting::{JsonHeader, Precommit, Sighting, WatchedKey, beefy_votes, precommits};
use signonce_cluster::{backoff::pauses, clock::unix_ms};
use signonce_core::{AuditEvent, KeyState, Verdict};
use signonce_protocol::{Digest, Hash, PublicKey};
use signonce_shared::{
    admin::{api::ChainRow, client::AdminClient},
    audit::query::{AuditLine, AuditQuery, DutyQuery},
};
use signonce_substrate::{ChainFormat, ChainSettings, SetId};
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// How often the audit is read.
const LOOK: Duration = Duration::from_secs(1);
/// How far back the audit is read at the start.
const BACK: Duration = Duration::from_secs(3_600);
/// The most grants that are remembered; older ones are searched for in the audit when needed.
const REMEMBERED: usize = 1 << 20;
/// The most ancestors that are fetched after a gap in the headers.
const ANCESTORS: usize = 512;
/// The most blocks that are remembered.
const BLOCKS: usize = 1 << 13;
/// How often the list of keys is read.
const KEYS_AGAIN: Duration = Duration::from_secs(60);
/// How old the best block may be: ten minutes, or a hundred slots. Shorter pauses may be the chain's own.
const HEAD: Duration = Duration::from_secs(600);
const HEAD_SLOTS: u64 = 100;
/// How often the age of the best block is checked.
const LOOK_AT_HEAD: Duration = Duration::from_secs(60);
/// The first and the longest pause between two attempts to connect.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What to watch.
pub struct Plan {
    /// The URL of a node of the chain.
    pub url: Uri,
    /// The dialer to reach it with.
    pub dialer: Dialer,
    /// The cluster whose audit is read; without it, the keys must not sign at all.
    pub admin: Option<AdminClient>,
    /// The keys, if they are not to be read from the cluster.
    pub keys: Option<Vec<WatchedKey>>,
    /// How long the audit may take to know of a signature.
    pub grace: Duration,
}

/// What the watch reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WatchEvent {
    /// It sees the chain.
    Watching {
        /// The chain's genesis.
        genesis: Hash,
        /// How many keys it looks for.
        keys: usize,
        /// What the node does not offer.
        missing: Vec<String>,
        /// How long it was blind.
        blind_secs: u64,
    },
    /// It cannot see, since this time.
    Blind {
        /// `the chain` or `the audit`.
        what: String,
        /// In Unix milliseconds.
        since_ms: u64,
        /// Why.
        why: String,
    },
    /// It sees the audit again.
    AuditBack,
    /// A signature that this cluster granted.
    Known {
        /// What was seen.
        sighting: Sighting,
    },
    /// A signature that this cluster did not grant: somebody else has the key.
    Alarm {
        /// What was seen.
        sighting: Sighting,
        /// When, in Unix milliseconds.
        time_ms: u64,
        /// Why the alarm may be false.
        doubt: Option<String>,
    },
    /// Something about our keys that cannot be checked.
    Unclear {
        /// What.
        what: String,
    },
}

/// Why a watch cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The cluster has no keys on that chain.
    #[error(
        "no living key is registered for the chain with genesis {0}: is it the right chain? `signonce chains list` \
         shows those of the cluster"
    )]
    NoKeys(Hash),
    /// The cluster does not answer.
    #[error(transparent)]
    Admin(#[from] signonce_shared::admin::client::CallError),
}

/// A watch in progress.
pub struct Watcher {
    plan: Plan,
    audit: Audit,
    keys: Vec<WatchedKey>,
    format: ChainFormat,
    /// The chain as the cluster knows it.
    chain: Option<ChainRow>,
    keys_read: Instant,
    /// When the best block was last checked.
    head_read: Instant,
    /// Blocks seen.
    seen: Recent<Hash>,
    /// Sightings that the audit does not know yet.
    pending: Vec<(Instant, Sighting)>,
    /// Sightings that were already reported.
    told: Recent<(PublicKey, Digest)>,
    /// The set for which a signature was last found to be valid.
    set: SetId,
    blind_since: Option<u64>,
}

/// How far the audit was read.
struct Audit {
    /// The record to continue from; none before the first read.
    next: Option<u64>,
    granted: Recent<(PublicKey, Digest)>,
    /// Whether records are missing on the node that is asked.
    gap: bool,
    blind_since: Option<u64>,
    /// When everything was last read.
    read_at: Option<Instant>,
}

impl Watcher {
    /// A watch that is not connected yet.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            audit: Audit::new(),
            keys: Vec::new(),
            format: ChainFormat::default(),
            chain: None,
            keys_read: Instant::now(),
            head_read: Instant::now(),
            seen: Recent::new(BLOCKS),
            pending: Vec::new(),
            told: Recent::new(REMEMBERED),
            set: SetId(0),
            blind_since: None,
        }
    }

    /// Watches until `tell` returns false.
    ///
    /// # Errors
    /// If there is nothing to watch.
    pub async fn run(mut self, mut tell: impl FnMut(WatchEvent) -> bool) -> Result<(), WatchError> {
        let mut waits = pauses(PAUSE_FIRST, PAUSE_MAX);
        self.blind_since = Some(unix_ms());
        loop {
            let Err(why) = self.connected(&mut tell, || waits = pauses(PAUSE_FIRST, PAUSE_MAX)).await? else {
                return Ok(());
            };
            let since_ms = *self.blind_since.get_or_insert_with(unix_ms);
            if !tell(WatchEvent::Blind { what: "the chain".into(), since_ms, why }) {
                return Ok(());
            }
            tokio::time::sleep(waits.next().unwrap_or(PAUSE_MAX)).await;
        }
    }

    /// Runs one connection until it breaks (the inner error says why) or `tell` returns false.
    async fn connected(
        &mut self,
        tell: &mut impl FnMut(WatchEvent) -> bool,
        on_sight: impl FnOnce(),
    ) -> Result<Result<(), String>, WatchError> {
        let mut chain = match ChainClient::connect(&self.plan.dialer, &self.plan.url).await {
            Ok(chain) => chain,
            Err(why) => return Ok(Err(why)),
        };
        let genesis = match chain.genesis().await {
            Ok(genesis) => genesis,
            Err(why) => return Ok(Err(why)),
        };
        self.find_keys(genesis).await?;
        if let Err(why) = self.check_head(&mut chain).await {
            return Ok(Err(why));
        }
        on_sight();
        let blind_secs = self.blind_since.take().map_or(0, |since| unix_ms().saturating_sub(since) / 1_000);
        let missing = chain.missing.iter().map(|what| (*what).to_owned()).collect();
        if !tell(WatchEvent::Watching { genesis, keys: self.keys.len(), missing, blind_secs }) {
            return Ok(Ok(()));
        }
        let mut look = tokio::time::interval(LOOK);
        loop {
            let since = Instant::now();
            let shown = {
                let mut next = std::pin::pin!(chain.next());
                loop {
                    // `next` may be in the middle of an exchange, which judging must not interrupt.
                    tokio::select! {
                        shown = &mut next => break shown,
                        _ = look.tick() => {
                            if self.chain.is_some() && since.elapsed() > self.oldest_head() {
                                break Err(format!("it shows nothing new for {} s", since.elapsed().as_secs()));
                            }
                            self.find_new_keys(genesis).await;
                            if !self.judge().await.into_iter().all(&mut *tell) {
                                return Ok(Ok(()));
                            }
                        }
                    }
                }
            };
            let is_due = self.head_read.elapsed() > LOOK_AT_HEAD;
            let checked = if is_due { self.check_head(&mut chain).await } else { Ok(()) };
            let events = match shown.and_then(|shown| checked.map(|()| shown)) {
                Ok(shown) => self.look_at(&mut chain, shown).await,
                Err(why) => Err(why),
            };
            match events.map(|events| events.into_iter().all(&mut *tell)) {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(())),
                Err(why) => return Ok(Err(why)),
            }
        }
    }

    fn oldest_head(&self) -> Duration {
        let slot_ms = self.chain.as_ref().map_or(0, |chain| {
            let clock = chain.clock();
            clock.duration_ms(clock.counting_at(unix_ms()))
        });
        HEAD.max(Duration::from_millis(slot_ms.saturating_mul(HEAD_SLOTS)))
    }

    /// Checks by the slot in its best block that the node is where the chain is. A node that is behind shows nothing of
    /// what is signed now, whatever it says of itself.
    async fn check_head(&mut self, chain: &mut ChainClient) -> Result<(), String> {
        self.head_read = Instant::now();
        let Some(known) = &self.chain else { return Ok(()) };
        let Some(slot) = chain.best().await?.and_then(|header| header.slot()) else { return Ok(()) };
        let now_ms = unix_ms();
        let Some((_, begin_ms)) = known.clock().read(slot, now_ms) else { return Ok(()) };
        let age = Duration::from_millis(now_ms.saturating_sub(begin_ms));
        if age <= self.oldest_head() {
            return Ok(());
        }
        Err(format!(
            "its best block is of slot {slot}, {} minutes old: the node is behind, and shows nothing of what is signed now",
            age.as_secs() / 60
        ))
    }

    /// Reads the keys again: they come and go while the chain is watched.
    async fn find_new_keys(&mut self, genesis: Hash) {
        if self.keys_read.elapsed() < KEYS_AGAIN {
            return;
        }
        if let Err(error) = self.find_keys(genesis).await {
            tracing::debug!(%error, "the keys could not be read again");
        }
    }

    /// The keys to look for on the chain, and its number format.
    async fn find_keys(&mut self, genesis: Hash) -> Result<(), WatchError> {
        if let Some(admin) = &self.plan.admin {
            let chains = admin.chains().await?;
            self.chain = chains.into_iter().find(|chain| chain.genesis.0 == genesis.0);
            self.format = self.chain.as_ref().map_or_else(ChainFormat::default, format_of);
        }
        self.keys_read = Instant::now();
        let keys = match (&self.plan.keys, &self.plan.admin) {
            (Some(keys), _) => keys.clone(),
            (None, Some(admin)) => {
                let rows = admin.keys().await?.into_iter();
                // A removed key must never sign again, so it is looked for too.
                let there =
                    rows.filter(|row| row.genesis.0 == genesis.0 && row.state != KeyState::Registered);
                there.map(|row| WatchedKey { id: row.id, scheme: row.scheme }).collect()
            }
            (None, None) => Vec::new(),
        };
        if keys.is_empty() {
            return Err(WatchError::NoKeys(genesis));
        }
        self.keys = keys;
        Ok(())
    }

    async fn look_at(
        &mut self,
        chain: &mut ChainClient,
        shown: ChainItem,
    ) -> Result<Vec<WatchEvent>, String> {
        let mut events = Vec::new();
        match shown {
            ChainItem::Header(header) => self.headers(chain, *header).await?,
            ChainItem::Grandpa(bytes) => match precommits(&bytes, &self.keys, self.format.number_width) {
                Some(ours) => {
                    for precommit in ours {
                        events.extend(self.precommit(chain, &precommit).await);
                    }
                }
                None => events
                    .push(WatchEvent::Unclear { what: "a GRANDPA justification that cannot be read".into() }),
            },
            ChainItem::Beefy(bytes) => match beefy_votes(&bytes, &self.keys, &self.format) {
                Some(ours) => ours.into_iter().for_each(|sighting| self.saw(sighting)),
                None => events
                    .push(WatchEvent::Unclear { what: "a BEEFY justification that cannot be read".into() }),
            },
        }
        Ok(events)
    }

    /// Handles a header and those of its ancestors that were not seen, back to the last one that was.
    async fn headers(&mut self, chain: &mut ChainClient, header: JsonHeader) -> Result<(), String> {
        let fresh = self.seen.is_empty();
        let mut next = Some(header);
        for _ in 0..ANCESTORS {
            let Some(header) = next.take() else { break };
            let Some(hash) = header.hash() else { break };
            if !self.seen.insert(hash) {
                break;
            }
            if let Some(sighting) = header.sighting(&self.keys, &self.format) {
                self.saw(sighting);
            }
            if fresh || header.number() == Some(0) || self.seen.contains(&header.parent_hash) {
                break;
            }
            next = chain.header(header.parent_hash).await?;
        }
        Ok(())
    }

    /// Handles a precommit. It does not name its set, but its signature is valid for only one.
    async fn precommit(&mut self, chain: &mut ChainClient, precommit: &Precommit) -> Option<WatchEvent> {
        let near = |set: SetId| [set, SetId(set.0.saturating_sub(1)), SetId(set.0 + 1)];
        let mut found = precommit.sighting(near(self.set), &self.format);
        if found.is_none() {
            // A block that ends a set is finalized by the old set, while its state has the new one.
            match chain.grandpa_set(precommit.target.0).await {
                Ok(set) => found = precommit.sighting(near(SetId(set)), &self.format),
                Err(error) => tracing::debug!(%error, "the chain does not say which GRANDPA set it has"),
            }
        }
        match found {
            Some((set, sighting)) => {
                self.set = set;
                self.saw(sighting);
                None
            }
            None => Some(WatchEvent::Unclear {
                what: format!(
                    "a GRANDPA justification of block {} names a key of ours with a signature that is good for no \
                     set that was tried",
                    precommit.target.1
                ),
            }),
        }
    }

    fn saw(&mut self, sighting: Sighting) {
        if self.told.insert((sighting.key.public, sighting.digest)) {
            self.pending.push((Instant::now(), sighting));
        }
    }

    /// Compares the sightings with the audit as it is now.
    async fn judge(&mut self) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        let Some(admin) = self.plan.admin.clone() else {
            let seen = std::mem::take(&mut self.pending);
            let alarm = |(_, sighting)| WatchEvent::Alarm { sighting, time_ms: unix_ms(), doubt: None };
            return seen.into_iter().map(alarm).collect();
        };
        match self.audit.read(&admin).await {
            Ok(()) => {
                if self.audit.blind_since.take().is_some() {
                    events.push(WatchEvent::AuditBack);
                }
            }
            Err(why) => {
                if self.audit.blind_since.is_none() {
                    let since_ms = *self.audit.blind_since.insert(unix_ms());
                    events.push(WatchEvent::Blind { what: "the audit".into(), since_ms, why });
                }
                return events;
            }
        }
        for (at, sighting) in std::mem::take(&mut self.pending) {
            if self.audit.granted.contains(&(sighting.key.public, sighting.digest)) {
                events.push(WatchEvent::Known { sighting });
                continue;
            }
            // A full grace period with a readable audit: what was seen while blind waits again.
            let readable = self.audit.read_at.is_some_and(|read| read >= at + self.plan.grace);
            if !readable {
                self.pending.push((at, sighting));
                continue;
            }
            match search(&admin, &sighting).await {
                Ok(true) => events.push(WatchEvent::Known { sighting }),
                Ok(false) => {
                    let doubt = self.audit.gap.then(|| {
                        "the node that is asked lacks audit records (it took a snapshot, or has pruned them): ask \
                         another node too"
                            .to_owned()
                    });
                    events.push(WatchEvent::Alarm { sighting, time_ms: unix_ms(), doubt });
                }
                Err(_) => self.pending.push((at, sighting)),
            }
        }
        events
    }
}

impl Audit {
    fn new() -> Self {
        Self { next: None, granted: Recent::new(REMEMBERED), gap: false, blind_since: None, read_at: None }
    }

    /// Reads new audit records.
    async fn read(&mut self, admin: &AdminClient) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let back = u64::try_from(BACK.as_millis()).unwrap_or(u64::MAX);
            let query = match self.next {
                Some(next) => AuditQuery { from: Some(next), ..AuditQuery::default() },
                None => {
                    AuditQuery { since_ms: Some(unix_ms().saturating_sub(back)), ..AuditQuery::default() }
                }
            };
            let page = admin.audit(&query).await.map_err(|e| e.to_string())?;
            for line in page.lines {
                self.gap |= self.next.is_some_and(|next| next != line.seq);
                self.next = Some(line.seq + 1);
                if let Some(grant) = granted(&line) {
                    self.granted.insert(grant);
                }
            }
            self.next = Some(page.next);
            if page.next >= page.head.0 {
                self.read_at = Some(began);
                return Ok(());
            }
        }
    }
}

/// A bounded set of the latest items.
struct Recent<T> {
    set: HashSet<T>,
    order: VecDeque<T>,
    most: usize,
}

impl<T: Copy + Eq + std::hash::Hash> Recent<T> {
    fn new(most: usize) -> Self {
        Self { set: HashSet::new(), order: VecDeque::new(), most }
    }

    fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    fn contains(&self, one: &T) -> bool {
        self.set.contains(one)
    }

    /// Adds an item; whether it is new.
    fn insert(&mut self, one: T) -> bool {
        if !self.set.insert(one) {
            return false;
        }
        self.order.push_back(one);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

/// The payload format of a chain; a chain of another family is not watched.
fn format_of(chain: &ChainRow) -> ChainFormat {
    ChainSettings::decode(&chain.settings).map(|settings| settings.format).unwrap_or_default()
}

/// The grant in a record, if it has one.
fn granted(line: &AuditLine) -> Option<(PublicKey, Digest)> {
    match &line.record.as_ref()?.event {
        AuditEvent::Claim { key, digest, answer: Verdict::Granted | Verdict::Repeated { .. }, .. } => {
            Some((key.public, *digest))
        }
        _ => None,
    }
}

/// Whether the whole audit holds the grant.
async fn search(admin: &AdminClient, sighting: &Sighting) -> Result<bool, String> {
    let position = sighting.duty.to_any().position();
    let duty = DutyQuery(position.named().map(|(part, number)| (part.word.to_owned(), number)).collect());
    let key = Some(sighting.key.public);
    let mut query = AuditQuery { key, duty: Some(duty), ..AuditQuery::default() };
    loop {
        let page = admin.audit(&query).await.map_err(|e| e.to_string())?;
        let wanted = (sighting.key.public, sighting.digest);
        if page.lines.iter().filter_map(granted).any(|grant| grant == wanted) {
            return Ok(true);
        }
        if page.next >= page.head.0 || query.from == Some(page.next) {
            return Ok(false);
        }
        query.from = Some(page.next);
    }
}
