//! One tenant against all: a client with the default limits that fills the state as fast as they let it, and one that
//! is refused without end. Both have keys that nobody else uses; what they take from the others must stay bounded.

use super::{World, world::READY_WITHIN};
use crate::{
    cluster::{Cluster, GUEST, Key},
    net::Link,
    payload::{DutyId, approval},
    verify::verify,
};
use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use signonce_protocol::{
    RawPayload,
    client::{ClientError, SignerClient, Timeouts},
    rpc::{ChainRef, ErrorCode, RpcError, SignParams, SignReply},
};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// Questions of the tenant that are open at each node.
const OPEN: usize = 48;
/// How long it waits for an answer.
const WAITS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(10),
    deadline: Duration::from_secs(10),
};
/// How long it leaves alone a node that does not serve or limits it.
const AGAIN: Duration = Duration::from_millis(50);
/// How long others may wait for a new duty beside it.
const OTHERS_WAIT: Duration = Duration::from_secs(5);
/// Violations of one piece of work that are told in full.
const TOLD: usize = 10;
/// How long a tenant may take to do its work, whatever else the machine has to do.
const WORKS_WITHIN: Duration = Duration::from_secs(300);

// The state.

/// Candidates of a session that a key takes, by the documentation.
const PER_SESSION: u32 = 32_768;
/// Sessions that it keeps.
const SESSIONS: u32 = 9;
/// Candidates of one approval.
const PER_APPROVAL: u32 = 16;
/// Approvals that take a session's candidates, and then some more that find no room.
const APPROVALS: u32 = PER_SESSION / PER_APPROVAL;
const TOO_MANY: u32 = 32;
/// Further payloads about candidates whose side is taken.
const MORE_WORDS: u32 = 2_000;
/// Duties of which the other side is asked for afterwards.
const ASKED_AGAIN: usize = 200;

/// Records that hold a session's sides, and signatures whose bytes are remembered.
const BUCKETS: u32 = 256;
const REMEMBERED: u32 = 512;
/// The longest record, without what it holds of sides.
const ROW_BYTES: f64 = 256.0;
/// The bytes of a side.
const SIDE_BYTES: f64 = 6.0;

/// What a node has of its log in memory: twice the limit, and what comes before it is next looked at.
const LOG_BYTES: f64 = 9.0 * 1_048_576.0;
/// How much more memory a node may use than before, in MiB: twice the log's limit (8), memtables (8) and blocks of the
/// store (4), a snapshot's parts under way to two peers (3), the filled state twice (4), the tenant's connections with
/// what they have open (9), and a third of all that, because an allocator keeps what was freed.
const MEMORY_MORE: u64 = 48 << 20;

/// What a key of a type may have of records: a floor, and one for each place that it keeps.
fn rows_of(key: &Key) -> u32 {
    match key.key_type.as_str() {
        "babe" => 1 + 64,
        "gran" => 1 + 256 * 3,
        "beef" => 1 + 256,
        "para" => 1 + SESSIONS * BUCKETS + REMEMBERED,
        _ => 0,
    }
}

/// A tenant fills its key while a member is away, which comes back by way of a snapshot. State and memory stay bounded,
/// others are served, and what was signed stays signed.
pub(super) async fn fill_state(world: &mut World) -> anyhow::Result<()> {
    let leader = world.leader().await?;
    let ids = world.cluster.ids();
    let away = *ids.iter().find(|id| **id != leader).context("a cluster has followers")?;
    let before = calm_memory(&world.cluster)?;
    world.cluster.kill(away).await?;
    let key = own_key(&world.cluster, "para")?;
    // In later sessions each time: what was said in earlier ones has been forgotten.
    let from = 1 + u32::try_from(world.faults).unwrap_or_default() * SESSIONS;
    world.fault(format!("a tenant fills its key, with node {away} killed"));
    let rest = others(&ids, away);
    work(world, &rest, key, sides_of(from)).await?;
    let more = more_sides(world, from);
    work(world, &rest, key, more).await?;
    is_bounded(world, leader).await?;

    let base = come_back_far_behind(world, away).await?;
    is_bounded(world, away).await?;
    let snapshot = missing(&world.cluster, away)?;
    ensure!(snapshot, "node {away} was to take a snapshot, and got every log entry");
    let before = before.into_iter().map(|(id, old)| (id, if id == away { base } else { old })).collect();
    memory_is_bounded(world, &before)?;
    sides_stand(world, key, from).await?;
    world.settle().await
}

