//! What a node of the chain says over RPC: how far the chain and its voters are, and whether the node is running.
//!
//! Any node of the chain may be asked. Its answers never make a floor lower: they only say how far the chain is, and
//! floors are put above that. A node that is behind without knowing it would put them too low, so what it says of its
//! own health counts for nothing: it is asked for the slots in its best and its finalized header, and these must be
//! recent.

use crate::{
    http::{Address, Dialer},
    progress::{FINAL_MS, FINAL_SLOTS, HEAD_MS, HEAD_SLOTS, Head, Progress, age},
    watch::sighting::JsonHeader,
};
use hyper::{Uri, http::uri::Scheme};
use serde_json::{Value, json};
use signonce_cluster::clock::unix_ms;
use signonce_protocol::{Hash, HexBytes, KeyId, Slot};
use signonce_shared::admin::api::ChainRow;
use signonce_substrate::{BlockNumber, Round, SessionIndex, SetId};
use std::path::Path;

/// Why a node's answers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The URL cannot be that of a node.
    #[error("{option} {url}: it must be http://, https://, ws:// or wss://")]
    BadUrl {
        /// The option that named it.
        option: String,
        /// The URL.
        url: Address,
    },
    /// The authorities for TLS cannot be used.
    #[error("{0}")]
    Authorities(String),
    /// Nobody answers there.
    #[error("{0}: run this command again when the node answers")]
    Unreachable(String),
    /// The answer is not what was asked for.
    #[error("{method}: {why}")]
    Said {
        /// What was asked.
        method: &'static str,
        /// What came back.
        why: String,
    },
    /// It belongs to another chain.
    #[error("{url} is a node of another chain: its genesis is {found}, not {wanted}")]
    OtherChain {
        /// The node.
        url: Address,
        /// The genesis hash that it gave.
        found: Value,
        /// That of the chain.
        wanted: String,
    },
    /// By its own word it has not caught up.
    #[error("{0} is still catching up with its chain: wait until it has, or ask another node")]
    Syncing(Address),
    /// It is connected to nobody.
    #[error(
        "{url} has no peers ({health}), so it cannot know where the chain is: connect it to others, or ask another node"
    )]
    Alone {
        /// The node.
        url: Address,
        /// What it reports of its health.
        health: Value,
    },
    /// The slots in its blocks are not recent, whatever it says of itself.
    #[error(
        "{url} is not up to date: its {which} block is {why}. Nothing that it says of the chain counts. Wait until it has \
         caught up, ask another node, or look at this machine's clock"
    )]
    Stale {
        /// The node.
        url: Address,
        /// Which block.
        which: &'static str,
        /// How old it is.
        why: String,
    },
    /// Its voter has not followed the chain into the newest set yet.
    #[error(
        "{url}: its voter is in GRANDPA set {voter}, and the chain in set {chain} already; run this command again in a \
         minute"
    )]
    VoterBehind {
        /// The node.
        url: Address,
        /// The set of its voter.
        voter: SetId,
        /// The set of the chain.
        chain: SetId,
    },
}

impl NodeError {
    /// Whether the same question may succeed in a while.
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::VoterBehind { .. } => true,
            Self::BadUrl { .. }
            | Self::Authorities(_)
            | Self::Said { .. }
            | Self::OtherChain { .. }
            | Self::Syncing(_)
            | Self::Alone { .. }
            | Self::Stale { .. } => false,
        }
    }
}

/// A node's RPC.
pub struct Node {
    dialer: Dialer,
    url: Uri,
}

/// Clients of the nodes at some URLs.
///
/// # Errors
/// As [`Node::new`].
pub fn nodes(option: &str, urls: &[Uri], authorities: Option<&Path>) -> Result<Vec<Node>, NodeError> {
    urls.iter().map(|url| Node::new(option, url, authorities)).collect()
}

