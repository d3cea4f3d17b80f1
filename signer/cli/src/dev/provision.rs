//! Fills a local cluster: its chain, a set of session keys for every validator, clients with every right.

use super::{DevKey, LocalCluster};
use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use signonce_cluster::clock::unix_ms;
use signonce_core::{Chain, Change, ClientState, KeySelector, KeyState, Right};
use signonce_keys::{Recipient, SecretKey};
use signonce_protocol::{DutyClass, KeyId, KeyType};
use signonce_shared::{
    admin::{
        api::{ChainRow, ClientRow, KeyRow},
        client::AdminClient,
    },
    enroll::{NewKey, enroll, new_key_floors, recipients},
    tls::PeerIdentity,
};
use signonce_substrate::{
    AUTHORITY_DISCOVERY, BABE, BEEFY, ChainFormat, ChainSettings, GRANDPA, IM_ONLINE, Limits, PARA,
};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The session keys of a validator, in Polkadot's order except for BEEFY, which Polkadot has last.
const SESSION: [KeyType; 6] = [BABE, GRANDPA, BEEFY, PARA, AUTHORITY_DISCOVERY, IM_ONLINE];

/// How many keys are enrolled at a time; the cluster commits those that come together with one sync.
const AT_A_TIME: usize = 64;
/// The pause between two checks of a node.
const LOOK: Duration = Duration::from_millis(50);
/// How long a node may take to open its keys.
const OPEN: Duration = Duration::from_secs(60);

pub(super) async fn provision(cluster: &LocalCluster) -> anyhow::Result<Vec<DevKey>> {
    let admin = any_admin(cluster).await?;
    let chain = chain(cluster, &admin).await?;
    let recipients = recipients(&admin).await?;
    let rows = admin.keys().await?;
    let missing = missing(cluster, &rows);
    let arm_again = rows.iter().filter(|row| row.genesis == chain.genesis);
    for row in arm_again.filter(|row| row.state == KeyState::Registered) {
        let floors = new_key_floors(row.id.key_type, chain.clock(), unix_ms());
        admin.change(&Change::ArmKey { id: row.id, floors }).await?;
    }
    stream::iter(missing)
        .map(|(key_type, group)| generate(&admin, &chain, &recipients, key_type, group))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    clients(cluster, &admin).await?;
    let keys = sorted(admin.keys().await?, &chain);
    for id in cluster.node_ids().into_iter().filter(|id| cluster.pid(*id).is_some()) {
        wait_open(&cluster.admin(id), id, keys.len()).await?;
    }
    Ok(keys)
}

/// Waits until every running node has opened every key, so that no client is told to wait.
async fn wait_open(admin: &AdminClient, id: u64, keys: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + OPEN;
    loop {
        let status = admin.status().await.with_context(|| format!("node {id}"))?;
        if status.keys.unlocked >= keys {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = status.locked.first().map(|locked| locked.why.as_str()).unwrap_or("no reason given");
            bail!("node {id} has opened {} of {keys} keys: {why}", status.keys.unlocked);
        }
        sleep(LOOK).await;
    }
}

/// The first node that answers.
async fn any_admin(cluster: &LocalCluster) -> anyhow::Result<AdminClient> {
    let mut last = None;
    for id in cluster.node_ids() {
        if cluster.pid(id).is_none() {
            continue;
        }
        let admin = cluster.admin(id);
        match admin.status().await {
            Ok(_) => return Ok(admin),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no node runs"), Into::into))
}

async fn chain(cluster: &LocalCluster, admin: &AdminClient) -> anyhow::Result<ChainRow> {
    let options = cluster.options();
    if let Some(chain) = admin.chains().await?.into_iter().find(|chain| chain.genesis == cluster.genesis()) {
        return Ok(chain);
    }
    let (format, limits) = (ChainFormat::default(), Limits::default());
    let settings = ChainSettings { format, slot_duration_ms: options.slot_duration_ms, limits };
    let chain = settings.chain(cluster.genesis(), options.chain_name.clone());
    admin.change(&Change::AddChain(chain.clone())).await?;
    Ok(chain.into())
}

fn missing(cluster: &LocalCluster, rows: &[KeyRow]) -> Vec<(KeyType, String)> {
    let count = |key_type: KeyType, group: &str| {
        let same = |row: &&KeyRow| row.id.key_type == key_type && row.group.as_deref() == Some(group);
        rows.iter().filter(same).count()
    };
    let mut missing = Vec::new();
    for validator in 1..=cluster.options().validators {
        let group = format!("validator-{validator}");
        let types = SESSION.into_iter().filter(|key_type| count(*key_type, &group) == 0);
        missing.extend(types.map(|key_type| (key_type, group.clone())));
    }
    let there = count(BABE, EXTRA);
    missing.extend((there..cluster.options().extra_keys).map(|_| (BABE, EXTRA.to_owned())));
    missing
}

/// The group of the keys that belong to no validator.
const EXTRA: &str = "extra";

async fn generate(
    admin: &AdminClient,
    chain: &ChainRow,
    recipients: &[Recipient],
    key_type: KeyType,
    group: String,
) -> anyhow::Result<()> {
    let scheme = key_type.schemes().first().context("every key type has a scheme")?;
    let secret = SecretKey::generate(*scheme)?;
    let id = KeyId { key_type, public: secret.public() };
    let floors = new_key_floors(key_type, chain.clock(), unix_ms());
    enroll(admin, chain.genesis, recipients, &NewKey { id, secret, group: Some(group), floors }).await?;
    Ok(())
}

async fn clients(cluster: &LocalCluster, admin: &AdminClient) -> anyhow::Result<()> {
    let there = admin.clients().await?;
    let is_there =
        |name: &str| there.iter().any(|row: &ClientRow| row.state == ClientState::Active && row.name == name);
    for name in cluster.options().clients.iter().filter(|name| !is_there(name)) {
        let spki = PeerIdentity::of_file(&cluster.client_tls(name).cert)?.spki;
        let every = Right { keys: KeySelector::All, chain: None, classes: DutyClass::all().collect() };
        admin.change(&Change::AddClient { name: name.clone(), spki, rights: vec![every] }).await?;
    }
    Ok(())
}

/// The keys that can sign, validator by validator, in the order of [`SESSION`].
fn sorted(rows: Vec<KeyRow>, chain: &Chain) -> Vec<DevKey> {
    let usable = rows.into_iter().filter(|row| row.genesis == chain.genesis && row.state == KeyState::Armed);
    let mut keys: Vec<DevKey> = usable
        .map(|row| DevKey {
            key_type: row.id.key_type,
            scheme: row.scheme,
            public: row.id.public,
            group: row.group.unwrap_or_default(),
        })
        .collect();
    let place = |key: &DevKey| SESSION.iter().position(|t| *t == key.key_type);
    // Groups end in numbers: shorter ones first, and the extra keys last.
    keys.sort_by_key(|key| (key.group == EXTRA, key.group.len(), key.group.clone(), place(key), key.public));
    keys
}