/// A key of the tenant's own, by its type.
fn own_key(cluster: &Cluster, key_type: &str) -> anyhow::Result<usize> {
    let group = format!("validator-{}", cluster.plan.validators);
    let is_it = |key: &Key| key.group == group && key.key_type == key_type;
    cluster.keys.iter().position(is_it).with_context(|| format!("{group} has no {key_type} key"))
}

fn others(ids: &[u64], node: u64) -> Vec<u64> {
    ids.iter().copied().filter(|id| *id != node).collect()
}

/// The memory of each node before, as the base of the measurement.
fn calm_memory(cluster: &Cluster) -> anyhow::Result<BTreeMap<u64, u64>> {
    let one = |id| {
        cluster.forget_peak(id)?;
        Ok((id, cluster.peak_bytes(id).with_context(|| format!("node {id} does not run"))?))
    };
    cluster.ids().into_iter().map(one).collect()
}

fn memory_is_bounded(world: &mut World, before: &BTreeMap<u64, u64>) -> anyhow::Result<()> {
    let mut most = BTreeMap::new();
    for (id, old) in before {
        let peak = world.cluster.peak_bytes(*id).with_context(|| format!("node {id} does not run"))?;
        let [old_mib, peak_mib] = [*old, peak].map(|bytes| bytes >> 20);
        if peak > old + MEMORY_MORE {
            world.violation(format!("node {id} had {peak_mib} MiB of memory, and {old_mib} before"));
        }
        most.insert(*id, (old_mib, peak_mib));
    }
    world.say(format!("memory of each node before and at most, in MiB: {most:?}"));
    Ok(())
}

/// All candidates of as many sessions as are kept.
fn sides_of(from: u32) -> Vec<Asking> {
    let sessions = from..from + SESSIONS;
    let all = sessions.flat_map(|session| (0..APPROVALS).map(move |n| (session, n)));
    all.map(|(session, n)| Asking { payload: approval(session, &together(n)), expected: Expected::Signed })
        .collect()
}

/// The candidates of one approval.
fn together(n: u32) -> Vec<u32> {
    (n * PER_APPROVAL..(n + 1) * PER_APPROVAL).collect()
}

/// Candidates for which there is no room, and other words about some of those that are taken.
fn more_sides(world: &mut World, from: u32) -> Vec<Asking> {
    let full =
        (from..from + SESSIONS).flat_map(|session| (0..TOO_MANY).map(move |n| (session, APPROVALS + n)));
    let full = full.map(|(session, n)| Asking {
        payload: approval(session, &together(n)),
        expected: Expected::Refused(ErrorCode::RateLimited),
    });
    let mut all: Vec<_> = full.collect();
    for n in 0..MORE_WORDS {
        let other = world.rng.random_range(1..PER_SESSION);
        let payload = approval(from + SESSIONS - 1, &[n, (n + other) % PER_SESSION]);
        all.push(Asking { payload, expected: Expected::Signed });
    }
    all
}

/// Checks that no key has more records than it may, and that the sides of a full key take the bytes they should.
async fn is_bounded(world: &mut World, node: u64) -> anyhow::Result<()> {
    let rows_most: u32 = world.cluster.keys.iter().map(rows_of).sum();
    let sides = f64::from(SESSIONS * PER_SESSION);
    let bytes_most = f64::from(rows_most) * ROW_BYTES + sides * SIDE_BYTES;
    let series = |what| format!("signonce_state_{what}{{table=\"watermarks\"}}");
    let rows = world.cluster.sample(node, &series("rows")).await?;
    let bytes = world.cluster.sample(node, &series("bytes")).await?;
    let log = world.cluster.sample(node, "signonce_raft_log_bytes").await?;
    world.say(format!("node {node}: {rows} records of watermarks with {bytes} bytes; {log} bytes of log"));
    if log > LOG_BYTES {
        world
            .violation(format!("node {node} has {log} bytes of its log in memory, and may have {LOG_BYTES}"));
    }
    if rows > f64::from(rows_most) || bytes > bytes_most {
        world.violation(format!(
            "node {node} has {rows} records of watermarks, {bytes} bytes; all keys together may have {rows_most}, \
             {bytes_most}"
        ));
    }
    // Else nothing was tried.
    ensure!(bytes > sides * SIDE_BYTES, "node {node} has {bytes} bytes of watermarks, less than a full key");
    Ok(())
}

