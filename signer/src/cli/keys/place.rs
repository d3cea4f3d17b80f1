//! What a node of the chain says by RPC: where the chain and its voters are, and whether the node runs at all.
//!
//! Any node of the chain may be asked. Nothing here is believed to make a floor lower: it only says how far the
//! chain is, and floors are put above that.

use crate::{
    audit::watch::http::Dialer,
    cli::common::{NotYet, Usage},
};
use hyper::Uri;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signonce_cluster::clock::unix_ms;
use signonce_core::Chain;
use signonce_protocol::{BlockNumber, Hash, HexBytes, KeyId, Round, SessionIndex, SetId, Slot};
use std::path::Path;

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
        let header = self.call("chain_getHeader", json!([])).await?;
        let number = header["number"].as_str().and_then(|number| number.strip_prefix("0x"));
        let number = number.and_then(|number| u64::from_str_radix(number, 16).ok());
        let why =
            || NodeError::Said { method: "chain_getHeader", why: format!("no block number in {header}") };
        Ok(BlockNumber(number.ok_or_else(why)?))
    }

    /// Where the chain is.
    ///
    /// # Errors
    /// [`NotYet`] if nobody answers. If the node is of another chain, is not up to date, or does not say the least.
    pub async fn place(&self, chain: &Chain) -> anyhow::Result<Place> {
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
        let at_ms = unix_ms();
        Ok(Place {
            at_ms,
            slot: crate::enroll::slot_at(chain, at_ms),
            best: self.best().await?,
            grandpa: self
                .call("grandpa_roundState", json!([]))
                .await
                .ok()
                .and_then(|state| highest_round(&state)),
            beefy_set: self.beefy_set().await,
            session: self.session().await,
        })
    }

    /// The best block that GRANDPA has finalized.
    ///
    /// # Errors
    /// If the node does not say.
    pub async fn finalized(&self) -> Result<Hash, NodeError> {
        self.head("chain_getFinalizedHead").await
    }

    /// The best block that BEEFY has finalized.
    ///
    /// # Errors
    /// If the node does not say: BEEFY does not run, or has finalized nothing yet.
    pub async fn beefy_finalized(&self) -> Result<Hash, NodeError> {
        self.head("beefy_getFinalizedHead").await
    }

    async fn head(&self, method: &'static str) -> Result<Hash, NodeError> {
        let answer = self.call(method, json!([])).await?;
        let hash = answer.as_str().and_then(|hash| hash.parse().ok());
        hash.ok_or_else(|| NodeError::Said { method, why: format!("{answer} is no block hash") })
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
    fn the_highest_round_is_taken_wherever_it_stands() {
        let state =
            json!({ "setId": 7, "best": { "round": 12 }, "background": [{ "round": 11 }, { "round": 13 }] });
        assert_eq!(highest_round(&state), Some((SetId(7), Round(13))));
        assert_eq!(highest_round(&json!({ "setId": 7, "best": null, "background": [] })), None);
    }
}
