//! A chain's JSON-RPC: WebSocket with subscriptions, or HTTP with polling.
//!
//! [`ChainClient::next`] returns what a chain shows as it comes: headers (of forks too, where the node reports them),
//! GRANDPA and BEEFY justifications.

use super::sighting::JsonHeader;
use crate::http::{Address, Dialer};
use hyper::Uri;
use jsonrpsee_core::{
    client::{ClientT as _, Error as RpcFailure, Subscription, SubscriptionClientT as _},
    params::ArrayParams,
};
use jsonrpsee_ws_client::{PingConfig, WsClient, WsClientBuilder};
use serde_json::{Value, json};
use signonce_protocol::{Hash, HexBytes};
use std::{collections::VecDeque, time::Duration};
use tokio::time::{sleep, timeout};

/// Largest message of a node: a justification of a thousand validators has about 130 kB.
const MAX_MESSAGE_BYTES: u32 = 32 << 20;
/// Between two polls over HTTP.
const POLL: Duration = Duration::from_secs(2);
/// How often an idle connection is pinged, and the silence after which it is given up.
const PING_EVERY: Duration = Duration::from_secs(5);
const SILENT_AT_MOST: Duration = Duration::from_secs(20);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// Something that a chain shows.
#[derive(Debug)]
pub enum ChainItem {
    /// A header.
    Header(Box<JsonHeader>),
    /// A GRANDPA justification in SCALE.
    Grandpa(Vec<u8>),
    /// A BEEFY finality proof in SCALE.
    Beefy(Vec<u8>),
}

/// A connection to a chain.
pub struct ChainClient {
    wire: Wire,
    /// What the node does not offer.
    pub missing: Vec<&'static str>,
    ready: VecDeque<ChainItem>,
}

enum Wire {
    Ws {
        client: WsClient,
        heads: Subscription<Value>,
        /// Set where the node does not push justifications: those in blocks are read instead.
        finalized: Option<Subscription<Value>>,
        grandpa: Option<Subscription<Value>>,
        beefy: Option<Subscription<Value>>,
    },
    Http {
        dialer: Dialer,
        url: Uri,
        best: Option<Value>,
        finalized: Option<Value>,
    },
}

impl ChainClient {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// A message if the node cannot be reached or does not answer as a chain's node does.
    pub async fn connect(dialer: &Dialer, url: &Uri) -> Result<Self, String> {
        let mut missing = Vec::new();
        let wire = match url.scheme_str() {
            Some("ws" | "wss") => subscribed(dialer, url, &mut missing).await?,
            _ => Wire::Http { dialer: dialer.clone(), url: url.clone(), best: None, finalized: None },
        };
        let mut this = Self { wire, missing, ready: VecDeque::new() };
        // Whatever answers this speaks a chain's JSON-RPC.
        this.call("chain_getBlockHash", json!([0])).await?;
        Ok(this)
    }

    /// The hash of block 0.
    ///
    /// # Errors
    /// A message if the node gives no such answer.
    pub async fn genesis(&mut self) -> Result<Hash, String> {
        let answer = self.call("chain_getBlockHash", json!([0])).await?;
        serde_json::from_value(answer).map_err(|e| format!("the chain's genesis hash: {e}"))
    }

    /// A header; `None` if the node does not have the block.
    ///
    /// # Errors
    /// A message if the node gives no such answer.
    pub async fn header(&mut self, hash: Hash) -> Result<Option<JsonHeader>, String> {
        let answer = self.call("chain_getHeader", json!([hash])).await?;
        serde_json::from_value(answer).map_err(|e| format!("the header of {hash}: {e}"))
    }

    /// The best header, if there is one.
    ///
    /// # Errors
    /// A message if the node gives no such answer.
    pub async fn best(&mut self) -> Result<Option<JsonHeader>, String> {
        let answer = self.call("chain_getHeader", json!([])).await?;
        serde_json::from_value(answer).map_err(|e| format!("the best header: {e}"))
    }