/// Starts a node, cut off until its memory is that of one that has done nothing yet; returns that memory.
async fn come_back_far_behind(world: &mut World, node: u64) -> anyhow::Result<u64> {
    for other in &others(&world.cluster.ids(), node) {
        world.cluster.links.set(*other, node, Link::cut());
        world.cluster.links.set(node, *other, Link::cut());
    }
    world.cluster.start(node)?;
    let begun = Instant::now();
    while !world.cluster.sample(node, "signonce_fence{state=\"fenced\"}").await.is_ok_and(|is| is == 1.0) {
        ensure!(begun.elapsed() < READY_WITHIN, "node {node} does not come up");
        sleep(AGAIN).await;
    }
    let leader = world.cluster.leader(&[node], READY_WITHIN).await?;
    let committed = world.cluster.sample(leader, "signonce_raft_applied_index").await?;
    world.cluster.forget_peak(node)?;
    let base = world.cluster.peak_bytes(node).with_context(|| format!("node {node} does not run"))?;
    world.cluster.links.heal();
    let begun = Instant::now();
    world.cluster.wait_ready(&[node], READY_WITHIN).await.context("after coming back far behind")?;
    while world.cluster.sample(node, "signonce_raft_applied_index").await? < committed {
        ensure!(begun.elapsed() < READY_WITHIN, "node {node} does not get the others' state");
        sleep(AGAIN).await;
    }
    world.say(format!(
        "node {node} is back, with the state of the others, within {} ms",
        begun.elapsed().as_millis()
    ));
    Ok(base)
}

/// Whether the node lacks records of the audit behind those that it had: it has taken a snapshot in their place.
fn missing(cluster: &Cluster, node: u64) -> anyhow::Result<bool> {
    let said = cluster.long_command(node, &["audit", "export"])?;
    Ok(said.lines().any(|line| line.starts_with("{\"missing\":")))
}

/// Checks that every node refuses the other side of what was signed, and signs the same again.
async fn sides_stand(world: &mut World, key: usize, from: u32) -> anyhow::Result<()> {
    let drawn = std::iter::repeat_with(|| {
        (from + world.rng.random_range(0..SESSIONS), world.rng.random_range(0..PER_SESSION))
    });
    let drawn: Vec<_> = drawn.take(ASKED_AGAIN).collect();
    for node in world.cluster.ids() {
        let asking = drawn.iter().flat_map(|&(session, number)| {
            let against = DutyId::Candidate { session, number }.payload(1);
            let again = approval(session, &together(number / PER_APPROVAL));
            [
                Asking { payload: against, expected: Expected::Refused(ErrorCode::Equivocation) },
                Asking { payload: again, expected: Expected::Signed },
            ]
        });
        work(world, &[node], key, asking.collect()).await?;
    }
    world.say(format!("the other side of {ASKED_AGAIN} candidates is refused by every node"));
    Ok(())
}

// Refusals.

/// Refusals that a flood has; ten times what they may leave in the audit.
const REFUSALS: u32 = 10_000;
/// The most records of one client's refusals that a node makes: at once, and a minute, beside those for which it asks
/// the log.
const NOTES_AT_ONCE: f64 = 256.0 + 10.0;
const NOTES_A_MINUTE: f64 = 4.0 + 1.0;
/// How long what a node has noted may take into the log.
const NOTED_WITHIN: Duration = Duration::from_secs(20);
/// Questions of the storm that may be under way when it is counted.
const UNDER_WAY: f64 = 256.0;
/// Sessions that the tenant's key has sides in: the oldest are forgotten.
const WORKED_IN: u32 = 12;
const FORGOTTEN: u32 = WORKED_IN - SESSIONS;
/// Candidates of the newest of them.
const WORKED_ON: u32 = 200;
/// The vote to which others are refused.
const FIRST_VOTE: DutyId = DutyId::Vote { set: 1, round: 1, stage: 0 };
/// The setting that once bounded records by count.
const KEEP_FEW: &str = "1000";

/// Nodes are told to keep a thousand records, which must have no effect.
pub(super) fn prepare(cluster: &mut Cluster) {
    for id in cluster.ids() {
        cluster.node_mut(id).env.push(("SIGNONCE_AUDIT_KEEP_RECORDS", KEEP_FEW.into()));
    }
}