impl Node {
    /// A client for a `http`, `https`, `ws` or `wss` URL; nodes serve all of them on one port.
    ///
    /// # Errors
    /// If the URL or the authorities cannot be used.
    pub fn new(option: &str, url: &Uri, authorities: Option<&Path>) -> Result<Self, NodeError> {
        let bad = || NodeError::BadUrl { option: option.to_owned(), url: Address::of(url) };
        let mut parts = url.clone().into_parts();
        parts.scheme = Some(match url.scheme_str() {
            Some("http" | "ws") => Scheme::HTTP,
            Some("https" | "wss") => Scheme::HTTPS,
            Some(_) | None => return Err(bad()),
        });
        let url = Uri::from_parts(parts).map_err(|_| bad())?;
        Ok(Self { dialer: Dialer::new(authorities).map_err(NodeError::Authorities)?, url })
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value, NodeError> {
        let said = |why: String| NodeError::Said { method, why };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let (status, answer) = self.dialer.post(&self.url, body).await.map_err(NodeError::Unreachable)?;
        let mut answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| said(format!("{} answered {status}", Address::of(&self.url))))?;
        match answer.get("error") {
            Some(error) => Err(said(error.to_string())),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }

    /// Its network identity; an error if nobody answers.
    pub async fn identity(&self) -> Result<Option<String>, NodeError> {
        match self.call("system_localPeerId", json!([])).await {
            Ok(id) => Ok(id.as_str().map(str::to_owned)),
            // Something answers, whatever it is.
            Err(NodeError::Said { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether its keystore has the key. `None` if it does not say: nodes deny this call to strangers.
    pub async fn has_key(&self, key: &KeyId) -> Option<bool> {
        let params = json!([key.public, key.key_type]);
        self.call("author_hasKey", params).await.ok()?.as_bool()
    }

    /// The number of the best block.
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

    /// How old the node's blocks are.
    ///
    /// # Errors
    /// If the node does not say, or is not up to date, whatever it says of itself: its answers are of no use then.
    pub async fn head(&self, chain: &ChainRow) -> Result<(BlockNumber, Head), NodeError> {
        let stale = |which, why| NodeError::Stale { url: Address::of(&self.url), which, why };
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

    /// Checks that the GRANDPA set of the last finalized block is not later than the one that the node's voter is in.
    async fn check_voter(&self, grandpa: Option<(SetId, Round)>) -> Result<(), NodeError> {
        let Some((set, _)) = grandpa else { return Ok(()) };
        let finalized = self.finalized().await?;
        let Ok(bytes) = self.runtime_at("GrandpaApi_current_set_id", finalized).await else { return Ok(()) };
        let Ok(bytes) = <[u8; 8]>::try_from(bytes) else { return Ok(()) };
        let now = SetId(u64::from_le_bytes(bytes));
        if now > set {
            return Err(NodeError::VoterBehind { url: Address::of(&self.url), voter: set, chain: now });
        }
        Ok(())
    }

    /// How far the chain is.
    ///
    /// # Errors
    /// If nobody answers, or the node is of another chain, is not up to date, or lacks what is needed at least.
    pub async fn progress(&self, chain: &ChainRow) -> Result<Progress, NodeError> {
        let url = || Address::of(&self.url);
        let found = self.call("chain_getBlockHash", json!([0])).await?;
        let wanted = chain.genesis.to_string();
        if found.as_str() != Some(wanted.as_str()) {
            return Err(NodeError::OtherChain { url: url(), found, wanted });
        }
        let health = self.call("system_health", json!([])).await?;
        if health["isSyncing"] == json!(true) {
            return Err(NodeError::Syncing(url()));
        }
        if health["peers"].as_u64().unwrap_or(0) == 0 && health["shouldHavePeers"] != json!(false) {
            return Err(NodeError::Alone { url: url(), health });
        }
        let at_ms = unix_ms();
        let (best, head) = self.head(chain).await?;
        let grandpa = self.call("grandpa_roundState", json!([])).await.ok();
        let grandpa = grandpa.and_then(|state| highest_round(&state));
        self.check_voter(grandpa).await?;
        Ok(Progress {
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

    /// The result of a runtime function at the best block.
    pub async fn runtime(&self, function: &str) -> Result<Vec<u8>, NodeError> {
        self.runtime_call(function, json!([function, "0x"])).await
    }

    /// The result of a runtime function at a block.
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

    /// The value at a key of the chain's storage, at the best block.
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

/// The set and the highest round in `grandpa_roundState`: of the best round and those that continue behind it.
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
    fn the_highest_round_is_taken_wherever_it_stands() {
        let state =
            json!({ "setId": 7, "best": { "round": 12 }, "background": [{ "round": 11 }, { "round": 13 }] });
        assert_eq!(highest_round(&state), Some((SetId(7), Round(13))));
        assert_eq!(highest_round(&json!({ "setId": 7, "best": null, "background": [] })), None);
    }
}
