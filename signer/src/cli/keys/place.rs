//! What a node of the chain says by RPC: where the chain and its voters are, and whether the node runs at all.
//!
//! Any node of the chain may be asked. Nothing here is believed to make a floor lower: it only says how far the
//! chain is, and floors are put above that. So a node that is behind without knowing it would put them too low, and
//! what it says of its health counts for nothing: a node is asked for the slots in its best and its finalized header, and
//! they must be of now.

use crate::{
    admin::api::ChainRow,
    audit::watch::{http::Dialer, sighting::JsonHeader},
    cli::common::{NotYet, Usage},
};
use hyper::Uri;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signonce_cluster::clock::unix_ms;
use signonce_core::SlotClock;
use signonce_protocol::{Hash, HexBytes, KeyId, Slot};
use signonce_substrate::{BlockNumber, Round, SessionIndex, SetId};
use std::{fmt, path::Path};

/// Where a chain is, as a node of it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// When it was asked, in Unix milliseconds.
    pub at_ms: u64,
    /// The slot by this machine's clock then.
    pub slot: Slot,
    /// The best block.
    pub best: BlockNumber,
    /// The GRANDPA set, and the highest round that the node's voter knows of.
    pub grandpa: Option<(SetId, Round)>,
    /// The BEEFY validator set.
    pub beefy_set: Option<SetId>,
    /// The session, where the chain has parachains.
    pub session: Option<SessionIndex>,
    /// How old that was. None in records of before it was asked for.
    #[serde(default)]
    pub head: Option<Head>,
}

/// How far a node's blocks are from now, by the slots in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    /// The slot in the best block.
    pub slot: Slot,
    /// How long ago it began, in milliseconds. 0 if it is ahead of this machine's clock.
    pub age_ms: u64,
    /// The same for the best block that is final.
    pub final_age_ms: u64,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, age_ms, final_age_ms } = self;
        write!(
            f,
            "its best block is of slot {slot}, {} s old, its last final one {} s",
            age_ms / 1_000,
            final_age_ms / 1_000
        )
    }
}

/// How old a node's best block may be: a minute, or ten slots. Blocks are missed now and then; a node that is further
/// behind does not know how far the votes are.
const HEAD_MS: u64 = 60_000;
const HEAD_SLOTS: u64 = 10;
/// The same for its last final block: ten minutes, or a hundred slots.
const FINAL_MS: u64 = 600_000;
const FINAL_SLOTS: u64 = 100;

/// How far from now a slot began: how long ago, or an error in words if it is out of bounds. Bounds are the longer of a
/// time and so many slots.
fn age(clock: SlotClock<'_>, slot: Slot, now_ms: u64, least_ms: u64, slots: u64) -> Result<u64, String> {
    let Some((counting, begin_ms)) = clock.read(slot, now_ms) else {
        return Err(format!("of slot {slot}, which the chain as it was added here does not have"));
    };
    let bound = least_ms.max(slots.saturating_mul(clock.duration_ms(counting)));
    let off = now_ms.abs_diff(begin_ms);
    if off <= bound {
        return Ok(now_ms.saturating_sub(begin_ms));
    }
    let (long, way) = (long(off), if begin_ms < now_ms { "ago" } else { "from now" });
    Err(format!("of slot {slot}, {long} {way}; {} is the limit", self::long(bound)))
}

/// A length of time, roughly.
fn long(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

impl Place {
    /// This, raised by what was known before where that is further. What this does not know stays unknown: an older
    /// word says nothing of now.
    pub fn raised_by(self, before: Self) -> Self {
        fn raised<T: Ord>(now: Option<T>, before: Option<T>) -> Option<T> {
            match (now, before) {
                (Some(now), Some(before)) => Some(now.max(before)),
                (now, _) => now,
            }
        }
        Self {
            at_ms: self.at_ms,
            slot: self.slot.max(before.slot),
            best: self.best.max(before.best),
            grandpa: raised(self.grandpa, before.grandpa),
            beefy_set: raised(self.beefy_set, before.beefy_set),
            session: raised(self.session, before.session),
            head: self.head,
        }
    }

    /// What two nodes say that are both up to date: the further of each. What one of them does not tell the other does.
    pub fn or_further(self, other: Self) -> Self {
        fn further<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.max(other)
        }
        let oldest = |one: Head, other: Head| if one.age_ms >= other.age_ms { one } else { other };
        Self {
            at_ms: self.at_ms.min(other.at_ms),
            slot: if self.at_ms <= other.at_ms { self.slot } else { other.slot },
            best: self.best.max(other.best),
            grandpa: further(self.grandpa, other.grandpa),
            beefy_set: further(self.beefy_set, other.beefy_set),
            session: further(self.session, other.session),
            head: self
                .head
                .zip(other.head)
                .map(|(one, other)| oldest(one, other))
                .or(self.head)
                .or(other.head),
        }
    }
}