/// A tenant is refused hundreds of times a second. Neither the log nor the audit grows with it, others are served, and
/// no record goes.
pub(super) async fn be_refused(world: &mut World) -> anyhow::Result<()> {
    let ids = world.cluster.ids();
    let (para, gran) = (own_key(&world.cluster, "para")?, own_key(&world.cluster, "gran")?);
    if world.faults == 0 {
        // One after the other: the last sessions make the key forget the first.
        for sessions in [1..=FORGOTTEN, FORGOTTEN + 1..=WORKED_IN] {
            work(world, &ids[..1], para, honest_sides(sessions)).await?;
        }
        let vote = Asking { payload: FIRST_VOTE.payload(0), expected: Expected::Signed };
        work(world, &ids[..1], gran, vec![vote]).await?;
    }
    let node = world.any().await?;
    let old = world.cluster.long_command(node, &["audit", "export"])?;
    let from = Counted::now(world, node).await?;
    world.fault("a tenant is refused without end");
    let begun = Instant::now();
    let (sides, votes) = (refused_sides(world.faults), refused_votes(world.faults));
    let sides = Tenant::begin(&world.cluster, &ids, sides, para)?;
    let votes = Tenant::begin(&world.cluster, &ids, votes, gran)?;
    let longest = sides.others_are_served(world).await?.max(votes.others_are_served(world).await?);
    let refused = sides.end(world).await + votes.end(world).await;
    let seconds = begun.elapsed().as_secs_f64();
    world.say(format!(
        "{:.0} refusals a second for {seconds:.1} s; others waited {} ms at most",
        refused as f64 / seconds,
        longest.as_millis()
    ));
    ensure!(refused >= REFUSALS.into(), "the tenant was refused {refused} times only");
    leaves_little(world, node, &from, refused).await?;
    stays(world, node, &old).await?;
    world.settle().await
}

/// What there is of records and log entries, and what the storm has asked.
struct Counted {
    at: Instant,
    records: f64,
    applied: f64,
    asked: f64,
    own: u64,
}

impl Counted {
    async fn now(world: &World, node: u64) -> anyhow::Result<Self> {
        let (own, _) = own_records(&world.cluster, node)?;
        // The storm's questions last: what it asks meanwhile is counted for it.
        let records = world.cluster.sample(node, "signonce_audit_records").await?;
        let applied = world.cluster.sample(node, "signonce_raft_applied_index").await?;
        let asked = world.storm.checker().figures().requests as f64;
        Ok(Self { at: Instant::now(), records, applied, asked, own })
    }
}

/// Checks that the tenant's refusals left as many records as its share, and no more of the log than those.
async fn leaves_little(world: &mut World, node: u64, from: &Counted, refused: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let told = loop {
        let (_, told) = own_records(&world.cluster, node)?;
        if told > refused / 2 {
            break told;
        }
        if begun.elapsed() > NOTED_WITHIN {
            world.violation(format!("the audit tells of {told} of {refused} refusals"));
            break told;
        }
        sleep(AGAIN * 10).await;
    };
    let now = Counted::now(world, node).await?;
    let minutes = (now.at - from.at).as_secs_f64() / 60.0;
    let nodes = world.cluster.ids().len() as f64;
    let share = nodes * (NOTES_AT_ONCE + NOTES_A_MINUTE * minutes);
    let own = now.own.saturating_sub(from.own);
    let others = now.asked - from.asked + UNDER_WAY;
    let (records, applied) = (now.records - from.records, now.applied - from.applied);
    world.say(format!(
        "{refused} refusals left {own} records ({share:.0} at most), which tell of {told}; {records} records and \
         {applied} log entries in all, beside {} questions of others",
        now.asked - from.asked
    ));
    if own as f64 > share {
        world.violation(format!("{refused} refusals left {own} records, with a share of {share:.0}"));
    }
    if records > others + share || applied > others + share {
        world.violation(format!(
            "{records} records and {applied} log entries, where others asked {others} times and the tenant's share \
             is {share:.0}"
        ));
    }
    Ok(())
}

/// Records about the tenant, and how many refusals they tell of.
fn own_records(cluster: &Cluster, node: u64) -> anyhow::Result<(u64, u64)> {
    let said = cluster.long_command(node, &["audit", "export", "--client", GUEST])?;
    let own = said.lines().filter(|line| line.contains("\"record\":"));
    let (mut records, mut told) = (0, 0);
    for line in own {
        let line: serde_json::Value = serde_json::from_str(line).context("a line of an export")?;
        records += 1;
        told += count(&line["record"]).unwrap_or_default();
    }
    Ok((records, told))
}

