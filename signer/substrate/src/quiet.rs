//! Watches a chain for some blocks: whether anything shows up that only somebody else can have signed.
//!
//! What was signed before may reach the chain late, above all a vote in a justification. So only what lies beyond the
//! point where the chain was counts: whoever signs that signs now.

use crate::{
    http::{Address, Dialer},
    node::{Node, NodeError},
    progress::Progress,
    watch::{
        Plan, WatchError, WatchEvent, Watcher,
        sighting::{Sighting, WatchedKey},
    },
};
use hyper::Uri;
use serde::{Deserialize, Serialize};
use signonce_protocol::KeyId;
use signonce_shared::admin::{api::ChainRow, client::AdminClient};
use signonce_substrate::Duty;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How often the chain's height is checked.
const LOOK: Duration = Duration::from_millis(500);
/// How long the chain may stand still or be unreachable.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the audit may take to know of a signature.
const GRACE: Duration = Duration::from_secs(5);

/// Why it cannot be said that the chain was quiet.
#[derive(Debug, thiserror::Error)]
pub enum QuietError {
    /// A node's answers cannot be used.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The watch cannot start.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The chain cannot be seen at all, at this moment.
    #[error("--chain-url: {0}; run this command again when the node answers")]
    OutOfSight(NodeError),
    /// The chain stands still.
    #[error("{url} shows no block after {highest} for {} s; run this command again when the chain moves on", PATIENCE.as_secs())]
    StandsStill {
        /// The node that was asked.
        url: Address,
        /// The highest block that it showed.
        highest: u64,
    },
    /// No node was given.
    #[error("there is no node to look at the chain with")]
    NoNode,
}

/// What to watch.
pub struct Quiet {
    /// The nodes of the chain to ask: each has to show it.
    pub urls: Vec<Uri>,
    /// The chain.
    pub chain: ChainRow,
    /// Authorities for TLS, in place of this machine's.
    pub authorities: Option<PathBuf>,
    /// The keys.
    pub keys: Vec<KeyId>,
    /// For how many blocks.
    pub blocks: u64,
    /// How far the chain was when nobody signed with the keys any more.
    pub since: Option<Progress>,
}

/// What was watched, and what was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// The first block.
    pub from: u64,
    /// The last block.
    pub to: u64,
    /// What somebody else signed, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_elsewhere: Option<String>,
}

impl Quiet {
    /// Watches until enough blocks have passed or something was signed elsewhere. With `admin`, signatures that its
    /// audit knows are ours; without, the keys must not sign at all.
    ///
    /// # Errors
    /// If the chain stands still or cannot be seen, or a node is not up to date: it would show old blocks, or none.
    /// `blind` is called with the reason while the chain cannot be seen.
    pub async fn watch(
        self,
        admin: Option<AdminClient>,
        blind: impl Fn(String),
    ) -> Result<Watched, QuietError> {
        let looks = self.urls.iter().map(|url| self.watch_at(url, admin.clone(), &blind));
        let seen = futures::future::try_join_all(looks).await?;
        let one = |one: Watched, other: Watched| Watched {
            from: one.from.max(other.from),
            to: one.to.min(other.to),
            signed_elsewhere: one.signed_elsewhere.or(other.signed_elsewhere),
        };
        seen.into_iter().reduce(one).ok_or(QuietError::NoNode)
    }

    async fn watch_at(
        &self,
        url: &Uri,
        admin: Option<AdminClient>,
        blind: impl Fn(String),
    ) -> Result<Watched, QuietError> {
        let dialer = Dialer::new(self.authorities.as_deref()).map_err(NodeError::Authorities)?;
        let node = Node::new("--chain-url", url, self.authorities.as_deref())?;
        let from = node.best().await.map_err(QuietError::OutOfSight)?.0;
        node.head(&self.chain).await?;
        // Once the last block is there, its signatures still have to be looked up in the audit.
        let linger = if admin.is_some() { 2 * GRACE } else { Duration::ZERO };
        let keys = self.keys.iter().filter_map(watched).collect();
        let plan = Plan { url: url.clone(), dialer, admin, keys: Some(keys), grace: GRACE };
        let mut found = None;
        let watching = Watcher::new(plan).run(|told| {
            match told {
                WatchEvent::Alarm { sighting, .. } if self.is_new(&sighting) => found = Some(sighting),
                WatchEvent::Blind { why, .. } => blind(why),
                _ => {}
            }
            found.is_none()
        });
        let to = tokio::select! {
            // It ends by itself when something was found, or when it cannot see anything.
            ended = watching => {
                ended?;
                node.best().await.map_or(from, |best| best.0)
            }
            to = passed(&node, url, from, self.blocks, linger) => to?,
        };
        if found.is_none() {
            node.head(&self.chain).await?;
        }
        let signed_elsewhere = found.map(|sighting: Sighting| {
            format!(
                "{} was signed with {} elsewhere (seen in {})",
                sighting.duty, sighting.key, sighting.seen_in
            )
        });
        Ok(Watched { from, to, signed_elsewhere })
    }

    /// Whether it was signed after the old copy had stopped.
    fn is_new(&self, sighting: &Sighting) -> bool {
        let Some(since) = &self.since else { return true };
        match &sighting.duty {
            Duty::BabeBlock { slot } | Duty::AuraBlock { slot, .. } => {
                let clock = self.chain.clock();
                let then = clock.begin_ms(clock.counting_at(since.at_ms), since.slot);
                clock.read(*slot, since.at_ms).is_none_or(|(_, begin)| begin > then)
            }
            Duty::GrandpaVote { set_id, round, .. } => {
                since.grandpa.is_none_or(|(set, at)| (*set_id, *round) > (set, at.saturating_add(1)))
            }
            Duty::BeefyVote { set_id, block } => {
                since.beefy_set.is_none_or(|set| (*set_id, *block) > (set, since.best))
            }
            Duty::ParaSide { session, .. } => since.session.is_none_or(|at| *session > at),
        }
    }
}

/// Waits for so many blocks.
async fn passed(node: &Node, url: &Uri, from: u64, blocks: u64, linger: Duration) -> Result<u64, QuietError> {
    let (mut highest, mut moved) = (from, Instant::now());
    while highest < from.saturating_add(blocks) {
        if moved.elapsed() > PATIENCE {
            return Err(QuietError::StandsStill { url: Address::of(url), highest });
        }
        sleep(LOOK).await;
        // Being unreachable for a while is not the end.
        if let Ok(best) = node.best().await
            && best.0 > highest
        {
            (highest, moved) = (best.0, Instant::now());
        }
    }
    sleep(linger).await;
    Ok(highest)
}

/// The key with the scheme that its length implies.
fn watched(id: &KeyId) -> Option<WatchedKey> {
    let schemes = id.key_type.schemes().iter();
    let scheme = *schemes.into_iter().find(|scheme| scheme.public_len() == id.public.as_bytes().len())?;
    Some(WatchedKey { id: *id, scheme })
}