/// Why a node told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    /// Nobody answers there.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody answers, but not that.
    #[error("{method}: {why}")]
    Said {
        /// What was asked.
        method: &'static str,
        /// What came back.
        why: String,
    },
}

/// A node's RPC.
pub(super) struct Node {
    dialer: Dialer,
    url: Uri,
}

/// The nodes at some URLs.
///
/// # Errors
/// As [`Node::new`].
pub(super) fn nodes(option: &str, urls: &[Uri], authorities: Option<&Path>) -> anyhow::Result<Vec<Node>> {
    urls.iter().map(|url| Node::new(option, url, authorities)).collect()
}

impl Node {
    /// By a `http`, `https`, `ws` or `wss` URL; nodes serve both at one port.
    ///
    /// # Errors
    /// If the URL or the authorities are of no use.
    pub fn new(option: &str, url: &Uri, authorities: Option<&Path>) -> anyhow::Result<Self> {
        let secure = match url.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => {
                return Err(
                    Usage(format!("{option} {url}: it must be http://, https://, ws:// or wss://")).into()
                );
            }
        };
        let mut parts = url.clone().into_parts();
        parts.scheme = Some(if secure { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
        let url = Uri::from_parts(parts).map_err(|error| Usage(format!("{option}: {error}")))?;
        Ok(Self { dialer: Dialer::new(authorities).map_err(Usage)?, url })
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value, NodeError> {
        let said = |why: String| NodeError::Said { method, why };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let (status, answer) = self.dialer.post(&self.url, body).await.map_err(NodeError::Unreachable)?;
        let mut answer: Value =
            serde_json::from_slice(&answer).map_err(|_| said(format!("{} answered {status}", self.url)))?;
        match answer.get("error") {
            Some(error) => Err(said(error.to_string())),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }

    /// Its network identity; an error if nobody answers.
    pub async fn identity(&self) -> Result<Option<String>, NodeError> {
        match self.call("system_localPeerId", json!([])).await {
            Ok(id) => Ok(id.as_str().map(str::to_owned)),
            // Somebody answers, whoever it is.
            Err(NodeError::Said { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether its keystore has the key. None where it does not say: nodes deny this call to strangers.
    pub async fn has_key(&self, key: &KeyId) -> Option<bool> {
        let params = json!([key.public, key.key_type]);
        self.call("author_hasKey", params).await.ok()?.as_bool()
    }

    /// The best block.
    ///
    /// # Errors
    /// If the node does not say.
    pub async fn best(&self) -> Result<BlockNumber, NodeError> {
        Ok(self.header(json!([])).await?.0)
    }

    /// A block's number, and the slot in its header if there is one.
    async fn header(&self, params: Value) -> Result<(BlockNumber, Option<Slot>), NodeError> {
        let method = "chain_getHeader";
        let answer = self.call(method, params).await?;
        let said = |why: String| NodeError::Said { method, why };
        let header: JsonHeader = serde_json::from_value(answer).map_err(|e| said(e.to_string()))?;
        let number = header.number().ok_or_else(|| said("no block number in the header".to_owned()))?;
        Ok((BlockNumber(number), header.slot()))
    }

    /// How far from now the node's blocks are.
    ///
    /// # Errors
    /// If the node does not say, or is not up to date, whatever it says of itself: nothing that it tells is of use then.
    pub async fn head(&self, chain: &ChainRow) -> anyhow::Result<(BlockNumber, Head)> {
        let stale = |which: &str, why: String| {
            anyhow::anyhow!(
                "{} is not up to date: its {which} block is {why}. Nothing that it says of the chain counts. Wait until \
                 it has caught up, ask another node, or look at this machine's clock",
                self.url
            )
        };
        let slotless = || "without a slot, so nobody can see how old it is".to_owned();
        let (best, slot) = self.header(json!([])).await?;
        let slot = slot.ok_or_else(|| stale("best", slotless()))?;
        let clock = chain.clock();
        let bounds = (HEAD_MS, HEAD_SLOTS);
        let age_ms = age(clock, slot, unix_ms(), bounds.0, bounds.1).map_err(|why| stale("best", why))?;
        let hash = self.finalized().await?;
        let (_, last) = self.header(json!([hash.to_string()])).await?;
        let last = last.ok_or_else(|| stale("last final", slotless()))?;
        let final_age_ms =
            age(clock, last, unix_ms(), FINAL_MS, FINAL_SLOTS).map_err(|why| stale("last final", why))?;
        Ok((best, Head { slot, age_ms, final_age_ms }))
    }

    /// The GRANDPA set of the chain's last final block must be no later than the one that the node's voter is in.
    async fn check_voter(&self, grandpa: Option<(SetId, Round)>) -> anyhow::Result<()> {
        let Some((set, _)) = grandpa else { return Ok(()) };
        let finalized = self.finalized().await?;
        let Ok(bytes) = self.runtime_at("GrandpaApi_current_set_id", finalized).await else { return Ok(()) };
        let Ok(bytes) = <[u8; 8]>::try_from(bytes) else { return Ok(()) };
        let now = SetId(u64::from_le_bytes(bytes));
        if now > set {
            let why = format!("its voter is in GRANDPA set {set}, and the chain in set {now} already");
            return Err(NotYet(format!("{}: {why}; run this command again in a minute", self.url)).into());
        }
        Ok(())
    }

    /// Where the chain is.
    ///
    /// # Errors
    /// [`NotYet`] if nobody answers. If the node is of another chain, is not up to date, or does not say the least.
    pub async fn place(&self, chain: &ChainRow) -> anyhow::Result<Place> {
        let genesis = match self.call("chain_getBlockHash", json!([0])).await {
            Err(NodeError::Unreachable(why)) => {
                let advice = "nothing was done; run this command again when the node answers";
                return Err(NotYet(format!("{why}: {advice}")).into());
            }
            answer => answer?,
        };
        if genesis.as_str() != Some(chain.genesis.to_string().as_str()) {
            anyhow::bail!(
                "{} is a node of another chain: its genesis is {genesis}, not {}",
                self.url,
                chain.genesis
            );
        }
        let health = self.call("system_health", json!([])).await?;
        if health["isSyncing"] == json!(true) {
            anyhow::bail!(
                "{} is still catching up with its chain: wait until it has, or ask another node",
                self.url
            );
        }
        if health["peers"].as_u64().unwrap_or(0) == 0 && health["shouldHavePeers"] != json!(false) {
            anyhow::bail!(
                "{} has no peers ({health}), so it cannot know where the chain is: connect it to others, or ask another \
                 node",
                self.url
            );
        }
        let at_ms = unix_ms();
        let (best, head) = self.head(chain).await?;
        let grandpa = self.call("grandpa_roundState", json!([])).await.ok();
        let grandpa = grandpa.and_then(|state| highest_round(&state));
        self.check_voter(grandpa).await?;
        Ok(Place {
            at_ms,
            slot: chain.clock().slot_at(at_ms),
            best,
            grandpa,
            beefy_set: self.beefy_set().await,
            session: self.session().await,
            head: Some(head),
        })
    }

    /// The best block that GRANDPA has finalized.
    ///
    /// # Errors
    /// If the node does not say.
    pub async fn finalized(&self) -> Result<Hash, NodeError> {
        self.hash("chain_getFinalizedHead").await
    }

    /// The best block that BEEFY has finalized.
    ///
    /// # Errors
    /// If the node does not say: BEEFY does not run, or has finalized nothing yet.
    pub async fn beefy_finalized(&self) -> Result<Hash, NodeError> {
        self.hash("beefy_getFinalizedHead").await
    }

    async fn hash(&self, method: &'static str) -> Result<Hash, NodeError> {
        let answer = self.call(method, json!([])).await?;
        let hash = answer.as_str().and_then(|hash| hash.parse().ok());
        hash.ok_or_else(|| NodeError::Said { method, why: format!("{answer} is not a block hash") })
    }

    /// What a runtime's function answers, at the best block.
    pub async fn runtime(&self, function: &str) -> Result<Vec<u8>, NodeError> {
        self.runtime_call(function, json!([function, "0x"])).await
    }

    /// What a runtime's function answers at a block.
    pub async fn runtime_at(&self, function: &str, block: Hash) -> Result<Vec<u8>, NodeError> {
        self.runtime_call(function, json!([function, "0x", block.to_string()])).await
    }

    async fn runtime_call(&self, function: &str, params: Value) -> Result<Vec<u8>, NodeError> {
        let answer = self.call("state_call", params).await?;
        let bytes: Result<HexBytes, _> = serde_json::from_value(answer);
        bytes
            .map(|bytes| bytes.0)
            .map_err(|error| NodeError::Said { method: "state_call", why: format!("{function}: {error}") })
    }

    /// What lies in the chain's storage, at the best block.
    pub async fn storage(&self, key: &str) -> Result<Option<Vec<u8>>, NodeError> {
        let answer = self.call("state_getStorage", json!([key])).await?;
        let bytes: Result<Option<HexBytes>, _> = serde_json::from_value(answer);
        let said =
            |error: serde_json::Error| NodeError::Said { method: "state_getStorage", why: error.to_string() };
        Ok(bytes.map_err(said)?.map(|bytes| bytes.0))
    }

    /// The id is the last field of the validator set, which is there or not: `Option<(Vec<_>, u64)>`.
    async fn beefy_set(&self) -> Option<SetId> {
        // Only where BEEFY runs: a chain that has the pallet and not the protocol answers an error here.
        self.beefy_finalized().await.ok()?;
        let bytes = self.runtime("BeefyApi_validator_set").await.ok()?;
        let (id, rest) = bytes.split_last_chunk::<8>().map(|(rest, id)| (u64::from_le_bytes(*id), rest))?;
        (rest.first() == Some(&1)).then_some(SetId(id))
    }

    async fn session(&self) -> Option<SessionIndex> {
        let bytes = self.runtime("ParachainHost_session_index_for_child").await.ok()?;
        Some(SessionIndex(u32::from_le_bytes(bytes.try_into().ok()?)))
    }
}

/// The set and the highest round of `grandpa_roundState`: the best one, and those that still go on behind it.
fn highest_round(state: &Value) -> Option<(SetId, Round)> {
    let set = state["setId"].as_u64()?;
    let rounds = state["background"].as_array().into_iter().flatten().chain([&state["best"]]);
    let highest = rounds.filter_map(|round| round["round"].as_u64()).max()?;
    Some((SetId(set), Round(highest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_of_now_within_bounds_and_of_no_other_time() {
        crate::families::install();
        let settings = signonce_substrate::ChainSettings {
            format: Default::default(),
            slot_duration_ms: 6_000,
            limits: Default::default(),
        };
        let chain = settings.chain(signonce_protocol::GenesisHash([1; 32]), "polkadot");
        let clock = SlotClock::new(&chain, &[]);
        let now_ms = 1_796_000_000_000;
        let now = now_ms / 6_000;
        let age = |slot: u64| age(clock, Slot(slot), now_ms, HEAD_MS, HEAD_SLOTS);
        assert_eq!(age(now), Ok(now_ms % 6_000));
        assert_eq!((age(now - 9).is_ok(), age(now + 2)), (true, Ok(0)));
        for (slot, why) in [(now - 11, "68 s ago"), (290_000_000, "days ago"), (now + 20, "from now")] {
            let said = age(slot).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn the_highest_round_is_taken_wherever_it_stands() {
        let state =
            json!({ "setId": 7, "best": { "round": 12 }, "background": [{ "round": 11 }, { "round": 13 }] });
        assert_eq!(highest_round(&state), Some((SetId(7), Round(13))));
        assert_eq!(highest_round(&json!({ "setId": 7, "best": null, "background": [] })), None);
    }
}