/// The number in a note, wherever it is in the record.
fn count(record: &serde_json::Value) -> Option<u64> {
    let fields = record.as_object()?;
    let own = fields.get("count").and_then(serde_json::Value::as_u64);
    own.or_else(|| fields.values().find_map(count))
}

/// A node that starts again has every record that there was before the flood.
async fn stays(world: &mut World, node: u64, old: &str) -> anyhow::Result<()> {
    world.cluster.kill(node).await?;
    world.cluster.start(node)?;
    world.cluster.wait_ready(&[node], READY_WITHIN).await.context("after the flood")?;
    // It looks at what is too old within seconds of its start.
    world.pass_ms(6_000, 7_000).await;
    let new = world.cluster.long_command(node, &["audit", "export"])?;
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("\"record\":")).map(str::to_owned).collect()
    };
    let (old, new) = (lines(old), lines(&new));
    if new.get(..old.len()) != Some(&old[..]) {
        world.violation(format!("of {} records of before the flood not all are there", old.len()));
    }
    world.say(format!("all {} records of before the flood are there, {} now", old.len(), new.len()));
    Ok(())
}

/// What the tenant has signed before.
fn honest_sides(sessions: RangeInclusive<u32>) -> Vec<Asking> {
    let of = |session| if session == WORKED_IN { WORKED_ON } else { 1 };
    let sides = sessions.flat_map(|session| (0..of(session)).map(move |number| (session, number)));
    let signed = |(session, number)| Asking {
        payload: DutyId::Candidate { session, number }.payload(0),
        expected: Expected::Signed,
    };
    sides.map(signed).collect()
}

/// Sides that are refused: below the watermark, too far, and the other one.
fn refused_sides(times: u64) -> Vec<Asking> {
    let first = u32::try_from(times).unwrap_or_default() * REFUSALS;
    let one = |n: u32| {
        let (session, number, side, code) = match n % 3 {
            0 => (1, n, 0, ErrorCode::BelowWatermark),
            1 => (WORKED_IN + 5_000 + n % 7, n, 0, ErrorCode::JumpTooFar),
            _ => (WORKED_IN, n % WORKED_ON, 1, ErrorCode::Equivocation),
        };
        let payload = DutyId::Candidate { session, number }.payload(side);
        Asking { payload, expected: Expected::Refused(code) }
    };
    (first..first + REFUSALS / 2).map(one).collect()
}

/// Votes that are refused: another block, and too far.
fn refused_votes(times: u64) -> Vec<Asking> {
    let first = u32::try_from(times).unwrap_or_default() * REFUSALS;
    let one = |n: u32| {
        let (place, side, code) = match n % 2 {
            0 => (FIRST_VOTE, 1 + u8::try_from(n / 2 % 200).unwrap_or_default(), ErrorCode::Equivocation),
            _ => {
                let round = 500_000 + u64::from(n);
                (DutyId::Vote { set: 1, round, stage: 0 }, 0, ErrorCode::JumpTooFar)
            }
        };
        Asking { payload: place.payload(side), expected: Expected::Refused(code) }
    };
    (first..first + REFUSALS / 2).map(one).collect()
}

// The tenant.

/// A payload and its expected result.
struct Asking {
    payload: RawPayload,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// A signature, as new or as a repeat.
    Signed,
    /// A refusal with this code. `rateLimited` only for a place that is full.
    Refused(ErrorCode),
}

/// Has the tenant ask for all this, while others are served.
async fn work(world: &mut World, nodes: &[u64], key: usize, asking: Vec<Asking>) -> anyhow::Result<()> {
    let tenant = Tenant::begin(&world.cluster, nodes, asking, key)?;
    let longest = tenant.others_are_served(world).await?;
    world.say(format!("others waited {} ms at most", longest.as_millis()));
    tenant.end(world).await;
    Ok(())
}

/// A client with the default limits that asks for all it has to ask, as fast as it is let.
struct Tenant {
    work: Arc<Work>,
    asking: JoinSet<()>,
    begun: Instant,
}

struct Work {
    asking: Vec<Asking>,
    next: AtomicUsize,
    answered: AtomicUsize,
    stop: AtomicBool,
    key: Key,
    chain: ChainRef,
    done: Mutex<Done>,
}