    /// The GRANDPA set after a block, by its runtime.
    ///
    /// # Errors
    /// A message if the node does not answer, or its runtime gives something else.
    pub async fn grandpa_set(&mut self, block: Hash) -> Result<u64, String> {
        let answer = self.call("state_call", json!(["GrandpaApi_current_set_id", "0x", block])).await?;
        let bytes: HexBytes = serde_json::from_value(answer).map_err(|e| e.to_string())?;
        let bytes: [u8; 8] = bytes.0.try_into().map_err(|_| "the set id has not 8 bytes".to_owned())?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Calls any method.
    async fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        match &self.wire {
            Wire::Ws { client, .. } => {
                let mut array = ArrayParams::new();
                for param in params.as_array().into_iter().flatten() {
                    array.insert(param).map_err(|e| e.to_string())?;
                }
                client.request(method, array).await.map_err(|e| format!("{method}: {e}"))
            }
            Wire::Http { dialer, url, .. } => {
                let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
                let (status, answer) = dialer.post(url, body.to_string()).await?;
                let mut answer: Value = serde_json::from_slice(&answer)
                    .map_err(|_| format!("{method}: {} answered {status} and no JSON", Address::of(url)))?;
                match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
                }
            }
        }
    }

    /// The next thing the chain shows.
    ///
    /// # Errors
    /// If the connection cannot be used any more.
    pub async fn next(&mut self) -> Result<ChainItem, String> {
        loop {
            if let Some(shown) = self.ready.pop_front() {
                return Ok(shown);
            }
            if let Wire::Ws { heads, finalized, grandpa, beefy, .. } = &mut self.wire {
                match from_subscriptions(heads, finalized.as_mut(), grandpa.as_mut(), beefy.as_mut()).await? {
                    News::ChainItem(shown) => return Ok(shown),
                    News::Finalized(block) => self.block(json!(block)).await?,
                }
                continue;
            }
            self.poll().await?;
            if self.ready.is_empty() {
                sleep(POLL).await;
            }
        }
    }

    /// Asks for new best or finalized blocks.
    async fn poll(&mut self) -> Result<(), String> {
        let head = self.call("chain_getHeader", json!([])).await?;
        let final_hash = self.call("chain_getFinalizedHead", json!([])).await?;
        let Wire::Http { best, finalized, .. } = &mut self.wire else { return Ok(()) };
        if best.as_ref() != Some(&head) {
            *best = Some(head.clone());
            let header = serde_json::from_value(head).map_err(|e| format!("the best header: {e}"))?;
            self.ready.push_back(ChainItem::Header(Box::new(header)));
        }
        if finalized.as_ref() == Some(&final_hash) {
            return Ok(());
        }
        self.block(final_hash.clone()).await?;
        if let Wire::Http { finalized, .. } = &mut self.wire {
            *finalized = Some(final_hash);
        }
        Ok(())
    }

    /// Looks for justifications in a finalized block.
    async fn block(&mut self, hash: Value) -> Result<(), String> {
        let block = self.call("chain_getBlock", json!([hash])).await?;
        // [[engine, justification], …], both as lists of bytes.
        let justifications = block.get("justifications").cloned().unwrap_or_default();
        let justifications: Option<Vec<([u8; 4], Vec<u8>)>> =
            serde_json::from_value(justifications).unwrap_or_default();
        for (engine, bytes) in justifications.into_iter().flatten() {
            match &engine {
                b"FRNK" => self.ready.push_back(ChainItem::Grandpa(bytes)),
                b"BEEF" => self.ready.push_back(ChainItem::Beefy(bytes)),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn subscribed(dialer: &Dialer, url: &Uri, missing: &mut Vec<&'static str>) -> Result<Wire, String> {
    let stream = dialer.connect(url).await?;
    // The stream is already encrypted where it must be.
    let inner = url.to_string().replacen("wss://", "ws://", 1);
    let client = WsClientBuilder::new()
        .max_response_size(MAX_MESSAGE_BYTES)
        .request_timeout(ANSWER)
        .enable_ws_ping(PingConfig::new().ping_interval(PING_EVERY).inactive_limit(SILENT_AT_MOST))
        .build_with_stream(&inner, stream);
    let client = timeout(ANSWER, client)
        .await
        .map_err(|_| format!("{}: no WebSocket in {} s", Address::of(url), ANSWER.as_secs()))?
        .map_err(|e| format!("{}: {e}", Address::of(url)))?;
    let heads = match subscribe(&client, "chain_subscribeAllHeads", "chain_unsubscribeAllHeads").await? {
        Some(heads) => heads,
        None => {
            missing.push("headers of forks (chain_subscribeAllHeads)");
            subscribe(&client, "chain_subscribeNewHeads", "chain_unsubscribeNewHeads")
                .await?
                .ok_or_else(|| format!("{} tells of no new blocks", Address::of(url)))?
        }
    };
    let grandpa =
        subscribe(&client, "grandpa_subscribeJustifications", "grandpa_unsubscribeJustifications").await?;
    let beefy =
        subscribe(&client, "beefy_subscribeJustifications", "beefy_unsubscribeJustifications").await?;
    if grandpa.is_none() {
        missing.push("GRANDPA justifications (but those in blocks)");
    }
    if beefy.is_none() {
        missing.push("BEEFY justifications (but those in blocks)");
    }
    let finalized = match (&grandpa, &beefy) {
        (Some(_), Some(_)) => None,
        _ => subscribe(&client, "chain_subscribeFinalizedHeads", "chain_unsubscribeFinalizedHeads").await?,
    };
    Ok(Wire::Ws { client, heads, finalized, grandpa, beefy })
}

/// A subscription; `None` if the node does not have it.
async fn subscribe(
    client: &WsClient,
    method: &str,
    end: &str,
) -> Result<Option<Subscription<Value>>, String> {
    match client.subscribe(method, ArrayParams::new(), end).await {
        Ok(subscription) => Ok(Some(subscription)),
        Err(RpcFailure::Call(_)) => Ok(None),
        Err(error) => Err(format!("{method}: {error}")),
    }
}

/// An item from a subscription.
enum News {
    ChainItem(ChainItem),
    /// A block was finalized.
    Finalized(Hash),
}

async fn from_subscriptions(
    heads: &mut Subscription<Value>,
    finalized: Option<&mut Subscription<Value>>,
    grandpa: Option<&mut Subscription<Value>>,
    beefy: Option<&mut Subscription<Value>>,
) -> Result<News, String> {
    async fn of(subscription: Option<&mut Subscription<Value>>) -> Result<Value, String> {
        let Some(subscription) = subscription else { return std::future::pending().await };
        match subscription.next().await {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the connection was closed".to_owned()),
        }
    }
    fn bytes(value: Value) -> Result<Vec<u8>, String> {
        serde_json::from_value::<HexBytes>(value).map(|bytes| bytes.0).map_err(|e| e.to_string())
    }
    fn header(value: Value) -> Result<JsonHeader, String> {
        serde_json::from_value(value).map_err(|e| format!("a header: {e}"))
    }
    tokio::select! {
        head = of(Some(heads)) => {
            Ok(News::ChainItem(ChainItem::Header(Box::new(header(head?)?))))
        }
        head = of(finalized) => {
            let hash = header(head?)?.hash().ok_or("a header without a number")?;
            Ok(News::Finalized(hash))
        }
        proof = of(grandpa) => Ok(News::ChainItem(ChainItem::Grandpa(bytes(proof?)?))),
        proof = of(beefy) => Ok(News::ChainItem(ChainItem::Beefy(bytes(proof?)?))),
    }
}