/// The results of the tenant.
#[derive(Default)]
struct Done {
    signed: u64,
    refused: BTreeMap<&'static str, u64>,
    /// How often it was told to come again.
    put_off: u64,
    /// Results that were not expected.
    found: Vec<String>,
}

impl Tenant {
    fn begin(cluster: &Cluster, nodes: &[u64], asking: Vec<Asking>, key: usize) -> anyhow::Result<Self> {
        let work = Arc::new(Work {
            asking,
            next: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            key: cluster.keys[key].clone(),
            chain: ChainRef::Id(cluster.genesis),
            done: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for node in nodes {
            let client = cluster.guest(&[*node], WAITS)?;
            (0..OPEN).for_each(|_| drop(tasks.spawn(Arc::clone(&work).go_on(client.clone()))));
        }
        Ok(Self { work, asking: tasks, begun: Instant::now() })
    }

    /// Checks that new duties of others are granted until everything was asked; returns the longest time one took.
    async fn others_are_served(&self, world: &World) -> anyhow::Result<Duration> {
        let mut longest = Duration::ZERO;
        while self.work.answered.load(Ordering::Relaxed) < self.work.asking.len() {
            ensure!(self.begun.elapsed() < WORKS_WITHIN, "a tenant's work takes more than {WORKS_WITHIN:?}");
            let waited = world.storm.served_within(OTHERS_WAIT).await.context("beside a busy tenant")?;
            longest = longest.max(waited);
            sleep(AGAIN).await;
        }
        Ok(longest)
    }

    /// Reports the results once every question is answered; returns how many were refused.
    async fn end(mut self, world: &mut World) -> u64 {
        self.work.stop.store(true, Ordering::Relaxed);
        while self.asking.join_next().await.is_some() {}
        let Done { signed, refused, put_off, found } = std::mem::take(&mut *self.work.lock());
        world.say(format!(
            "the tenant got {signed} signatures and {refused:?}, and was put off {put_off} times, in {:.1} s",
            self.begun.elapsed().as_secs_f64()
        ));
        let more = found.len().saturating_sub(TOLD);
        found.into_iter().take(TOLD).for_each(|what| world.violation(what));
        if more > 0 {
            world.violation(format!("and {more} more"));
        }
        refused.values().sum()
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn go_on(self: Arc<Self>, client: SignerClient) {
        while let Some(asking) = self.asking.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let params = SignParams {
                chain: self.chain.clone(),
                key: self.key.public,
                payload: asking.payload.clone(),
            };
            while !self.stop.load(Ordering::Relaxed) {
                match client.sign(&params).await {
                    Err(ClientError::NotReady { .. } | ClientError::UnknownOutcome { .. }) => {
                        self.put_off(AGAIN).await;
                    }
                    Err(ClientError::Refused(refusal)) if is_too_fast(&refusal) => {
                        self.put_off(refusal.data.retry_after_ms.map_or(AGAIN, Duration::from_millis)).await;
                    }
                    answer => {
                        self.judge(asking, answer);
                        break;
                    }
                }
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn put_off(&self, time: Duration) {
        self.lock().put_off += 1;
        sleep(time).await;
    }

    fn judge(&self, asking: &Asking, answer: Result<SignReply, ClientError>) {
        let (bytes, Key { scheme, public, .. }) = (asking.payload.bytes(), &self.key);
        let (was, what) = match answer {
            Ok(reply) if verify(*scheme, public.as_bytes(), bytes, &reply.signature.0) => {
                self.lock().signed += 1;
                (Expected::Signed, "a signature".to_owned())
            }
            Ok(_) => return self.lock().found.push("a signature that does not verify".into()),
            Err(ClientError::Refused(refusal)) => {
                *self.lock().refused.entry(refusal.code.name()).or_default() += 1;
                (Expected::Refused(refusal.code), refusal.message)
            }
            Err(error) => return self.lock().found.push(error.to_string()),
        };
        if was != asking.expected {
            self.lock().found.push(format!("the tenant was to get {:?} and got {what}", asking.expected));
        }
    }
}

/// Whether it is a rate limit rather than a full position, which is an answer.
fn is_too_fast(refusal: &RpcError) -> bool {
    refusal.code == ErrorCode::RateLimited && refusal.data.bound.is_none()
}
